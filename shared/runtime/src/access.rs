//! What a route asks of its caller.

use axum::http::Method;
use domain::{RequestClass, Scope};
use utoipa::openapi::security::SecurityRequirement;

/// What a route asks of its caller, and what its requests count as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Public,
    /// A key with any one of these scopes, whose requests count as `class`.
    Key { any_of: &'static [Scope], class: RequestClass },
    /// A ping key in its path. It counts as a heartbeat.
    PingKey,
    /// The secret for it in `X-Webhook-Secret`. It counts by source address.
    WebhookSecret,
    /// Slack's signature. It is not limited.
    SlackSignature,
}

impl Access {
    /// Returns what the OpenAPI document says of it: one requirement for each scope that suffices. What a key in a path, a
    /// secret or a signature opens has no scheme there, and needs no API key.
    pub(crate) fn security(self) -> Vec<SecurityRequirement> {
        match self {
            Self::Key { any_of, .. } => {
                any_of.iter().map(|scope| SecurityRequirement::new("api_key", [scope.as_str()])).collect()
            }
            Self::Public | Self::PingKey | Self::WebhookSecret | Self::SlackSignature => {
                vec![SecurityRequirement::default()]
            }
        }
    }
}

/// What the routes of one path ask for, by method.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PathAccess(Vec<(Method, Access)>);

impl PathAccess {
    pub(crate) fn add(&mut self, method: Method, access: Access) {
        self.0.push((method, access));
    }

    pub(crate) fn merge(&mut self, Self(more): Self) {
        self.0.extend(more);
    }

    /// Returns what `method` asks for; nothing where it is not declared. HEAD is GET without the body.
    pub(crate) fn of(&self, method: &Method) -> Option<Access> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.iter().find(|(known, _)| known == method).map(|(_, access)| *access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_method_that_is_declared_may_be_asked_for() {
        let mut path = PathAccess::default();
        path.add(Method::GET, Access::Public);
        assert_eq!(path.of(&Method::GET), Some(Access::Public));
        assert_eq!(path.of(&Method::HEAD), Some(Access::Public));
        assert_eq!(path.of(&Method::POST), None);
    }
}
