//! The servers of a service's template: where they are, and the address that each begins with.

use std::net::IpAddr;

use proxy_core::{Host, RawLimits, RawLines};

use crate::{
    address_book::{AddressBook, Resolution},
    line::{Word, words},
    render::backend::init_addr_of,
};

/// Whether every server of some lines is at an address, or at this host.
pub(in crate::render) fn are_at(lines: &RawLines, host: &str) -> bool {
    lines.iter().all(|line| {
        let words = words(line);
        let place = match first(&words).as_str() {
            "server" => words.get(2),
            "server-template" => words.get(3),
            _ => return true,
        };
        let at = place.map(host_of).unwrap_or_default();
        at == host || at.parse::<IpAddr>().is_ok()
    })
}

/// The same lines, where each server that has a name begins with the last address of that very name. One
/// that says itself what it begins with is left as it is; what several servers share is the same for all.
pub(in crate::render) fn begun_apart(lines: &RawLines, addresses: &AddressBook) -> RawLines {
    let text: Vec<String> = lines
        .iter()
        .map(|line| begun(line, addresses).unwrap_or_else(|| line.to_owned()))
        .collect();
    // They were checked before, and no word was put at the beginning of one.
    let limits = RawLimits::new(usize::MAX, usize::MAX);
    RawLines::of_text(&text.join("\n"), limits).unwrap_or_else(|_| lines.clone())
}

fn begun(line: &str, addresses: &AddressBook) -> Option<String> {
    let words = words(line);
    let place = words.get(2).filter(|_| first(&words) == "server")?;
    let says = |option: &str| words.iter().any(|word| word.text() == option);
    let host: Host = host_of(place).parse().ok()?;
    if host.ip().is_some() || says("init-addr") {
        return None;
    }
    let (before, behind) = line.split_at_checked(place.span.end)?;
    let known = match addresses.get(&host) {
        Resolution::Dns { last } => last,
        _ => None,
    };
    let begin = init_addr_of(known);
    Some(format!("{before} init-addr {begin}{behind}"))
}

fn first(words: &[Word]) -> String {
    words.first().map(Word::text).unwrap_or_default()
}

/// The host of a place, without its port.
fn host_of(place: &Word) -> String {
    let place = place.text();
    let at = place.rsplit_once(':').map_or(&*place, |(at, _)| at);
    at.trim_matches(['[', ']']).to_owned()
}
