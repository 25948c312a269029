//! What calls may carry.

use proxy_core::{
    PARAMETERS, Parameter as Listed, ParameterKind, ParameterLevel, ParameterStanding,
};
use utoipa::openapi::{
    ArrayBuilder, Deprecated, ObjectBuilder, Required,
    path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle},
    schema::{AdditionalProperties, SchemaFormat, Type},
};

use super::shape::{Described, of};
use crate::announce::MOST_WAIT;

/// What names of services match.
const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$";

/// Every parameter of `reconfigure`, and those of a destination with its suffix.
pub(super) fn of_reconfigure() -> Vec<Parameter> {
    let listed = PARAMETERS.iter().map(described);
    listed.chain([suffixed()]).collect()
}

/// The same as members of a form.
pub(super) fn form_of_reconfigure() -> Described {
    let mut form = ObjectBuilder::new();
    for parameter in PARAMETERS {
        form = form.property(parameter.name, value(parameter));
    }
    form.into()
}

fn described(listed: &Listed) -> Parameter {
    let about = match listed.standing {
        ParameterStanding::NoEffect => format!("Taken, and without an effect: {}.", listed.about),
        ParameterStanding::Refused => format!("Refused: {}.", listed.about),
        ParameterStanding::Older(newer) => {
            format!(
                "{}; see {newer}. Allowed: {}.",
                listed.about, listed.allowed
            )
        }
        _ => format!("{}. Allowed: {}.", listed.about, listed.allowed),
    };
    let deprecated = listed.standing != ParameterStanding::Used;
    let example = match listed.name {
        "serviceName" => Some("go-demo".into()),
        "servicePath" => Some("/demo".into()),
        "port" => Some(8080.into()),
        _ => None,
    };
    ParameterBuilder::from(query(listed.name, &about, value(listed)))
        .deprecated(deprecated.then_some(Deprecated::True))
        .example(example)
        .build()
}

fn value(listed: &Listed) -> Described {
    match listed.kind {
        ParameterKind::Name => name(),
        ParameterKind::Flag => flag(),
        ParameterKind::Number { least, most } => number(least, most),
        ParameterKind::Choice(words) => choice(words),
        ParameterKind::Secret => of(Type::String)
            .format(Some(SchemaFormat::Custom("password".to_owned())))
            .into(),
        // Joined by a comma or another text; `allowed` says how.
        _ => of(Type::String).into(),
    }
}

/// `port.1` and the like: any of a destination's parameters with its number.
fn suffixed() -> Parameter {
    let of_destinations = PARAMETERS
        .iter()
        .filter(|it| it.level == ParameterLevel::Destination);
    let names: Vec<&str> = of_destinations.map(|it| it.name).collect();
    let names = of(Type::String)
        .pattern(Some(format!(
            r"^({})\.([1-9]|[1-9][0-9]|100)$",
            names.join("|")
        )))
        .build();
    let schema = ObjectBuilder::new()
        .property_names(Some(names))
        .additional_properties(Some(AdditionalProperties::RefOr(of(Type::String).into())));
    let about = "The parameters of a service with several destinations: each with its number, as \
        servicePath.1, port.1, servicePath.2. What has no number is their default. This name itself is never sent.";
    ParameterBuilder::from(query("destinations", about, schema.into()))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .build()
}

/// How a change is made.
pub(super) fn manner() -> Vec<Parameter> {
    let most = u32::try_from(MOST_WAIT.as_secs()).unwrap_or(u32::MAX);
    vec![
        distribute(),
        optional(
            "wait",
            "What the answer waits for: that it is stored, live here, on most replicas, on all.",
            choice(&["none", "local", "quorum", "all"]),
        ),
        optional(
            "timeout",
            "Seconds to wait for the other replicas, and, once more as long at most, before that for those asked for earlier that HAProxy would not take; the whole call may take twice as long, and the check and the store besides. WAIT_TIMEOUT unless given.",
            number(1, most),
        ),
        dry_run(),
    ]
}

pub(super) fn distribute() -> Parameter {
    let about = "Waits until every replica serves it: wait=all.";
    optional("distribute", about, flag())
}

fn dry_run() -> Parameter {
    let about = "Says what the change would do, and does nothing of it.";
    optional("dryRun", about, flag())
}

/// The forms that an answer has.
pub(super) fn form(forms: &[&str]) -> Parameter {
    let about = "How the answer is written; the first of these unless given.";
    optional("type", about, choice(forms))
}

pub(super) fn optional(name: &str, about: &str, schema: Described) -> Parameter {
    query(name, about, schema)
}

pub(super) fn needed(name: &str, about: &str, schema: Described) -> Parameter {
    ParameterBuilder::from(query(name, about, schema))
        .required(Required::True)
        .build()
}

/// One that may be given several times.
pub(super) fn repeated(name: &str, about: &str) -> Parameter {
    let schema = ArrayBuilder::new().items(of(Type::String));
    ParameterBuilder::from(query(name, about, schema.into()))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .build()
}

fn query(name: &str, about: &str, schema: Described) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

pub(super) fn name() -> Described {
    of(Type::String).pattern(Some(NAME)).into()
}

pub(super) fn flag() -> Described {
    of(Type::Boolean).into()
}

pub(super) fn number(least: u32, most: u32) -> Described {
    of(Type::Integer)
        .minimum(Some(least))
        .maximum(Some(most))
        .into()
}

/// The number of a revision.
pub(super) fn revision() -> Described {
    of(Type::Integer).minimum(Some(0)).into()
}

fn choice(words: &[&str]) -> Described {
    let words = words.iter().map(|word| (*word).to_owned());
    of(Type::String).enum_values(Some(words)).into()
}
