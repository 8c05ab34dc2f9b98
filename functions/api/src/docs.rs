//! `/docs`: the document of the whole API, and a page over it that needs no network.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use runtime::{Envelope, RateLimited};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContactBuilder, Content, Header, HeaderBuilder, Info, ObjectBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};

/// Completes a document made of the functions' routes.
pub fn document(mut routes: OpenApi) -> OpenApi {
    routes.info = Info::new("Medic", env!("CARGO_PKG_VERSION"));
    routes.info.description = Some(
        "Alerts within seconds when a service, cron job or worker stops reporting, and tells the right people."
            .to_owned(),
    );
    routes.info.contact = Some(ContactBuilder::new().name(Some("Medic")).build());
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("mdk_<id>_<secret>")
        .description(Some("An API key, made with POST /v2/api-keys."))
        .build();
    let components = routes.components.get_or_insert_default();
    components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    components.schemas.entry(REFUSAL.to_owned()).or_insert_with(Envelope::<String>::schema);
    let mut limited = vec![(RateLimited::name().into_owned(), RateLimited::schema())];
    RateLimited::schemas(&mut limited);
    components.schemas.extend(limited);
    for (name, description) in LIMIT_HEADERS.into_iter().chain([RETRY_AFTER]) {
        components.headers.insert(name.to_owned(), header(description).into());
    }
    for (path, item) in &mut routes.paths.paths {
        for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten() {
            // A route that answers at two paths is described twice: each description needs an id of its own.
            if path.starts_with("/v1/")
                && let Some(id) = &mut operation.operation_id
            {
                id.insert_str(0, "v1_");
            }
            add_refusals(operation);
        }
    }
    routes
}

/// The schema of an answer that refuses, by its name in the document.
const REFUSAL: &str = "Envelope_String";

/// Describes how every route that asks for a key may refuse, and what it says of the key's limit.
fn add_refusals(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    if operation.request_body.is_some() {
        responses.entry("413".to_owned()).or_insert_with(|| refusal("The body is over 256 KiB").into());
    }
    let public = [SecurityRequirement::default()];
    if operation.security.as_deref() == Some(&public) {
        return;
    }
    for (status, description) in [
        ("400", "A parameter is at fault"),
        ("401", "No key, or one that is not valid"),
        ("403", "The key lacks the scope"),
        ("503", "Storage is out of reach; `Retry-After` says when to try again"),
    ] {
        responses.entry(status.to_owned()).or_insert_with(|| refusal(description).into());
    }
    let content = Content::new(Some(Ref::from_schema_name(RateLimited::name())));
    let limited = ResponseBuilder::new()
        .description("The key has made as many requests as it may in a minute")
        .content("application/json", content)
        .header_ref(RETRY_AFTER.0, header_reference(RETRY_AFTER.0));
    responses.insert("429".to_owned(), limited.into());
    for (status, response) in responses {
        // Whoever has no key, or none for this, has no limit.
        if let RefOr::T(response) = response
            && !matches!(status.as_str(), "401" | "403")
        {
            response
                .headers
                .extend(LIMIT_HEADERS.map(|(name, _)| (name.to_owned(), RefOr::Ref(header_reference(name)))));
        }
    }
}

fn refusal(description: &str) -> ResponseBuilder {
    let content = Content::new(Some(Ref::from_schema_name(REFUSAL)));
    ResponseBuilder::new().description(description).content("application/json", content)
}

/// What every answer says of the limit of its key.
const LIMIT_HEADERS: [(&str, &str); 3] = [
    ("X-RateLimit-Limit", "Requests of this kind that the key may make in a minute"),
    ("X-RateLimit-Remaining", "How many more are let in now"),
    (
        "X-RateLimit-Reset",
        "When there is more room, in seconds since 1970: at the end of the minute, or with none remaining when one more \
         is let in",
    ),
];

/// What a refusal adds to them.
const RETRY_AFTER: (&str, &str) = ("Retry-After", "Seconds until a request is let in, if none is made meanwhile");

fn header(description: &str) -> Header {
    let integer = ObjectBuilder::new().schema_type(Type::Integer);
    HeaderBuilder::new().schema(Some(integer)).description(Some(description)).build()
}

fn header_reference(name: &str) -> Ref {
    Ref::new(format!("#/components/headers/{name}"))
}

/// What shows the document. Without `validatorUrl` it would ask a validator on the internet about it.
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

/// A file as every browser takes it.
fn packed(kind: &'static str, file: &'static [u8]) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CONTENT_ENCODING, "gzip"), (CACHE_CONTROL, "max-age=86400")], file)
}
