//! A second port of a destination: for requests that came in on another entry port, as those that came
//! over TLS do.

use serde::{Deserialize, Serialize};

use crate::host::Port;

/// Where requests over HTTPS come in that `srcHttpsPort` does not say.
pub const DEFAULT_HTTPS_ENTRY_PORT: u16 = 443;

/// Where other requests then come in that `srcPort` does not say.
pub const DEFAULT_HTTP_ENTRY_PORT: u16 = 80;

/// What `httpsPort` and `srcHttpsPort` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpsPort {
    /// The port that the service listens on for them.
    pub port: Port,
    /// The port that they come in on.
    pub entry_port: Port,
    /// Whether there are others.
    #[serde(default, skip_serializing_if = "OtherRequests::is_default")]
    pub others: OtherRequests,
}

/// Whether a destination with a port for HTTPS takes requests that came in elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OtherRequests {
    /// On its own port.
    #[default]
    Taken,
    /// It does not: it has no other port.
    None,
}

/// Which of its ports a destination stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Leg {
    /// `port`.
    #[default]
    Plain,
    /// `httpsPort`.
    Https,
}

// === impl HttpsPort ===

impl HttpsPort {
    /// Requests that came in on one port go to another.
    #[must_use]
    pub fn new(port: Port, entry_port: Port, others: OtherRequests) -> Self {
        Self {
            port,
            entry_port,
            others,
        }
    }
}

// === impl OtherRequests ===

impl OtherRequests {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        Change, Params, RequestHead, RouteTable, Service, document::Document, host::Port,
        parse_reconfigure, plan,
    };

    fn service(query: &str) -> Arc<Service> {
        let params = Params::from_query(query).unwrap();
        let asked = parse_reconfigure(&params).unwrap();
        assert!(asked.warnings.is_empty(), "{:?}", asked.warnings);
        asked.value.service
    }

    fn who(table: &RouteTable, port: u16) -> Option<String> {
        let request = RequestHead::new(None, b"/a").on_port(Port::new(port).unwrap());
        let found = table.resolve(&request)?;
        Some(found.service.backend_name(found.destination))
    }

    #[test]
    fn requests_go_by_the_port_that_they_came_in_on() {
        let cases = [
            (
                "port=80&httpsPort=8443",
                [Some("a-be80"), Some("https-a-be8443"), None],
            ),
            ("httpsPort=8443", [None, Some("https-a-be8443"), None]),
            (
                "port=80&httpsPort=8443&srcHttpsPort=8000",
                [Some("a-be80"), None, Some("https-a-be8443")],
            ),
            (
                "port=80&httpsPort=8443&srcPort=8000",
                [None, Some("https-a-be8443"), Some("a-be80")],
            ),
        ];
        for (more, wanted) in cases {
            let service = service(&format!("serviceName=a&servicePath=/a&{more}"));
            let table: RouteTable = [Arc::clone(&service)].into_iter().collect();
            let found = [80, 443, 8000].map(|port| who(&table, port));
            assert_eq!(found, wanted.map(|name| name.map(str::to_owned)), "{more}");
            // A document says the same, and says it again.
            let document = Document::from_service(Arc::clone(&service)).unwrap();
            let read = Document::parse(document.raw().as_bytes()).unwrap();
            assert_eq!(read.service().unwrap(), &service, "{more}");
            let gone = table.with(&Change::Remove(service.name().clone()));
            assert_eq!(who(&gone, 443), None);
        }
    }

    #[test]
    fn names_carry_an_index_only_where_there_are_several_destinations() {
        let two = service(
            "serviceName=a&servicePath.1=/a&port.1=80&httpsPort.1=81&servicePath.2=/b&httpsPort.2=82",
        );
        let names: Vec<_> = two
            .destinations()
            .iter()
            .map(|d| two.backend_name(d))
            .collect();
        assert_eq!(names, ["a-be80_1", "https-a-be81_1", "https-a-be82_2"]);
        let objects: Vec<_> = two
            .destinations()
            .iter()
            .map(|d| two.object_name(d, ""))
            .collect();
        assert_eq!(objects, ["a80_1", "https_a81_1", "https_a82_2"]);
    }

    #[test]
    fn one_entry_port_cannot_lead_to_both() {
        let query = "serviceName=a&servicePath=/a&port=80&httpsPort=81&srcPort=443";
        let refused = parse_reconfigure(&Params::from_query(query).unwrap()).unwrap_err();
        assert_eq!(refused.errors[0].parameter, "srcHttpsPort");
        let evil = r#"{"version":2,"name":"a","destinations":[{"port":80,"paths":[],"entryPort":443,"options":{"https":{"port":81,"entryPort":443}}}]}"#;
        assert!(Document::parse(evil.as_bytes()).unwrap().service().is_err());
    }

    #[test]
    fn a_rival_on_one_of_the_ports_is_told() {
        let table: RouteTable = [service("serviceName=a&servicePath=/a&port=1&httpsPort=2")]
            .into_iter()
            .collect();
        let rival = service("serviceName=b&servicePath=/a&port=1&srcPort=443");
        let plan = plan(&table, &[Change::Put(rival)]).unwrap();
        assert_eq!(plan.conflicts.len(), 1);
        assert_eq!(plan.conflicts[0].claim.to_string(), "port 443, path_beg /a");
    }
}
