//! The query of a call, as anybody on the network may send it.

use std::sync::Arc;

use proxy_core::{Document, Params, RouteTable, Service, parse_reconfigure, parse_remove};
use proxy_haproxy::{AddressBook, RenderError, RenderSettings, Routing, RunPath, render};

/// Reads bytes as the query of a `reconfigure` and of a `remove`.
///
/// # Panics
/// When an accepted service is another after it was written as a document and read, or cannot be
/// rendered, or makes a line that no HAProxy section could hold.
pub fn parameters(data: &[u8]) {
    let Ok(params) = Params::from_query(data) else {
        return;
    };
    let _ = parse_remove(&params);
    if let Ok(asked) = parse_reconfigure(&params) {
        check(&asked.value.service);
    }
}

#[expect(clippy::expect_used, reason = "a panic is what a finding is")]
pub(crate) fn check(service: &Arc<Service>) {
    let document = Document::from_service(Arc::clone(service)).expect("it was accepted");
    let again = Document::parse(document.raw().as_bytes()).expect("what was written is read");
    let read = again.service().expect("what was written is understood");
    assert_eq!(read, service, "a document changes a service");

    let table: RouteTable = [Arc::clone(service)].into_iter().collect();
    for routing in [Routing::Acl, Routing::Map] {
        let text = rendered(&table, routing);
        for line in text.lines() {
            let indented = line.starts_with("    ");
            let begins = line.split(' ').next().unwrap_or_default();
            let section = [
                "global",
                "defaults",
                "resolvers",
                "frontend",
                "backend",
                "listen",
                "userlist",
            ];
            assert!(
                indented || line.is_empty() || section.contains(&begins),
                "a line that nobody wrote: {line:?} in\n{text}"
            );
        }
    }
}

#[expect(clippy::expect_used, reason = "a panic is what a finding is")]
pub(crate) fn rendered(table: &RouteTable, routing: Routing) -> String {
    try_rendered(table, routing).expect("what was accepted is rendered")
}

#[expect(clippy::expect_used, reason = "a panic is what a finding is")]
pub(crate) fn try_rendered(table: &RouteTable, routing: Routing) -> Result<String, RenderError> {
    let run = RunPath::new("/run/p").expect("a short path");
    let settings = RenderSettings::new(run)
        .with_binds(vec!["80".parse().map(any).expect("a port")])
        .with_routing(routing);
    let config = render(table, &settings, &AddressBook::new())?;
    Ok(config.main_text().to_owned())
}

fn any(port: proxy_core::Port) -> proxy_haproxy::Bind {
    proxy_haproxy::Bind::plain(proxy_haproxy::BindAddress::Any, port)
}
