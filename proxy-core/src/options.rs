//! What a service and its destinations ask for beside where their requests come from and go to.
//!
//! Each subject is a struct of its own in a module of its own. They are written into documents as they
//! are, under the names of their fields, and left out where they say nothing: a service that asks for
//! none of them is written as version 1, which every release reads.

use serde::{Deserialize, Serialize};

use crate::{
    header::HeaderRules,
    https_port::HttpsPort,
    method::MethodRules,
    mode::{ReqMode, TcpOptions},
    raw::RawLines,
    source::Source,
    tls::TlsRules,
    upstream::UpstreamOptions,
    users::UserList,
};

/// What a whole service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ServiceOptions {
    /// What becomes of headers.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: HeaderRules,
    /// Where its servers come from.
    #[serde(skip_serializing_if = "is_default")]
    pub upstream: UpstreamOptions,
    /// Who may use it; none: whom the settings name, or everybody where they name nobody.
    #[serde(skip_serializing_if = "is_default")]
    pub users: UserList,
    /// Lines for HAProxy itself, at the end of each of its backends.
    #[serde(skip_serializing_if = "is_default")]
    pub backend_extra: RawLines,
    /// Who keeps it as it is, where that is not an operator. It changes nothing that HAProxy does.
    #[serde(skip_serializing_if = "is_default")]
    pub source: Option<Source>,
}

/// What one destination asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct DestinationOptions {
    /// Which methods it takes.
    #[serde(skip_serializing_if = "is_default")]
    pub methods: MethodRules,
    /// The port for requests that came over HTTPS.
    #[serde(skip_serializing_if = "is_default")]
    pub https: Option<HttpsPort>,
    /// What its connections carry.
    #[serde(skip_serializing_if = "is_default")]
    pub req_mode: ReqMode,
    /// What it is asked where they carry no requests.
    #[serde(skip_serializing_if = "is_default")]
    pub tcp: TcpOptions,
    /// TLS to its service, and of its clients.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: TlsRules,
    /// Whether users must say who they are.
    #[serde(skip_serializing_if = "is_default")]
    pub authorization: Authorization,
}

/// Whether users must say who they are, where there are users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Authorization {
    /// They must.
    #[default]
    Asked,
    /// Everybody may come in.
    Ignored,
}

/// Whether a part says nothing, so that documents leave it out.
pub(crate) fn is_default<T: Default + PartialEq>(part: &T) -> bool {
    *part == T::default()
}
