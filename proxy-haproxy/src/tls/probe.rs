//! Whether HAProxy would show a certificate, asked before it is put among others: one bad file in its list,
//! and it takes none of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{CertificateFile, CertificateSet, TlsSettings, with_certificates};
use crate::{
    file::{ConfigDirError, write_files},
    rendered::RenderedConfig,
    validate::{Validate as _, ValidateError, Validator},
};

/// How the folders of checks begin.
const PREFIX: &str = ".probe-";

/// Has HAProxy check certificates, apart from every configuration.
#[derive(Clone, Debug)]
pub struct CertificateProbe {
    validator: Validator,
    settings: TlsSettings,
    folder: PathBuf,
}

/// Why a certificate is not known to be good. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// HAProxy refuses it, or does not say.
    #[error(transparent)]
    Validate(#[from] ValidateError),
    /// It could not be written for HAProxy to read.
    #[error("it cannot be written for HAProxy to check")]
    Disk(#[from] ConfigDirError),
    /// There is no place to write it.
    #[error("no folder for the check can be made in {}", folder.display())]
    Folder {
        /// Where.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime ended while files were written.
    #[error("the check was interrupted by the end of the program")]
    Interrupted,
}

// === impl CertificateProbe ===

impl CertificateProbe {
    /// Checks with these settings of TLS. The certificates are written into a folder of their own below
    /// `folder`, for this user alone, and removed.
    #[must_use]
    pub fn new(validator: Validator, settings: TlsSettings, folder: PathBuf) -> Self {
        Self {
            validator,
            settings,
            folder,
        }
    }

    /// Removes what checks left in a folder that a crash interrupted: they hold keys. Blocking file IO, for
    /// the start, before any check.
    pub fn clear(folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let left = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
        for entry in left {
            let path = entry.path();
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "what a check left cannot be removed");
            }
        }
    }

    /// Whether HAProxy takes all of them. Cancel safe.
    ///
    /// # Errors
    /// When it refuses one or more of them, or cannot be asked.
    pub async fn probe(&self, files: Vec<CertificateFile>) -> Result<(), ProbeError> {
        if files.is_empty() {
            return Ok(());
        }
        let config = self.config(files);
        let parent = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || -> Result<_, ProbeError> {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent);
            let folder = folder.map_err(|source| ProbeError::Folder {
                folder: parent,
                source,
            })?;
            let main = write_files(&config, folder.path())?;
            Ok((folder, main))
        });
        let (folder, main) = written.await.map_err(|_| ProbeError::Interrupted)??;
        self.validator.validate(&main).await?;
        drop(folder);
        Ok(())
    }

    /// The least configuration that shows them.
    fn config(&self, files: Vec<CertificateFile>) -> RenderedConfig {
        let TlsSettings {
            alpn,
            options,
            ciphers,
            client_authorities,
        } = &self.settings;
        let mut text = "global\n    default-path config\n".to_owned();
        text.push_str("    ssl-default-bind-options ssl-min-ver TLSv1.2");
        for word in options.iter().flat_map(|option| option.words()) {
            text.push(' ');
            text.push_str(word);
        }
        text.push('\n');
        if let Some(ciphers) = ciphers {
            text.push_str(&format!("    ssl-default-bind-ciphers {ciphers}\n"));
        }
        text.push_str("frontend probe\n    mode http\n    timeout client 1s\n");
        text.push_str(&format!(
            "    bind 127.0.0.1:1 ssl crt-list {} alpn {}",
            super::CRT_LIST_FILE,
            alpn.protocols()
        ));
        if client_authorities.is_some() {
            text.push_str(&format!(
                " ca-file {} verify optional",
                super::AUTHORITIES_FILE
            ));
        }
        text.push('\n');
        let set = CertificateSet::new(files, &[]);
        with_certificates(RenderedConfig::new(text), &set, &self.settings)
    }
}

impl ProbeError {
    /// Whether HAProxy read it and refuses it: it stays bad.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Validate(ValidateError::Refused { .. }))
    }
}
