//! Signed calls: whoever hears a call can tell that it comes from somebody who holds the
//! same secret, that it is fresh, and that nobody changed it on its way.
//!
//! A signed call carries one header,
//!
//! ```text
//! Authorization: Peer-HMAC-SHA256 time=<unix seconds>,body=<hex>,signature=<hex>
//! ```
//!
//! where `body` is the SHA-256 of the body and `signature` the HMAC-SHA256, keyed with the
//! secret, over these five lines without a line end after the last:
//!
//! ```text
//! Peer-HMAC-SHA256
//! <method>
//! <path, with its query>
//! <unix seconds>
//! <body, as in the header>
//! ```
//!
//! The digest of the body stands in the header so that a receiver refuses a stranger before it
//! reads what the stranger sends: first [`Signer::verify`], then [`BodyDigest::check`].

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use http::{HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The name of the scheme, for `WWW-Authenticate`.
pub const SIGNATURE_SCHEME: &str = "Peer-HMAC-SHA256";

/// How far a call's time may be from the receiver's clock, in both directions. Clocks that
/// are set by NTP differ by far less; a call waits for its turn and its retries for seconds.
pub const SIGNATURE_WINDOW: Duration = Duration::from_secs(60);

/// The digest of a body in hexadecimal.
const HEX_DIGEST_BYTES: usize = 64;

/// Signs calls and verifies them. Cheap to clone; never shows its secret.
#[derive(Clone)]
pub struct Signer {
    keyed: Hmac<Sha256>,
}

/// The SHA-256 of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest([u8; 32]);

/// Why a call is not taken for a peer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no header of this scheme.
    #[error(
        "it is not signed: give every replica the same secret, and calls between them carry \"Authorization: {SIGNATURE_SCHEME} ...\""
    )]
    Missing,
    /// The header is of this scheme and cannot be read.
    #[error("its signature cannot be read; it is of another release, or was cut")]
    Malformed,
    /// It was signed at another time, or one of the two clocks is wrong.
    #[error(
        "it was signed {} s {} this replica's clock, and {} s are allowed: set the clocks of both machines",
        by.as_secs(),
        match when { Skew::Behind => "behind", Skew::Ahead => "ahead of" },
        SIGNATURE_WINDOW.as_secs()
    )]
    Skewed {
        /// How far the call's time is from the receiver's.
        by: Duration,
        /// In which direction.
        when: Skew,
    },
    /// It was signed with another secret, or changed on its way.
    #[error(
        "its signature is wrong: the caller has another secret, or something between changes calls"
    )]
    Wrong,
    /// The body is not the one that was signed.
    #[error("its body is not the one that was signed: something between changes calls")]
    WrongBody,
}

/// Where a call's time is, as seen from the receiver's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "time has two directions")]
pub enum Skew {
    /// Earlier.
    Behind,
    /// Later.
    Ahead,
}

impl Signer {
    /// Signs with this secret. Any length will do; 32 random bytes are as good as it gets.
    pub fn new(secret: &SecretString) -> Self {
        let key = secret.expose_secret().as_bytes();
        // HMAC takes keys of every length; the type says otherwise for MACs in general.
        let keyed = Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
        Self { keyed }
    }

    /// The value of the `Authorization` header for a call at this moment.
    pub fn authorize(
        &self,
        method: &Method,
        path_and_query: &str,
        body: &BodyDigest,
        at: SystemTime,
    ) -> HeaderValue {
        let time = unix_seconds(at);
        let signature = self.mac(method, path_and_query, time, body).finalize();
        let signature = Hex(&signature.into_bytes()).to_string();
        let text = format!("{SIGNATURE_SCHEME} time={time},body={body},signature={signature}");
        // Letters, digits and punctuation: a header carries them all.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(SIGNATURE_SCHEME))
    }

    /// Whether a call with this `Authorization` header was signed with the same secret, for this
    /// method and path, within [`SIGNATURE_WINDOW`] of `now`. Gives the digest that its body
    /// must have: it is only verified once [`BodyDigest::check`] has seen the body.
    ///
    /// The same call verifies again within the window. Whoever may not hear it twice must
    /// remember more than this does.
    ///
    /// # Errors
    /// Why it is not taken for a peer's call.
    pub fn verify(
        &self,
        method: &Method,
        path_and_query: &str,
        authorization: Option<&HeaderValue>,
        now: SystemTime,
    ) -> Result<BodyDigest, SignatureError> {
        let fields = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix(SIGNATURE_SCHEME))
            .and_then(|text| text.strip_prefix(' '))
            .ok_or(SignatureError::Missing)?;
        let Fields {
            time,
            body,
            signature,
        } = Fields::parse(fields).ok_or(SignatureError::Malformed)?;
        // The signature first: who does not know the secret learns nothing of this clock.
        self.mac(method, path_and_query, time, &body)
            .verify_slice(&signature)
            .map_err(|_| SignatureError::Wrong)?;
        let here = unix_seconds(now);
        let by = Duration::from_secs(here.abs_diff(time));
        if by > SIGNATURE_WINDOW {
            let when = if time < here {
                Skew::Behind
            } else {
                Skew::Ahead
            };
            return Err(SignatureError::Skewed { by, when });
        }
        Ok(body)
    }

    fn mac(&self, method: &Method, path: &str, time: u64, body: &BodyDigest) -> Hmac<Sha256> {
        let signed = format!("{SIGNATURE_SCHEME}\n{method}\n{path}\n{time}\n{body}");
        self.keyed.clone().chain_update(signed)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl BodyDigest {
    /// The digest of a body.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Whether this is the body that was signed.
    ///
    /// # Errors
    /// When it is another.
    pub fn check(&self, body: &[u8]) -> Result<(), SignatureError> {
        // Both digests are known to whoever sent the call: there is no secret to compare slowly.
        if *self == Self::of(body) {
            Ok(())
        } else {
            Err(SignatureError::WrongBody)
        }
    }
}

impl fmt::Display for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands in the header.
struct Fields {
    time: u64,
    body: BodyDigest,
    signature: [u8; 32],
}

impl Fields {
    fn parse(text: &str) -> Option<Self> {
        let (time, rest) = text.strip_prefix("time=")?.split_once(",body=")?;
        let (body, signature) = rest.split_once(",signature=")?;
        Some(Self {
            time: time.parse().ok()?,
            body: BodyDigest(from_hex(body)?),
            signature: from_hex(signature)?,
        })
    }
}

/// Bytes as lower-case hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != HEX_DIGEST_BYTES || !text.bytes().all(digits) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A time before 1970 is 1970: such a clock is wrong either way, and the other side says so.
fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"{}";

    fn signer(secret: &str) -> Signer {
        Signer::new(&secret.to_owned().into())
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn signed(seconds: u64) -> HeaderValue {
        let body = BodyDigest::of(BODY);
        signer("geheim").authorize(&Method::POST, "/a?b=c", &body, at(seconds))
    }

    fn verified(header: &HeaderValue, now: u64) -> Result<BodyDigest, SignatureError> {
        signer("geheim").verify(&Method::POST, "/a?b=c", Some(header), at(now))
    }

    #[test]
    fn the_scheme_stays_as_it_is_documented() {
        // printf 'Peer-HMAC-SHA256\nPOST\n/a?b=c\n1700000000\n44136f...' | openssl dgst -sha256 -hmac geheim
        let expected = "Peer-HMAC-SHA256 time=1700000000,\
            body=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a,\
            signature=e060901dd69bca5efe460558a28b68bf1b9803af7f57a951e107c88e5662e789";
        assert_eq!(signed(1_700_000_000).to_str().unwrap(), expected);
    }

    #[test]
    fn a_peers_call_is_taken_and_its_body_checked() {
        let digest = verified(&signed(1_000), 1_000).unwrap();
        assert_eq!(digest.check(BODY), Ok(()));
        assert_eq!(digest.check(b"{ }"), Err(SignatureError::WrongBody));
    }

    #[test]
    fn another_secret_method_path_body_or_time_is_refused() {
        let header = signed(1_000);
        let (post, path, now) = (Method::POST, "/a?b=c", at(1_000));
        let verify = |signer: &Signer, method: &Method, path: &str| {
            signer.verify(method, path, Some(&header), now)
        };
        let wrong = Err(SignatureError::Wrong);
        assert_eq!(verify(&signer("geheim2"), &post, path), wrong);
        assert_eq!(verify(&signer(""), &post, path), wrong);
        assert_eq!(verify(&signer("geheim"), &Method::PUT, path), wrong);
        assert_eq!(verify(&signer("geheim"), &post, "/a?b=d"), wrong);
        assert_eq!(verify(&signer("geheim"), &post, "/a"), wrong);
        let text = header.to_str().unwrap();
        for (from, to) in [("time=1000", "time=1001"), ("body=44", "body=45")] {
            let changed = HeaderValue::try_from(text.replace(from, to)).unwrap();
            assert_eq!(verified(&changed, 1_000), wrong, "{to}");
        }
    }

    #[test]
    fn the_window_is_open_on_both_sides_and_the_error_names_the_clocks() {
        let window = SIGNATURE_WINDOW.as_secs();
        for now in [10_000 - window, 10_000, 10_000 + window] {
            assert!(verified(&signed(10_000), now).is_ok(), "{now}");
        }
        for (now, when) in [
            (10_000 - window - 1, "61 s ahead of"),
            (10_000 + window + 1, "61 s behind"),
        ] {
            let error = verified(&signed(10_000), now).unwrap_err().to_string();
            assert!(error.contains(when) && error.contains("clocks"), "{error}");
        }
        // The clock is no help to whoever guesses.
        let wrong = signer("x").verify(&Method::POST, "/a?b=c", Some(&signed(1)), at(10_000));
        assert_eq!(wrong, Err(SignatureError::Wrong));
    }

    #[test]
    fn what_is_no_signature_is_told_from_a_wrong_one() {
        let verify = |text: &str| {
            let header = HeaderValue::try_from(text).unwrap();
            verified(&header, 1_000)
        };
        for missing in [
            "Bearer geheim",
            "",
            "Peer-HMAC-SHA256",
            "peer-hmac-sha256 time=1",
        ] {
            assert_eq!(verify(missing), Err(SignatureError::Missing), "{missing}");
        }
        let good = signed(1_000).to_str().unwrap().to_owned();
        for malformed in [
            "Peer-HMAC-SHA256 ",
            "Peer-HMAC-SHA256 time=1000",
            &good[..good.len() - 1],
            &good.replace("time=1000", "time=-1"),
            &format!("{good},more=1"),
            &good.to_uppercase().replace("PEER-", "Peer-"),
        ] {
            assert_eq!(
                verify(malformed),
                Err(SignatureError::Malformed),
                "{malformed}"
            );
        }
        let missing = signer("geheim").verify(&Method::POST, "/", None, at(0));
        assert_eq!(missing, Err(SignatureError::Missing));
    }

    #[test]
    fn a_signer_shows_nothing() {
        assert_eq!(format!("{:?}", signer("geheim")), "Signer { .. }");
    }
}
