//! Fakes and sandboxes.

#[cfg(feature = "dns")]
pub mod dns;
