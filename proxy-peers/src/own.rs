//! The self-filter: which of the peers is this instance.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;

use crate::address::PeerAddress;

/// The addresses at which this instance hears its peers. It is a first cut that
/// saves a call to oneself: the answer's instance id decides (see
/// [`Identity`](crate::Identity)).
///
/// ```
/// use proxy_peers::OwnAddresses;
///
/// let own = OwnAddresses::of_listener("127.0.0.2:8080".parse()?)?;
/// assert!(own.contains(&"127.0.0.2:8080".parse()?));
/// assert!(!own.contains(&"127.0.0.3:8080".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAddresses {
    ips: BTreeSet<IpAddr>,
    port: u16,
}

impl OwnAddresses {
    /// Reads them: the listener's own address, or, for one on all addresses
    /// (`0.0.0.0`, `::`), those of every interface as they are now.
    ///
    /// # Errors
    /// When the system does not list its interfaces.
    pub fn of_listener(listener: SocketAddr) -> io::Result<Self> {
        let ips = if listener.ip().is_unspecified() {
            interfaces()?
        } else {
            BTreeSet::from([listener.ip()])
        };
        Ok(Self {
            ips,
            port: listener.port(),
        })
    }

    /// Whether a peer is this instance, as far as addresses tell. A peer that is
    /// listed by name never is.
    pub fn contains(&self, peer: &PeerAddress) -> bool {
        peer.socket_addr()
            .is_some_and(|address| address.port() == self.port && self.ips.contains(&address.ip()))
    }

    /// The peers that are not this instance.
    pub fn others<'a>(
        &'a self,
        peers: impl IntoIterator<Item = &'a PeerAddress>,
    ) -> BTreeSet<PeerAddress> {
        peers
            .into_iter()
            .filter(|peer| !self.contains(peer))
            .cloned()
            .collect()
    }
}

fn interfaces() -> io::Result<BTreeSet<IpAddr>> {
    let addresses = getifaddrs().map_err(io::Error::from)?;
    Ok(addresses
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> PeerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn a_listener_on_all_addresses_owns_every_interface_on_its_port_alone() {
        let own = OwnAddresses::of_listener("0.0.0.0:8080".parse().unwrap()).unwrap();

        assert!(own.contains(&peer("127.0.0.1:8080")));
        assert!(!own.contains(&peer("127.0.0.1:8081")));
        // Another replica on this machine's loopback network is not this one.
        assert!(!own.contains(&peer("127.0.0.2:8080")));
        assert!(!own.contains(&peer("localhost:8080")));
    }

    #[test]
    fn the_others_are_what_is_left() {
        let own = OwnAddresses::of_listener("127.0.0.2:1".parse().unwrap()).unwrap();
        let all = [
            peer("127.0.0.2:1"),
            peer("127.0.0.3:1"),
            peer("127.0.0.2:2"),
        ];

        let others = own.others(&all);

        assert_eq!(
            others,
            BTreeSet::from([peer("127.0.0.2:2"), peer("127.0.0.3:1")])
        );
    }
}
