//! The parameters that are options: what a service and its destinations ask for beside their routes.

use super::{
    destination::DOMAIN_GRAMMAR, rules::ReconfigureRules, templates::templates, upstream::upstream,
    users::users,
};
use crate::{
    domain::DomainPattern,
    field::Fields,
    header::{HeaderLine, HeaderName, HeaderRules, MAX_HEADERS},
    method::{MAX_METHODS, Method, MethodRules},
    mode::Seconds,
    name::ServiceName,
    options::{Authorization, DefaultBackend, DestinationOptions, ServiceOptions},
    raw::{RawConfig, RawError, RawLines},
    redirect::{DomainRedirect, ForwardedProto, HttpsRules, MAX_REDIRECTED_DOMAINS, PlainHttp},
    rewrite::{MAX_REWRITES, PathRewrite, split_unescaped},
    tls::{ClientCertificates, ServiceTls, TlsRules},
    transfer::{BackendTimeouts, Compression, MAX_MEDIA_TYPES},
};

pub(super) const MODE_GRAMMAR: &str = "http-keep-alive, http-server-close or httpclose";
pub(super) const ALGO_GRAMMAR: &str =
    "identity, gzip, deflate or raw-deflate, or several joined by commas";
pub(super) const TYPE_GRAMMAR: &str =
    "at most 50 media types joined by commas, as text/html,text/plain";
pub(super) const REWRITE_GRAMMAR: &str = "search,replace, or at most 50 of them joined by ':': what the regular expression finds first in the path is replaced; \\1 is its first group, '\\,' a comma and '\\:' a colon within the expression";
pub(super) const CODE_GRAMMAR: &str = "301, 302, 303, 307 or 308";
const REDIRECT_GRAMMAR: &str =
    "domains that serviceDomain does not name, beside a serviceDomain without a wildcard";
pub(super) const SECONDS_GRAMMAR: &str = "a whole number of seconds, at least 1";
pub(super) const NAMES_GRAMMAR: &str = "at most 100 names of headers joined by commas";
pub(super) const LINES_GRAMMAR: &str = "at most 100 headers joined by commas, each a name, a space and a value, in printable ASCII; %[...] in a value is looked up by HAProxy, %% is a percent sign";
pub(super) const METHOD_GRAMMAR: &str =
    "at most 40 methods joined by commas, in capitals, as GET,POST";
pub(super) const RAW_GRAMMAR: &str = "lines of HAProxy's language parted by line breaks or \\n, none of which opens a section; at most 500 lines and 16 KiB";
/// Why raw text is refused, in words.
pub(super) const NO_RAW: &str = "raw HAProxy text is switched off here (ALLOW_RAW_CONFIG=false)";

pub(super) fn service_options(
    fields: &mut Fields<'_>,
    rules: &ReconfigureRules,
    service: Option<&ServiceName>,
) -> ServiceOptions {
    let default_backend = match fields.flag("isDefaultBackend") {
        true => DefaultBackend::Yes,
        false => DefaultBackend::No,
    };
    ServiceOptions {
        headers: headers(fields, rules),
        upstream: upstream(fields, rules),
        users: users(fields, &rules.users, service),
        rewrites: one_rewrite(fields).into_iter().collect(),
        forwarded_proto: forwarded_proto(fields),
        connection_mode: fields.optional("connectionMode", MODE_GRAMMAR),
        compression: compression(fields),
        default_backend,
        backend_extra: raw_lines(fields, "backendExtra", rules),
        templates: templates(fields, rules),
        // No parameter: whoever asks is the source.
        source: None,
        overruled: None,
    }
}

pub(super) fn destination_options(
    fields: &mut Fields<'_>,
    index: u16,
    rules: &ReconfigureRules,
    served: &[DomainPattern],
) -> DestinationOptions {
    DestinationOptions {
        methods: methods(fields, index),
        redirects: https(fields, index, rules),
        domain_redirect: domain_redirect(fields, index, served),
        rewrites: rewrites(fields, index),
        timeouts: BackendTimeouts {
            server: seconds(fields, "timeoutServer", index),
            tunnel: seconds(fields, "timeoutTunnel", index),
        },
        tls: tls(fields, index),
        authorization: authorization(fields, index),
        ..DestinationOptions::default()
    }
}

fn forwarded_proto(fields: &mut Fields<'_>) -> ForwardedProto {
    let when_http = fields.given_flag("redirectWhenHttpProto");
    // It redirects what the other redirects, and more.
    match (fields.given_flag("redirectUnlessHttpsProto"), when_http) {
        (Some(true), _) => ForwardedProto::RedirectUnlessHttps,
        (_, Some(true)) => ForwardedProto::RedirectHttp,
        _ => ForwardedProto::Ignored,
    }
}

fn compression(fields: &mut Fields<'_>) -> Compression {
    let mut types = fields.words("compressionType", TYPE_GRAMMAR, str::parse);
    types = fields.at_most("compressionType", MAX_MEDIA_TYPES, TYPE_GRAMMAR, types);
    Compression {
        algos: fields.words("compressionAlgo", ALGO_GRAMMAR, str::parse),
        types,
    }
}

/// `reqPathSearch` with `reqPathReplace`.
fn one_rewrite(fields: &mut Fields<'_>) -> Option<PathRewrite> {
    let (search, replace) = (fields.text("reqPathSearch"), fields.text("reqPathReplace"));
    match (search, replace) {
        (None, None) => None,
        (Some(search), replace) => {
            let parse = |text: &str| PathRewrite::new(text, replace.unwrap_or_default());
            fields.parse("reqPathSearch", search, REWRITE_GRAMMAR, parse)
        }
        (None, Some(_)) => {
            fields.missing("reqPathSearch", "it is missing", REWRITE_GRAMMAR);
            None
        }
    }
}

fn rewrites(fields: &mut Fields<'_>, index: u16) -> Vec<PathRewrite> {
    let name = fields.suffixed("reqPathSearchReplace", index);
    let list = fields.parted(&name, REWRITE_GRAMMAR, pairs, str::parse);
    fields.at_most(&name, MAX_REWRITES, REWRITE_GRAMMAR, list)
}

fn pairs(text: &str) -> Vec<&str> {
    split_unescaped(text, ':')
}

fn https(fields: &mut Fields<'_>, index: u16, rules: &ReconfigureRules) -> HttpsRules {
    let name = |fields: &mut Fields<'_>, of: &str| fields.suffixed(of, index);
    let deny = name(fields, "denyHttp");
    let deny = fields.flag(&deny);
    let only = name(fields, "httpsOnly");
    // Where it is true without a suffix, it is so for all.
    let forced = fields.flag("httpsOnly");
    let only = fields.given_flag(&only).map(|only| only || forced);
    let code = name(fields, "httpsRedirectCode");
    HttpsRules {
        plain_http: match (deny, only) {
            (true, _) => PlainHttp::Denied,
            (false, Some(true)) => PlainHttp::Redirected,
            (false, Some(false)) => PlainHttp::Served,
            (false, None) => rules.plain_http,
        },
        redirect_code: fields.optional(&code, CODE_GRAMMAR).unwrap_or_default(),
    }
}

fn domain_redirect(
    fields: &mut Fields<'_>,
    index: u16,
    served: &[DomainPattern],
) -> Option<DomainRedirect> {
    let name = fields.suffixed("redirectFromDomain", index);
    let from = fields.list(&name, DOMAIN_GRAMMAR, str::parse::<DomainPattern>);
    let from = fields.at_most(&name, MAX_REDIRECTED_DOMAINS, DOMAIN_GRAMMAR, from);
    // What is wrong with the domains themselves is said already.
    if from.is_empty() || fields.has_errors() {
        return None;
    }
    let text = fields.text(&name).unwrap_or_default();
    let parse = |_: &str| DomainRedirect::new(from.clone(), served);
    fields.parse(&name, text, REDIRECT_GRAMMAR, parse)
}

fn seconds(fields: &mut Fields<'_>, name: &str, index: u16) -> Option<Seconds> {
    let name = fields.suffixed(name, index);
    fields.optional(&name, SECONDS_GRAMMAR)
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
