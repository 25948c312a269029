use std::os::unix::fs::symlink;

use testkit::tls::Authority;

use super::*;

/// The files by name, and whether each was read anew.
fn named(listed: &[Listed]) -> Vec<(&str, bool)> {
    let named = listed.iter();
    named
        .map(|one| (file_name(&one.path), one.read.is_some()))
        .collect()
}

fn known(listed: &[Listed]) -> BTreeMap<PathBuf, Identity> {
    let known = listed.iter();
    known.map(|one| (one.path.clone(), one.identity)).collect()
}

fn bundle() -> String {
    let issued = Authority::new("a").unwrap().issue(&["a.com"]).unwrap();
    issued.bundle()
}

#[test]
fn what_the_system_would_not_read_is_read_again_and_what_is_bad_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("bad"), "no certificate").unwrap();
    fs::write(path("good"), bundle()).unwrap();
    // A file by its kind, whose first bytes nobody can read.
    symlink("/proc/self/mem", path("unread")).unwrap();
    let paths = ["bad", "good", "unread"].map(path);
    let look = |known: &BTreeMap<_, _>| {
        let (listed, refused) = look_at(paths.to_vec(), known, BTreeMap::new());
        assert_eq!(refused, BTreeMap::new());
        listed
    };
    let first = look(&BTreeMap::new());
    assert_eq!(
        named(&first),
        [("bad", true), ("good", true), ("unread", true)]
    );
    let why = |one: &Listed| one.read.clone().unwrap().map(|_| ()).unwrap_err();
    assert!(
        why(&first[2]).contains("it cannot be read"),
        "{}",
        why(&first[2])
    );
    assert!(
        !why(&first[0]).contains("it cannot be read"),
        "{}",
        why(&first[0])
    );
    let again = look(&known(&first));
    assert_eq!(
        named(&again),
        [("bad", false), ("good", false), ("unread", true)]
    );
}

#[test]
fn an_empty_folder_in_the_place_of_one_that_is_not_mounted_takes_nothing_away() {
    let root = tempfile::tempdir().unwrap();
    let (folder, away) = (root.path().join("certs"), root.path().join("away"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.pem"), bundle()).unwrap();
    let folders = [(folder.clone(), Which::All)];
    let mut places = Folders::new();
    let (first, refused) = list(&folders, &BTreeMap::new(), &mut places);
    assert_eq!((named(&first), refused.len()), (vec![("a.pem", true)], 0));
    let known = known(&first);

    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    for _ in 0..2 {
        let (listed, refused) = list(&folders, &known, &mut places);
        assert_eq!(named(&listed), [("a.pem", false)]);
        let why = &refused[&folder.display().to_string()];
        assert!(why.contains("not mounted"), "{why}");
    }
    // It is there again.
    fs::remove_dir(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    let (listed, refused) = list(&folders, &known, &mut places);
    assert_eq!((named(&listed), refused.len()), (vec![("a.pem", false)], 0));
    // Somebody takes the files away.
    fs::remove_file(folder.join("a.pem")).unwrap();
    let (listed, refused) = list(&folders, &known, &mut places);
    assert_eq!((named(&listed), refused.len()), (vec![], 0));
}
