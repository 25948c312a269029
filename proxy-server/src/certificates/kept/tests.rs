mod clocks;

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use proxy_core::InstanceId;
use proxy_haproxy::{TlsSettings, Validator};
use secrecy::ExposeSecret as _;
use testkit::tls::Authority;

use super::*;
use crate::{certificates::CertificatesSettings, store::JournalError};

/// The certificates of a replica whose HAProxy takes all (`true`) or none (`false`).
pub(crate) fn replica(state: &Path, haproxy: &str) -> Arc<Certificates> {
    let nowhere = state.join("nowhere");
    let probe = CertificateProbe::new(
        Validator::new(haproxy),
        TlsSettings::default(),
        state.to_owned(),
    );
    let settings = CertificatesSettings {
        certs_path: nowhere.clone(),
        secrets_path: nowhere,
        state_path: state.to_owned(),
        configs_path: state.join("cfg"),
        crt_list: None,
        preferred: Vec::new(),
        client_authorities: None,
    };
    Arc::new(Certificates::new(settings, probe, Arc::default()))
}

fn issued(name: &str) -> (Certificate, String) {
    let issued = Authority::new("a").unwrap().issue(&[name]).unwrap();
    let secret = issued.secret().to_owned();
    (Certificate::parse(&issued.bundle()).unwrap(), secret)
}

pub(crate) fn name(text: &str) -> CertificateName {
    text.parse().unwrap()
}

/// One hears what the other has and it lacks.
async fn hears(one: &Arc<Certificates>, other: &Certificates) -> usize {
    let (taken, unused) = one.hear(other.later_than(&one.stamps())).await;
    assert_eq!(unused, Vec::<String>::new());
    taken
}

fn shown(replica: &Certificates) -> Vec<(String, Certificate)> {
    replica.take_all();
    let shown = replica.shown().into_iter();
    shown
        .map(|one| (one.name.to_string(), one.certificate))
        .collect()
}

#[tokio::test]
async fn the_later_of_two_stays_and_what_was_removed_stays_away() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let [a, b] = [0, 1].map(|it: usize| replica(folders[it].path(), "true"));
    let [me, other]: [InstanceId; 2] = ["a".parse().unwrap(), "b".parse().unwrap()];
    let ((first, _), (second, secret)) = (issued("acme.com"), issued("acme.com"));
    a.keep(name("acme"), Some(first), &me).await.unwrap();
    let early = a.later_than(&BTreeMap::new());
    assert_eq!(hears(&b, &a).await, 1);
    assert_eq!(hears(&b, &a).await, 0, "it is known");
    b.keep(name("acme"), Some(second.clone()), &other)
        .await
        .unwrap();
    assert_eq!(hears(&a, &b).await, 1);
    assert_eq!(shown(&a), shown(&b));
    assert_eq!(shown(&a), [("acme".to_owned(), second)]);
    a.hear(early).await;
    assert_eq!(shown(&a), shown(&b), "what comes late changes nothing");

    // On disk for this user alone, and the same after a restart.
    let file = folders[0].path().join("certificates/acme.json");
    assert!(fs::read_to_string(&file).unwrap().contains(&secret));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
    let a = replica(folders[0].path(), "true");
    a.restore().await;
    assert_eq!(shown(&a), shown(&b));

    let with = a.later_than(&BTreeMap::new());
    b.keep(name("acme"), None, &other).await.unwrap();
    assert_eq!(hears(&a, &b).await, 1);
    a.hear(with).await;
    let a = replica(folders[0].path(), "true");
    a.restore().await;
    for replica in [&a, &b] {
        assert_eq!(shown(replica), [], "and its key is gone");
        assert!(!replica.is_kept(&name("acme")));
    }
    assert!(!fs::read_to_string(&file).unwrap().contains(&secret));
}

#[tokio::test]
async fn what_haproxy_does_not_show_is_not_kept_and_what_it_shows_no_more_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let me: InstanceId = "a".parse().unwrap();
    let (good, secret) = issued("acme.com");
    let strict = replica(folder.path(), "false");
    let refused = strict.check(&name("acme"), &good).await;
    let refusal = KeepError::Judged(JudgeError::Refused(String::new()));
    let Err(error) = refused else {
        panic!("it is taken")
    };
    assert_eq!(
        std::mem::discriminant(&error),
        std::mem::discriminant(&refusal)
    );
    let missing = replica(folder.path(), "/no/such/haproxy");
    let unable = missing.check(&name("acme"), &good).await;
    assert!(matches!(
        unable,
        Err(KeepError::Judged(JudgeError::Unable(_)))
    ));

    let easy = replica(folder.path(), "true");
    easy.keep(name("acme"), Some(good), &me).await.unwrap();
    let told = easy.later_than(&BTreeMap::new());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = replica(elsewhere.path(), "false");
    let (taken, unused) = other.hear(told).await;
    assert_eq!((taken, unused.len()), (0, 1));
    // A crash in the middle of a check leaves keys behind until the next start.
    let left = folder.path().join(".probe-x");
    fs::create_dir(&left).unwrap();
    let strict = replica(folder.path(), "false");
    strict.restore().await;
    assert!(!left.exists());
    assert_eq!(shown(&strict), []);
    assert!(strict.refused().contains_key("acme"));
    assert_eq!(
        strict.later_than(&BTreeMap::new()).len(),
        1,
        "others may show it"
    );
    assert!(!format!("{strict:?}").contains(&secret));
}

#[tokio::test]
async fn what_cannot_be_read_any_more_is_shown_as_it_was_last() {
    let folder = tempfile::tempdir().unwrap();
    let me: InstanceId = "a".parse().unwrap();
    let (good, _) = issued("acme.com");
    let before = replica(folder.path(), "true");
    for known in ["acme", "gone"] {
        let good = Some(good.clone());
        before.keep(name(known), good, &me).await.unwrap();
    }
    let live = folder.path().join("cfg/current");
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("cert-acme.pem"), good.pem().expose_secret()).unwrap();
    let state = folder.path().join("certificates");
    fs::write(state.join("acme.json"), "{").unwrap();
    fs::remove_file(state.join("gone.json")).unwrap();

    let again = replica(folder.path(), "true");
    again.restore().await;
    again.scan().await;
    assert_eq!(shown(&again), [("acme".to_owned(), good)]);
    let refused = again.refused();
    assert_eq!(refused.len(), 1, "{refused:?}");
    for (path, why) in refused {
        assert!(path.ends_with("acme.json"), "{path}");
        assert!(
            why.ends_with("is shown where no file has the name"),
            "{why}"
        );
    }
    assert!(
        again.later_than(&BTreeMap::new()).is_empty(),
        "it has no stamp"
    );
    assert!(again.is_kept(&name("acme")), "so it can be taken away");
    again.keep(name("acme"), None, &me).await.unwrap();
    assert_eq!(shown(&again), []);
    assert!(again.refused().is_empty() && !again.is_kept(&name("acme")));
}

#[tokio::test]
async fn a_file_counts_before_what_stands_in_for_a_certificate_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let me: InstanceId = "a".parse().unwrap();
    let ((file, _), (renewed, _)) = (issued("acme.com"), issued("acme.com"));
    let certs = folder.path().join("nowhere");
    fs::create_dir(&certs).unwrap();
    let write = |file: &Certificate| {
        // Another file in its place, as whoever renews does it.
        fs::write(certs.join(".new"), file.pem().expose_secret()).unwrap();
        fs::rename(certs.join(".new"), certs.join("acme")).unwrap();
    };
    write(&file);
    let before = replica(folder.path(), "true");
    before.keep(name("acme"), None, &me).await.unwrap();
    let live = folder.path().join("cfg/current");
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("cert-acme.pem"), file.pem().expose_secret()).unwrap();
    fs::write(folder.path().join("certificates/acme.json"), "{").unwrap();

    let again = replica(folder.path(), "true");
    again.restore().await;
    again.scan().await;
    assert_eq!(shown(&again), [("acme".to_owned(), file)]);
    write(&renewed);
    again.scan().await;
    assert_eq!(shown(&again), [("acme".to_owned(), renewed)]);
}

#[tokio::test]
async fn what_was_shown_last_stands_in_for_a_folder_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (good, _) = issued("acme.com");
    let live = folder.path().join("cfg/current");
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("cert-acme.pem"), good.pem().expose_secret()).unwrap();
    let state = folder.path().join("certificates");
    fs::write(&state, "no folder").unwrap();

    let again = replica(folder.path(), "true");
    again.restore().await;
    again.scan().await;
    assert_eq!(shown(&again), [("acme".to_owned(), good.clone())]);
    let why = &again.refused()[&state.display().to_string()];
    assert!(why.contains("what was shown last is shown"), "{why}");

    // What was read says more than what was shown.
    let stamp = Stamp::new(1, "a".parse().unwrap());
    let certificate = None;
    let kept = [(name("acme"), Kept { stamp, certificate })].into();
    let mut unreadable = [(state.display().to_string(), "broken".to_owned())].into();
    let last = ["acme", "other"].map(|known| (name(known), good.clone()));
    let in_its_place = in_place_of(&mut unreadable, &state, &kept, &last.into());
    assert_eq!(
        in_its_place.into_keys().collect::<Vec<_>>(),
        [name("other")]
    );
}

#[tokio::test]
async fn removals_do_not_fill_the_room() {
    let folder = tempfile::tempdir().unwrap();
    let replica = replica(folder.path(), "true");
    let me: InstanceId = "a".parse().unwrap();
    {
        let mut held = replica.held();
        for number in 0..=MAX_CERTIFICATES {
            let stamp = Stamp::new(u64::try_from(number).unwrap(), me.clone());
            let gone = Kept {
                stamp,
                certificate: None,
            };
            held.kept.insert(name(&format!("gone-{number}")), gone);
        }
    }
    assert!(replica.has_room(&name("acme")));
    let (good, _) = issued("acme.com");
    replica.keep(name("acme"), Some(good), &me).await.unwrap();
    let stamps = replica.stamps();
    assert_eq!(stamps.len(), MAX_CERTIFICATES + 1);
    assert!(!stamps.contains_key("gone-0"), "the oldest is forgotten");
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_done_on_disk_and_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let replica = replica(folder.path(), "true");
    let me: InstanceId = "a".parse().unwrap();
    let (good, secret) = issued("acme.com");
    let mut keep = Box::pin(replica.keep(name("acme"), Some(good), &me));
    assert!(futures_util::poll!(&mut keep).is_pending());
    drop(keep);
    // The next write stands behind it.
    replica.keep(name("other"), None, &me).await.unwrap();
    assert!(replica.is_kept(&name("acme")));
    let file = folder.path().join("certificates/acme.json");
    assert!(fs::read_to_string(file).unwrap().contains(&secret));
}

#[tokio::test]
async fn what_is_on_disk_and_may_be_lost_in_a_crash_is_in_memory_too() {
    let folder = tempfile::tempdir().unwrap();
    let replica = replica(folder.path(), "true");
    let (good, _) = issued("acme.com");
    let path = || folder.path().join("certificates/acme.json");
    let (doing, broken) = ("replace", || io::Error::other("broken"));
    let failed = JournalError::Io {
        path: path(),
        doing,
        source: broken(),
    };
    let doubtful = JournalError::Doubtful {
        path: path(),
        doing,
        source: broken(),
    };
    let take_in = |certificate: Option<Certificate>, error: JournalError| {
        let stamp = Stamp::new(1, "a".parse().unwrap());
        let kept = Kept { stamp, certificate };
        let written = replica.take_in(name("acme"), kept.clone(), Err(error.into()));
        Written::of(&name("acme"), &kept, written)
    };
    let taken = take_in(Some(good.clone()), failed);
    assert!(matches!(taken, Err(KeepError::Disk(_))));
    assert_eq!(shown(&replica), []);
    let taken = take_in(Some(good.clone()), doubtful);
    let Written { entry, doubt } = taken.unwrap();
    assert!(matches!(doubt, Some(KeepError::Doubtful(_))), "{doubt:?}");
    assert_eq!(shown(&replica), [("acme".to_owned(), good.clone())]);
    // Others are to be told of it.
    assert_eq!(entry.read().unwrap(), (name("acme"), Some(good)));
}

#[tokio::test]
async fn writes_of_one_name_pass_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let replica = replica(folder.path(), "true");
    let first = replica.lane(&name("acme")).await.unwrap();
    let (acme, other) = (name("acme"), name("other"));
    let mut second = Box::pin(replica.lane(&acme));
    assert!(futures_util::poll!(&mut second).is_pending());
    let free = replica.lane(&other).await;
    drop(free.unwrap());
    drop(first);
    second.await.unwrap();
}

#[tokio::test]
async fn what_could_not_be_checked_at_the_start_is_shown_and_what_is_given_anew_is_fit() {
    let folder = tempfile::tempdir().unwrap();
    let me: InstanceId = "a".parse().unwrap();
    let [(old, _), (new, _)] = [(); 2].map(|()| issued("acme.com"));
    let before = replica(folder.path(), "true");
    before
        .keep(name("acme"), Some(old.clone()), &me)
        .await
        .unwrap();

    let unable = replica(folder.path(), "/no/such/haproxy");
    unable.restore().await;
    assert_eq!(shown(&unable), [("acme".to_owned(), old)]);
    assert!(unable.refused().is_empty());
    let strict = replica(folder.path(), "false");
    strict.restore().await;
    assert_eq!(shown(&strict), []);
    strict
        .keep(name("acme"), Some(new.clone()), &me)
        .await
        .unwrap();
    assert_eq!(shown(&strict), [("acme".to_owned(), new)]);
    assert!(strict.refused().is_empty());
}

#[tokio::test]
async fn files_take_room_too() {
    let folder = tempfile::tempdir().unwrap();
    let replica = replica(folder.path(), "true");
    let me: InstanceId = "a".parse().unwrap();
    let (good, _) = issued("acme.com");
    replica
        .keep(name("acme"), Some(good.clone()), &me)
        .await
        .unwrap();
    for number in 1..MAX_CERTIFICATES {
        let (certificate, path) = (good.clone(), PathBuf::from("/certs"));
        let found = crate::certificates::Found { certificate, path };
        replica
            .held()
            .found
            .insert(name(&format!("file-{number}")), found);
    }
    let full = replica.keep(name("other"), Some(good.clone()), &me).await;
    assert!(matches!(full, Err(KeepError::Full)));
    replica.keep(name("acme"), Some(good), &me).await.unwrap();
    replica.keep(name("other"), None, &me).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_one_answer_comes_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let replica = replica(folder.path(), "true");
    let (good, _) = issued("acme.com");
    let most = MAX_TOLD_BYTES / good.pem().expose_secret().len();
    for number in 0..most + 2 {
        let stamp = Stamp::new(1, "a".parse().unwrap());
        let certificate = Some(good.clone());
        let kept = Kept { stamp, certificate };
        replica
            .held()
            .kept
            .insert(name(&format!("n{number}")), kept);
    }
    let mut known = BTreeMap::new();
    for told in [most, 2, 0] {
        let entries = replica.later_than(&known);
        assert_eq!(entries.len(), told);
        known.extend(
            entries
                .iter()
                .map(|it| (it.called().to_owned(), it.stamp().clone())),
        );
    }
}
