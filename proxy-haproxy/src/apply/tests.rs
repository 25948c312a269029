use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::*;

/// Answers as told, then with success.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<ReloadError>>,
    reloads: Mutex<usize>,
}

#[async_trait]
impl Reload for Scripted {
    async fn reload(&self) -> Result<Reloaded, ReloadError> {
        *self.reloads.lock().unwrap() += 1;
        match self.answers.lock().unwrap().pop_front() {
            Some(error) => Err(error),
            None => Ok(Reloaded {
                master_pid: 1,
                worker_pid: 2,
                old_workers: 0,
                took: Duration::ZERO,
            }),
        }
    }
}

fn applier(
    root: &std::path::Path,
    answers: Vec<ReloadError>,
) -> (Applier<Arc<Scripted>>, Arc<Scripted>) {
    let reload = Arc::new(Scripted {
        answers: Mutex::new(answers.into()),
        ..Scripted::default()
    });
    (
        Applier::new(ConfigDir::open(root).unwrap(), Arc::clone(&reload)),
        reload,
    )
}

fn config(text: &str) -> RenderedConfig {
    RenderedConfig::new(text)
}

#[tokio::test]
async fn what_is_served_is_not_loaded_again() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    assert!(matches!(
        applier.apply(&config("a")).await.unwrap(),
        Applied::Loaded { .. }
    ));
    assert!(matches!(
        applier.apply(&config("a")).await.unwrap(),
        Applied::Unchanged { .. }
    ));
    assert!(matches!(
        applier.apply(&config("b")).await.unwrap(),
        Applied::Loaded { .. }
    ));
    assert_eq!(*reload.reloads.lock().unwrap(), 2);
    assert_eq!(applier.running(), Some(config("b").digest()));
}

#[tokio::test]
async fn what_was_on_disk_comes_back_when_the_new_is_not_loaded() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    applier.apply(&config("a")).await.unwrap();

    let refused = ReloadError::Refused { detail: None };
    let unknown = ReloadError::Unconfirmed {
        waited: Duration::ZERO,
    };
    for (error, running) in [(refused, Some(config("a").digest())), (unknown, None)] {
        let serving = error.serving();
        reload.answers.lock().unwrap().push_back(error);
        let error = applier.apply(&config("b")).await.unwrap_err();
        assert_eq!(error.serving(), serving);
        assert_eq!(applier.active_text().await.unwrap().as_deref(), Some("a\n"));
        assert_eq!(applier.running(), running);
    }
    // What runs is not known, so the same text is loaded again.
    assert!(matches!(
        applier.apply(&config("a")).await.unwrap(),
        Applied::Loaded { .. }
    ));
}

#[tokio::test]
async fn the_first_configuration_has_nothing_to_go_back_to() {
    let root = tempfile::tempdir().unwrap();
    let refused = ReloadError::Refused { detail: None };
    let (mut applier, _) = applier(root.path(), vec![refused]);
    let error = applier.apply(&config("a")).await.unwrap_err();
    assert!(matches!(error, ApplyError::Reload(_)));
    assert_eq!(applier.running(), None);
}

#[tokio::test]
async fn what_is_on_disk_can_be_loaded_again() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    applier.apply(&config("a")).await.unwrap();
    applier.reload_again().await.unwrap();
    assert_eq!(*reload.reloads.lock().unwrap(), 2);
    assert_eq!(applier.running(), Some(config("a").digest()));
}
