//! Masks secrets in what is shown, in the spellings that tools give them without being asked. Pure.
//!
//! It keeps secrets out of logs by mistake, and nothing more: whoever writes a script or a receiver can spell a secret in
//! ways that nobody foresees. What keeps a secret from them is where it may go (`SecretUses`).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

/// Secrets, and what stands in their places.
#[derive(Clone, Default)]
pub struct Masks(Vec<Masked>);

/// A secret, or one of its encodings, and what stands in its place.
#[derive(Clone)]
struct Masked {
    value: Vec<u8>,
    spelling: Spelling,
    mask: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As it is, with any of its characters percent-encoded, or escaped as in JSON, shells, Python or HTML.
    Escaped,
    /// In hexadecimal digits of either case.
    Hex,
    /// In base64 of either alphabet, broken into lines or not.
    Base64,
}

/// What a text begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// A secret of this length.
    Whole(usize),
    /// What may be a secret's beginning, and the text ends there.
    Begun,
    No,
}

impl Masks {
    /// The shortest secret, in bytes, that is recognised when it is encoded: shorter ones would mask half of any text.
    const MIN_ENCODED: usize = 4;
    /// The longest way to write one byte.
    const MAX_ESCAPE: usize = "\\u0041".len();

    /// Masks these values, each by what stands beside it.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut all = Vec::new();
        for (value, mask) in secrets {
            let mut push = |value: Vec<u8>, spelling| all.push(Masked { value, spelling, mask: mask.clone() });
            if !value.is_empty() {
                push(value.as_bytes().to_vec(), Spelling::Escaped);
            }
            if value.len() >= Self::MIN_ENCODED {
                push(hex::encode(value).into_bytes(), Spelling::Hex);
                (0..3).for_each(|before| push(base64_core(value, before), Spelling::Base64));
            }
        }
        Self(all)
    }

    /// Returns the length in bytes of the longest spelling.
    pub fn longest(&self) -> usize {
        self.0.iter().map(|secret| secret.value.len() * Self::MAX_ESCAPE).max().unwrap_or_default()
    }

    /// Masks each secret that begins in the first `shown` bytes of a text, the longest first, and returns these.
    pub fn mask(&self, text: &[u8], shown: usize) -> Vec<u8> {
        self.masked(text, shown, false)
    }

    fn masked(&self, text: &[u8], shown: usize, is_cut: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len().min(shown));
        let mut at = 0;
        while at < text.len().min(shown) {
            let (mut longest, mut is_begun) = (None, false);
            for secret in &self.0 {
                match secret.begins(&text[at..]) {
                    Match::Whole(length) if longest.is_none_or(|(known, _)| known < length) => {
                        longest = Some((length, secret.mask.as_str()));
                    }
                    Match::Whole(_) | Match::No => {}
                    Match::Begun => is_begun = true,
                }
            }
            match longest {
                Some((length, mask)) => {
                    out.extend_from_slice(mask.as_bytes());
                    at += length;
                }
                None if is_begun && is_cut => break,
                None => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// Masks each secret in a text.
    pub fn mask_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask(text.as_bytes(), text.len())).into_owned()
    }

    /// As `mask_text`, of a text that was cut: what may be the beginning of a secret at its end is left out.
    pub fn mask_cut(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.masked(text.as_bytes(), text.len(), true)).into_owned()
    }
}

impl Masked {
    fn begins(&self, text: &[u8]) -> Match {
        match self.spelling {
            Spelling::Escaped => escaped(&self.value, text),
            Spelling::Hex => sequence(&self.value, text, |digit| Some(digit.to_ascii_lowercase())),
            Spelling::Base64 => sequence(&self.value, text, base64_digit),
        }
    }
}

/// Matches digits one by one, each as `digit` reads it; what it reads as none is skipped within the sequence.
fn sequence(value: &[u8], text: &[u8], digit: impl Fn(u8) -> Option<u8>) -> Match {
    let mut at = 0;
    for wanted in value {
        while at > 0 && text.get(at).is_some_and(|byte| digit(*byte).is_none()) {
            at += 1;
        }
        match text.get(at) {
            None => return Match::Begun,
            Some(byte) if digit(*byte) == Some(*wanted) => at += 1,
            Some(_) => return Match::No,
        }
    }
    Match::Whole(at)
}

/// Reads a digit of base64 in the usual alphabet; a line break is none.
const fn base64_digit(byte: u8) -> Option<u8> {
    match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'\r' | b'\n' => None,
        byte => Some(byte),
    }
}

/// Returns the digits of a value in base64 that depend on nothing beside it, when so many bytes stand before it in a
/// group of three.
fn base64_core(value: &str, before: usize) -> Vec<u8> {
    const BITS: usize = 6;
    let padded = [vec![0; before], value.as_bytes().to_vec()].concat();
    let digits = BASE64_STANDARD_NO_PAD.encode(&padded).into_bytes();
    digits[(before * 8).div_ceil(BITS)..padded.len() * 8 / BITS].to_vec()
}

/// Matches a value any of whose bytes may be escaped. There can be several ways to read a text, and all are followed.
fn escaped(value: &[u8], text: &[u8]) -> Match {
    let mut places = vec![0];
    let mut is_begun = false;
    let mut done = 0;
    while done < value.len() {
        let mut next = Vec::new();
        let mut skipped = 0;
        for place in places {
            let rest = &text[place..];
            is_begun |= rest.len() < Masks::MAX_ESCAPE && is_cut_escape(rest, place > 0);
            for (length, bytes) in readings(rest) {
                if value[done..].starts_with(&bytes) {
                    // Only a character beyond ASCII is more than one byte, and it has no other escape.
                    skipped = bytes.len();
                    next.push(place + length);
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return if is_begun { Match::Begun } else { Match::No };
        }
        done += skipped;
        places = next;
    }
    places.last().map_or(Match::No, |end| Match::Whole(*end))
}

/// Returns whether a text that ends here may have been cut within a value: at its end, or within an escape.
fn is_cut_escape(rest: &[u8], is_within: bool) -> bool {
    match rest.first() {
        None => is_within,
        Some(b'%') => rest.len() < 3,
        Some(b'\\' | b'&') => !rest.contains(&b';') && rest.len() < Masks::MAX_ESCAPE,
        Some(_) => false,
    }
}

/// Returns what the beginning of a text may stand for: how long it is, and the bytes.
fn readings(text: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let Some(first) = text.first() else { return Vec::new() };
    let mut found = vec![(1, vec![*first])];
    let hex = |from: usize, to: usize| {
        let digits = std::str::from_utf8(text.get(from..to)?).ok()?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let byte = |value: u32| u8::try_from(value).map(|byte| vec![byte]).ok();
    match first {
        b'+' => found.push((1, vec![b' '])),
        b'%' => found.extend(hex(1, 3).and_then(byte).map(|bytes| (3, bytes))),
        b'&' => found.extend(
            ENTITIES
                .iter()
                .filter(|(name, _)| text.starts_with(name))
                .map(|(name, stands_for)| (name.len(), vec![*stands_for])),
        ),
        b'\\' => match text.get(1) {
            Some(b'u') => found.extend(unicode_escape(hex(2, 6), hex(8, 12), text.get(6..8))),
            Some(b'x') => found.extend(hex(2, 4).and_then(byte).map(|bytes| (4, bytes))),
            Some(letter) => {
                found.push((2, vec![*letter]));
                let control = [(b'n', b'\n'), (b'r', b'\r'), (b't', b'\t'), (b'b', 8), (b'f', 12)];
                let stands_for = control.iter().find(|(known, _)| known == letter);
                found.extend(stands_for.map(|(_, stands_for)| (2, vec![*stands_for])));
            }
            None => {}
        },
        _ => {}
    }
    found
}

const ENTITIES: [(&[u8], u8); 8] = [
    (b"&amp;", b'&'),
    (b"&lt;", b'<'),
    (b"&gt;", b'>'),
    (b"&quot;", b'"'),
    (b"&apos;", b'\''),
    (b"&#39;", b'\''),
    (b"&#34;", b'"'),
    (b"&#x27;", b'\''),
];

/// Returns the character of `\uXXXX`, or of two of these that form a pair.
fn unicode_escape(unit: Option<u32>, second: Option<u32>, between: Option<&[u8]>) -> Option<(usize, Vec<u8>)> {
    let units: Vec<u16> = [unit, second.filter(|_| between == Some(b"\\u"))]
        .into_iter()
        .map_while(|unit| u16::try_from(unit?).ok())
        .collect();
    let character = char::decode_utf16(units).next()?.ok()?;
    let length = if character.len_utf16() == 2 { 12 } else { 6 };
    Some((length, character.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(secrets: &[(&str, &str)]) -> Masks {
        Masks::new(secrets.iter().map(|(name, value)| (*value, format!("[secret {name}]"))))
    }

    fn masked(text: &str, secrets: &[(&str, &str)]) -> String {
        masks(secrets).mask_text(text)
    }

    #[test]
    fn a_secret_is_found_as_it_is_and_the_longest_first() {
        let secrets = [("A", "pass"), ("B", "passport \"7\"\n"), ("C", "")];
        let text = "pass passport \"7\"\n {\"x\": \"passport \\\"7\\\"\\n\"} ?k=passport%20%227%22%0A";
        assert_eq!(masked(text, &secrets), "[secret A] [secret B] {\"x\": \"[secret B]\"} ?k=[secret B]");
        assert_eq!(masked("nothing", &secrets), "nothing");
        // What masks one is not searched for another.
        assert_eq!(masked("pass", &[("A", "pass"), ("X", "secret")]), "[secret A]");
        assert_eq!(masked("\\\\x %25 x", &[("A", "\\\\x"), ("B", "%25 x")]), "[secret A] [secret B]");
    }

    #[test]
    fn a_secret_is_found_in_what_tools_make_of_it() {
        let secret = "hunter2/ä&\"2\\<😀'";
        for spelled in [
            "hunter2%2F%C3%A4%26%222%5C%3C%F0%9F%98%80%27",
            "hunter2%2f%c3%a4%26%222%5c%3c%f0%9f%98%80'",
            r#"hunter2\/ä&\"2\\<😀'"#,
            r"hunter2/\u00e4\u0026\u00222\u005c\u003c\ud83d\ude00\u0027",
            "hunter2/ä&amp;&quot;2\\&lt;😀&#39;",
            r"hunter2/\xc3\xa4&\x222\\<\xf0\x9f\x98\x80\'",
        ] {
            assert_eq!(masked(&format!("<{spelled}>"), &[("A", secret)]), "<[secret A]>", "{spelled}");
        }
        assert_eq!(masked("a+b%20c", &[("A", "a b c")]), "[secret A]");
    }

    #[test]
    fn a_secret_is_found_in_hexadecimal_and_in_base64_wherever_it_stands() {
        let secrets = [("A", "hunter2-hunter2")];
        for text in [hex::encode("hunter2-hunter2"), hex::encode_upper("hunter2-hunter2")] {
            assert_eq!(masked(&text, &secrets), "[secret A]");
        }
        for before in ["", "a", "ab", "user:", "Bearer "] {
            for after in ["", "!", "\n", "??"] {
                for engine in [BASE64_STANDARD_NO_PAD, base64::prelude::BASE64_URL_SAFE_NO_PAD] {
                    let text = engine.encode(format!("{before}hunter2-hunter2{after}"));
                    let shown = masked(&text, &secrets);
                    assert!(shown.contains("[secret A]") && shown.len() < 10 + 16, "{text}: {shown}");
                }
            }
        }
        let long = "k9".repeat(60);
        let lines = BASE64_STANDARD_NO_PAD.encode(&long);
        let wrapped = format!("{}\n{}\r\n{}", &lines[..76], &lines[76..152], &lines[152..]);
        assert!(masked(&wrapped, &[("A", &long)]).len() < 14, "{wrapped}");
        // Too short to be distinguished from other text.
        assert_eq!(masked("ff61 YWE=", &[("A", "aa")]), "ff61 YWE=");
    }

    #[test]
    fn what_may_begin_a_secret_where_a_text_was_cut_is_left_out() {
        let masks = masks(&[("A", "hunter2/hunter2")]);
        for (cut, shown) in [
            ("x hunter2/hunter2", "x [secret A]"),
            ("x! hunter2/hun", "x! "),
            ("x! hunter2%2", "x! "),
            ("x! hunter2\\u00", "x! "),
            ("x! 68756e746", "x! "),
            ("x! hunter3", "x! hunter3"),
        ] {
            assert_eq!(masks.mask_cut(cut), shown, "{cut}");
        }
        assert_eq!(masks.mask(b"ab hunter2/hunter2", 4), b"ab [secret A]");
    }
}
