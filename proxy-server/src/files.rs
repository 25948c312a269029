//! Reading files whose folder may hang (NFS): those that a call names, and those that are looked at again and again.
//! Nobody may wait for that, nor everything else for threads that do.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

/// How long a file may take: a few KiB are read at once, or hang.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// How many files are read at once. Those that hang keep their thread, of which there are some hundreds.
const MOST_READS: usize = 16;

/// How long what is looked at again and again may take. What takes longer goes on beside.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// Bounds what is read at once.
#[derive(Clone, Debug)]
pub(crate) struct FileReads {
    slots: Arc<Semaphore>,
    deadline: Duration,
}

/// Something that is read again and again, by one thread at a time. What did not answer in time is asked for again the
/// next time, so that a slow disk is read in the end, and one that hangs keeps one thread and nobody waiting twice.
#[derive(Debug)]
pub(crate) struct RepeatedRead<T> {
    under_way: Option<UnderWay<T>>,
    deadline: Duration,
}

/// A read that was begun.
#[derive(Debug)]
struct UnderWay<T> {
    reading: JoinHandle<T>,
    since: Instant,
}

// === impl FileReads ===

impl FileReads {
    /// Does what reads a file where it blocks nobody.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let reading = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let read = move || {
                let read = read();
                drop(slot);
                read
            };
            tokio::task::spawn_blocking(read).await
        };
        match timeout(self.deadline, reading).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err(late(self.deadline)),
        }
    }
}

impl Default for FileReads {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MOST_READS)),
            deadline: READ_DEADLINE,
        }
    }
}

// === impl RepeatedRead ===

impl<T: Send + 'static> RepeatedRead<T> {
    /// Does what reads files where it blocks nobody. It begins after what is still under way since an earlier time, and
    /// what that gives counts only where this is late: the files may have changed since.
    ///
    /// # Errors
    /// When neither answers in time. What is late since an earlier time is not waited for.
    pub(crate) async fn read(
        &mut self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let until = Instant::now() + self.deadline;
        let earlier = match self.under_way.is_some() {
            true => Some(self.ended(until).await?),
            false => None,
        };
        self.under_way = Some(UnderWay {
            reading: tokio::task::spawn_blocking(read),
            since: Instant::now(),
        });
        match (self.ended(until).await, earlier) {
            (Ok(read), _) => read,
            (Err(_), Some(Ok(earlier))) => Ok(earlier),
            (Err(late), _) => Err(late),
        }
    }

    /// What is under way, once it is done.
    async fn ended(&mut self, until: Instant) -> Result<Result<T, String>, String> {
        let late = late(self.deadline);
        let Some(UnderWay { reading, since }) = &mut self.under_way else {
            return Err(late);
        };
        let until = until.min(*since + self.deadline);
        let ended = timeout_at(until, reading).await.map_err(|_| late)?;
        self.under_way = None;
        Ok(ended.map_err(|error| error.to_string()))
    }
}

impl<T> Default for RepeatedRead<T> {
    fn default() -> Self {
        Self {
            under_way: None,
            deadline: LOOK_DEADLINE,
        }
    }
}

fn late(deadline: Duration) -> String {
    format!("it did not answer in time ({deadline:?}): the disk may hang")
}

#[cfg(test)]
impl<T: Send + 'static> RepeatedRead<T> {
    /// One that hangs until it is told what was read.
    pub(crate) fn hangs(deadline: Duration) -> (Self, std::sync::mpsc::Sender<T>) {
        let (answer, hangs) = std::sync::mpsc::channel();
        let reading = tokio::task::spawn_blocking(move || hangs.recv().unwrap());
        let since = Instant::now();
        let reading = Self {
            under_way: Some(UnderWay { reading, since }),
            deadline,
        };
        (reading, answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_file_that_hangs_keeps_nobody_waiting_and_few_threads() {
        let reads = FileReads {
            slots: Arc::new(Semaphore::new(1)),
            deadline: Duration::from_millis(50),
        };
        let (answer, hangs) = mpsc::channel::<()>();
        let hung = reads.read(move || hangs.recv().is_ok()).await.unwrap_err();
        assert!(hung.contains("did not answer in time"), "{hung}");
        // It still has the only slot.
        assert!(reads.read(|| 1).await.is_err());
        drop(answer);
        let slot = reads.slots.acquire();
        drop(
            tokio::time::timeout(Duration::from_secs(10), slot)
                .await
                .unwrap(),
        );
        let patient = FileReads {
            deadline: Duration::from_secs(10),
            ..reads
        };
        assert_eq!(patient.read(|| 1).await, Ok(1));
    }

    const LATE: &str = "did not answer in time";

    #[tokio::test]
    async fn what_is_late_is_not_what_the_next_look_is_about() {
        let (mut reading, answer) = RepeatedRead::hangs(Duration::from_millis(50));
        let hung = reading.read(|| 2).await.unwrap_err();
        assert!(hung.contains(LATE), "{hung}");
        answer.send(1).unwrap();
        reading.deadline = Duration::from_secs(10);
        assert_eq!(reading.read(|| 2).await, Ok(2));
        assert_eq!(reading.read(|| 3).await, Ok(3));
    }

    #[tokio::test]
    async fn of_a_disk_that_is_always_late_what_was_read_counts() {
        let deadline = Duration::from_millis(50);
        let (mut reading, mut answer) = RepeatedRead::hangs(deadline);
        assert!(reading.read(|| 9).await.unwrap_err().contains(LATE));
        for number in 0..3 {
            answer.send(number).unwrap();
            let under_way = reading.under_way.as_ref().unwrap();
            let done = async {
                while !under_way.reading.is_finished() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(10), done).await.unwrap();
            let (next, hangs) = mpsc::channel();
            let read = reading.read(move || hangs.recv().unwrap()).await;
            assert_eq!(read, Ok(number), "it is no failure");
            answer = next;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_to_hang_is_not_waited_for_again() {
        let (mut reading, _answer) = RepeatedRead::hangs(LOOK_DEADLINE);
        let mut first = Box::pin(reading.read(|| 2));
        assert!(poll!(&mut first).is_pending());
        // It does not move by itself while a thread reads.
        tokio::time::advance(LOOK_DEADLINE).await;
        assert!(first.await.unwrap_err().contains(LATE));
        for _ in 0..2 {
            let next = poll!(Box::pin(reading.read(|| 2)));
            let std::task::Poll::Ready(Err(why)) = next else {
                panic!("{next:?}");
            };
            assert!(why.contains(LATE), "{why}");
        }
    }
}
