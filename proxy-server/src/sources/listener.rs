//! Swarm listeners, as docker-flow-swarm-listener speaks: `get-services` lists what it has told, as the
//! parameters of a call each.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use futures_util::future::join_all;
use proxy_core::{Params, ServiceName};
use serde_json::Value;

use super::{
    follow::{Extent, List, Listing},
    intake::Wanted,
};
use crate::chain::chain;

const PATH: &str = "/v1/docker-flow-swarm-listener/get-services";
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// From the question to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// The largest list in bytes.
const MAX_LIST: usize = 16 * 1024 * 1024;

/// Listeners, which are asked all at once.
#[derive(Debug)]
pub(super) struct Listeners {
    urls: Vec<String>,
    http: reqwest::Client,
}

// === impl Listeners ===

impl Listeners {
    pub(super) fn new(urls: Vec<String>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("no client for LISTENER_ADDRESS can be made")?;
        Ok(Self { urls, http })
    }

    async fn ask(&self, url: &str) -> Result<Vec<Wanted>, String> {
        let asked = self.http.get(format!("{url}{PATH}")).send().await;
        let mut answer = asked.map_err(|error| chain(&error.without_url()))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("it answered with {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = answer
            .chunk()
            .await
            .map_err(|error| format!("its answer broke: {}", chain(&error.without_url())))?
        {
            if body.len() + part.len() > MAX_LIST {
                return Err(format!("its list is larger than {MAX_LIST} bytes"));
            }
            body.extend_from_slice(&part);
        }
        let list: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&body)
            .map_err(|error| format!("its answer is no list of services: {error}"))?;
        list.into_iter().map(|entry| wanted(url, entry)).collect()
    }
}

fn wanted(url: &str, entry: BTreeMap<String, Value>) -> Result<Wanted, String> {
    let mut params = Params::default();
    for (name, value) in entry {
        // Waiting for all replicas is for who waits.
        if name == "distribute" {
            continue;
        }
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null => continue,
            _ => return Err(format!("the value of {name} in its list is no text")),
        };
        params
            .insert(name, text)
            .map_err(|problem| problem.to_string())?;
    }
    let name = params
        .get("serviceName")
        .unwrap_or("a service without a name");
    Ok(Wanted {
        called: format!("{name} of {url}"),
        params,
    })
}

#[async_trait]
impl List for Listeners {
    async fn read(&mut self) -> Result<Listing, String> {
        let asked = self.urls.iter().map(|url| self.ask(url));
        let answers = join_all(asked).await;
        let (mut services, mut problems) = (Vec::new(), Vec::new());
        for (url, answer) in self.urls.iter().zip(answers) {
            match answer {
                Ok(list) => services.extend(list),
                Err(why) => problems.push(format!("{url}: {why}")),
            }
        }
        if problems.len() == self.urls.len() {
            return Err(problems.join("; "));
        }
        for why in &problems {
            tracing::warn!(
                why,
                "one of the listeners did not answer; nothing is removed meanwhile"
            );
        }
        // One that has just started says that there is nothing before it has looked.
        let is_whole = problems.is_empty() && !services.is_empty();
        Ok(Listing {
            services,
            extent: if is_whole {
                Extent::Whole
            } else {
                Extent::Part
            },
        })
    }

    async fn is_gone(&mut self, _: &ServiceName) -> bool {
        // It has no more to say than its list, which has said so twice.
        true
    }

    async fn changed(&mut self) {
        // It calls `reconfigure` and `remove` by itself.
        std::future::pending().await
    }
}
