use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::Arc,
    time::Duration,
};

use proxy_haproxy::{CertificateProbe, TlsSettings, Validator};
use testkit::tls::Authority;

use super::{look::*, *};
use crate::certificates::CertificatesSettings;

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
        let (listed, refused) = look_at(&paths, known, BTreeMap::new());
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
    let mut place = None;
    let mut look = |known: &Known| {
        let seen = look_into(&folder, Which::All, known, place);
        place = seen.place;
        seen.found
    };
    let (first, refused) = look(&Known::new());
    assert_eq!((named(&first), refused.len()), (vec![("a.pem", true)], 0));
    let known = known(&first);

    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    for _ in 0..2 {
        let (listed, refused) = look(&known);
        assert_eq!(named(&listed), [("a.pem", false)]);
        let why = &refused[&folder.display().to_string()];
        assert!(why.contains("not mounted"), "{why}");
    }
    // It is there again.
    fs::remove_dir(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    let (listed, refused) = look(&known);
    assert_eq!((named(&listed), refused.len()), (vec![("a.pem", false)], 0));
    // Somebody takes the files away.
    fs::remove_file(folder.join("a.pem")).unwrap();
    let (listed, refused) = look(&known);
    assert_eq!((named(&listed), refused.len()), (vec![], 0));
}

/// Folders of certificates, and what a replica of whose HAProxy takes all makes of them.
struct Home(tempfile::TempDir);

const HUNG: Duration = Duration::from_millis(50);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for folder in ["certs", "secrets", "cfg/current"] {
            fs::create_dir_all(home.path(folder)).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn replica(&self, crt_list: Option<PathBuf>) -> Arc<Certificates> {
        self.replica_with("true", crt_list)
    }

    fn replica_with(&self, haproxy: &str, crt_list: Option<PathBuf>) -> Arc<Certificates> {
        let validator = Validator::new(haproxy);
        let probe = CertificateProbe::new(validator, TlsSettings::default(), self.path(""));
        let settings = CertificatesSettings {
            certs_path: self.path("certs"),
            secrets_path: self.path("secrets"),
            state_path: self.path(""),
            configs_path: self.path("cfg"),
            crt_list,
            preferred: Vec::new(),
            client_authorities: None,
        };
        Arc::new(Certificates::new(settings, probe, Arc::default()))
    }

    /// Puts a certificate there.
    fn write(&self, file: &str) -> Certificate {
        let text = bundle();
        // Another file in its place, as whoever renews does it.
        fs::write(self.path(".new"), &text).unwrap();
        fs::rename(self.path(".new"), self.path(file)).unwrap();
        Certificate::parse(&text).unwrap()
    }
}

fn shown(replica: &Certificates) -> Vec<(String, Certificate)> {
    replica.take_all();
    let shown = replica.shown().into_iter();
    shown
        .map(|one| (one.name.to_string(), one.certificate))
        .collect()
}

fn named_as(all: &[(&str, &Certificate)]) -> Vec<(String, Certificate)> {
    let all = all.iter();
    all.map(|(name, it)| ((*name).to_owned(), (*it).clone()))
        .collect()
}

/// Looks until what hung was read.
async fn until_read(replica: &Certificates) {
    let read = async {
        while !replica.refused().is_empty() {
            replica.scan().await;
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    read.unwrap_or_else(|_| panic!("{:?}", replica.refused()));
}

#[tokio::test]
async fn a_folder_that_does_not_answer_keeps_what_it_held_and_holds_up_no_other() {
    let home = Home::new();
    let a = home.write("certs/a.pem");
    home.write("secrets/cert-b");
    let replica = home.replica(None);
    replica.scan().await;
    let seen = look_into(&home.path("certs"), Which::All, &Known::new(), None);
    let (hung, answer) = RepeatedRead::hangs(HUNG);
    replica.scanned.lock().await.certs.reading = hung;
    let new = home.write("certs/a.pem");
    let b = home.write("secrets/cert-b");
    for _ in 0..2 {
        replica.scan().await;
        let expected = named_as(&[("a.pem", &a), ("cert-b", &b)]);
        assert_eq!(shown(&replica), expected);
        let refused = replica.refused();
        let why = &refused[&home.path("certs").display().to_string()];
        assert!(why.contains("did not answer in time"), "{why}");
        assert!(why.ends_with("what it held is shown on"), "{why}");
        assert_eq!(refused.len(), 1, "{refused:?}");
    }
    // What was read so late was begun before the file was another.
    answer.send(seen).unwrap();
    until_read(&replica).await;
    assert_eq!(shown(&replica)[0].1, new);
    fs::remove_file(home.path("certs/a.pem")).unwrap();
    replica.scan().await;
    assert_eq!(shown(&replica), named_as(&[("cert-b", &b)]));
}

#[tokio::test]
async fn what_was_shown_last_stands_in_for_a_folder_that_was_not_read_yet() {
    let home = Home::new();
    let b = home.write("secrets/cert-b");
    let a = home.write("cfg/current/cert-a.pem.pem");
    for other in ["cert-b", "gone", "removed"] {
        home.write(&format!("cfg/current/cert-{other}.pem"));
    }
    let begin = async || {
        let replica = home.replica(None);
        let removed = "removed".parse().unwrap();
        let me = "me".parse().unwrap();
        replica.keep(removed, None, &me).await.unwrap();
        replica.restore().await;
        replica
    };
    let names = |replica: &Certificates| {
        let shown = shown(replica).into_iter();
        shown.map(|(name, _)| name).collect::<Vec<_>>()
    };
    let replica = begin().await;
    let (hung, answer) = RepeatedRead::hangs(HUNG);
    replica.scanned.lock().await.certs.reading = hung;
    for _ in 0..2 {
        replica.scan().await;
        assert_eq!(names(&replica), ["a.pem", "cert-b", "gone"]);
        assert_eq!(shown(&replica)[0].1, a);
        assert_eq!(shown(&replica)[1].1, b, "the secrets were read");
    }
    let refused = replica.refused();
    assert_eq!(refused.len(), 3, "the folder and two names: {refused:?}");
    // Once it is read it counts.
    let a = home.write("certs/a.pem");
    let seen = look_into(&home.path("certs"), Which::All, &Known::new(), None);
    answer.send(seen).unwrap();
    until_read(&replica).await;
    let expected = named_as(&[("a.pem", &a), ("cert-b", &b)]);
    assert_eq!(shown(&replica), expected);

    // One that cannot be read is as one that does not answer.
    fs::remove_dir_all(home.path("secrets")).unwrap();
    fs::write(home.path("secrets"), "no folder").unwrap();
    let replica = begin().await;
    replica.scan().await;
    assert_eq!(names(&replica), ["a.pem", "cert-b"]);
    // One that is not there holds none.
    fs::remove_file(home.path("secrets")).unwrap();
    let replica = begin().await;
    replica.scan().await;
    assert_eq!(names(&replica), ["a.pem"]);
}

#[tokio::test]
async fn files_of_a_list_that_do_not_answer_are_shown_as_they_were() {
    let home = Home::new();
    let list = home.path("list");
    fs::write(&list, "a.pem\nb.pem").unwrap();
    let [a, _] = ["certs/a.pem", "certs/b.pem"].map(|file| home.write(file));
    let b = home.write("cfg/current/cert-b.pem.pem");
    let replica = home.replica(Some(list.clone()));
    replica.restore().await;
    let (hung, answer) = RepeatedRead::hangs(HUNG);
    replica.scanned.lock().await.named = hung;
    replica.scan().await;
    assert_eq!(shown(&replica), named_as(&[("b.pem", &b)]));
    let refused = replica.refused();
    assert_eq!(refused.len(), 3, "{refused:?}");
    // What was read meanwhile is of another list.
    let others = vec![home.path("certs/b.pem")];
    let listing = look_at(&others, &Known::new(), BTreeMap::new());
    answer.send((others, listing)).unwrap();
    fs::write(&list, "a.pem").unwrap();
    until_read(&replica).await;
    assert_eq!(shown(&replica), named_as(&[("a.pem", &a)]));

    let (hung, _answer) = RepeatedRead::hangs(HUNG);
    replica.scanned.lock().await.named = hung;
    home.write("certs/a.pem");
    replica.scan().await;
    assert_eq!(shown(&replica), named_as(&[("a.pem", &a)]));
}

#[tokio::test]
async fn a_folder_that_is_away_takes_nothing_away() {
    let home = Home::new();
    let a = home.write("certs/a.pem");
    let replica = home.replica(None);
    replica.scan().await;
    fs::rename(home.path("certs"), home.path("away")).unwrap();
    for _ in 0..2 {
        replica.scan().await;
        assert_eq!(shown(&replica), named_as(&[("a.pem", &a)]));
        let refused = replica.refused();
        assert!(refused.contains_key(&home.path("certs").display().to_string()));
    }
    fs::rename(home.path("away"), home.path("certs")).unwrap();
    replica.scan().await;
    assert_eq!(replica.refused(), BTreeMap::new());
}

#[tokio::test]
async fn both_folders_together_hold_the_most() {
    let home = Home::new();
    for number in 0..MAX_CERTIFICATES {
        for file in [format!("certs/{number}"), format!("secrets/cert-{number}")] {
            fs::write(home.path(&file), "no certificate").unwrap();
        }
    }
    let replica = home.replica(None);
    replica.scan().await;
    let refused = replica.refused();
    let said: Vec<_> = refused
        .iter()
        .filter(|(_, why)| why.contains("more than"))
        .collect();
    assert_eq!(
        (refused.len(), said.len()),
        (MAX_CERTIFICATES + 1, 1),
        "{said:?}"
    );
    assert!(
        said[0]
            .0
            .starts_with(&home.path("certs").display().to_string()),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_file_that_could_not_be_judged_is_judged_again() {
    let home = Home::new();
    let a = home.write("certs/a.pem");
    let haproxy = home.path("haproxy");
    let replica = home.replica_with(&haproxy.display().to_string(), None);
    replica.scan().await;
    assert_eq!((shown(&replica), replica.refused().len()), (vec![], 1));
    fs::write(&haproxy, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&haproxy, fs::Permissions::from_mode(0o755)).unwrap();
    replica.scan().await;
    assert_eq!(shown(&replica), named_as(&[("a.pem", &a)]));
}

#[tokio::test]
async fn a_look_that_is_broken_off_forgets_nothing() {
    let home = Home::new();
    let last = home.write("cfg/current/cert-a.pem.pem");
    let first = home.write("certs/a.pem");
    let haproxy = home.path("haproxy");
    let text = format!(
        "#!/bin/sh\ncd {}\ntouch begun\nwhile [ -e held ]; do sleep 0.01; done\n",
        home.path("").display()
    );
    fs::write(&haproxy, text).unwrap();
    fs::set_permissions(&haproxy, fs::Permissions::from_mode(0o755)).unwrap();
    let replica = home.replica_with(&haproxy.display().to_string(), None);
    replica.restore().await;
    // What the last run showed, and then what this one did.
    for expected in [last, first] {
        let _ = fs::remove_file(home.path("begun"));
        fs::write(home.path("held"), "").unwrap();
        let judging = async {
            while !home.path("begun").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = replica.scan() => panic!("nothing was judged"),
            judging = tokio::time::timeout(Duration::from_secs(20), judging) => judging.unwrap(),
        }
        fs::remove_file(home.path("held")).unwrap();

        let (hung, _answer) = RepeatedRead::hangs(HUNG);
        replica.scanned.lock().await.certs.reading = hung;
        replica.scan().await;
        assert_eq!(shown(&replica), named_as(&[("a.pem", &expected)]));
        replica.scanned.lock().await.certs.reading = RepeatedRead::default();
        replica.scan().await;
        assert_eq!(replica.refused(), BTreeMap::new());
        home.write("certs/a.pem");
    }
}
