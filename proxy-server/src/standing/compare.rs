//! How replicas compare: who lags, and whose table is another at the same commit. Pure.

use std::collections::BTreeMap;

use proxy_core::Revision;

use super::Standing;

/// Replicas compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The place of each, in the order given.
    pub(crate) places: Vec<Place>,
    /// Whether some stand at one commit with different tables.
    pub(crate) drift: bool,
}

/// The place of one replica among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the newest commit that is known, with the table that most have there.
    Current,
    /// So many commits behind the newest.
    Behind(u64),
    /// At a commit with another table than most have there.
    Drifted,
    /// In another history than most.
    ElsewhereInTime,
    /// It has read no commit.
    Nowhere,
    /// It did not answer.
    Silent,
}

// === impl Place ===

impl Place {
    /// One word for answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind(_) => "behind",
            Self::Drifted => "drifted",
            Self::ElsewhereInTime => "other history",
            Self::Nowhere => "no table",
            Self::Silent => "unreachable",
        }
    }
}

/// Compares replicas; none where one did not answer. Of two tables at one commit the one that more
/// replicas have counts as right; where they are as many, neither does.
pub(crate) fn compare(standings: &[Option<&Standing>]) -> Compared {
    let known = || standings.iter().copied().flatten();
    let mut tables: BTreeMap<(Key, &str), usize> = BTreeMap::new();
    let mut epochs: BTreeMap<_, (usize, u64)> = BTreeMap::new();
    for standing in known() {
        let Some(at) = standing.revision else {
            continue;
        };
        *tables.entry((key(at), &standing.table_digest)).or_default() += 1;
        let epoch = epochs.entry(at.epoch).or_default();
        *epoch = (epoch.0 + 1, epoch.1.max(at.number));
    }
    // Most replicas live in this one, up to this number.
    let now = epochs
        .iter()
        .max_by_key(|(_, (replicas, newest))| (*replicas, *newest))
        .map(|(epoch, (_, newest))| (*epoch, *newest));
    let rivals = |at: Revision| {
        let rows = tables.iter().filter(move |((k, _), _)| *k == key(at));
        rows.map(|((_, digest), count)| (*digest, *count))
    };
    let place = |standing: &Standing| {
        let Some(at) = standing.revision else {
            return Place::Nowhere;
        };
        let mine = rivals(at).find(|(digest, _)| *digest == standing.table_digest);
        let mine = mine.map_or(0, |(_, count)| count);
        let others = rivals(at).filter(|(digest, _)| *digest != standing.table_digest);
        if others.into_iter().any(|(_, count)| count >= mine) {
            return Place::Drifted;
        }
        match now {
            Some((epoch, newest)) if epoch == at.epoch && newest == at.number => Place::Current,
            Some((epoch, newest)) if epoch == at.epoch => Place::Behind(newest - at.number),
            _ => Place::ElsewhereInTime,
        }
    };
    let places: Vec<_> = standings
        .iter()
        .map(|standing| standing.map_or(Place::Silent, place))
        .collect();
    Compared {
        drift: places.contains(&Place::Drifted),
        places,
    }
}

type Key = (proxy_core::Epoch, u64, proxy_core::CommitId);

fn key(at: Revision) -> Key {
    (at.epoch, at.number, at.id)
}

#[cfg(test)]
mod tests {
    use proxy_core::{CommitId, Epoch};

    use super::*;

    fn at(epoch: u8, number: u64, digest: &str) -> Standing {
        let id = CommitId::from_bytes([u8::try_from(number).unwrap(); 16]);
        Standing {
            instance: "me".parse().unwrap(),
            version: String::new(),
            revision: Some(Revision::new(Epoch::from_bytes([epoch; 16]), number, id)),
            table_digest: digest.to_owned(),
            config_digest: None,
            services: 0,
            store: String::new(),
            haproxy: String::new(),
            failure: None,
            quarantined: Vec::new(),
            degraded: Vec::new(),
        }
    }

    #[test]
    fn drift_is_another_table_at_the_same_commit_and_nothing_else() {
        let nowhere = Standing {
            revision: None,
            ..at(1, 1, "")
        };
        for (standings, places, drift) in [
            (
                [at(1, 7, "a"), at(1, 7, "a"), at(1, 7, "a")],
                [Place::Current; 3],
                false,
            ),
            (
                [at(1, 7, "a"), at(1, 5, "b"), at(1, 6, "c")],
                [Place::Current, Place::Behind(2), Place::Behind(1)],
                false,
            ),
            (
                [at(1, 7, "a"), at(1, 7, "b"), at(1, 7, "a")],
                [Place::Current, Place::Drifted, Place::Current],
                true,
            ),
            (
                [at(1, 7, "a"), at(1, 7, "b"), at(1, 6, "a")],
                [Place::Drifted, Place::Drifted, Place::Behind(1)],
                true,
            ),
            (
                [at(1, 7, "a"), at(2, 9, "b"), at(1, 7, "a")],
                [Place::Current, Place::ElsewhereInTime, Place::Current],
                false,
            ),
            (
                [at(1, 7, "a"), nowhere, at(1, 7, "a")],
                [Place::Current, Place::Nowhere, Place::Current],
                false,
            ),
        ] {
            let rows: Vec<_> = standings.iter().map(Some).collect();
            let compared = compare(&rows);
            assert_eq!(
                (compared.places.as_slice(), compared.drift),
                (&places[..], drift)
            );
        }
        let own = at(1, 7, "a");
        let compared = compare(&[Some(&own), None]);
        assert_eq!(compared.places, [Place::Current, Place::Silent]);
    }
}
