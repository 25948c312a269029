//! The images, from what is on the machine: no registry of images is asked. The Dockerfile that is built is the
//! project's own; what stands below it is made here where the engine does not have it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::docker::Docker;
use super::engine::Engine;
use super::say;
use crate::rootfs;
use crate::tools;
use crate::workspace::Workspace;

/// What the Dockerfile builds on.
const BASE: &str = "debian:bookworm-slim";

/// What the Dockerfile builds with.
const BUILDER: &str = "rust:1-bookworm";

/// How long one image may take. One that compiles inside takes the longest.
const BUILD_DEADLINE: Duration = Duration::from_secs(1800);

/// The binaries come out of the image at hand, and cargo's part is played by what has compiled already.
const CARGO: &str = "#!/bin/sh\nmkdir -p target/release\ncp /prebuilt/* target/release/\n";

/// Names of what was built, and what must go again.
pub(super) struct Images {
    /// The proxy, in two versions that differ in a label.
    pub(super) proxy: [String; 2],
    pub(super) consul: String,
    pub(super) demo: String,
    made: Vec<String>,
    /// Images without a name that were there before: builds leave such.
    nameless: Vec<String>,
}

// === impl Images ===

impl Images {
    pub(super) fn none() -> Self {
        Self {
            proxy: [String::new(), String::new()],
            consul: String::new(),
            demo: String::new(),
            made: Vec::new(),
            nameless: Vec::new(),
        }
    }

    /// Builds those that need nothing but what is on the machine: all but the proxy's.
    pub(super) async fn build(&mut self, workspace: &Workspace, engine: &Engine) -> Result<()> {
        let docker = engine.docker();
        self.nameless = nameless(docker).await?;
        // Before anything takes long: it may be missing.
        let consul = tools::consul(workspace)?;
        let demo = std::env::current_exe().context("this program does not know where it is")?;
        let scratch = tempfile::tempdir().context("a folder for the images cannot be made")?;
        self.base(workspace, docker).await?;

        let words = "FROM debian:bookworm-slim\nCOPY consul /usr/local/bin/consul\nENTRYPOINT [\"consul\"]\n";
        let folder = context(scratch.path(), "consul", words, &[(&consul.path, "consul")])?;
        self.consul = self.simple(docker, engine.name("consul"), &folder).await?;
        let words = "FROM debian:bookworm-slim\nCOPY demo /usr/local/bin/demo\n\
                     ENTRYPOINT [\"demo\", \"demo\", \"--listen\", \"0.0.0.0:8080\"]\n";
        let folder = context(scratch.path(), "demo", words, &[(&demo, "demo")])?;
        self.demo = self.simple(docker, engine.name("go-demo"), &folder).await?;
        Ok(())
    }

    /// Builds the proxy's, in both versions, of these programs. It takes the longest: Debian's packages are installed
    /// in it.
    pub(super) async fn build_proxy(
        &mut self,
        workspace: &Workspace,
        engine: &Engine,
        programs: &[PathBuf],
    ) -> Result<()> {
        let docker = engine.docker();
        let scratch = tempfile::tempdir().context("a folder for the images cannot be made")?;
        self.builder(docker, scratch.path(), programs).await?;
        for number in [1, 2] {
            let name = format!("{}:{number}", engine.name("proxy"));
            let root = workspace.root().display().to_string();
            let version = format!("VERSION=0.0.{number}");
            // The host's network: the machine's package mirror may be reachable from nowhere else.
            let arguments = [
                "build",
                "--network",
                "host",
                "--build-arg",
                &version,
                "--tag",
                &name,
                &root,
            ];
            self.made.push(name.clone());
            docker.run_within(BUILD_DEADLINE, &arguments).await?;
            if let Some(place) = self.proxy.get_mut(number - 1) {
                *place = name;
            }
        }
        Ok(())
    }

    async fn base(&mut self, workspace: &Workspace, docker: &Docker) -> Result<()> {
        if docker.holds(&["image", "inspect", BASE]).await {
            say(&format!("{BASE} is the engine's own"));
            return Ok(());
        }
        let archive = rootfs::archive(workspace).await?;
        self.made.push(BASE.to_owned());
        let archive = archive.display().to_string();
        docker
            .run_within(BUILD_DEADLINE, &["import", &archive, BASE])
            .await
            .map(drop)
    }

    async fn builder(
        &mut self,
        docker: &Docker,
        scratch: &Path,
        programs: &[PathBuf],
    ) -> Result<()> {
        if docker.holds(&["image", "inspect", BUILDER]).await {
            say(&format!(
                "{BUILDER} is the engine's own: the build stage compiles"
            ));
            return Ok(());
        }
        say(&format!(
            "{BUILDER} is a stand-in: the project's own Dockerfile is built, and the programs that its build \
             stage would compile are those that cargo has built on this machine"
        ));
        let cargo = scratch.join("cargo");
        fs::write(&cargo, CARGO)?;
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?;
        let mut files = vec![(cargo.as_path(), "cargo")];
        for program in programs {
            let name = program.file_name().and_then(|name| name.to_str());
            files.push((program, name.context("a program without a name")?));
        }
        let copied: Vec<_> = files.iter().skip(1).map(|(_, name)| *name).collect();
        let words = format!(
            "FROM {BASE}\nCOPY {} /prebuilt/\nCOPY cargo /usr/local/bin/cargo\n",
            copied.join(" ")
        );
        let folder = context(scratch, "builder", &words, &files)?;
        self.made.push(BUILDER.to_owned());
        let folder = folder.display().to_string();
        docker
            .run_within(BUILD_DEADLINE, &["build", "--tag", BUILDER, &folder])
            .await
            .map(drop)
    }

    async fn simple(&mut self, docker: &Docker, name: String, folder: &Path) -> Result<String> {
        let folder = folder.display().to_string();
        self.made.push(name.clone());
        docker
            .run_within(BUILD_DEADLINE, &["build", "--tag", &name, &folder])
            .await?;
        Ok(name)
    }

    /// Takes away what was made, the last first.
    pub(super) async fn remove(&self, docker: &Docker) -> Result<()> {
        let mut problems = Vec::new();
        for name in self.made.iter().rev() {
            if !docker.holds(&["image", "inspect", name]).await {
                continue;
            }
            if let Err(error) = docker.run(&["image", "rm", "--force", name]).await {
                problems.push(format!("{error:#}"));
            }
        }
        // What a build leaves stands on what it left before: each round takes the topmost away.
        loop {
            let mut left = nameless(docker).await?;
            left.retain(|image| !self.nameless.contains(image));
            let mut gone = false;
            for image in left {
                gone |= docker.holds(&["image", "rm", &image]).await;
            }
            if !gone {
                break;
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        bail!("images are left: {}", problems.join("; "))
    }
}

/// The images that no name leads to.
async fn nameless(docker: &Docker) -> Result<Vec<String>> {
    let list = [
        "image",
        "ls",
        "--quiet",
        "--no-trunc",
        "--filter",
        "dangling=true",
    ];
    docker.words(&list).await
}

/// A folder with a Dockerfile and the files that it copies.
fn context(scratch: &Path, name: &str, words: &str, files: &[(&Path, &str)]) -> Result<PathBuf> {
    let folder = scratch.join(format!("image-{name}"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("Dockerfile"), words)?;
    for (from, to) in files {
        fs::copy(from, folder.join(to))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(folder)
}
