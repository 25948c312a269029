//! A clean Debian of a few packages, for the images of `swarm` and the trial of `deb`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::suite::child::{Ended, run};
use crate::tools;
use crate::workspace::Workspace;

/// How long packages may take to be fetched and unpacked: a minute on an idle machine.
const DEADLINE: Duration = Duration::from_secs(600);

/// Debian's minimal root file system as an archive, kept with the other tools for the next run.
pub(crate) async fn archive(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.tools().join("swarm");
    let archive = folder.join("bookworm.tar");
    if archive.is_file() {
        return Ok(archive);
    }
    let bootstrap = tools::bootstrap()?;
    eprintln!(
        "xtask: making a root file system of Debian's packages: once, it is kept below target/tools"
    );
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let scratch = tempfile::tempdir_in(&folder)?;
    let root = scratch.path().join("root");
    let log = folder.join("debootstrap.log");
    let mut make = Command::new(&bootstrap.program);
    make.args(["--variant=minbase", "--include=ca-certificates"])
        .arg(bootstrap.release)
        .arg(&root)
        .arg(&bootstrap.mirror);
    quietly(make, &log).await?;
    // Packages that were only downloaded, and lists that the first update replaces.
    for rubbish in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        let _gone = fs::remove_dir_all(root.join(rubbish));
    }
    let unfinished = scratch.path().join("tar");
    let mut pack = Command::new("tar");
    pack.arg("--create").arg("--file").arg(&unfinished);
    pack.arg("--directory").arg(&root).arg(".");
    quietly(pack, &log).await?;
    // Whole or not at all: a later run would take half of it for all.
    fs::rename(&unfinished, &archive)
        .with_context(|| format!("cannot make {}", archive.display()))?;
    Ok(archive)
}

/// Runs a command that writes into a log.
pub(crate) async fn quietly(mut command: Command, log: &Path) -> Result<()> {
    let file = fs::OpenOptions::new().create(true).append(true).open(log)?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let name = command.get_program().to_string_lossy().into_owned();
    match run(command, DEADLINE).await? {
        Ended::Well => Ok(()),
        ended => bail!(
            "{name} ended badly ({ended:?}); its log is {}",
            log.display()
        ),
    }
}
