//! Finding which of several steps HAProxy will not take, one after another: changes of services, and
//! certificates.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::carrier::CheckError;

/// How many culprits are looked for before what passed so far goes live. Each costs log n checks, and
/// a thousand bad services must not keep the good ones waiting.
const MOST_CULPRITS: usize = 16;
/// How long a search goes on that nobody asked for. Whoever asks for something meanwhile waits that long, and
/// until the culprit is found that is being looked for.
const SLICE: Duration = Duration::from_secs(1);

/// What is left of some steps once the bad ones are out.
pub(crate) struct Isolated<Good, Whole> {
    /// What the judge made of all steps that passed.
    pub(crate) candidate: Good,
    /// The base with the steps that passed.
    pub(crate) whole: Whole,
    /// The steps that did not pass, by index in order, with HAProxy's words.
    pub(crate) culprits: Vec<(usize, String)>,
    /// The steps from this index on were not judged: the search ended at the culprits before them.
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

    /// What these steps lead to.
    fn with(&self, whole: &Self::Whole, steps: &[Self::Step]) -> Self::Whole;
}

/// Takes as many steps as go together, in order of arrival.
///
/// The usual case is one check. When it fails, the longest prefix that passes is found by binary
/// search, the step behind it is a culprit, and the search goes on without it: log n checks per
/// culprit, and of two that clash only together the later one loses, on every replica alike.
/// `refused` are the words with which all of them together were refused, where that is known.
///
/// The last that is judged is the one that is returned.
///
/// # Errors
/// When nothing can be judged, or not even the base passes any more.
pub(crate) async fn isolate<J: Judge>(
    judge: &J,
    base: &J::Whole,
    steps: &[J::Step],
    refused: Option<String>,
) -> Result<Isolated<J::Good, J::Whole>, CheckError> {
    isolate_until(judge, base, steps, refused, None).await
}

/// The same for a while only: at least one culprit is found, where there is one.
///
/// # Errors
/// As [`isolate`].
pub(crate) async fn isolate_some<J: Judge>(
    judge: &J,
    base: &J::Whole,
    steps: &[J::Step],
    refused: Option<String>,
) -> Result<Isolated<J::Good, J::Whole>, CheckError> {
    let until = Instant::now() + SLICE;
    isolate_until(judge, base, steps, refused, Some(until)).await
}

/// The same until this moment, if there is one.
///
/// # Errors
/// As [`isolate`].
pub(crate) async fn isolate_until<J: Judge>(
    judge: &J,
    base: &J::Whole,
    steps: &[J::Step],
    mut refused: Option<String>,
    until: Option<Instant>,
) -> Result<Isolated<J::Good, J::Whole>, CheckError> {
    let mut whole = base.clone();
    let mut culprits = Vec::new();
    let mut rest = 0;
    loop {
        let is_late = || until.is_some_and(|until| Instant::now() >= until);
        let tail = match culprits.len() {
            0 => steps,
            n if n < MOST_CULPRITS && !is_late() => steps.get(rest..).unwrap_or_default(),
            _ => &[],
        };
        let all = judge.with(&whole, tail);
        let judged = match refused.take() {
            Some(words) => Err(CheckError::Rejected { words }),
            None => judge.judge(&all).await,
        };
        let mut words = match judged {
            Ok(candidate) => {
                return Ok(Isolated {
                    candidate,
                    whole: all,
                    culprits,
                    judged: rest + tail.len(),
                });
            }
            Err(error) if tail.is_empty() => return Err(error),
            Err(CheckError::Rejected { words }) => words,
            Err(unable) => return Err(unable),
        };
        if culprits.is_empty() && rest == 0 {
            // Nobody here is to blame for a base that does not pass by itself.
            judge.judge_base(base).await?;
        }
        // `good` steps of the tail pass, `bad` do not.
        let (mut good, mut bad) = (0, tail.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let some = judge.with(&whole, tail.get(..middle).unwrap_or_default());
            match judge.judge(&some).await {
                Ok(_) => good = middle,
                Err(CheckError::Rejected { words: said }) => (bad, words) = (middle, said),
                Err(unable) => return Err(unable),
            }
        }
        whole = judge.with(&whole, tail.get(..good).unwrap_or_default());
        culprits.push((rest + good, words));
        rest += bad;
    }
}
