//! HAProxy for the proxy suite.
