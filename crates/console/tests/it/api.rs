//! The interface for programs: scopes × routes, other projects, calls that come again, pages, stale versions, and its document.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use convizit_console::{Access, Admitted, Row};
use convizit_model::{IncidentKind, NoticeKind, ProjectSettings, Role};
use convizit_store::Scope;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::capture::Shop;
use crate::incidents::only;
use crate::site::{Answer, HOST, Site, Who};

const EXPECTED: &str = include_str!("roles.txt");

/// A call of a program.
#[derive(Clone, Default)]
pub(crate) struct Call<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Option<Value>,
    pub(crate) key: Option<&'a str>,
    pub(crate) cookie: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(token: &'a str, path: &'a str) -> Self {
        Self { token: Some(token), path, ..Self::default() }
    }

    pub(crate) fn write(token: &'a str, method: Method, path: &'a str, body: Value) -> Self {
        Self { method, body: Some(body), ..Self::get(token, path) }
    }

    pub(crate) fn keyed(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }
}

pub(crate) async fn send(site: &Site, call: Call<'_>) -> Answer {
    let mut request = Request::builder().method(call.method).uri(call.path).header(header::HOST, HOST);
    if let Some(token) = call.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(key) = call.key {
        request = request.header("idempotency-key", key);
    }
    if let Some(cookie) = call.cookie {
        request = request.header(header::COOKIE, format!("convizit_console={cookie}"));
    }
    let body = match call.body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    let answer = site.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    for closed in ["set-cookie", "access-control-allow-origin"] {
        assert!(!parts.headers.contains_key(closed), "{closed} on {}", call.path);
    }
    if parts.status.is_client_error() || parts.status.is_server_error() {
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json", "{} {text}", call.path);
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["status"], parts.status.as_u16(), "{problem}");
        assert!(problem["type"].as_str().unwrap().starts_with("urn:convizit:problem:"), "{problem}");
    }
    Answer {
        status: parts.status,
        headers: parts.headers,
        text,
        admitted: parts.extensions.get::<Admitted>().is_some(),
    }
}

pub(crate) fn read(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{} {}", answer.status, answer.text))
}

pub(crate) async fn token(site: &Site, scopes: &[Scope], name: &str) -> String {
    site.store.make_token(Some(&site.shop), scopes, name, 30).await.unwrap()
}

fn of_projects() -> impl Iterator<Item = Scope> {
    Scope::ALL.into_iter().filter(|scope| *scope != Scope::Keys)
}

fn rows(site: &Site) -> impl Iterator<Item = &Row> {
    site.rows.iter().filter(|row| matches!(row.access, Access::Scope(_)))
}

fn path_of(row: &Row, project: &str) -> String {
    row.path
        .replace("{project}", project)
        .replace("{event}", "na_0000000000000001")
        .replace("{decision}", "1")
        .replace("{destination}", "hook")
        .replace("{group}", "gr_0000000000000001")
        .replace("{account}", "999")
        .replace("{notice}", "999")
        .replace("{incident}", "999")
        .replace("{replay}", "999")
        .replace("{request}", "er_none")
}

fn call_of<'a>(row: &Row, token: Option<&'a str>, path: &'a str) -> Call<'a> {
    let body = (row.method() != Method::GET).then(|| json!({}));
    Call { token, method: row.method(), path, body, ..Call::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_takes_the_scope_of_the_list_and_no_other() {
    let site = Site::make().await;
    let list: BTreeMap<(&str, &str), &str> = EXPECTED
        .lines()
        .filter_map(|line| {
            let [method, path, word] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
            word.strip_prefix("token:").map(|scope| ((method, path), scope))
        })
        .collect();
    let mut tokens = Vec::new();
    for scope in of_projects() {
        tokens.push((scope, token(&site, &[scope], scope.as_str()).await));
    }
    let mut asked = 0;
    for row in rows(&site) {
        let least = list.get(&(row.method, row.path)).unwrap_or_else(|| panic!("{row:?} is not in roles.txt"));
        let path = path_of(row, "shop");
        for (scope, token) in &tokens {
            let answer = send(&site, call_of(row, Some(token), &path)).await;
            let what = format!("{} {path} with {scope:?}: {} {}", row.method, answer.status, answer.text);
            assert!(!answer.status.is_server_error(), "{what}");
            assert_eq!(answer.admitted, scope.as_str() == *least, "{what}");
            assert_eq!(answer.status == StatusCode::FORBIDDEN, !answer.admitted, "{what}");
            asked += 1;
        }
    }
    assert!(asked == list.len() * tokens.len() && asked > 200, "{asked}");
    let refused = site.store.audit_entries(Some("shop"), 1000).await.unwrap();
    let refused = refused.iter().filter(|entry| entry.act == "access.refuse" && entry.actor == "token:read").count();
    assert!(refused > 10, "{refused}: who tries to change what they may not is written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_and_no_token_are_answered_alike_everywhere() {
    let site = Site::make().await;
    let all: Vec<Scope> = of_projects().collect();
    let blog = site.store.project(&"blog".parse().unwrap()).await.unwrap();
    let foreign = site.store.make_token(Some(&blog), &all, "foreign", 30).await.unwrap();
    let keys = site.store.make_token(None, &[Scope::Keys], "keys", 30).await.unwrap();
    let (cookie, mut wrong) = (site.session(Who::In(Role::MasterAdmin)).await, 0);
    for row in rows(&site) {
        let path = path_of(row, "shop");
        let other = send(&site, call_of(row, Some(&foreign), &path)).await;
        let missing_path = path_of(row, "missing");
        let missing = send(&site, call_of(row, Some(&foreign), &missing_path)).await;
        assert_eq!((other.status, other.admitted), (StatusCode::NOT_FOUND, false), "{} {path}", row.method);
        assert_eq!((missing.status, &missing.text), (other.status, &other.text), "{} {path}", row.method);
        let none = send(&site, call_of(row, None, &path)).await;
        assert_eq!((none.status, none.admitted), (StatusCode::UNAUTHORIZED, false), "{} {path}", row.method);
        assert_eq!(none.headers[header::WWW_AUTHENTICATE], "Bearer");
        let signed_in = Call { cookie: Some(&cookie), ..call_of(row, None, &path) };
        for call in [signed_in, call_of(row, Some(&keys), &path), call_of(row, Some("cz_read_unknown"), &path)] {
            let answer = send(&site, call).await;
            assert_eq!((answer.status, &answer.text), (none.status, &none.text), "{} {path}", row.method);
        }
        wrong += 1;
        if wrong % 40 == 0 {
            // Fewer than are held up.
            site.pass(10);
        }
    }
    assert!(wrong > 60, "{wrong}");
    for path in ["/api/v1/nothing", "/api/v1/projects", "/api/"] {
        assert_eq!(send(&site, Call::get(&foreign, path)).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let options = Call { method: Method::OPTIONS, ..Call::get(&foreign, "/api/v1/projects/blog/events") };
    let answer = send(&site, options).await;
    assert_eq!(
        (answer.status, answer.headers[header::ALLOW].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD")
    );
    // The site's own privacy desk hears the same, and what to send.
    let answer = send(&site, Call::get(&foreign, "/v1/erase")).await;
    let kind = answer.headers[header::CONTENT_TYPE].to_str().unwrap();
    assert_eq!((answer.status, kind), (StatusCode::METHOD_NOT_ALLOWED, "application/problem+json"));
    assert_eq!(answer.headers[header::ALLOW].to_str().unwrap(), "POST");
    assert!(answer.text.contains("send POST /v1/erase with the header Authorization"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_shows_many_wrong_tokens_is_held_up() {
    let site = Site::make().await;
    let good = token(&site, &[Scope::Read, Scope::Erase], "good").await;
    let path = "/api/v1/projects/shop";
    for _ in 0..200 {
        assert_eq!(send(&site, Call::get(&good, path)).await.status, StatusCode::OK, "good ones cost nothing");
    }
    for tried in 0..60 {
        let wrong = format!("cz_read_{tried}");
        // Both interfaces count together.
        let path = if tried % 2 == 0 { path } else { "/v1/erase/er_1" };
        let status = send(&site, Call::get(&wrong, path)).await.status;
        let expected = if tried < 50 { StatusCode::UNAUTHORIZED } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(status, expected, "{tried}");
    }
    let held = send(&site, Call::get(&good, path)).await;
    assert_eq!(held.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = held.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    site.pass(1);
    assert_eq!(send(&site, Call::get(&good, path)).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_key_is_carried_out_once() {
    let site = Site::make().await;
    let members = token(&site, &[Scope::Members], "members").await;
    let other = token(&site, &[Scope::Members], "other").await;
    let path = "/api/v1/projects/shop/invitations";
    let body = |email: &str| json!({"email": email, "role": "viewer"});
    let invite = |token, email: &str| Call::write(token, Method::POST, path, body(email)).keyed("key-1");
    // What was refused may be mended under the same key.
    assert_eq!(send(&site, invite(&members, "nobody")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let (one, two) =
        tokio::join!(send(&site, invite(&members, "a@b.example")), send(&site, invite(&members, "a@b.example")));
    let (first, second) = if one.status == StatusCode::CREATED { (one, two) } else { (two, one) };
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert!([StatusCode::CREATED, StatusCode::CONFLICT].contains(&second.status), "{}", second.text);
    for _ in 0..3 {
        let again = send(&site, invite(&members, "a@b.example")).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert_eq!(again.headers[header::CONTENT_TYPE], "application/json");
    }
    assert_eq!(site.store.invitations(site.shop.number).await.unwrap().len(), 1);
    let link = read(&first)["link"].as_str().unwrap().to_owned();
    let secret = link.strip_prefix("http://127.0.0.1:8091/welcome/").unwrap();
    assert!(site.store.invitation(secret).await.unwrap().is_some());
    assert_eq!((&read(&first)["replaced"], &read(&first)["not_mailed"]), (&json!(false), &Value::Null));
    // No mail server is set up: the link is answered, whatever was asked for.
    let mailed = json!({"email": "a@b.example", "role": "viewer", "mail": true});
    let anew = send(&site, Call::write(&members, Method::POST, path, mailed)).await;
    assert_eq!((anew.status, &read(&anew)["replaced"]), (StatusCode::CREATED, &json!(true)), "{}", anew.text);
    let later = read(&anew)["link"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(site.store.invitation(secret).await.unwrap().is_none(), "the earlier one has ended");
    assert!(site.store.invitation(&later).await.unwrap().is_some());

    let different = send(&site, invite(&members, "c@d.example")).await;
    assert_eq!(different.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(read(&different)["type"], "urn:convizit:problem:key_reused");
    assert_eq!(send(&site, invite(&other, "c@d.example")).await.status, StatusCode::CREATED, "a key is its token's");
    for key in ["", " ".repeat(256).as_str()] {
        let answer = send(&site, Call::write(&members, Method::POST, path, body("e@f.example")).keyed(key)).await;
        assert_eq!(
            (answer.status, read(&answer)["field"].as_str()),
            (StatusCode::BAD_REQUEST, Some("Idempotency-Key"))
        );
    }
    // An answer without a body is kept, too.
    let back = || {
        Call::write(
            &members,
            Method::POST,
            "/api/v1/projects/shop/invitations/take-back",
            json!({"email": "a@b.example"}),
        )
        .keyed("key-2")
    };
    for _ in 0..2 {
        let answer = send(&site, back()).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""));
    }
    // Nobody who has the database alone reads a link that still holds.
    site.store.close().await;
    for file in std::fs::read_dir(site.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_saved_from_the_version_that_was_read() {
    let site = Site::make().await;
    let both = token(&site, &[Scope::Read, Scope::Settings], "both").await;
    let path = "/api/v1/projects/shop/settings";
    let shown = send(&site, Call::get(&both, path)).await;
    let was = read(&shown);
    let version = was["version"].as_u64().unwrap();
    assert_eq!(shown.headers[header::ETAG], format!("\"{version}\""));
    let put = |body: Value| Call::write(&both, Method::PUT, path, body);
    let patch = |version: u64, settings: Value| {
        Call::write(&both, Method::PATCH, path, json!({"version": version, "settings": settings}))
    };
    let saved = send(&site, put(was.clone())).await;
    assert_eq!((saved.status, read(&saved)["version"].as_u64()), (StatusCode::OK, Some(version + 1)), "{}", saved.text);
    assert_eq!(saved.headers[header::ETAG], format!("\"{}\"", version + 1));
    let stale = send(&site, put(was.clone())).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    let told = read(&stale);
    assert_eq!((&told["current"]["version"], &told["current"]["settings"]), (&json!(version + 1), &was["settings"]));

    let part = send(&site, patch(version + 1, json!({"retention_days": 90}))).await;
    assert_eq!(part.status, StatusCode::OK, "{}", part.text);
    let now = site.store.project(&site.shop.id).await.unwrap();
    assert_eq!(now.settings, ProjectSettings { retention_days: 90, ..site.shop.settings.clone() });
    let mut lacking = was.clone();
    lacking["version"] = json!(now.version);
    lacking["settings"].as_object_mut().unwrap().remove("retention_days");
    for (call, status, field) in [
        (put(lacking), StatusCode::UNPROCESSABLE_ENTITY, "settings.retention_days"),
        (patch(now.version, json!({"retention_days": 0})), StatusCode::UNPROCESSABLE_ENTITY, "settings.retention_days"),
        (patch(now.version, json!({"origins": ["nowhere"]})), StatusCode::UNPROCESSABLE_ENTITY, "settings.origins[0]"),
        (patch(now.version, json!({"orgins": []})), StatusCode::UNPROCESSABLE_ENTITY, "settings"),
        (put(json!({"version": "7", "settings": {}})), StatusCode::BAD_REQUEST, "version"),
    ] {
        let answer = send(&site, call).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(read(&answer)["field"].as_str().is_some_and(|said| said.starts_with(field)), "{}", answer.text);
    }
    // What deletes wants the right to erase, and leaves a trace where it is refused.
    let shorter = patch(now.version, json!({"retention_days": 89}));
    let refused = send(&site, shorter.clone()).await;
    assert_eq!((refused.status, &read(&refused)["field"]), (StatusCode::FORBIDDEN, &json!("settings.retention_days")));
    let entries = site.store.audit_entries(Some("shop"), 1).await.unwrap();
    assert_eq!((entries[0].act.as_str(), entries[0].subject.as_str()), ("access.refuse", "retention_days"));
    let erases = token(&site, &[Scope::Settings, Scope::Erase], "erases").await;
    assert_eq!(send(&site, Call { token: Some(&erases), ..shorter }).await.status, StatusCode::OK);
    let now = site.store.project(&site.shop.id).await.unwrap();
    // Of two at once one is second.
    let (one, two) = tokio::join!(
        send(&site, patch(now.version, json!({"crowd": 7}))),
        send(&site, patch(now.version, json!({"cookie_days": 7})))
    );
    let statuses = BTreeSet::from([one.status, two.status]);
    assert_eq!(statuses, BTreeSet::from([StatusCode::OK, StatusCode::CONFLICT]));
    assert_eq!(site.store.project(&site.shop.id).await.unwrap().version, now.version + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shorter_retention_deletes_is_told_before_and_with_it() {
    let shop = Shop::open().await;
    let site = &shop.site;
    site.pass(10 * 24 * 60);
    let erases = token(site, &[Scope::Settings, Scope::Erase], "erases").await;
    let path = "/api/v1/projects/shop/settings";
    let version = site.store.project(&site.shop.id).await.unwrap().version;
    let patch = async |days: u32, dry_run: bool| {
        let body = json!({"version": version, "settings": {"retention_days": days}, "dry_run": dry_run});
        let answer = send(site, Call::write(&erases, Method::PATCH, path, body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        read(&answer)
    };
    for (days, deletes) in [(5, 11), (30, 0), (90, 0)] {
        assert_eq!(patch(days, true).await, json!({"version": version, "deletes": deletes}), "{days}");
    }
    assert_eq!(site.store.project(&site.shop.id).await.unwrap().version, version, "nothing was saved");
    assert_eq!(patch(5, false).await, json!({"version": version + 1, "deletes": 11}));
    assert_eq!(site.store.project(&site.shop.id).await.unwrap().settings.retention_days, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_changed_as_it_was_read() {
    let site = Site::make().await;
    let members = token(&site, &[Scope::Members], "members").await;
    let path = format!("/api/v1/projects/shop/members/{}", site.account(Who::In(Role::Editor)).number);
    let put = async |body| send(&site, Call::write(&members, Method::PUT, &path, body)).await;
    let stale = put(json!({"role": "admin", "seen": "viewer"})).await;
    assert_eq!((stale.status, &read(&stale)["current"]["role"]), (StatusCode::CONFLICT, &json!("editor")));
    assert_eq!(put(json!({"role": "viewer", "seen": "editor"})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(put(json!({"role": "admin"})).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_nothing_comes_twice() {
    let site = Site::make().await;
    let audit = token(&site, &[Scope::Audit], "audit").await;
    let reads = token(&site, &[Scope::Read], "reads").await;
    for days in 10..20 {
        let settings = ProjectSettings { retention_days: days, ..site.shop.settings.clone() };
        site.store.save_settings(&site.shop.id, settings).await.unwrap();
    }
    let walk = async |token: &str, path: &str, field: &str| -> Vec<Value> {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let answer = send(&site, Call::get(token, &format!("/api/v1/projects/shop/{path}limit=3{after}"))).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            let page = read(&answer);
            let items = page["items"].as_array().unwrap();
            assert!((1..=3).contains(&items.len()));
            found.extend(items.iter().map(|item| item[field].clone()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return found,
            }
        }
    };
    let entries = site.store.audit_entries(Some("shop"), 1000).await.unwrap();
    let saved: Vec<Value> =
        entries.iter().filter(|entry| entry.act == "settings.save").map(|entry| json!(entry.number)).collect();
    assert_eq!(walk(&audit, "audit?act=settings.save&", "number").await, saved);
    assert_eq!(saved.len(), 10);
    let members = walk(&reads, "members?", "account").await;
    assert_eq!(members.len(), 4);
    assert!(members.windows(2).all(|pair| pair[0].as_i64() < pair[1].as_i64()));
    for wrong in
        ["audit?limit=0", "audit?limit=201", "audit?after=x", "audit?limt=3", "audit?since=soon", "audit?act=%00"]
    {
        let path = format!("/api/v1/projects/shop/{wrong}");
        assert_eq!(send(&site, Call::get(&audit, &path)).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_changed_up_to_admin_and_addresses_are_for_who_invites() {
    let site = Site::make().await;
    let reads = token(&site, &[Scope::Read], "reads").await;
    let both = token(&site, &[Scope::Read, Scope::Members], "both").await;
    let list = "/api/v1/projects/shop/members";
    let shown = read(&send(&site, Call::get(&reads, list)).await);
    assert!(shown["items"].as_array().unwrap().iter().all(|member| member["email"].is_null()), "{shown}");
    let shown = read(&send(&site, Call::get(&both, list)).await);
    assert!(shown["items"].as_array().unwrap().iter().all(|member| member["email"].is_string()), "{shown}");
    let of = |role: Role| format!("{list}/{}", site.account(Who::In(role)).number);
    let (editor, owner) = (of(Role::Editor), of(Role::Owner));
    let set = |path, role: &str| Call::write(&both, Method::PUT, path, json!({"role": role}));
    assert_eq!(send(&site, set(&editor, "admin")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(send(&site, set(&editor, "owner")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(send(&site, set(&owner, "viewer")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let remove = |path| Call { method: Method::DELETE, ..Call::get(&both, path) };
    assert_eq!(send(&site, remove(&owner)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send(&site, remove(&editor)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(send(&site, remove(&editor)).await.status, StatusCode::NOT_FOUND);
    let members = site.store.members(site.shop.number).await.unwrap();
    assert_eq!(members.len(), 3);
    let entries = site.store.audit_entries(Some("shop"), 10).await.unwrap();
    let acts: Vec<_> = entries.iter().filter(|entry| entry.actor == "token:both").map(|entry| &entry.act).collect();
    assert_eq!(acts, ["member.remove", "member.role"]);
}

/// The committed document is what the code makes: `UPDATE_OPENAPI=1` writes it anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_every_route_and_nothing_else() {
    let site = Site::make().await;
    let answer = send(&site, Call { path: "/api/v1/openapi.json", ..Call::default() }).await;
    assert_eq!(answer.status, StatusCode::OK);
    let document = read(&answer);
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let routed = rows(&site).map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    assert_eq!(described, routed);
    let mut names = BTreeSet::new();
    for row in rows(&site) {
        let operation = &document["paths"][row.path][row.method.to_lowercase()];
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
        let Access::Scope(scope) = row.access else { panic!("{row:?}") };
        assert_eq!(operation["security"], json!([{"token": [scope.as_str()]}]), "{row:?}");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(file, &answer.text).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == answer.text,
        "docs/openapi.json is another one: UPDATE_OPENAPI=1 cargo nextest run the_document"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_of_incidents_are_for_no_program() {
    let site = Site::make().await;
    let all: Vec<Scope> = of_projects().collect();
    let token = token(&site, &all, "all").await;
    for kind in [NoticeKind::Incident, NoticeKind::DeadLetters] {
        site.store.raise(kind, Some(&site.shop.id), "subject", "text").await.unwrap();
    }
    let listed = read(&send(&site, Call::get(&token, "/api/v1/projects/shop/notices?resolved=true")).await);
    let kinds: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|notice| &notice["kind"]).collect();
    assert_eq!(kinds, [&json!("dead_letters")], "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_reads_much_opens_an_incident_as_a_person_does() {
    for (scope, path) in [(Scope::Samples, "samples"), (Scope::Audit, "audit")] {
        let site = Site::make().await;
        let (reads, path) = (token(&site, &[scope], "reads").await, format!("/api/v1/projects/shop/{path}"));
        for _ in 0..210 {
            assert_eq!(send(&site, Call::get(&reads, &path)).await.status, StatusCode::OK, "{path}");
        }
        let found = only(&site, IncidentKind::MassExport).await;
        assert!(found.text.starts_with("token:reads read") && found.project.is_some(), "{found:?}");
    }
}
