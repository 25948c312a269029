//! What an engine changes on its machine: bridges, packet filter rules, forwarding, and a few folders outside its
//! own. Noted before, put back after.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// How long one call for a bridge or a rule may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Bridges that an engine makes and leaves.
const BRIDGES: [&str; 2] = ["docker0", "docker_gwbridge"];

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Folders of every engine, wherever its own are: names of plugins, and files of networks.
const FOLDERS: [&str; 2] = ["/run/docker", "/var/lib/docker"];

/// Where the folders of networks are, in the second of them.
const NETWORKS: &str = "/var/lib/docker/network/files";

const CGROUPS: &str = "/sys/fs/cgroup";

/// The machine as it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host {
    bridges: Vec<String>,
    rules: String,
    forwarding: String,
    /// Folders that engines leave.
    folders: Vec<PathBuf>,
}

// === impl Host ===

impl Host {
    pub(super) async fn now() -> Result<Self> {
        Ok(Self {
            bridges: bridges(),
            rules: call("iptables-save", &[], "").await?,
            forwarding: fs::read_to_string(FORWARDING).unwrap_or_default(),
            folders: folders(),
        })
    }

    /// Writes it down, for a run that does not come to its end.
    pub(super) fn keep(&self, file: &Path) -> Result<()> {
        let note = json!({
            "bridges": self.bridges,
            "rules": self.rules,
            "forwarding": self.forwarding,
            "folders": self.folders,
        });
        fs::write(file, note.to_string())
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// What was written down, if all of it is there.
    pub(super) fn kept(file: &Path) -> Option<Self> {
        let note: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let text = |name: &str| Some(note.get(name)?.as_str()?.to_owned());
        let list = |name: &str| {
            let list = note.get(name)?.as_array()?.iter();
            Some(list.filter_map(|item| Some(item.as_str()?.to_owned())))
        };
        Some(Self {
            bridges: list("bridges")?.collect(),
            rules: text("rules")?,
            forwarding: text("forwarding")?,
            folders: list("folders")?.map(PathBuf::from).collect(),
        })
    }

    pub(super) async fn restore(&self) -> Result<()> {
        for bridge in bridges() {
            if !self.bridges.contains(&bridge) {
                call("ip", &["link", "delete", &bridge], "").await?;
            }
        }
        let undo = undo(&self.rules, &call("iptables-save", &[], "").await?);
        if !undo.is_empty() {
            call("iptables-restore", &["--noflush"], &undo)
                .await
                .context("the engine's packet filter rules could not be taken back")?;
        }
        let now = fs::read_to_string(FORWARDING).unwrap_or_default();
        if now != self.forwarding {
            fs::write(FORWARDING, &self.forwarding)
                .context("forwarding could not be put back as it was")?;
        }
        // The folder of all networks is after its parents: where those go, it is gone already.
        for folder in folders() {
            if !self.folders.contains(&folder) && folder.exists() {
                remove(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
        }
        Ok(())
    }
}

/// The folders there are of those that engines leave.
fn folders() -> Vec<PathBuf> {
    let below = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    let mut found: Vec<_> = FOLDERS.iter().map(PathBuf::from).collect();
    found.push(Path::new(CGROUPS).join("docker"));
    found.extend(below(CGROUPS).map(|hierarchy| hierarchy.join("docker")));
    found.extend(below(NETWORKS));
    found.retain(|folder| folder.is_dir());
    found
}

/// A group of processes is a folder whose files cannot be removed and go with it.
fn remove(folder: &Path) -> std::io::Result<()> {
    if !folder.starts_with(CGROUPS) {
        return fs::remove_dir_all(folder);
    }
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn bridges() -> Vec<String> {
    BRIDGES
        .into_iter()
        .filter(|bridge| Path::new("/sys/class/net").join(bridge).exists())
        .map(str::to_owned)
        .collect()
}

/// The commands that take away the engine's chains and the rules that it put elsewhere: those that name
/// one of its chains or bridges and were not there before. Nobody else's rule is touched.
fn undo(before: &str, now: &str) -> String {
    let had: Vec<_> = before
        .lines()
        .filter(|line| line.starts_with('-'))
        .collect();
    let mut out = String::new();
    for table in tables(now) {
        let old = tables(before)
            .into_iter()
            .find(|old| old.name == table.name);
        let old_chains = old.map(|old| old.chains).unwrap_or_default();
        let mut edits = Vec::new();
        for rule in &table.rules {
            let chain = rule.split(' ').nth(1).unwrap_or_default();
            let engines = rule.contains("DOCKER") || rule.contains("docker");
            if engines && !chain.starts_with("DOCKER") && !had.contains(rule) {
                edits.push(rule.replacen("-A", "-D", 1));
            }
        }
        let made = |chain: &&(&str, &str)| {
            chain.0.starts_with("DOCKER") && !old_chains.iter().any(|old| old.0 == chain.0)
        };
        let made: Vec<_> = table.chains.iter().filter(made).collect();
        edits.extend(made.iter().map(|chain| format!("-F {}", chain.0)));
        edits.extend(made.iter().map(|chain| format!("-X {}", chain.0)));
        // An engine sets the policy of FORWARD with its first chains.
        let policies = table.chains.iter().filter(|chain| chain.1 != "-");
        for (chain, policy) in policies.filter(|_| !made.is_empty()) {
            let old = old_chains.iter().find(|old| old.0 == *chain);
            let old = old.map_or("ACCEPT", |old| old.1);
            if old != *policy {
                edits.push(format!("-P {chain} {old}"));
            }
        }
        if !edits.is_empty() {
            out.push_str(&format!("*{}\n{}\nCOMMIT\n", table.name, edits.join("\n")));
        }
    }
    out
}

/// One table of the packet filter.
#[derive(Debug, Default)]
struct Table<'a> {
    name: &'a str,
    /// Each with its policy; `-` where it has none.
    chains: Vec<(&'a str, &'a str)>,
    rules: Vec<&'a str>,
}

fn tables(saved: &str) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table {
                name,
                ..Table::default()
            });
        }
        let Some(table) = tables.last_mut() else {
            continue;
        };
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            if let (Some(name), Some(policy)) = (words.next(), words.next()) {
                table.chains.push((name, policy));
            }
        } else if line.starts_with("-A") {
            table.rules.push(line);
        }
    }
    tables
}

async fn call(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let asked = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = timeout(DEADLINE, asked)
        .await
        .with_context(|| format!("{program} did not end in time"))?
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "`{program} {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: &str = "*filter\n:INPUT ACCEPT [1:2]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\n\
                         -A INPUT -s 10.1.1.1/32 -j DROP\n-A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j DOCKER\n\
                         -A DOCKER-USER -j RETURN\nCOMMIT\n";

    #[test]
    fn only_what_the_engine_made_is_taken_back() {
        let before = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n-A INPUT -s 10.1.1.1/32 -j DROP\nCOMMIT\n";
        assert_eq!(
            undo(before, AFTER),
            "*filter\n-D FORWARD -j DOCKER-USER\n-D FORWARD -o docker0 -j DOCKER\n-F DOCKER\n-F DOCKER-USER\n\
             -X DOCKER\n-X DOCKER-USER\n-P FORWARD ACCEPT\nCOMMIT\n"
        );
    }

    #[test]
    fn what_is_written_down_is_read_again_and_half_of_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host");
        let host = Host {
            bridges: vec!["docker0".to_owned()],
            rules: AFTER.to_owned(),
            forwarding: "1\n".to_owned(),
            folders: vec!["/run/docker".into()],
        };
        host.keep(&file).unwrap();
        assert_eq!(Host::kept(&file), Some(host));
        fs::write(&file, "{\"bridges\": []").unwrap();
        assert_eq!(Host::kept(&file), None);
    }

    #[test]
    fn the_rules_of_an_engine_that_was_there_stay() {
        assert_eq!(undo(AFTER, AFTER), "");
    }
}
