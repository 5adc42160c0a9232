//! Every route × seven principals, against a list that was written apart from the permission table; and what every route has in
//! common: no other project, no form of another site, strict headers.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use convizit_console::{Access, ConsoleConfig, Row, serve};
use convizit_delivery::DeliveryConfig;
use convizit_model::Role;

use crate::site::{Ask, Site, Who};

/// The list: method, path, and the least that is let in.
const EXPECTED: &str = include_str!("roles.txt");

pub(crate) const PRINCIPALS: [Who; 7] = [
    Who::Anonymous,
    Who::Stranger,
    Who::In(Role::Viewer),
    Who::In(Role::Editor),
    Who::In(Role::Admin),
    Who::In(Role::Owner),
    Who::In(Role::MasterAdmin),
];

/// Whether the list lets somebody in.
fn expected(word: &str, who: Who) -> bool {
    match (word, who) {
        ("anybody", _) => true,
        // Only between two factors, or with a token: no principal of these.
        ("half" | "token", _) | (_, Who::Anonymous) => false,
        (word, _) if word.starts_with("token:") => false,
        ("person", _) => true,
        ("master", who) => who == Who::In(Role::MasterAdmin),
        (_, Who::Stranger) => false,
        ("viewer", Who::In(role)) => role >= Role::Viewer,
        ("editor", Who::In(role)) => role >= Role::Editor,
        ("admin", Who::In(role)) => role >= Role::Admin,
        ("owner", Who::In(role)) => role >= Role::Owner,
        (other, _) => panic!("roles.txt: {other} is no word of the list"),
    }
}

/// Routes that only a token opens; `api.rs` tries them with one.
fn of_programs(row: &Row) -> bool {
    matches!(row.access, Access::Token | Access::Scope(_))
}

pub(crate) fn path_of(row: &Row, project: &str, account: i64) -> String {
    row.path
        .replace("{project}", project)
        .replace("{account}", &account.to_string())
        .replace("{name}", if row.path.contains("/events/") { "na_0000000000000001" } else { "hook" })
        .replace("{event}", "na_0000000000000001")
        .replace("{destination}", "hook")
        .replace("{number}", "1")
        .replace("{decision}", "1")
        .replace("{group}", "gr_0000000000000001")
        .replace("{secret}", "no-such-link")
        .replace("{notice}", "1")
        .replace("{incident}", "1")
        .replace("{replay}", "1")
        .replace("{request}", "none")
}

fn list() -> BTreeMap<(String, String), String> {
    let lines = EXPECTED.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let [method, path, least] = line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
            ((method.to_owned(), path.to_owned()), least.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_whom_the_list_lets_in() {
    let site = Site::make().await;
    let list = list();
    let known: Vec<(String, String)> =
        site.rows.iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    for route in list.keys() {
        assert!(known.contains(route), "roles.txt has {route:?}, which is no route");
    }
    let mut asked = 0;
    for row in &site.rows {
        let key = (row.method.to_owned(), row.path.to_owned());
        let least = list.get(&key).unwrap_or_else(|| panic!("{key:?} is not in roles.txt"));
        for who in PRINCIPALS {
            // Each with a session of its own: some routes end it.
            let cookie = site.session(who).await;
            let path = path_of(row, "shop", 999);
            let answer = match row.method() {
                Method::GET => site.get(&path, &cookie).await,
                Method::POST => site.post(&path, &cookie, &[]).await,
                method => site.ask(Ask { method, ..Ask::post(&path, Some(&cookie), Vec::new()) }).await,
            };
            asked += 1;
            let what = format!("{} {path} by {who:?}: {}", row.method, answer.status);
            assert!(!answer.status.is_server_error(), "{what} {}", answer.text);
            if of_programs(row) {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
                continue;
            }
            assert_eq!(answer.admitted, expected(least, who), "{what} {}", answer.location());
            if answer.admitted {
                continue;
            }
            match who {
                Who::Anonymous => {
                    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{what}");
                    assert!(answer.location().starts_with("/sign-in"), "{what} {}", answer.location());
                }
                _ if least == "half" => assert_eq!(answer.location(), "/projects", "{what}"),
                Who::Stranger if row.path.contains("{project}") => {
                    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}");
                }
                _ => assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}"),
            }
        }
    }
    assert_eq!(asked, site.rows.len() * PRINCIPALS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_the_installation_is_on_the_operators_address_alone() {
    let mut site = Site::make().await;
    let delivery = DeliveryConfig { console: "https://console.shop.example".to_owned(), ..DeliveryConfig::default() };
    let config = ConsoleConfig { operator_apart: true, delivery, ..ConsoleConfig::default() };
    let served = serve(site.store.clone(), config);
    let (pages, admin) = (served.pages, served.admin.expect("a router of the operator's"));
    let mut seen = [0; 3];
    for row in &served.rows {
        let path = path_of(row, "shop", 999);
        let (of_all, of_programs) = (matches!(row.access, Access::Installation(_)), row.path.contains("/v1/"));
        seen[if of_all { 0 } else { 1 + usize::from(of_programs) }] += 1;
        for (app, apart) in [(&pages, false), (&admin, true)] {
            site.app = app.clone();
            // Each with a session of its own: some routes end it.
            let cookie = site.session(Who::In(Role::MasterAdmin)).await;
            let answer = match row.method() {
                Method::GET => site.get(&path, &cookie).await,
                method => site.ask(Ask { method, ..Ask::post(&path, Some(&cookie), form(&site, &cookie)) }).await,
            };
            let what = format!("{} {path}, the operator's: {apart}: {}", row.method, answer.status);
            if (of_all && !apart) || (of_programs && apart) {
                // The list of projects is on both, the form that makes one is not.
                let gone = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
                assert!(gone.contains(&answer.status), "{what}");
            } else if !of_programs && row.access != Access::HalfSignedIn {
                assert!(answer.admitted, "{what} {}", answer.text);
            }
        }
    }
    assert!(seen.iter().all(|times| *times > 3), "{seen:?}");
    // Nothing leads to what is not there.
    for (app, apart) in [(pages, false), (admin, true)] {
        site.app = app;
        let cookie = site.session(Who::In(Role::MasterAdmin)).await;
        let page = site.get("/projects", &cookie).await.text;
        for link in ["\"/system\"", "\"/notices\"", "\"/incidents\"", "\"/projects/new\""] {
            assert_eq!(page.contains(link), apart, "{link} in {page}");
        }
    }
    // A link for somebody else leads to where everybody comes.
    let (cookie, editor) = (site.session(Who::In(Role::MasterAdmin)).await, site.account(Who::In(Role::Editor)).number);
    let made = site.post(&format!("/system/accounts/{editor}/reset"), &cookie, &[]).await.text;
    assert!(made.contains("https://console.shop.example/welcome/"), "{made}");
}

/// A form of ours with nothing in it.
fn form(site: &Site, cookie: &str) -> Vec<(&'static str, String)> {
    vec![("token", site.store.form_token(cookie))]
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_is_as_if_it_were_not_there() {
    let site = Site::make().await;
    let cookie = site.session(Who::Stranger).await;
    let nothing = site.get("/no/such/page", &cookie).await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
    let mut projects: Vec<String> =
        ["shop", "missing", "Shop", "..", "shop%2f..%2fblog", "blog%00", "%20shop"].map(str::to_owned).into();
    projects.extend((0..180).map(|n| format!("{}{n}", ["shop-", "missing-", "blog-", "shop%3F"][n % 4])));
    let mut tries = 0;
    for row in site.rows.iter().filter(|row| row.path.contains("{project}") && !of_programs(row)) {
        for project in &projects {
            for account in 0..8 {
                let path = path_of(row, project, account);
                let answer = match row.method() {
                    Method::POST => site.post(&path, &cookie, &[("ids", "visitor-1"), ("role", "admin")]).await,
                    _ => site.get(&path, &cookie).await,
                };
                tries += 1;
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{} {path}", row.method);
                assert_eq!(answer.text, nothing.text, "{} {path}", row.method);
                if !row.path.contains("{account}") {
                    break;
                }
            }
        }
    }
    assert!(tries >= 5000, "{tries}");
    assert_eq!(site.store.members(site.shop.number).await.unwrap().len(), 4, "nobody was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_another_site_sends_changes_nothing() {
    let site = Site::make().await;
    let mut tries = 0;
    for row in site.rows.iter().filter(|row| row.method() == Method::POST && !of_programs(row)) {
        // A Master Admin may do all of it; half a session is all that the second factor's route wants.
        let cookie = site.session(Who::In(Role::MasterAdmin)).await;
        let other = site.session(Who::In(Role::Owner)).await;
        let token = site.store.form_token(&cookie);
        let path = path_of(row, "shop", 999);
        let form = |token: &str| vec![("token", token.to_owned())];
        let good = || Ask::post(&path, Some(&cookie), form(&token));
        for (how, ask) in [
            ("no token", Ask { fields: Vec::new(), ..good() }),
            ("a wrong token", Ask { fields: form("0123456789abcdef0123456789abcdef"), ..good() }),
            ("another session's token", Ask { fields: form(&site.store.form_token(&other)), ..good() }),
            ("another site", Ask { origin: Some("https://evil.example"), site: Some("cross-site"), ..good() }),
            ("another origin", Ask { origin: Some("https://evil.example"), site: None, ..good() }),
            ("a sandboxed frame", Ask { origin: Some("null"), site: None, ..good() }),
            ("a neighbour", Ask { origin: None, site: Some("same-site"), ..good() }),
            ("no word of where", Ask { origin: None, site: None, ..good() }),
            ("a plain text", Ask { kind: "text/plain", ..good() }),
            ("no cookie", Ask { cookie: None, ..good() }),
        ] {
            let answer = site.ask(ask).await;
            tries += 1;
            assert!(!answer.admitted, "{path} with {how}: {}", answer.status);
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} with {how}");
        }
    }
    assert!(tries > 200, "{tries}");
    assert!(site.store.audit_entries(Some("shop"), 100).await.unwrap().iter().all(|entry| entry.act != "member.role"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_strict_headers_and_private_pages_are_kept_nowhere() {
    let site = Site::make().await;
    for who in [Who::Anonymous, Who::In(Role::Viewer), Who::In(Role::MasterAdmin)] {
        for row in site.rows.iter().filter(|row| row.method() == Method::GET) {
            let cookie = site.session(who).await;
            let path = path_of(row, "shop", 999);
            let answer = site.get(&path, &cookie).await;
            let header = |name: &str| answer.headers.get(name).map_or("", |value| value.to_str().unwrap());
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"), "{path}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            let kept = if path.starts_with("/static/") { "public, max-age=300" } else { "no-store" };
            assert_eq!(header("cache-control"), kept, "{path}");
            // What the policy would refuse.
            for inline in [" style=", "<style", " onclick=", " onload=", "javascript:", "<script>"] {
                let text = answer.text.replace("&lt;script&gt;", "");
                assert!(!header("content-type").starts_with("text/html") || !text.contains(inline), "{path}: {inline}");
            }
        }
    }
}
