//! Sealed texts: what only somebody with the same secret can read, where a signature would let
//! everybody read it.
//!
//! A sealed text is 32 random bytes and what ChaCha20-Poly1305 makes of the text, with a key of its
//! own: HKDF-SHA256 of the secret, salted with those bytes, for the context that both sides name. So no
//! key is used twice, and a text that was sealed for one purpose opens for no other.

use std::fmt;

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

/// What keys are made for, before the context; another release's texts are told by it.
const PURPOSE: &[u8] = b"proxy-peers seal 1\n";

const SALT_BYTES: usize = 32;

/// Seals texts and opens them. Cheap to clone; never shows its secret.
#[derive(Clone)]
pub struct Sealer {
    secret: SecretString,
}

/// Why a text is not sealed or not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It was sealed with another secret or for another purpose, or changed on its way.
    #[error(
        "it cannot be opened: it was sealed with another secret, or something changed it on its way"
    )]
    Wrong,
    /// The system gives no random bytes, or there is no room.
    #[error("it cannot be sealed: the system gives no random bytes")]
    Unable,
}

impl Sealer {
    /// Seals with this secret. It is not stretched: 32 random bytes are as good as it gets, and a word
    /// can be guessed by whoever hears what was sealed.
    pub fn new(secret: &SecretString) -> Self {
        Self {
            secret: secret.clone(),
        }
    }

    /// Seals a text for a purpose. `plain` is overwritten.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn seal(&self, context: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| SealError::Unable)?;
        let key = self.key(&salt, context).ok_or(SealError::Unable)?;
        let mut text = Zeroizing::new(plain);
        let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut text);
        let tag = tag.map_err(|_| SealError::Unable)?;
        Ok([&salt[..], &text, tag.as_ref()].concat())
    }

    /// Opens what was sealed for this purpose.
    ///
    /// # Errors
    /// When it was sealed with another secret or for another purpose, or is not what was sealed.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (salt, text) = sealed
            .split_at_checked(SALT_BYTES)
            .ok_or(SealError::Wrong)?;
        let key = self.key(salt, context).ok_or(SealError::Wrong)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = key.open_in_place(nonce(), Aad::empty(), &mut text);
        let length = opened.map_err(|_| SealError::Wrong)?.len();
        text.truncate(length);
        Ok(text)
    }

    /// What tells a sealed text from all others, so that an answer can be sealed for its question.
    pub fn id(sealed: &[u8]) -> &[u8] {
        sealed.get(..SALT_BYTES).unwrap_or_default()
    }

    fn key(&self, salt: &[u8], context: &[u8]) -> Option<LessSafeKey> {
        let secret = self.secret.expose_secret().as_bytes();
        let secret = Salt::new(HKDF_SHA256, salt).extract(secret);
        let mut bytes = Zeroizing::new([0; 32]);
        let info = [PURPOSE, context];
        let okm = secret.expand(&info, Length);
        okm.and_then(|okm| okm.fill(&mut bytes[..])).ok()?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes[..]).ok()?;
        Some(LessSafeKey::new(key))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

/// Each key seals one text, so its number need not differ.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// The length of a key.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secret: &str) -> Sealer {
        Sealer::new(&SecretString::from(secret))
    }

    #[test]
    fn only_the_same_secret_opens_and_only_for_the_same_purpose() {
        let sealed = sealer("s").seal(b"call", b"geheim".to_vec()).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"geheim"));
        assert_eq!(&**sealer("s").open(b"call", &sealed).unwrap(), b"geheim");
        assert_eq!(sealer("t").open(b"call", &sealed), Err(SealError::Wrong));
        assert_eq!(sealer("s").open(b"answer", &sealed), Err(SealError::Wrong));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(sealer("s").open(b"call", &changed), Err(SealError::Wrong));
        }
        for cut in [0, 31, 32, sealed.len() - 1] {
            assert!(sealer("s").open(b"call", &sealed[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn nothing_is_sealed_alike_twice_and_no_secret_is_shown() {
        let seal = || sealer("geheim").seal(b"", b"same".to_vec()).unwrap();
        let (one, two) = (seal(), seal());
        assert_ne!(Sealer::id(&one), Sealer::id(&two));
        assert_ne!(one[32..], two[32..]);
        assert!(!format!("{:?}", sealer("geheim")).contains("geheim"));
    }
}
