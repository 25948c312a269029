//! Putting a replica together from its settings.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use proxy_consul::{
    CallOutcome, ConsulSettings, ConsulStore, HeldTable, Observer, OnEmptyStore, Operation,
};
use proxy_core::{InstanceId, RouteStore, UserRules};
use proxy_haproxy::{
    AccessLog, Bind, BindAddress, NameResolver, RenderSettings, RunPath, Template, Timeouts,
    TlsMode,
};
use proxy_peers::{
    Broadcast, BroadcastSettings, Discover, DnsDiscover, FollowSettings, NameServers, Peers, Signer,
};

use super::{
    Server, Stops,
    error_files::extras,
    serve::{HEAD_DEADLINE, listen, serve, warn_if_open},
};
use crate::{
    announce::{Announce, AnnouncerSettings, PeerAnnouncer, identity},
    api::{Api, Keys, MAX_TABLE_BODY, WriteLimits, router},
    carrier::{CarrierSettings, CatalogFollower, HaproxyCarrier, NameFollower},
    certificates,
    contacts::Contacts,
    drift::DriftCheck,
    dry_run::DryRuns,
    engine::{Engine, Parts},
    keep,
    keeper::Keeper,
    metrics::Metrics,
    older::OlderVersions,
    settings::{self, Discovery, EntryTls, HaproxySettings, OnEmpty, Settings, StoreSettings},
    sources::{self, ParameterRules},
    standing::{PeerSurvey, Station, Survey},
    statistics::{MAX_STATISTICS_BYTES, Statistics},
    store::{CALL_DEADLINE, Exchange, MOST_ASKED, Others, ReplicatedStore},
    works::Works,
};

/// A store, and what else there is because of it.
struct Kept {
    store: Arc<dyn RouteStore>,
    consul: Option<Arc<ConsulStore>>,
    keeper: Option<Keeper>,
    /// The same store, where it is the one of replicas without a shared store.
    registers: Option<Arc<ReplicatedStore>>,
    contacts: Arc<Contacts>,
}

pub(super) async fn start(settings: Settings) -> anyhow::Result<Server> {
    let instance = settings::instance_id(random()?).context("this replica has no name")?;
    let metrics = Arc::new(Metrics::new());
    let stops = Stops::default();

    for (setting, why) in &settings.idle {
        tracing::warn!(setting, why, "the setting does nothing here");
    }
    // What can fail for good comes first, and the port before anything is touched.
    let at = SocketAddr::new(settings.api.ip, settings.api.port.get());
    let listener = listen(at);
    let listener = listener.with_context(|| {
        format!("the admin API cannot listen on {at}; is another process there? (IP, PORT)")
    })?;
    let address = listener.local_addr()?;
    let state = &settings.state_path;
    fs::create_dir_all(state)
        .with_context(|| format!("STATE_PATH {} cannot be made", state.display()))?;

    let resolver = resolver(&settings.haproxy)?;
    let mut carrier = carrier_settings(&settings.haproxy, &resolver, at)?;
    super::certificates::check_files(&settings)?;
    carrier.render = carrier.render.with_tls(settings.certificates.tls.clone());
    let names = Arc::new(NameFollower::new(
        resolver.clone(),
        state.join("addresses.json"),
    ));
    let certificates = super::certificates::all(&settings, &metrics);
    certificates.restore().await;
    certificates.scan().await;
    let peers = peers(&settings, &resolver)?;
    let others = match &peers {
        Some(_) => Others::Possible,
        None => Others::None,
    };
    let kept = kept(&settings.store, state, &instance, others, &metrics)?;
    let catalog = kept.consul.as_ref().map(|consul| {
        let (client, file) = (consul.client().clone(), state.join("instances.json"));
        Arc::new(CatalogFollower::new(client, file, resolver.clone()))
    });
    let carrier = HaproxyCarrier::new(
        carrier,
        Arc::clone(&names),
        Arc::clone(&certificates),
        catalog.clone(),
    );
    let carrier = Arc::new(carrier.context("CONFIGS_PATH cannot be used")?);
    let broadcast = broadcast(&settings, &instance)?;
    let source = source(&settings.peers.discovery);
    // With places of its own, so that no status holds up an announcement.
    let survey = self::broadcast(&settings, &instance)?;
    let survey = PeerSurvey::new(peers.clone(), &survey, source.clone());
    let announcer = AnnouncerSettings {
        instance: instance.clone(),
        own_address: address.to_string(),
        source,
        registers: kept.registers.clone(),
        wait_timeout: settings.peers.wait_timeout,
    };
    let announcer = PeerAnnouncer::new(peers.clone(), broadcast, announcer, Arc::clone(&metrics));
    let older = OlderVersions::read(state);
    let (engine, handle) = Engine::new(Parts {
        served: older.served(kept.store.view().stored.table()),
        store: Arc::clone(&kept.store),
        carrier: Arc::clone(&carrier),
        announce: Arc::new(announcer) as Arc<dyn Announce>,
        metrics: Arc::clone(&metrics),
        stop: stops.engine.clone(),
    });
    let exchange = super::certificates::exchange(
        &settings,
        &certificates,
        peers.clone(),
        calls(&settings, &instance),
        address.to_string(),
    )?;
    let first = Arc::clone(&exchange);
    let engine = tokio::spawn(async move {
        first.begin().await;
        engine.run().await;
    });

    let mut followers = vec![tokio::spawn(names.follow(stops.followers.clone()))];
    followers.push(tokio::spawn(certificates::follow(
        Arc::clone(&certificates),
        Arc::clone(&exchange),
        handle.clone(),
        stops.followers.clone(),
    )));
    if let Some(catalog) = catalog.clone() {
        followers.push(tokio::spawn(catalog.follow(stops.followers.clone())));
    }
    followers.push(tokio::spawn(keep::follow(
        older,
        handle.snapshots(),
        stops.followers.clone(),
    )));
    let superseded_file = match kept.keeper {
        Some(keeper) => {
            let file = keeper.superseded();
            let stop = stops.followers.clone();
            let keeping = keep::follow(keeper, handle.snapshots(), stop);
            followers.push(tokio::spawn(keeping));
            file
        }
        None => match &kept.registers {
            Some(store) => store.superseded_file(),
            None => tokio::sync::watch::channel(None).1,
        },
    };
    if let (Some(store), Some(peers)) = (&kept.registers, &peers) {
        let calls = calls(&settings, &instance)
            .fan_out(MOST_ASKED)
            .attempts(1)
            .attempt_deadline(CALL_DEADLINE)
            .total_deadline(CALL_DEADLINE)
            .max_reply_bytes(MAX_TABLE_BODY);
        let broadcast = Broadcast::over_http(calls)?;
        let exchange = Exchange::new(Arc::clone(store), Arc::clone(peers), broadcast);
        followers.push(tokio::spawn(exchange.run(stops.followers.clone())));
    } else if let Some(store) = &kept.registers {
        let keeping = Arc::clone(store).keep_house(stops.followers.clone());
        followers.push(tokio::spawn(keeping));
    }

    let calls = calls(&settings, &instance);
    let users = UserRules::default().with_global(settings.haproxy.users.clone());
    let raw = settings.rules.raw;
    let entry_ports = settings.haproxy.ports.iter().map(|entry| entry.port);
    let rules = settings
        .rules
        .with_users(users)
        .with_entry_ports(entry_ports.collect());
    let secrets = &settings.certificates.secrets_path;
    let rules = ParameterRules::new(rules, secrets, &settings.templates_path);
    let way = (&handle, &kept.store);
    let (sources, tasks) = sources::start(settings.sources, rules, way, &stops.followers)?;
    followers.extend(tasks);
    warn_if_open(&settings.api);
    let station = Station::new(
        instance.clone(),
        handle.clone(),
        Arc::clone(&carrier) as _,
        stops.ready.clone(),
    );
    let (station, survey) = (Arc::new(station), Arc::new(survey) as Arc<dyn Survey>);
    if let Some(interval) = settings.peers.drift_check {
        let check = DriftCheck {
            station: Arc::clone(&station),
            survey: Arc::clone(&survey),
            store: Arc::clone(&kept.store),
            metrics: Arc::clone(&metrics),
        };
        followers.push(tokio::spawn(check.run(interval, stops.followers.clone())));
    }
    let others = match &peers {
        Some(peers) => {
            let calls = calls.max_reply_bytes(MAX_STATISTICS_BYTES).attempts(1);
            Some((Arc::clone(peers), Broadcast::over_http(calls)?))
        }
        None => None,
    };
    let statistics = Statistics::new(Arc::clone(&carrier) as _, others);
    let dry_runs = DryRuns::new(
        handle.clone(),
        Arc::clone(&kept.store),
        Arc::clone(&carrier) as _,
    );
    let works = Works::default();
    let app = router(Api {
        dry_runs: Arc::new(dry_runs),
        statistics: Arc::new(statistics),
        writes: WriteLimits {
            get_writes: settings.api.get_writes,
            rate: settings.api.write_rate,
        },
        engine: handle.clone(),
        store: kept.store,
        station: Arc::clone(&station),
        survey,
        contacts: kept.contacts,
        certificates,
        exchange,
        works: works.clone(),
        carrier: Arc::clone(&carrier) as _,
        metrics,
        instance: instance.clone(),
        registers: kept.registers,
        wait_timeout: settings.peers.wait_timeout,
        raw,
        keys: Arc::new(Keys {
            api: settings.api.token,
            peer: settings.peers.secret.as_ref().map(Signer::new),
        }),
        sources,
        catalog,
        superseded_file,
    });
    let api = serve(listener, app, HEAD_DEADLINE, stops.api.clone());
    let api = tokio::spawn(api);
    tracing::info!(%address, %instance, version = env!("CARGO_PKG_VERSION"), "the admin API listens");
    Ok(Server {
        address,
        handle,
        station,
        carrier,
        consul: kept.consul,
        peers,
        stops,
        api,
        works,
        engine,
        followers,
    })
}

fn kept(
    settings: &StoreSettings,
    state: &Path,
    instance: &InstanceId,
    others: Others,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Kept> {
    let Some(addresses) = &settings.consul else {
        let store = Arc::new(ReplicatedStore::open(state, instance.clone(), others)?);
        let folder = state.display();
        match others {
            Others::None => {
                tracing::info!(%folder, "CONSUL_ADDRESS is not set: this replica keeps the table by itself");
            }
            Others::Possible => {
                tracing::info!(%folder, "CONSUL_ADDRESS is not set: the replicas keep the table among themselves, and of two changes of one service at the same moment the last writer wins");
            }
        }
        return Ok(Kept {
            store: Arc::clone(&store) as Arc<dyn RouteStore>,
            consul: None,
            keeper: None,
            registers: Some(store),
            contacts: Arc::default(),
        });
    };
    let contacts = addresses.iter().map(ToString::to_string).collect();
    let contacts = Arc::new(Contacts::new(contacts));
    let mut builder = ConsulSettings::builder(addresses.clone())
        .instance_name(&settings.instance_name)?
        .observer(Arc::new(Counted {
            metrics: Arc::clone(metrics),
            contacts: Arc::clone(&contacts),
        }));
    if let Some(token) = &settings.token {
        builder = builder.token(token.clone());
    }
    if let Some(datacenter) = &settings.datacenter {
        builder = builder.datacenter(datacenter.clone());
    }
    let read = |path: &Path, name: &str| {
        fs::read(path).with_context(|| format!("{name}: {} cannot be read", path.display()))
    };
    if let Some(path) = &settings.ca_file {
        builder = builder.ca_pem(read(path, "CONSUL_CA_FILE")?);
    }
    if let Some((cert, key)) = &settings.client_files {
        let (cert, key) = (
            read(cert, "CONSUL_CERT_FILE")?,
            read(key, "CONSUL_KEY_FILE")?,
        );
        builder = builder.client_certificate(&cert, &key);
    }
    let keeper = Keeper::open(state.to_owned(), instance.clone())
        .map_err(|why| anyhow::Error::from_boxed(why).context("STATE_PATH cannot be used"))?;
    let held = keeper
        .held()
        .map(|(revision, stored)| HeldTable::new(revision, stored));
    let on_empty = match settings.on_empty {
        OnEmpty::Refill => OnEmptyStore::Refill,
        OnEmpty::Hold => OnEmptyStore::Hold,
    };
    let consul = ConsulStore::start(&builder.build()?, instance.clone(), held, on_empty)?;
    let consul = Arc::new(consul);
    Ok(Kept {
        store: Arc::clone(&consul) as Arc<dyn RouteStore>,
        consul: Some(consul),
        keeper: Some(keeper),
        registers: None,
        contacts,
    })
}

fn resolver(settings: &HaproxySettings) -> anyhow::Result<NameResolver> {
    let resolver = match settings.dns_servers.as_slice() {
        [] => NameResolver::system()?,
        servers => NameResolver::new(servers.to_vec(), Vec::new())?,
    };
    Ok(resolver.with_hosts_file(&settings.hosts_file))
}

fn carrier_settings(
    settings: &HaproxySettings,
    resolver: &NameResolver,
    api: SocketAddr,
) -> anyhow::Result<CarrierSettings> {
    let run = RunPath::new(&settings.run_path).context("RUN_PATH cannot be used")?;
    let address = settings
        .bind_address
        .map_or(BindAddress::Any, BindAddress::Ip);
    let binds = settings.ports.iter().map(|entry| {
        Bind::plain(address, entry.port).with_tls(match entry.tls {
            EntryTls::Plain => TlsMode::Plain,
            EntryTls::WhenCertificate => TlsMode::TlsWhenCertificate,
        })
    });
    let timeouts = &settings.timeouts;
    let mut haproxy = Timeouts::default();
    haproxy.connect = timeouts.connect;
    haproxy.client = timeouts.client;
    haproxy.server = timeouts.server;
    haproxy.queue = timeouts.queue;
    haproxy.http_request = timeouts.http_request;
    haproxy.http_keep_alive = timeouts.http_keep_alive;
    haproxy.tunnel = timeouts.tunnel;
    // Every password is there: the settings were read so.
    let users = settings.users.resolve(None, &[]).context("USERS")?;
    let mut render = RenderSettings::new(run.clone())
        .with_binds(binds.collect())
        .with_nameservers(resolver.nameservers().to_vec())
        .with_timeouts(haproxy)
        .with_extras(extras(settings))
        .with_compression(settings.compression.clone())
        .with_routing(settings.routing)
        .with_order(settings.route_order)
        .with_users(users)
        .with_access_log(match settings.access_log {
            settings::AccessLog::Off => AccessLog::Off,
            settings::AccessLog::Stdout => AccessLog::Stdout,
        });
    if let Some(path) = &settings.template {
        let text = fs::read_to_string(path);
        let text =
            text.with_context(|| format!("CFG_TEMPLATE_PATH: {} cannot be read", path.display()))?;
        let template = Template::new(text).context("CFG_TEMPLATE_PATH is no template")?;
        render = render.with_template(template);
    }
    Ok(CarrierSettings {
        program: settings.program(),
        configs_path: settings.configs_path.clone(),
        run,
        render,
        api,
        refused: settings.refused,
    })
}

fn peers(settings: &Settings, resolver: &NameResolver) -> anyhow::Result<Option<Arc<Peers>>> {
    let source: Arc<dyn Discover> = match &settings.peers.discovery {
        Discovery::None => return Ok(None),
        Discovery::List(list, _) => Arc::new(list.clone()),
        Discovery::Dns(name) => {
            let servers = NameServers::Given(resolver.nameservers().to_vec());
            let port = std::num::NonZeroU16::new(settings.api.port.get()).context("PORT is 0")?;
            Arc::new(DnsDiscover::new(name, port, servers))
        }
    };
    Ok(Some(Arc::new(Peers::follow(
        source,
        FollowSettings::default(),
    ))))
}

/// What every call to another replica carries.
fn calls(settings: &Settings, instance: &InstanceId) -> BroadcastSettings {
    let mut calls = BroadcastSettings::default();
    if let Some(identity) = identity(instance) {
        calls = calls.identity(identity);
    }
    match (&settings.peers.secret, &settings.api.token) {
        (Some(secret), _) => calls.signer(Signer::new(secret)),
        (None, Some(token)) => calls.bearer(token.clone()),
        (None, None) => calls,
    }
}

fn broadcast(settings: &Settings, instance: &InstanceId) -> anyhow::Result<Broadcast> {
    let wait_timeout = settings.peers.wait_timeout;
    let calls = calls(settings, instance)
        .total_deadline(wait_timeout)
        .attempt_deadline(wait_timeout);
    Ok(Broadcast::over_http(calls)?)
}

/// How discovery is called in answers: the DNS name or the list.
fn source(discovery: &Discovery) -> String {
    match discovery {
        Discovery::Dns(name) => name.clone(),
        Discovery::List(_, text) => text.clone(),
        Discovery::None => String::new(),
    }
}

/// Counts requests to the store, and notes how its servers answer.
#[derive(Debug)]
struct Counted {
    metrics: Arc<Metrics>,
    contacts: Arc<Contacts>,
}

impl Observer for Counted {
    fn request(
        &self,
        address: &proxy_consul::Address,
        operation: Operation,
        outcome: CallOutcome,
        took: Duration,
    ) {
        let address = address.to_string();
        self.contacts.note(&address, outcome.as_str());
        self.metrics
            .store_request(&address, operation.as_str(), outcome.as_str(), took);
    }
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(bytes)
}
