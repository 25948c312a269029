//! Peers for the proxy suite.
