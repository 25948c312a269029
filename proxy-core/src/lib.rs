//! The pure heart of the proxy suite.
