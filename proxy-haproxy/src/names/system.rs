//! What the system knows of names: `resolv.conf` and the hosts file.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use proxy_core::HostName;

const DNS_PORT: u16 = 53;

/// The addresses of each name, in lower case.
pub(super) type Hosts = BTreeMap<String, BTreeSet<IpAddr>>;

/// What of `resolv.conf` matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) nameservers: Vec<SocketAddr>,
    pub(super) search: Vec<HostName>,
}

/// Reads `resolv.conf`; one that is not there is an empty one.
pub(super) fn read_resolv_conf(path: &Path) -> io::Result<ResolvConf> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(ResolvConf::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ResolvConf::parse("")),
        Err(error) => Err(error),
    }
}

/// Reads the hosts file; one that cannot be read knows no name.
pub(super) async fn read_hosts(path: &Path) -> Hosts {
    let path = path.to_path_buf();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    parse_hosts(&text.map(Result::unwrap_or_default).unwrap_or_default())
}

impl ResolvConf {
    /// What cannot be read of it (`sortlist`, options, addresses with a zone) is left out.
    fn parse(text: &str) -> Self {
        let mut this = Self::default();
        for line in lines(text, &['#', ';']) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    this.nameservers
                        .extend(ip.map(|ip| SocketAddr::new(ip, DNS_PORT)));
                }
                // The last of these lines counts.
                Some("search" | "domain") => {
                    this.search = words.filter_map(|word| word.parse().ok()).collect();
                }
                _ => {}
            }
        }
        if this.nameservers.is_empty() {
            this.nameservers
                .push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        this
    }
}

fn parse_hosts(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in lines(text, &['#']) {
        let mut words = line.split_whitespace();
        if let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) {
            for name in words {
                hosts
                    .entry(name.to_ascii_lowercase())
                    .or_default()
                    .insert(ip);
            }
        }
    }
    hosts
}

/// Lines without their comments.
fn lines<'a>(text: &'a str, comments: &'static [char]) -> impl Iterator<Item = &'a str> {
    text.lines()
        .map(move |line| line.split(comments).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let text = "# me\nnameserver 127.0.0.11\nsearch a.example b.example ; x\n\
            nameserver ::1\noptions ndots:0\nnameserver fe80::1%eth0\nsearch c.example\n";
        let read = ResolvConf::parse(text);
        let servers = ["127.0.0.11:53", "[::1]:53"].map(|text| text.parse().unwrap());
        assert_eq!(read.nameservers, servers);
        assert_eq!(read.search, ["c.example".parse().unwrap()]);
        assert_eq!(
            ResolvConf::parse("").nameservers,
            ["127.0.0.1:53".parse().unwrap()]
        );
    }

    #[test]
    fn hosts_are_read() {
        let hosts = parse_hosts("127.0.0.1 localhost\n10.0.0.5\tDb db.local # the old one\nx y\n");
        assert_eq!(hosts["db"].first().unwrap().to_string(), "10.0.0.5");
        assert_eq!(hosts["db"], hosts["db.local"]);
        assert!(!hosts.contains_key("y") && !hosts.contains_key("the"));
    }
}
