//! The OpenAPI document: what the code serves is what the repository holds, and the page over it needs no network.

use std::collections::BTreeSet;

use harness::System;
use reqwest::Method;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

async fn served() -> Value {
    let system = System::start().await;
    let answer = system.raw(Method::GET, "/docs/openapi.json", None, &[], None).await;
    assert_eq!(answer.status, 200);
    answer.body
}

/// The operations of a document, each with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push((format!("{method} {path}"), operation));
        }
    }
    operations
}

#[tokio::test]
async fn the_document_in_the_repository_is_the_one_that_is_served() {
    let served = served().await;
    #[expect(clippy::disallowed_methods, reason = "set by `make openapi`, which writes the file")]
    let update = std::env::var("UPDATE_OPENAPI").is_ok();
    if update {
        std::fs::write(FILE, format!("{served:#}\n")).unwrap();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(FILE).unwrap()).unwrap();
    if served != kept {
        let (served, kept) = (format!("{served:#}"), format!("{kept:#}"));
        let differs = served.lines().zip(kept.lines()).find(|(served, kept)| served != kept);
        panic!("docs/openapi.json is not what is served: run `make openapi`. It differs first in {differs:?}");
    }
}

#[tokio::test]
async fn the_document_is_one_that_tools_can_use() {
    let document = served().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut ids: Vec<_> =
        operations(&document).into_iter().map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an operationId is given twice");
    for (route, operation) in operations(&document) {
        assert!(operation["security"].is_array(), "{route} does not say what it asks for");
        assert!(operation["summary"].is_string(), "{route} does not say what it does");
    }
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
    assert!(!document.to_string().contains("\"default\":null"));
}

/// The bodies and responses of an operation that have content, each with what it is of.
fn contents(operation: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let responses = operation["responses"].as_object().unwrap().iter();
    let bodies = responses.map(|(status, response)| (status.as_str(), response));
    let bodies = bodies.chain([("request", &operation["requestBody"])]);
    bodies
        .flat_map(|(of, body)| body["content"].as_object().into_iter().flatten().map(move |(_, content)| (of, content)))
}

#[tokio::test]
async fn every_body_is_a_component_that_exists_and_every_component_is_used() {
    let document = served().await;
    for (route, operation) in operations(&document) {
        for (of, content) in contents(operation) {
            assert!(content["schema"]["$ref"].is_string(), "{route} {of}: {content}");
        }
    }
    let text = document.to_string();
    let ends = |reference: &str| reference.split('"').next().unwrap().to_owned();
    let used: BTreeSet<_> = text.split("\"#/components/schemas/").skip(1).map(ends).collect();
    let defined: BTreeSet<_> = document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, defined);
}

#[tokio::test]
async fn every_operation_has_an_example_of_what_it_sends_and_returns() {
    let document = served().await;
    for (route, operation) in operations(&document) {
        for (of, content) in contents(operation) {
            if of == "request" || of.starts_with('2') {
                assert!(
                    !content["example"].is_null(),
                    "{route} {of}: extend the story in tests/medic/examples.rs, then run `make openapi`"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_page_brings_all_that_it_needs() {
    let system = System::start().await;
    let page = system.raw(Method::GET, "/docs", None, &[], None).await;
    assert_eq!(page.status, 200);
    let page = page.body.as_str().unwrap().to_owned();
    assert!(page.to_lowercase().contains("<html"));
    let tags = page.split('<').filter(|tag| ["script", "link", "img"].iter().any(|name| tag.starts_with(name)));
    let addresses: Vec<_> = tags
        .flat_map(|tag| ["src=\"", "href=\""].into_iter().filter_map(|name| tag.split(name).nth(1)))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(addresses, ["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"]);
    for address in addresses {
        let asset = system.raw(Method::GET, address, None, &[], None).await;
        assert_eq!(
            (asset.status.as_u16(), &asset.headers["content-encoding"]),
            (200, &"gzip".parse().unwrap()),
            "{address}"
        );
    }
    assert!(page.contains("\"/docs/openapi.json\"") && page.contains("validatorUrl: null"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
}
