//! The server against hickory's client side, and against bare sockets.

use std::time::Instant;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);
/// What a test waits to believe that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn ask_bytes(dns: &TestDns, message: &Message, wait: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket
        .send_to(&message.to_vec().unwrap(), dns.address())
        .await
        .unwrap();
    let mut buffer = vec![0; 65_535];
    let (length, _) = timeout(wait, socket.recv_from(&mut buffer))
        .await
        .ok()?
        .unwrap();
    buffer.truncate(length);
    Some(buffer)
}

async fn ask(dns: &TestDns, name: &str, kind: RecordType) -> Message {
    let bytes = ask_bytes(dns, &query(name, kind), DEADLINE).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

async fn ask_tcp(dns: &TestDns, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect(dns.address()).await.unwrap();
    let bytes = query(name, kind).to_vec().unwrap();
    stream
        .write_u16(u16::try_from(bytes.len()).unwrap())
        .await
        .unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    message
        .answers
        .iter()
        .filter_map(|record| record.data.ip_addr())
        .map(|ip| ip.to_string())
        .collect()
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[tokio::test]
async fn both_families_and_both_carriers_answer() {
    let dns = TestDns::start().await.unwrap();
    dns.set_with_ttl(
        "Tasks.Proxy",
        ips(&["127.0.0.2", "::1", "127.0.0.3"]),
        Duration::from_secs(7),
    );

    let v4 = ask(&dns, "tasks.proxy.", RecordType::A).await;
    let v6 = ask(&dns, "TASKS.proxy.", RecordType::AAAA).await;
    let tcp = ask_tcp(&dns, "tasks.proxy.", RecordType::A).await;

    assert_eq!(addresses(&v4), ["127.0.0.2", "127.0.0.3"]);
    assert_eq!(v4.answers[0].ttl, 7);
    assert_eq!(addresses(&v6), ["::1"]);
    assert_eq!(addresses(&tcp), ["127.0.0.2", "127.0.0.3"]);
    assert_eq!(dns.queries("tasks.proxy"), 3);
    assert_eq!(dns.total_queries(), 3);
}

#[tokio::test]
async fn records_change_at_run_time() {
    let dns = TestDns::start().await.unwrap();
    let absent = ask(&dns, "a.", RecordType::A).await;
    assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);

    dns.set("a", ips(&["127.0.0.9"]));
    assert_eq!(
        addresses(&ask(&dns, "a.", RecordType::A).await),
        ["127.0.0.9"]
    );

    dns.remove("a");
    let removed = ask(&dns, "a.", RecordType::A).await;
    assert_eq!(removed.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn faults_strike_the_named_alone_and_heal() {
    let dns = TestDns::start().await.unwrap();
    dns.set("sick", ips(&["127.0.0.2"]));
    dns.set("well", ips(&["127.0.0.3"]));

    for (fault, code) in [
        (Fault::NxDomain, ResponseCode::NXDomain),
        (Fault::ServFail, ResponseCode::ServFail),
        (Fault::Refused, ResponseCode::Refused),
        (Fault::Empty, ResponseCode::NoError),
    ] {
        dns.fault("sick", fault);
        let answer = ask(&dns, "sick.", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, code);
        assert!(answer.answers.is_empty());
        assert_eq!(
            addresses(&ask(&dns, "well.", RecordType::A).await),
            ["127.0.0.3"]
        );
    }

    dns.fault("sick", Fault::Garbage);
    let bytes = ask_bytes(&dns, &query("sick.", RecordType::A), DEADLINE)
        .await
        .unwrap();
    assert!(Message::from_vec(&bytes).is_err());

    dns.heal("sick");
    assert_eq!(
        addresses(&ask(&dns, "sick.", RecordType::A).await),
        ["127.0.0.2"]
    );
}

#[tokio::test]
async fn a_silent_name_is_counted_and_not_answered() {
    let dns = TestDns::start().await.unwrap();
    dns.set("a", ips(&["127.0.0.2"]));
    dns.fault_all(Fault::Silent);

    assert!(
        ask_bytes(&dns, &query("a.", RecordType::A), SILENCE)
            .await
            .is_none()
    );

    timeout(DEADLINE, dns.until_queried("a", 1)).await.unwrap();
    dns.heal_all();
    assert_eq!(
        addresses(&ask(&dns, "a.", RecordType::A).await),
        ["127.0.0.2"]
    );
}

#[tokio::test]
async fn a_late_answer_holds_up_no_other() {
    let dns = TestDns::start().await.unwrap();
    let delay = Duration::from_millis(300);
    dns.set("late", ips(&["127.0.0.2"]));
    dns.set("prompt", ips(&["127.0.0.3"]));
    dns.fault("late", Fault::Late(delay));

    let start = Instant::now();
    let late = async {
        let answer = ask(&dns, "late.", RecordType::A).await;
        (addresses(&answer), start.elapsed())
    };
    let prompt = async {
        let answer = ask(&dns, "prompt.", RecordType::A).await;
        (addresses(&answer), start.elapsed())
    };
    let (late, prompt) = tokio::join!(late, prompt);

    assert_eq!(late.0, ["127.0.0.2"]);
    assert!(late.1 >= delay, "{:?}", late.1);
    assert_eq!(prompt.0, ["127.0.0.3"]);
    assert!(prompt.1 < late.1, "{:?}", prompt.1);
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_whole_over_tcp() {
    let dns = TestDns::start().await.unwrap();
    dns.set("many", (1..=200).map(|last| IpAddr::from([10, 0, 0, last])));

    let udp = ask(&dns, "many.", RecordType::A).await;
    let tcp = ask_tcp(&dns, "many.", RecordType::A).await;

    assert!(udp.metadata.truncation);
    assert_eq!(tcp.answers.len(), 200);
}

#[tokio::test]
async fn a_stopped_server_gives_its_port_back() {
    let dns = TestDns::start().await.unwrap();
    let address = dns.address();

    dns.stop().await;

    TestDns::bind(address).await.unwrap();
}

#[tokio::test]
async fn lost_queries_are_counted_down() {
    let dns = TestDns::start().await.unwrap();
    dns.set("a", ips(&["127.0.0.2"]));
    dns.fault("a", Fault::Lose(1));

    let lost = ask_bytes(&dns, &query("a.", RecordType::A), SILENCE).await;

    assert!(lost.is_none());
    assert_eq!(
        addresses(&ask(&dns, "a.", RecordType::A).await),
        ["127.0.0.2"]
    );
}
