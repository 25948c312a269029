//! What was refused: when it is tried again, and when not.

use super::*;

/// A place from which everything is gone.
pub(super) struct Gone;

#[async_trait::async_trait]
impl follow::List for Gone {
    async fn read(&mut self) -> Result<follow::Listing, String> {
        Ok(follow::Listing {
            services: Vec::new(),
            unreadable: Vec::new(),
            extent: follow::Extent::Whole,
        })
    }

    async fn is_gone(&mut self, _: &ServiceName) -> Result<bool, String> {
        Ok(true)
    }

    async fn changed(&mut self) {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_removal_that_was_refused_is_tried_again_when_the_table_changes() {
    let bench = Bench::new().await;
    let Change::Put(service) = put("a") else {
        panic!("no service");
    };
    let service = Arc::unwrap_or_clone(service).with_source(Some(Source::Docker));
    let ours = request(Change::Put(Arc::new(service)));
    bench.engine.change(ours).await.unwrap();
    bench.carrier.needed.lock().unwrap().insert("a");
    let pace = Pace {
        again: None,
        retry: Duration::from_millis(10),
        confirm: Duration::from_millis(10),
        patience: Some(Patience {
            looks: 2,
            least: Duration::ZERO,
            doubted: Duration::ZERO,
        }),
    };
    let intake = Intake::new(bench.way(), Source::Docker);
    let follower = Follower::new(Gone, intake, pace, watch::channel(false).0);
    let mut reports = follower.reports();
    let (stop, asking) = (CancellationToken::new(), mpsc::channel(1));
    let running = tokio::spawn(follower.run(asking.1, stop.clone()));
    let refused = reports.wait_for(|report| report.doubted.count == 1);
    tokio::time::timeout(PATIENCE, refused)
        .await
        .unwrap()
        .unwrap();
    bench.carrier.needed.lock().unwrap().clear();
    bench.reconfigure("b", 80).await;
    bench.until(|services| !services.contains_key("a")).await;
    assert_eq!(bench.names(), ["b"]);
    stop.cancel();
    running.await.unwrap();
}

/// A place that names one service.
pub(super) struct Names(pub(super) &'static str);

#[async_trait::async_trait]
impl follow::List for Names {
    async fn read(&mut self) -> Result<follow::Listing, String> {
        let query = format!("serviceName={0}&servicePath=/{0}&port=80", self.0);
        let params = proxy_core::Params::from_query(&query).unwrap();
        let wanted = intake::Wanted::new(self.0.to_owned(), params);
        Ok(follow::Listing {
            services: vec![wanted.map_err(|it| it.why)?],
            unreadable: Vec::new(),
            extent: follow::Extent::Whole,
        })
    }

    async fn is_gone(&mut self, _: &ServiceName) -> Result<bool, String> {
        Ok(false)
    }

    async fn changed(&mut self) {
        std::future::pending().await
    }
}

/// The clock is simulated: what is waited for is a rule and not a measurement.
#[tokio::test(start_paused = true)]
async fn what_was_refused_is_tried_again_when_what_stood_in_its_way_is_gone_and_not_before() {
    let bench = Bench::new().await;
    bench.reconfigure("a", 80).await;
    bench.reconfigure("b", 80).await;
    *bench.carrier.clash.lock().unwrap() = Some(["a", "wanted"]);
    let pace = Pace {
        again: None,
        retry: Duration::from_millis(10),
        confirm: Duration::from_millis(10),
        patience: None,
    };
    let intake = Intake::new(bench.way(), Source::Docker);
    let follower = Follower::new(Names("wanted"), intake, pace, watch::channel(false).0);
    let mut reports = follower.reports();
    let (stop, asking) = (CancellationToken::new(), mpsc::channel(1));
    let running = tokio::spawn(follower.run(asking.1, stop.clone()));
    let refused = reports.wait_for(|report| report.refused.count == 1);
    tokio::time::timeout(PATIENCE, refused)
        .await
        .unwrap()
        .unwrap();
    bench.reconfigure("c", 80).await;
    let checks = bench.carrier.checks.load(SeqCst);
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert_eq!(
        bench.carrier.checks.load(SeqCst),
        checks,
        "nothing changed for it"
    );
    // It is left alone for long, and not for ever.
    tokio::time::sleep(Duration::from_secs(3_100)).await;
    let tries = bench.carrier.checks.load(SeqCst) - checks;
    assert!((5..=6 * 3).contains(&tries), "{tries} checks for tries");
    let checks = bench.carrier.checks.load(SeqCst);
    // Another that goes is worth a try, and each try is followed by a longer rest.
    for port in 81..101 {
        bench.reconfigure("b", port).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let tries = bench.carrier.checks.load(SeqCst) - checks - 20;
    assert!((1..=5 * 3).contains(&tries), "{tries} checks for tries");
    let gone = tokio::time::Instant::now();
    bench.remove("a").await;
    bench
        .until(|services| services.contains_key("wanted"))
        .await;
    assert!(
        gone.elapsed() <= Duration::from_secs(200),
        "{:?}",
        gone.elapsed()
    );
    let said = reports.wait_for(|report| report.refused.count == 0);
    tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_of_the_environment_comes_when_what_stood_in_its_way_is_gone() {
    let bench = Bench::new().await;
    bench.reconfigure("a", 80).await;
    *bench.carrier.clash.lock().unwrap() = Some(["a", "one"]);
    let sources = bench.start(&[
        ("DFP_SERVICE_1_SERVICE_NAME", "one"),
        ("DFP_SERVICE_1_SERVICE_PATH", "/one"),
        ("DFP_SERVICE_1_PORT", "81"),
        ("DFP_SERVICE_2_SERVICE_NAME", "two"),
        ("DFP_SERVICE_2_SERVICE_PATH", "/two"),
        ("DFP_SERVICE_2_PORT", "82"),
    ]);
    bench.until(|services| services.contains_key("two")).await;
    let mut reports = sources.reports_of(Source::Environment);
    let refused = reports.wait_for(|report| report.refused.count == 1);
    tokio::time::timeout(PATIENCE, refused)
        .await
        .unwrap()
        .unwrap();
    // An operator takes away what was brought in: it does not come back with the other.
    bench.remove("two").await;
    bench.remove("a").await;
    bench.until(|services| services.contains_key("one")).await;
    assert_eq!(bench.names(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_of_the_environment_is_tried_again_after_a_while_whatever_the_table_is() {
    let bench = Bench::new().await;
    bench.reconfigure("a", 80).await;
    *bench.carrier.clash.lock().unwrap() = Some(["a", "one"]);
    let sources = bench.start(&[
        ("DFP_SERVICE_1_SERVICE_NAME", "one"),
        ("DFP_SERVICE_1_SERVICE_PATH", "/one"),
        ("DFP_SERVICE_1_PORT", "81"),
    ]);
    let mut reports = sources.reports_of(Source::Environment);
    let refused = reports.wait_for(|report| report.refused.count == 1);
    tokio::time::timeout(PATIENCE, refused)
        .await
        .unwrap()
        .unwrap();
    // Something elsewhere that HAProxy reads is another now.
    *bench.carrier.clash.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_secs(600)).await;
    bench.until(|services| services.contains_key("one")).await;
}
