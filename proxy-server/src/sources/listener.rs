//! Swarm listeners, as docker-flow-swarm-listener speaks: `get-services` lists what it has told, as the
//! parameters of a call each.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use futures_util::future::join_all;
use proxy_core::{MAX_NAME_BYTES, Params, ServiceName};
use serde_json::Value;

use super::{
    follow::{Extent, List, Listing},
    intake::{Unreadable, Wanted},
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

    async fn ask(&self, url: &str) -> Result<Vec<Result<Wanted, Unreadable>>, String> {
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
        entries(url, &body)
    }
}

/// The entries of a list, those that cannot be read among them.
pub(super) fn entries(url: &str, body: &[u8]) -> Result<Vec<Result<Wanted, Unreadable>>, String> {
    let list: Vec<Value> = serde_json::from_slice(body)
        .map_err(|error| format!("its answer is no list of services: {error}"))?;
    let entries = list.into_iter().enumerate();
    Ok(entries
        .map(|(nth, entry)| wanted(url, nth + 1, entry))
        .collect())
}

fn wanted(url: &str, nth: usize, entry: Value) -> Result<Wanted, Unreadable> {
    let name = entry.get("serviceName").and_then(Value::as_str);
    let called = match name {
        Some(name) => format!("{} of {url}", shown(name)),
        None => format!("entry {nth} of {url}"),
    };
    let names = name
        .and_then(|name| name.parse().ok())
        .into_iter()
        .collect();
    let params = match params(entry) {
        Ok(params) => params,
        Err(why) => return Err(Unreadable { called, names, why }),
    };
    Wanted::new(called, params)
}

/// Names come from others, and go into logs and answers.
fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME_BYTES).collect()
}

fn params(entry: Value) -> Result<Params, String> {
    let Value::Object(entry) = entry else {
        return Err("it is no object of parameters".to_owned());
    };
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
            _ => return Err(format!("the value of {} is no text", shown(&name))),
        };
        params
            .insert(name, text)
            .map_err(|problem| problem.to_string())?;
    }
    Ok(params)
}

#[async_trait]
impl List for Listeners {
    async fn read(&mut self) -> Result<Listing, String> {
        let asked = self.urls.iter().map(|url| self.ask(url));
        let answers = join_all(asked).await;
        let (mut services, mut unreadable) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        for (url, answer) in self.urls.iter().zip(answers) {
            match answer {
                Ok(list) => {
                    for entry in list {
                        match entry {
                            Ok(wanted) => services.push(wanted),
                            Err(entry) => unreadable.push(entry),
                        }
                    }
                }
                Err(why) => problems.push(format!("{url}: {why}")),
            }
        }
        if problems.len() == self.urls.len() {
            return Err(problems.join("; "));
        }
        // It may stand for any service that the list seems to lack.
        if let Some(entry) = unreadable.iter().find(|entry| entry.names.is_empty()) {
            problems.push(format!("{} has no name that can be read", entry.called));
        }
        let extent = match problems.is_empty() {
            // One that has just started says that there is nothing before it has looked.
            true if services.is_empty() && unreadable.is_empty() => Extent::Empty,
            true => Extent::Whole,
            false => Extent::Part(problems.join("; ")),
        };
        Ok(Listing {
            services,
            unreadable,
            extent,
        })
    }

    async fn is_gone(&mut self, _: &ServiceName) -> Result<bool, String> {
        // It has no more to say than its lists, which have said so.
        Ok(true)
    }

    async fn changed(&mut self) {
        // It calls `reconfigure` and `remove` by itself.
        std::future::pending().await
    }
}
