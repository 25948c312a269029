//! The server's binary, built from this tree.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use super::Failure;

/// Builds `proxy-server` once per process and says where it is, so that a test never runs an old
/// one. `PROXY_SERVER_BIN` names another.
///
/// # Errors
/// When it cannot be built.
pub fn server_binary() -> Result<PathBuf, Failure> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(binary) = std::env::var_os("PROXY_SERVER_BIN") {
        return Ok(binary.into());
    }
    BUILT.get_or_init(build).clone().map_err(Into::into)
}

fn build() -> Result<PathBuf, String> {
    // A test runs from <target>/<profile>/deps.
    let test = std::env::current_exe().map_err(|why| why.to_string())?;
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .ok_or("the test has no folder")?;
    let target = profile.parent().ok_or("the test has no target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "proxy-server",
            "--bin",
            "proxy-server",
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .map_err(|why| format!("cargo cannot be run: {why}"))?;
    if !built.success() {
        return Err(format!("proxy-server was not built: {built}"));
    }
    Ok(profile.join("proxy-server"))
}
