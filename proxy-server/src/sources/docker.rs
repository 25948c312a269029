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
    query_parameters::{EventsOptionsBuilder, InspectServiceOptions, ListServicesOptionsBuilder},
};
use futures_util::{FutureExt, Stream, StreamExt};
use proxy_core::{Params, ServiceName};

use super::{
    follow::{Extent, List, Listing},
    intake::Wanted,
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
}

// === impl Labels ===

impl Labels {
    pub(super) fn new(host: String) -> Self {
        Self {
            host,
            docker: None,
            events: None,
            called: BTreeMap::new(),
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
        let (mut services, mut extent) = (Vec::new(), Extent::Whole);
        for service in list {
            let Some(spec) = service.spec else {
                extent = Extent::Part;
                continue;
            };
            match told(&spec) {
                Some(Ok(wanted)) => {
                    let name = wanted.params.get("serviceName").map(str::parse);
                    if let Some(Ok(name)) = name {
                        self.called.insert(name, wanted.called.clone());
                    }
                    services.push(wanted);
                }
                Some(Err(why)) => {
                    // What it would be called is not known, so it may be what the list lacks.
                    extent = Extent::Part;
                    tracing::error!(
                        service = spec.name,
                        why,
                        "the labels of a service cannot be read; the others are not touched by it"
                    );
                }
                None => {}
            }
        }
        Ok(Listing { services, extent })
    }

    /// The list is of those with a label: Docker is asked for the service itself.
    async fn is_gone(&mut self, service: &ServiceName) -> bool {
        let called = self.called.get(service).cloned();
        let called = called.unwrap_or_else(|| service.to_string());
        let Ok(docker) = self.docker().await else {
            return false;
        };
        let gone = match docker
            .inspect_service(&called, None::<InspectServiceOptions>)
            .await
        {
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => true,
            Err(_) => false,
            Ok(there) => match there.spec.as_ref().map(told) {
                // It is there, and is called otherwise or not for the proxy any more.
                Some(None) => true,
                Some(Some(Ok(wanted))) => {
                    wanted.params.get("serviceName") != Some(service.as_str())
                }
                _ => false,
            },
        };
        if gone {
            self.called.remove(service);
        }
        gone
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

/// What a service's labels want; none where they do not want anything.
fn told(spec: &ServiceSpec) -> Option<Result<Wanted, String>> {
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
    let mut params = Params::default();
    for (name, value) in said {
        if let Err(problem) = params.insert(name, value) {
            return Some(Err(problem.to_string()));
        }
    }
    Some(Ok(Wanted { called, params }))
}

#[cfg(test)]
mod tests;
