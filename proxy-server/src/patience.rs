//! What a start waits for: a disk that does not answer is named.
//!
//! The start reads a handful of files, each of which must be known before anything is served. So it waits for them,
//! however long that takes: a disk that is slow is read in the end, one that is away may come back, and another start
//! would bring neither. But whoever looks on hears what it waits for.

use std::{
    io::Write as _,
    path::Path,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// How long nothing is said: disks that work answer in milliseconds, and nobody should look at a start without a word
/// for long.
const SAY_AFTER: Duration = Duration::from_secs(3);
/// How long until it is said again.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Where it is said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Say {
    Log,
    /// There is no log yet.
    StandardError,
}

/// Something that is read at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience<'a> {
    /// The setting that names the path.
    pub(crate) setting: &'static str,
    pub(crate) path: &'a Path,
    pub(crate) say: Say,
}

// === impl Patience ===

impl<'a> Patience<'a> {
    /// Of a path, once there is a log.
    pub(crate) fn with(setting: &'static str, path: &'a Path) -> Self {
        let say = Say::Log;
        Self { setting, path, say }
    }

    /// Reads it, and says so where that takes long.
    pub(crate) fn read<T>(self, read: impl FnOnce() -> T) -> T {
        let since = Instant::now();
        let read = watched([SAY_AFTER, SAY_AGAIN], read, |waited| self.is_late(waited));
        let took = since.elapsed();
        if took >= SAY_AFTER {
            self.answered(took);
        }
        read
    }

    fn is_late(self, waited: Duration) {
        let (setting, path) = (self.setting, self.path.display());
        match self.say {
            Say::Log => tracing::error!(
                setting, %path, ?waited,
                "it does not answer: the disk may hang, as where a network mount is away; the start waits for it, since nothing can be served without it"
            ),
            Say::StandardError => say(&format!(
                "{setting}: {path} does not answer ({waited:.0?}): the disk may hang, as where a network mount is away; the start waits for it, since nothing can be served without it"
            )),
        }
    }

    fn answered(self, took: Duration) {
        let (setting, path) = (self.setting, self.path.display());
        match self.say {
            Say::Log => tracing::warn!(setting, %path, ?took, "it answered; the start goes on"),
            Say::StandardError => say(&format!(
                "{setting}: {path} answered after {took:.0?}; the start goes on"
            )),
        }
    }
}

/// A line that nobody reads is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "proxy-server: {line}");
}

/// Reads something here, and has another thread say how long that takes, first and again after so long.
fn watched<T>(
    [after, again]: [Duration; 2],
    read: impl FnOnce() -> T,
    say: impl Fn(Duration) + Send,
) -> T {
    let (done, waits) = sync_channel::<()>(0);
    thread::scope(|scope| {
        let watch = move || {
            let since = Instant::now();
            let mut next = after;
            while waits.recv_timeout(next) == Err(RecvTimeoutError::Timeout) {
                say(since.elapsed());
                next = again;
            }
        };
        // Where there is no thread for it, it is read without a word.
        let _ = thread::Builder::new().spawn_scoped(scope, watch);
        let read = read();
        drop(done);
        read
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const NEVER: Duration = Duration::from_secs(1_000);

    #[test]
    fn what_hangs_is_said_again_and_again_until_it_answers() {
        let (says, said) = sync_channel(0);
        let read = watched(
            [SOON, SOON],
            || {
                let [first, second] = [said.recv().unwrap(), said.recv().unwrap()];
                // Whoever says something now finds nobody, and does not wait.
                drop(said);
                first < second
            },
            |waited| says.send(waited).unwrap_or_default(),
        );
        assert!(read);
    }

    #[test]
    fn what_answers_is_not_waited_for_any_longer() {
        let read = watched([NEVER, NEVER], || 1, |_| panic!("it answered"));
        assert_eq!(read, 1);
        let after_once = watched([SOON, NEVER], || 2, |_| {});
        assert_eq!(after_once, 2);
    }
}
