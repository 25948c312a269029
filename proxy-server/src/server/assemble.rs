//! Putting a replica together from its settings.
//!
//! [`start`] names every part once, in the order in which they come: what can fail for good, then the
//! engine, then what runs beside it, and the admin API last.

mod calls;
mod followers;
mod haproxy;
mod store;

use std::{fs, net::SocketAddr, sync::Arc};

use anyhow::Context;
use proxy_core::{InstanceId, UserRules};
use proxy_peers::{Peers, Realm, Signer};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use self::{calls::Calls, followers::Followers, store::Kept};
use super::{
    Server, Stops,
    serve::{HEAD_DEADLINE, listen, serve, warn_if_open},
};
use crate::{
    api::{Api, Keys, WriteLimits, router},
    carrier::{CatalogFollower, HaproxyCarrier, NameFollower},
    certificates::Certificates,
    drift::DriftCheck,
    dry_run::DryRuns,
    engine::{Engine, Parts},
    metrics::Metrics,
    older::OlderVersions,
    patience::Patience,
    settings::{self, ApiSettings, Settings},
    sources::{self, ParameterRules},
    standing::Station,
    statistics::Statistics,
    store::Others,
    works::Works,
};

/// What the rest of a replica stands on.
struct Ground {
    instance: InstanceId,
    /// The replicas that are one proxy.
    realm: Realm,
    metrics: Arc<Metrics>,
    names: Arc<NameFollower>,
    certificates: Arc<Certificates>,
    peers: Option<Arc<Peers>>,
    kept: Kept,
    catalog: Option<Arc<CatalogFollower>>,
    carrier: Arc<HaproxyCarrier>,
}

pub(super) async fn start(settings: Settings) -> anyhow::Result<Server> {
    let instance = settings::instance_id(random()?).context("this replica has no name")?;
    for (setting, why) in &settings.idle {
        tracing::warn!(setting, why, "the setting does nothing here");
    }
    // What can fail for good comes first, and the port before anything is touched.
    let (listener, address) = port(&settings.api)?;
    let mut ground = Ground::lay(&settings, instance, address).await?;
    let calls = Calls::prepare(&settings, &ground, address)?;
    let stops = Stops::default();

    let state = &settings.state_path;
    let older = Patience::with("STATE_PATH", state).read(|| OlderVersions::read(state));
    let (engine, handle) = Engine::new(Parts {
        served: older.served(ground.kept.store.view().stored.table()),
        store: Arc::clone(&ground.kept.store),
        carrier: Arc::clone(&ground.carrier),
        announce: calls.announcer,
        metrics: Arc::clone(&ground.metrics),
        stop: stops.engine.clone(),
    });
    let mut followers = Followers::until(stops.followers.clone());
    followers.follow_names_and_certificates(&ground, &calls.certificates, &handle);
    let superseded_file = followers.keep_tables(&mut ground.kept, older, &handle);
    followers.keep_registers(&ground.kept, calls.registers);
    let rules = parameter_rules(&settings);
    let way = (&handle, &ground.kept.store);
    let (sources, tasks) = sources::start(settings.sources, rules, way, &stops.followers)?;
    followers.join(tasks);
    // The last that may fail is behind: nothing starts a HAProxy that nobody would end.
    let first = Arc::clone(&calls.certificates);
    let engine = AbortOnDropHandle::new(tokio::spawn(async move {
        first.begin().await;
        engine.run().await;
    }));

    warn_if_open(&settings.api);
    let station = Station::new(
        ground.instance.clone(),
        handle.clone(),
        Arc::clone(&ground.carrier) as _,
        stops.ready.clone(),
    );
    let station = Arc::new(station.after(ground.kept.earlier));
    if let Some(interval) = settings.peers.drift_check {
        let check = DriftCheck {
            station: Arc::clone(&station),
            survey: Arc::clone(&calls.survey),
            store: Arc::clone(&ground.kept.store),
            metrics: Arc::clone(&ground.metrics),
        };
        followers.add(|stop| check.run(interval, stop));
    }
    let dry_runs = DryRuns::new(
        handle.clone(),
        Arc::clone(&ground.kept.store),
        Arc::clone(&ground.carrier) as _,
    );
    let statistics = Statistics::new(Arc::clone(&ground.carrier) as _, calls.statistics);
    let works = Works::default();
    let app = router(Api {
        engine: handle.clone(),
        store: ground.kept.store,
        carrier: Arc::clone(&ground.carrier) as _,
        dry_runs: Arc::new(dry_runs),
        statistics: Arc::new(statistics),
        writes: WriteLimits {
            get_writes: settings.api.get_writes,
            rate: settings.api.write_rate,
        },
        metrics: ground.metrics,
        instance: ground.instance.clone(),
        registers: ground.kept.registers,
        wait_timeout: settings.peers.wait_timeout,
        raw: settings.rules.raw,
        keys: Arc::new(Keys {
            api: settings.api.token,
            peer: settings.peers.secret.as_ref().map(Signer::new),
            realm: Some(ground.realm),
        }),
        station: Arc::clone(&station),
        survey: calls.survey,
        contacts: ground.kept.contacts,
        certificates: ground.certificates,
        sources,
        catalog: ground.catalog,
        exchange: calls.certificates,
        works: works.clone(),
        superseded_file,
    });
    let api = serve(listener, app, HEAD_DEADLINE, stops.api.clone());
    let api = AbortOnDropHandle::new(tokio::spawn(api));
    let instance = ground.instance;
    tracing::info!(%address, %instance, version = env!("CARGO_PKG_VERSION"), "the admin API listens");
    Ok(Server {
        address,
        handle,
        station,
        carrier: ground.carrier,
        consul: ground.kept.consul,
        peers: ground.peers,
        stops,
        api,
        works,
        engine,
        followers: followers.into_tasks(),
    })
}

// === impl Ground ===

impl Ground {
    /// Reads what is on disk, and begins to follow the store and the other replicas.
    async fn lay(
        settings: &Settings,
        instance: InstanceId,
        api: SocketAddr,
    ) -> anyhow::Result<Self> {
        let realm = Realm::new(&settings.store.instance_name);
        let realm = realm.context("PROXY_INSTANCE_NAME cannot be used")?;
        let metrics = Arc::new(Metrics::new());
        let state = &settings.state_path;
        let patience = Patience::with("STATE_PATH", state);
        patience
            .read(|| fs::create_dir_all(state))
            .with_context(|| format!("STATE_PATH {} cannot be made", state.display()))?;

        let resolver = haproxy::resolver(&settings.haproxy)?;
        let mut carrier = haproxy::carrier_settings(&settings.haproxy, &resolver, api)?;
        super::certificates::check_files(settings).await?;
        carrier.render = carrier.render.with_tls(settings.certificates.tls.clone());
        let file = state.join("addresses.json");
        let names = patience.read(|| NameFollower::new(resolver.clone(), file));
        let names = Arc::new(names);
        let certificates = super::certificates::all(settings, &metrics);
        certificates.restore().await;
        certificates.scan().await;
        let peers = calls::peers(settings, &resolver)?;
        let others = match &peers {
            Some(_) => Others::Possible,
            None => Others::None,
        };
        let open = || store::open(&settings.store, state, &instance, others, &metrics);
        let kept = patience.read(open)?;
        let catalog = kept.consul.as_ref().map(|consul| {
            let (client, file) = (consul.client().clone(), state.join("instances.json"));
            let follower = || CatalogFollower::new(client, file, resolver.clone());
            Arc::new(patience.read(follower))
        });
        let configs = &settings.haproxy.configs_path;
        let carrier = Patience::with("CONFIGS_PATH", configs).read(|| {
            HaproxyCarrier::new(
                carrier,
                Arc::clone(&names),
                Arc::clone(&certificates),
                catalog.clone(),
            )
        });
        let carrier = carrier.context("CONFIGS_PATH cannot be used")?;
        Ok(Self {
            instance,
            realm,
            metrics,
            names,
            certificates,
            peers,
            kept,
            catalog,
            carrier: Arc::new(carrier),
        })
    }
}

/// Takes the port of the admin API. Nobody is answered there yet.
fn port(settings: &ApiSettings) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let at = SocketAddr::new(settings.ip, settings.port.get());
    let listener = listen(at);
    let listener = listener.with_context(|| {
        format!("the admin API cannot listen on {at}; is another process there? (IP, PORT)")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// How the parameters of a service are read, whoever brings them.
fn parameter_rules(settings: &Settings) -> ParameterRules {
    let users = UserRules::default().with_global(settings.haproxy.users.clone());
    let entry_ports = settings.haproxy.ports.iter().map(|entry| entry.port);
    let rules = settings
        .rules
        .clone()
        .with_users(users)
        .with_entry_ports(entry_ports.collect());
    let secrets = &settings.certificates.secrets_path;
    ParameterRules::new(rules, secrets, &settings.templates_path)
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(bytes)
}
