//! The seam between what decides on a new configuration and the HAProxy that reads it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::runtime::{CertificateChange, RuntimeError, ServerChange};

/// Something that can read its configuration again.
#[async_trait]
pub trait Reload: Send + Sync + std::fmt::Debug {
    /// Reads the configuration on disk and serves it. Returns once requests that begin from now on
    /// meet the new configuration, or it is known that they will not.
    ///
    /// Not cancel safe: a reload that is not waited for goes on.
    async fn reload(&self) -> Result<Reloaded, ReloadError>;

    /// Makes one map out of another in the worker that serves, without a reload; meanwhile every request
    /// gets the answer of the old one or of the new one. Returns once every request meets the new
    /// map, or it is known that some may not. The name is the map's as the configuration writes it, the
    /// texts are what its file held and holds; the file on disk is the caller's business.
    ///
    /// Not cancel safe: the map may be the old one, the new one or between them.
    async fn change_map(&self, name: &str, old: &str, new: &str) -> Result<(), RuntimeError> {
        let _ = (name, old, new);
        Err(RuntimeError::Unsupported)
    }

    /// Tells the worker that serves where servers are now, and which take requests, without a reload. Returns once every request
    /// that begins from then on goes there, or it is known that some may not; the configuration on disk
    /// is the caller's business.
    ///
    /// Not cancel safe: some servers may have changed and others not.
    async fn change_servers(&self, changes: &[ServerChange]) -> Result<(), RuntimeError> {
        let _ = changes;
        Err(RuntimeError::Unsupported)
    }

    /// Tells the worker that serves its certificates, without a reload. Returns once every handshake that
    /// begins from then on meets them, or it is known that some may not; the files on disk are the
    /// caller's business.
    ///
    /// Not cancel safe: some may be told and others not.
    async fn change_certificates(&self, changes: &[CertificateChange]) -> Result<(), RuntimeError> {
        let _ = changes;
        Err(RuntimeError::Unsupported)
    }
}

/// A configuration was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The master process.
    pub master_pid: u32,
    /// The worker that serves the new configuration.
    pub worker_pid: u32,
    /// Workers that finish the connections they have.
    pub old_workers: usize,
    /// How long it took.
    pub took: Duration,
}

/// Why a configuration was not loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// HAProxy does not take it. The old worker serves what it served.
    #[error("HAProxy did not load the configuration and serves the one before: {}", detail.as_deref().unwrap_or("its standard error says why"))]
    Refused {
        /// What HAProxy says, where it says it here (3.x); else it is in its standard error.
        detail: Option<String>,
    },
    /// HAProxy does not run and did not come up in time. Nothing is served.
    #[error(
        "HAProxy does not run ({why}) and did not start within {waited:?}; nothing is served until it does"
    )]
    Down {
        /// Why it went down.
        why: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// HAProxy runs and told neither success nor failure. It serves the old or the new one.
    #[error(
        "HAProxy did not say within {waited:?} whether it loaded the configuration; it serves the old or the new one"
    )]
    Unconfirmed {
        /// How long it was waited for.
        waited: Duration,
    },
}

/// What is served after a failed reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Serving {
    /// What was served before.
    Previous,
    /// Nothing.
    Nothing,
    /// The old or the new configuration.
    Unknown,
}

impl ReloadError {
    /// What is served now.
    #[must_use]
    pub fn serving(&self) -> Serving {
        match self {
            Self::Refused { .. } => Serving::Previous,
            Self::Down { .. } => Serving::Nothing,
            Self::Unconfirmed { .. } => Serving::Unknown,
        }
    }

    /// Whether the same configuration may load when tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

#[async_trait]
impl<R: Reload + ?Sized> Reload for Arc<R> {
    async fn reload(&self) -> Result<Reloaded, ReloadError> {
        (**self).reload().await
    }

    async fn change_map(&self, name: &str, old: &str, new: &str) -> Result<(), RuntimeError> {
        (**self).change_map(name, old, new).await
    }
    async fn change_servers(&self, changes: &[ServerChange]) -> Result<(), RuntimeError> {
        (**self).change_servers(changes).await
    }

    async fn change_certificates(&self, changes: &[CertificateChange]) -> Result<(), RuntimeError> {
        (**self).change_certificates(changes).await
    }
}
