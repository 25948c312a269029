//! What the suite's own template takes, an operator's copy of it takes too.

use super::*;

/// Words that mean something to HAProxy somewhere in a line.
const WORDS: [&str; 38] = [
    "if", "unless", "or", "||", "!", "{", "}", "lt", "eq", "-m", "-f", "--", "-i", "(", "(a",
    "a(b", "a)", "[", "[a]", "a]", "%", "%%", "%a", "a%", "%ci", "%[src]", "\\", "a\\b", "#", "'",
    "\"", "a b", "!a", "$HOME", "^", "|", "&", "é",
];
/// Where a caller may write one: a parameter with its value, and what else is said.
type Place = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const PLACES: [Place; 24] = [
    ("serviceName", "{}", &[]),
    ("aclName", "{}", &[]),
    ("outboundHostname", "{}", &[]),
    ("servicePath", "/{}", &[]),
    ("servicePath", "{}", &[("pathType", "path_sub")]),
    ("servicePath", "{}", &[("pathType", "path_end")]),
    ("servicePath", "{}", &[("pathType", "path_dir")]),
    ("servicePath", "{}", &[("pathType", "path_reg")]),
    ("servicePathExclude", "/{}", &[]),
    ("serviceDomain", "{}", &[]),
    (
        "serviceDomain",
        "{}",
        &[("serviceDomainAlgo", "hdr_sub(host)")],
    ),
    ("redirectFromDomain", "{}", &[("serviceDomain", "a.com")]),
    ("userAgent", "{}", &[]),
    ("serviceHeader", "{}:x", &[]),
    ("serviceHeader", "X:{}", &[]),
    ("addReqHeader", "{} v", &[]),
    ("setReqHeader", "{} {}", &[]),
    ("delReqHeader", "{}", &[]),
    ("addResHeader", "X {}", &[]),
    ("setResHeader", "{} v", &[]),
    ("delResHeader", "{}", &[]),
    ("users", "{}:geheim", &[]),
    ("reqPathSearchReplace", "/a,{}", &[]),
    ("reqPathSearchReplace", "{},/b", &[]),
];

/// The services whose value the parser takes.
fn services((parameter, value, more): Place) -> RouteTable {
    let services = WORDS.iter().zip(0..).filter_map(|(word, number)| {
        let (value, name) = (value.replace("{}", word), format!("s{number}"));
        let usual = [
            ("serviceName", &*name),
            ("servicePath", "/a"),
            ("port", "80"),
            ("outboundHostname", "10.0.0.1"),
        ];
        let usual = usual.into_iter().filter(|(name, _)| *name != parameter);
        let given = usual.chain(more.iter().copied());
        let mut params = Params::default();
        for (name, value) in given.chain([(parameter, &*value)]) {
            params.insert(name.to_owned(), value.to_owned()).unwrap();
        }
        Some(parse_reconfigure(&params).ok()?.value.service)
    });
    services.collect()
}

#[test]
fn an_operators_copy_takes_what_the_suites_own_template_takes() {
    let copy = Template::new(format!("{}{{# #}}", Template::DEFAULT_TEXT)).unwrap();
    for place in PLACES {
        let table = services(place);
        assert!(table.iter().next().is_some(), "{place:?}");
        for routing in [Routing::Acl, Routing::Map] {
            let own = settings().with_routing(routing);
            let copy = own.clone().with_template(copy.clone());
            let own = render(&table, &own, &AddressBook::new()).unwrap();
            let copy = render(&table, &copy, &AddressBook::new());
            let copy = copy.unwrap_or_else(|error| panic!("{place:?}: {error:?}"));
            assert_eq!(copy.main_text(), own.main_text());
        }
    }
}
