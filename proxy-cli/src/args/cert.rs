//! Certificates, as commands.

use std::path::PathBuf;

use clap::Subcommand;

use super::Waiting;

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Cert {
    /// Give a certificate, with its chain and its key, or replace the one of this name.
    Put {
        /// What it is called.
        name: String,
        /// The PEM file; `-` is standard input.
        file: PathBuf,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Take a certificate away.
    Delete {
        /// What it is called.
        name: String,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Show the certificates: names, domains, issuer, expiry, fingerprint; never a key.
    List,
}
