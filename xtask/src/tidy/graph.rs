//! The crate graph against the one that DESIGN and ARCHITECTURE.md promise.

use serde_json::Value;

/// Who may depend on whom. The three middle crates never see each other, and the
/// command line talks HTTP.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("proxy-core", &[]),
    ("proxy-consul", &["proxy-core"]),
    ("proxy-haproxy", &["proxy-core"]),
    ("proxy-peers", &[]),
    (
        "proxy-server",
        &["proxy-core", "proxy-consul", "proxy-haproxy", "proxy-peers"],
    ),
    ("proxy-cli", &[]),
    ("testkit", &[]),
    ("xtask", &["testkit", "proxy-peers"]),
    ("system-tests", &["testkit"]),
    (
        "fuzz-targets",
        &["proxy-core", "proxy-consul", "proxy-haproxy", "proxy-peers"],
    ),
];

/// What tests of any crate may use.
const FOR_TESTS: &str = "testkit";

pub(super) fn check(metadata: &Value) -> Vec<String> {
    let members: Vec<&Value> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["source"].is_null())
        .collect();
    let names: Vec<&str> = members
        .iter()
        .filter_map(|member| member["name"].as_str())
        .collect();
    let mut problems = Vec::new();
    for member in &members {
        let name = member["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            problems.push(format!(
                "{name}: a crate that the allowed graph does not know (xtask/src/tidy/graph.rs)"
            ));
            continue;
        };
        for dependency in member["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev" && on == FOR_TESTS;
            if names.contains(&on) && !allowed.contains(&on) && !for_tests {
                problems.push(format!("{name}: must not depend on {on}"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, kind)| json!({"name": name, "kind": kind}))
            .collect();
        json!({"name": name, "source": null, "dependencies": dependencies})
    }

    #[test]
    fn the_allowed_graph_passes() {
        let metadata = json!({"packages": [
            package("proxy-core", &[("serde", None), ("testkit", Some("dev"))]),
            package("proxy-consul", &[("proxy-core", None)]),
            package("testkit", &[]),
            {"name": "serde", "source": "registry", "dependencies": [{"name": "proxy-core", "kind": null}]},
        ]});
        assert_eq!(check(&metadata), Vec::<String>::new());
    }

    #[test]
    fn an_edge_too_many_is_named() {
        let metadata = json!({"packages": [
            package("proxy-core", &[("testkit", None)]),
            package("proxy-consul", &[("proxy-haproxy", Some("dev"))]),
            package("proxy-haproxy", &[]),
            package("testkit", &[]),
            package("proxy-new", &[]),
        ]});
        let problems = check(&metadata).join("\n");
        assert!(
            problems.contains("proxy-core: must not depend on testkit"),
            "{problems}"
        );
        assert!(problems.contains("proxy-consul: must not depend on proxy-haproxy"));
        assert!(problems.contains("proxy-new: a crate"));
    }
}
