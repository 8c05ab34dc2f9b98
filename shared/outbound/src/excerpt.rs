//! Cuts others' responses to a length that people can read and the table can keep.

/// What stands where a text was cut.
pub const TRUNCATED: &str = "[truncated]";

/// How many bytes of a receiver's response are kept.
pub const EXCERPT_BYTES: usize = 4_096;

/// Returns at most `max` bytes of `bytes` as text, cut between characters; what is not UTF-8 shows as U+FFFD.
/// `[truncated]` follows when it was cut, or when `is_cut` says that these bytes are already less than the whole.
pub fn excerpt(bytes: &[u8], is_cut: bool, max: usize) -> String {
    cut(bytes, is_cut, max, TRUNCATED)
}

/// Does as `excerpt`, with the caller's mark where the text was cut.
pub fn cut(bytes: &[u8], is_cut: bool, max: usize, mark: &str) -> String {
    let mut text = String::new();
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        // Half a character at the end of cut bytes is not the sender's fault.
        let is_half_a_character = is_cut && chunks.peek().is_none();
        if !chunk.invalid().is_empty() && !is_half_a_character {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        if text.len() > max {
            text.truncate(text.floor_char_boundary(max));
            return text + mark;
        }
    }
    if is_cut { text + mark } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters_and_says_so() {
        assert_eq!(excerpt(b"whole", false, 5), "whole");
        assert_eq!(excerpt(b"whole", true, 5), "whole[truncated]");
        assert_eq!(excerpt(b"longer", false, 5), "longe[truncated]");
        assert_eq!(excerpt("äöü".as_bytes(), false, 5), "äö[truncated]");
        assert_eq!(excerpt(&"äöü".as_bytes()[..5], true, 5), "äö[truncated]");
        assert_eq!(excerpt(b"", false, 5), "");
    }

    #[test]
    fn shows_what_is_not_text_as_replacement_characters() {
        assert_eq!(excerpt(b"a\xffb", false, 9), "a\u{fffd}b");
        assert_eq!(excerpt(b"a\xff", false, 9), "a\u{fffd}");
        assert_eq!(excerpt(&[0xff; 9], false, 7), "\u{fffd}\u{fffd}[truncated]");
    }
}
