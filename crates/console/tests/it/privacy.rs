//! Erasing and exporting persons in the pages: what is said before, and the receipts.

use axum::http::StatusCode;
use convizit_model::Role;

use crate::destinations::put;
use crate::site::{Site, Who};

const ADMIN: Who = Who::In(Role::Admin);

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_is_said_before_it_is_erased_and_of_whom_there_is_nothing() {
    let site = Site::make().await;
    put(&site, &["a", "b"]).await;
    let cookie = site.session(ADMIN).await;
    let path = "/p/shop/privacy/erase";
    let asked = site.post(path, &cookie, &[("kind", "visitor"), ("ids", "v1\nv2\nv1")]).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.text);
    assert!(asked.text.contains("Erase 2 ids for good?") && asked.text.contains("2 stored events"), "{}", asked.text);
    assert!(asked.text.contains("<li><code>v2</code></li>") && !asked.text.contains("<li><code>v1"), "{}", asked.text);
    assert!(site.store.erasures(site.shop.number).await.unwrap().is_empty(), "it was only looked at");
    let none = site.post(path, &cookie, &[("kind", "user"), ("ids", "v1")]).await;
    assert!(none.text.contains("Nothing is stored about it"), "{}", none.text);
    // What the second button sends.
    let sure = asked.hidden();
    let sure: Vec<(&str, &str)> =
        sure.iter().filter(|(name, _)| name != "token").map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(site.post(path, &cookie, &sure).await.location(), "/p/shop/privacy?done=erased");
    assert_eq!(site.store.erasures(site.shop.number).await.unwrap()[0].persons, 2);
    let gone = site.post(path, &cookie, &[("kind", "visitor"), ("ids", "v1")]).await;
    assert!(gone.text.contains("Nothing is stored about it"), "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_nothing_says_so() {
    let site = Site::make().await;
    put(&site, &["a", "b"]).await;
    let cookie = site.session(ADMIN).await;
    let path = "/p/shop/privacy/export";
    let none = site.post(path, &cookie, &[("kind", "visitor"), ("ids", "v2")]).await;
    assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", none.text);
    assert!(none.text.contains("id=\"wrong-ids\"") && none.text.contains("nothing is stored about them"));
    let both = site.post(path, &cookie, &[("kind", "visitor"), ("ids", "v2\nv1")]).await;
    assert_eq!((both.status, both.text.lines().count()), (StatusCode::OK, 2), "{}", both.text);
    let log = site.store.audit_entries(Some("shop"), 9).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.act == "export.persons").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_shows_how_far_its_erasure_has_come() {
    let site = Site::make().await;
    let cookie = site.session(ADMIN).await;
    let fields = [("kind", "visitor"), ("ids", "visitor-1\nvisitor-2"), ("sure", "yes")];
    assert_eq!(site.post("/p/shop/privacy/erase", &cookie, &fields).await.status, StatusCode::SEE_OTHER);
    let request = site.store.erasures(site.shop.number).await.unwrap()[0].request.clone();
    let path = format!("/p/shop/privacy/erasures/{request}");
    let receipt = site.get(&path, &cookie).await.text;
    assert!(receipt.contains(&format!("data-refresh=\"{path}/pulse\"")), "{receipt}");
    let part = site.get(&format!("{path}/pulse"), &cookie).await;
    assert!(part.status == StatusCode::OK && part.text.contains("Stored bytes") && !part.text.contains("<main"));
    assert_eq!(site.get("/p/shop/privacy/erasures/er_none/pulse", &cookie).await.status, StatusCode::NOT_FOUND);
}
