//! What only a real HAProxy can say. Without one these tests fail.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect ends there"
)]

mod bench;
mod cost;
mod differential;
mod ending;
mod every;
mod extras;
mod hostile;
mod liveness;
mod names;
mod own;
mod parameters;
mod ports;
mod runtime;
mod supervisor;
mod takeover;
mod tcp;
mod tls;
mod traffic;
mod users;
mod whole;
