//! CSV as RFC 4180 has it, and safe to open in a spreadsheet.

/// Adds a row. Every cell is quoted, so that no other separator splits one either.
pub(crate) fn push_row<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (n, cell) in cells.into_iter().enumerate() {
        text.push_str(if n == 0 { "\"" } else { ",\"" });
        if is_run(cell) {
            text.push('\'');
        }
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    }
    text.push_str("\r\n");
}

/// Returns whether a spreadsheet would take a cell for a formula. Some skip blanks before it, and accept full-width
/// signs as well. <https://owasp.org/www-community/attacks/CSV_Injection>
fn is_run(cell: &str) -> bool {
    cell.starts_with(['\t', '\r', '\n'])
        || cell.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_formulas_disarmed() {
        let mut text = String::new();
        push_row(&mut text, ["plain", "a \"b\", c\r\nd", "=1+1", " @x", "\tx", "-1", ""]);
        let expected = "\"plain\",\"a \"\"b\"\", c\r\nd\",\"'=1+1\",\"' @x\",\"'\tx\",\"'-1\",\"\"\r\n";
        assert_eq!(text, expected);
    }
}
