//! The two sockets: each query is read, answered or not, and forgotten.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::answer::{Carrier, Reply, reply};

/// Answers under way and connections open at once; more are dropped, as a server under load does.
const MAX_AT_ONCE: usize = 1024;

/// A client that opened a connection and says nothing is let go.
const IDLE: Duration = Duration::from_secs(30);

/// After an accept that failed (no file descriptor): not at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn udp(socket: UdpSocket, shared: Arc<Shared>) {
    let socket = Arc::new(socket);
    let mut late = JoinSet::new();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        while late.try_join_next().is_some() {}
        // An error here is an ICMP answer to something that was sent before.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some(query) = buffer.get(..length) else {
            continue;
        };
        let Reply::Send { bytes, after } = reply(query, Carrier::Udp, &shared) else {
            continue;
        };
        if after.is_zero() {
            // A client that is gone is no concern of the server.
            let _gone = socket.send_to(&bytes, client).await;
        } else if late.len() < MAX_AT_ONCE {
            let socket = Arc::clone(&socket);
            late.spawn(async move {
                sleep(after).await;
                let _gone = socket.send_to(&bytes, client).await;
            });
        }
    }
}

pub(super) async fn tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if connections.len() < MAX_AT_ONCE => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // Whether a client ends well is its own concern.
                    let _ended = converse(stream, &shared).await;
                });
            }
            Ok(_) => {}
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Reply::Send { bytes, after } = reply(&query, Carrier::Tcp, shared) else {
            continue;
        };
        sleep(after).await;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        timeout(IDLE, async {
            stream.write_u16(length).await?;
            stream.write_all(&bytes).await
        })
        .await??;
    }
}
