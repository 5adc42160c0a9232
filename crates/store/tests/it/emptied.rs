//! A PostgreSQL database that was emptied: no command makes an empty installation in it, and the backup comes back into it.

use convizit_store::backup::{Progress, Restore};
use convizit_store::{Store, StoreConfig};

use crate::backup::{Kept, back_up, fill};
use crate::engines::{NOON, Place, stored};

const TABLES: &str = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public'";

/// Why nobody opens it, whatever they may make or accept.
async fn refused(kept: &Kept) -> String {
    let mut said = Vec::new();
    for (makes, accept_gap) in [(true, false), (false, false), (true, true)] {
        let config = StoreConfig { makes, accept_gap, ..kept.config() };
        let opened = Store::open(config, kept.place.provider(), kept.place.clock.clone()).await;
        said.push(opened.err().expect("it was not refused").to_string());
    }
    assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
    said.swap_remove(0)
}

async fn behind(kept: &Kept, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut kept.place.behind("data").await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_database_is_refused_and_its_backup_comes_back_into_it() {
    let kept = Kept::of(Place::postgres());
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    store.close().await;
    let says = [
        "the PostgreSQL database holds no installation",
        "journal.id, journal.db, journal.mark and audit.mark are still in ",
        "correct its address",
        "convizit restore --move-aside",
        "with 90 events",
        "name another folder with data",
    ];
    behind(&kept, "CREATE TABLE kept AS SELECT * FROM installation; DELETE FROM installation").await;
    let text = refused(&kept).await;
    assert!(says.iter().all(|part| text.contains(part)), "{text}");
    behind(&kept, "INSERT INTO installation SELECT * FROM kept; DROP TABLE kept").await;
    kept.open().await.close().await;
    behind(&kept, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let text = refused(&kept).await;
    assert!(says.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(kept.place.number(TABLES).await, 0, "nothing was made in it");
    let (clock, provider) = (kept.place.clock.clone(), kept.place.provider());
    let plan = Restore::plan_over(kept.config(), provider, clock, None, &Progress::default()).await.unwrap();
    let report = plan.run("os:test", &Progress::default()).await.unwrap();
    assert!(report.aside.unwrap().join("journal.id").exists());
    let store = kept.open().await;
    assert_eq!(stored(&store, shop.number, 0).await, (0..90).collect::<Vec<_>>());
    kept.place.clock.set(NOON + 60_000);
    assert_eq!(back_up(&store).await.events, 90);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_makes_nothing_in_a_database() {
    let place = Place::postgres();
    let config = StoreConfig { makes: false, ..place.config() };
    let error = Store::open(config, place.provider(), place.clock.clone()).await.err().unwrap().to_string();
    assert!(error.contains("not whole yet") && error.contains("convizit serve"), "{error}");
    assert_eq!(place.number(TABLES).await, 0);
    place.open().await.close().await;
    let config = StoreConfig { makes: false, ..place.config() };
    Store::open(config, place.provider(), place.clock.clone()).await.unwrap().close().await;
}
