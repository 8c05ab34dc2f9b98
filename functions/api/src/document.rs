//! The OpenAPI document: what routes say of themselves, and what is common to them all.

use std::collections::BTreeMap;

use runtime::{Envelope, RateLimited};
use serde_json::{Map, Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Content, Header, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};

/// A request and a response of each operation by its id, as the story in `tests/medic/examples.rs` recorded them.
const EXAMPLES: &str = include_str!("../examples.json");

const DESCRIPTION: &str = "Medic monitors services, cron jobs and workers by their heartbeats, and notifies the right people within a second when one stops reporting.";

/// Completes the document that the functions' routes make.
pub fn document(mut routes: OpenApi) -> serde_json::Result<Value> {
    add_components(routes.components.get_or_insert_default());
    for (path, item) in &mut routes.paths.paths {
        for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten() {
            // A route that is served at two paths is described twice: each description needs an id of its own.
            if path.starts_with("/v1/")
                && let Some(id) = &mut operation.operation_id
            {
                id.insert_str(0, "v1_");
            }
            add_refusals(operation);
        }
    }
    let mut document = serde_json::to_value(routes)?;
    document["info"] = json!({
        "title": "Medic",
        "version": env!("CARGO_PKG_VERSION"),
        "description": DESCRIPTION,
        "contact": {"name": "Medic"},
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
    });
    document["servers"] = json!([
        {"url": "/", "description": "The server that this document comes from"},
        {"url": "http://127.0.0.1:8080", "description": "A local one: `make run`"},
    ]);
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES)?;
    for operation in operations(&mut document) {
        add_examples(operation, &examples);
    }
    omit_null_defaults(&mut document);
    refer_to_components(&mut document);
    name_bodies(&mut document);
    Ok(document)
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let items = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    items.filter_map(Value::as_object_mut).flat_map(Map::values_mut)
}

/// The schema of a response that refuses, by its name in the document.
const REFUSAL: &str = "Envelope_String";

fn add_components(components: &mut Components) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("mdk_<id>_<secret>")
        .description(Some("An API key, created with POST /v2/api-keys."))
        .build();
    components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    components.schemas.entry(REFUSAL.to_owned()).or_insert_with(Envelope::<String>::schema);
    let mut limited = vec![(RateLimited::name().into_owned(), RateLimited::schema())];
    RateLimited::schemas(&mut limited);
    components.schemas.extend(limited);
    for (name, description) in LIMIT_HEADERS.into_iter().chain([RETRY_AFTER]) {
        components.headers.insert(name.to_owned(), header(description).into());
    }
}

/// Describes how a route may refuse and, for routes with a key, what it says of the key's limit.
fn add_refusals(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    if operation.request_body.is_some() {
        responses.entry("413".to_owned()).or_insert_with(|| refusal("The body is over 256 KiB").into());
    }
    let public = [SecurityRequirement::default()];
    if operation.security.as_deref() == Some(&public) {
        // Redocly's rules want a 4xx for each operation: any route may return this one.
        if !responses.keys().any(|status| status.starts_with('4')) {
            let too_large = ResponseBuilder::new().description("The request's headers are too large");
            responses.insert("431".to_owned(), too_large.build().into());
        }
        return;
    }
    for (status, description) in [
        ("400", "A parameter is not valid"),
        ("401", "No API key, or one that is not valid"),
        ("403", "The API key lacks the scope"),
        ("503", "Storage is out of reach; `Retry-After` says when to try again"),
    ] {
        responses.entry(status.to_owned()).or_insert_with(|| refusal(description).into());
    }
    let content = Content::new(Some(Ref::from_schema_name(RateLimited::name())));
    let limited = ResponseBuilder::new()
        .description("The API key is over its limit of requests a minute")
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

/// What every response says of the limit of its key.
const LIMIT_HEADERS: [(&str, &str); 3] = [
    ("X-RateLimit-Limit", "Requests of this kind that the key may make in a minute"),
    ("X-RateLimit-Remaining", "Requests that are left now"),
    (
        "X-RateLimit-Reset",
        "When there is more room, in seconds since 1970: at the end of the minute, or with none remaining when one more \
         request is let in",
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

/// Adds examples to an operation's request body and to its responses of success. The operations of `/v1` have those of the
/// bare paths.
fn add_examples(operation: &mut Value, examples: &Map<String, Value>) {
    let id = operation["operationId"].as_str().unwrap_or_default();
    let Some(example) = examples.get(id.strip_prefix("v1_").unwrap_or(id)) else { return };
    if let Some(body) = operation.get_mut("requestBody") {
        add_example(body, &example["request"]);
    }
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        add_example(response, &example["responses"][status.as_str()]);
    }
}

/// Adds to each content of a body the example of its media type.
fn add_example(body: &mut Value, by_type: &Value) {
    for (media_type, content) in body.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(example) = by_type.get(media_type) {
            content["example"] = example.clone();
        }
    }
}

/// Removes `default: null`: a field that is left out is not set to null.
fn omit_null_defaults(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
            }
            fields.values_mut().for_each(omit_null_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(omit_null_defaults),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const SCHEMAS: &str = "#/components/schemas/";

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

/// Gives every schema of a body that is written out a name.
fn name_bodies(document: &mut Value) {
    let mut named = Map::new();
    for operation in operations(document) {
        let responses = operation["responses"].as_object().into_iter().flat_map(|responses| responses.keys());
        let mut bodies: Vec<_> = responses.map(|status| format!("/responses/{status}/content")).collect();
        bodies.push("/requestBody/content".to_owned());
        for body in bodies {
            let by_type = operation.pointer_mut(&body).and_then(Value::as_object_mut).into_iter().flatten();
            for (media_type, content) in by_type {
                if let Some(schema) = content.get_mut("schema")
                    && let Some(name) = body_name(media_type, schema)
                {
                    let unnamed = std::mem::replace(schema, reference(&name));
                    named.insert(name, unnamed);
                }
            }
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(named);
    }
}

/// Returns a name for the schema of a body that has none: of what may be null, `Option_` and the name of what it is
/// otherwise; of text, its kind.
fn body_name(media_type: &str, schema: &Value) -> Option<String> {
    match media_type {
        "application/json" => {
            let either = schema["oneOf"].as_array().into_iter().flatten();
            let mut names = either.filter_map(|schema| schema["$ref"].as_str()?.strip_prefix(SCHEMAS));
            names.next().map(|name| format!("Option_{name}"))
        }
        "text/plain" => Some("PlainText".to_owned()),
        "text/csv" => Some("Csv".to_owned()),
        "application/x-www-form-urlencoded" => Some("Form".to_owned()),
        _ => None,
    }
}

/// Puts a reference wherever a component's schema is written out once more, as in the results of an envelope.
fn refer_to_components(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let names: BTreeMap<String, String> =
        schemas.iter().map(|(name, schema)| (schema.to_string(), name.clone())).collect();
    for schema in schemas.values_mut() {
        refer_within(schema, &names);
    }
}

fn refer_within(schema: &mut Value, names: &BTreeMap<String, String>) {
    let parts: Vec<&mut Value> = match schema {
        Value::Object(fields) => fields.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for part in parts {
        match names.get(&part.to_string()) {
            Some(name) if part.is_object() => *part = reference(name),
            _ => refer_within(part, names),
        }
    }
}
