//! What is broken, and when: drawn from a seed, so that the seed repeats it.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use testkit::dns;
use testkit::link::Disturbance;

/// How long faults go on in one round, before all of them are healed.
pub(super) const FAULTS_LAST: Duration = Duration::from_secs(22);
/// The shortest and the longest that one fault lasts.
const LASTS_MS: std::ops::Range<u64> = 300..6_000;
/// A full disk lasts longer: what failed for its sake is tried again less and less often.
const DISK_LASTS_MS: std::ops::Range<u64> = 300..18_000;
/// How many faults a round has.
const COUNT: std::ops::Range<usize> = 8..14;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// A Consul server is killed and comes back with its data.
    ConsulKill,
    /// A Consul server is stopped in its tracks and goes on.
    ConsulFreeze,
    /// A replica's server is killed, its HAProxy runs on, and the next server takes it over.
    ServerKill,
    /// A replica's server is stopped in its tracks and goes on.
    ServerFreeze,
    /// A replica's server and HAProxy are killed and start again.
    Crash,
    /// A HAProxy's master is killed.
    MasterKill,
    /// A HAProxy's worker is killed.
    WorkerKill,
    /// A HAProxy's master is stopped in its tracks and goes on.
    MasterFreeze,
    /// A HAProxy's worker is stopped in its tracks and goes on.
    WorkerFreeze,
    /// The link from a replica to Consul is cut, held, slow, or spoils the answers.
    StoreLink,
    /// The link from all replicas to one is.
    PeerLink,
    /// The swarm's DNS is late, silent, empty or wrong.
    Dns,
    /// The disk with a replica's configuration or state is full.
    Disk,
}

/// Which Consul server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Leader,
    Server(usize),
}

/// Which servers' links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    One(usize),
    All,
}

/// Which folder's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folder {
    Configs,
    State,
}

/// What DNS does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Naming {
    /// All names, those of services too.
    All(dns::Fault),
    /// The replicas' name alone.
    Replicas(dns::Fault),
    /// Addresses where nobody is stand beside the replicas'.
    DeadAddresses,
    /// A replica's address is missing.
    Missing(usize),
}

/// One fault. Replicas and servers are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    ConsulKill(Whom),
    ConsulFreeze(Whom),
    ServerKill(usize),
    ServerFreeze(usize),
    Crash(usize),
    MasterKill(usize),
    WorkerKill(usize),
    MasterFreeze(usize),
    WorkerFreeze(usize),
    StoreLink(usize, Links, Disturbance),
    PeerLink(usize, Disturbance),
    Dns(Naming),
    Disk(usize, Folder),
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// From the beginning of the round.
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) fault: Fault,
}

/// What there is to break.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'a> {
    pub(super) replicas: usize,
    pub(super) servers: usize,
    pub(super) kinds: &'a [Kind],
}

/// One round's faults, in the order of time. Where Consul is killed at all, the leader is first.
pub(super) fn draw(seed: u64, round: u32, extent: Extent<'_>) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed.wrapping_add(u64::from(round).wrapping_mul(0x9E37_79B9)));
    let kinds = extent.kinds;
    let mut steps = Vec::new();
    if kinds.contains(&Kind::ConsulKill) {
        steps.push(Step {
            at: Duration::from_millis(500),
            lasts: Duration::from_millis(rng.u64(2_000..5_000)),
            fault: Fault::ConsulKill(Whom::Leader),
        });
    }
    let latest = u64::try_from(FAULTS_LAST.as_millis()).unwrap_or(u64::MAX);
    for _ in 0..rng.usize(COUNT) {
        let Some(kind) = rng.choice(kinds) else {
            break;
        };
        steps.push(Step {
            at: Duration::from_millis(rng.u64(1_000..latest)),
            lasts: Duration::from_millis(rng.u64(match kind {
                Kind::Disk => DISK_LASTS_MS,
                _ => LASTS_MS,
            })),
            fault: fault(*kind, &mut rng, extent),
        });
    }
    steps.sort_by_key(|step| step.at);
    steps
}

fn fault(kind: Kind, rng: &mut Rng, extent: Extent<'_>) -> Fault {
    let replica = rng.usize(0..extent.replicas);
    let server = rng.usize(0..extent.servers);
    let whom = match rng.u8(0..3) {
        0 => Whom::Server(server),
        _ => Whom::Leader,
    };
    match kind {
        Kind::ConsulKill => Fault::ConsulKill(whom),
        Kind::ConsulFreeze => Fault::ConsulFreeze(whom),
        Kind::ServerKill => Fault::ServerKill(replica),
        Kind::ServerFreeze => Fault::ServerFreeze(replica),
        Kind::Crash => Fault::Crash(replica),
        Kind::MasterKill => Fault::MasterKill(replica),
        Kind::WorkerKill => Fault::WorkerKill(replica),
        Kind::MasterFreeze => Fault::MasterFreeze(replica),
        Kind::WorkerFreeze => Fault::WorkerFreeze(replica),
        Kind::StoreLink => {
            let links = if rng.bool() {
                Links::All
            } else {
                Links::One(server)
            };
            Fault::StoreLink(replica, links, disturbance(rng))
        }
        Kind::PeerLink => Fault::PeerLink(replica, disturbance(rng)),
        Kind::Dns => Fault::Dns(naming(rng, replica)),
        Kind::Disk => {
            let folder = if rng.u8(0..3) == 0 {
                Folder::State
            } else {
                Folder::Configs
            };
            Fault::Disk(replica, folder)
        }
    }
}

fn disturbance(rng: &mut Rng) -> Disturbance {
    match rng.u8(0..6) {
        0 => Disturbance::Cut,
        1 => Disturbance::BlackHole,
        2 => Disturbance::Delay(Duration::from_millis(rng.u64(20..1_500))),
        3 => Disturbance::Garbage,
        4 => Disturbance::Half,
        _ => Disturbance::Slow,
    }
}

fn naming(rng: &mut Rng, replica: usize) -> Naming {
    match rng.u8(0..7) {
        0 => Naming::All(dns::Fault::Silent),
        1 => Naming::All(dns::Fault::Late(Duration::from_millis(rng.u64(100..3_000)))),
        2 => Naming::All(dns::Fault::Garbage),
        3 => Naming::Replicas(dns::Fault::Empty),
        4 => Naming::Replicas(dns::Fault::NxDomain),
        5 => Naming::DeadAddresses,
        _ => Naming::Missing(replica),
    }
}

// === impl Fault ===

impl Fault {
    /// What it is of, for the count at the end.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::ConsulKill(_) => Kind::ConsulKill,
            Self::ConsulFreeze(_) => Kind::ConsulFreeze,
            Self::ServerKill(_) => Kind::ServerKill,
            Self::ServerFreeze(_) => Kind::ServerFreeze,
            Self::Crash(_) => Kind::Crash,
            Self::MasterKill(_) => Kind::MasterKill,
            Self::WorkerKill(_) => Kind::WorkerKill,
            Self::MasterFreeze(_) => Kind::MasterFreeze,
            Self::WorkerFreeze(_) => Kind::WorkerFreeze,
            Self::StoreLink(..) => Kind::StoreLink,
            Self::PeerLink(..) => Kind::PeerLink,
            Self::Dns(_) => Kind::Dns,
            Self::Disk(..) => Kind::Disk,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = |whom: &Whom| match whom {
            Whom::Leader => "the leader".to_owned(),
            Whom::Server(server) => format!("server {server}"),
        };
        match self {
            Self::ConsulKill(who) => write!(f, "kill {} of Consul", whom(who)),
            Self::ConsulFreeze(who) => write!(f, "freeze {} of Consul", whom(who)),
            Self::ServerKill(r) => write!(f, "kill the server of replica {}", r + 1),
            Self::ServerFreeze(r) => write!(f, "freeze the server of replica {}", r + 1),
            Self::Crash(r) => write!(f, "crash replica {}", r + 1),
            Self::MasterKill(r) => write!(f, "kill HAProxy's master of replica {}", r + 1),
            Self::WorkerKill(r) => write!(f, "kill HAProxy's worker of replica {}", r + 1),
            Self::MasterFreeze(r) => write!(f, "freeze HAProxy's master of replica {}", r + 1),
            Self::WorkerFreeze(r) => write!(f, "freeze HAProxy's worker of replica {}", r + 1),
            Self::StoreLink(r, Links::All, how) => {
                write!(f, "link of replica {} to Consul: {how:?}", r + 1)
            }
            Self::StoreLink(r, Links::One(server), how) => {
                write!(
                    f,
                    "link of replica {} to server {server} of Consul: {how:?}",
                    r + 1
                )
            }
            Self::PeerLink(r, how) => write!(f, "links to replica {}: {how:?}", r + 1),
            Self::Dns(Naming::All(how)) => write!(f, "DNS for all names: {how:?}"),
            Self::Dns(Naming::Replicas(how)) => write!(f, "DNS for tasks.proxy: {how:?}"),
            Self::Dns(Naming::DeadAddresses) => f.write_str("DNS: dead addresses in tasks.proxy"),
            Self::Dns(Naming::Missing(r)) => write!(f, "DNS: no replica {} in tasks.proxy", r + 1),
            Self::Disk(r, Folder::Configs) => {
                write!(f, "full disk below CONFIGS_PATH of replica {}", r + 1)
            }
            Self::Disk(r, Folder::State) => {
                write!(f, "full disk below STATE_PATH of replica {}", r + 1)
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:>6.2} s for {lasts:.2} s: {}", self.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(kinds: &[Kind]) -> Extent<'_> {
        Extent {
            replicas: 3,
            servers: 3,
            kinds,
        }
    }

    #[test]
    fn a_seed_repeats_its_schedule_and_another_does_not() {
        let all = extent(Kind::value_variants());
        assert_eq!(draw(7, 1, all), draw(7, 1, all));
        assert_ne!(draw(7, 1, all), draw(8, 1, all));
        assert_ne!(draw(7, 1, all), draw(7, 2, all));
    }

    #[test]
    fn the_leader_is_first_and_every_kind_comes() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let steps = draw(seed, 0, extent(Kind::value_variants()));
            assert_eq!(steps[0].fault, Fault::ConsulKill(Whom::Leader));
            assert!(steps.iter().all(|step| step.at < FAULTS_LAST));
            seen.extend(steps.iter().map(|step| step.fault.kind()));
        }
        assert_eq!(seen.len(), Kind::value_variants().len(), "{seen:?}");
    }

    #[test]
    fn only_what_is_asked_for_breaks() {
        let steps = draw(1, 0, extent(&[Kind::Dns]));
        assert!(steps.iter().all(|step| step.fault.kind() == Kind::Dns));
        assert!(draw(1, 0, extent(&[])).is_empty());
    }
}
