//! Reading the files that a call names. Their folder may hang (NFS), and no caller may wait for that, nor
//! everything else for threads that do.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

/// How long a file may take: a few KiB are read at once, or hang.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// How many files are read at once. Those that hang keep their thread, of which there are some hundreds.
const MOST_READS: usize = 16;

/// Bounds what is read at once.
#[derive(Clone, Debug)]
pub(super) struct FileReads {
    slots: Arc<Semaphore>,
    deadline: Duration,
}

// === impl FileReads ===

impl FileReads {
    /// Does what reads a file where it blocks nobody.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub(super) async fn read<T: Send + 'static>(
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
        match tokio::time::timeout(self.deadline, reading).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "it did not answer in time ({:?}): the disk may hang",
                self.deadline
            )),
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
}
