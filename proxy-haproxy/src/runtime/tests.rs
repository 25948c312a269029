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
    let outcome = async {
        let cli = connect(&socket, workers, "routing.map").await?;
        replace_map(cli, "routing.map", text).await
    };
    let outcome = outcome.await;
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

/// What a worker does wrong when it is told of single keys.
#[derive(Clone, Copy, Debug, PartialEq)]
enum KeyFault {
    None,
    HoldsAnotherMap,
    Refuses,
    ForgetsWhatItIsTold,
    HangsUpAtAChange,
}

/// Holds one conversation, line by line, until an answer is none.
pub(super) async fn converse(
    listener: UnixListener,
    mut answer: impl FnMut(&[&str]) -> Option<String>,
) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = tokio::io::BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.unwrap() > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["prompt"] => Some(String::new()),
            ["show", "info"] => Some("Name: HAProxy\nPid: 7\n".to_owned()),
            words => answer(words),
        };
        let Some(answer) = answer else {
            return;
        };
        let answer = format!("{answer}\n> ");
        stream.write_all(answer.as_bytes()).await.unwrap();
        line.clear();
    }
}

/// A worker that holds `/a` and `/b`, for one conversation; gives what it was told to change.
fn keyed_worker(listener: UnixListener, fault: KeyFault) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let first = if fault == KeyFault::HoldsAnotherMap {
            "0|z"
        } else {
            "0|a"
        };
        let mut map = std::collections::BTreeMap::from(
            [("/a", first), ("/b", "0|b")].map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        let mut told = Vec::new();
        let answer = |words: &[&str]| match words {
            ["get", "map", "routing.map", key] => Some(match map.get(*key) {
                Some(value) => format!(
                    "type=beg, case=sensitive, found=yes, idx=tree, key=\"{key}\", value=\"{value}\", type=\"str\"\n"
                ),
                None => "type=beg, case=sensitive, found=no\n".to_owned(),
            }),
            [_, "map", ..] if fault == KeyFault::HangsUpAtAChange => None,
            [_, "map", ..] if fault == KeyFault::Refuses => Some("Out of memory.\n".to_owned()),
            [
                verb @ ("add" | "set" | "del"),
                "map",
                "routing.map",
                key,
                value @ ..,
            ] => {
                told.push(format!("{verb} {key}"));
                if fault != KeyFault::ForgetsWhatItIsTold {
                    match value {
                        [value] => map.insert((*key).to_owned(), (*value).to_owned()),
                        _ => map.remove(*key),
                    };
                }
                Some(String::new())
            }
            _ => Some("Unknown command\n".to_owned()),
        };
        converse(listener, answer).await;
        told
    })
}

async fn changed(fault: KeyFault, new: &str) -> (Result<(), RuntimeError>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let worker = keyed_worker(UnixListener::bind(&socket).unwrap(), fault);
    let old = "/a 0|a\n/b 0|b\n";
    let outcome = change_map(&socket, &[7], "routing.map", old, new).await;
    (outcome, worker.await.unwrap())
}

#[tokio::test]
async fn a_few_keys_are_changed_where_they_are() {
    let (outcome, told) = changed(KeyFault::None, "/a 1|x\n/c 0|c\n/c/d 0|c\n").await;
    outcome.unwrap();
    assert_eq!(told, ["add /c/d", "add /c", "set /a", "del /b"]);
}

#[tokio::test]
async fn keys_that_cannot_be_told_one_by_one_are_replaced_all_at_once() {
    // Two that lead elsewhere; a character that the command line would take for its own.
    for new in ["/a 0|b\n/b 0|a\n", "/a 0|a\n/b 0|b\n/c;d 0|a\n"] {
        let (outcome, told) = changed(KeyFault::None, new).await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().starts_with(PREPARING), "{error}");
        assert!(told.is_empty(), "{told:?}");
    }
}

#[tokio::test]
async fn a_change_of_keys_is_looked_up_before_and_afterwards() {
    for (fault, may_be_served) in [
        (KeyFault::HoldsAnotherMap, false),
        (KeyFault::Refuses, true),
        (KeyFault::ForgetsWhatItIsTold, true),
        (KeyFault::HangsUpAtAChange, true),
    ] {
        for new in ["/a 0|new\n/b 0|b\n", "/b 0|b\n"] {
            let (outcome, _) = changed(fault, new).await;
            let error = outcome.unwrap_err();
            assert_eq!(error.may_be_served(), may_be_served, "{fault:?}: {error}");
        }
    }
}
