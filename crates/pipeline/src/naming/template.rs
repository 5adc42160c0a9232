//! The label without its numbers, and the one number that it had: the tracker leaves it to the server to save visitors bytes.
//! `tracker/src/template.ts` does the same for those who measure from outside.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// A number with the signs, brackets and units that belong to it.
#[expect(clippy::expect_used, reason = "the pattern is a constant, and a test uses it")]
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)[(\[{]?\s*(?:[$€£¥₹]\s?)?[+-]?[0-9][0-9.,:'\u{a0}\u{202f}/]*\s?(?:[$€£¥₹%]|(?-u:\b)(?:usd|eur|gbp|chf)(?-u:\b))?\s*[)\]}]?",
    )
    .expect("a constant pattern")
});

/// "Cart (3)" → "Cart" and 3; no number where there are several, a time or a fraction.
pub(crate) fn template_of(label: &str) -> (String, Option<Value>) {
    let mut numbers = NUMBER.find_iter(label);
    let Some(first) = numbers.next() else { return (label.to_owned(), None) };
    let only = numbers.next().is_none().then_some(first.as_str());
    let whole = only.filter(|text| {
        !text.char_indices().any(|(at, c)| {
            matches!(c, ':' | '/')
                && text.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    });
    let value = whole.and_then(|text| {
        let bare: String = text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | ',')).collect();
        let (whole, part) = bare.split_once(['.', ',']).unwrap_or((&bare, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = digits(whole)
            && !whole.is_empty()
            && digits(part)
            && part.len() <= 2
            && (part.is_empty() == (bare == whole));
        if part.is_empty() {
            fits.then(|| whole.parse::<u64>().ok()).flatten().map(Value::from)
        } else {
            fits.then(|| format!("{whole}.{part}").parse::<f64>().ok()).flatten().map(Value::from)
        }
    });
    let text = NUMBER.replace_all(label, " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '.' | ':' | ';' | '–' | '-'));
    let text = text.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | ';' | '–' | '-'));
    (text.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_become_a_value() {
        for (label, template, value) in [
            ("Cart (3)", "Cart", json!(3)),
            ("Pay $12.50", "Pay", json!(12.5)),
            ("Load 20 more", "Load more", json!(20)),
            ("Add to cart", "Add to cart", json!(null)),
            ("Page 2 of 12", "Page of", json!(null)),
            ("Opens at 9:30", "Opens at", json!(null)),
            ("1,299.00 €", "", json!(null)),
        ] {
            assert_eq!(
                template_of(label),
                (template.to_owned(), Some(value).filter(|value| !value.is_null())),
                "{label}"
            );
        }
    }
}
