//! The parameters that are options: what a service and its destinations ask for beside their routes.

use super::{rules::ReconfigureRules, upstream::upstream, users::users};
use crate::{
    field::Fields,
    header::{HeaderLine, HeaderName, HeaderRules, MAX_HEADERS},
    method::{MAX_METHODS, Method, MethodRules},
    name::ServiceName,
    options::{Authorization, DestinationOptions, ServiceOptions},
    raw::{RawConfig, RawError, RawLines},
    tls::{ClientCertificates, ServiceTls, TlsRules},
};

const NAMES_GRAMMAR: &str = "at most 100 names of headers joined by commas";
const LINES_GRAMMAR: &str = "at most 100 headers joined by commas, each a name, a space and a value, in printable ASCII; %[...] in a value is looked up by HAProxy, %% is a percent sign";
const METHOD_GRAMMAR: &str = "at most 40 methods joined by commas, in capitals, as GET,POST";
const RAW_GRAMMAR: &str = "lines of HAProxy's language parted by line breaks or \\n, none of which opens a section; at most 500 lines and 16 KiB";
/// Why raw text is refused, in words.
const NO_RAW: &str = "raw HAProxy text is switched off here (ALLOW_RAW_CONFIG=false)";

pub(super) fn service_options(
    fields: &mut Fields<'_>,
    rules: &ReconfigureRules,
    service: Option<&ServiceName>,
) -> ServiceOptions {
    ServiceOptions {
        headers: headers(fields, rules),
        upstream: upstream(fields, rules),
        users: users(fields, &rules.users, service),
        backend_extra: raw_lines(fields, "backendExtra", rules),
        // No parameter: whoever asks is the source.
        source: None,
    }
}

pub(super) fn destination_options(fields: &mut Fields<'_>, index: u16) -> DestinationOptions {
    DestinationOptions {
        methods: methods(fields, index),
        tls: tls(fields, index),
        authorization: authorization(fields, index),
        ..DestinationOptions::default()
    }
}

fn headers(fields: &mut Fields<'_>, rules: &ReconfigureRules) -> HeaderRules {
    let mut lines = |names: &[&str]| -> Vec<HeaderLine> {
        let mut all = Vec::new();
        for name in names {
            let list = fields.list_of(name, LINES_GRAMMAR, format_items, |item| {
                header_line(item, rules)
            });
            all.extend(fields.at_most(name, MAX_HEADERS, LINES_GRAMMAR, list));
        }
        all
    };
    let add_request = lines(&["addReqHeader", "addHeader"]);
    let set_request = lines(&["setReqHeader", "setHeader"]);
    let add_response = lines(&["addResHeader"]);
    let set_response = lines(&["setResHeader"]);
    let mut names = |name: &str| -> Vec<HeaderName> {
        let list = fields.list(name, NAMES_GRAMMAR, str::parse);
        fields.at_most(name, MAX_HEADERS, NAMES_GRAMMAR, list)
    };
    HeaderRules {
        add_request,
        set_request,
        delete_request: names("delReqHeader"),
        add_response,
        set_response,
        delete_response: names("delResHeader"),
    }
}

/// Raw text, where it is allowed.
fn raw_lines(fields: &mut Fields<'_>, name: &str, rules: &ReconfigureRules) -> RawLines {
    let Some(text) = fields.text(name) else {
        return RawLines::default();
    };
    let parse = |text: &str| match rules.raw {
        RawConfig::Refused => Err(NO_RAW.to_owned()),
        RawConfig::Allowed => text
            .parse()
            .map_err(|problem: RawError| problem.to_string()),
    };
    fields
        .parse(name, text, RAW_GRAMMAR, parse)
        .unwrap_or_default()
}

fn header_line(item: &str, rules: &ReconfigureRules) -> Result<HeaderLine, String> {
    let line: HeaderLine = item.parse().map_err(|problem| format!("{problem}"))?;
    match rules.raw {
        RawConfig::Refused if line.is_format() => {
            Err(format!("a format (%) is raw text, and {NO_RAW}"))
        }
        _ => Ok(line),
    }
}

fn authorization(fields: &mut Fields<'_>, index: u16) -> Authorization {
    let name = fields.suffixed("ignoreAuthorization", index);
    match fields.flag(&name) {
        true => Authorization::Ignored,
        false => Authorization::Asked,
    }
}

fn methods(fields: &mut Fields<'_>, index: u16) -> MethodRules {
    let mut list = |name: &str| -> Vec<Method> {
        let name = fields.suffixed(name, index);
        let list = fields.list(&name, METHOD_GRAMMAR, str::parse);
        fields.at_most(&name, MAX_METHODS, METHOD_GRAMMAR, list)
    };
    MethodRules {
        allowed: list("allowedMethods"),
        denied: list("deniedMethods"),
    }
}

fn tls(fields: &mut Fields<'_>, index: u16) -> TlsRules {
    let mut flag = |name: &str| {
        let name = fields.suffixed(name, index);
        fields.flag(&name)
    };
    TlsRules {
        to_service: match flag("sslVerifyNone") {
            true => ServiceTls::Unverified,
            false => ServiceTls::Plain,
        },
        clients: match flag("verifyClientSsl") {
            true => ClientCertificates::Required,
            false => ClientCertificates::Any,
        },
    }
}

/// The items of a list of formats: a comma within `%[...]` belongs to the expression.
fn format_items(text: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '[' if depth > 0 || before == '%' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    items.push(text.get(start..).unwrap_or_default());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_within_an_expression_parts_nothing() {
        assert_eq!(
            format_items("X-A %[src,ipmask(24)],X-B b,X-C %[req.hdr(x),regsub([a,b],,g)]c"),
            [
                "X-A %[src,ipmask(24)]",
                "X-B b",
                "X-C %[req.hdr(x),regsub([a,b],,g)]c"
            ]
        );
        assert_eq!(format_items("a[1,2]"), ["a[1", "2]"]);
        assert_eq!(format_items("X %[a,b"), ["X %[a,b"]);
    }
}
