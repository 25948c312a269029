//! The crate against a fake that breaks as scripted, and against the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod catalog;
mod client;
mod empty;
mod history;
mod panics;
mod real;
mod store;
mod support;
mod wrong;
