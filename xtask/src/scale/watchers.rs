//! Very many blocking queries on one key of a real Consul: what a replica costs the server when
//! nothing but its watch is left of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Consul refuses the 201st connection of one address; a replica has an address of its own, and
/// here so many share one.
const PER_ADDRESS: usize = 150;
const ROUNDS: usize = 5;
/// The longest that a query may block, and that all of them may take to wake.
const WAIT: Duration = Duration::from_secs(120);
const KEY: &str = "/v1/kv/scale/head";

/// How long a write took to wake everyone, per round.
#[derive(Debug)]
pub(super) struct Woken {
    pub(super) watchers: usize,
    pub(super) last: Vec<Duration>,
    pub(super) median: Vec<Duration>,
}

pub(super) async fn wake(consul: SocketAddr, watchers: usize) -> Result<Woken> {
    write(consul, 0).await?;
    let (told, mut woken) = mpsc::channel(watchers.max(1));
    let mut tasks = JoinSet::new();
    for number in 0..watchers {
        let place = u32::try_from(number / PER_ADDRESS)?;
        let [_, _, high, low] = place.to_be_bytes();
        let from = Ipv4Addr::new(127, 100 + high, low, 1);
        let told = told.clone();
        tasks.spawn(async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            let stream = timeout(WAIT, socket.connect(consul)).await??;
            watch(stream, told).await
        });
    }
    let mut sum = Woken {
        watchers,
        last: Vec::new(),
        median: Vec::new(),
    };
    // Round 0 is everyone's first look.
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        if round > 0 {
            write(consul, round).await?;
        }
        let mut times = Vec::new();
        while times.len() < watchers {
            tokio::select! {
                woken = woken.recv() => times.push(woken.context("nobody watches")? - begun),
                Some(ended) = tasks.join_next() => bail!("a watcher ended: {ended:?}"),
                () = sleep(WAIT) => bail!("{} of {watchers} woke", times.len()),
            }
        }
        times.sort_unstable();
        if round > 0 {
            sum.median.extend(times.get(watchers / 2));
            sum.last.extend(times.last());
        }
        // They ask again before the next write.
        sleep(Duration::from_secs(2)).await;
    }
    Ok(sum)
}

/// Asks again and again, each time from what it saw last.
async fn watch(mut stream: TcpStream, told: mpsc::Sender<Instant>) -> Result<()> {
    let mut index = 0_u64;
    let mut buffer = vec![0; 4096];
    loop {
        let question = format!("GET {KEY}?index={index}&wait=10m HTTP/1.1\r\nHost: consul\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut answer = String::new();
        while !answer.ends_with(']') {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                bail!("Consul hung up: {answer}");
            }
            answer.push_str(&String::from_utf8_lossy(
                buffer.get(..read).unwrap_or_default(),
            ));
        }
        let told_index = answer
            .lines()
            .find_map(|line| line.strip_prefix("X-Consul-Index: "))
            .and_then(|text| text.trim().parse().ok());
        index = told_index.with_context(|| format!("no index in {answer}"))?;
        told.send(Instant::now()).await?;
    }
}

async fn write(consul: SocketAddr, value: usize) -> Result<()> {
    let mut stream = TcpStream::connect(consul).await?;
    let body = value.to_string();
    let question = format!(
        "PUT {KEY} HTTP/1.1\r\nHost: consul\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    timeout(WAIT, stream.read_to_string(&mut answer)).await??;
    if !answer.ends_with("true") && !answer.contains("\r\n\r\ntrue") {
        bail!("Consul did not write: {answer}");
    }
    Ok(())
}
