//! What a backend does with requests and responses besides passing them on, as templates see it.

use proxy_core::{
    ClientCertificates, Destination, DestinationOptions, DomainPattern, DomainRedirect,
    ForwardedProto, HeaderLine, HeaderName, HeaderRules, Leg, PathRewrite, PlainHttp, Seconds,
    Service, ServiceOptions, ServiceTls,
};
use serde::Serialize;

use super::{compression::CompressionLines, secure::SecurePort};
use crate::{expression::Expression, raw::RawText};

/// The options of one backend: its service's and its destination's. Every field is there for templates,
/// empty or not.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct BackendOptions {
    /// HAProxy's option for it.
    connection_mode: Option<&'static str>,
    timeouts: Timeouts,
    compression: CompressionLines,
    methods: Methods,
    plain_http: PlainHttp,
    /// What the URL begins with that such a redirect leads to, as a format; none: that of the request, but for https.
    secure_url: Option<Expression>,
    redirect_code: String,
    forwarded_proto: ForwardedProto,
    domain_redirect: Option<Redirect>,
    /// The formats of the path, one after the other.
    rewrites: Vec<Expression>,
    headers: Headers,
    tls: Tls,
    extra: RawText,
}

#[derive(Debug, PartialEq, Serialize)]
struct Tls {
    /// The service is spoken to with TLS, whatever certificate it shows.
    to_service: bool,
    /// Clients must show a certificate.
    of_clients: bool,
}

#[derive(Debug, PartialEq, Serialize)]
struct Timeouts {
    server: Option<String>,
    tunnel: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Methods {
    allowed: Vec<String>,
    denied: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Redirect {
    domains: Vec<String>,
    /// The ends of domains, each with its dot.
    endings: Vec<String>,
    to: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Headers {
    delete_request: Vec<String>,
    set_request: Vec<Header>,
    add_request: Vec<Header>,
    delete_response: Vec<String>,
    set_response: Vec<Header>,
    add_response: Vec<Header>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Header {
    name: String,
    /// A format.
    value: Expression,
}

// === impl BackendOptions ===

impl BackendOptions {
    /// None where neither asks for any.
    pub(super) fn new(
        service: &Service,
        destination: &Destination,
        secure: SecurePort,
    ) -> Option<Self> {
        let (of_all, own) = (service.options(), destination.options());
        if *of_all == ServiceOptions::default() && *own == DestinationOptions::default() {
            return None;
        }
        let time = |length: Option<Seconds>| length.map(|length| format!("{}s", length.get()));
        Some(Self {
            connection_mode: of_all
                .connection_mode
                .map(proxy_core::ConnectionMode::option),
            timeouts: Timeouts {
                server: time(own.timeouts.server),
                tunnel: time(own.timeouts.tunnel),
            },
            compression: CompressionLines::new(&of_all.compression),
            methods: Methods {
                allowed: texts(&own.methods.allowed),
                denied: texts(&own.methods.denied),
            },
            // What came in on the port for HTTPS is plain only where there is no certificate yet, and
            // would be sent back to where it came in, again and again.
            plain_http: match (destination.leg(), own.redirects.plain_http) {
                (Leg::Https, PlainHttp::Redirected) => PlainHttp::default(),
                (_, plain_http) => plain_http,
            },
            secure_url: match (of_all.forwarded_proto, own.redirects.plain_http) {
                (ForwardedProto::Ignored, PlainHttp::Redirected) => {
                    secure.url(own.https.map(|https| https.entry_port))
                }
                // Whoever says how a request came in has ports of its own.
                _ => None,
            },
            redirect_code: own.redirects.redirect_code.to_string(),
            forwarded_proto: of_all.forwarded_proto,
            domain_redirect: own.domain_redirect.as_ref().map(Redirect::new),
            rewrites: of_all
                .rewrites
                .iter()
                .chain(&own.rewrites)
                .map(rewritten)
                .collect(),
            headers: Headers::new(&of_all.headers),
            tls: Tls {
                to_service: own.tls.to_service == ServiceTls::Unverified,
                of_clients: own.tls.clients == ClientCertificates::Required,
            },
            extra: RawText::from(&of_all.backend_extra),
        })
    }
}

impl Redirect {
    fn new(redirect: &DomainRedirect) -> Self {
        let (mut domains, mut endings) = (Vec::new(), Vec::new());
        for pattern in redirect.from() {
            match pattern {
                DomainPattern::Wildcard(domain) => endings.push(format!(".{domain}")),
                other => domains.push(other.domain().to_string()),
            }
        }
        Self {
            domains,
            endings,
            to: redirect.to().to_string(),
        }
    }
}

impl Headers {
    fn new(rules: &HeaderRules) -> Self {
        let lines = |lines: &[HeaderLine]| lines.iter().map(Header::new).collect();
        let names = |names: &[HeaderName]| texts(names);
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
            value: line.value().into(),
        }
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// The path with what the expression finds replaced, as a format. What would be empty or begin with another character
/// begins with a slash: anything else is no path, and makes a request that no service can read.
fn rewritten(rewrite: &PathRewrite) -> Expression {
    let (search, replace) = (argument(rewrite.search()), argument(rewrite.replace()));
    format!("%[path,regsub({search},{replace}),regsub('^/?','/')]").into()
}

/// A text as one argument of a converter, whatever it holds (configuration manual, section 2.2). This is
/// within the quoting of the word.
fn argument(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
