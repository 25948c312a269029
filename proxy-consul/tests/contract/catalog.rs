//! The catalog, followed on real servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use proxy_consul::{
    Address, CallOutcome, Catalog, CatalogView, Client, ConsulSettings, Endpoints, Health,
    Observer, Operation, Timeouts,
};
use testkit::consul::{ClusterOptions, ConsulCluster, Registration};
use tokio::time::{Instant, timeout};

use crate::support::{DEADLINE, real_timeouts};

async fn cluster(options: ClusterOptions) -> ConsulCluster {
    let started = ConsulCluster::start(options).await;
    started.unwrap_or_else(|error| panic!("{error}"))
}

/// Counts requests by what they are for.
#[derive(Clone, Debug, Default)]
struct Counts(Arc<Mutex<BTreeMap<Operation, usize>>>);

impl Observer for Counts {
    fn request(&self, _: &Address, operation: Operation, _: CallOutcome, _: Duration) {
        *self.0.lock().unwrap().entry(operation).or_default() += 1;
    }
}

impl Counts {
    fn of(&self, operation: Operation) -> usize {
        let counts = self.0.lock().unwrap();
        counts.get(&operation).copied().unwrap_or_default()
    }
}

fn client(cluster: &ConsulCluster, token: Option<&str>, counts: &Counts) -> Client {
    client_within(real_timeouts(), cluster, token, counts)
}

/// One whose watches soon end without a change, for tests that wait until they have.
fn restless_client(cluster: &ConsulCluster, counts: &Counts) -> Client {
    let mut timeouts = real_timeouts();
    timeouts.watch_wait = Duration::from_millis(400);
    client_within(timeouts, cluster, None, counts)
}

fn client_within(
    timeouts: Timeouts,
    cluster: &ConsulCluster,
    token: Option<&str>,
    counts: &Counts,
) -> Client {
    let addresses = Endpoints::parse_list(&cluster.addresses()).unwrap();
    let mut builder = ConsulSettings::builder(addresses)
        .timeouts(timeouts)
        .observer(Arc::new(counts.clone()));
    if let Some(token) = token {
        builder = builder.token(token.to_owned().into());
    }
    Client::new(&builder.build().unwrap()).unwrap()
}

/// Waits until the catalog's watches were asked so often.
async fn until_watched(counts: &Counts, times: usize) {
    let asked = async {
        while counts.of(Operation::WatchCatalog) < times {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, asked).await.unwrap();
}

fn follow(client: Client, services: &[&str]) -> Catalog {
    let catalog = Catalog::start(client, CatalogView::default());
    catalog.follow(names(services));
    catalog
}

fn names(services: &[&str]) -> BTreeSet<Arc<str>> {
    services.iter().map(|name| Arc::from(*name)).collect()
}

fn instance(service: &str, nth: u16) -> Registration {
    let id = format!("{service}-{nth}");
    Registration::new(service, &id, ([10, 0, 0, 1], nth).into())
}

/// Waits until the ports of a service's instances of this health are these.
async fn until(catalog: &Catalog, service: &str, health: Health, ports: &[u16]) {
    let fits = |view: &CatalogView| {
        let known = view.instances(service).map(|known| &known[..]);
        let known = known.unwrap_or_default().iter();
        let found: BTreeSet<u16> = known
            .filter(|i| i.health == health)
            .map(|i| i.port)
            .collect();
        found == ports.iter().copied().collect()
    };
    let mut changes = catalog.changes();
    let waited = timeout(DEADLINE, changes.wait_for(fits)).await;
    if waited.is_err() {
        panic!("never {health:?} at {ports:?}: {:#?}", catalog.view());
    }
}

#[tokio::test]
async fn instances_are_followed() {
    let cluster = cluster(ClusterOptions::servers(1)).await;
    let counts = Counts::default();
    let catalog = follow(client(&cluster, None, &counts), &["web", "other"]);
    let [one, two] = [1, 2].map(|nth| instance("web", nth));
    cluster.register(&one).await.unwrap();
    until(&catalog, "web", Health::Passing, &[1]).await;
    cluster.register(&two.clone().tag("blue")).await.unwrap();
    until(&catalog, "web", Health::Passing, &[1, 2]).await;
    let view = catalog.view();
    let known = &view.instances("web").unwrap()[1];
    assert_eq!(
        (&*known.address, &known.tags[..]),
        ("10.0.0.1", &["blue".to_owned()][..])
    );

    // A check that warns counts as good, one that fails does not.
    cluster
        .register(&two.clone().status("warning"))
        .await
        .unwrap();
    cluster
        .register(&one.clone().status("critical"))
        .await
        .unwrap();
    until(&catalog, "web", Health::Critical, &[1]).await;
    until(&catalog, "web", Health::Passing, &[2]).await;
    cluster.register(&one).await.unwrap();
    until(&catalog, "web", Health::Passing, &[1, 2]).await;
    cluster.maintain(&one).await.unwrap();
    until(&catalog, "web", Health::Maintenance, &[1]).await;

    cluster.deregister(&two).await.unwrap();
    until(&catalog, "web", Health::Passing, &[]).await;
    cluster.deregister(&one).await.unwrap();
    until(&catalog, "web", Health::Maintenance, &[]).await;
    assert_eq!(
        catalog.view().instances("other").map(|known| known.len()),
        Some(0)
    );

    // What nobody follows any more is forgotten, and what is new is read.
    cluster.register(&instance("more", 3)).await.unwrap();
    catalog.follow(names(&["more"]));
    until(&catalog, "more", Health::Passing, &[3]).await;
    assert!(catalog.view().instances("web").is_none());
}

#[tokio::test]
async fn nothing_is_asked_while_nothing_changes() {
    let cluster = cluster(ClusterOptions::servers(1)).await;
    let services: Vec<String> = (0..20).map(|nth| format!("s{nth}")).collect();
    let all: Vec<&str> = services.iter().map(String::as_str).collect();
    for service in &all {
        cluster.register(&instance(service, 1)).await.unwrap();
    }
    let counts = Counts::default();
    let catalog = Catalog::start(restless_client(&cluster, &counts), CatalogView::default());
    // Without anything to follow, not even the watches.
    let view = catalog
        .look_up(&names(&all), Instant::now() + DEADLINE)
        .await;
    assert_eq!(view.iter().count(), 20);
    assert_eq!(counts.of(Operation::Instances), 20);
    assert_eq!(counts.of(Operation::WatchCatalog), 0);
    assert_eq!(catalog.view().iter().count(), 0, "nothing is kept");

    catalog.follow(names(&all));
    // Each of the two watches has ended twice without a change.
    until_watched(&counts, 6).await;
    catalog
        .look_up(&names(&all), Instant::now() + DEADLINE)
        .await;
    let before = counts.of(Operation::Instances);
    // As it began to follow, and as each watch first answered.
    assert!(before <= 20 * 4, "{before}");
    until_watched(&counts, 10).await;
    assert_eq!(counts.of(Operation::Instances), before);
}

#[tokio::test]
async fn a_token_without_rights_takes_no_instance_away() {
    let cluster = cluster(ClusterOptions::servers(1).with_acl()).await;
    let all = r#"node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }"#;
    let token = cluster.token("catalog", all).await.unwrap().0;
    let [web, other] = ["web", "other"].map(|service| instance(service, 1));
    for instance in [&web, &other] {
        cluster.register(instance).await.unwrap();
    }
    let counts = Counts::default();
    let catalog = follow(client(&cluster, Some(&token), &counts), &["web"]);
    until(&catalog, "web", Health::Passing, &[1]).await;

    // It may read nothing any more, and something changes so that it looks.
    let none = r#"key_prefix "x" { policy = "read" }"#;
    for rules in [none, r#"service_prefix "" { policy = "read" }"#] {
        cluster.set_rules("catalog", rules).await.unwrap();
        let before = counts.of(Operation::Services);
        let looked = async {
            for nth in 2.. {
                cluster.register(&instance("other", nth)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                if counts.of(Operation::Services) > before + 1 {
                    break;
                }
            }
        };
        timeout(DEADLINE, looked).await.unwrap();
        until(&catalog, "web", Health::Passing, &[1]).await;
    }
    // It may again, and the service is really gone.
    cluster.set_rules("catalog", all).await.unwrap();
    cluster.deregister(&web).await.unwrap();
    until(&catalog, "web", Health::Passing, &[]).await;
}

#[tokio::test]
async fn instances_stay_while_consul_is_away_and_follow_a_restored_one() {
    let mut cluster = cluster(ClusterOptions::servers(1)).await;
    let [one, two] = [1, 2].map(|nth| instance("web", nth));
    cluster.register(&one).await.unwrap();
    let snapshot = cluster.snapshot().await.unwrap();
    let counts = Counts::default();
    let catalog = follow(client(&cluster, None, &counts), &["web"]);
    cluster.register(&two).await.unwrap();
    until(&catalog, "web", Health::Passing, &[1, 2]).await;

    cluster.kill(0);
    // A start without Consul, with what an earlier run knew.
    let known = catalog.view();
    let later = Catalog::start(client(&cluster, None, &counts), known);
    later.follow(names(&["web", "new"]));
    let mut changes = later.changes();
    let troubled = changes.wait_for(|view| view.trouble.is_some());
    let trouble = timeout(DEADLINE, troubled)
        .await
        .unwrap()
        .unwrap()
        .trouble
        .clone();
    assert!(trouble.unwrap().contains("no Consul server answered"));
    until(&later, "web", Health::Passing, &[1, 2]).await;
    until(&catalog, "web", Health::Passing, &[1, 2]).await;

    cluster.restart(0).unwrap();
    cluster.wait_leader().await.unwrap();
    cluster.restore(snapshot).await.unwrap();
    for catalog in [&catalog, &later] {
        until(catalog, "web", Health::Passing, &[1]).await;
    }
    let mut changes = later.changes();
    let healed = changes.wait_for(|view| view.trouble.is_none());
    timeout(DEADLINE, healed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_token_that_loses_one_service_keeps_its_last_instances() {
    let cluster = cluster(ClusterOptions::servers(1).with_acl()).await;
    let nodes = r#"node_prefix "" { policy = "read" }"#;
    let all = format!(r#"{nodes} service_prefix "" {{ policy = "read" }}"#);
    let token = cluster.token("catalog", &all).await.unwrap().0;
    let [web, other] = ["web", "other"].map(|service| instance(service, 1));
    for instance in [&web, &other] {
        cluster.register(instance).await.unwrap();
    }
    let counts = Counts::default();
    let catalog = follow(client(&cluster, Some(&token), &counts), &["web", "other"]);
    until(&catalog, "web", Health::Passing, &[1]).await;

    // It may read the other still, and so it sees that Consul names services, and not this one.
    let one = format!(r#"{nodes} service "other" {{ policy = "read" }}"#);
    cluster.set_rules("catalog", &one).await.unwrap();
    let looked = async {
        for nth in 2.. {
            cluster.register(&instance("other", nth)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            if catalog.view().hidden().next().is_some() {
                break;
            }
        }
    };
    timeout(DEADLINE, looked).await.unwrap();
    let view = catalog.view();
    let (service, why) = view.hidden().next().unwrap();
    assert_eq!((service, view.hidden().count()), ("web", 1));
    assert!(why.contains("service:read"), "{why}");
    until(&catalog, "web", Health::Passing, &[1]).await;

    // It may again, and the service is really gone.
    cluster.set_rules("catalog", &all).await.unwrap();
    cluster.deregister(&web).await.unwrap();
    until(&catalog, "web", Health::Passing, &[]).await;
    assert_eq!(catalog.view().hidden().count(), 0);
}

/// What one change costs does not depend on how many services are followed.
#[tokio::test]
async fn a_change_is_read_and_not_the_catalog() {
    let cluster = cluster(ClusterOptions::servers(1)).await;
    let services: Vec<String> = (0..100).map(|nth| format!("s{nth}")).collect();
    let all: Vec<&str> = services.iter().map(String::as_str).collect();
    for service in &all {
        cluster.register(&instance(service, 1)).await.unwrap();
    }
    let counts = Counts::default();
    let catalog = follow(restless_client(&cluster, &counts), &all);
    for service in &all {
        until(&catalog, service, Health::Passing, &[1]).await;
    }
    // The first answers of both watches have everything read; then it is quiet.
    let quiet = async {
        loop {
            let (reads, watches) = (
                counts.of(Operation::Instances),
                counts.of(Operation::WatchCatalog),
            );
            until_watched(&counts, watches + 4).await;
            if counts.of(Operation::Instances) == reads {
                break;
            }
        }
    };
    timeout(DEADLINE, quiet).await.unwrap();

    let one = instance("s42", 1);
    let two = instance("s42", 2);
    let asked = || counts.of(Operation::Instances) + counts.of(Operation::Registrations);
    let mut costs = Vec::new();
    for step in 0..4 {
        let before = asked();
        match step {
            0 => cluster.register(&two).await.unwrap(),
            1 => cluster
                .register(&two.clone().status("critical"))
                .await
                .unwrap(),
            2 => cluster.register(&two).await.unwrap(),
            _ => cluster.deregister(&one).await.unwrap(),
        }
        let (health, ports): (_, &[u16]) = match step {
            0 | 2 => (Health::Passing, &[1, 2]),
            1 => (Health::Passing, &[1]),
            _ => (Health::Passing, &[2]),
        };
        until(&catalog, "s42", health, ports).await;
        // Whatever else it asks because of this, it has asked when the watches have waited in vain.
        until_watched(&counts, counts.of(Operation::WatchCatalog) + 4).await;
        costs.push(asked() - before);
    }
    println!("requests for each change: {costs:?}");
    assert!(costs.iter().all(|cost| *cost <= 8), "{costs:?}");
}
