//! The flags for what a service does with requests and responses.

use clap::Args;

/// What a service does with requests and responses.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Requests and responses")]
pub(crate) struct Options {
    /// Add a header to requests, as `Name value`; repeatable.
    #[arg(long = "add-req-header", alias = "addReqHeader", value_name = "HEADER")]
    add_req_header: Vec<String>,

    /// Set a header in requests, as `Name value`; repeatable.
    #[arg(long = "set-req-header", alias = "setReqHeader", value_name = "HEADER")]
    set_req_header: Vec<String>,

    /// Delete a header from requests; repeatable.
    #[arg(long = "del-req-header", alias = "delReqHeader", value_name = "NAME")]
    del_req_header: Vec<String>,

    /// Add a header to responses, as `Name value`; repeatable.
    #[arg(long = "add-res-header", alias = "addResHeader", value_name = "HEADER")]
    add_res_header: Vec<String>,

    /// Set a header in responses, as `Name value`; repeatable.
    #[arg(long = "set-res-header", alias = "setResHeader", value_name = "HEADER")]
    set_res_header: Vec<String>,

    /// Delete a header from responses; repeatable.
    #[arg(long = "del-res-header", alias = "delResHeader", value_name = "NAME")]
    del_res_header: Vec<String>,

    /// The only methods that are taken; repeat or part by commas.
    #[arg(
        long = "allowed-methods",
        alias = "allowedMethods",
        value_name = "METHOD"
    )]
    allowed_methods: Vec<String>,

    /// Methods that are not taken; repeat or part by commas.
    #[arg(
        long = "denied-methods",
        alias = "deniedMethods",
        value_name = "METHOD"
    )]
    denied_methods: Vec<String>,

    /// Answer requests without TLS with 403.
    #[arg(long = "deny-http", alias = "denyHttp")]
    deny_http: bool,

    /// Redirect requests without TLS to https.
    #[arg(long = "https-only", alias = "httpsOnly")]
    https_only: bool,

    /// The status of redirects to https (302).
    #[arg(
        long = "https-redirect-code",
        alias = "httpsRedirectCode",
        value_name = "CODE"
    )]
    https_redirect_code: Option<String>,

    /// Redirect requests whose X-Forwarded-Proto is http to https.
    #[arg(long = "redirect-when-http-proto", alias = "redirectWhenHttpProto")]
    redirect_when_http_proto: bool,

    /// Redirect requests whose X-Forwarded-Proto is not https to https.
    #[arg(
        long = "redirect-unless-https-proto",
        alias = "redirectUnlessHttpsProto"
    )]
    redirect_unless_https_proto: bool,

    /// Domains that are redirected to the first service domain; repeat or part by commas.
    #[arg(
        long = "redirect-from-domain",
        alias = "redirectFromDomain",
        value_name = "DOMAIN"
    )]
    redirect_from_domain: Vec<String>,

    /// How long to wait for a silent service.
    #[arg(
        long = "timeout-server",
        alias = "timeoutServer",
        value_name = "SECONDS"
    )]
    timeout_server: Option<String>,

    /// How long a silent tunnel (WebSocket) lives.
    #[arg(
        long = "timeout-tunnel",
        alias = "timeoutTunnel",
        value_name = "SECONDS"
    )]
    timeout_tunnel: Option<String>,

    /// What becomes of connections: http-keep-alive, http-server-close or httpclose.
    #[arg(
        long = "connection-mode",
        alias = "connectionMode",
        value_name = "MODE"
    )]
    connection_mode: Option<String>,

    /// How responses are compressed: gzip, deflate, raw-deflate or identity; repeatable.
    #[arg(
        long = "compression-algo",
        alias = "compressionAlgo",
        value_name = "ALGO"
    )]
    compression_algo: Vec<String>,

    /// The media types that are compressed; repeat or part by commas.
    #[arg(
        long = "compression-type",
        alias = "compressionType",
        value_name = "TYPE"
    )]
    compression_type: Vec<String>,

    /// Take the requests that no route takes.
    #[arg(long = "default-backend", alias = "isDefaultBackend")]
    default_backend: bool,

    /// Replace what a regular expression finds in the path; repeatable.
    #[arg(
        long = "req-path-search-replace",
        alias = "reqPathSearchReplace",
        value_name = "SEARCH,REPLACE"
    )]
    req_path_search_replace: Vec<String>,

    /// What to replace in the path (older than --req-path-search-replace).
    #[arg(
        long = "req-path-search",
        alias = "reqPathSearch",
        value_name = "SEARCH"
    )]
    req_path_search: Option<String>,

    /// What takes the place of --req-path-search.
    #[arg(
        long = "req-path-replace",
        alias = "reqPathReplace",
        value_name = "REPLACE"
    )]
    req_path_replace: Option<String>,

    /// A line of HAProxy's language at the end of the backends; repeatable.
    #[arg(long = "backend-extra", alias = "backendExtra", value_name = "LINE")]
    backend_extra: Vec<String>,
}

impl Options {
    /// The parameters that are given, by the names that the API knows.
    pub(super) fn params(&self) -> impl Iterator<Item = (String, String)> {
        let joined = |values: &[String], by: &str| (!values.is_empty()).then(|| values.join(by));
        let flag = |given: bool| given.then(|| "true".to_owned());
        [
            ("addReqHeader", joined(&self.add_req_header, ",")),
            ("setReqHeader", joined(&self.set_req_header, ",")),
            ("delReqHeader", joined(&self.del_req_header, ",")),
            ("addResHeader", joined(&self.add_res_header, ",")),
            ("setResHeader", joined(&self.set_res_header, ",")),
            ("delResHeader", joined(&self.del_res_header, ",")),
            ("allowedMethods", joined(&self.allowed_methods, ",")),
            ("deniedMethods", joined(&self.denied_methods, ",")),
            ("denyHttp", flag(self.deny_http)),
            ("httpsOnly", flag(self.https_only)),
            ("httpsRedirectCode", self.https_redirect_code.clone()),
            ("redirectWhenHttpProto", flag(self.redirect_when_http_proto)),
            (
                "redirectUnlessHttpsProto",
                flag(self.redirect_unless_https_proto),
            ),
            (
                "redirectFromDomain",
                joined(&self.redirect_from_domain, ","),
            ),
            ("timeoutServer", self.timeout_server.clone()),
            ("timeoutTunnel", self.timeout_tunnel.clone()),
            ("connectionMode", self.connection_mode.clone()),
            ("compressionAlgo", joined(&self.compression_algo, ",")),
            ("compressionType", joined(&self.compression_type, ",")),
            ("isDefaultBackend", flag(self.default_backend)),
            (
                "reqPathSearchReplace",
                joined(&self.req_path_search_replace, ":"),
            ),
            ("reqPathSearch", self.req_path_search.clone()),
            ("reqPathReplace", self.req_path_replace.clone()),
            ("backendExtra", joined(&self.backend_extra, "\n")),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    }
}
