//! Replicas without a shared store under random schedules: changes anywhere, sides that do not see each
//! other, messages that come late, doubled or not at all, restarts. However it went, all end equal, and
//! with what was written last. `REGISTERS_SEED=<number>` draws other schedules, `REGISTERS_CASES=<number>` more.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::testing::under_random_schedules;

const CASES: u32 = 800;
const REPLICAS: [&str; 4] = ["a", "b", "c", "d"];
const SERVICES: [&str; 3] = ["x", "y", "z"];

/// What happens. Replicas and services by their places.
#[derive(Clone, Debug)]
enum Step {
    /// A replica acknowledges these changes, in one commit.
    Change(usize, Vec<(usize, Written)>),
    /// What a replica holds of a service is told to another, as announcements do, so often.
    Tell(usize, usize, usize, usize),
    /// The same, but it is under way until one of these is [`Step::Arrive`].
    Send(usize, usize),
    /// What was sent as the n-th arrives at a replica, whether or not it did before.
    Arrive(usize, usize),
    /// From now on each replica reaches those of its own side.
    Split([bool; 4]),
    /// A replica compares with those that it reaches.
    Round(usize),
    /// A replica ends and starts.
    Restart(usize),
}

/// What a change says of a service.
#[derive(Clone, Copy, Debug)]
enum Written {
    Path(u8),
    Removed,
}

fn step() -> impl Strategy<Value = Step> {
    let (replica, service) = (|| 0..REPLICAS.len(), || 0..SERVICES.len());
    let written = || {
        prop_oneof![
            3 => (0..9_u8).prop_map(Written::Path),
            1 => Just(Written::Removed),
        ]
    };
    let changes = vec((service(), written()), 1..3);
    prop_oneof![
        6 => (replica(), changes).prop_map(|(at, changes)| Step::Change(at, changes)),
        3 => (replica(), replica(), service(), 1..3_usize)
            .prop_map(|(from, to, of, times)| Step::Tell(from, to, of, times)),
        1 => (replica(), service()).prop_map(|(from, of)| Step::Send(from, of)),
        2 => (0..8_usize, replica()).prop_map(|(nth, to)| Step::Arrive(nth, to)),
        1 => prop::array::uniform4(any::<bool>()).prop_map(Step::Split),
        2 => replica().prop_map(Step::Round),
        1 => replica().prop_map(Step::Restart),
    ]
}

/// All that was acknowledged, kept by rules that know no stamps.
#[derive(Default)]
struct Acknowledged {
    /// By service: what was written under which stamp.
    written: BTreeMap<ServiceName, BTreeMap<Stamp, Option<String>>>,
    /// What its writer saw when it wrote something else in its place.
    superseded: BTreeSet<(ServiceName, Stamp)>,
}

impl Acknowledged {
    /// What the writer of these services held `before` gives way to what it holds `after`.
    fn note(&mut self, before: &RegisterSet, after: &RegisterSet, names: &BTreeSet<ServiceName>) {
        for name in names {
            let old = before.get(name).map(|old| old.stamp.clone());
            self.superseded
                .extend(old.map(|stamp| (name.clone(), stamp)));
            let new = after.get(name).unwrap();
            let document = new.document().map(|it| it.raw().to_owned());
            let of_name = self.written.entry(name.clone()).or_default();
            let twice = of_name.insert(new.stamp.clone(), document);
            assert!(twice.is_none(), "two writes have the stamp {}", new.stamp);
        }
    }

    /// What is wrong with a replica at which all messages arrived.
    fn judge(&self, store: &ReplicatedStore) -> Result<(), String> {
        let (set, table) = (store.registers(), store.view().stored.clone());
        let is_known = |name: &ServiceName| self.written.contains_key(name);
        if let Some((name, _)) = set.iter().find(|(name, _)| !is_known(name)) {
            return Err(format!("nobody wrote {name}"));
        }
        for (name, written) in &self.written {
            let Some(register) = set.get(name) else {
                return Err(format!("nothing is known of {name}"));
            };
            let document = register.document().map(|it| it.raw().to_owned());
            let says = || format!("{name} is {document:?} of {}", register.stamp);
            if written.get(&register.stamp) != Some(&document) {
                return Err(format!("{}, and nobody wrote that", says()));
            }
            let gave_way = (name.clone(), register.stamp.clone());
            if self.superseded.contains(&gave_way) {
                return Err(format!("{}, in whose place another was put", says()));
            }
            if let Some((later, _)) = written
                .iter()
                .find(|(it, _)| it.counter > register.stamp.counter)
            {
                return Err(format!("{}, and {later} is later", says()));
            }
            let served = table.documents().find(|it| it.name() == name);
            if served.map(|it| it.raw().to_owned()) != document {
                return Err(format!("{}, and {served:?} is served", says()));
            }
        }
        Ok(())
    }
}

/// The replicas and what is under way.
struct Run {
    cluster: Cluster,
    acknowledged: Acknowledged,
    under_way: Vec<Vec<Named>>,
}

impl Run {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Change(at, changes) => {
                let store = self.cluster.store(REPLICAS[*at]);
                let of = |(service, written): &(usize, Written)| match written {
                    Written::Path(path) => put_at(SERVICES[*service], &path.to_string()),
                    Written::Removed => remove(SERVICES[*service]),
                };
                let changes: Vec<Change> = changes.iter().map(of).collect();
                let names = changes.iter().map(|it| it.service_name().clone()).collect();
                let before = store.registers();
                change(&store, &changes).await;
                self.acknowledged.note(&before, &store.registers(), &names);
            }
            Step::Tell(from, to, of, times) => {
                let told = self.held(*from, *of);
                let (one, other) = (address(REPLICAS[*from]), address(REPLICAS[*to]));
                if self.cluster.net.is_cut(&one, &other) {
                    return Ok(());
                }
                for _ in 0..*times {
                    self.hear(*to, told.clone()).await?;
                }
            }
            Step::Send(from, of) => self.under_way.push(self.held(*from, *of)),
            Step::Arrive(nth, to) => {
                if let Some(told) = self.under_way.get(*nth).cloned() {
                    self.hear(*to, told).await?;
                }
            }
            Step::Split(sides) => *self.cluster.net.sides.lock().unwrap() = sides_of(*sides),
            Step::Round(at) => {
                self.cluster.round(REPLICAS[*at]).await;
            }
            Step::Restart(at) => {
                let held = self.cluster.store(REPLICAS[*at]).registers();
                let again = self.cluster.reopen_after(REPLICAS[*at], Duration::ZERO);
                if again.await.registers() != held {
                    return Err(format!(
                        "{} held something else once it had ended",
                        REPLICAS[*at]
                    ));
                }
            }
        }
        Ok(())
    }

    fn held(&self, at: usize, of: usize) -> Vec<Named> {
        let name: ServiceName = SERVICES[of].parse().unwrap();
        let registers = self.cluster.store(REPLICAS[at]).registers();
        registers.pick([&name], usize::MAX)
    }

    async fn hear(&self, at: usize, told: Vec<Named>) -> Result<(), String> {
        let store = self.cluster.store(REPLICAS[at]);
        let stamps = told
            .iter()
            .map(|(name, it)| (name.clone(), it.stamp.clone()))
            .collect();
        store.hear(told).await.map_err(|why| why.to_string())?;
        match store.registers().covers(&stamps) {
            true => Ok(()),
            false => Err(format!("{} forgot what it was told", REPLICAS[at])),
        }
    }
}

fn sides_of(sides: [bool; 4]) -> BTreeMap<PeerAddress, bool> {
    REPLICAS.map(address).into_iter().zip(sides).collect()
}

async fn run(steps: &[Step]) -> Result<(), String> {
    let mut run = Run {
        cluster: Cluster::new(&REPLICAS),
        acknowledged: Acknowledged::default(),
        under_way: Vec::new(),
    };
    for name in REPLICAS {
        // As after an hour in which nobody but these was there.
        run.cluster.store(name).heard(Attendance::Current);
    }
    for step in steps {
        run.step(step).await?;
    }
    run.cluster.net.sides.lock().unwrap().clear();
    // The first one gathers what all hold, and each of the others takes it from there.
    for name in REPLICAS {
        run.cluster.round(name).await;
    }
    let revisions = run.cluster.revisions();
    if revisions.len() > 1 {
        return Err(format!("they did not become equal: {revisions:?}"));
    }
    for name in REPLICAS {
        let store = run.cluster.store(name);
        let judged = run.acknowledged.judge(&store);
        judged.map_err(|why| format!("at {name}: {why}"))?;
    }
    Ok(())
}

#[test]
fn replicas_without_a_store_end_equal_under_any_schedule() {
    under_random_schedules("REGISTERS", CASES, vec(step(), 1..30), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(run(steps))
    });
}
