//! Instances with addresses and with names.

use std::net::{IpAddr, SocketAddr};

use proxy_consul::{Health, Instance};
use proxy_core::{Host, Service};
use proxy_haproxy::{AddressBook, Resolution};

use super::{known::usable, *};

fn instance(id: &str, address: &str, health: Health) -> Instance {
    let text = serde_json::json!({
        "node": "n", "id": id, "address": address, "port": 80, "tags": [], "meta": {},
        "health": match health {
            Health::Critical => "critical",
            Health::Maintenance => "maintenance",
            _ => "passing",
        },
    });
    serde_json::from_value(text).unwrap()
}

fn service(more: &str) -> Arc<Service> {
    let query = format!("serviceName=web&servicePath=/&discoveryType=catalog{more}");
    let params = proxy_core::Params::from_query(&query).unwrap();
    let rules =
        proxy_core::ReconfigureRules::default().with_catalog(proxy_core::CatalogUse::WithoutPort);
    let parsed = proxy_core::parse_reconfigure_with(&params, &rules).unwrap();
    parsed.value.service
}

fn table(more: &str) -> Places {
    Places::of(&[service(more)].into_iter().collect())
}

fn key() -> CatalogKey {
    let service = service("");
    service.catalog_key(&service.destinations()[0]).unwrap()
}

fn places(hosts: &str, book: AddressBook) -> (tempfile::TempDir, Addresses) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts");
    std::fs::write(&file, hosts).unwrap();
    let resolver = NameResolver::new(vec![], vec![]).unwrap();
    (
        folder,
        Addresses::new(resolver.with_hosts_file(&file), book),
    )
}

#[tokio::test]
async fn an_instance_with_a_name_is_where_the_name_is() {
    let (folder, places) = places("10.0.0.7 web.internal\n", AddressBook::new());
    let all = vec![
        instance("ip", "10.0.0.1", Health::Passing),
        instance("name", "web.internal", Health::Passing),
        instance("unknown", "nowhere.internal", Health::Passing),
    ];
    let view: CatalogView = [("web", all.clone())].into_iter().collect();
    let look_up = || places.look_up(["web"].into_iter(), &view, Asked::All, NAMES_ROUND);
    let found = || -> Vec<String> {
        let addresses = usable(&key(), &all, &places);
        addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(found(), ["10.0.0.1:80"]);
    assert!(look_up().await);
    assert_eq!(found(), ["10.0.0.1:80", "10.0.0.7:80"]);
    assert!(!look_up().await, "nothing moved");
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "10.0.0.8 web.internal\n").unwrap();
    assert!(look_up().await);
    assert_eq!(found(), ["10.0.0.1:80", "10.0.0.8:80"]);
    // What is not answered any more keeps its address.
    std::fs::write(&hosts, "").unwrap();
    assert!(!look_up().await);
    assert_eq!(found(), ["10.0.0.1:80", "10.0.0.8:80"]);
}

#[tokio::test]
async fn a_change_asks_for_new_names_alone_and_a_round_forgets_those_that_are_gone() {
    let (folder, places) = places("10.0.0.7 web.internal\n", AddressBook::new());
    let view = |name: &str| -> CatalogView {
        let all = vec![
            instance("name", name, Health::Passing),
            instance("unknown", "nowhere.internal", Health::Passing),
        ];
        [("web", all)].into_iter().collect()
    };
    let (before, after) = (view("web.internal"), view("other.internal"));
    let look_up = |view, asked| places.look_up(["web"].into_iter(), view, asked, NAMES_ROUND);
    let [web, other, nowhere] = ["web.internal", "other.internal", "nowhere.internal"]
        .map(|name| name.parse::<Host>().unwrap());
    assert!(look_up(&before, Asked::New).await);
    assert!(places.book().contains(&nowhere), "it was asked for");
    assert!(!places.answered().contains(&nowhere));

    let hosts = "10.0.0.8 web.internal\n10.0.0.9 nowhere.internal\n10.0.0.10 other.internal\n";
    std::fs::write(folder.path().join("hosts"), hosts).unwrap();
    let address = |host| places.book().get(host).address().map(|ip| ip.to_string());
    assert!(!look_up(&before, Asked::New).await, "nobody is asked again");
    assert_eq!(address(&web).as_deref(), Some("10.0.0.7"));
    assert_eq!(address(&nowhere), None);
    assert!(look_up(&after, Asked::New).await);
    assert_eq!(address(&other).as_deref(), Some("10.0.0.10"));

    assert!(look_up(&after, Asked::All).await);
    assert_eq!(address(&nowhere).as_deref(), Some("10.0.0.9"));
    assert!(!places.book().contains(&web), "nobody has that name");
}

#[test]
fn who_passes_is_asked_and_where_nobody_does_all_but_those_in_maintenance() {
    let host: Host = "old".parse().unwrap();
    let address = IpAddr::from([10, 0, 0, 9]);
    let book = [(
        host,
        Resolution::Dns {
            last: Some(address),
        },
    )]
    .into_iter()
    .collect();
    let (_folder, places) = places("", book);
    let of = |all: &[(&str, Health)]| -> Vec<String> {
        let all = all
            .iter()
            .map(|(address, health)| instance("a", address, *health));
        let all: Vec<_> = all.collect();
        let addresses = usable(&key(), &all, &places);
        addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect()
    };
    let (good, bad, down) = (Health::Passing, Health::Critical, Health::Maintenance);
    assert_eq!(of(&[("10.0.0.1", good), ("10.0.0.2", bad)]), ["10.0.0.1"]);
    assert_eq!(of(&[("old", bad), ("10.0.0.2", down)]), ["10.0.0.9"]);
    assert!(of(&[("0.0.0.0", good), ("::", good), ("not a name", good)]).is_empty());
}

#[test]
fn a_service_of_which_nothing_is_shown_keeps_what_it_has() {
    let (_folder, places) = places("", AddressBook::new());
    let table = table("");
    let view: CatalogView = [("web", vec![instance("ip", "10.0.0.1", Health::Passing)])]
        .into_iter()
        .collect();
    let mut known = Known::default();
    known.fill_for(&table, &view, &places);
    let before = known.clone();
    assert_ne!(before, Known::default());
    known.fill_for(&table, &CatalogView::default(), &places);
    assert_eq!(known, before);
}

#[test]
fn another_colour_begins_behind_the_slots_of_the_one_before() {
    let (_folder, places) = places("", AddressBook::new());
    let [blue, green] = ["blue", "green"].map(|color| table(&format!("&serviceColor={color}")));
    let view: CatalogView = [("web-blue", "10.0.0.1"), ("web-green", "10.0.0.2")]
        .map(|(name, ip)| (name, vec![instance("a", ip, Health::Passing)]))
        .into_iter()
        .collect();
    let slots = |known: &Known, table: &Places| -> Vec<Option<u8>> {
        let slots = known.slots.get(table.keys.first().unwrap()).unwrap();
        let last = |slot: &Option<SocketAddr>| match slot.as_ref()?.ip() {
            IpAddr::V4(ip) => Some(ip.octets()[3]),
            IpAddr::V6(_) => None,
        };
        slots.as_slice().iter().map(last).collect()
    };
    let goes_live = |known: &mut Known, table: &Places| {
        known.slots.retain(&table.keys);
        known.destinations = Arc::clone(&table.destinations);
    };
    let mut known = Known::default();
    known.fill_for(&blue, &view, &places);
    assert_eq!(slots(&known, &blue), [Some(1), None, None, None]);
    goes_live(&mut known, &blue);
    let mut unknown = known.clone();
    for (color, expected) in [
        (&green, [None, Some(2), None, None]),
        (&blue, [None, None, Some(1), None]),
        (&green, [None, None, None, Some(2)]),
        (&blue, [Some(1), None, None, None]),
    ] {
        known.fill_for(color, &view, &places);
        assert_eq!(slots(&known, color), expected);
        goes_live(&mut known, color);
    }
    // Of which nothing is known yet: it has nothing of the one before.
    unknown.fill_for(&green, &CatalogView::default(), &places);
    assert_eq!(slots(&unknown, &green), [None; 4]);
    assert_eq!(
        slots(&unknown, &blue),
        [Some(1), None, None, None],
        "while it is live"
    );
}
