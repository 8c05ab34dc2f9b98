//! Shows no more of a secret than distinguishes it from another.

use std::collections::BTreeMap;

/// Returns `…` and the last four characters; `…` alone for a secret of fewer than twelve. The masked text cannot be written
/// back by mistake, since no secret may hold `…`.
pub(crate) fn masked(secret: &str) -> String {
    const SHOWN: usize = 4;
    const MIN: usize = 12;
    let chars = secret.chars().count();
    let shown = if chars < MIN { 0 } else { SHOWN };
    std::iter::once('…').chain(secret.chars().skip(chars - shown)).collect()
}

/// Returns headers with their values masked.
pub(crate) fn masked_headers(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    headers.iter().map(|(name, value)| (name.clone(), masked(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_is_not_shown_at_all() {
        assert_eq!(masked("0123456789abcdef0123456789abcdef"), "…cdef");
        assert_eq!(masked("0123456789ab"), "…89ab");
        assert_eq!(masked("0123456789a"), "…");
        assert_eq!(masked(""), "…");
    }
}
