//! Settings of Docker Flow Proxy, as the environment of a whole replica.

use std::{fs, net::SocketAddr};

use testkit::{
    haproxy::{DemoBackend, get},
    topology::{Failure, Plan},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_of_docker_flow_proxy_shapes_the_configuration() -> Result<(), Failure> {
    let folder = tempfile::tempdir_in("/tmp")?;
    let soon = "HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nsoon";
    fs::write(folder.path().join("503.http"), soon)?;
    fs::write(folder.path().join("404.http"), "no answer at all")?;
    let topology = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("BIND_PORTS", "8100, 8101")
        .setting("SEPARATOR", "|")
        .setting("SERVICE_DOMAIN_ALGO", "hdr_end(host)")
        .setting("ERROR_FILES_PATH", &folder.path().display().to_string())
        .setting("EXTRA_FRONTEND", "http-request set-header X-Extra yes")
        .setting("EXTRA_GLOBAL", "description a proxy,node here")
        .setting("CAPTURE_REQUEST_HEADER", "X-Request-Id:20")
        .setting("DEBUG", "true")
        .setting("DEBUG_HTTP_FORMAT", "\"said %HP {%[capture.req.hdr(0)]}\"")
        .setting("DISPLAY_CONFIG_ON_ERROR", "true")
        .setting("RECONFIGURE_ATTEMPTS", "20")
        .start()
        .await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("demo").await?;
    let port = demo.address().port();
    let call = format!(
        "reconfigure?serviceName=demo&servicePath=/one|/a,b&serviceDomain=acme.com&srcPort=8100&port={port}&outboundHostname=127.0.0.1"
    );
    let answer = replica.call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        answer.json["Warnings"],
        serde_json::json!([]),
        "{}",
        answer.text
    );
    let ip = replica.http().ip();
    for path in ["/one", "/a,b"] {
        let found = get(SocketAddr::new(ip, 8100), "www.acme.com", path).await?;
        assert_eq!((found.status, found.body.as_str()), (200, "demo"), "{path}");
    }
    assert!(
        demo.last_head().to_lowercase().contains("x-extra: yes"),
        "{}",
        demo.last_head()
    );
    assert_eq!(
        get(SocketAddr::new(ip, 8101), "www.acme.com", "/one")
            .await?
            .status,
        404
    );

    // A port that no request comes in on is told; an answer of HAProxy's own is read from its file.
    let call = "reconfigure?serviceName=down&servicePath=/down&port=1&outboundHostname=127.0.0.1";
    let answer = replica.call(&format!("{call}&httpsPort=2")).await?;
    assert!(
        answer.text.contains("the parameter srcPort has no effect"),
        "{}",
        answer.text
    );
    assert!(
        answer
            .text
            .contains("the parameter srcHttpsPort has no effect"),
        "{}",
        answer.text
    );
    let answer = replica.call(call).await?;
    assert!(!answer.text.contains("has no effect"), "{}", answer.text);
    let down = replica.request("/down").await?;
    assert_eq!((down.status, down.body.as_str()), (503, "soon"));
    assert_eq!(replica.request("/nope").await?.body, "no route\n");

    let refused = "reconfigure?serviceName=bad&servicePath=/bad&port=1&backendExtra=no-such-word";
    assert_eq!(replica.call(refused).await?.status, 400);
    let log = replica.log();
    for told in [
        "said /one {-}",
        "no-such-word",
        "no whole HTTP response",
        "RECONFIGURE_ATTEMPTS",
    ] {
        assert!(log.contains(told), "{told:?} is not in\n{log}");
    }
    Ok(())
}

/// HAProxy puts `${NAME}` into whatever its configuration says.
#[tokio::test(flavor = "multi_thread")]
async fn no_configuration_shows_a_secret_of_the_environment() -> Result<(), Failure> {
    let page = |path: &str, variable: &str| {
        format!(
            "http-request return status 200 content-type text/plain string \"it is ${{{variable}}}\" if {{ path {path} }}"
        )
    };
    let pages = [page("/secret", "STATS_PASS"), page("/plain", "MODE")];
    let topology = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("STATS_USER", "me")
        .setting("STATS_PASS", "geheim")
        .setting("EXTRA_FRONTEND", &pages.join("\n"))
        .start()
        .await?;
    let replica = topology.replica(1);
    replica.call("reload").await?;
    for (path, told) in [("/plain", "it is default"), ("/secret", "it is ")] {
        let answer = get(replica.http(), "acme.com", path).await?;
        assert_eq!((answer.status, answer.body.as_str()), (200, told), "{path}");
    }
    let call = "reconfigure?serviceName=curious&servicePath=/&port=80&outboundHostname=127.0.0.1&backendExtra=${STATS_PASS}";
    let refused = replica.call(call).await?;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(!refused.text.contains("geheim"), "{}", refused.text);
    Ok(())
}
