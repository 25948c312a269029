use std::sync::Arc;

use proxy_core::{Params, RouteTable, Service, parse_reconfigure};

use crate::{
    AddressBook, RenderError, RenderSettings, RenderedConfig, Routing, RoutingForm, RunPath,
    Template, render,
};

fn service(query: &str) -> Arc<Service> {
    let params = Params::from_query(query).unwrap();
    parse_reconfigure(&params).unwrap().value.service
}

fn settings() -> RenderSettings {
    RenderSettings::new(RunPath::new("/var/run/proxy").unwrap())
}

fn mapped(queries: &[&str]) -> RenderedConfig {
    let table = queries.iter().map(|query| service(query)).collect();
    let settings = settings().with_routing(Routing::Map);
    render(&table, &settings, &AddressBook::new()).unwrap()
}

/// The frontend with what decides the route, and the map.
fn routing(config: &RenderedConfig) -> String {
    let text = config.main_text();
    let from = text.find("    http-request set-var(txn").unwrap();
    let to = text.find("\nbackend a").unwrap_or(text.len());
    format!("{}--- map\n{}", &text[from..to], config.map_text().unwrap())
}

#[test]
fn plain_routes_are_entries_and_the_others_rules() {
    let config = mapped(&[
        "serviceName=a&servicePath=/a,/x/long&port=1",
        "serviceName=b&servicePath=/a/b,/x&port=2",
        "serviceName=c&servicePath=/c&pathType=path&port=3&serviceDomain=acme.com,*.acme.com",
        "serviceName=d&port=4&serviceDomain=*.eu.acme.com&srcPort=8080",
        "serviceName=e&servicePath=.js,.ts,.html&pathType=path_end&port=5",
        "serviceName=f&servicePath=/&port=6&serviceHeader=X-V:1",
        "serviceName=g&servicePath=/&port=7",
    ]);
    assert_eq!(config.form(), RoutingForm::Map);
    assert_eq!(config.rules(), 3);
    insta::assert_snapshot!("map", routing(&config));
}

/// The cheapest there is: no host, no variable.
#[test]
fn paths_alone_are_asked_for_at_once() {
    let config = mapped(&[
        "serviceName=a&servicePath=/a&port=1",
        "serviceName=b&servicePath=/b&port=2",
    ]);
    let text = config.main_text();
    let from = text
        .find("    http-request set-header X-Forwarded-Proto")
        .unwrap();
    let to = text.find("\nbackend a").unwrap();
    insta::assert_snapshot!("direct", &text[from..to]);
}

/// What makes the runtime API enough for a change.
#[test]
fn paths_and_domains_of_known_services_change_the_map_alone() {
    let others = "serviceName=b&servicePath=/b&port=2&serviceHeader=X-V:1";
    let named = "serviceName=c&servicePath=/c&port=3&serviceDomain=c.com";
    let exact = "serviceName=e&servicePath=/e&pathType=path&port=5";
    let before = mapped(&["serviceName=a&servicePath=/a&port=1", others, named, exact]);
    for query in [
        "serviceName=a&servicePath=/a,/new&port=1",
        "serviceName=a&servicePath=/other&port=1",
        "serviceName=a&servicePath=/a&pathType=path&port=1",
        "serviceName=a&servicePath=/a&port=1&serviceDomain=acme.com",
        "serviceName=a&servicePath=/a,/b/x&port=1&serviceDomain=acme.com,b.org",
    ] {
        let after = mapped(&[query, others, named, exact]);
        assert_eq!(before.main_text(), after.main_text(), "{query}");
        assert_ne!(before.map_text(), after.map_text(), "{query}");
    }
    // Two services exchange a path.
    let one = mapped(&[
        "serviceName=a&servicePath=/x&port=1",
        "serviceName=b&servicePath=/y&port=2",
    ]);
    let other = mapped(&[
        "serviceName=a&servicePath=/y&port=1",
        "serviceName=b&servicePath=/x&port=2",
    ]);
    assert_eq!(one.main_text(), other.main_text());

    // The first exact path changes how every path is asked for.
    let open = mapped(&["serviceName=a&servicePath=/a&port=1", others, named]);
    assert_ne!(before.main_text(), open.main_text());
    assert!(!open.main_text().contains("concat(?)"));

    // The first domain and the first wildcard ask for something that nobody asked for before; the
    // next ones do not.
    let wild = mapped(&[
        "serviceName=a&port=1&serviceDomain=*.acme.com",
        others,
        named,
        exact,
    ]);
    assert_ne!(before.main_text(), wild.main_text());
    let wilder = mapped(&[
        "serviceName=a&port=1&serviceDomain=*.acme.com,*.b.org",
        others,
        named,
        exact,
    ]);
    assert_eq!(wild.main_text(), wilder.main_text());
}

#[test]
fn plain_routes_do_not_number_the_rules() {
    let rules = "serviceName=r&servicePath=/a&port=1&serviceHeader=X-V:1&servicePathExclude=/a/b\
        &serviceDomain=c.com";
    let domain = "serviceName=c&servicePath=/c&port=3&serviceDomain=c.com";
    let alone = mapped(&[rules, domain, "serviceName=p&servicePath=/p&port=1"]);
    let more = mapped(&[
        rules,
        domain,
        "serviceName=p&servicePath=/p,/a,/a/b/c,/&port=1&serviceDomain=acme.com",
    ]);
    assert_eq!(alone.main_text(), more.main_text());
}

#[test]
fn the_form_follows_the_number_of_rules() {
    let table = |count: usize| -> RouteTable {
        let services = (0..count).map(|n| format!("serviceName=s{n:04}x&servicePath=/{n}&port=80"));
        services.map(|query| service(&query)).collect()
    };
    let form = |count: usize, in_use| {
        let settings = settings().with_form_in_use(in_use);
        let config = render(&table(count), &settings, &AddressBook::new()).unwrap();
        config.form()
    };
    use RoutingForm::{Acl, Map};
    let (most, least) = (crate::MAX_ACL_RULES, crate::MIN_MAP_RULES);
    assert_eq!([form(most, None), form(most + 1, None)], [Acl, Map]);
    assert_eq!(
        [form(least, Some(Map)), form(least + 1, Some(Map))],
        [Acl, Map]
    );

    // One destination whose routes interleave with another's is many rules.
    let paths = |digit: usize| {
        let paths = (0..20).map(|n| format!("/{}", "x".repeat(2 * n + digit)));
        paths.collect::<Vec<_>>().join(",")
    };
    let interleaved: RouteTable = [1, 2]
        .map(|n| {
            service(&format!(
                "serviceName=s{n}x&servicePath={}&port=80",
                paths(n)
            ))
        })
        .into_iter()
        .collect();
    let config = render(&interleaved, &settings(), &AddressBook::new()).unwrap();
    assert_eq!(config.form(), Map);
    let forced = settings().with_routing(Routing::Acl);
    let config = render(&interleaved, &forced, &AddressBook::new()).unwrap();
    assert!(config.rules() > crate::MAX_ACL_RULES, "{}", config.rules());
}

/// Otherwise its rules would be those that the map does not hold, and nothing else would be routed.
#[test]
fn a_template_without_a_map_gets_the_readable_form() {
    let template = "{% for rule in rules %}\nuse_backend {{ rule.backend }}\n{% endfor %}";
    let settings = settings().with_template(Template::new(template).unwrap());
    let services = (0..100).map(|n| format!("serviceName=s{n}x&servicePath=/{n}&port=80"));
    let table: RouteTable = services.map(|query| service(&query)).collect();
    let config = render(&table, &settings, &AddressBook::new()).unwrap();
    assert_eq!((config.form(), config.rules()), (RoutingForm::Acl, 100));
    let forced = settings.with_routing(Routing::Map);
    assert!(matches!(
        render(&table, &forced, &AddressBook::new()),
        Err(RenderError::TemplateWithoutMap)
    ));
}
