//! Certificates as callers, files and other replicas bring them: bundles in PEM, what stands in them in DER,
//! and sealed texts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proxy_haproxy::{Certificate, ClientAuthorities};
use proxy_peers::Sealer;
use secrecy::ExposeSecret as _;

/// A key that belongs to `fuzz/corpus/certificates/der`, so that whatever DER is made of that reaches the end.
const KEY: &str = include_str!("certificates/key.pem");

/// What sealed texts are for here.
const PURPOSE: &[u8] = b"a purpose";

/// Takes bytes as a bundle, as the DER of a certificate, and as something sealed.
///
/// # Panics
/// When a certificate that was read is not the same once it is written and read again, when what is told of
/// it could be more than one line, or when something opens that was not sealed.
pub fn certificates(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        bundle(text);
        let _ = ClientAuthorities::parse(text);
    }
    let block = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(data)
    );
    bundle(&format!("{block}{KEY}"));
    let _ = ClientAuthorities::parse(&block);
    sealed(data);
}

fn bundle(text: &str) {
    let Ok(certificate) = Certificate::parse(text) else {
        return;
    };
    let pem = certificate.pem().expose_secret();
    let again = Certificate::parse(pem);
    assert_eq!(again.as_ref(), Ok(&certificate), "it is another");
    // An empty line ends what HAProxy's command line takes.
    assert!(!pem.lines().any(str::is_empty), "an empty line");
    let told = certificate.names().iter().map(String::as_str);
    for text in told.chain([certificate.issuer(), certificate.serial()]) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let shown = format!("{certificate:?}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

fn sealed(data: &[u8]) {
    let sealer = Sealer::new(&"a secret".to_owned().into());
    assert!(sealer.open(PURPOSE, data).is_err(), "nobody sealed it");
    let Ok(mut sealed) = sealer.seal(PURPOSE, data.to_vec()) else {
        return;
    };
    let opened = sealer.open(PURPOSE, &sealed);
    assert!(opened.is_ok_and(|opened| *opened == data), "it is another");
    assert!(sealer.open(b"another", &sealed).is_err(), "another purpose");
    // Which byte is altered, the data decide.
    let place = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % sealed.len();
    if let Some(byte) = sealed.get_mut(place) {
        *byte ^= 1;
    }
    assert!(sealer.open(PURPOSE, &sealed).is_err(), "it was altered");
}
