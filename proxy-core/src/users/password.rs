//! Hashed passwords, in the form of crypt(3), which HAProxy compares with.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha_crypt::{ROUNDS_MIN, Sha512Params, sha512_crypt_b64};
use sha2::{Digest as _, Sha256};

use super::UserName;
use crate::name::ServiceName;

/// HAProxy computes the hash for every request that carries a password, on the thread that serves others
/// meanwhile: 0.3 ms with 1,000 rounds, 1.4 ms with the usual 5,000 (measured). So it is the fewest that
/// there can be.
const ROUNDS: usize = ROUNDS_MIN;
/// The most rounds of a SHA hash that somebody else made: 3 ms a request.
const MOST_ROUNDS: u32 = 10_000;
/// The greatest cost of a bcrypt hash that somebody else made: 6 ms a request.
const MOST_COST: u32 = 7;
/// The longest hash in bytes.
const MAX_BYTES: usize = 160;
/// The characters of a salt.
const SALT: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A hashed password. It is shown nowhere, but written in documents.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

/// Why a text is no [`PasswordHash`]. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordHashError {
    /// It is no hash of a kind that is allowed.
    #[error(
        "a hashed password is one of crypt(3): $6$ (SHA-512), $5$ (SHA-256), $1$ (MD5), $2a$, $2b$ or $2y$ (bcrypt), or the 13 characters of DES"
    )]
    Kind,
    /// Every request would cost too much.
    #[error(
        "HAProxy computes the hash for every request: at most {MOST_ROUNDS} rounds of SHA and a cost of {MOST_COST} of bcrypt are allowed"
    )]
    Costly,
}

// === impl PasswordHash ===

impl PasswordHash {
    /// Hashes a password with SHA-512.
    ///
    /// The salt follows from the service and the user, so that the same call gives the same bytes and no
    /// new revision, and so that one password looks different elsewhere. It does not follow from the
    /// password, of which it would tell.
    pub(super) fn of(service: Option<&ServiceName>, user: &UserName, password: &str) -> Self {
        let mut hash = Sha256::new();
        let service = service.map_or("", ServiceName::as_str);
        hash.update(service.as_bytes());
        // No name holds it, so that no two pairs run together.
        hash.update([0]);
        hash.update(user.as_str().as_bytes());
        let character = |byte: u8| SALT.get(usize::from(byte & 63)).copied().unwrap_or(b'.');
        let salt = hash.finalize().into_iter().take(16).map(character);
        let salt: Vec<u8> = salt.collect();
        // Neither can fail: the rounds are the least there can be, and everything is in memory.
        let hashed = Sha512Params::new(ROUNDS)
            .and_then(|params| sha512_crypt_b64(password.as_bytes(), &salt, &params))
            // What no password matches.
            .unwrap_or_else(|_| "!".to_owned());
        let salt = String::from_utf8_lossy(&salt);
        Self(format!("$6$rounds={ROUNDS}${salt}${hashed}"))
    }

    /// The hash, for whoever writes HAProxy's configuration.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |text: &str| text.bytes().all(|b| SALT.contains(&b));
        let parts: Vec<&str> = text.split('$').collect();
        let rounds = |text: &str| -> Result<(), Self::Err> {
            let rounds = text.strip_prefix("rounds=").and_then(|it| it.parse().ok());
            match rounds {
                Some(0..=MOST_ROUNDS) => Ok(()),
                Some::<u32>(_) => Err(PasswordHashError::Costly),
                None => Err(PasswordHashError::Kind),
            }
        };
        if text.len() > MAX_BYTES {
            return Err(PasswordHashError::Kind);
        }
        match parts.as_slice() {
            [des] if des.len() == 13 && plain(des) => {}
            ["", "1" | "5" | "6", salt, hash] if plain(salt) && plain(hash) && hash.len() >= 22 => {
            }
            ["", "5" | "6", count, salt, hash]
                if plain(salt) && plain(hash) && hash.len() >= 43 =>
            {
                rounds(count)?;
            }
            ["", "2a" | "2b" | "2y", cost, hash] if plain(hash) && hash.len() == 53 => {
                match cost.parse::<u32>() {
                    Ok(4..=MOST_COST) => {}
                    Ok(_) => return Err(PasswordHashError::Costly),
                    Err(_) => return Err(PasswordHashError::Kind),
                }
            }
            _ => return Err(PasswordHashError::Kind),
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = PasswordHashError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_others_are_read_and_costly_ones_refused() {
        let sha = format!("$6$abcdefgh${}", "x".repeat(86));
        let rounds = |count: u64| format!("$6$rounds={count}$abc${}", "x".repeat(86));
        let bcrypt = |cost: &str| format!("$2y${cost}${}", "x".repeat(53));
        for good in [
            sha.as_str(),
            &rounds(5_000),
            &bcrypt("05"),
            "$1$01234567$6BwMXY94PMusrrAkPPBzU1",
            "abvOVwEVZZ8hM",
        ] {
            assert!(good.parse::<PasswordHash>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("geheim", PasswordHashError::Kind),
            ("", PasswordHashError::Kind),
            ("$y$j9T$abc$xyz", PasswordHashError::Kind),
            ("$6$a b$xyz", PasswordHashError::Kind),
            (&format!("{sha}\n"), PasswordHashError::Kind),
            (&rounds(999_999_999), PasswordHashError::Costly),
            (&bcrypt("12"), PasswordHashError::Costly),
        ] {
            assert_eq!(bad.parse::<PasswordHash>(), Err(why), "{bad}");
        }
        let own = PasswordHash::of(None, &"ann".parse().unwrap(), "geheim");
        assert_eq!(own.expose().parse::<PasswordHash>().as_ref(), Ok(&own));
    }
}
