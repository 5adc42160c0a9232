//! The page of the whole installation: it says that all is well only where `convizit doctor` would name no problem either.

use convizit_console::ConsoleConfig;
use convizit_model::{NoticeKind, NoticeState, ProjectSettings, Role};

use crate::destinations::hook;
use crate::site::{Site, Who};

const WELL: &str = "All is well, as far as is seen from here";

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_only_where_nothing_is_open_and_each_problem_is_listed() {
    let mut site = Site::make().await;
    let cookie = site.session(Who::In(Role::MasterAdmin)).await;
    // The site is on the Web, the collector on this machine alone.
    let page = site.get("/system", &cookie).await.text;
    assert!(page.contains("2 things need you") && page.contains("Snippet: project shop: its snippet loads"), "{page}");
    assert!(!page.contains(WELL), "{page}");
    let collector = "https://events.shop.example".to_owned();
    site.set_up(ConsoleConfig { collector, ..ConsoleConfig::default() });
    let page = site.get("/system", &cookie).await.text;
    assert!(page.contains(WELL) && !page.contains("needs you"), "{page}");

    // A notice is open until it is resolved, though somebody has seen it.
    site.store.raise(NoticeKind::Backup, None, "drill", "the drill failed").await.unwrap();
    let notice = site.store.notices(false).await.unwrap()[0].id;
    for state in [NoticeState::Open, NoticeState::Seen] {
        site.store.set_notice(notice, state).await.unwrap();
        let page = site.get("/system", &cookie).await.text;
        assert!(page.contains("One thing needs you") && page.contains("Notices: 1 open"), "{state:?}: {page}");
        assert!(page.contains("<a href=\"/notices\">See to it</a>") && !page.contains(WELL), "{page}");
    }
    site.store.set_notice(notice, NoticeState::Resolved).await.unwrap();
    assert!(site.get("/system", &cookie).await.text.contains(WELL));

    // What fails, though no notice tells of it yet.
    hook(&site, "https://hooks.example/").await;
    site.store.delivery_failed(site.shop.number, "hook", "the receiver answered 503").await.unwrap();
    let page = site.get("/system", &cookie).await.text;
    assert!(page.contains("Worth a thought") && page.contains("hook of shop is tried again after"), "{page}");
    assert!(!page.contains(WELL) && page.contains("Nothing is wrong"), "{page}");
    crate::destinations::put(&site, &["Add to cart"]).await;
    site.store.delivery_failed(site.shop.number, "hook", "the receiver answered 503").await.unwrap();
    let page = site.get("/system", &cookie).await.text;
    assert!(
        page.contains("Destination: hook of shop: failing since") && page.contains("(1 event waits for it)"),
        "{page}"
    );
    assert!(page.contains("<a href=\"/p/shop/destinations/hook\">See to it</a>") && !page.contains(WELL), "{page}");
    // What a person chose is no fault.
    site.store.rest_destination(&site.shop.id, "hook").await.unwrap();
    assert!(site.get("/system", &cookie).await.text.contains(WELL));

    let none = ProjectSettings { origins: Vec::new(), ..ProjectSettings::default() };
    site.store.create_project(&"empty".parse().unwrap(), none).await.unwrap();
    let page = site.get("/system", &cookie).await.text;
    assert!(page.contains("Origins: project empty takes events from nowhere") && !page.contains(WELL), "{page}");
}
