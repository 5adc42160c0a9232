//! The rules that withhold a text, run in the order of the table (`rules/rules.json`): forms first, then words.
//!
//! Every expression runs in time linear to the text (crate `regex`); a look at the bytes keeps most texts away from them.

use crate::scrub::announced::announced;
use crate::scrub::normal::normalise;
use crate::scrub::secret::has_secret;
use crate::scrub::table::{Needs, table};

/// Every rule that withholds this text.
pub(super) fn all(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    walk(text, &mut |rule| {
        if !found.contains(&rule) {
            found.push(rule);
        }
        false
    });
    found
}

/// The first rule that withholds this text.
pub(super) fn first(text: &str) -> Option<&'static str> {
    let mut found = None;
    walk(text, &mut |rule| {
        found = Some(rule);
        true
    });
    found
}

/// What a look at the bytes tells.
#[derive(Default)]
struct Glance {
    digits: usize,
    /// `@`, `(` or `[`.
    at: bool,
    /// Colons, or hyphens and dots between what may be hexadecimal digits.
    marks: usize,
    /// The longest run of what tokens are made of.
    longest: usize,
    /// A space or another mark that separates words.
    apart: bool,
    /// Signs of addresses, assignments and quotes, or letters beyond ASCII.
    signs: bool,
}

fn glance(text: &str) -> Glance {
    let mut out = Glance::default();
    let mut run = 0;
    for &byte in text.as_bytes() {
        out.digits += usize::from(byte.is_ascii_digit());
        out.at |= matches!(byte, b'@' | b'(' | b'[');
        out.marks += usize::from(matches!(byte, b':' | b'-' | b'.'));
        out.apart |= !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_');
        out.signs |= matches!(byte, b'=' | b':' | b'/' | b'?' | b'&' | b'"' | b'\'') || !byte.is_ascii();
        run = if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'_' | b'=' | b'-') { run + 1 } else { 0 };
        out.longest = out.longest.max(run);
    }
    out
}

/// Runs the rules in order; `hit` says whether to stop.
fn walk(text: &str, hit: &mut dyn FnMut(&'static str) -> bool) {
    let text = normalise(text);
    let text = text.as_ref();
    let seen = glance(text);
    if seen.digits == 0 && !seen.apart && seen.longest < 12 {
        // A single plain word: no rule can fire. Most roles, tags, paths and class words end here.
        return;
    }
    let low = text.to_lowercase();
    let table = table();
    let mut stop = false;
    let mut run = |needs: Needs| {
        for as_is in [false, true] {
            if let Some(set) = table.set(needs, as_is)
                && !stop
            {
                stop = set.hits(if as_is { text } else { &low }).any(&mut *hit);
            }
        }
        stop
    };
    if ((seen.at || low.contains(" at ")) && run(Needs::At))
        || (seen.marks >= 2 && run(Needs::Marks))
        || ((seen.signs || seen.longest >= 10) && run(Needs::Letters))
    {
        return;
    }
    if seen.digits > 0 && run(Needs::Digit) {
        return;
    }
    if seen.longest >= 16 && has_secret(text) && hit("secret") {
        return;
    }
    if seen.digits >= 5 && numbers(&low, seen.longest, hit) {
        return;
    }
    announced(text, &low, seen.digits >= 3, hit);
}

/// Long numbers, and letters mixed with digits.
fn numbers(low: &str, longest: usize, hit: &mut dyn FnMut(&'static str) -> bool) -> bool {
    let table = table();
    for found in table.run.find_iter(low) {
        let run = found.as_str().trim_start_matches('(');
        // What follows a sign shows that the sign is not the next amount's.
        let run = run.trim_end_matches(|c: char| c == ' ' || (c.is_ascii_punctuation() && c != '$'));
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        // No date or range begins within a word, and nothing after what stands for a hidden or odd digit.
        let before = low.get(..found.start()).and_then(|head| head.chars().next_back());
        let in_word = found.as_str().starts_with(|c: char| c.is_ascii_digit())
            && (before == Some('_')
                || (run.contains(['–', '-', '/']) && before.is_some_and(|c| c.is_ascii_alphanumeric())));
        // "4.5 (20931 reviews)": a bracket that goes on after the number.
        let goes_on = !run.contains('(') || low.get(found.end()..).is_some_and(|rest| rest.starts_with(' '));
        if (digits >= 7 || (digits >= 6 && run.starts_with('+')))
            && !(goes_on && !in_word && table.benign.is_match(run))
            && hit(if is_card(run) { "card" } else { "digits" })
        {
            return true;
        }
    }
    longest >= 7
        && low.as_bytes().split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))).any(is_mixed)
        && hit("mixed_token")
}

/// Five digits and a letter in one token; a date before a title is none.
fn is_mixed(token: &[u8]) -> bool {
    let is_date = token.len() > 10
        && token.iter().take(11).enumerate().all(|(at, byte)| match at {
            4 | 7 | 10 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let token = if is_date { token.get(11..).unwrap_or_default() } else { token };
    let digits = token.iter().filter(|byte| byte.is_ascii_digit()).count();
    token.len() >= 7 && digits >= 5 && token.iter().any(u8::is_ascii_alphabetic)
}

/// Luhn: only the reason, never whether to withhold.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    if !(12..=19).contains(&digits.len()) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| if index % 2 == 1 { (digit * 2) / 10 + (digit * 2) % 10 } else { *digit })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_texts_are_withheld_with_their_rule() {
        for (text, rule) in [
            ("write to anna.b@mail.example", "email"),
            ("anna%2540mail.example", "email"),
            ("ａｎｎａ＠mail.example", "email"),
            ("anna [at] example [dot] com", "email"),
            ("anna_smith(at)web(dot)de", "email"),
            ("anna.smith[at]example[punkt]de", "email"),
            ("anna @ example.com", "email"),
            ("anna.smith at gmail.com", "email"),
            ("follow @anna_b", "handle"),
            ("+49 151 5999 8877", "digits"),
            ("call 0151-59998877", "digits"),
            ("٠١٥١٥٩٩٩٨٨٧٧", "digits"),
            ("4111 1111 1111 1111", "card"),
            ("4111-1111-1111-1111", "card"),
            ("call 212-555-0199", "digits"),
            ("(212) 555-0199", "digits"),
            ("212.555.0199", "digits"),
            ("5100-1900-2000-0003", "card"),
            ("DE89 3704 0044 0532 0130 00", "iban"),
            ("ref AB1234567", "mixed_token"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.abc", "secret"),
            ("token: gY7kP2xQ9sLm4RtV8wZb", "secret"),
            ("from 192.168.17.4", "ip"),
            ("2001:db8:0:1:1:1:1:1", "ip"),
            ("00:1A:2B:3C:4D:5E", "mac"),
            ("52.52001, 13.40495", "coords"),
            ("0x52908400098527886E0F7030069857D2E4169EE7", "crypto"),
            ("AB 12 34 56 C", "national_id"),
            ("Passport no. 12345", "labelled_number"),
            ("221 Baker Street", "address"),
            ("Heidestraße 17", "address"),
            ("12 rue Lafayette", "address"),
            ("Ship to Anna", "address"),
            ("Welcome back, Anna", "person"),
            ("Hallo Herr Schmidt", "person"),
            ("Добро пожаловать, Анна", "person"),
            ("田中様", "person"),
        ] {
            assert!(all(text).contains(&rule), "{text}: {:?}", all(text));
            assert!(first(text).is_some());
        }
    }

    #[test]
    fn interface_texts_pass() {
        for text in [
            "Add to cart",
            "Trail shoe",
            "€ 1,299.00",
            "1.299,00 €",
            "$89.90",
            "Cart (3)",
            "Page 2 of 12",
            "2026-11-23",
            "23/11/2026 18:00",
            "Version 10.2.3",
            "Welcome back",
            "Hello world",
            "Hi there",
            "Welcome to our shop",
            "Shop at example.com",
            "2 @ 3.50 each",
            "Meet us @ the corner. Come",
            "Dr. Martens boots"[4..].trim(),
            "Size chart",
            "Samsung Galaxy S24",
            "iPhone 15 Pro Max 256 GB",
            "2019–2024",
            "1000 - 2500",
            "1,234,567 reviews",
            "btn-primary-large-outline",
            "Product_card__title",
            "Mon 9:00–18:30",
            "",
        ] {
            assert_eq!(all(text), Vec::<&str>::new(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_address_is_found_wherever_it_stands(head in "[ a-zA-Z,.]{0,30}", tail in "[ a-z,.]{0,30}") {
            let text = format!("{head} anna.b@mail.example {tail}");
            proptest::prop_assert!(first(&text).is_some());
        }

        #[test]
        fn any_text_ends_without_a_panic(text in "\\PC{0,200}") {
            all(&text);
        }
    }
}
