//! A damaged frame comes back by itself, beside everything that runs, without what was erased since.

use convizit_store::backup::{FrameId, Progress};
use convizit_store::{Store, StoreError};

use crate::backup::{Kept, back_up, commit, fill};
use crate::backup_erased::{no_canary, three_visitors, visitor, without_a};
use crate::engines::{NOON, Place, event_at, on_both_engines, stored};

on_both_engines!(
    a_damaged_frame_comes_back_from_the_newest_backup_that_has_it_whole,
    what_was_erased_since_does_not_come_back_with_a_frame,
    frames_that_were_joined_since_come_back_in_the_place_of_one,
    a_frame_that_an_erasure_has_changed_meanwhile_is_left_as_it_is,
    a_frame_of_which_only_what_stands_beside_it_is_damaged_is_mended_out_of_itself,
    a_frame_that_no_backup_has_whole_is_refused,
    what_a_frame_held_open_goes_on_once_it_is_back,
);

fn frame(first: i64) -> FrameId {
    FrameId { project: "shop".parse().unwrap(), first }
}

/// Puts another frame's content under this one's number.
async fn spoil(place: &Place, sql: &'static str) {
    let done = sqlx::query(sql).execute(&mut place.behind("data").await).await.unwrap();
    assert_eq!(done.rows_affected(), 1, "{sql}");
}

/// Changes a bit of a frame's content.
async fn flip(place: &Place, first: i64) {
    let mut data = place.behind("data").await;
    let find = "SELECT body FROM frames WHERE project = 1 AND first = $1";
    let mut body: Vec<u8> = sqlx::query_scalar(find).bind(first).fetch_one(&mut data).await.unwrap();
    *body.last_mut().unwrap() ^= 1;
    let write = "UPDATE frames SET body = $1 WHERE project = 1 AND first = $2";
    sqlx::query(write).bind(body).bind(first).execute(&mut data).await.unwrap();
}

async fn is_whole(store: &Store) {
    let report = store.verify(&Progress::default()).await.unwrap();
    assert_eq!((report.problems, report.damaged_frames), (Vec::new(), Vec::new()));
}

async fn a_damaged_frame_comes_back_from_the_newest_backup_that_has_it_whole(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    let first = back_up(&store).await;
    commit(&store, &shop, 30, vec![event_at(NOON, 90, 1)]).await;
    spoil(&kept.place, "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 10").await;
    // A newer one has it as it is now.
    kept.place.clock.set(NOON + 60_000);
    assert_eq!(back_up(&store).await.damaged, 1);
    let report = store.verify(&Progress::default()).await.unwrap();
    assert_eq!((report.problem_count, report.damaged_frames), (1, vec!["shop/10".to_owned()]));
    let plan = store.plan_frame(frame(10), &Progress::default()).await.unwrap();
    let found = plan.frame();
    assert_eq!((found.backup, found.last, found.events, found.erased), (Some(first.made), 12, 3, 0));
    assert_eq!(store.acting_as("os:anna").bring_frame_back(plan).await.unwrap(), found);
    assert_eq!(stored(&store, shop.number, 0).await, (0..91).collect::<Vec<_>>());
    is_whole(&store).await;
    let entries = store.audit_entries(Some("shop"), 20).await.unwrap();
    let entry = entries.iter().find(|entry| entry.act == "frame.restore").unwrap();
    assert_eq!((entry.actor.as_str(), entry.subject.as_str()), ("os:anna", "events 10 to 12"));
    assert!(entry.detail.starts_with(&format!("from the backup of {}", first.made)), "{}", entry.detail);
    let again = store.plan_frame(frame(10), &Progress::default()).await.err().unwrap();
    assert!(matches!(&again, StoreError::Invalid(text) if text.contains("is whole")), "{again}");
    // The next backup takes over nothing that it has not seen.
    kept.place.clock.set(NOON + 120_000);
    let third = back_up(&store).await;
    assert_eq!((third.damaged, third.events), (0, 91));
}

async fn what_was_erased_since_does_not_come_back_with_a_frame(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.upkeep().await.unwrap();
    back_up(&store).await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.upkeep().await.unwrap();
    assert_eq!(kept.place.number("SELECT COUNT(*) FROM erasures WHERE state = 'open'").await, 0);
    assert_eq!(kept.place.number("SELECT COUNT(*) FROM frames").await, 1, "joined to one of 30 events");
    flip(&kept.place, 1).await;
    assert!(store.events_after(shop.number, 0, 10, 10_000).await.is_err(), "it does not open");
    let plan = store.plan_frame(frame(1), &Progress::default()).await.unwrap();
    let back = store.bring_frame_back(plan).await.unwrap();
    assert_eq!((back.events, back.erased, back.last), (20, 10, 30));
    assert_eq!(stored(&store, shop.number, 0).await, without_a());
    is_whole(&store).await;
    store.close().await;
    assert_eq!(no_canary(&kept.place, &kept, shop.number).await, without_a(), "nor in the bytes");
}

async fn frames_that_were_joined_since_come_back_in_the_place_of_one(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    back_up(&store).await;
    store.upkeep().await.unwrap();
    assert_eq!(kept.place.number("SELECT COUNT(*) FROM frames").await, 1);
    flip(&kept.place, 1).await;
    let plan = store.plan_frame(frame(1), &Progress::default()).await.unwrap();
    assert_eq!(store.bring_frame_back(plan).await.unwrap().events, 30);
    assert_eq!(stored(&store, shop.number, 0).await, (0..30).collect::<Vec<_>>());
    is_whole(&store).await;
}

async fn a_frame_that_an_erasure_has_changed_meanwhile_is_left_as_it_is(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.upkeep().await.unwrap();
    back_up(&store).await;
    flip(&kept.place, 1).await;
    // The plan was made before somebody was erased.
    let plan = store.plan_frame(frame(1), &Progress::default()).await.unwrap();
    assert_eq!(plan.frame().erased, 0);
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    let error = store.bring_frame_back(plan).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    let log = store.audit_entries(Some("shop"), 50).await.unwrap();
    assert!(!log.iter().any(|entry| entry.act == "frame.restore"), "what did not happen is not written down: {log:?}");
    let plan = store.plan_frame(frame(1), &Progress::default()).await.unwrap();
    assert_eq!(store.bring_frame_back(plan).await.unwrap().erased, 10);
    assert_eq!(stored(&store, shop.number, 0).await, without_a());
}

async fn a_frame_of_which_only_what_stands_beside_it_is_damaged_is_mended_out_of_itself(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    spoil(&kept.place, "UPDATE frames SET last = 11 WHERE first = 10").await;
    let empty = "UPDATE frames SET filter = $1 WHERE first = 13";
    sqlx::query(empty).bind(vec![0_u8]).execute(&mut kept.place.behind("data").await).await.unwrap();
    let report = store.verify(&Progress::default()).await.unwrap();
    assert_eq!(report.damaged_frames, ["shop/10", "shop/13"]);
    for first in [10, 13] {
        // There is no backup at all.
        let plan = store.plan_frame(frame(first), &Progress::default()).await.unwrap();
        let back = store.bring_frame_back(plan).await.unwrap();
        assert_eq!((back.backup, back.last, back.events), (None, first + 2, 3));
    }
    is_whole(&store).await;
    assert_eq!(stored(&store, shop.number, 0).await, (0..90).collect::<Vec<_>>());
}

async fn a_frame_that_no_backup_has_whole_is_refused(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    flip(&kept.place, 10).await;
    back_up(&store).await;
    let refused = async |first: i64| store.plan_frame(frame(first), &Progress::default()).await.err().unwrap();
    let error = refused(10).await;
    assert!(matches!(&error, StoreError::Unusable(text) if text.contains("whole in no backup")), "{error}");
    let error = refused(11).await;
    assert!(matches!(error, StoreError::NotFound { what: "frame", .. }), "{error}");
    assert!(matches!(refused(13).await, StoreError::Invalid(_)), "it is whole");
}

async fn what_a_frame_held_open_goes_on_once_it_is_back(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.upkeep().await.unwrap();
    back_up(&store).await;
    flip(&kept.place, 1).await;
    let request = store.erase(&shop, &[visitor("a")]).await.unwrap();
    assert!(store.upkeep().await.is_err(), "it holds the erasure open");
    let told = async || {
        let notices = store.notices(false).await.unwrap();
        notices.into_iter().filter(|notice| notice.kind == convizit_model::NoticeKind::Damaged).count()
    };
    assert_eq!((store.damaged_frames().await.unwrap().len(), told().await), (1, 1));
    let plan = store.plan_frame(frame(1), &Progress::default()).await.unwrap();
    assert!(store.bring_frame_back(plan).await.unwrap().holds);
    // Before upkeep has looked.
    assert_eq!((store.damaged_frames().await.unwrap().len(), told().await), (0, 0));
    let erasure = store.erasure(shop.number, &request).await.unwrap().unwrap();
    assert_eq!((erasure.open, erasure.held.len()), (1, 0));
    store.upkeep().await.unwrap();
    assert_eq!(store.erasure(shop.number, &request).await.unwrap().unwrap().open, 0);
    assert_eq!(stored(&store, shop.number, 0).await, without_a());
}

/// One bit in the head of a row of SQLite makes another type of its columns, and of sealed bytes a text that is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_which_a_column_is_of_another_type_is_damaged_and_nothing_beside_it() {
    for sql in [
        "UPDATE frames SET body = CAST(x'fffefd' AS TEXT) WHERE first = 10",
        "UPDATE frames SET body = 17, filter = 'no filter' WHERE first = 10",
        "UPDATE frames SET body = 1.5, filter = CAST(x'fffefd' AS TEXT) WHERE first = 10",
    ] {
        let kept = Kept::of(Place::sqlite());
        let (store, shop) = kept.shop().await;
        three_visitors(&store, &shop).await;
        let first = back_up(&store).await;
        spoil(&kept.place, sql).await;
        // A destination is told, and gets what stands before it.
        let error = store.events_after(shop.number, 9, 10, usize::MAX).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { first: 10, last: 12, .. }), "{sql}: {error}");
        assert_eq!(store.events_after(shop.number, 0, 100, usize::MAX).await.unwrap().len(), 9, "{sql}");
        let report = store.verify(&Progress::default()).await.unwrap();
        assert_eq!(report.damaged_frames, ["shop/10"], "{sql}");
        kept.place.clock.set(NOON + 60_000);
        assert_eq!(back_up(&store).await.damaged, 1, "{sql}");
        // Whoever is erased is so in all others.
        store.erase(&shop, &[visitor("a")]).await.unwrap();
        assert!(store.upkeep().await.is_err(), "{sql}: it holds the erasure open");
        assert_eq!(kept.place.number("SELECT COUNT(*) FROM frames WHERE ledger > 0").await, 9, "{sql}");
        let damaged = store.damaged_frames().await.unwrap();
        assert!(damaged.len() == 1 && damaged[0].first == 10 && damaged[0].holds, "{sql}: {damaged:?}");
        let found = store.person_events(&shop, &[visitor("b")], 0, 100).await.unwrap();
        assert_eq!((found.events.len(), found.unread.len()), (9, 1), "{sql}");
        let plan = store.plan_frame(frame(10), &Progress::default()).await.unwrap();
        let back = store.bring_frame_back(plan).await.unwrap();
        assert_eq!((back.backup, back.events, back.erased), (Some(first.made), 2, 1), "{sql}");
        assert_eq!(stored(&store, shop.number, 0).await, without_a(), "{sql}");
        is_whole(&store).await;
    }
}
