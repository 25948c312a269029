//! Signed calls: whoever hears a call can tell that it comes from somebody who holds the
//! same secret, that it is fresh, and that nobody changed it on its way; and the caller can tell
//! the same of the answer (`answer`).
//!
//! A signed call carries one header,
//!
//! ```text
//! Authorization: Peer-HMAC-SHA256 time=<unix seconds>,nonce=<hex>,body=<hex>,signature=<hex>
//! ```
//!
//! where `nonce` is 32 random bytes, `body` the SHA-256 of the body and `signature` the
//! HMAC-SHA256, keyed with the secret, over these six lines without a line end after the last:
//!
//! ```text
//! Peer-HMAC-SHA256
//! <method>
//! <path, with its query>
//! <unix seconds>
//! <nonce, as in the header>
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

mod answer;

pub use self::answer::{AnswerError, SIGNATURE_HEADER};

/// The name of the scheme, for `WWW-Authenticate`.
pub const SIGNATURE_SCHEME: &str = "Peer-HMAC-SHA256";

/// How far a call's time may be from the receiver's clock, in both directions. Clocks that
/// are set by NTP differ by far less; a call waits for its turn and its retries for seconds.
pub const SIGNATURE_WINDOW: Duration = Duration::from_secs(60);

/// 32 bytes in hexadecimal.
const HEX_DIGEST_BYTES: usize = 64;

/// Signs calls and verifies them. Cheap to clone; never shows its secret.
#[derive(Clone)]
pub struct Signer {
    keyed: Hmac<Sha256>,
}

/// A call as it was signed, which is what its answer is bound to: no two calls are signed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedCall {
    time: u64,
    nonce: Nonce,
    body: BodyDigest,
    signature: Bytes32,
}

/// What makes a call differ from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(Bytes32);

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoNonce;

/// The SHA-256 of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest(Bytes32);

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

    /// Signs a call at this moment.
    pub fn authorize(
        &self,
        method: &Method,
        path_and_query: &str,
        body: BodyDigest,
        (at, nonce): (SystemTime, Nonce),
    ) -> SignedCall {
        let time = unix_seconds(at);
        let mac = self.mac(method, path_and_query, (time, &nonce), &body);
        SignedCall {
            time,
            nonce,
            body,
            signature: Bytes32(mac.finalize().into_bytes().into()),
        }
    }

    /// Whether a call with this `Authorization` header was signed with the same secret, for this
    /// method and path, within [`SIGNATURE_WINDOW`] of `now`. Its body is not looked at: it is only
    /// verified once [`BodyDigest::check`] has seen the body.
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
    ) -> Result<SignedCall, SignatureError> {
        let fields = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix(SIGNATURE_SCHEME))
            .and_then(|text| text.strip_prefix(' '))
            .ok_or(SignatureError::Missing)?;
        let call = SignedCall::parse(fields).ok_or(SignatureError::Malformed)?;
        let time = call.time;
        // The signature first: who does not know the secret learns nothing of this clock.
        self.mac(method, path_and_query, (time, &call.nonce), &call.body)
            .verify_slice(&call.signature.0)
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
        Ok(call)
    }

    fn mac(
        &self,
        method: &Method,
        path: &str,
        (time, nonce): (u64, &Nonce),
        body: &BodyDigest,
    ) -> Hmac<Sha256> {
        let nonce = &nonce.0;
        let signed = format!("{SIGNATURE_SCHEME}\n{method}\n{path}\n{time}\n{nonce}\n{body}");
        self.keyed.clone().chain_update(signed)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl SignedCall {
    /// The value of its `Authorization` header.
    pub fn header(&self) -> HeaderValue {
        let Self {
            time,
            nonce: Nonce(nonce),
            body,
            signature,
        } = self;
        header_value(format_args!(
            "time={time},nonce={nonce},body={body},signature={signature}"
        ))
    }

    /// The digest that its body must have.
    pub fn body(&self) -> BodyDigest {
        self.body
    }

    fn parse(text: &str) -> Option<Self> {
        let (time, rest) = text.strip_prefix("time=")?.split_once(",nonce=")?;
        let (nonce, rest) = rest.split_once(",body=")?;
        let (body, signature) = rest.split_once(",signature=")?;
        Some(Self {
            time: time.parse().ok()?,
            nonce: Nonce(Bytes32::from_hex(nonce)?),
            body: BodyDigest(Bytes32::from_hex(body)?),
            signature: Bytes32::from_hex(signature)?,
        })
    }
}

impl Nonce {
    /// Another one each time.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, NoNonce> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoNonce)?;
        Ok(Self(Bytes32(bytes)))
    }
}

impl BodyDigest {
    /// The digest of a body.
    pub fn of(body: &[u8]) -> Self {
        Self(Bytes32(Sha256::digest(body).into()))
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
        self.0.fmt(f)
    }
}

/// Bytes that are written as lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bytes32([u8; 32]);

impl Bytes32 {
    fn from_hex(text: &str) -> Option<Self> {
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != HEX_DIGEST_BYTES || !text.bytes().all(digits) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Bytes32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Bytes32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of a header of this scheme.
fn header_value(fields: fmt::Arguments<'_>) -> HeaderValue {
    let text = format!("{SIGNATURE_SCHEME} {fields}");
    // Letters, digits and punctuation: a header carries them all.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(SIGNATURE_SCHEME))
}

/// A time before 1970 is 1970: such a clock is wrong either way, and the other side says so.
fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

#[cfg(test)]
mod tests;
