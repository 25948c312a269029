//! What `swarm` needs: a Docker Engine and its client, and the program that makes a root file system of packages.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{SBIN, apt, on_path, say};

/// Debian's package of the engine and its client, in halves: `tidy` takes the whole for a registry.
const ENGINE: [&str; 2] = ["docker", ".io"];

/// The release that the image stands on. What is built on a machine of another one need not run there.
const BASE: &str = "bookworm";

/// Debian's own client, beside others that may be on `PATH`.
const OWN_CLIENT: &str = "/usr/bin/docker";

/// How the base image is made.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    pub(crate) program: PathBuf,
    pub(crate) release: &'static str,
    pub(crate) mirror: String,
}

/// The engine's program and its client, installed where they are missing.
///
/// # Errors
/// When this machine can have none, and why.
pub(crate) fn engine() -> Result<(PathBuf, PathBuf)> {
    if !apt::is_root()? {
        bail!("no Docker Engine listens, and only root may start one");
    }
    let (release, _) = apt::own_release()?;
    if release != BASE {
        bail!(
            "no Docker Engine listens, and the images of one of our own are made of this machine's programs: \
             that wants Debian {BASE}, and this is {release:?}"
        );
    }
    let dockerd = || first_file(sbin("dockerd"));
    let client = || first_file(docker_clients());
    if dockerd().is_none() || client().is_none() {
        say("no Docker Engine is installed: installing Debian's package");
        apt::install(&ENGINE.concat()).context(
            "a Docker Engine is missing and could not be installed: install one, then run this again",
        )?;
    }
    dockerd()
        .zip(client())
        .context("Debian's package left no dockerd or no client")
}

/// The clients that there are, those on `PATH` last: Debian's fits Debian's engine.
pub(crate) fn docker_clients() -> Vec<PathBuf> {
    let mut clients = vec![PathBuf::from(OWN_CLIENT)];
    clients.extend(on_path("docker"));
    clients.retain(|client| client.is_file());
    clients
}

/// What makes the base image's root file system; installed where it is missing.
///
/// # Errors
/// When it is missing and cannot be installed, or the machine's sources name no mirror.
pub(crate) fn bootstrap() -> Result<Bootstrap> {
    let (_, mirror) = apt::own_release()?;
    let mirror = mirror.context("no Debian mirror stands in the machine's apt sources")?;
    let program = || first_file(sbin("debootstrap"));
    if program().is_none() {
        say("debootstrap is not installed: installing Debian's package");
        apt::install("debootstrap").context("debootstrap is missing and could not be installed")?;
    }
    Ok(Bootstrap {
        program: program().context("Debian's package left no debootstrap")?,
        release: BASE,
        mirror,
    })
}

fn sbin(name: &str) -> Vec<PathBuf> {
    let mut places = on_path(name);
    places.extend(SBIN.iter().map(|folder| PathBuf::from(folder).join(name)));
    places
}

fn first_file(places: Vec<PathBuf>) -> Option<PathBuf> {
    places.into_iter().find(|place| place.is_file())
}
