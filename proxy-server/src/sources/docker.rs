//! The labels of Docker's services: `com.df.notify=true`, and `com.df.<parameter>` for each parameter of a call, as
//! docker-flow-swarm-listener reads them. The Docker API is only read.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{EventMessage, Service, ServiceSpec},
    query_parameters::{
        EventsOptionsBuilder, InspectServiceOptions, ListServicesOptions,
        ListServicesOptionsBuilder,
    },
};
use futures_util::{FutureExt, Stream, StreamExt};
use proxy_core::{Params, ServiceName};

use super::{
    follow::{Extent, List, Listing},
    intake::{Unreadable, Wanted},
};
use crate::chain::chain;

/// From a question to the last byte of its answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// The pause before events are asked for again.
const EVENTS_RETRY: Duration = Duration::from_secs(5);
/// What the labels that we read begin with.
const PREFIX: &str = "com.df.";
const NOTIFY: &str = "com.df.notify";
const SHORT_NAME: &str = "com.df.shortName";
/// Docker's own label with the name of a service's stack.
const STACK: &str = "com.docker.stack.namespace";

type Events = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>;

/// The services of a swarm, with their labels.
pub(super) struct Labels {
    host: String,
    docker: Option<Docker>,
    events: Option<Events>,
    /// What the services are called in Docker, also those that a list lacks: the name in the table may be
    /// a shorter one, of which Docker knows nothing.
    called: BTreeMap<ServiceName, String>,
    /// Every service of Docker, where one had to be looked for since the last list.
    all: Option<Vec<Service>>,
}

// === impl Labels ===

impl Labels {
    pub(super) fn new(host: String) -> Self {
        Self {
            host,
            docker: None,
            events: None,
            called: BTreeMap::new(),
            all: None,
        }
    }

    /// The client, which is made anew after each failure: its engine may be another one then.
    async fn docker(&mut self) -> Result<Docker, Error> {
        if let Some(docker) = &self.docker {
            return Ok(docker.clone());
        }
        let seconds = DEADLINE.as_secs();
        let docker = match self.host.starts_with("unix://") {
            true => Docker::connect_with_unix(&self.host, seconds, API_DEFAULT_VERSION),
            false => Docker::connect_with_http(&self.host, seconds, API_DEFAULT_VERSION),
        }?;
        // Old engines refuse new versions, and new ones old versions.
        let docker = docker.negotiate_version().await?;
        self.docker = Some(docker.clone());
        Ok(docker)
    }

    async fn is_gone_as(&mut self, service: &ServiceName, called: &str) -> Result<bool, Error> {
        let docker = self.docker().await?;
        let found = docker.inspect_service(called, None::<InspectServiceOptions>);
        match found.await {
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(true),
            Err(error) => Err(error),
            Ok(there) => Ok(there.spec.is_some_and(|spec| !stands_for(&spec, service))),
        }
    }

    /// Whether no service of Docker, with labels or without, stands for this one.
    async fn is_none_of_all(&mut self, service: &ServiceName) -> Result<bool, Error> {
        let all = match self.all.take() {
            Some(all) => all,
            None => self.everything().await?,
        };
        let mut specs = all.iter().map(|service| service.spec.as_ref());
        let stands = specs.any(|spec| spec.is_none_or(|spec| stands_for(spec, service)));
        self.all = Some(all);
        Ok(!stands)
    }

    async fn everything(&mut self) -> Result<Vec<Service>, Error> {
        let docker = self.docker().await?;
        docker.list_services(None::<ListServicesOptions>).await
    }

    async fn list(&mut self) -> Result<Vec<Service>, Error> {
        let docker = self.docker().await?;
        if self.events.is_none() {
            // From before the list on, so that nothing happens between them unseen.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let since = now.unwrap_or_default().as_secs().to_string();
            let filters = HashMap::from([("type", vec!["service"])]);
            let options = EventsOptionsBuilder::new().since(&since).filters(&filters);
            self.events = Some(Box::pin(docker.events(Some(options.build()))));
        }
        let filters = HashMap::from([("label", vec![NOTIFY])]);
        let options = ListServicesOptionsBuilder::new().filters(&filters);
        docker.list_services(Some(options.build())).await
    }
}

#[async_trait]
impl List for Labels {
    async fn read(&mut self) -> Result<Listing, String> {
        let list = match self.list().await {
            Ok(list) => list,
            Err(error) => {
                (self.docker, self.events) = (None, None);
                return Err(format!("{}: {}", self.host, chain(&error)));
            }
        };
        let mut listing = Listing {
            services: Vec::new(),
            unreadable: Vec::new(),
            extent: Extent::Whole,
        };
        for service in list {
            let Some(spec) = service.spec else {
                let why = "a service in Docker's list has no specification".to_owned();
                listing.extent = Extent::Part(why);
                continue;
            };
            match told(&spec) {
                Some(Ok(wanted)) => {
                    self.called
                        .insert(wanted.name.clone(), wanted.called.clone());
                    listing.services.push(wanted);
                }
                Some(Err(mut unreadable)) => {
                    // It may be called otherwise since it cannot be read.
                    let known = self.called.iter();
                    let known = known.filter(|(_, called)| **called == unreadable.called);
                    unreadable.names.extend(known.map(|(name, _)| name.clone()));
                    listing.unreadable.push(unreadable);
                }
                None => {}
            }
        }
        self.all = None;
        Ok(listing)
    }

    /// The list is of those with a label: Docker is asked for the service itself.
    async fn is_gone(&mut self, service: &ServiceName) -> Result<bool, String> {
        let asked = match self.called.get(service).cloned() {
            Some(called) => self.is_gone_as(service, &called).await,
            // A list of this run never had it, so what Docker calls it is not known: the name in the table
            // may be a shorter one.
            None => self.is_none_of_all(service).await,
        };
        asked.map_err(|error| format!("{}: {}", self.host, chain(&error)))
    }

    fn removed(&mut self, service: &ServiceName) {
        self.called.remove(service);
    }

    async fn changed(&mut self) {
        let Some(events) = &mut self.events else {
            return std::future::pending().await;
        };
        match events.next().await {
            // One change makes several events: the list has all that came so far.
            Some(Ok(_)) => while let Some(Some(Ok(_))) = events.next().now_or_never() {},
            Some(Err(_)) | None => {
                self.events = None;
                // What happened meanwhile was not told: the list is read again, after a pause.
                tokio::time::sleep(EVENTS_RETRY).await;
            }
        }
    }
}

/// Whether a service of Docker is, or may be, the one with this name in the table.
fn stands_for(spec: &ServiceSpec, service: &ServiceName) -> bool {
    match told(spec) {
        // It is there, and not for the proxy any more.
        None => false,
        Some(Ok(wanted)) => wanted.name == *service,
        // A name that cannot be read may be any.
        Some(Err(unreadable)) => unreadable.names.is_empty() || unreadable.names.contains(service),
    }
}

/// What a service's labels want; none where they do not want anything.
pub(super) fn told(spec: &ServiceSpec) -> Option<Result<Wanted, Unreadable>> {
    let labels = spec.labels.as_ref()?;
    if labels.get(NOTIFY).map(String::as_str) != Some("true") {
        return None;
    }
    let called = spec.name.clone().unwrap_or_default();
    let stack = labels.get(STACK).filter(|_| {
        labels
            .get(SHORT_NAME)
            .is_some_and(|short| short.eq_ignore_ascii_case("true"))
    });
    let short = stack.and_then(|stack| called.strip_prefix(&format!("{stack}_")));
    let replicated = spec.mode.as_ref().and_then(|mode| mode.replicated.as_ref());
    let mut said = BTreeMap::from([(
        "serviceName".to_owned(),
        short.unwrap_or(&called).to_owned(),
    )]);
    if let Some(replicas) = replicated.and_then(|replicated| replicated.replicas) {
        said.insert("replicas".to_owned(), replicas.to_string());
    }
    for (label, value) in labels {
        let Some(parameter) = label.strip_prefix(PREFIX) else {
            continue;
        };
        // Those are for us, or for a caller who waits.
        if ![NOTIFY, SHORT_NAME, "com.df.distribute"].contains(&label.as_str()) {
            said.insert(parameter.to_owned(), value.clone());
        }
    }
    let name = said.get("serviceName").and_then(|name| name.parse().ok());
    let mut params = Params::default();
    for (parameter, value) in said {
        if let Err(problem) = params.insert(parameter, value) {
            return Some(Err(Unreadable {
                called,
                names: name.into_iter().collect(),
                why: problem.to_string(),
            }));
        }
    }
    Some(Wanted::new(called, params))
}

#[cfg(test)]
mod tests;
