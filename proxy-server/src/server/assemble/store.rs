//! The store of a replica: Consul, or what replicas keep among themselves.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use proxy_consul::{
    CallOutcome, ConsulSettings, ConsulStore, HeldTable, Observer, OnEmptyStore, Operation,
};
use proxy_core::{InstanceId, RouteStore, StoreCondition, ViewSeq};

use crate::{
    contacts::Contacts,
    keeper::Keeper,
    metrics::Metrics,
    patience::Patience,
    settings::{ConsulAddresses, OnEmpty, StoreSettings},
    store::{Others, ReplicatedStore},
};

/// A store, and what else there is because of it.
pub(super) struct Kept {
    pub(super) store: Arc<dyn RouteStore>,
    pub(super) consul: Option<Arc<ConsulStore>>,
    pub(super) keeper: Option<Keeper>,
    /// The same store, where it is the one of replicas without a shared store.
    pub(super) registers: Option<Arc<ReplicatedStore>>,
    pub(super) contacts: Arc<Contacts>,
    /// The view of an earlier run's table, where that is served before the store was asked.
    pub(super) earlier: Option<ViewSeq>,
}

/// Opens the store.
///
/// # Errors
/// When the settings do not go with it, or the folder cannot be used.
pub(super) fn open(
    settings: &StoreSettings,
    state: &Path,
    instance: &InstanceId,
    others: Others,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Kept> {
    match &settings.consul {
        Some(addresses) => follow_consul(settings, addresses, state, instance, metrics),
        None => keep_registers(state, instance, others),
    }
}

fn keep_registers(state: &Path, instance: &InstanceId, others: Others) -> anyhow::Result<Kept> {
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
    Ok(Kept {
        store: Arc::clone(&store) as Arc<dyn RouteStore>,
        consul: None,
        keeper: None,
        registers: Some(store),
        contacts: Arc::default(),
        earlier: None,
    })
}

fn follow_consul(
    settings: &StoreSettings,
    addresses: &ConsulAddresses,
    state: &Path,
    instance: &InstanceId,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Kept> {
    let contacts = addresses.iter().map(ToString::to_string).collect();
    let contacts = Arc::new(Contacts::new(contacts));
    let observer = Arc::new(Counted {
        metrics: Arc::clone(metrics),
        contacts: Arc::clone(&contacts),
    });
    let how = consul_settings(settings, addresses, observer)?;
    let keeper = Keeper::open(state.to_owned(), instance.clone())
        .map_err(|why| anyhow::Error::from_boxed(why).context("STATE_PATH cannot be used"))?;
    let held = keeper
        .held()
        .map(|(revision, stored)| HeldTable::new(revision, stored));
    let on_empty = match settings.on_empty {
        OnEmpty::Refill => OnEmptyStore::Refill,
        OnEmpty::Hold => OnEmptyStore::Hold,
    };
    let consul = ConsulStore::start(&how, instance.clone(), held, on_empty)?;
    let first = consul.view();
    let is_earlier = matches!(first.condition, StoreCondition::Stale { .. });
    let consul = Arc::new(consul);
    Ok(Kept {
        store: Arc::clone(&consul) as Arc<dyn RouteStore>,
        consul: Some(consul),
        keeper: Some(keeper),
        registers: None,
        contacts,
        earlier: is_earlier.then_some(first.seq),
    })
}

fn consul_settings(
    settings: &StoreSettings,
    addresses: &ConsulAddresses,
    observer: Arc<Counted>,
) -> anyhow::Result<ConsulSettings> {
    let mut builder = ConsulSettings::builder(addresses.clone())
        .instance_name(&settings.instance_name)?
        .observer(observer);
    if let Some(token) = &settings.token {
        builder = builder.token(token.clone());
    }
    if let Some(datacenter) = &settings.datacenter {
        builder = builder.datacenter(datacenter.clone());
    }
    let read = |path: &Path, name: &'static str| {
        let read = Patience::with(name, path).read(|| fs::read(path));
        read.with_context(|| format!("{name}: {} cannot be read", path.display()))
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
    Ok(builder.build()?)
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
