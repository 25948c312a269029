//! HAProxy under a control plane: from a route table to a HAProxy that serves it.
//!
//! For engineers who have a table of services ([`proxy_core::RouteTable`]) and want HAProxy to carry
//! their traffic: this crate writes the configuration, has HAProxy check it, keeps it on disk, and
//! starts, watches, reloads and ends the process.
//!
//! ```
//! use proxy_core::{Params, RouteTable, parse_reconfigure};
//! use proxy_haproxy::{AddressBook, RenderSettings, RunPath, render};
//!
//! let params = Params::from_query("serviceName=go-demo&servicePath=/demo&port=8080")?;
//! let table: RouteTable = [parse_reconfigure(&params)?.value.service].into_iter().collect();
//! let settings = RenderSettings::new(RunPath::new("/var/run/proxy")?);
//!
//! let config = render(&table, &settings, &AddressBook::new())?;
//! assert!(config.main_text().contains("\n    server go-demo go-demo:8080\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | use | feature |
//! |---|---|---|
//! | write a configuration | [`render()`], [`Renderer`], [`RenderSettings`], [`Template`] | |
//! | speak TLS | [`CertificateSet`], [`TlsSettings`] | |
//! | read certificates | `Certificate` | `certificates` |
//! | remember addresses | [`AddressBook`], [`Resolution`] | |
//! | find addresses | `NameResolver` | `names` |
//! | keep configurations on disk | `ConfigDir` | `run` |
//! | have HAProxy check one | `Validator`, `Validate` | `run` |
//! | try a port | `probe_bind` | `run` |
//! | run HAProxy | `Haproxy`, `HaproxyState` | `run` |
//! | make a configuration the one that is served | `Applier`, `Reload` | `run` |
//!
//! # The configuration
//!
//! One frontend holds every route, in one of two forms that give the answer of
//! [`proxy_core::RouteTable::resolve`] for every request. [`RoutingForm::Acl`] is what a person would
//! write: ACLs and `use_backend` lines whose first match is the answer. [`RoutingForm::Map`] holds the
//! plain routes in one map file, so that a request costs the same with ten services and with ten
//! thousand, and a rule for each route that no map can hold. [`Routing::Auto`] takes the first while
//! the table is small.
//!
//! Every destination has a backend with one server. A request that no route wants is answered with
//! 404, one whose service has no address with 503. X-Forwarded-For and X-Forwarded-Proto are what
//! HAProxy saw, whatever the client said.
//!
//! In the map form a path or a domain added to a known service changes the map alone, and `Applier`
//! tells the running HAProxy the new one instead of reloading it. So it does with a server that is at
//! another address, in both forms.
//!
//! # Foreign types in this interface
//!
//! Tables, services and names of `proxy_core`; `SecretString` of `secrecy`, for what holds private keys; with `run`
//! the `watch::Receiver` of `tokio`, and `async_trait`, with which `Reload` and `Validate` are implemented.
//!
//! # Features
//!
//! None is on by default, and without any this crate is pure: no runtime, no files, no processes.
//! `run` and `names` need tokio; `run` needs Linux, and brings `certificates`, which needs rustls.

#[cfg(all(doctest, feature = "run"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod address_book;
#[cfg(feature = "run")]
mod apply;
#[cfg(feature = "run")]
mod bind;
#[cfg(feature = "run")]
mod diagnostic;
mod expression;
mod extras;
#[cfg(feature = "run")]
mod file;
#[cfg(all(feature = "run", any(test, fuzzing)))]
pub mod fuzzing;
mod instances;
mod line;
#[cfg(feature = "run")]
mod lock;
#[cfg(feature = "run")]
mod master;
#[cfg(feature = "names")]
mod names;
#[cfg(feature = "run")]
mod process;
#[cfg(feature = "run")]
mod program;
mod raw;
mod redact;
#[cfg(feature = "run")]
mod reload;
mod render;
mod rendered;
mod renderer;
mod reserved;
mod routing;
mod run_path;
#[cfg(feature = "run")]
mod runtime;
mod settings;
mod slots;
mod template;
mod tls;
#[cfg(feature = "run")]
mod validate;
mod word;

pub use address_book::{AddressBook, Resolution};
#[cfg(feature = "run")]
pub use apply::{Applied, Applier, ApplyError, ApplyStep};
#[cfg(feature = "run")]
pub use bind::{BindError, probe_bind};
#[cfg(feature = "run")]
pub use diagnostic::{Diagnostic, Severity};
pub use extras::{
    Capture, CaptureError, ErrorAnswer, ErrorAnswerError, ErrorStatus, Extras, LogFormat,
    LogFormatError, LogLines, Logged, StatsPage, StatsUri, StatsUriError,
};
#[cfg(feature = "run")]
pub use file::{
    Active, ConfigDir, ConfigDirError, DEFAULT_KEPT_GENERATIONS, Staged, last_certificates,
};
pub use instances::{CatalogInstance, InstanceBook};
#[cfg(feature = "run")]
pub use lock::LockError;
#[cfg(feature = "names")]
pub use names::{
    DEFAULT_HOSTS_FILE, DEFAULT_PARALLEL_NAMES, DEFAULT_RESOLV_CONF, DEFAULT_RESOLVE_DEADLINE,
    NameResolver, NamesError,
};
#[cfg(feature = "run")]
pub use process::{
    DEFAULT_LOOK_INTERVAL, DEFAULT_RELOAD_DEADLINE, DEFAULT_RESTART_DELAY,
    DEFAULT_RESTART_DELAY_LIMIT, DEFAULT_START_DEADLINE, DownReason, Haproxy, HaproxyState,
    LeftHaproxy, OldWorkers, ProcessSettings, Start, StartError, Stopped,
};
#[cfg(feature = "run")]
pub use program::Program;
pub use redact::redacted;
#[cfg(feature = "run")]
pub use reload::{Reload, ReloadError, Reloaded, Serving};
pub use render::{RenderError, ServiceTemplateProblem, render};
pub use rendered::{Digest, FileName, FileNameError, MAIN_FILE, MAP_FILE, RenderedConfig};
pub use renderer::Renderer;
pub use reserved::{RESERVED_ACL_PREFIXES, reserved_acls};
pub use routing::form::{MAX_ACL_RULES, MIN_MAP_RULES, Routing, RoutingError, RoutingForm};
pub use run_path::{MAX_SOCKET_PATH_BYTES, RunPath, RunPathError};
#[cfg(feature = "run")]
pub use runtime::{
    Admission, CertificateChange, RuntimeError, ServerChange, ServerLine, ServerPlace,
};
pub use settings::{
    AccessLog, Bind, BindAddress, BindAddressError, DEFAULT_FD_HARD_LIMIT, DEFAULT_HARD_STOP_AFTER,
    DEFAULT_MAX_OLD_WORKERS, RenderSettings, Timeouts, TlsMode,
};
pub use slots::{MIN_SLOTS, SlotBook, Slots};
pub use template::{Template, TemplateError};
pub use tls::{
    Alpn, BindOption, BindOptionError, CRT_LIST_FILE, CertificateFile, CertificateList,
    CertificateListError, CertificateName, CertificateNameError, CertificateSet, CipherList,
    CipherListError, ClientAuthorities, Glob, GlobError, ListedCertificate, TlsSettings,
};
#[cfg(feature = "certificates")]
pub use tls::{Certificate, CertificateError, KeyKind, MAX_BUNDLE_BYTES};
#[cfg(feature = "run")]
pub use tls::{CertificateProbe, ProbeError};
#[cfg(feature = "run")]
pub use validate::{
    DEFAULT_PARALLEL_VALIDATIONS, DEFAULT_VALIDATE_DEADLINE, Validate, ValidateError, Validator,
};

#[cfg(test)]
mod tests {
    /// Errors travel between tasks.
    #[test]
    fn errors_can_be_sent() {
        fn sent<E: std::error::Error + Send + Sync + 'static>() {}
        sent::<crate::RenderError>();
        sent::<crate::RunPathError>();
        #[cfg(feature = "certificates")]
        sent::<crate::CertificateError>();
        #[cfg(feature = "names")]
        sent::<crate::NamesError>();
        #[cfg(feature = "run")]
        {
            sent::<crate::ApplyError>();
            sent::<crate::BindError>();
            sent::<crate::ProbeError>();
            sent::<crate::ReloadError>();
            sent::<crate::RuntimeError>();
            sent::<crate::StartError>();
            sent::<crate::ValidateError>();
        }
    }
}
