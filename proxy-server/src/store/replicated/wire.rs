//! What replicas ask each other about their registers, and how one answers.

use std::collections::BTreeMap;

use proxy_core::{InstanceId, Named, Revision, RouteStore, ServiceName, Stamp};
use serde::{Deserialize, Serialize};

use super::{Attendance, HearError, ReplicatedStore};

/// About how many bytes of documents go into one call or answer; what is left goes in the next.
pub(super) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// What one replica asks another. Also the body of the call, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RegisterCall {
    /// Where do you stand?
    Digest,
    /// These are my stamps: what do you have later, and I?
    Stamps(BTreeMap<ServiceName, Stamp>),
    /// This is what you do not have yet.
    Registers(Vec<Named>),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegisterAnswer {
    /// Who answers.
    pub(crate) instance: InstanceId,
    /// How far its registers can be relied on.
    pub(crate) attendance: Attendance,
    /// Its registers' number and digest.
    pub(crate) revision: Option<Revision>,
    /// What its clock says, right or wrong.
    #[serde(default)]
    pub(crate) clock_unix_ms: Option<u64>,
    /// What it stamps changes by, once it has compared its clock.
    #[serde(default)]
    pub(crate) stamps_unix_ms: Option<u64>,
    /// What the caller lacks.
    #[serde(default)]
    pub(crate) given: Vec<Named>,
    /// What it lacks itself.
    #[serde(default)]
    pub(crate) wanted: Vec<ServiceName>,
    /// Whether there is more to give.
    #[serde(default)]
    pub(crate) more: bool,
}

/// Answers what another replica asks.
///
/// # Errors
/// When what it tells cannot be written down.
pub(crate) async fn answer(
    store: &ReplicatedStore,
    call: RegisterCall,
) -> Result<RegisterAnswer, HearError> {
    let delta = match call {
        RegisterCall::Digest => proxy_core::Delta::default(),
        RegisterCall::Stamps(theirs) => store.registers().delta(&theirs, PAGE_BYTES),
        RegisterCall::Registers(told) => {
            store.hear(told).await?;
            proxy_core::Delta::default()
        }
    };
    Ok(RegisterAnswer {
        instance: store.instance.clone(),
        attendance: store.attendance(),
        revision: store.view().revision,
        clock_unix_ms: Some(store.clock.own()),
        stamps_unix_ms: store.clock.told(),
        given: delta.given,
        wanted: delta.wanted,
        more: delta.more,
    })
}
