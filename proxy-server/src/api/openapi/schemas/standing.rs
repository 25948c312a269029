//! How a replica is, and where others stand.

use utoipa::openapi::schema::Type;

use crate::api::openapi::shape::{
    Described, Field, both, integer, list, map, object, open, or_null, reference, schema_or_null,
    text, texts, words, yes_or_no,
};

pub(super) fn status() -> Described {
    let server = open(vec![
        ("Address", text()),
        ("Last", or_null(Type::String)),
        ("SecondsAgo", or_null(Type::Integer)),
    ]);
    let store = open(vec![
        ("Condition", text()),
        ("Why", or_null(Type::String)),
        ("Servers", list(server)),
    ]);
    let haproxy = open(vec![("Condition", text()), ("Why", or_null(Type::String))]);
    let held = open(vec![
        ("Why", text()),
        ("Parameter", or_null(Type::String)),
        ("ServesOlder", yes_or_no()),
    ]);
    let superseded = open(vec![
        ("Revision", reference("Revision")),
        ("Services", integer()),
        ("Why", text()),
        ("File", or_null(Type::String)),
    ]);
    let outcome = open(vec![
        ("Stored", or_null(Type::Boolean)),
        ("Revision", schema_or_null(reference("Revision"))),
        ("Why", text()),
    ]);
    let catalog = open(vec![
        ("Trouble", or_null(Type::String)),
        ("Hidden", map(text())),
        ("LeftOut", map(text())),
        ("Held", map(text())),
    ]);
    let shown = open(vec![
        ("Shown", integer()),
        ("ExpireSoon", map(text())),
        ("Refused", map(text())),
        ("LeftOut", map(text())),
    ]);
    let source = open(vec![
        ("Services", or_null(Type::Integer)),
        ("Trouble", or_null(Type::String)),
        ("RefusedCount", integer()),
        ("Refused", map(text())),
        ("DoubtedCount", integer()),
        ("Doubted", map(text())),
    ]);
    let fields = vec![
        ("Instance", text()),
        ("Version", text()),
        ("Revision", schema_or_null(reference("Revision"))),
        ("Services", integer()),
        ("TableDigest", text()),
        ("Store", store),
        ("Stale", yes_or_no()),
        ("Separator", text()),
        ("Haproxy", haproxy),
        ("ConfigDigest", or_null(Type::String)),
        ("Failure", or_null(Type::String)),
        ("Degraded", map(text())),
        ("Quarantined", map(held)),
        ("Superseded", schema_or_null(superseded)),
        ("Sources", map(source)),
        ("Catalog", schema_or_null(catalog)),
        ("Certificates", shown),
        ("Outcome", schema_or_null(outcome)),
        ("Peers", list(open(standing()))),
        ("Drift", yes_or_no()),
    ];
    both("Answer", object(fields, &["Instance", "Store", "Haproxy"]))
}

/// Where one replica stands, in `status?peers=true`.
pub(super) fn standing() -> Vec<Field> {
    let places = words(&[
        "current",
        "behind",
        "drifted",
        "other history",
        "no table",
        "unreachable",
    ]);
    vec![
        ("Address", text()),
        ("Place", places),
        ("Behind", or_null(Type::Integer)),
        ("Milliseconds", integer()),
        ("Instance", text()),
        ("Version", text()),
        ("Revision", schema_or_null(reference("Revision"))),
        ("TableDigest", text()),
        ("ConfigDigest", or_null(Type::String)),
        ("Services", integer()),
        ("Store", text()),
        ("Haproxy", text()),
        ("Quarantined", texts()),
        ("Degraded", texts()),
        ("Reason", or_null(Type::String)),
    ]
}
