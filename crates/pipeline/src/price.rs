//! Prices as numbers and currencies as codes: the tracker sends both as the page says them.

use convizit_model::Properties;
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

/// "1.299,00", "1,299.00" and "1'299" → 1299: a separator before three digits groups, another one begins the cents.
fn amount(text: &str) -> Option<f64> {
    let digits: Vec<char> = text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | ',')).collect();
    let mut plain = String::new();
    let mut cents = false;
    for (at, c) in digits.iter().enumerate() {
        if c.is_ascii_digit() {
            plain.push(*c);
            continue;
        }
        let following = digits.iter().skip(at + 1).take_while(|c| c.is_ascii_digit()).count();
        if following == 0 || plain.is_empty() || (following == 3 && !cents) {
            continue;
        }
        if cents {
            break;
        }
        plain.push('.');
        cents = true;
    }
    plain.parse().ok().filter(|_| !plain.is_empty())
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

    #[test]
    fn what_a_page_says_becomes_a_number_and_a_code() {
        for (price, value) in [
            ("$89.90", Some(89.9)),
            ("89,90 €", Some(89.9)),
            ("1.299,00 EUR", Some(1299.0)),
            ("1,299.50", Some(1299.5)),
            ("1'299.50", Some(1299.5)),
            ("¥12,000", Some(12_000.0)),
            ("2.499.000", Some(2_499_000.0)),
            ("19.", Some(19.0)),
            ("free", None),
        ] {
            assert_eq!(amount(price), value, "{price}");
        }
        for (text, code) in [("89,90 €", "EUR"), ("usd", "USD"), ("CHF 1'299.50", "CHF"), ("12", "")] {
            assert_eq!(currency(text), code, "{text}");
        }
    }
}
