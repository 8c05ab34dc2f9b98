//! How many requests a minute a key may make that has no limits of its own.

use domain::RequestClass;

/// Requests a minute for a key that has no limits of its own.
#[derive(Debug, Clone, Copy)]
pub struct DefaultLimits {
    pub heartbeats: u32,
    pub management: u32,
    pub executions: u32,
}

/// For each address that starts playbooks with the secret for it.
const TRIGGERS: u32 = 10;

impl DefaultLimits {
    pub(super) fn of(self, class: RequestClass) -> u32 {
        match class {
            RequestClass::Heartbeats => self.heartbeats,
            RequestClass::Management => self.management,
            RequestClass::Executions => self.executions,
            RequestClass::Triggers => TRIGGERS,
        }
    }
}
