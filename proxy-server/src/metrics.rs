//! The control plane's own figures, for Prometheus.
//!
//! Labels come from closed sets or from the settings (the addresses of the store), never from
//! requests or error texts.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    carrier::{Applied, Reason},
    drift::Against,
    engine::Snapshot,
};

/// Reloads take tens of milliseconds with few services and seconds with very many.
const RELOAD_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Consul answers in about a millisecond, and its watches after 10 s.
const STORE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0];

/// All figures of one replica.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    changes: Family<ChangeLabels, Counter>,
    applies: Family<ApplyLabels, Counter>,
    apply_seconds: Histogram,
    lost_races: Counter,
    store_requests: Family<StoreLabels, Counter>,
    store_seconds: Family<AddressLabel, Histogram>,
    peer_calls: Family<PeerLabels, Counter>,
    peers: Gauge,
    revision: Gauge<u64, AtomicU64>,
    services: Gauge,
    quarantined: Gauge,
    quarantined_by_name: Family<ServiceLabel, Gauge>,
    degraded: Gauge,
    store_live: Gauge,
    live: Gauge,
    haproxy_up: Gauge,
    old_workers: Gauge,
    oldest_worker: Gauge,
    drift: Family<DriftLabels, Counter>,
    certificates: Family<CertificateLabel, Gauge>,
}

/// How many quarantined services the metrics name; `status` names all.
const MOST_NAMED: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriftLabels {
    against: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: String,
}

/// At most as many as there may be certificates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    endpoint: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApplyLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    address: String,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AddressLabel {
    address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabels {
    outcome: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Figures at zero.
    #[must_use]
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("proxy");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        let metrics = Self {
            changes: Family::default(),
            applies: Family::default(),
            apply_seconds: Histogram::new(RELOAD_BUCKETS),
            lost_races: Counter::default(),
            store_requests: Family::default(),
            store_seconds: Family::new_with_constructor(|| Histogram::new(STORE_BUCKETS)),
            peer_calls: Family::default(),
            peers: Gauge::default(),
            revision: Gauge::default(),
            services: Gauge::default(),
            quarantined: Gauge::default(),
            quarantined_by_name: Family::default(),
            degraded: Gauge::default(),
            store_live: Gauge::default(),
            live: Gauge::default(),
            haproxy_up: Gauge::default(),
            old_workers: Gauge::default(),
            oldest_worker: Gauge::default(),
            drift: Family::default(),
            certificates: Family::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register(
            "changes",
            "Calls that change something, by endpoint and outcome",
            m.changes.clone(),
        );
        registry.register(
            "applies",
            "Configurations made live, by what it took and why",
            m.applies.clone(),
        );
        registry.register_with_unit(
            "apply",
            "Time to make a configuration live",
            Unit::Seconds,
            m.apply_seconds.clone(),
        );
        registry.register(
            "lost_races",
            "Commits planned again because another replica was first",
            m.lost_races.clone(),
        );
        registry.register(
            "store_requests",
            "Requests to the store, by address, operation and outcome",
            m.store_requests.clone(),
        );
        registry.register_with_unit(
            "store_request",
            "Time of requests to the store, by address",
            Unit::Seconds,
            m.store_seconds.clone(),
        );
        registry.register(
            "peer_calls",
            "Announcements to peers, by outcome",
            m.peer_calls.clone(),
        );
        registry.register(
            "peers",
            "Replicas found at the last announcement, this one included",
            m.peers.clone(),
        );
        registry.register(
            "revision",
            "The number of the commit that this replica knows",
            m.revision.clone(),
        );
        registry.register("services", "Services that are served", m.services.clone());
        registry.register(
            "quarantined_services",
            "Services whose stored version cannot be served",
            m.quarantined.clone(),
        );
        registry.register(
            "quarantined",
            "1 for each service that is not served as stored (the first 100 by name)",
            m.quarantined_by_name.clone(),
        );
        registry.register(
            "degraded_services",
            "Services that the store lost or this release cannot read",
            m.degraded.clone(),
        );
        registry.register(
            "store_live",
            "1 while the store is followed",
            m.store_live.clone(),
        );
        registry.register(
            "table_live",
            "1 while the last configuration that was made from the stored table is loaded; see haproxy_up as well",
            m.live.clone(),
        );
        registry.register(
            "drift",
            "Checks that found another table at the same commit, by whose it was",
            m.drift.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When each certificate that is shown ends, since 1970",
            Unit::Seconds,
            m.certificates.clone(),
        );
        registry.register("haproxy_up", "1 while HAProxy runs", m.haproxy_up.clone());
        registry.register(
            "haproxy_old_workers",
            "Workers that reloads have replaced and that finish their connections",
            m.old_workers.clone(),
        );
        registry.register_with_unit(
            "haproxy_oldest_worker_age",
            "How long ago the oldest of them was started",
            Unit::Seconds,
            m.oldest_worker.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// The figures as text.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    pub(crate) fn change(&self, endpoint: &'static str, outcome: &'static str) {
        let labels = ChangeLabels { endpoint, outcome };
        self.changes.get_or_create(&labels).inc();
    }

    pub(crate) fn applied(&self, applied: Applied, reason: Reason, took: Duration) {
        let outcome = match applied {
            Applied::Unchanged => "unchanged",
            Applied::Started => "started",
            Applied::Reloaded => "reloaded",
            Applied::Runtime => "runtime",
        };
        let reason = reason.word();
        self.applies
            .get_or_create(&ApplyLabels { outcome, reason })
            .inc();
        if applied != Applied::Unchanged {
            self.apply_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn apply_failed(&self, reason: Reason) {
        let (outcome, reason) = ("failed", reason.word());
        self.applies
            .get_or_create(&ApplyLabels { outcome, reason })
            .inc();
    }

    pub(crate) fn lost_race(&self) {
        self.lost_races.inc();
    }

    pub(crate) fn store_request(
        &self,
        address: &str,
        operation: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        let address = address.to_owned();
        let label = AddressLabel {
            address: address.clone(),
        };
        self.store_seconds
            .get_or_create(&label)
            .observe(took.as_secs_f64());
        let labels = StoreLabels {
            address,
            operation,
            outcome,
        };
        self.store_requests.get_or_create(&labels).inc();
    }

    pub(crate) fn drift(&self, against: Against) {
        let against = against.word();
        self.drift.get_or_create(&DriftLabels { against }).inc();
    }

    pub(crate) fn peer_call(&self, outcome: &'static str) {
        self.peer_calls.get_or_create(&PeerLabels { outcome }).inc();
    }

    pub(crate) fn peers(&self, count: usize) {
        self.peers.set(gauge(count));
    }

    pub(crate) fn haproxy(&self, up: &crate::carrier::CarrierCondition) {
        self.haproxy_up
            .set(i64::from(*up == crate::carrier::CarrierCondition::Running));
    }

    pub(crate) fn old_workers(&self, old: proxy_haproxy::OldWorkers) {
        self.old_workers.set(gauge(old.count));
        let seconds = i64::try_from(old.oldest.as_secs());
        self.oldest_worker.set(seconds.unwrap_or(i64::MAX));
    }

    /// The certificates that are shown, and when they end.
    pub(crate) fn certificates<'a>(&self, ends: impl Iterator<Item = (&'a str, SystemTime)>) {
        self.certificates.clear();
        for (name, end) in ends {
            let name = name.to_owned();
            let end = end.duration_since(SystemTime::UNIX_EPOCH);
            let seconds = i64::try_from(end.unwrap_or_default().as_secs());
            let gauge = self.certificates.get_or_create(&CertificateLabel { name });
            gauge.set(seconds.unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn table(&self, snapshot: &Snapshot) {
        self.revision
            .set(snapshot.revision().map_or(0, |r| r.number));
        self.services.set(gauge(snapshot.served.len()));
        self.quarantined.set(gauge(snapshot.quarantined.len()));
        self.quarantined_by_name.clear();
        for name in snapshot.quarantined.keys().take(MOST_NAMED) {
            let service = name.to_string();
            let label = ServiceLabel { service };
            self.quarantined_by_name.get_or_create(&label).set(1);
        }
        self.degraded.set(gauge(snapshot.view.degraded().len()));
        let live = snapshot.view.condition == proxy_core::StoreCondition::Live;
        self.store_live.set(i64::from(live));
        let served = snapshot.failure.is_none() && snapshot.quarantined.is_empty();
        self.live.set(i64::from(served && snapshot.is_loaded()));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
