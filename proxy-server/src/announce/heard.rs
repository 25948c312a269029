//! What is believed of the answers to a call that goes to every replica.

use std::collections::{BTreeMap, btree_map::Entry};

use proxy_peers::{Outcome, Row};

/// Which replica answered at which address. An answer proves who gave it, and not that the call reached
/// whom it was for: one that answers at two addresses is one replica all the same.
#[derive(Debug, Default)]
pub(crate) struct Heard(BTreeMap<String, String>);

// === impl Heard ===

impl Heard {
    /// Notes which replica answered at an address. As an error, where it has answered at another: nobody is
    /// known then to have heard the call at this one.
    pub(crate) fn once(&mut self, instance: Option<&str>, address: &str) -> Result<(), String> {
        let Some(instance) = instance else {
            return Ok(());
        };
        match self.0.entry(instance.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(address.to_owned());
                Ok(())
            }
            Entry::Occupied(first) => Err(format!(
                "the same replica answered at {}; if both addresses are its own, have only one of them found, else something leads calls for one of them astray",
                first.get()
            )),
        }
    }
}

/// Why a replica did not confirm, and what it said where it refused to listen at all: its secret, its
/// release or its proxy is another.
pub(crate) fn reason(row: &Row) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Refusal {
        message: String,
    }
    let why = row.reason().unwrap_or_else(|| "did not answer".to_owned());
    let Outcome::Refused(reply) = row.outcome() else {
        return why;
    };
    match serde_json::from_slice::<Refusal>(reply.body()) {
        Ok(Refusal { message }) => format!("{why}: {message}"),
        Err(_) => why,
    }
}
