//! The broadcast over HTTP, against servers in this process that behave as badly
//! as peers do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers say what they expect as its body does"
)]

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proxy_peers::{
    Broadcast, BroadcastSettings, Call, HeaderMap, HeaderName, HeaderValue, Identity, Method,
    Outcome, PeerAddress, PeerReply, Repeat, Report, Row, SIGNATURE_HEADER, Signer, StatusCode,
    Transport, TransportError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

const INSTANCE: HeaderName = HeaderName::from_static("x-test-instance");
/// One try of a call in these tests.
const ATTEMPT: Duration = Duration::from_secs(1);
/// All tries of a call in these tests.
const TOTAL: Duration = Duration::from_secs(4);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_secs(2);

/// A server on its own tasks, ended with the value.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start<F, Fut>(behave: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send,
    {
        Self::on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), behave).await
    }

    async fn on<F, Fut>(address: SocketAddr, behave: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let behave = Arc::new(behave);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let behave = Arc::clone(&behave);
                open.spawn(async move { behave(stream).await });
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }

    /// Answers every request on a connection with these bytes.
    async fn saying(answer: &'static str) -> Self {
        Self::start(move |mut stream| async move {
            while read_request(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nx-test-instance: other\r\ncontent-length: 4\r\n\r\nfine";

/// The head of the next request, its body read as well.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.ok()?;
        if length == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let wanted = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= wanted {
                return Some(text);
            }
        }
    }
}

fn settings() -> BroadcastSettings {
    BroadcastSettings::default()
        .connect_deadline(Duration::from_millis(500))
        .attempt_deadline(ATTEMPT)
        .total_deadline(TOTAL)
        .first_backoff(Duration::from_millis(20))
        .attempts(2)
}

fn offer(repeat: Repeat) -> Call {
    let call = Call::new(Method::PUT, "/offer?revision=7").unwrap();
    call.body("{\"revision\":7}").repeat(repeat)
}

fn peer(address: SocketAddr) -> PeerAddress {
    address.to_string().parse().unwrap()
}

async fn call(servers: &[SocketAddr], repeat: Repeat) -> Report {
    let peers = servers.iter().copied().map(peer).collect();
    let broadcast = Broadcast::over_http(settings()).unwrap();
    broadcast.call(&peers, &offer(repeat)).await
}

fn row(report: &Report, address: SocketAddr) -> &Row {
    let wanted = peer(address);
    let found = report.rows().iter().find(|row| *row.address() == wanted);
    found.unwrap()
}

/// An address where nobody listens: the port is bound and not listened on.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// An address that swallows connections: its queue is full and nobody accepts.
async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(stream.unwrap());
        assert!(queued.len() < 64, "the queue never fills");
    }
    (listener, queued, address)
}

#[tokio::test]
async fn a_call_arrives_whole_and_its_answer_comes_back() {
    let (said, mut heard) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |mut stream| {
        let said = said.clone();
        async move {
            let request = read_request(&mut stream).await.unwrap();
            said.send(request).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let identity = Identity::new(INSTANCE, HeaderValue::from_static("me"));
    let settings = settings()
        .identity(identity)
        .bearer("geheim".to_owned().into());
    let broadcast = Broadcast::over_http(settings).unwrap();
    let peers = BTreeSet::from([peer(server.address)]);

    let report = broadcast.call(&peers, &offer(Repeat::Unwanted)).await;

    let request = heard.recv().await.unwrap();
    assert!(
        request.starts_with("PUT /offer?revision=7 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n{\"revision\":7}"), "{request}");
    assert!(request.contains("x-test-instance: me\r\n"), "{request}");
    assert!(
        request.contains("authorization: Bearer geheim\r\n"),
        "{request}"
    );
    let row = row(&report, server.address);
    assert_eq!(row.instance(), Some("other"));
    let Outcome::Confirmed(reply) = row.outcome() else {
        panic!("{row:?}")
    };
    assert_eq!(reply.body(), "fine");
}

#[tokio::test]
async fn every_way_to_fail_has_its_own_outcome_and_delays_nobody() {
    let fine = Server::saying(OK).await;
    let broken = Server::saying("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno").await;
    let garbage = Server::saying("\u{1}\u{2} this is not HTTP at all \r\n\r\n").await;
    let huge = Server::start(|mut stream| async move {
        let _request = read_request(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n";
        let mut sent = stream.write_all(head.as_bytes()).await;
        let chunk = vec![b'x'; 65_536];
        while sent.is_ok() {
            sent = stream.write_all(&chunk).await;
        }
    })
    .await;
    let hung = Server::start(|mut stream| async move {
        let _request = read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let half = Server::start(|mut stream| async move {
        let _request = read_request(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let _sent = stream.write_all(head.as_bytes()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let reset = Server::start(|mut stream| async move {
        let _request = read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let (_socket, refused) = refusing();
    let (_listener, _queued, swallowed) = black_hole().await;
    let all = [
        fine.address,
        broken.address,
        garbage.address,
        huge.address,
        hung.address,
        half.address,
        reset.address,
        refused,
        swallowed,
    ];
    let start = Instant::now();

    let report = call(&all, Repeat::Unwanted).await;

    assert!(start.elapsed() < TOTAL + SLACK, "{:?}", start.elapsed());
    assert_eq!(report.rows().len(), all.len());
    for (address, word, attempts, reason) in [
        (fine.address, "confirmed", 1, ""),
        (broken.address, "refused", 1, "500"),
        (garbage.address, "unanswered", 1, "no HTTP"),
        (huge.address, "unanswered", 1, "longer than"),
        (hung.address, "unanswered", 1, "no answer within 1000 ms"),
        (half.address, "unanswered", 1, "no answer within 1000 ms"),
        (reset.address, "unanswered", 1, "broke"),
        (refused, "unreachable", 2, "refused"),
        (swallowed, "unreachable", 2, "no connection within 500 ms"),
    ] {
        let row = row(&report, address);
        let said = row.reason().unwrap_or_default();
        assert_eq!(row.outcome().word(), word, "{row:?}");
        assert_eq!(row.attempts(), attempts, "{row:?}");
        assert!(said.contains(reason), "{reason:?} is not in {said:?}");
    }
    let quick = row(&report, fine.address).took();
    assert!(quick < ATTEMPT, "a hung peer delayed another: {quick:?}");
}

#[tokio::test]
async fn the_peers_url_and_secret_stand_in_no_reason() {
    let reset = Server::start(|mut stream| async move {
        let _request = read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let (_socket, refused) = refusing();

    let report = call(&[reset.address, refused], Repeat::Unwanted).await;

    let text = format!("{report:?}");
    assert!(!text.contains("revision=7"), "{text}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_where_that_is_harmless() {
    for (repeat, word) in [
        (Repeat::Harmless, "confirmed"),
        (Repeat::Unwanted, "unanswered"),
    ] {
        let turn = Arc::new(AtomicUsize::new(0));
        let flaky = Server::start(move |mut stream| {
            let first = turn.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                let _request = read_request(&mut stream).await;
                if first {
                    stream.set_zero_linger().unwrap();
                } else {
                    let _sent = stream.write_all(OK.as_bytes()).await;
                }
            }
        })
        .await;

        let report = call(&[flaky.address], repeat).await;

        assert_eq!(row(&report, flaky.address).outcome().word(), word);
    }
}

#[tokio::test]
async fn a_slow_peer_that_makes_the_deadline_confirms() {
    let slow = Server::start(|mut stream| async move {
        let _request = read_request(&mut stream).await;
        tokio::time::sleep(ATTEMPT / 4).await;
        let _sent = stream.write_all(OK.as_bytes()).await;
    })
    .await;

    let report = call(&[slow.address], Repeat::Unwanted).await;

    assert!(report.all_confirmed(), "{report:?}");
}

#[tokio::test]
async fn this_very_instance_is_marked_and_not_missed() {
    let me =
        Server::saying("HTTP/1.1 409 No\r\nx-test-instance: me\r\ncontent-length: 0\r\n\r\n").await;
    let identity = Identity::new(INSTANCE, HeaderValue::from_static("me"));
    let broadcast = Broadcast::over_http(settings().identity(identity)).unwrap();
    let peers = BTreeSet::from([peer(me.address)]);

    let report = broadcast.call(&peers, &offer(Repeat::Harmless)).await;

    assert!(matches!(
        row(&report, me.address).outcome(),
        Outcome::Myself(_)
    ));
    assert!(report.all_confirmed());
}

#[tokio::test]
async fn a_hundred_peers_are_called_with_the_bound_kept() {
    const BOUND: usize = 8;
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counter, maximum) = (Arc::clone(&open), Arc::clone(&most));
    let server = Server::on(
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        move |mut stream| {
            let (open, most) = (Arc::clone(&counter), Arc::clone(&maximum));
            async move {
                while read_request(&mut stream).await.is_some() {
                    let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                    if stream.write_all(OK.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        },
    )
    .await;
    // Every address of the loopback network is this machine.
    let peers: BTreeSet<PeerAddress> = (1..=100)
        .map(|last| peer(SocketAddr::from(([127, 0, 1, last], server.address.port()))))
        .collect();
    let broadcast = Broadcast::over_http(settings().fan_out(BOUND)).unwrap();

    let report = broadcast.call(&peers, &offer(Repeat::Unwanted)).await;

    assert_eq!(report.rows().len(), 100);
    assert!(report.all_confirmed(), "{report:?}");
    let most = most.load(Ordering::SeqCst);
    assert!((2..=BOUND).contains(&most), "{most} at once");
    assert_eq!(server.connections(), 100);
}

/// A transport of one's own: it hands what it is given to a peer in this process, as it would over a wire.
#[derive(Debug)]
struct InProcess(Signer);

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, _: &PeerAddress, call: &Call) -> Result<PeerReply, TransportError> {
        let headers = call.headers().clone();
        assert_eq!(headers[&INSTANCE], "me");
        let now = std::time::SystemTime::now();
        let signed = headers.get("authorization");
        let heard = self.0.verify(call.method(), call.path(), signed, now);
        let mut answered = HeaderMap::new();
        answered.insert(INSTANCE, HeaderValue::from_static("other"));
        let answer = PeerReply::from_parts(StatusCode::OK, answered.clone(), "fine".into());
        let signature = self
            .0
            .sign_answer(&heard.unwrap(), &answer, Some(&INSTANCE));
        Ok(answer.with_header(SIGNATURE_HEADER, signature))
    }
}

#[tokio::test]
async fn a_transport_of_ones_own_passes_on_all_that_a_signed_call_carries() {
    let signer = Signer::new(&"geheim".to_owned().into());
    let settings = settings()
        .identity(Identity::new(INSTANCE, HeaderValue::from_static("me")))
        .signer(signer.clone());
    let broadcast = Broadcast::over(Arc::new(InProcess(signer)), settings);
    let peers = BTreeSet::from(["a:1".parse().unwrap()]);

    let report = broadcast.call(&peers, &offer(Repeat::Unwanted)).await;

    assert!(report.all_confirmed(), "{report:?}");
    assert_eq!(report.rows()[0].instance(), Some("other"));
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::saying(OK).await;
    let broadcast = Broadcast::over_http(settings()).unwrap();
    let peers = BTreeSet::from([peer(server.address)]);

    for _ in 0..20 {
        let report = broadcast.call(&peers, &offer(Repeat::Unwanted)).await;
        assert!(report.all_confirmed(), "{report:?}");
    }

    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let elsewhere = "HTTP/1.1 302 Go\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    let server = Server::saying(elsewhere).await;

    let report = call(&[server.address], Repeat::Harmless).await;

    assert_eq!(
        row(&report, server.address).reason().unwrap(),
        "answered 302 Found"
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let peers = BTreeSet::from(["no-such-host.invalid:80".parse().unwrap()]);
    let broadcast = Broadcast::over_http(settings()).unwrap();

    let report = broadcast.call(&peers, &offer(Repeat::Unwanted)).await;

    let outcome = report.rows()[0].outcome();
    assert!(
        matches!(
            outcome,
            Outcome::Unreachable(
                TransportError::Connect { .. } | TransportError::ConnectTimeout { .. }
            )
        ),
        "{outcome:?}"
    );
}
