//! The `backend` sections: where requests go, and the `resolvers` sections that follow their names.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use proxy_core::{
    CatalogKey, Checks, Destination, Host, HostChecks, Port, RawLines, Service, Session,
};
use serde::Serialize;

use super::{options::BackendOptions, own, secure::SecurePort, users::Auth};
use crate::{
    address_book::{AddressBook, MOST_ADDRESSES, Resolution},
    raw::RawText,
    slots::{MIN_SLOTS, SlotBook, Slots},
};

/// HAProxy asks DNS for every name once an interval, also for those that answer (measured on 2.6). A
/// second follows a moved service at once; many names share this many questions a second.
const DNS_QUESTIONS_A_SECOND: usize = 200;
/// A moved service is followed within this, however many names there are.
const MAX_RESOLVE_INTERVAL: usize = 10;
/// HAProxy compares each name of a `resolvers` section with all others of it, at every check, start and
/// reload: 10,000 names in one section cost 1.1 s, in 32 sections 0.05 s (measured on 2.6). So they are
/// spread over sections of about this many.
pub(super) const NAMES_A_SECTION: usize = 320;
/// Each section has a socket for each name server.
pub(super) const MAX_SECTIONS: usize = 64;

/// One `backend` section, as templates see it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Backend {
    name: String,
    #[serde(flatten)]
    pub(super) at: Server,
    /// None where everybody may come in.
    auth: Option<Auth>,
    /// The name of the cookie that ties clients to servers, where there is one.
    cookie: Option<String>,
    /// None where requests and responses are passed on as they are.
    options: Option<BackendOptions>,
    /// What the service's own template gives in place of servers; none without one.
    own_lines: Option<RawText>,
}

/// One `server` line, as templates see it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Server {
    /// Its name.
    server: String,
    /// What stands before a number where it is several servers.
    numbered: String,
    /// Where it is; of a service whose servers come from a catalog, nowhere.
    address: String,
    /// The servers of a service whose servers come from a catalog; otherwise there are none.
    slots: Vec<Slot>,
    /// Whether HAProxy checks those.
    check_slots: bool,
    /// The name has several addresses, and this many servers share them; otherwise nothing.
    spread_over: Option<usize>,
    /// Of those, what each begins with but the first: as many as may have a known address.
    begin: Vec<String>,
    /// Whether HAProxy checks a server that has a host name.
    check_host: bool,
    /// The address is a name: the addresses to begin with, for `init-addr`.
    init_addr: Option<String>,
    /// The address family that HAProxy asks DNS for first.
    prefer: &'static str,
    /// The `resolvers` section that follows the name.
    resolvers: String,
}

/// One server of a backend whose servers come from a catalog.
#[derive(Debug, PartialEq, Serialize)]
struct Slot {
    server: String,
    address: String,
    /// It takes no requests.
    disabled: bool,
}

/// The address of a server that takes no requests, which HAProxy wants to have all the same. Nobody
/// listens there; one of zeroes would mean the address that the client asked for.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The servers of a service that is spread over the addresses of a name and does not say how many it is
/// meant to have.
const UNKNOWN_REPLICAS: usize = 16;

// === impl Backend ===

impl Backend {
    pub(super) fn new(
        name: String,
        service: &Service,
        destination: &Destination,
        addresses: &AddressBook,
        secure: SecurePort,
    ) -> Self {
        let sticky = service.options().upstream.session == Session::Sticky;
        Self {
            cookie: sticky.then(|| name.clone()),
            name,
            at: Server::new(service, destination, addresses),
            auth: None,
            options: BackendOptions::new(service, destination, secure),
            own_lines: None,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// Takes what the service's own template gives in place of servers.
    pub(super) fn give_lines(
        &mut self,
        lines: RawLines,
        service: &Service,
        to: &Destination,
        addresses: &AddressBook,
    ) {
        // A name that is not the destination's has another address, and HAProxy asks DNS for it as soon as
        // it can: it must not wait for the system's answer before it starts.
        let is_alone = own::are_at(&lines, &dns_name(service.host_of(to)));
        if self.at.init_addr.is_none() || !is_alone {
            self.at.init_addr = Some("last,none".to_owned());
        }
        let lines = match is_alone {
            true => lines,
            false => own::begun_apart(&lines, addresses),
        };
        self.own_lines = Some(RawText::from(&lines));
    }

    /// Whether its name is one in so many.
    pub(super) fn begins_one_in(&self, many: u32) -> bool {
        hash(&self.name).is_multiple_of(many as usize)
    }

    /// Whether the service's own template says what its servers are.
    pub(super) fn has_own_lines(&self) -> bool {
        self.own_lines.is_some()
    }

    /// Whether a template must do more for it than pass requests on.
    pub(super) fn has_options(&self) -> bool {
        self.options.is_some()
    }

    /// Whether it is for certain users only.
    pub(super) fn asks_for_users(&self) -> bool {
        self.auth.is_some()
    }

    pub(super) fn with_auth(self, auth: Option<Auth>) -> Self {
        Self { auth, ..self }
    }
}

// === impl Server ===

impl Server {
    pub(super) fn new(
        service: &Service,
        destination: &Destination,
        addresses: &AddressBook,
    ) -> Self {
        if let Some(key) = service.catalog_key(destination) {
            return Self::of_catalog(service, &key, addresses.slots());
        }
        // Those without a port come from the catalog.
        let port = destination.port().map_or(0, Port::get);
        let host = service.host_of(destination);
        let resolution = addresses.get(host);
        let (address, init_addr) = match (host.ip(), resolution) {
            (Some(ip), _) | (None, Resolution::System { address: ip }) => {
                (SocketAddr::new(ip, port).to_string(), None)
            }
            (None, resolution) => {
                let init_addr = init_addr_of(resolution.address());
                (format!("{}:{port}", dns_name(host)), Some(init_addr))
            }
        };
        let upstream = &service.options().upstream;
        // One that only this system knows has one address.
        let spread_over = (upstream.spreads_over_dns() && init_addr.is_some()).then(|| {
            let meant = upstream.replicas.map_or(0, |replicas| replicas.get());
            spread_over(meant.into())
        });
        let begin = spread_over.map_or_else(Vec::new, |servers| {
            let mut known = addresses.all(host).into_iter().skip(1);
            let listed = servers.min(MOST_ADDRESSES);
            (1..listed).map(|_| init_addr_of(known.next())).collect()
        });
        Self {
            server: service.name().to_string(),
            numbered: format!("{}-", service.name()),
            address,
            begin,
            slots: Vec::new(),
            check_slots: false,
            check_host: upstream.host_checks == HostChecks::On || spread_over.is_some(),
            spread_over,
            init_addr,
            // HAProxy would ask for IPv6 first and move a server there that answered on IPv4.
            prefer: match resolution.address() {
                Some(last) if last.is_ipv6() => "ipv6",
                _ => "ipv4",
            },
            resolvers: String::new(),
        }
    }

    fn of_catalog(service: &Service, key: &CatalogKey, slots: &SlotBook) -> Self {
        let none = Slots::default().filled_with(&BTreeSet::new());
        let slots = slots.get(key).unwrap_or(&none).as_slice().iter();
        Self {
            server: service.name().to_string(),
            numbered: format!("{}-", service.name()),
            address: String::new(),
            slots: slots
                .enumerate()
                .map(|(nth, address)| Slot::new(service, nth, *address))
                .collect(),
            check_slots: key.checks != Checks::Skipped,
            spread_over: None,
            begin: Vec::new(),
            check_host: false,
            init_addr: None,
            prefer: "ipv4",
            resolvers: String::new(),
        }
    }

    /// The same among servers of other services, where its own has come before so often: called so that
    /// none of the several that it may be is called as another. No service's name begins with a dot.
    pub(super) fn among_others(self, server: String, before: usize) -> Self {
        let numbered = format!(".{}{}", ".".repeat(before), self.numbered);
        let slots = self.slots.into_iter().zip(1..).map(|(slot, nth)| Slot {
            server: format!("{numbered}{nth}"),
            ..slot
        });
        Self {
            slots: slots.collect(),
            server,
            numbered,
            ..self
        }
    }
}

impl Slot {
    fn new(service: &Service, nth: usize, address: Option<SocketAddr>) -> Self {
        Self {
            server: format!("{}-{}", service.name(), nth + 1),
            address: address.unwrap_or(NOWHERE).to_string(),
            disabled: address.is_none(),
        }
    }
}

/// What a server with a name begins with: it never waits for the system's answer.
pub(super) fn init_addr_of(known: Option<IpAddr>) -> String {
    match known {
        Some(known) => format!("last,{known},none"),
        None => "last,none".to_owned(),
    }
}

/// How many servers have a name that HAProxy follows.
pub(super) fn count_names(servers: &[&mut Server]) -> usize {
    let named = servers.iter().filter(|server| server.init_addr.is_some());
    named.map(|server| server.spread_over.unwrap_or(1)).sum()
}

/// How many servers share the addresses of a name: more than there are meant to be, since a deployment may
/// start new ones before it ends old ones, and so that a few more need no reload. What is too much waits
/// for an address and costs next to nothing.
fn spread_over(meant: usize) -> usize {
    match meant {
        0 => UNKNOWN_REPLICAS,
        meant => (meant + 1).next_power_of_two().max(MIN_SLOTS),
    }
}

/// Gives every name its `resolvers` section, and the names of the sections. Which one follows from the
/// name, so that one name is asked for once however many backends have it.
pub(super) fn spread(servers: &mut [&mut Server]) -> Vec<String> {
    let count = count_names(servers)
        .div_ceil(NAMES_A_SECTION)
        .next_power_of_two()
        .min(MAX_SECTIONS);
    let section = |number: usize| match number {
        0 => "dns".to_owned(),
        more => format!("dns-{}", more + 1),
    };
    for server in servers {
        let name = server.address.rsplit_once(':').map(|(name, _)| name);
        server.resolvers = section(hash(name.unwrap_or_default()) % count);
    }
    (0..count).map(section).collect()
}

/// FNV-1a: the same in every process and release, so that the same table gives the same bytes.
fn hash(text: &str) -> usize {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step) as usize
}

pub(super) fn resolve_interval(names: usize) -> Duration {
    let seconds = names
        .div_ceil(DNS_QUESTIONS_A_SECOND)
        .clamp(1, MAX_RESOLVE_INTERVAL);
    Duration::from_secs(seconds as u64)
}

/// HAProxy's resolvers ask for the name as it is, and a dot at its end is an empty label to them.
pub(super) fn dns_name(host: &Host) -> String {
    host.to_string().trim_end_matches('.').to_owned()
}
