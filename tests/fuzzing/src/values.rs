//! A value in each of the parameters that take text: it is one word of the configuration, or refused.

use std::sync::Arc;

use proxy_core::{
    Params, ReconfigureRules, RouteTable, Service, TemplateSource, TemplateSources,
    parse_reconfigure, parse_reconfigure_with,
};
use proxy_haproxy::{RenderError, Routing};

use crate::parameters::{check, rendered, try_rendered};

/// Lines of templates in which a path stands, and what would be more than a path there.
const LINES: [(&str, &str); 4] = [
    ("use_backend x if { path_beg -- {{ ServicePath[0] }} }", ""),
    ("http-request set-header X {{ ServicePath[0] }}", "%()[]\\"),
    (
        "http-request set-header X <{{ ServicePath[0] }}>",
        "%()[]\\",
    ),
    (
        "http-request set-header X %[str({{ ServicePath[0] }})]",
        "%()[]\\'\",{}#$&;!|?^`<> ",
    ),
];

/// The parameters that take text, with what a `reconfigure` needs beside each.
const TEXTS: [(&str, &str); 8] = [
    ("serviceName", ""),
    ("aclName", ""),
    ("servicePath", ""),
    ("serviceDomain", ""),
    ("servicePathExclude", ""),
    ("outboundHostname", ""),
    ("userAgent", ""),
    ("serviceHeader", "X-A:"),
];

/// Puts a text into each parameter that takes one, the way a call would.
///
/// # Panics
/// As [`parameters`](crate::parameters()), or when a text alters how many lines there are beyond what
/// its parts account for.
pub fn values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for (name, before) in TEXTS {
        let mut params = Params::default();
        let mut all = true;
        for (known, value) in [("serviceName", "s"), ("servicePath", "/p"), ("port", "80")] {
            if known != name {
                all &= params.insert(known.to_owned(), value.to_owned()).is_ok();
            }
        }
        all &= params
            .insert(name.to_owned(), format!("{before}{text}"))
            .is_ok();
        let Ok(asked) = parse_reconfigure(&params) else {
            continue;
        };
        if all {
            check(&asked.value.service);
            quoted(&asked.value.service);
            if name == "servicePath" {
                LINES.iter().for_each(|line| in_template(&params, *line));
            }
        }
    }
}

/// A path in a line of a template is that path to who reads the line, or refused.
fn in_template(params: &Params, (line, more): (&str, &str)) {
    let mut params = params.clone();
    if params
        .insert("templateFePath".to_owned(), "fe".to_owned())
        .is_err()
    {
        return;
    }
    let source = TemplateSource::Text(line.to_owned());
    let sources = TemplateSources::new(source, TemplateSource::NotRead);
    let rules = ReconfigureRules::default().with_templates(sources);
    let Ok(asked) = parse_reconfigure_with(&params, &rules) else {
        return;
    };
    let service = asked.value.service;
    let paths = service.destinations().iter().flat_map(|to| to.paths());
    let Some(path) = paths.map(|path| path.text().to_owned()).next() else {
        return;
    };
    let table: RouteTable = [service].into_iter().collect();
    let rendered = try_rendered(&table, Routing::Acl);
    let is_refused = matches!(rendered, Err(RenderError::ServiceTemplate { .. }));
    assert_eq!(
        is_refused,
        path.contains(|c| more.contains(c)),
        "{path:?} in {line:?}: {rendered:?}"
    );
    let Ok(text) = rendered else { return };
    let mark = "{{ ServicePath[0] }}";
    let wanted: Vec<String> = line
        .replace(mark, "\0")
        .split(' ')
        .map(|word| word.replace('\0', &path))
        .collect();
    assert!(
        text.lines()
            .any(|line| words(line).as_ref() == Some(&wanted)),
        "no line is {wanted:?} in\n{text}"
    );
}

/// The words of a line, as HAProxy reads them; none where a quote is left open, and where a comment begins,
/// since nobody writes one.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let read = match (quote, c) {
            (None, ' ') => {
                words.push(String::new());
                None
            }
            (None, '#') => return None,
            (None, '\'' | '"') => {
                quote = Some(c);
                None
            }
            (Some(open), c) if open == c => {
                quote = None;
                None
            }
            (None | Some('"'), '\\') => Some(chars.next()?),
            (_, c) => Some(c),
        };
        words.last_mut()?.extend(read);
    }
    words.retain(|word| !word.is_empty());
    quote.is_none().then_some(words)
}

/// Every quote of the configuration is closed on its line, as HAProxy reads quotes.
fn quoted(service: &Arc<Service>) {
    let table: RouteTable = [Arc::clone(service)].into_iter().collect();
    let text = rendered(&table, Routing::Acl);
    for line in text.lines() {
        let read = words(line);
        assert!(
            read.is_some(),
            "an open quote, or a comment that nobody wrote: {line:?}"
        );
    }
}
