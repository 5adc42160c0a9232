//! Texts that a spreadsheet will read.

/// What a spreadsheet would take for a formula stands behind an apostrophe (OWASP, CSV injection): at the beginning of a cell, and
/// behind what other spreadsheets than ours of commas split at.
#[must_use]
pub fn harmless(cell: String) -> String {
    let mut out = String::with_capacity(cell.len() + 1);
    let mut begins = true;
    for (at, c) in cell.char_indices() {
        let splits = matches!(c, '\t' | '\r' | '\n');
        if (begins && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')) || (at == 0 && splits) {
            out.push('\'');
        }
        // Spaces and quotes before a formula are no text to all of them.
        begins = splits || c == ';' || (begins && matches!(c, ' ' | '"'));
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_execute_is_text() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "＝1"] {
            assert_eq!(harmless(cell.to_owned()), format!("'{cell}"));
        }
        for (cell, shown) in [
            ("\t=1", "'\t'=1"),
            ("x;=HYPERLINK(\"a\")", "x;'=HYPERLINK(\"a\")"),
            ("x; \"=1", "x; \"'=1"),
            ("x\t+1", "x\t'+1"),
            ("x\n@a", "x\n'@a"),
            (" =1", " '=1"),
        ] {
            assert_eq!(harmless(cell.to_owned()), shown);
        }
        for cell in ["", "Add to cart", "1 = 1", "a; b", "{\"a\":1}"] {
            assert_eq!(harmless(cell.to_owned()), cell);
        }
    }
}
