//! What is believed of the answers to a call that goes to every replica.

use std::collections::BTreeMap;

use proxy_peers::{Outcome, PeerAddress, Row};

/// Which replica answered at which address. An answer proves who gave it, and not that the call reached
/// whom it was for: one that answers at two addresses is one replica all the same.
#[derive(Debug, Default)]
pub(crate) struct Heard(BTreeMap<String, Vec<PeerAddress>>);

/// How a replica that answers at an address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It has answered at no other.
    First,
    /// It has answered at its address of the other family, and is counted already.
    ByOtherFamily,
}

// === impl Heard ===

impl Heard {
    /// Notes which replica answered at an address. One IPv4 and one IPv6 address on the same port are a
    /// replica's own: as long as none of them answers at two of one family, as many replicas answered as
    /// there are addresses of the greater family, so nobody who has an address there was left out. Only
    /// where some have an IPv4 address alone and others an IPv6 address alone could one stand for
    /// another, and these cannot call each other.
    ///
    /// # Errors
    /// Where it has answered at another address, and they are no such two: nobody is known then to have
    /// heard the call at this one.
    pub(crate) fn once(
        &mut self,
        instance: Option<&str>,
        address: &PeerAddress,
    ) -> Result<Seen, String> {
        let Some(instance) = instance else {
            return Ok(Seen::First);
        };
        let known = self.0.entry(instance.to_owned()).or_default();
        let seen = match known.as_slice() {
            [] => Seen::First,
            [first] if are_of_two_families(first, address) => Seen::ByOtherFamily,
            [first, ..] => {
                return Err(format!(
                    "the same replica answered at {first}; if both addresses are its own, have only one of them found, else something leads calls for one of them astray"
                ));
            }
        };
        known.push(address.clone());
        Ok(seen)
    }
}

/// Whether these are an IPv4 and an IPv6 address with the same port.
fn are_of_two_families(one: &PeerAddress, other: &PeerAddress) -> bool {
    match (one.socket_addr(), other.socket_addr()) {
        (Some(one), Some(other)) => one.is_ipv4() != other.is_ipv4() && one.port() == other.port(),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_and_an_ipv6_address_are_one_replica_and_other_doubles_are_not() {
        let seen = |addresses: &[&str]| {
            let mut heard = Heard::default();
            let addresses = addresses.iter().map(|it| it.parse().unwrap());
            let seen = addresses.map(|it| heard.once(Some("a"), &it).ok());
            seen.collect::<Vec<_>>()
        };
        let (first, other) = (Some(Seen::First), Some(Seen::ByOtherFamily));
        assert_eq!(seen(&["10.0.0.1:1", "[fd00::1]:1"]), [first, other]);
        assert_eq!(seen(&["[fd00::1]:1", "10.0.0.1:1"]), [first, other]);
        // A third is of one family with one of them.
        let three = ["10.0.0.1:1", "[fd00::1]:1", "10.0.0.2:1"];
        assert_eq!(seen(&three), [first, other, None]);
        let three = ["10.0.0.1:1", "10.0.0.2:1", "[fd00::1]:1"];
        assert_eq!(seen(&three), [first, None, other]);
        for others in [["10.0.0.1:1", "[fd00::1]:2"], ["10.0.0.1:1", "a:1"]] {
            assert_eq!(seen(&others), [first, None], "{others:?}");
        }
        assert_eq!(seen(&["[fd00::1]:1", "[fd00::2]:1"]), [first, None]);
        // Of one that does not say who it is, nobody knows who else it is.
        let mut heard = Heard::default();
        for _ in 0..3 {
            assert_eq!(heard.once(None, &"a:1".parse().unwrap()), Ok(Seen::First));
        }
    }
}
