//! Users of a service, from the call to every place where something could be shown.

use testkit::{
    consul::ClusterOptions,
    haproxy::{DemoBackend, Request, request},
    topology::{Failure, Plan, Replica},
};

use crate::story::reconfigure;

/// What must never be seen: the passwords below, and what their hashes begin with.
const SECRETS: [&str; 2] = ["geheim", "$6$rounds"];

/// `ann:geheim-1`, `bob:geheim-2` and `root:geheim-3`, as clients send them.
const ANN: &str = "YW5uOmdlaGVpbS0x";
const BOB: &str = "Ym9iOmdlaGVpbS0y";
const ROOT: &str = "cm9vdDpnZWhlaW0tMw==";

async fn status(replica: &Replica, path: &str, user: &str) -> Result<u16, Failure> {
    let asked = Request::get(path)
        .with_header("Host", "acme.com")
        .with_header("Authorization", format!("Basic {user}"));
    Ok(request(replica.http(), &asked).await?.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_open_services_everywhere_and_are_seen_nowhere() -> Result<(), Failure> {
    let secrets = tempfile::tempdir()?;
    std::fs::write(secrets.path().join("dfp_users_team"), "ann:geheim-1\n")?;
    let folder = secrets.path().to_string_lossy().into_owned();
    let topology = Plan::replicas(2)
        .consul(ClusterOptions::servers(1))
        .setting("SECRETS_PATH", &folder)
        .setting("USERS", "root:geheim-3")
        .setting("PEER_SECRET", "geheim-of-the-peers")
        .setting("CONSUL_TOKEN", "geheim-for-consul")
        .setting("STATS_USER", "watcher")
        .setting("STATS_PASS", "geheim-7")
        .setting("LOG", "debug")
        .start()
        .await?;
    let demo = DemoBackend::start("hello").await?;
    for name in ["team", "own", "all"] {
        topology.dns.set(name, [demo.address().ip()]);
    }
    let replica = topology.replica(1);
    let mut said = Vec::new();
    let team = format!("{}&usersSecret=team", reconfigure("team", "/team", &demo));
    let own = format!("{}&users=bob:geheim-2", reconfigure("own", "/own", &demo));
    let all = reconfigure("all", "/all", &demo);
    for call in [&team, &own, &all] {
        let answer = replica.call(&format!("{call}&distribute=true")).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        said.push(answer.text);
    }
    for replica in &topology.replicas {
        for (path, user, expected) in [
            ("/team", ANN, 200),
            ("/team", BOB, 401),
            ("/team", ROOT, 401),
            ("/own", BOB, 200),
            ("/own", ANN, 401),
            ("/all", ROOT, 200),
            ("/all", BOB, 401),
        ] {
            assert_eq!(
                status(replica, path, user).await?,
                expected,
                "{path} {user}"
            );
        }
        assert_eq!(replica.request("/own").await?.status, 401);
    }

    // The same call gives the same bytes: no revision, no reload.
    let again = replica.call(&own).await?;
    let before = replica.call("status").await?.json["Revision"].clone();
    assert_eq!(again.json["Revision"], before, "{}", again.text);
    // Another password is another service, whose difference nobody sees.
    let other = own.replace("geheim-2", "geheim-4");
    let tried = replica.call(&format!("{other}&dryRun=true")).await?;
    assert_eq!(tried.json["Effect"], "reload", "{}", tried.text);
    let diff = tried.json["Diff"].as_str().unwrap_or_default();
    assert_eq!(diff, "# haproxy.cfg differs in passwords\n");
    said.extend([again.text, tried.text]);
    said.push(replica.call(&other).await?.text);
    assert_eq!(status(replica, "/own", BOB).await?, 401);

    // Everything that can be asked, and what is said to mistakes.
    for call in [
        "config",
        "config?type=json",
        "status",
        "status?type=text",
        "status?peers=true",
        "history?full=true",
        "history?type=text",
        "diff?from=1",
        "diff?from=1&type=text",
        "explain?url=/own",
        "certs",
        "metrics",
        "metrics?distribute=true",
        "reload?dryRun=true",
        "remove?serviceName=own&dryRun=true",
        "reconfigure?serviceName=x&servicePath=/x&port=80&serviceCert=geheim",
        "reconfigure?serviceName=x&servicePath=/x&port=80&users=eve",
        "reconfigure?serviceName=x&servicePath=/x&port=80&users=eve:geheim-5,geheim 6",
        "reconfigure?serviceName=x&servicePath=/x&port=80&users=eve:geheim-5&usersPassEncrypted=true",
        "reconfigure?serviceName=x&servicePath=/x&port=80&usersSecret=nobody",
    ] {
        for replica in &topology.replicas {
            said.push(replica.call(call).await?.text);
        }
    }
    let shown = replica.call("config?type=json").await?.json;
    assert_eq!(shown["own"]["Users"][0]["Username"], "bob", "{shown}");
    said.push(replica.metrics().await?);
    for path in ["readyz", "healthz", "v1/openapi.json"] {
        said.push(replica.probe(path).await?.text);
    }
    // What is written down is a backup, so it has the hashes, and no password all the same.
    let file = replica.call("export").await?.text;
    assert!(file.contains("$6$") && !file.contains("geheim"), "{file}");
    for (call, body, expected) in [
        ("import", file.replace("$6$rounds=", "$6$rounds=x"), 400),
        (
            "import",
            file.replace("\"users\":", "\"users\":7,\"geheim\":"),
            400,
        ),
        ("import?dryRun=true", file, 200),
        ("rollback?revision=1&dryRun=true", String::new(), 200),
    ] {
        let answer = replica.post(call, "application/json", body.into()).await?;
        assert_eq!(answer.status, expected, "{call}: {}", answer.text);
        said.push(answer.text);
    }
    said.extend(topology.replicas.iter().map(Replica::log));
    for text in &said {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    Ok(())
}
