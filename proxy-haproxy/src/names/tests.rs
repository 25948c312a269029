use std::io::Write as _;

use testkit::dns::{Fault, TestDns};

use super::*;

/// Far more than an answer from this machine takes.
const DEADLINE: Duration = Duration::from_secs(5);

fn host(name: &str) -> Host {
    name.parse().unwrap()
}

fn hosts(names: &[&str]) -> BTreeSet<Host> {
    names.iter().map(|name| host(name)).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn dns_at(address: &str) -> Resolution {
    Resolution::Dns {
        last: Some(ip(address)),
    }
}

fn book(name: &str, resolution: Resolution) -> AddressBook {
    [(host(name), resolution)].into_iter().collect()
}

fn resolver(dns: &TestDns, search: &[&str]) -> NameResolver {
    let search = search
        .iter()
        .map(|domain| domain.parse().unwrap())
        .collect();
    NameResolver::new(vec![dns.address()], search)
        .unwrap()
        .with_hosts_file("/nonexistent")
}

async fn resolve_one(resolver: &NameResolver, name: &str, previous: &AddressBook) -> Resolution {
    let book = resolver
        .resolve_all(&hosts(&[name]), DEADLINE, previous)
        .await;
    assert_eq!(book.len(), 1);
    book.get(&host(name))
}

#[tokio::test]
async fn a_deadline_may_be_as_long_as_it_likes() {
    let resolver = NameResolver::new(vec!["127.0.0.1:9".parse().unwrap()], vec![]).unwrap();
    let resolver = resolver.with_hosts_file("/nonexistent");
    let found = resolver
        .resolve_all(&hosts(&["localhost"]), Duration::MAX, &AddressBook::new())
        .await;
    assert!(found.get(&host("localhost")).address().is_some());
}

#[tokio::test]
async fn a_name_that_dns_knows_is_left_to_haproxy() {
    let dns = TestDns::start().await.unwrap();
    dns.set("go-demo", [ip("10.0.0.2"), ip("10.0.0.1"), ip("::1")]);
    dns.set("six", [ip("::2")]);
    // As Docker names services of stacks.
    dns.set("Stack_web", [ip("10.0.0.8")]);
    let resolver = resolver(&dns, &[]);
    let none = AddressBook::new();
    assert_eq!(
        resolve_one(&resolver, "go-demo", &none).await,
        dns_at("10.0.0.1")
    );
    assert_eq!(resolve_one(&resolver, "six", &none).await, dns_at("::2"));
    for name in ["Stack_web", "stack_web", "stack_web."] {
        assert_eq!(
            resolve_one(&resolver, name, &none).await,
            dns_at("10.0.0.8")
        );
    }
    // The one in use stays while it is one of them.
    let used = book("go-demo", dns_at("10.0.0.2"));
    assert_eq!(
        resolve_one(&resolver, "go-demo", &used).await,
        dns_at("10.0.0.2")
    );
    dns.set("go-demo", [ip("10.0.0.3")]);
    assert_eq!(
        resolve_one(&resolver, "go-demo", &used).await,
        dns_at("10.0.0.3")
    );
    // Addresses are nobody's business.
    let book = resolver
        .resolve_all(&hosts(&["10.0.0.1"]), DEADLINE, &none)
        .await;
    assert!(book.is_empty());
}

#[tokio::test]
async fn what_dns_does_not_say_keeps_its_last_address() {
    let dns = TestDns::start().await.unwrap();
    let resolver = resolver(&dns, &["example"]);
    let known = book("go-demo", dns_at("10.0.0.1"));
    // Of several, the one in use is not the first that DNS gave: nothing about them is another than before.
    let mut several = AddressBook::new();
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(ip);
    several.insert_all(host("go-demo"), dns_at("10.0.0.2"), all);
    for fault in [
        Fault::NxDomain,
        Fault::ServFail,
        Fault::Refused,
        Fault::Empty,
        Fault::Garbage,
    ] {
        dns.fault_all(fault.clone());
        assert_eq!(
            resolve_one(&resolver, "go-demo", &known).await,
            dns_at("10.0.0.1"),
            "{fault:?}"
        );
        assert_eq!(
            resolve_one(&resolver, "new", &known).await,
            Resolution::Unknown,
            "{fault:?}"
        );
        let kept = resolver
            .resolve_all(&hosts(&["go-demo"]), DEADLINE, &several)
            .await;
        assert_eq!(kept, several, "{fault:?}");
    }
}

#[tokio::test]
async fn one_deadline_holds_for_all_names() {
    let dns = TestDns::start().await.unwrap();
    dns.set("healthy", [ip("10.0.0.9")]);
    let silent: Vec<String> = (0..300).map(|number| format!("silent-{number}")).collect();
    for name in &silent {
        dns.fault(name, Fault::Silent);
    }
    let mut names: Vec<&str> = silent.iter().map(String::as_str).collect();
    names.push("healthy");
    let previous: AddressBook = silent
        .iter()
        .map(|name| (host(name), dns_at("10.0.0.1")))
        .collect();

    let begun = Instant::now();
    let deadline = Duration::from_secs(1);
    let book = resolver(&dns, &[])
        .resolve_all(&hosts(&names), deadline, &previous)
        .await;
    assert!(begun.elapsed() < deadline * 2, "{:?}", begun.elapsed());
    assert_eq!(book.len(), 301);
    assert_eq!(book.get(&host("healthy")), dns_at("10.0.0.9"));
    assert_eq!(book.get(&host("silent-7")), dns_at("10.0.0.1"));
}

#[tokio::test]
async fn what_only_the_system_knows_is_an_address() {
    let dns = TestDns::start().await.unwrap();
    dns.set("db.a.example", [ip("10.0.0.4")]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "10.0.0.5 Legacy\n10.0.0.6 both").unwrap();
    dns.set("both", [ip("10.0.0.7")]);
    let resolver = resolver(&dns, &["b.example", "a.example"]).with_hosts_file(file.path());
    let none = AddressBook::new();
    let system = |address: &str| Resolution::System {
        address: ip(address),
    };

    assert_eq!(
        resolve_one(&resolver, "legacy", &none).await,
        system("10.0.0.5")
    );
    assert_eq!(
        resolve_one(&resolver, "db", &none).await,
        system("10.0.0.4")
    );
    assert_eq!(
        resolve_one(&resolver, "db.", &none).await,
        Resolution::Unknown
    );
    assert_eq!(
        resolve_one(&resolver, "both", &none).await,
        dns_at("10.0.0.7")
    );
    assert_eq!(
        resolve_one(&resolver, "localhost", &none).await,
        system("127.0.0.1")
    );

    dns.fault_all(Fault::Silent);
    assert_eq!(
        resolve_one(&resolver, "legacy", &none).await,
        system("10.0.0.5")
    );
    // What DNS said goes on, whatever a file says.
    let used = book("both", dns_at("10.0.0.7"));
    assert_eq!(
        resolve_one(&resolver, "both", &used).await,
        dns_at("10.0.0.7")
    );
}
