//! What answers and bodies look like.

mod history;
mod services;
mod standing;

use utoipa::openapi::{RefOr, Schema, schema::Type};

use self::{
    history::{difference, history},
    services::{destination, export, service, services_of_config},
    standing::status,
};
use super::shape::{
    Described, Field, any, both, integer, list, map, object, open, or_null, reference,
    schema_or_null, text, texts, words, yes_or_no,
};
use crate::engine::WaitFor;

/// Every schema that has a name.
pub(super) fn all() -> Vec<(&'static str, Described)> {
    vec![
        ("Answer", object(head(), &["Status", "Message"])),
        ("Refusal", refusal()),
        ("FieldError", field_error()),
        ("Revision", revision()),
        ("Replica", replica()),
        ("Change", change()),
        ("Reconfigured", both("Change", reference("Service"))),
        (
            "Removed",
            both("Change", open(vec![("ServiceName", text())])),
        ),
        (
            "RolledBack",
            both("Change", open(vec![("RestoredRevision", integer())])),
        ),
        (
            "Accepted",
            both(
                "Change",
                open(vec![("Dropped", texts()), ("Lost", texts())]),
            ),
        ),
        (
            "CertificateKept",
            both("Change", open(vec![("CertName", text())])),
        ),
        ("Service", service()),
        ("Destination", open(destination())),
        ("Services", map(services_of_config())),
        ("Export", export()),
        ("Certificates", certificates()),
        ("ReplicaStatus", status()),
        ("History", history()),
        ("Difference", difference()),
        ("Explanation", explanation()),
        (
            "Readiness",
            both("Answer", open(vec![("Warnings", texts())])),
        ),
    ]
}

fn head() -> Vec<Field> {
    vec![("Status", words(&["OK", "NOK"])), ("Message", text())]
}

fn refusal() -> Described {
    let mut fields = head();
    fields.extend([
        ("Stored", or_null(Type::Boolean)),
        ("Errors", list(reference("FieldError"))),
        ("Oldest", integer()),
        ("Newest", integer()),
        ("Lost", texts()),
        ("DryRun", yes_or_no()),
    ]);
    object(fields, &["Status", "Message"])
}

fn field_error() -> Described {
    let fields = vec![
        ("Parameter", text()),
        ("Value", or_null(Type::String)),
        ("Problem", text()),
        ("Allowed", text()),
    ];
    object(fields, &["Parameter", "Problem", "Allowed"])
}

fn revision() -> Described {
    let fields = vec![("Epoch", text()), ("Number", integer()), ("Id", text())];
    object(fields, &["Epoch", "Number", "Id"])
}

fn replica() -> Described {
    let status = words(&["applied", "failed", "unconfirmed", "pending"]);
    let fields = vec![
        ("Address", text()),
        ("Instance", or_null(Type::String)),
        ("Status", status),
        ("Milliseconds", integer()),
        ("Reason", or_null(Type::String)),
    ];
    object(fields, &["Address", "Status"])
}

fn change() -> Described {
    let mut fields = head();
    let planned = vec![
        ("ServiceName", text()),
        (
            "Change",
            words(&["added", "replaced", "removed", "unchanged"]),
        ),
    ];
    let waits = [
        WaitFor::Nobody,
        WaitFor::Here,
        WaitFor::Quorum,
        WaitFor::Everyone,
    ];
    fields.extend([
        ("Stored", or_null(Type::Boolean)),
        ("Revision", schema_or_null(reference("Revision"))),
        ("Warnings", texts()),
        ("Errors", list(reference("FieldError"))),
        ("Peers", list(reference("Replica"))),
        ("Id", text()),
        ("Distribute", yes_or_no()),
        ("Wait", words(&waits.map(WaitFor::word))),
        ("Parameter", text()),
        ("Certificate", map(RefOr::T(Schema::Object(any())))),
        ("DryRun", yes_or_no()),
        ("Effect", words(&["none", "runtime", "reload"])),
        ("Changes", list(object(planned, &["ServiceName", "Change"]))),
        ("Diff", text()),
        ("DiffLeftOut", integer()),
    ]);
    object(fields, &["Status", "Message"])
}

fn certificates() -> Described {
    let certificate = vec![
        ("ProxyServiceName", text()),
        ("CertsDir", or_null(Type::String)),
        ("Source", words(&["file", "call"])),
        ("Domains", texts()),
        ("Key", words(&["ECDSA", "RSA", "other"])),
        ("Issuer", text()),
        ("Serial", text()),
        ("NotBefore", text()),
        ("Expires", text()),
        ("DaysLeft", integer()),
        ("Fingerprint", text()),
    ];
    let fields = vec![
        ("Certs", list(object(certificate, &["ProxyServiceName"]))),
        ("Refused", map(text())),
    ];
    both("Answer", object(fields, &["Certs", "Refused"]))
}

fn explanation() -> Described {
    let route = || {
        open(vec![
            ("ServiceName", text()),
            ("Index", integer()),
            ("Backend", text()),
            ("Rule", text()),
            ("Why", or_null(Type::String)),
        ])
    };
    let fields = vec![
        ("Winner", schema_or_null(route())),
        ("RunnersUp", list(route())),
        ("Misses", list(route())),
        ("AskedBefore", list(text())),
        ("LeftOut", integer()),
    ];
    let fields = object(
        fields,
        &["Winner", "RunnersUp", "Misses", "AskedBefore", "LeftOut"],
    );
    both("Answer", fields)
}
