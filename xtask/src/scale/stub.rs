//! A stand-in for HAProxy that carries no traffic: it finds every configuration good, answers on its
//! master socket as 2.6 does, and tells whoever measures which configuration it was told to load.
//! Fifty real ones would measure the machine.

use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// What stands before the number of a change in a configuration.
pub(super) const MARK: &str = "/scale-";
/// Nobody has a process with such a number.
const FIRST_WORKER: u32 = 100_000_000;
/// The longest question that is read.
const MAX_QUESTION_BYTES: u64 = 64 * 1024;

/// The program that stands for HAProxy: a script that calls this task.
pub(super) fn script(folder: &Path, tell: SocketAddr) -> Result<PathBuf> {
    let path = folder.join("haproxy");
    let own = std::env::current_exe().context("this program has no path")?;
    let text = format!(
        "#!/bin/sh\nexec {} haproxy-stub --tell {tell} -- \"$@\"\n",
        own.display()
    );
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Does what HAProxy would be asked to, until it is ended.
pub(crate) async fn stub(tell: SocketAddr, arguments: &[String]) -> Result<()> {
    let mut words: VecDeque<&str> = arguments.iter().map(String::as_str).collect();
    let (mut config, mut socket) = (None, None);
    while let Some(word) = words.pop_front() {
        match word {
            // A check: everything is good.
            "-c" => return Ok(()),
            "-f" => config = words.pop_front(),
            "-S" => socket = words.pop_front().and_then(|bind| bind.split(',').next()),
            _ => {}
        }
    }
    let config = PathBuf::from(config.context("no -f")?);
    let socket = socket.context("no -S")?;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot bind {socket}"))?;
    let teller = UdpSocket::bind("127.0.0.1:0")?;
    let mut worker = FIRST_WORKER;
    loop {
        let (stream, _) = listener.accept().await?;
        // One that hangs up early is none of ours.
        if let Ok(true) = answer(stream, worker).await {
            worker += 1;
            let number = newest(&fs::read_to_string(&config).unwrap_or_default());
            let home = config.parent().unwrap_or(&config);
            teller.send_to(format!("{number} {}", home.display()).as_bytes(), tell)?;
        }
    }
}

/// Answers one question. Whether it was the order to reload.
async fn answer(mut stream: UnixStream, worker: u32) -> std::io::Result<bool> {
    let mut question = String::new();
    let mut limited = (&mut stream).take(MAX_QUESTION_BYTES);
    limited.read_to_string(&mut question).await?;
    let text = match question.trim() {
        "show proc" => format!(
            "{}          master          0 [failed: 0]   0d00h00m00s     2.6.12\n# workers\n{worker}            worker          0               0d00h00m00s     2.6.12\n# old workers\n# programs\n\n",
            std::process::id()
        ),
        // The worker of now serves, and those before it do not.
        info if info == format!("@!{worker} show info") => "Stopping: 0\n".to_owned(),
        info if info.ends_with("show info") => "Stopping: 1\n".to_owned(),
        _ => String::new(),
    };
    stream.write_all(text.as_bytes()).await?;
    Ok(question.trim() == "reload")
}

/// The greatest number of a change in a configuration.
fn newest(config: &str) -> u64 {
    let after = config.split(MARK).skip(1);
    let numbers = after.filter_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    });
    numbers.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_change_is_found() {
        assert_eq!(
            newest("acl a path_beg /scale-7\nacl b path_beg /scale-12 /x\n"),
            12
        );
        assert_eq!(newest("global\n"), 0);
    }
}
