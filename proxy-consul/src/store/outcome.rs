//! What became of a commit: asked of the log.

use proxy_core::{CommitId, CommitRecord, Outcome, Revision};
use serde::Deserialize;
use tokio::time::timeout_at;

use super::{Shared, commit::told, keys::LOG_KEPT, read::ReadError};

/// Whose a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mine {
    Yes,
    No,
}

impl From<bool> for Mine {
    fn from(mine: bool) -> Self {
        if mine { Self::Yes } else { Self::No }
    }
}

/// The part of a log entry that tells whose it is, readable whatever its documents are.
#[derive(Deserialize)]
struct Whose {
    revision: Revision,
}

impl Shared {
    /// Whether the commit of this number is the one with this id; none when there is none.
    pub(super) async fn whose(&self, number: u64, id: CommitId) -> Result<Option<Mine>, ReadError> {
        if number == 0 {
            // The making of a store has no log entry; its head is its mark.
            let head = self.client.get(&self.keys.head()).await?;
            let head = self.head_of(head)?;
            return Ok(head.map(|seen| Mine::from(seen.head.id == id)));
        }
        let entry = self.client.get(&self.keys.log(number)).await?;
        Ok(entry.map(|entry| {
            let whose = serde_json::from_slice::<Whose>(&entry.value);
            Mine::from(whose.is_ok_and(|whose| whose.revision.id == id))
        }))
    }

    /// Whether the log holds this very commit.
    pub(super) async fn is_in_log(&self, record: &CommitRecord) -> Result<bool, ReadError> {
        let whose = self
            .whose(record.revision.number, record.revision.id)
            .await?;
        Ok(whose == Some(Mine::Yes))
    }

    pub(super) async fn outcome_of(&self, id: CommitId) -> Outcome {
        if let Some(revision) = self.with(|state| state.remembers(id)) {
            return Outcome::Committed(revision);
        }
        let asked = timeout_at(self.deadline(), self.ask_outcome(id)).await;
        asked.unwrap_or_else(|_| Outcome::Unknown(self.out_of_time().to_string()))
    }

    async fn ask_outcome(&self, id: CommitId) -> Outcome {
        if let Err(why) = self.catch_up(None).await {
            return Outcome::Unknown(told(&why));
        }
        let (seen, base, at) = self.with(|state| {
            let at = state.chain().map(|chain| chain.at);
            (state.remembers(id), state.base_of(id), at)
        });
        if let Some(revision) = seen {
            return Outcome::Committed(revision);
        }
        match self.find(id).await {
            Ok(Some(revision)) => Outcome::Committed(revision),
            Err(why) => Outcome::Unknown(told(&why)),
            Ok(None) => match (base, at) {
                // The head has left the point on which the commit was to stand.
                (Some(base), Some(at)) if at != base => Outcome::NotThere,
                (Some(_), _) => Outcome::Unknown(
                    "it is not in the log, and may still arrive until another commit takes its place"
                        .to_owned(),
                ),
                _ => Outcome::Unknown(format!(
                    "it is not among the last {LOG_KEPT} commits, and this replica did not make it"
                )),
            },
        }
    }

    /// Looks for a commit in the whole log.
    async fn find(&self, id: CommitId) -> Result<Option<Revision>, ReadError> {
        let at = self.with(|state| state.chain().map(|chain| chain.at));
        let entries = self.client.list(&self.keys.log_folder()).await?;
        let revisions = entries
            .iter()
            .filter_map(|entry| serde_json::from_slice::<Whose>(&entry.value).ok())
            .map(|whose| whose.revision);
        Ok(revisions.into_iter().find(|revision| {
            // Entries beyond the head, or of another life, are left over.
            let told =
                at.is_some_and(|at| revision.epoch == at.epoch && revision.number <= at.number);
            revision.id == id && told
        }))
    }
}
