//! `/docs`: the document of the whole API, and a page over it that needs no network.

use axum::Router;
use runtime::Envelope;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContactBuilder, Content, Info, OpenApi, Ref, ResponseBuilder};
use utoipa_swagger_ui::{Config, SwaggerUi};

/// Completes a document made of the functions' routes.
pub fn document(mut routes: OpenApi) -> OpenApi {
    routes.info = Info::new("Medic", env!("CARGO_PKG_VERSION"));
    routes.info.description = Some(
        "Notices within seconds when a service, cron job or worker stops reporting, and tells the right people."
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

/// Describes how every route that asks for a key may refuse.
fn add_refusals(operation: &mut Operation) {
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
        let content = Content::new(Some(Ref::from_schema_name(REFUSAL)));
        let refusal = ResponseBuilder::new().description(description).content("application/json", content);
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| refusal.into());
    }
}

/// Serves a document at `/docs/openapi.json`, and a page over it at `/docs`.
pub fn docs<S: Clone + Send + Sync + 'static>(document: OpenApi) -> Router<S> {
    // Without this the page asks a validator on the internet about the document.
    let config = Config::default().validator_url("none");
    SwaggerUi::new("/docs").url("/docs/openapi.json", document).config(config).into()
}
