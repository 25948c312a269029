use std::{collections::BTreeMap, fs};

use proxy_core::{CommitId, Epoch, RecordedChange};

use super::*;

fn record(number: u64, name: &str) -> CommitRecord {
    let text = format!(
        r#"{{"version":1,"name":"{name}","destinations":[{{"port":80,"paths":[{{"kind":"path_beg","text":"/"}}]}}]}}"#
    );
    let document = Arc::new(Document::parse(text.as_bytes()).unwrap());
    let revision = Revision::new(
        Epoch::from_bytes([1; 16]),
        number,
        CommitId::from_bytes(u128::from(number).to_be_bytes()),
    );
    let services = BTreeMap::from([(
        name.parse().unwrap(),
        RecordedChange::new(None, Some(document)),
    )]);
    let previous = (number > 1).then(|| CommitId::from_bytes(u128::from(number - 1).to_be_bytes()));
    CommitRecord::new(revision, previous, "me".parse().unwrap(), 0, services)
}

fn names(stored: &StoredTable) -> Vec<String> {
    stored
        .table()
        .iter()
        .map(|s| s.name().to_string())
        .collect()
}

#[test]
fn what_was_appended_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, revision, _) = TableJournal::open(folder.path(), "t").unwrap();
    assert_eq!(revision, None);
    journal.append(&record(1, "a")).unwrap();
    journal.append(&record(2, "b")).unwrap();
    drop(journal);
    let (_, revision, stored) = TableJournal::open(folder.path(), "t").unwrap();
    assert_eq!(revision.unwrap().number, 2);
    assert_eq!(names(&stored), ["a", "b"]);
}

#[test]
fn a_torn_last_line_is_dropped_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _, _) = TableJournal::open(folder.path(), "t").unwrap();
    journal.append(&record(1, "a")).unwrap();
    let whole = fs::metadata(folder.path().join("t.log")).unwrap().len();
    journal.append(&record(2, "b")).unwrap();
    let path = folder.path().join("t.log");
    let text = fs::read(&path).unwrap();
    for cut in usize::try_from(whole).unwrap()..text.len() {
        fs::write(&path, &text[..cut]).unwrap();
        let (mut journal, revision, stored) = TableJournal::open(folder.path(), "t").unwrap();
        assert_eq!(
            (revision.unwrap().number, names(&stored)),
            (1, vec!["a".to_owned()])
        );
        journal.append(&record(2, "c")).unwrap();
        drop(journal);
        let (_, _, stored) = TableJournal::open(folder.path(), "t").unwrap();
        assert_eq!(names(&stored), ["a", "c"]);
    }
}

#[test]
fn a_crash_between_the_base_and_the_log_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _, _) = TableJournal::open(folder.path(), "t").unwrap();
    journal.append(&record(1, "a")).unwrap();
    let log = fs::read(folder.path().join("t.log")).unwrap();
    let mut stored = StoredTable::default();
    stored.apply(&record(1, "a"));
    stored.apply(&record(2, "b"));
    stored.remove(&"a".parse().unwrap());
    journal
        .rewrite(Some(record(2, "b").revision), &stored)
        .unwrap();
    fs::write(folder.path().join("t.log"), log).unwrap();
    let (_, revision, stored) = TableJournal::open(folder.path(), "t").unwrap();
    assert_eq!(
        (revision.unwrap().number, names(&stored)),
        (2, vec!["b".to_owned()])
    );
}

#[test]
fn a_crash_while_another_history_takes_over_resurrects_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _, _) = TableJournal::open(folder.path(), "t").unwrap();
    for number in 1..=5 {
        journal.append(&record(number, "old")).unwrap();
    }
    let log = fs::read(folder.path().join("t.log")).unwrap();
    let mut stored = StoredTable::default();
    stored.apply(&record(2, "restored"));
    // The store was restored to an older state: the base is, and the log was not emptied yet.
    let restored = Revision::new(Epoch::from_bytes([1; 16]), 2, CommitId::from_bytes([7; 16]));
    journal.rewrite(Some(restored), &stored).unwrap();
    fs::write(folder.path().join("t.log"), log).unwrap();
    let (_, revision, stored) = TableJournal::open(folder.path(), "t").unwrap();
    assert_eq!(
        (revision, names(&stored)),
        (Some(restored), vec!["restored".to_owned()])
    );
}

#[test]
fn corruption_is_an_error_and_not_a_shorter_history() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _, _) = TableJournal::open(folder.path(), "t").unwrap();
    journal.append(&record(1, "a")).unwrap();
    journal.append(&record(2, "b")).unwrap();
    let path = folder.path().join("t.log");
    let mut text = fs::read(&path).unwrap();
    text[3] = b'#';
    fs::write(&path, text).unwrap();
    assert!(matches!(
        TableJournal::open(folder.path(), "t"),
        Err(JournalError::Corrupt { .. })
    ));
    fs::write(folder.path().join("n.base"), r#"{"format":99,"x":1}"#).unwrap();
    assert!(matches!(
        TableJournal::open(folder.path(), "n"),
        Err(JournalError::Newer { format: 99, .. })
    ));
}
