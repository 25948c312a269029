use super::ParameterKind::{Choice, Flag, Name, Number};
use super::*;
use crate::{
    CatalogUse, FieldErrors, ParamWarning, Params, Parsed, Reconfigure, ReconfigureRules,
    parse_reconfigure_with,
};

const SERVICE: &str = "serviceName=a&servicePath=/a&port=80";
/// Read before the rest is: they are no part of the service.
const READ_ELSEWHERE: [&str; 2] = ["proxyInstanceName", "serviceCert"];

fn ask(query: &str, name: &str, value: &str) -> Result<Parsed<Reconfigure>, FieldErrors> {
    let mut params = Params::from_query(query).unwrap();
    params.take(name);
    params.insert(name.to_owned(), value.to_owned()).unwrap();
    let rules = ReconfigureRules::default().with_catalog(CatalogUse::WhenAsked);
    parse_reconfigure_with(&params, &rules)
}

fn is_known(query: &str, name: &str) -> bool {
    match ask(query, name, "true") {
        Ok(parsed) => !parsed.warnings.iter().any(
            |warning| matches!(warning, ParamWarning::Unknown { parameter } if parameter == name),
        ),
        // The rest of the call is right, so it is this one that was looked at.
        Err(_) => true,
    }
}

#[test]
fn the_parser_knows_every_parameter_of_the_list_at_its_level() {
    for parameter in PARAMETERS {
        let Parameter { name, level, .. } = parameter;
        assert_eq!(
            PARAMETERS.iter().filter(|it| it.name == *name).count(),
            1,
            "{name}"
        );
        if READ_ELSEWHERE.contains(name) {
            continue;
        }
        assert!(is_known(SERVICE, name), "{name}");
        let suffixed = format!("{name}.1");
        let own = is_known("serviceName=a&servicePath.1=/a&port.1=80", &suffixed);
        let wanted = *level == ParameterLevel::Destination;
        assert_eq!(own, wanted, "{suffixed}");
    }
    assert!(!is_known(SERVICE, "colour"));
}

#[test]
fn refusals_say_what_the_list_says() {
    let mut refused = 0;
    for parameter in PARAMETERS {
        for value in ["\u{1}", "é x", "-1", "maybe", "99999999999"] {
            let query = &format!("{SERVICE}&serviceDomain=b.com");
            let Err(errors) = ask(query, parameter.name, value) else {
                continue;
            };
            for error in errors
                .errors
                .iter()
                .filter(|it| it.parameter == parameter.name)
            {
                refused += 1;
                assert_eq!(error.allowed, parameter.allowed, "{}", parameter.name);
            }
        }
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn what_the_list_offers_is_taken() {
    for parameter in PARAMETERS {
        let numbers;
        let values: &[&str] = match parameter.kind {
            Choice(words) => words,
            Flag => &["true", "false"],
            Number { least, most } => {
                numbers = [least.max(1).to_string(), most.to_string()];
                &[&numbers[0], &numbers[1]]
            }
            Name => &["a-b_c.1"],
            _ => continue,
        };
        for value in values {
            let problems = match ask(SERVICE, parameter.name, value) {
                Ok(_) => Vec::new(),
                Err(refused) => refused.errors,
            };
            let own = problems
                .iter()
                .any(|error| error.parameter == parameter.name);
            assert!(!own, "{}={value}: {problems:?}", parameter.name);
        }
    }
}
