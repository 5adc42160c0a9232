//! What every answer carries where browsers come by HTTPS, whom to tell of a weakness, and which answers are compressed.

use std::io::Read as _;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use convizit_console::{ConsoleConfig, routes};
use convizit_model::{Role, Timestamp};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::roles::path_of;
use crate::site::{HOST, Site, Who};

const PUBLIC: &str = "https://console.shop.example";

fn public(site: &Site) -> Router {
    let config = ConsoleConfig {
        public: Some(PUBLIC.to_owned()),
        security_contact: Some("mailto:security@shop.example".to_owned()),
        ..ConsoleConfig::default()
    };
    routes(site.store.clone(), config).0
}

async fn ask(app: &Router, method: Method, path: &str, head: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, HOST);
    for (name, value) in head {
        request = request.header(*name, *value);
    }
    let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_by_https_is_framed_nowhere_kept_nowhere_and_stays_https() {
    let site = Site::make().await;
    let app = public(&site);
    let cookie = format!("__Host-convizit_console={}", site.session(Who::In(Role::MasterAdmin)).await);
    let mut asked = 0;
    let mut paths: Vec<String> = site.rows.iter().map(|row| path_of(row, "shop", 999)).collect();
    paths.extend(["/no/such/page", "/static/none.css", "/p/%00", "/p/shop/events/%3Cscript%3E"].map(str::to_owned));
    for path in paths {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            for who in [None, Some(cookie.as_str())] {
                let head: Vec<(&str, &str)> = who.map(|cookie| ("cookie", cookie)).into_iter().collect();
                let (status, headers, _) = ask(&app, method.clone(), &path, &head).await;
                let what = format!("{method} {path}: {status}");
                let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
                assert_eq!(header("strict-transport-security"), "max-age=31536000; includeSubDomains", "{what}");
                assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{what}");
                assert_eq!(header("x-frame-options"), "DENY", "{what}");
                assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
                assert_eq!(header("referrer-policy"), "same-origin", "{what}");
                assert_eq!(header("cross-origin-opener-policy"), "same-origin", "{what}");
                assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{what}");
                assert_eq!(header("access-control-allow-origin"), "", "{what}");
                let file = path.starts_with("/static/") && status == StatusCode::OK;
                assert_eq!(header("cache-control"), if file { "public, max-age=300" } else { "no-store" }, "{what}");
                if let Some(set) = headers.get(header::SET_COOKIE) {
                    let set = set.to_str().unwrap();
                    assert!(
                        set.starts_with("__Host-") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
                        "{what} {set}"
                    );
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 600, "{asked}");
    // Where nobody says that it is HTTPS, a browser must not be told to insist on it.
    let (_, headers, _) = ask(&site.app, Method::GET, "/sign-in", &[]).await;
    assert!(!headers.contains_key("strict-transport-security"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_a_weakness_learns_whom_to_tell() {
    let site = Site::make().await;
    let path = "/.well-known/security.txt";
    assert_eq!(ask(&site.app, Method::GET, path, &[]).await.0, StatusCode::NOT_FOUND, "nobody to tell was named");
    let (status, headers, body) = ask(&public(&site), Method::GET, path, &[]).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "text/plain; charset=utf-8"));
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!(field("Contact:"), "mailto:security@shop.example");
    assert_eq!(field("Canonical:"), format!("{PUBLIC}{path}"));
    let left = field("Expires:").parse::<Timestamp>().unwrap().since(site.store.clock().now());
    let days = left / 86_400_000;
    assert!(
        (30..365).contains(&days),
        "it holds for {days} days: a month at least, and less than the year of RFC 9116"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_person_or_a_page_of_ours_asks_for_is_compressed() {
    let site = Site::make().await;
    let cookie = format!("convizit_console={}", site.session(Who::In(Role::Owner)).await);
    let from = |origin: &'static str, encoding: &'static str| {
        vec![
            ("cookie", cookie.clone()),
            ("sec-fetch-site", origin.to_owned()),
            ("accept-encoding", encoding.to_owned()),
        ]
    };
    for path in ["/p/shop/settings", "/p/shop", "/static/console.css"] {
        let get = async |head: Vec<(&str, String)>| {
            let head: Vec<(&str, &str)> = head.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ask(&site.app, Method::GET, path, &head).await
        };
        let (_, headers, plain) = get(from("cross-site", "gzip")).await;
        assert!(
            !headers.contains_key(header::CONTENT_ENCODING),
            "{path}: its length would tell another site something"
        );
        assert!(headers["vary"].to_str().unwrap().contains("sec-fetch-site"));
        assert!(!get(from("none", "br")).await.1.contains_key(header::CONTENT_ENCODING), "{path}");
        for origin in ["none", "same-origin"] {
            let (status, headers, packed) = get(from(origin, "gzip, br")).await;
            assert_eq!(
                (status, headers[header::CONTENT_ENCODING].to_str().unwrap()),
                (StatusCode::OK, "gzip"),
                "{path}"
            );
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut text).unwrap();
            assert_eq!(text, plain, "{path}");
            assert!(packed.len() * 2 < plain.len(), "{path}: {} of {}", packed.len(), plain.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_of_ours_leads_to_another_site() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Owner)).await;
    for evil in [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.example",
        "/%09/evil.example",
        " /evil.example",
        "//evil.example/%2f..",
        "/\r\nlocation: https://evil.example",
        "http://127.0.0.1:8091@evil.example",
        "evil.example",
    ] {
        let escaped: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        for path in ["/sign-in", "/account/prove"] {
            let answer = site.get(&format!("{path}?next={escaped}"), &cookie).await;
            let to = answer.location();
            assert!(to == "/projects" || to == "/%09/evil.example", "{path} {evil:?} leads to {to:?}");
        }
    }
}
