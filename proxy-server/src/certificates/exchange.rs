//! Certificates between replicas: told at once where a caller asks for it, and compared now and then.
//!
//! Keys travel only between replicas that share `PEER_SECRET`, sealed with it: a signature says who calls
//! and hides nothing. The answer is sealed for its question, so that it cannot be another's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proxy_core::Stamp;
use proxy_peers::{
    Broadcast, Bytes, Call, Condition, HeaderName, HeaderValue, Method, Outcome, PeerAddress,
    Peers, Repeat, Row, SealError, Sealer,
};
use serde::{Deserialize, Serialize};

use super::{Certificates, Entry};
use crate::{
    announce::{Heard, Seen, reason},
    chain::chain,
    engine::{EngineHandle, ReplicaRow, ReplicaStatus},
};

/// Where replicas tell each other their certificates.
pub(crate) const CERTIFICATES_PATH: &str = "/v1/docker-flow-proxy/peer/certificates";

/// What a question is sealed for.
const QUESTION: &[u8] = b"POST /v1/docker-flow-proxy/peer/certificates";
/// What an answer is sealed for, before the question that it answers.
const ANSWER: &[u8] = b"answer to ";

/// How long discovery may take before the peers that are known already are asked.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(1);
/// How long a comparison may take.
const COMPARE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a starting replica waits for the certificates of the others, before it serves without.
const START_WAIT: Duration = Duration::from_secs(3);
/// How many replicas are compared with at a time. All of them have their turn.
const MOST_ASKED: usize = 8;

/// Tells the other replicas, and hears them.
#[derive(Debug)]
pub(crate) struct CertificateExchange {
    certificates: Arc<Certificates>,
    peers: Option<Arc<Peers>>,
    broadcast: Broadcast,
    /// Asks each once: there is always a next time.
    asking: Broadcast,
    sealer: Option<Sealer>,
    own_address: String,
    rounds: AtomicUsize,
}

/// Whether certificates can be told to other replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// There are none.
    Alone,
    /// There are, and nothing to seal keys with.
    NoSecret,
    /// There are.
    Sealed,
}

/// What one replica tells another, sealed.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Question {
    /// What the caller keeps; it wants what is later.
    stamps: BTreeMap<String, Stamp>,
    /// What it tells.
    entries: Vec<Entry>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply {
    entries: Vec<Entry>,
    /// Why what was told is not shown.
    reason: Option<String>,
    /// What its clock says, right or wrong.
    #[serde(default)]
    clock_unix_ms: Option<u64>,
    /// What it stamps by, once it has compared its clock.
    #[serde(default)]
    stamps_unix_ms: Option<u64>,
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    #[error(
        "keys travel only between replicas that share PEER_SECRET, and this one has none; nothing was changed"
    )]
    NoSecret,
    #[error("{0}; nothing was changed (PEER_SECRET)")]
    Sealed(#[from] SealError),
    #[error("it cannot be read; it is of another release; nothing was changed")]
    Unreadable,
    #[error("what it tells is taken in, and the answer to it cannot be given")]
    Unsaid,
}

// === impl CertificateExchange ===

impl CertificateExchange {
    pub(crate) fn new(
        certificates: Arc<Certificates>,
        peers: Option<Arc<Peers>>,
        [broadcast, asking]: [Broadcast; 2],
        sealer: Option<Sealer>,
        own_address: String,
    ) -> Self {
        Self {
            certificates,
            peers,
            broadcast,
            asking: asking.within(COMPARE_DEADLINE),
            sealer,
            own_address,
            rounds: AtomicUsize::new(0),
        }
    }

    /// Whether the others can be told.
    pub(crate) fn telling(&self) -> Telling {
        match (&self.peers, &self.sealer) {
            (None, _) => Telling::Alone,
            (Some(_), None) => Telling::NoSecret,
            (Some(_), Some(_)) => Telling::Sealed,
        }
    }

    /// Tells every replica, and gives what each said; this one's row with `failure`.
    pub(crate) async fn tell(
        &self,
        entry: Entry,
        failure: Option<String>,
        most: Duration,
    ) -> Vec<ReplicaRow> {
        let mut own = ReplicaRow {
            address: self.own_address.clone(),
            instance: None,
            status: match failure {
                None => ReplicaStatus::Applied,
                Some(_) => ReplicaStatus::Failed,
            },
            took: Duration::ZERO,
            reason: failure,
        };
        let (Some(peers), Some(sealer)) = (&self.peers, &self.sealer) else {
            return vec![own];
        };
        let question = Question {
            stamps: self.certificates.stamps(),
            entries: vec![entry],
        };
        let found = peers.refresh(DISCOVERY_DEADLINE).await;
        let mut rows = Vec::new();
        match seal(sealer, &question) {
            Ok(sealed) => {
                let broadcast = self.broadcast.within(most);
                let report = broadcast.call(found.peers(), &call(sealed.clone())).await;
                let mut heard = Heard::default();
                for row in report.rows() {
                    match (heard.once(row.instance(), row.address()), row.outcome()) {
                        (Ok(Seen::ByOtherFamily), _) => {}
                        (Ok(Seen::First), Outcome::Myself(_)) => {
                            own.address = row.address().to_string();
                        }
                        (Ok(Seen::First), _) => rows.push(said(row, sealer, &sealed)),
                        (Err(again), _) => rows.push(unconfirmed(row, again)),
                    }
                }
            }
            Err(error) => rows.push(ReplicaRow {
                status: ReplicaStatus::Unconfirmed,
                reason: Some(error.to_string()),
                ..own.clone()
            }),
        }
        if !matches!(found.condition(), Condition::Current) {
            rows.push(ReplicaRow {
                address: "the replicas".to_owned(),
                instance: None,
                status: ReplicaStatus::Unconfirmed,
                took: Duration::ZERO,
                reason: Some("they could not be discovered, so some may be missing".to_owned()),
            });
        }
        rows.push(own);
        rows
    }

    /// Asks some of the others for what they keep and this replica lacks, and takes it in. Their clocks are compared
    /// first, since what they stamped is judged by them. Gives how much there was.
    pub(crate) async fn compare(&self) -> usize {
        let (Some(peers), Some(sealer)) = (&self.peers, &self.sealer) else {
            return 0;
        };
        let question = Question {
            stamps: self.certificates.stamps(),
            entries: Vec::new(),
        };
        let Ok(sealed) = seal(sealer, &question) else {
            return 0;
        };
        let asked = self.some_of(peers.current().peers());
        let report = self.asking.call(&asked, &call(sealed.clone())).await;
        let mut heard = Heard::default();
        let mut replies = Vec::new();
        for row in report.rows() {
            let Outcome::Confirmed(reply) = row.outcome() else {
                continue;
            };
            let peer = row.address();
            let once = heard.once(row.instance(), peer);
            if matches!(once, Ok(Seen::ByOtherFamily)) {
                continue;
            }
            let reply = open(sealer, &sealed, reply.body());
            match once.and_then(|_| reply.map_err(|error| chain(&error))) {
                Ok(reply) => replies.push((peer, reply)),
                Err(why) => tracing::debug!(%peer, why, "not compared with"),
            }
        }
        let clocks = replies.iter().filter_map(|(_, it)| it.clock_unix_ms);
        let stamps = replies.iter().filter_map(|(_, it)| it.stamps_unix_ms);
        let clocks: Vec<_> = clocks.collect();
        self.certificates.compare_clocks(&clocks, stamps);
        let mut taken = 0;
        for (peer, reply) in replies {
            let (count, unused) = self.certificates.hear(reply.entries).await;
            taken += count;
            for why in unused {
                tracing::warn!(%peer, why, "a certificate of a replica is not used");
            }
        }
        taken
    }

    /// As [`CertificateExchange::compare`], before this replica serves: a port that other replicas speak TLS on
    /// is not to be plain here for a while.
    pub(crate) async fn begin(&self) {
        let Some(peers) = &self.peers else { return };
        if self.sealer.is_none() {
            return;
        }
        let compared = async {
            peers.refresh(DISCOVERY_DEADLINE).await;
            self.compare().await
        };
        if let Ok(taken) = tokio::time::timeout(START_WAIT, compared).await
            && taken > 0
        {
            tracing::info!(taken, "took the certificates of the other replicas");
        }
    }

    /// Answers another replica.
    pub(crate) async fn answer(
        &self,
        body: &Bytes,
        engine: &EngineHandle,
    ) -> Result<Vec<u8>, QuestionError> {
        let sealer = self.sealer.as_ref().ok_or(QuestionError::NoSecret)?;
        let opened = sealer.open(QUESTION, body)?;
        let question = serde_json::from_slice::<Question>(&opened);
        let Question { stamps, entries } = question.map_err(|_| QuestionError::Unreadable)?;
        let told: Vec<_> = entries.iter().filter_map(Entry::name).collect();
        let (_, unused) = self.certificates.hear(entries).await;
        let mut reason = (!unused.is_empty()).then(|| unused.join("; "));
        if !told.is_empty() {
            let refreshed = engine.refresh().await.err();
            let mut unshown = told.iter();
            let unshown = unshown.find_map(|name| self.certificates.unshown(name));
            reason = reason.or(refreshed).or(unshown);
        }
        let (clock, stamped) = self.certificates.clock();
        let reply = Reply {
            entries: self.certificates.later_than(&stamps),
            reason,
            clock_unix_ms: Some(clock),
            stamps_unix_ms: stamped,
        };
        let text = serde_json::to_vec(&reply).map_err(|_| QuestionError::Unsaid)?;
        let sealed = sealer.seal(&answer_to(body), text);
        sealed.map_err(|_| QuestionError::Unsaid)
    }

    fn some_of(&self, peers: &BTreeSet<PeerAddress>) -> BTreeSet<PeerAddress> {
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        let first = round.wrapping_mul(MOST_ASKED) % peers.len().max(1);
        let asked = peers.iter().cycle().skip(first);
        asked.take(MOST_ASKED.min(peers.len())).cloned().collect()
    }
}

/// What a replica said to a certificate.
fn said(row: &Row, sealer: &Sealer, sealed: &[u8]) -> ReplicaRow {
    let Outcome::Confirmed(reply) = row.outcome() else {
        return unconfirmed(row, reason(row));
    };
    let (status, reason) = match open(sealer, sealed, reply.body()) {
        Ok(Reply { reason: None, .. }) => (ReplicaStatus::Applied, None),
        Ok(Reply { reason, .. }) => (ReplicaStatus::Failed, reason),
        Err(error) => return unconfirmed(row, chain(&error)),
    };
    ReplicaRow {
        status,
        reason,
        ..unconfirmed(row, String::new())
    }
}

fn unconfirmed(row: &Row, why: String) -> ReplicaRow {
    ReplicaRow {
        address: row.address().to_string(),
        instance: row.instance().map(str::to_owned),
        status: ReplicaStatus::Unconfirmed,
        took: row.took(),
        reason: Some(why),
    }
}

fn seal(sealer: &Sealer, question: &Question) -> Result<Vec<u8>, SealError> {
    let text = serde_json::to_vec(question).map_err(|_| SealError::Unable)?;
    sealer.seal(QUESTION, text)
}

fn open(sealer: &Sealer, question: &[u8], body: &[u8]) -> Result<Reply, QuestionError> {
    let opened = sealer.open(&answer_to(question), body)?;
    serde_json::from_slice(&opened).map_err(|_| QuestionError::Unreadable)
}

fn answer_to(question: &[u8]) -> Vec<u8> {
    [ANSWER, Sealer::id(question)].concat()
}

#[expect(
    clippy::expect_used,
    reason = "the path is a constant, and a test calls it"
)]
fn call(sealed: Vec<u8>) -> Call {
    let kind = HeaderValue::from_static("application/octet-stream");
    Call::new(Method::POST, CERTIFICATES_PATH)
        .expect("a path")
        .header(HeaderName::from_static("content-type"), kind)
        .body(sealed)
        // A replica that hears it twice finds the second time that it is there already.
        .repeat(Repeat::Harmless)
}

/// What opens, or does not, as bytes at random; see [`crate::fuzzing`].
#[cfg(any(test, fuzzing))]
pub(crate) fn opened(data: &[u8]) {
    let sealer = Sealer::new(&"a secret".to_owned().into());
    assert!(sealer.open(QUESTION, data).is_err(), "nobody sealed it");
    assert!(open(&sealer, data, data).is_err(), "nobody sealed it");
    crate::fuzzing::same::<Reply>(data);
    let question = crate::fuzzing::same::<Question>(data);
    for entry in question.unwrap_or_default().entries {
        let name = entry.name();
        match entry.read() {
            Ok((read, _)) => assert_eq!(Some(read), name, "it is another"),
            Err((_, why)) => assert!(!why.is_empty(), "without a reason"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        certificates::kept::tests::replica,
        clock::now_ms,
        testing::{Ways, no_certificates},
    };

    fn sealer() -> Sealer {
        Sealer::new(&"sesame".to_owned().into())
    }

    /// Each shows what it is told.
    fn shows(_: &str, call: &Call) -> Vec<u8> {
        let text = serde_json::to_vec(&Reply::default()).unwrap();
        sealer().seal(&answer_to(call.body_bytes()), text).unwrap()
    }

    #[tokio::test]
    async fn a_replica_that_answers_at_two_addresses_shows_a_certificate_once() {
        let ways = [("a:1", "me"), ("b:1", "c"), ("c:1", "c"), ("d:1", "me")];
        let (peers, broadcast) = Ways::lead(&ways, shows);
        let exchange = CertificateExchange::new(
            no_certificates(),
            Some(peers),
            [broadcast.clone(), broadcast],
            Some(sealer()),
            "here:1".to_owned(),
        );
        let stamp = r#"{"counter":1,"replica":"r"}"#;
        let entry = format!(r#"{{"name":"a","stamp":{stamp},"pem":null}}"#);
        let entry = serde_json::from_str(&entry).unwrap();
        let rows = exchange.tell(entry, None, Duration::from_secs(5)).await;
        let said: Vec<_> = rows
            .iter()
            .map(|row| (row.address.as_str(), row.status))
            .collect();
        use ReplicaStatus::{Applied, Unconfirmed};
        // The calls for C and for D reached others: whether those two heard it is not known.
        let expected = [
            ("b:1", Applied),
            ("c:1", Unconfirmed),
            ("d:1", Unconfirmed),
            ("a:1", Applied),
        ];
        assert_eq!(said, expected);
    }

    /// Its clock is right, stamps run three years ahead, and it keeps one that was stamped so.
    fn was_years_ahead(_: &str, call: &Call) -> Vec<u8> {
        let stamped = now_ms() + 3 * 366 * 24 * 60 * 60 * 1_000;
        let stamp = Stamp::new(stamped, "r".parse().unwrap());
        let stamp = serde_json::to_string(&stamp).unwrap();
        let entry = format!(r#"{{"name":"a","stamp":{stamp},"pem":null}}"#);
        let reply = Reply {
            entries: vec![serde_json::from_str(&entry).unwrap()],
            reason: None,
            clock_unix_ms: Some(now_ms()),
            stamps_unix_ms: Some(stamped),
        };
        let text = serde_json::to_vec(&reply).unwrap();
        sealer().seal(&answer_to(call.body_bytes()), text).unwrap()
    }

    #[tokio::test]
    async fn clocks_are_compared_before_what_was_stamped_is_judged() {
        let folder = tempfile::tempdir().unwrap();
        let (peers, broadcast) = Ways::lead(&[("b:1", "b")], was_years_ahead);
        let certificates = replica(folder.path(), "true");
        let exchange = CertificateExchange::new(
            Arc::clone(&certificates),
            Some(peers),
            [broadcast.clone(), broadcast],
            Some(sealer()),
            "here:1".to_owned(),
        );
        exchange.begin().await;
        let theirs = certificates.stamps()["a"].clone();
        let me = "me".parse().unwrap();
        let written = certificates.keep("b".parse().unwrap(), None, &me).await;
        assert!(*written.unwrap().entry.stamp() > theirs);
    }
}
