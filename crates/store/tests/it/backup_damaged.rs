//! Backups of what is damaged, and damaged backups: both are named, and keep nothing else from coming back.

use convizit_store::backup::Progress;

use crate::backup::{Kept, back_up, commit, files, fill};
use crate::engines::{DAY, NOON, Place, TODAY, event_at, on_both_engines};

on_both_engines!(
    a_damaged_frame_is_named_and_no_older_backup_is_dropped,
    a_damaged_key_of_a_day_keeps_no_backup_from_coming_back,
    an_erasure_that_a_damaged_frame_holds_up_keeps_no_backup_from_coming_back,
    what_a_cut_copy_of_the_keys_has_left_goes_with_the_next,
    a_backup_that_cannot_be_read_does_not_hide_the_others,
);

async fn a_damaged_frame_is_named_and_no_older_backup_is_dropped(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    let first = back_up(&store).await;
    assert_eq!((first.events, first.damaged), (90, 0));
    // One more of that day, so that it is packed anew; and another frame of it under another one's name.
    commit(&store, &shop, 30, vec![event_at(NOON, 90, 1)]).await;
    let spoil = "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 10";
    sqlx::query(spoil).execute(&mut kept.place.behind("data").await).await.unwrap();
    kept.place.clock.set(NOON + 60_000);
    // What it would do, and then does.
    let plan = store.plan_backup(&Progress::default()).await.unwrap();
    assert_eq!((plan.damaged, plan.drops.len(), plan.problems.len()), (1, 0, 1), "{plan:?}");
    let second = back_up(&store).await;
    assert_eq!((second.damaged, second.dropped, second.events), (1, 0, 88));
    assert_eq!(second.problems, plan.problems);
    assert!(second.problems[0].starts_with("frame shop/10: "), "{:?}", second.problems);
    let notices = store.notices(false).await.unwrap();
    let notice = notices.iter().find(|notice| notice.subject == "backup").unwrap();
    assert!(notice.text.contains("frame shop/10: "), "{}", notice.text);
    // The one before is there, though the schedule keeps one of a day, and has it whole.
    assert_eq!(store.backups().await.unwrap().len(), 2);
    store.verify_backup(Some(first.made), &Progress::default()).await.unwrap();
    let error = store.verify_backup(None, &Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains("frame shop/10: "), "{error}");
    // What is damaged is no reason not to have the rest back.
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!((report.damaged_frames, &report.events[0].1), (1, &88));
    restored.close().await;
    // Once it is mended everything goes on.
    sqlx::query("DELETE FROM frames WHERE first = 10").execute(&mut kept.place.behind("data").await).await.unwrap();
    kept.place.clock.set(NOON + 120_000);
    let plan = store.plan_backup(&Progress::default()).await.unwrap();
    assert_eq!((plan.damaged, plan.drops.len()), (0, 2), "{plan:?}");
    let third = back_up(&store).await;
    assert_eq!((third.damaged, third.dropped), (0, 2));
    assert!(!store.notices(false).await.unwrap().iter().any(|notice| notice.subject == "backup"));
}

async fn a_damaged_key_of_a_day_keeps_no_backup_from_coming_back(place: Place) {
    let kept = Kept::of(place);
    // Damaged before anything was copied, so that the copy has it no better.
    let (store, shop) = kept.place.shop().await;
    fill(&store, &shop).await;
    store.close().await;
    drop(store);
    let mut control = kept.place.behind("control").await;
    let find = "SELECT wrapped FROM keys WHERE kind = 'day' AND project = 1 AND number = $1";
    let mut wrapped: Vec<u8> = sqlx::query_scalar(find).bind(TODAY - 1).fetch_one(&mut control).await.unwrap();
    *wrapped.last_mut().unwrap() ^= 1;
    let spoil = "UPDATE keys SET wrapped = $1 WHERE kind = 'day' AND project = 1 AND number = $2";
    sqlx::query(spoil).bind(wrapped).bind(TODAY - 1).execute(&mut control).await.unwrap();
    drop(control);
    let store = kept.open().await;
    let report = back_up(&store).await;
    assert_eq!((report.damaged, report.events), (1, 60), "{:?}", report.problems);
    store.close().await;
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    // Ten frames of three days each.
    assert_eq!((report.damaged_frames, &report.events[0].1), (10, &60));
    let ids = [0, 1, 2].map(|n| event_at(NOON - i64::from(n) * DAY, n * 3, 1).id).to_vec();
    assert_eq!(restored.seen(shop.number, &ids).await.unwrap().len(), 2, "those of the other days are known");
}

async fn an_erasure_that_a_damaged_frame_holds_up_keeps_no_backup_from_coming_back(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    let spoil = "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 10";
    sqlx::query(spoil).execute(&mut kept.place.behind("data").await).await.unwrap();
    let events = store.events_after(shop.number, 0, 1, 1).await.unwrap();
    let first: serde_json::Value = serde_json::from_slice(&events[0].json).unwrap();
    let person = convizit_model::Person::Visitor(first["visitor"].as_str().unwrap().to_owned());
    store.erase(&shop, &[person]).await.unwrap();
    assert!(store.upkeep().await.is_err(), "it is held up");
    let report = back_up(&store).await;
    assert_eq!(report.damaged, 1);
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.damaged_frames, 1);
    assert!(restored.erasures(shop.number).await.unwrap()[0].open > 0, "it is still to be ended");
    restored.close().await;
}

async fn what_a_cut_copy_of_the_keys_has_left_goes_with_the_next(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    let left = ["ledger-a#1", "ledger-b#3"].map(|name| kept.keys_to().join(name));
    for path in &left {
        std::fs::copy(kept.keys_to().join("ledger-a"), path).unwrap();
    }
    store.erase(&shop, &[convizit_model::Person::Visitor("nobody".to_owned())]).await.unwrap();
    assert!(left.iter().all(|path| !path.exists()), "it holds keys that are to be nowhere any more");
}

async fn a_backup_that_cannot_be_read_does_not_hide_the_others(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    let first = back_up(&store).await;
    kept.place.clock.set(NOON + DAY);
    let second = back_up(&store).await;
    assert_eq!(store.backups_to_drop().await.unwrap(), [], "none of these days has another one");
    kept.place.clock.set(NOON + DAY + 60_000);
    let to_drop = store.backups_to_drop().await.unwrap();
    assert_eq!(to_drop.iter().map(|backup| backup.made).collect::<Vec<_>>(), [second.made]);
    let newest = files(&kept.to().join("manifests")).pop().unwrap();
    let good = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &good[..good.len() / 2]).unwrap();
    let listed = store.backups().await.unwrap();
    let problems: Vec<bool> = listed.iter().map(|backup| backup.problem.is_some()).collect();
    assert_eq!(problems, [true, false]);
    assert!(store.verify_backup(None, &Progress::default()).await.is_err(), "the newest is not whole");
    assert_eq!(store.drill(&Progress::default()).await.unwrap().made, first.made);
    let into = kept.fresh();
    let plan = kept.plan(&into).await.unwrap();
    assert_eq!(plan.backup().made, first.made);
    assert!(plan.passed_over()[0].contains("damaged"), "{:?}", plan.passed_over());
    plan.run("os:test", &Progress::default()).await.unwrap();
    // And it takes no good one's place.
    back_up(&store).await;
    assert_eq!(store.backups().await.unwrap().iter().filter(|backup| backup.problem.is_none()).count(), 2);
}

/// What is no frame and damaged goes into a backup as it is, so the older ones, which have it whole, stay.
#[tokio::test(flavor = "multi_thread")]
async fn no_older_backup_is_dropped_while_the_audit_log_or_a_sealed_row_is_damaged() {
    let damages = [
        ("DELETE FROM audit WHERE number = 3", "entry 3 is missing"),
        ("UPDATE destinations SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB)", "destination hook"),
    ];
    for (sql, said) in damages {
        let kept = Kept::of(Place::sqlite());
        let (store, shop) = kept.shop().await;
        fill(&store, &shop).await;
        assert_eq!(back_up(&store).await.damaged_beside, 0);
        sqlx::query(sql).execute(&mut kept.place.behind("control").await).await.unwrap();
        // Of the same day, so that the schedule would drop the first.
        kept.place.clock.set(NOON + 1000);
        let plan = store.plan_backup(&Progress::default()).await.unwrap();
        assert_eq!((plan.drops.len(), plan.damaged_beside), (0, 1), "{:?}", plan.problems_beside);
        let report = back_up(&store).await;
        assert_eq!((report.dropped, report.damaged, report.damaged_beside), (0, 0, 1));
        assert!(report.problems_beside[0].contains(said), "{:?}", report.problems_beside);
        assert_eq!(store.backups().await.unwrap().len(), 2);
        let found = store.verify(&Progress::default()).await.unwrap();
        assert_eq!(found.problems, report.problems_beside);
        let notices = store.notices(false).await.unwrap();
        let notice = notices.iter().find(|notice| notice.subject == "sealed rows and audit log").expect("a notice");
        assert!(notice.text.contains("no older backup is dropped") && notice.text.contains(said), "{}", notice.text);
        store.close().await;
    }
}
