//! Fakes and sandboxes.
