use std::{net::IpAddr, sync::Arc};

use proxy_core::{
    AclName, Change, DestinationSpec, DomainPattern, Params, PathKind, PathPattern, Port, Service,
    parse_reconfigure,
};

use super::{backend::NAMES_A_SECTION, *};
use crate::{Bind, BindAddress, RunPath, Template, address_book::Resolution};

mod operators;
mod own_copy;
mod upstream;

fn service(query: &str) -> Arc<Service> {
    let params = Params::from_query(query).unwrap();
    parse_reconfigure(&params).unwrap().value.service
}

fn table(queries: &[&str]) -> RouteTable {
    queries.iter().map(|query| service(query)).collect()
}

fn settings() -> RenderSettings {
    let binds = ["80", "443"].map(|port| Bind::plain(BindAddress::Any, port.parse().unwrap()));
    RenderSettings::new(RunPath::new("/var/run/proxy").unwrap())
        .with_binds(binds.to_vec())
        .with_nameservers(vec!["127.0.0.11:53".parse().unwrap()])
}

fn text(table: &RouteTable, addresses: &AddressBook) -> String {
    render(table, &settings().with_routing(Routing::Acl), addresses)
        .unwrap()
        .main_text()
        .to_owned()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spec(index: u16, port: u16, domains: &[&str], paths: &[(PathKind, &str)]) -> DestinationSpec {
    let mut spec = DestinationSpec::new(Port::new(port).unwrap());
    spec.index = index;
    spec.domains = domains
        .iter()
        .map(|domain| domain.parse::<DomainPattern>().unwrap())
        .collect();
    spec.paths = paths
        .iter()
        .map(|(kind, text)| PathPattern::new(*kind, text).unwrap())
        .collect();
    spec
}

fn destinations(name: &str, specs: Vec<DestinationSpec>) -> Arc<Service> {
    Arc::new(Service::new(name.parse().unwrap(), None, None, specs).unwrap())
}

/// The lines of the story, in its order.
#[test]
fn the_story() {
    let table = table(&["serviceName=go-demo&servicePath=/demo&port=8080"]);
    let text = text(&table, &AddressBook::new());
    let mut lines = text.lines();
    for wanted in [
        "frontend services",
        "    bind *:80",
        "    bind *:443",
        "    mode http",
        "    acl url_go-demo8080 path_beg /demo",
        "    use_backend go-demo-be8080 if url_go-demo8080",
        "backend go-demo-be8080",
        "    mode http",
        "    server go-demo go-demo:8080",
    ] {
        assert!(
            lines.any(|line| line == wanted),
            "{wanted:?} is missing or out of order:\n{text}"
        );
    }
    insta::assert_snapshot!("story", text);
}

#[test]
fn several_services_and_destinations() {
    use PathKind::{Dir, Exact, Prefix, Regex, Suffix};
    let mut table = table(&[
        "serviceName=api&servicePath=/api,/v1&serviceDomain=acme.com,*.acme.com&port=80",
        "serviceName=site&serviceDomain=www.acme.com&port=80&outboundHostname=10.0.0.7",
        "serviceName=moved&servicePath=/moved&port=80&outboundHostname=legacy",
        "serviceName=six&servicePath=/six&port=80",
    ]);
    table.apply(&Change::Put(destinations(
        "many",
        vec![
            spec(
                1,
                8080,
                &[],
                &[
                    (Regex, "^/v[0-9]+/"),
                    (Suffix, "-x.php"),
                    (Suffix, "-y.php"),
                ],
            ),
            spec(
                2,
                9090,
                &["b.com"],
                &[(Exact, "/it's"), (Prefix, "/"), (Dir, "img")],
            ),
        ],
    )));
    let known = [
        (
            "api",
            Resolution::Dns {
                last: Some(address("10.0.0.1")),
            },
        ),
        (
            "six",
            Resolution::Dns {
                last: Some(address("fd00::1")),
            },
        ),
        (
            "legacy",
            Resolution::System {
                address: address("fd00::2"),
            },
        ),
    ];
    let book = known.map(|(name, resolution)| (name.parse().unwrap(), resolution));
    insta::assert_snapshot!("several", text(&table, &book.into_iter().collect()));
}

/// A service that uses every parameter, twice where it can be read in two ways.
#[test]
fn every_parameter_at_once() {
    let all = "serviceName=all&servicePath=/all&port=80&outboundHostname=10.0.0.1&serviceDomain=acme.com\
         &redirectFromDomain=old.com,*.old.com&redirectUnlessHttpsProto=true&httpsOnly=true&httpsRedirectCode=301\
         &timeoutServer=60&timeoutTunnel=120&connectionMode=http-server-close&isDefaultBackend=true\
         &compressionAlgo=gzip%20deflate&compressionType=text/html,text/plain\
         &reqPathSearch=a%27b&reqPathReplace=c%5C1&reqPathSearchReplace=%5E/all/,/:%5B%5C,)%5D,";
    let table = table(&[
        all,
        "serviceName=z&servicePath=/z&port=80&denyHttp=true&isDefaultBackend=true&redirectWhenHttpProto=true",
    ]);
    let settings =
        settings().with_compression(table.iter().next().unwrap().options().compression.clone());
    let config = render(&table, &settings, &AddressBook::new()).unwrap();
    let (_, defaults) = config.main_text().split_once("\ndefaults\n").unwrap();
    insta::assert_snapshot!("every_parameter", defaults);
}

#[test]
fn headers_methods_and_raw_lines() {
    let table = table(&[
        "serviceName=a&servicePath=/a&port=80&outboundHostname=10.0.0.1&addReqHeader=X-A%20%25[src,ipmask(24)],X-B%20it%5C%27s\
         &setReqHeader=X-C%20c%20c&delReqHeader=X-D&addResHeader=X-E%20e&setResHeader=X-F%20%22%23f%22&delResHeader=Server\
         &allowedMethods=GET,HEAD&deniedMethods=PUT&backendExtra=retries%202%5Cnhttp-send-name-header%20%22X%20%22",
    ]);
    let text = text(&table, &AddressBook::new());
    let (_, backend) = text.split_once("\nbackend a-be80\n").unwrap();
    insta::assert_snapshot!("options", backend);
}

/// `a1` on port 1 and `a` on port 11 come to one ACL name, which HAProxy would merge in silence.
#[test]
fn no_two_services_share_a_name() {
    let mut table = table(&[
        "serviceName=a1&servicePath=/one&port=1",
        "serviceName=a&servicePath=/eleven&port=11",
        "serviceName=x&aclName=a&servicePath=/x&port=11",
    ]);
    let text = text(&table, &AddressBook::new());
    let named = |prefix: &str| -> Vec<&str> {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix(prefix)?.split(' ').next())
            .collect()
    };
    assert_eq!(named("acl "), ["url_a11", "url_a11:2", "url_a11:3"]);
    assert_eq!(
        named("backend "),
        ["no-route", "a-be11", "a1-be1", "a-be11:2"]
    );
    let x: AclName = "a".parse().unwrap();
    assert_eq!(table.get(&"x".parse().unwrap()).unwrap().acl_name(), &x);
    table.apply(&Change::Remove("x".parse().unwrap()));
    let text = super::tests::text(&table, &AddressBook::new());
    assert!(!text.contains("backend a-be11:2"), "{text}");
}

#[test]
fn the_same_table_gives_the_same_bytes() {
    let queries = [
        "serviceName=b&servicePath=/b&port=2",
        "serviceName=a&servicePath=/a&port=1",
    ];
    let one = table(&queries);
    let other = table(&[queries[1], queries[0]]);
    let digest = |table: &RouteTable| {
        render(table, &settings(), &AddressBook::new())
            .unwrap()
            .digest()
    };
    assert_eq!(digest(&one), digest(&other));
    assert_ne!(digest(&one), digest(&RouteTable::new()));
}

#[test]
fn settings_are_rendered() {
    let binds = ["127.0.0.1", "::1"]
        .map(|ip| Bind::plain(ip.parse().unwrap(), "8080".parse().unwrap()))
        .to_vec();
    let settings = RenderSettings::new(RunPath::new("/r").unwrap())
        .with_binds(binds)
        .with_access_log(AccessLog::Stdout)
        .with_hard_stop_after(Duration::from_millis(1500))
        .with_max_old_workers(3)
        .with_timeouts(crate::Timeouts {
            tunnel: Duration::from_secs(u64::MAX),
            ..crate::Timeouts::default()
        });
    let config = render(&RouteTable::new(), &settings, &AddressBook::new()).unwrap();
    for line in [
        "    bind 127.0.0.1:8080\n    bind [::1]:8080\n",
        "    log stdout format raw local0 info\n",
        "    option httplog\n",
        "    hard-stop-after 1500ms\n",
        "    mworker-max-reloads 3\n",
        "    timeout tunnel 2147483647ms\n",
        "    stats socket /r/haproxy.sock mode 600 ",
    ] {
        assert!(
            config.main_text().contains(line),
            "{line:?}:\n{}",
            config.main_text()
        );
    }
    assert!(!config.main_text().contains("resolvers"));
    let none = render(
        &RouteTable::new(),
        &settings.with_binds(vec![]),
        &AddressBook::new(),
    );
    assert!(matches!(none, Err(RenderError::NoBind)));
}

#[test]
fn many_names_are_asked_for_less_often() {
    let interval = |count: usize| {
        let queries: Vec<String> = (0..count)
            .map(|n| format!("serviceName=s{n}&servicePath=/{n}&port=80"))
            .collect();
        let table: RouteTable = queries.iter().map(|query| service(query)).collect();
        let text = text(&table, &AddressBook::new());
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("timeout resolve "));
        line.unwrap().to_owned()
    };
    assert_eq!(
        [interval(1), interval(201), interval(3000)],
        ["1s", "2s", "10s"]
    );
}

#[test]
fn many_names_are_spread_over_sections() {
    let rendered = |count: usize| {
        let services = (0..count).map(|n| {
            // Two services to a name, on different ports.
            let host = n / 2;
            service(&format!(
                "serviceName=s{n}&servicePath=/{n}&port={}&outboundHostname=h{host}",
                8080 + n % 2
            ))
        });
        text(&services.collect(), &AddressBook::new())
    };
    let sections = |text: &str| text.lines().filter(|l| l.starts_with("resolvers ")).count();
    assert_eq!(sections(&rendered(10)), 1);
    assert_eq!(sections(&rendered(NAMES_A_SECTION)), 1);
    let many = rendered(4 * NAMES_A_SECTION);
    assert_eq!(sections(&many), 4);

    let lines = many.lines().filter(|l| l.contains("default-server"));
    let used: Vec<_> = lines
        .filter_map(|l| l.split(" resolvers ").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(used.len(), 4 * NAMES_A_SECTION);
    let mut members: BTreeMap<&str, usize> = BTreeMap::new();
    for section in &used {
        assert!(many.contains(&format!("\nresolvers {section}\n")));
        *members.entry(section).or_default() += 1;
    }
    assert_eq!(members.len(), 4);
    assert!(members.values().all(|count| *count < 2 * NAMES_A_SECTION));
    // Services stand in the order of their names, so partners are found by their servers.
    let section_of: BTreeMap<&str, &str> = many
        .lines()
        .filter_map(|l| l.strip_prefix("    server ")?.split(' ').nth(1))
        .zip(used)
        .collect();
    for host in 0..2 * NAMES_A_SECTION {
        let of = |port| section_of[format!("h{host}:{port}").as_str()];
        assert_eq!(of(8080), of(8081), "one name is asked for once");
    }
}

#[test]
fn the_order_by_acl_name_is_never_a_map() {
    let queries: Vec<String> = (0..20)
        .map(|n| format!("serviceName=s{n:02}&servicePath=/a,/{n}&port=80"))
        .collect();
    let table: RouteTable = queries.iter().map(|query| service(query)).collect();
    let by_name = |routing| {
        let settings = settings().with_order(RouteOrder::AclName);
        render(&table, &settings.with_routing(routing), &AddressBook::new())
    };
    for routing in [Routing::Auto, Routing::Acl] {
        let config = by_name(routing).unwrap();
        assert_eq!(config.form(), RoutingForm::Acl);
        // One rule a service, in order, though their paths are nested in each other's.
        assert_eq!(config.rules(), 20);
        let rules = config.main_text().lines();
        let rules = rules.filter(|line| line.contains("use_backend"));
        assert!(rules.is_sorted());
    }
    let map = by_name(Routing::Map);
    assert!(matches!(map, Err(RenderError::MapInAclNameOrder)));
}

#[test]
fn users_are_asked_for_who_they_are() {
    let table = table(&[
        "serviceName=own&users=bob:b,ann:a&servicePath.1=/a&port.1=80&servicePath.2=/b&port.2=81&ignoreAuthorization.2=true",
        "serviceName=plain&servicePath=/p&port=82",
        "serviceName=default&users=eve:e&servicePath=/d&port=83",
    ]);
    let text = text(&table, &AddressBook::new());
    let lists = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("sers"));
        lines.map(|line| line.trim().to_owned()).collect()
    };
    assert_eq!(
        lists(&text),
        [
            "userlist defaultUsers",
            "userlist ownUsers",
            "http-request auth realm default unless { http_auth(defaultUsers) }",
            "http-request auth realm own unless { http_auth(ownUsers) }",
        ]
    );
    let (_, own) = text.split_once("userlist ownUsers\n").unwrap();
    assert!(
        own.starts_with("    user ann password '$6$rounds=1000$"),
        "{own}"
    );
    assert_eq!(
        text.matches("http-request del-header Authorization")
            .count(),
        2
    );
    // The settings' users are for everybody who has none; no two lists share a name.
    let global = proxy_core::Credentials::parse("root:r", proxy_core::PasswordForm::Clear).unwrap();
    let with_users = settings()
        .with_routing(Routing::Acl)
        .with_users(global.resolve(None, &[]).unwrap());
    let config = render(&table, &with_users, &AddressBook::new()).unwrap();
    assert_eq!(
        lists(config.main_text()),
        [
            "userlist defaultUsers",
            "userlist defaultUsers:2",
            "userlist ownUsers",
            "http-request auth realm default unless { http_auth(defaultUsers:2) }",
            "http-request auth realm own unless { http_auth(ownUsers) }",
            "http-request auth realm plain unless { http_auth(defaultUsers) }",
        ]
    );
    // A template that knows no users would open what they protect.
    let old = Template::new("{{ backends[0].name }}").unwrap();
    assert!(matches!(
        render(&table, &settings().with_template(old), &AddressBook::new()),
        Err(RenderError::TemplateWithoutUsers)
    ));
}
