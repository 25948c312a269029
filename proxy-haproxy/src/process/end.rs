//! The end of masters, with or without a supervisor.

use std::{path::Path, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{MasterProcess, Stopped, find, poll};
use crate::{
    lock::{FolderLock, LockError},
    run_path::RunPath,
};

/// How long a process may take to obey SIGTERM, and then the kernel to end it.
const END_GRACE: Duration = Duration::from_secs(2);

/// A HAProxy that serves in a run path and that nobody supervises, as one whose supervisor left it. While this
/// exists nobody takes it over; dropped, it serves on.
#[derive(Debug)]
pub struct LeftHaproxy {
    masters: Vec<MasterProcess>,
    run: RunPath,
    _lock: Option<FolderLock>,
}

// === impl LeftHaproxy ===

impl LeftHaproxy {
    /// What serves in a run path; none where nothing does.
    ///
    /// # Errors
    /// When it is supervised, or the run path cannot be locked. Nothing was ended.
    pub async fn find(run: &RunPath) -> Result<Option<Self>, LockError> {
        // Without a folder there is nobody to keep out, and a HAProxy whose sockets are gone is known by its
        // command line.
        let lock = match run.folder().is_dir() {
            true => Some(FolderLock::take(run.folder())?),
            false => None,
        };
        let masters = find::masters(run);
        Ok((!masters.is_empty()).then(|| Self {
            masters,
            run: run.clone(),
            _lock: lock,
        }))
    }

    /// Ends it, as [`Haproxy::shutdown`](super::Haproxy::shutdown) does.
    pub async fn end(self, deadline: Duration) -> Stopped {
        let (_never_sooner, until) = watch::channel(after(deadline));
        end_all(self.masters, &self.run, until).await
    }
}

/// What is so far away that nobody sees it.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// The end of a time, be it as long as there are numbers for.
pub(super) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FAR)
}

/// Lets masters finish their connections, cuts what is left at the deadline, which may be moved meanwhile, and removes
/// their sockets.
pub(super) async fn end_all(
    masters: impl IntoIterator<Item = MasterProcess>,
    run: &RunPath,
    until: watch::Receiver<Instant>,
) -> Stopped {
    let mut masters = masters.into_iter().peekable();
    // One that replaces itself after a reload loses a signal; its socket refuses connections for as long.
    let socket = Path::new(run.master_socket());
    if masters.peek().is_some() && socket.exists() {
        let answers = timeout(END_GRACE, poll::processes_when(socket, |_| true));
        tokio::select! {
            _ = answers => {}
            () = reached(until.clone()) => {}
        }
    }
    let mut ends = JoinSet::new();
    for master in masters {
        ends.spawn(end(master, until.clone()));
    }
    let ended = ends.join_all().await;
    for socket in [run.master_socket(), run.worker_socket()] {
        // HAProxy leaves its sockets behind; nobody else binds in a run path that we hold.
        let _ = std::fs::remove_file(socket);
    }
    match ended.iter().all(|end| *end == Stopped::Gracefully) {
        true => Stopped::Gracefully,
        false => Stopped::AtDeadline,
    }
}

/// Lets a master finish its connections, and cuts what is left at the deadline.
async fn end(mut master: MasterProcess, until: watch::Receiver<Instant>) -> Stopped {
    master.finish();
    tokio::select! {
        _ = master.exited() => return Stopped::Gracefully,
        () = reached(until) => {}
    }
    for signal in [Signal::TERM, Signal::KILL] {
        master.signal(signal);
        if timeout(END_GRACE, master.exited()).await.is_ok() {
            break;
        }
    }
    Stopped::AtDeadline
}

/// Waits for a deadline that may be moved.
async fn reached(mut until: watch::Receiver<Instant>) {
    loop {
        let at = *until.borrow_and_update();
        let moved = async {
            if until.changed().await.is_err() {
                // Nobody moves it any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = sleep_until(at) => return,
            () = moved => {}
        }
    }
}
