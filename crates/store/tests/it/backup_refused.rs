//! Backups that are refused before anything is touched, and places that nothing is restored into.

use std::path::{Path, PathBuf};

use convizit_model::NoticeKind;
use convizit_store::backup::Progress;
use sqlx::Row as _;

use crate::backup::{Kept, back_up, commit, files, fill};
use crate::engines::{NOON, Place, events, on_both_engines, stored};

on_both_engines!(
    a_place_that_is_not_empty_is_left_as_it_is,
    without_its_copy_of_keys_and_erasures_nothing_is_restored,
    a_copy_that_is_older_than_the_backup_is_refused,
    keys_that_are_damaged_in_the_database_stay_whole_in_the_copy,
);

async fn backed_up() -> Kept {
    let kept = Kept::of(Place::sqlite());
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    store.upkeep().await.unwrap();
    back_up(&store).await;
    store.close().await;
    kept
}

/// That a restore is refused, and nothing is made; what it says.
async fn refused(kept: &Kept, what: &str) -> String {
    let into = Place::sqlite();
    let Err(error) = kept.plan(&into).await else { panic!("{what}: it was not refused") };
    assert_eq!(files(into.folder.path()), Vec::<PathBuf>::new(), "{what}");
    error.to_string()
}

/// As `refused`, with a file changed meanwhile.
async fn refused_with(kept: &Kept, file: &Path, bytes: &[u8], what: &str) -> String {
    let good = std::fs::read(file).unwrap();
    std::fs::write(file, bytes).unwrap();
    let error = refused(kept, what).await;
    std::fs::write(file, good).unwrap();
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn another_installation_writes_and_drops_nothing_there() {
    let kept = backed_up().await;
    let before: Vec<(PathBuf, Vec<u8>)> = [kept.to(), kept.keys_to()]
        .iter()
        .flat_map(|place| files(place))
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect();
    assert!(before.len() > 3);
    // As when `data` of a configuration is mistyped: an empty folder, and the places of the real one.
    let other = Kept { place: Place::sqlite(), backups: kept.backups, s3: None };
    let store = other.open().await;
    let error = store.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains("another installation") && error.contains("nothing was written"), "{error}");
    // What is copied by itself, within two seconds of the start, too.
    store.make_token(None, &[convizit_store::Scope::Keys], "anna", 30).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    store.close().await;
    for (file, bytes) in before {
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_byte_of_a_manifest_is_refused() {
    let kept = backed_up().await;
    let manifest = files(&kept.to().join("manifests")).remove(0);
    let good = std::fs::read(&manifest).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let error = refused_with(&kept, &manifest, &bad, &format!("byte {at}")).await;
        assert!(error.contains("manifest"), "byte {at}: {error}");
    }
    for length in [0, 1, 26, 27, good.len() / 2, good.len() - 1] {
        refused_with(&kept, &manifest, &good[..length], &format!("cut at {length}")).await;
    }
    let longer = [good.as_slice(), &[0]].concat();
    refused_with(&kept, &manifest, &longer, "longer").await;
    // Another backup's, under this one's name.
    let moved = manifest.with_file_name("20261123T120001Z-aaaaaa.manifest");
    std::fs::rename(&manifest, &moved).unwrap();
    assert!(refused(&kept, "renamed").await.contains("20261123T120001Z"));
    std::fs::rename(&moved, &manifest).unwrap();
    kept.plan(&Place::sqlite()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_changed_cut_exchanged_or_missing_is_refused() {
    let kept = backed_up().await;
    let packs = files(&kept.to().join("packs"));
    assert!(packs.len() > 8);
    for (number, pack) in packs.iter().enumerate() {
        let good = std::fs::read(pack).unwrap();
        for at in (number % 5..good.len()).step_by(1 + good.len() / 12) {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            let error = refused_with(&kept, pack, &bad, &format!("{} byte {at}", pack.display())).await;
            assert!(error.contains("packs/"), "{error}");
        }
        for length in [0, 30, good.len() - 1] {
            refused_with(&kept, pack, &good[..length], "cut").await;
        }
        let other = std::fs::read(&packs[(number + 1) % packs.len()]).unwrap();
        refused_with(&kept, pack, &other, "exchanged").await;
        std::fs::remove_file(pack).unwrap();
        let error = refused(&kept, "missing").await;
        assert!(error.contains("is missing"), "{error}");
        std::fs::write(pack, good).unwrap();
    }
    kept.plan(&Place::sqlite()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_and_another_installation_are_named() {
    let kept = backed_up().await;
    let other = backed_up().await;
    let ledger = kept.keys_to().join("ledger-a");
    for (folder, name) in [(kept.to().join("manifests"), "manifest"), (kept.to().join("packs"), "packs/")] {
        let file = files(&folder).remove(0);
        let mut newer = std::fs::read(&file).unwrap();
        newer[9] = 2;
        let error = refused_with(&kept, &file, &newer, "newer").await;
        assert!(error.contains("newer convizit") && error.contains(name), "{error}");
    }
    let mut newer = std::fs::read(&ledger).unwrap();
    newer[9] = 2;
    std::fs::remove_file(kept.keys_to().join("ledger-b")).unwrap();
    assert!(refused_with(&kept, &ledger, &newer, "newer").await.contains("newer convizit"));
    let manifest = files(&kept.to().join("manifests")).remove(0);
    let foreign = files(&other.to().join("manifests")).remove(0);
    let error = refused_with(&kept, &manifest, &std::fs::read(foreign).unwrap(), "foreign").await;
    assert!(error.contains("another installation"), "{error}");
    // The other's copy of keys, which this key-encryption key does not open.
    let foreign = std::fs::read(other.keys_to().join("ledger-a")).unwrap();
    let error = refused_with(&kept, &ledger, &foreign, "foreign keys").await;
    assert!(error.contains("key file:"), "the key is named: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_byte_of_the_copy_is_refused_and_the_other_copy_taken() {
    let kept = backed_up().await;
    let (a, b) = (kept.keys_to().join("ledger-a"), kept.keys_to().join("ledger-b"));
    let good = std::fs::read(&a).unwrap();
    std::fs::write(&a, &good[..good.len() / 2]).unwrap();
    kept.plan(&Place::sqlite()).await.unwrap();
    std::fs::remove_file(&b).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&a, bad).unwrap();
        refused(&kept, &format!("byte {at} of the copy")).await;
    }
    std::fs::write(&a, &good).unwrap();
    kept.plan(&Place::sqlite()).await.unwrap();
}

async fn a_place_that_is_not_empty_is_left_as_it_is(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    store.close().await;
    let error = kept.plan(&kept.place).await.err().unwrap().to_string();
    assert!(error.contains("empty"), "{error}");
    let other = Kept::of(kept.fresh());
    let (theirs, blog) = other.shop().await;
    commit(&theirs, &blog, 0, events(0..3)).await;
    theirs.close().await;
    let error = kept.plan(&other.place).await.err().unwrap().to_string();
    assert!(error.contains("empty"), "{error}");
    let theirs = other.open().await;
    assert_eq!(stored(&theirs, blog.number, 0).await, [0, 1, 2]);
    // On PostgreSQL also with a new data folder.
    if other.place.cluster.is_some() {
        theirs.close().await;
        let folder = tempfile::tempdir().unwrap();
        let config = convizit_store::StoreConfig {
            folder: folder.path().to_owned(),
            backup: Some(kept.backup()),
            ..other.place.config()
        };
        let clock = kept.place.clock.clone();
        let refused =
            convizit_store::backup::Restore::plan(config, kept.place.provider(), clock, None, &Progress::default())
                .await;
        assert!(refused.err().unwrap().to_string().contains("PostgreSQL"));
    }
}

async fn without_its_copy_of_keys_and_erasures_nothing_is_restored(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    store.close().await;
    for name in ["ledger-a", "ledger-b"] {
        std::fs::remove_file(kept.keys_to().join(name)).unwrap();
    }
    let error = refused(&kept, "no copy").await;
    assert!(error.contains("no copy of the keys") && error.contains("keys_to"), "{error}");
    std::fs::remove_dir_all(kept.keys_to()).unwrap();
    refused(&kept, "no folder").await;
}

async fn a_copy_that_is_older_than_the_backup_is_refused(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    let older = std::fs::read(kept.keys_to().join("ledger-a")).unwrap();
    kept.place.clock.set(NOON + 1);
    back_up(&store).await;
    store.close().await;
    for name in ["ledger-a", "ledger-b"] {
        std::fs::write(kept.keys_to().join(name), &older).unwrap();
    }
    let error = refused(&kept, "older").await;
    assert!(error.contains("older"), "{error}");
}

async fn keys_that_are_damaged_in_the_database_stay_whole_in_the_copy(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    let mut control = kept.place.behind("control").await;
    let damaged = [("root", 0_i64), ("project", 0), ("project", shop.number)];
    for (kind, project) in damaged {
        damage_key(&mut control, kind, project).await;
    }
    // What changes is copied all the same.
    let token = store.make_token(Some(&shop), &[convizit_store::Scope::Export], "desk", 30).await.unwrap();
    let notices = store.notices(false).await.unwrap();
    let notice = notices.iter().find(|notice| notice.kind == NoticeKind::Keys).expect("it is said");
    for (kind, project) in damaged {
        let named = format!("{kind}/{}/1", if project == 0 { "installation" } else { "shop" });
        assert!(notice.text.contains(&named), "{named}: {}", notice.text);
    }
    kept.place.clock.set(NOON + 1);
    back_up(&store).await;
    store.close().await;
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!((&report.events[..], report.damaged_frames), (&[("shop".to_owned(), 90)][..], 0));
    assert_eq!(restored.load_state(shop.number).await.unwrap().len(), 30);
    assert!(restored.token(&token).await.unwrap().is_some());
}

/// Changes a bit of every key of a kind of a project, as a failing disk does.
pub(crate) async fn damage_key(control: &mut sqlx::AnyConnection, kind: &str, project: i64) {
    let find = "SELECT number, wrapped FROM keys WHERE kind = $1 AND project = $2";
    let rows = sqlx::query(find).bind(kind.to_owned()).bind(project).fetch_all(&mut *control).await.unwrap();
    assert!(!rows.is_empty(), "{kind} of {project}");
    for row in rows {
        let (number, mut wrapped): (i64, Vec<u8>) = (row.try_get(0).unwrap(), row.try_get(1).unwrap());
        *wrapped.last_mut().unwrap() ^= 1;
        sqlx::query("UPDATE keys SET wrapped = $1 WHERE kind = $2 AND project = $3 AND number = $4")
            .bind(wrapped)
            .bind(kind.to_owned())
            .bind(project)
            .bind(number)
            .execute(&mut *control)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_database_whose_restore_did_not_end_is_refused_by_every_start() {
    let kept = backed_up().await;
    let into = Place::postgres();
    let (restored, _) = kept.restore(&into).await;
    restored.close().await;
    let unfinished = "UPDATE worker SET journal = 'restoring'";
    sqlx::query(unfinished).execute(&mut into.behind("data").await).await.unwrap();
    let config = into.config();
    let start = convizit_store::Store::open(config, kept.place.provider(), kept.place.clock.clone()).await;
    let error = start.err().unwrap().to_string();
    assert!(error.contains("did not end") && error.contains("restore again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_database_and_what_comes_meanwhile_is_not_overwritten() {
    let kept = backed_up().await;
    let into = Place::sqlite();
    for left in ["control.db-wal", "journal.db-shm"] {
        std::fs::write(into.folder.path().join(left), "left").unwrap();
        let error = kept.plan(&into).await.err().unwrap().to_string();
        assert!(error.contains(left) && error.contains("empty place"), "{error}");
        std::fs::remove_file(into.folder.path().join(left)).unwrap();
    }
    let plan = kept.plan(&into).await.unwrap();
    // Somebody makes an installation there while the question is open.
    std::fs::write(into.folder.path().join("control.db"), "theirs").unwrap();
    let error = plan.run("os:test", &Progress::default()).await.err().unwrap().to_string();
    assert!(error.contains("control.db is there already"), "{error}");
    assert_eq!(std::fs::read(into.folder.path().join("control.db")).unwrap(), b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_missing_or_cut_says_what_to_bring() {
    let kept = backed_up().await;
    for name in ["ledger-a", "ledger-b"] {
        let good = std::fs::read(kept.keys_to().join(name)).unwrap();
        std::fs::write(kept.keys_to().join(name), &good[..good.len() / 2]).unwrap();
    }
    let error = refused(&kept, "both are cut").await;
    assert!(error.contains("bring a whole one") && !error.contains("another backup"), "{error}");
    std::fs::remove_dir_all(kept.keys_to()).unwrap();
    let error = refused(&kept, "no folder").await;
    assert!(error.contains("copy of keys and erasures") && error.contains("backup.keys_to"), "{error}");
}
