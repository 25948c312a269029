//! Templates of services: read where the call is taken, kept with the service, and rendered by every
//! replica with what the catalog has.

use testkit::{
    consul::{ClusterOptions, ConsulCluster, Registration},
    haproxy::DemoBackend,
    topology::{Failure, Plan, Replica, Topology, until},
};

const FRONTEND: &str = "acl own_web path_beg /own
http-request set-header X-Own 'by '{{ AclName }} if own_web
use_backend {{ backend }} if own_web
";
const BACKEND: &str = "balance roundrobin
{% for instance in instances if instance.healthy %}
    server {{ instance.name }} {{ instance.host }}:{{ instance.port }} check inter {{ instance.tags|first }}
{% endfor %}
";

async fn start() -> Result<Topology, Failure> {
    let plan = Plan::replicas(2)
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
    let mut topology = start().await?;
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
    consul(&topology)?.register(&entry(0, "1s")?).await?;
    for number in [1, 2] {
        until_lines(topology.replica(number), &[&zero, &one], &[]).await?;
    }

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
