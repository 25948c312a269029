//! One call to every peer at once, each with its own deadline and retries, and a
//! report with one row per peer.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::address::PeerAddress;
use crate::call::{Call, PeerReply, Repeat};
use crate::places::Places;
use crate::realm::Realm;
use crate::sign::{BodyDigest, Nonce, SignedCall, Signer};
use crate::transport::{
    BuildError, DEFAULT_CONNECT_DEADLINE, DEFAULT_MAX_REPLY_BYTES, HttpTransport, Reach, Transport,
    TransportError,
};

mod report;

pub use self::report::{Outcome, Report, Row};

/// Calls on the wire at once. More than any sane number of replicas, less than
/// what a default limit of 1,024 open files allows beside the rest.
pub const DEFAULT_FAN_OUT: usize = 64;

/// How long one try may take. Half of the total, so that one that hangs leaves
/// room for another, and its place on the wire to another peer.
pub const DEFAULT_ATTEMPT_DEADLINE: Duration = Duration::from_secs(5);

/// How long a peer may take over all tries.
pub const DEFAULT_TOTAL_DEADLINE: Duration = Duration::from_secs(10);

/// Tries per peer. With the pauses between them, a peer that restarts is caught
/// when it is back within a second; one that is gone does not hold the report up.
pub const DEFAULT_ATTEMPTS: u32 = 4;

/// The pause before the second try; each next one is twice as long, with jitter.
pub const DEFAULT_FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// No call takes longer. A point in time that is as far off as a `Duration` goes cannot be counted.
const LONGEST_TOTAL: Duration = Duration::from_secs(24 * 60 * 60);

/// No pause between two tries is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How a broadcast behaves. The defaults suit replicas in one network.
#[derive(Debug, Clone)]
pub struct BroadcastSettings {
    fan_out: usize,
    connect_deadline: Duration,
    attempt_deadline: Duration,
    total_deadline: Duration,
    attempts: u32,
    first_backoff: Duration,
    max_reply_bytes: usize,
    authorization: Authorization,
    identity: Option<Identity>,
    realm: Option<Realm>,
}

/// How calls show that they come from a peer.
#[derive(Debug, Clone)]
enum Authorization {
    None,
    Bearer(SecretString),
    Signed(Signer),
}

/// How this instance knows itself among its peers: each reply names its sender's
/// instance in a header, and each call names ours in the same one, so that a peer
/// that hears itself can say so at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    header: HeaderName,
    own: HeaderValue,
}

impl Identity {
    /// This instance is `own`, and `header` carries the id in calls and replies.
    pub fn new(header: HeaderName, own: HeaderValue) -> Self {
        Self { header, own }
    }
}

impl Default for BroadcastSettings {
    fn default() -> Self {
        Self {
            fan_out: DEFAULT_FAN_OUT,
            connect_deadline: DEFAULT_CONNECT_DEADLINE,
            attempt_deadline: DEFAULT_ATTEMPT_DEADLINE,
            total_deadline: DEFAULT_TOTAL_DEADLINE,
            attempts: DEFAULT_ATTEMPTS,
            first_backoff: DEFAULT_FIRST_BACKOFF,
            max_reply_bytes: DEFAULT_MAX_REPLY_BYTES,
            authorization: Authorization::None,
            identity: None,
            realm: None,
        }
    }
}

impl BroadcastSettings {
    /// Calls on the wire at once; at least one.
    #[must_use]
    pub fn fan_out(mut self, calls: usize) -> Self {
        self.fan_out = calls.max(1);
        self
    }

    /// How long a connection may take.
    #[must_use]
    pub fn connect_deadline(mut self, deadline: Duration) -> Self {
        self.connect_deadline = deadline;
        self
    }

    /// How long one try may take.
    #[must_use]
    pub fn attempt_deadline(mut self, deadline: Duration) -> Self {
        self.attempt_deadline = deadline;
        self
    }

    /// How long a peer may take over all tries: the longest that
    /// [`Broadcast::call`] takes. More than a day counts as one.
    #[must_use]
    pub fn total_deadline(mut self, deadline: Duration) -> Self {
        self.total_deadline = deadline;
        self
    }

    /// Tries per peer; at least one.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The pause before the second try.
    #[must_use]
    pub fn first_backoff(mut self, pause: Duration) -> Self {
        self.first_backoff = pause;
        self
    }

    /// The longest reply that is read.
    #[must_use]
    pub fn max_reply_bytes(mut self, bytes: usize) -> Self {
        self.max_reply_bytes = bytes;
        self
    }

    /// Sent to every peer as a bearer token, in place of a signature. Whoever hears a call can
    /// make others with it.
    #[must_use]
    pub fn bearer(mut self, token: SecretString) -> Self {
        self.authorization = Authorization::Bearer(token);
        self
    }

    /// Every call is signed at the moment it is sent, in place of a bearer token, and an answer counts
    /// only if it is signed too ([`Signer::sign_answer`]). A 401 need not be, since a peer with another
    /// secret could not: it is a refusal and confirms nothing.
    #[must_use]
    pub fn signer(mut self, signer: Signer) -> Self {
        self.authorization = Authorization::Signed(signer);
        self
    }

    /// Every call says that it is for these replicas, and which instance makes it ([`Identity`]), in the
    /// query of its path; a signature is over it.
    #[must_use]
    pub fn realm(mut self, realm: Realm) -> Self {
        self.realm = Some(realm);
        self
    }

    /// Marks replies of this very instance.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }
}

/// Tells every peer the same thing. Cheap to clone; clones share connections and
/// the bound on calls at once.
#[derive(Debug, Clone)]
pub struct Broadcast {
    transport: Arc<dyn Transport>,
    settings: Arc<BroadcastSettings>,
    places: Arc<Places>,
}

/// A call as every peer gets it, and the digest of its body, taken once for all of them.
struct Dressed {
    call: Call,
    digest: Option<BodyDigest>,
}

/// What a signed answer is held to.
struct Asked<'a> {
    signer: &'a Signer,
    as_signed: SignedCall,
}

/// How a try ended, and whether the next may follow.
struct Tried {
    outcome: Outcome,
    again: bool,
}

impl Broadcast {
    /// Calls over HTTP.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn over_http(settings: BroadcastSettings) -> Result<Self, BuildError> {
        let transport = HttpTransport::new(settings.connect_deadline, settings.max_reply_bytes)?;
        Ok(Self::over(Arc::new(transport), settings))
    }

    /// Calls over a transport of one's own.
    pub fn over(transport: Arc<dyn Transport>, settings: BroadcastSettings) -> Self {
        Self {
            transport,
            places: Arc::new(Places::new(settings.fan_out)),
            settings: Arc::new(settings),
        }
    }

    /// The same, with other deadlines: this one for all tries of a peer, and for a single one where
    /// that was as long before.
    #[must_use]
    pub fn within(&self, total: Duration) -> Self {
        let mut settings = BroadcastSettings::clone(&self.settings);
        if settings.attempt_deadline >= settings.total_deadline {
            settings.attempt_deadline = total;
        }
        settings.total_deadline = total;
        Self {
            settings: Arc::new(settings),
            ..self.clone()
        }
    }

    /// Calls all these peers and waits until each has a row, at most the total
    /// deadline. A peer that hangs delays no other's row.
    ///
    /// Cancel safe in that nothing goes on after a drop; calls that are on the
    /// wire then may have been heard.
    pub async fn call(&self, peers: &BTreeSet<PeerAddress>, call: &Call) -> Report {
        let call = self.dress(call.clone());
        let rows = peers.iter().map(|peer| self.one(peer, &call));
        Report::new(join_all(rows).await)
    }

    /// Adds what every call carries.
    fn dress(&self, mut call: Call) -> Dressed {
        if let Some(identity) = &self.settings.identity {
            call = call.header(identity.header.clone(), identity.own.clone());
        }
        if let Some(realm) = &self.settings.realm {
            let identity = self.settings.identity.as_ref();
            let from = identity.and_then(|it| it.own.to_str().ok());
            call = call.and_query(&realm.query(from));
        }
        let mut digest = None;
        match &self.settings.authorization {
            Authorization::None => {}
            Authorization::Bearer(token) => {
                // A token that no header can carry is not sent; the peer then refuses us.
                let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
                if let Ok(mut bearer) = bearer {
                    bearer.set_sensitive(true);
                    call = call.header(header::AUTHORIZATION, bearer);
                }
            }
            Authorization::Signed(_) => digest = Some(BodyDigest::of(call.body_bytes())),
        }
        Dressed { call, digest }
    }

    /// The call as it is sent now: a signature holds for a moment only. Where there are no random bytes it
    /// goes unsigned, and the peer refuses it.
    fn signed<'a>(&self, dressed: &'a Dressed) -> (Cow<'a, Call>, Option<Asked<'_>>) {
        let call = &dressed.call;
        let (Authorization::Signed(signer), Some(digest)) =
            (&self.settings.authorization, dressed.digest)
        else {
            return (Cow::Borrowed(call), None);
        };
        let Ok(nonce) = Nonce::random() else {
            return (Cow::Borrowed(call), None);
        };
        let now = (SystemTime::now(), nonce);
        let as_signed = signer.authorize(call.method(), call.path(), digest, now);
        let call = call
            .clone()
            .header(header::AUTHORIZATION, as_signed.header());
        (Cow::Owned(call), Some(Asked { signer, as_signed }))
    }

    /// A reply, if it is the peer's where calls are signed.
    fn verified(
        &self,
        reply: PeerReply,
        asked: Option<&Asked<'_>>,
    ) -> Result<PeerReply, TransportError> {
        let Some(Asked { signer, as_signed }) = asked else {
            return Ok(reply);
        };
        let from = self.settings.identity.as_ref().map(|it| &it.header);
        match signer.verify_answer(as_signed, &reply, from) {
            Ok(()) => Ok(reply),
            // Its words help whoever looks for the reason; who sends them is not known, so no header counts.
            Err(_) if reply.status() == StatusCode::UNAUTHORIZED => {
                Ok(PeerReply::new(reply.status(), reply.body().clone()))
            }
            Err(source) => Err(TransportError::Unverified {
                status: reply.status(),
                source,
            }),
        }
    }

    /// One peer, to its row.
    async fn one(&self, peer: &PeerAddress, call: &Dressed) -> Row {
        let start = Instant::now();
        let end = start + self.settings.total_deadline.min(LONGEST_TOTAL);
        let mut backoff = ExponentialBuilder::default()
            .with_min_delay(self.settings.first_backoff)
            .with_max_delay(MAX_BACKOFF)
            .with_jitter()
            .without_max_times()
            .build();
        let mut attempts = 0;
        let mut outcome = Outcome::NotTried;
        while attempts < self.settings.attempts {
            // The place is held for one try, so that peers that hang do not keep
            // the others from theirs.
            let Ok(place) = timeout(left(end), self.places.take(peer)).await else {
                break;
            };
            if left(end).is_zero() {
                break;
            }
            attempts += 1;
            let tried = self.attempt(peer, call, left(end)).await;
            drop(place);
            outcome = outcome.then(tried.outcome);
            let pause = backoff.next().unwrap_or(MAX_BACKOFF);
            if !tried.again || pause >= left(end) || attempts == self.settings.attempts {
                break;
            }
            debug!(%peer, attempts, %outcome, "calling the peer again");
            sleep(pause).await;
        }
        let row = Row::new(
            peer.clone(),
            self.instance(&outcome),
            outcome,
            attempts,
            start.elapsed(),
        );
        debug!(%peer, outcome = %row.outcome(), attempts, took = ?row.took(), "called the peer");
        row
    }

    async fn attempt(&self, peer: &PeerAddress, dressed: &Dressed, left: Duration) -> Tried {
        let (call, asked) = self.signed(dressed);
        let deadline = self.settings.attempt_deadline.min(left);
        let sent = timeout(deadline, self.transport.send(peer, &call)).await;
        let sent = sent.unwrap_or(Err(TransportError::Timeout { deadline }));
        match sent.and_then(|reply| self.verified(reply, asked.as_ref())) {
            Ok(reply) => self.judge(reply, &call),
            Err(error) => {
                let again = match error.reach() {
                    Reach::NotSent => true,
                    Reach::MaybeHeard => call.may_repeat() == Repeat::Harmless,
                    Reach::Misunderstood => false,
                };
                let outcome = match error.reach() {
                    Reach::NotSent => Outcome::Unreachable(error),
                    Reach::MaybeHeard | Reach::Misunderstood => Outcome::Unanswered(error),
                };
                Tried { outcome, again }
            }
        }
    }

    fn judge(&self, reply: PeerReply, call: &Call) -> Tried {
        let myself = self
            .settings
            .identity
            .as_ref()
            .is_some_and(|identity| reply.header(&identity.header) == Some(&identity.own));
        if myself {
            return Tried {
                outcome: Outcome::Myself(reply),
                again: false,
            };
        }
        if reply.status().is_success() {
            return Tried {
                outcome: Outcome::Confirmed(reply),
                again: false,
            };
        }
        let busy = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        Tried {
            again: call.may_repeat() == Repeat::Harmless && busy.contains(&reply.status()),
            outcome: Outcome::Refused(reply),
        }
    }

    /// The instance that a reply names.
    fn instance(&self, outcome: &Outcome) -> Option<String> {
        let identity = self.settings.identity.as_ref()?;
        let value = outcome.reply()?.header(&identity.header)?;
        value.to_str().ok().map(str::to_owned)
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests;
