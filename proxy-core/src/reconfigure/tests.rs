use proptest::prelude::*;

use super::*;
use crate::{DefaultBackend, ForwardedProto, PlainHttp, RawConfig, path::PathPattern};
use crate::{
    field::ParamWarning,
    upstream::{CatalogUse, Checks, HostChecks},
};

fn ask(query: &str) -> Result<Parsed<Reconfigure>, FieldErrors> {
    parse_reconfigure(&Params::from_query(query).unwrap())
}

fn refused(query: &str) -> Vec<String> {
    let errors = ask(query).unwrap_err().errors;
    errors.into_iter().map(|error| error.parameter).collect()
}

#[test]
fn the_call_of_the_story_is_understood() {
    let asked = ask("serviceName=go-demo&servicePath=/demo&port=8080&distribute=true").unwrap();
    let service = &asked.value.service;
    assert_eq!(service.name().as_str(), "go-demo");
    assert_eq!(asked.value.distribute, Distribute::Yes);
    let [destination] = service.destinations() else {
        panic!("{service:?}")
    };
    assert_eq!(service.backend_name(destination), "go-demo-be8080");
    assert_eq!(destination.paths()[0].to_string(), "path_beg /demo");
    assert!(asked.warnings.is_empty());
}

/// They hold commas and have an escape of their own, so `SEPARATOR` does not part them.
#[test]
fn rewrites_are_parted_by_colons_whatever_parts_lists() {
    let rewrites = |separator: &str, query: &str| {
        let rules = ReconfigureRules::default().with_separator(separator);
        let params = Params::from_query(query).unwrap();
        let asked = parse_reconfigure_with(&params, &rules).unwrap().value;
        let destination = &asked.service.destinations()[0];
        (
            destination.paths().len(),
            destination.options().rewrites.clone(),
        )
    };
    let pairs = "reqPathSearchReplace=/a;b,/c:/d\\:e,/f";
    let expected = ["/a;b,/c", "/d\\:e,/f"].map(|pair| pair.parse().unwrap());
    for (separator, paths) in [("", "/x,/y"), (";", "/x;/y"), ("::", "/x::/y")] {
        let query = format!("serviceName=a&port=1&servicePath={paths}&{pairs}");
        assert_eq!(rewrites(separator, &query), (2, expected.to_vec()));
    }
}

/// Docker Flow Proxy passes them on as they are, so its users wrote spaces, whatever parts their lists.
#[test]
fn what_is_compressed_is_parted_at_spaces_whatever_parts_lists() {
    for (separator, algos, types) in [
        ("", "gzip,deflate", "text/html, text/css text/xml"),
        ("", "gzip deflate", "text/html text/css\ttext/xml"),
        (";", "gzip deflate", "text/html text/css text/xml"),
        (";", "gzip;deflate", "text/html;text/css; text/xml"),
        ("::", "gzip  deflate", "text/html::text/css text/xml"),
    ] {
        let rules = ReconfigureRules::default().with_separator(separator);
        let query = "serviceName=a&port=1&servicePath=/x";
        let mut params = Params::from_query(query).unwrap();
        for (name, value) in [("compressionAlgo", algos), ("compressionType", types)] {
            params.insert(name.to_owned(), value.to_owned()).unwrap();
        }
        let asked = parse_reconfigure_with(&params, &rules).unwrap().value;
        let compression = &asked.service.options().compression;
        let read: Vec<String> = compression.types.iter().map(ToString::to_string).collect();
        assert_eq!(read, ["text/html", "text/css", "text/xml"], "{separator}");
        assert_eq!(compression.algos.len(), 2, "{separator}");
    }
}

#[test]
fn every_error_is_reported_at_once() {
    assert_eq!(
        refused(
            "serviceName=a%0A&servicePath=/x,y&port=0&pathType=nope&serviceDomain=*a&distribute=maybe"
        ),
        [
            "serviceName",
            "distribute",
            "pathType",
            "servicePath",
            "serviceDomain",
            "port"
        ]
    );
}

#[test]
fn without_path_and_domain_there_is_no_route() {
    assert_eq!(
        ask("serviceName=a&port=80").unwrap_err().kind,
        RefusalKind::NoRoute
    );
    assert_eq!(
        ask("servicePath=/a&port=80").unwrap_err().kind,
        RefusalKind::Invalid
    );
    assert_eq!(ask("port=80").unwrap_err().kind, RefusalKind::Invalid);
    assert_eq!(refused("serviceName=a&servicePath=/a"), ["port"]);
}

#[test]
fn indexed_destinations_take_the_unsuffixed_values_as_defaults() {
    let asked =
        ask("serviceName=a&port=80&servicePath.1=/a&servicePath.2=/b&port.2=81&servicePath.4=/d")
            .unwrap();
    let ports: Vec<_> = asked
        .value
        .service
        .destinations()
        .iter()
        .map(|d| (d.index(), d.port().unwrap().get()))
        .collect();
    assert_eq!(ports, [(1, 80), (2, 81)]);
    let unknown = ParamWarning::Unknown {
        parameter: "servicePath.4".into(),
    };
    assert_eq!(asked.warnings, [unknown]);
}

#[test]
fn conditions_are_read() {
    let query = "serviceName=a&port=80&servicePath=/a&servicePathExclude=/a/x&srcPort=81\
        &userAgent=Mobile,Safari&serviceHeader=X-Version:3,X-B:c:d&serviceDomain=acme\
        &serviceDomainAlgo=hdr_beg(host)";
    let asked = ask(query).unwrap();
    assert!(asked.warnings.is_empty(), "{:?}", asked.warnings);
    let [destination] = asked.value.service.destinations() else {
        panic!()
    };
    assert_eq!(destination.entry_port().unwrap().get(), 81);
    assert_eq!(destination.excluded_paths()[0].text(), "/a/x");
    assert_eq!(destination.condition_count(), 3);
    assert_eq!(destination.headers()[1].value(), "c:d");
    assert_eq!(destination.domains()[0].to_string(), "hdr_beg(host) acme");
    assert_eq!(
        refused(
            "serviceName=a&port=80&servicePath=/a&srcPort=x&serviceHeader=y&serviceDomainAlgo=z"
        ),
        ["serviceDomainAlgo", "srcPort", "serviceHeader"]
    );
}

#[test]
fn headers_and_methods_are_read() {
    let query = "serviceName=a&port=80&servicePath=/a&addHeader=X-A%20a,X-B%20%25[src,ipmask(24)]\
        &setReqHeader=X-C%20%22c%20c%22&delReqHeader=X-D,x-e&setResHeader=X-F%20f\
        &allowedMethods=GET,HEAD&deniedMethods=PUT";
    let asked = ask(query).unwrap();
    assert!(asked.warnings.is_empty(), "{:?}", asked.warnings);
    let service = asked.value.service;
    let headers = &service.options().headers;
    let texts: Vec<String> = headers
        .add_request
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(texts, ["X-A a", "X-B %[src,ipmask(24)]"]);
    assert_eq!(headers.set_request[0].value(), "c c");
    assert_eq!(headers.delete_request.len(), 2);
    assert_eq!(headers.set_response[0].name().as_str(), "X-F");
    let [destination] = service.destinations() else {
        panic!()
    };
    assert_eq!(destination.options().methods.allowed.len(), 2);
    assert_eq!(destination.options().methods.denied[0].as_str(), "PUT");
    let many = vec!["X"; 101].join(",");
    assert_eq!(
        refused(&format!(
            "serviceName=a&port=80&servicePath=/a&addReqHeader=X&delResHeader={many}&allowedMethods=get"
        )),
        ["addReqHeader", "delResHeader", "allowedMethods"]
    );
}

#[test]
fn redirects_and_rewrites_are_read() {
    let query = "serviceName=a&port=80&servicePath.1=/a&servicePath.2=/b&serviceDomain.2=www.acme.com\
        &httpsOnly.1=true&denyHttp.2=true&httpsRedirectCode=301&redirectFromDomain.2=acme.com,old.com\
        &reqPathSearchReplace=^/a,/x:y\\,\\:,z&timeoutServer.1=7&redirectWhenHttpProto=1\
        &connectionMode=httpclose&compressionAlgo=gzip,deflate&compressionType=text/html%20text/css\
        &isDefaultBackend=true&reqPathSearch=a,b&reqPathReplace=";
    let asked = ask(query).unwrap();
    assert!(asked.warnings.is_empty(), "{:?}", asked.warnings);
    let service = asked.value.service;
    let [first, second] = service.destinations() else {
        panic!()
    };
    assert_eq!(first.options().redirects.plain_http, PlainHttp::Redirected);
    assert_eq!(first.options().redirects.redirect_code.as_str(), "301");
    assert_eq!(first.options().timeouts.server.unwrap().get(), 7);
    assert_eq!(first.options().rewrites[1].search(), "y\\,\\:");
    assert_eq!(second.options().redirects.plain_http, PlainHttp::Denied);
    let redirect = second.options().domain_redirect.as_ref().unwrap();
    assert_eq!(redirect.to().as_str(), "www.acme.com");
    assert_eq!(second.domains().len(), 3, "redirected domains are routed");
    assert!(second.options().timeouts.server.is_none());
    let options = service.options();
    assert_eq!(options.forwarded_proto, ForwardedProto::RedirectHttp);
    assert_eq!(options.rewrites[0].search(), "a,b");
    assert_eq!(
        (
            options.compression.algos.len(),
            options.compression.types.len()
        ),
        (2, 2)
    );
    assert_eq!(options.default_backend, DefaultBackend::Yes);

    let document = Document::from_service(Arc::clone(&service)).unwrap();
    let read = Document::parse(document.raw().as_bytes()).unwrap();
    assert_eq!(read.service().unwrap(), &service);

    assert_eq!(
        refused(
            "serviceName=a&port=80&servicePath=/a&denyHttp=x&httpsRedirectCode=300&timeoutTunnel=0\
             &reqPathSearchReplace=a&connectionMode=tunnel&compressionAlgo=zip&reqPathReplace=x"
        ),
        [
            "reqPathSearch",
            "connectionMode",
            "compressionAlgo",
            "denyHttp",
            "httpsRedirectCode",
            "reqPathSearchReplace",
            "timeoutTunnel"
        ]
    );
    assert_eq!(
        refused("serviceName=a&port=80&servicePath=/a&redirectFromDomain=b.com"),
        ["redirectFromDomain"]
    );
}

#[test]
fn https_only_is_what_the_rules_say_and_true_for_all_where_it_is_unsuffixed() {
    let rules = ReconfigureRules::default().with_plain_http(PlainHttp::Redirected);
    let plain = |more: &str, rules: &ReconfigureRules| -> Vec<PlainHttp> {
        let query = format!("serviceName=a&port=80&servicePath.1=/a&servicePath.2=/b{more}");
        let params = Params::from_query(&query).unwrap();
        let service = parse_reconfigure_with(&params, rules)
            .unwrap()
            .value
            .service;
        let destinations = service.destinations().iter();
        destinations
            .map(|d| d.options().redirects.plain_http)
            .collect()
    };
    use PlainHttp::{Redirected, Served};
    let default = ReconfigureRules::default();
    assert_eq!(plain("&httpsOnly.1=true", &default), [Redirected, Served]);
    assert_eq!(
        plain("&httpsOnly=true&httpsOnly.1=false", &default),
        [Redirected; 2]
    );
    assert_eq!(plain("&httpsOnly.1=false", &rules), [Served, Redirected]);
}

#[test]
fn raw_text_is_refused_where_it_is_switched_off() {
    let rules = ReconfigureRules::default().with_raw(RawConfig::Refused);
    let ask = |value: &str| {
        let query = format!("serviceName=a&port=80&servicePath=/a&addReqHeader={value}");
        parse_reconfigure_with(&Params::from_query(&query).unwrap(), &rules)
    };
    assert!(ask("X-A%20100%25%25").is_ok());
    let refused = ask("X-A%20%25[src]&backendExtra=retries%202").unwrap_err();
    assert_eq!(refused.errors.len(), 2);
    assert_eq!(refused.errors[0].parameter, "addReqHeader");
    assert!(
        refused.to_string().contains("ALLOW_RAW_CONFIG"),
        "{refused}"
    );
}

#[test]
fn a_domain_alone_is_for_every_path() {
    let asked = ask("serviceName=a&port=80&serviceDomain=Acme.com, *.acme.org").unwrap();
    let [destination] = asked.value.service.destinations() else {
        panic!()
    };
    assert_eq!(destination.paths(), [PathPattern::root()]);
    assert_eq!(destination.domains().len(), 2);
}

#[test]
fn a_service_that_no_document_could_hold_is_refused() {
    let paths: Vec<String> = (0..400)
        .map(|i| format!("/{i}{}", "x".repeat(150)))
        .collect();
    let query = format!("serviceName=a&port=80&servicePath={}", paths.join(","));
    assert_eq!(refused(&query), ["serviceName"]);
}

proptest! {
    /// Whatever arrives, what is accepted holds no character that is syntax anywhere.
    #[test]
    fn accepted_values_are_never_syntax(
        name in any::<String>(), path in any::<String>(), domain in any::<String>(),
        port in any::<String>(), acl in any::<String>(), host in any::<String>(),
    ) {
        let mut params = Params::default();
        for (key, value) in [
            ("serviceName", name), ("servicePath", path), ("serviceDomain", domain),
            ("port", port), ("aclName", acl), ("outboundHostname", host),
        ] {
            params.insert(key.into(), value).unwrap();
        }
        if let Ok(asked) = parse_reconfigure(&params) {
            let text = Document::from_service(asked.value.service).unwrap();
            prop_assert!(text.raw().bytes().all(|b| b.is_ascii_graphic()));
        }
    }
}

fn read_with(query: &str, catalog: CatalogUse) -> Result<Parsed<Reconfigure>, FieldErrors> {
    let rules = ReconfigureRules::default().with_catalog(catalog);
    parse_reconfigure_with(&Params::from_query(query).unwrap(), &rules)
}

#[test]
fn without_a_port_servers_come_from_the_catalog_where_there_is_one() {
    let query = "serviceName=web&servicePath=/&serviceColor=blue&skipCheck=true";
    for none in [CatalogUse::Never, CatalogUse::WhenAsked] {
        let refused = read_with(query, none).unwrap_err();
        assert_eq!(refused.errors[0].parameter, "port");
    }
    let read = read_with(query, CatalogUse::WithoutPort).unwrap();
    assert_eq!(read.warnings, []);
    let service = read.value.service;
    let destination = &service.destinations()[0];
    let key = service.catalog_key(destination).unwrap();
    assert_eq!((&*key.service, key.checks), ("web-blue", Checks::Skipped));
    assert_eq!(key.port, None);
    assert_eq!(service.backend_name(destination), "web-be");
    assert_eq!(service.object_name(destination, "url_"), "weburl_");

    // It is written so that it is read again, and so that no older release takes it for another.
    let document = Document::from_service(Arc::clone(&service)).unwrap();
    assert!(
        document.raw().starts_with(r#"{"version":2,"#),
        "{document:?}"
    );
    let again = Document::parse(document.raw().as_bytes()).unwrap();
    assert_eq!(again.service().unwrap(), &service);
}

#[test]
fn the_catalog_is_asked_for_by_name() {
    let query = "serviceName=web&servicePath=/&discoveryType=catalog";
    let refused = read_with(query, CatalogUse::Never).unwrap_err();
    assert_eq!(refused.errors[0].parameter, "discoveryType");
    let with_port = format!("{query}&port=81&outboundHostname=web-api");
    let read = read_with(&with_port, CatalogUse::WhenAsked).unwrap();
    let key = |service: &Service| service.catalog_key(&service.destinations()[0]);
    let found = key(&read.value.service).unwrap();
    assert_eq!(found.service, "web-api");
    assert_eq!(found.port.unwrap().get(), 81);
    let read = read_with(query, CatalogUse::WhenAsked).unwrap();
    assert_eq!(key(&read.value.service).unwrap().port, None);
    // A port says where the service is, whatever the catalog holds.
    for plain in ["port=80", "port=80&discoveryType=host"] {
        let query = format!("serviceName=web&servicePath=/&skipCheck=1&{plain}");
        let read = read_with(&query, CatalogUse::WithoutPort).unwrap();
        assert_eq!(key(&read.value.service), None);
        assert!(matches!(
            read.warnings[..],
            [ParamWarning::NoEffect {
                parameter: "skipCheck",
                ..
            }]
        ));
    }
    for wrong in ["discoveryType=consul", "skipCheck=maybe"] {
        let query = format!("serviceName=web&servicePath=/&port=80&{wrong}");
        assert!(
            read_with(&query, CatalogUse::WithoutPort).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn servers_are_found_by_the_addresses_of_a_name() {
    let read = |more: &str| {
        let query = format!("serviceName=web&servicePath=/&port=80{more}");
        read_with(&query, CatalogUse::Never)
    };
    let host = |more: &str| {
        let service = read(more).unwrap().value.service;
        let document = Document::from_service(Arc::clone(&service)).unwrap();
        let again = Document::parse(document.raw().as_bytes()).unwrap();
        assert_eq!(again.service().unwrap(), &service, "{more}");
        service.host_of(&service.destinations()[0]).to_string()
    };
    assert_eq!(host(""), "web");
    assert_eq!(host("&replicas=3&checkResolvers=true"), "web");
    assert_eq!(host("&discoveryType=DNS&replicas=3"), "tasks.web");
    assert_eq!(host("&sessionType=sticky-server"), "tasks.web");
    assert_eq!(host("&discoveryType=dns&outboundHostname=other"), "other");
    let checks = |more: &str| {
        let rules = ReconfigureRules::default().with_host_checks(HostChecks::On);
        let query = format!("serviceName=web&servicePath=/&port=80{more}");
        let read = parse_reconfigure_with(&Params::from_query(query).unwrap(), &rules);
        read.unwrap().value.service.options().upstream.host_checks
    };
    assert_eq!(checks(""), HostChecks::On);
    assert_eq!(checks("&checkResolvers=false"), HostChecks::Off);
    for wrong in [
        "sessionType=cookie",
        "replicas=-1",
        "replicas=1001",
        "checkResolvers=x",
    ] {
        let refused = read(&format!("&{wrong}")).unwrap_err();
        let (name, _) = wrong.split_once('=').unwrap();
        assert_eq!(refused.errors[0].parameter, name);
    }
}

#[test]
fn what_docker_flow_proxy_calls_otherwise_is_understood_or_warned_of() {
    let read = |more: &str| {
        let query = format!("serviceName=a&serviceDomain=acme&port=80&{more}");
        parse_reconfigure(&Params::from_query(query).unwrap()).unwrap()
    };
    let old = read("serviceDomainMatchAll=true").value.service;
    assert_eq!(old, read("serviceDomainAlgo=hdr_dom(host)").value.service);
    let own = read("serviceDomainMatchAll=true&serviceDomainAlgo=hdr_beg(host)");
    let own = own.value.service;
    assert_eq!(own, read("serviceDomainAlgo=hdr_beg(host)").value.service);
    for name in ["debug", "debugFormat", "userDef"] {
        let read = read(&format!("{name}=x"));
        assert!(
            matches!(&*read.warnings, [ParamWarning::NoEffect { parameter, .. }] if *parameter == name),
            "{:?}",
            read.warnings
        );
    }
}
