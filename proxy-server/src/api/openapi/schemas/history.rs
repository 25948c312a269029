//! What was changed, and when.

use utoipa::openapi::{RefOr, Schema, schema::Type};

use crate::api::openapi::shape::{
    Described, any, both, integer, list, object, open, or_null, reference, text, words,
};

pub(super) fn history() -> Described {
    let commit = open(vec![
        ("Revision", reference("Revision")),
        ("At", or_null(Type::String)),
        ("Origin", text()),
        ("Services", list(service_change())),
    ]);
    let fields = vec![("Commits", list(commit))];
    both("Answer", object(fields, &["Commits"]))
}

pub(super) fn difference() -> Described {
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

/// What became of one service.
pub(super) fn service_change() -> Described {
    let document = || RefOr::T(Schema::Object(any()));
    open(vec![
        ("ServiceName", text()),
        ("Change", words(&["added", "replaced", "removed"])),
        ("Before", document()),
        ("After", document()),
    ])
}
