//! `reconfigure`: a service becomes what the parameters say.

mod unserved;

use std::sync::Arc;

use axum::extract::State;
use proxy_core::{Change, Distribute, Params};

use super::{
    Api,
    answer::{Answered, Meanwhile},
    blame,
    cert::{self, After},
    dry_run::{Mode, tried},
    remove::removed,
    request::{Received, asked},
    service_cert::GivenCertificate,
    service_json::service_json,
    wait::{Given, Manner},
};
use unserved::{Certificate, unserved};

use crate::{
    engine::{ChangeError, ChangeRequest, WaitFor},
    sources::Intent,
};

pub(super) async fn reconfigure(State(api): State<Api>, received: Received) -> Answered {
    let (params, given, how) = match read(&received) {
        Ok(read) => read,
        Err(refused) => return counted(&api, Err(refused)),
    };
    if !given.is_some() {
        return counted(&api, run(&api, params, given, how).await);
    }
    // A caller that hangs up must not leave the service without its certificate.
    let works = api.works.clone();
    let work = async move { counted(&api, run(&api, params, given, how).await) };
    cert::owned(&works, work).await
}

fn counted(api: &Api, answered: Result<Answered, Answered>) -> Answered {
    let answered = answered.unwrap_or_else(|refused| refused);
    api.metrics
        .change(answered.operation("reconfigure"), answered.outcome());
    answered
}

fn read(received: &Received) -> Result<(Params, GivenCertificate, Given), Answered> {
    let (mut params, how) = asked(received)?;
    let given = GivenCertificate::take(&mut params);
    Ok((params, given, how))
}

async fn run(
    api: &Api,
    params: Params,
    given: GivenCertificate,
    how: Given,
) -> Result<Answered, Answered> {
    let intent = api.sources.rules.read(&params).await?;
    let manner = how.read(api, distribute(&intent))?;
    let parsed = match intent {
        Intent::Put(parsed) => parsed,
        Intent::Remove(parsed) => return Ok(removed(api, parsed, manner).await),
        Intent::NotOurs(instance) => {
            let message = format!(
                "this service is for the proxy {instance} (proxyInstanceName), which this is not (FILTER_PROXY_INSTANCE_NAME); nothing was changed"
            );
            return Ok(Answered::ok(message).with("Stored", false));
        }
    };
    let Manner { wait, mode } = manner;
    // As the engine will put it, where nobody comes between: whose it is belongs to the answer.
    let view = api.store.view();
    let there = view.stored.table().get(parsed.value.service.name());
    let service = parsed.value.service.put_over(there);
    // It is no part of the service: keys are in no document.
    let certificate = given.good(api, &service, wait.who).await?;
    let change = Change::Put(Arc::clone(&service));
    let request = ChangeRequest::new(vec![change], wait);
    let named = service_json(&service);
    let shown = match certificate {
        Some(_) => Certificate::ComesToo,
        None => Certificate::AsShown,
    };
    if mode == Mode::Tried {
        let answered = tried(api, request, &parsed.warnings).await;
        let said = certificate.iter().flat_map(|good| good.warnings());
        let answered = said.fold(answered, |answered, said| answered.warn(Some(said.clone())));
        return Ok(unserved(api, &service, shown, answered)
            .await
            .with_all(named));
    }
    let answer = api.engine.change(request).await;
    let done = format!("the service {} is configured", service.name());
    let (certificate, left) = match (certificate, &answer) {
        (Some(good), Ok(_)) => {
            let after = After::Service(done.clone());
            (Some(cert::keep(api, good, wait, after).await), None)
        }
        (Some(_), Err(_)) => (None, Some("serviceCert: it is not kept".to_owned())),
        (None, _) => (None, None),
    };
    let blamed = match &answer {
        Err(ChangeError::Rejected { words, .. }) => blame::parameter(&service, words),
        _ => None,
    };
    let answered = Answered::change(answer, &done, &parsed.warnings, Meanwhile::of(api));
    let answered = match blamed {
        Some(parameter) => answered.with("Parameter", parameter),
        None => answered,
    };
    let answered = unserved(api, &service, shown, answered).await;
    Ok(answered
        .warn(left)
        .and(certificate, "Certificate")
        .with_all(named)
        .with("Distribute", wait.who == WaitFor::Everyone)
        .with("Wait", wait.who.word()))
}

fn distribute(intent: &Intent) -> Distribute {
    match intent {
        Intent::Put(parsed) => parsed.value.distribute,
        Intent::Remove(parsed) => parsed.value.distribute,
        Intent::NotOurs(_) => Distribute::No,
    }
}
