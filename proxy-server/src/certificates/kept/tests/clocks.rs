//! Replicas of which one has a wrong clock: the later of two certificates stays, and none is refused for long.

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const YEARS: Duration = Duration::from_secs(3 * 366 * 24 * 60 * 60);

/// One asks the others, as it does now and then: their clocks, and then what they keep.
async fn compares(one: &Arc<Certificates>, others: &[&Arc<Certificates>]) -> Vec<String> {
    let clocks = others.iter().map(|other| other.clock());
    let (clocks, stamps): (Vec<_>, Vec<_>) = clocks.unzip();
    one.compare_clocks(&clocks, stamps.into_iter().flatten());
    let mut unused = Vec::new();
    for other in others {
        unused.extend(one.hear(other.later_than(&one.stamps())).await.1);
    }
    unused
}

async fn gives(replica: &Arc<Certificates>, writer: &str) -> Certificate {
    let (certificate, _) = issued("acme.com");
    let given = Some(certificate.clone());
    let writer = writer.parse().unwrap();
    replica.keep(name("acme"), given, &writer).await.unwrap();
    certificate
}

#[tokio::test]
async fn a_certificate_given_where_a_clock_is_ahead_gives_way_to_a_later_one() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let [a, b] = [0, 1].map(|it: usize| replica(folders[it].path(), "true"));
    a.clock.set_ahead(HOUR);
    for (one, other) in [(&a, &b), (&b, &a)] {
        assert_eq!(compares(one, &[other]).await, [""; 0]);
    }
    // Neither hears of the other's.
    gives(&a, "a").await;
    for replica in [&a, &b] {
        replica.clock.pass(HOUR / 2);
    }
    let late = gives(&b, "b").await;
    for (one, other) in [(&a, &b), (&b, &a)] {
        assert_eq!(compares(one, &[other]).await, [""; 0]);
    }
    for replica in [&a, &b] {
        assert_eq!(shown(replica), [("acme".to_owned(), late.clone())]);
    }
}

#[tokio::test]
async fn what_was_stamped_years_ahead_is_shown_by_all_and_later_ones_win_all_the_same() {
    let folders = [0, 1, 2].map(|_| tempfile::tempdir().unwrap());
    let [wrong, b, c] = [0, 1, 2].map(|it: usize| replica(folders[it].path(), "true"));
    wrong.clock.set_ahead(YEARS);
    let first = gives(&wrong, "a").await;
    // Its clock is set, and what it stamped is on its disk.
    let a = replica(folders[0].path(), "true");
    a.restore().await;
    let unused = compares(&b, &[&a]).await;
    assert!(unused[0].contains("ahead of what any"), "{unused:?}");
    assert!(b.stamps().is_empty(), "it is asked for again");
    compares(&a, &[&b, &c]).await;
    for one in [&b, &c] {
        assert_eq!(compares(one, &[&a]).await, [""; 0]);
        assert_eq!(shown(one), [("acme".to_owned(), first.clone())]);
    }
    // From now on all stamp as far ahead, whether they heard what they are later than or not.
    for (early, late) in [(&a, &b), (&b, &c), (&c, &a)] {
        for _ in 0..3 {
            gives(early, "early").await;
        }
        for replica in [&a, &b, &c] {
            replica.clock.pass(HOUR);
        }
        let last = gives(late, "late").await;
        for (one, others) in [(&a, [&b, &c]), (&b, [&a, &c]), (&c, [&a, &b])] {
            assert_eq!(compares(one, &others).await, [""; 0]);
        }
        for replica in [&a, &b, &c] {
            assert_eq!(shown(replica), [("acme".to_owned(), last.clone())]);
        }
    }
}

#[tokio::test]
async fn what_was_stamped_before_clocks_were_compared_is_not_what_later_ones_lose_to() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let [a, b] = [0, 1].map(|it: usize| replica(folders[it].path(), "true"));
    a.clock.set_ahead(HOUR);
    gives(&a, "a").await;
    // It finds out that its clock is wrong, and that what it has was stamped by that.
    compares(&a, &[&b]).await;
    assert!(a.clock().1 >= Some(b.clock().0 + 30 * 60 * 1_000));
    // So says the other one, which has not heard it.
    b.compare_clocks(&[a.clock().0], a.clock().1);
    b.clock.pass(Duration::from_secs(60));
    let late = gives(&b, "b").await;
    compares(&a, &[&b]).await;
    assert_eq!(shown(&a), [("acme".to_owned(), late)]);
}
