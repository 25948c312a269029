//! Replicas that become equal: whatever was written where, and whoever does not answer.

use super::*;

#[tokio::test(start_paused = true)]
async fn replicas_become_equal_and_what_was_removed_stays_removed() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    change(&a, &[put("x"), put("y")]).await;
    change(&b, &[put("z")]).await;
    let round = cluster.round("a").await;
    assert!(round.everybody, "{round:?}");
    cluster.round("c").await;
    assert_eq!(cluster.revisions().len(), 1);
    assert_eq!(names(&cluster.store("c")), ["x", "y", "z"]);
    // Removed while one is away.
    cluster.net.line("c", Line::Down);
    change(&b, &[remove("x")]).await;
    cluster.round("a").await;
    cluster.net.line("c", Line::Up);
    cluster.round("c").await;
    assert_eq!(cluster.revisions().len(), 1);
    assert_eq!(names(&a), ["y", "z"]);
    // Equal replicas compare their digests and say no more.
    let before = cluster.net.calls.load(SeqCst);
    cluster.round("c").await;
    assert_eq!(cluster.net.calls.load(SeqCst) - before, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_at_once_on_all_ends_equal_on_all() {
    let cluster = Arc::new(Cluster::new(&["a", "b", "c"]));
    let writers = ["a", "b", "c"].map(|name| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let store = cluster.store(name);
            for i in 0..20 {
                change(&store, &[put(&format!("s{}", i % 4))]).await;
                if i % 5 == 0 {
                    change(&store, &[remove(&format!("s{}", i % 3))]).await;
                    cluster.round(name).await;
                }
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.round("a").await;
    cluster.round("b").await;
    cluster.round("c").await;
    assert_eq!(cluster.revisions().len(), 1);
    let tables: BTreeSet<_> = ["a", "b", "c"].map(|n| names(&cluster.store(n))).into();
    assert_eq!(tables.len(), 1);
    // And on disk.
    let registers = cluster.store("a").registers();
    let again = cluster.reopen_after("a", Duration::ZERO).await;
    assert_eq!(again.registers(), registers);
}

#[tokio::test(start_paused = true)]
async fn a_starting_replica_has_the_table_before_it_is_served() {
    let cluster = Cluster::new(&["a", "b", "new"]);
    let a = cluster.store("a");
    change(&a, &[put("x")]).await;
    drop(a);
    cluster.reopen_after("a", Duration::ZERO).await;
    cluster.net.line("b", Line::Down);
    let new = cluster.store("new");
    assert_eq!(new.view().condition, StoreCondition::STARTING);
    let started = tokio::time::Instant::now();
    cluster.start("new").await;
    assert_eq!(new.view().condition, StoreCondition::Live);
    assert_eq!(names(&new), ["x"]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_nobody_answers_serves_its_own_table_after_a_while() {
    let cluster = Cluster::new(&["a", "b"]);
    change(&cluster.store("a"), &[put("x")]).await;
    for line in [Line::Down, Line::Hangs, Line::Garbles] {
        let a = cluster.reopen_after("a", Duration::ZERO).await;
        cluster.net.line("b", line);
        cluster.start("a").await;
        assert_eq!(a.view().condition, StoreCondition::Live, "{line:?}");
        assert_eq!(names(&a), ["x"]);
        drop(a);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_garbles_or_hangs_keeps_nobody_from_the_others() {
    for line in [Line::Garbles, Line::Hangs, Line::Down] {
        let cluster = Cluster::new(&["a", "bad", "c"]);
        change(&cluster.store("c"), &[put("x")]).await;
        cluster.net.line("bad", line);
        cluster.round("a").await;
        assert_eq!(names(&cluster.store("a")), ["x"], "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_registers_gets_them_from_the_others_at_once() {
    let cluster = Cluster::new(&["a", "b"]);
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    let stop = CancellationToken::new();
    let running = tokio::spawn(cluster.exchange("b").run(stop.clone()));
    let mut held = b.held.subscribe();
    let live = |held: &Held| held.view.condition == StoreCondition::Live;
    held.wait_for(live).await.unwrap();
    change(&a, &[put("x")]).await;
    let stamps = a.registers().stamps();
    let covered = tokio::time::timeout(Duration::from_secs(60), b.covering(&stamps)).await;
    assert_eq!(covered.unwrap(), b.view().seq);
    assert_eq!(names(&b), ["x"]);
    stop.cancel();
    running.await.unwrap();
}
