//! What was wrong.

/// What was wrong with a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// By its place in the plan; none if it is of no service.
    pub(crate) service: Option<usize>,
    pub(crate) what: String,
    /// Whether Medic may still put it right.
    pub(crate) may_pass: bool,
}

impl Wrong {
    pub(crate) fn of(service: usize, what: impl Into<String>) -> Self {
        Self { service: Some(service), what: what.into(), may_pass: false }
    }

    /// Returns what was wrong without the numbers in it.
    pub(crate) fn kind(&self) -> String {
        let mut kind = String::new();
        for character in self.what.chars() {
            match character {
                '0'..='9' if kind.ends_with('#') => {}
                '0'..='9' => kind.push('#'),
                other => kind.push(other),
            }
        }
        kind
    }

    pub(crate) fn so_far(service: usize, what: impl Into<String>) -> Self {
        Self { may_pass: true, ..Self::of(service, what) }
    }
}
