use std::{fs::File, io::Write as _, os::unix::fs::MetadataExt as _};

use super::*;

fn config(text: &str) -> RenderedConfig {
    RenderedConfig::new(text).with_file("routing.map".parse().unwrap(), format!("map of {text}"))
}

fn apply(dir: &mut ConfigDir, text: &str) -> Result<Active, ConfigDirError> {
    let staged = dir.stage(&config(text))?;
    dir.activate(staged)
}

fn folders(root: &Path) -> usize {
    list(&root.join(GENERATIONS)).unwrap().len()
}

#[test]
fn a_configuration_becomes_current_and_the_one_before_can_come_back() {
    let root = tempfile::tempdir().unwrap();
    let mut dir = ConfigDir::open(root.path()).unwrap();
    assert_eq!(dir.active().unwrap(), None);
    assert!(matches!(
        dir.restore_previous(),
        Err(ConfigDirError::NoPrevious(_))
    ));

    let first = apply(&mut dir, "one").unwrap();
    apply(&mut dir, "two").unwrap();
    let linked = fs::read_to_string(root.path().join(MAIN_FILE)).unwrap();
    assert_eq!(linked, "two\n");
    assert_eq!(fs::read_to_string(dir.main_path()).unwrap(), "two\n");
    assert_eq!(
        dir.active().unwrap().unwrap().digest,
        config("two").digest()
    );

    assert_eq!(dir.restore_previous().unwrap(), first);
    assert_eq!(dir.active_text().unwrap().as_deref(), Some("one\n"));
    let map = dir.main_path().with_file_name("routing.map");
    assert_eq!(fs::read_to_string(map).unwrap(), "map of one");
}

/// A file of the current generation. While it is open no other one can have its inode.
fn opened(dir: &ConfigDir, name: &str) -> File {
    File::open(dir.main_path().with_file_name(name)).unwrap()
}

/// Whether a file of the current generation is still this one.
fn is_still(dir: &ConfigDir, name: &str, file: &File) -> bool {
    let inode = |file: &File| file.metadata().unwrap().ino();
    inode(&opened(dir, name)) == inode(file)
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let root = tempfile::tempdir().unwrap();
    let mut dir = ConfigDir::open(root.path()).unwrap();
    let with_map = |map: &str| config("one").with_file("routing.map".parse().unwrap(), map);
    let apply = |dir: &mut ConfigDir, map: &str| {
        let staged = dir.stage(&with_map(map)).unwrap();
        dir.activate(staged).unwrap();
        assert_eq!(dir.active_config().unwrap(), Some(with_map(map)));
    };
    apply(&mut dir, "1");
    let (main, map) = (opened(&dir, MAIN_FILE), opened(&dir, "routing.map"));
    apply(&mut dir, "2");
    assert!(is_still(&dir, MAIN_FILE, &main));
    assert!(!is_still(&dir, "routing.map", &map));
    // A candidate that came to nothing changes nothing.
    drop(dir.stage(&config("other")).unwrap());
    for map in 3..10 {
        apply(&mut dir, &map.to_string());
        let is_still = is_still(&dir, MAIN_FILE, &main);
        assert!(is_still, "when the first one is long gone");
    }

    // Somebody writes into the file: what is wanted is written, and theirs goes.
    let mut file = File::options().append(true).open(dir.main_path()).unwrap();
    file.write_all(b"# mine\n").unwrap();
    apply(&mut dir, "10");
    assert!(!is_still(&dir, MAIN_FILE, &main));
    let main = opened(&dir, MAIN_FILE);
    fs::remove_file(dir.main_path()).unwrap();
    fs::write(dir.main_path(), "one\n").unwrap();
    let theirs = opened(&dir, MAIN_FILE);
    apply(&mut dir, "11");
    assert!(!is_still(&dir, MAIN_FILE, &main));
    assert!(!is_still(&dir, MAIN_FILE, &theirs));

    dir.restore_previous().unwrap();
    assert_eq!(dir.active_config().unwrap(), Some(with_map("10")));
    apply(&mut dir, "12");
}

#[test]
fn what_is_not_accepted_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = ConfigDir::open(root.path()).unwrap();
    let staged = dir.stage(&config("one")).unwrap();
    assert_eq!(fs::read_to_string(staged.main_path()).unwrap(), "one\n");
    assert_eq!(staged.digest(), config("one").digest());
    drop(staged);
    assert_eq!(folders(root.path()), 0);
}

#[test]
fn old_generations_go() {
    let root = tempfile::tempdir().unwrap();
    let mut dir = ConfigDir::open(root.path()).unwrap();
    for number in 0..10 {
        apply(&mut dir, &number.to_string()).unwrap();
    }
    assert_eq!(folders(root.path()), DEFAULT_KEPT_GENERATIONS);
    dir.restore_previous().unwrap();
    assert_eq!(dir.active_text().unwrap().as_deref(), Some("8\n"));
    apply(&mut dir, "ten").unwrap();
    dir.restore_previous().unwrap();
    assert_eq!(dir.active_text().unwrap().as_deref(), Some("8\n"));
}

#[test]
fn one_process_writes() {
    let root = tempfile::tempdir().unwrap();
    let _dir = ConfigDir::open(root.path()).unwrap();
    assert!(matches!(
        ConfigDir::open(root.path()),
        Err(ConfigDirError::Lock(_))
    ));
}

#[test]
fn a_file_of_someone_else_is_kept() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(MAIN_FILE), "mine").unwrap();
    let mut dir = ConfigDir::open(root.path()).unwrap();
    apply(&mut dir, "one").unwrap();
    assert_eq!(
        fs::read_to_string(root.path().join(MAIN_FILE)).unwrap(),
        "one\n"
    );
    let found = fs::read_to_string(root.path().join("haproxy.cfg.found")).unwrap();
    assert_eq!(found, "mine");
}

/// A crash between any two steps leaves the old configuration or the new one, whole, and the folder
/// usable.
#[test]
fn a_crash_at_any_step_leaves_one_whole_configuration() {
    for step in [Step::Noted, Step::Renamed, Step::Linked, Step::Switched] {
        let root = tempfile::tempdir().unwrap();
        let mut dir = ConfigDir::open(root.path()).unwrap();
        apply(&mut dir, "zero").unwrap();
        apply(&mut dir, "one").unwrap();
        dir.crash_at = Some(step);
        apply(&mut dir, "two").unwrap_err();
        drop(dir);

        let mut dir = ConfigDir::open(root.path()).unwrap();
        let (now, before) = match step {
            Step::Switched => ("two", "one"),
            _ => ("one", "zero"),
        };
        assert_eq!(
            dir.active().unwrap().unwrap().digest,
            config(now).digest(),
            "{step:?}"
        );
        dir.restore_previous().unwrap();
        assert_eq!(
            dir.active().unwrap().unwrap().digest,
            config(before).digest(),
            "{step:?}"
        );
        apply(&mut dir, "three").unwrap();
        assert_eq!(
            dir.active_text().unwrap().as_deref(),
            Some("three\n"),
            "{step:?}"
        );
        assert!(folders(root.path()) <= DEFAULT_KEPT_GENERATIONS, "{step:?}");
    }
}

/// A crash while the link goes back leaves one of the two.
#[test]
fn a_crash_while_restoring_leaves_one_whole_configuration() {
    for (step, text) in [(Step::Linked, "two\n"), (Step::Switched, "one\n")] {
        let root = tempfile::tempdir().unwrap();
        let mut dir = ConfigDir::open(root.path()).unwrap();
        apply(&mut dir, "one").unwrap();
        apply(&mut dir, "two").unwrap();
        dir.crash_at = Some(step);
        dir.restore_previous().unwrap_err();
        drop(dir);
        let dir = ConfigDir::open(root.path()).unwrap();
        assert_eq!(dir.active_text().unwrap().as_deref(), Some(text));
    }
}

#[test]
fn what_a_killed_process_staged_goes_at_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let mut dir = ConfigDir::open(root.path()).unwrap();
    apply(&mut dir, "one").unwrap();
    let left = dir.stage(&config("two")).unwrap().folder.keep();
    drop(dir);
    let dir = ConfigDir::open(root.path()).unwrap();
    assert!(!left.exists());
    assert_eq!(dir.active_text().unwrap().as_deref(), Some("one\n"));
}
