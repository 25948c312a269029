//! Certificates for a cluster, made by Consul itself.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A CA, a certificate for the servers and one for a client, all PEM.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterTls {
    /// The CA's certificate.
    pub ca: Vec<u8>,
    /// The client's certificate.
    pub client_certificate: Vec<u8>,
    /// The client's key.
    pub client_key: Vec<u8>,
    folder: PathBuf,
}

// === impl ClusterTls ===

impl ClusterTls {
    pub(super) fn make(consul: &Path, folder: &Path, hosts: &[Ipv4Addr]) -> io::Result<Self> {
        let run = |args: &[&str]| -> io::Result<()> {
            let done = Command::new(consul)
                .arg("tls")
                .args(args)
                .current_dir(folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if done.success() {
                Ok(())
            } else {
                Err(io::Error::other("consul tls failed"))
            }
        };
        run(&["ca", "create"])?;
        let names: Vec<_> = hosts
            .iter()
            .map(|host| format!("-additional-ipaddress={host}"))
            .collect();
        let mut server = vec!["cert", "create", "-server"];
        server.extend(names.iter().map(String::as_str));
        run(&server)?;
        run(&["cert", "create", "-client"])?;
        Ok(Self {
            ca: fs::read(folder.join("consul-agent-ca.pem"))?,
            client_certificate: fs::read(folder.join("dc1-client-consul-0.pem"))?,
            client_key: fs::read(folder.join("dc1-client-consul-0-key.pem"))?,
            folder: folder.to_owned(),
        })
    }

    /// The servers' part of the configuration.
    pub(super) fn config(&self) -> serde_json::Value {
        serde_json::json!({
            "verify_incoming_https": true,
            "ca_file": self.folder.join("consul-agent-ca.pem"),
            "cert_file": self.folder.join("dc1-server-consul-0.pem"),
            "key_file": self.folder.join("dc1-server-consul-0-key.pem"),
        })
    }

    /// Certificate and key of the client in one text.
    pub(super) fn client_identity(&self) -> Vec<u8> {
        [&self.client_certificate[..], b"\n", &self.client_key[..]].concat()
    }
}
