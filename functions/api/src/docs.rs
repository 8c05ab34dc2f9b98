//! `/docs`: the document of the whole API, and a page over it that needs no network.

use axum::Router;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContactBuilder, Info, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

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
    // A route that answers at two paths is described twice: each description needs an id of its own.
    for (path, item) in &mut routes.paths.paths {
        if !path.starts_with("/v1/") {
            continue;
        }
        for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten() {
            if let Some(id) = &mut operation.operation_id {
                id.insert_str(0, "v1_");
            }
        }
    }
    routes
}

/// Serves a document at `/docs/openapi.json`, and a page over it at `/docs`.
pub fn docs<S: Clone + Send + Sync + 'static>(document: OpenApi) -> Router<S> {
    SwaggerUi::new("/docs").url("/docs/openapi.json", document).into()
}
