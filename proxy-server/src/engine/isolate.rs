//! Finding which of several changes HAProxy will not take.

use proxy_core::{Change, RouteTable};

use crate::carrier::{Carrier, CheckError};

/// How many culprits are looked for before what passed so far goes live. Each costs log n checks, and
/// a thousand bad services must not keep the good ones waiting.
const MOST_CULPRITS: usize = 16;

/// What is left of some groups of changes once the bad ones are out.
pub(super) struct Isolated<T> {
    /// A configuration with all groups that passed.
    pub(super) candidate: T,
    /// The table of that configuration.
    pub(super) table: RouteTable,
    /// The groups that did not pass, by index in order, with HAProxy's words.
    pub(super) culprits: Vec<(usize, String)>,
    /// The groups from this index on were not judged: too many culprits stood before them.
    pub(super) judged: usize,
}

/// Takes as many groups as go together, in order of arrival.
///
/// The usual case is one check. When it fails, the longest prefix that passes is found by binary
/// search, the group behind it is a culprit, and the search goes on without it: log n checks per
/// culprit, and of two groups that clash only together the later one loses, on every replica alike.
///
/// # Errors
/// When nothing can be judged, or not even the base passes any more.
pub(super) async fn isolate<C: Carrier>(
    carrier: &C,
    base: &RouteTable,
    groups: &[&[Change]],
) -> Result<Isolated<C::Candidate>, CheckError> {
    let mut table = base.clone();
    let mut culprits = Vec::new();
    let mut rest = 0;
    loop {
        let tail = match culprits.len() {
            n if n < MOST_CULPRITS => groups.get(rest..).unwrap_or_default(),
            _ => &[],
        };
        let all = with_groups(&table, tail);
        let mut words = match carrier.check(&all).await {
            Ok(candidate) => {
                return Ok(Isolated {
                    candidate,
                    table: all,
                    culprits,
                    judged: rest + tail.len(),
                });
            }
            Err(error) if tail.is_empty() => return Err(error),
            Err(CheckError::Rejected { words }) => words,
            Err(unable) => return Err(unable),
        };
        if culprits.is_empty() && rest == 0 && !base.is_empty() {
            // Nobody here is to blame for a base that does not pass by itself.
            carrier.check(base).await?;
        }
        // `good` groups of the tail pass, `bad` do not.
        let (mut good, mut bad) = (0, tail.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let some = with_groups(&table, tail.get(..middle).unwrap_or_default());
            match carrier.check(&some).await {
                Ok(_) => good = middle,
                Err(CheckError::Rejected { words: said }) => (bad, words) = (middle, said),
                Err(unable) => return Err(unable),
            }
        }
        table = with_groups(&table, tail.get(..good).unwrap_or_default());
        culprits.push((rest + good, words));
        rest += bad;
    }
}

fn with_groups(table: &RouteTable, groups: &[&[Change]]) -> RouteTable {
    let mut table = table.clone();
    for change in groups.iter().copied().flatten() {
        table.apply(change);
    }
    table
}
