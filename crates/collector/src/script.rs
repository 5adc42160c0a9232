//! `/t/`: the tracker joined with the project's published settings, compressed beforehand, with ETag.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use convizit_model::settings::Signal;
use convizit_model::{EventType, Project, ProjectKey};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::answer::{SETTINGS, problem};
use crate::state::{Kind, State};

static CORE: &str = include_str!("../../../tracker/dist/convizit.js");
static PAGE: &str = include_str!("../../../tracker/dist/more/page.js");
static VITALS: &str = include_str!("../../../tracker/dist/more/vitals.js");
static CONSENT: &str = include_str!("../../../tracker/dist/more/consent.js");
static CUSTOMIZER: &str = include_str!("../../../tracker/dist/more/customizer.js");
static RULES: &str = include_str!("../../../tracker/dist/more/rules.js");
static OVERLAY: &str = include_str!("../../../tracker/dist/overlay.js");
static FRICTION: &str = include_str!("../../../tracker/dist/more/friction.js");

/// An answer in every encoding that browsers ask for.
pub(crate) struct Script {
    plain: Bytes,
    gzip: Bytes,
    brotli: Bytes,
    etag: HeaderValue,
    content_type: HeaderValue,
    cache: HeaderValue,
}

pub(crate) async fn script_or_settings(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    match file.rsplit_once('.') {
        Some((key, "js")) => serve(&state, key, Kind::Core, &headers).await,
        Some((key, "json")) => serve(&state, key, Kind::Settings, &headers).await,
        _ => problem(404, "not_found", "path", "the script is at /t/<project key>.js"),
    }
}

pub(crate) async fn more(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    Path(key): Path<String>,
    RawQuery(language): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    // "de-CH" is read as "de".
    let language = language.unwrap_or_default().split('-').next().unwrap_or_default().to_ascii_lowercase();
    let language = languages().get_key_value(&language).map(|(known, _)| known.as_str());
    serve(&state, &key, Kind::More { vitals: false, friction: false, language }, &headers).await
}

/// The customizer, which only its own token makes a page load.
pub(crate) async fn overlay(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    serve(&state, &key, Kind::Overlay, &headers).await
}

/// What the tracker's rules need of each language, as JSON; empty where the file is malformed: the tracker then reads no
/// greeting, account or address.
fn languages() -> &'static BTreeMap<String, String> {
    static LANGUAGES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
        let words = include_str!("../../../tracker/dist/more/words.json");
        let words: BTreeMap<String, serde_json::Value> = serde_json::from_str(words).unwrap_or_default();
        words.into_iter().map(|(language, words)| (language, words.to_string())).collect()
    });
    &LANGUAGES
}

async fn serve(state: &State, key: &str, kind: Kind, headers: &HeaderMap) -> Response<Body> {
    let project = key.parse::<ProjectKey>().ok().and_then(|key| state.store.project_by_key(&key));
    let Some(project) = project else {
        return problem(
            404,
            "unknown_key",
            "key",
            "no project has this key; the snippet of `convizit project show` has it",
        );
    };
    let on = |kinds: &[EventType]| kinds.iter().any(|kind| project.settings.events.contains(kind));
    let (cached, kind) = match kind {
        Kind::More { language, .. } => {
            let kind = Kind::More { vitals: on(VITAL), friction: on(ANNOYING), language };
            ((None, 0, kind), kind)
        }
        Kind::Overlay => ((None, 0, kind), kind),
        kind => ((Some(project.key.clone()), project.version, kind), kind),
    };
    let script = match state.script(&cached) {
        Some(script) => script,
        None => {
            let _building = state.building.lock().await;
            if let Some(script) = state.script(&cached) {
                return answer(&script, &project, headers);
            }
            let for_build = project.clone();
            let Ok(script) = tokio::task::spawn_blocking(move || build(&for_build, kind)).await else {
                return problem(500, "internal", "path", "the script could not be made");
            };
            let script = Arc::new(script);
            state.keep_script(cached, &script);
            script
        }
    };
    answer(&script, &project, headers)
}

fn answer(script: &Script, project: &Project, headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let to = response.headers_mut();
    to.insert(header::ETAG, script.etag.clone());
    to.insert(header::CACHE_CONTROL, script.cache.clone());
    to.insert(header::CONTENT_TYPE, script.content_type.clone());
    to.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    // Public by nature: every page that has the snippet reads it.
    to.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    to.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    to.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    if let Ok(version) = HeaderValue::try_from(project.version.to_string()) {
        to.insert(SETTINGS, version);
    }
    let same = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == script.etag.as_bytes());
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepts = |name: &str| {
        accepted.split(',').any(|entry| {
            let (coding, weight) = entry.split_once(';').unwrap_or((entry, ""));
            coding.trim().eq_ignore_ascii_case(name) && !matches!(weight.replace(' ', "").as_str(), "q=0" | "q=0.0")
        })
    };
    let body = if accepts("br") {
        to.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        script.brotli.clone()
    } else if accepts("gzip") {
        to.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        script.gzip.clone()
    } else {
        script.plain.clone()
    };
    *response.body_mut() = Body::from(body);
    response
}

fn build(project: &Project, kind: Kind) -> Script {
    let settings = settings(project);
    let plain = match kind {
        // `<` cannot end the script element of somebody who inlines it.
        Kind::Core => format!("window.convizitSettings={};\n{CORE}", settings.to_string().replace('<', "\\u003c")),
        Kind::Settings => settings.to_string(),
        Kind::Overlay => OVERLAY.to_owned(),
        Kind::More { vitals, friction, language } => {
            let words = language.and_then(|language| languages().get(language)).map_or("void 0", String::as_str);
            let part = |is_on: bool, part: &'static str| if is_on { part } else { "" };
            [
                PAGE,
                part(vitals, VITALS),
                part(friction, FRICTION),
                CONSENT,
                CUSTOMIZER,
                &RULES.replacen("WORDS", words, 1),
            ]
            .concat()
        }
    };
    let (content_type, cache) = match kind {
        Kind::Settings => ("application/json", "no-cache"),
        // It has the settings in it: what is set holds for new pages within a minute, too.
        Kind::Core => ("text/javascript; charset=utf-8", "public, max-age=30, stale-while-revalidate=30"),
        Kind::More { .. } | Kind::Overlay => {
            ("text/javascript; charset=utf-8", "public, max-age=300, stale-while-revalidate=86400")
        }
    };
    let etag = format!("\"{:016x}\"", fingerprint(plain.as_bytes()));
    Script {
        gzip: gzip(plain.as_bytes()),
        brotli: brotli(plain.as_bytes()),
        plain: Bytes::from(plain),
        // Hexadecimal digits in quotes are a header value.
        etag: HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("\"0\"")),
        content_type: HeaderValue::from_static(content_type),
        cache: HeaderValue::from_static(cache),
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): an ETag tells versions apart and guards nothing.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Types of events that a part of the second script captures.
const VITAL: &[EventType] = &[EventType::WebVital];
const ANNOYING: &[EventType] = &[
    EventType::RageClick,
    EventType::DeadClick,
    EventType::ErrorClick,
    EventType::Media,
    EventType::FormAbandon,
    EventType::Dialog,
];

/// What the tracker needs of a project's settings; everything here is public. Lists become expressions here, once, so that
/// the tracker does not carry the code for it.
fn settings(project: &Project) -> serde_json::Value {
    let settings = &project.settings;
    let words = words();
    let word = |key: &str| words.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let kept: Vec<String> = settings.keep_query.iter().map(|name| escaped(name)).collect();
    // The first is the one around all.
    let mut groups = 2;
    let paths: Vec<String> = settings.exclude_paths.iter().map(|path| glob(path, &mut groups)).collect();
    serde_json::json!({
        "key": project.key,
        "version": project.version,
        "identity": settings.identity,
        "cookieDays": settings.cookie_days,
        "events": settings.events,
        "optionLabels": settings.option_labels,
        "excludeSelectors": settings.exclude_selectors.iter().map(|selector| format!(",{selector}")).collect::<String>(),
        "excludePaths": if paths.is_empty() { String::new() } else { format!("^({})$", paths.join("|")) },
        "keepQuery": format!("^({}{})$", word("keptQuery"), kept.iter().map(|name| format!("|{name}")).collect::<String>()),
        "privateFields": word("privateFields"),
        "privatePlaces": word("privatePlaces"),
        "quantity": word("quantity"),
        "consentRequired": settings.consent_required,
        "honourGpc": settings.gpc == Signal::Stop,
        "honourDnt": settings.dnt == Signal::Stop,
        "traits": settings.traits,
        "more": true,
    })
}

/// Word lists by language. Malformed they are empty, and the tracker then takes every form for private.
fn words() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../tracker/src/words.json")).unwrap_or_default()
}

/// A path in which `*` stands for any text, as a JavaScript regular expression. What stands between two of them is taken where it is first
/// found, and not looked for again: however many there are, an address is read once for each. `groups` is the number of the expression's next group.
fn glob(path: &str, groups: &mut usize) -> String {
    let parts: Vec<String> = path.split('*').map(escaped).collect();
    // "/account/*" is meant for "/account" as well.
    if let Some(own) = path.strip_suffix("/*") {
        return glob(own, groups) + r"(?:\/.*)?";
    }
    let [first, between @ .., last] = parts.as_slice() else { return parts.concat() };
    let mut out = first.clone();
    for part in between.iter().filter(|part| !part.is_empty()) {
        // A lookahead is not entered again, and `\\1` takes what it found: JavaScript's way to an atomic group.
        out.push_str(&format!("(?=(.*?{part}))\\{groups}"));
        *groups += 1;
    }
    out + ".*" + last
}

/// A text as it stands inside a JavaScript regular expression.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if ".+*?^${}()|[]\\/-".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default().into()
}

fn brotli(bytes: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 16, ..Default::default() };
    match brotli::BrotliCompress(&mut &*bytes, &mut out, &parameters) {
        Ok(_) => out.into(),
        Err(_) => Bytes::new(),
    }
}
