//! Signed answers: the caller can tell that an answer comes from somebody who holds the same
//! secret, that it is the answer to this very call, and that nobody changed it on its way.
//!
//! A signed answer carries one header,
//!
//! ```text
//! X-Peer-Signature: Peer-HMAC-SHA256 <hex>
//! ```
//!
//! which is the HMAC-SHA256, keyed with the secret, over these five lines without a line end
//! after the last:
//!
//! ```text
//! Peer-HMAC-SHA256 answer
//! <the signature of the call, as in its header>
//! <status>
//! <the instance that answers, as its header names it; nothing where none does>
//! <the SHA-256 of the body, in hexadecimal>
//! ```
//!
//! The signature of the call is over a nonce, so no answer fits two calls.

use hmac::{Hmac, Mac};
use http::{HeaderName, HeaderValue};
use sha2::Sha256;

use super::{BodyDigest, Bytes32, SIGNATURE_SCHEME, SignedCall, Signer, header_value};
use crate::call::PeerReply;

/// The header that the signature of an answer stands in.
pub const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("x-peer-signature");

/// Why an answer is not taken for a peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// There is no signature.
    #[error(
        "it is not signed: the peer is of another release or has no secret, or something else answers in its place"
    )]
    Missing,
    /// It was signed with another secret, for another call, or changed on its way.
    #[error(
        "its signature is wrong: the peer has another secret, or something between changes answers"
    )]
    Wrong,
}

impl Signer {
    /// The value of [`SIGNATURE_HEADER`] in the answer to this call. `from` is the header of the
    /// answer that names the instance, where there is one.
    pub fn sign_answer(
        &self,
        call: &SignedCall,
        answer: &PeerReply,
        from: Option<&HeaderName>,
    ) -> HeaderValue {
        let signature = self.answer_mac(call, answer, from).finalize();
        let signature = Bytes32(signature.into_bytes().into());
        header_value(format_args!("{signature}"))
    }

    /// Whether this is the answer that somebody with the same secret gave to this call.
    ///
    /// # Errors
    /// Why it is not taken for a peer's answer.
    pub fn verify_answer(
        &self,
        call: &SignedCall,
        answer: &PeerReply,
        from: Option<&HeaderName>,
    ) -> Result<(), AnswerError> {
        let signature = answer
            .header(&SIGNATURE_HEADER)
            .ok_or(AnswerError::Missing)?
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix(SIGNATURE_SCHEME)?.strip_prefix(' '))
            .and_then(Bytes32::from_hex)
            .ok_or(AnswerError::Wrong)?;
        self.answer_mac(call, answer, from)
            .verify_slice(&signature.0)
            .map_err(|_| AnswerError::Wrong)
    }

    fn answer_mac(
        &self,
        call: &SignedCall,
        answer: &PeerReply,
        from: Option<&HeaderName>,
    ) -> Hmac<Sha256> {
        let (call, status) = (&call.signature, answer.status().as_u16());
        let from = from.and_then(|name| answer.header(name));
        let body = BodyDigest::of(answer.body());
        self.keyed
            .clone()
            .chain_update(format!("{SIGNATURE_SCHEME} answer\n{call}\n{status}\n"))
            // Whatever it holds, a line end it does not.
            .chain_update(from.map(HeaderValue::as_bytes).unwrap_or_default())
            .chain_update(format!("\n{body}"))
    }
}
