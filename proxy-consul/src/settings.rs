//! Where Consul is and how it is spoken to.

use std::{fmt, sync::Arc, time::Duration};

use proxy_core::ServiceName;
use secrecy::SecretString;

use crate::{
    endpoints::{Address, AddressError, DEFAULT_COOL_DOWN, Endpoints},
    observe::{Deaf, Observer},
};

/// The folder of keys when `PROXY_INSTANCE_NAME` does not say, as in Docker Flow Proxy.
pub const DEFAULT_INSTANCE_NAME: &str = "docker-flow";

/// How long a connection may take. A server in the same network answers in a millisecond; one that
/// drops packets costs this much, once per cool-down.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one server may take for one answer that is no watch. Consul itself waits up to seven
/// seconds for a leader; another server is the better place to wait.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one watch lasts when nothing changes.
pub const DEFAULT_WATCH_WAIT: Duration = Duration::from_secs(10);

/// No watch lasts longer: Consul itself cuts them there.
pub(crate) const LONGEST_WATCH: Duration = Duration::from_secs(10 * 60);

/// Nothing else takes longer, nor is it waited for longer. A point in time that is as far off as a `Duration`
/// goes cannot be counted.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a watch may be late, on top of the sixteenth that Consul adds. With the wait it makes
/// the twelve seconds after which a frozen server is noticed.
pub const DEFAULT_WATCH_GRACE: Duration = Duration::from_millis(1_375);

/// How long the end of a commit is sought after which nobody can say whether it happened. Longer
/// than the election of a leader, shorter than a caller's `WAIT_TIMEOUT`.
pub const DEFAULT_SETTLE_TIMEOUT: Duration = Duration::from_secs(7);

/// The first pause after a failure; it doubles up to [`DEFAULT_BACKOFF_MAX`].
pub const DEFAULT_BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two tries of the follower: how late a store that came back is noticed.
pub const DEFAULT_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How long a filling of the store by another replica may stand still before this one goes on with
/// it. Several times what one commit of it takes.
pub const DEFAULT_FILL_TAKEOVER: Duration = Duration::from_secs(15);

/// The largest answer. 10,000 services of 1 KiB are 14 MiB; a full page of the largest log entries
/// is 45 MiB.
pub const DEFAULT_MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Requests under way at once, watches aside. Consul refuses the 201st connection of one client address, and
/// several replicas may share one.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 32;

/// Watches under way at once: those of the store and the catalog, and as many of an owner's. Each waits on a
/// connection of its own, so with the requests they stay far below the 201st.
pub const DEFAULT_MAX_WATCHES: usize = 64;

/// No bound is higher: what a semaphore can count is fewer than a `usize`.
const MOST: usize = 1_000_000;

/// How long things may take. All have defaults that fit a cluster in one network. More than a day counts as one,
/// and a watch lasts ten minutes at most, as Consul has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// For one answer of one server.
    pub request: Duration,
    /// For a watch in which nothing changes.
    pub watch_wait: Duration,
    /// How late a watch may be.
    pub watch_grace: Duration,
    /// To find out how an ambiguous commit ended.
    pub settle: Duration,
    /// The first pause after a failure.
    pub backoff_min: Duration,
    /// The longest pause after failures.
    pub backoff_max: Duration,
    /// How long a failed address is tried last.
    pub cool_down: Duration,
    /// How long another replica's filling of the store may stand still.
    pub fill_takeover: Duration,
}

/// What secures the way to Consul.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Tls {
    ca_pem: Option<Arc<[u8]>>,
    identity_pem: Option<secrecy::SecretSlice<u8>>,
}

/// Where Consul is and how it is spoken to. Made by [`ConsulSettings::builder`].
#[derive(Clone)]
pub struct ConsulSettings {
    addresses: Vec<Address>,
    instance_name: ServiceName,
    token: Option<SecretString>,
    datacenter: Option<String>,
    tls: Tls,
    timeouts: Timeouts,
    max_answer_bytes: usize,
    max_in_flight: usize,
    max_watches: usize,
    observer: Arc<dyn Observer>,
}

/// Collects settings; every part but the addresses has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConsulSettingsBuilder {
    settings: ConsulSettings,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The list of addresses.
    #[error("the list of Consul addresses cannot be used")]
    Addresses(#[from] AddressError),
    /// The name of the folder of keys.
    #[error("the instance name {name:?} cannot be used as a folder of keys")]
    InstanceName {
        /// What was given.
        name: String,
        /// Why not.
        #[source]
        problem: proxy_core::NameError,
    },
    /// The ACL token holds something that cannot stand in a header.
    #[error("the Consul ACL token holds characters that no token has; is it the right file?")]
    Token,
    /// The CA file.
    #[error("the CA file for Consul cannot be read as PEM certificates")]
    Ca(#[source] reqwest::Error),
    /// The CA file is empty.
    #[error("the CA file for Consul holds no certificate")]
    NoCa,
    /// The client's certificate and key.
    #[error("the client certificate and key for Consul cannot be read as PEM")]
    ClientCertificate(#[source] reqwest::Error),
    /// TLS as a whole.
    #[error("TLS for Consul cannot be set up")]
    Tls(#[source] reqwest::Error),
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: DEFAULT_CONNECT_TIMEOUT,
            request: DEFAULT_REQUEST_TIMEOUT,
            watch_wait: DEFAULT_WATCH_WAIT,
            watch_grace: DEFAULT_WATCH_GRACE,
            settle: DEFAULT_SETTLE_TIMEOUT,
            backoff_min: DEFAULT_BACKOFF_MIN,
            backoff_max: DEFAULT_BACKOFF_MAX,
            cool_down: DEFAULT_COOL_DOWN,
            fill_takeover: DEFAULT_FILL_TAKEOVER,
        }
    }
}

impl Timeouts {
    /// The same, none of them longer than it may be.
    pub(crate) fn bounded(&self) -> Self {
        Self {
            connect: self.connect.min(LONGEST),
            request: self.request.min(LONGEST),
            watch_wait: self.watch_wait.min(LONGEST_WATCH),
            watch_grace: self.watch_grace.min(LONGEST),
            settle: self.settle.min(LONGEST),
            backoff_min: self.backoff_min.min(LONGEST),
            backoff_max: self.backoff_max.min(LONGEST),
            cool_down: self.cool_down.min(LONGEST),
            fill_takeover: self.fill_takeover.min(LONGEST),
        }
    }

    /// How long a watch may take in all: the wait, the sixteenth of it that Consul adds so that
    /// watches do not end together, and the grace.
    #[must_use]
    pub fn watch_total(&self) -> Duration {
        let all = self.bounded();
        all.watch_wait + all.watch_wait / 16 + all.watch_grace
    }
}

// === impl Tls ===

impl Tls {
    /// The certificates of the CA, which replace the system's.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&[u8]> {
        self.ca_pem.as_deref()
    }

    pub(crate) fn identity_pem(&self) -> Option<&secrecy::SecretSlice<u8>> {
        self.identity_pem.as_ref()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca_pem.is_some())
            .field("client_certificate", &self.identity_pem.is_some())
            .finish()
    }
}

// === impl ConsulSettings ===

impl ConsulSettings {
    /// Settings for servers at these addresses, in the order in which they are tried.
    pub fn builder(addresses: Vec<Address>) -> ConsulSettingsBuilder {
        ConsulSettingsBuilder {
            settings: Self {
                addresses,
                instance_name: default_instance_name(),
                token: None,
                datacenter: None,
                tls: Tls::default(),
                timeouts: Timeouts::default(),
                max_answer_bytes: DEFAULT_MAX_ANSWER_BYTES,
                max_in_flight: DEFAULT_MAX_IN_FLIGHT,
                max_watches: DEFAULT_MAX_WATCHES,
                observer: Arc::new(Deaf),
            },
        }
    }

    /// The servers, in the order in which they are tried.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The folder of keys.
    #[must_use]
    pub fn instance_name(&self) -> &str {
        self.instance_name.as_str()
    }

    /// The ACL token.
    #[must_use]
    pub fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    /// The datacenter, where it is not the servers' own.
    #[must_use]
    pub fn datacenter(&self) -> Option<&str> {
        self.datacenter.as_deref()
    }

    /// What secures the way.
    #[must_use]
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// How long things may take.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The largest answer that is read.
    #[must_use]
    pub fn max_answer_bytes(&self) -> usize {
        self.max_answer_bytes
    }

    /// How many requests may be under way at once, watches aside.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// How many watches may be under way at once.
    #[must_use]
    pub fn max_watches(&self) -> usize {
        self.max_watches
    }

    pub(crate) fn observer(&self) -> &Arc<dyn Observer> {
        &self.observer
    }
}

#[expect(
    clippy::expect_used,
    reason = "the default is a name, which a test holds"
)]
fn default_instance_name() -> ServiceName {
    DEFAULT_INSTANCE_NAME
        .parse()
        .expect("the default is a name")
}

impl fmt::Debug for ConsulSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulSettings")
            .field("addresses", &self.addresses)
            .field("instance_name", &self.instance_name)
            .field("token", &self.token.as_ref().map(|_| "(secret)"))
            .field("datacenter", &self.datacenter)
            .field("tls", &self.tls)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

// === impl ConsulSettingsBuilder ===

impl ConsulSettingsBuilder {
    /// The folder of keys, by default [`DEFAULT_INSTANCE_NAME`].
    ///
    /// # Errors
    /// When the name has characters other than letters, digits, `.`, `_` and `-`.
    pub fn instance_name(mut self, name: &str) -> Result<Self, SettingsError> {
        self.settings.instance_name =
            name.parse()
                .map_err(|problem| SettingsError::InstanceName {
                    name: name.to_owned(),
                    problem,
                })?;
        Ok(self)
    }

    /// The ACL token.
    pub fn token(mut self, token: SecretString) -> Self {
        self.settings.token = Some(token);
        self
    }

    /// The datacenter, where it is not the servers' own.
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.settings.datacenter = Some(name.into());
        self
    }

    /// PEM certificates that the servers' certificates must lead to, in place of the system's.
    pub fn ca_pem(mut self, pem: impl Into<Arc<[u8]>>) -> Self {
        self.settings.tls.ca_pem = Some(pem.into());
        self
    }

    /// The client's certificate and key, both PEM.
    pub fn client_certificate(mut self, certificate_pem: &[u8], key_pem: &[u8]) -> Self {
        let both = [certificate_pem, b"\n", key_pem].concat();
        self.settings.tls.identity_pem = Some(secrecy::SecretSlice::from(both));
        self
    }

    /// How long things may take.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.settings.timeouts = timeouts.bounded();
        self
    }

    /// The largest answer that is read, by default [`DEFAULT_MAX_ANSWER_BYTES`].
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_answer_bytes = bytes;
        self
    }

    /// How many requests may be under way at once, watches aside, by default [`DEFAULT_MAX_IN_FLIGHT`]; at
    /// least one.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.settings.max_in_flight = requests.clamp(1, MOST);
        self
    }

    /// How many watches may be under way at once, by default [`DEFAULT_MAX_WATCHES`]; at least three, as a
    /// [`ConsulStore`](crate::ConsulStore) has one and a [`Catalog`](crate::Catalog) two. One more waits for
    /// another to end.
    pub fn max_watches(mut self, watches: usize) -> Self {
        self.settings.max_watches = watches.clamp(3, MOST);
        self
    }

    /// Who hears of every request.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.settings.observer = observer;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// When there is no address, or too many.
    pub fn build(self) -> Result<ConsulSettings, SettingsError> {
        Endpoints::new(
            self.settings.addresses.clone(),
            self.settings.timeouts.cool_down,
        )?;
        Ok(self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let settings = ConsulSettings::builder(vec!["a:1".parse().unwrap()])
            .token("geheim".into())
            .client_certificate(b"geheim", b"geheim")
            .build()
            .unwrap();
        assert!(!format!("{settings:?}").contains("geheim"));
    }

    #[test]
    fn a_frozen_server_is_noticed_in_twelve_seconds() {
        assert_eq!(Timeouts::default().watch_total(), Duration::from_secs(12));
    }

    #[test]
    fn a_folder_of_keys_is_a_name() {
        let builder = ConsulSettings::builder(vec!["a:1".parse().unwrap()]);
        assert!(builder.clone().instance_name("a/b").is_err());
        assert!(builder.instance_name("docker-flow-2").is_ok());
        assert!(ConsulSettings::builder(Vec::new()).build().is_err());
        assert_eq!(default_instance_name().as_str(), DEFAULT_INSTANCE_NAME);
    }
}
