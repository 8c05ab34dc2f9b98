//! What is wrong with a playbook's document, at its place.

use domain::shorten;

/// What is wrong with a document, or odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// With its path, such as `steps[1].url`; `yaml` when it is the document as a whole.
    pub field: String,
    /// The end of a sentence that begins with the field.
    pub message: String,
    /// From 1.
    pub line: u64,
}

impl Problem {
    /// Fields and messages repeat what a document says, which may be long.
    const MAX_CHARS: usize = 300;

    pub(super) fn at(field: &str, message: &str, line: u64) -> Self {
        Self { field: shorten(field, Self::MAX_CHARS), message: shorten(message, Self::MAX_CHARS), line: line.max(1) }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field, message, line } = self;
        write!(f, "{field} {message} (line {line})")
    }
}
