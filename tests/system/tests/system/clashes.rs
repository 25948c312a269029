//! Certificates that are good by themselves and that HAProxy does not take with the whole configuration: they
//! are named, and nothing else waits for them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test ends it where it meets what it did not expect"
)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::Value;
use testkit::{
    haproxy::DemoBackend,
    tls::{Authority, Issued, TlsClient},
    topology::{ApiAnswer, Plan, Replica, Topology, until},
};

/// A HAProxy that refuses configurations with certificates that it is told to hate, but takes them alone, as
/// the checks of single certificates show them.
#[derive(Debug)]
struct Picky {
    folder: PathBuf,
}

impl Picky {
    fn of(topology: &mut Topology, number: usize) -> Self {
        let folder = topology.replica(number).home().join("picky");
        fs::create_dir_all(&folder).unwrap();
        let binary = folder.join("haproxy");
        let hated = folder.join("hated");
        let real = testkit::haproxy::find_binary().unwrap();
        let script = format!(
            r#"#!/bin/sh
for main; do :; done
folder=$(dirname "$main")
case "$folder" in
*/.probe-*) ;;
*) for hated in {hated}/*; do
    if [ -f "$hated" ] && {{ [ ! -f {with} ] || grep -qF -f {with} "$main"; }} && cat "$folder"/cert-* 2>/dev/null | grep -qF -f "$hated"; then
        echo "[ALERT]    (1) : config : the certificate of $(basename "$hated") does not fit." >&2
        exit 1
    fi
done ;;
esac
exec {real} "$@"
"#,
            hated = hated.display(),
            with = folder.join("with").display(),
            real = real.display()
        );
        fs::create_dir_all(hated).unwrap();
        fs::write(&binary, script).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let replica = topology.replica_mut(number);
        replica.set("HAPROXY_BIN", &binary.display().to_string());
        Self { folder }
    }

    /// Hates them beside a configuration that has this text alone.
    fn hate_beside(&self, text: &str) {
        fs::write(self.folder.join("with"), text).unwrap();
    }

    fn hate(&self, what: &str, issued: &Issued) {
        fs::write(self.folder.join("hated").join(what), issued.secret()).unwrap();
    }
}

fn write(replica: &Replica, name: &str, text: &str) {
    let folder = replica.home().join("certs");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
}

async fn until_shown(replica: &Replica, name: &str, issued: &Issued) {
    let look = until("the certificate is shown", async || {
        let client = TlsClient::default();
        let answer = client.get(replica.https(), name, "/").await?;
        let is = issued.is(&answer.certificate);
        is.then_some(()).ok_or_else(|| "it is another".into())
    });
    look.await.unwrap();
}

async fn put(replica: &Replica, query: &str, body: &str) -> ApiAnswer {
    let body = body.as_bytes().to_vec();
    let path = format!("cert?{query}");
    replica.send("PUT", &path, body).await.unwrap()
}

/// A change goes through and is live.
async fn changes(replica: &Replica, name: &str) {
    let demo = DemoBackend::start(name).await.unwrap();
    let query = format!(
        "reconfigure?serviceName={name}&servicePath=/{name}&outboundHostname=127.0.0.1&port={}",
        demo.address().port()
    );
    let answer = replica.call(&query).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = replica.request(&format!("/{name}")).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, name));
}

async fn refused(replica: &Replica) -> Value {
    replica.call("certs").await.unwrap().json["Refused"].clone()
}

/// Waits until this is said of what is refused: HAProxy shows a certificate a moment before.
async fn until_refused(replica: &Replica, right: impl Fn(&Value) -> bool) {
    until("what is refused is told", || async {
        let named = refused(replica).await;
        match right(&named) {
            true => Ok(()),
            false => Err(named.to_string().into()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_certificate_that_fails_with_the_whole_configuration_stops_nothing_else() {
    let mut topology = Plan::replicas(1)
        // HAProxy looks at it once something speaks TLS, and a certificate alone is checked without it.
        .setting("EXTRA_GLOBAL", "ssl-default-bind-curves nosuch")
        .prepare()
        .await
        .unwrap();
    let authority = Authority::new("test authority").unwrap();
    let acme = authority.issue(&["acme.com"]).unwrap();
    write(topology.replica(1), "acme.pem", &acme.bundle());
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    changes(replica, "one").await;
    let named = refused(replica).await;
    let words = named["acme.pem"].as_str().unwrap_or_default();
    assert!(words.contains("nosuch"), "{named}");
    let certs = replica.call("certs").await.unwrap().json;
    assert_eq!(certs["Certs"].as_array().unwrap().len(), 0, "{certs}");

    for query in ["certName=given", "certName=given&dryRun=true"] {
        let given = put(replica, query, &acme.bundle()).await;
        assert_eq!(
            (given.status, &given.json["Stored"]),
            (400, &false.into()),
            "{}",
            given.text
        );
        assert!(given.text.contains("nosuch"), "{}", given.text);
    }
    assert!(
        !replica
            .home()
            .join("state/certificates/given.json")
            .exists()
    );
    changes(replica, "two").await;
}

#[tokio::test]
async fn the_version_before_is_shown_where_haproxy_does_not_take_another_with_the_rest() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    let picky = Picky::of(&mut topology, 1);
    let authority = Authority::new("test authority").unwrap();
    let [acme, renewed, better] = [(); 3].map(|()| authority.issue(&["acme.com"]).unwrap());
    let other = authority.issue(&["other.com"]).unwrap();
    write(topology.replica(1), "acme.pem", &acme.bundle());
    topology.replica_mut(1).start().unwrap();
    topology.replica(1).until_serving().await.unwrap();
    until_shown(topology.replica(1), "acme.com", &acme).await;

    // One look finds a bad one and a good one.
    picky.hate("renewed", &renewed);
    let replica = topology.replica(1);
    write(replica, "acme.pem", &renewed.bundle());
    write(replica, "other.pem", &other.bundle());
    replica.call("reload").await.unwrap();
    until_shown(replica, "other.com", &other).await;
    until_shown(replica, "acme.com", &acme).await;
    until_refused(replica, |named| {
        let words = named["acme.pem"].as_str().unwrap_or_default();
        words.contains("of renewed") && words.contains("the version before is shown")
    })
    .await;
    changes(replica, "one").await;

    // What the caller gives is refused and changes nothing.
    let given = put(replica, "certName=given", &renewed.bundle()).await;
    assert_eq!((given.status, &given.json["Stored"]), (400, &false.into()));
    assert!(given.text.contains("of renewed"), "{}", given.text);

    // At the next start it is bad from the beginning.
    topology.replica_mut(1).crash();
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    until_shown(replica, "other.com", &other).await;
    let named = refused(replica).await;
    assert!(named.to_string().contains("of renewed"), "{named}");
    let one = replica.request("/one").await.unwrap();
    assert_ne!(one.status, 404, "its service is there");
    changes(replica, "two").await;

    write(replica, "acme.pem", &better.bundle());
    until_shown(replica, "acme.com", &better).await;
    until_refused(replica, |named| *named == serde_json::json!({})).await;
}

#[tokio::test]
async fn of_two_certificates_that_clash_one_is_shown() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    let picky = Picky::of(&mut topology, 1);
    let authority = Authority::new("test authority").unwrap();
    let one = authority.issue(&["one.com"]).unwrap();
    let two = authority.issue(&["two.com"]).unwrap();
    // The second of them by name is the one that HAProxy minds.
    picky.hate("two", &two);
    write(topology.replica(1), "one.pem", &one.bundle());
    write(topology.replica(1), "two.pem", &two.bundle());
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    until_shown(replica, "one.com", &one).await;
    let named = refused(replica).await;
    assert!(named["two.pem"].is_string(), "{named}");
    assert!(named["one.pem"].is_null(), "{named}");
}

#[tokio::test]
async fn a_certificate_that_clashes_with_a_service_is_shown_once_that_is_gone() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    let picky = Picky::of(&mut topology, 1);
    let authority = Authority::new("test authority").unwrap();
    let [one, two] = ["one.com", "two.com"].map(|name| authority.issue(&[name]).unwrap());
    picky.hate("two", &two);
    picky.hate_beside("/rival");
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    changes(replica, "rival").await;
    write(replica, "one.pem", &one.bundle());
    write(replica, "two.pem", &two.bundle());
    replica.call("reload").await.unwrap();
    until_shown(replica, "one.com", &one).await;
    let named = refused(replica).await;
    assert!(named["two.pem"].is_string(), "{named}");
    replica.call("remove?serviceName=rival").await.unwrap();
    until_shown(replica, "two.com", &two).await;
    assert_eq!(refused(replica).await, serde_json::json!({}));
}

#[tokio::test]
async fn a_certificate_of_a_peer_that_clashes_here_stops_nothing_here() {
    let mut topology = Plan::replicas(2)
        .setting("PEER_SECRET", "the secret of the replicas")
        .prepare()
        .await
        .unwrap();
    let picky = Picky::of(&mut topology, 2);
    for number in 1..=2 {
        topology.replica_mut(number).start().unwrap();
        topology.replica(number).until_serving().await.unwrap();
    }
    let authority = Authority::new("test authority").unwrap();
    let acme = authority.issue(&["acme.com"]).unwrap();
    let hated = authority.issue(&["acme.com"]).unwrap();
    let (one, two) = (topology.replica(1), topology.replica(2));
    let good = put(one, "certName=acme&distribute=true", &acme.bundle()).await;
    assert_eq!(good.status, 200, "{}", good.text);
    picky.hate("hated", &hated);
    let put = put(one, "certName=acme&distribute=true", &hated.bundle()).await;
    assert_ne!(put.status, 200, "{}", put.text);
    assert!(put.text.contains("of hated"), "{}", put.text);
    until_shown(one, "acme.com", &hated).await;
    until_shown(two, "acme.com", &acme).await;
    let named = refused(two).await;
    let words = named["acme"].as_str().unwrap_or_default();
    assert!(words.contains("of hated"), "{named}");
    changes(two, "demo").await;
}
