//! Whether HAProxy could bind an address, tried before it is told to.
//!
//! `haproxy -c` does not see a port in use, and the reload that fails on it leaves the old worker's
//! ports unbound for two seconds.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
};

use crate::settings::{Bind, BindAddress};

/// Why an address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("{bind} cannot be bound: {}", match source.kind() {
    io::ErrorKind::AddrInUse => "something else listens there",
    io::ErrorKind::PermissionDenied => "this user may not use the port",
    io::ErrorKind::AddrNotAvailable => "this machine does not have the address",
    _ => "the system refuses it",
})]
pub struct BindError {
    /// What was tried.
    pub bind: Bind,
    /// Why it failed.
    #[source]
    source: io::Error,
}

/// Binds an address and lets it go. Only for addresses that HAProxy does not hold yet: its own are
/// in use like any other's. Something may still take the address before HAProxy does.
///
/// # Errors
/// When it cannot be bound.
pub fn probe_bind(bind: &Bind) -> Result<(), BindError> {
    let ip = match bind.address {
        BindAddress::Any => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        BindAddress::Ip(ip) => ip,
    };
    TcpListener::bind(SocketAddr::new(ip, bind.port.get()))
        .map(drop)
        .map_err(|source| BindError {
            bind: *bind,
            source,
        })
}

impl BindError {
    /// Whether something else listens there, so that it may be free later.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: &str, port: u16) -> Bind {
        Bind::plain(
            address.parse().unwrap(),
            proxy_core::Port::new(port).unwrap(),
        )
    }

    #[test]
    fn a_port_in_use_is_found() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = probe_bind(&bind("127.0.0.1", port)).unwrap_err();
        assert!(error.is_in_use());
        assert_eq!(
            error.to_string(),
            format!("127.0.0.1:{port} cannot be bound: something else listens there")
        );
        assert!(probe_bind(&bind("*", port)).is_err());
        drop(holder);
        probe_bind(&bind("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_found() {
        let error = probe_bind(&bind("192.0.2.1", 8080)).unwrap_err();
        assert!(!error.is_in_use());
    }
}
