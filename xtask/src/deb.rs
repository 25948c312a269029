//! `cargo xtask deb`: the Debian package with both programs, their pages and completions and the systemd unit, and
//! its trial in a clean Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::suite::child::{Ended, run};
use crate::swarm::Outcome;
use crate::workspace::{Profile, Workspace};

mod trial;

/// The version that is known to read our manifest.
const CARGO_DEB: &str = "3.8.0";

/// How long cargo-deb may take to be built or to pack, on two busy cores.
const DEADLINE: Duration = Duration::from_secs(1200);

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Pack the programs that the tests use, which build faster and are not for use.
    #[arg(long)]
    dev: bool,
}

/// Makes the package and tries it; cargo-deb says where it is.
pub(crate) async fn deb(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let profile = match options.dev {
        true => Profile::Dev,
        false => Profile::Release,
    };
    let package = pack(workspace, profile).await?;
    trial::trial(workspace, &package).await
}

async fn pack(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let cargo_deb = cargo_deb(workspace).await?;
    let programs = workspace.build_all(&["proxy-server", "proxy-cli"], profile)?;
    let program = |name: &str| {
        let found = programs.iter().find(|path| path.ends_with(name));
        found.with_context(|| format!("cargo built no {name}"))
    };
    let folder = workspace.root().join("target").join("deb");
    // Pages of commands that are gone must not be packed.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    write_documents(&folder, program("proxy-server")?, program("proxyctl")?).await?;
    let output = folder.join("proxy-server.deb");
    let mut command = Command::new(cargo_deb);
    command.current_dir(workspace.root());
    command.args([
        "--package",
        "proxy-server",
        "--no-build",
        "--quiet",
        "--no-dbgsym",
    ]);
    command.arg("--output").arg(&output);
    command.args([
        "--profile",
        if profile == Profile::Dev {
            "dev"
        } else {
            "release"
        },
    ]);
    must(command, "cargo deb").await?;
    Ok(output)
}

/// The manual pages and completions of both programs.
async fn write_documents(folder: &Path, server: &Path, command_line: &Path) -> Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder)?;
    }
    let mut command = Command::new(server);
    command.arg("--manual").arg(&completions);
    must(command, "proxy-server --manual").await?;
    fs::rename(
        completions.join("proxy-server.1"),
        man.join("proxy-server.1"),
    )?;
    let mut command = Command::new(command_line);
    command.arg("manual").arg(&man);
    must(command, "proxyctl manual").await?;
    for (shell, name) in [
        ("bash", "proxyctl.bash"),
        ("zsh", "_proxyctl"),
        ("fish", "proxyctl.fish"),
    ] {
        let mut command = Command::new(command_line);
        command.args(["completions", shell]);
        command.stdout(fs::File::create(completions.join(name))?);
        must(command, "proxyctl completions").await?;
    }
    Ok(())
}

/// cargo-deb, which is built once and kept with the other tools.
async fn cargo_deb(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.tools().join("cargo-deb");
    let program = root.join("bin").join("cargo-deb");
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("xtask: building cargo-deb: once, it is kept below target/tools");
    let mut install = workspace.cargo();
    install.args(["install", "--locked", "--version", CARGO_DEB, "cargo-deb"]);
    install.arg("--root").arg(&root);
    // Built beside the suite and not among what it has built, whose features it would change.
    install.env("CARGO_TARGET_DIR", root.join("build"));
    must(install, "cargo install cargo-deb").await?;
    let _rubbish = fs::remove_dir_all(root.join("build"));
    Ok(program)
}

/// Runs a command that must end well.
async fn must(mut command: Command, what: &str) -> Result<()> {
    command.stdin(Stdio::null());
    match run(command, DEADLINE).await? {
        Ended::Well => Ok(()),
        ended => bail!("{what} ended badly: {ended:?}"),
    }
}
