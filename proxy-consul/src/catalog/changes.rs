//! Which services a change of the catalog is about, so that only those are read.
//!
//! Consul's blocking queries tell that something changed and not what. What is there once says it: the checks
//! that fail, whose list is short in a healthy cluster, and what is registered on every node, in one answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Deserialize;

use super::{Instances, parse};
use crate::request::Response;

/// A check that fails: node, service and its own id; of a node's own check the service is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Failing {
    node: String,
    #[serde(default)]
    service_name: String,
    #[serde(default, rename = "ServiceID")]
    service_id: String,
    #[serde(rename = "CheckID")]
    id: String,
}

/// All that fail.
pub(super) type AllFailing = BTreeSet<Failing>;

/// What is registered of each service, in lower case, as Consul compares names: nothing else of it counts than
/// whether it is another.
pub(super) type Registered = BTreeMap<String, BTreeSet<Registration>>;

/// An instance with where its node is, and when it was last registered anew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Registration {
    node: Arc<str>,
    node_address: Arc<str>,
    id: String,
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: Arc<str>,
    #[serde(default)]
    address: Arc<str>,
    services: Option<Vec<Service>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    modify_index: u64,
}

pub(super) fn parse_failing(response: &Response) -> Result<AllFailing, String> {
    parse(response)
}

pub(super) fn parse_registered(response: &Response) -> Result<Registered, String> {
    let nodes: Vec<Node> = parse(response)?;
    let mut registered = Registered::new();
    for node in nodes {
        for service in node.services.into_iter().flatten() {
            let name = service.service.to_ascii_lowercase();
            registered.entry(name).or_default().insert(Registration {
                node: Arc::clone(&node.node),
                node_address: Arc::clone(&node.address),
                id: service.id,
                index: service.modify_index,
            });
        }
    }
    Ok(registered)
}

/// The services that are meant by the checks that began or ceased to fail; of a node's own check those that
/// are known to be on it.
pub(super) fn meant(
    (before, now): (&AllFailing, &AllFailing),
    wanted: &BTreeSet<Arc<str>>,
    known: &Instances,
) -> BTreeSet<Arc<str>> {
    let (mut names, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    for check in before.symmetric_difference(now) {
        match check.service_name.as_str() {
            "" => drop(nodes.insert(check.node.as_str())),
            name => drop(names.insert(name.to_ascii_lowercase())),
        }
    }
    let is_meant = |service: &&Arc<str>| {
        let is_on = || {
            let mut instances = known
                .get(*service)
                .into_iter()
                .flat_map(|known| known.iter());
            instances.any(|instance| nodes.contains(instance.node.as_str()))
        };
        names.contains(&service.to_ascii_lowercase()) || (!nodes.is_empty() && is_on())
    };
    wanted.iter().filter(is_meant).cloned().collect()
}

/// The services whose registrations are others.
pub(super) fn registered_anew(
    before: &Registered,
    now: &Registered,
    wanted: &BTreeSet<Arc<str>>,
) -> BTreeSet<Arc<str>> {
    let is_other = |service: &&Arc<str>| {
        let name = service.to_ascii_lowercase();
        before.get(&name) != now.get(&name)
    };
    wanted.iter().filter(is_other).cloned().collect()
}

/// The services behind the one that was last, and from the first again: at most so many.
pub(super) fn in_turn(
    wanted: &BTreeSet<Arc<str>>,
    last: Option<&Arc<str>>,
    most: usize,
) -> Vec<Arc<str>> {
    let is_behind = |name: &&Arc<str>| last.is_none_or(|last| *name > last);
    let behind = wanted.iter().filter(is_behind);
    let before = wanted.iter().filter(|name| !is_behind(name));
    behind.chain(before).take(most).cloned().collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{CatalogView, parse_instances};
    use super::*;

    fn answer(body: &str) -> Response {
        Response::new(200, Some(1), Bytes::copy_from_slice(body.as_bytes()))
    }

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn a_check_means_its_service_and_a_nodes_check_all_that_are_there() {
        let known = r#"[{"Node":{"Node":"n1"},"Service":{"ID":"a"}}]"#;
        let known = parse_instances(&answer(known)).unwrap();
        let known: CatalogView = [("on-n1", known), ("elsewhere", Vec::new())]
            .into_iter()
            .collect();
        let wanted = names(&["Web", "other", "on-n1", "elsewhere"]);
        let failing = |body: &str| parse_failing(&answer(body)).unwrap();
        let of_web = r#"{"Node":"n2","CheckID":"c","ServiceID":"w","ServiceName":"web","Status":"critical"}"#;
        let of_n1 = r#"{"Node":"n1","CheckID":"serfHealth","ServiceID":"","ServiceName":""}"#;
        let none = AllFailing::new();
        let web = failing(&format!("[{of_web}]"));
        let both = failing(&format!("[{of_web},{of_n1}]"));
        let meant = |before, now| meant((before, now), &wanted, &known.services);
        assert_eq!(meant(&none, &web), names(&["Web"]));
        assert_eq!(meant(&web, &none), names(&["Web"]));
        assert_eq!(meant(&web, &both), names(&["on-n1"]));
        assert_eq!(meant(&both, &none), names(&["Web", "on-n1"]));
        assert_eq!(meant(&both, &both), names(&[]));
        assert!(parse_failing(&answer("{}")).is_err());
    }

    #[test]
    fn what_is_registered_anew_is_told_from_the_rest() {
        let nodes = |address: &str, index: u64, more: &str| {
            let body = format!(
                r#"[{{"Node":"n1","Address":"{address}","Checks":[],"Services":[
                    {{"ID":"w","Service":"Web","Port":1,"ModifyIndex":{index}}}{more}]}},
                   {{"Node":"n2","Address":"10.0.0.2","Services":[
                    {{"ID":"o","Service":"other","ModifyIndex":3}}]}},
                   {{"Node":"n3","Address":"10.0.0.3","Services":null}}]"#
            );
            parse_registered(&answer(&body)).unwrap()
        };
        let before = nodes("10.0.0.1", 5, "");
        let wanted = names(&["WEB", "other", "more"]);
        let anew = |now: &Registered| registered_anew(&before, now, &wanted);
        assert_eq!(anew(&before), names(&[]));
        assert_eq!(anew(&nodes("10.0.0.1", 6, "")), names(&["WEB"]));
        assert_eq!(anew(&nodes("10.9.9.9", 5, "")), names(&["WEB"]));
        let more = r#",{"ID":"m","Service":"more","ModifyIndex":7}"#;
        assert_eq!(anew(&nodes("10.0.0.1", 5, more)), names(&["more"]));
        assert_eq!(anew(&Registered::new()), names(&["WEB", "other"]));
        assert!(parse_registered(&answer(r#"{"a":1}"#)).is_err());
    }

    #[test]
    fn all_have_their_turn() {
        let wanted: BTreeSet<Arc<str>> = ["a", "b", "c", "d", "e"].map(Arc::from).into();
        let mut last = None;
        let mut turns = Vec::new();
        for _ in 0..3 {
            let turn = in_turn(&wanted, last.as_ref(), 2);
            last = turn.last().cloned();
            turns.push(turn.concat());
        }
        assert_eq!(turns, ["ab", "cd", "ea"]);
        // The last one may be gone, and the first may come.
        assert_eq!(in_turn(&wanted, Some(&"bb".into()), 9).concat(), "cdeab");
        assert!(in_turn(&BTreeSet::new(), last.as_ref(), 2).is_empty());
    }
}
