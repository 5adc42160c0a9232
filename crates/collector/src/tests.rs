//! The routes as a browser meets them, on a real store: answers, CORS, bounds, bad input, overload.

mod customizer;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use convizit_model::{Outcome, ProjectSettings, Received, Refusal};
use convizit_pipeline::Tables;
use convizit_store::{Store, StoreConfig, SystemClock};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::router;
use crate::state::State;

const ORIGIN: &str = "https://shop.example";
const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

fn tables() -> Arc<Tables> {
    static TABLES: LazyLock<Arc<Tables>> = LazyLock::new(|| Arc::new(Tables::vendored().unwrap()));
    TABLES.clone()
}

struct Site {
    app: Router,
    store: Store,
    key: String,
    number: i64,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::in_folder(folder.path());
        change(&mut config);
        let keys = convizit_keys::ProviderConfig::File { path: folder.path().join("keys") };
        let keys = convizit_keys::open_provider(&keys).unwrap();
        let store = Store::open(config, keys, Arc::new(SystemClock)).await.unwrap();
        let settings = ProjectSettings { origins: vec![ORIGIN.to_owned()], ..ProjectSettings::default() };
        let project = store.create_project(&"shop".parse().unwrap(), settings).await.unwrap();
        let app = router(State::new(store.clone(), tables(), false));
        Self { app, store, key: project.key.to_string(), number: project.number, _folder: folder }
    }

    fn batch(&self) -> Value {
        json!({"v": 1, "key": self.key, "batch": "tab.1", "sent": self.store.clock().now(), "visitor": "v1", "session": {"id": "s1"},
            "page": {"url": "https://shop.example/p/17?token=abc", "title": "Trail shoe"},
            "events": [{"id": "0193a1f0-0000-7000-8000-000000000001", "type": "click", "time": self.store.clock().now(),
                "descriptor": {"role": "button", "label": "Mail anna.b@mail.example", "template": "Mail", "tag": "button"}}]})
    }

    async fn send(&self, body: impl Into<Body>, origin: Option<&str>) -> Response<Body> {
        let mut request =
            Request::post("/v1/collect").header("user-agent", CHROME).header("content-type", "text/plain");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        self.call(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.call(request.body(Body::empty()).unwrap()).await
    }

    async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo("8.8.8.8:1000".parse::<SocketAddr>().unwrap()));
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn outcomes(&self, project: i64) -> Vec<(String, u64)> {
        self.store.upkeep().await.unwrap();
        self.store.outcomes(project).await.unwrap()
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_of_204_means_that_the_scrubbed_batch_is_in_the_journal() {
    let site = Site::new().await;
    let response = site.send(site.batch().to_string(), Some(ORIGIN)).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&response, "access-control-allow-origin"), ORIGIN);
    assert!(header(&response, "access-control-expose-headers").contains("Convizit-Settings"));
    assert!(header(&response, "access-control-allow-credentials").is_empty());
    assert_eq!(header(&response, "convizit-settings"), "1");
    let batches = site.store.journal_read(0, 1 << 20).await.unwrap();
    let record = &batches[0].records[0];
    let written = String::from_utf8(record.to_vec()).unwrap();
    for private in ["anna.b", "8.8.8.8", "Mozilla", "abc"] {
        assert!(!written.contains(private), "{private} was written: {written}");
    }
    let received: Received = serde_json::from_slice(record).unwrap();
    assert_eq!(received.location.country.as_deref(), Some("US"));
    assert_eq!(received.device.browser.as_deref(), Some("Chrome"));
}

/// What the document tells programs to send is taken as it stands there.
#[tokio::test]
async fn the_documents_example_of_an_event_is_taken() {
    let site = Site::new().await;
    let document = include_str!("../../../docs/api.md");
    let (_, rest) = document.split_once("--data-binary @- <<END\n").unwrap();
    let (body, _) = rest.split_once("    END\n").unwrap();
    let now = site.store.clock().now().to_string();
    let body = body.replace("$KEY", &site.key).replace("$NOW", &now);
    let body = body.replace("$ID", "0193a1f0-0000-7000-8000-000000000001");
    assert!(!body.contains('$'), "{body}");
    let response = site.send(body, Some(ORIGIN)).await;
    let status = response.status();
    assert_eq!((status, text(response).await), (StatusCode::NO_CONTENT, String::new()));
    let batches = site.store.journal_read(0, 1 << 20).await.unwrap();
    let received: Received = serde_json::from_slice(&batches[0].records[0]).unwrap();
    let event = &received.batch.events[0];
    assert_eq!((event.name.as_deref(), &event.properties["plan"]), (Some("Trial started"), &json!("team")));
    assert_eq!((received.visitor.as_str(), received.batch.user.as_deref()), ("b1946ac92492d234", Some("user-17")));
}

#[tokio::test]
async fn bad_input_gets_the_designs_answers_and_names_the_field() {
    let site = Site::new().await;
    let with = |field: &str, value: Value| {
        let mut batch = site.batch();
        batch[field] = value;
        batch.to_string()
    };
    let cases = [
        ("{".to_owned(), 400, "body"),
        (with("v", json!(2)), 400, "v"),
        (with("sent", json!("yesterday")), 400, "sent"),
        (with("events", json!([])), 400, "events"),
        (with("visitor", json!("a@b.example")), 400, "visitor"),
        (with("key", json!("pk_nobodyhasthis")), 403, "key"),
        ("[".repeat(5000), 400, "body"),
        ("x".repeat(65 * 1024), 413, "body"),
    ];
    for (body, status, field) in cases {
        let response = site.send(body.clone(), Some(ORIGIN)).await;
        assert_eq!(response.status().as_u16(), status, "{}", &body[..body.len().min(80)]);
        assert_eq!(header(&response, "content-type"), "application/problem+json");
        // Only who may send is a matter between a project and an origin.
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            if status == 403 { "" } else { ORIGIN },
            "{field}"
        );
        let problem: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["field"], field);
        assert!(!problem.to_string().contains("a@b"), "{problem}");
    }
    assert!(site.store.journal_read(0, 1 << 20).await.unwrap().is_empty(), "nothing refused was written");
    let outcomes = site.outcomes(0).await;
    assert!(outcomes.contains(&(Outcome::Refused(Refusal::UnknownKey).as_str().to_owned(), 1)), "{outcomes:?}");
    assert!(outcomes.contains(&(Outcome::Refused(Refusal::Version).as_str().to_owned(), 1)), "{outcomes:?}");
}

#[tokio::test]
async fn only_allowed_origins_send() {
    let site = Site::new().await;
    for origin in [None, Some("https://evil.example"), Some("null"), Some("http://shop.example")] {
        let response = site.send(site.batch().to_string(), origin).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(header(&response, "access-control-allow-origin"), "");
    }
    assert_eq!(site.outcomes(site.number).await, [("refused.origin".to_owned(), 4)]);
}

#[tokio::test]
async fn gzip_is_told_by_its_bytes_and_a_bomb_is_bounded() {
    use std::io::Write;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let site = Site::new().await;
    let packed = gzip(site.batch().to_string().as_bytes());
    assert_eq!(site.send(packed, Some(ORIGIN)).await.status(), StatusCode::NO_CONTENT);
    let bomb = gzip(&vec![b' '; 40 << 20]);
    assert_eq!(site.send(bomb, Some(ORIGIN)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_full_queue_answers_503_before_parsing_and_the_page_may_read_it() {
    let site = Site::with(|config| config.queue_bytes = 10).await;
    // Not even JSON: a full queue is found before that matters.
    let response = site.send("no json", Some(ORIGIN)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), "5");
    assert_eq!(header(&response, "access-control-allow-origin"), ORIGIN);
}

#[tokio::test]
async fn bots_and_excluded_paths_are_answered_and_counted_but_not_written() {
    let site = Site::new().await;
    let request = Request::post("/v1/collect").header("user-agent", "Googlebot/2.1").header("origin", ORIGIN);
    let response = site.call(request.body(Body::from(site.batch().to_string())).unwrap()).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(site.store.journal_read(0, 1 << 20).await.unwrap().is_empty());
    assert_eq!(site.outcomes(site.number).await, [("filtered.bot".to_owned(), 1)]);
}

#[tokio::test]
async fn the_script_carries_its_settings_in_every_encoding_and_is_cached_by_version() {
    let site = Site::new().await;
    let path = format!("/t/{}.js", site.key);
    let plain = site.get(&path, &[]).await;
    assert_eq!(plain.status(), StatusCode::OK);
    let etag = header(&plain, "etag").to_owned();
    assert!(header(&plain, "cache-control").contains("stale-while-revalidate"));
    let script = text(plain).await;
    let line = script.lines().next().unwrap();
    let settings = line.strip_prefix("window.convizitSettings=").unwrap().strip_suffix(';').unwrap();
    let settings: Value = serde_json::from_str(settings).unwrap();
    assert_eq!(settings["key"], site.key.as_str());
    assert_eq!(settings["identity"], "cookie+storage");
    assert!(settings["privateFields"].as_str().unwrap().contains("geb"));
    assert!(settings["keepQuery"].as_str().unwrap().starts_with("^(utm_"));

    assert_eq!(site.get(&path, &[("if-none-match", &etag)]).await.status(), StatusCode::NOT_MODIFIED);
    let packed = site.get(&path, &[("accept-encoding", "gzip, deflate")]).await;
    assert_eq!(header(&packed, "content-encoding"), "gzip");
    let bytes = packed.into_body().collect().await.unwrap().to_bytes();
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes.as_ref()), &mut unpacked).unwrap();
    assert_eq!(unpacked, script);
    let brotli = site.get(&path, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(header(&brotli, "content-encoding"), "br");
    let bytes = brotli.into_body().collect().await.unwrap().to_bytes();
    let mut unpacked = Vec::new();
    brotli::BrotliDecompress(&mut bytes.as_ref(), &mut unpacked).unwrap();
    assert_eq!(unpacked, script.as_bytes());

    let changed = ProjectSettings {
        origins: vec![ORIGIN.to_owned()],
        cookie_days: 30,
        exclude_paths: vec!["/account/*".to_owned(), "/a.b".to_owned(), "/x*y**z*".to_owned(), "/*1*2".to_owned()],
        ..ProjectSettings::default()
    };
    site.store.save_settings(&"shop".parse().unwrap(), changed).await.unwrap();
    let newer = site.get(&path, &[("if-none-match", &etag)]).await;
    assert_eq!(newer.status(), StatusCode::OK);
    assert!(text(newer).await.contains("\"cookieDays\":30"));
    let json: Value = serde_json::from_str(&text(site.get(&format!("/t/{}.json", site.key), &[]).await).await).unwrap();
    assert_eq!((&json["cookieDays"], &json["version"]), (&json!(30), &json!(2)));
    assert_eq!(json["excludePaths"], r"^(\/account(?:\/.*)?|\/a\.b|\/x(?=(.*?y))\2(?=(.*?z))\3.*|\/(?=(.*?1))\4.*2)$");
    let more = async |query: &str| {
        let script = site.get(&format!("/t/{}/more.js{query}", site.key), &[]).await;
        assert_eq!(script.status(), StatusCode::OK);
        text(script).await
    };
    assert!(more("?de").await.contains("willkommen zurück") && more("?DE-ch").await.contains("willkommen zurück"));
    let bare = more("").await;
    assert!(!bare.contains("willkommen") && !bare.contains("WORDS") && bare.contains("void 0"));
    assert!(
        more("?xx").await == bare
            && more("?fiz").await == bare
            && more("?fil").await.contains("maligayang")
            && more("?../").await == bare
    );
    assert_eq!(site.get("/t/pk_nobodyhasthis.js", &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(site.get("/t/x.html", &[]).await.status(), StatusCode::NOT_FOUND);
}

/// The tracker's own tests, its measurement and `dist/describe.js` take a new project's settings from these files.
#[tokio::test]
async fn a_new_projects_settings_are_those_of_the_trackers_tests() {
    let site = Site::new().await;
    let published: Value =
        serde_json::from_str(&text(site.get(&format!("/t/{}.json", site.key), &[]).await).await).unwrap();
    let words: Value = serde_json::from_str(include_str!("../../../tracker/src/words.json")).unwrap();
    let mut expected: Value = serde_json::from_str(include_str!("../../../tracker/src/defaults.json")).unwrap();
    for (field, value) in [
        ("key", json!(site.key)),
        ("version", json!(1)),
        ("keepQuery", json!(format!("^({})$", words["keptQuery"].as_str().unwrap()))),
        ("privateFields", words["privateFields"].clone()),
        ("privatePlaces", words["privatePlaces"].clone()),
        ("quantity", words["quantity"].clone()),
    ] {
        expected[field] = value;
    }
    assert_eq!(published, expected);
}

#[tokio::test]
async fn plain_http_on_a_public_address_is_refused() {
    let site = Site::new().await;
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let error = crate::serve(listener, crate::CollectorConfig::default(), site.store.clone(), tables(), stop).await;
    assert!(error.unwrap_err().contains("behind_proxy"));
}
