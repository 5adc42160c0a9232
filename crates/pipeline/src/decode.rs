//! From received bytes to a batch within its bounds; an error names the field and never its value.

use std::borrow::Cow;
use std::io::Read;

use convizit_model::limits::{
    BATCH_BYTES, BATCH_EVENTS, CONTEXT_ENTRIES, ID_CHARS, JSON_DEPTH, KEY_CHARS, LABEL_CHARS, NAME_CHARS, PROPERTIES,
    PROTOCOL, URL_CHARS, VALUE_CHARS,
};
use convizit_model::{Batch, Descriptor, PageBlock, Refusal, WireEvent};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Why a body was refused, for a JSON problem that names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct DecodeError {
    /// The path of the field: `events[3].id`; `body` for the whole.
    pub field: String,
    /// What is wrong; never the value.
    pub problem: String,
    /// The outcome to count.
    pub refusal: Refusal,
}

fn malformed(field: impl Into<String>, problem: impl Into<String>) -> DecodeError {
    DecodeError { field: field.into(), problem: problem.into(), refusal: Refusal::Malformed }
}

fn too_large(field: impl Into<String>, problem: impl Into<String>) -> DecodeError {
    DecodeError { field: field.into(), problem: problem.into(), refusal: Refusal::TooLarge }
}

/// Parses a body: gunzips it when it starts with the gzip bytes (bounded), bounds depth and size before parsing, checks every limit.
///
/// # Errors
/// The first field that breaks the protocol.
pub fn decode(body: &[u8]) -> Result<Batch, DecodeError> {
    let unpacked;
    let json = if body.starts_with(&[0x1f, 0x8b]) {
        unpacked = gunzip(body)?;
        unpacked.as_slice()
    } else {
        body
    };
    if json.len() > BATCH_BYTES {
        return Err(too_large("body", format!("at most {BATCH_BYTES} bytes of JSON")));
    }
    check_depth(json)?;
    let whole = whole_characters(json);
    let json = whole.as_ref();
    let mut batch: Batch = serde_json::from_slice(json).map_err(|_| explain(json))?;
    if batch.v != PROTOCOL {
        return Err(wrong_version());
    }
    for event in &mut batch.events {
        // What was withheld is no reason to lose what was not: a long key of a property makes a long field.
        event.withheld.truncate(PROPERTIES);
        for receipt in &mut event.withheld {
            if let Some((end, _)) = receipt.field.char_indices().nth(LABEL_CHARS) {
                receipt.field.truncate(end);
            }
        }
    }
    check(&batch)?;
    Ok(batch)
}

/// JSON without halves of characters: a text that a browser cut within an emoji ends with `\\ud83d`, which no parser takes. They say nothing, so
/// they are left out; everything else stays as it is.
#[must_use]
pub fn whole_characters(json: &[u8]) -> Cow<'_, [u8]> {
    // Only a reader of escapes can tell `\\ud83d` from `\\\\ud83d`; most bodies hold neither.
    if !json.contains(&b'\\') || !json.windows(3).any(|bytes| matches!(bytes, [b'\\', b'u', b'd' | b'D'])) {
        return Cow::Borrowed(json);
    }
    let unit = |at: usize| -> Option<u16> {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        let length = match (byte, unit(at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                at += 6;
                continue;
            }
            (b'\\', _) => 2,
            _ => 1,
        };
        let end = (at + length).min(json.len());
        out.extend_from_slice(json.get(at..end).unwrap_or_default());
        at = end;
    }
    Cow::Owned(out)
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut json = Vec::with_capacity(BATCH_BYTES.min(body.len() * 8));
    // One byte more than allowed tells a body that is too large from one that just fits.
    let bound = BATCH_BYTES as u64 + 1;
    MultiGzDecoder::new(body)
        .take(bound)
        .read_to_end(&mut json)
        .map_err(|_| malformed("body", "starts like gzip, but cannot be unpacked"))?;
    Ok(json)
}

/// Bounds the nesting before a parser sees it.
fn check_depth(json: &[u8]) -> Result<(), DecodeError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > JSON_DEPTH {
                    return Err(malformed("body", format!("nested deeper than {JSON_DEPTH}")));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn wrong_version() -> DecodeError {
    DecodeError {
        field: "v".to_owned(),
        problem: format!("this server speaks protocol version {PROTOCOL}"),
        refusal: Refusal::Version,
    }
}

/// Parses a second time to find out where it failed: only bodies that are refused pay for the path.
fn explain(json: &[u8]) -> DecodeError {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let mut parser = serde_json::Deserializer::from_slice(json);
    let Err(error) = serde_path_to_error::deserialize::<_, Batch>(&mut parser) else {
        return malformed("body", "something follows the batch");
    };
    if serde_json::from_slice::<Version>(json).is_ok_and(|batch| batch.v != PROTOCOL) {
        return wrong_version();
    }
    let inner = error.inner();
    if !inner.is_data() {
        return malformed("body", format!("not JSON at line {} column {}", inner.line(), inner.column()));
    }
    let path = error.path().to_string();
    let mut field = if path == "." { String::new() } else { path };
    let problem = match inner.to_string() {
        text if text.starts_with("missing field `") => {
            let name = text.split('`').nth(1).unwrap_or_default();
            field = if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
            "missing".to_owned()
        }
        // What stands before ", expected" may quote the value; what stands after it is a text of ours.
        text => match text.rsplit_once(", expected ") {
            Some((_, expected)) => format!("expected {}", expected.split(" at line ").next().unwrap_or(expected)),
            None => "has not the form that the protocol asks for".to_owned(),
        },
    };
    malformed(if field.is_empty() { "body".to_owned() } else { field }, problem)
}

fn check(batch: &Batch) -> Result<(), DecodeError> {
    if batch.events.is_empty() || batch.events.len() > BATCH_EVENTS {
        return Err(too_large("events", format!("1 to {BATCH_EVENTS} events")));
    }
    for (field, id) in
        [("visitor", batch.visitor.as_ref()), ("session.id", batch.session.as_ref().map(|session| &session.id))]
    {
        if let Some(id) = id
            && !is_id(id)
        {
            return Err(malformed(field, format!("1 to {ID_CHARS} of A-Z, a-z, 0-9, -, _, . and :")));
        }
    }
    if let Some(user) = &batch.user {
        check_text("user", user, ID_CHARS)?;
    }
    check_page(&batch.page)?;
    for (index, event) in batch.events.iter().enumerate() {
        check_event(event).map_err(|mut error| {
            error.field = format!("events[{index}].{}", error.field);
            error
        })?;
    }
    Ok(())
}

fn is_id(id: &str) -> bool {
    (1..=ID_CHARS).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

fn check_text(field: &str, text: &str, chars: usize) -> Result<(), DecodeError> {
    // Bytes bound characters from above: most texts are not counted.
    if text.len() > chars && text.chars().count() > chars {
        return Err(too_large(field, format!("at most {chars} characters")));
    }
    Ok(())
}

fn check_properties(field: &str, properties: &Map<String, Value>) -> Result<(), DecodeError> {
    if properties.len() > PROPERTIES {
        return Err(too_large(field, format!("at most {PROPERTIES} properties")));
    }
    for (index, (key, value)) in properties.iter().enumerate() {
        // A key may hold captured text: the error counts instead of quoting.
        let name = || format!("{field}[{index}]");
        if key.is_empty() || key.chars().count() > KEY_CHARS {
            return Err(too_large(name(), format!("a key has 1 to {KEY_CHARS} characters")));
        }
        match value {
            // The field's name is only made for a text that may be too long, or for what is no value.
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) if text.len() <= VALUE_CHARS => {}
            value => check_value(&name(), value)?,
        }
    }
    Ok(())
}

fn check_value(field: &str, value: &Value) -> Result<(), DecodeError> {
    match value {
        Value::String(text) => check_text(field, text, VALUE_CHARS),
        Value::Array(_) | Value::Object(_) => Err(malformed(field, "a value is a string, a number, a boolean or null")),
        _ => Ok(()),
    }
}

fn check_page(page: &PageBlock) -> Result<(), DecodeError> {
    for (field, text, chars) in [
        ("page.url", &page.url, URL_CHARS),
        ("page.path", &page.path, URL_CHARS),
        ("page.title", &page.title, VALUE_CHARS),
        ("page.language", &page.language, 64),
        ("page.referrer", &page.referrer, URL_CHARS),
        ("page.type", &page.kind, VALUE_CHARS),
        ("page.canonical", &page.canonical, URL_CHARS),
    ] {
        check_text(field, text, chars)?;
    }
    check_properties("page.product", &page.product)?;
    check_properties("page.viewport", &page.viewport)?;
    if page.breadcrumb.len() > 12 {
        return Err(too_large("page.breadcrumb", "at most 12 names"));
    }
    page.breadcrumb.iter().try_for_each(|name| check_text("page.breadcrumb", name, LABEL_CHARS))
}

fn check_event(event: &WireEvent) -> Result<(), DecodeError> {
    if let Some(name) = &event.name {
        check_text("name", name, NAME_CHARS)?;
    }
    check_properties("properties", &event.properties)?;
    for receipt in &event.withheld {
        check_text("withheld.rule", &receipt.rule, 40)?;
        check_text("withheld.by", &receipt.by, 10)?;
    }
    event.descriptor.as_ref().map_or(Ok(()), check_descriptor)
}

fn check_descriptor(descriptor: &Descriptor) -> Result<(), DecodeError> {
    for (field, text, chars) in [
        ("descriptor.role", &descriptor.role, 40),
        ("descriptor.label", &descriptor.label, LABEL_CHARS),
        ("descriptor.labelSource", &descriptor.label_source, 40),
        ("descriptor.template", &descriptor.template, LABEL_CHARS),
        ("descriptor.tag", &descriptor.tag, 80),
        ("descriptor.path", &descriptor.path, 1024),
    ] {
        check_text(field, text, chars)?;
    }
    if descriptor.context.len() > CONTEXT_ENTRIES {
        return Err(too_large("descriptor.context", format!("at most {CONTEXT_ENTRIES} entries")));
    }
    for entry in &descriptor.context {
        check_text("descriptor.context", &entry.kind, 40)?;
        check_text("descriptor.context", &entry.name, LABEL_CHARS)?;
    }
    for group in [descriptor.group.as_ref(), descriptor.outer.as_deref()].into_iter().flatten() {
        if group.signature.len() > 64 {
            return Err(too_large("descriptor.group.signature", "at most 64 hashes"));
        }
        check_text("descriptor.group.container", &group.container, LABEL_CHARS)?;
        check_text("descriptor.group.member", &group.member, LABEL_CHARS)?;
        check_text("descriptor.group.path", &group.path, 1024)?;
    }
    if let Some(value) = &descriptor.name_value {
        check_value("descriptor.name_value", value)?;
    }
    check_properties("descriptor.properties", &descriptor.properties)?;
    check_properties("descriptor.attributes", &descriptor.attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const BATCH: &str = r#"{"v":1,"key":"pk_12345678","batch":"tab.1","sent":"2026-11-23T18:00:00.000Z","page":{"url":"https://shop.example/"},
        "events":[{"id":"0193a1f0-0000-7000-8000-000000000001","type":"click","time":"2026-11-23T18:00:00.000Z"}]}"#;

    fn with(from: &str, to: &str) -> Result<Batch, DecodeError> {
        assert!(BATCH.contains(from), "{from}");
        decode(BATCH.replace(from, to).as_bytes())
    }

    #[test]
    fn half_a_character_is_left_out_and_whole_ones_stay() {
        for (given, kept) in [
            (r"cut \ud83d", "cut "),
            (r"cut \uD83D!", "cut !"),
            (r"\ude00 begun", " begun"),
            (r"\ud83d\ud83d\ude00", "\u{1f600}"),
            (r"\ud83d\u0041", "A"),
            (r"\\ud83d", r"\ud83d"),
            (r"\\\ud83d", r"\"),
            (r"\u00e4 \ud7ff \ue000", "\u{e4} \u{d7ff} \u{e000}"),
        ] {
            let body = format!(r#"{{"text":"{given}"}}"#);
            let read: Value = serde_json::from_slice(&whole_characters(body.as_bytes())).unwrap();
            assert_eq!(read["text"], kept, "{given}");
        }
        for broken in [r"\ud83", r"\ud", r"\u", r"\"] {
            assert_eq!(whole_characters(broken.as_bytes()).as_ref(), broken.as_bytes());
        }
        let batch = with(r#""url":"https"#, r#""title":"Shoes \ud83d","url":"https"#).unwrap();
        assert_eq!(batch.page.title, "Shoes ");
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_batch_decodes_plain_and_packed() {
        assert_eq!(decode(BATCH.as_bytes()), decode(&gzip(BATCH.as_bytes())));
        assert_eq!(decode(BATCH.as_bytes()).unwrap().events.len(), 1);
    }

    #[test]
    fn an_error_names_the_field_and_not_its_value() {
        let cases = [
            (r#""type":"click""#, r#""type":"secret@mail.example""#, "events[0].type"),
            ("0193a1f0-0000-7000-8000-000000000001", "secret@mail.example", "events[0].id"),
            (r#""sent":"2026-11-23T18:00:00.000Z","#, "", "sent"),
            (r#""sent":"2026-11-23T18:00:00.000Z""#, r#""sent":"secret@mail.example""#, "sent"),
            (r#""key":"pk_12345678""#, r#""key":17"#, "key"),
            (r#""page":{"#, r#""visitor":"secret@mail.example","page":{"#, "visitor"),
            (
                r#""type":"click""#,
                r#""type":"click","properties":{"a":{"secret@mail.example":1}}"#,
                "events[0].properties[0]",
            ),
        ];
        for (from, to, field) in cases {
            let error = with(from, to).unwrap_err();
            assert_eq!((error.field.as_str(), error.refusal), (field, Refusal::Malformed), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn another_version_is_told_apart_from_a_malformed_body() {
        assert_eq!(with(r#""v":1"#, r#""v":2"#).unwrap_err().refusal, Refusal::Version);
        let later = r#"{"v":9,"everything":"else"}"#;
        assert_eq!(decode(later.as_bytes()).unwrap_err().refusal, Refusal::Version);
        assert_eq!(decode(b"{\"v\":1").unwrap_err().field, "body");
        assert_eq!(decode(b"").unwrap_err().field, "body");
        assert_eq!(decode(&[0xff, 0xfe]).unwrap_err().field, "body");
        assert_eq!(decode(format!("{BATCH} {{}}").as_bytes()).unwrap_err().field, "body");
    }

    #[test]
    fn bombs_depth_and_sizes_are_bounded() {
        let bomb = gzip(&vec![b' '; 50 << 20]);
        assert!(bomb.len() < BATCH_BYTES);
        assert_eq!(decode(&bomb).unwrap_err().refusal, Refusal::TooLarge);
        let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        assert!(decode(deep.as_bytes()).unwrap_err().problem.contains("deeper"));
        // Brackets inside a text are no nesting.
        assert!(with("https://shop.example/", &"[".repeat(100)).is_ok());
        assert_eq!(with("https://shop.example/", &"x".repeat(URL_CHARS + 1)).unwrap_err().field, "page.url");
        assert_eq!(decode(&[0x1f, 0x8b, 0, 0]).unwrap_err().field, "body");
        let properties: Vec<String> = (0..=PROPERTIES).map(|n| format!("\"k{n}\":1")).collect();
        let many = format!(r#""type":"click","properties":{{{}}}"#, properties.join(","));
        assert_eq!(with(r#""type":"click""#, &many).unwrap_err().field, "events[0].properties");
    }
}
