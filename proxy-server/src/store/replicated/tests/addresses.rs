//! Addresses that lead elsewhere, or are one of several of a replica: who counts as asked, and what is believed.

use super::*;

/// `old` was removed and that forgotten while `back` was away for long. `a` knows of it.
async fn one_is_back_with_what_was_removed(cluster: &Cluster) {
    for name in ["a", "back"] {
        change(&cluster.store(name), &[put("old")]).await;
    }
    let a = cluster.store("a");
    cluster.net.line("back", Line::Down);
    change(&a, &[remove("old")]).await;
    change(&a, &[put("x")]).await;
    forget_the_removal(&a).await;
    a.heard(Attendance::Current);
    cluster.reopen_after("back", AWAY_AFTER * 2).await;
    cluster.net.line("back", Line::Down);
}

#[tokio::test(start_paused = true)]
async fn what_an_address_tells_that_leads_elsewhere_by_now_brings_back_nothing() {
    let cluster = Cluster::new(&["a", "b", "back"]);
    one_is_back_with_what_was_removed(&cluster).await;
    let b = cluster.store("b");
    cluster.net.line("a", Line::ThenAstray("back"));
    // Who is back says for itself how old it is what it holds; there is one who knows, so it is not heard.
    cluster.net.line("back", Line::Up);
    let round = cluster.round("b").await;
    assert!(!round.known && !round.everybody, "{round:?}");
    assert!(names(&b).is_empty());
    assert_eq!(b.attendance(), Attendance::New);
    drop(b);
    // Nor does one who is back take the table of another that is, for that of one who knows.
    let returned = cluster.reopen_after("b", AWAY_AFTER * 2).await;
    change(&returned, &[put("own")]).await;
    cluster.round("b").await;
    assert_eq!(names(&returned), ["own"]);
    assert_eq!(returned.attendance(), Attendance::Returned);
    assert!(returned.view().superseded.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_answers_at_two_addresses_does_not_stand_for_everybody() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    change(&cluster.store("b"), &[put("x")]).await;
    for at in ["c", "a"] {
        cluster.net.line("b", Line::Astray(at));
        let round = cluster.round("a").await;
        assert!(!round.everybody, "{at}: {round:?}");
    }
    cluster.net.line("b", Line::Up);
    assert!(cluster.round("a").await.everybody);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_leads_to_the_caller_now_and_to_others_then_does_not_stand_for_everybody() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.names = vec!["a"];
    // One address, as of a load balancer. At first nobody can tell.
    let exchange = cluster.exchange("a");
    exchange.peers.refresh(Duration::from_secs(1)).await;
    let mut rounds = Vec::new();
    for to in ["a", "b", "a", "b"] {
        cluster.net.line("a", Line::Astray(to));
        rounds.push(exchange.round().await.everybody);
    }
    assert_eq!(rounds, [true, true, false, false]);
    // Who answers there is compared with all the same: it may be met nowhere else.
    change(&cluster.store("b"), &[put("late")]).await;
    assert!(!exchange.round().await.everybody);
    assert_eq!(names(&cluster.store("a")), ["late"]);
}

#[tokio::test(start_paused = true)]
async fn one_ipv4_and_one_ipv6_address_of_each_are_everybody_and_others_are_not() {
    let mut cluster = Cluster::new(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    cluster.also_at(&["[fd00::1]", "[fd00::2]", "[fd00::3]"]);
    let started = tokio::time::Instant::now();
    cluster.start("10.0.0.1").await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    // One address that leads elsewhere, or nowhere, is one replica that may not have been asked.
    for (at, line) in [
        ("[fd00::2]", Line::Astray("10.0.0.3")),
        ("10.0.0.2", Line::Astray("10.0.0.3")),
        ("[fd00::2]", Line::Astray("10.0.0.1")),
        ("10.0.0.2", Line::Astray("10.0.0.1")),
        ("[fd00::2]", Line::Down),
        ("[fd00::2]", Line::Garbles),
    ] {
        let before = cluster.net.replicas.lock().unwrap()[&address(at)].0;
        cluster.net.line(at, line);
        let round = cluster.round("10.0.0.1").await;
        assert!(!round.everybody, "{at} {line:?}: {round:?}");
        cluster.net.line(at, before);
    }
    assert!(cluster.round("10.0.0.1").await.everybody);
    // Nor are two of one family, though all others are found as they should be.
    cluster.names.retain(|name| *name != "[fd00::3]");
    cluster.names.push("10.0.0.4");
    let astray = (Line::Astray("10.0.0.3"), cluster.store("10.0.0.3"));
    let replicas = &cluster.net.replicas;
    replicas.lock().unwrap().insert(address("10.0.0.4"), astray);
    assert!(!cluster.round("10.0.0.1").await.everybody);
}

#[tokio::test(start_paused = true)]
async fn many_replicas_are_everybody_too_and_many_that_differ_are_made_equal_in_turns() {
    let mut cluster = Cluster::new(&[
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.5",
        "10.0.0.6",
        "10.0.0.7",
        "10.0.0.8",
        "10.0.0.9",
        "10.0.0.10",
    ]);
    let all = cluster.names.clone();
    let second = ["[fd00::1]", "[fd00::2]", "[fd00::3]", "[fd00::4]"];
    let second = [second, ["[fd00::5]", "[fd00::6]", "[fd00::7]", "[fd00::8]"]].concat();
    for other in [&[][..], &second] {
        cluster.also_at(other);
        let me = cluster.reopen_as_new(all[0]);
        let started = tokio::time::Instant::now();
        cluster.start(all[0]).await;
        assert_eq!(started.elapsed(), Duration::ZERO, "{:?}", cluster.names);
        assert_eq!(me.view().condition, StoreCondition::Live);
        cluster.net.line(all[9], Line::Down);
        assert!(!cluster.round(all[0]).await.everybody);
        cluster.net.line(all[9], Line::Up);
    }
    for name in &all[1..] {
        change(&cluster.store(name), &[put(&name.replace('.', "-"))]).await;
    }
    let round = cluster.round(all[0]).await;
    assert!(!round.everybody, "{round:?}");
    assert_eq!(names(&cluster.store(all[0])).len(), 8);
    // The first were told before the last were heard.
    for _ in 0..2 {
        cluster.round(all[0]).await;
    }
    cluster.names = all.clone();
    assert_eq!(cluster.revisions().len(), 1);
    assert_eq!(names(&cluster.store(all[0])).len(), 9);
    cluster.names.extend(second);
    // Who knows that it is one of those who know asks a few.
    cluster.store(all[0]).heard(Attendance::Current);
    let before = cluster.net.calls.load(SeqCst);
    assert!(!cluster.round(all[0]).await.everybody);
    assert_eq!(cluster.net.calls.load(SeqCst) - before, 8);
}
