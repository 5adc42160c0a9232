//! Whose a place of backups is: what makes none reads there and writes nothing, and two copies of an installation do not take each
//! other's backups.

use std::path::PathBuf;
use std::time::Duration;

use convizit_model::NoticeKind;
use convizit_store::backup::{BackupConfig, Progress};
use convizit_store::{Scope, Store, StoreConfig};

use crate::backup::{Kept, back_up, files, fill};
use crate::backup_erased::copies;
use crate::engines::{DAY, NOON, Place, on_both_engines, within};

on_both_engines!(
    what_makes_no_backups_reads_them_all_the_same,
    where_no_copy_lies_none_is_written_while_backups_are_off,
    what_only_looks_takes_no_place_until_a_person_says_so,
    what_only_looked_makes_backups_in_a_place_of_its_own,
    two_copies_of_an_installation_do_not_drop_each_others_backups,
    what_was_restored_of_a_backup_of_the_future_makes_backups,
    who_takes_over_knows_what_lies_there_whatever_its_date,
    a_clock_that_ran_ahead_makes_nobodys_backups_pass_for_older_ones,
    a_clock_that_was_wrong_keeps_no_owner_from_its_place,
);

/// Every file of both places, and what is in it.
fn lying(kept: &Kept) -> Vec<(PathBuf, Vec<u8>)> {
    let all = [kept.to(), kept.keys_to()].into_iter().flat_map(|place| files(&place));
    all.map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
}

/// An installation with a backup that ended, and a copy of it that was restored.
async fn with_a_copy(place: Place) -> (Kept, Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    store.close().await;
    let into = kept.fresh();
    let (restored, _) = kept.restore(&into).await;
    restored.close().await;
    (kept, into)
}

async fn what_makes_no_backups_reads_them_all_the_same(place: Place) {
    let (kept, into) = with_a_copy(place).await;
    copies(&kept).await;
    let before = lying(&kept);
    let looks = kept.open_beside(&into, false).await;
    assert!(looks.are_backups_off() && !looks.backup_is_due());
    let listed = looks.backups().await.unwrap();
    assert_eq!(listed.iter().map(|backup| backup.events).collect::<Vec<_>>(), [90]);
    assert_eq!(looks.verify_backup(None, &Progress::default()).await.unwrap().events, 90);
    assert_eq!(looks.drill(&Progress::default()).await.unwrap().events, 90);
    kept.place.clock.set(NOON + 60_000);
    assert_eq!(looks.backups_to_drop().await.unwrap(), [], "it would make none");
    let error = looks.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains("backup.off = true") && error.contains("places of its own"), "{error}");
    let notices = looks.notices(false).await.unwrap();
    let told = notices.iter().any(|notice| notice.kind == NoticeKind::Backup);
    assert!(!told, "a setting is no failure: {notices:?}");
    assert_eq!(looks.backup_state(), Default::default());
    looks.close().await;
    assert!(lying(&kept) == before, "something was written there");
}

async fn where_no_copy_lies_none_is_written_while_backups_are_off(place: Place) {
    let kept = Kept::of(place);
    let store = kept.open_beside(&kept.place, false).await;
    let shop = store.create_project(&"shop".parse().unwrap(), Default::default()).await.unwrap();
    store.make_token(Some(&shop), &[Scope::Read], "desk", 30).await.unwrap();
    store.close().await;
    assert!(!kept.keys_to().exists() && !kept.to().exists());
}

async fn what_only_looks_takes_no_place_until_a_person_says_so(place: Place) {
    let (kept, into) = with_a_copy(place).await;
    let before = copies(&kept).await;
    let looks = kept.open_beside(&into, false).await;
    looks.make_token(None, &[Scope::Keys], "looks", 30).await.unwrap();
    looks.close().await;
    kept.place.clock.set(NOON + 60_000);
    // Somebody has switched its backups on, at the original's place.
    let on = kept.open_beside(&into, true).await;
    on.make_token(None, &[Scope::Keys], "on", 30).await.unwrap();
    let error = on.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains("restored beside it to look") && error.contains("--take-over"), "{error}");
    assert!(copies(&kept).await == before, "the copy of the keys was written over");
    assert_eq!(files(&kept.to().join("manifests")).len(), 1);
    on.acting_as("os:anna").take_over_backups().await.unwrap();
    back_up(&on).await;
    assert!(copies(&kept).await != before);
    let entries = on.audit_entries(None, 50).await.unwrap();
    let taken = entries.iter().find(|entry| entry.act == "backup.take_over").unwrap();
    assert_eq!((taken.actor.as_str(), &taken.subject), ("os:anna", &kept.to().display().to_string()));
    on.close().await;
}

async fn what_only_looked_makes_backups_in_a_place_of_its_own(place: Place) {
    let (kept, into) = with_a_copy(place).await;
    let looks = kept.open_beside(&into, false).await;
    looks.make_token(None, &[Scope::Keys], "looks", 30).await.unwrap();
    looks.close().await;
    copies(&kept).await;
    let before = lying(&kept);
    let own = tempfile::tempdir().unwrap();
    let at = |name: &str| own.path().join(name).display().to_string();
    let open = async |to: String, keys_to: String| {
        let backup = Some(BackupConfig { to, keys_to, ..kept.backup() });
        let config = StoreConfig { backup, ..into.config() };
        Store::open(config, kept.place.provider(), kept.place.clock.clone()).await.unwrap()
    };
    kept.place.clock.set(NOON + 60_000);
    // A place of its own for the keys alone does not make the other one its own.
    let half = open(kept.backup().to, at("keys")).await;
    half.make_token(None, &[Scope::Keys], "half", 30).await.unwrap();
    assert!(own.path().join("keys/ledger-a").exists(), "the copy is written there");
    let error = half.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains("restored beside it to look"), "{error}");
    half.close().await;
    let whole = open(at("backups"), at("keys")).await;
    assert_eq!(back_up(&whole).await.events, 90);
    whole.close().await;
    assert!(lying(&kept) == before, "the original's are as they were");
}

async fn two_copies_of_an_installation_do_not_drop_each_others_backups(place: Place) {
    let (kept, into) = with_a_copy(place).await;
    // The original goes on, and backs up once more.
    let original = kept.open().await;
    kept.place.clock.set(NOON + DAY);
    let second = back_up(&original).await;
    original.close().await;
    let copy = kept.open_beside(&into, true).await;
    kept.place.clock.set(NOON + DAY + 60_000);
    let error = copy.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains(&second.name) && error.contains("made by another copy"), "{error}");
    copy.close().await;
    assert_eq!(files(&kept.to().join("manifests")).len(), 2, "none was made, and none dropped");
    // What is its own is no reason to refuse.
    let original = kept.open().await;
    assert_eq!(back_up(&original).await.dropped, 1);
    original.close().await;
}

/// The clock of the original ran ahead when it made its last backup.
async fn what_was_restored_of_a_backup_of_the_future_makes_backups(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    for days in [9, 10] {
        kept.place.clock.set(NOON + days * DAY);
        back_up(&store).await;
    }
    store.close().await;
    kept.place.clock.set(NOON + 60_000);
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.made.as_millis(), NOON + 10 * DAY);
    restored.close().await;
    kept.place.clock.set(NOON + 120_000);
    let copy = kept.open_beside(&into, true).await;
    assert_eq!(back_up(&copy).await.events, 90);
    copy.close().await;
}

async fn who_takes_over_knows_what_lies_there_whatever_its_date(place: Place) {
    let (kept, into) = with_a_copy(place).await;
    // Another one made it since, and its clock ran ahead.
    let made = files(&kept.to().join("manifests")).pop().unwrap();
    let name = made.file_name().unwrap().to_str().unwrap().replacen("2026", "2030", 1);
    std::fs::copy(&made, made.with_file_name(&name)).unwrap();
    kept.place.clock.set(NOON + 60_000);
    let copy = kept.open_beside(&into, true).await;
    let error = copy.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("made by another copy"), "{error}");
    copy.take_over_backups().await.unwrap();
    assert_eq!(back_up(&copy).await.events, 90);
    let log = copy.audit_entries(None, 50).await.unwrap();
    let known = log.iter().find(|entry| entry.subject == format!("manifests/{name}")).unwrap();
    assert_eq!(known.act, "backup.take_over");
    copy.close().await;
}

/// What a person moves away as the refusal says, where the other one has copied keys and erasures since.
fn move_copies_away(kept: &Kept) {
    for name in ["ledger-a", "ledger-b"] {
        let copy = kept.keys_to().join(name);
        if copy.exists() {
            std::fs::remove_file(copy).unwrap();
        }
    }
}

/// A copy that is restored, or takes a place over, while the clock is a month ahead, and an original that goes on.
async fn a_clock_that_ran_ahead_makes_nobodys_backups_pass_for_older_ones(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    store.close().await;
    kept.place.clock.set(NOON + 30 * DAY);
    let into = kept.fresh();
    kept.restore(&into).await.0.close().await;
    kept.place.clock.set(NOON + 30 * DAY + 60_000);
    let copy = kept.open_beside(&into, true).await;
    copy.take_over_backups().await.unwrap();
    copy.close().await;
    // The clock is mended, and both run.
    kept.place.clock.set(NOON + 120_000);
    kept.open_beside(&into, true).await.close().await;
    kept.place.clock.set(NOON + DAY);
    move_copies_away(&kept);
    let original = kept.open().await;
    let twins = back_up(&original).await;
    original.close().await;
    kept.place.clock.set(NOON + DAY + 60_000);
    let copy = kept.open_beside(&into, true).await;
    let error = copy.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains(&twins.name) && error.contains("made by another copy"), "{error}");
    assert_eq!(files(&kept.to().join("manifests")).len(), 2, "none was made, and none dropped");
    // A person's word ends it, with the clock as it is now.
    copy.take_over_backups().await.unwrap();
    move_copies_away(&kept);
    assert_eq!(back_up(&copy).await.events, 90);
    copy.close().await;
}

/// Ahead at the first backup, and behind for a while later.
async fn a_clock_that_was_wrong_keeps_no_owner_from_its_place(place: Place) {
    let (kept, into) = with_a_copy(place).await;
    // The original goes on for a day, and ends.
    kept.place.clock.set(NOON + DAY);
    let original = kept.open().await;
    back_up(&original).await;
    original.close().await;
    kept.place.clock.set(NOON + 2 * DAY);
    let copy = kept.open_beside(&into, true).await;
    copy.take_over_backups().await.unwrap();
    copy.close().await;
    move_copies_away(&kept);
    // Its battery is empty: it begins in 1970, and is set right after a minute.
    kept.place.clock.set(60_000);
    kept.open_beside(&into, true).await.close().await;
    for day in [30, 3, 4] {
        kept.place.clock.set(NOON + day * DAY);
        let copy = kept.open_beside(&into, true).await;
        assert_eq!(back_up(&copy).await.events, 90, "day {day}");
        copy.close().await;
    }
}

/// The lock of the database that whoever copies keys and erasures holds: `convkeys`.
const TURN: i64 = 0x636f_6e76_6b65_7973;

/// An older copy that is written late would take the place of a newer one, and with it of erasures.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_machines_on_one_database_one_copies_after_the_other() {
    let kept = Kept::of(Place::postgres());
    let (store, shop) = kept.shop().await;
    back_up(&store).await;
    let mut other_machine = kept.place.behind("control").await;
    let taken = async || {
        let lock = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END";
        sqlx::query_scalar::<_, i64>(lock).bind(TURN).fetch_one(&mut other_machine).await.unwrap() == 1
    };
    within(Duration::from_secs(10), "the other machine copies", taken).await;
    let before = copies(&kept).await;
    let writing = {
        let (store, shop) = (store.clone(), shop.clone());
        tokio::spawn(async move { store.make_token(Some(&shop), &[Scope::Read], "desk", 30).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!writing.is_finished(), "it waits for its turn");
    assert!(copies(&kept).await == before);
    // What that machine held ends with its connection.
    drop(other_machine);
    writing.await.unwrap().unwrap();
    assert!(copies(&kept).await != before);
}
