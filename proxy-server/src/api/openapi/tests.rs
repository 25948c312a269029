use std::{collections::BTreeSet, path::Path};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use proxy_core::PARAMETERS;
use serde_json::Value;
use tower::ServiceExt;

use super::{check::DOCUMENT, *};
use crate::api::{routes::routes, tests::Bench};

/// Set, the committed document is written anew instead of being compared.
const UPDATE: &str = "UPDATE_OPENAPI";

fn at_the_root(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let file = at_the_root("docs/openapi.json");
    let now = text(GetWrites::Allowed) + "\n";
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == now,
        "docs/openapi.json is not what the code says; write it with: {UPDATE}=1 cargo test -p proxy-server --lib openapi"
    );
}

#[test]
fn the_readme_has_every_parameter() {
    let readme = std::fs::read_to_string(at_the_root("README.md")).unwrap();
    let missing: Vec<_> = PARAMETERS
        .iter()
        .filter(|it| it.standing == proxy_core::ParameterStanding::Used)
        .filter(|it| !readme.contains(&format!("`{}`", it.name)))
        .map(|it| it.name)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn the_document_and_the_router_have_the_same_paths() {
    let bench = Bench::new().await;
    let routes = routes(&bench.api);
    let is_documented = |path: &&String| !path.contains("/peer/") && !path.starts_with(ALIAS);
    let routed: BTreeSet<_> = routes.paths.iter().filter(is_documented).cloned().collect();
    let documented: BTreeSet<_> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(routed, documented);
    let below = |base: &str| -> BTreeSet<String> {
        let paths = routes
            .paths
            .iter()
            .filter_map(|path| path.strip_prefix(base));
        paths
            .filter(|path| !path.contains("/peer/"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(below(BASE), below(ALIAS));
}

#[tokio::test]
async fn each_path_takes_the_methods_that_the_document_has() {
    let bench = Bench::new().await;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for method in ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Body::empty()).unwrap();
            let answer = bench.app.clone().oneshot(request).await.unwrap();
            let taken = answer.status() != StatusCode::METHOD_NOT_ALLOWED;
            let documented = item.get(method.to_lowercase()).is_some();
            assert_eq!(taken, documented, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_the_document_refuses_of_a_parameter_is_refused() {
    let bench = Bench::new().await;
    let mut tried = 0;
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    // Those of `reconfigure` are the parser's own list, and its tests hold it to that.
    for (path, item) in paths.filter(|(path, _)| !path.ends_with("/reconfigure")) {
        let parameters = item["parameters"].as_array().cloned().unwrap_or_default();
        let method = ["post", "put", "get"]
            .iter()
            .find(|it| item.get(**it).is_some());
        let method = method.unwrap().to_uppercase();
        let call = async |query: &str| {
            let request = Request::builder()
                .method(&*method)
                .uri(format!("{path}?{query}"));
            bench.send(request.body(Body::empty()).unwrap()).await
        };
        for parameter in &parameters {
            let schema = &parameter["schema"];
            let typed = matches!(schema["type"].as_str(), Some("boolean" | "integer"));
            let refused = typed || schema.get("enum").is_some() || schema.get("pattern").is_some();
            if !refused || parameter["deprecated"] == true {
                continue;
            }
            let name = parameter["name"].as_str().unwrap();
            let others = parameters
                .iter()
                .filter(|it| it["required"] == true && it["name"] != name);
            let mut query: Vec<String> = others
                .map(|it| match it["name"].as_str().unwrap() {
                    "url" => "url=/".to_owned(),
                    other => format!("{other}=1"),
                })
                .collect();
            query.push(format!("{name}=no%20such%20value!"));
            let (status, json) = call(&query.join("&")).await;
            assert_eq!(status, 400, "{method} {path} {query:?}: {json}");
            let message = json["Message"].as_str().unwrap();
            assert!(message.contains(name), "{path} {name}: {message}");
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

#[tokio::test]
async fn the_document_is_served_and_says_who_may_change_something_by_get() {
    let bench = Bench::new().await;
    let request = Request::get(DOCUMENT_PATH).body(Body::empty()).unwrap();
    let (status, served) = bench.send(request).await;
    assert_eq!((status, &served), (200, &*DOCUMENT));
    assert_eq!(served["openapi"], "3.1.0");
    let without: Value = serde_json::from_str(&text(GetWrites::Refused)).unwrap();
    for (document, has_get) in [(&served, true), (&without, false)] {
        for name in ["reconfigure", "remove", "reload"] {
            let item = &document["paths"][format!("{BASE}/{name}")];
            assert_eq!(item.get("get").is_some(), has_get, "{name}");
            assert!(item.get("post").is_some());
        }
    }
}
