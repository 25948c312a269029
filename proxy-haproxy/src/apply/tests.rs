use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::*;
use crate::runtime::RuntimeError;

/// What HAProxy can be told while it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Takes {
    #[default]
    Nothing,
    Servers,
    All,
}

/// Answers as told, then with success.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<ReloadError>>,
    reloads: Mutex<usize>,
    takes: Mutex<Takes>,
    told: Mutex<Vec<String>>,
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
        if *self.takes.lock().unwrap() != Takes::All {
            return Err(RuntimeError::Unsupported);
        }
        let mut told = self.told.lock().unwrap();
        told.push(format!("{name}: {old}to {new}"));
        Ok(())
    }

    async fn change_servers(&self, changes: &[ServerChange]) -> Result<(), RuntimeError> {
        if *self.takes.lock().unwrap() == Takes::Nothing {
            return Err(RuntimeError::Unsupported);
        }
        let mut told = self.told.lock().unwrap();
        told.extend(
            changes
                .iter()
                .map(|step| format!("{step} to {}", step.to.address)),
        );
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

#[tokio::test]
async fn what_somebody_wrote_and_haproxy_does_not_load_is_written_over() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    applier.apply(&config("a")).await.unwrap();
    let file = root.path().join("haproxy.cfg");
    std::fs::write(&file, "nonsense\n").unwrap();
    let refused = ReloadError::Refused { detail: None };
    reload.answers.lock().unwrap().push_back(refused);
    let error = applier.reload_again().await.unwrap_err();
    assert!(matches!(error, ApplyError::Reload(_)), "{error:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\n");
    assert_eq!(applier.running(), Some(config("a").digest()));

    std::fs::remove_file(root.path().join("current/haproxy.cfg")).unwrap();
    applier.reload_again().await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\n");
}

#[tokio::test]
async fn what_is_served_is_put_back_where_something_else_stands() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    assert_eq!(applier.put_back().await.unwrap(), None);
    applier.apply(&mapped("a", "x 1")).await.unwrap();
    assert_eq!(applier.put_back().await.unwrap(), None);

    let folder = root.path().join("current");
    std::fs::remove_file(folder.join(MAP_FILE)).unwrap();
    assert!(applier.put_back().await.unwrap().is_some());
    assert!(folder.join(MAP_FILE).exists());
    // All of it, with the folder itself.
    std::fs::remove_dir_all(root.path()).unwrap();
    assert!(applier.put_back().await.unwrap().is_some());
    let text = std::fs::read_to_string(root.path().join("haproxy.cfg")).unwrap();
    assert_eq!(text, "a\n");
    assert_eq!(applier.put_back().await.unwrap(), None);
    assert_eq!(*reload.reloads.lock().unwrap(), 1);
}

fn mapped(main: &str, map: &str) -> RenderedConfig {
    config(main).with_map(map.to_owned())
}

#[tokio::test]
async fn a_map_alone_needs_no_reload() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    applier.apply(&mapped("a", "1\n")).await.unwrap();
    *reload.takes.lock().unwrap() = Takes::All;

    assert_eq!(applier.step_to(&mapped("a", "2\n")), ApplyStep::Runtime);
    let applied = applier.apply(&mapped("a", "2\n")).await.unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    assert_eq!(*reload.told.lock().unwrap(), ["routing.map: 1\nto 2\n"]);
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

fn at(address: &str, map: &str) -> RenderedConfig {
    mapped(&format!("backend b\n    server s {address}:80"), map)
}

#[tokio::test]
async fn a_server_that_moved_needs_no_reload() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    applier.apply(&at("10.0.0.1", "1\n")).await.unwrap();
    *reload.takes.lock().unwrap() = Takes::All;

    let moved = "the server b/s to 10.0.0.2:80".to_owned();
    let back = "the server b/s to 10.0.0.1:80".to_owned();
    let map = "routing.map: 1\nto 2\n".to_owned();
    for (next, told) in [
        (at("10.0.0.2", "1\n"), vec![moved]),
        (at("10.0.0.1", "2\n"), vec![back, map]),
    ] {
        assert_eq!(applier.step_to(&next), ApplyStep::Runtime);
        let applied = applier.apply(&next).await.unwrap();
        assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
        assert_eq!(std::mem::take(&mut *reload.told.lock().unwrap()), told);
        assert_eq!(applier.running(), Some(next.digest()));
        let text = applier.active_text().await.unwrap();
        assert_eq!(text.as_deref(), Some(next.main_text()), "on disk");
    }
    // Its options are not ours: HAProxy is to judge it first.
    let foreign = |address: &str| at(&format!("{address}:80 check port 81 #"), "2\n");
    applier.apply(&foreign("10.0.0.1")).await.unwrap();
    let step = applier.step_to(&foreign("10.0.0.2"));
    assert_eq!(step, ApplyStep::RuntimeIfValid);
    applier.apply(&at("10.0.0.1", "2\n")).await.unwrap();
    // Another file that differs, or one that comes.
    for (name, step) in [
        ("routing.map", ApplyStep::Runtime),
        ("x.lst", ApplyStep::Reload),
    ] {
        let other = at("10.0.0.2", "2\n").with_file(name.parse().unwrap(), "x\n");
        assert_eq!(applier.step_to(&other), step, "{name}");
    }
    assert_eq!(*reload.reloads.lock().unwrap(), 3);
}

#[tokio::test]
async fn what_is_told_in_part_is_loaded_whole() {
    let root = tempfile::tempdir().unwrap();
    let (mut applier, reload) = applier(root.path(), vec![]);
    applier.apply(&at("10.0.0.1", "1\n")).await.unwrap();
    *reload.takes.lock().unwrap() = Takes::Servers;
    let next = at("10.0.0.2", "2\n");
    let applied = applier.apply(&next).await.unwrap();
    assert!(matches!(applied, Applied::Loaded { .. }), "{applied:?}");
    assert_eq!(reload.told.lock().unwrap().len(), 1);
    assert_eq!(applier.running(), Some(next.digest()));

    // And where the reload fails after that, what is served is not known.
    let refused = ReloadError::Refused { detail: None };
    reload.answers.lock().unwrap().push_back(refused);
    applier.apply(&at("10.0.0.1", "3\n")).await.unwrap_err();
    assert_eq!(applier.running(), None);
}

#[tokio::test]
async fn what_runs_is_learnt_from_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let (mut before, _) = applier(root.path(), vec![]);
    before.apply(&mapped("a", "1\n")).await.unwrap();
    drop(before);

    for (running, reloads) in [(mapped("a", "1\n"), 0), (mapped("a", "0\n"), 1)] {
        let (applier, reload) = self::applier(root.path(), vec![]);
        *reload.takes.lock().unwrap() = Takes::All;
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
