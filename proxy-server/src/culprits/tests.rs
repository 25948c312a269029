//! The clock is simulated: what is waited for is a rule and not a measurement.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use proptest::{collection::btree_set, prelude::*};

use super::*;

/// Takes steps of which none is bad and no two clash, and counts what that costs.
#[derive(Default)]
struct Scripted {
    bad: BTreeSet<usize>,
    clash: Option<[usize; 2]>,
    takes: Duration,
    most: Option<usize>,
    judged: AtomicUsize,
    last: Mutex<Option<Vec<usize>>>,
}

#[async_trait]
impl Judge for Scripted {
    type Whole = Vec<usize>;
    type Step = usize;
    type Good = Vec<usize>;

    async fn judge(&self, whole: &Vec<usize>) -> Result<Vec<usize>, CheckError> {
        self.judged.fetch_add(1, SeqCst);
        tokio::time::sleep(self.takes).await;
        *self.last.lock().unwrap() = Some(whole.clone());
        let clashes = self
            .clash
            .is_some_and(|pair| pair.iter().all(|step| whole.contains(step)));
        match clashes || whole.iter().any(|step| self.bad.contains(step)) {
            true => Err(CheckError::Rejected {
                words: "no".to_owned(),
            }),
            false => Ok(whole.clone()),
        }
    }

    fn is_spent(&self) -> bool {
        self.most
            .is_some_and(|most| self.judged.load(SeqCst) >= most)
    }

    fn with(&self, whole: &Vec<usize>, steps: &[usize]) -> Vec<usize> {
        [whole.as_slice(), steps].concat()
    }
}

impl Scripted {
    fn with_bad(bad: impl IntoIterator<Item = usize>) -> Self {
        Self {
            bad: bad.into_iter().collect(),
            ..Self::default()
        }
    }

    fn taking(self, millis: u64) -> Self {
        Self {
            takes: Duration::from_millis(millis),
            ..self
        }
    }

    /// Searches among so many, and holds what comes of it to what was judged.
    async fn search(&self, steps: usize, bound: &Bound) -> Isolated<Vec<usize>, Vec<usize>> {
        let steps: Vec<usize> = (0..steps).collect();
        let isolated = isolate(self, &Vec::new(), &steps, None, bound).await;
        let isolated = isolated.unwrap();
        assert_eq!(isolated.candidate, isolated.whole);
        let last = self.last.lock().unwrap().clone();
        assert_eq!(last.as_ref(), Some(&isolated.whole), "it is judged last");
        let culprits = indices(&isolated);
        let passed = (0..isolated.judged).filter(|step| !culprits.contains(step));
        assert_eq!(isolated.whole, passed.collect::<Vec<_>>());
        isolated
    }

    fn judged(&self) -> usize {
        self.judged.load(SeqCst)
    }
}

fn indices(isolated: &Isolated<Vec<usize>, Vec<usize>>) -> Vec<usize> {
    isolated.culprits.iter().map(|(index, _)| *index).collect()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(test)
}

proptest! {
    /// Each step is judged on top of those before it that passed, as one after another would be.
    #[test]
    fn exactly_the_culprits_are_found(
        bad in btree_set(0_usize..60, 0..60),
        clash in (0_usize..60, 0_usize..60),
    ) {
        let judge = Scripted {
            clash: (clash.0 != clash.1).then_some([clash.0, clash.1]),
            ..Scripted::with_bad(bad.clone())
        };
        let isolated = run(async { judge.search(60, &Bound::slice()).await });
        let mut expected = bad.clone();
        let (first, second) = (clash.0.min(clash.1), clash.0.max(clash.1));
        if first != second && !bad.contains(&first) {
            expected.insert(second);
        }
        prop_assert_eq!(indices(&isolated), expected.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(isolated.judged, 60);
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_costs_few_checks() {
    for (bad, most) in [
        (vec![], 1),
        // All, the base, eight halvings, and all the rest.
        (vec![0], 11),
        (vec![100], 11),
        (vec![199], 11),
        // Twenty of two hundred: one after another by halves would be 170.
        ((0..20).map(|n| n * 10).collect(), 140),
        // What is all bad is judged one by one.
        ((0..200).collect(), 200 + 20),
    ] {
        let judge = Scripted::with_bad(bad.clone());
        let isolated = judge.search(200, &Bound::slice()).await;
        assert_eq!(indices(&isolated), bad);
        assert!(judge.judged() <= most, "{bad:?}: {}", judge.judged());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_searched_before_anything_is_served_ends_with_the_check_that_runs() {
    // Ten thousand, each check takes a second and more: the first culprit alone would take as long.
    let judge = Scripted::with_bad([9_000, 9_500]).taking(1_700);
    let began = Instant::now();
    let isolated = judge.search(10_000, &Bound::first()).await;
    // The one that runs, and one for what passed.
    assert!(began.elapsed() < FIRST + Duration::from_millis(2 * 1_700));
    assert!((8_000..9_000).contains(&isolated.judged));
    assert!(isolated.culprits.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slice_finds_one_culprit_however_late_it_is_and_ends_within_the_second() {
    let judge = Scripted::with_bad([90, 91, 95]).taking(1_500);
    let isolated = judge.search(100, &Bound::slice()).await;
    assert_eq!((indices(&isolated), isolated.judged), (vec![90], 91));
    // And what is found by then where there is time for it.
    let judge = Scripted::with_bad([3, 50, 51, 95]).taking(70);
    let began = Instant::now();
    let isolated = judge.search(100, &Bound::slice()).await;
    assert_eq!(indices(&isolated), [3]);
    assert!(isolated.judged > 4, "what passed on the way is not lost");
    assert!(began.elapsed() <= SLICE + Duration::from_millis(2 * 70));
}

#[tokio::test(start_paused = true)]
async fn no_check_is_begun_once_all_ends() {
    let judge = Scripted::with_bad([90]).taking(1_000);
    let stop = CancellationToken::new();
    let bound = Bound::slice().or_until(stop.clone());
    let (base, steps) = (Vec::new(), (0..100).collect::<Vec<_>>());
    let search = isolate(&judge, &base, &steps, None, &bound);
    let (ended, ()) = tokio::join!(search, async {
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        stop.cancel();
    });
    let why = ended.err().unwrap();
    assert!(matches!(&why, CheckError::Unable { why } if why.to_string().contains("shuts down")));
    assert_eq!(judge.judged(), 4, "the one that ran");
}

#[tokio::test(start_paused = true)]
async fn what_may_cost_only_so_much_ends_there() {
    for most in 0..30 {
        let judge = Scripted {
            most: Some(most),
            ..Scripted::with_bad([5, 6, 7, 40])
        };
        let isolated = judge.search(60, &Bound::slice()).await;
        assert!(judge.judged() <= most + 1, "{most}: {}", judge.judged());
        assert!(isolated.judged == 60 || judge.judged() >= most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_base_that_does_not_pass_is_nobodys_fault() {
    let judge = Scripted::with_bad([1_000]);
    let isolated = isolate(&judge, &vec![1_000], &[1, 2, 3], None, &Bound::slice()).await;
    assert!(matches!(isolated, Err(CheckError::Rejected { .. })));
    assert_eq!(judge.judged(), 2);
}
