//! HAProxy for the proxy suite.

mod address_book;
mod render;
mod rendered;
mod routing;
mod run_path;
mod settings;
mod template;
mod word;

pub use address_book::{AddressBook, Resolution};
pub use render::{RenderError, render};
pub use rendered::{Digest, FileName, FileNameError, MAIN_FILE, RenderedConfig};
pub use run_path::{MAX_SOCKET_PATH_BYTES, RunPath, RunPathError};
pub use settings::{
    AccessLog, Bind, BindAddress, BindAddressError, DEFAULT_FD_HARD_LIMIT, DEFAULT_HARD_STOP_AFTER,
    DEFAULT_MAX_OLD_WORKERS, RenderSettings, Timeouts, TlsMode,
};
pub use template::{Template, TemplateError};
