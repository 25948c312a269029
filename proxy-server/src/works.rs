//! Work that a call begins and that goes on where its caller hangs up: half of it done would be worse than
//! all or nothing.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// Pieces of work at once. One more is refused at once: a caller that is told "busy" can try again.
const MOST_WORKS: usize = 128;

/// Owns such work. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Works {
    tasks: TaskTracker,
    places: Arc<Semaphore>,
}

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("too much of this is being done already; nothing was changed; try again")]
    Busy,
    #[error(
        "a bug in the proxy ended this call; whether it changed something is not known: see status"
    )]
    Broken,
}

// === impl Works ===

impl Default for Works {
    fn default() -> Self {
        Self {
            tasks: TaskTracker::new(),
            places: Arc::new(Semaphore::new(MOST_WORKS)),
        }
    }
}

impl Works {
    /// Does some work, and gives what came of it to whoever still waits.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, WorkError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| WorkError::Busy)?;
        let task = self.tasks.spawn(async move {
            let _place = place;
            work.await
        });
        task.await.map_err(|_| WorkError::Broken)
    }

    /// Waits until all of it is done.
    pub(crate) async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_hangs_up_ends_nothing_and_the_end_waits_for_it() {
        let works = Works::default();
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut call = Box::pin(works.run(async move {
            let _ = gone.await;
            let _ = done.send(());
        }));
        assert!(futures_util::poll!(&mut call).is_pending());
        drop(call);
        let mut end = Box::pin(works.end());
        assert!(futures_util::poll!(&mut end).is_pending(), "it is not done");
        go.send(()).unwrap();
        end.await;
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn there_is_a_bound_and_places_come_back() {
        let works = Works::default();
        let (go, _) = tokio::sync::broadcast::channel::<()>(1);
        let mut calls = Vec::new();
        for _ in 0..MOST_WORKS {
            let mut wait = go.subscribe();
            let mut call = Box::pin(works.run(async move { wait.recv().await.is_ok() }));
            assert!(futures_util::poll!(&mut call).is_pending());
            calls.push(call);
        }
        assert_eq!(works.run(async {}).await, Err(WorkError::Busy));
        go.send(()).unwrap();
        for call in calls {
            assert_eq!(call.await, Ok(true));
        }
        assert_eq!(works.run(async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_panics_is_told() {
        let works = Works::default();
        let broken = works.run(async { panic!("as a test wants it") }).await;
        assert_eq!(broken, Err::<(), _>(WorkError::Broken));
    }
}
