//! HAProxy for the proxy suite.

mod address_book;
#[cfg(feature = "run")]
mod apply;
#[cfg(feature = "run")]
mod bind;
#[cfg(feature = "run")]
mod diagnostic;
#[cfg(feature = "run")]
mod file;
#[cfg(feature = "run")]
mod lock;
#[cfg(feature = "run")]
mod master;
#[cfg(feature = "names")]
mod names;
#[cfg(feature = "run")]
mod process;
#[cfg(feature = "run")]
mod reload;
mod render;
mod rendered;
mod routing;
mod run_path;
mod settings;
mod template;
#[cfg(feature = "run")]
mod validate;
mod word;

pub use address_book::{AddressBook, Resolution};
#[cfg(feature = "run")]
pub use apply::{Applied, Applier, ApplyError};
#[cfg(feature = "run")]
pub use bind::{BindError, probe_bind};
#[cfg(feature = "run")]
pub use diagnostic::{Diagnostic, Severity};
#[cfg(feature = "run")]
pub use file::{Active, ConfigDir, ConfigDirError, DEFAULT_KEPT_GENERATIONS, Staged};
#[cfg(feature = "run")]
pub use lock::LockError;
#[cfg(feature = "names")]
pub use names::{
    DEFAULT_HOSTS_FILE, DEFAULT_PARALLEL_NAMES, DEFAULT_RESOLV_CONF, DEFAULT_RESOLVE_DEADLINE,
    NameResolver, NamesError,
};
#[cfg(feature = "run")]
pub use process::{
    DEFAULT_RELOAD_DEADLINE, DEFAULT_RESTART_DELAY, DEFAULT_RESTART_DELAY_LIMIT,
    DEFAULT_START_DEADLINE, DownReason, Haproxy, HaproxyState, ProcessSettings, Start, StartError,
    Stopped,
};
#[cfg(feature = "run")]
pub use reload::{Reload, ReloadError, Reloaded, Serving};
pub use render::{RenderError, render};
pub use rendered::{Digest, FileName, FileNameError, MAIN_FILE, RenderedConfig};
pub use run_path::{MAX_SOCKET_PATH_BYTES, RunPath, RunPathError};
pub use settings::{
    AccessLog, Bind, BindAddress, BindAddressError, DEFAULT_FD_HARD_LIMIT, DEFAULT_HARD_STOP_AFTER,
    DEFAULT_MAX_OLD_WORKERS, RenderSettings, Timeouts, TlsMode,
};
pub use template::{Template, TemplateError};
#[cfg(feature = "run")]
pub use validate::{
    DEFAULT_PARALLEL_VALIDATIONS, DEFAULT_VALIDATE_DEADLINE, Validate, ValidateError, Validator,
};
