//! Serving the admin API: connections, each with a deadline for the head of its requests.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::settings::ApiSettings;

/// How long a connection may take to bring the head of its next request. Longer than a peer keeps a
/// connection that it does not use, so that it is the peer who closes it.
pub(super) const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// Connections at once. One more waits in the system's queue until another closes.
const MOST_CONNECTIONS: usize = 8_192;
/// Connections that may wait to be accepted; the system's own bound (`somaxconn`) holds as well.
const BACKLOG: u32 = 4_096;
/// The pause after the system gave no descriptor for a connection.
const NO_DESCRIPTOR: Duration = Duration::from_secs(1);

/// Listens with room for a burst: with the usual 128 the kernel drops connections of a thousand
/// callers at once, and they come again a second later.
pub(super) fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Serves until it is told to stop; then takes no new connections, and returns once the calls that
/// run are answered. Dropping the future cuts them.
pub(super) async fn serve(
    listener: TcpListener,
    app: Router,
    head_deadline: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_deadline);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            _ended = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "the admin API cannot accept connections; it is tried again");
                sleep(NO_DESCRIPTOR).await;
                continue;
            }
        };
        // Answers are short; waiting for more to send helps nobody.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(app.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the admin API broke");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Whether the next connection may be accepted all the same.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Says in the log where nobody is asked who he is.
pub(super) fn warn_if_open(api: &ApiSettings) {
    if api.token.is_none() && !api.ip.is_loopback() {
        tracing::warn!(ip = %api.ip, "API_TOKEN is not set: whoever reaches the admin API changes the routes");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::Notify,
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        called: Arc<Notify>,
        go_on: Arc<Notify>,
        task: JoinHandle<io::Result<()>>,
    }

    /// A service whose one route waits until it is told to go on.
    async fn served(head_deadline: Duration) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (called, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (called, go_on) = (Arc::clone(&called), Arc::clone(&go_on));
            async move || {
                called.notify_one();
                go_on.notified().await;
                "done"
            }
        };
        let stop = CancellationToken::new();
        let app = Router::new().route("/", get(handler));
        let task = tokio::spawn(serve(listener, app, head_deadline, stop.clone()));
        Served {
            address,
            stop,
            called,
            go_on,
            task,
        }
    }

    async fn until_closed(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut text));
        // A reset is an end as well.
        let _ = read.await.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_thousand_callers_at_once_are_let_in_before_any_is_accepted() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let mut callers = JoinSet::new();
        for _ in 0..1_000 {
            callers.spawn(timeout(PATIENCE, TcpStream::connect(address)));
        }
        // One for whom there is no room comes in vain until others are accepted, which nobody is here.
        for caller in callers.join_all().await {
            caller.expect("the kernel drops callers").unwrap();
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let served = served(Duration::from_millis(50)).await;
        for begun in ["", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            until_closed(&mut stream).await;
        }
        served.stop.cancel();
        timeout(PATIENCE, served.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_call_that_runs_is_answered_and_no_new_one_taken() {
        let served = served(PATIENCE).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        timeout(PATIENCE, served.called.notified()).await.unwrap();
        served.stop.cancel();
        let refused = async { while TcpStream::connect(served.address).await.is_ok() {} };
        timeout(PATIENCE, refused).await.unwrap();
        served.go_on.notify_one();
        let answer = until_closed(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
        timeout(PATIENCE, served.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
