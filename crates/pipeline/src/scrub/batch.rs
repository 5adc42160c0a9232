//! Every text of a batch through the gate, keys included, with a receipt for each that is withheld.

use std::collections::HashSet;
use std::sync::LazyLock;

use convizit_model::{Batch, Descriptor, EventType, PageBlock, Receipt, WireEvent};
use regex::Regex;
use serde_json::{Map, Value};

use crate::scrub::table::words;
use crate::scrub::{RULES, first_rule, template};

/// Properties that are numbers and codes of goods by definition; the site's structured data says so.
const GOODS: &[&str] = &["SKU", "GTIN", "Product price", "Currency"];

/// Receipts of an event at most.
pub(super) const RECEIPTS: usize = 20;

/// Scrubs in place; receipts of the page go to every event of the batch. Of `traits` the values of identify events are kept. Returns how many
/// texts the browser should have withheld itself.
pub(crate) fn scrub_batch(batch: &mut Batch, keep_query: &[String], traits: &[String]) -> u64 {
    let mut drift = 0;
    let mut of_page = Vec::new();
    scrub_page(&mut batch.page, keep_query, &mut of_page);
    if let Some(user) = &batch.user
        // A customer number is what the site chose to give; an address or a secret is not.
        && let Some(rule) = first_rule(user)
        && (matches!(rule, "email" | "card" | "secret" | "iban" | "person")
            // Nobody numbers customers as telephones are numbered.
            || (rule == "digits" && user.contains(|c: char| c == '+' || c.is_whitespace())))
    {
        of_page.push(receipt("user", rule));
        batch.user = None;
    }
    for event in &mut batch.events {
        drift += scrub_event(event, traits);
        event.withheld.extend(of_page.iter().cloned());
        // The browser says it each time.
        let mut once = Vec::with_capacity(event.withheld.len());
        for receipt in event.withheld.drain(..) {
            if !once.contains(&receipt) {
                once.push(receipt);
            }
        }
        event.withheld = once;
        event.withheld.truncate(RECEIPTS);
    }
    drift
}

/// Whether the tracker has the rule from its first moment, so that it should have withheld the text: an e-mail address, or nine digits that no
/// form of an amount or a date explains.
fn is_drift(text: &str) -> bool {
    static OBVIOUS: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"[\w.]@[\w-]+\.[a-zA-Z]{2}|^\+?[0-9](?:[ -]?[0-9]){8,}$").ok());
    OBVIOUS.as_ref().is_some_and(|obvious| obvious.is_match(text))
}

fn receipt(field: &str, rule: &str) -> Receipt {
    Receipt { field: field.to_owned(), rule: rule.to_owned(), by: "server".to_owned(), rules: RULES }
}

fn gate(field: &str, text: &mut String, receipts: &mut Vec<Receipt>) {
    if let Some(rule) = first_rule(text) {
        text.clear();
        receipts.push(receipt(field, rule));
    }
}

fn rule_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(text) => first_rule(text),
        // A number may be a phone number: only a short one, or a fraction, passes without its form being looked at.
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) if whole.abs() < 1_000_000 => None,
            (None, Some(fraction)) if fraction.abs() < 1_000_000.0 || fraction.fract() != 0.0 => None,
            (None, Some(whole)) => first_rule(&format!("{whole:.0}")),
            _ => first_rule(&number.to_string()),
        },
        _ => None,
    }
}

/// Whether a site says by the key that the value is personal, whatever it looks like: `first_name`, `birthDate`; of a trait also `name`.
fn is_personal_key(key: &str, of_person: bool) -> bool {
    static KEYS: LazyLock<[HashSet<String>; 2]> = LazyLock::new(|| {
        ["always", "identify"]
            .map(|kind| words().get("key").and_then(|lists| lists.get(kind)).into_iter().flatten().cloned().collect())
    });
    let mut words = String::with_capacity(key.len() + 4);
    let mut small = false;
    for c in key.chars() {
        if c.is_uppercase() && small {
            words.push(' ');
        }
        small = c.is_lowercase();
        words.extend(if c.is_alphanumeric() { c } else { ' ' }.to_lowercase());
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let [always, identify] = &*KEYS;
    always.contains(&words) || (of_person && identify.contains(&words))
}

fn gate_map(field: &str, map: &mut Map<String, Value>, allowed: &[String], receipts: &mut Vec<Receipt>) {
    map.retain(|key, value| {
        if allowed.contains(key) {
            return true;
        }
        if let Some(rule) = first_rule(key) {
            receipts.push(receipt(field, rule));
            return false;
        }
        match rule_of(value) {
            Some("digits" | "mixed_token" | "card") if GOODS.contains(&key.as_str()) && !is_text(key, value) => true,
            Some(rule) => {
                receipts.push(receipt(&format!("{field}.{key}"), rule));
                false
            }
            None => true,
        }
    });
}

/// Whether a number of goods is written like a telephone number: in blocks, or ten digits and more without the check digit of a GTIN.
fn is_text(key: &str, value: &Value) -> bool {
    let Some(text) = value.as_str().filter(|_| matches!(key, "SKU" | "GTIN")) else { return false };
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let is_number = digits.len() == text.chars().count() && digits.len() >= 10;
    text.contains(char::is_whitespace) || (is_number && !is_gtin(&digits))
}

/// GTIN-8, -12, -13 and -14 by their check digit (GS1 General Specifications, 7.9), and ISBN-10 by its own.
fn is_gtin(digits: &[u32]) -> bool {
    let weighed = |weights: [u32; 2]| -> u32 {
        digits
            .iter()
            .rev()
            .enumerate()
            .map(|(at, digit)| digit * if at % 2 == 0 { weights[0] } else { weights[1] })
            .sum()
    };
    let isbn = || (1..).zip(digits.iter().rev()).map(|(weight, digit)| weight * digit).sum::<u32>().is_multiple_of(11);
    match digits.len() {
        8 | 12 | 13 | 14 => weighed([1, 3]).is_multiple_of(10),
        10 => isbn(),
        _ => false,
    }
}

fn scrub_page(page: &mut PageBlock, keep_query: &[String], receipts: &mut Vec<Receipt>) {
    page.url = template(&page.url, keep_query);
    page.path = match page.url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or("/")),
        None => page.url.as_str(),
    }
    .split('?')
    .next()
    .unwrap_or("/")
    .to_owned();
    page.referrer = template(&page.referrer, &[]);
    page.canonical = template(&page.canonical, &[]);
    gate("page.title", &mut page.title, receipts);
    gate("page.type", &mut page.kind, receipts);
    gate("page.language", &mut page.language, receipts);
    // A page's own words about its stock may be any: only a code of them is kept.
    crate::price::settle_availability(&mut page.product);
    gate_map("page.product", &mut page.product, &[], receipts);
    page.viewport.retain(|key, value| {
        matches!(key.as_str(), "width" | "height") && value.is_number() && rule_of(value).is_none()
    });
    page.breadcrumb.retain(|name| match first_rule(name) {
        Some(rule) => {
            receipts.push(receipt("page.breadcrumb", rule));
            false
        }
        None => true,
    });
}

fn scrub_event(event: &mut WireEvent, traits: &[String]) -> u64 {
    let mut drift = 0;
    let label = event.descriptor.as_ref().map(|descriptor| descriptor.label.as_str());
    let values = event.properties.iter().filter_map(|(key, value)| {
        value.as_str().filter(|_| event.kind != EventType::Identify || !traits.contains(key))
    });
    for text in label.into_iter().chain(event.name.as_deref()).chain(values) {
        drift += u64::from(is_drift(text) && first_rule(text).is_some());
    }
    let receipts = &mut event.withheld;
    // The browser's own receipts: its field names may quote a key of the page.
    receipts.retain(|receipt| first_rule(&receipt.field).is_none() && first_rule(&receipt.rule).is_none());
    for receipt in receipts.iter_mut() {
        "browser".clone_into(&mut receipt.by);
    }
    if let Some(name) = &mut event.name {
        gate("name", name, receipts);
    }
    let of_person = event.kind == EventType::Identify;
    let allowed = if of_person { traits } else { &[] };
    event.properties.retain(|key, _| {
        let personal = is_personal_key(key, of_person) && !allowed.contains(key);
        if personal {
            receipts.push(receipt(&format!("properties.{key}"), "personal_key"));
        }
        !personal
    });
    gate_map("properties", &mut event.properties, allowed, receipts);
    if let Some(descriptor) = &mut event.descriptor {
        scrub_descriptor(descriptor, receipts);
    }
    drift
}

fn scrub_descriptor(descriptor: &mut Descriptor, receipts: &mut Vec<Receipt>) {
    gate("element.label", &mut descriptor.label, receipts);
    if first_rule(&descriptor.template).is_some() || (descriptor.label.is_empty() && !receipts.is_empty()) {
        descriptor.template.clear();
    }
    if descriptor.label.is_empty() || descriptor.name_value.as_ref().is_some_and(|value| rule_of(value).is_some()) {
        descriptor.name_value = None;
    }
    for text in [&mut descriptor.role, &mut descriptor.tag, &mut descriptor.path, &mut descriptor.label_source] {
        gate("element", text, receipts);
    }
    for entry in &mut descriptor.context {
        gate("element.section", &mut entry.name, receipts);
        gate("element.section", &mut entry.kind, receipts);
    }
    for group in [descriptor.group.as_mut(), descriptor.outer.as_deref_mut()].into_iter().flatten() {
        gate("group.name", &mut group.container, receipts);
        gate("group.name", &mut group.member, receipts);
        gate("group.name", &mut group.path, receipts);
    }
    gate_map("properties", &mut descriptor.properties, &[], receipts);
    // The tracker sends what is chosen as the page writes it, so that the rules see a name's capital; the name of a property is a sentence's.
    descriptor.properties = std::mem::take(&mut descriptor.properties)
        .into_iter()
        .map(|(key, value)| match key.strip_prefix("Selected ") {
            Some(rest) => (format!("Selected {}", rest.to_lowercase()), value),
            None => (key, value),
        })
        .collect();
    if let Some(Value::String(href)) = descriptor.attributes.get_mut("href") {
        *href = template(href, &[]);
    }
    // Attributes only help to recognise a control: one that looks private is dropped without a receipt of its own.
    descriptor.attributes.retain(|key, value| {
        first_rule(key).is_none()
            && match value {
                Value::Array(_) | Value::Object(_) => false,
                value => rule_of(value).is_none(),
            }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_may_say_that_its_value_is_personal() {
        for key in ["first_name", "firstName", "First name", "birthday", "PASSWORD", "date-of-birth", "ssn", "e-mail"] {
            assert!(is_personal_key(key, false), "{key}");
        }
        for key in ["name", "zip_code", "City"] {
            assert!(is_personal_key(key, true) && !is_personal_key(key, false), "{key}");
        }
        for key in ["Product name", "plan", "Card type", "Address book", "Email campaign", "count"] {
            assert!(!is_personal_key(key, true), "{key}");
        }
    }

    #[test]
    fn a_products_own_words_are_codes_and_numbers_or_nothing() {
        for (key, said, kept) in [
            ("SKU", "4006381333931", Some("4006381333931")),
            ("SKU", "0151 234 567 89", None),
            ("SKU", "436641234567", None),
            ("SKU", "49170123456", None),
            ("SKU", "0306406152", Some("0306406152")),
            ("SKU", "482113", Some("482113")),
            ("SKU", "anna@mail.example", None),
            ("Product price", "1 234 567,00 kr", Some("1 234 567,00 kr")),
            ("Availability", "https://schema.org/InStock", Some("InStock")),
            ("Availability", "Ausverkauft", Some("OutOfStock")),
            ("Availability", "In stock, ask Anna Smith on 0151 23456789", Some("InStock")),
            ("Availability", "Ask Anna Smith on 0151 23456789", None),
        ] {
            let mut page =
                PageBlock { product: json!({ key: said }).as_object().cloned().unwrap(), ..PageBlock::default() };
            scrub_page(&mut page, &[], &mut Vec::new());
            assert_eq!(page.product.get(key).and_then(Value::as_str), kept, "{key} {said}");
        }
    }
}
