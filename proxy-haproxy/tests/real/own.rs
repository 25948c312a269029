//! What templates of services do to requests, and what only they can show: a server with a limit.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use proxy_core::{
    CatalogUse, Params, ReconfigureRules, RouteTable, Service, TemplateSource, TemplateSources,
    parse_reconfigure_with,
};
use proxy_haproxy::{
    AccessLog, AddressBook, CatalogInstance, Extras, InstanceBook, Resolution, Timeouts, render,
};
use testkit::{
    dns::{Fault, TestDns},
    haproxy::{DemoBackend, Request, find_binary, request},
};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    bench::{Bench, at, silent},
    hostile::{PIECES, WORSE},
};

const DEADLINE: Duration = Duration::from_secs(15);

/// A service with a template for its backends.
fn with_backend(query: &str, text: &str) -> RouteTable {
    [service_of(query, "templateBePath", text)]
        .into_iter()
        .collect()
}

/// A service with a template for what this parameter is about.
fn service_of(query: &str, parameter: &str, text: &str) -> Arc<Service> {
    let text = || TemplateSource::Text(text.to_owned());
    let sources = TemplateSources::new(text(), text());
    let rules = ReconfigureRules::default()
        .with_catalog(CatalogUse::WhenAsked)
        .with_templates(sources);
    let params = Params::from_query(format!("{query}&{parameter}=file")).unwrap();
    let parsed = parse_reconfigure_with(&params, &rules).unwrap();
    parsed.value.service
}

#[tokio::test]
async fn a_template_takes_the_place_of_servers_and_of_nothing_else() {
    let bench = Bench::new();
    let [own, elsewhere] = ["own", "elsewhere"].map(DemoBackend::start);
    let (own, elsewhere) = (own.await.unwrap(), elsewhere.await.unwrap());
    let query = at("web", "/web", own.address());
    let query = format!(
        "{query}&users=ann:geheim&deniedMethods=PUT&delReqHeader=X-Gone&addResHeader=X-Back%20back"
    );
    let template = format!(
        "backend {{{{ backend }}}}\nbalance uri\nserver a {}\nhttp-request return status 418 if {{ path /web/tea }}\n",
        elsewhere.address()
    );
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let table = with_backend(&query, &template);
    let config = render(&table, &bench.render_settings(), &AddressBook::new()).unwrap();
    applier.apply(&config).await.unwrap();

    let ask = async |asked: Request, user: bool| {
        let asked = asked
            .with_header("Host", "acme.com")
            .with_header("X-Gone", "x");
        let asked = match user {
            // ann:geheim
            true => asked.with_header("Authorization", "Basic YW5uOmdlaGVpbQ=="),
            false => asked,
        };
        request(bench.address(), &asked).await.unwrap()
    };
    assert_eq!(ask(Request::get("/web"), false).await.status, 401);
    assert_eq!(ask(Request::get("/web/tea"), false).await.status, 401);
    assert_eq!(ask(Request::get("/web/tea"), true).await.status, 418);
    let put = Request::get("/web").with_method("PUT");
    assert_eq!(ask(put, true).await.status, 403);
    let answer = ask(Request::get("/web"), true).await;
    assert_eq!((answer.status, &*answer.body), (200, "elsewhere"));
    assert!(
        answer.head.to_ascii_lowercase().contains("x-back: back"),
        "{}",
        answer.head
    );
    let head = elsewhere.last_head().to_ascii_lowercase();
    assert!(
        !head.contains("x-gone") && !head.contains("authorization"),
        "{head}"
    );
    assert_eq!(own.requests(), 0);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// The lines that HAProxy logs.
async fn until_logged(log: &UdpSocket, words: &str) -> String {
    let mut seen = String::new();
    let mut line = vec![0; 4096];
    while let Ok(Ok(read)) = timeout(DEADLINE, log.recv(&mut line)).await {
        let line = String::from_utf8_lossy(&line[..read]).into_owned();
        if line.contains(words) {
            return line;
        }
        seen.push_str(&line);
    }
    panic!("{words:?} was not logged: {seen}")
}

#[tokio::test]
async fn a_request_waits_for_a_free_connection_no_longer_than_the_settings_say() {
    let bench = Bench::new();
    let silent: SocketAddr = silent().await;
    let log = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut timeouts = Timeouts::default();
    timeouts.queue = Duration::from_secs(1);
    // The first request is silent for as long as the test lasts.
    timeouts.server = Duration::from_secs(60);
    let mut extras = Extras::default();
    let to = log.local_addr().unwrap();
    extras.global = format!("log {to} local0").parse().unwrap();
    let settings = bench
        .render_settings()
        .with_timeouts(timeouts)
        .with_access_log(AccessLog::Stdout)
        .with_extras(extras);
    let table = with_backend(
        "serviceName=web&servicePath=/web&port=80",
        &format!("server a {silent} maxconn 1"),
    );
    let config = render(&table, &settings, &AddressBook::new()).unwrap();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    applier.apply(&config).await.unwrap();

    let ask = |path: &'static str| {
        let asked = Request::get(path).with_header("Host", "acme.com");
        let address = bench.address();
        async move { request(address, &asked).await }
    };
    let first = tokio::spawn(ask("/web/first"));
    crate::bench::eventually("the first request to be with the service", async || {
        let figures = haproxy
            .statistics()
            .await
            .map_err(|error| error.to_string())?;
        let line = figures.lines().find(|line| line.starts_with("web-be80,a,"));
        // Current sessions.
        match line.and_then(|line| line.split(',').nth(4)) {
            Some("1") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let second = timeout(DEADLINE, ask("/web/second")).await;
    let second = second.expect("the wait ends").unwrap();
    assert_eq!(second.status, 503, "{}", second.head);
    // The wait in the queue ran out, on the side of the service.
    let line = until_logged(&log, "/web/second").await;
    assert!(line.contains(" 503 ") && line.contains(" sQ-- "), "{line}");
    assert!(!first.is_finished(), "the first one is still served");
    first.abort();
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// Where a value may stand in a template, and what an answer shows of it.
const PLACES: &str = "{% for it in instances %}{% set v = it.meta.v %}
{% if 'text' in it.tags %}
http-request return status 200 content-type text/plain lf-string {{ v }} if { path /{{ it.id }} }
{% elif 'expression' in it.tags %}
http-request return status 200 content-type text/plain lf-string %[str({{ v }})] if { path /{{ it.id }} }
{% elif 'part' in it.tags %}
http-request return status 200 content-type text/plain lf-string <%[str(x)]{{ v }}> if { path /{{ it.id }} }
{% else %}
http-request return status 200 content-type text/plain string matched if { path /{{ it.id }} } { req.fhdr(x-v) -m str {{ v }} }
{% endif %}
{% endfor %}
";

#[tokio::test]
async fn what_a_template_takes_of_a_value_is_that_value_to_haproxy() {
    let bench = Bench::new();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let service = service_of(
        "serviceName=web&servicePath=/&discoveryType=catalog",
        "templateBePath",
        PLACES,
    );
    let key = service.catalog_key(&service.destinations()[0]).unwrap();
    let table: RouteTable = [service].into_iter().collect();
    let rendered = |instances: &[CatalogInstance]| {
        let book: InstanceBook = [(key.clone(), instances.into())].into_iter().collect();
        let addresses = AddressBook::new().with_instances(book);
        render(&table, &bench.render_settings(), &addresses)
    };

    let mut taken = Vec::new();
    let mut asked = 0;
    for piece in PIECES.into_iter().chain(WORSE) {
        for v in [
            piece.to_owned(),
            format!("a{piece}"),
            format!("{piece}b"),
            format!("a{piece}b"),
        ] {
            for place in ["text", "expression", "part", "pattern"] {
                let mut instance = CatalogInstance::default();
                instance.id = asked.to_string();
                instance.tags = vec![place.to_owned()];
                instance.meta = [("v".to_owned(), v.clone())].into();
                asked += 1;
                if rendered(std::slice::from_ref(&instance)).is_ok() {
                    taken.push(instance);
                }
            }
        }
    }
    let of = |place: &str| taken.iter().filter(|it| it.tags[0] == place).count();
    assert!(
        of("text") > asked / 8 && of("pattern") > asked / 8 && of("expression") > asked / 16,
        "{} {} {} of {asked}",
        of("text"),
        of("pattern"),
        of("expression"),
    );
    applier.apply(&rendered(&taken).unwrap()).await.unwrap();
    for instance in &taken {
        let v = &instance.meta["v"];
        let shown = match &*instance.tags[0] {
            "part" => format!("<x{v}>"),
            "pattern" => "matched".to_owned(),
            _ => v.clone(),
        };
        let asked = Request::get(format!("/{}", instance.id))
            .with_header("Host", "acme.com")
            .with_header("X-V", v.as_str());
        let answer = request(bench.address(), &asked).await.unwrap();
        // HAProxy takes white space off the ends of headers.
        if v.trim() == v || instance.tags[0] != "pattern" {
            assert_eq!(
                (answer.status, &*answer.body),
                (200, &*shown),
                "{instance:?}"
            );
        }
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_acl_of_a_template_is_its_services_own() {
    let bench = Bench::new();
    let demos = ["one", "two", "three"].map(DemoBackend::start);
    let [one, two, three] = demos.map(async |demo| demo.await.unwrap());
    let (one, two, three) = (one.await, two.await, three.await);
    let query = |demo: &DemoBackend, name: &str| at(name, &format!("/{name}"), demo.address());
    // As in Docker Flow Proxy's templates: by the name that is made for its own route. And by the one that
    // is made for another service's.
    let template = format!(
        "acl url_{{{{ AclName }}}}{{{{ Port }}}} path_beg /t/{{{{ AclName }}}}
acl url_three{0} path_beg /of/{{{{ AclName }}}}
use_backend {{{{ backend }}}} if url_{{{{ AclName }}}}{{{{ Port }}}} or url_three{0}
",
        three.address().port()
    );
    let table: RouteTable = [
        service_of(&query(&one, "one"), "templateFePath", &template),
        service_of(&query(&two, "two"), "templateFePath", &template),
        crate::bench::service(&query(&three, "three")),
    ]
    .into_iter()
    .collect();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let config = render(&table, &bench.render_settings(), &AddressBook::new()).unwrap();
    applier.apply(&config).await.unwrap();
    for (path, body) in [
        ("/one", "one"),
        ("/t/one", "one"),
        ("/of/one", "one"),
        ("/two", "two"),
        ("/t/two", "two"),
        ("/of/two", "two"),
        ("/three", "three"),
    ] {
        let answer = bench.get(path).await;
        assert_eq!((answer.status, &*answer.body), (200, body), "{path}");
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_acl_of_a_template_is_asked_for_in_expressions_too() {
    let bench = Bench::new();
    let one = DemoBackend::start("one").await.unwrap();
    // What HAProxy before 2.9 does not know stands in words that it takes for texts.
    let mut knows = std::process::Command::new(find_binary().unwrap());
    let knows = knows.args(["-cc", "version_atleast(2.9)"]).status();
    let open = match knows.unwrap().success() {
        true => "%[",
        false => "[",
    };
    let template = format!(
        "acl tea path_beg /t
acl hot hdr(x-hot) -m found
http-request return status 418 content-type text/plain lf-string '{open}acl(tea,!hot)]' if tea
"
    );
    let query = at("one", "/one", one.address());
    let table = service_of(&query, "templateFePath", &template);
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let table: RouteTable = [table].into_iter().collect();
    let config = render(&table, &bench.render_settings(), &AddressBook::new()).unwrap();
    applier.apply(&config).await.unwrap();
    for (hot, by_expression) in [(None, "1"), (Some("yes"), "0")] {
        let asked = Request::get("/t").with_header("Host", "acme.com");
        let asked = match hot {
            Some(hot) => asked.with_header("X-Hot", hot),
            None => asked,
        };
        let wanted = match open {
            "%[" => by_expression,
            _ => "[acl(one::tea,!one::hot)]",
        };
        let answer = request(bench.address(), &asked).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (418, wanted));
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn servers_of_several_names_begin_with_the_last_address_of_each() {
    let bench = Bench::new();
    let [one, other] = ["one", "other"].map(DemoBackend::start);
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    let silent = TestDns::start().await.unwrap();
    silent.fault_all(Fault::Silent);
    let service = service_of(
        &format!(
            "serviceName=web&servicePath=/&port={}",
            one.address().port()
        ),
        "templateBePath",
        &format!(
            "server a {{{{ host }}}}:{{{{ Port }}}}\nserver b other.test:{}",
            other.address().port()
        ),
    );
    let known = |(host, demo): (&str, &DemoBackend)| {
        let last = Some(demo.address().ip());
        (host.parse().unwrap(), Resolution::Dns { last })
    };
    let book = [("web", &one), ("other.test", &other)];
    let book: AddressBook = book.into_iter().map(known).collect();
    let settings = bench
        .render_settings()
        .with_nameservers(vec![silent.address()]);
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let table: RouteTable = [service].into_iter().collect();
    let config = render(&table, &settings, &book).unwrap();
    applier.apply(&config).await.unwrap();
    let mut bodies = [bench.get("/").await.body, bench.get("/").await.body];
    bodies.sort();
    assert_eq!(bodies, ["one", "other"]);
    haproxy.shutdown(Duration::from_secs(5)).await;
}
