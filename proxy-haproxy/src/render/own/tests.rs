use std::sync::Arc;

use proxy_core::{
    Params, ReconfigureRules, RouteTable, TemplateSource, TemplateSources, parse_reconfigure_with,
};

use super::*;
use crate::{
    Bind, BindAddress, InstanceBook, RenderSettings, Renderer, Resolution, Routing, RoutingForm,
    RunPath, render,
};

const FRONTEND: &str = "
# As Docker Flow Proxy's, with another language.
acl own_{{ AclName }} path_beg {{ ServiceDest[0].ServicePath[0] }}/own
use_backend {{ backend }} if own_{{ AclName }}
http-request set-header X-Own {{ ServiceName }}
";
const BACKEND: &str = "backend {{ backend }}
    balance leastconn
{% for instance in instances if instance.healthy %}
    server {{ instance.name }} {{ instance.host }}:{{ instance.port }} weight {{ instance.meta.weight }}{% if 'https' in instance.tags %} ssl verify none{% endif %}

{% else %}
    server {{ ServiceName }} {{ host }}:{{ Port or 80 }}
{% endfor %}
";

fn service(more: &str, frontend: &str, backend: &str) -> Arc<Service> {
    let text = |text: &str| TemplateSource::Text(text.to_owned());
    let sources = TemplateSources::new(text(frontend), text(backend));
    let rules = ReconfigureRules::default().with_templates(sources);
    let params = Params::from_query(format!("serviceName=web&{more}")).unwrap();
    let parsed = parse_reconfigure_with(&params, &rules);
    parsed.unwrap().value.service
}

fn instance(node: &str, id: &str, weight: &str, healthy: bool) -> CatalogInstance {
    CatalogInstance {
        node: node.to_owned(),
        id: id.to_owned(),
        host: "10.0.0.1".to_owned(),
        port: 8080,
        tags: vec!["https".to_owned()],
        meta: [("weight".to_owned(), weight.to_owned())].into(),
        healthy,
    }
}

fn book(service: &Service, instances: &[CatalogInstance]) -> AddressBook {
    let key = service.catalog_key(&service.destinations()[0]).unwrap();
    let entries: InstanceBook = [(key, instances.to_vec().into())].into_iter().collect();
    AddressBook::new().with_instances(entries)
}

fn settings() -> RenderSettings {
    let binds = vec![Bind::plain(BindAddress::Any, "80".parse().unwrap())];
    RenderSettings::new(RunPath::new("/r").unwrap())
        .with_binds(binds)
        .with_nameservers(vec!["127.0.0.11:53".parse().unwrap()])
}

fn rendered(service: &Arc<Service>, addresses: &AddressBook) -> Result<String, RenderError> {
    let table: RouteTable = [Arc::clone(service)].into_iter().collect();
    let config = render(&table, &settings().with_routing(Routing::Acl), addresses)?;
    Ok(config.main_text().to_owned())
}

fn section<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    lines
        .take_while(|line| line.starts_with("    "))
        .map(str::trim)
        .collect()
}

#[test]
fn templates_see_the_service_and_the_catalogs_instances() {
    let query = "servicePath=/a,/b&discoveryType=catalog&templateFePath=fe&templateBePath=be\
                 &addReqHeader=X-A%20a&backendExtra=retries%209";
    let params = Params::from_query(format!("serviceName=web&{query}")).unwrap();
    let text = |text: &str| TemplateSource::Text(text.to_owned());
    let rules = ReconfigureRules::default()
        .with_catalog(proxy_core::CatalogUse::WhenAsked)
        .with_templates(TemplateSources::new(text(FRONTEND), text(BACKEND)));
    let service = parse_reconfigure_with(&params, &rules)
        .unwrap()
        .value
        .service;
    let instances = [
        instance("n1", "web 1", "1", true),
        instance("n2", "web 1", "it's \"2\"", true),
        instance("n3", "ill", "3", false),
    ];
    let text = rendered(&service, &book(&service, &instances)).unwrap();
    assert_eq!(
        section(&text, "backend web-be"),
        [
            "mode http",
            "http-request add-header X-A a",
            "default-server init-addr last,none resolvers dns resolve-prefer ipv4",
            "balance leastconn",
            "server web_1 10.0.0.1:8080 weight 1 ssl verify none",
            r#"server web_1-2 10.0.0.1:8080 weight 'it'\''s "2"' ssl verify none"#,
            "retries 9",
        ]
    );
    let frontend = section(&text, "frontend services");
    let own = frontend
        .iter()
        .skip_while(|line| !line.starts_with("acl web::own_"));
    // What switches stands behind all rules, and before what the table gives.
    assert_eq!(
        own.copied().collect::<Vec<_>>(),
        [
            "acl web::own_web path_beg /a/own",
            "http-request set-header X-Own web",
            "use_backend web-be if web::own_web",
            "acl url_web path_beg /a /b",
            "use_backend web-be if url_web",
            "default_backend no-route",
        ]
    );
    // With nobody the template says what is then.
    let text = rendered(&service, &AddressBook::new()).unwrap();
    assert!(text.contains("    server web web:80\n"), "{text}");
}

#[test]
fn each_server_begins_with_the_known_address_of_its_own_name() {
    let known = |(host, ip): (&str, &str)| {
        let last = Some(ip.parse().unwrap());
        (host.parse().unwrap(), Resolution::Dns { last })
    };
    let book: AddressBook = [("web", "10.0.0.9"), ("other", "10.0.0.8")]
        .into_iter()
        .map(known)
        .collect();
    for (given, begins_with, rendered_as) in [
        (
            "server a {{ host }}:{{ Port }}",
            "last,10.0.0.9,none",
            "server a web:80",
        ),
        (
            "server a [::1]:80\nserver b 10.0.0.1:80",
            "last,10.0.0.9,none",
            "server a [::1]:80\nserver b 10.0.0.1:80",
        ),
        (
            "server a {{ host }}:80 check\nserver b 'other':80\nserver c new\nserver d 10.0.0.1:80",
            "last,none",
            "server a web:80 init-addr last,10.0.0.9,none check\n\
             server b 'other':80 init-addr last,10.0.0.8,none\n\
             server c new init-addr last,none\nserver d 10.0.0.1:80",
        ),
        (
            "server a web:80 init-addr libc\nserver b other:80",
            "last,none",
            "server a web:80 init-addr libc\nserver b other:80 init-addr last,10.0.0.8,none",
        ),
        (
            "server-template a 1-3 other:80",
            "last,none",
            "server-template a 1-3 other:80",
        ),
        (
            "http-request return status 200",
            "last,10.0.0.9,none",
            "http-request return status 200",
        ),
    ] {
        let service = service("servicePath=/a&port=80&templateBePath=be", "", given);
        let text = rendered(&service, &book).unwrap();
        let lines = section(&text, "backend web-be80").join("\n");
        let wanted = format!(
            "mode http\ndefault-server init-addr {begins_with} resolvers dns resolve-prefer ipv4\n{rendered_as}"
        );
        assert_eq!(lines, wanted, "{given}");
    }
}

#[test]
fn what_is_wrong_with_a_template_names_service_file_and_line() {
    let query = "servicePath=/a&port=80&templateFePath=/t/fe&templateBePath=/t/be";
    for (backend, words) in [
        ("server a {{ host }}\n{% if %}", "line 2"),
        ("server a b\n\nserver {{ nothing }}", "line 3"),
        ("server {{ instances[0].name }}", "undefined"),
        ("retries 2\nbackend evil", "opens a section (backend)"),
        (
            "backend web-be80\nretries 2\nbackend web-be80",
            "line 3 opens a section",
        ),
        ("frontend services", "opens a section (frontend)"),
        ("'backend' x", "begins with"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("{{ 'x' * 90000000 }}", "fuel"),
        ("{% for a in range(5001) %}a\n{% endfor %}", "5001 lines"),
        ("{% include '/etc/passwd' %}", "line 1"),
        ("{{ ServiceDest }}", "one HAProxy word"),
        (
            "retries 2\nlog-tag 'by {{ AclName }}'",
            "(line 2): a value stands between quotes",
        ),
    ] {
        let service = service(query, "acl a path /a", backend);
        let refused = rendered(&service, &AddressBook::new()).unwrap_err();
        let told = refused.to_string();
        let begin = "the template /t/be of the service web (templateBePath) cannot be used: ";
        assert!(told.starts_with(begin), "{told}");
        assert!(told.contains(words), "{backend:?}: {told}");
        assert!(
            told.ends_with("correct the file and configure the service again"),
            "{told}"
        );
    }
    for (frontend, words) in [
        (
            "frontend services\nbind *:9000",
            "line 2 begins with bind, which would be so for all services",
        ),
        ("  mode tcp", "line 1 begins with mode"),
        (
            "\nacl \"$X\" path /",
            "line 2 declares the acl \"$X\"; its name must be",
        ),
        (
            "default_backend web-be80",
            "line 1 begins with default_backend",
        ),
    ] {
        let refused = rendered(&service(query, frontend, ""), &AddressBook::new());
        let told = refused.unwrap_err().to_string();
        assert!(
            told.contains("(templateFePath)") && told.contains(words),
            "{told}"
        );
    }
    let service = service(query, "frontend services\nbackend x", "");
    let told = rendered(&service, &AddressBook::new())
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("(templateFePath) cannot be used: in what it gives, line 2"),
        "{told}"
    );
}

#[test]
fn each_backend_of_a_service_has_its_own_lines() {
    let query = "servicePath.1=/a&port.1=81&servicePath.2=/b&port.2=82&templateBePath=be";
    let template = "{% for to in ServiceDest %}server {{ to.backend }} {{ host }}:{{ to.Port }}\n{% endfor %}balance {{ backend }}";
    let service = service(query, "", template);
    let text = rendered(&service, &AddressBook::new()).unwrap();
    for backend in ["web-be81_1", "web-be82_2"] {
        let lines = section(&text, &format!("backend {backend}"));
        let own = lines.iter().skip(2).copied();
        assert_eq!(
            own.collect::<Vec<_>>(),
            [
                "server web-be81_1 web:81",
                "server web-be82_2 web:82",
                &format!("balance {backend}"),
            ],
            "{text}"
        );
    }
}

#[test]
fn every_instance_has_a_name_of_its_own_and_too_many_are_refused() {
    let of = |ids: &[&str]| -> Vec<String> {
        let all: Vec<_> = ids.iter().map(|id| instance("n", id, "1", true)).collect();
        named(&all).into_iter().map(|it| it.name).collect()
    };
    assert_eq!(
        of(&["a", "a-2", "a", "a", "a-2"]),
        ["a", "a-2", "a-3", "a-4", "a-2-2"]
    );
    let text = |text: &str| TemplateSource::Text(text.to_owned());
    let rules = ReconfigureRules::default()
        .with_catalog(proxy_core::CatalogUse::WhenAsked)
        .with_templates(TemplateSources::new(text(""), text("retries 2")));
    let query = "serviceName=web&servicePath=/a&discoveryType=catalog&templateBePath=be";
    let params = Params::from_query(query).unwrap();
    let service = parse_reconfigure_with(&params, &rules)
        .unwrap()
        .value
        .service;
    let many = vec![instance("n", "one", "1", true); MOST_INSTANCES];
    assert!(rendered(&service, &book(&service, &many)).is_ok());
    let more = vec![instance("n", "one", "1", true); MOST_INSTANCES + 1];
    let told = rendered(&service, &book(&service, &more))
        .unwrap_err()
        .to_string();
    assert!(told.contains("it sees 10001 instances"), "{told}");
}

#[test]
fn a_template_of_the_whole_must_write_what_templates_of_services_say() {
    let text = crate::Template::DEFAULT_TEXT;
    let table = |query: &str| -> RouteTable {
        let service = service(query, "acl a path /a", "retries 2");
        [service].into_iter().collect()
    };
    let query = "servicePath=/a&port=80";
    for (query, lost) in [
        (format!("{query}&templateFePath=/t/fe"), "own_lines.rules"),
        (format!("{query}&templateBePath=/t/be"), "backend.own_lines"),
    ] {
        let old: String = text
            .replace("own_lines.rules", "rules")
            .replace("own_lines.switches", "rules");
        let old = match lost {
            "own_lines.rules" => old,
            _ => text.replace(".own_lines", ".cookie"),
        };
        let settings = settings().with_template(crate::Template::new(old).unwrap());
        let refused = render(&table(&query), &settings, &AddressBook::new());
        assert!(
            matches!(refused, Err(RenderError::TemplateWithoutOwnLines)),
            "{query}: {refused:?}"
        );
    }
}

#[test]
fn a_template_that_sees_routes_is_rendered_again_with_them() {
    let with = |paths: &str| -> RouteTable {
        let query = format!("servicePath={paths}&port=80&templateFePath=fe&templateBePath=be");
        [service(&query, FRONTEND, "retries 3")]
            .into_iter()
            .collect()
    };
    let settings = settings().with_routing(Routing::Map);
    let mut renderer = Renderer::new(settings.clone());
    for paths in ["/a", "/b", "/b,/c"] {
        let form = Some(RoutingForm::Map);
        let followed = renderer.render(&with(paths), form, &AddressBook::new());
        let whole = render(
            &with(paths),
            &settings.clone().with_form_in_use(form),
            &AddressBook::new(),
        );
        assert_eq!(followed.unwrap(), whole.unwrap(), "{paths}");
    }
}

/// Every backend's template sees all destinations with their instances, which are made once.
#[test]
fn what_a_template_sees_costs_as_much_as_there_is_and_not_its_square() {
    let text = |text: &str| TemplateSource::Text(text.to_owned());
    let sources = TemplateSources::new(text(""), text("server a 10.0.0.1:{{ Port }}"));
    let rules = ReconfigureRules::default()
        .with_catalog(proxy_core::CatalogUse::WhenAsked)
        .with_templates(sources);
    let allocated = |destinations: u16| {
        let mut query = "serviceName=web&discoveryType=catalog&templateBePath=be".to_owned();
        for n in 1..=destinations {
            query.push_str(&format!("&servicePath.{n}=/{n}&port.{n}={}", 8000 + n));
        }
        let params = Params::from_query(query).unwrap();
        let parsed = parse_reconfigure_with(&params, &rules).unwrap();
        let service = parsed.value.service;
        let instances: Vec<_> = (0..10)
            .map(|n| instance("n", &format!("web-{n}"), "1", true))
            .collect();
        let key = |to| service.catalog_key(to).unwrap();
        let keys = service.destinations().iter().map(key);
        let entries: InstanceBook = keys.map(|key| (key, instances.clone().into())).collect();
        let book = AddressBook::new().with_instances(entries);
        let names = (1..=destinations).map(|n| format!("web-be{n}"));
        let names: Vec<String> = names.collect();
        let named = service
            .destinations()
            .iter()
            .zip(names.iter().map(String::as_str));
        let named: Vec<Named<'_>> = named.collect();
        let counted = allocation_counter::measure(|| {
            let lines = backend_lines(&service, &named, &book, &mut Texts::default()).unwrap();
            assert_eq!(lines.len(), usize::from(destinations));
        });
        counted.count_total
    };
    let (few, many) = (allocated(10), allocated(40));
    assert!(many < 6 * few, "{few} {many}");
}

#[test]
fn the_template_for_the_frontend_is_rendered_for_the_first_destination() {
    let query = "servicePath.1=/a&port.1=81&servicePath.2=/b&port.2=82&templateFePath=fe";
    let service = service(
        query,
        "http-request set-header X-First {{ Port }}-{{ ServiceDest[1].Port }}",
        "",
    );
    let text = rendered(&service, &AddressBook::new()).unwrap();
    assert!(text.contains("set-header X-First 81-82\n"), "{text}");
}
