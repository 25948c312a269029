//! How schemas are put together.

use utoipa::openapi::{
    AllOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema,
    schema::{AdditionalProperties, SchemaType, Type},
};

pub(super) type Described = RefOr<Schema>;
/// A member of an object: its name, and what it is.
pub(super) type Field = (&'static str, Described);

pub(super) fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(kind))
}

pub(super) fn reference(name: &str) -> Described {
    Ref::from_schema_name(name).into()
}

pub(super) fn text() -> Described {
    of(Type::String).into()
}

pub(super) fn words(words: &[&str]) -> Described {
    let words = words.iter().map(|word| (*word).to_owned());
    of(Type::String).enum_values(Some(words)).into()
}

pub(super) fn integer() -> Described {
    of(Type::Integer).into()
}

pub(super) fn yes_or_no() -> Described {
    of(Type::Boolean).into()
}

pub(super) fn texts() -> Described {
    list(text())
}

pub(super) fn list(of: Described) -> Described {
    ArrayBuilder::new().items(of).into()
}

pub(super) fn map(of: Described) -> Described {
    ObjectBuilder::new()
        .additional_properties(Some(AdditionalProperties::RefOr(of)))
        .into()
}

/// Null, or of one of the plain kinds.
pub(super) fn or_null(kind: Type) -> Described {
    let kinds = SchemaType::from_iter([kind, Type::Null]);
    ObjectBuilder::new().schema_type(kinds).into()
}

pub(super) fn schema_or_null(schema: Described) -> Described {
    OneOfBuilder::new().item(schema).item(of(Type::Null)).into()
}

/// An object whose members may all be absent.
pub(super) fn open(fields: Vec<Field>) -> Described {
    object(fields, &[])
}

pub(super) fn object(fields: Vec<Field>, required: &[&str]) -> Described {
    let mut object = ObjectBuilder::new();
    for (name, schema) in fields {
        object = object.property(name, schema);
    }
    for name in required {
        object = object.required(*name);
    }
    object.into()
}

pub(super) fn both(name: &str, more: Described) -> Described {
    AllOfBuilder::new().item(reference(name)).item(more).into()
}

pub(super) fn any() -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .build()
}
