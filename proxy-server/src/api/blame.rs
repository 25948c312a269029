//! Which parameter HAProxy means, where its words tell.

use proxy_core::{HeaderLine, PathRewrite, Service, ServiceTemplate};

/// A value shorter than this occurs in words by chance.
const LEAST_TELLING: usize = 3;

/// The parameter whose value occurs in HAProxy's words, with the destination's suffix.
pub(super) fn parameter(service: &Service, words: &str) -> Option<String> {
    let tells = |value: &str| value.len() >= LEAST_TELLING && words.contains(value);
    let options = service.options();
    let headers = &options.headers;
    let in_headers = |lines: &[HeaderLine]| lines.iter().any(|line| tells(line.value()));
    let rewritten = |rewrites: &[PathRewrite]| {
        let mut texts = rewrites.iter().flat_map(|r| [r.search(), r.replace()]);
        texts.any(tells)
    };
    // What a template gives is known only once it is rendered; HAProxy names the words that it does not
    // know.
    let said_by = |template: &Option<ServiceTemplate>| {
        let lines = template.iter().flat_map(|template| template.text().lines());
        let mut first = lines.filter_map(|line| line.split_whitespace().next());
        first.any(|word| word.len() >= LEAST_TELLING && words.contains(&format!("'{word}'")))
    };
    let values = [
        ("backendExtra", options.backend_extra.iter().any(tells)),
        ("templateFePath", said_by(&options.templates.frontend)),
        ("templateBePath", said_by(&options.templates.backend)),
        ("addReqHeader", in_headers(&headers.add_request)),
        ("setReqHeader", in_headers(&headers.set_request)),
        ("addResHeader", in_headers(&headers.add_response)),
        ("setResHeader", in_headers(&headers.set_response)),
        ("reqPathSearch", rewritten(&options.rewrites)),
    ];
    if let Some((parameter, _)) = values.into_iter().find(|(_, told)| *told) {
        return Some(parameter.to_owned());
    }
    for destination in service.destinations() {
        let paths = |mut paths: std::slice::Iter<'_, proxy_core::PathPattern>| {
            paths.any(|path| tells(path.text()))
        };
        let entry_port = destination.entry_port();
        let entry_port = entry_port.is_some_and(|port| tells(&format!("srcPort {port} ")));
        let values = [
            ("srcPort", entry_port),
            (
                "reqPathSearchReplace",
                rewritten(&destination.options().rewrites),
            ),
            ("servicePath", paths(destination.paths().iter())),
            (
                "servicePathExclude",
                paths(destination.excluded_paths().iter()),
            ),
            (
                "userAgent",
                destination
                    .user_agents()
                    .iter()
                    .any(|agent| tells(agent.as_str())),
            ),
            (
                "serviceHeader",
                destination
                    .headers()
                    .iter()
                    .any(|header| tells(header.value())),
            ),
            (
                "serviceDomain",
                destination
                    .domains()
                    .iter()
                    .any(|domain| tells(&domain.to_string())),
            ),
            (
                "outboundHostname",
                destination
                    .outbound_hostname()
                    .is_some_and(|host| tells(&host.to_string())),
            ),
        ];
        if let Some((parameter, _)) = values.into_iter().find(|(_, told)| *told) {
            return Some(match destination.index() {
                0 => parameter.to_owned(),
                index => format!("{parameter}.{index}"),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proxy_core::{Params, parse_reconfigure};

    use super::*;

    #[test]
    fn the_value_in_the_words_names_the_parameter() {
        let query = "serviceName=a&servicePath.1=/ok&port.1=80&servicePath.2=/x(y&pathType.2=path_beg&port.2=81&servicePathExclude.2=/x(y/z";
        let asked = parse_reconfigure(&Params::from_query(query).unwrap()).unwrap();
        let service = asked.value.service;
        let told = parameter(&service, "error in regex '/x(y': missing )");
        assert_eq!(told.as_deref(), Some("servicePath.2"));
        assert_eq!(parameter(&service, "out of memory"), None);
    }
}
