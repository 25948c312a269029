use tokio::{io::AsyncBufReadExt as _, net::UnixListener, task::JoinHandle};

use super::*;

#[test]
fn chunks_hold_every_line_and_stay_small() {
    let text: String = (0..2000).map(|n| format!("*||/p{n} 0|b{n}\n")).collect();
    let chunks = chunks(&text);
    assert_eq!(chunks.concat(), text);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk.len() <= MAX_CHUNK_BYTES + 1)
    );
    assert!(chunks.len() < 10);
}

#[test]
fn numbers_are_found_behind_their_words() {
    assert_eq!(field("Nbproc: 1\nPid: 13060\n", "Pid: "), Some(13060));
    assert_eq!(field("curr_ver=2 next_ver=3", "curr_ver="), Some(2));
    assert_eq!(field("curr_ver=", "curr_ver="), None);
}

/// What a worker does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    HangsUp,
    LosesTheLastEntry,
    AddsOne,
    RefusesThePayload,
    StaysAtTheOldVersion,
    DiesAtTheCommit,
}

/// A worker with the process number 7 whose next version is 3, for one conversation.
fn worker(listener: UnixListener, fault: Fault) -> JoinHandle<io::Result<()>> {
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        if fault == Fault::HangsUp {
            return Ok(());
        }
        let mut stream = tokio::io::BufReader::new(stream);
        let mut entries: Vec<String> = Vec::new();
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let answer = match line.split(' ').next().unwrap_or_default().trim() {
                "prompt" => String::new(),
                "prepare" => "New version created: 3\n".to_owned(),
                "add" => {
                    loop {
                        let mut entry = String::new();
                        stream.read_line(&mut entry).await?;
                        if entry == "\n" {
                            break;
                        }
                        entries.push(entry);
                    }
                    match fault {
                        Fault::RefusesThePayload => "+ + Out of memory.\n".to_owned(),
                        _ => "+ + ".to_owned(),
                    }
                }
                "commit" if fault == Fault::DiesAtTheCommit => return Ok(()),
                "commit" => "\n".to_owned(),
                _ if line == "show info\n" => "Name: HAProxy\nPid: 7\n".to_owned(),
                _ if line == "show map\n" => {
                    let current = if fault == Fault::StaysAtTheOldVersion {
                        2
                    } else {
                        3
                    };
                    format!(
                        "# id (file) description\n1 (routing.map) pattern. curr_ver={current} next_ver=3\n"
                    )
                }
                _ => {
                    match fault {
                        Fault::LosesTheLastEntry => drop(entries.pop()),
                        Fault::AddsOne => entries.push("*||/evil 0|x\n".to_owned()),
                        _ => {}
                    }
                    entries
                        .iter()
                        .map(|entry| format!("0x55 {entry}"))
                        .collect()
                }
            };
            stream.write_all(format!("{answer}\n> ").as_bytes()).await?;
            line.clear();
        }
        Ok(())
    })
}

async fn replaced(fault: Fault, workers: &[u32]) -> Result<(), RuntimeError> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let worker = worker(UnixListener::bind(&socket).unwrap(), fault);
    let text = "*||/a 0|a-be1\n*||/b 0|b-be1\n";
    let outcome = replace_map(&socket, workers, "routing.map", text).await;
    worker.await.unwrap().unwrap();
    outcome
}

#[tokio::test]
async fn a_map_is_replaced_only_where_all_of_it_arrived() {
    replaced(Fault::None, &[6, 7]).await.unwrap();
    for fault in [Fault::LosesTheLastEntry, Fault::AddsOne] {
        let error = replaced(fault, &[7]).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Incomplete { .. }), "{error}");
        assert!(!error.may_be_served());
    }
    let refused = replaced(Fault::RefusesThePayload, &[7]).await.unwrap_err();
    assert!(refused.to_string().contains("Out of memory"), "{refused}");
    assert!(!refused.may_be_served());
}

#[tokio::test]
async fn only_the_worker_that_serves_is_told() {
    let error = replaced(Fault::None, &[6]).await.unwrap_err();
    assert!(matches!(error, RuntimeError::OtherWorker { pid: 7 }));
}

#[tokio::test]
async fn what_goes_wrong_at_the_end_may_be_served() {
    for fault in [Fault::StaysAtTheOldVersion, Fault::DiesAtTheCommit] {
        let error = replaced(fault, &[7]).await.unwrap_err();
        assert!(error.may_be_served(), "{error}");
    }
}

#[tokio::test]
async fn an_error_names_the_map() {
    let error = replaced(Fault::HangsUp, &[7]).await.unwrap_err();
    assert!(!error.may_be_served());
    assert!(error.to_string().contains("routing.map"), "{error}");
}
