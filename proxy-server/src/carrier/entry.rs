//! The ports that services ask for (`srcPort` with `reqMode=tcp` or `sni`), tried before HAProxy is told
//! to bind them.
//!
//! HAProxy's own check does not see a port in use, and a reload that then fails costs seconds of refused
//! connections (measured). So a port that HAProxy does not hold yet is bound here first, and whoever asks
//! for one that cannot be had is refused with the reason.

use std::{collections::BTreeSet, net::SocketAddr};

use proxy_core::{Port, RouteTable};
use proxy_haproxy::{Bind, BindAddress, probe_bind};

use super::CheckError;
use crate::chain::chain;

/// What the ports of services must not meet.
#[derive(Debug)]
pub(crate) struct EntryPorts {
    /// Where HAProxy takes requests.
    binds: Vec<Bind>,
    /// Where the admin API listens.
    api: SocketAddr,
}

// === impl EntryPorts ===

impl EntryPorts {
    /// Beside these.
    pub(crate) fn new(binds: Vec<Bind>, api: SocketAddr) -> Self {
        Self { binds, api }
    }

    /// Whether HAProxy can have every port that a table asks for; `held` are those that it has.
    pub(crate) fn check(
        &self,
        table: &RouteTable,
        held: &BTreeSet<Port>,
    ) -> Result<(), CheckError> {
        for port in table.tcp_ports() {
            let why = match self.taken(port) {
                Some(why) => why,
                None if held.contains(&port) => continue,
                None => match self.probe(port) {
                    Ok(()) => continue,
                    Err(why) => why,
                },
            };
            let asking: BTreeSet<&str> = table
                .tcp_routes(port)
                .iter()
                .map(|route| route.service.name().as_str())
                .collect();
            let asking = asking.into_iter().collect::<Vec<_>>().join(", ");
            return Err(CheckError::Rejected {
                words: format!(
                    "srcPort {port} of {asking} cannot be had: {why}; choose another, or free it"
                ),
            });
        }
        Ok(())
    }

    /// What of the proxy itself has the port.
    fn taken(&self, port: Port) -> Option<String> {
        if self.binds.iter().any(|bind| bind.port == port) {
            let why = "the proxy takes HTTP requests there (DEFAULT_PORTS)";
            return Some(why.to_owned());
        }
        let api = self.api.ip();
        let meets = |address: BindAddress| match address {
            BindAddress::Ip(ip) => ip == api || ip.is_unspecified() || api.is_unspecified(),
            _ => true,
        };
        let collides =
            self.api.port() == port.get() && self.binds.iter().any(|bind| meets(bind.address));
        collides.then(|| "the admin API listens there (PORT)".to_owned())
    }

    fn probe(&self, port: Port) -> Result<(), String> {
        let addresses: BTreeSet<_> = self.binds.iter().map(|bind| bind.address).collect();
        for address in addresses {
            probe_bind(&Bind::plain(address, port)).map_err(|error| chain(&error))?;
        }
        Ok(())
    }
}

/// The ports that a configuration binds.
pub(crate) fn bound_ports(config: &str) -> BTreeSet<Port> {
    let lines = config.lines().map(str::trim_start);
    let binds = lines.filter_map(|line| line.strip_prefix("bind ")?.split(' ').next());
    binds
        .filter_map(|bind| bind.rsplit_once(':')?.1.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proxy_core::{Params, parse_reconfigure};

    use super::*;

    fn table(ports: &[u16]) -> RouteTable {
        let services = ports.iter().map(|port| {
            let query = format!("serviceName=db{port}&reqMode=tcp&srcPort={port}&port=1");
            let params = Params::from_query(&query).unwrap();
            parse_reconfigure(&params).unwrap().value.service
        });
        services.collect()
    }

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn words(checked: Result<(), CheckError>) -> String {
        match checked.unwrap_err() {
            CheckError::Rejected { words } => words,
            CheckError::Unable { why } => panic!("{why}"),
        }
    }

    #[test]
    fn a_port_that_cannot_be_had_is_refused_and_says_whose_it_is() {
        // At an address of its own: what is let go here, no other test takes.
        let holder = TcpListener::bind("127.61.0.1:0").unwrap();
        let used = holder.local_addr().unwrap().port();
        let local = "127.61.0.1".parse().unwrap();
        let web = Bind::plain(local, port(80));
        let ports = EntryPorts::new(vec![web], "127.61.0.1:8080".parse().unwrap());
        let none = BTreeSet::new();
        for (asked, held, why) in [
            (80, &none, "DEFAULT_PORTS"),
            (8080, &none, "PORT"),
            (used, &none, "something else listens there"),
        ] {
            let words = words(ports.check(&table(&[asked]), held));
            assert!(words.contains(why), "{words}");
            assert!(
                words.contains(&format!("srcPort {asked} of db{asked}")),
                "{words}"
            );
        }
        // What HAProxy holds is in use by itself.
        ports.check(&table(&[used]), &[port(used)].into()).unwrap();
        drop(holder);
        ports.check(&table(&[used]), &none).unwrap();
    }

    #[test]
    fn the_admin_api_elsewhere_is_in_nobodys_way() {
        let there = |bind: &str| Bind::plain(bind.parse().unwrap(), port(80));
        let taken = |bind: &str, api: &str| {
            let ports = EntryPorts::new(vec![there(bind)], api.parse().unwrap());
            ports.taken(port(8080)).is_some()
        };
        assert!(taken("*", "127.0.0.1:8080"));
        assert!(taken("127.0.0.1", "0.0.0.0:8080"));
        assert!(!taken("127.0.0.2", "127.0.0.1:8080"));
        assert!(!taken("*", "127.0.0.1:8081"));
    }

    #[test]
    fn what_runs_says_what_it_binds() {
        let config =
            "frontend a\n    bind *:80\n    bind [::1]:443 ssl crt x\n    bind /run/x.sock\n";
        assert_eq!(bound_ports(config), [port(80), port(443)].into());
    }
}
