//! The keys that Docker Flow Proxy of 2016 left: read, never written.
//!
//! It kept each service below `<instance>/<service>/` as one key per attribute (`path`, `domain`,
//! `port`, `pathtype`, `color`, ...), and an index key `<instance>/service/<service>` with the value
//! `swarm`. The index is not used here: it was written by some modes only, and never deleted.

use std::collections::BTreeMap;

use proxy_core::{CatalogUse, Params, ReconfigureRules, Service, parse_reconfigure_with};

use crate::{client::Client, error::ClientError, kv::KvEntry};

/// Folders below the instance's that are this suite's own.
const OWN: [&str; 2] = ["log", "services"];

/// The folder of the index, and what its keys hold.
const INDEX: &str = "service";
const INDEX_VALUE: &[u8] = b"swarm";

/// Attributes and the parameters that say the same today.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("path", "servicePath"),
    ("domain", "serviceDomain"),
    ("port", "port"),
    ("pathtype", "pathType"),
    ("color", "serviceColor"),
    ("skipcheck", "skipCheck"),
];

/// What the old layout holds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LegacyTable {
    /// The services that can be had today, by name.
    pub services: Vec<std::sync::Arc<Service>>,
    /// Those that cannot.
    pub problems: Vec<LegacyProblem>,
}

/// A service of the old layout that cannot be had today.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service {service:?} of the old layout cannot be imported: {problem}")]
#[non_exhaustive]
pub struct LegacyProblem {
    /// Its name as it stands in the key.
    pub service: String,
    /// Why.
    pub problem: String,
}

/// Reads the old layout of an instance.
///
/// # Errors
/// When no server answered, or the token was refused.
pub async fn read_legacy(client: &Client, instance: &str) -> Result<LegacyTable, ClientError> {
    let folder = format!("{instance}/");
    let entries = client.list(&folder).await?;
    Ok(parse(&folder, &entries))
}

/// The services in the entries below an instance's folder.
fn parse(folder: &str, entries: &[KvEntry]) -> LegacyTable {
    let mut services: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for entry in entries {
        let inner = entry.key.strip_prefix(folder).unwrap_or_default();
        let Some((service, attribute)) = inner.split_once('/') else {
            continue;
        };
        let indexed = service == INDEX && entry.value == INDEX_VALUE;
        if OWN.contains(&service) || indexed || entry.value.is_empty() {
            continue;
        }
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        services
            .entry(service)
            .or_default()
            .insert(attribute, value);
    }
    let mut table = LegacyTable::default();
    for (name, attributes) in services {
        // As it did itself: no path, no service.
        if !attributes.contains_key("path") {
            continue;
        }
        match service(name, &attributes) {
            Ok(service) => table.services.push(service),
            Err(problem) => table.problems.push(LegacyProblem {
                service: name.to_owned(),
                problem,
            }),
        }
    }
    table
}

fn service(
    name: &str,
    attributes: &BTreeMap<&str, String>,
) -> Result<std::sync::Arc<Service>, String> {
    let mut params = Params::default();
    let given = ATTRIBUTES
        .iter()
        .filter_map(|(old, new)| Some((*new, attributes.get(old)?.clone())));
    for (parameter, value) in given.chain([("serviceName", name.to_owned())]) {
        params
            .insert(parameter.to_owned(), value)
            .map_err(|problem| problem.to_string())?;
    }
    // One without a port had its servers from the catalog.
    let rules = ReconfigureRules::default().with_catalog(CatalogUse::WithoutPort);
    let parsed =
        parse_reconfigure_with(&params, &rules).map_err(|problems| problems.to_string())?;
    Ok(parsed.value.service)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(key: &str, value: &'static str) -> KvEntry {
        KvEntry {
            key: key.to_owned(),
            value: Bytes::from_static(value.as_bytes()),
            create_index: 1,
            modify_index: 1,
        }
    }

    #[test]
    fn the_nine_keys_of_a_service_are_read() {
        let entries = [
            entry("docker-flow/go-demo/color", "blue"),
            entry("docker-flow/go-demo/consultemplatebepath", ""),
            entry("docker-flow/go-demo/consultemplatefepath", ""),
            entry("docker-flow/go-demo/domain", "acme.com"),
            entry("docker-flow/go-demo/path", "/demo,/other"),
            entry("docker-flow/go-demo/pathtype", "path_beg"),
            entry("docker-flow/go-demo/port", "8080"),
            entry("docker-flow/go-demo/skipcheck", "false"),
            entry("docker-flow/service/go-demo", "swarm"),
        ];
        let table = parse("docker-flow/", &entries);
        assert_eq!(table.problems, []);
        let [service] = &table.services[..] else {
            panic!("{table:?}")
        };
        let destination = &service.destinations()[0];
        assert_eq!(service.name().as_str(), "go-demo");
        assert_eq!(destination.port().unwrap().get(), 8080);
        assert_eq!(destination.paths().len(), 2);
        assert_eq!(destination.domains().len(), 1);
        assert_eq!(service.color().unwrap().as_str(), "blue");
    }

    #[test]
    fn one_bad_service_does_not_hurt_another() {
        let entries = [
            entry("p/a/path", "/a"),
            entry("p/a/port", "80"),
            entry("p/bad name/path", "/b"),
            entry("p/bad name/port", "80"),
            entry("p/no-path/port", "80"),
            entry("p/no-port/path", "/c"),
            entry("p/no-port/port", ""),
            entry("p/wild/path", "/d\nbackend x"),
            entry("p/wild/port", "80"),
            entry("p/services/ours", "{}"),
            entry("p/log/1", "{}"),
            entry("p/loose", "x"),
        ];
        let table = parse("p/", &entries);
        let names: Vec<_> = table
            .services
            .iter()
            .map(|s| s.name().to_string())
            .collect();
        // Without a port its servers come from the catalog.
        assert_eq!(names, ["a", "no-port"]);
        let service = &table.services[1];
        let key = service.catalog_key(&service.destinations()[0]).unwrap();
        assert_eq!(key.service, "no-port");
        let bad: Vec<_> = table.problems.iter().map(|p| p.service.as_str()).collect();
        assert_eq!(bad, ["bad name", "wild"]);
    }

    #[test]
    fn a_service_called_service_is_told_from_the_index() {
        let entries = [
            entry("p/service/path", "/s"),
            entry("p/service/port", "80"),
            entry("p/service/other", "swarm"),
        ];
        assert_eq!(parse("p/", &entries).services.len(), 1);
        // The index alone, even of a service called `path`.
        let entries = [entry("p/service/path", "swarm")];
        assert!(parse("p/", &entries).services.is_empty());
    }
}
