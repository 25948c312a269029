//! A value in each of the parameters that take text: it is one word of the configuration, or refused.

use proxy_core::{Params, RouteTable, parse_reconfigure};
use proxy_haproxy::Routing;

use crate::parameters::{check, rendered};

/// The parameters that take text, with what a `reconfigure` needs beside each.
const TEXTS: [(&str, &str); 8] = [
    ("serviceName", ""),
    ("aclName", ""),
    ("servicePath", ""),
    ("serviceDomain", ""),
    ("servicePathExclude", ""),
    ("outboundHostname", ""),
    ("userAgent", ""),
    ("serviceHeader", "X-A:"),
];

/// Puts a text into each parameter that takes one, the way a call would.
///
/// # Panics
/// As [`parameters`](crate::parameters()), or when a text alters how many lines there are beyond what
/// its parts account for.
pub fn values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for (name, before) in TEXTS {
        let mut params = Params::default();
        let mut all = true;
        for (known, value) in [("serviceName", "s"), ("servicePath", "/p"), ("port", "80")] {
            if known != name {
                all &= params.insert(known.to_owned(), value.to_owned()).is_ok();
            }
        }
        all &= params
            .insert(name.to_owned(), format!("{before}{text}"))
            .is_ok();
        let Ok(asked) = parse_reconfigure(&params) else {
            continue;
        };
        if all {
            check(&asked.value.service);
            quoted(&asked.value.service);
        }
    }
}

/// Every quote of the configuration is closed on its line, as HAProxy reads quotes.
fn quoted(service: &std::sync::Arc<proxy_core::Service>) {
    let table: RouteTable = [std::sync::Arc::clone(service)].into_iter().collect();
    let text = rendered(&table, Routing::Acl);
    for line in text.lines() {
        let (mut strong, mut weak, mut escaped) = (false, false, false);
        for character in line.chars() {
            match character {
                _ if escaped => escaped = false,
                '\'' if !weak => strong = !strong,
                '"' if !strong => weak = !weak,
                '\\' if !strong => escaped = true,
                '#' => assert!(strong || weak, "a comment that nobody wrote: {line:?}"),
                _ => {}
            }
        }
        assert!(!strong && !weak && !escaped, "an open quote: {line:?}");
    }
}
