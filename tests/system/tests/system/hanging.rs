//! Disks that do not answer: whoever opens a file waits for somebody who writes, as for a disk that is away.

use std::{fs, path::Path};

use nix::{sys::stat::Mode, unistd::mkfifo};
use testkit::{
    tls::Authority,
    topology::{Failure, Plan, Replica, until},
};

use crate::certificates::{until_shown, write};

/// A file that does not answer until something is written to it.
fn hangs(path: &Path) -> Result<(), Failure> {
    path.parent().map(fs::create_dir_all).transpose()?;
    Ok(mkfifo(path, Mode::S_IRWXU)?)
}

async fn until_said(replica: &Replica, words: &[&str]) -> Result<(), Failure> {
    until("it is said", async || {
        let log = replica.log();
        let mut lines = log.lines();
        let is_said = lines.any(|line| words.iter().all(|word| line.contains(word)));
        is_said.then_some(()).ok_or_else(|| log.into())
    })
    .await
}

#[tokio::test]
async fn a_start_says_what_it_waits_for_and_goes_on_once_that_answers() -> Result<(), Failure> {
    let mut topology = Plan::replicas(1).prepare().await?;
    let replica = topology.replica_mut(1);
    let secret = replica.home().join("secrets/dfp_log_format");
    let state = replica.home().join("state/addresses.json");
    hangs(&secret)?;
    hangs(&state)?;
    replica.start()?;
    until_said(
        replica,
        &["SECRETS_PATH", "dfp_log_format", "the start waits"],
    )
    .await?;
    // Opening it would wait, were it not waited for.
    fs::write(&secret, "text\n")?;
    until_said(replica, &["SECRETS_PATH", "the start goes on"]).await?;
    until_said(replica, &["STATE_PATH", "the start waits"]).await?;
    fs::write(&state, "{}")?;
    replica.until_serving().await?;
    until_said(replica, &["STATE_PATH", "the start goes on"]).await?;
    assert!(replica.terminate().await?.success());

    // Whoever asks it to end does not wait for the disk.
    fs::remove_file(&secret)?;
    fs::remove_file(&state)?;
    hangs(&state)?;
    // What was said before is not said of this start.
    fs::write(replica.home().join("log"), "")?;
    replica.start()?;
    until_said(replica, &["STATE_PATH", "the start waits"]).await?;
    replica.ask_to_end()?;
    assert!(!replica.until_ended().await?.success());
    until_said(replica, &["asked to end while the start waits"]).await
}

#[tokio::test]
async fn a_file_that_does_not_answer_holds_up_neither_other_certificates_nor_the_end() {
    let mut topology = Plan::replicas(1).prepare().await.unwrap();
    let authority = Authority::new("ours").unwrap();
    let [old, new] = [0, 1].map(|_| authority.issue(&["acme.com"]).unwrap());
    let file = topology.replica(1).home().join("ca.pem");
    write(topology.replica(1), "certs", "acme.pem", &old.bundle());
    fs::write(&file, authority.pem()).unwrap();
    let replica = topology.replica_mut(1);
    replica.set("CA_FILE", &file.display().to_string());
    replica.start().unwrap();
    replica.until_serving().await.unwrap();
    until_shown(replica, "acme.com", &old).await;

    // Whoever opens it waits for somebody who writes, as for a disk that is away.
    fs::remove_file(&file).unwrap();
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    write(replica, "certs", "acme.pem", &new.bundle());
    replica.call("reload").await.unwrap();
    until_shown(replica, "acme.com", &new).await;
    let refused = replica.call("certs").await.unwrap().json["Refused"].to_string();
    for said in [
        "ca.pem",
        "did not answer in time",
        "the version before is shown",
    ] {
        assert!(refused.contains(said), "{refused}");
    }
    assert!(replica.terminate().await.unwrap().success());

    // What cannot be read at the start is said.
    replica.start().unwrap();
    assert!(!replica.until_ended().await.unwrap().success());
    let log = replica.log();
    assert!(
        log.contains("CA_FILE") && log.contains("did not answer in time"),
        "{log}"
    );
}
