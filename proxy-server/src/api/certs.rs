//! `certs`: the certificates that HAProxy shows. Never a key.

use std::time::SystemTime;

use axum::extract::State;
use serde_json::{Map, Value, json};

use super::{Api, answer::Answered, cert::kind_word};
use crate::certificates::{Certificates, Shown};

const DAY: u64 = 24 * 60 * 60;

pub(super) async fn certs(State(api): State<Api>) -> Answered {
    let shown = api.certificates.shown();
    let refused = refused(&api.certificates);
    let message = match (shown.len(), refused.len()) {
        (1, 0) => "1 certificate is shown".to_owned(),
        (count, 0) => format!("{count} certificates are shown"),
        (count, bad) => {
            format!("{count} certificates are shown; {bad} files hold none, see Refused")
        }
    };
    let certs: Vec<Value> = shown.iter().map(certificate).collect();
    Answered::ok(message)
        .with("Certs", certs)
        .with("Refused", refused)
}

/// What can be told of a certificate, under Docker Flow Proxy's names and ours.
fn certificate(shown: &Shown) -> Value {
    let certificate = &shown.certificate;
    json!({
        "ProxyServiceName": shown.name.as_str(),
        "CertsDir": shown.source.folder(),
        "Source": shown.source.word(),
        "Domains": certificate.names(),
        "Key": kind_word(certificate.key_kind()),
        "Issuer": certificate.issuer(),
        "Serial": certificate.serial(),
        "NotBefore": humantime::format_rfc3339_seconds(certificate.not_before()).to_string(),
        "Expires": expires(shown),
        "DaysLeft": days_left(shown, SystemTime::now()),
        "Fingerprint": certificate.fingerprint(),
    })
}

fn expires(shown: &Shown) -> String {
    humantime::format_rfc3339_seconds(shown.certificate.not_after()).to_string()
}

/// Whole days; less than none where it has ended.
fn days_left(shown: &Shown, now: SystemTime) -> i64 {
    let end = shown.certificate.not_after();
    let days = |left: std::time::Duration| i64::try_from(left.as_secs() / DAY).unwrap_or(i64::MAX);
    match end.duration_since(now) {
        Ok(left) => days(left),
        Err(over) => -1 - days(over.duration()),
    }
}

/// The files that hold no certificate which could be shown, and why.
pub(super) fn refused(certificates: &Certificates) -> Map<String, Value> {
    let refused = certificates.refused().into_iter();
    refused.map(|(path, why)| (path, why.into())).collect()
}

/// The certificates that an operator's list does not show for names of their own, and what is to be said of each.
pub(super) fn left_out(certificates: &Certificates) -> Map<String, Value> {
    let left_out = certificates.left_out().into_iter();
    left_out
        .map(|(name, why)| (name.to_string(), why.into()))
        .collect()
}

/// The certificates that end soon or have ended, and when.
pub(super) fn expiring(certificates: &Certificates) -> Map<String, Value> {
    let expiring = certificates.expiring(SystemTime::now());
    let named = expiring.iter();
    named
        .map(|shown| (shown.name.to_string(), expires(shown).into()))
        .collect()
}
