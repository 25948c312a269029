//! Following the names of services: looked up all at once when a table is checked, kept over
//! restarts, and looked up again from time to time.
//!
//! HAProxy's own resolvers follow a name that DNS answers. What only this system knows (hosts file,
//! search domain) is rendered as an address, so it is followed here: when it moves, the engine is
//! told to render again, and HAProxy where the server is.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_core::Host;
use proxy_haproxy::{AddressBook, NameResolver, Resolution};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{chain::chain, store::replace_file};

/// How often names without an address, and names that only this system knows, are looked up.
const SOON: Duration = Duration::from_secs(2);
/// How often names that DNS answers are looked up: only for the next start, since HAProxy follows
/// them itself.
const SELDOM: Duration = Duration::from_secs(300);
/// How long one round may take.
const ROUND: Duration = Duration::from_secs(5);

/// Knows the names of the table.
#[derive(Debug)]
pub(crate) struct NameFollower {
    resolver: NameResolver,
    known: Mutex<Known>,
    moved: Notify,
    file: PathBuf,
}

#[derive(Debug, Default)]
struct Known {
    book: AddressBook,
    wanted: BTreeSet<Host>,
}

// === impl NameFollower ===

impl NameFollower {
    /// Begins with what the file of an earlier run says; one that cannot be read is begun anew.
    pub(crate) fn new(resolver: NameResolver, file: PathBuf) -> Self {
        let text = std::fs::read(&file);
        let book = text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Self {
            resolver,
            known: Mutex::new(Known {
                book: book.unwrap_or_default(),
                wanted: BTreeSet::new(),
            }),
            moved: Notify::new(),
            file,
        }
    }

    /// What is known of these names, after those that are new were looked up, all at once. They are
    /// not followed yet: the table may be refused.
    pub(crate) async fn look_up(&self, hosts: &BTreeSet<Host>, deadline: Duration) -> AddressBook {
        let (book, found) = self.ask(hosts, deadline).await;
        let Some(found) = found else {
            return book;
        };
        let mut known = self.known();
        known.book.learn(&found);
        known.book.clone()
    }

    /// The same for one time: what is found is not remembered.
    pub(crate) async fn look_up_once(
        &self,
        hosts: &BTreeSet<Host>,
        deadline: Duration,
    ) -> AddressBook {
        let (mut book, found) = self.ask(hosts, deadline).await;
        found.iter().for_each(|found| book.learn(found));
        book
    }

    /// What is known, and what was found of those names that were not.
    async fn ask(
        &self,
        hosts: &BTreeSet<Host>,
        deadline: Duration,
    ) -> (AddressBook, Option<AddressBook>) {
        let (new, book) = {
            let known = self.known();
            let new = hosts.iter().filter(|host| !known.book.contains(host));
            (new.cloned().collect::<BTreeSet<Host>>(), known.book.clone())
        };
        if new.is_empty() {
            return (book, None);
        }
        let found = self.resolver.resolve_all(&new, deadline, &book).await;
        (book, Some(found))
    }

    /// Follows these names from now on and forgets all others: the table with them is live.
    pub(crate) fn want(&self, hosts: BTreeSet<Host>) {
        let mut known = self.known();
        // Most changes are of routes, or add a name: then the book stays the one it was, for whoever
        // compares it with a copy.
        known.book.retain(&hosts);
        known.wanted = hosts;
    }

    /// Waits until a name has moved whose address is rendered. Cancel safe.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Follows the names until the token is cancelled.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut all_at = Instant::now() + SELDOM;
        let mut saved = AddressBook::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(SOON) => {}
            }
            let all = Instant::now() >= all_at;
            if all {
                all_at = Instant::now() + SELDOM;
            }
            self.round(all).await;
            let book = self.known().book.clone();
            if book != saved {
                self.save(&book).await;
                saved = book;
            }
        }
        let book = self.known().book.clone();
        self.save(&book).await;
    }

    async fn round(&self, all: bool) {
        let (names, before) = {
            let known = self.known();
            let due = |host: &&Host| {
                all || !matches!(known.book.get(host), Resolution::Dns { last: Some(_) })
            };
            let names: BTreeSet<Host> = known.wanted.iter().filter(due).cloned().collect();
            (names, known.book.clone())
        };
        if names.is_empty() {
            return;
        }
        let found = self.resolver.resolve_all(&names, ROUND, &before).await;
        let mut moved = false;
        {
            let mut known = self.known();
            for (host, now) in found.iter() {
                moved |= rendered_anew(before.get(host), now);
            }
            known.book.learn(&found);
        }
        if moved {
            self.moved.notify_one();
        }
    }

    async fn save(&self, book: &AddressBook) {
        let Ok(text) = serde_json::to_vec(book) else {
            return;
        };
        let file = self.file.clone();
        let saved = tokio::task::spawn_blocking(move || replace_file(&file, &text)).await;
        if let Ok(Err(error)) = saved {
            let why = chain(&error);
            tracing::warn!(why, "the last known addresses could not be saved");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a change must be rendered: HAProxy follows a name by itself as long as DNS answers it or
/// nobody knows it.
fn rendered_anew(before: Resolution, now: Resolution) -> bool {
    let fixed = |at: Resolution| match at {
        Resolution::System { address } => Some(address),
        _ => None,
    };
    fixed(before) != fixed(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_haproxy_cannot_follow_is_rendered_anew() {
        let ip = |last: u8| std::net::IpAddr::from([10, 0, 0, last]);
        let dns = |last| Resolution::Dns { last };
        let system = |address| Resolution::System { address };
        assert!(!rendered_anew(Resolution::Unknown, dns(Some(ip(1)))));
        assert!(!rendered_anew(dns(Some(ip(1))), dns(Some(ip(2)))));
        assert!(rendered_anew(Resolution::Unknown, system(ip(1))));
        assert!(rendered_anew(system(ip(1)), system(ip(2))));
        assert!(rendered_anew(system(ip(1)), dns(Some(ip(1)))));
    }
    #[test]
    fn names_that_are_not_wanted_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let resolver = NameResolver::new(vec![], vec![]).unwrap();
        let names = NameFollower::new(resolver, folder.path().join("names"));
        let host = |name: &str| -> Host { name.parse().unwrap() };
        let book = ["a", "b"].map(|name| (host(name), Resolution::default()));
        names.known().book.extend(book);
        for wanted in [&["a", "b"][..], &["b"], &[]] {
            let wanted: BTreeSet<Host> = wanted.iter().map(|name| host(name)).collect();
            names.want(wanted.clone());
            let known = names.known();
            assert!(known.book.iter().map(|(host, _)| host).eq(&wanted));
            assert_eq!(known.wanted, wanted);
        }
    }
}
