//! A page of a list, as every list under `/v2` returns it.

use serde::Serialize;
use store::Page;
use utoipa::ToSchema;

/// A page of a list, and where the next page begins.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageView<T> {
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; null on the last.
    pub(crate) next_cursor: Option<String>,
}

impl<T> PageView<T> {
    pub(crate) fn of<U>(page: Page<U>, view: impl FnMut(U) -> T) -> Self {
        Self { items: page.items.into_iter().map(view).collect(), next_cursor: page.next }
    }
}

/// Returns a number that is written as a whole one where it is whole.
pub(crate) fn number(value: f64) -> serde_json::Number {
    if value.fract().abs() > 0.0 {
        return serde_json::Number::from_f64(value).unwrap_or_else(|| 0.into());
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most a year's minutes")]
    (value as i64).into()
}
