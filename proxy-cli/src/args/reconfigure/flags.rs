//! The flags of a service's parameters, made of one list. A test holds it to the API's document, so that a parameter
//! without a flag is found.

use std::{convert::Infallible, fmt, path::PathBuf};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::PossibleValuesParser,
    value_parser,
};

use secrecy::SecretString;

mod list;

use list::FLAGS;

/// One parameter as a flag: `--service-path`, and `--servicePath` as the API has it.
#[derive(Debug)]
struct Flag {
    /// The parameter's name.
    name: &'static str,
    kind: Kind,
    /// What stands for its value in the help.
    value: &'static str,
    help: &'static str,
    /// Below which heading the help has it.
    heading: &'static str,
}

/// What the value of a flag is.
#[derive(Debug)]
enum Kind {
    Text,
    /// Without a value: `true`.
    Switch,
    Number(u64, u64),
    /// One of these.
    Words(&'static [&'static str]),
    /// Several, joined by this, which the server takes whatever it parts lists by; or by that, where this is a comma.
    List(&'static str),
    /// What others should not read: sent in the body.
    Secret,
    /// A file that holds it, sent in the body.
    SecretFile,
}

/// The parameters that are given, by the names that the API knows, in the list's order.
#[derive(Clone, Default)]
pub(super) struct Given {
    pub(super) params: Vec<(&'static str, Value)>,
    /// What is sent in the body, since URLs end in logs.
    pub(super) secrets: Vec<(&'static str, Secret)>,
}

/// A value as it was given.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Whole(String),
    /// Items of a list, one by one.
    Items(Vec<String>),
}

/// What others should not read.
#[derive(Clone)]
pub(super) enum Secret {
    Text(SecretString),
    File(PathBuf),
}

/// Whether a parameter's value is sent in the body, however it is given.
pub(super) fn is_secret(name: &str) -> bool {
    let mut flags = FLAGS.iter();
    flags.any(|flag| flag.name == name && matches!(flag.kind, Kind::Secret | Kind::SecretFile))
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.to_owned().into())
}

// === impl Flag ===

impl Flag {
    fn arg(&self) -> Arg {
        let long = self.long();
        let mut arg = Arg::new(self.name)
            .long(long.clone())
            // As the derived ones have it.
            .help(self.help.trim_end_matches('.'))
            .help_heading(self.heading)
            .value_name(self.value);
        if long != self.name {
            arg = arg.alias(self.name);
        }
        match self.kind {
            Kind::Text => arg,
            Kind::Secret => arg.value_parser(secret),
            Kind::SecretFile => arg.value_parser(value_parser!(PathBuf)),
            Kind::List(_) => arg.action(ArgAction::Append),
            Kind::Words(words) => arg.value_parser(PossibleValuesParser::new(words)),
            Kind::Number(least, most) => arg.value_parser(value_parser!(u64).range(least..=most)),
            Kind::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_possible_values(true)
                .value_parser(PossibleValuesParser::new(["true", "false"])),
        }
    }

    /// The name of the API with hyphens.
    fn long(&self) -> String {
        // It was there before.
        if self.name == "isDefaultBackend" {
            return "default-backend".to_owned();
        }
        let mut long = String::new();
        for c in self.name.chars() {
            if c.is_ascii_uppercase() {
                long.push('-');
            }
            long.push(c.to_ascii_lowercase());
        }
        long
    }

    /// The value, where it is given and may be seen.
    fn value(&self, matches: &ArgMatches) -> Option<Value> {
        let whole = match self.kind {
            Kind::Number(..) => matches.get_one::<u64>(self.name).map(u64::to_string),
            Kind::List(by) => {
                let values = matches.get_many::<String>(self.name)?;
                let mut values: Vec<_> = values.cloned().collect();
                match (by, values.len()) {
                    (_, 1) => values.pop(),
                    (",", _) => return Some(Value::Items(values)),
                    _ => Some(values.join(by)),
                }
            }
            Kind::Secret | Kind::SecretFile => None,
            _ => matches.get_one::<String>(self.name).cloned(),
        };
        whole.map(Value::Whole)
    }

    fn secret(&self, matches: &ArgMatches) -> Option<Secret> {
        match self.kind {
            Kind::Secret => matches.get_one(self.name).cloned().map(Secret::Text),
            Kind::SecretFile => matches.get_one(self.name).cloned().map(Secret::File),
            _ => None,
        }
    }
}

// === impl Given ===

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(Flag::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = FLAGS.iter();
        let params = flags.filter_map(|flag| Some((flag.name, flag.value(matches)?)));
        let flags = FLAGS.iter();
        let secrets = flags.filter_map(|flag| Some((flag.name, flag.secret(matches)?)));
        Ok(Self {
            params: params.collect(),
            secrets: secrets.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets.iter().map(|(name, _)| name);
        f.debug_struct("Given")
            .field("params", &self.params)
            .field("secrets", &secrets.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    /// What `reconfigure` takes, as the API's own document has it.
    fn documented() -> Vec<Value> {
        let document = include_str!("../../../../docs/openapi.json");
        let document: Value = serde_json::from_str(document).unwrap();
        let path = "/paths/~1v1~1docker-flow-proxy~1reconfigure/parameters";
        document.pointer(path).unwrap().as_array().unwrap().clone()
    }

    #[test]
    fn every_parameter_has_a_flag_that_takes_what_it_takes() {
        // The positional argument, the flags of every change, and the name of no parameter.
        let elsewhere = [
            "serviceName",
            "distribute",
            "wait",
            "timeout",
            "dryRun",
            "destinations",
        ];
        let documented = documented();
        let mut names = BTreeSet::new();
        for parameter in &documented {
            let name = parameter["name"].as_str().unwrap();
            names.insert(name.to_owned());
            let flag = FLAGS.iter().find(|flag| flag.name == name);
            if parameter["deprecated"] == true || elsewhere.contains(&name) {
                continue;
            }
            let flag = flag.unwrap_or_else(|| panic!("{name} has no flag"));
            let schema = &parameter["schema"];
            let is_right = match &flag.kind {
                Kind::Switch => schema["type"] == "boolean",
                Kind::Number(least, most) => {
                    [&schema["minimum"], &schema["maximum"]] == [&json!(least), &json!(most)]
                }
                Kind::Words(words) => schema["enum"] == json!(words),
                Kind::Secret | Kind::SecretFile => schema["format"] == "password",
                Kind::Text | Kind::List(_) => {
                    schema["type"] == "string"
                        && schema.get("enum").or(schema.get("format")).is_none()
                }
            };
            assert!(
                is_right,
                "--{} is {:?}, and {name} is {schema}",
                flag.long(),
                flag.kind
            );
        }
        let unknown = FLAGS.iter().find(|flag| !names.contains(flag.name));
        assert!(unknown.is_none(), "{unknown:?}");
    }
}
