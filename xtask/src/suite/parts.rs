//! What the suite consists of: the commands of each part, its budget and its limit.

use std::fmt;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::up::Shape;
use crate::workspace::{LIBRARIES, Workspace};

/// What a part may take at most before it is ended: a hung test must not hold a
/// machine for ever, and a cold build on two cores must fit.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// One part of the suite.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// What it should take on two cores that have built nothing yet. More is reported and
    /// fails nothing.
    pub(super) budget: Duration,
    pub(super) limit: Duration,
    pub(super) work: Work,
}

/// What a part does.
#[derive(Debug)]
pub(super) enum Work {
    Tools,
    Tidy,
    Commands(Vec<Line>),
    /// The libraries as the registry would get them, built from what is packed.
    Package(Line),
    /// The main job in these shapes, tried once each.
    Up(Vec<Shape>),
    /// The story on a real Docker Engine, where there is one or one can be started.
    Swarm,
}

/// One call of cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
}

impl Line {
    /// With more arguments.
    pub(super) fn with<const N: usize>(mut self, more: [&str; N]) -> Self {
        self.arguments.extend(more.map(str::to_owned));
        self
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}='{value}' ")?;
        }
        write!(f, "cargo {}", self.arguments.join(" "))
    }
}

fn line(text: &str) -> Line {
    Line {
        arguments: text.split_whitespace().map(str::to_owned).collect(),
        environment: Vec::new(),
    }
}

fn part(name: &'static str, budget_seconds: u64, commands: Vec<Line>) -> Part {
    Part {
        name,
        budget: Duration::from_secs(budget_seconds),
        limit: LIMIT,
        work: Work::Commands(commands),
    }
}

fn fmt_check() -> Part {
    part("fmt", 10, vec![line("fmt --all --check")])
}

fn clippy() -> Part {
    let text = "clippy --workspace --all-targets --all-features -- -D warnings";
    part("clippy", 120, vec![line(text)])
}

/// What is worth running between two edits.
pub(super) fn quick() -> Vec<Part> {
    let unit = "test --workspace --all-features --lib --bins --no-fail-fast";
    vec![
        fmt_check(),
        clippy(),
        part("unit tests", 120, vec![line(unit)]),
    ]
}

/// Everything.
pub(super) fn full(workspace: &Workspace) -> Result<Vec<Part>> {
    let mut docs = line("doc --workspace --no-deps --all-features");
    docs.environment
        .push(("RUSTDOCFLAGS", "-D warnings".to_owned()));
    let features = feature_sets(&workspace.metadata()?)?;
    Ok(vec![
        Part {
            name: "tools",
            budget: Duration::from_secs(60),
            limit: LIMIT,
            work: Work::Tools,
        },
        fmt_check(),
        Part {
            name: "tidy",
            budget: Duration::from_secs(10),
            limit: LIMIT,
            work: Work::Tidy,
        },
        clippy(),
        part("docs", 60, vec![docs]),
        part("tests", 540, vec![tests()]),
        part(
            "doc tests",
            60,
            vec![line("test --workspace --all-features --doc")],
        ),
        part(
            "examples",
            60,
            vec![line("build --workspace --examples --all-features")],
        ),
        part("feature sets", 150, features),
        Part {
            name: "package",
            budget: Duration::from_secs(120),
            limit: LIMIT,
            work: Work::Package(package()),
        },
        Part {
            name: "up",
            budget: Duration::from_secs(90),
            limit: LIMIT,
            work: Work::Up(vec![Shape::new(1, 0), Shape::new(3, 3)]),
        },
        // The base image's packages are fetched once, the images built, five rounds of tasks started.
        Part {
            name: "swarm",
            budget: Duration::from_secs(200),
            limit: LIMIT,
            work: Work::Swarm,
        },
        // Rounds that fit three minutes, the start and the end. Always the same schedule: a run of
        // the suite judges a change; new schedules are for the long runs of CONTRIBUTING.
        part(
            "chaos",
            210,
            vec![line("xtask chaos --minutes 3 --seed 381160")],
        ),
    ])
}

/// All tests but those in documents.
fn tests() -> Line {
    let mut tests = line("test --workspace --all-features --lib --bins --tests --no-fail-fast");
    // Those that take the time wait: for elections, for files to be looked at again, for what must not happen within
    // a minute. Two for each processor leave it idle half of the time still.
    let threads = 2 * thread::available_parallelism().map_or(1, NonZero::get);
    tests
        .environment
        .push(("RUST_TEST_THREADS", threads.to_string()));
    tests
}

/// The libraries as the registry would get them, built from what is packed.
fn package() -> Line {
    let packages: Vec<_> = LIBRARIES.iter().map(|name| format!("-p {name}")).collect();
    let mut package = line(&format!("package --allow-dirty {}", packages.join(" ")));
    // What is packed does not know this workspace's profiles. With the same one as here, it
    // takes the dependencies that the tests have built, where they have the same features,
    // instead of building all of them again: a third less work.
    package
        .environment
        .push(("CARGO_PROFILE_DEV_DEBUG", "false".to_owned()));
    package
}

/// Each library without features, with each feature alone, and with all: alone, so
/// that no other member's wishes are mixed in.
fn feature_sets(metadata: &Value) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for library in LIBRARIES {
        let package = metadata["packages"]
            .as_array()
            .and_then(|packages| {
                packages
                    .iter()
                    .find(|package| package["name"] == library && package["source"] == Value::Null)
            })
            .with_context(|| format!("cargo metadata does not know {library}"))?;
        let check = |features: &str| {
            line(&format!(
                "clippy -p {library} --lib --no-default-features {features} -- -D warnings"
            ))
        };
        lines.push(check(""));
        let features = package["features"].as_object();
        for feature in features.into_iter().flat_map(|features| features.keys()) {
            // Features with an underscore are parts of others, not sets of their own.
            if feature != "default" && !feature.starts_with('_') {
                lines.push(check(&format!("--features {feature}")));
            }
        }
        lines.push(check("--all-features"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_feature_is_tried_alone() {
        let packages: Vec<_> = LIBRARIES
            .iter()
            .map(|name| {
                let features = match *name {
                    "proxy-haproxy" => json!({"default": [], "run": [], "names": [], "_inner": []}),
                    _ => json!({}),
                };
                json!({"name": name, "source": null, "features": features})
            })
            .collect();

        let lines = feature_sets(&json!({ "packages": packages })).unwrap();

        let texts: Vec<_> = lines.iter().map(ToString::to_string).collect();
        let of_haproxy: Vec<_> = texts
            .iter()
            .filter(|text| text.contains("haproxy"))
            .collect();
        assert_eq!(of_haproxy.len(), 4, "{of_haproxy:?}");
        assert!(of_haproxy[1].contains("--no-default-features --features names"));
        assert_eq!(texts.len(), 4 + 3 * 2);
    }

    #[test]
    fn all_of_it_fits_half_an_hour() {
        let parts = full(&Workspace::find().unwrap()).unwrap();
        let whole: Duration = parts.iter().map(|part| part.budget).sum();
        assert!(whole <= Duration::from_secs(30 * 60), "{whole:?}");
    }

    #[test]
    fn a_library_that_is_gone_is_an_error() {
        assert!(feature_sets(&json!({ "packages": [] })).is_err());
    }

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let mut docs = line("doc --workspace");
        docs.environment
            .push(("RUSTDOCFLAGS", "-D warnings".to_owned()));
        assert_eq!(
            docs.to_string(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --workspace"
        );
    }
}
