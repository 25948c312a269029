//! What systemd hears of a replica: that it is ready, how it is, that it is alive, that it ends.
//!
//! Nothing is said where systemd did not ask for it (`Type=notify` sets `NOTIFY_SOCKET`, `WatchdogSec=`
//! sets `WATCHDOG_USEC`); the crate `sd-notify` reads both.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::server::Health;

/// How often HAProxy is looked at, whose ups and downs nobody tells. What waits for this replica (units
/// ordered after it) waits at most so much longer than it must.
const LOOK: Duration = Duration::from_millis(250);
/// How long systemd may take to hear something.
const DEADLINE: Duration = Duration::from_secs(1);
/// The shortest watchdog that is kept up with: one that is not alive is told apart from a busy machine.
const SHORTEST_WATCHDOG: Duration = Duration::from_millis(500);

/// Where systemd wants to hear, as `sd-notify` reads it.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells systemd how a replica is, for ever. Cancel safe.
pub async fn follow(mut health: Health) {
    if std::env::var_os(SOCKET).is_none() {
        // Nobody listens: looking four times a second would be all that a replica at rest does.
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled();
    if let Some(deadline) = watchdog.filter(|deadline| *deadline < SHORTEST_WATCHDOG) {
        tracing::warn!(?deadline, "systemd's watchdog is too short to keep up with");
    }
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Twice within the watchdog's time, as systemd recommends.
    let mut alive = interval(watchdog.unwrap_or_default().max(SHORTEST_WATCHDOG) / 2);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut ready, mut said) = (false, String::new());
    loop {
        let is_alive = tokio::select! {
            _ = looks.tick() => false,
            () = health.changed() => false,
            _ = alive.tick(), if watchdog.is_some() => true,
        };
        if is_alive {
            match health.why_not_alive() {
                None => tell(vec![Word::Watchdog]).await,
                // Silence is what systemd acts on.
                Some(why) => tracing::error!(why, "systemd is not told that this replica is alive"),
            }
        }
        let mut words = Vec::new();
        if !ready && health.why_not_ready().is_none() {
            ready = true;
            words.push(Word::Ready);
        }
        let line = health.line();
        if line != said {
            words.push(Word::Status(line.clone()));
            said = line;
        }
        if !words.is_empty() {
            tell(words).await;
        }
    }
}

/// Tells systemd that this replica ends.
pub async fn stopping() {
    let status = "drains and ends".to_owned();
    tell(vec![Word::Stopping, Word::Status(status)]).await;
}

/// What is told, owned: it is sent from another thread.
enum Word {
    Ready,
    Watchdog,
    Stopping,
    Status(String),
}

/// Tells it. On a thread that may wait: a socket whose reader is busy takes a few messages and no more.
async fn tell(words: Vec<Word>) {
    let send = move || {
        let states: Vec<NotifyState<'_>> = words.iter().map(Word::state).collect();
        sd_notify::notify(&states)
    };
    match timeout(DEADLINE, tokio::task::spawn_blocking(send)).await {
        Ok(Ok(Err(error))) => tracing::warn!(%error, "systemd was not told how this replica is"),
        Err(_) => tracing::warn!("systemd does not listen; it was not told how this replica is"),
        _ => {}
    }
}

// === impl Word ===

impl Word {
    fn state(&self) -> NotifyState<'_> {
        match self {
            Self::Ready => NotifyState::Ready,
            Self::Watchdog => NotifyState::Watchdog,
            Self::Stopping => NotifyState::Stopping,
            Self::Status(line) => NotifyState::Status(line),
        }
    }
}
