//! Says whether somebody would approve what they started themselves: a second person must look at it.

use domain::{Execution, Origin};

use crate::Medic;

/// Why such an approval does not count.
pub(super) const OWN_REQUEST: &str = "Whoever started an execution cannot approve it.";
/// How that can be changed.
pub(super) const EXCEPTION: &str = "Somebody else must, unless MEDIC_ALLOW_SELF_APPROVAL is true";

impl Medic {
    /// Returns whether an actor would approve what they started themselves, and may not.
    pub(super) fn is_own_request(&self, execution: &Execution, actor: Option<&str>) -> bool {
        let started_by = match &execution.origin {
            Origin::Key { name } => Some(name.as_str()),
            Origin::Webhook | Origin::Alert { .. } => None,
        };
        !self.settings.allow_self_approval && started_by.is_some() && started_by == actor
    }
}
