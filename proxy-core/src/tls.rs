//! TLS as a destination asks for it: to its service, and of its clients.

use serde::{Deserialize, Serialize};

use crate::options::is_default;

/// TLS on both sides of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsRules {
    /// How its service is spoken to.
    #[serde(skip_serializing_if = "is_default")]
    pub to_service: ServiceTls,
    /// Which clients it takes.
    #[serde(skip_serializing_if = "is_default")]
    pub clients: ClientCertificates,
}

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ServiceTls {
    /// As it comes, without TLS.
    #[default]
    Plain,
    /// With TLS, whatever certificate it shows.
    Unverified,
}

/// Which clients are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ClientCertificates {
    /// All of them.
    #[default]
    Any,
    /// Those that show a certificate of an authority that the proxy was given. Others are answered with
    /// 403, as are those that come without TLS.
    Required,
}
