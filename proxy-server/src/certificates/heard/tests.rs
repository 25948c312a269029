use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use proxy_core::InstanceId;
use proxy_haproxy::Certificate;
use testkit::tls::Authority;

use super::*;
use crate::certificates::kept::tests::{name, replica};

fn stamp(counter: u64) -> Stamp {
    Stamp::new(counter, "me".parse().unwrap())
}

/// A HAProxy that refuses everything and counts how often it was asked.
fn refusing(folder: &Path) -> String {
    let (binary, count) = (folder.join("haproxy"), folder.join("asked"));
    let script = format!("#!/bin/sh\necho x >> {}\nexit 1\n", count.display());
    fs::write(&binary, script).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    binary.display().to_string()
}

async fn told(folder: &Path, domain: &str) -> Vec<Entry> {
    let teller = replica(folder, "true");
    let me: InstanceId = "a".parse().unwrap();
    let issued = Authority::new("a").unwrap().issue(&[domain]).unwrap();
    let certificate = Certificate::parse(&issued.bundle()).unwrap();
    let kept = teller.keep(name("acme"), Some(certificate), &me).await;
    vec![kept.unwrap().entry]
}

#[tokio::test]
async fn what_was_refused_is_neither_asked_for_nor_judged_again() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let [here, there] = folders.each_ref().map(tempfile::TempDir::path);
    let listener = replica(here, &refusing(here));
    let asked = || {
        fs::read_to_string(here.join("asked"))
            .unwrap_or_default()
            .len()
    };
    let (taken, unused) = listener.hear(told(there, "acme.com").await).await;
    assert_eq!((taken, unused.len()), (0, 1));
    assert!(unused[0].starts_with("acme: "), "{unused:?}");
    let before = asked();
    assert!(before > 0);

    // It is in what this one says that it need not be told.
    let teller = replica(there, "true");
    teller.restore().await;
    assert_eq!(teller.later_than(&listener.stamps()).len(), 0);
    assert_eq!(teller.later_than(&BTreeMap::new()).len(), 1);
    let (taken, again) = listener.hear(teller.later_than(&BTreeMap::new())).await;
    assert_eq!((taken, again), (0, unused), "and it is told why");
    assert_eq!(asked(), before, "without another look");

    // Another one is another matter.
    let (_, unused) = listener.hear(told(there, "acme.com").await).await;
    assert_eq!(unused.len(), 1);
    assert!(asked() > before);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_judged_now_is_asked_for_again() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let listener = replica(folders[0].path(), "/no/such/haproxy");
    let (taken, unused) = listener
        .hear(told(folders[1].path(), "acme.com").await)
        .await;
    assert_eq!((taken, unused.len()), (0, 1));
    assert!(listener.stamps().is_empty());
}

#[tokio::test]
async fn a_stamp_from_the_far_future_is_refused() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let listener = replica(folders[0].path(), "true");
    let mut entries = told(folders[1].path(), "acme.com").await;
    let text = serde_json::to_string(&entries.remove(0)).unwrap();
    let mut far: serde_json::Value = serde_json::from_str(&text).unwrap();
    far["stamp"] = serde_json::to_value(stamp(u64::MAX)).unwrap();
    let far: Entry = serde_json::from_value(far).unwrap();
    let (taken, unused) = listener.hear(vec![far]).await;
    assert_eq!(taken, 0);
    assert!(unused[0].contains("a year or more ahead"), "{unused:?}");
}

#[test]
fn refusals_are_bounded_and_end() {
    let refusals = Refusals::default();
    let start = Instant::now();
    for number in 0..=MAX_CERTIFICATES {
        let at = start + Duration::from_millis(number.try_into().unwrap());
        refusals.add(format!("n{number}"), stamp(1), "no".to_owned(), at);
    }
    let now = start + Duration::from_secs(2);
    assert_eq!(refusals.stamps(now).len(), MAX_CERTIFICATES);
    assert_eq!(refusals.why("n0", &stamp(1), now), None, "the oldest went");
    assert_eq!(refusals.why("n1", &stamp(1), now), Some("no".to_owned()));
    assert_eq!(refusals.why("n1", &stamp(2), now), None, "it is another");
    let later = now + REFUSED_FOR;
    assert_eq!(refusals.why("n1", &stamp(1), later), None);
    assert!(refusals.stamps(later).is_empty());
}
