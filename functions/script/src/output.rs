//! What a script writes: cut while it is read, its secrets masked.

use outbound::{Masks, cut};

/// How much is kept of a script's output.
pub const OUTPUT_BYTES: usize = 8_192;

const TRUNCATED: &str = "[output truncated]";
const STDERR: &[u8] = b"[STDERR]\n";
const MASK: &str = "***";

/// Returns what masks these secrets.
pub(crate) fn masks(secrets: &[String]) -> Masks {
    Masks::new(secrets.iter().map(|secret| (secret.as_str(), MASK.to_owned())))
}

/// The beginning of a stream. What comes after is read and forgotten, so that the script can go on.
#[derive(Debug)]
pub(crate) struct Captured {
    bytes: Vec<u8>,
    max: usize,
    is_cut: bool,
}

impl Captured {
    /// Keeps enough beyond what is shown to recognise a secret that is cut at the end.
    pub(crate) fn new(masks: &Masks) -> Self {
        Self { bytes: Vec::new(), max: OUTPUT_BYTES + masks.longest(), is_cut: false }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.max - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..kept]);
        self.is_cut |= self.bytes.len() > OUTPUT_BYTES || kept < bytes.len();
    }
}

/// Returns both streams as one text: at most 8,192 bytes, and then a mark that it was cut.
pub(crate) fn shown(stdout: &Captured, stderr: &Captured, masks: &Masks) -> String {
    let mut text = masks.mask(&stdout.bytes, OUTPUT_BYTES);
    let mut is_cut = stdout.is_cut;
    if !is_cut && !stderr.bytes.is_empty() {
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(STDERR);
        text.extend(masks.mask(&stderr.bytes, OUTPUT_BYTES));
        is_cut = stderr.is_cut;
    }
    cut(&text, is_cut, OUTPUT_BYTES, TRUNCATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(stdout: &[u8], stderr: &[u8], secrets: &[&str]) -> String {
        let secrets: Vec<_> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let masks = masks(&secrets);
        let [mut out, mut err] = [Captured::new(&masks), Captured::new(&masks)];
        stdout.chunks(1_000).for_each(|chunk| out.take(chunk));
        stderr.chunks(1_000).for_each(|chunk| err.take(chunk));
        shown(&out, &err, &masks)
    }

    #[test]
    fn stderr_comes_after_stdout_and_is_marked() {
        assert_eq!(text(b"", b"", &[]), "");
        assert_eq!(text(b"out\n", b"", &[]), "out\n");
        assert_eq!(text(b"out\n", b"err\n", &[]), "out\n[STDERR]\nerr\n");
        assert_eq!(text(b"out", b"err", &[]), "out\n[STDERR]\nerr");
        assert_eq!(text(b"", b"err", &[]), "[STDERR]\nerr");
    }

    #[test]
    fn the_whole_is_cut_at_8192_bytes_between_characters() {
        let exact = "a".repeat(8_192);
        assert_eq!(text(exact.as_bytes(), b"", &[]), exact);
        assert_eq!(text(format!("{exact}b").as_bytes(), b"", &[]), format!("{exact}[output truncated]"));
        assert_eq!(text(exact.as_bytes(), b"err", &[]), format!("{exact}[output truncated]"));
        let umlauts = format!("a{}", "ä".repeat(5_000));
        assert_eq!(text(umlauts.as_bytes(), b"", &[]), format!("a{}[output truncated]", "ä".repeat(4_095)));
        let shown = text(&exact.as_bytes()[..8_000], &[b'e'; 9_000], &[]);
        assert_eq!(shown, format!("{}\n[STDERR]\n{}[output truncated]", &exact[..8_000], "e".repeat(182)));
    }

    #[test]
    fn no_more_is_held_than_is_shown() {
        let mut captured = Captured::new(&masks(&[]));
        (0..10_000).for_each(|_| captured.take(&[b'a'; 1_000]));
        assert_eq!((captured.bytes.len(), captured.is_cut), (8_192, true));
    }

    #[test]
    fn secrets_are_masked_also_where_the_output_is_cut() {
        assert_eq!(text(b"token hunter2!", b"hunter22", &["hunter2", "hunter22", ""]), "token ***!\n[STDERR]\n***");
        let filler = "a".repeat(8_190);
        assert_eq!(
            text(format!("{filler}hunter2").as_bytes(), b"", &["hunter2"]),
            format!("{filler}**[output truncated]")
        );
        let many = text("hunter2".repeat(5_000).as_bytes(), b"", &["hunter2"]);
        assert!(!many.contains('h') && many.ends_with("[output truncated]"), "{many}");
    }

    #[test]
    fn what_is_no_text_is_shown_as_such() {
        assert_eq!(text(b"a\xff\0b", b"", &[]), "a\u{fffd}\0b");
    }
}
