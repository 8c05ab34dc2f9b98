//! A value that breaks a rule, with the field that holds it.

/// What is wrong with one field of a request. `Display` names the field first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field's name as the caller wrote it, with its path when nested.
    pub field: String,
    /// What the rule asks for, as the end of a sentence that begins with the field.
    pub problem: String,
}

impl Invalid {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}
