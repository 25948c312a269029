//! The cluster's HTTP API: keys, snapshots and access control.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{ClusterError, ConsulCluster, LEADER_DEADLINE, LOOK, Scheme};

/// A token, as the API gives it.
#[derive(Clone, Debug)]
pub struct AclToken(pub String);

impl ConsulCluster {
    /// The whole state of the store, as `consul snapshot save` writes it.
    ///
    /// # Errors
    /// When no server gives it.
    pub async fn snapshot(&self) -> Result<Vec<u8>, ClusterError> {
        self.any(Method::GET, "/v1/snapshot", None).await
    }

    /// Puts a state back, as `consul snapshot restore` does.
    ///
    /// # Errors
    /// When no server takes it.
    pub async fn restore(&self, snapshot: Vec<u8>) -> Result<(), ClusterError> {
        self.any(Method::PUT, "/v1/snapshot", Some(snapshot))
            .await?;
        self.wait_leader().await.map(drop)
    }

    /// Reads a key; none when it is not there.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, ClusterError> {
        let path = format!("/v1/kv/{key}?raw&consistent");
        match self.any(Method::GET, &path, None).await {
            Ok(value) => Ok(Some(value)),
            Err(ClusterError::Api { why, .. }) if why.starts_with("404") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The keys below a prefix.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, ClusterError> {
        let path = format!("/v1/kv/{prefix}?keys&consistent");
        match self.any(Method::GET, &path, None).await {
            Ok(list) => Ok(serde_json::from_slice(&list).unwrap_or_default()),
            Err(ClusterError::Api { why, .. }) if why.starts_with("404") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes a key.
    ///
    /// # Errors
    /// When no server takes it.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<(), ClusterError> {
        let path = format!("/v1/kv/{key}");
        self.any(Method::PUT, &path, Some(value.to_vec()))
            .await
            .map(drop)
    }

    /// Deletes a key and all below it.
    ///
    /// # Errors
    /// When no server does it.
    pub async fn delete(&self, prefix: &str) -> Result<(), ClusterError> {
        let path = format!("/v1/kv/{prefix}?recurse");
        self.any(Method::DELETE, &path, None).await.map(drop)
    }

    /// A token with these rules, in Consul's language.
    ///
    /// # Errors
    /// When access control is off.
    pub async fn token(&self, name: &str, rules: &str) -> Result<AclToken, ClusterError> {
        let policy = json!({ "Name": name, "Rules": rules }).to_string();
        self.any(Method::PUT, "/v1/acl/policy", Some(policy.into_bytes()))
            .await?;
        let token = json!({ "Policies": [{ "Name": name }] }).to_string();
        let made = self
            .any(Method::PUT, "/v1/acl/token", Some(token.into_bytes()))
            .await?;
        secret_id(&made).map(AclToken)
    }

    /// Changes the rules of a policy that [`ConsulCluster::token`] made.
    ///
    /// # Errors
    /// When there is no such policy.
    pub async fn set_rules(&self, name: &str, rules: &str) -> Result<(), ClusterError> {
        let path = format!("/v1/acl/policy/name/{name}");
        let known = self.any(Method::GET, &path, None).await?;
        let known: Value = serde_json::from_slice(&known).unwrap_or_default();
        let id = known.get("ID").and_then(Value::as_str).unwrap_or_default();
        let body = json!({ "ID": id, "Name": name, "Rules": rules }).to_string();
        let path = format!("/v1/acl/policy/{id}");
        self.any(Method::PUT, &path, Some(body.into_bytes()))
            .await
            .map(drop)
    }

    pub(super) async fn bootstrap_acl(&mut self) -> Result<(), ClusterError> {
        self.management = None;
        let deadline = Instant::now() + LEADER_DEADLINE;
        // Servers answer "ACL support disabled" or "legacy mode" until all know of the new one.
        let made = loop {
            match self.any(Method::PUT, "/v1/acl/bootstrap", None).await {
                Ok(made) => break made,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(LOOK).await,
            }
        };
        self.management = Some(secret_id(&made)?);
        // The token is known everywhere only when each server has it.
        for nth in self.running().collect::<Vec<_>>() {
            loop {
                let answer = self
                    .call(nth, Method::GET, "/v1/acl/token/self", None)
                    .await;
                match answer {
                    Ok(_) => break,
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => sleep(LOOK).await,
                }
            }
        }
        Ok(())
    }

    /// Asks the servers that run, one after another.
    pub(super) async fn any(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, ClusterError> {
        let mut last = ClusterError::Api {
            what: path.to_owned(),
            why: "no server runs".to_owned(),
        };
        for nth in self.running().collect::<Vec<_>>() {
            match self.call(nth, method.clone(), path, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) async fn call(
        &self,
        nth: usize,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, ClusterError> {
        let api = |why: String| ClusterError::Api {
            what: format!("{method} {path} at {}", self.address(nth)),
            why,
        };
        let address = self.address(nth);
        let url = match self.options.scheme {
            Scheme::Http => format!("http://{address}{path}"),
            Scheme::Https => format!("{address}{path}"),
        };
        let mut request = self.http.request(method.clone(), url);
        if let Some(token) = &self.management {
            request = request.header("X-Consul-Token", token);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let sent = timeout(Duration::from_secs(15), request.send()).await;
        let answer = sent
            .map_err(|_| api("no answer".to_owned()))?
            .map_err(|error| api(error.without_url().to_string()))?;
        let status = answer.status();
        let body = answer
            .bytes()
            .await
            .map_err(|error| api(error.to_string()))?;
        if status == StatusCode::OK {
            Ok(body.to_vec())
        } else {
            Err(api(format!(
                "{} {}",
                status.as_u16(),
                String::from_utf8_lossy(&body)
            )))
        }
    }
}

fn secret_id(json: &[u8]) -> Result<String, ClusterError> {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    let id = value.get("SecretID").and_then(Value::as_str);
    id.map(str::to_owned).ok_or_else(|| ClusterError::Api {
        what: "token".to_owned(),
        why: "the answer has no SecretID".to_owned(),
    })
}
