//! What a backend does with requests and responses besides passing them on, as templates see it.

use proxy_core::{
    ClientCertificates, Destination, DestinationOptions, HeaderLine, HeaderName, HeaderRules,
    Method, Service, ServiceOptions, ServiceTls,
};
use serde::Serialize;

use crate::raw::RawText;

/// The options of one backend: its service's and its destination's.
#[derive(Debug, Serialize)]
pub(super) struct BackendOptions {
    methods: Methods,
    headers: Headers,
    tls: Tls,
    extra: RawText,
}

#[derive(Debug, Serialize)]
struct Tls {
    /// The service is spoken to with TLS, whatever certificate it shows.
    to_service: bool,
    /// Clients must show a certificate.
    of_clients: bool,
}

/// Every field is there for templates, empty or not.
#[derive(Debug, Serialize)]
struct Methods {
    allowed: Vec<String>,
    denied: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Headers {
    delete_request: Vec<String>,
    set_request: Vec<Header>,
    add_request: Vec<Header>,
    delete_response: Vec<String>,
    set_response: Vec<Header>,
    add_response: Vec<Header>,
}

#[derive(Debug, Serialize)]
struct Header {
    name: String,
    value: String,
}

// === impl BackendOptions ===

impl BackendOptions {
    /// None where neither asks for any.
    pub(super) fn new(service: &Service, destination: &Destination) -> Option<Self> {
        let (of_all, own) = (service.options(), destination.options());
        if *of_all == ServiceOptions::default() && *own == DestinationOptions::default() {
            return None;
        }
        let methods = |methods: &[Method]| methods.iter().map(ToString::to_string).collect();
        Some(Self {
            methods: Methods {
                allowed: methods(&own.methods.allowed),
                denied: methods(&own.methods.denied),
            },
            headers: Headers::new(&of_all.headers),
            tls: Tls {
                to_service: own.tls.to_service == ServiceTls::Unverified,
                of_clients: own.tls.clients == ClientCertificates::Required,
            },
            extra: RawText::from(&of_all.backend_extra),
        })
    }
}

impl Headers {
    fn new(rules: &HeaderRules) -> Self {
        let lines = |lines: &[HeaderLine]| lines.iter().map(Header::new).collect();
        let names = |names: &[HeaderName]| names.iter().map(ToString::to_string).collect();
        Self {
            delete_request: names(&rules.delete_request),
            set_request: lines(&rules.set_request),
            add_request: lines(&rules.add_request),
            delete_response: names(&rules.delete_response),
            set_response: lines(&rules.set_response),
            add_response: lines(&rules.add_response),
        }
    }
}

impl Header {
    fn new(line: &HeaderLine) -> Self {
        Self {
            name: line.name().to_string(),
            value: line.value().to_owned(),
        }
    }
}
