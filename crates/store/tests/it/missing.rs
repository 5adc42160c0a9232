//! A data folder that lost one of its databases: it is told what that held and how to go on, nothing empty is made in its place, and
//! what the words advise brings the data back.

use std::path::Path;

use convizit_model::{Destination, NoticeKind, NoticeState, ProjectSettings};
use convizit_store::backup::{LyingLog, Progress, Restore};
use convizit_store::{DiskSpace, Store, StoreConfig, StoreError};

use crate::backup::{Kept, back_up, commit, fill, hook};
use crate::engines::{NOON, Place, events, stored, within};
use crate::erasure::{of, visitor};

async fn open(kept: &Kept, config: StoreConfig) -> Result<Store, StoreError> {
    Store::open(config, kept.place.provider(), kept.place.clock.clone()).await
}

/// Why a start on the folder as it is, of whoever may make an installation, is refused.
async fn refused(kept: &Kept) -> String {
    open(kept, kept.config()).await.err().expect("it was not refused").to_string()
}

async fn accepting(kept: &Kept) -> Store {
    open(kept, StoreConfig { accept_gap: true, ..kept.config() }).await.unwrap()
}

fn folder(kept: &Kept) -> &Path {
    kept.place.folder.path()
}

/// Takes a database away, with what SQLite may have left beside it.
fn lose(kept: &Kept, name: &str) {
    std::fs::remove_file(folder(kept).join(name)).unwrap();
    for end in ["-wal", "-shm"] {
        std::fs::remove_file(folder(kept).join(format!("{name}{end}"))).ok();
    }
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// The text of the notice of an accepted gap.
async fn accepted(store: &Store) -> String {
    let notices = store.notices(false).await.unwrap();
    let notice = notices.into_iter().find(|notice| notice.subject == "--accept-gap").expect("it is noticed");
    assert_eq!(notice.kind, NoticeKind::Audit);
    notice.text
}

/// 90 events of three days in 30 batches, which the journal has let go of, and a backup of them.
async fn filled() -> Kept {
    let kept = Kept::of(Place::sqlite());
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    let let_go = async || kept.place.number_of("journal", "SELECT MIN(batch) FROM journal").await == 30;
    within(std::time::Duration::from_secs(20), "the journal lets go of them", let_go).await;
    store.close().await;
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_events_are_told_as_such_and_given_up_only_by_a_person() {
    let kept = filled().await;
    lose(&kept, "data.db");
    let text = refused(&kept).await;
    says(
        &text,
        &[
            &format!("data.db is missing from {}", folder(&kept).display()),
            "the events of 30 batches or more, of at most 3 days,",
            "with 90 events",
            "convizit restore --move-aside",
            "convizit serve --accept-gap, which goes on without what it held, for good",
        ],
    );
    assert!(!text.contains("begins after"), "a lost file is no gap: {text}");
    assert!(!folder(&kept).join("data.db").exists());
    // A copy that was cut to nothing is none.
    std::fs::write(folder(&kept).join("data.db"), "").unwrap();
    says(&refused(&kept).await, &["data.db is empty in"]);
    let store = accepting(&kept).await;
    let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [0; 0]);
    assert_eq!(store.worker_offset().await.unwrap(), 30);
    says(&accepted(&store).await, &["data.db is empty in", "30 batches", "marked as resolved"]);
    commit(&store, &shop, 30, events(500..503)).await;
    assert_eq!(stored(&store, shop.number, 0).await, [500, 501, 502]);
    store.close().await;
    open(&kept, kept.config()).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_older_backup_is_dropped_until_a_person_has_acknowledged_the_gap() {
    let kept = filled().await;
    lose(&kept, "data.db");
    let store = accepting(&kept).await;
    // One of the same day: the schedule would keep the later alone.
    kept.place.clock.set(NOON + 60_000);
    assert_eq!(store.backups_to_drop().await.unwrap(), []);
    let report = back_up(&store).await;
    assert_eq!((report.events, report.dropped), (0, 0));
    says(&report.keeps_all.unwrap(), &["none is dropped until convizit notices resolve "]);
    let left: Vec<i64> = store.backups().await.unwrap().iter().map(|backup| backup.events).collect();
    assert_eq!(left, [0, 90]);
    store.verify_backup(Some(convizit_model::Timestamp::from_millis(NOON)), &Progress::default()).await.unwrap();
    let notices = store.notices(false).await.unwrap();
    let id = notices.iter().find(|notice| notice.subject == "--accept-gap").unwrap().id;
    store.set_notice(id, NoticeState::Seen).await.unwrap();
    assert!(store.keeps_all_backups().await.unwrap().is_some(), "to have seen it is not to have done with it");
    store.set_notice(id, NoticeState::Resolved).await.unwrap();
    kept.place.clock.set(NOON + 120_000);
    assert_eq!(store.backups_to_drop().await.unwrap().len(), 2);
    let report = back_up(&store).await;
    assert_eq!((report.dropped, report.keeps_all), (2, None));
    store.close().await;
}

/// The ledger of erasures is lost with the events; its copy is not written over with one that knows nobody.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_stays_so_when_the_events_are_lost() {
    let kept = Kept::of(Place::sqlite());
    let (store, shop) = kept.shop().await;
    for n in 0..10_u32 {
        let three = ["a", "b", "c"].iter().zip(n * 3..).map(|(who, n)| of(who, None, n, NOON - 1000)).collect();
        commit(&store, &shop, u64::from(n), three).await;
    }
    let first = back_up(&store).await;
    kept.place.clock.set(NOON + 1000);
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.close().await;
    lose(&kept, "data.db");
    kept.place.clock.set(NOON + 10_000);
    let store = accepting(&kept).await;
    says(&accepted(&store).await, &["1 entry of the ledger of erasures was taken over from its copy"]);
    // Whoever was erased and comes back is seen again.
    let offset = store.worker_offset().await.unwrap();
    commit(&store, &shop, offset, vec![of("a", None, 100, NOON + 9_000)]).await;
    assert_eq!(stored(&store, shop.number, 0).await, [100]);
    let report = back_up(&store).await;
    assert_eq!(report.dropped, 0);
    store.close().await;
    let into = Place::sqlite();
    let (clock, provider) = (kept.place.clock.clone(), kept.place.provider());
    let plan = Restore::plan(kept.config_of(&into), provider, clock, Some(first.made), &Progress::default()).await;
    plan.unwrap().run("os:test", &Progress::default()).await.unwrap();
    let restored = kept.open_restored(&into).await;
    let without_a: Vec<i64> = (0..30).filter(|n| n % 3 != 0).collect();
    assert_eq!(stored(&restored, shop.number, 0).await, without_a);
    restored.close().await;
}

/// Nothing is made anew without the ledger: the next copy would write over the only one that knows who was erased.
#[tokio::test(flavor = "multi_thread")]
async fn no_events_are_begun_anew_without_the_newest_copy_of_the_ledger() {
    let kept = filled().await;
    lose(&kept, "data.db");
    let accepting_as = |config: StoreConfig| StoreConfig { accept_gap: true, ..config };
    let refuses = async |config: StoreConfig, parts: &[&str]| {
        let text = open(&kept, accepting_as(config)).await.err().expect("it was not refused").to_string();
        says(&text, &[&["data.db is missing from"][..], parts].concat());
        assert!(!folder(&kept).join("data.db").exists(), "{text}");
    };
    // Of no other role is it known where the copy lies.
    refuses(StoreConfig { upkeep: false, ..kept.config() }, &["role all or work", "--accept-gap"]).await;
    refuses(StoreConfig { backup: None, ..kept.config() }, &["no place of its copy", "backup.keys_to"]).await;
    let (keys_to, moved) = (kept.keys_to(), kept.backups.path().join("moved"));
    std::fs::rename(&keys_to, &moved).unwrap();
    let no_folder = format!("there is no folder {}", keys_to.display());
    refuses(kept.config(), &[&no_folder, "ledger-a and ledger-b", "backup.keys_to"]).await;
    std::fs::create_dir(&keys_to).unwrap();
    refuses(kept.config(), &[&format!("no copy of it in {} is whole", keys_to.display())]).await;
    std::fs::remove_dir(&keys_to).unwrap();
    std::fs::rename(&moved, &keys_to).unwrap();
    // One that is older does not know of everybody.
    let given = async |sql: &'static str| {
        sqlx::query(sql).execute(&mut kept.place.behind("control").await).await.unwrap();
    };
    given("UPDATE control_version SET version = version + 1 WHERE id = 2").await;
    refuses(kept.config(), &["has the number", "what was erased since is not in it", "--move-aside"]).await;
    given("UPDATE control_version SET version = version - 1 WHERE id = 2").await;
    accepting(&kept).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_gap_that_was_cut_is_gone_on_with_by_the_next_start() {
    let kept = filled().await;
    lose(&kept, "data.db");
    // The journal does not open, so that the start ends between the making and the notice.
    let (journal, whole) = (folder(&kept).join("journal.db"), folder(&kept).join("whole"));
    std::fs::rename(&journal, &whole).unwrap();
    std::fs::write(&journal, "this is no database ".repeat(1000)).unwrap();
    assert!(open(&kept, StoreConfig { accept_gap: true, ..kept.config() }).await.is_err());
    assert!(folder(&kept).join("data.db").exists() && folder(&kept).join("audit.mark").exists());
    lose(&kept, "journal.db");
    std::fs::rename(&whole, &journal).unwrap();
    let looking = StoreConfig { makes: false, upkeep: false, ..kept.config() };
    let text = open(&kept, looking.clone()).await.err().expect("it was not refused").to_string();
    says(&text, &["was cut short", "convizit serve", "role all or work"]);
    // Nobody says it again.
    let store = open(&kept, kept.config()).await.unwrap();
    says(&accepted(&store).await, &["data.db was missing", "batches 1 to 30 of the journal were passed over"]);
    let log = store.audit_entries(None, 1000).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.act == "start.accept_gap").count(), 1);
    assert!(store.keeps_all_backups().await.unwrap().is_some());
    store.close().await;
    open(&kept, looking).await.unwrap().close().await;
}

/// Once the journal is touched, nothing in it says what was missing.
#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_gap_of_the_journal_alone_that_was_cut_is_gone_on_with_and_told() {
    let behind = async |kept: &Kept, file: &str, sql: &'static str| {
        sqlx::raw_sql(sql).execute(&mut kept.place.behind(file).await).await.unwrap();
    };
    // Where the start is cut: at the worker's offset, at the notice, and at the entry of the audit log.
    let cuts = [
        ("data", "CREATE TRIGGER cut BEFORE UPDATE ON worker BEGIN SELECT RAISE(ABORT, 'cut'); END"),
        ("data", "CREATE TRIGGER cut BEFORE INSERT ON notices BEGIN SELECT RAISE(ABORT, 'cut'); END"),
        ("control", "CREATE TRIGGER cut BEFORE DELETE ON control_version BEGIN SELECT RAISE(ABORT, 'cut'); END"),
    ];
    let lost = "batches 4 to 6 of the journal, which were answered, are lost";
    let passed = "batches 4 to 5 of the journal were passed over";
    for (what, told) in [("the whole", lost), ("the first", passed)] {
        for (file, cut) in cuts {
            let kept = Kept::of(Place::sqlite());
            let (store, shop) = kept.shop().await;
            for n in 0..3 {
                commit(&store, &shop, n, events(n as u32..n as u32 + 1)).await;
            }
            for _ in 0..3 {
                store.journal_append("waits".into()).await.unwrap();
            }
            store.close().await;
            if what == "the whole" {
                lose(&kept, "journal.db");
            } else {
                // The next one opens only behind it.
                behind(&kept, "journal", "UPDATE journal SET sealed = zeroblob(40) WHERE batch = 4").await;
            }
            behind(&kept, file, cut).await;
            let accepts = StoreConfig { accept_gap: true, ..kept.config() };
            // A journal that is made anew moves no offset, so that nothing is cut there.
            let error = open(&kept, accepts).await.err().map(|error| error.to_string());
            if what == "the whole" && cut.contains("worker") {
                assert_eq!(error, None);
                continue;
            }
            assert!(error.as_ref().is_some_and(|error| error.contains("cut")), "{error:?}");
            behind(&kept, file, "DROP TRIGGER cut").await;
            let looking = StoreConfig { makes: false, upkeep: false, ..kept.config() };
            let text = open(&kept, looking.clone()).await.err().expect("it was not refused").to_string();
            says(&text, &["was cut short", "role all or work"]);
            // Nobody says it again.
            let store = open(&kept, kept.config()).await.unwrap();
            says(&accepted(&store).await, &[told, "was cut short"]);
            let log = store.audit_entries(None, 1000).await.unwrap();
            let entries: Vec<_> = log.iter().filter(|entry| entry.act == "start.accept_gap").collect();
            assert_eq!(entries.len(), 1, "{cut}");
            says(&entries[0].detail, &[told]);
            assert!(store.keeps_all_backups().await.unwrap().is_some());
            store.close().await;
            open(&kept, looking).await.unwrap().close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_gap_destinations_go_on_and_no_number_is_given_twice() {
    let kept = Kept::of(Place::sqlite());
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    // The backup does not know of these.
    commit(&store, &shop, 30, events(90..100)).await;
    store.close().await;
    let mut given = 100;
    for backups_are_left in [true, false] {
        if !backups_are_left {
            std::fs::remove_dir_all(kept.to()).unwrap();
        }
        lose(&kept, "data.db");
        let store = accepting(&kept).await;
        says(&accepted(&store).await, &["numbers that were never given", "1 destination goes on"]);
        let last = store.last_event(shop.number).await.unwrap();
        assert!(last >= given, "{last} after {given}");
        assert_eq!(store.cursor(shop.number, "hook").await.unwrap(), last, "it has a place to go on from");
        let offset = store.worker_offset().await.unwrap();
        commit(&store, &shop, offset, events(500..501)).await;
        let found = store.events_after(shop.number, last, 10, usize::MAX).await.unwrap();
        assert_eq!(found.iter().map(|event| event.number).collect::<Vec<_>>(), [last + 1]);
        given = last + 1;
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_settings_and_keys_come_back_by_the_words_of_the_refusal() {
    let kept = filled().await;
    lose(&kept, "control.db");
    let text = refused(&kept).await;
    says(
        &text,
        &[
            "control.db is missing from",
            "data.db, journal.db, journal.mark and audit.mark are still there",
            "convizit restore --move-aside",
            "with 90 events",
            "leaves backups, keys and all else",
            "name another folder with data",
        ],
    );
    assert!(!text.contains("--accept-gap"), "without keys there is nothing to go on with: {text}");
    let config = StoreConfig { accept_gap: true, ..kept.config() };
    assert!(open(&kept, config).await.is_err());
    assert!(!folder(&kept).join("control.db").exists());
    let text = kept.plan(&kept.place).await.err().unwrap().to_string();
    says(&text, &["is there already", "convizit restore --move-aside", "leaves backups, keys and all else"]);
    let (clock, provider) = (kept.place.clock.clone(), kept.place.provider());
    let plan = Restore::plan_over(kept.config(), provider, clock, None, &Progress::default()).await.unwrap();
    assert_eq!(plan.moves_aside()[..2], ["data.db", "journal.db"]);
    assert!(folder(&kept).join("data.db").exists(), "looking moves nothing");
    let report = plan.run("os:test", &Progress::default()).await.unwrap();
    let aside = report.aside.unwrap();
    assert!(aside.starts_with(folder(&kept)) && aside.join("data.db").exists() && aside.join("audit.mark").exists());
    let store = open(&kept, kept.config()).await.unwrap();
    let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, (0..90).collect::<Vec<_>>());
    // And it is the installation, which makes backups as before.
    kept.place.clock.set(NOON + 60_000);
    assert_eq!(back_up(&store).await.events, 90);
    store.close().await;
}

/// The settings that lie there are newer than the backup: that they go back is said before and after, and nothing is sent again that a
/// person had stopped.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_takes_back_of_healthy_settings_is_said_and_sends_nothing() {
    let kept = filled().await;
    let made = {
        let store = open(&kept, kept.config()).await.unwrap();
        let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
        let other = Destination { name: "other".to_owned(), ..hook(&shop) };
        store.save_destination(&other, Some("whsec_c2VjcmV0IG9mIHRoZSBob29rIHRoYXQgaXM="), true).await.unwrap();
        kept.place.clock.set(NOON + 1000);
        let made = back_up(&store).await.made;
        kept.place.clock.set(NOON + 2000);
        for consent in [true, false, true] {
            let settings = store.project(&shop.id).await.unwrap().settings;
            let settings = ProjectSettings { consent_required: consent, ..settings };
            store.save_settings(&shop.id, settings).await.unwrap();
        }
        store.remove_destination(&shop.id, "hook").await.unwrap();
        store.create_project(&"second".parse().unwrap(), Default::default()).await.unwrap();
        store.close().await;
        made
    };
    let store = open(&kept, kept.config()).await.unwrap();
    let checkpoint = store.audit_checkpoint().await.unwrap();
    let all = store.audit_after(0, i64::MAX).await.unwrap();
    store.close().await;
    lose(&kept, "data.db");
    let (clock, provider) = (kept.place.clock.clone(), kept.place.provider());
    let plan = Restore::plan_over(kept.config(), provider, clock, None, &Progress::default()).await.unwrap();
    assert_eq!(plan.backup().made, made);
    let newer = plan.newer_log().clone();
    assert_eq!((newer.last, &newer.problem), (checkpoint.number, &None));
    let times = |act: &str| newer.acts.get(act).copied().unwrap_or(0);
    assert_eq!((times("settings.save"), times("destination.remove"), times("project.create")), (3, 1, 1));
    assert!(!newer.acts.contains_key("key.wrap"), "uses of keys change nothing: {newer:?}");
    says(&newer.in_words(), &["settings.save ×3", "destination.remove, ", "project.create"]);
    let report = plan.run("os:test", &Progress::default()).await.unwrap();
    assert_eq!(report.newer_log, newer);
    assert_eq!(report.paused_destinations, ["shop/hook"]);
    // The log that was set aside is read from there.
    let mut log = LyingLog::open(&report.aside.unwrap()).await.unwrap();
    assert_eq!(log.after(0, i64::MAX).await.unwrap(), all);
    log.close().await;
    let store = open(&kept, kept.config()).await.unwrap();
    let states = store.destinations(None).await.unwrap();
    let paused: Vec<(&str, bool)> =
        states.iter().map(|state| (state.destination.name.as_str(), state.destination.paused.is_some())).collect();
    assert_eq!(paused, [("hook", true), ("other", false)]);
    let notices = store.notices(false).await.unwrap();
    let notice = notices.iter().find(|notice| notice.subject == "restore").expect("it is noticed");
    says(&notice.text, &[&made.to_string(), "settings.save ×3", "convizit audit export --from"]);
    // A checkpoint of what was set aside is no sign of a forger.
    let verified = store.verify_audit(std::slice::from_ref(&checkpoint)).await.unwrap();
    assert_eq!(verified.problem, None);
    let behind = all.len() as u64 - newer.entries;
    says(
        verified.set_aside.as_ref().unwrap(),
        &[
            &format!("restored from a backup at entry {behind} "),
            &format!("checkpoints of entry {} ", checkpoint.number),
        ],
    );
    assert_eq!(store.verify_audit(&[]).await.unwrap().set_aside, None);
    // What was written since is held against its checkpoints as before.
    while store.audit_checkpoint().await.unwrap().number < checkpoint.number {
        store.audit("frame.restore", "", "", "").await.unwrap();
    }
    kept.place.clock.set(NOON + 5000);
    let later = store.audit_checkpoint().await.unwrap();
    assert_eq!(store.verify_audit(&[later.clone(), checkpoint]).await.unwrap().problem, None);
    store.close().await;
    lose(&kept, "audit.mark");
    let mut control = kept.place.behind("control").await;
    for sql in [
        "DELETE FROM audit WHERE number = (SELECT MAX(number) FROM audit)",
        "UPDATE audit_end SET (number, chain) = (SELECT number, chain FROM audit ORDER BY number DESC LIMIT 1)",
    ] {
        sqlx::query(sql).execute(&mut control).await.unwrap();
    }
    drop(control);
    let store = open(&kept, kept.config()).await.unwrap();
    let problem = store.verify_audit(&[later]).await.unwrap().problem;
    assert!(problem.is_some(), "an entry that was taken away since");
    store.close().await;
}

/// What was answered is kept by a journal that is whole, whatever else was lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_an_intact_journal_comes_back_with_the_backup() {
    let kept = filled().await;
    let store = open(&kept, kept.config()).await.unwrap();
    for n in 0..3 {
        store.journal_append(format!("late {n}").into()).await.unwrap();
    }
    store.close().await;
    lose(&kept, "control.db");
    says(&refused(&kept).await, &["with 90 events, and what waits in journal.db"]);
    let looked = async || {
        let (clock, provider) = (kept.place.clock.clone(), kept.place.provider());
        Restore::plan_over(kept.config(), provider, clock, None, &Progress::default()).await.unwrap()
    };
    let plan = looked().await;
    assert_eq!((plan.left_journal().batches, &plan.left_journal().problem), (3, &None));
    let report = plan.run("os:test", &Progress::default()).await.unwrap();
    assert_eq!((report.left_journal.batches, report.journal_records), (3, 3));
    assert!(report.aside.unwrap().join("journal.db").exists());
    let late = async |store: &Store| {
        let batches = store.journal_read(store.worker_offset().await.unwrap(), 1 << 20).await.unwrap();
        batches.into_iter().flat_map(|batch| batch.records).collect::<Vec<_>>()
    };
    let store = open(&kept, kept.config()).await.unwrap();
    assert_eq!(late(&store).await, ["late 0", "late 1", "late 2"]);
    store.close().await;
    // One that is gone says how far it had come.
    kept.place.clock.set(NOON + 500);
    for name in ["control.db", "journal.db"] {
        lose(&kept, name);
    }
    let plan = looked().await;
    assert_eq!(plan.left_journal().batches, 0);
    let problem = plan.left_journal().problem.clone().unwrap();
    says(&problem, &["journal.db is missing from", "was answered", "behind batch 30"]);
    assert_eq!(plan.run("os:test", &Progress::default()).await.unwrap().left_journal.problem, Some(problem));
    // One that does not open keeps nobody from the backup, and is said and kept.
    kept.place.clock.set(NOON + 1000);
    lose(&kept, "control.db");
    lose(&kept, "journal.db");
    std::fs::write(folder(&kept).join("journal.db"), "this is no database ".repeat(1000)).unwrap();
    let plan = looked().await;
    assert_eq!(plan.left_journal().batches, 0);
    says(plan.left_journal().problem.as_ref().unwrap(), &["journal.db is damaged"]);
    let report = plan.run("os:test", &Progress::default()).await.unwrap();
    says(report.left_journal.problem.as_ref().unwrap(), &["journal.db is damaged"]);
    assert!(report.aside.unwrap().join("journal.db").exists());
    // Nor does one that has lost its end.
    let store = open(&kept, kept.config()).await.unwrap();
    store.journal_append("one".into()).await.unwrap();
    store.close().await;
    let earlier = folder(&kept).join("earlier");
    std::fs::copy(folder(&kept).join("journal.db"), &earlier).unwrap();
    let store = open(&kept, kept.config()).await.unwrap();
    store.journal_append("two".into()).await.unwrap();
    store.close().await;
    std::fs::rename(earlier, folder(&kept).join("journal.db")).unwrap();
    lose(&kept, "control.db");
    let plan = looked().await;
    assert_eq!(plan.left_journal().batches, 1);
    says(plan.left_journal().problem.as_ref().unwrap(), &["ends at batch 31, and batch 32 was answered"]);
}

/// Cut between moving away what was left and moving in what was restored: what was answered lies in the folder beside.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_with_the_journal_of_one_that_was_cut() {
    let kept = filled().await;
    let store = open(&kept, kept.config()).await.unwrap();
    store.journal_append("late".into()).await.unwrap();
    store.close().await;
    lose(&kept, "control.db");
    let look = async || {
        let (clock, provider) = (kept.place.clock.clone(), kept.place.provider());
        Restore::plan_over(kept.config(), provider, clock, None, &Progress::default()).await.unwrap()
    };
    // In the way of what is moved in, and of nothing before.
    let blocked = folder(&kept).join("journal.id");
    let plan = look().await;
    std::fs::create_dir(&blocked).unwrap();
    std::fs::write(blocked.join("in the way"), "").unwrap();
    assert!(plan.run("os:test", &Progress::default()).await.is_err());
    std::fs::remove_dir_all(&blocked).unwrap();
    assert!(!folder(&kept).join("journal.db").exists() && folder(&kept).join("restore.aside").exists());
    // Nothing else tells that anything was there.
    assert!(kept.config().is_there());
    says(&refused(&kept).await, &["a restore was cut short", "convizit restore", "goes on with it", "restore.aside"]);
    kept.place.clock.set(NOON + 1000);
    let plan = look().await;
    assert_eq!((plan.left_journal().batches, &plan.left_journal().problem), (1, &None));
    assert_eq!(plan.run("os:test", &Progress::default()).await.unwrap().left_journal.batches, 1);
    assert!(!folder(&kept).join("restore.aside").exists(), "it came to its end");
    let store = open(&kept, kept.config()).await.unwrap();
    let batches = store.journal_read(store.worker_offset().await.unwrap(), 1 << 20).await.unwrap();
    assert_eq!(batches.iter().flat_map(|batch| &batch.records).collect::<Vec<_>>(), ["late"]);
    store.close().await;
}

/// Erasures that were made after the copy that lies there.
#[tokio::test(flavor = "multi_thread")]
async fn no_restore_over_what_is_left_forgets_who_was_erased() {
    let kept = filled().await;
    let plan = async || {
        let (clock, provider) = (kept.place.clock.clone(), kept.place.provider());
        Restore::plan_over(kept.config(), provider, clock, None, &Progress::default()).await
    };
    let erase = async |who: &str| {
        let store = open(&kept, kept.config()).await.unwrap();
        let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
        store.erase(&shop, &[visitor(who)]).await.unwrap();
        store.close().await;
    };
    // While a person thinks about the question.
    let planned = plan().await.unwrap();
    let (keys_to, older) = (kept.keys_to(), kept.backups.path().join("older"));
    std::fs::create_dir(&older).unwrap();
    for name in ["ledger-a", "ledger-b"] {
        std::fs::copy(keys_to.join(name), older.join(name)).unwrap();
    }
    erase("a").await;
    let text = planned.run("os:test", &Progress::default()).await.err().unwrap().to_string();
    says(&text, &["was written anew since this restore began", "nothing was moved"]);
    assert!(folder(&kept).join("control.db").exists());
    // While the place of the copy is away, and what lies there when it is back.
    std::fs::rename(&keys_to, kept.backups.path().join("newer")).unwrap();
    std::fs::write(&keys_to, "away").unwrap();
    erase("b").await;
    std::fs::remove_file(&keys_to).unwrap();
    for lying in ["newer", "older"] {
        std::fs::rename(kept.backups.path().join(lying), &keys_to).unwrap();
        let text = plan().await.err().expect("it was not refused").to_string();
        says(&text, &["what was erased since", "Bring the newest copy", "control.db", "erase again whoever"]);
        let data = folder(&kept).join("data.db");
        std::fs::rename(&data, folder(&kept).join("kept")).unwrap();
        let text = open(&kept, StoreConfig { accept_gap: true, ..kept.config() }).await.err().unwrap().to_string();
        says(&text, &["what was erased since is not in it", "control.db to another folder"]);
        std::fs::rename(folder(&kept).join("kept"), &data).unwrap();
        std::fs::rename(&keys_to, kept.backups.path().join(lying)).unwrap();
    }
    // The next copy holds all of it.
    std::fs::rename(kept.backups.path().join("newer"), &keys_to).unwrap();
    let store = open(&kept, kept.config()).await.unwrap();
    kept.place.clock.set(NOON + 60_000);
    back_up(&store).await;
    store.close().await;
    let plan = plan().await.unwrap();
    plan.run("os:test", &Progress::default()).await.unwrap();
    assert_eq!(kept.place.number("SELECT COUNT(*) FROM erasures").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_journal_says_what_waited_in_it() {
    let kept = Kept::of(Place::sqlite());
    let (store, shop) = kept.shop().await;
    for n in 0..3 {
        commit(&store, &shop, n, events(n as u32..n as u32 + 1)).await;
    }
    store.close().await;
    // Nothing waited.
    lose(&kept, "journal.db");
    let text = refused(&kept).await;
    says(&text, &["journal.db is missing from", "nothing is lost with it", "convizit serve --accept-gap"]);
    assert!(!folder(&kept).join("journal.db").exists());
    let store = accepting(&kept).await;
    says(&accepted(&store).await, &["journal.db was missing", "no batch of the journal was passed over"]);
    commit(&store, &shop, 3, events(3..4)).await;
    for _ in 0..2 {
        store.journal_append("waits".into()).await.unwrap();
    }
    store.close().await;
    // Two did.
    lose(&kept, "journal.db");
    says(&refused(&kept).await, &["2 batches that had been answered (5 to 6)", "would be lost", "--accept-gap"]);
    let store = accepting(&kept).await;
    says(&accepted(&store).await, &["batches 5 to 6 of the journal, which were answered, are lost"]);
    assert_eq!(stored(&store, shop.number, 0).await, [0, 1, 2, 3]);
    commit(&store, &shop, 4, events(4..5)).await;
    store.close().await;
    // Nobody can say, without its mark.
    lose(&kept, "journal.db");
    std::fs::remove_file(folder(&kept).join("journal.mark")).unwrap();
    says(&refused(&kept).await, &["journal.mark with it", "up to batch 5 is stored", "nobody can say", "--accept-gap"]);
    let store = accepting(&kept).await;
    assert_eq!(stored(&store, shop.number, 0).await, [0, 1, 2, 3, 4]);
    store.close().await;
    open(&kept, kept.config()).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_makes_nothing() {
    let kept = filled().await;
    let looking = || StoreConfig { makes: false, ..kept.config() };
    for name in ["control.db", "data.db", "journal.db"] {
        let (file, kept_file) = (folder(&kept).join(name), folder(&kept).join("kept"));
        std::fs::rename(&file, &kept_file).unwrap();
        assert!(looking().is_there() && !looking().is_whole(), "what is left of it is there");
        let text = open(&kept, looking()).await.err().unwrap().to_string();
        says(&text, &[&format!("{name} is missing from")]);
        assert!(!file.exists(), "{name} was made anew");
        std::fs::rename(&kept_file, &file).unwrap();
    }
    assert!(looking().is_whole());
    open(&kept, looking()).await.unwrap().close().await;
    // Nor where a first start was cut short, which the next that may goes on with.
    let begun = Kept::of(Place::sqlite());
    std::fs::write(folder(&begun).join("control.db"), "").unwrap();
    let config = StoreConfig { makes: false, ..begun.config() };
    says(&open(&begun, config).await.err().unwrap().to_string(), &["not whole yet", "convizit serve"]);
    assert_eq!(std::fs::read_dir(folder(&begun)).unwrap().count(), 1);
    open(&begun, begun.config()).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_is_noticed_once_until_there_is_room() {
    let place = Place::sqlite();
    let open = async |reserve_bytes: u64| {
        let config = StoreConfig { reserve_bytes, ..place.config() };
        Store::open(config, place.provider(), place.clock.clone()).await.unwrap()
    };
    let of_disk = async |store: &Store| {
        let notices = store.notices(false).await.unwrap();
        notices.into_iter().filter(|notice| notice.kind == NoticeKind::Disk).collect::<Vec<_>>()
    };
    let store = open(u64::MAX).await;
    store.upkeep().await.unwrap();
    store.upkeep().await.unwrap();
    let notices = of_disk(&store).await;
    assert_eq!((notices.len(), notices[0].count), (1, 1), "{notices:?}");
    says(&notices[0].text, &["nearly full", "mounted at", "free", "Make room"]);
    assert!(store.scarce_disk().await.unwrap().is_some());
    store.close().await;
    // Where this machine's own disk is not nearly full.
    if DiskSpace::of(place.folder.path()).unwrap().free > 4_000_000_000 {
        let store = open(0).await;
        store.upkeep().await.unwrap();
        assert_eq!(of_disk(&store).await, []);
        assert_eq!(store.scarce_disk().await.unwrap(), None);
        store.close().await;
    }
}
