//! A page of a list, as every list under `/v2` returns it.

use runtime::bytes_in_response;
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

impl<T: Serialize> PageView<T> {
    /// Returns a page of items that may be long, which holds no more than one response may. `cursor` is where a page ends
    /// that ends with an item.
    pub(crate) fn fitting<U>(page: Page<U>, view: impl FnMut(U) -> T, cursor: impl Fn(&T) -> String) -> Self {
        let Self { mut items, mut next_cursor } = Self::of(page, view);
        let mut bytes = 0;
        let fits = items.iter().take_while(|item| {
            bytes += bytes_in_response(&serde_json::to_vec(item).unwrap_or_default());
            bytes <= MAX_BYTES
        });
        let fits = fits.count().max(1);
        if fits < items.len() {
            items.truncate(fits);
            next_cursor = items.last().map(cursor);
        }
        Self { items, next_cursor }
    }
}

/// The most that is put into one page: less than Lambda returns, since whoever lists wants the next page soon.
pub(crate) const MAX_BYTES: usize = 2 * 1024 * 1024;

/// Returns a number that is written as a whole one where it is whole.
pub(crate) fn number(value: f64) -> serde_json::Number {
    if value.fract().abs() > 0.0 {
        return serde_json::Number::from_f64(value).unwrap_or_else(|| 0.into());
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most a year's minutes")]
    (value as i64).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_long_items_holds_fewer_and_its_cursor_leads_on() {
        // A control character takes seven bytes: six in the body, whose backslash is escaped once more.
        let long = "\u{1}".repeat(50_000);
        let page = |items: usize| Page { items: (0..items).collect(), next: Some("next".to_owned()) };
        let fitting = |items| PageView::fitting(page(items), |n: usize| (n, long.as_str()), |(n, _)| n.to_string());
        let shown = |items| {
            let PageView { items, next_cursor } = fitting(items);
            (items.len(), next_cursor.unwrap())
        };
        assert_eq!(shown(5), (5, "next".to_owned()));
        assert_eq!(shown(250), (5, "4".to_owned()));
    }
}
