//! The cluster's catalog: what is registered, and what its checks say.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::json;

use super::{ClusterError, ConsulCluster};

/// A registration of a service, with one check.
#[derive(Clone, Debug)]
pub struct Registration {
    service: String,
    id: String,
    address: SocketAddr,
    status: &'static str,
    tags: Vec<String>,
}

// === impl Registration ===

impl Registration {
    /// An instance that passes its check.
    #[must_use]
    pub fn new(service: &str, id: &str, address: SocketAddr) -> Self {
        Self {
            service: service.to_owned(),
            id: id.to_owned(),
            address,
            status: "passing",
            tags: Vec::new(),
        }
    }

    /// With this state of its check: `passing`, `warning` or `critical`.
    #[must_use]
    pub fn status(self, status: &'static str) -> Self {
        Self { status, ..self }
    }

    /// With a tag.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    /// The node that it is registered on: one of its own, as registrators of containers do it.
    #[must_use]
    pub fn node(&self) -> String {
        format!("node-of-{}", self.id)
    }
}

impl ConsulCluster {
    /// Registers an instance, or changes the state of its check.
    ///
    /// # Errors
    /// When no server takes it.
    pub async fn register(&self, instance: &Registration) -> Result<(), ClusterError> {
        let body = json!({
            "Node": instance.node(),
            "Address": "127.0.0.1",
            "Service": {
                "ID": instance.id,
                "Service": instance.service,
                "Address": instance.address.ip(),
                "Port": instance.address.port(),
                "Tags": instance.tags,
            },
            "Check": {
                "CheckID": format!("service:{}", instance.id),
                "Name": "alive",
                "ServiceID": instance.id,
                "Status": instance.status,
            },
        });
        self.catalog("/v1/catalog/register", &body).await
    }

    /// Takes an instance out of service, as `consul maint` does.
    ///
    /// # Errors
    /// When no server takes it.
    pub async fn maintain(&self, instance: &Registration) -> Result<(), ClusterError> {
        let body = json!({
            "Node": instance.node(),
            "Address": "127.0.0.1",
            "SkipNodeUpdate": true,
            "Check": {
                "CheckID": format!("_service_maintenance:{}", instance.id),
                "Name": "Service Maintenance Mode",
                "ServiceID": instance.id,
                "Status": "critical",
            },
        });
        self.catalog("/v1/catalog/register", &body).await
    }

    /// Removes an instance.
    ///
    /// # Errors
    /// When no server takes it.
    pub async fn deregister(&self, instance: &Registration) -> Result<(), ClusterError> {
        let body = json!({ "Node": instance.node(), "ServiceID": instance.id });
        self.catalog("/v1/catalog/deregister", &body).await
    }

    async fn catalog(&self, path: &str, body: &serde_json::Value) -> Result<(), ClusterError> {
        let body = Some(body.to_string().into_bytes());
        self.any(Method::PUT, path, body).await.map(drop)
    }
}
