//! Every call there is.

use utoipa::openapi::{
    HttpMethod::{self, Delete, Get, Post, Put},
    Required,
    schema::Type,
};

use super::{
    BASE, DOCUMENT_PATH,
    endpoint::{ANY, Endpoint, Form},
    parameters::{
        distribute, flag, form, form_of_reconfigure, manner, name, needed, number, of_reconfigure,
        optional, repeated, revision,
    },
    shape::{of, reference, text},
};
use crate::{
    api::{
        history::{MOST, MOST_FULL},
        metrics::{CSV, OPEN_METRICS},
    },
    settings::GetWrites,
};

/// What a change may be answered with, beside the refusals of every call.
const CHANGED: [u16; 9] = [200, 202, 400, 403, 409, 500, 502, 503, 504];
const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn endpoints(get_writes: GetWrites) -> Vec<Endpoint> {
    let also_get = |best: HttpMethod| match get_writes {
        GetWrites::Allowed => vec![best, Post, Get],
        GetWrites::Refused => vec![best, Post],
    };
    let mut endpoints = vec![
        reconfigure(&also_get(Put)),
        remove(&also_get(Delete)),
        reload(&also_get(Put)),
        certificate(),
    ];
    endpoints.extend(of_tables());
    endpoints.extend(questions());
    endpoints.extend(of_history());
    endpoints.extend(probes());
    endpoints
}

fn reconfigure(methods: &[HttpMethod]) -> Endpoint {
    Endpoint::below(
        "reconfigure",
        "Makes a service what the parameters say.",
        methods,
    )
    .takes(of_reconfigure())
    .takes(manner())
    .body(FORM, form_of_reconfigure(), Required::False, &[Put, Post])
    .refuses(&[415])
    .changes("Reconfigured")
    .means(
        504,
        "It may or may not be stored; `status?id=` tells once a store answers. Without an `Id` the service is stored, and a crash of the machine may undo its certificate: give that again with PUT cert.",
    )
}

fn remove(methods: &[HttpMethod]) -> Endpoint {
    let about = "Removes a service; one that is not there is gone already.";
    let acl_name = "Docker Flow Proxy's name for it; the name of the service is enough.";
    Endpoint::below("remove", about, methods)
        .takes([
            needed("serviceName", "The service.", name()),
            optional("aclName", acl_name, name()),
        ])
        .takes(manner())
        .changes("Removed")
}

fn reload(methods: &[HttpMethod]) -> Endpoint {
    let listeners = "Asks the listeners for their services instead.";
    let recreate = "Reads the store whole, renders everything and writes it anew, whatever stands in the files.";
    Endpoint::below(
        "reload",
        "Has HAProxy load the configuration again.",
        methods,
    )
    .takes([
        optional("fromListener", listeners, flag()),
        optional("recreate", recreate, flag()),
    ])
    .takes(manner())
    .changes("Change")
}

fn certificate() -> Endpoint {
    let about = "Gives a certificate with its chain and its key, as PEM of whatever media type, or takes it away.";
    let certificate = "What it is called: letters, digits, '.', '_' and '-'.";
    Endpoint::below("cert", about, &[Put, Delete])
        .takes([needed("certName", certificate, of(Type::String).into())])
        .takes(manner())
        .body("text/plain", text(), Required::True, &[Put])
        .changes("CertificateKept")
        .means(504, "It is done here, and a crash of the machine may undo it; the same call again makes sure.")
        .refuses(&[404])
}

/// Calls about the whole table.
fn of_tables() -> [Endpoint; 4] {
    let all = "All of them; where the whole store is empty, the whole table.";
    let import = "Puts the services of a file in place of those that are there.";
    let rollback = "Restores the table of a revision, as a new change.";
    let accept =
        "Drops services that the store lost without a removal; without a parameter it says which.";
    [
        Endpoint::below("export", "The whole table as one file.", &[Get])
            .answers(&[200], Form::Json("Export"))
            .refuses(&[503]),
        Endpoint::below("import", import, &[Put, Post])
            .takes(manner())
            .body(
                "application/json",
                reference("Export"),
                Required::True,
                &[Put, Post],
            )
            .changes("Change"),
        Endpoint::below("rollback", rollback, &[Post])
            .takes([needed("revision", "As history shows it.", revision())])
            .takes(manner())
            .changes("RolledBack")
            .refuses(&[404, 410, 501]),
        Endpoint::below("accept", accept, &[Post])
            .takes([
                optional("serviceName", "Which, joined by commas.", text()),
                optional("all", all, flag()),
            ])
            .takes(manner())
            .changes("Accepted"),
    ]
}

/// Calls that change nothing.
fn questions() -> [Endpoint; 6] {
    let id = "Also what became of a change whose answer was lost: the Id of a 504.";
    let peers = "Also where every other replica stands, and who lags or drifted.";
    let url =
        "Where the request goes: http://example.com/path, or a path. Its port is the entry port.";
    let digest = "What tells the configuration that runs from others.";
    [
        Endpoint::below("config", "What HAProxy runs, or the services.", &[Get])
            .takes([form(&["text", "json"])])
            .answers(&[200], Form::Either("Services"))
            .header(200, "X-Config-Digest", digest)
            .refuses(&[400, 503]),
        Endpoint::below("metrics", "HAProxy's own figures.", &[Get])
            .takes([distribute()])
            .answers(&[200], Form::Text(CSV))
            .refuses(&[400, 502]),
        Endpoint::below(
            "certs",
            "The certificates that are shown; never a key.",
            &[Get],
        )
        .answers(&[200], Form::Json("Certificates")),
        Endpoint::below("status", "Where this replica stands.", &[Get])
            .takes([
                form(&["json", "text"]),
                optional("peers", peers, flag()),
                optional(
                    "id",
                    id,
                    of(Type::String).pattern(Some("^[0-9a-f]{32}$")).into(),
                ),
            ])
            .answers(&[200], Form::Either("ReplicaStatus"))
            .refuses(&[400]),
        Endpoint::below(
            "explain",
            "Where a request goes, what else claims it, and why each lost.",
            &[Get],
        )
        .takes([
            needed("url", url, text()),
            optional("host", "The Host header, where url is a path.", text()),
            repeated(
                "header",
                "A header that the request carries, as Name:value; may be given several times.",
            ),
            form(&["json", "text"]),
        ])
        .answers(&[200], Form::Either("Explanation"))
        .refuses(&[400, 503]),
        Endpoint::at(DOCUMENT_PATH, "This document.", &[Get])
            .refuses(&[401])
            .answers(&[200], Form::Document),
    ]
}

fn of_history() -> [Endpoint; 2] {
    let most = |most: usize| u32::try_from(most).unwrap_or(u32::MAX);
    let limit = format!("How many commits; at most {MOST}, and {MOST_FULL} with full=true.");
    let full = "With the documents before and after.";
    [
        Endpoint::below("history", "What changed, newest first.", &[Get])
            .takes([
                optional("limit", &limit, number(1, most(MOST))),
                optional("before", "Only commits before this revision.", revision()),
                optional("service", "Only changes of this service.", name()),
                optional("full", full, flag()),
                form(&["json", "text"]),
            ])
            .answers(&[200], Form::Either("History"))
            .refuses(&[400, 501, 503]),
        Endpoint::below("diff", "What is different between two revisions.", &[Get])
            .takes([
                needed("from", "The one revision.", revision()),
                optional("to", "The other; the newest unless given.", revision()),
                form(&["json", "text"]),
            ])
            .answers(&[200], Form::Either("Difference"))
            .refuses(&[400, 404, 410, 501, 503]),
    ]
}

/// What health checks call.
fn probes() -> [Endpoint; 7] {
    let listener = "200 once the listeners' services were read, else 500.";
    let warning = "What is wrong and no reason to send the traffic elsewhere; once per thing.";
    let ready = "Whether a table is loaded and HAProxy runs it.";
    let test = |path| {
        Endpoint::at(path, "The process answers.", &ANY)
            .answers(&[200], Form::Json("Answer"))
            .open()
    };
    [
        test(&format!("{BASE}/ping")),
        test("/v1/test"),
        test("/v2/test"),
        Endpoint::below("successfulinitreload", listener, &ANY).answers(&[200, 500], Form::Nothing),
        Endpoint::at(
            "/healthz",
            "Whether the process is alive and its engine turns.",
            &[Get],
        )
        .answers(&[200], Form::Json("Answer"))
        .refuses(&[503])
        .open(),
        Endpoint::at("/readyz", ready, &[Get])
            .answers(&[200], Form::Json("Readiness"))
            .header(200, "X-Proxy-Warning", warning)
            .refuses(&[503])
            .open(),
        Endpoint::at(
            "/metrics",
            "The figures of the control plane and of HAProxy, for Prometheus.",
            &[Get],
        )
        .refuses(&[401])
        .answers(&[200], Form::Text(OPEN_METRICS)),
    ]
}

// === impl Endpoint ===

impl Endpoint {
    /// It changes something: how, with what answer, and how many a second.
    fn changes(self, schema: &'static str) -> Self {
        self.answers(&CHANGED, Form::Json(schema))
            .refuses(&[429])
            .header(429, "Retry-After", "In how many seconds to come again.")
    }
}
