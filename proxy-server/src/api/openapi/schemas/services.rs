//! Services, as they are answered and exported.

use utoipa::openapi::{RefOr, Schema, schema::Type};

use crate::api::openapi::shape::{
    Described, Field, any, both, integer, list, map, object, open, or_null, reference,
    schema_or_null, text, texts, yes_or_no,
};

pub(super) fn service() -> Described {
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

pub(super) fn destination() -> Vec<Field> {
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
pub(super) fn services_of_config() -> Described {
    let trouble = open(vec![
        ("Quarantined", text()),
        ("QuarantinedParameter", or_null(Type::String)),
        ("Degraded", text()),
    ]);
    both("Service", trouble)
}

pub(super) fn export() -> Described {
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
        ("degraded", map(text())),
    ];
    object(fields, &["format", "services"])
}
