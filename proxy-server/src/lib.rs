//! The server of the proxy suite: HAProxy carries the traffic, Consul remembers it, any replica
//! takes a change and every replica serves it.
//!
//! The binary `proxy-server` is a thin `main.rs` over this library; whoever embeds it starts a
//! replica with [`Server::start`] and ends it with [`Server::shutdown`].
//!
//! The way of one change: `api` parses it and sends it to the `engine`, which plans, renders and
//! validates it, commits it to the store, makes it live through a `carrier` and tells the peers.

mod announce;
mod api;
mod carrier;
mod certificates;
mod chain;
mod clock;
mod config_diff;
mod contacts;
mod culprits;
mod digest;
mod drift;
mod dry_run;
mod engine;
mod files;
pub mod flags;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keep;
mod keeper;
pub mod left;
pub mod logging;
mod metrics;
mod older;
mod past;
mod patience;
mod server;
mod settings;
mod sources;
mod standing;
mod statistics;
mod store;
pub mod systemd;
#[cfg(test)]
mod testing;
mod works;

pub use server::{Health, Server};
pub use settings::{
    AccessLog, ApiSettings, CertificateSettings, ConsulAddresses, DEFINITIONS, Definition,
    Discovery, DockerSettings, EXIT_USAGE, EndSettings, EntryPort, EntryTls, GetWrites,
    GivenService, HaproxySettings, HaproxyTimeouts, Layered, LeftSettings, ListenerSettings,
    LogFormat, LogSettings, MapSource, OnEmpty, OnEnd, PeerSettings, ProcessEnv, RefusedConfig,
    Repeat, SecretFiles, Sensitivity, SettingError, Settings, SettingsErrors, SettingsSource,
    SourceSettings, StoreSettings,
};
