//! Compilations of a route table into HAProxy's rules. Each gives the answer of
//! [`RouteTable::resolve`](proxy_core::RouteTable::resolve) for every request.

pub(crate) mod acl;
pub(crate) mod form;
pub(crate) mod map;
mod overlap;
pub(crate) mod rule;
pub(crate) mod sni;
