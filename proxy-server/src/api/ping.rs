//! `ping` and the test routes: the process answers. They look at nothing else.

use super::answer::Answered;

pub(super) async fn ping() -> Answered {
    Answered::ok("the proxy answers")
}

pub(super) async fn test() -> Answered {
    Answered::ok("the proxy answers")
}
