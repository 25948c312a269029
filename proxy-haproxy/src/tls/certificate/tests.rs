use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

use super::*;

/// A certificate for these names, and its key.
fn made(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "WWW.acme.com");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn refused(text: &str) -> CertificateError {
    let error = Certificate::parse(text).unwrap_err();
    assert!(!error.to_string().contains("-----"), "{error}");
    error
}

#[test]
fn a_bundle_is_read() {
    let (certificate, key) = made(&["acme.com", "*.ACME.com", "127.0.0.1"]);
    let (other, _) = made(&["authority"]);
    let text = format!("Bag Attributes\r\n{key}\r\n\r\n{other}\n # mine\n{certificate}\n");
    let read = Certificate::parse(&text).unwrap();
    assert_eq!(read.names(), ["acme.com", "*.acme.com", "www.acme.com"]);
    assert_eq!(read.issuer(), "CN=WWW.acme.com");
    assert_eq!(read.fingerprint().len(), 64);
    let year = humantime::format_rfc3339(read.not_after()).to_string();
    assert!(year.starts_with("2021-01-01T00:00:00"), "{year}");
    assert!(read.not_before() < read.not_after());

    // The certificate of the key first, nothing between the blocks, and no empty line.
    let pem = read.pem().expose_secret();
    let clean = |text: &str| text.replace('\r', "");
    let wanted = format!("{}{}{}", clean(&certificate), clean(&other), clean(&key));
    assert_eq!(pem, wanted);
    assert_eq!(Certificate::parse(pem).unwrap(), read);
    assert!(!format!("{read:?}").contains("PRIVATE"));
}

#[test]
fn what_is_no_certificate_with_its_key_is_refused_in_words() {
    let (certificate, key) = made(&["acme.com"]);
    let (_, other) = made(&["acme.com"]);
    assert_eq!(refused(""), CertificateError::NoKey);
    assert_eq!(refused(&certificate), CertificateError::NoKey);
    assert_eq!(refused(&key), CertificateError::NoCertificate);
    let both = |key: &str| format!("{certificate}{key}");
    assert_eq!(refused(&both(&other)), CertificateError::OtherKey);
    let two = both(&format!("{key}{key}"));
    assert_eq!(refused(&two), CertificateError::SeveralKeys);
    let cut = both(&key);
    let error = refused(&cut[..cut.len() - 20]);
    assert!(matches!(error, CertificateError::Cut { .. }), "{error:?}");
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(refused(&both(&encrypted)), CertificateError::EncryptedKey);
    let old = key.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n", 1);
    assert_eq!(refused(&both(&old)), CertificateError::EncryptedKey);
    let broken = key.replacen('\n', "\n!!!!", 1);
    assert_eq!(refused(&both(&broken)), CertificateError::UnreadableKey);
    let broken = certificate.replacen("\nMII", "\nAII", 1);
    assert!(matches!(
        refused(&format!("{broken}{key}")),
        CertificateError::Unreadable { number: 1, .. }
    ));
    let long = " ".repeat(MAX_BUNDLE_BYTES + 1);
    assert!(matches!(refused(&long), CertificateError::TooLarge { .. }));
    let chain = both(&format!("{}{key}", certificate.repeat(20)));
    assert_eq!(refused(&chain), CertificateError::LongChain { count: 21 });
}
