//! Reading files whose folder may hang (NFS): those that a call names, and those that are looked at again and again.
//! Nobody may wait for that, nor everything else for threads that do.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

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

/// Something that is read again and again, by one thread at a time. What did not answer in time is waited for again the
/// next time, so that a slow disk is read in the end, and one that hangs keeps one thread.
#[derive(Debug)]
pub(crate) struct RepeatedRead<T> {
    under_way: Option<JoinHandle<T>>,
    deadline: Duration,
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
    /// Does what reads files where it blocks nobody. What is still under way since an earlier time is what is given,
    /// and this is not begun.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub(crate) async fn read(
        &mut self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let begin = || tokio::task::spawn_blocking(read);
        let reading = self.under_way.get_or_insert_with(begin);
        match timeout(self.deadline, reading).await {
            Ok(done) => {
                self.under_way = None;
                done.map_err(|error| error.to_string())
            }
            Err(_) => Err(late(self.deadline)),
        }
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
        let under_way = tokio::task::spawn_blocking(move || hangs.recv().unwrap());
        let under_way = Some(under_way);
        let reading = Self {
            under_way,
            deadline,
        };
        (reading, answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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

    #[tokio::test]
    async fn what_is_late_is_given_the_next_time_and_begun_once() {
        let (mut reading, answer) = RepeatedRead::hangs(Duration::from_millis(50));
        for _ in 0..2 {
            let hung = reading.read(|| 2).await.unwrap_err();
            assert!(hung.contains("did not answer in time"), "{hung}");
        }
        answer.send(1).unwrap();
        reading.deadline = Duration::from_secs(10);
        assert_eq!(reading.read(|| 2).await, Ok(1));
        assert_eq!(reading.read(|| 2).await, Ok(2));
    }
}
