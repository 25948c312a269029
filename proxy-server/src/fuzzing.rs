//! What listeners, Docker and other replicas say, fed with bytes at random; for `fuzz/` and for the replay of its corpus.

use std::time::SystemTime;

use proxy_peers::{HeaderValue, Method, Signer};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    announce::{Announcement, PeerAnswer},
    certificates,
    sources::fuzzing as sources,
    standing::Standing,
    store::{RegisterAnswer, RegisterCall},
};

/// Takes bytes as labels of a service of Docker, line by line, and as what Docker's API lists.
///
/// # Panics
/// When a service is read that is another than the one that the table would hold.
#[cfg(feature = "docker")]
pub fn labels(data: &[u8]) {
    sources::labels(data);
}

/// Takes bytes as the list of a swarm listener.
///
/// # Panics
/// When a service is read that is another than the one that the table would hold.
pub fn listener(data: &[u8]) {
    sources::listener(data);
}

/// Takes bytes as whatever another replica says: signed headers, announcements, registers, standings, and
/// certificates, sealed and opened.
///
/// # Panics
/// When something is taken for a replica's that nobody signed or sealed, or when what was read is another once it
/// is written and read again.
pub fn messages(data: &[u8]) {
    let signer = Signer::new(&"a secret".to_owned().into());
    if let Ok(header) = HeaderValue::from_bytes(data) {
        let taken = signer.verify(&Method::POST, "/", Some(&header), SystemTime::now());
        assert!(taken.is_err(), "nobody signed it");
    }
    same::<PeerAnswer>(data);
    same::<RegisterAnswer>(data);
    same::<RegisterCall>(data);
    same::<Standing>(data);
    if let Some(announcement) = same::<Announcement>(data) {
        let records = announcement.records.iter();
        let changes = records.flat_map(|record| record.services.values());
        for document in changes.flat_map(|change| [&change.before, &change.after]) {
            let _ = document.as_ref().map(|document| document.service());
        }
    }
    certificates::opened(data);
}

/// Reads something; what is written of it is read as the same.
pub(crate) fn same<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&read).ok();
    let again = written
        .as_ref()
        .and_then(|it| serde_json::from_slice::<T>(it).ok());
    let again = again.and_then(|again| serde_json::to_vec(&again).ok());
    assert!(written.is_some() && again == written, "it is another");
    Some(read)
}

#[cfg(test)]
mod tests {
    use testkit::corpus::replay;

    #[cfg(feature = "docker")]
    #[test]
    fn the_corpus_of_dockers_labels_is_replayed() {
        replay("labels", super::labels).unwrap();
    }

    #[test]
    fn the_corpus_of_listeners_lists_is_replayed() {
        replay("listener", super::listener).unwrap();
    }

    #[test]
    fn the_corpus_of_replicas_messages_is_replayed() {
        replay("messages", super::messages).unwrap();
    }
}
