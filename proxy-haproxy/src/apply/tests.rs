use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::*;
use crate::runtime::RuntimeError;

/// Answers as told, then with success.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<ReloadError>>,
    reloads: Mutex<usize>,
    takes_maps: Mutex<bool>,
    map: Mutex<String>,
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

    async fn change_map(&self, name: &str, old: &str, new: &str) -> Result<(), RuntimeError> {
        if !*self.takes_maps.lock().unwrap() {
            return Err(RuntimeError::Unsupported);
        }
        *self.map.lock().unwrap() = format!("{name}: {old}to {new}");
        Ok(())
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
        let is_refusal = matches!(error, ReloadError::Refused { .. });
        reload.answers.lock().unwrap().push_back(error);
        let error = applier.apply(&config("b")).await.unwrap_err();
        assert_eq!(error.serving(), serving);
        assert_eq!(error.is_refusal(), is_refusal);
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

fn mapped(main: &str, map: &str) -> RenderedConfig {
    config(main).with_map(map.to_owned())
}

#[tokio::test]
async fn a_map_alone_needs_no_reload() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    applier.apply(&mapped("a", "1\n")).await.unwrap();
    *reload.takes_maps.lock().unwrap() = true;

    assert_eq!(applier.step_to(&mapped("a", "2\n")), ApplyStep::Runtime);
    let applied = applier.apply(&mapped("a", "2\n")).await.unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    assert_eq!(*reload.map.lock().unwrap(), "routing.map: 1\nto 2\n");
    assert_eq!(applier.step_to(&mapped("a", "2\n")), ApplyStep::None);
    let map = root.path().join("current/routing.map");
    assert_eq!(std::fs::read_to_string(map).unwrap(), "2\n");

    for other in [mapped("b", "2\n"), config("a")] {
        assert_eq!(applier.step_to(&other), ApplyStep::Reload);
        let applied = applier.apply(&other).await.unwrap();
        assert!(matches!(applied, Applied::Loaded { .. }), "{applied:?}");
    }
    let applied = applier.apply(&mapped("a", "3\n")).await.unwrap();
    assert!(
        matches!(applied, Applied::Loaded { .. }),
        "there was no map"
    );
    assert_eq!(*reload.reloads.lock().unwrap(), 4);
}

#[tokio::test]
async fn a_map_that_is_not_taken_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, _) = applier(root.path(), vec![]);
    applier.apply(&mapped("a", "1\n")).await.unwrap();
    let applied = applier.apply(&mapped("a", "2\n")).await.unwrap();
    assert!(matches!(applied, Applied::Loaded { .. }), "{applied:?}");
    assert_eq!(applier.running(), Some(mapped("a", "2\n").digest()));
}

#[tokio::test]
async fn what_runs_is_learnt_from_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let (mut before, _) = applier(root.path(), vec![]);
    before.apply(&mapped("a", "1\n")).await.unwrap();
    drop(before);

    for (running, reloads) in [(mapped("a", "1\n"), 0), (mapped("a", "0\n"), 1)] {
        let (applier, reload) = self::applier(root.path(), vec![]);
        *reload.takes_maps.lock().unwrap() = true;
        let mut applier = applier.with_running(running.digest());
        assert_eq!(applier.step_to(&mapped("a", "2\n")), ApplyStep::Reload);
        applier.apply(&mapped("a", "2\n")).await.unwrap();
        assert_eq!(*reload.reloads.lock().unwrap(), reloads);
        let (step, map) = (ApplyStep::Runtime, mapped("a", "3\n"));
        assert_eq!(applier.with_running_config(running).step_to(&map), step);
        let (mut back, _) = self::applier(root.path(), vec![]);
        back.apply(&mapped("a", "1\n")).await.unwrap();
    }
}
