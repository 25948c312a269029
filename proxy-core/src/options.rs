//! What a service and its destinations ask for beside where their requests come from and go to.
//!
//! Each subject is a struct of its own in a module of its own. They are written into documents as they
//! are, under the names of their fields, and left out where they say nothing: a service that asks for
//! none of them is written as version 1, which every release reads.

use serde::{Deserialize, Serialize};

use crate::{
    closed::closed_set,
    header::{HeaderLine, HeaderRules},
    https_port::HttpsPort,
    method::MethodRules,
    mode::{ReqMode, TcpOptions},
    raw::RawLines,
    redirect::{DomainRedirect, ForwardedProto, HttpsRules},
    rewrite::PathRewrite,
    source::{Overruled, Source},
    template::Templates,
    tls::TlsRules,
    transfer::{BackendTimeouts, Compression, ConnectionMode},
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
    /// What is replaced in paths, in every destination, before what a destination replaces.
    #[serde(skip_serializing_if = "is_default")]
    pub rewrites: Vec<PathRewrite>,
    /// What becomes of requests for what `X-Forwarded-Proto` says.
    #[serde(skip_serializing_if = "is_default")]
    pub forwarded_proto: ForwardedProto,
    /// What becomes of connections after a response.
    #[serde(skip_serializing_if = "is_default")]
    pub connection_mode: Option<ConnectionMode>,
    /// What is compressed.
    #[serde(skip_serializing_if = "is_default")]
    pub compression: Compression,
    /// Whether its first destination takes the requests that no route takes.
    #[serde(skip_serializing_if = "is_default")]
    pub default_backend: DefaultBackend,
    /// Lines for HAProxy itself, at the end of each of its backends.
    #[serde(skip_serializing_if = "is_default")]
    pub backend_extra: RawLines,
    /// Templates of its own for parts of the configuration.
    #[serde(skip_serializing_if = "is_default")]
    pub templates: Templates,
    /// Who keeps it as it is, where that is not an operator. It changes nothing that HAProxy does.
    #[serde(skip_serializing_if = "is_default")]
    pub source: Option<Source>,
    /// Whose wish an operator has overruled. It changes nothing that HAProxy does.
    #[serde(skip_serializing_if = "is_default")]
    pub overruled: Option<Overruled>,
}

closed_set! {
    /// Whether a service takes the requests that no route takes.
    #[derive(Default)]
    DefaultBackend {
        /// It does not.
        #[default]
        No = "no",
        /// It does. Of several such services the first by its ACL name does.
        Yes = "yes",
    }
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
    /// Which requests it redirects to https or denies.
    #[serde(skip_serializing_if = "is_default")]
    pub redirects: HttpsRules,
    /// The domains whose requests it redirects to another.
    #[serde(skip_serializing_if = "is_default")]
    pub domain_redirect: Option<DomainRedirect>,
    /// What is replaced in paths.
    #[serde(skip_serializing_if = "is_default")]
    pub rewrites: Vec<PathRewrite>,
    /// How long it waits.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: BackendTimeouts,
    /// Where its routes come from.
    #[serde(skip_serializing_if = "is_default")]
    pub routes_from: RoutesFrom,
}

closed_set! {
    /// Where the routes of a destination come from.
    #[derive(Default)]
    RoutesFrom {
        /// From its domains and paths; without a path it is for every path.
        #[default]
        Parameters = "parameters",
        /// From a template alone, which the table knows nothing of: without a path it has no route.
        Template = "template",
    }
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

// === impl ServiceOptions ===

impl ServiceOptions {
    /// The parameters that hold raw HAProxy text, by their names.
    #[must_use]
    pub fn raw_parameters(&self) -> Vec<&'static str> {
        let formats = |lines: &[HeaderLine]| lines.iter().any(HeaderLine::is_format);
        let headers = &self.headers;
        let raw = [
            ("addReqHeader", formats(&headers.add_request)),
            ("setReqHeader", formats(&headers.set_request)),
            ("addResHeader", formats(&headers.add_response)),
            ("setResHeader", formats(&headers.set_response)),
            ("backendExtra", !self.backend_extra.is_empty()),
            ("templateFePath", self.templates.frontend.is_some()),
            ("templateBePath", self.templates.backend.is_some()),
        ];
        let raw = raw.into_iter().filter(|(_, is_raw)| *is_raw);
        raw.map(|(name, _)| name).collect()
    }

    /// Whether another service asks for the same, whoever keeps it.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let kept = |options: &Self| Self {
            source: self.source,
            overruled: self.overruled.clone(),
            ..options.clone()
        };
        *self == kept(other)
    }
}

/// Whether a part says nothing, so that documents leave it out.
pub(crate) fn is_default<T: Default + PartialEq>(part: &T) -> bool {
    *part == T::default()
}
