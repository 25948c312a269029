//! Finding which of several steps HAProxy will not take, one after another: changes of services, and
//! certificates; and when such a search ends before all is judged.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::carrier::CheckError;

/// How long a search goes on that nobody asked for. Whoever asks for something meanwhile waits that long, and
/// until one culprit is found.
const SLICE: Duration = Duration::from_secs(1);
/// And one among what is asked. All who ask wait for it, so it is well below `WAIT_TIMEOUT`; what passes in one goes
/// live with one reload, so it is no shorter.
const ASKED: Duration = Duration::from_secs(3);
/// And one before anything is served: whoever is not judged by then is not served at first. Below the
/// `--start-period` of the image (30 s): who is not ready soon after that is ended and begins anew. What is left of that
/// is for the check that runs and for the start of HAProxy.
const FIRST: Duration = Duration::from_secs(20);
/// After so many that passed together more are tried at once, this many times as many.
const GROWTH: usize = 4;

/// When a search ends before all is judged: it is looked at before each check.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    until: Instant,
    least: Least,
    stop: CancellationToken,
}

/// What is found however late it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Least {
    Nothing,
    /// Each search comes further by that, however long a check takes.
    OneCulprit,
}

/// The search was to end.
#[derive(Debug, thiserror::Error)]
#[error("this replica shuts down")]
struct Stopped;

/// What is left of some steps once the bad ones are out.
pub(crate) struct Isolated<Good, Whole> {
    /// What the judge made of all steps that passed.
    pub(crate) candidate: Good,
    /// The base with the steps that passed.
    pub(crate) whole: Whole,
    /// The steps that did not pass, by index in order, with HAProxy's words.
    pub(crate) culprits: Vec<(usize, String)>,
    /// The steps from this index on were not judged: the search ended before.
    pub(crate) judged: usize,
}

/// Says whether HAProxy takes something.
#[async_trait]
pub(crate) trait Judge: Sync {
    /// What is judged.
    type Whole: Clone + Send + Sync;
    /// What leads from one to the next.
    type Step: Sync;
    /// What one that it takes is turned into.
    type Good: Send;

    /// Judges one.
    async fn judge(&self, whole: &Self::Whole) -> Result<Self::Good, CheckError>;

    /// Judges what everything else stands on, to know that nothing else is to blame.
    async fn judge_base(&self, whole: &Self::Whole) -> Result<(), CheckError> {
        self.judge(whole).await.map(|_| ())
    }

    /// Whether judging has cost all that it may: the search ends.
    fn is_spent(&self) -> bool {
        false
    }

    /// What these steps lead to.
    fn with(&self, whole: &Self::Whole, steps: &[Self::Step]) -> Self::Whole;
}

// === impl Bound ===

impl Bound {
    /// For what nobody asked for.
    pub(crate) fn slice() -> Self {
        Self::of(SLICE, Least::OneCulprit)
    }

    /// For what is asked.
    pub(crate) fn asked() -> Self {
        Self::of(ASKED, Least::OneCulprit)
    }

    /// For what is judged before anything is served.
    pub(crate) fn first() -> Self {
        Self::of(FIRST, Least::Nothing)
    }

    fn of(most: Duration, least: Least) -> Self {
        Self {
            until: Instant::now() + most,
            least,
            stop: CancellationToken::new(),
        }
    }

    /// The same, and no check is begun once this token is cancelled.
    #[must_use]
    pub(crate) fn or_until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    fn is_over(&self, culprits: usize) -> bool {
        let is_enough = self.least == Least::Nothing || culprits > 0;
        is_enough && Instant::now() >= self.until
    }

    fn goes_on(&self) -> Result<(), CheckError> {
        match self.stop.is_cancelled() {
            true => Err(CheckError::Unable {
                why: Stopped.into(),
            }),
            false => Ok(()),
        }
    }
}

/// Takes as many steps as go together, in order of arrival.
///
/// The usual case is one check. When it fails, the longest prefix that passes is found by binary
/// search, the step behind it is a culprit, and the search goes on without it: log n checks per
/// culprit, and of two that clash only together the later one loses, on every replica alike. Where there is a
/// second one there may be more: what is behind it is tried in parts that are as long as the way from one to the
/// next, and longer where that passes.
/// `refused` are the words with which all of them together were refused, where that is known.
///
/// The last that is judged is the one that is returned.
///
/// # Errors
/// When nothing can be judged, not even the base passes any more, or the bound says that all ends: nothing is known then.
pub(crate) async fn isolate<J: Judge>(
    judge: &J,
    base: &J::Whole,
    steps: &[J::Step],
    mut refused: Option<String>,
    bound: &Bound,
) -> Result<Isolated<J::Good, J::Whole>, CheckError> {
    let mut whole = base.clone();
    let mut culprits: Vec<(usize, String)> = Vec::new();
    // How many were judged, and how many are tried together next.
    let (mut judged, mut span) = (0, steps.len());
    // What the judge made of the whole, where that is what it judged last.
    let mut passed = None;
    loop {
        bound.goes_on()?;
        let is_over = |found: usize| bound.is_over(found) || judge.is_spent();
        let left = steps.get(judged..).unwrap_or_default();
        if left.is_empty() || is_over(culprits.len()) {
            let candidate = match passed {
                Some(candidate) => candidate,
                None => judge.judge(&whole).await?,
            };
            return Ok(Isolated {
                candidate,
                whole,
                culprits,
                judged,
            });
        }
        let part = left.get(..span.min(left.len())).unwrap_or(left);
        let all = judge.with(&whole, part);
        drop(passed.take());
        let verdict = match refused.take() {
            Some(words) => Err(CheckError::Rejected { words }),
            None => judge.judge(&all).await,
        };
        let mut words = match verdict {
            Ok(candidate) => {
                (whole, passed) = (all, Some(candidate));
                judged += part.len();
                span = span.saturating_mul(GROWTH);
                continue;
            }
            Err(CheckError::Rejected { words }) => words,
            Err(unable) => return Err(unable),
        };
        if judged == 0 {
            bound.goes_on()?;
            if is_over(0) {
                continue;
            }
            // Nobody here is to blame for a base that does not pass by itself.
            judge.judge_base(base).await?;
        }
        // `good` steps of the part pass, `bad` do not.
        let (mut good, mut bad) = (0, part.len());
        while bad - good > 1 && !is_over(culprits.len()) {
            bound.goes_on()?;
            let middle = good + (bad - good) / 2;
            let some = judge.with(&whole, part.get(..middle).unwrap_or_default());
            drop(passed.take());
            match judge.judge(&some).await {
                Ok(candidate) => (good, passed) = (middle, Some(candidate)),
                Err(CheckError::Rejected { words: said }) => (bad, words) = (middle, said),
                Err(unable) => return Err(unable),
            }
        }
        whole = judge.with(&whole, part.get(..good).unwrap_or_default());
        judged += good;
        if bad - good == 1 {
            span = match culprits.last() {
                Some((before, _)) => (judged - before - 1).max(1),
                // One is the usual case: all the rest is good.
                None => steps.len(),
            };
            culprits.push((judged, words));
            judged += 1;
        }
    }
}

#[cfg(test)]
mod tests;
