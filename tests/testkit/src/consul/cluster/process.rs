//! One Consul process that cannot outlive its test.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Starts Consul, tells its pid, and kills it once standard input ends: which it does when the test
/// says so, and when the test's process is gone for whatever reason.
const GUARD: &str = r#"
"$1" agent -config-file "$2" >>"$3" 2>&1 </dev/null &
echo $! >"$4.new" && mv "$4.new" "$4"
read -r _
kill -9 $!
wait $! 2>/dev/null
"#;

/// How long the guard may take to tell the pid.
const PID_DEADLINE: Duration = Duration::from_secs(10);

/// A running Consul; dropped, it is killed as by `kill -9` and waited for.
#[derive(Debug)]
pub(super) struct ServerProcess {
    guard: Child,
    consul: Pid,
}

// === impl ServerProcess ===

impl ServerProcess {
    pub(super) fn start(consul: &Path, config: &Path, log: &Path) -> io::Result<Self> {
        let pid_file = config.with_extension("pid");
        if pid_file.exists() {
            fs::remove_file(&pid_file)?;
        }
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .args([consul, config, log, pid_file.as_path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + PID_DEADLINE;
        let pid = loop {
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            if let Ok(pid) = text.trim().parse() {
                break pid;
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sleep(Duration::from_millis(2));
        };
        Ok(Self {
            guard,
            consul: Pid::from_raw(pid),
        })
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        kill(self.consul, signal).map_err(io::Error::from)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // The guard still waits for this pid, so the number belongs to no other process.
        let _gone_already = self.signal(Signal::SIGKILL);
        drop(self.guard.stdin.take());
        let _status = self.guard.wait();
    }
}
