//! Replicas of which one has a wrong clock: nothing is lost for long, and all end equal.

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Cluster {
    /// Two sides that do not see each other; none, for one.
    fn split(&self, side: &[&str]) {
        let of = |name: &&str| (address(name), side.contains(name));
        *self.net.sides.lock().unwrap() = self.names.iter().map(of).collect();
    }

    fn pass(&self, time: Duration) {
        for name in &self.names {
            self.store(name).clock.pass(time);
        }
    }

    async fn everybody_compares(&self) {
        for name in &self.names {
            self.round(name).await;
        }
        assert_eq!(self.revisions().len(), 1);
    }

    /// The path of the one service that there is, on all.
    fn path(&self) -> String {
        let paths = self.names.iter().map(|name| {
            let view = self.store(name).view();
            let service = view.stored.documents().next().unwrap().raw().to_owned();
            let path = service.split("\"/").nth(1).unwrap();
            path.split('"').next().unwrap().to_owned()
        });
        let paths: BTreeSet<String> = paths.collect();
        assert_eq!(paths.len(), 1, "{paths:?}");
        paths.into_iter().next().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn once_a_clock_was_a_year_ahead_later_changes_win_all_the_same() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let (a, b, c) = (cluster.store("a"), cluster.store("b"), cluster.store("c"));
    a.clock.set_ahead(YEAR);
    change(&a, &[put_at("x", "first")]).await;
    cluster.everybody_compares().await;
    assert_eq!(cluster.path(), "first");
    change(&b, &[put_at("x", "second")]).await;
    cluster.everybody_compares().await;
    assert_eq!(cluster.path(), "second");
    // Also where its writer does not hear what it is later than, however the clock is set.
    a.clock.set_ahead(Duration::ZERO);
    for (early, late) in [(&a, &c), (&c, &b), (&b, &a)] {
        cluster.split(&[early.instance.as_ref()]);
        for _ in 0..3 {
            change(early, &[put_at("x", "early")]).await;
        }
        cluster.pass(HOUR);
        change(late, &[put_at("x", "late")]).await;
        cluster.split(&[]);
        cluster.everybody_compares().await;
        assert_eq!(cluster.path(), "late", "{}", late.instance);
    }
    // And where it was started anew, as soon as it is told.
    drop(c);
    change(&a, &[put_at("x", "third")]).await;
    cluster.everybody_compares().await;
    cluster.pass(HOUR);
    let c = cluster.reopen_after("c", Duration::ZERO).await;
    // Its clock is right, and it was not there while the others' stamps ran on.
    c.clock.set_ahead(HOUR * 4);
    cluster.round("c").await;
    cluster.split(&["c"]);
    for _ in 0..3 {
        change(&a, &[put_at("x", "early")]).await;
    }
    cluster.pass(HOUR / 2);
    change(&c, &[put_at("x", "late")]).await;
    cluster.split(&[]);
    cluster.everybody_compares().await;
    assert_eq!(cluster.path(), "late");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stays_wrong_over_a_restart_makes_nobody_one_that_was_away() {
    let cluster = Cluster::new(&["a", "b"]);
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    // Or it is right, and that of `b` is behind: two clocks do not tell.
    a.clock.set_ahead(AWAY_AFTER * 2);
    for store in [&a, &b] {
        change(store, &[put("old")]).await;
        store.heard(Attendance::Current);
    }
    cluster.everybody_compares().await;
    cluster.split(&["a"]);
    change(&a, &[put("acknowledged")]).await;
    let a = cluster.restart(a, HOUR);
    cluster.split(&[]);
    cluster.everybody_compares().await;
    assert_eq!(names(&b), ["acknowledged", "old"]);
    assert!(a.view().superseded.is_none());
    assert_eq!(a.attendance(), Attendance::Current);
    // But where it was away for longer than removals are remembered, it was.
    let a = cluster.restart(a, AWAY_AFTER + HOUR);
    b.heard(Attendance::Current);
    change(&b, &[remove("old")]).await;
    change(&b, &[put("new")]).await;
    forget_the_removal(&b).await;
    cluster.everybody_compares().await;
    for store in [&a, &b] {
        assert_eq!(names(store), ["acknowledged", "new"]);
    }
    assert!(a.view().superseded.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_before_others_said_that_they_stamp_ahead_is_not_lost() {
    let cluster = Cluster::new(&["a"]);
    let a = cluster.store("a");
    change(&a, &[put("old")]).await;
    a.clock.pass(AWAY_AFTER + HOUR * 2);
    for own in ["early", "late"] {
        change(&a, &[put(own)]).await;
        a.clock.pass(HOUR);
    }
    a.clock
        .was_told(a.clock.own() + AWAY_AFTER.as_millis() as u64 * 2);
    let none = RegisterSet::default;
    a.take_over(none(), "test".to_owned()).await.unwrap();
    assert_eq!(names(&a), ["early", "late"]);
    // And what is older than removals are remembered is none of it.
    a.clock.pass(AWAY_AFTER - HOUR / 2);
    a.take_over(none(), "test".to_owned()).await.unwrap();
    assert_eq!(names(&a), ["late"]);
    let a = cluster.restart(a, Duration::ZERO);
    a.take_over(none(), "test".to_owned()).await.unwrap();
    assert!(names(&a).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_compared_clocks_stamps_by_those_of_the_others_when_its_own_is_set_wrong() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    for store in [&a, &b] {
        store.heard(Attendance::Current);
        store.go_live().await.unwrap();
    }
    change(&a, &[put("gone"), put_at("x", "first")]).await;
    change(&a, &[remove("gone")]).await;
    change(&a, &[put_at("x", "first")]).await;
    cluster.everybody_compares().await;
    a.clock.set_ahead(YEAR);
    cluster.split(&["a"]);
    change(&a, &[put_at("x", "early")]).await;
    cluster.pass(HOUR);
    change(&b, &[put_at("x", "late")]).await;
    cluster.split(&[]);
    cluster.everybody_compares().await;
    assert_eq!(cluster.path(), "late");
    // Nor are removals forgotten a year early.
    cluster.round("a").await;
    let gone = "gone".parse().unwrap();
    assert!(a.registers().get(&gone).is_some());
    // Nor does it think that it was alone for as long.
    assert_eq!(a.attendance(), Attendance::Current);
}

#[tokio::test(start_paused = true)]
async fn what_a_clock_stamped_that_is_years_ahead_is_taken_once_the_clocks_are_compared() {
    let cluster = Cluster::new(&["a", "b"]);
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    a.clock.set_ahead(YEAR * 80);
    change(&a, &[put_at("x", "first")]).await;
    // Who tells it first is told what is wrong.
    let told = a.registers().pick([&"x".parse().unwrap()], PAGE);
    let heard = b.hear(told).await.unwrap();
    let why = heard.left_out.unwrap().to_string();
    assert!(why.contains("is a clock wrong there?"), "{why}");
    assert!(names(&b).is_empty());
    cluster.everybody_compares().await;
    assert_eq!(cluster.path(), "first");
    change(&b, &[put_at("x", "second")]).await;
    cluster.everybody_compares().await;
    assert_eq!(cluster.path(), "second");
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_by_a_clock_that_is_ahead_before_it_was_compared_is_named_once() {
    let cluster = Cluster::new(&["a"]);
    let a = cluster.store("a");
    let right = a.clock.own();
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|it| it.parse().unwrap())
            .collect::<Vec<_>>()
    };
    change(&a, &[put("earlier")]).await;
    a.clock.set_ahead(YEAR);
    change(&a, &[put("x"), remove("y")]).await;
    assert_eq!(a.compare(&[]), named(&[]));
    // What was stamped as others stamp is in order.
    a.clock.pass(HOUR);
    assert_eq!(a.compare(&[right + 3_600_000]), named(&["x", "y"]));
    assert_eq!(a.compare(&[right + 3_600_000]), named(&[]));
    // Where this clock is not the one that is ahead, there is nothing to look at.
    let a = cluster.restart(a, Duration::ZERO);
    a.clock.set_ahead(Duration::ZERO);
    change(&a, &[put("z")]).await;
    assert_eq!(a.compare(&[a.clock.own() + 9_000_000]), named(&[]));
}

const PAGE: usize = 1_024;

#[tokio::test(start_paused = true)]
async fn whatever_it_has_from_others_it_stamps_later_than_that_at_once() {
    let cluster = Cluster::new(&["a", "heard", "started", "took"]);
    let a = cluster.store("a");
    a.clock.set_ahead(YEAR);
    change(&a, &[put_at("x", "first")]).await;
    let first = a.registers();
    let is_later = |store: &ReplicatedStore| {
        store.clock.stamps() >= first.stamps().into_values().next().unwrap().counter
    };
    let heard = cluster.store("heard");
    assert!(!is_later(&heard));
    let told = first.pick([&"x".parse().unwrap()], PAGE);
    heard.hear(told.clone()).await.unwrap();
    assert!(is_later(&heard));
    cluster.store("started").hear(told).await.unwrap();
    let started = cluster.reopen_after("started", Duration::ZERO).await;
    assert!(is_later(&started));
    let took = cluster.store("took");
    took.take_over(first.clone(), "test".to_owned())
        .await
        .unwrap();
    assert!(is_later(&took));
    // How long ago it wrote something is not told by what it stamps by.
    change(&took, &[put("own")]).await;
    took.take_over(first.clone(), "test".to_owned())
        .await
        .unwrap();
    assert_eq!(names(&took), ["own", "x"]);
    took.clock.pass(AWAY_AFTER + HOUR * 2);
    took.take_over(first.clone(), "test".to_owned())
        .await
        .unwrap();
    assert_eq!(names(&took), ["x"]);
    // And what it wrote itself, once it knows that its clock was wrong.
    cluster.round("a").await;
    assert!(is_later(&a));
}
