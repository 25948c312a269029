//! Replicas that were away for longer than removals are remembered: what was removed stays removed, and what
//! they acknowledged since they are back is not lost.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_was_away_for_more_than_a_week_takes_the_others_table_and_reports_its_own() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    change(&cluster.store("a"), &[put("x"), put("old")]).await;
    cluster.round("a").await;
    // While c is away, `old` is removed, and the removal forgotten.
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    for store in [&a, &b] {
        store.heard(Attendance::Current);
    }
    cluster.net.line("c", Line::Down);
    change(&a, &[remove("old")]).await;
    change(&a, &[put("y")]).await;
    cluster.round("b").await;
    for store in [&a, &b] {
        forget_the_removal(store).await;
    }
    let c = cluster
        .reopen_after("c", AWAY_AFTER + Duration::from_secs(60))
        .await;
    assert_eq!(c.attendance(), Attendance::Returned);
    // The others do not hear its table from it.
    cluster.round("a").await;
    assert_eq!(names(&a), ["x", "y"]);
    cluster.start("c").await;
    assert_eq!(names(&c), ["x", "y"]);
    assert_eq!(cluster.revisions().len(), 1);
    let view = c.view();
    let superseded = view.superseded.as_ref().unwrap();
    assert_eq!(superseded.stored.table().len(), 2);
    let file = c.superseded_file().borrow().clone().unwrap();
    assert!(fs::read_to_string(file).unwrap().contains("\"old\""));
    assert_eq!(c.attendance(), Attendance::Current);
    // And it stays so over the next start.
    drop(c);
    let c = cluster.reopen_after("c", Duration::ZERO).await;
    assert_eq!(names(&c), ["x", "y"]);
}

#[tokio::test(start_paused = true)]
async fn what_who_was_away_acknowledged_since_it_is_back_is_not_lost() {
    let cluster = Cluster::new(&["a", "b"]);
    for (name, service) in [("a", "old"), ("b", "kept")] {
        change(&cluster.store(name), &[put(service), put("removed")]).await;
    }
    cluster.reopen_after("b", Duration::ZERO).await;
    let a = cluster
        .reopen_after("a", AWAY_AFTER + Duration::from_secs(60))
        .await;
    // Nobody answers, so it serves what it holds, and takes changes.
    cluster.net.line("b", Line::Down);
    cluster.start("a").await;
    change(&a, &[put("new"), remove("removed")]).await;
    cluster.net.line("b", Line::Up);
    for _ in 0..2 {
        cluster.round("a").await;
    }
    assert_eq!(cluster.revisions().len(), 1);
    for name in ["a", "b"] {
        assert_eq!(names(&cluster.store(name)), ["kept", "new"], "{name}");
    }
    // And on disk, where the table that gave way is kept as well.
    drop(a);
    let again = cluster.reopen_after("a", Duration::ZERO).await;
    assert_eq!(names(&again), ["kept", "new"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_an_empty_table_or_a_newcomers() {
    let cluster = Cluster::new(&["a", "new"]);
    change(&cluster.store("a"), &[put("x")]).await;
    let a = cluster.reopen_after("a", AWAY_AFTER * 2).await;
    cluster.round("a").await;
    assert_eq!(names(&a), ["x"]);
    // Who is new asks for itself, and then knows how old it is what it holds.
    let new = cluster.store("new");
    assert!(names(&new).is_empty());
    cluster.round("new").await;
    assert_eq!(names(&new), ["x"]);
    assert_eq!(new.attendance(), Attendance::Returned);
    assert!(a.view().superseded.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_while_some_were_away_does_not_come_back_by_way_of_others() {
    let cluster = Cluster::new(&["a", "b", "c", "new"]);
    cluster.net.line("new", Line::Down);
    let a = cluster.store("a");
    change(&a, &[put("x"), put("old")]).await;
    cluster.round("a").await;
    a.heard(Attendance::Current);
    for away in ["b", "c"] {
        cluster.net.line(away, Line::Down);
    }
    change(&a, &[remove("old")]).await;
    change(&a, &[put("y")]).await;
    forget_the_removal(&a).await;
    // Two that were away meet each other first, and then one that is new.
    cluster.net.line("a", Line::Down);
    let b = cluster.reopen_after("b", AWAY_AFTER * 2).await;
    let c = cluster.reopen_after("c", AWAY_AFTER * 2).await;
    cluster.round("b").await;
    cluster.round("c").await;
    let new = cluster.store("new");
    cluster.net.line("new", Line::Up);
    cluster.round("new").await;
    assert_eq!(names(&new), ["old", "x"]);
    for store in [&b, &c, &new] {
        assert_eq!(store.attendance(), Attendance::Returned);
    }
    // And then the one that was there all the time.
    cluster.net.line("a", Line::Up);
    for name in ["new", "c", "b", "a", "new"] {
        cluster.round(name).await;
    }
    for store in [&a, &b, &c, &new] {
        assert_eq!(names(store), ["x", "y"]);
        assert_eq!(store.attendance(), Attendance::Current);
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_and_holds_what_the_others_hold_gives_way_no_more() {
    let cluster = Cluster::new(&["a", "b"]);
    let a = cluster.store("a");
    change(&a, &[put("x")]).await;
    cluster.round("a").await;
    a.heard(Attendance::Current);
    let b = cluster.reopen_after("b", AWAY_AFTER * 2).await;
    cluster.round("b").await;
    assert_eq!(b.attendance(), Attendance::Current);
    // What it acknowledges from now on stays, whoever asks whom first.
    change(&b, &[put("y")]).await;
    cluster.round("b").await;
    assert_eq!(names(&b), ["x", "y"]);
    assert_eq!(names(&a), ["x", "y"]);
}
