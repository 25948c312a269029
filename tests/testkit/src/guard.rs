//! Nothing that runs in a folder of a test outlives its process, however that ends: for sandboxes.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Waits for a word; where none comes, as when the test's process was killed, it ends whatever names the folder or runs
/// in it, and removes the folder. The folder is no word of its command line, so that it is none of these.
const GUARD: &str = r#"
read -r _ && exit
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    found=
    for process in /proc/[0-9]*; do
        case "$(readlink "$process/cwd")" in
        "$FOLDER"/*) ;;
        *) tr '\0' ' ' <"$process/cmdline" | grep -qF "$FOLDER/" || continue ;;
        esac
        kill -9 "${process#/proc/}" && found=yes
    done
    [ -n "$found" ] || break
    sleep 0.1
done 2>/dev/null
rm -rf "$FOLDER"
"#;

/// Watches over a folder. Dropped, it lets go of it.
#[derive(Debug)]
pub(crate) struct Guard(Child);

// === impl Guard ===

impl Guard {
    pub(crate) fn over(folder: &Path) -> io::Result<Self> {
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .env("FOLDER", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the test.
            .process_group(0)
            .spawn()?;
        Ok(Self(guard))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Where it cannot be told it finds that nothing is left.
        let _told = self.0.stdin.take().map(|mut stdin| stdin.write(b"done\n"));
        let _status = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead as _, BufReader},
        time::{Duration, Instant},
    };

    use crate::haproxy::{HaproxySandbox, processes_of};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    #[ignore = "it waits to be killed: the next test runs it"]
    fn a_process_with_a_sandbox() {
        let sandbox = HaproxySandbox::new().unwrap();
        let folder = sandbox.folder().to_path_buf();
        let config = folder.join("haproxy.cfg");
        let socket = folder.join("socket").display().to_string();
        let text =
            format!("defaults\n timeout client 1s\nfrontend a\n mode http\n bind unix@{socket}\n");
        fs::write(&config, text).unwrap();
        let mut haproxy = Command::new(sandbox.binary())
            .args(["-W", "-db", "-f"])
            .arg(&config)
            .spawn()
            .unwrap();
        // One that is in the folder and does not name it, as the server of a replica.
        let home = folder.join("home");
        fs::create_dir(&home).unwrap();
        let mut other = Command::new("sleep")
            .arg("1000")
            .current_dir(home)
            .spawn()
            .unwrap();
        println!("\nother {}", other.id());
        println!("folder {}", folder.display());
        haproxy.wait().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_killed_leaves_nothing_running() {
        let name = "guard::tests::a_process_with_a_sandbox";
        let mut test = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
        let mut said = |what: &str| {
            let mut found = lines.by_ref().map(Result::unwrap);
            found.find_map(|line| Some(line.strip_prefix(what)?.trim().to_owned()))
        };
        let other = said("other").unwrap();
        let folder = said("folder").unwrap();
        let (other, folder) = (Path::new("/proc").join(other), Path::new(&folder));
        let begun = Instant::now();
        while processes_of(folder).len() < 2 {
            assert!(begun.elapsed() < PATIENCE, "a master and a worker run");
            std::thread::sleep(Duration::from_millis(5));
        }
        test.kill().unwrap();
        test.wait().unwrap();
        let begun = Instant::now();
        while !processes_of(folder).is_empty() || other.exists() || folder.exists() {
            let left = processes_of(folder);
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "{left:?} {} {}", other.exists(), folder.exists());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
