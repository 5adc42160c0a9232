//! One form for texts that say the same: the steps and their order are those of the tracker (`tracker/src/privacy.ts`).

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// The one letter whose small form is two (`İ`) becomes `I`, so that a text is as long in small letters.
/// Thousands grouped by spaces that NFKC would make plain get apostrophes; NFKC; no invisible characters; ASCII digits; percent signs
/// decoded twice; HTML entities decoded; each run of white space one space.
pub(super) fn normalise(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_control() && byte != b'%' && byte != b'&';
    if text.bytes().all(plain) && !text.contains("  ") {
        return Cow::Borrowed(text);
    }
    let mut out = if text.is_ascii() { text.to_owned() } else { visible(text) };
    for _ in 0..2 {
        if !out.contains('%') {
            break;
        }
        out = percent_decoded(&out);
    }
    if out.contains('&') {
        out = entities_decoded(&out);
    }
    let mut folded = String::with_capacity(out.len());
    let mut space = false;
    for c in out.chars() {
        if c.is_whitespace() || c.is_control() {
            space = true;
            continue;
        }
        if space {
            folded.push(' ');
        }
        space = false;
        folded.push(c);
    }
    if space {
        folded.push(' ');
    }
    Cow::Owned(folded)
}

const fn is_group_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{202f}' | '\u{2009}')
}

fn visible(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut grouped = String::with_capacity(text.len());
    for (at, &c) in chars.iter().enumerate() {
        let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
        // Three digits behind it, and one to three before it.
        let follow = (1..=3).all(|step| digit(at + step)) && !digit(at + 4);
        let lead = at > 0 && digit(at - 1) && !(at >= 4 && (2..=4).all(|step| digit(at - step)));
        let groups = is_group_space(c) && follow && lead;
        // "₅" is read as a number, but no amount or date is written so.
        let odd = !c.is_ascii() && c.is_numeric() && digit_of(c).is_none() && !('\u{ff10}'..='\u{ff19}').contains(&c);
        if odd {
            grouped.push('_');
        }
        grouped.push(if groups { '\'' } else { c });
    }
    grouped
        .nfkc()
        .filter(|c| !is_invisible(*c))
        .map(|c| digit_of(c).unwrap_or(if c == 'İ' { 'I' } else { c }))
        .collect()
}

/// Characters that are not seen: zero-width ones, directions, soft hyphens, variation selectors, tags.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Decimal digits of other scripts stand in blocks of ten that start at these code points (Unicode 16, category Nd).
fn digit_of(c: char) -> Option<char> {
    const ZEROS: &[u32] = &[
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
        0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
        0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450,
        0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x11f50, 0x16a60, 0x16ac0,
        0x16b50, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e950,
    ];
    let code = c as u32;
    let index = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
    let offset = code - ZEROS.get(index)?;
    (offset < 10).then(|| char::from_digit(offset, 10)).flatten()
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |b: u8| char::from(b).to_digit(16);
        match (byte, tail) {
            (b'%', [a, b, after @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                out.push(u8::try_from(hex(*a).unwrap_or(0) * 16 + hex(*b).unwrap_or(0)).unwrap_or(b'?'));
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `&#64;`, `&#x40;` and the names by which what the rules look for may be hidden.
fn entities_decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('&') {
        out.push_str(head);
        let end = tail.bytes().take(10).position(|byte| byte == b';');
        let decoded = end.and_then(|end| tail.get(..end)).and_then(|name| match name {
            "amp" => Some('&'),
            "commat" => Some('@'),
            "period" => Some('.'),
            "nbsp" => Some(' '),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "plus" => Some('+'),
            "num" => Some('#'),
            "lowbar" => Some('_'),
            _ => {
                let digits = name.strip_prefix('#')?;
                let code = match digits.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => digits.parse().ok()?,
                };
                // Of other characters only that they are there: no sign makes a number an amount.
                char::from_u32(code).map(|c| if c.is_alphanumeric() || ".@+-_".contains(c) { c } else { '|' })
            }
        });
        match (decoded, end) {
            (Some(c), Some(end)) => {
                // A digit that is hidden is part of no amount.
                if c.is_ascii_digit() {
                    out.push('_');
                }
                out.push(c);
                rest = tail.get(end + 1..).unwrap_or_default();
            }
            _ => {
                out.push('&');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn what_looks_alike_becomes_one_text() {
        for (text, expected) in [
            ("Add to cart", "Add to cart"),
            ("anna%2540mail.example", "anna@mail.example"),
            ("anna&#64;mail&period;example", "anna@mail.example"),
            ("ａｎｎａ＠mail.example", "anna@mail.example"),
            ("an\u{200b}na\u{ad}", "anna"),
            ("٠١٥١ ۹۹ ९९", "0151 99 99"),
            ("1\u{a0}299\u{202f}000 €", "1'299'000 €"),
            ("0151\u{a0}2345\u{a0}6789", "0151 2345 6789"),
            ("a\t\n  b", "a b"),
            ("100 % & more", "100 % & more"),
            ("%", "%"),
        ] {
            assert_eq!(normalise(text), expected, "{text}");
        }
    }
}
