//! Consul for the proxy suite.
