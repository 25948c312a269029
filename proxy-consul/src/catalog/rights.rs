//! Whether what the catalog does not show is gone, or only hidden from a token that lost its rights.
//!
//! Consul shows a token only what it may read, and says nothing of the rest: a shorter list may be a
//! deregistration or a policy that somebody changed. From 1.11 on a header tells that something was left
//! out; what exactly, and whether at all on older servers, tells the question what the token may read.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Instance, Shown, parse};
use crate::{
    client::Client,
    error::ClientError,
    request::{Operation, Request, Response},
};

/// The most rights that one question is about: the most that Consul answers.
const MOST_ASKED: usize = 64;

/// What a read of a service comes to, held to what was known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) instances: Vec<Instance>,
    /// Why some of them are the last known ones, where they are.
    pub(super) hidden: Option<String>,
}

/// A right, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Right {
    resource: &'static str,
    access: &'static str,
    segment: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    allow: bool,
}

/// What may not be read; none where the server cannot say.
type Denied = Option<BTreeSet<Right>>;

// === impl Settled ===

impl Settled {
    pub(super) fn believed(instances: Vec<Instance>) -> Self {
        Self {
            instances,
            hidden: None,
        }
    }
}

// === impl Right ===

impl Right {
    fn to_read(resource: &'static str, name: &str) -> Self {
        Self {
            resource,
            access: "read",
            segment: name.to_owned(),
        }
    }
}

impl Client {
    /// Holds what Consul shows of a service to what was known, and keeps what is only hidden.
    pub(super) async fn settle(
        &self,
        service: &str,
        shown: Shown,
        known: &[Instance],
    ) -> Result<Settled, ClientError> {
        let is_there = |lost: &Instance| {
            let mut shown = shown.instances.iter();
            shown.any(|there| (&there.node, &there.id) == (&lost.node, &lost.id))
        };
        let lost: Vec<&Instance> = known.iter().filter(|known| !is_there(known)).collect();
        // Old servers do not say that they left something out; of single instances they are believed.
        if lost.is_empty() || !(shown.instances.is_empty() || shown.is_filtered) {
            return Ok(Settled::believed(shown.instances));
        }
        let own = Right::to_read("service", service);
        let nodes = lost.iter().map(|lost| Right::to_read("node", &lost.node));
        let asked: BTreeSet<Right> = nodes.chain([own.clone()]).collect();
        let denied = self.denied(asked.into_iter().collect()).await?;
        let is_hidden = |lost: &&Instance| match &denied {
            Some(denied) => {
                denied.contains(&own) || denied.contains(&Right::to_read("node", &lost.node))
            }
            // It says that something is left out, and not what.
            None => shown.is_filtered,
        };
        let hidden: Vec<Instance> = lost.into_iter().filter(is_hidden).cloned().collect();
        if hidden.is_empty() {
            return Ok(Settled::believed(shown.instances));
        }
        let why = format!(
            "the token may not read {} of its instances any more (service:read, node:read); the last known ones are kept",
            hidden.len()
        );
        let mut instances = shown.instances;
        instances.extend(hidden);
        instances.sort();
        Ok(Settled {
            instances,
            hidden: Some(why),
        })
    }

    /// Which of these rights the token lacks.
    async fn denied(&self, rights: Vec<Right>) -> Result<Denied, ClientError> {
        let mut denied = BTreeSet::new();
        for asked in rights.chunks(MOST_ASKED) {
            let path = self.path("/v1/internal/acl/authorize", &[]);
            let body = Bytes::from(serde_json::to_vec(asked).unwrap_or_default());
            let request = Request::post(Operation::Rights, path, body, self.timeouts().request);
            let answers = match self
                .ask(&request, |answer| parse_rights(answer, asked))
                .await
            {
                Ok(answers) => answers.value,
                // There are no rights where there is no access control.
                Err(ClientError::Denied { message, .. }) if message.contains("disabled") => {
                    return Ok(Some(BTreeSet::new()));
                }
                Err(ClientError::Denied { .. } | ClientError::Rejected { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let Some(answers) = answers else {
                return Ok(None);
            };
            denied.extend(answers);
        }
        Ok(Some(denied))
    }
}

/// Those that are denied; none where the server does not know the question.
fn parse_rights(response: &Response, asked: &[Right]) -> Result<Option<Vec<Right>>, String> {
    if response.status == 404 {
        return Ok(None);
    }
    let answers: Vec<Answered> = parse(response)?;
    if answers.len() != asked.len() {
        return Err(format!(
            "{} answers to {} questions",
            answers.len(),
            asked.len()
        ));
    }
    let denied = asked
        .iter()
        .zip(answers)
        .filter(|(_, answer)| !answer.allow);
    Ok(Some(denied.map(|(right, _)| right.clone()).collect()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::super::Health;
    use super::*;
    use crate::{Address, ConsulSettings, Endpoints, Transport, TransportError};

    /// A server that gives one answer, and notes what it was asked.
    #[derive(Debug)]
    struct Says(u16, &'static str, Mutex<Vec<String>>);

    #[async_trait]
    impl Transport for Says {
        async fn send(&self, _: &Address, asked: &Request) -> Result<Response, TransportError> {
            let body = String::from_utf8(asked.body.to_vec()).unwrap();
            self.2.lock().unwrap().push(body);
            Ok(Response::new(
                self.0,
                None,
                Bytes::from_static(self.1.as_bytes()),
            ))
        }
    }

    fn instances(nodes: &[&str]) -> Vec<Instance> {
        let instance = |node: &&str| Instance {
            node: (*node).to_owned(),
            id: "a".to_owned(),
            address: String::new(),
            port: 80,
            tags: Vec::new(),
            meta: std::collections::BTreeMap::new(),
            health: Health::Passing,
        };
        nodes.iter().map(instance).collect()
    }

    /// The nodes whose instances stay, whether some are hidden, and what was asked.
    async fn settled(
        (status, says): (u16, &'static str),
        (shown, is_filtered): (&[&str], bool),
        known: &[&str],
    ) -> (Vec<String>, bool, Vec<String>) {
        let server = Arc::new(Says(status, says, Mutex::default()));
        let settings = ConsulSettings::builder(Endpoints::parse_list("a:8500").unwrap());
        let settings = settings.build().unwrap();
        let client = Client::with_transport(&settings, Arc::clone(&server) as _).unwrap();
        let shown = Shown {
            instances: instances(shown),
            is_filtered,
        };
        let settled = client
            .settle("web", shown, &instances(known))
            .await
            .unwrap();
        let nodes = settled.instances.into_iter().map(|it| it.node).collect();
        let asked = server.2.lock().unwrap().clone();
        (nodes, settled.hidden.is_some(), asked)
    }

    const YES: &str = r#"{"Allow":true}"#;

    #[tokio::test]
    async fn what_is_hidden_stays_and_what_is_gone_goes() {
        let (all, web): (&str, &str) = (
            r#"[{"Allow":true},{"Allow":true},{"Allow":true}]"#,
            r#"[{"Allow":true},{"Allow":true},{"Allow":false}]"#,
        );
        let two: &[&str] = &["m", "n"];
        // Nothing is missing, or what is missing is told by a server that leaves nothing out: no question.
        for (shown, known) in [
            ((two, false), two),
            ((two, true), two),
            ((&["m"], false), two),
        ] {
            let (nodes, hidden, asked) = settled((500, ""), shown, known).await;
            assert_eq!(
                (nodes.as_slice(), hidden, asked.len()),
                (
                    &shown.0.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()[..],
                    false,
                    0
                )
            );
        }
        let (nodes, hidden, asked) = settled((200, all), (&[], false), two).await;
        assert!(nodes.is_empty() && !hidden, "{nodes:?}");
        let right = |of: &str, name: &str| {
            format!(r#"{{"Resource":"{of}","Access":"read","Segment":"{name}"}}"#)
        };
        let rights = [
            right("node", "m"),
            right("node", "n"),
            right("service", "web"),
        ];
        assert_eq!(asked, [format!("[{}]", rights.join(","))]);
        let (nodes, hidden, _) = settled((200, web), (&[], false), two).await;
        assert!(nodes == two && hidden, "{nodes:?}");
        // One node of two may be read no more, and the other's instance is really gone.
        let one = r#"[{"Allow":false},{"Allow":true},{"Allow":true}]"#;
        let (nodes, hidden, _) = settled((200, one), (&[], true), two).await;
        assert!(nodes == ["m"] && hidden, "{nodes:?}");
        let some = r#"[{"Allow":false},{"Allow":true}]"#;
        let (nodes, hidden, _) = settled((200, some), (&["n"], true), two).await;
        assert!(nodes == two && hidden, "{nodes:?}");
    }

    #[tokio::test]
    async fn a_server_that_cannot_say_is_believed_unless_it_says_that_it_hides() {
        let two: &[&str] = &["m", "n"];
        let (nodes, hidden, _) = settled((401, "ACL support disabled"), (&[], true), two).await;
        assert!(nodes.is_empty() && !hidden, "{nodes:?}");
        for server in [(404, ""), (403, "Permission denied"), (405, "")] {
            let (nodes, hidden, _) = settled(server, (&[], false), two).await;
            assert!(nodes.is_empty() && !hidden, "{server:?} {nodes:?}");
            let (nodes, hidden, _) = settled(server, (&[], true), two).await;
            assert!(nodes == two && hidden, "{server:?} {nodes:?}");
        }
        let asked = [Right::to_read("service", "web")];
        let answer =
            |body: &'static str| Response::new(200, None, Bytes::from_static(body.as_bytes()));
        assert!(parse_rights(&answer("[]"), &asked).is_err());
        assert!(parse_rights(&answer("{}"), &asked).is_err());
        let yes = format!("[{YES}]");
        let yes = Response::new(200, None, Bytes::from(yes));
        assert_eq!(parse_rights(&yes, &asked), Ok(Some(Vec::new())));
    }
}
