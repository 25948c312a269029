//! Random tables and requests that have much to do with each other.

use std::sync::Arc;

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select, subsequence},
};
use proxy_core::{
    DefaultBackend, DestinationSpec, Document, DomainPattern, HttpsPort, OtherRequests, PathKind,
    PathPattern, Port, RequestHead, RouteTable, Service, ServiceOptions,
};
use testkit::haproxy::Request;

/// Ports that are bound. One more is named by routes and never bound.
pub(super) const PORTS: usize = 3;

/// Few words, so that patterns meet each other and the requests; some are hard to quote.
const WORDS: [&str; 13] = [
    ".well-known",
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
    "*|a.com|",
];
const DOMAINS: [&str; 9] = [
    "a.com",
    "*.a.com",
    "b.a.com",
    "*.b.a.com",
    "*.com",
    "x_y.org",
    "*.x_y.org",
    "com",
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
const HOSTS: [&str; 35] = [
    "a.com",
    "A.com:80",
    "a.com:",
    "b.a.com",
    "c.b.a.com:8080",
    "d.c.b.a.com",
    ".a.com",
    "..a.com",
    "x..a.com",
    ".com",
    "a.com.",
    "x.a.com.",
    "x.",
    "a.com.evil.org",
    "evil.org,a.com",
    "x_y.org",
    "X_Y.ORG:1",
    "z.x_y.org",
    "10.0.0.1:80",
    "[::1]:80",
    "",
    ":80",
    "a.com:80:90",
    "a.com:x",
    "user:pw@a.com",
    "com",
    // What could reach into a key of a map.
    "|",
    "|/a",
    "a.com|/a",
    "a.com|/a?",
    "*|a.com",
    "*|a.com|/a",
    "*.a.com",
    "a.com/a",
    "a b.a.com",
];
const EXPRESSIONS: [&str; 6] = ["^/a", "b$", "/(a|b)/", "[0-9]", "^/$", "a.*b"];
const AGENTS: [&str; 4] = ["Mobile", "it's", "a b", "$HOME"];
const REQUEST_AGENTS: [&str; 5] = [
    "mobile",
    "Mozilla (MOBILE; it's)",
    "xa  b",
    "a b c",
    "$home",
];
const HEADERS: [(&str, &str); 5] = [
    ("X-V", "1"),
    ("X-V", "2"),
    ("x-w", "a, b"),
    ("X-W", "it's $HOME \\"),
    ("X-W", "-i"),
];
const REQUEST_HEADERS: [(&str, &str); 8] = [
    ("x-v", "1"),
    ("X-V", "2"),
    ("X-V", "1,2"),
    ("X-V", "  2  "),
    ("X-W", "a, b"),
    ("X-W", "A, b"),
    ("x-w", "it's $HOME \\"),
    ("x-w", "-i"),
];

/// A table whose entry ports are numbers from 1 to [`PORTS`], and one more that is bound nowhere.
#[derive(Clone, Debug)]
pub(super) struct TableSketch(Vec<(String, Option<String>, Vec<DestinationSpec>)>);

/// A request to the port of this number, from 0.
#[derive(Clone, Debug)]
pub(super) struct RequestSketch {
    pub(super) port: usize,
    host: Option<String>,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
}

// === impl TableSketch ===

impl TableSketch {
    /// The table on these ports.
    pub(super) fn table(&self, ports: &[Port]) -> RouteTable {
        let service = |(name, acl, specs): &(String, Option<String>, Vec<DestinationSpec>)| {
            let mut specs = specs.clone();
            for (index, spec) in (0..).zip(&mut specs) {
                spec.index = index;
                let bound = |number: Port| {
                    let bound = ports.get(usize::from(number.get()) - 1);
                    bound.copied().unwrap_or(number)
                };
                spec.entry_port = spec.entry_port.map(bound);
                if let Some(https) = &mut spec.options.https {
                    https.entry_port = bound(https.entry_port);
                }
            }
            let acl = acl.as_ref().map(|acl| acl.parse().unwrap());
            let service = Service::new(name.parse().unwrap(), acl, None, specs).unwrap();
            let mut options = ServiceOptions::default();
            // One name of three, and many tables have none of it.
            if name.starts_with('m') {
                options.default_backend = DefaultBackend::Yes;
            }
            Arc::new(service.with_options(options))
        };
        self.0.iter().map(service).collect()
    }
}

/// A table as its documents, one line each.
pub(super) fn shown(table: &RouteTable) -> String {
    let lines = table.iter().map(|service| {
        let document = Document::from_service(Arc::clone(service)).unwrap();
        format!("{}\n", document.raw())
    });
    lines.collect()
}

// === impl RequestSketch ===

impl RequestSketch {
    /// What the definition is asked.
    pub(super) fn head(&self, ports: &[Port]) -> RequestHead {
        let host = self.host.as_deref().map(str::as_bytes);
        let head = RequestHead::new(host, self.target.as_bytes()).on_port(ports[self.port]);
        let headers = self.headers.iter();
        headers.fold(head, |head, (name, value)| {
            head.with_header(name, value.as_bytes())
        })
    }

    /// What HAProxy is asked.
    pub(super) fn request(&self) -> Request {
        let mut request = Request::get(self.target.as_str());
        if let Some(host) = &self.host {
            request = request.with_header("Host", host.as_str());
        }
        let headers = self.headers.iter();
        headers.fold(request, |request, (name, value)| {
            request.with_header(*name, *value)
        })
    }
}

/// One path pattern.
fn pattern() -> impl Strategy<Value = PathPattern> {
    let words = vec(select(&WORDS[..]), 0..4).prop_map(|words| words.join("/"));
    prop_oneof![
        8 => words.clone().prop_map(|words| (PathKind::Prefix, format!("/{words}"))),
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

fn domain() -> impl Strategy<Value = DomainPattern> {
    let whole = select(&DOMAINS[..]).prop_map(|domain| domain.parse().unwrap());
    let part = select(&PARTS[..])
        .prop_map(|(algo, text)| DomainPattern::new(algo.parse().unwrap(), text).unwrap());
    prop_oneof![6 => whole, 1 => part]
}

fn destination() -> impl Strategy<Value = DestinationSpec> {
    let bound_nowhere = u16::try_from(PORTS).unwrap() + 1;
    let entry = option::weighted(0.25, 1..=bound_nowhere);
    let excluded = prop_oneof![6 => Just(vec![]), 1 => vec(pattern(), 1..3)];
    let agents = prop_oneof![8 => Just(vec![]), 1 => subsequence(AGENTS.to_vec(), 1..3)];
    let headers = prop_oneof![8 => Just(vec![]), 1 => subsequence(HEADERS.to_vec(), 1..3)];
    let domains = prop_oneof![Just(vec![]), vec(domain(), 1..3)];
    let paths = vec(pattern(), 1..4);
    let others = select(&[OtherRequests::Taken, OtherRequests::None][..]);
    let https = option::weighted(0.15, (1..100_u16, 1..=bound_nowhere, others));
    let ports = (1..100_u16, entry, https);
    (domains, paths, ports, excluded, agents, headers).prop_map(
        |(domains, paths, (port, entry, https), excluded, agents, headers)| {
            let mut spec = DestinationSpec::new(Port::new(port).unwrap());
            spec.domains = domains;
            spec.paths = paths;
            spec.entry_port = entry.and_then(Port::new);
            spec.options.https = https
                .filter(|(_, https_entry, _)| Some(*https_entry) != entry)
                .map(|(port, entry, others)| {
                    HttpsPort::new(Port::new(port).unwrap(), Port::new(entry).unwrap(), others)
                });
            spec.excluded_paths = excluded;
            spec.user_agents = agents.iter().map(|agent| agent.parse().unwrap()).collect();
            spec.headers = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}").parse().unwrap())
                .collect();
            spec.outbound_hostname = Some("127.0.0.1".parse().unwrap());
            spec
        },
    )
}

/// What a table of plain routes keeps of its destinations.
#[derive(Clone, Copy, Debug)]
enum Plain {
    /// Paths, which the map is asked for once.
    Paths,
    /// Domains and entry ports too, which take several questions.
    All,
}

fn make_plain(spec: &mut DestinationSpec, kept: Plain) {
    let mut plain = DestinationSpec::without_port();
    if let Plain::All = kept {
        plain.domains = std::mem::take(&mut spec.domains);
        plain
            .domains
            .retain(|domain| !matches!(domain, DomainPattern::Other(..)));
        plain.entry_port = spec.entry_port;
    }
    plain.port = spec.port;
    let is_plain = |path: &PathPattern| matches!(path.kind(), PathKind::Prefix | PathKind::Exact);
    plain.paths = std::mem::take(&mut spec.paths);
    plain.paths.retain(is_plain);
    plain.outbound_hostname = spec.outbound_hostname.take();
    *spec = plain;
}

/// 1 to 60 services, most often few.
pub(super) fn a_table() -> impl Strategy<Value = TableSketch> {
    let service = || {
        (
            select(&["a", "m", "z"][..]),
            option::weighted(0.3, select(&["a", "z"][..])),
        )
    };
    let routes = || vec(destination(), 1..3);
    let of = |most| vec((service(), routes()), 1..=most);
    // Services that claim what another one claims.
    let twins = vec((service(), any::<Index>()), 0..4);
    let services = prop_oneof![5 => of(5), 3 => of(12), 2 => of(56)];
    // Some tables hold nothing but what a map holds best.
    let plain = option::weighted(0.25, select(&[Plain::Paths, Plain::All][..]));
    (services, twins, plain).prop_map(|(mut services, twins, plain)| {
        if let Some(kept) = plain {
            let specs = services.iter_mut().flat_map(|(_, specs)| specs);
            specs.for_each(|spec| make_plain(spec, kept));
        }
        for (names, twin_of) in twins {
            let specs = twin_of.get(&services).1.clone();
            services.push((names, specs));
        }
        let numbered = services.into_iter().enumerate();
        let named = numbered.map(|(number, ((name, acl), specs))| {
            // The letters keep names apart that would come to the same ACL.
            let acl = acl.map(|acl| format!("{acl}{number}y"));
            (format!("{name}{number}x"), acl, specs)
        });
        TableSketch(named.collect())
    })
}

pub(super) fn a_request() -> impl Strategy<Value = RequestSketch> {
    let path = vec(select(&WORDS[..]), 0..5).prop_map(|words| words.join("/"));
    let ending = select(&["", "/", "?q=/a/b", "//", "x", "%2f"][..]);
    let target = (path, ending).prop_map(|(path, ending)| format!("/{path}{ending}"));
    let target = prop_oneof![
        40 => target,
        1 => Just(format!("/a/{}", "b/".repeat(3500))),
    ];
    let host = prop_oneof![
        80 => select(&HOSTS[..]).prop_map(str::to_owned),
        1 => Just(format!("{}.a.com", "x".repeat(300))),
        1 => Just(format!("{}a.com", "x.".repeat(3000))),
    ];
    let agent = option::weighted(0.4, select(&REQUEST_AGENTS[..]));
    let headers = vec(select(&REQUEST_HEADERS[..]), 0..4);
    (
        0..PORTS,
        option::weighted(0.95, host),
        target,
        agent,
        headers,
    )
        .prop_map(|(port, host, target, agent, mut headers)| {
            headers.extend(agent.map(|agent| ("User-Agent", agent)));
            RequestSketch {
                port,
                host,
                target,
                headers,
            }
        })
}
