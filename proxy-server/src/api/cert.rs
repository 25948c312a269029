//! `cert`: a certificate is given or taken away.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
};
use proxy_core::Params;
use proxy_haproxy::{Certificate, CertificateError, CertificateName, KeyKind, MAX_BUNDLE_BYTES};
use secrecy::zeroize::Zeroizing;
use serde_json::Value;

use super::{
    Api,
    answer::Answered,
    dry_run::Mode,
    request::Whole,
    wait::{Manner, manner_of},
};
use crate::{
    certificates::{JudgeError, KeepError, Lane, Shown, Source, Step, Telling, Written},
    chain::chain,
    engine::{Wait, WaitFor},
    works::{WorkError, Works},
};

/// A certificate that may be kept, as long as nobody else writes its name.
pub(super) struct Good {
    lane: Lane,
    name: CertificateName,
    certificate: Certificate,
    /// What is worth saying of it.
    warnings: Vec<String>,
}

/// What the call did besides, before the certificate is kept.
pub(super) enum After {
    Nothing,
    /// A service was stored, of which these are the words.
    Service(String),
}

pub(super) async fn put(State(api): State<Api>, uri: Uri, body: Whole) -> Answered {
    let Whole(body) = body;
    if body.len() > MAX_BUNDLE_BYTES {
        let error = CertificateError::TooLarge { bytes: body.len() };
        let message = format!("the certificate is not taken: {error}; nothing was changed");
        let refused = Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false);
        return counted(&api, Err(refused));
    }
    let works = api.works.clone();
    let work = async move {
        let body = Zeroizing::new(Vec::from(body));
        counted(&api, run_put(&api, &uri, &body).await)
    };
    owned(&works, work).await
}

pub(super) async fn delete(State(api): State<Api>, uri: Uri) -> Answered {
    let works = api.works.clone();
    let work = async move { counted(&api, run_delete(&api, &uri).await) };
    owned(&works, work).await
}

/// Does what a caller that hangs up must not stop half-way.
pub(super) async fn owned(
    works: &Works,
    work: impl Future<Output = Answered> + Send + 'static,
) -> Answered {
    works.run(work).await.unwrap_or_else(undone)
}

/// Of what has no outcome.
pub(super) fn undone(error: WorkError) -> Answered {
    let status = match error {
        WorkError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        WorkError::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Answered::refused(status, error.to_string())
}

fn counted(api: &Api, answered: Result<Answered, Answered>) -> Answered {
    let answered = answered.unwrap_or_else(|refused| refused);
    api.metrics
        .change(answered.operation("cert"), answered.outcome());
    answered
}

async fn run_put(api: &Api, uri: &Uri, body: &[u8]) -> Result<Answered, Answered> {
    let (name, Manner { wait, mode }) = read(api, uri)?;
    let text = std::str::from_utf8(body);
    let bad = |why: &str| refused(StatusCode::BAD_REQUEST, &name, why);
    let text = text.map_err(|_| bad("it is no text; a certificate is given as PEM"))?;
    let certificate = Certificate::parse(text).map_err(|error| bad(&chain(&error)))?;
    let lane = lane(api, &name).await?;
    let good = good(api, lane, name, certificate, wait.who).await?;
    if mode == Mode::Tried {
        let message = format!(
            "dry run: the certificate {} would be shown for {}; nothing was changed",
            good.name,
            good.certificate.names().join(", ")
        );
        let answered = Answered::ok(message).with("Stored", false);
        let answered = answered.with("DryRun", true);
        return Ok(good.warnings.into_iter().fold(answered, warned));
    }
    Ok(keep(api, good, wait, After::Nothing).await)
}

async fn run_delete(api: &Api, uri: &Uri) -> Result<Answered, Answered> {
    let (name, Manner { wait, mode }) = read(api, uri)?;
    may_tell(api, wait.who)?;
    let lane = lane(api, &name).await?;
    if !api.certificates.was_given(&name) {
        // Another replica may have been given it just now.
        api.exchange.compare().await;
    }
    let was_there = api.certificates.is_kept(&name);
    let shown = api.certificates.shown();
    if !was_there && let Some(file) = shown.iter().find(|shown| shown.name == name) {
        let folder = file.source.folder().unwrap_or_default();
        let message = format!(
            "the certificate {name} is a file of {folder} and goes with it; nothing was changed"
        );
        return Err(Answered::refused(StatusCode::CONFLICT, message).with("Stored", false));
    }
    if !api.certificates.was_given(&name) {
        let message = format!("there is no certificate {name}; nothing was changed");
        return Err(Answered::refused(StatusCode::NOT_FOUND, message).with("Stored", false));
    }
    let done = match (was_there, api.certificates.file_of(&name)) {
        (true, None) => format!("the certificate {name} is removed"),
        (true, Some(file)) => format!(
            "the certificate {name} that was given is removed; in its place the one of the file {} is shown, which goes with it",
            file.display()
        ),
        (false, _) => format!("the certificate {name} was removed before"),
    };
    if mode == Mode::Tried {
        let message = format!("dry run: {done}; nothing was changed");
        let answered = Answered::ok(message).with("Stored", false);
        return Ok(answered.with("DryRun", true));
    }
    let stored = stored(api, lane, name, None, wait, &done).await;
    Ok(stored.unwrap_or_else(|(name, error)| unkept(&name, &error)))
}

fn read(api: &Api, uri: &Uri) -> Result<(CertificateName, Manner), Answered> {
    let mut params = Params::from_query(uri.query().unwrap_or_default())?;
    let manner = manner_of(api, &mut params)?;
    let Some(name) = params.take("certName") else {
        let message = "certName is missing; nothing was changed";
        return Err(Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false));
    };
    let shown: String = name.chars().take(80).collect();
    let name = name.parse().map_err(|error| {
        let message = format!("certName={shown:?}: {error}; nothing was changed");
        Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false)
    })?;
    Ok((name, manner))
}

/// Waits until no other call writes this name.
pub(super) async fn lane(api: &Api, name: &CertificateName) -> Result<Lane, Answered> {
    let lane = api.certificates.lane(name).await;
    lane.map_err(|error| unkept(name, &error))
}

/// Whether a certificate could be shown, before anything is changed.
pub(super) async fn good(
    api: &Api,
    lane: Lane,
    name: CertificateName,
    certificate: Certificate,
    who: WaitFor,
) -> Result<Good, Answered> {
    may_tell(api, who)?;
    let checked = api.certificates.check(&name, &certificate).await;
    checked.map_err(|error| unkept(&name, &error))?;
    let step = Step::show(Shown {
        name: name.clone(),
        certificate: certificate.clone(),
        source: Source::Call,
    });
    let judged = api.dry_runs.would_show(step).await;
    judged.map_err(|error| unkept(&name, &JudgeError::from(error).into()))?;
    let before = api.certificates.under(&name);
    let warnings = [
        before.and_then(|before| other_kind(&name, &before, &certificate)),
        is_over(&certificate),
    ];
    Ok(Good {
        lane,
        name,
        certificate,
        warnings: warnings.into_iter().flatten().collect(),
    })
}

/// What is to be said where a certificate takes the place of one with another kind of key. Both could be shown, but who
/// renews one with a newer kind does not want the old one beside it.
fn other_kind(name: &CertificateName, old: &Certificate, new: &Certificate) -> Option<String> {
    let [was, is] = [old, new].map(|it| kind_word(it.key_kind()));
    (was != is).then(|| {
        format!(
            "the certificate {name} that stood there had another kind of key ({was}, this one {is}) and is shown no more; to show both, give that one again with PUT cert under a name of its own (as certName={name}.{})",
            was.to_ascii_lowercase()
        )
    })
}

/// A kind of key in one word.
pub(super) fn kind_word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Ecdsa => "ECDSA",
        KeyKind::Rsa => "RSA",
        _ => "other",
    }
}

fn is_over(certificate: &Certificate) -> Option<String> {
    let is_over = certificate.not_after() < std::time::SystemTime::now();
    is_over.then(|| "the certificate has expired".to_owned())
}

fn warned(answered: Answered, warning: String) -> Answered {
    answered.warn(Some(warning))
}

impl Good {
    /// What is worth saying of it.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Keeps a certificate and has it shown.
pub(super) async fn keep(api: &Api, good: Good, wait: Wait, after: After) -> Answered {
    let Good {
        lane,
        name,
        certificate,
        warnings,
    } = good;
    let done = format!(
        "the certificate {name} is shown for {}",
        certificate.names().join(", ")
    );
    let answered = match stored(api, lane, name, Some(certificate), wait, &done).await {
        Ok(answered) => answered,
        Err((name, error)) => match (after, &error) {
            (After::Nothing, _) => return unkept(&name, &error),
            (After::Service(service), KeepError::Doubtful(_)) => {
                let what = format!("{service}, and its certificate {name}");
                return doubtful(&what, &error, "give it again with PUT cert");
            }
            (After::Service(service), _) => {
                let message = format!(
                    "{service}, and its certificate {name} is not kept: {}; what was shown before still is; give it again with PUT cert",
                    chain(&error)
                );
                return Answered::refused(status(&error), message).with("Stored", false);
            }
        },
    };
    warnings.into_iter().fold(answered, warned)
}

async fn stored(
    api: &Api,
    lane: Lane,
    name: CertificateName,
    certificate: Option<Certificate>,
    wait: Wait,
    done: &str,
) -> Result<Answered, (CertificateName, KeepError)> {
    let kept = api
        .certificates
        .keep(name.clone(), certificate, &api.instance);
    let Written { entry, doubt } = match kept.await {
        Ok(written) => written,
        Err(error) => return Err((name, error)),
    };
    let refreshed = api.engine.refresh().await.err();
    let refreshed = refreshed.map(|why| format!("{why}; this is tried again"));
    let failure = refreshed.or_else(|| api.certificates.unshown(&name));
    // What others do with it is ordered by its stamp.
    drop(lane);
    let rows = match wait.who {
        WaitFor::Nobody | WaitFor::Here => Vec::new(),
        _ => api.exchange.tell(entry, failure.clone(), wait.most).await,
    };
    if let Some(doubt) = doubt {
        return Err((name, doubt));
    }
    let answered = Answered::of_replicas(done, failure.as_deref(), &rows, wait.who);
    Ok(answered.with("CertName", name.to_string()))
}

/// Whether the other replicas can be told, where they are to be.
fn may_tell(api: &Api, who: WaitFor) -> Result<(), Answered> {
    let wanted = matches!(who, WaitFor::Everyone | WaitFor::Quorum);
    if !wanted || api.exchange.telling() != Telling::NoSecret {
        return Ok(());
    }
    let message = "keys travel only between replicas that share PEER_SECRET, and there is none: set it, or give each replica its certificates without distribute; nothing was changed";
    Err(Answered::refused(StatusCode::CONFLICT, message).with("Stored", false))
}

pub(super) fn refused(status: StatusCode, name: &CertificateName, why: &str) -> Answered {
    let message = format!("the certificate {name} is not taken: {why}; nothing was changed");
    Answered::refused(status, message).with("Stored", false)
}

fn unkept(name: &CertificateName, error: &KeepError) -> Answered {
    match error {
        KeepError::Doubtful(_) => {
            let what = format!("the certificate {name}");
            doubtful(&what, error, "the same call again makes sure")
        }
        _ => refused(status(error), name, &chain(error)),
    }
}

/// It was done, and nobody knows for how long.
fn doubtful(what: &str, error: &KeepError, what_now: &str) -> Answered {
    let why = chain(error);
    let message = format!("{what} is as was asked for here, and {why}; {what_now}");
    Answered::refused(status(error), message).with("Stored", Value::Null)
}

fn status(error: &KeepError) -> StatusCode {
    match error {
        KeepError::Full => StatusCode::CONFLICT,
        KeepError::Judged(JudgeError::Refused(_)) => StatusCode::BAD_REQUEST,
        KeepError::Judged(JudgeError::Unable(_)) | KeepError::Disk(_) | KeepError::Busy => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        KeepError::Doubtful(_) => StatusCode::GATEWAY_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::store::JournalError;

    #[test]
    fn what_a_failing_disk_may_lose_is_not_said_to_have_changed_nothing() {
        let (path, doing) = ("/state/acme.json".into(), "sync the folder of");
        let source = io::Error::other("broken");
        let error = JournalError::Doubtful {
            path,
            doing,
            source,
        };
        let name = "acme".parse().unwrap();
        let answered = unkept(&name, &error.into());
        assert_eq!(answered.outcome(), "unknown");
        let fields = answered.fields();
        assert_eq!(fields.get("Stored"), Some(&Value::Null), "{fields:?}");
        let message = fields["Message"].as_str().unwrap();
        assert!(!message.contains("nothing was changed"), "{message}");
        for part in ["the certificate acme is as", "/state/acme.json", "broken"] {
            assert!(message.contains(part), "{message}");
        }

        let full = KeepError::Disk(io::Error::other("no space").into());
        let answered = unkept(&name, &full);
        assert_eq!(answered.outcome(), "failed");
        assert_eq!(answered.fields()["Stored"], false);
    }
}
