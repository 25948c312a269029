//! Whole-system stories, told by the tests of this package: real servers with real HAProxy, real
//! Consul and real DNS, several replicas on one machine. The harness is `testkit::topology`.
