//! Prices as numbers, currencies and availability as codes: the tracker sends each as the page says it.

use std::sync::LazyLock;

use convizit_model::Properties;
use regex::Regex;
use serde_json::Value;

/// Makes a number of `Product price` and an ISO 4217 code of `Currency`; what is no price is left out.
pub(crate) fn settle(properties: &mut Properties) {
    if let Some(Value::String(text)) = properties.get("Product price") {
        match amount(text).and_then(serde_json::Number::from_f64) {
            Some(value) => properties.insert("Product price".to_owned(), Value::Number(value)),
            None => properties.remove("Product price"),
        };
    }
    if let Some(Value::String(text)) = properties.get("Currency") {
        let code = currency(text);
        if code.is_empty() {
            properties.remove("Currency")
        } else {
            properties.insert("Currency".to_owned(), code.into())
        };
    }
}

/// Makes a code of `Availability`, whatever the page said; a text without a known word is dropped.
pub(crate) fn settle_availability(properties: &mut Properties) {
    let Some(said) = properties.remove("Availability") else { return };
    if let Some(code) = said.as_str().and_then(availability) {
        properties.insert("Availability".to_owned(), code.into());
    }
}

/// The codes and words that the tracker's build has, too.
struct Stock {
    codes: Vec<String>,
    sold_out: Regex,
    in_stock: Regex,
}

static STOCK: LazyLock<Option<Stock>> = LazyLock::new(|| {
    let words: Value = serde_json::from_str(include_str!("../../../tracker/src/words.json")).ok()?;
    let word = |key: &str| words.get(key).and_then(Value::as_str);
    Some(Stock {
        codes: word("stockCodes")?.split('|').map(str::to_owned).collect(),
        sold_out: Regex::new(word("soldOut")?).ok()?,
        in_stock: Regex::new(word("inStock")?).ok()?,
    })
});

/// A code of schema.org's `ItemAvailability`: `OutOfStock` for "Sold out", `out_of_stock` and the code itself.
fn availability(text: &str) -> Option<&'static str> {
    let stock = STOCK.as_ref()?;
    let text =
        ["https://schema.org/", "http://schema.org/"].iter().find_map(|head| text.strip_prefix(head)).unwrap_or(text);
    let plain = text.to_lowercase();
    let joined = plain.replace(['_', '-'], "");
    if let Some(code) = stock.codes.iter().find(|code| code.eq_ignore_ascii_case(&joined)) {
        return Some(code);
    }
    if stock.sold_out.is_match(&plain) {
        return Some("OutOfStock");
    }
    stock.in_stock.is_match(&plain).then_some("InStock")
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\u{a0}' | '\u{202f}')
}

/// "1.299,00", "1,299.00" and "1'299" → 1299: a separator before three digits groups, another one begins the cents, and so
/// does a blank before the last two ("12 99"). The tracker's `amount` is its twin; both read the same cases in their tests.
fn amount(text: &str) -> Option<f64> {
    let mut chars: Vec<char> = text.chars().collect();
    let digits_from = |chars: &[char], at: usize| chars.iter().skip(at).take_while(|c| c.is_ascii_digit()).count();
    // The first blank behind a digit that does not group.
    let end = (1..chars.len()).find(|&at| {
        chars.get(at).copied().is_some_and(is_blank)
            && chars.get(at - 1).is_some_and(char::is_ascii_digit)
            && digits_from(&chars, at + 1) != 3
    });
    if let Some(at) = end {
        let cents = digits_from(&chars, at + 1) == 2 && !chars.iter().take(at - 1).any(|c| matches!(c, '.' | ','));
        if let Some(blank) = chars.get_mut(at) {
            *blank = if cents { '.' } else { '|' };
        }
    }
    let first = chars.iter().position(char::is_ascii_digit)?;
    let mut number = Vec::new();
    for (at, c) in chars.iter().enumerate().skip(first) {
        let separates = matches!(c, '.' | ',' | '\'' | '’') || is_blank(*c);
        if c.is_ascii_digit() || matches!(c, '.' | ',') && digits_from(&chars, at + 1) > 0 {
            number.push(*c);
        } else if !(separates && digits_from(&chars, at + 1) > 0) {
            break;
        }
    }
    let mut plain = String::new();
    for (at, c) in number.iter().enumerate() {
        if c.is_ascii_digit() {
            plain.push(*c);
        } else if digits_from(&number, at + 1) != 3 {
            if plain.contains('.') {
                break;
            }
            plain.push('.');
        }
    }
    plain.parse().ok()
}

fn currency(text: &str) -> String {
    let sign: String =
        text.chars().filter(|c| !c.is_numeric() && !c.is_whitespace() && !matches!(c, '.' | ',' | '\'')).collect();
    match sign.as_str() {
        "$" => "USD".to_owned(),
        "€" => "EUR".to_owned(),
        "£" => "GBP".to_owned(),
        "¥" => "JPY".to_owned(),
        "₹" => "INR".to_owned(),
        _ => sign.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tracker's own test reads.
    #[derive(serde::Deserialize)]
    struct Cases {
        amounts: Vec<(String, Option<f64>)>,
        availability: Vec<(String, Option<String>)>,
    }

    #[test]
    fn what_a_page_says_becomes_a_number_and_a_code() {
        let cases: Cases = serde_json::from_str(include_str!("../../../tracker/test/unit/prices.json")).unwrap();
        assert!(cases.amounts.len() > 20 && cases.availability.len() > 10);
        for (text, value) in cases.amounts {
            assert_eq!(amount(&text), value, "{text}");
        }
        for (text, code) in cases.availability {
            assert_eq!(availability(&text), code.as_deref(), "{text}");
        }
        for (text, code) in [("89,90 €", "EUR"), ("usd", "USD"), ("CHF 1'299.50", "CHF"), ("12", "")] {
            assert_eq!(currency(text), code, "{text}");
        }
    }
}
