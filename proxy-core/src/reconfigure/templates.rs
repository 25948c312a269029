//! The parameters that name templates: `templateFePath` and `templateBePath`.

use super::{options::NO_RAW, rules::ReconfigureRules};
use crate::{
    field::Fields,
    raw::RawConfig,
    template::{ServiceTemplate, TemplateSource, Templates},
};

pub(super) const FRONTEND: &str = "templateFePath";
pub(super) const BACKEND: &str = "templateBePath";
pub(super) const GRAMMAR: &str =
    "a file below TEMPLATES_PATH: a template in Jinja's language, of at most 16 KiB";
/// What each parameter of another language is told.
pub(super) const INSTEAD: &str = "templateFePath or templateBePath with a file below TEMPLATES_PATH, a template in Jinja's language that sees the catalog's instances; for servers alone discoveryType=catalog, or MODE=default and no port, is enough";

/// The templates of a service; none where none are asked for.
pub(super) fn templates(fields: &mut Fields<'_>, rules: &ReconfigureRules) -> Templates {
    for name in ["consulTemplateFePath", "consulTemplateBePath"] {
        if let Some(text) = fields.text(name) {
            let problem = "the language of consul-template is not read here".to_owned();
            fields.refuse(name, Some(text), problem, INSTEAD);
        }
    }
    Templates {
        frontend: template(fields, FRONTEND, &rules.templates.frontend, rules.raw),
        backend: template(fields, BACKEND, &rules.templates.backend, rules.raw),
    }
}

fn template(
    fields: &mut Fields<'_>,
    name: &str,
    source: &TemplateSource,
    raw: RawConfig,
) -> Option<ServiceTemplate> {
    let path = fields.text(name)?;
    let parse = |path: &str| match (raw, source) {
        (RawConfig::Refused, _) => Err(format!("a template gives raw text, and {NO_RAW}")),
        (_, TemplateSource::NotRead) => Err("templates are not read here".to_owned()),
        (_, TemplateSource::Unreadable(why)) => Err(why.clone()),
        (_, TemplateSource::Text(text)) => ServiceTemplate::new(path, text)
            .map_err(|problem| format!("the template {path} cannot be taken: {problem}")),
    };
    fields.parse(name, path, GRAMMAR, parse)
}

/// Refuses templates where connections carry no requests: they have sections of their own.
pub(super) fn refuse_connections(fields: &mut Fields<'_>) {
    for name in [FRONTEND, BACKEND] {
        if let Some(path) = fields.text(name) {
            let problem = "a template is for requests, and a destination takes connections (reqMode tcp or sni); backendExtra takes lines for its backend".to_owned();
            fields.refuse(name, Some(path), problem, GRAMMAR);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        CatalogUse, Document, FieldErrors, Params, Parsed, RawConfig, Reconfigure,
        ReconfigureRules, RequestHead, RouteTable, Service, TemplateSource, TemplateSources,
        parse_reconfigure_with,
    };

    fn rules() -> ReconfigureRules {
        let text = |text: &str| TemplateSource::Text(text.to_owned());
        let sources = TemplateSources::new(text("acl a path /a\n"), text("server a {{ host }}\n"));
        ReconfigureRules::default().with_templates(sources)
    }

    fn ask(query: &str, rules: &ReconfigureRules) -> Result<Parsed<Reconfigure>, FieldErrors> {
        let params = Params::from_query(query).unwrap();
        parse_reconfigure_with(&params, rules)
    }

    const BOTH: &str = "serviceName=a&templateFePath=/t/fe&templateBePath=/t/be";

    #[test]
    fn templates_are_a_part_of_the_service_and_stand_for_paths_and_ports() {
        let asked = ask(BOTH, &rules()).unwrap();
        assert!(asked.warnings.is_empty(), "{:?}", asked.warnings);
        let service = asked.value.service;
        let templates = &service.options().templates;
        assert_eq!(templates.frontend.as_ref().unwrap().path(), "/t/fe");
        let backend = templates.backend.as_ref().unwrap();
        assert_eq!(backend.text(), "server a {{ host }}\n");
        let raw = service.options().raw_parameters();
        assert_eq!(raw, ["templateFePath", "templateBePath"]);

        // It has no route, and is the same once it was written down and read.
        let table: RouteTable = [Arc::clone(&service)].into_iter().collect();
        assert!(table.resolve(&RequestHead::default()).is_none());
        let document = Document::from_service(Arc::clone(&service)).unwrap();
        let read = Document::parse(document.raw().as_bytes()).unwrap();
        assert_eq!(read.service().unwrap(), &service);

        // With a path it has that one, beside what the template says.
        let with_path = ask(&format!("{BOTH}&servicePath=/x"), &rules()).unwrap();
        let paths = |service: &Service| service.destinations()[0].paths().len();
        assert_eq!((paths(&service), paths(&with_path.value.service)), (0, 1));
        // One for the servers alone needs a route, and no port.
        assert!(ask("serviceName=a&templateBePath=/t/be", &rules()).is_err());
        let query = "serviceName=a&servicePath=/&templateBePath=/t/be";
        assert!(ask(query, &rules()).is_ok());
        let query = "serviceName=a&templateFePath=/t/fe";
        let refused = ask(query, &rules()).unwrap_err();
        assert_eq!(refused.errors[0].parameter, "port");
    }

    #[test]
    fn a_template_that_cannot_be_taken_is_refused_in_words() {
        let told = |query: &str, rules: &ReconfigureRules| {
            ask(query, rules).unwrap_err().errors.swap_remove(0)
        };
        let strict = rules().with_raw(RawConfig::Refused);
        let refused = told(BOTH, &strict);
        assert!(refused.problem.contains("ALLOW_RAW_CONFIG"), "{refused:?}");
        let refused = told(BOTH, &ReconfigureRules::default());
        assert_eq!(refused.parameter, "templateFePath");
        let why = "the template /t/fe cannot be read: no such file";
        let lost = TemplateSource::Unreadable(why.to_owned());
        let sources = TemplateSources::new(lost, TemplateSource::Text("\n\u{1b}".to_owned()));
        let bad = rules().with_templates(sources);
        let refused = ask(BOTH, &bad).unwrap_err();
        assert_eq!(refused.errors[0].problem, why);
        assert_eq!(refused.errors[1].parameter, "templateBePath");
        assert!(refused.errors[1].problem.contains("/t/be"), "{refused}");
        assert!(refused.errors[1].problem.contains("line 2"), "{refused}");
        let tcp = format!("{BOTH}&reqMode=tcp&srcPort=81&port=80");
        assert!(told(&tcp, &rules()).problem.contains("connections"));
    }

    #[test]
    fn files_of_consul_template_are_refused_and_ours_are_named() {
        let rules = rules().with_catalog(CatalogUse::WithoutPort);
        for name in ["consulTemplateFePath", "consulTemplateBePath"] {
            let query = format!("serviceName=web&servicePath=/&port=80&{name}=/templates/web.tmpl");
            let refused = ask(&query, &rules).unwrap_err();
            assert_eq!(refused.errors[0].parameter, name);
            for word in ["templateFePath", "templateBePath", "discoveryType=catalog"] {
                assert!(refused.to_string().contains(word), "{refused}");
            }
        }
    }
}
