//! Cuts texts to what receivers take, with an ellipsis.

/// Returns a text of at most `max` units of UTF-16, which is the strictest way to count characters, cut between them.
pub(crate) fn fit(text: &str, max: usize) -> String {
    fit_parts(text.split_inclusive(|_: char| true), text, max)
}

/// Returns markup of at most so many, cut between its characters, escapes and links.
pub(crate) fn fit_markup(markup: &str, max: usize) -> String {
    fit_parts(Parts(markup), markup, max)
}

fn fit_parts<'a>(parts: impl Iterator<Item = &'a str>, whole: &str, max: usize) -> String {
    let length = |text: &str| text.encode_utf16().count();
    if length(whole) <= max {
        return whole.to_owned();
    }
    let (mut fitting, mut left) = (String::new(), max.saturating_sub(1));
    for part in parts {
        let Some(rest) = left.checked_sub(length(part)) else { break };
        fitting.push_str(part);
        left = rest;
    }
    fitting.push('…');
    fitting
}

/// The characters of markup, each escape and each link as one.
struct Parts<'a>(&'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = match self.0.chars().next()? {
            '&' => self.0.find(';').map(|at| at + 1),
            '<' => self.0.find('>').map(|at| at + 1),
            c => Some(c.len_utf8()),
        };
        let (part, rest) = self.0.split_at(end.unwrap_or(1));
        self.0 = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(fit("whole", 5), "whole");
        assert_eq!(fit("longer", 5), "long…");
        assert_eq!(fit("𝄞𝄞𝄞", 6), "𝄞𝄞𝄞");
        assert_eq!(fit("𝄞𝄞𝄞", 5), "𝄞𝄞…");
        assert_eq!(fit("𝄞𝄞𝄞", 4), "𝄞…");
    }

    #[test]
    fn markup_is_cut_between_escapes_and_links() {
        assert_eq!(fit_markup("a &amp; b", 9), "a &amp; b");
        assert_eq!(fit_markup("a &amp; b", 8), "a &amp;…");
        assert_eq!(fit_markup("a &amp; b", 7), "a …");
        assert_eq!(fit_markup("see <https://x|x> now", 17), "see …");
        assert_eq!(fit_markup("see <https://x|x> now", 19), "see <https://x|x> …");
    }
}
