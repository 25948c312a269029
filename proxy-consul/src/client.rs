//! The walk: one request, the addresses in order, one answer or one error that names them all.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use crate::{
    endpoints::{Address, Endpoints},
    error::{AddressFailure, ClientError, FailureKind, Sent, TransportError, may_have_arrived},
    key::KeyProblem,
    kv::{CasOutcome, KvEntry, parse_cas, parse_entries},
    observe::{CallOutcome, Observer},
    request::{Operation, Request, Response, encode},
    settings::{ConsulSettings, SettingsError, Timeouts},
    transport::{HttpTransport, Transport},
    txn::{Txn, TxnOutcome, parse_outcome},
};

/// A client of a Consul cluster. Cloning is cheap and shares connections, cool-downs and bounds.
///
/// Every method is cancel safe for reads. A write that is dropped midway may have happened.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Endpoints,
    transport: Arc<dyn Transport>,
    observer: Arc<dyn Observer>,
    requests: UnderWay,
    /// On their own: those that wait for nothing to happen must not keep anybody from asking.
    watches: UnderWay,
    datacenter: Option<String>,
    timeouts: Timeouts,
}

/// A bound on what is under way at once.
#[derive(Debug)]
struct UnderWay {
    places: Semaphore,
    most: usize,
}

/// A useful answer, who gave it, and whether a server asked before may have acted as well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What was answered.
    pub value: T,
    /// Who answered.
    pub address: Address,
    /// The addresses that failed before.
    pub failures: Vec<AddressFailure>,
}

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// To the last address.
    All,
    /// To the first that stays silent.
    UntilTimeout,
}

/// What the walk does with what one address gave.
enum Verdict<T> {
    Answer(T),
    Next(TransportError),
    Denied(String),
    Rejected(u16, String),
}

// === impl Client ===

impl Client {
    /// A client over HTTP.
    ///
    /// # Errors
    /// When the settings hold a token or a certificate that cannot be used.
    pub fn new(settings: &ConsulSettings) -> Result<Self, SettingsError> {
        let transport = Arc::new(HttpTransport::new(settings)?);
        Self::with_transport(settings, transport)
    }

    /// A client over another transport.
    ///
    /// # Errors
    /// When the settings hold no address.
    pub fn with_transport(
        settings: &ConsulSettings,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, SettingsError> {
        let endpoints =
            Endpoints::new(settings.addresses().to_vec(), settings.timeouts().cool_down)?;
        Ok(Self {
            inner: Arc::new(Inner {
                endpoints,
                transport,
                observer: Arc::clone(settings.observer()),
                requests: UnderWay::new(settings.max_in_flight()),
                watches: UnderWay::new(settings.max_watches()),
                datacenter: settings.datacenter().map(str::to_owned),
                timeouts: *settings.timeouts(),
            }),
        })
    }

    /// The addresses in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        self.inner.endpoints.addresses()
    }

    /// Reads one key, consistently.
    ///
    /// # Errors
    /// When no server answered, the token was refused, or it is no key ([`ClientError::Key`]).
    pub async fn get(&self, key: &str) -> Result<Option<KvEntry>, ClientError> {
        let path = self.path(&key_path(Operation::Get, key)?, &["consistent"]);
        let request = Request::get(Operation::Get, path, self.inner.timeouts.request);
        let mut entries = self.ask(&request, parse_entries).await?.value;
        Ok(entries.pop())
    }

    /// Reads all keys that begin with `prefix`, consistently and at one moment. Keys that the token
    /// may not read are left out; Consul does not say so.
    ///
    /// # Errors
    /// When no server answered, the token was refused, or keys cannot begin so ([`ClientError::Key`]).
    pub async fn list(&self, prefix: &str) -> Result<Vec<KvEntry>, ClientError> {
        sendable(Operation::List, prefix, KeyProblem::of_prefix(prefix))?;
        let path = format!("/v1/kv/{}", encode(prefix));
        let path = self.path(&path, &["recurse", "consistent"]);
        let request = Request::get(Operation::List, path, self.inner.timeouts.request);
        Ok(self.ask(&request, parse_entries).await?.value)
    }

    /// Writes one key if its index is `index`; 0 means that it must not be there yet.
    ///
    /// A `Stale` that comes after another address failed may be the doing of this very call, if
    /// that address acted on it: see [`Answer::failures`].
    ///
    /// # Errors
    /// When no server answered (see [`ClientError::sent`]), the token was refused, or it is no key
    /// ([`ClientError::Key`]).
    pub async fn cas(
        &self,
        key: &str,
        index: u64,
        value: bytes::Bytes,
    ) -> Result<Answer<CasOutcome>, ClientError> {
        let path = key_path(Operation::Cas, key)?;
        let path = self.path(&path, &[&format!("cas={index}")]);
        let request = Request::put(Operation::Cas, path, value, self.inner.timeouts.request);
        self.ask(&request, parse_cas).await
    }

    /// Runs a transaction; one that only reads, reads consistently.
    ///
    /// # Errors
    /// When no server answered (see [`ClientError::sent`]), or the token was refused.
    pub async fn txn(&self, txn: &Txn) -> Result<Answer<TxnOutcome>, ClientError> {
        let (operation, query): (_, &[&str]) = if txn.is_read_only() {
            (Operation::ReadTxn, &["consistent"])
        } else {
            (Operation::WriteTxn, &[])
        };
        let path = self.path("/v1/txn", query);
        let request = Request::put(operation, path, txn.body(), self.inner.timeouts.request);
        self.ask(&request, parse_outcome).await
    }

    /// Waits until a key has another index than `seen`, at most the watch's time; 0 does not wait.
    /// Gives what the key holds now, with the index to wait for next.
    ///
    /// The walk ends at the first timeout: with several frozen servers it would take the watch's long
    /// deadline for each, where a plain read finds out in a few seconds.
    pub(crate) async fn poll(
        &self,
        key: &str,
        seen: u64,
        wait: Duration,
    ) -> Result<(Option<KvEntry>, u64), ClientError> {
        let path = self.path(
            &key_path(Operation::Watch, key)?,
            &[
                &format!("index={seen}"),
                &format!("wait={}ms", wait.as_millis()),
            ],
        );
        let parse = |response: &Response| {
            let index = response.index.ok_or("no X-Consul-Index")?;
            Ok((parse_entries(response)?.pop(), index))
        };
        self.wait_for(Operation::Watch, path, wait, parse).await
    }

    /// Asks a blocking query, which a server answers within `wait`.
    pub(crate) async fn wait_for<T>(
        &self,
        operation: Operation,
        path: String,
        wait: Duration,
        parse: impl Fn(&Response) -> Result<T, String> + Send + Sync,
    ) -> Result<T, ClientError> {
        // Consul adds up to a sixteenth, so that not all wake at once.
        let deadline = wait + wait / 16 + self.inner.timeouts.watch_grace;
        let request = Request::get(operation, path, deadline);
        Ok(self.walk(&request, Walk::UntilTimeout, parse).await?.value)
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.inner.timeouts
    }

    pub(crate) fn path(&self, path: &str, query: &[&str]) -> String {
        let mut all = path.to_owned();
        let datacenter = self
            .inner
            .datacenter
            .as_ref()
            .map(|name| format!("dc={}", encode(name).replace('/', "%2F")));
        let parts = query.iter().copied().chain(datacenter.as_deref());
        for (nth, part) in parts.enumerate() {
            all.push(if nth == 0 { '?' } else { '&' });
            all.push_str(part);
        }
        all
    }

    /// Sends one request to the addresses in order until one answers usefully.
    pub(crate) async fn ask<T>(
        &self,
        request: &Request,
        parse: impl Fn(&Response) -> Result<T, String> + Send + Sync,
    ) -> Result<Answer<T>, ClientError> {
        self.walk(request, Walk::All, parse).await
    }

    async fn walk<T>(
        &self,
        request: &Request,
        walk: Walk,
        parse: impl Fn(&Response) -> Result<T, String> + Send + Sync,
    ) -> Result<Answer<T>, ClientError> {
        let inner = &*self.inner;
        let operation = request.operation;
        let under_way = match walk {
            Walk::All => &inner.requests,
            Walk::UntilTimeout => &inner.watches,
        };
        let _place = under_way.place(request).await?;
        let order = inner.endpoints.order(Instant::now());
        let mut failures = Vec::new();
        for address in order {
            let started = Instant::now();
            let sent = timeout(request.deadline, inner.transport.send(&address, request)).await;
            let result = sent.unwrap_or_else(|_| {
                let detail = format!("after {:?}", request.deadline);
                Err(TransportError::new(
                    FailureKind::Timeout,
                    Sent::Maybe,
                    detail,
                ))
            });
            let (outcome, verdict) = judge(result, &parse);
            inner
                .observer
                .request(&address, operation, outcome, started.elapsed());
            if let Verdict::Next(error) = verdict {
                tracing::debug!(%address, %operation, %error, "a Consul server failed");
                inner.endpoints.failed(&address, Instant::now());
                let enough = walk == Walk::UntilTimeout && error.kind == FailureKind::Timeout;
                failures.push(AddressFailure { address, error });
                if enough {
                    break;
                }
                continue;
            }
            inner.endpoints.worked(&address);
            return match verdict {
                Verdict::Answer(value) => Ok(Answer {
                    value,
                    address,
                    failures,
                }),
                Verdict::Denied(message) => Err(ClientError::Denied {
                    address,
                    operation,
                    message,
                    failures,
                }),
                Verdict::Rejected(status, message) => Err(ClientError::Rejected {
                    address,
                    operation,
                    status,
                    message,
                    failures,
                }),
                Verdict::Next(_) => continue,
            };
        }
        Err(ClientError::AllFailed {
            operation,
            failures,
        })
    }
}

// === impl UnderWay ===

impl UnderWay {
    fn new(most: usize) -> Self {
        Self {
            places: Semaphore::new(most),
            most,
        }
    }

    /// Waits for a place, as long as the request itself may take.
    async fn place(&self, request: &Request) -> Result<SemaphorePermit<'_>, ClientError> {
        let place = timeout(request.deadline, self.places.acquire()).await;
        let busy = || ClientError::Busy {
            operation: request.operation,
            under_way: self.most,
            waited: request.deadline,
        };
        // It is never closed, and would be as good as full.
        place.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

// === impl Answer ===

impl<T> Answer<T> {
    /// Whether a server that was asked before, and failed, may have acted too.
    #[must_use]
    pub fn doubtful(&self) -> Sent {
        may_have_arrived(&self.failures)
    }
}

/// The path of one key.
fn key_path(operation: Operation, key: &str) -> Result<String, ClientError> {
    sendable(operation, key, KeyProblem::of_key(key))?;
    Ok(format!("/v1/kv/{}", encode(key)))
}

/// Refuses what a path would carry elsewhere.
pub(crate) fn sendable(
    operation: Operation,
    key: &str,
    problem: Option<KeyProblem>,
) -> Result<(), ClientError> {
    match problem {
        None => Ok(()),
        Some(problem) => Err(ClientError::Key {
            operation,
            key: key.to_owned(),
            problem,
        }),
    }
}

/// What one address gave, and what follows from it. Next address on: no answer, 5xx, 429, nonsense.
/// Stop: other 4xx.
fn judge<T>(
    result: Result<Response, TransportError>,
    parse: impl Fn(&Response) -> Result<T, String>,
) -> (CallOutcome, Verdict<T>) {
    let next = |error: TransportError| (CallOutcome::Failed(error.kind), Verdict::Next(error));
    let response = match result {
        Ok(response) => response,
        Err(error) => return next(error),
    };
    let seen = || format!("{} {}", response.status, response.excerpt());
    match response.status {
        200..=299 | 404 | 409 => match parse(&response) {
            Ok(value) if response.status == 409 => (CallOutcome::Conflict, Verdict::Answer(value)),
            Ok(value) => (CallOutcome::Ok, Verdict::Answer(value)),
            Err(problem) => next(TransportError::new(
                FailureKind::Garbage,
                Sent::Maybe,
                problem,
            )),
        },
        429 => next(TransportError::new(
            FailureKind::RateLimited,
            Sent::No,
            seen(),
        )),
        401 | 403 => (CallOutcome::Denied, Verdict::Denied(response.excerpt())),
        400..=499 => (
            CallOutcome::Rejected,
            Verdict::Rejected(response.status, response.excerpt()),
        ),
        500..=599 => next(TransportError::new(
            FailureKind::ServerError,
            Sent::Maybe,
            seen(),
        )),
        _ => next(TransportError::new(
            FailureKind::Garbage,
            Sent::Maybe,
            seen(),
        )),
    }
}
