//! Consul for tests: [`FakeConsul`] breaks on demand, [`ConsulCluster`] is the program as it is.

mod answer;
mod binary;
mod cluster;
mod fake;
mod http;
mod kv;

pub use binary::{ConsulMissing, consul_binary};
pub use cluster::{
    AclToken, ClusterError, ClusterOptions, ClusterTls, ConsulCluster, Registration,
};
pub use fake::{FakeConsul, FakeServer, Fault, On, Seen};
pub use kv::{FakeEntry, FakeKv, Right};
