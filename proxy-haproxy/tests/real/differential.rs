//! The rendered rules against the definition: `RouteTable::resolve` and a real HAProxy must send
//! every request to the same backend.

use std::{sync::Arc, time::Duration};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use proxy_core::{
    DestinationSpec, DomainPattern, PathKind, PathPattern, Port, RequestHead, RouteTable, Service,
};
use proxy_haproxy::{AddressBook, Applier, Haproxy, RenderedConfig, render};
use testkit::haproxy::{Request, request};

use crate::bench::Bench;

const TABLES: u32 = 12;
const REQUESTS: usize = 200;

/// Few words, so that patterns meet each other and the requests; some are hard to quote.
const WORDS: [&str; 11] = [
    "a",
    "b",
    "ab",
    "a.php",
    "-x",
    "it's",
    "\"q\"",
    "$HOME",
    "back\\",
    "{{x}}",
    "%41;%[src]",
];
const DOMAINS: [&str; 7] = [
    "a.com",
    "*.a.com",
    "b.a.com",
    "*.b.a.com",
    "*.com",
    "x_y.org",
    "10.0.0.1",
];
const PARTS: [(&str, &str); 9] = [
    ("hdr_beg(host)", "a."),
    ("hdr_beg(host)", "-"),
    ("hdr_end(host)", ".a.com"),
    ("hdr_end(host)", "com"),
    ("hdr_sub(host)", "a.c"),
    ("hdr_sub(host)", ".a."),
    ("hdr_dom(host)", "a"),
    ("hdr_dom(host)", ".b.a."),
    ("hdr_dom(host)", "org"),
];
const HOSTS: [&str; 22] = [
    "a.com",
    "A.com:80",
    "a.com:",
    "b.a.com",
    "c.b.a.com:8080",
    "d.c.b.a.com",
    ".a.com",
    "..a.com",
    ".com",
    "a.com.",
    "a.com.evil.org",
    "evil.org,a.com",
    "x_y.org",
    "X_Y.ORG:1",
    "10.0.0.1:80",
    "[::1]:80",
    "",
    ":80",
    "a.com:80:90",
    "a.com:x",
    "user:pw@a.com",
    "com",
];
const EXPRESSIONS: [&str; 6] = ["^/a", "b$", "/(a|b)/", "[0-9]", "^/$", "a.*b"];

/// One path pattern, as its kind and text.
fn pattern() -> impl Strategy<Value = PathPattern> {
    let words = vec(select(&WORDS[..]), 0..4).prop_map(|words| words.join("/"));
    prop_oneof![
        6 => words.clone().prop_map(|words| (PathKind::Prefix, format!("/{words}"))),
        3 => words.clone().prop_map(|words| (PathKind::Exact, format!("/{words}"))),
        1 => words.clone().prop_map(|words| (PathKind::Prefix, format!("/{words}/"))),
        1 => words.clone().prop_map(|words| (PathKind::Suffix, words)),
        1 => words.clone().prop_map(|words| (PathKind::Substring, words)),
        1 => words.prop_map(|words| (PathKind::Dir, words)),
        1 => select(&EXPRESSIONS[..]).prop_map(|text| (PathKind::Regex, text.to_owned())),
    ]
    .prop_filter_map("no pattern", |(kind, text)| {
        PathPattern::new(kind, &text).ok()
    })
}

fn destination() -> impl Strategy<Value = DestinationSpec> {
    let whole = select(&DOMAINS[..]).prop_map(|domain| domain.parse().unwrap());
    let part = select(&PARTS[..])
        .prop_map(|(algo, text)| DomainPattern::new(algo.parse().unwrap(), text).unwrap());
    let domain = prop_oneof![4 => whole, 1 => part];
    let domains = prop_oneof![Just(vec![]), vec(domain, 1..3)];
    (domains, vec(pattern(), 1..4), 1..100_u16).prop_map(|(domains, paths, port)| {
        let mut spec = DestinationSpec::new(Port::new(port).unwrap());
        spec.domains = domains;
        spec.paths = paths;
        spec.outbound_hostname = Some("127.0.0.1".parse().unwrap());
        spec
    })
}

fn routes() -> impl Strategy<Value = RouteTable> {
    vec(vec(destination(), 1..3), 1..12).prop_map(|services| {
        let service = |(number, mut specs): (usize, Vec<DestinationSpec>)| {
            for (index, spec) in specs.iter_mut().enumerate() {
                spec.index = u16::try_from(index).unwrap();
            }
            // The letters keep names apart that would come to the same ACL.
            let name = format!("s{number}x").parse().unwrap();
            Arc::new(Service::new(name, None, None, specs).unwrap())
        };
        services.into_iter().enumerate().map(service).collect()
    })
}

fn a_request() -> impl Strategy<Value = (Option<&'static str>, String)> {
    let path = vec(select(&WORDS[..]), 0..5).prop_map(|words| words.join("/"));
    let ending = select(&["", "/", "?q=/a/b", "//", "x", "%2f"][..]);
    let target = (path, ending).prop_map(|(path, ending)| format!("/{path}{ending}"));
    (option::weighted(0.95, select(&HOSTS[..])), target)
}

/// The backends answer with their names instead of asking a server.
fn answering(config: &RenderedConfig) -> RenderedConfig {
    let mut text = String::new();
    let mut backend = "";
    for line in config.main_text().lines() {
        backend = line.strip_prefix("backend ").unwrap_or(backend);
        if line.starts_with("    server ") {
            let answer = "    http-request return status 200 content-type text/plain string ";
            text.extend([answer, backend, "\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    RenderedConfig::new(text)
}

async fn agree(
    bench: &Bench,
    applier: &mut Applier<Arc<Haproxy>>,
    table: &RouteTable,
    requests: &[(Option<&str>, String)],
) -> Result<(), TestCaseError> {
    let config = render(table, &bench.render_settings(), &AddressBook::new()).unwrap();
    applier.apply(&answering(&config)).await.unwrap();
    for (host, target) in requests {
        let head = RequestHead::new(host.map(str::as_bytes), target.as_bytes());
        let wanted = table
            .resolve(&head)
            .map(|found| found.service.backend_name(found.destination));
        let mut asked = Request::get(target.as_str());
        if let Some(host) = host {
            asked = asked.with_header("Host", *host);
        }
        let answer = request(bench.address(), &asked).await.unwrap();
        let found = match answer.status {
            200 => Some(answer.body),
            404 => None,
            _ => Some(answer.head),
        };
        prop_assert_eq!(
            &found,
            &wanted,
            "host {:?}, target {:?}\n{}",
            host,
            target,
            config.main_text()
        );
    }
    Ok(())
}

#[test]
fn haproxy_routes_as_the_table_resolves() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(async { Bench::new() });
    let (haproxy, applier) = runtime.block_on(bench.serve::<&str>(&[]));
    let applier = std::cell::RefCell::new(applier);
    let mut runner = TestRunner::new(Config {
        cases: TABLES,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(
        &(routes(), vec(a_request(), REQUESTS)),
        |(table, requests)| {
            runtime.block_on(agree(&bench, &mut applier.borrow_mut(), &table, &requests))
        },
    );
    runtime.block_on(haproxy.shutdown(Duration::from_secs(5)));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
