//! Who the other replicas are, and what each part asks of them.

use std::{net::SocketAddr, num::NonZeroU16, sync::Arc};

use anyhow::Context;
use proxy_haproxy::NameResolver;
use proxy_peers::{
    Broadcast, BroadcastSettings, Discover, DnsDiscover, FollowSettings, NameServers, Peers, Signer,
};

use super::Ground;
use crate::{
    announce::{Announce, AnnouncerSettings, PeerAnnouncer, identity},
    api::MAX_TABLE_BODY,
    certificates::CertificateExchange,
    server::certificates,
    settings::{Discovery, Settings},
    standing::{PeerSurvey, Survey},
    statistics::MAX_STATISTICS_BYTES,
    store::{CALL_DEADLINE, Exchange, MAX_DIGEST_BYTES},
};

/// What is asked of other replicas. Each part has places of its own for its calls, so that none holds up
/// another's: no status an announcement.
pub(super) struct Calls {
    /// Tells them of changes.
    pub(super) announcer: Arc<dyn Announce>,
    /// Asks where they stand.
    pub(super) survey: Arc<dyn Survey>,
    /// Shares certificates with them.
    pub(super) certificates: Arc<CertificateExchange>,
    /// Compares registers with them; none where the store is shared, or there are no others.
    pub(super) registers: Option<Exchange>,
    /// Asks for their HAProxy's figures.
    pub(super) statistics: Option<(Arc<Peers>, Broadcast)>,
}

// === impl Calls ===

impl Calls {
    /// Prepares them; nobody is called yet.
    pub(super) fn prepare(
        settings: &Settings,
        ground: &Ground,
        own_address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let peers = &ground.peers;
        let calls = basis(settings, ground);
        let wait_timeout = settings.peers.wait_timeout;
        let waited_for = calls
            .clone()
            .total_deadline(wait_timeout)
            .attempt_deadline(wait_timeout);
        let source = source(&settings.peers.discovery);

        let announced = Broadcast::over_http(waited_for.clone())?;
        let surveyed = Broadcast::over_http(waited_for)?;
        let announcer = AnnouncerSettings {
            instance: ground.instance.clone(),
            own_address: own_address.to_string(),
            source: source.clone(),
            registers: ground.kept.registers.clone(),
            wait_timeout,
        };
        let metrics = Arc::clone(&ground.metrics);
        let announcer = PeerAnnouncer::new(peers.clone(), announced, announcer, metrics);
        let certificates = certificates::exchange(
            settings,
            &ground.certificates,
            peers.clone(),
            calls.clone(),
            own_address.to_string(),
        )?;
        let registers = match (&ground.kept.registers, peers) {
            (Some(store), Some(peers)) => {
                let calls = calls
                    .clone()
                    .attempts(1)
                    .attempt_deadline(CALL_DEADLINE)
                    .total_deadline(CALL_DEADLINE);
                let polling = calls.clone().max_reply_bytes(MAX_DIGEST_BYTES);
                let copying = calls.max_reply_bytes(MAX_TABLE_BODY);
                let broadcasts = [
                    Broadcast::over_http(polling)?,
                    Broadcast::over_http(copying)?,
                ];
                let (store, peers) = (Arc::clone(store), Arc::clone(peers));
                Some(Exchange::new(store, peers, broadcasts))
            }
            _ => None,
        };
        let statistics = match peers {
            Some(peers) => {
                let calls = calls.max_reply_bytes(MAX_STATISTICS_BYTES).attempts(1);
                Some((Arc::clone(peers), Broadcast::over_http(calls)?))
            }
            None => None,
        };
        Ok(Self {
            announcer: Arc::new(announcer),
            survey: Arc::new(PeerSurvey::new(peers.clone(), &surveyed, source)),
            certificates,
            registers,
            statistics,
        })
    }
}

/// The other replicas, which are followed from now on; none where this one is alone, or the others
/// follow the store.
pub(super) fn peers(
    settings: &Settings,
    resolver: &NameResolver,
) -> anyhow::Result<Option<Arc<Peers>>> {
    let source: Arc<dyn Discover> = match &settings.peers.discovery {
        Discovery::None => return Ok(None),
        Discovery::List(list, _) => Arc::new(list.clone()),
        Discovery::Dns(name) => {
            let servers = NameServers::Given(resolver.nameservers().to_vec());
            let port = NonZeroU16::new(settings.api.port.get()).context("PORT is 0")?;
            Arc::new(DnsDiscover::new(name, port, servers))
        }
    };
    let peers = Peers::follow(source, FollowSettings::default());
    Ok(Some(Arc::new(peers)))
}

/// What every call to another replica carries.
fn basis(settings: &Settings, ground: &Ground) -> BroadcastSettings {
    let mut calls = BroadcastSettings::default().realm(ground.realm.clone());
    if let Some(identity) = identity(&ground.instance) {
        calls = calls.identity(identity);
    }
    match (&settings.peers.secret, &settings.api.token) {
        (Some(secret), _) => calls.signer(Signer::new(secret)),
        (None, Some(token)) => calls.bearer(token.clone()),
        (None, None) => calls,
    }
}

/// How discovery is called in answers: the DNS name or the list.
fn source(discovery: &Discovery) -> String {
    match discovery {
        Discovery::Dns(name) => name.clone(),
        Discovery::List(_, text) => text.clone(),
        Discovery::None => String::new(),
    }
}
