//! `cert`: a certificate is given or taken away.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
};
use proxy_core::{Params, Service};
use proxy_haproxy::{Certificate, CertificateName};
use secrecy::zeroize::Zeroizing;

use super::{
    Api,
    answer::Answered,
    dry_run::Mode,
    request::Whole,
    wait::{Manner, manner_of},
};
use crate::{
    certificates::{JudgeError, KeepError, Shown, Source, Step, Telling},
    chain::chain,
    engine::{Wait, WaitFor},
};

/// A certificate that may be kept.
pub(super) struct Good {
    name: CertificateName,
    certificate: Certificate,
}

/// The certificate that came with a service (`serviceCert`), where one did.
#[derive(Default)]
pub(super) struct GivenCertificate(Option<Zeroizing<String>>);

// === impl GivenCertificate ===

impl GivenCertificate {
    /// Takes it out of the parameters, which are read without it.
    pub(super) fn take(params: &mut Params) -> Self {
        let text = params.take("serviceCert").filter(|text| !text.is_empty());
        // In a URL the line ends of a PEM text are written as two characters.
        Self(text.map(|text| Zeroizing::new(text.replace("\\n", "\n"))))
    }

    /// It is kept under the first domain of the service, else under the service's name.
    pub(super) async fn good(
        self,
        api: &Api,
        service: &Service,
        who: WaitFor,
    ) -> Result<Option<Good>, Answered> {
        let Some(text) = self.0 else {
            return Ok(None);
        };
        let mut domains = service.destinations().iter().flat_map(|to| to.domains());
        let name = match domains.next() {
            Some(domain) => domain.to_string(),
            None => service.name().to_string(),
        };
        let plain = |c: char| match c.is_ascii_alphanumeric() || "._-".contains(c) {
            true => c,
            false => '_',
        };
        let name: String = name.chars().map(plain).take(100).collect();
        let name = name.parse::<CertificateName>().map_err(|error| {
            let message = format!("serviceCert: {name:?}: {error}; nothing was changed");
            Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false)
        })?;
        good(api, name, &text, who).await.map(Some)
    }
}

pub(super) async fn put(State(api): State<Api>, uri: Uri, body: Whole) -> Answered {
    let body = Zeroizing::new(Vec::from(body.0));
    let answered = run_put(&api, &uri, &body).await;
    counted(&api, answered)
}

pub(super) async fn delete(State(api): State<Api>, uri: Uri) -> Answered {
    let answered = run_delete(&api, &uri).await;
    counted(&api, answered)
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
    let text = text.map_err(|_| refused(&name, "it is no text; a certificate is given as PEM"))?;
    let good = good(api, name, text, wait.who).await?;
    if mode == Mode::Tried {
        let message = format!(
            "dry run: the certificate {} would be shown for {}; nothing was changed",
            good.name,
            good.certificate.names().join(", ")
        );
        let answered = Answered::ok(message).with("Stored", false);
        return Ok(answered.with("DryRun", true));
    }
    Ok(keep(api, good, wait).await)
}

async fn run_delete(api: &Api, uri: &Uri) -> Result<Answered, Answered> {
    let (name, Manner { wait, mode }) = read(api, uri)?;
    may_tell(api, wait.who)?;
    let was_there = api.certificates.is_kept(&name);
    let shown = api.certificates.shown();
    if !was_there && let Some(file) = shown.iter().find(|shown| shown.name == name) {
        let folder = file.source.folder().unwrap_or_default();
        let message = format!(
            "the certificate {name} is a file of {folder} and goes with it; nothing was changed"
        );
        return Err(Answered::refused(StatusCode::CONFLICT, message).with("Stored", false));
    }
    let done = match was_there {
        true => format!("the certificate {name} is removed"),
        false => format!("there is no certificate {name} here"),
    };
    if mode == Mode::Tried {
        let message = format!("dry run: {done}; nothing was changed");
        let answered = Answered::ok(message).with("Stored", false);
        return Ok(answered.with("DryRun", true));
    }
    Ok(stored(api, name, None, wait, &done).await)
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

/// Reads a certificate, and whether it could be shown, before anything is changed.
pub(super) async fn good(
    api: &Api,
    name: CertificateName,
    pem: &str,
    who: WaitFor,
) -> Result<Good, Answered> {
    let certificate = Certificate::parse(pem).map_err(|error| refused(&name, &chain(&error)))?;
    may_tell(api, who)?;
    let checked = api.certificates.check(&name, &certificate).await;
    checked.map_err(|error| unkept(&name, &error))?;
    let step = Step::show(Shown {
        name: name.clone(),
        certificate: certificate.clone(),
        source: Source::Call,
    });
    let snapshot = api.engine.snapshot();
    let judged = api.carrier.would_show(&snapshot.served, step).await;
    judged.map_err(|error| unkept(&name, &JudgeError::from(error).into()))?;
    Ok(Good { name, certificate })
}

/// Keeps a certificate and has it shown.
pub(super) async fn keep(api: &Api, good: Good, wait: Wait) -> Answered {
    let Good { name, certificate } = good;
    let is_over = certificate.not_after() < std::time::SystemTime::now();
    let done = format!(
        "the certificate {name} is shown for {}",
        certificate.names().join(", ")
    );
    let answered = stored(api, name, Some(certificate), wait, &done).await;
    match is_over {
        true => answered.with("Warnings", vec!["the certificate has expired".to_owned()]),
        false => answered,
    }
}

async fn stored(
    api: &Api,
    name: CertificateName,
    certificate: Option<Certificate>,
    wait: Wait,
    done: &str,
) -> Answered {
    let shown = name.to_string();
    let kept = api
        .certificates
        .keep(name.clone(), certificate, &api.instance);
    let entry = match kept.await {
        Ok(entry) => entry,
        Err(error) => return unkept(&name, &error),
    };
    let refreshed = api.engine.refresh().await;
    let failure = refreshed.err().or_else(|| api.certificates.unshown(&name));
    let rows = match wait.who {
        WaitFor::Nobody | WaitFor::Here => Vec::new(),
        _ => api.exchange.tell(entry, failure.clone(), wait.most).await,
    };
    Answered::of_replicas(done, failure.as_deref(), &rows, wait.who).with("CertName", shown)
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

fn refused(name: &CertificateName, why: &str) -> Answered {
    let message = format!("the certificate {name} is not taken: {why}; nothing was changed");
    Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false)
}

fn unkept(name: &CertificateName, error: &KeepError) -> Answered {
    let status = match error {
        KeepError::Full => StatusCode::CONFLICT,
        KeepError::Judged(JudgeError::Refused(_)) | KeepError::Unusable(_) => {
            StatusCode::BAD_REQUEST
        }
        KeepError::Judged(JudgeError::Unable(_)) | KeepError::Disk(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let message = format!(
        "the certificate {name} is not taken: {}; nothing was changed",
        chain(error)
    );
    Answered::refused(status, message).with("Stored", false)
}
