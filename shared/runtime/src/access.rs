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

    /// Returns what `method` asks for; nothing on a path without routes. HEAD is GET without the body. A method that the
    /// path does not have is refused by the router, but only to a caller that has a key: any key will do.
    pub(crate) fn of(&self, method: &Method) -> Option<Access> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let declared = self.0.iter().find(|(known, _)| known == method).map(|(_, access)| *access);
        declared.or_else(|| self.0.first().map(|(_, access)| access.of_wrong_method()))
    }
}

impl Access {
    fn of_wrong_method(self) -> Self {
        match self {
            Self::Key { .. } => Self::Key { any_of: &Scope::ALL, class: RequestClass::Management },
            Self::Public | Self::PingKey | Self::WebhookSecret | Self::SlackSignature => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Access = Access::Key { any_of: &[Scope::Read], class: RequestClass::Management };
    const WRITE: Access = Access::Key { any_of: &[Scope::Write], class: RequestClass::Management };

    #[test]
    fn a_method_asks_for_what_it_declared() {
        let mut path = PathAccess::default();
        path.add(Method::GET, READ);
        path.add(Method::POST, WRITE);
        assert_eq!(
            [Method::GET, Method::HEAD, Method::POST].map(|method| path.of(&method)),
            [READ, READ, WRITE].map(Some)
        );
    }

    #[test]
    fn a_method_that_is_not_there_is_refused_to_key_holders_alone() {
        let mut path = PathAccess::default();
        assert_eq!(path.of(&Method::GET), None);
        path.add(Method::GET, READ);
        assert_eq!(path.of(&Method::PUT), Some(Access::Key { any_of: &Scope::ALL, class: RequestClass::Management }));
        let mut public = PathAccess::default();
        public.add(Method::GET, Access::Public);
        assert_eq!(public.of(&Method::PUT), Some(Access::Public));
    }
}
