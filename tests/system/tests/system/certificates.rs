//! Certificates: from the folder to the client, and between replicas.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test ends it where it meets what it did not expect"
)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use crate::maps::applies;
use testkit::{
    tls::{Authority, Issued, TlsClient},
    topology::{Failure, Plan, Replica, Topology, until},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// The certificate that a replica shows for a name.
pub(crate) async fn shown(replica: &Replica, name: &str) -> Result<Vec<u8>, Failure> {
    let answer = TlsClient::default().get(replica.https(), name, "/").await?;
    Ok(answer.certificate)
}

pub(crate) async fn until_shown(replica: &Replica, name: &str, issued: &Issued) {
    let look = until("the certificate is shown", async || {
        let is = issued.is(&shown(replica, name).await?);
        is.then_some(()).ok_or_else(|| "it is another".into())
    });
    look.await.unwrap();
}

pub(crate) fn write(replica: &Replica, folder: &str, name: &str, text: &str) {
    let folder = replica.home().join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
}

/// Nothing that the system says or writes for others to read holds a key.
async fn no_key_is_told(topology: &Topology, keys: &[&Issued]) {
    let mut texts = vec![topology.logs()];
    for replica in &topology.replicas {
        for path in [
            "certs",
            "status",
            "status?peers=true",
            "config",
            "config?type=json",
            "export",
        ] {
            texts.push(replica.call(path).await.unwrap().text);
        }
        texts.push(replica.metrics().await.unwrap());
        texts.push(fs::read_to_string(replica.home().join("cfg/haproxy.cfg")).unwrap());
    }
    for text in texts {
        for key in keys {
            assert!(!text.contains(key.secret()), "{text}");
        }
        assert!(!text.contains("PRIVATE KEY-----"), "{text}");
    }
}

#[tokio::test]
async fn a_certificate_in_the_folder_makes_the_port_speak_tls() {
    let mut topology = Plan::replicas(1)
        .setting("PREFERRED_CERTIFICATE", "acme*")
        .prepare()
        .await
        .unwrap();
    let authority = Authority::new("test authority").unwrap();
    let acme = authority.issue(&["acme.com"]).unwrap();
    let secret = authority.issue(&["secret.com"]).unwrap();
    let ends = Duration::from_secs(3 * 24 * 60 * 60);
    let ending = authority.issue_for(&["ending.com"], ends).unwrap();
    let replica = topology.replica(1);
    write(replica, "certs", "acme.pem", &acme.bundle());
    write(replica, "certs", "ending.pem", &ending.bundle());
    write(replica, "certs", "broken.pem", &acme.chain);
    write(replica, "secrets", "cert-secret", &secret.bundle());
    write(replica, "secrets", "password", "geheim");
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();

    for (name, issued) in [
        ("acme.com", &acme),
        ("secret.com", &secret),
        ("nobody.example", &acme),
    ] {
        assert!(issued.is(&shown(replica, name).await.unwrap()), "{name}");
    }
    let certs = replica.call("certs").await.unwrap().json;
    let listed = certs["Certs"].as_array().unwrap();
    assert_eq!(listed.len(), 3, "{certs:#}");
    assert_eq!(listed[0]["ProxyServiceName"], "acme.pem");
    assert_eq!(listed[0]["Domains"][0], "acme.com");
    assert_eq!(listed[0]["Issuer"], "CN=test authority");
    assert_eq!(listed[0]["DaysLeft"], 89);
    assert_eq!(listed[0]["Fingerprint"].as_str().unwrap().len(), 64);
    let refused = certs["Refused"].to_string();
    assert!(
        refused.contains("broken.pem") && refused.contains("no private key"),
        "{refused}"
    );

    let status = replica.call("status").await.unwrap().json;
    assert!(
        status["Certificates"]["ExpireSoon"]["ending.pem"].is_string(),
        "{status:#}"
    );
    assert_eq!(status["Certificates"]["Refused"], certs["Refused"]);
    let ready = replica.probe("readyz").await.unwrap();
    assert!(
        ready.text.contains("1 certificate ends within 14 days"),
        "{}",
        ready.text
    );
    let metrics = replica.metrics().await.unwrap();
    let metric = "proxy_certificate_expiry_timestamp_seconds{name=\"acme.pem\"} ";
    assert!(metrics.contains(metric), "{metrics}");

    // One that is renewed is found without a call, and one that is broken leaves the one before.
    let renewed = authority.issue(&["acme.com"]).unwrap();
    write(replica, "certs", "acme.pem", &renewed.bundle());
    until_shown(replica, "acme.com", &renewed).await;

    // What is given counts before it, and leaves it in its place once it is taken away.
    let given = authority.issue(&["acme.com"]).unwrap();
    cert(replica, "PUT", "certName=acme.pem", &given.bundle()).await;
    assert!(given.is(&shown(replica, "acme.com").await.unwrap()));
    let removed = cert(replica, "DELETE", "certName=acme.pem", "").await;
    assert_eq!(removed.status, 200, "{}", removed.text);
    let file = replica.home().join("certs/acme.pem").display().to_string();
    assert!(removed.text.contains(&file), "{}", removed.text);
    assert!(renewed.is(&shown(replica, "acme.com").await.unwrap()));

    write(replica, "certs", "acme.pem", &renewed.chain);
    replica.call("reload").await.unwrap();
    until("the broken one is named", async || {
        let refused = replica.call("certs").await?.json["Refused"].to_string();
        let named = refused.contains("the version before is shown");
        named.then_some(()).ok_or_else(|| refused.into())
    })
    .await
    .unwrap();
    until_shown(replica, "acme.com", &renewed).await;
    no_key_is_told(&topology, &[&acme, &secret, &ending, &renewed]).await;
}

async fn cert(
    replica: &Replica,
    method: &str,
    query: &str,
    body: &str,
) -> testkit::topology::ApiAnswer {
    let body = body.as_bytes().to_vec();
    replica
        .send(method, &format!("cert?{query}"), body)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_certificate_given_to_one_replica_is_shown_by_all_and_by_those_that_come_later() {
    let mut topology = Plan::replicas(4)
        .setting("PEER_SECRET", "the secret of the replicas")
        .prepare()
        .await
        .unwrap();
    for number in 1..=3 {
        topology.replica_mut(number).start().unwrap();
    }
    for number in 1..=3 {
        topology.replica(number).until_serving().await.unwrap();
    }
    topology.dns_first(3);
    let authority = Authority::new("test authority").unwrap();
    let acme = authority.issue(&["acme.com"]).unwrap();
    let gone = authority.issue(&["gone.com"]).unwrap();
    let one = topology.replica(1);
    let put = cert(one, "PUT", "certName=acme&distribute=true", &acme.bundle()).await;
    assert_eq!(
        (put.status, &put.json["Status"]),
        (200, &"OK".into()),
        "{}",
        put.text
    );
    let rows = put.json["Peers"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{}", put.text);
    assert!(
        rows.iter().all(|row| row["Status"] == "applied"),
        "{}",
        put.text
    );
    for number in 1..=3 {
        let shown = shown(topology.replica(number), "acme.com").await.unwrap();
        assert!(acme.is(&shown), "replica {number}");
    }

    // Without distribute it is shown here, and asked for by the others; what is taken away stays away.
    cert(one, "PUT", "certName=gone", &gone.bundle()).await;
    assert!(gone.is(&shown(one, "gone.com").await.unwrap()));
    let removed = cert(one, "DELETE", "certName=gone&distribute=true", "").await;
    assert_eq!(removed.status, 200, "{}", removed.text);
    topology.dns_first(4);
    topology.replica_mut(4).start().unwrap();
    let four = topology.replica(4);
    four.until_serving().await.unwrap();
    assert!(
        acme.is(&shown(four, "acme.com").await.unwrap()),
        "with its first configuration"
    );
    assert!(!four.call("certs").await.unwrap().text.contains("gone"));

    // It survives a restart of all.
    for number in 1..=4 {
        topology.replica_mut(number).crash();
    }
    topology.replica_mut(2).start().unwrap();
    topology.replica(2).until_serving().await.unwrap();
    until_shown(topology.replica(2), "acme.com", &acme).await;
    topology.replica_mut(1).start().unwrap();
    topology.replica(1).until_serving().await.unwrap();

    // What is bad changes nothing; nor does what cannot be told.
    for (query, body, why) in [
        ("certName=acme", acme.chain.clone(), "no private key"),
        ("certName=../x", acme.bundle(), "certName"),
        ("distribute=false", acme.bundle(), "certName is missing"),
        (
            "certName=acme",
            format!("{}{}", acme.chain, gone.key),
            "belongs to none",
        ),
    ] {
        let answer = cert(topology.replica(1), "PUT", query, &body).await;
        assert_eq!(
            (answer.status, &answer.json["Stored"]),
            (400, &false.into())
        );
        assert!(answer.text.contains(why), "{}", answer.text);
    }
    until_shown(topology.replica(1), "acme.com", &acme).await;
    // A stranger is not told, whatever it says.
    let path = "peer/certificates";
    let stranger = topology
        .replica(1)
        .post(path, "application/octet-stream", b"x".to_vec());
    assert_eq!(stranger.await.unwrap().status, 401);

    for number in [3, 4] {
        topology.replica_mut(number).start().unwrap();
        topology.replica(number).until_serving().await.unwrap();
    }
    no_key_is_told(&topology, &[&acme, &gone]).await;
}

#[tokio::test]
async fn a_certificate_that_comes_with_a_service_is_no_part_of_it() {
    let topology = Plan::replicas(1).start().await.unwrap();
    let replica = topology.replica(1);
    let demo = testkit::haproxy::DemoBackend::start("demo").await.unwrap();
    let authority = Authority::new("test authority").unwrap();
    let acme = authority.issue(&["acme.com"]).unwrap();
    let form = |pem: &str| {
        let pem = pem.replace('\n', "\\n").replace('+', "%2B");
        format!(
            "serviceName=demo&serviceDomain=acme.com&port={}&outboundHostname=127.0.0.1&serviceCert={pem}",
            demo.address().port()
        )
    };
    let kind = "application/x-www-form-urlencoded";
    let bad = replica.post("reconfigure", kind, form(&acme.chain).into_bytes());
    let bad = bad.await.unwrap();
    assert_eq!(
        (bad.status, &bad.json["Stored"]),
        (400, &false.into()),
        "{}",
        bad.text
    );
    let table = replica.call("export").await.unwrap().text;
    assert!(!table.contains("acme.com"), "{table}");

    let good = replica.post("reconfigure", kind, form(&acme.bundle()).into_bytes());
    let good = good.await.unwrap();
    assert_eq!(good.status, 200, "{}", good.text);
    let answer = TlsClient::default()
        .get(replica.https(), "acme.com", "/")
        .await
        .unwrap();
    assert!(acme.is(&answer.certificate));
    assert_eq!(answer.http.body, "demo");
    assert_eq!(
        good.json["Warnings"].as_array().unwrap().len(),
        0,
        "{}",
        good.text
    );
    let certs = replica.call("certs").await.unwrap().json;
    assert_eq!(certs["Certs"][0]["ProxyServiceName"], "acme.com");

    // One with another kind of key takes its place, which is said; under a name of its own it stands beside it.
    let rsa = authority.issue_rsa(&["acme.com"]).unwrap();
    let other = replica.post("reconfigure", kind, form(&rsa.bundle()).into_bytes());
    let other = other.await.unwrap();
    assert_eq!(other.status, 200, "{}", other.text);
    let said = other.json["Certificate"]["Warnings"].to_string();
    assert!(said.contains("(ECDSA, this one RSA)"), "{}", other.text);
    until_shown(replica, "acme.com", &rsa).await;
    let certs = replica.call("certs").await.unwrap().json;
    assert_eq!(certs["Certs"][0]["Key"], "RSA", "{certs:#}");
    let query = "certName=acme.com.ecdsa";
    let both = cert(replica, "PUT", query, &acme.bundle()).await;
    assert_eq!(both.status, 200, "{}", both.text);
    assert!(both.json["Warnings"].is_null(), "{}", both.text);
    until_shown(replica, "acme.com", &acme).await;
    let certs = replica.call("certs").await.unwrap().json;
    assert_eq!(certs["Certs"].as_array().unwrap().len(), 2, "{certs:#}");
    no_key_is_told(&topology, &[&acme, &rsa]).await;
}

#[tokio::test]
async fn a_service_takes_no_certificate_from_another_and_is_told_what_is_not_kept() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    // A folder that is a file: every check passes, and nothing can be written down.
    let state = topology.replica(1).home().join("state");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("certificates"), "").unwrap();
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    let authority = Authority::new("test authority").unwrap();
    let acme = authority.issue(&["acme.com"]).unwrap();
    let give = async |service: &str, domain: &str, issued: &Issued| {
        let pem = issued.bundle().replace('\n', "\\n").replace('+', "%2B");
        let form =
            format!("serviceName={service}&serviceDomain={domain}&port=80&serviceCert={pem}");
        let kind = "application/x-www-form-urlencoded";
        let path = "reconfigure";
        replica.post(path, kind, form.into_bytes()).await.unwrap()
    };
    let unkept = give("one", "acme.com", &acme).await;
    assert_eq!((unkept.status, &unkept.json["Stored"]), (503, &true.into()));
    assert!(
        unkept
            .text
            .contains("the service one is configured, and its certificate acme.com is not kept"),
        "{}",
        unkept.text
    );
    let table = replica.call("export").await.unwrap().text;
    assert!(table.contains("acme.com"), "{table}");

    fs::remove_file(state.join("certificates")).unwrap();
    let kept = give("one", "acme.com", &acme).await;
    assert_eq!(kept.status, 200, "{}", kept.text);
    // Another service may not replace it, nor stand beside it.
    let stolen = authority.issue(&["other.com", "acme.com"]).unwrap();
    let refused = give("two", "other.com", &stolen).await;
    assert_eq!(
        (refused.status, &refused.json["Stored"]),
        (409, &false.into())
    );
    assert!(
        refused.text.contains("a domain of the service one"),
        "{}",
        refused.text
    );
    let strange = give("two", "other.com", &acme).await;
    assert_eq!(
        (strange.status, &strange.json["Stored"]),
        (400, &false.into())
    );
    let table = replica.call("export").await.unwrap().text;
    assert!(!table.contains("other.com"), "{table}");
    assert!(acme.is(&shown(replica, "acme.com").await.unwrap()));
}

/// Sends a request and hangs up once HAProxy is asked about it.
async fn hang_up(replica: &Replica, head: &str, body: &str, asked: &Path) {
    let mut stream = TcpStream::connect(replica.api()).await.unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until("HAProxy is asked", async || {
        asked.exists().then_some(()).ok_or_else(|| "not yet".into())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing_half_done_and_is_not_overtaken() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    let home = topology.replica(1).home().to_owned();
    let (asked, go, binary) = (home.join("asked"), home.join("go"), home.join("haproxy"));
    fs::create_dir_all(&home).unwrap();
    let real = testkit::haproxy::find_binary().unwrap();
    // One whose checks of single certificates take as long as the test wants.
    let script = format!(
        "#!/bin/sh\nfor main; do :; done\ncase \"$main\" in */.probe-*) touch {0}; n=0; while [ ! -e {1} ] && [ $n -lt 150 ]; do sleep 0.1; n=$((n+1)); done ;; esac\nexec {2} \"$@\"\n",
        asked.display(),
        go.display(),
        real.display()
    );
    fs::write(&binary, script).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    topology
        .replica_mut(1)
        .set("HAPROXY_BIN", &binary.display().to_string());
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    let authority = Authority::new("test authority").unwrap();
    let acme = authority.issue(&["acme.com"]).unwrap();
    let head = "PUT /v1/docker-flow-proxy/cert?certName=acme";
    hang_up(replica, head, &acme.bundle(), &asked).await;
    let delete = replica.send("DELETE", "cert?certName=acme", Vec::new());
    let free = async {
        // Whether the removal waits already or comes later, it is behind the certificate.
        tokio::task::yield_now().await;
        fs::write(&go, "").unwrap();
    };
    let (deleted, ()) = tokio::join!(delete, free);
    let deleted = deleted.unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    assert!(
        deleted.text.contains("is removed"),
        "the certificate was kept: {}",
        deleted.text
    );
    let certs = replica.call("certs").await.unwrap().json;
    assert_eq!(certs["Certs"].as_array().unwrap().len(), 0, "{certs}");
    let file = fs::read_to_string(home.join("state/certificates/acme.json")).unwrap();
    assert!(
        !file.contains("PRIVATE KEY"),
        "and it is not on disk either"
    );

    // What nobody ever gave cannot be taken away, and leaves no trace.
    let unknown = cert(replica, "DELETE", "certName=unknown", "").await;
    assert_eq!(
        (unknown.status, &unknown.json["Stored"]),
        (404, &false.into())
    );
    assert!(!home.join("state/certificates/unknown.json").exists());
}

#[tokio::test]
async fn the_file_of_authorities_is_read_again() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Authority::new(name).unwrap());
    let file = topology.replica(1).home().join("ca.pem");
    write(
        topology.replica(1),
        "certs",
        "acme.pem",
        &ours.issue(&["acme.com"]).unwrap().bundle(),
    );
    fs::write(&file, ours.pem()).unwrap();
    topology
        .replica_mut(1)
        .set("CA_FILE", &file.display().to_string());
    topology.replica_mut(1).start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    let demo = testkit::haproxy::DemoBackend::start("demo").await.unwrap();
    let query = format!(
        "reconfigure?serviceName=demo&servicePath=/&outboundHostname=127.0.0.1&port={}&verifyClientSsl=true",
        demo.address().port()
    );
    let answer = replica.call(&query).await.unwrap();
    assert!(!answer.text.contains("CA_FILE"), "{}", answer.text);
    let client =
        |of: &Authority| TlsClient::default().with_identity(of.issue(&["client"]).unwrap());
    let (our, their) = (client(&ours), client(&theirs));
    let status = async |client: &TlsClient| {
        let answer = client.get(replica.https(), "acme.com", "/").await.unwrap();
        answer.http.status
    };
    assert_eq!((status(&our).await, status(&their).await), (200, 403));

    fs::write(&file, theirs.pem()).unwrap();
    // A worker that is replaced may take a last connection after the new one took its first.
    until("theirs are let in and ours are not", async || {
        match (status(&our).await, status(&their).await) {
            (403, 200) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    })
    .await
    .unwrap();

    // What is none leaves the one before.
    fs::write(&file, "nothing").unwrap();
    replica.call("reload").await.unwrap();
    let refused = replica.call("certs").await.unwrap().json["Refused"].to_string();
    let says = refused.contains("ca.pem") && refused.contains("the version before is shown");
    assert!(says, "{refused}");
    assert_eq!((status(&our).await, status(&their).await), (403, 200));
}

#[tokio::test]
async fn a_service_that_lets_nobody_in_is_warned_of() {
    let topology = Plan::replicas(1).start().await.unwrap();
    let query = "reconfigure?serviceName=demo&servicePath=/&port=80&verifyClientSsl=true";
    for query in [query.to_owned(), format!("{query}&dryRun=true")] {
        let answer = topology.replica(1).call(&query).await.unwrap();
        let warnings = answer.json["Warnings"].to_string();
        assert!(warnings.contains("CA_FILE"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_list_of_an_operator_says_which_certificates_are_shown_and_for_which_names() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    let authority = Authority::new("test authority").unwrap();
    let [a, b, c, d] =
        ["a.com", "b.com", "c.com", "d.com"].map(|name| authority.issue(&[name]).unwrap());
    let elsewhere = topology.replica(1).home().join("elsewhere");
    let list = topology.replica(1).home().join("list.txt");
    let listed = format!(
        "# mine\na.pem\n{} [alpn http/1.1] special.com *.special.com\n",
        elsewhere.join("b.pem").display()
    );
    {
        let replica = topology.replica(1);
        write(replica, "certs", "a.pem", &a.bundle());
        write(replica, "certs", "c.pem", &c.bundle());
        write(replica, "elsewhere", "b.pem", &b.bundle());
        fs::write(&list, &listed).unwrap();
    }
    let replica = topology.replica_mut(1);
    replica.set("CRT_LIST_PATH", &list.display().to_string());
    replica.start().unwrap();
    let replica = topology.replica(1);
    replica.until_serving().await.unwrap();
    let client = TlsClient::default().offering_h2();
    for (name, issued, alpn) in [
        ("a.com", &a, "h2"),
        ("special.com", &b, "http/1.1"),
        ("x.special.com", &b, "http/1.1"),
        ("b.com", &a, "h2"),
        ("c.com", &a, "h2"),
    ] {
        let answer = client.get(replica.https(), name, "/").await.unwrap();
        assert!(issued.is(&answer.certificate), "{name}");
        assert_eq!(answer.alpn.as_deref(), Some(alpn), "{name}");
    }

    // That it leaves out the very domain of one is said.
    let status = replica.call("status").await.unwrap().json;
    let left_out = &status["Certificates"]["LeftOut"];
    let said = left_out["b.pem"].as_str().unwrap_or_default();
    assert!(said.contains("whoever asks for b.com"), "{status:#}");
    assert_eq!(left_out.as_object().unwrap().len(), 1, "{status:#}");
    let warned = "a certificate is not shown for a name of its own";
    assert!(replica.log().contains(warned), "{}", replica.log());

    // A list that HAProxy does not take leaves the one before in place, with all that it names.
    fs::write(&list, "a.pem\nc.pem [nonsense x]\n").unwrap();
    replica.call("reload").await.unwrap();
    until("the list is named", async || {
        let refused = replica.call("certs").await?.json["Refused"].to_string();
        let named = refused.contains("nonsense");
        named.then_some(()).ok_or_else(|| refused.into())
    })
    .await
    .unwrap();
    for (name, issued) in [("special.com", &b), ("c.com", &a)] {
        assert!(issued.is(&shown(replica, name).await.unwrap()), "{name}");
    }
    fs::write(&list, &listed).unwrap();
    replica.call("reload").await.unwrap();

    // What is given stands behind the list, or in its place there: then HAProxy is told while it serves.
    let put = cert(replica, "PUT", "certName=d", &d.bundle()).await;
    assert_eq!(put.status, 200, "{}", put.text);
    until_shown(replica, "d.com", &d).await;
    let reloads = applies(replica, "reloaded").await.unwrap();
    let renewed = authority.issue(&["b.com"]).unwrap();
    let put = cert(replica, "PUT", "certName=b.pem", &renewed.bundle()).await;
    assert_eq!(put.status, 200, "{}", put.text);
    until_shown(replica, "special.com", &renewed).await;
    assert!(a.is(&shown(replica, "b.com").await.unwrap()));
    assert_eq!(applies(replica, "reloaded").await.unwrap(), reloads);

    // A list that cannot be read or that HAProxy does not take leaves the one before; a better one is followed.
    for (bad, words) in [
        ("c.pem [alpn h2", "line 1"),
        ("a.pem\nc.pem [nonsense x]", "nonsense"),
    ] {
        fs::write(&list, bad).unwrap();
        replica.call("reload").await.unwrap();
        until("the list is named", async || {
            let refused = replica.call("certs").await?.json["Refused"].to_string();
            let fits = refused.contains(words) && refused.contains("the version before is shown");
            fits.then_some(()).ok_or_else(|| refused.into())
        })
        .await
        .unwrap();
        until_shown(replica, "special.com", &renewed).await;
        until_shown(replica, "nobody.example", &a).await;
    }
    fs::write(&list, "c.pem\na.pem\n").unwrap();
    replica.call("reload").await.unwrap();
    until_shown(replica, "c.com", &c).await;
    until_shown(replica, "nobody.example", &c).await;
    no_key_is_told(&topology, &[&a, &b, &c, &d, &renewed]).await;

    let replica = topology.replica_mut(1);
    replica.terminate().await.unwrap();
    fs::remove_file(&list).unwrap();
    replica.start().unwrap();
    replica.until_ended().await.unwrap();
    assert!(replica.log().contains("CRT_LIST_PATH"), "{}", replica.log());
}
