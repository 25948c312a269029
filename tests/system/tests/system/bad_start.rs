//! Certificates that are bad when a server starts, and those that pass every check and are not loaded: the last good
//! version is shown, the bad one is named, and the rest is served.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use testkit::{
    haproxy::{DemoBackend, find_binary},
    tls::{Authority, Issued},
    topology::{Failure, Plan, Replica, Topology, until},
};

use crate::{
    certificates::{shown, until_shown, write},
    story::reconfigure,
};

/// A HAProxy that refuses a configuration of the server's with a certificate that is marked, at its check or only when
/// it loads it: it then gets an address to bind that no machine has, which the check does not try. One that is marked
/// everywhere is refused alone too. While it is busy it loads nothing, as where a port is in use. What is not loaded is
/// counted, and from some number on no other HAProxy can be run; the one that runs goes on as `again`.
const PARTICULAR: &str = r#"#!/bin/bash
broken="@HOME@/broken.cfg"
words=() when=load again="$0"
[ -f "@HOME@/again" ] && again="@HOME@/again"
while [ $# -gt 0 ]; do
    case "$1" in
    -f) if [ "$2" != "$broken" ]; then words+=(-f "$2"); config="$2"; fi; shift ;;
    -c) when=check; words+=(-c) ;;
    *) words+=("$1") ;;
    esac
    shift
done
marked() {
    [[ $1 = everywhere || "$config" == "@HOME@/cfg/"* ]] && [ -f "@HOME@/$1" ] &&
        grep -qsFf "@HOME@/$1" "$(dirname "$config")"/cert-*.pem
}
fails() { marked load || [ -f "@HOME@/busy" ]; }
if [ -z "$HAPROXY_MWORKER_WAIT_ONLY" ] && { marked everywhere || marked check || { [ $when = load ] && fails; }; }; then
    if [ $when = check ]; then echo "[ALERT] a marked certificate" >&2; exit 1; fi
    echo >> "@HOME@/failed"
    if [ -f "@HOME@/break" ] && [ $(wc -l < "@HOME@/failed") -ge $(cat "@HOME@/break") ]; then chmod -x "@HOME@/haproxy"; fi
    exec -a "$again" @HAPROXY@ -f "$broken" "${words[@]}"
fi
exec -a "$again" @HAPROXY@ "${words[@]}"
"#;

/// One replica that is not started, with such a HAProxy.
async fn particular() -> Result<Topology, Failure> {
    let mut topology = Plan::replicas(1).prepare().await?;
    let replica = topology.replica_mut(1);
    let home = replica.home().to_path_buf();
    fs::create_dir_all(&home)?;
    let broken = "frontend broken\n    mode tcp\n    timeout client 1s\n    bind 192.0.2.1:81\n";
    fs::write(home.join("broken.cfg"), broken)?;
    let script = PARTICULAR
        .replace("@HOME@", &home.display().to_string())
        .replace("@HAPROXY@", &find_binary()?.display().to_string());
    let program = home.join("haproxy");
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    replica.set("HAPROXY_BIN", &program.display().to_string());
    Ok(topology)
}

/// Has the HAProxy refuse a certificate.
fn mark(home: &Path, when: &str, issued: &Issued) -> Result<(), Failure> {
    // A whole line of its signature, which no other has.
    let (certificate, _) = issued.chain.split_once("-----END").ok_or("no PEM")?;
    let line = certificate.lines().rev().nth(1).ok_or("a short one")?;
    Ok(fs::write(home.join(when), format!("{line}\n"))?)
}

async fn until_refused(replica: &Replica, words: &[&str]) -> Result<(), Failure> {
    until("it is named", async || {
        let answer = replica.call("certs").await?.json;
        let said = answer.get("Refused").map(ToString::to_string);
        let said = said.unwrap_or_default();
        let named = words.iter().all(|word| said.contains(word));
        named.then_some(()).ok_or_else(|| said.into())
    })
    .await
}

async fn serves(replica: &Replica, name: &str, demo: &DemoBackend) -> Result<(), Failure> {
    let call = reconfigure(name, &format!("/{name}"), demo);
    let answer = replica
        .call(&format!("{call}&outboundHostname=127.0.0.1"))
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(replica.request(&format!("/{name}")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_bad_at_the_start_leaves_what_was_shown_last() -> Result<(), Failure> {
    let mut topology = Plan::replicas(1).prepare().await?;
    let authority = Authority::new("test authority")?;
    let issue = |name: &str| authority.issue(&[name]);
    let (broken, lost) = (issue("broken.com")?, issue("lost.com")?);
    let (secret, gone) = (issue("secret.com")?, issue("gone.com")?);
    let replica = topology.replica(1);
    write(replica, "certs", "broken.pem", &broken.bundle());
    write(replica, "certs", "lost.pem", &lost.bundle());
    write(replica, "certs", "gone.pem", &gone.bundle());
    write(replica, "certs", "renewed.pem", &issue("new.com")?.bundle());
    write(replica, "secrets", "cert-secret", &secret.bundle());
    topology.replica_mut(1).start()?;
    topology.replica(1).until_serving().await?;
    let replica = topology.replica_mut(1);
    replica.crash();

    // What HAProxy would not show alone, what cannot be read, and what is no certificate.
    let other = issue("broken.com")?;
    let mismatch = format!(
        "{}{}",
        broken.chain,
        other.bundle().replace(&other.chain, "")
    );
    write(replica, "certs", "broken.pem", &mismatch);
    let certs = replica.home().join("certs");
    fs::remove_file(certs.join("lost.pem"))?;
    std::os::unix::fs::symlink("nowhere", certs.join("lost.pem"))?;
    fs::remove_file(certs.join("gone.pem"))?;
    write(replica, "secrets", "cert-secret", "geheim");
    let renewed = issue("new.com")?;
    write(replica, "certs", "renewed.pem", &renewed.bundle());
    replica.start()?;
    let replica = topology.replica(1);
    replica.until_serving().await?;
    for (name, issued) in [
        ("broken.com", &broken),
        ("lost.com", &lost),
        ("secret.com", &secret),
        ("new.com", &renewed),
    ] {
        assert!(issued.is(&shown(replica, name).await?), "{name}");
    }
    assert!(!gone.is(&shown(replica, "gone.com").await?), "taken away");
    let refused = replica.call("certs").await?.json["Refused"].clone();
    let named = refused.as_object().ok_or("no object")?;
    assert_eq!(named.len(), 3, "{refused:#}");
    for (path, why) in named {
        let why = why.as_str().unwrap_or_default();
        assert!(why.ends_with("the version before is shown"), "{path} {why}");
    }

    write(replica, "certs", "broken.pem", &other.bundle());
    until_shown(replica, "broken.com", &other).await;
    Ok(())
}

/// A certificate that is not taken with the whole at the start.
async fn is_left_out_at_the_start(when: &str) -> Result<(), Failure> {
    let mut topology = particular().await?;
    let authority = Authority::new("test authority")?;
    let (old, new) = (authority.issue(&["a.com"])?, authority.issue(&["a.com"])?);
    let fresh = authority.issue(&["b.com"])?;
    let demo = DemoBackend::start("hello").await?;
    write(topology.replica(1), "certs", "a.pem", &old.bundle());
    topology.replica_mut(1).start()?;
    topology.replica(1).until_serving().await?;
    serves(topology.replica(1), "one", &demo).await?;
    let replica = topology.replica_mut(1);
    replica.crash();

    mark(replica.home(), when, &new)?;
    write(replica, "certs", "a.pem", &new.bundle());
    write(replica, "certs", "b.pem", &fresh.bundle());
    replica.start()?;
    let replica = topology.replica(1);
    replica.until_serving().await?;
    assert_eq!(replica.request("/one").await?.status, 200);
    assert!(old.is(&shown(replica, "a.com").await?));
    assert!(fresh.is(&shown(replica, "b.com").await?));
    until_refused(replica, &["a.pem", "the version before is shown"]).await?;
    serves(replica, "two", &demo).await
}

#[tokio::test]
async fn a_certificate_that_is_not_taken_with_the_whole_at_the_start_is_left_out()
-> Result<(), Failure> {
    is_left_out_at_the_start("check").await
}

#[tokio::test]
async fn a_certificate_that_is_not_loaded_at_the_start_is_left_out() -> Result<(), Failure> {
    is_left_out_at_the_start("load").await
}

/// A certificate that another HAProxy does not take any more, and whose file is the same as ever or holds something else.
async fn is_left_out_after_an_upgrade(when: &str, file: Option<&str>) -> Result<(), Failure> {
    let mut topology = particular().await?;
    let authority = Authority::new("test authority")?;
    let (weak, good) = (authority.issue(&["a.com"])?, authority.issue(&["b.com"])?);
    let demo = DemoBackend::start("hello").await?;
    write(topology.replica(1), "certs", "a.pem", &weak.bundle());
    write(topology.replica(1), "certs", "b.pem", &good.bundle());
    topology.replica_mut(1).start()?;
    topology.replica(1).until_serving().await?;
    serves(topology.replica(1), "one", &demo).await?;
    assert!(weak.is(&shown(topology.replica(1), "a.com").await?));
    let replica = topology.replica_mut(1);
    replica.crash();

    mark(replica.home(), when, &weak)?;
    if let Some(text) = file {
        write(replica, "certs", "a.pem", text);
    }
    replica.start()?;
    let replica = topology.replica(1);
    replica.until_serving().await?;
    assert_eq!(replica.request("/one").await?.status, 200);
    assert!(good.is(&shown(replica, "b.com").await?));
    assert!(!weak.is(&shown(replica, "a.com").await?));
    until_refused(replica, &["a.pem"]).await?;
    let said = replica.call("certs").await?.text;
    assert!(!said.contains("the version before"), "{said}");
    serves(replica, "two", &demo).await?;

    // Somebody has issued another.
    let strong = authority.issue(&["a.com"])?;
    write(replica, "certs", "a.pem", &strong.bundle());
    until_shown(replica, "a.com", &strong).await;
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_haproxy_takes_no_more_does_not_keep_it_from_starting()
-> Result<(), Failure> {
    is_left_out_after_an_upgrade("everywhere", None).await
}

#[tokio::test]
async fn a_version_before_that_haproxy_takes_no_more_does_not_stand_in() -> Result<(), Failure> {
    is_left_out_after_an_upgrade("everywhere", Some("no certificate")).await
}

#[tokio::test]
async fn a_certificate_that_is_taken_no_more_with_the_whole_does_not_keep_it_from_starting()
-> Result<(), Failure> {
    is_left_out_after_an_upgrade("check", None).await
}

#[tokio::test]
async fn a_certificate_that_is_loaded_no_more_does_not_keep_it_from_starting() -> Result<(), Failure>
{
    is_left_out_after_an_upgrade("load", None).await
}

#[tokio::test]
async fn a_certificate_that_is_loaded_no_more_leaves_what_is_new_beside_it() -> Result<(), Failure>
{
    let mut topology = particular().await?;
    let authority = Authority::new("test authority")?;
    let (weak, old) = (authority.issue(&["a.com"])?, authority.issue(&["b.com"])?);
    write(topology.replica(1), "certs", "a.pem", &weak.bundle());
    write(topology.replica(1), "certs", "b.pem", &old.bundle());
    topology.replica_mut(1).start()?;
    topology.replica(1).until_serving().await?;
    let replica = topology.replica_mut(1);
    replica.crash();

    mark(replica.home(), "load", &weak)?;
    let (new, more) = (authority.issue(&["b.com"])?, authority.issue(&["c.com"])?);
    write(replica, "certs", "b.pem", &new.bundle());
    write(replica, "certs", "c.pem", &more.bundle());
    replica.start()?;
    let replica = topology.replica(1);
    replica.until_serving().await?;
    for (name, issued) in [("b.com", &new), ("c.com", &more)] {
        assert!(issued.is(&shown(replica, name).await?), "{name}");
    }
    assert!(!weak.is(&shown(replica, "a.com").await?));
    until_refused(replica, &["a.pem"]).await?;
    let ready = replica.probe("readyz").await?.text;
    assert!(ready.contains("no certificate that could be"), "{ready}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_loaded_no_more_is_left_out_of_a_haproxy_that_is_taken_over()
-> Result<(), Failure> {
    let mut topology = particular().await?;
    let authority = Authority::new("test authority")?;
    let [weak, good] = [authority.issue(&["a.com"])?, authority.issue(&["b.com"])?];
    let demo = DemoBackend::start("hello").await?;
    let replica = topology.replica_mut(1);
    replica.set("ON_END", "leave");
    write(replica, "certs", "a.pem", &weak.bundle());
    write(replica, "certs", "b.pem", &good.bundle());
    replica.start()?;
    replica.until_serving().await?;
    serves(replica, "one", &demo).await?;
    assert!(replica.terminate().await?.success());

    mark(replica.home(), "load", &weak)?;
    replica.start()?;
    replica.until_serving().await?;
    until_refused(replica, &["a.pem"]).await?;
    assert!(good.is(&shown(replica, "b.com").await?));
    assert!(!weak.is(&shown(replica, "a.com").await?));
    assert_eq!(replica.request("/one").await?.status, 200);
    serves(replica, "two", &demo).await
}

#[tokio::test]
async fn a_certificate_that_is_not_loaded_is_taken_back() -> Result<(), Failure> {
    let mut topology = particular().await?;
    let authority = Authority::new("test authority")?;
    let (old, new) = (authority.issue(&["b.com"])?, authority.issue(&["a.com"])?);
    let demo = DemoBackend::start("hello").await?;
    let replica = topology.replica(1);
    mark(replica.home(), "load", &new)?;
    write(replica, "certs", "b.pem", &old.bundle());
    topology.replica_mut(1).start()?;
    let replica = topology.replica(1);
    replica.until_serving().await?;
    serves(replica, "one", &demo).await?;

    // It goes before the first, which takes a reload.
    write(replica, "certs", "a.pem", &new.bundle());
    replica.call("reload").await?;
    until_refused(replica, &["a.pem"]).await?;
    assert!(old.is(&shown(replica, "a.com").await?));
    assert_eq!(replica.request("/one").await?.status, 200);
    serves(replica, "two", &demo).await?;

    // What was to blame is mended, and it is the same as before: whoever asks for a reload has it tried again.
    fs::remove_file(replica.home().join("load"))?;
    replica.call("reload").await?;
    until_shown(replica, "a.com", &new).await;
    let again = authority.issue(&["a.com"])?;
    write(replica, "certs", "a.pem", &again.bundle());
    until_shown(replica, "a.com", &again).await;
    Ok(())
}

#[tokio::test]
async fn a_search_begins_again_where_a_certificate_is_to_blame_once_something_else_was()
-> Result<(), Failure> {
    let mut topology = particular().await?;
    let authority = Authority::new("test authority")?;
    let [weak, good] = [authority.issue(&["a.com"])?, authority.issue(&["b.com"])?];
    let demo = DemoBackend::start("hello").await?;
    let replica = topology.replica_mut(1);
    replica.set("ON_END", "leave");
    write(replica, "certs", "a.pem", &weak.bundle());
    write(replica, "certs", "b.pem", &good.bundle());
    replica.start()?;
    replica.until_serving().await?;
    serves(replica, "one", &demo).await?;
    assert!(replica.terminate().await?.success());

    mark(replica.home(), "load", &weak)?;
    let busy = replica.home().join("busy");
    fs::write(&busy, "")?;
    replica.start()?;
    let failed = replica.home().join("failed");
    until("a search came to nothing", async || {
        let failed = fs::read_to_string(&failed)?;
        // The load, and one for each certificate that it was tried with.
        let searched = failed.lines().count() >= 3;
        searched.then_some(()).ok_or_else(|| failed.into())
    })
    .await?;
    // Where it cannot bind, HAProxy refuses connections for a moment before the old worker serves on.
    replica.until_status("/one", 200).await?;

    // Nobody asks for anything.
    fs::remove_file(&busy)?;
    until_refused(replica, &["a.pem"]).await?;
    assert!(good.is(&shown(replica, "b.com").await?));
    assert_eq!(replica.request("/one").await?.status, 200);
    serves(replica, "two", &demo).await
}

#[tokio::test]
async fn a_search_that_breaks_off_leaves_what_was_loaded_by_then_and_goes_on_later()
-> Result<(), Failure> {
    let mut topology = particular().await?;
    let authority = Authority::new("test authority")?;
    let [bad, good] = [authority.issue(&["a.com"])?, authority.issue(&["b.com"])?];
    let old = authority.issue(&["b.com"])?;
    let demo = DemoBackend::start("hello").await?;
    let program = topology.replica(1).home().join("haproxy");
    fs::copy(&program, topology.replica(1).home().join("again"))?;
    write(topology.replica(1), "certs", "b.pem", &old.bundle());
    topology.replica_mut(1).start()?;
    topology.replica(1).until_serving().await?;
    serves(topology.replica(1), "one", &demo).await?;
    let replica = topology.replica_mut(1);
    replica.crash();

    mark(replica.home(), "load", &bad)?;
    // After the first start, the load that begins the search, and that of all on top of what was shown last.
    fs::write(replica.home().join("break"), "3")?;
    write(replica, "certs", "a.pem", &bad.bundle());
    write(replica, "certs", "b.pem", &good.bundle());
    replica.start()?;
    until("the search broke off", async || {
        let log = replica.log();
        let is_said = log.contains("broke off");
        is_said.then_some(()).ok_or_else(|| log.into())
    })
    .await?;
    assert!(old.is(&shown(replica, "b.com").await?));
    assert_eq!(replica.request("/one").await?.status, 200);

    fs::remove_file(replica.home().join("break"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    until_shown(replica, "b.com", &good).await;
    until_refused(replica, &["a.pem"]).await?;
    serves(replica, "two", &demo).await
}
