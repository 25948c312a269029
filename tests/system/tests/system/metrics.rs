//! HAProxy's figures: as CSV of one replica and of all, and as metrics.

use testkit::{
    haproxy::DemoBackend,
    topology::{Failure, Plan},
};

use crate::story::reconfigure;

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_haproxy_are_under_the_names_that_dashboards_have() -> Result<(), Failure> {
    let topology = Plan::replicas(2).start().await?;
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    let replica = topology.replica(1);
    let call = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
    let made = replica.call(&call).await?;
    assert_eq!(made.status, 200, "{}", made.text);
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo").await?.status, 200);
    }
    let backend = format!("go-demo-be{}", demo.address().port());
    let one = replica.call("metrics").await?;
    assert_eq!(one.status, 200, "{}", one.text);
    let all = replica.call("metrics?distribute=true").await?;
    assert_eq!(all.status, 200, "{}", all.text);
    for (text, replicas) in [(&one.text, 1), (&all.text, 2)] {
        assert_eq!(text.matches("# pxname,svname").count(), replicas, "{text}");
        let rows = text.matches(&format!("\n{backend},BACKEND,")).count();
        assert_eq!(rows, replicas, "{text}");
    }
    assert_eq!(replica.call("metrics?distribute=x").await?.status, 400);

    let metrics = replica.metrics().await?;
    for line in [
        "haproxy_up 1".to_owned(),
        format!("haproxy_backend_http_responses_total{{backend=\"{backend}\",code=\"2xx\"}} 1"),
        format!("haproxy_server_up{{backend=\"{backend}\",server=\"go-demo\"}} 1"),
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    assert!(
        metrics.contains("# TYPE proxy_") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    assert_eq!(metrics.matches("# EOF").count(), 1);
    Ok(())
}
