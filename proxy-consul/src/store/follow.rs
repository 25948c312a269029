//! The task that follows the store: it catches up, waits for the head to change, and does so again.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use proxy_core::{StoreTrouble, ViewSeq};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Shared,
    commit::told,
    fill::FillError,
    keys::{At, HeadSeen},
    read::{Caught, ReadError},
};
use crate::{pause::Pauses, watch::Watch};

/// A filling by another replica that is being waited for: where it stood, and since when.
type Waiting = Option<(At, Instant)>;

/// Follows the store until `stop` says so.
pub(super) async fn follow(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = for_ever(&shared) => {}
        // An error means that the store was dropped, which is a stop as well.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Follows, and begins anew after a panic, which an [`Observer`](crate::Observer) or a
/// [`Transport`](crate::Transport) of somebody else's may bring: the store must not count as followed while
/// nobody follows it.
async fn for_ever(shared: &Shared) {
    let mut pauses = Pauses::new(shared.client.timeouts());
    while AssertUnwindSafe(run(shared)).catch_unwind().await.is_err() {
        let why = "the task that follows the store panicked; it begins anew";
        tracing::error!(why);
        let trouble = StoreTrouble::Unavailable(why.to_owned());
        shared.with(|state| state.stale(trouble));
        sleep(pauses.next()).await;
    }
}

async fn run(shared: &Shared) {
    let mut watch = Watch::new(shared.client.clone(), shared.keys.head());
    let mut pauses = Pauses::new(shared.client.timeouts());
    let mut hint = None;
    let mut waiting: Waiting = None;
    loop {
        let wait = match shared.catch_up(hint.take()).await {
            Ok(Caught::Up) => {
                waiting = None;
                None
            }
            Ok(Caught::Empty(_)) => {
                let before = shared.view().seq;
                if let Err(error) = empty(shared).await {
                    warn_once(shared, before, &told(&error));
                    sleep(pauses.next()).await;
                }
                continue;
            }
            Ok(Caught::Filling(head)) => match filling(shared, head, &mut waiting).await {
                Some(wait) => Some(wait),
                None => continue,
            },
            Err(error) => {
                let (trouble, before) = (error.trouble(), shared.view().seq);
                let why = trouble.to_string();
                shared.with(|state| state.stale(trouble));
                warn_once(shared, before, &why);
                sleep(pauses.next()).await;
                continue;
            }
        };
        hint = match next_head(shared, &mut watch, wait).await {
            Ok(head) => {
                pauses.reset();
                head
            }
            Err(error) => {
                tracing::debug!(why = told(&error), "the watch broke");
                sleep(pauses.next()).await;
                None
            }
        };
    }
}

/// Warns of trouble when the view tells it for the first time; it is met again every few seconds.
fn warn_once(shared: &Shared, before: ViewSeq, why: &str) {
    if shared.view().seq > before {
        tracing::warn!(why, "the store cannot be followed");
    } else {
        tracing::debug!(why, "the store still cannot be followed");
    }
}

/// Waits for another head than the known one, at most for `most`. None means: read it.
async fn next_head(
    shared: &Shared,
    watch: &mut Watch,
    most: Option<Duration>,
) -> Result<Option<Option<HeadSeen>>, ReadError> {
    if let Some(most) = most {
        sleep(most.min(shared.client.timeouts().backoff_max)).await;
        return Ok(None);
    }
    match shared.with(|state| state.chain().and_then(|chain| chain.index)) {
        Some(index) => watch.wait_after(index),
        // The table stands where a peer said; the index of that, the next step tells.
        None => watch.reset(),
    }
    let entry = watch.step().await?;
    shared.head_of(entry).map(Some)
}

/// Goes on with a filling that still stands where it stood.
async fn go_on(shared: &Shared, at: At) -> Result<(), FillError> {
    let _turn = shared.turn.lock().await;
    match shared.catch_up(None).await? {
        Caught::Filling(head) if head.head.at() == at => shared.fill_on(head).await.map(drop),
        _ => Ok(()),
    }
}

async fn empty(shared: &Shared) -> Result<(), FillError> {
    let _turn = shared.turn.lock().await;
    // While the turn was waited for, a commit may have filled the store.
    let Caught::Empty(head) = shared.catch_up(None).await? else {
        return Ok(());
    };
    let filled = shared.fill_empty(head).await;
    if let Err(error @ (FillError::NotNow(_) | FillError::Unknown { .. } | FillError::Read(_))) =
        &filled
    {
        shared.with(|state| state.stale(error.trouble()));
    }
    filled.map(drop)
}

/// What to do about a filling that is not whole: none when it was gone on with, else how long to
/// wait at most.
async fn filling(shared: &Shared, head: HeadSeen, waiting: &mut Waiting) -> Option<Duration> {
    let at = head.head.at();
    let by = head.head.filling.as_ref().map(|filling| filling.by.clone());
    let takeover = shared.client.timeouts().fill_takeover;
    // One that holds a table goes first, as it may have more to put in.
    let patience = if shared.with(|state| state.chain().is_some()) {
        takeover
    } else {
        takeover * 3
    };
    let since = match *waiting {
        Some((known, since)) if known == at => since,
        _ => Instant::now(),
    };
    *waiting = Some((at, since));
    let left = patience.saturating_sub(since.elapsed());
    let mine = by.as_ref() == Some(&shared.instance);
    if !mine && !left.is_zero() {
        let by = by.map(|by| by.to_string()).unwrap_or_default();
        let why = format!("the store is being filled again by {by}");
        shared.with(|state| state.stale(StoreTrouble::Unavailable(why)));
        return Some(left);
    }
    if let Err(error) = go_on(shared, at).await {
        tracing::warn!(why = told(&error), "a filling was not gone on with");
        return Some(shared.client.timeouts().backoff_min);
    }
    None
}
