//! The follower on a scripted source and a clock that the test owns.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;

/// Gives its answers in turn and the last one for ever.
#[derive(Debug)]
struct Script {
    answers: Mutex<VecDeque<Result<Answer, DiscoverError>>>,
    asked: watch::Sender<usize>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Result<Answer, DiscoverError>>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: watch::Sender::new(0),
        })
    }

    fn then(&self, answer: Result<Answer, DiscoverError>) {
        let mut answers = self.answers.lock().unwrap();
        answers.push_back(answer);
    }

    async fn until_asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| *asked >= times).await.unwrap();
    }
}

#[async_trait]
impl Discover for Script {
    async fn discover(&self) -> Result<Answer, DiscoverError> {
        self.asked.send_modify(|asked| *asked += 1);
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 {
            answers.pop_front().unwrap()
        } else {
            answers.front().unwrap().clone()
        }
    }
}

fn set(peers: &[&str]) -> BTreeSet<PeerAddress> {
    peers.iter().map(|peer| peer.parse().unwrap()).collect()
}

fn answer(peers: &[&str], ttl: Duration) -> Result<Answer, DiscoverError> {
    Ok(Answer::expiring(set(peers), ttl))
}

fn silence() -> Result<Answer, DiscoverError> {
    Err(DiscoverError::Silence {
        name: "tasks.proxy".into(),
        deadline: Duration::from_secs(2),
    })
}

const TTL: Duration = Duration::from_secs(2);

fn follow(script: &Arc<Script>) -> Peers {
    Peers::follow(Arc::clone(script) as _, FollowSettings::default())
}

/// The next set for which this holds; the paused clock runs ahead by itself.
async fn until(peers: &Peers, holds: impl Fn(&PeerSet) -> bool) -> Arc<PeerSet> {
    let mut sets = peers.watch();
    let wait = sets.wait_for(|set| holds(set));
    let set = timeout(Duration::from_secs(60), wait).await;
    Arc::clone(&set.expect("the set never came").unwrap())
}

#[tokio::test(start_paused = true)]
async fn changes_are_followed_when_an_answer_expires() {
    let script = Script::new([answer(&["a:1"], TTL), answer(&["a:1", "b:1"], TTL)]);
    let start = tokio::time::Instant::now();
    let peers = follow(&script);
    assert!(matches!(peers.current().condition(), Condition::Unasked));

    let first = until(&peers, |set| !set.peers().is_empty()).await;
    assert_eq!(*first.peers(), set(&["a:1"]));
    let second = until(&peers, |set| set.peers().len() == 2).await;

    assert_eq!(*second.peers(), set(&["a:1", "b:1"]));
    assert!(start.elapsed() >= TTL, "{:?}", start.elapsed());
    peers.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_to_live_has_a_floor_and_a_ceiling() {
    for (ttl, expected) in [
        (Duration::ZERO, DEFAULT_LEAST_PAUSE),
        (Duration::from_secs(3), Duration::from_secs(3)),
        (Duration::from_secs(600), DEFAULT_GREATEST_PAUSE),
    ] {
        let script = Script::new([answer(&["a:1"], ttl)]);
        let start = tokio::time::Instant::now();
        let _peers = follow(&script);

        script.until_asked(2).await;

        let took = start.elapsed();
        let late = expected + Duration::from_millis(20);
        assert!((expected..late).contains(&took), "{ttl:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_peers_and_says_so_until_it_heals() {
    let script = Script::new([answer(&["a:1", "b:1"], TTL), silence()]);
    let peers = follow(&script);

    let stale = until(&peers, |set| {
        matches!(set.condition(), Condition::Stale { .. })
    })
    .await;
    assert_eq!(*stale.peers(), set(&["a:1", "b:1"]));
    let Condition::Stale { reason, .. } = stale.condition() else {
        unreachable!()
    };
    assert!(reason.to_string().contains("tasks.proxy"), "{reason}");

    script.then(answer(&["b:1"], TTL));
    let healed = until(&peers, |set| matches!(set.condition(), Condition::Current)).await;
    assert_eq!(*healed.peers(), set(&["b:1"]));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_asked_again_and_not_in_a_loop() {
    let script = Script::new([silence()]);
    let start = tokio::time::Instant::now();
    let _peers = follow(&script);

    script.until_asked(10).await;

    assert!(
        start.elapsed() >= DEFAULT_LEAST_PAUSE * 9,
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() <= DEFAULT_GREATEST_PAUSE * 2 * 9,
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_answer_wakes_nobody() {
    let script = Script::new([answer(&["a:1"], TTL)]);
    let peers = follow(&script);
    until(&peers, |set| !set.peers().is_empty()).await;
    let mut sets = peers.watch();
    sets.mark_unchanged();

    script.until_asked(4).await;

    assert!(!sets.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_asks_now_and_an_answer_that_never_changes_is_asked_for_once() {
    let lasting = Ok(Answer::lasting(set(&["a:1"])));
    let script = Script::new([lasting, answer(&["b:1"], TTL)]);
    let peers = follow(&script);
    until(&peers, |set| !set.peers().is_empty()).await;
    assert_eq!(*script.asked.borrow(), 1);

    let now = peers.refresh(Duration::from_secs(1)).await;

    assert_eq!(*now.peers(), set(&["b:1"]));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_a_source_that_hangs_returns_what_is_known() {
    #[derive(Debug)]
    struct Hangs;
    #[async_trait]
    impl Discover for Hangs {
        async fn discover(&self) -> Result<Answer, DiscoverError> {
            std::future::pending().await
        }
    }
    let peers = Peers::follow(Arc::new(Hangs), FollowSettings::default());

    let known = peers.refresh(Duration::from_secs(1)).await;

    assert!(matches!(known.condition(), Condition::Unasked));
    peers.shutdown().await;
}

/// Answers once, panics once, and answers again.
#[derive(Debug, Default)]
struct PanicsOnce(std::sync::atomic::AtomicUsize);

#[async_trait]
impl Discover for PanicsOnce {
    async fn discover(&self) -> Result<Answer, DiscoverError> {
        let before = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        assert_ne!(before, 1, "scripted");
        answer(&["a:1"], TTL)
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_leaves_the_peers_stale_and_is_asked_again() {
    let peers = Peers::follow(Arc::new(PanicsOnce::default()), FollowSettings::default());
    until(&peers, |set| matches!(set.condition(), Condition::Current)).await;
    let stale = until(&peers, |set| {
        matches!(set.condition(), Condition::Stale { .. })
    })
    .await;
    assert_eq!(*stale.peers(), set(&["a:1"]));
    let Condition::Stale { reason, .. } = stale.condition() else {
        panic!("{stale:?}");
    };
    assert!(matches!(reason, DiscoverError::Panicked), "{reason}");
    until(&peers, |set| matches!(set.condition(), Condition::Current)).await;
    // Whoever waits for an answer gets what is known, and not never one.
    assert_eq!(*peers.refresh(Duration::MAX).await.peers(), set(&["a:1"]));
}
