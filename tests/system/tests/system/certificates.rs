//! Certificates: from the folder to the client, and between replicas.

use std::{fs, time::Duration};

use testkit::{
    tls::{Authority, Issued, TlsClient},
    topology::{Failure, Plan, Replica, Topology, until},
};

/// The certificate that a replica shows for a name.
async fn shown(replica: &Replica, name: &str) -> Result<Vec<u8>, Failure> {
    let answer = TlsClient::default().get(replica.https(), name, "/").await?;
    Ok(answer.certificate)
}

async fn until_shown(replica: &Replica, name: &str, issued: &Issued) {
    let look = until("the certificate is shown", async || {
        let is = issued.is(&shown(replica, name).await?);
        is.then_some(()).ok_or_else(|| "it is another".into())
    });
    look.await.unwrap();
}

fn write(replica: &Replica, folder: &str, name: &str, text: &str) {
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
