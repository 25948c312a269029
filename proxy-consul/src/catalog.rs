//! The services of Consul's catalog: read, and followed.
//!
//! For programs that send traffic to what is registered in Consul. [`Client::instances`] reads one
//! service; a [`Catalog`] follows as many as its owner wants.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, sendable},
    error::ClientError,
    key::KeyProblem,
    request::{Operation, Request, Response, encode},
};

mod changes;
mod follow;
mod gate;
mod rights;

pub use follow::{Catalog, CatalogView};

/// The most instances of one service that are read. More are left out, and the log says so.
pub const MAX_INSTANCES: usize = 1_000;

/// One registration of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// The node that it is registered on.
    pub node: String,
    /// Its id, unique on the node.
    pub id: String,
    /// Where it listens: an address of its own, else its node's. Usually an IP address; Consul takes
    /// any text.
    pub address: String,
    /// The port; 0 where none is registered.
    pub port: u16,
    /// Its tags.
    pub tags: Vec<String>,
    /// What else was registered with it.
    pub meta: BTreeMap<String, String>,
    /// What its checks say, with those of its node.
    pub health: Health,
}

/// What Consul's checks say of an instance, the worst of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Health {
    /// All pass, or warn; or there are none. Consul's own DNS answers with these.
    Passing,
    /// One fails.
    Critical,
    /// Somebody has taken it, or its node, out of service.
    Maintenance,
}

impl Client {
    /// Reads the instances of a service, whatever their health, in order of node and id. A service
    /// that is not there has none, and so has one that the token may not read: Consul does not say.
    ///
    /// # Errors
    /// When no server answered, the token was refused, or it is no name ([`ClientError::Key`]).
    pub async fn instances(&self, service: &str) -> Result<Vec<Instance>, ClientError> {
        Ok(self.look_at(service).await?.instances)
    }

    /// The same, and whether some were left out that the token may not read.
    async fn look_at(&self, service: &str) -> Result<Shown, ClientError> {
        sendable(Operation::Instances, service, KeyProblem::of_key(service))?;
        let name = encode(service).replace('/', "%2F");
        let path = self.path(&format!("/v1/health/service/{name}"), &[]);
        let request = Request::get(Operation::Instances, path, self.timeouts().request);
        let parse = |response: &Response| {
            Ok(Shown {
                instances: parse_instances(response)?,
                is_filtered: response.is_filtered,
            })
        };
        let mut shown = self.ask(&request, parse).await?.value;
        let count = shown.instances.len();
        if count > MAX_INSTANCES {
            tracing::warn!(service, count, "too many instances; {MAX_INSTANCES} count");
            shown.instances.truncate(MAX_INSTANCES);
        }
        Ok(shown)
    }

    /// The names of all services of the catalog that the token may read.
    ///
    /// # Errors
    /// When no server answered, or the token was refused.
    pub async fn service_names(&self) -> Result<Vec<String>, ClientError> {
        let path = self.path("/v1/catalog/services", &[]);
        let request = Request::get(Operation::Services, path, self.timeouts().request);
        Ok(self.ask(&request, parse_names).await?.value)
    }
}

/// What Consul shows of a service.
#[derive(Debug)]
struct Shown {
    instances: Vec<Instance>,
    /// Whether some were left out that the token may not read.
    is_filtered: bool,
}

/// An entry of the answer to a read of a service's health.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Registered,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Registered {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    // Both are null where there are none.
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    status: String,
}

fn parse_instances(response: &Response) -> Result<Vec<Instance>, String> {
    let entries: Vec<Entry> = parse(response)?;
    let mut instances: Vec<Instance> = entries.into_iter().map(Instance::from).collect();
    instances.sort();
    Ok(instances)
}

fn parse_names(response: &Response) -> Result<Vec<String>, String> {
    let services: BTreeMap<String, serde::de::IgnoredAny> = parse(response)?;
    Ok(services.into_keys().collect())
}

fn parse<T: serde::de::DeserializeOwned>(response: &Response) -> Result<T, String> {
    match response.status {
        200 => serde_json::from_slice(&response.body).map_err(|problem| problem.to_string()),
        other => Err(format!("status {other} {}", response.excerpt())),
    }
}

impl From<Entry> for Instance {
    fn from(entry: Entry) -> Self {
        let Entry {
            node,
            service,
            checks,
        } = entry;
        let checks = checks.iter().map(Check::health);
        Self {
            health: checks.max().unwrap_or(Health::Passing),
            node: node.node,
            id: service.id,
            address: Some(service.address)
                .filter(|address| !address.is_empty())
                .unwrap_or(node.address),
            port: u16::try_from(service.port).unwrap_or_default(),
            tags: service.tags.unwrap_or_default(),
            meta: service.meta.unwrap_or_default(),
        }
    }
}

impl Check {
    fn health(&self) -> Health {
        // The ids that `consul maint` gives its checks.
        let maintenance = ["_node_maintenance", "_service_maintenance:"];
        match &*self.status {
            "passing" | "warning" => Health::Passing,
            _ if maintenance.iter().any(|id| self.id.starts_with(id)) => Health::Maintenance,
            _ => Health::Critical,
        }
    }
}

/// Instances by the name of their service.
type Instances = imbl::OrdMap<Arc<str>, Arc<[Instance]>>;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(body: &'static str) -> Result<Vec<Instance>, String> {
        parse_instances(&Response::new(
            200,
            Some(1),
            Bytes::from_static(body.as_bytes()),
        ))
    }

    #[test]
    fn an_instance_is_where_it_says_or_where_its_node_is() {
        let body = r#"[
            {"Node":{"Node":"n2","Address":"10.0.0.2"},
             "Service":{"ID":"b","Address":"","Port":80,"Tags":null,"Meta":null},"Checks":[]},
            {"Node":{"Node":"n1","Address":"10.0.0.1"},
             "Service":{"ID":"a","Address":"10.9.9.9","Port":81,"Tags":["x"],"Meta":{"k":"v"}},
             "Checks":[{"CheckID":"serfHealth","Status":"passing"}]},
            {"Node":{"Node":"n3","Address":"::1"},
             "Service":{"ID":"c","Port":99999,"Tags":[],"Meta":{}}}]"#;
        let instances = read(body).unwrap();
        let places: Vec<_> = instances.iter().map(|i| (&*i.address, i.port)).collect();
        assert_eq!(places, [("10.9.9.9", 81), ("10.0.0.2", 80), ("::1", 0)]);
        assert_eq!(instances[0].tags, ["x"]);
        assert_eq!(instances[0].meta["k"], "v");
        assert!(instances.iter().all(|i| i.health == Health::Passing));
    }

    #[test]
    fn the_worst_check_counts_and_maintenance_most() {
        let health = |checks: &str| {
            let body = format!(
                r#"[{{"Node":{{"Node":"n"}},"Service":{{"ID":"a"}},"Checks":[{checks}]}}]"#
            );
            let body = Response::new(200, None, Bytes::from(body));
            parse_instances(&body).unwrap()[0].health
        };
        let check = |id: &str, status: &str| format!(r#"{{"CheckID":"{id}","Status":"{status}"}}"#);
        let (good, warns) = (check("a", "passing"), check("b", "warning"));
        assert_eq!(health(&format!("{good},{warns}")), Health::Passing);
        let bad = check("c", "critical");
        assert_eq!(health(&format!("{bad},{good}")), Health::Critical);
        assert_eq!(health(&check("d", "a new word")), Health::Critical);
        for id in ["_node_maintenance", "_service_maintenance:web-1"] {
            let down = check(id, "critical");
            assert_eq!(health(&format!("{good},{down},{bad}")), Health::Maintenance);
        }
    }

    #[test]
    fn what_is_no_answer_of_consul_is_no_empty_service() {
        assert!(read("").is_err());
        assert!(read("{}").is_err());
        assert!(read(r#"[{"Node":{}}]"#).is_err());
        assert_eq!(read("[]"), Ok(Vec::new()));
        let gone = Response::new(404, None, Bytes::new());
        assert!(parse_instances(&gone).is_err());
        assert!(parse_names(&gone).is_err());
    }
}
