//! `/docs`: the document of the whole API, and a page over it that needs no network.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use axum::routing::get;

/// What shows the document. Without `validatorUrl` it would send it to a validator on the internet.
const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Medic</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({ url: "/docs/openapi.json", dom_id: "#swagger-ui", validatorUrl: null })</script>
</body>
</html>
"##;

const STYLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"));
const SCRIPT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"));

/// Serves a document in JSON at `/docs/openapi.json`, and a page over it at `/docs`.
pub fn docs<S>(document: impl Fn() -> Vec<u8> + Clone + Send + Sync + 'static) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/docs", get(|| async { Html(PAGE) }))
        .route("/docs/", get(|| async { Html(PAGE) }))
        .route("/docs/swagger-ui.css", get(|| async { packed("text/css", STYLE) }))
        .route("/docs/swagger-ui-bundle.js", get(|| async { packed("text/javascript", SCRIPT) }))
        .route("/docs/openapi.json", get(|| async move { ([(CONTENT_TYPE, "application/json")], document()) }))
}

/// Returns a file as every browser accepts it.
fn packed(kind: &'static str, file: &'static [u8]) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CONTENT_ENCODING, "gzip"), (CACHE_CONTROL, "max-age=86400")], file)
}
