//! Finding the certificates that are to blame where HAProxy did not load what is shown.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Offer, Showing, Step};
use crate::{
    carrier::CheckError,
    culprits::{Bound, Isolated, Judge, isolate},
};

/// Why a search ended with nobody to blame.
pub(crate) struct Fruitless {
    pub(crate) error: CheckError,
    /// What was loaded last meanwhile, and is live.
    pub(crate) loaded: Option<Showing>,
}

/// Remembers what its judge judged good last.
struct Recording<'a, J> {
    judge: &'a J,
    last: Mutex<Option<Showing>>,
}

/// Searches on top of what was loaded, and where that is refused too on top of each of the others until one is not.
/// `words` are those with which all of the first was refused. They are older than the search: what was to blame may be
/// gone, and then no certificate is. So each base is judged first, since a load that fails may cost some seconds of
/// refused connections, and on top of a good one all steps are judged anew.
///
/// # Errors
/// When nothing can be judged, or every base is refused.
pub(crate) async fn find_culprits<J: Judge<Whole = Showing, Step = Step>>(
    judge: &J,
    first: Offer,
    others: Vec<Offer>,
    words: String,
    bound: &Bound,
) -> Result<(Offer, Isolated<J::Good, Showing>), Fruitless> {
    let judge = Recording {
        judge,
        last: Mutex::default(),
    };
    let mut error = CheckError::Rejected { words };
    let first = Some(first).filter(|first| !first.steps.is_empty());
    for offer in first.into_iter().chain(others) {
        let judged = match judge.judge(&offer.base).await {
            Ok(_) => isolate(&judge, &offer.base, &offer.steps, None, bound).await,
            Err(error) => Err(error),
        };
        match judged {
            Ok(isolated) => return Ok((offer, isolated)),
            Err(refused @ CheckError::Rejected { .. }) => error = refused,
            Err(unable) => {
                error = unable;
                break;
            }
        }
    }
    let loaded = judge.last.into_inner();
    let loaded = loaded.unwrap_or_else(PoisonError::into_inner);
    Err(Fruitless { error, loaded })
}

#[async_trait]
impl<J: Judge<Whole = Showing, Step = Step>> Judge for Recording<'_, J> {
    type Whole = Showing;
    type Step = Step;
    type Good = J::Good;

    async fn judge(&self, whole: &Showing) -> Result<J::Good, CheckError> {
        let good = self.judge.judge(whole).await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(whole.clone());
        Ok(good)
    }

    /// It was judged before the search began.
    async fn judge_base(&self, _: &Showing) -> Result<(), CheckError> {
        Ok(())
    }

    fn with(&self, whole: &Showing, steps: &[Step]) -> Showing {
        self.judge.with(whole, steps)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::certificates::choice::tests::{showing, shown};

    /// A port in use, as HAProxy says it.
    const WORDS: &str = "a port in use";

    /// Answers as it is told, and then takes everything.
    struct Scripted(Mutex<VecDeque<Result<(), CheckError>>>);

    #[async_trait]
    impl Judge for Scripted {
        type Whole = Showing;
        type Step = Step;
        type Good = ();

        async fn judge(&self, _: &Showing) -> Result<(), CheckError> {
            self.0.lock().unwrap().pop_front().unwrap_or(Ok(()))
        }

        fn with(&self, whole: &Showing, steps: &[Step]) -> Showing {
            whole.with(steps)
        }
    }

    fn refused() -> Result<(), CheckError> {
        let words = WORDS.to_owned();
        Err(CheckError::Rejected { words })
    }

    fn offers() -> (Offer, Vec<Offer>) {
        let all = ["a", "b", "c"].map(|name| shown(name, "a.com"));
        let base = showing(&[&all[0], &all[1], &all[2]]);
        let first = Offer {
            wanted: base.clone(),
            base,
            steps: Vec::new(),
        };
        let others = first.clone().anew().on_top_of_one();
        (first, others)
    }

    #[tokio::test]
    async fn no_certificate_is_blamed_for_what_is_over_by_then() {
        for before in 0..2 {
            let (first, others) = offers();
            let answers = std::iter::repeat_with(refused).take(before);
            let judge = Scripted(Mutex::new(answers.collect()));
            let found =
                find_culprits(&judge, first, others, WORDS.to_owned(), &Bound::slice()).await;
            let (_, isolated) = found.unwrap_or_else(|it| panic!("{}", it.error));
            assert_eq!(isolated.culprits, []);
            assert_eq!(isolated.whole.certificates().count(), 3);
        }
    }

    #[tokio::test]
    async fn what_all_were_refused_with_before_is_judged_anew() {
        let all = ["a", "b"].map(|name| shown(name, "a.com"));
        let offer = Offer {
            base: showing(&[&all[0]]),
            steps: vec![Step::show(all[1].clone())],
            wanted: showing(&[&all[0], &all[1]]),
        };
        for (answers, judged, blamed) in [
            (vec![], 2, 0),
            // The base, the whole, and what is shown in the end.
            (vec![Ok(()), refused()], 3, 1),
        ] {
            let left = std::iter::repeat_with(|| Ok(())).take(9 - answers.len());
            let judge = Scripted(Mutex::new(answers.into_iter().chain(left).collect()));
            let found = find_culprits(
                &judge,
                offer.clone(),
                Vec::new(),
                WORDS.to_owned(),
                &Bound::slice(),
            )
            .await;
            let (_, isolated) = found.unwrap_or_else(|it| panic!("{}", it.error));
            assert_eq!(isolated.culprits.len(), blamed);
            assert_eq!(9 - judge.0.lock().unwrap().len(), judged);
        }
    }

    #[tokio::test]
    async fn every_base_that_is_refused_is_tried_once() {
        let (first, others) = offers();
        let judge = Scripted(Mutex::new([refused(), refused(), Ok(())].into()));
        let found = find_culprits(&judge, first, others, WORDS.to_owned(), &Bound::slice()).await;
        assert!(found.err().unwrap().loaded.is_none());
        assert_eq!(judge.0.lock().unwrap().len(), 1, "and nothing else");
    }

    #[tokio::test]
    async fn a_search_that_breaks_off_tells_what_is_live() {
        let (first, others) = offers();
        let broken = Err(CheckError::Unable {
            why: "no disk".into(),
        });
        let judge = Scripted(Mutex::new([Ok(()), broken].into()));
        let found = find_culprits(&judge, first, others, WORDS.to_owned(), &Bound::slice()).await;
        let loaded = found.err().unwrap().loaded.unwrap();
        assert_eq!(loaded.certificates().count(), 1);
    }
}
