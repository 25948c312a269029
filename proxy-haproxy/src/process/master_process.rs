//! One master process, ours by birth or taken over: its end, and signals that reach it and no other.

use std::{os::fd::OwnedFd, process::ExitStatus, time::Duration};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal,
    test_kill_process, waitpid,
};
use tokio::{io::unix::AsyncFd, process::Child, time::sleep};

/// Where the kernel has no pid file descriptors (before 5.3, or forbidden): how often to look.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A process that stays the one it was: its number is not reused while this exists.
#[derive(Debug)]
pub(super) enum MasterProcess {
    /// Started here.
    Child(Box<Child>),
    /// Started by someone else.
    Adopted {
        pid: Pid,
        descriptor: Option<AsyncFd<OwnedFd>>,
    },
}

/// The descriptor, watched by the runtime.
#[expect(
    deprecated,
    reason = "sound for an OwnedFd, which stays open as long as it is watched; its successor is unsafe"
)]
fn watched(descriptor: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor).ok()
}

impl MasterProcess {
    /// A process by its number; the caller checks afterwards that it is still the one it meant.
    pub(super) fn adopt(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let descriptor = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => watched(descriptor),
            Err(rustix::io::Errno::SRCH) => return None,
            Err(_) => None,
        };
        Some(Self::Adopted { pid, descriptor })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Child(child) => child.id(),
            Self::Adopted { pid, .. } => u32::try_from(pid.as_raw_nonzero().get()).ok(),
        }
    }

    /// Waits for its end. The status is known of children only. Cancel safe.
    pub(super) async fn exited(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Child(child) => child.wait().await.ok(),
            Self::Adopted { pid, descriptor } => {
                match descriptor {
                    Some(descriptor) => drop(descriptor.readable().await),
                    None => {
                        while test_kill_process(*pid).is_ok() {
                            sleep(POLL_INTERVAL).await;
                        }
                    }
                }
                // A child of an earlier supervisor in this very process; otherwise not ours to reap.
                let _ = waitpid(Some(*pid), WaitOptions::NOHANG);
                None
            }
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        match self {
            Self::Child(child) => !matches!(child.try_wait(), Ok(None)),
            Self::Adopted { pid, .. } => test_kill_process(*pid).is_err(),
        }
    }

    /// Has it take no new connections and end once those that it has are finished.
    pub(super) fn finish(&self) {
        self.signal(Signal::USR1);
        // It may have been stopped, and would never see the other signal.
        self.signal(Signal::CONT);
    }

    /// Sends a signal; a process that has ended gets none.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = match self {
            Self::Child(child) => {
                // A child that was not waited for keeps its number.
                let pid = child
                    .id()
                    .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
                pid.map_or(Ok(()), |pid| kill_process(pid, signal))
            }
            Self::Adopted {
                descriptor: Some(descriptor),
                ..
            } => pidfd_send_signal(descriptor.get_ref(), signal),
            Self::Adopted { pid, .. } => kill_process(*pid, signal),
        };
    }
}
