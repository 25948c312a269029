//! Fakes and sandboxes.

#[cfg(feature = "consul")]
pub mod consul;
pub mod corpus;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "haproxy")]
mod guard;
#[cfg(feature = "haproxy")]
pub mod haproxy;
#[cfg(feature = "haproxy")]
pub mod link;
#[cfg(feature = "haproxy")]
pub mod load;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "topology")]
pub mod topology;
