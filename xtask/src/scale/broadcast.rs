//! One announcement to very many peers, simulated: each is a listener of its own in this process.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proxy_peers::{Broadcast, BroadcastSettings, Call, Method, Outcome, PeerAddress, Repeat};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What one change weighs as an announcement.
const BODY_BYTES: usize = 1_200;
const ROUNDS: usize = 5;
/// As the server has it.
const TOTAL_DEADLINE: Duration = Duration::from_secs(10);

/// What one broadcast came to.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) peers: usize,
    pub(super) silent: usize,
    pub(super) confirmed: usize,
    /// Until every row was there: the first call connects, the later ones find connections open.
    pub(super) took: Vec<Duration>,
    /// Until the last peer that confirmed had.
    pub(super) last_confirmed: Vec<Duration>,
}

/// Tells this many peers, some of which accept and never answer.
pub(super) async fn tell(peers: usize, silent: usize) -> Result<Told> {
    let mut listeners = JoinSet::new();
    let mut addresses = BTreeSet::new();
    for number in 0..peers {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.context("too few files may be open; see ulimit -n")?;
        addresses.insert(address(listener.local_addr()?)?);
        let answers = number >= silent;
        listeners.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, answers));
            }
        });
    }
    let settings = BroadcastSettings::default()
        .total_deadline(TOTAL_DEADLINE)
        .attempt_deadline(TOTAL_DEADLINE);
    let broadcast = Broadcast::over_http(settings)?;
    let call = Call::new(Method::POST, "/v1/docker-flow-proxy/peer")?
        .body(vec![b'x'; BODY_BYTES])
        .repeat(Repeat::Harmless);
    let mut told = Told {
        peers,
        silent,
        confirmed: peers,
        took: Vec::new(),
        last_confirmed: Vec::new(),
    };
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let report = broadcast.call(&addresses, &call).await;
        told.took.push(begun.elapsed());
        let confirmed = report
            .rows()
            .iter()
            .filter(|row| matches!(row.outcome(), Outcome::Confirmed(_)));
        let times: Vec<_> = confirmed.map(|row| row.took()).collect();
        told.confirmed = told.confirmed.min(times.len());
        told.last_confirmed
            .push(times.into_iter().max().unwrap_or_default());
        if report.rows().len() != peers {
            bail!("{} rows for {peers} peers", report.rows().len());
        }
    }
    Ok(told)
}

fn address(at: SocketAddr) -> Result<PeerAddress> {
    Ok(at.to_string().parse()?)
}

/// Answers every call with 200, or reads it and never does.
async fn serve(mut stream: TcpStream, answers: bool) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut read = 0;
    loop {
        let more = stream.read(&mut buffer).await?;
        if more == 0 {
            return Ok(());
        }
        read += more;
        // The head is there before the body is, and the body is longer than any head.
        if read > BODY_BYTES && answers {
            read = 0;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                .await?;
        }
    }
}
