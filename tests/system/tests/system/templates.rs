//! Templates of services: read where the call is taken, kept with the service, and rendered by every
//! replica with what the catalog has.

use serde_json::Value;
use testkit::{
    consul::{ClusterOptions, ConsulCluster, Registration},
    haproxy::DemoBackend,
    topology::{Failure, Plan, Replica, Topology, until},
};

const FRONTEND: &str = "acl own_web path_beg /own
http-request set-header X-Own 'by '{{ AclName }} if own_web
use_backend {{ backend }} if own_web
";
/// More services than were once judged apart.
const MANY: usize = 11;
const BACKEND: &str = "balance roundrobin
{% for instance in instances if instance.healthy %}
    server {{ instance.name }} {{ instance.host }}:{{ instance.port }} check inter {{ instance.tags|first }}
{% endfor %}
";

async fn start(replicas: usize) -> Result<Topology, Failure> {
    let plan = Plan::replicas(replicas)
        .setting("MODE", "default")
        .consul(ClusterOptions::servers(1));
    plan.start().await
}

fn consul(topology: &Topology) -> Result<&ConsulCluster, Failure> {
    topology.consul.as_ref().ok_or("no Consul".into())
}

/// Writes a template where the replica looks for them, and says how a call names it.
fn written(replica: &Replica, name: &str, text: &str) -> Result<String, Failure> {
    let folder = replica.home().join("tmpl");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(name);
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

fn line_of(id: &str, demo: &DemoBackend, pause: &str) -> String {
    format!("\n    server {id} {} check inter {pause}\n", demo.address())
}

/// Waits until the configuration of a replica has these lines, and none of others.
async fn until_lines(replica: &Replica, there: &[&str], gone: &[&str]) -> Result<(), Failure> {
    until("the lines of a template", || async {
        let config = replica.config().await?;
        let fits = there.iter().all(|line| config.contains(line))
            && !gone.iter().any(|line| config.contains(line));
        match fits {
            true => Ok(()),
            false => Err(config.into()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_sees_the_catalog_and_traffic_goes_where_it_says() -> Result<(), Failure> {
    let mut topology = start(2).await?;
    let demos = [
        DemoBackend::start("web").await?,
        DemoBackend::start("web").await?,
    ];
    let entry = |nth: usize, tag: &str| {
        let demo = demos.get(nth).map(DemoBackend::address);
        demo.map(|at| Registration::new("web", &format!("web-{nth}"), at).tag(tag))
            .ok_or("no such instance")
    };
    consul(&topology)?.register(&entry(0, "1s")?).await?;
    let [zero, one] = [("web-0", &demos[0], "1s"), ("web-1", &demos[1], "2s")]
        .map(|(id, demo, pause)| line_of(id, demo, pause));

    // Only the first replica has the files, and every replica renders the same.
    let replica = topology.replica(1);
    let frontend = written(replica, "fe.cfg", FRONTEND)?;
    let backend = written(replica, "be.cfg", BACKEND)?;
    let call = format!(
        "reconfigure?serviceName=web&templateFePath={frontend}&templateBePath={backend}&distribute=true"
    );
    let answer = replica.call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["TemplateBePath"], backend.as_str());
    for number in [1, 2] {
        let replica = topology.replica(number);
        until_lines(replica, &[&zero], &[&one]).await?;
        let answer = replica.until_status("/own/x", 200).await?;
        assert_eq!(answer.body, "web");
        let head = demos[0].last_head().to_ascii_lowercase();
        assert!(head.contains("x-own: by web\r\n"), "{head}");
        assert_eq!(replica.request("/other").await?.status, 404);
    }

    // What a template says of a request is not read, and that is said.
    let told = replica.call("explain?url=/own/x").await?;
    assert_eq!(
        told.json["AskedBefore"],
        serde_json::json!(["web"]),
        "{}",
        told.text
    );
    let told = replica.call("explain?url=/own/x&type=text").await?.text;
    assert!(
        told.contains("404; but templates are asked before") && told.contains("of web\n"),
        "{told}"
    );

    // An instance that comes is rendered and reached, one that fails its check is not.
    consul(&topology)?.register(&entry(1, "2s")?).await?;
    for number in [1, 2] {
        until_lines(topology.replica(number), &[&zero, &one], &[]).await?;
    }
    until("the new instance to be asked", || async {
        topology.replica(1).request("/own").await?;
        match demos[1].requests() {
            0 => Err("it was not asked".into()),
            _ => Ok(()),
        }
    })
    .await?;
    consul(&topology)?
        .register(&entry(0, "1s")?.status("critical"))
        .await?;
    for number in [1, 2] {
        until_lines(topology.replica(number), &[&one], &[&zero]).await?;
    }

    // What HAProxy would not take of the catalog stops neither this service nor any other.
    consul(&topology)?.register(&entry(0, "seldom")?).await?;
    let replica = topology.replica(2);
    until("the refusal to be told", || async {
        match replica.log().contains("do not go with the template") {
            true => Ok(()),
            false => Err(replica.log().into()),
        }
    })
    .await?;
    let at = demos[0].address();
    let other = format!(
        "reconfigure?serviceName=other&servicePath=/other&outboundHostname={}&port={}&distribute=true",
        at.ip(),
        at.port()
    );
    let answer = replica.call(&other).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for number in [1, 2] {
        let replica = topology.replica(number);
        replica.until_status("/other", 200).await?;
        assert_eq!(replica.request("/own").await?.status, 200);
        until_lines(replica, &[&one], &["seldom"]).await?;
    }
    // A replica that starts again meanwhile serves what was good before, and says what it holds back.
    let replica = topology.replica_mut(2);
    replica.terminate().await?;
    replica.start()?;
    replica.until_status("/own", 200).await?;
    replica.until_status("/other", 200).await?;
    until_lines(replica, &[&one], &["seldom"]).await?;
    let held = |state: &Value| is_refused(&state["Catalog"]["Held"]["web"]);
    let status = replica.until_state("it says what is held", held).await?;
    assert_eq!(status["Quarantined"], serde_json::json!({}), "{status}");
    consul(&topology)?.register(&entry(0, "1s")?).await?;
    for number in [1, 2] {
        until_lines(topology.replica(number), &[&zero, &one], &[]).await?;
    }

    // HAProxy's file has them a moment before the replica says so.
    let free = |state: &Value| state["Catalog"]["Held"] == serde_json::json!({});
    let replica = topology.replica(2);
    replica.until_state("nothing is held", free).await?;

    // The text is a part of the service: the file may change or go, and a replica may start without it.
    std::fs::remove_file(&frontend)?;
    std::fs::write(&backend, "retries 9")?;
    let replica = topology.replica_mut(2);
    replica.terminate().await?;
    replica.start()?;
    replica.until_status("/own", 200).await?;
    until_lines(replica, &[&zero, &one], &["retries 9"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_fit_no_template_hold_back_no_other_service() -> Result<(), Failure> {
    let topology = start(1).await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("web").await?;
    let entry = |nth: usize, tag: &str| {
        let id = format!("id-{nth}");
        Registration::new(&format!("s{nth}"), &id, demo.address()).tag(tag)
    };
    let line = |nth: usize, tag: &str| line_of(&format!("id-{nth}"), &demo, tag);
    let backend = written(replica, "be.cfg", BACKEND)?;
    for nth in 0..MANY {
        consul(&topology)?.register(&entry(nth, "1s")).await?;
        let call =
            format!("reconfigure?serviceName=s{nth}&servicePath=/s{nth}&templateBePath={backend}");
        let answer = replica.call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        until_lines(replica, &[&line(nth, "1s")], &[]).await?;
    }
    for nth in 1..MANY {
        consul(&topology)?.register(&entry(nth, "seldom")).await?;
    }
    until("all refusals to be told", || async {
        let status = replica.call("status").await?.json;
        match status["Catalog"]["Held"].as_object().map(|held| held.len()) {
            Some(held) if held == MANY - 1 => Ok(()),
            _ => Err(status.to_string().into()),
        }
    })
    .await?;
    consul(&topology)?.register(&entry(0, "3s")).await?;
    until_lines(replica, &[&line(0, "3s"), &line(1, "1s")], &["seldom"]).await?;
    // What is wrong with a change is said of the change.
    let call = format!(
        "reconfigure?serviceName=s0&servicePath=/s0&templateBePath={backend}&backendExtra=retrying%203"
    );
    let answer = replica.call(&call).await?;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("retrying"), "{}", answer.text);
    assert!(
        !answer.text.contains("unexpected character"),
        "{}",
        answer.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_clash_with_another_service_are_judged_again_once_it_is_gone()
-> Result<(), Failure> {
    let topology = start(1).await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("web").await?;
    let entry = |tag: &str| Registration::new("web", "id-1", demo.address()).tag(tag);
    // No two backends may have one number.
    let text = "{% for instance in instances %}\nid {{ instance.tags|first }}\n{% endfor %}";
    let backend = written(replica, "be.cfg", text)?;
    consul(&topology)?.register(&entry("7001")).await?;
    let web = format!("reconfigure?serviceName=web&servicePath=/web&templateBePath={backend}");
    let rival = "reconfigure?serviceName=rival&servicePath=/rival&outboundHostname=127.0.0.1&port=80&backendExtra=id%207002";
    for call in [web.as_str(), rival] {
        let answer = replica.call(call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    until_lines(replica, &["id 7001\n", "id 7002\n"], &[]).await?;
    consul(&topology)?.register(&entry("7002")).await?;
    until("the refusal is told", || async {
        let held = replica.call("status").await?.json["Catalog"]["Held"].to_string();
        let is_told = held.contains("custom id");
        is_told.then_some(()).ok_or_else(|| held.into())
    })
    .await?;
    until_lines(replica, &["id 7001\n", "id 7002\n"], &[]).await?;
    replica.call("remove?serviceName=rival").await?;
    until_lines(replica, &["id 7002\n"], &["id 7001\n"]).await
}

/// One search ends after a second.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_a_search_did_not_come_to_are_judged_next() -> Result<(), Failure> {
    const WRONG: usize = 30;
    let mut topology = start(1).await?;
    let demo = DemoBackend::start("web").await?;
    let entry = |nth: usize, tag: &str| {
        let id = format!("id-{nth:02}");
        Registration::new(&format!("s{nth:02}"), &id, demo.address()).tag(tag)
    };
    let backend = written(topology.replica(1), "be.cfg", BACKEND)?;
    for nth in 0..=WRONG {
        consul(&topology)?.register(&entry(nth, "1s")).await?;
        let call = format!(
            "reconfigure?serviceName=s{nth:02}&servicePath=/s{nth:02}&templateBePath={backend}"
        );
        let answer = topology.replica(1).call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let last = |tag: &str| line_of(&format!("id-{WRONG}"), &demo, tag);
    until_lines(topology.replica(1), &[&last("1s")], &[]).await?;
    topology.replica_mut(1).terminate().await?;
    // All at once, and the good one behind all others.
    for nth in 0..WRONG {
        consul(&topology)?.register(&entry(nth, "seldom")).await?;
    }
    consul(&topology)?.register(&entry(WRONG, "3s")).await?;
    forget_instances(topology.replica(1))?;
    topology.replica_mut(1).start()?;
    let replica = topology.replica(1);
    until_lines(replica, &[&last("3s")], &["seldom"]).await?;
    // Each with HAProxy's own words: no search was to come to it still.
    let judged = |state: &Value| {
        let held = state["Catalog"]["Held"].as_object();
        held.is_some_and(|held| held.len() == WRONG && held.values().all(is_refused))
    };
    replica.until_state("all were judged", judged).await?;
    Ok(())
}

/// Has the replica read anew what the catalog shows when it starts, all of it at once: else it begins with what it
/// knew, and hears of each service by itself. What its templates saw is kept.
fn forget_instances(replica: &Replica) -> Result<(), Failure> {
    let file = replica.home().join("state/instances.json");
    let mut saved: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let known = saved.get_mut("instances").ok_or("it is not kept")?;
    *known = serde_json::json!({});
    Ok(std::fs::write(&file, saved.to_string())?)
}

/// Whether HAProxy was asked, and would not take it.
fn is_refused(why: &Value) -> bool {
    why.as_str()
        .is_some_and(|why| why.contains("unexpected character"))
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_without_a_port_are_refused_before_haproxy_is_told() -> Result<(), Failure> {
    let topology = start(1).await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("web").await?;
    let nowhere = std::net::SocketAddr::new(demo.address().ip(), 0);
    consul(&topology)?
        .register(&Registration::new("web", "web-0", demo.address()).tag("1s"))
        .await?;
    let backend = written(replica, "be.cfg", BACKEND)?;
    let call = format!("reconfigure?serviceName=web&servicePath=/web&templateBePath={backend}");
    let answer = replica.call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    replica.until_status("/web", 200).await?;
    consul(&topology)?
        .register(&Registration::new("web", "web-0", nowhere).tag("1s"))
        .await?;
    until("the instance to be held back", || async {
        let status = replica.call("status").await?.json;
        match status["Catalog"]["Held"]["web"].is_string() {
            true => Ok(()),
            false => Err(status.to_string().into()),
        }
    })
    .await?;
    let at = demo.address();
    let other = format!(
        "reconfigure?serviceName=other&servicePath=/other&outboundHostname={}&port={}",
        at.ip(),
        at.port()
    );
    let answer = replica.call(&other).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    replica.until_status("/other", 200).await?;
    assert_eq!(replica.request("/web").await?.status, 200);
    until_lines(replica, &[&line_of("web-0", &demo, "1s")], &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_wrong_is_the_callers_error_and_changes_nothing() -> Result<(), Failure>
{
    let plan = Plan::replicas(1).setting("MODE", "default");
    let topology = plan.start().await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("web").await?;
    let folder = replica.home().join("tmpl");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(replica.home().join("secret"), "retries 2")?;
    std::os::unix::fs::symlink(replica.home().join("secret"), folder.join("out"))?;
    let service = format!(
        "reconfigure?serviceName=web&servicePath=/web&port={}&outboundHostname={}",
        demo.address().port(),
        demo.address().ip(),
    );
    let good = "server a {{ host }}:{{ Port }}";
    let good = written(replica, "good", good)?;
    let ask = async |template: &str| {
        replica
            .call(&format!("{service}&templateBePath={template}"))
            .await
    };
    let answer = ask(&good).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(replica.request("/web").await?.status, 200);
    let standing = replica.call("status").await?.json["Revision"].clone();

    for (name, text) in [
        ("no-template", "retries 2\n{{.ServiceName}}"),
        ("not-there", "retries 2\nserver {{ nothing }} x"),
        ("leaves", "retries 2\nbackend evil"),
        (
            "endless",
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        ),
        ("no-haproxy", "retries 2\nretrying 3"),
    ] {
        let path = written(replica, name, text)?;
        let answer = ask(&path).await?;
        assert_eq!(answer.status, 400, "{name}: {}", answer.text);
        let message = answer.json["Message"].as_str().unwrap_or_default();
        if name == "no-haproxy" {
            assert_eq!(
                answer.json["Parameter"], "templateBePath",
                "{}",
                answer.text
            );
            continue;
        }
        for word in ["templateBePath", "the service web", &path] {
            assert!(message.contains(word), "{name}: {message}");
        }
        if name != "endless" {
            assert!(message.contains("line 2"), "{name}: {message}");
        }
    }
    for path in ["/etc/passwd", "../secret", "out", "none"] {
        let answer = ask(path).await?;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        assert!(
            answer.text.contains("TEMPLATES_PATH"),
            "{path}: {}",
            answer.text
        );
    }
    assert_eq!(replica.call("status").await?.json["Revision"], standing);
    assert_eq!(replica.request("/web").await?.status, 200);
    Ok(())
}
