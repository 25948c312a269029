//! The server of the proxy suite.
