//! Steady requests through every replica, and which of them may fail: those through a HAProxy that
//! was itself killed or frozen, from then until it serves again. A kept connection that ended with
//! it fails its next request, however late that is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use testkit::haproxy::get;
use testkit::load::{Connections, Load, LoadPlan, Transport};
use testkit::topology::Replica;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::stage::{HELLO, Stage};

/// Requests per second and clients of each load; a replica has three.
const RATE: u32 = 30;
const CLIENTS: u32 = 4;
/// The pause between two tries of a HAProxy that was broken.
const PROBE: Duration = Duration::from_millis(10);
/// It serves again when every try succeeds for so long.
const STEADY: Duration = Duration::from_millis(250);
/// How long one try may take.
const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// How long a HAProxy may take to serve again, at the very most.
const AGAIN_DEADLINE: Duration = Duration::from_secs(30);
/// How soon it should. More is told and fails nothing: it is a matter of the machine.
pub(super) const AGAIN_PROMISE: Duration = Duration::from_secs(2);
/// Failures of one load that are told one by one.
const SHOWN: usize = 5;

/// The traffic, and the excuses for its failures.
#[derive(Debug)]
pub(super) struct Traffic {
    loads: Vec<Stream>,
    excuses: Arc<Mutex<Vec<Excuse>>>,
    probes: JoinSet<()>,
    start: Instant,
}

#[derive(Debug)]
struct Stream {
    replica: usize,
    what: &'static str,
    load: Load,
    judged: usize,
}

/// Why requests through a replica may fail, and for how long.
#[derive(Debug, Clone)]
struct Excuse {
    replica: usize,
    why: String,
    from: Instant,
    /// When it served again.
    to: Option<Instant>,
    /// Whether the server was there all the time to see to it.
    counted: Counted,
    /// How long that took, where it was.
    again: Option<Duration>,
}

/// An excuse that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open(usize);

/// What came of the traffic.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// How long each HAProxy that was killed took to serve again, and what killed it.
    pub(super) again: Vec<(Duration, String)>,
}

// === impl Traffic ===

impl Traffic {
    pub(super) fn start(stage: &Stage) -> Self {
        let mut loads = Vec::new();
        for (replica, running) in stage.topology.replicas.iter().enumerate() {
            for (what, path, connections) in [
                ("kept connections", "/steady", Connections::KeptAlive),
                ("new connections", "/steady", Connections::OneEach),
                ("a backend by its name", "/named", Connections::OneEach),
            ] {
                let load = Load::start(&LoadPlan {
                    address: running.http(),
                    transport: Transport::Plain,
                    host: "localhost".to_owned(),
                    path: path.to_owned(),
                    expect: HELLO.to_owned(),
                    rate: RATE,
                    clients: CLIENTS,
                    connections,
                });
                loads.push(Stream {
                    replica,
                    what,
                    load,
                    judged: 0,
                });
            }
        }
        Self {
            loads,
            excuses: Arc::default(),
            probes: JoinSet::new(),
            start: Instant::now(),
        }
    }

    /// From now on requests through this replica may fail.
    pub(super) fn excuse(&self, replica: usize, why: &str) -> Open {
        let mut excuses = self.excuses();
        excuses.push(Excuse {
            replica,
            why: why.to_owned(),
            from: Instant::now(),
            to: None,
            counted: Counted::No,
            again: None,
        });
        Open(excuses.len() - 1)
    }

    /// What was broken is whole, or will be by itself: the excuse ends when the replica serves again.
    /// With `counted` that time is told at the end.
    pub(super) fn until_served(&mut self, open: Open, replica: &Replica, counted: Counted) {
        let begun = Instant::now();
        if let Some(excuse) = self.excuses().get_mut(open.0) {
            excuse.counted = counted;
        }
        let excuses = Arc::clone(&self.excuses);
        let address = replica.http();
        self.probes.spawn(async move {
            let mut steady: Option<Instant> = None;
            while begun.elapsed() < AGAIN_DEADLINE {
                let asked = Instant::now();
                let answer = timeout(PROBE_DEADLINE, get(address, "localhost", "/steady")).await;
                if !matches!(answer, Ok(Ok(answer)) if answer.status == 200) {
                    steady = None;
                    sleep(PROBE).await;
                    continue;
                }
                // Others of the processes that end may answer once more.
                let since = *steady.get_or_insert(asked);
                if since.elapsed() > STEADY {
                    let mut excuses = excuses.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(excuse) = excuses.get_mut(open.0) {
                        excuse.to = Some(Instant::now());
                        excuse.again = (excuse.counted == Counted::Yes).then(|| since - begun);
                    }
                    return;
                }
                sleep(PROBE).await;
            }
        });
    }

    /// The server of a replica is broken too: what is down there is not seen to for a while.
    pub(super) fn unattended(&self, replica: usize) {
        let mut excuses = self.excuses();
        let open = excuses
            .iter_mut()
            .filter(|it| it.replica == replica && it.to.is_none());
        open.for_each(|excuse| excuse.counted = Counted::No);
    }

    /// Waits until every replica that was excused serves again, and judges what failed since the
    /// last time.
    pub(super) async fn judge(&mut self) -> Vec<String> {
        while self.probes.join_next().await.is_some() {}
        let excuses = self.excuses().clone();
        let mut objections: Vec<String> = excuses
            .iter()
            .filter(|excuse| excuse.to.is_none())
            .map(|excuse| {
                let Excuse { replica, why, .. } = excuse;
                format!("replica {} did not serve again: {why}", replica + 1)
            })
            .collect();
        for stream in &mut self.loads {
            let failed = stream.load.report().failed;
            let new = failed.get(stream.judged..).unwrap_or_default();
            let unexcused: Vec<_> = new
                .iter()
                .filter(|failed| {
                    !excuses.iter().any(|excuse| {
                        excuse.replica == stream.replica
                            && failed.ended >= excuse.from
                            && excuse.to.is_some_and(|to| failed.connected <= to)
                    })
                })
                .collect();
            stream.judged = failed.len();
            for failed in unexcused.iter().take(SHOWN) {
                let at = failed.begun.duration_since(self.start).as_secs_f64();
                objections.push(format!(
                    "replica {}, {}: a request {at:.2} s after the start failed without an excuse: {} ({} such)",
                    stream.replica + 1,
                    stream.what,
                    failed.reason,
                    unexcused.len(),
                ));
            }
        }
        objections
    }

    /// Ends it and counts.
    pub(super) async fn stop(self) -> Sum {
        let mut sum = Sum::default();
        for stream in self.loads {
            let report = stream.load.stop().await;
            sum.answered += report.answered;
            sum.failed += report.failed();
        }
        let excuses = self.excuses.lock().unwrap_or_else(PoisonError::into_inner);
        let again = excuses
            .iter()
            .filter_map(|excuse| Some((excuse.again?, excuse.why.clone())));
        sum.again = again.collect();
        sum.again.sort_unstable();
        sum
    }

    fn excuses(&self) -> MutexGuard<'_, Vec<Excuse>> {
        self.excuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the time until a replica serves again is told at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Yes,
    No,
}
