//! Waiting for any change of the catalog, with one blocking query for each kind.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    changes::{AllFailing, Registered, parse_failing, parse_registered},
    follow::{MIN_REST, Part, Shared},
};
use crate::{
    client::Client,
    error::ClientError,
    pause::Pauses,
    request::{Operation, Request, Response},
    watch::next_index,
};

/// What wakes for a change of any registration. Its answer is as long as the catalog has services.
const REGISTRATIONS: &str = "/v1/catalog/services";

/// What wakes for a check that begins or ceases to fail. Its answer is as long as there are such.
const FAILING: &str = "/v1/health/state/critical";

/// What is registered on every node, in one answer. The page of Consul itself reads it; a server that does not
/// know it has its services read one by one.
const ON_EVERY_NODE: &str = "/v1/internal/ui/nodes";

/// A blocking query that is asked again and again.
struct Gate<'a> {
    shared: &'a Shared,
    part: Part,
    path: &'static str,
    pauses: Pauses,
    seen: u64,
    /// Whether it was not answered since: a check that began and ceased to fail meanwhile leaves no trace.
    broke: bool,
}

/// What an answer says of the one before.
enum Turn {
    Same,
    Changed,
    /// Nothing is known of what was before: it is the first, none was answered for a while, or the store was
    /// restored.
    Anew,
}

// === impl Gate ===

impl<'a> Gate<'a> {
    fn new(shared: &'a Shared, part: Part, path: &'static str) -> Self {
        Self {
            shared,
            part,
            path,
            pauses: Pauses::new(shared.client.timeouts()),
            seen: 0,
            broke: false,
        }
    }

    /// Waits for the next answer. Without anything to follow nothing is asked. None at the end.
    async fn next<T>(
        &mut self,
        parse: impl Fn(&Response) -> Result<T, String> + Send + Sync,
    ) -> Option<(T, Turn)> {
        let client = &self.shared.client;
        let wait = client.timeouts().watch_wait;
        let mut active = self.shared.active.subscribe();
        loop {
            // It ends with the sender, which the same task holds.
            active.wait_for(|active| *active).await.ok()?;
            let query = [
                format!("index={}", self.seen),
                format!("wait={}ms", wait.as_millis()),
            ];
            let query = query.each_ref().map(String::as_str);
            let path = client.path(self.path, &query);
            let whole = |response: &Response| match response.status {
                200 => Ok((
                    response
                        .index
                        .ok_or_else(|| "no X-Consul-Index".to_owned())?,
                    parse(response)?,
                )),
                other => Err(format!("status {other} {}", response.excerpt())),
            };
            let asked = client.wait_for(Operation::WatchCatalog, path, wait, whole);
            match asked.await {
                Ok((index, answer)) => {
                    self.pauses.reset();
                    self.shared.trouble(self.part, None);
                    let turn = match self.seen {
                        _ if std::mem::take(&mut self.broke) => Turn::Anew,
                        0 => Turn::Anew,
                        seen if index < seen => Turn::Anew,
                        seen if index == seen => Turn::Same,
                        _ => Turn::Changed,
                    };
                    self.seen = next_index(self.seen, index);
                    return Some((answer, turn));
                }
                Err(error) => {
                    tracing::debug!(%error, "the watch of the catalog broke");
                    self.broke = true;
                    self.shared.trouble(self.part, Some(&error));
                    sleep(self.pauses.next()).await;
                }
            }
        }
    }
}

/// Has services read as they are registered otherwise.
pub(super) async fn registrations(shared: &Shared) {
    let mut gate = Gate::new(shared, Part::Registrations, REGISTRATIONS);
    while let Some(((), turn)) = gate.next(|_| Ok(())).await {
        let begun = Instant::now();
        match turn {
            Turn::Same => continue,
            Turn::Anew => shared.begin_anew().await,
            Turn::Changed => shared.registered_anew().await,
        }
        // As long a rest as it took, in which changes gather.
        sleep(begun.elapsed().max(MIN_REST)).await;
    }
}

/// Has services read as their checks begin and cease to fail.
pub(super) async fn checks(shared: &Shared) {
    let mut gate = Gate::new(shared, Part::Checks, FAILING);
    let mut before = AllFailing::new();
    while let Some((now, turn)) = gate.next(parse_failing).await {
        match turn {
            Turn::Anew => shared.all_due(),
            // Rights that come back show more at the same index.
            Turn::Same | Turn::Changed => shared.checked_anew(&before, &now),
        }
        before = now;
    }
}

// === impl Client ===

impl Client {
    /// What is registered on every node.
    pub(super) async fn registered(&self) -> Result<Registered, ClientError> {
        let path = self.path(ON_EVERY_NODE, &[]);
        let deadline: Duration = self.timeouts().request;
        let request = Request::get(Operation::Registrations, path, deadline);
        Ok(self.ask(&request, parse_registered).await?.value)
    }
}
