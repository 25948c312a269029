//! Discovery through real datagrams, against the test kit's DNS server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers say what they expect as its body does"
)]

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_peers::{
    Condition, Discover, DiscoverError, DnsDiscover, FollowSettings, NameServers, PeerAddress,
    PeerSet, Peers,
};
use testkit::dns::{Fault, TestDns};

const NAME: &str = "tasks.proxy";
/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(10);
/// The lookup's own deadline in tests of silence.
const SHORT: Duration = Duration::from_millis(400);

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn peers(list: &[&str]) -> BTreeSet<PeerAddress> {
    list.iter().map(|peer| peer.parse().unwrap()).collect()
}

fn tasks(dns: &TestDns) -> DnsDiscover {
    let port = NonZeroU16::new(8080).unwrap();
    DnsDiscover::new(NAME, port, NameServers::Given(vec![dns.address()]))
}

/// For what is not going to be answered.
fn hasty(dns: &TestDns) -> DnsDiscover {
    tasks(dns).deadline(SHORT)
}

fn follow(dns: &TestDns) -> Peers {
    let settings = FollowSettings::default()
        .least_pause(Duration::from_millis(20))
        .greatest_pause(Duration::from_millis(100));
    Peers::follow(Arc::new(hasty(dns)), settings)
}

async fn until(peers: &Peers, what: &str, holds: impl Fn(&PeerSet) -> bool) -> Arc<PeerSet> {
    let mut sets = peers.watch();
    let waited = tokio::time::timeout(DEADLINE, sets.wait_for(|set| holds(set))).await;
    match waited {
        Ok(set) => Arc::clone(&set.unwrap()),
        Err(_) => panic!("{what} never came; last: {:?}", peers.current()),
    }
}

fn is_stale(set: &PeerSet) -> bool {
    matches!(set.condition(), Condition::Stale { .. })
}

#[tokio::test]
async fn both_families_are_peers() {
    let dns = TestDns::start().await.unwrap();
    let ttl = Duration::from_secs(7);
    dns.set_with_ttl(NAME, ips(&["127.0.0.3", "127.0.0.2", "::1"]), ttl);

    let answer = tasks(&dns).discover().await.unwrap();

    let expected = peers(&["127.0.0.2:8080", "127.0.0.3:8080", "[::1]:8080"]);
    assert_eq!(*answer.peers(), expected);
    assert_eq!(answer.valid_for(), Some(ttl));
}

#[tokio::test]
async fn a_service_of_a_stack_is_found() {
    let dns = TestDns::start().await.unwrap();
    let port = NonZeroU16::new(8080).unwrap();
    for name in ["tasks.stack_proxy", "tasks._my_stack_proxy_"] {
        dns.set(name, ips(&["127.0.0.2"]));

        let tasks = DnsDiscover::new(name, port, NameServers::Given(vec![dns.address()]));
        let answer = tasks.discover().await.unwrap();

        assert_eq!(*answer.peers(), peers(&["127.0.0.2:8080"]));
    }
}

#[tokio::test]
async fn every_lookup_is_a_question_whatever_the_time_to_live() {
    let dns = TestDns::start().await.unwrap();
    dns.set_with_ttl(NAME, ips(&["127.0.0.2"]), Duration::from_secs(600));
    let tasks = tasks(&dns);
    tasks.discover().await.unwrap();

    dns.set(NAME, ips(&["127.0.0.3"]));

    let answer = tasks.discover().await.unwrap();
    assert_eq!(*answer.peers(), peers(&["127.0.0.3:8080"]));
}

#[tokio::test]
async fn more_peers_than_a_datagram_holds_are_all_found() {
    let dns = TestDns::start().await.unwrap();
    dns.set(NAME, (1..=250).map(|last| IpAddr::from([10, 0, 0, last])));

    let answer = tasks(&dns).discover().await.unwrap();

    assert_eq!(answer.peers().len(), 250);
}

#[tokio::test]
async fn each_failure_has_its_own_name() {
    let dns = TestDns::start().await.unwrap();
    dns.set(NAME, ips(&["127.0.0.2"]));
    let tasks = hasty(&dns);
    for (fault, expected) in [
        (Fault::NxDomain, "no such name"),
        (Fault::Empty, "no address"),
        (Fault::Silent, "silence"),
        (Fault::Late(SHORT * 5), "silence"),
        (Fault::Garbage, "silence"),
        (Fault::ServFail, "failed"),
        (Fault::Refused, "failed"),
    ] {
        dns.fault(NAME, fault.clone());
        let start = Instant::now();

        let error = tasks.discover().await.unwrap_err();

        let kind = match &error {
            DiscoverError::NoSuchName { .. } => "no such name",
            DiscoverError::NoAddress { .. } => "no address",
            DiscoverError::Silence { .. } => "silence",
            DiscoverError::Failed { .. } => "failed",
            _ => "other",
        };
        assert_eq!(kind, expected, "{fault:?}: {error:?}");
        assert!(error.to_string().contains(NAME), "{error}");
        assert!(
            start.elapsed() < SHORT * 5,
            "{fault:?}: {:?}",
            start.elapsed()
        );
    }
    dns.heal(NAME);
    assert_eq!(tasks.discover().await.unwrap().peers().len(), 1);
}

#[tokio::test]
async fn a_late_answer_within_the_deadline_counts() {
    let dns = TestDns::start().await.unwrap();
    dns.set(NAME, ips(&["127.0.0.2"]));
    dns.fault(NAME, Fault::Late(SHORT / 8));

    assert_eq!(tasks(&dns).discover().await.unwrap().peers().len(), 1);
}

#[tokio::test]
async fn a_lost_datagram_is_not_a_silent_server() {
    let dns = TestDns::start().await.unwrap();
    dns.set(NAME, ips(&["127.0.0.2", "::1"]));
    // The first question of each family.
    dns.fault(NAME, Fault::Lose(2));

    assert_eq!(tasks(&dns).discover().await.unwrap().peers().len(), 2);
}

#[tokio::test]
async fn no_server_at_all_is_an_error_in_time() {
    let dns = TestDns::start().await.unwrap();
    let tasks = hasty(&dns);
    dns.stop().await;
    let start = Instant::now();

    let error = tasks.discover().await.unwrap_err();

    assert!(start.elapsed() < SHORT * 5, "{:?}", start.elapsed());
    assert!(error.to_string().contains(NAME), "{error}");
}

#[tokio::test]
async fn the_second_server_answers_for_a_dead_first() {
    let dead = TestDns::start().await.unwrap();
    let dead_address = dead.address();
    dead.stop().await;
    let dns = TestDns::start().await.unwrap();
    dns.set(NAME, ips(&["127.0.0.2"]));
    let servers = NameServers::Given(vec![dead_address, dns.address()]);
    let tasks = DnsDiscover::new(NAME, NonZeroU16::new(1).unwrap(), servers);

    assert_eq!(tasks.discover().await.unwrap().peers().len(), 1);
}

#[tokio::test]
async fn a_name_that_is_none_is_an_error() {
    let servers = NameServers::Given(vec!["127.0.0.1:9".parse().unwrap()]);
    let long = "x".repeat(300);
    for name in [long.as_str(), "a..b"] {
        let tasks = DnsDiscover::new(name, NonZeroU16::new(1).unwrap(), servers.clone());
        let error = tasks.deadline(SHORT).discover().await.unwrap_err();
        assert!(matches!(error, DiscoverError::Failed { .. }), "{error:?}");
        assert!(error.source().is_some());
    }
}

#[tokio::test]
async fn peers_that_come_and_go_are_followed() {
    let dns = TestDns::start().await.unwrap();
    let short = Duration::ZERO;
    dns.set_with_ttl(NAME, ips(&["127.0.0.2"]), short);
    let followed = follow(&dns);
    until(&followed, "one peer", |set| set.peers().len() == 1).await;

    dns.set_with_ttl(NAME, ips(&["127.0.0.2", "127.0.0.3"]), short);
    until(&followed, "a second peer", |set| set.peers().len() == 2).await;

    dns.set_with_ttl(NAME, ips(&["127.0.0.3"]), short);
    let last = until(&followed, "one peer again", |set| set.peers().len() == 1).await;
    assert_eq!(*last.peers(), peers(&["127.0.0.3:8080"]));
    followed.shutdown().await;
}

#[tokio::test]
async fn every_failure_keeps_the_known_peers_until_an_answer_comes() {
    let dns = TestDns::start().await.unwrap();
    let ttl = Duration::ZERO;
    for fault in [
        Fault::Silent,
        Fault::NxDomain,
        Fault::Empty,
        Fault::ServFail,
    ] {
        dns.heal(NAME);
        dns.set_with_ttl(NAME, ips(&["127.0.0.2", "127.0.0.3"]), ttl);
        let followed = follow(&dns);
        until(&followed, "two peers", |set| set.peers().len() == 2).await;

        dns.fault(NAME, fault.clone());
        let stale = until(&followed, "stale", is_stale).await;
        assert_eq!(stale.peers().len(), 2, "{fault:?}");

        dns.set_with_ttl(NAME, ips(&["127.0.0.4"]), ttl);
        dns.heal(NAME);
        let healed = until(&followed, "healed", |set| !is_stale(set)).await;
        assert_eq!(*healed.peers(), peers(&["127.0.0.4:8080"]), "{fault:?}");
    }
}

#[tokio::test]
async fn a_refresh_sees_what_changed_this_moment() {
    let dns = TestDns::start().await.unwrap();
    dns.set_with_ttl(NAME, ips(&["127.0.0.2"]), Duration::from_secs(600));
    let followed = Peers::follow(Arc::new(tasks(&dns)), FollowSettings::default());
    until(&followed, "one peer", |set| set.peers().len() == 1).await;

    dns.set(NAME, ips(&["127.0.0.2", "127.0.0.3"]));
    let now = followed.refresh(DEADLINE).await;

    assert_eq!(now.peers().len(), 2);
}
