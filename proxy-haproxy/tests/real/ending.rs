//! The end of HAProxy, asked for more than once.

use std::time::Duration;

use proxy_haproxy::Stopped;

use crate::bench::{Bench, eventually};

#[tokio::test]
async fn who_asks_again_has_it_end_sooner_and_all_are_told_the_same() {
    let bench = Bench::new();
    let (haproxy, asked, _held) = bench.serve_slowly().await;

    let patient = {
        let haproxy = std::sync::Arc::clone(&haproxy);
        tokio::spawn(async move { haproxy.shutdown(Duration::MAX).await })
    };
    // It was told: no new connection is taken.
    eventually(
        "nothing listens",
        async || match tokio::net::TcpStream::connect(bench.address()).await {
            Ok(_) => Err("something does".to_owned()),
            Err(_) => Ok(()),
        },
    )
    .await;
    assert!(!patient.is_finished());
    let soon = Duration::from_millis(100);
    let (first, second) = tokio::join!(haproxy.shutdown(soon), haproxy.shutdown(Duration::MAX));
    assert_eq!((first, second), (Stopped::AtDeadline, Stopped::AtDeadline));
    assert_eq!(patient.await.unwrap(), Stopped::AtDeadline);
    assert_eq!(bench.sandbox.processes(), []);
    assert!(asked.await.unwrap().is_err());
    assert_eq!(haproxy.shutdown(soon).await, Stopped::WasDown);
}
