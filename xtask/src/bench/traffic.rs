//! Requests: what a large table costs each of them, and whether reloads lose any.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::load::{Connections, Load, LoadPlan, Transport};
use testkit::tls::{Authority, TlsClient};
use testkit::topology::{Replica, until};

use super::Tools;
use super::by_hand::ByHand;
use super::figure::{Figure, Goal};
use super::processes::{Place, cpu_below};
use super::stage::{Stage, Store, failed, path};

/// How long each load runs. The machine's mood changes slower than that, so neighbours compare.
const SPAN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// The reloads of [`reload_failures`], and the load on kept connections meanwhile; half as much on
/// connections of one request, since each of those over TLS is a whole handshake.
const RELOADS: usize = 100;
const RATE: u32 = 250;
/// Whom the requests ask for.
const HOST: &str = "localhost";

/// One load: requests a second, and requests for each second of CPU that HAProxy used, which
/// other programs on the machine distort less.
#[derive(Debug, Default)]
struct Runs {
    rate: Vec<f64>,
    per_cpu: Vec<f64>,
}

/// Requests a second for the first, the middle and the last of N services, against a HAProxy
/// with that one service written by hand. Both run one thread on a CPU of their own.
pub(super) async fn requests(tools: &Tools) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &count in tools.sizes(&[1, 10, 100, 1_000, 10_000]) {
        let stage = Stage::set(tools, 1, Store::Own, Place::Measured).await?;
        stage.fill(count).await?;
        let mut hand = ByHand::new(&tools.haproxy, Place::Measured)?;
        hand.write(&hand.one_service(&path(0), stage.backend.address()))?;
        hand.start(&path(0)).await?;
        let mut places = vec![("first", 0), ("middle", count / 2), ("last", count - 1)];
        places.dedup_by_key(|(_, number)| *number);
        if count == 1 {
            places.truncate(1);
        }
        let mut references: Vec<Runs> = places.iter().map(|_| Runs::default()).collect();
        let mut measured: Vec<Runs> = places.iter().map(|_| Runs::default()).collect();
        for _ in 0..ROUNDS {
            let both = measured.iter_mut().zip(&mut references);
            for ((_, number), (measured, reference)) in places.iter().zip(both) {
                let home = stage.replica().home();
                let address = stage.replica().http();
                measured
                    .add(home, async || {
                        tools.load.run(address, &path(*number), SPAN).await
                    })
                    .await?;
                reference
                    .add(hand.folder(), async || {
                        tools.load.run(hand.address(), &path(0), SPAN).await
                    })
                    .await?;
            }
        }
        for (((place, _), measured), reference) in places.iter().zip(measured).zip(references) {
            let what = if count == 1 {
                "N = 1".to_owned()
            } else {
                format!("{place} of N = {}", tools.number(count))
            };
            figures.push(
                Figure::new(format!("requests/s, {what}"), "/s", measured.rate)
                    .against("one service by hand", reference.rate),
            );
            figures.push(
                Figure::new(
                    format!("requests per CPU second, {what}"),
                    "",
                    measured.per_cpu,
                )
                .against("one service by hand", reference.per_cpu)
                .goal(Goal::AtLeast(0.95)),
            );
        }
    }
    Ok(figures)
}

impl Runs {
    async fn add(
        &mut self,
        folder: &std::path::Path,
        load: impl AsyncFnOnce() -> Result<f64>,
    ) -> Result<()> {
        let (begun, before) = (Instant::now(), cpu_below(folder));
        let rate = load().await?;
        let used = cpu_below(folder).saturating_sub(before).as_secs_f64();
        self.rate.push(rate);
        self.per_cpu
            .push(rate * begun.elapsed().as_secs_f64() / used);
        Ok(())
    }
}

/// Gives a replica a certificate and waits until it shows it.
async fn speak_tls(replica: &Replica) -> Result<TlsClient> {
    let certificate = Authority::new("bench")?.issue(&[HOST])?.bundle();
    let folder = replica.home().join("certs");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("bench.pem"), certificate)?;
    replica.call("reload").await.map_err(failed)?;
    let client = TlsClient::default();
    let shown = until("the port speaks TLS", async || {
        Ok(client.get(replica.https(), HOST, &path(5)).await?)
    });
    shown.await.map_err(failed)?;
    Ok(client)
}

/// Requests that fail while the configuration is reloaded again and again.
pub(super) async fn reload_failures(tools: &Tools) -> Result<Vec<Figure>> {
    let stage = Stage::set(tools, 1, Store::Own, Place::Anywhere).await?;
    stage.fill(10).await?;
    let replica = stage.replica();
    let client = speak_tls(replica).await?;
    let plain = (replica.http(), Transport::Plain, "http");
    let tls = (replica.https(), Transport::Tls(client), "https");
    let kinds = [
        (Connections::KeptAlive, "kept connections", RATE),
        (Connections::OneEach, "a connection each", RATE / 2),
    ];
    let mut loads = Vec::new();
    for (address, transport, scheme) in [plain, tls] {
        for (connections, what, rate) in kinds {
            let load = Load::start(&LoadPlan {
                address,
                transport: transport.clone(),
                host: HOST.to_owned(),
                path: path(5),
                expect: "hello".to_owned(),
                rate,
                clients: 8,
                connections,
            });
            loads.push((load, format!("{scheme}, {what}")));
        }
    }
    let before = stage.reloads().await?;
    for number in 0..RELOADS {
        for (load, _) in &mut loads {
            let reached = load.report().answered + 20;
            load.answered(reached).await.map_err(anyhow::Error::msg)?;
        }
        stage.call(&stage.reconfigure(100 + number)).await?;
    }
    let reloads = stage.reloads().await? - before;
    let mut figures = vec![Figure::new("reloads under load", "", vec![reloads])];
    for (load, what) in loads {
        let report = load.stop().await;
        for (reason, count) in &report.failures {
            eprintln!("xtask: {count} requests failed, {what}: {reason}");
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of one minute")]
        let (failed, all) = (report.failed() as f64, report.answered as f64);
        figures.push(
            Figure::new(
                format!("requests that failed of {all}, {what}"),
                "",
                vec![failed],
            )
            .goal(Goal::AtMost(0.0)),
        );
    }
    Ok(figures)
}
