//! Backends whose servers come and go.

use std::net::SocketAddr;

use proxy_core::{CatalogUse, ReconfigureRules, parse_reconfigure_with};

use super::*;
use crate::{Renderer, SlotBook, Slots};

fn of_catalog(query: &str) -> Arc<Service> {
    let rules = ReconfigureRules::default().with_catalog(CatalogUse::WithoutPort);
    let params = Params::from_query(query).unwrap();
    let parsed = parse_reconfigure_with(&params, &rules).unwrap();
    parsed.value.service
}

fn backend<'a>(text: &'a str, name: &str) -> &'a str {
    let start = text.find(&format!("backend {name}\n")).unwrap();
    let section = &text[start..];
    let own = section.split_once("\n\n").map_or(section, |(own, _)| own);
    own.trim_end()
}

fn book(service: &Service, ports: &[u16]) -> AddressBook {
    let key = service.catalog_key(&service.destinations()[0]).unwrap();
    let addresses = ports
        .iter()
        .map(|port| SocketAddr::from(([10, 0, 0, 1], *port)))
        .collect();
    let slots: SlotBook = [(key, Slots::default().filled_with(&addresses))]
        .into_iter()
        .collect();
    AddressBook::new().with_slots(slots)
}

#[test]
fn a_service_of_the_catalog_has_free_slots() {
    let service = of_catalog("serviceName=web&servicePath=/web&sessionType=sticky-server");
    let table: RouteTable = [Arc::clone(&service)].into_iter().collect();
    let rendered = text(&table, &book(&service, &[81, 82]));
    assert!(rendered.contains("    use_backend web-be if url_web\n"));
    assert_eq!(
        backend(&rendered, "web-be"),
        "backend web-be
    mode http
    cookie web-be insert indirect nocache httponly dynamic
    dynamic-cookie-key web-be
    server web-1 10.0.0.1:81 check
    server web-2 10.0.0.1:82 check
    server web-3 127.0.0.1:1 check disabled
    server web-4 127.0.0.1:1 check disabled"
    );
    // Nothing is known of it, and nobody checks it.
    let service = of_catalog("serviceName=web&servicePath=/web&skipCheck=true");
    let table: RouteTable = [service].into_iter().collect();
    let rendered = text(&table, &AddressBook::new());
    assert_eq!(
        backend(&rendered, "web-be"),
        "backend web-be
    mode http
    server web-1 127.0.0.1:1 disabled
    server web-2 127.0.0.1:1 disabled
    server web-3 127.0.0.1:1 disabled
    server web-4 127.0.0.1:1 disabled"
    );
}

#[test]
fn a_service_that_is_spread_over_a_name_begins_with_the_known_addresses() {
    let query = "serviceName=web&servicePath=/&port=80&discoveryType=DNS&replicas=";
    let known: Vec<_> = ["10.0.0.7", "10.0.0.8", "10.0.0.9"].map(address).into();
    let at = Resolution::Dns {
        last: known.last().copied(),
    };
    let mut book = AddressBook::new();
    book.insert_all("tasks.web".parse().unwrap(), at, known);
    let rendered = text(&table(&[&format!("{query}4")]), &book);
    assert_eq!(
        backend(&rendered, "web-be80"),
        "backend web-be80
    mode http
    default-server init-addr last,10.0.0.9,none resolvers dns resolve-prefer ipv4
    server web-1 tasks.web:80 check
    server web-2 tasks.web:80 check init-addr last,10.0.0.7,none
    server web-3 tasks.web:80 check init-addr last,10.0.0.8,none
    server web-4 tasks.web:80 check init-addr last,none
    server web-5 tasks.web:80 check init-addr last,none
    server web-6 tasks.web:80 check init-addr last,none
    server web-7 tasks.web:80 check init-addr last,none
    server web-8 tasks.web:80 check init-addr last,none"
    );
    // As many lines as may have an address, however many have one: a few more are no other configuration.
    let rendered = text(&table(&[&format!("{query}100")]), &book);
    let backend = backend(&rendered, "web-be80");
    assert_eq!(backend.matches("    server ").count(), 64);
    assert!(
        backend.ends_with(
            "    server web-64 tasks.web:80 check init-addr last,none
    default-server init-addr last,none
    server-template web- 65-128 tasks.web:80 check"
        ),
        "{backend}"
    );
}

#[test]
fn other_instances_are_rendered_after_others_too() {
    let service = of_catalog("serviceName=web&servicePath=/web");
    let table: RouteTable = [Arc::clone(&service)].into_iter().collect();
    let settings = settings().with_routing(Routing::Map);
    let mut renderer = Renderer::new(settings.clone());
    for ports in [&[][..], &[81], &[81, 82], &[82], &[82, 83, 84, 85, 86]] {
        let book = book(&service, ports);
        let again = renderer.render(&table, None, &book).unwrap();
        assert_eq!(
            again,
            render(&table, &settings, &book).unwrap(),
            "{ports:?}"
        );
    }
    // Another colour is another set of instances.
    let blue = of_catalog("serviceName=web&servicePath=/web&serviceColor=blue");
    let both = book(&service, &[81]);
    renderer.render(&table, None, &both).unwrap();
    let table: RouteTable = [blue].into_iter().collect();
    let again = renderer.render(&table, None, &both).unwrap();
    assert_eq!(again, render(&table, &settings, &both).unwrap());
    assert!(!again.main_text().contains("10.0.0.1:81"));
}

/// `redis` with several servers beside `redis-1`, which is one, and a second destination of `redis`.
const GROUP: [&str; 4] = [
    "serviceName=redis&discoveryType=catalog&reqMode=tcp&srcPort.1=6379&port.1=1&srcPort.2=6379&port.2=2&serviceGroup=g",
    "serviceName=redis-1&reqMode=tcp&srcPort=6379&port=1&serviceGroup=g&outboundHostname=127.0.0.1",
    "serviceName=dns&discoveryType=DNS&reqMode=tcp&srcPort=6379&port=1&serviceGroup=g",
    "serviceName=dns-2&reqMode=tcp&srcPort.1=6379&port.1=1&srcPort.2=6379&port.2=2&serviceGroup=g&outboundHostname=127.0.0.1",
];

#[test]
fn servers_of_one_group_have_names_of_their_own() {
    let table: RouteTable = GROUP.into_iter().map(of_catalog).collect();
    let rendered = text(&table, &AddressBook::new());
    let group = rendered
        .split_once("\nbackend tcpListen_g_6379\n")
        .unwrap()
        .1;
    let mut names: Vec<String> = Vec::new();
    let own = |line: &&str| line.is_empty() || line.starts_with(' ');
    for line in group.lines().take_while(own).map(str::trim) {
        if let Some(rest) = line.strip_prefix("server-template ") {
            let mut words = rest.split(' ');
            let (prefix, range) = (words.next().unwrap(), words.next().unwrap());
            let (from, to) = range.split_once('-').unwrap();
            let numbers = from.parse::<u32>().unwrap()..=to.parse().unwrap();
            names.extend(numbers.map(|nth| format!("{prefix}{nth}")));
        } else if let Some(rest) = line.strip_prefix("server ") {
            names.push(rest.split(' ').next().unwrap().to_owned());
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{group}");
    for name in [
        ".redis-1",
        ".redis-4",
        "..redis-4",
        "redis-1",
        ".dns-1",
        ".dns-2",
        "dns-2",
        "dns-2:2",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
}
