//! Backups: what comes back, from either engine to either, while everything goes on; and that the next one writes little.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convizit_model::{
    Destination, DestinationKind, NewEvent, NoticeKind, Project, ProjectSettings, ProjectWork, StateKind, StateRow,
};
use convizit_store::backup::{BackupConfig, BackupReport, Keep, Progress, Restore, RestoreReport};
use convizit_store::{Store, StoreConfig, StoreError};

use crate::engines::{DAY, NOON, Place, TODAY, event_at, events, on_both_engines, stored, within, work};

on_both_engines!(
    a_backup_comes_back_as_it_was,
    a_backup_is_of_one_moment_while_writing_goes_on,
    the_next_backup_reads_and_writes_what_is_new,
    what_the_worker_has_not_processed_comes_back_into_the_journal,
    a_drill_tries_the_backup_and_what_is_damaged_is_written_anew,
    a_drill_does_not_touch_what_runs,
    every_table_is_in_a_backup_or_left_out_by_name,
    everything_that_is_stored_is_looked_at,
    a_key_lives_as_long_as_a_backup_that_needs_it,
    a_backup_fails_with_a_notice_and_without_a_manifest,
    backups_and_what_they_drop_stand_in_the_audit_log,
    a_clock_that_ran_ahead_keeps_no_backup_from_being_made,
);

/// An installation with places for its backups, and for what is restored of them.
pub(crate) struct Kept {
    pub(crate) place: Place,
    pub(crate) backups: tempfile::TempDir,
    /// In place of folders.
    pub(crate) s3: Option<(String, String)>,
}

impl Kept {
    pub(crate) fn of(place: Place) -> Self {
        Self { place, backups: tempfile::tempdir().unwrap(), s3: None }
    }

    pub(crate) fn to(&self) -> PathBuf {
        self.backups.path().join("backups")
    }

    pub(crate) fn keys_to(&self) -> PathBuf {
        self.backups.path().join("keys")
    }

    pub(crate) fn backup(&self) -> BackupConfig {
        let text = |path: PathBuf| path.display().to_string();
        let (to, keys_to) = self.s3.clone().unwrap_or_else(|| (text(self.to()), text(self.keys_to())));
        BackupConfig { to, keys_to, keep: Keep::default(), hour: 3, makes: true }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig { backup: Some(self.backup()), ..self.place.config() }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(self.config(), self.place.provider(), self.place.clock.clone()).await.unwrap()
    }

    pub(crate) async fn shop(&self) -> (Store, Project) {
        let store = self.open().await;
        let project = store.create_project(&"shop".parse().unwrap(), Default::default()).await.unwrap();
        (store, project)
    }

    /// A place of the same engine that nothing is in.
    pub(crate) fn fresh(&self) -> Place {
        if self.place.cluster.is_some() { Place::postgres() } else { Place::sqlite() }
    }

    /// A restored place as it runs with these backups: `makes` says whether they are on.
    pub(crate) async fn open_beside(&self, into: &Place, makes: bool) -> Store {
        let config = StoreConfig { backup: Some(BackupConfig { makes, ..self.backup() }), ..into.config() };
        Store::open(config, self.place.provider(), self.place.clock.clone()).await.unwrap()
    }

    pub(crate) fn config_of(&self, into: &Place) -> StoreConfig {
        StoreConfig { backup: Some(self.backup()), ..into.config() }
    }

    /// Looks at the newest backup for a restore into a place.
    pub(crate) async fn plan(&self, into: &Place) -> Result<Restore, StoreError> {
        let clock = self.place.clock.clone();
        Restore::plan(self.config_of(into), self.place.provider(), clock, None, &Progress::default()).await
    }

    pub(crate) async fn restore(&self, into: &Place) -> (Store, RestoreReport) {
        let report = self.plan(into).await.unwrap().run("os:test", &Progress::default()).await.unwrap();
        (self.open_restored(into).await, report)
    }

    /// Without accepting any gap.
    pub(crate) async fn open_restored(&self, into: &Place) -> Store {
        let config = StoreConfig { backup: None, ..into.config() };
        Store::open(config, self.place.provider(), self.place.clock.clone()).await.unwrap()
    }
}

pub(crate) async fn back_up(store: &Store) -> BackupReport {
    store.back_up(&Progress::default()).await.unwrap()
}

/// What the worker does: a record in the journal, then its events.
pub(crate) async fn commit(store: &Store, project: &Project, offset: u64, events: Vec<NewEvent>) {
    store.journal_append(format!("record {offset}").into()).await.unwrap();
    store.commit_work(work(offset, project, events)).await.unwrap();
}

fn with_state(mut share: ProjectWork, n: u64) -> ProjectWork {
    share.rows = [StateKind::Element, StateKind::Session]
        .map(|kind| StateRow {
            kind,
            key: n,
            expires_day: Some(TODAY + 400),
            body: format!("{kind:?} {n}").into_bytes(),
        })
        .to_vec();
    share
}

/// Events of three days, state, a destination with a secret, a token.
pub(crate) async fn fill(store: &Store, shop: &Project) {
    for n in 0..30_u32 {
        let millis = NOON - i64::from(n % 3) * DAY;
        let events = (n * 3..n * 3 + 3).map(|n| event_at(millis, n, 1)).collect();
        store.journal_append(format!("record {n}").into()).await.unwrap();
        let mut work = work(u64::from(n), shop, events);
        work.projects = work.projects.into_iter().map(|share| with_state(share, u64::from(n))).collect();
        store.commit_work(work).await.unwrap();
    }
    store.save_destination(&hook(shop), Some("whsec_c2VjcmV0IG9mIHRoZSBob29rIHRoYXQgaXM="), true).await.unwrap();
    store.raise(NoticeKind::Disk, None, "disk", "full").await.unwrap();
}

pub(crate) fn hook(shop: &Project) -> Destination {
    Destination {
        project: shop.id.clone(),
        name: "hook".to_owned(),
        enabled: true,
        paused: None,
        processor: Some(convizit_model::Processor::own()),
        shaping: Default::default(),
        types: Vec::new(),
        kind: DestinationKind::Webhook { url: "https://hooks.example/".to_owned() },
    }
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// That a restored store is what was backed up by `fill`.
async fn is_whole(store: &Store, shop: &Project) {
    assert_eq!(store.project(&shop.id).await.unwrap(), *shop);
    assert_eq!(stored(store, shop.number, 0).await, (0..90).collect::<Vec<_>>());
    assert_eq!(store.worker_offset().await.unwrap(), 30);
    let state = store.load_state(shop.number).await.unwrap();
    assert_eq!(state.len(), 30);
    assert!(state.iter().all(|row| row.body == format!("Element {}", row.key).into_bytes()));
    assert_eq!(store.load_all_sessions(shop.number).await.unwrap().len(), 30);
    assert_eq!(store.events_of_name(shop.number, 1).await.unwrap(), 90, "counts are added up again");
    assert_eq!(store.events_by_hour_from(shop.number, 0).await.unwrap().len(), 3);
    let secret = store.destination_secret(&shop.id, "hook").await.unwrap();
    assert_eq!(secret.as_deref(), Some("whsec_c2VjcmV0IG9mIHRoZSBob29rIHRoYXQgaXM="));
    assert!(store.notices(false).await.unwrap().iter().any(|notice| notice.subject == "disk"));
    // An id that is stored is known, wherever its day's table is.
    let ids: Vec<_> = [0, 4, 89].map(|n| event_at(NOON - i64::from(n / 3 % 3) * DAY, n, 1).id).to_vec();
    assert_eq!(store.seen(shop.number, &ids).await.unwrap().len(), 3);
    let report = store.verify_audit(&[]).await.unwrap();
    assert_eq!(report.problem, None);
    let entries = store.audit_entries(None, 20).await.unwrap();
    assert!(entries.iter().any(|entry| entry.act == "backup.restore" && entry.actor == "os:test"), "{entries:?}");
    assert_eq!(store.verify(&Progress::default()).await.unwrap().problems, [""; 0]);
    // And it goes on.
    commit(store, shop, 30, vec![event_at(NOON, 90, 1)]).await;
    assert_eq!(store.last_event(shop.number).await.unwrap(), 91);
}

async fn a_backup_comes_back_as_it_was(place: Place) {
    comes_back(place, Place::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_either_engine_comes_back_on_postgresql() {
    comes_back(Place::sqlite(), Place::postgres()).await;
    comes_back(Place::postgres(), Place::postgres()).await;
}

async fn comes_back(from: Place, into: Place) {
    let kept = Kept::of(from);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    store.upkeep().await.unwrap();
    let report = back_up(&store).await;
    assert_eq!(report.events, 90);
    let found = store.verify_backup(None, &Progress::default()).await.unwrap();
    assert_eq!((found.events, found.made), (90, report.made));
    assert_eq!(store.backups().await.unwrap(), [found]);
    // What comes later is not in it.
    commit(&store, &shop, 30, events(500..510)).await;
    store.close().await;
    let (restored, said) = kept.restore(&into).await;
    assert_eq!((said.events, said.left_out_events, said.journal_records), (vec![("shop".to_owned(), 90)], 0, 0));
    assert_eq!(said.lost_destinations, [""; 0]);
    is_whole(&restored, &shop).await;
    restored.close().await;
    // And opens again, as any other.
    kept.open_restored(&into).await.close().await;
    assert!(!into.folder.path().join("restore").exists());
}

async fn a_backup_is_of_one_moment_while_writing_goes_on(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (store, shop, stop) = (store.clone(), shop.clone(), stop.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Acquire) {
                commit(&store, &shop, n, events(n as u32 * 3..n as u32 * 3 + 3)).await;
                n += 1;
            }
            n
        })
    };
    within(Duration::from_secs(20), "some events", async || store.last_event(shop.number).await.unwrap() > 60).await;
    let upkeep = {
        let store = store.clone();
        tokio::spawn(async move { store.upkeep().await })
    };
    let before = store.last_event(shop.number).await.unwrap();
    back_up(&store).await;
    let after = store.last_event(shop.number).await.unwrap();
    stop.store(true, Ordering::Release);
    assert!(writing.await.unwrap() > 20);
    upkeep.await.unwrap().unwrap();
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    let (count, offset) = (report.events[0].1, restored.worker_offset().await.unwrap());
    assert!((before..=after).contains(&count), "{count} of {before} to {after}");
    assert_eq!(count, offset.cast_signed() * 3, "events and offset are of one moment");
    assert_eq!(stored(&restored, shop.number, 0).await, (0..count).collect::<Vec<_>>());
    assert_eq!(restored.last_event(shop.number).await.unwrap(), count);
    assert_eq!(restored.verify(&Progress::default()).await.unwrap().problems, [""; 0]);
}

async fn the_next_backup_reads_and_writes_what_is_new(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    kept.place.clock.set(NOON + DAY);
    store.upkeep().await.unwrap();
    let first = back_up(&store).await;
    assert_eq!(first.written, first.packs);
    commit(&store, &shop, 30, vec![event_at(NOON + DAY, 90, 1)]).await;
    kept.place.clock.set(NOON + DAY + 1);
    let second = back_up(&store).await;
    // The new day's frames, and the small tables that have changed.
    assert_eq!(second.packs, first.packs + 1, "{first:?} {second:?}");
    assert!(second.written < second.packs - 3, "the frames of three days are taken over: {second:?}");
    let into = kept.fresh();
    let (restored, _) = kept.restore(&into).await;
    assert_eq!(stored(&restored, shop.number, 0).await, (0..91).collect::<Vec<_>>());
    // What the schedule drops takes its packs with it.
    for n in 2..40 {
        kept.place.clock.set(NOON + n * DAY);
        back_up(&store).await;
    }
    let left = store.backups().await.unwrap();
    assert!(left.len() < 14, "{} are kept", left.len());
    let packs = files(&kept.to().join("packs")).len() as u64;
    assert!(packs < left.len() as u64 * 12, "{packs} packs are left");
    store.verify_backup(Some(left.last().unwrap().made), &Progress::default()).await.unwrap();
}

async fn what_the_worker_has_not_processed_comes_back_into_the_journal(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    for n in 0..3 {
        commit(&store, &shop, n, events(n as u32..n as u32 + 1)).await;
    }
    for n in 3..700 {
        store.journal_append(format!("record {n}").into()).await.unwrap();
    }
    back_up(&store).await;
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.journal_records, 697);
    let mut records = Vec::new();
    let mut after = restored.worker_offset().await.unwrap();
    assert_eq!(after, 3);
    loop {
        let batches = restored.journal_read(after, 1 << 20).await.unwrap();
        let Some(last) = batches.last() else { break };
        after = last.offset;
        records.extend(batches.into_iter().flat_map(|batch| batch.records));
    }
    let expected: Vec<_> = (3..700).map(|n| bytes::Bytes::from(format!("record {n}"))).collect();
    assert_eq!(records, expected);
}

async fn a_drill_tries_the_backup_and_what_is_damaged_is_written_anew(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    assert!(store.drill(&Progress::default()).await.is_err(), "there is none");
    fill(&store, &shop).await;
    back_up(&store).await;
    let report = store.drill(&Progress::default()).await.unwrap();
    assert_eq!(report.events, 90);
    assert_eq!(store.backup_state().drill_problem, None);
    let noticed = async || store.notices(false).await.unwrap().iter().any(|notice| notice.subject == "drill");
    assert!(!noticed().await);
    // The largest pack is one of frames: it would be taken over unread.
    let packs = files(&kept.to().join("packs"));
    for pack in &packs {
        let mut bytes = std::fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(pack, bytes).unwrap();
    }
    let error = store.drill(&Progress::default()).await.unwrap_err();
    assert!(error.to_string().contains("packs/"), "{error}");
    assert!(noticed().await);
    assert!(store.backup_state().drill_problem.is_some());
    kept.place.clock.set(NOON + 1);
    let again = back_up(&store).await;
    assert_eq!(again.written, again.packs);
    store.verify_backup(None, &Progress::default()).await.unwrap();
    store.drill(&Progress::default()).await.unwrap();
    assert!(!noticed().await);
    assert!(!kept.place.folder.path().join("drill").exists());
}

async fn a_drill_does_not_touch_what_runs(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    let before = kept.place.rows().await;
    let keys = kept.place.number_of("control", "SELECT COUNT(*) FROM keys").await;
    let copied = || std::fs::read(kept.keys_to().join("ledger-a")).unwrap();
    let first = copied();
    // The store copies once by itself, and then only what changes.
    within(Duration::from_secs(30), "keys are copied by the store itself", async || copied() != first).await;
    let copy = copied();
    store.drill(&Progress::default()).await.unwrap();
    assert_eq!(kept.place.rows().await, before);
    assert_eq!(kept.place.number_of("control", "SELECT COUNT(*) FROM keys").await, keys);
    assert!(copied() == copy, "the copy of the keys was written by the drill");
}

async fn every_table_is_in_a_backup_or_left_out_by_name(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    assert_eq!(store.verify(&Progress::default()).await.unwrap().problems, [""; 0]);
    for sql in ["CREATE TABLE album (id BIGINT PRIMARY KEY)", "ALTER TABLE frames ADD COLUMN rank BIGINT"] {
        sqlx::query(sql).execute(&mut kept.place.behind("data").await).await.unwrap();
    }
    let found = store.verify(&Progress::default()).await.unwrap().problems;
    assert!(found.len() == 2 && found[0].starts_with("album.id") && found[1].starts_with("frames.rank"), "{found:?}");
}

async fn everything_that_is_stored_is_looked_at(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    store.journal_append("one more".into()).await.unwrap();
    let report = store.verify(&Progress::default()).await.unwrap();
    // 60 rows of state, and the destination with its secret.
    assert_eq!((report.frames, report.events, report.rows, report.batches), (30, 90, 62, 1));
    assert!(report.audit_entries > 2 && report.problem_count == 0);
    let mut data = kept.place.behind("data").await;
    let spoil = [
        "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 4) WHERE first = 7",
        "UPDATE frames SET last = 11 WHERE first = 10",
        "UPDATE frames SET filter = (SELECT filter FROM frames WHERE first = 1) WHERE first = 1",
        "UPDATE state SET body = (SELECT body FROM state WHERE key = 3 AND kind = 1) WHERE key = 4 AND kind = 1",
    ];
    for sql in spoil {
        sqlx::query(sql).execute(&mut data).await.unwrap();
    }
    let empty = "UPDATE frames SET filter = $1 WHERE first = 13";
    sqlx::query(empty).bind(vec![0_u8]).execute(&mut data).await.unwrap();
    let report = store.verify(&Progress::default()).await.unwrap();
    let has = |what: &str| report.problems.iter().any(|problem| problem.contains(what));
    for what in ["frame shop/7: ", "frame shop/10: ", "frame shop/13: ", "state row 1/4 of project shop: "] {
        assert!(has(what), "{what}: {:?}", report.problems);
    }
    assert_eq!(report.problem_count, 4, "{:?}", report.problems);
}

async fn a_key_lives_as_long_as_a_backup_that_needs_it(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    // So that nothing else goes with the time.
    let settings = ProjectSettings { retention_days: 400, ..shop.settings.clone() };
    store.save_settings(&shop.id, settings).await.unwrap();
    back_up(&store).await;
    store.rotate_project_key(shop.number).await.unwrap();
    let destroyed = "SELECT COUNT(*) FROM keys WHERE project = 1 AND kind = 'project' AND wrapped_by = 'destroyed'";
    kept.place.pass_to(NOON + 60 * DAY).await;
    store.upkeep().await.unwrap();
    assert_eq!(kept.place.number_of("control", destroyed).await, 0);
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.left_out.len(), 0, "{report:?}");
    assert_eq!(restored.load_state(shop.number).await.unwrap().len(), 30);
    restored.close().await;
    kept.place.pass_to(NOON + (Keep::default().days() + 1) * DAY).await;
    store.rotate_project_key(shop.number).await.unwrap();
    let hours_later = async |hours: std::ops::Range<i64>| {
        for hour in hours {
            kept.place.pass_to(NOON + (2 * Keep::default().days() + 2) * DAY + hour * 3_600_000).await;
            store.upkeep().await.unwrap();
        }
    };
    hours_later(0..3).await;
    assert_eq!(kept.place.number_of("control", destroyed).await, 0, "the schedule has not dropped the backup yet");
    back_up(&store).await;
    std::fs::remove_file(&files(&kept.to().join("manifests"))[0]).unwrap();
    hours_later(3..5).await;
    assert!(kept.place.number_of("control", destroyed).await > 0, "and no longer");
}

async fn a_backup_fails_with_a_notice_and_without_a_manifest(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    // A file in the place of the folder.
    std::fs::create_dir_all(kept.backups.path()).unwrap();
    std::fs::create_dir_all(kept.to()).unwrap();
    std::fs::write(kept.to().join("packs"), "in the way").unwrap();
    assert!(store.back_up(&Progress::default()).await.is_err());
    assert!(store.notices(false).await.unwrap().iter().any(|notice| notice.subject == "backup"));
    let entries = store.audit_entries(None, 20).await.unwrap();
    let failed = entries.iter().find(|entry| entry.act == "backup.fail").expect("it is in the audit log");
    assert_eq!(failed.subject, kept.to().display().to_string());
    assert!(!kept.to().join("manifests").exists());
    assert_eq!(store.backup_state().made, None);
    std::fs::remove_file(kept.to().join("packs")).unwrap();
    assert!(store.backup_is_due());
    back_up(&store).await;
    assert!(!store.notices(false).await.unwrap().iter().any(|notice| notice.subject == "backup"));
    assert!(!store.backup_is_due());
    // At 3 in the night it is.
    kept.place.clock.set(NOON + 14 * 3_600_000);
    assert!(!store.backup_is_due());
    kept.place.clock.set(NOON + 15 * 3_600_000);
    assert!(store.backup_is_due());
    // As where the disk of the place is not mounted: it is made, and said.
    let gone = async || {
        let notices = store.notices(false).await.unwrap();
        notices.into_iter().find(|notice| notice.subject == "older backups").map(|notice| notice.text)
    };
    assert_eq!(gone().await, None);
    std::fs::rename(kept.to(), kept.backups.path().join("elsewhere")).unwrap();
    let anew = back_up(&store).await;
    let text = gone().await.unwrap();
    assert!(text.contains("none of the older backups lies in") && text.contains(&anew.name), "{text}");
}

async fn backups_and_what_they_drop_stand_in_the_audit_log(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    let first = back_up(&store.acting_as("os:anna")).await;
    kept.place.clock.set(NOON + 60_000);
    let second = back_up(&store).await;
    assert_eq!(second.dropped, 1);
    store.drill(&Progress::default()).await.unwrap();
    let entries = store.audit_entries(None, 50).await.unwrap();
    let of = |act: &str| entries.iter().rev().filter(|entry| entry.act == act).collect::<Vec<_>>();
    let made = of("backup.make");
    let told: Vec<_> = made.iter().map(|entry| (entry.actor.as_str(), entry.subject.as_str())).collect();
    assert_eq!(told, [("os:anna", first.name.as_str()), ("system", second.name.as_str())]);
    assert!(made[0].detail.starts_with("90 events and ") && made[0].detail.contains(" bytes"), "{}", made[0].detail);
    let dropped = of("backup.drop");
    assert_eq!((dropped.len(), &dropped[0].subject), (1, &first.name));
    assert!(dropped[0].detail.contains("7 days, 4 weeks and 2 months"), "{}", dropped[0].detail);
    let drilled = of("backup.drill");
    assert_eq!((drilled.len(), &drilled[0].subject), (1, &second.name));
    assert!(drilled[0].detail.starts_with("restored: 90 events"), "{}", drilled[0].detail);
}

async fn a_clock_that_ran_ahead_keeps_no_backup_from_being_made(place: Place) {
    let kept = Kept::of(place);
    let (store, _) = kept.shop().await;
    kept.place.clock.set(NOON + 60 * DAY);
    back_up(&store).await;
    kept.place.clock.set(NOON);
    assert!(store.backup_is_due());
    back_up(&store).await;
    assert!(!store.backup_is_due());
}
