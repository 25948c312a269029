//! What answers and bodies look like.

use utoipa::openapi::{
    AllOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema,
    schema::{AdditionalProperties, SchemaType, Type},
};

use crate::engine::WaitFor;

pub(super) type Described = RefOr<Schema>;
/// A member of an object: its name, and what it is.
type Field = (&'static str, Described);

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

pub(super) fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(kind))
}

pub(super) fn reference(name: &str) -> Described {
    Ref::from_schema_name(name).into()
}

pub(super) fn text() -> Described {
    of(Type::String).into()
}

fn words(words: &[&str]) -> Described {
    let words = words.iter().map(|word| (*word).to_owned());
    of(Type::String).enum_values(Some(words)).into()
}

pub(super) fn integer() -> Described {
    of(Type::Integer).into()
}

fn yes_or_no() -> Described {
    of(Type::Boolean).into()
}

fn texts() -> Described {
    list(text())
}

fn list(of: Described) -> Described {
    ArrayBuilder::new().items(of).into()
}

fn map(of: Described) -> Described {
    ObjectBuilder::new()
        .additional_properties(Some(AdditionalProperties::RefOr(of)))
        .into()
}

/// Null, or of one of the plain kinds.
fn or_null(kind: Type) -> Described {
    let kinds = SchemaType::from_iter([kind, Type::Null]);
    ObjectBuilder::new().schema_type(kinds).into()
}

fn schema_or_null(schema: Described) -> Described {
    OneOfBuilder::new().item(schema).item(of(Type::Null)).into()
}

/// An object whose members may all be absent.
fn open(fields: Vec<Field>) -> Described {
    object(fields, &[])
}

fn object(fields: Vec<Field>, required: &[&str]) -> Described {
    let mut object = ObjectBuilder::new();
    for (name, schema) in fields {
        object = object.property(name, schema);
    }
    for name in required {
        object = object.required(*name);
    }
    object.into()
}

fn both(name: &str, more: Described) -> Described {
    AllOfBuilder::new().item(reference(name)).item(more).into()
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

fn any() -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .build()
}

fn service() -> Described {
    let mut fields = destination();
    fields.retain(|(name, _)| *name != "Index");
    let lists = || schema_or_null(texts());
    let user = vec![("Username", text()), ("PassEncrypted", yes_or_no())];
    fields.extend([
        ("ServiceName", text()),
        ("AclName", text()),
        ("ServiceColor", or_null(Type::String)),
        ("Source", or_null(Type::String)),
        ("Overrules", or_null(Type::String)),
        ("DiscoveryType", text()),
        ("SessionType", text()),
        ("CheckResolvers", yes_or_no()),
        ("Replicas", or_null(Type::Integer)),
        ("SkipCheck", yes_or_no()),
        ("ServiceDest", list(reference("Destination"))),
        ("Users", list(object(user, &["Username"]))),
        ("AddReqHeader", lists()),
        ("SetReqHeader", lists()),
        ("DelReqHeader", lists()),
        ("AddResHeader", lists()),
        ("SetResHeader", lists()),
        ("DelResHeader", lists()),
        ("BackendExtra", text()),
        ("TemplateFePath", text()),
        ("TemplateBePath", text()),
        ("CompressionAlgo", text()),
        ("CompressionType", text()),
        ("ConnectionMode", text()),
        ("IsDefaultBackend", yes_or_no()),
        ("RedirectWhenHttpProto", yes_or_no()),
        ("RedirectUnlessHttpsProto", yes_or_no()),
        ("ReqPathSearch", text()),
        ("ReqPathReplace", text()),
    ]);
    open(fields)
}

fn destination() -> Vec<Field> {
    let lists = || schema_or_null(texts());
    let number = || or_null(Type::Integer);
    let words = || or_null(Type::String);
    vec![
        ("Index", integer()),
        ("Port", text()),
        ("HttpsPort", number()),
        ("SrcPort", number()),
        ("SrcHttpsPort", number()),
        ("ServicePath", texts()),
        ("ServicePathExclude", texts()),
        ("PathType", words()),
        ("ServiceDomain", texts()),
        ("RedirectFromDomain", lists()),
        ("OutboundHostname", words()),
        ("ReqMode", text()),
        ("ServiceGroup", words()),
        ("BalanceGroup", words()),
        ("CheckTCP", yes_or_no()),
        ("Clitcpka", yes_or_no()),
        ("TimeoutClient", number()),
        ("TimeoutServer", text()),
        ("TimeoutTunnel", text()),
        ("SslVerifyNone", yes_or_no()),
        ("VerifyClientSsl", yes_or_no()),
        ("UserAgent", open(vec![("Value", texts())])),
        ("ServiceHeader", map(text())),
        ("IgnoreAuthorization", yes_or_no()),
        ("AllowedMethods", lists()),
        ("DeniedMethods", lists()),
        ("DenyHttp", yes_or_no()),
        ("HttpsOnly", yes_or_no()),
        ("HttpsRedirectCode", text()),
        ("ReqPathSearchReplace", text()),
    ]
}

/// A service, and what is wrong where something is.
fn services_of_config() -> Described {
    let trouble = open(vec![
        ("Quarantined", text()),
        ("QuarantinedParameter", or_null(Type::String)),
        ("Degraded", text()),
    ]);
    both("Service", trouble)
}

fn export() -> Described {
    let document = vec![
        ("version", integer()),
        ("name", text()),
        ("destinations", list(map(RefOr::T(Schema::Object(any()))))),
        ("options", map(RefOr::T(Schema::Object(any())))),
    ];
    let document = object(document, &["version", "name", "destinations"]);
    let stored = vec![("epoch", text()), ("revision", integer()), ("id", text())];
    let fields = vec![
        ("format", integer()),
        (
            "revision",
            schema_or_null(object(stored, &["epoch", "revision", "id"])),
        ),
        ("services", list(document)),
    ];
    object(fields, &["format", "services"])
}

fn certificates() -> Described {
    let certificate = vec![
        ("ProxyServiceName", text()),
        ("CertsDir", or_null(Type::String)),
        ("Source", words(&["file", "call"])),
        ("Domains", texts()),
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

fn status() -> Described {
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
fn standing() -> Vec<Field> {
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

/// What became of one service.
fn service_change() -> Described {
    let document = || RefOr::T(Schema::Object(any()));
    open(vec![
        ("ServiceName", text()),
        ("Change", words(&["added", "replaced", "removed"])),
        ("Before", document()),
        ("After", document()),
    ])
}

fn history() -> Described {
    let commit = open(vec![
        ("Revision", reference("Revision")),
        ("At", or_null(Type::String)),
        ("Origin", text()),
        ("Services", list(service_change())),
    ]);
    let fields = vec![("Commits", list(commit))];
    both("Answer", object(fields, &["Commits"]))
}

fn difference() -> Described {
    let fields = vec![
        ("From", integer()),
        ("To", integer()),
        ("Services", list(service_change())),
        ("LeftOut", integer()),
    ];
    both(
        "Answer",
        object(fields, &["From", "To", "Services", "LeftOut"]),
    )
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
