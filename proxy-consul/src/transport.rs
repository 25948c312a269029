//! The one seam between this crate and the network.
//!
//! [`HttpTransport`] is the one of production. Tests bring their own, or a server.

use std::{error::Error as _, fmt, io};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use crate::{
    endpoints::Address,
    error::{FailureKind, Sent, TransportError},
    request::{Method, Request, Response},
    settings::{ConsulSettings, SettingsError},
};

/// Idle connections kept per server. One watch and one writer is the usual load.
const IDLE_PER_SERVER: usize = 4;

/// Sends one request to one address.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends `request` to `address` and reads the whole answer, within the request's deadline.
    ///
    /// # Errors
    /// When no complete answer came. The error says whether the server may have acted.
    async fn send(&self, address: &Address, request: &Request) -> Result<Response, TransportError>;
}

/// Requests over HTTP and HTTPS: pooled, no proxies, no redirects, bounded answers.
pub struct HttpTransport {
    client: reqwest::Client,
    max_answer: usize,
}

// === impl HttpTransport ===

impl HttpTransport {
    /// A transport with the token, TLS and timeouts of the settings.
    ///
    /// # Errors
    /// When the token cannot stand in a header, or a certificate or key cannot be read.
    pub fn new(settings: &ConsulSettings) -> Result<Self, SettingsError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = settings.token() {
            let mut value =
                HeaderValue::from_str(token.expose_secret()).map_err(|_| SettingsError::Token)?;
            value.set_sensitive(true);
            headers.insert("X-Consul-Token", value);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("proxy-consul/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // The walk alone decides what is sent again.
            .retry(reqwest::retry::never())
            .http1_only()
            .pool_max_idle_per_host(IDLE_PER_SERVER)
            .connect_timeout(settings.timeouts().connect);
        if let Some(pem) = settings.tls().ca_pem() {
            let certificates =
                reqwest::Certificate::from_pem_bundle(pem).map_err(SettingsError::Ca)?;
            if certificates.is_empty() {
                return Err(SettingsError::NoCa);
            }
            builder = builder.tls_certs_only(certificates);
        } else if !settings.addresses().iter().any(Address::is_https) {
            // Nobody is asked for a certificate, and reading all that the system trusts takes milliseconds
            // of a start.
            builder = builder.tls_certs_only([]);
        }
        if let Some(pem) = settings.tls().identity_pem() {
            let identity = reqwest::Identity::from_pem(pem.expose_secret())
                .map_err(SettingsError::ClientCertificate)?;
            builder = builder.identity(identity);
        }
        Ok(Self {
            client: builder.build().map_err(SettingsError::Tls)?,
            max_answer: settings.max_answer_bytes(),
        })
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<Bytes, TransportError> {
        let mut body = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + part.len() > self.max_answer {
                let detail = format!("more than {} bytes", self.max_answer);
                return Err(TransportError::new(
                    FailureKind::TooLarge,
                    Sent::Maybe,
                    detail,
                ));
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, address: &Address, request: &Request) -> Result<Response, TransportError> {
        let url = format!("{address}{}", request.path_and_query);
        let call = match request.method {
            Method::Get => self.client.get(url),
            Method::Put => self.client.put(url).body(request.body.clone()),
            Method::Post => self.client.post(url).body(request.body.clone()),
        };
        let answer = call
            .timeout(request.deadline)
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let status = answer.status().as_u16();
        let header = |name| answer.headers().get(name)?.to_str().ok();
        let index = header("X-Consul-Index").and_then(|text| text.parse().ok());
        let is_filtered = header("X-Consul-Results-Filtered-By-ACLs") == Some("true");
        let body = self.read(answer).await?;
        let response = Response::new(status, index, body);
        Ok(match is_filtered {
            true => response.filtered(),
            false => response,
        })
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("max_answer", &self.max_answer)
            .finish_non_exhaustive()
    }
}

/// What an error of the HTTP client means. Only what failed before a connection stood is known not
/// to have been sent.
fn failure(error: &reqwest::Error) -> TransportError {
    let detail = innermost(error);
    if error.is_connect() {
        let kind = if error.is_timeout() {
            FailureKind::ConnectTimeout
        } else if error.is_dns() {
            FailureKind::Dns
        } else {
            FailureKind::Connect
        };
        return TransportError::new(kind, Sent::No, detail);
    }
    if error.is_builder() {
        return TransportError::new(FailureKind::Connect, Sent::No, detail);
    }
    let kind = if error.is_timeout() {
        FailureKind::Timeout
    } else if error.is_decode() && !broken(error) {
        FailureKind::Garbage
    } else {
        FailureKind::Reset
    };
    TransportError::new(kind, Sent::Maybe, detail)
}

/// Whether the cause is a connection that broke, rather than bytes that make no sense.
fn broken(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(one) = cause {
        if one.downcast_ref::<io::Error>().is_some() {
            return true;
        }
        cause = one.source();
    }
    false
}

/// The last error of a chain: the one that says what happened. URLs are not in it.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if cause.source().is_none() && error.source().is_none() {
        return "the request failed".to_owned();
    }
    cause.to_string()
}
