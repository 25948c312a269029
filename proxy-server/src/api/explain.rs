//! `explain`: where a request goes, what else claimed it, and why each lost.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use proxy_core::{Params, Port, RequestHead, Route};
use serde_json::{Value, json};

use super::{Api, answer::Answered};

/// A message names so many services; `AskedBefore` names them all.
const SHOWN_NAMES: usize = 5;

pub(super) async fn explain(State(api): State<Api>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    match Asked::read(query) {
        Ok(_) if !api.engine.snapshot().is_loaded() => {
            Answered::not_loaded(&api.engine.snapshot()).into_response()
        }
        Ok(asked) => asked.answer(&api).await,
        Err(message) => Answered::refused(StatusCode::BAD_REQUEST, message).into_response(),
    }
}

/// A request that somebody wants explained.
struct Asked {
    head: RequestHead,
    as_text: bool,
}

// === impl Asked ===

impl Asked {
    fn read(query: &str) -> Result<Self, String> {
        // `header` may be given several times, so it is taken out before the rest is read.
        let (headers, rest): (Vec<_>, Vec<_>) = query
            .split('&')
            .partition(|pair| pair.starts_with("header="));
        let params = Params::from_query(rest.join("&")).map_err(|error| error.to_string())?;
        let url = params.get("url").ok_or(
            "url: it is missing; allowed: http://example.com/path, or a path with the parameter host",
        )?;
        let url: Uri = url
            .parse()
            .map_err(|problem| format!("url: {url:?} is no URL: {problem}"))?;
        let host = url.host().or(params.get("host"));
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let mut head = RequestHead::new(host.map(str::as_bytes), target.as_bytes());
        let scheme = match url.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        if let Some(port) = Port::new(url.port_u16().unwrap_or(scheme)) {
            head = head.on_port(port);
        }
        for header in headers {
            let text = header.trim_start_matches("header=").replace('+', " ");
            let text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
            // As everywhere, an empty value is none.
            if text.is_empty() {
                continue;
            }
            let (name, value) = text
                .split_once(':')
                .ok_or_else(|| format!("header: {text:?} is not written Name:value"))?;
            head = head.with_header(name.trim(), value.as_bytes());
        }
        let as_text = match params.get("type") {
            None | Some("json") => false,
            Some("text") => true,
            Some(other) => {
                return Err(format!("type: {other:?} is not known; allowed: json, text"));
            }
        };
        Ok(Self { head, as_text })
    }

    async fn answer(&self, api: &Api) -> Response {
        let snapshot = api.engine.snapshot();
        let told = snapshot.served.explain(&self.head);
        let runners_up = told
            .runners_up
            .iter()
            .map(|(route, why)| describe(route, Some(why.to_string())));
        let misses = told
            .misses
            .iter()
            .map(|(route, why)| describe(route, Some(why.to_string())));
        let (runners_up, misses): (Vec<_>, Vec<_>) = (runners_up.collect(), misses.collect());
        let winner = told.winner.as_ref();
        let asked_before: Vec<&str> = told.asked_before.iter().map(|name| name.as_str()).collect();
        let mut message = match winner {
            Some(route) => format!(
                "the request goes to the service {}, by {}",
                route.service.name(),
                rule(route)
            ),
            None => "no route takes the request: 404".to_owned(),
        };
        if !asked_before.is_empty() {
            message.push_str("; but templates are asked before all routes, and are not read here: templateFePath of ");
            message.push_str(&some_of(&asked_before));
        }
        if let Some(route) = winner {
            let backend = route.service.backend_name(route.destination);
            if let Some(why) = api.statistics.why_none_is_up(&backend).await {
                message.push_str("; no server of it is up: ");
                message.push_str(why);
            }
        }
        if self.as_text {
            let mut text = message;
            for row in runners_up.iter().chain(&misses) {
                let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                text.push_str(&format!(
                    "\n  not {} ({}): {}",
                    word("ServiceName"),
                    word("Rule"),
                    word("Why")
                ));
            }
            text.push('\n');
            return text.into_response();
        }
        Answered::ok(message)
            .with(
                "Winner",
                winner.map_or(Value::Null, |route| describe(route, None)),
            )
            .with("RunnersUp", runners_up)
            .with("Misses", misses)
            .with("AskedBefore", asked_before)
            .with("LeftOut", told.left_out)
            .into_response()
    }
}

/// The first few names, and how many more there are.
fn some_of(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN_NAMES).copied().collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn describe(route: &Route<'_>, why: Option<String>) -> Value {
    json!({
        "ServiceName": route.service.name().as_str(),
        "Index": route.destination.index(),
        "Backend": route.service.backend_name(route.destination),
        "Rule": rule(route),
        "Why": why,
    })
}

fn rule(route: &Route<'_>) -> String {
    let mut rule = proxy_core::Claim::of(route).to_string();
    if route.is_default() {
        return rule;
    }
    for header in route.destination.headers() {
        rule.push_str(&format!(", header {header}"));
    }
    for agent in route.destination.user_agents() {
        rule.push_str(&format!(", user agent {agent}"));
    }
    rule
}
