//! Opening the customizer, and its drafts: what stands before and after, publishing one or all, and what somebody has changed since.

use axum::http::StatusCode;
use convizit_model::{Change, NameId, ProjectWork, Received, Role, Work};
use convizit_pipeline::{Registry, name_events};
use convizit_store::Saved;
use serde_json::json;

use crate::site::{Site, Who};

const PAGE: &str = "/p/shop/customizer";

/// Gives the project names for two buttons, as the worker does.
pub(crate) async fn names(site: &Site) -> Vec<(NameId, String, Change)> {
    let button = |n: u32, label: &str| {
        json!({"id": format!("0193a1f0-0000-7000-8000-{n:012}"), "type": "click", "time": "2026-11-23T18:00:00.000Z",
            "descriptor": {"role": "button", "label": label, "labelSource": "content", "tag": "button", "path": "main>button"}})
    };
    let received: Received = serde_json::from_value(json!({
        "project": "shop", "number": site.shop.number, "received": "2026-11-23T18:00:01.000Z", "clock": 0, "visitor": "v", "device": {}, "location": {},
        "batch": {"v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": "2026-11-23T18:00:00.000Z", "session": {"id": "s1"},
            "page": {"url": "https://shop.example/", "path": "/"}, "events": [button(1, "Add to cart"), button(2, "Size chart")]}
    }))
    .unwrap();
    let mut registry = Registry::default();
    name_events(received, &mut registry);
    let rows = registry.take_changes();
    let names = registry.catalogue().names;
    let share = ProjectWork {
        number: site.shop.number,
        project: site.shop.id.clone(),
        events: Vec::new(),
        rows,
        outcomes: Vec::new(),
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    site.store.commit_work(Work { from: 0, to: 1, projects: vec![share] }).await.unwrap();
    names
        .into_iter()
        .map(|name| (name.id, name.text, Change::CaptureElement { element: name.element.unwrap(), captured: false }))
        .collect()
}

pub(crate) async fn draft(site: &Site, who: Who, change: Change, before: &str) -> (String, i64) {
    let account = site.account(who).number;
    match site.store.save_draft(&site.shop, account, change, before, 0).await.unwrap() {
        Saved::Done(Some(draft)) => (format!("{} {}", draft.subject, draft.version), draft.version),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn rename(name: NameId, text: &str) -> Change {
    Change::Rename { name, text: text.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_is_for_the_sites_own_pages_and_holds_while_its_person_may() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Editor)).await;
    assert!(site.get(PAGE, &cookie).await.text.contains(r#"value="https://shop.example/""#));
    for wrong in ["", "shop", "https://evil.example/", "javascript:alert(1)", "https://a:b@shop.example/"] {
        let answer = site.post(&format!("{PAGE}/open"), &cookie, &[("address", wrong)]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(answer.text.contains(r#"id="wrong-address""#) && !answer.text.contains("#convizit="), "{wrong}");
    }
    let answer = site.post(&format!("{PAGE}/open"), &cookie, &[("address", "https://shop.example/shoes?a=b")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let (_, rest) = answer.text.split_once(r#"href="https://shop.example/shoes?a=b#convizit="#).unwrap();
    let token = rest.split('"').next().unwrap();
    let opening = site.store.opening(token, "https://shop.example").await.unwrap().unwrap();
    assert_eq!(opening.account.number, site.account(Who::In(Role::Editor)).number);

    // The page says when the site has answered, and what may be in the way when it does not.
    let since = site.store.clock().now().as_millis() - 1;
    let pulse = async |since: i64| site.get(&format!("{PAGE}/pulse?since={since}"), &cookie).await.text;
    assert!(pulse(since).await.contains("Waiting for the site"));
    assert!(pulse(since - 20_000).await.contains("script-src"));
    let editor = site.store.acting_as(&opening.account.actor());
    editor.customizer_began(&opening.project, "https://shop.example").await.unwrap();
    assert!(pulse(since).await.contains("The overlay is on the site"));
    site.post("/sign-out", &cookie, &[]).await;
    assert!(site.store.opening(token, "https://shop.example").await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_are_published_one_or_all_and_nothing_that_changed_since() {
    let site = Site::make().await;
    let names = names(&site).await;
    let editor = Who::In(Role::Editor);
    let cookie = site.session(editor).await;
    assert!(site.get(PAGE, &cookie).await.text.contains("Nothing waits"));
    let [(cart, was, cart_out), (chart, chart_was, _)] = names.as_slice() else { panic!("{names:?}") };
    let (first, version) = draft(&site, editor, rename(*cart, "Put into basket"), was).await;
    let text = site.get(PAGE, &cookie).await.text;
    assert!(text.contains(&format!("<del>{was}</del>")) && text.contains("<ins>Put into basket</ins>"), "{text}");

    // A version that is no more, and a draft that there is not.
    for wrong in [format!("{cart} {}", version + 1), "na_0000000000000001 1".to_owned(), String::new()] {
        let answer = site.post(&format!("{PAGE}/publish"), &cookie, &[("draft", &wrong)]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    let made = async || site.store.decisions_after(site.shop.number, 0).await.unwrap().len();
    assert_eq!(made().await, 0);

    // Renamed in the console meanwhile: it is said, and publishing asks for what was seen.
    let admin = site.account(Who::In(Role::Admin)).actor();
    site.store.decide(&site.shop, &admin, rename(*cart, "In the bag")).await.unwrap();
    let text = site.get(PAGE, &cookie).await.text;
    assert!(text.contains("“In the bag” since it was drafted") && text.contains("Publish all the same"), "{text}");
    for unseen in [vec![("draft", first.as_str())], vec![("draft", first.as_str()), ("now", was.as_str())]] {
        let answer = site.post(&format!("{PAGE}/publish"), &cookie, &unseen).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let form = [("draft", first.as_str()), ("now", "In the bag")];
    let answer = site.post(&format!("{PAGE}/publish"), &cookie, &form).await;
    assert_eq!(answer.location(), "/p/shop/customizer?done=published");
    assert_eq!(made().await, 2);
    assert!(site.get(&format!("/p/shop/events/{cart}"), &cookie).await.text.contains("<h1>Put into basket</h1>"));

    // All at once; of two that want one name the second is refused, and stays.
    let (out, _) = draft(&site, editor, cart_out.clone(), "captured").await;
    let (taken, _) = draft(&site, editor, rename(*chart, "Put into basket"), chart_was).await;
    let text = site.get(PAGE, &cookie).await.text;
    assert!(text.contains("It cannot be any more") && text.contains("Discard all 2"), "{text}");
    let answer = site.post(&format!("{PAGE}/publish"), &cookie, &[("draft", &out)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(site.get(&format!("/p/shop/events/{cart}"), &cookie).await.text.contains("not captured"));
    let answer = site.post(&format!("{PAGE}/publish"), &cookie, &[("draft", &taken)]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let answer = site.post(&format!("{PAGE}/discard"), &cookie, &[("draft", &taken)]).await;
    assert_eq!(answer.location(), "/p/shop/customizer?done=discarded");
    assert!(site.store.drafts(site.shop.number).await.unwrap().is_empty());
    let acts: Vec<String> =
        site.store.audit_entries(Some("shop"), 50).await.unwrap().into_iter().map(|entry| entry.act).collect();
    for act in ["draft.save", "draft.publish", "draft.discard", "decision.make"] {
        assert!(acts.iter().any(|known| known == act), "{act} is not in {acts:?}");
    }
}
