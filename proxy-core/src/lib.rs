//! The heart of a reverse proxy for services that come and go: what a service is, how its
//! parameters are read, which route a request takes, what a change would do, and the seam to the
//! store that remembers it all.
//!
//! For engineers who build a proxy, a controller or a linter of their own. The crate is pure: it
//! has no runtime, clock, environment, files or logging.
//!
//! ```
//! use proxy_core::{Change, Params, RequestHead, RouteTable, parse_reconfigure, plan};
//!
//! let params = Params::from_query("serviceName=go-demo&servicePath=/demo&port=8080")?;
//! let asked = parse_reconfigure(&params)?;
//! let plan = plan(&RouteTable::new(), &[Change::Put(asked.value.service)])?;
//!
//! let request = RequestHead::new(Some(b"acme.com"), b"/demo/hello?x=1");
//! let found = plan.after.resolve(&request).expect("the route was just added");
//! assert_eq!(found.service.backend_name(found.destination), "go-demo-be8080");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | use |
//! |---|---|
//! | read parameters | [`Params`], [`parse_reconfigure`], [`parse_remove`] |
//! | hold services | [`Service`], [`RouteTable`], [`Change`] |
//! | see what a change does | [`plan()`] |
//! | route a request | [`RouteTable::resolve`], [`Route`], [`Rank`] |
//! | write services down | [`Document`], [`CommitRecord`] |
//! | remember | [`RouteStore`], [`MemoryStore`] |
//! | agree without a store | [`RegisterSet`] |
//!
//! # Foreign types in this interface
//! `SecretString` of `secrecy`, where a password is taken; `Value` of `serde_json`, as which
//! [`Document::shown`] gives a document; the traits of `serde`, which what is stored implements; and
//! `async_trait`, with which [`RouteStore`] is implemented.
//!
//! The crate has no features.

mod closed;
mod condition;
mod destination;
mod document;
mod domain;
mod explain;
mod field;
mod header;
mod host;
mod https_port;
mod index;
mod memory;
mod method;
mod mode;
mod name;
mod options;
mod params;
mod path;
mod plan;
mod quoting;
mod raw;
mod reconfigure;
mod redirect;
mod register;
mod revision;
mod rewrite;
mod route;
mod service;
mod source;
mod store;
mod stored;
mod table;
mod tcp;
mod template;
mod tls;
mod transfer;
mod upstream;
mod users;
mod words;

pub use closed::NotInSet;
pub use condition::{ConditionError, HeaderMatch, MAX_CONDITION_BYTES, UserAgent};
pub use destination::{Destination, DestinationSpec};
pub use document::{DOCUMENT_VERSION, Document, DocumentError, MAX_DOCUMENT_BYTES, NoDocument};
pub use domain::{
    Domain, DomainAlgo, DomainAlgoError, DomainComparison, DomainError, DomainPattern,
};
pub use explain::{Explanation, Lost, MAX_EXPLAINED, Missed};
pub use field::{FieldError, FieldErrors, ParamWarning, Parsed, RefusalKind};
pub use header::{
    HeaderError, HeaderLine, HeaderName, HeaderRules, MAX_HEADER_NAME_BYTES,
    MAX_HEADER_VALUE_BYTES, MAX_HEADERS,
};
pub use host::{Host, HostError, HostName, MAX_HOST_BYTES, Port, PortError};
pub use https_port::{
    DEFAULT_HTTP_ENTRY_PORT, DEFAULT_HTTPS_ENTRY_PORT, HttpsPort, Leg, OtherRequests,
};
pub use memory::{MemoryStore, record_changes};
pub use method::{MAX_METHOD_BYTES, MAX_METHODS, Method, MethodError, MethodRules};
pub use mode::{
    Balance, BalanceError, GroupName, MAX_SECONDS, ReqMode, ReqModeError, Seconds, SecondsError,
    TcpOptions,
};
pub use name::{AclName, Color, InstanceId, MAX_NAME_BYTES, NameError, ServiceName};
pub use options::{Authorization, DefaultBackend, DestinationOptions, RoutesFrom, ServiceOptions};
pub use params::{MAX_PARAM_NAME_BYTES, MAX_PARAMS, MAX_VALUE_BYTES, Params, ParamsError};
pub use path::{MAX_PATH_BYTES, PathError, PathKind, PathKindError, PathPattern};
pub use plan::{
    ChangeKind, Conflict, ConflictOutcome, DeadRoute, Effect, MAX_CONFLICTS, Plan, PlanError,
    PlannedChange, plan,
};
pub use quoting::{QuotingError, unquote};
pub use raw::{MAX_RAW_BYTES, MAX_RAW_LINES, RawConfig, RawError, RawLimits, RawLines};
pub use reconfigure::{
    Distribute, PARAMETERS, Parameter, ParameterKind, ParameterLevel, ParameterStanding,
    Reconfigure, ReconfigureRules, Remove, Separator, is_secret_name, parse_reconfigure,
    parse_reconfigure_with, parse_remove,
};
pub use redirect::{
    DomainRedirect, ForwardedProto, HttpsRules, MAX_REDIRECTED_DOMAINS, PlainHttp, RedirectCode,
    RedirectError,
};
pub use register::{
    AWAY_AFTER, Counting, Delta, MAX_COUNTER, MAX_REGISTERS, Merged, Named, Register,
    RegisterError, RegisterSet, Stamp, TOMBSTONE_LIFE, Written,
};
pub use revision::{CommitId, CommitRecord, Epoch, IdError, RecordedChange, Revision};
pub use rewrite::{MAX_REWRITE_BYTES, MAX_REWRITES, PathRewrite, RewriteError};
pub use route::{Criterion, Rank, RequestHead, Route, RouteOrder, RouteOrderError};
pub use service::{MAX_DESTINATIONS, MAX_PATTERNS, MAX_REGEXES, MAX_ROUTES, Service, ServiceError};
pub use source::{Overruled, Source};
pub use store::{
    BoxError, CommitError, Committed, HistoryError, OfferError, Order, Outcome, RereadError,
    RouteStore, StoreCondition, StoreTrouble, StoreView, Superseded, ViewSeq,
};
pub use stored::{Degradation, StoredTable};
pub use table::{Change, Claim, RouteMatch, RouteTable};
pub use tcp::TcpRoute;
pub use template::{
    MAX_TEMPLATE_BYTES, MAX_TEMPLATE_PATH_BYTES, ServiceTemplate, ServiceTemplateError,
    TemplateSource, TemplateSources, Templates,
};
pub use tls::{ClientCertificates, ServiceTls, TlsRules};
pub use transfer::{
    BackendTimeouts, Compression, CompressionAlgo, ConnectionMode, MAX_MEDIA_TYPE_BYTES,
    MAX_MEDIA_TYPES, MediaType, MediaTypeError,
};
pub use upstream::{
    CatalogKey, CatalogUse, Checks, Discovery, DiscoveryError, HostChecks, MAX_REPLICAS, Replicas,
    ReplicasError, Session, SessionError, UpstreamOptions,
};
pub use users::{
    Credentials, MAX_USERS, PasswordForm, PasswordHash, PasswordHashError, SecretUsers, User,
    UserList, UserName, UserNameError, UserRules, UsersError,
};
