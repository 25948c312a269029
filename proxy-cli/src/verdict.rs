//! What an answer means: the exit code, and who is to blame.

use std::process::ExitCode;

use reqwest::StatusCode;
use serde_json::Value;

use crate::client::{NoReply, Reply};

/// How a command ended, by the exit codes that `--help` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Refused,
    Usage,
    NotReached,
    NotEverywhere,
    Unknown,
    Drifted,
}

/// Whether a question would change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Change,
    /// A health check, which is only good or bad.
    Probe,
}

impl Verdict {
    /// Of an answer. A 502 or 504 that no proxy wrote comes from something between.
    pub(crate) fn of_reply(reply: &Reply, answer: Option<&Value>, intent: Intent) -> Self {
        let nok = answer
            .and_then(|answer| answer.get("Status"))
            .is_some_and(|status| status == "NOK");
        let stored = answer
            .and_then(|answer| answer.get("Stored"))
            .is_some_and(|stored| stored == &Value::Bool(true));
        let drift = answer.and_then(|answer| answer.get("Drift")) == Some(&Value::Bool(true));
        match reply.status {
            status if status.is_success() && !nok && drift => Self::Drifted,
            status if status.is_success() && !nok => Self::Done,
            _ if stored => Self::NotEverywhere,
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => match intent {
                Intent::Probe => Self::Refused,
                Intent::Read => Self::NotReached,
                Intent::Change => Self::Unknown,
            },
            _ => Self::Refused,
        }
    }

    /// Of an answer that did not come.
    pub(crate) fn of_silence(error: &NoReply, intent: Intent) -> Self {
        match intent {
            Intent::Probe => Self::Refused,
            Intent::Change if error.may_be_heard() => Self::Unknown,
            _ => Self::NotReached,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NotReached => 3,
            Self::NotEverywhere => 4,
            Self::Unknown => 5,
            Self::Drifted => 6,
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict.code())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn verdict(status: u16, answer: Option<Value>, intent: Intent) -> Verdict {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            body: String::new(),
        };
        Verdict::of_reply(&reply, answer.as_ref(), intent)
    }

    #[test]
    fn each_answer_has_its_verdict() {
        use Intent::{Change, Probe, Read};
        let ok = || Some(json!({"Status": "OK"}));
        let nok = || Some(json!({"Status": "NOK"}));
        let stored = || Some(json!({"Status": "NOK", "Stored": true}));
        for (status, answer, intent, expected) in [
            (200, ok(), Change, Verdict::Done),
            (200, None, Read, Verdict::Done),
            (200, nok(), Change, Verdict::Refused),
            (200, Some(json!({"Drift": true})), Read, Verdict::Drifted),
            (200, Some(json!({"Drift": false})), Read, Verdict::Done),
            (302, None, Read, Verdict::Refused),
            (400, nok(), Change, Verdict::Refused),
            (409, nok(), Change, Verdict::Refused),
            (500, None, Change, Verdict::Refused),
            (503, nok(), Change, Verdict::Refused),
            (502, stored(), Change, Verdict::NotEverywhere),
            (503, stored(), Change, Verdict::NotEverywhere),
            (502, None, Read, Verdict::NotReached),
            (502, None, Change, Verdict::Unknown),
            (504, nok(), Change, Verdict::Unknown),
            (504, None, Read, Verdict::NotReached),
            (503, nok(), Probe, Verdict::Refused),
            (504, None, Probe, Verdict::Refused),
        ] {
            assert_eq!(
                verdict(status, answer.clone(), intent),
                expected,
                "{status} {answer:?}"
            );
        }
    }

    #[test]
    fn a_change_that_may_have_been_heard_is_unknown() {
        let late = NoReply::Late {
            address: "p".to_owned(),
            deadline: Duration::from_secs(1),
        };
        let refused = NoReply::NotReached {
            address: "p".to_owned(),
            why: "refused".to_owned(),
        };
        assert_eq!(Verdict::of_silence(&late, Intent::Change), Verdict::Unknown);
        assert_eq!(
            Verdict::of_silence(&late, Intent::Read),
            Verdict::NotReached
        );
        assert_eq!(
            Verdict::of_silence(&refused, Intent::Change),
            Verdict::NotReached
        );
    }
}
