use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};

use super::*;

const OLD: u32 = 10;
const NEW: u32 = 11;

/// Two workers on one socket: connections stay with the one that took them.
#[derive(Debug)]
struct Workers {
    serving: AtomicU32,
    old_is_stopping: AtomicBool,
    /// How often the old one said of itself that it takes connections, after it was replaced.
    old_asked: AtomicU32,
}

impl Workers {
    async fn serve(self: Arc<Self>, listener: UnixListener) {
        let mut conversations = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let pid = self.serving.load(SeqCst);
            conversations.spawn(Arc::clone(&self).answer(stream, pid));
        }
    }

    async fn answer(self: Arc<Self>, stream: UnixStream, pid: u32) {
        let (read, mut write) = stream.into_split();
        let mut questions = BufReader::new(read).lines();
        while let Ok(Some(question)) = questions.next_line().await {
            let is_old = pid != self.serving.load(SeqCst);
            let stopping = is_old && self.old_is_stopping.load(SeqCst);
            let answer = match question.as_str() {
                "prompt" => "\n> ".to_owned(),
                _ => format!(
                    "Name: HAProxy\nPid: {pid}\nStopping: {}\n\n> ",
                    u32::from(stopping)
                ),
            };
            self.old_asked
                .fetch_add(u32::from(is_old && !stopping), SeqCst);
            if write.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn it_is_done_when_the_new_one_serves_and_the_old_one_stops() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let workers = Arc::new(Workers {
        serving: OLD.into(),
        old_is_stopping: false.into(),
        old_asked: 0.into(),
    });
    let serving = tokio::spawn(Arc::clone(&workers).serve(listener));
    let handover = Handover::begin(&socket).await;
    let known = BTreeSet::from([OLD]);
    let done = handover.done(&known);
    tokio::pin!(done);
    let asked = async {
        while workers.old_asked.load(SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };

    workers.serving.store(NEW, SeqCst);
    // The new one serves; the old one is asked, says that it goes on, and is asked again.
    tokio::select! {
        pid = &mut done => panic!("{pid} serves, and so does the old one"),
        asked = timeout(Duration::from_secs(20), asked) => asked.unwrap(),
    }
    workers.old_is_stopping.store(true, SeqCst);
    assert_eq!(timeout(Duration::from_secs(20), done).await.unwrap(), NEW);
    serving.abort();
}
