//! The routes of a function, each with what it asks of its caller: the one source for authentication, for the limits on
//! requests, and for `security` in the OpenAPI document.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::MethodRouter;
use domain::{RequestClass, Scope};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::App;
use crate::access::{Access, PathAccess};

/// Routes, which can be added only with what they ask of their caller:
///
/// ```text
/// Routes::new().read(routes!(teams::list)).write(routes!(teams::create))
/// ```
#[derive(Clone, Default)]
pub struct Routes {
    router: OpenApiRouter<App>,
    by_path: HashMap<String, PathAccess>,
}

/// What `routes!` makes of handlers.
type Handlers = UtoipaMethodRouter<App>;

impl Routes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds routes for keys with `read`.
    #[must_use]
    pub fn read(self, handlers: Handlers) -> Self {
        self.add(Access::Key { any_of: &[Scope::Read], class: RequestClass::Management }, handlers)
    }

    /// Adds routes for keys with `write`.
    #[must_use]
    pub fn write(self, handlers: Handlers) -> Self {
        self.add(Access::Key { any_of: &[Scope::Write], class: RequestClass::Management }, handlers)
    }

    /// Adds routes for keys with `admin`.
    #[must_use]
    pub fn admin(self, handlers: Handlers) -> Self {
        self.add(Access::Key { any_of: &[Scope::Admin], class: RequestClass::Management }, handlers)
    }

    /// Adds routes for keys with `heartbeat` or `write`, whose requests count as heartbeats.
    #[must_use]
    pub fn heartbeat(self, handlers: Handlers) -> Self {
        self.add(Access::Key { any_of: &[Scope::Heartbeat, Scope::Write], class: RequestClass::Heartbeats }, handlers)
    }

    /// Adds routes for keys with `write`, whose requests count as playbook executions.
    #[must_use]
    pub fn execution(self, handlers: Handlers) -> Self {
        self.add(Access::Key { any_of: &[Scope::Write], class: RequestClass::Executions }, handlers)
    }

    /// Adds routes with a ping key in their path, `/ping/{ping_key}/…`. They count as heartbeats.
    #[must_use]
    pub fn ping(self, handlers: Handlers) -> Self {
        self.add(Access::PingKey, handlers)
    }

    /// Adds routes for callers that know `MEDIC_WEBHOOK_SECRET`. They count as triggers, by source address.
    #[must_use]
    pub fn webhook_secret(self, handlers: Handlers) -> Self {
        self.add(Access::WebhookSecret, handlers)
    }

    /// Adds routes for requests that Slack signed. They are not limited.
    #[must_use]
    pub fn slack(self, handlers: Handlers) -> Self {
        self.add(Access::SlackSignature, handlers)
    }

    /// Adds routes for everybody. They are not limited.
    #[must_use]
    pub fn public(self, handlers: Handlers) -> Self {
        self.add(Access::Public, handlers)
    }

    /// Adds what browsers ask before they call `path`. It is for everybody, and not in the document.
    #[must_use]
    pub fn preflight(mut self, path: &str, handler: MethodRouter<App>) -> Self {
        self.by_path.entry(path.to_owned()).or_default().add(Method::OPTIONS, Access::Public);
        Self { router: self.router.route(path, handler), ..self }
    }

    fn add(mut self, access: Access, (schemas, mut paths, handlers): Handlers) -> Self {
        for (path, item) in &mut paths.paths {
            for (method, operation) in operations(item) {
                operation.security = Some(access.security());
                self.by_path.entry(path.clone()).or_default().add(method, access);
            }
        }
        Self { router: self.router.routes((schemas, paths, handlers)), ..self }
    }

    /// Adds the routes of another.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let mut by_path = self.by_path;
        for (path, access) in other.by_path {
            by_path.entry(path).or_default().merge(access);
        }
        Self { router: self.router.merge(other.router), by_path }
    }

    /// Adds the routes of another under a prefix.
    #[must_use]
    pub fn nest(self, prefix: &str, other: Self) -> Self {
        let mut by_path = self.by_path;
        for (path, access) in other.by_path {
            by_path.entry(format!("{prefix}{path}")).or_default().merge(access);
        }
        Self { router: self.router.nest(prefix, other.router), by_path }
    }

    /// Returns the OpenAPI document of the routes.
    pub fn document(&self) -> OpenApi {
        self.router.get_openapi().clone()
    }

    /// Returns the router, and what each path asks for.
    pub(crate) fn into_parts(self) -> (Router<App>, AccessTable) {
        (self.router.into(), AccessTable(Arc::new(self.by_path)))
    }
}

/// What every route asks for, by its path as it is declared.
#[derive(Debug, Clone)]
pub(crate) struct AccessTable(Arc<HashMap<String, PathAccess>>);

impl AccessTable {
    /// Returns what `method` of `path` asks for; nothing where nothing is declared.
    pub(crate) fn of(&self, method: &Method, path: &str) -> Option<Access> {
        self.0.get(path)?.of(method)
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let by_method = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    by_method.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
