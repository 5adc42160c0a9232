//! What the journal promises: an answered record is there, in order, once, or its loss is seen.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convizit_keys::KeyRing;
use convizit_store::journal::{Bounds, Journal, SqliteJournal, Start};
use convizit_store::{StoreError, SystemClock};
use sqlx::{Connection as _, SqliteConnection};

async fn open(folder: &Path, keys: &Arc<KeyRing>) -> Result<SqliteJournal, StoreError> {
    open_at(folder, keys, Start::default()).await
}

async fn open_at(folder: &Path, keys: &Arc<KeyRing>, start: Start) -> Result<SqliteJournal, StoreError> {
    SqliteJournal::open(folder, Arc::clone(keys), Arc::new(SystemClock), Bounds::default(), start).await
}

const ACCEPT: Start = Start { processed: 0, accept_gap: true };

fn record(number: usize) -> Bytes {
    Bytes::from(format!("{{\"record\":{number},\"text\":\"{}\"}}", "what a visitor did ".repeat(number % 7)))
}

/// All records after an offset, and the offset of the last.
async fn read_all(journal: &SqliteJournal, mut after: u64) -> Result<(Vec<Bytes>, u64), StoreError> {
    let mut records = Vec::new();
    loop {
        let batches = journal.read(after, 256 * 1024).await?;
        let Some(last) = batches.last() else { return Ok((records, after)) };
        after = last.offset;
        records.extend(batches.into_iter().flat_map(|batch| batch.records));
    }
}

/// Appends one after the other: a batch for each.
async fn append_each(journal: &SqliteJournal, numbers: std::ops::Range<usize>) {
    for number in numbers {
        journal.append(record(number)).await.unwrap();
    }
}

/// Opens the file behind the journal's back.
async fn behind(folder: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("journal.db"));
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Waits until a condition holds, at most 10 s.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not come to hold within 10 s");
}

#[tokio::test]
async fn records_come_back_in_order_across_restarts() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    for round in 0..4 {
        let journal = open(folder.path(), &keys).await.unwrap();
        append_each(&journal, round * 10..round * 10 + 10).await;
        let (records, last) = read_all(&journal, 0).await.unwrap();
        assert_eq!(records, (0..round * 10 + 10).map(record).collect::<Vec<_>>());
        assert_eq!(last, (round as u64 + 1) * 10);
        assert_eq!(journal.health().offset, last);
        journal.close().await;
    }
}

#[tokio::test]
async fn reading_keeps_its_bound_and_gives_at_least_one_batch() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    for _ in 0..5 {
        journal.append(Bytes::from(vec![7; 1000])).await.unwrap();
    }
    for (after, max, expected) in [(0, 0, 1), (0, 1999, 1), (0, 2000, 2), (1, 3500, 3), (4, 9000, 1), (5, 9000, 0)] {
        let batches = journal.read(after, max).await.unwrap();
        assert_eq!(batches.len(), expected, "after {after}, at most {max} bytes");
    }
    assert!(matches!(journal.read(6, 1000).await, Err(StoreError::Unusable(_))), "the worker is beyond the journal");
}

#[tokio::test]
async fn waiting_ends_when_a_batch_comes() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = Arc::new(open(folder.path(), &keys).await.unwrap());
    let waiting = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.wait(0).await }
    });
    append_each(&journal, 0..1).await;
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    journal.wait(0).await;
}

#[tokio::test]
async fn records_that_come_together_are_committed_together() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = Arc::new(open(folder.path(), &keys).await.unwrap());
    let appends: Vec<_> = (0..2000)
        .map(|number| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move { journal.append(record(number)).await })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    let (records, commits) = read_all(&journal, 0).await.unwrap();
    assert_eq!(records.into_iter().collect::<HashSet<_>>().len(), 2000);
    assert!(commits < 200, "{commits} commits for 2000 records");
    let large = Bytes::from(vec![1; 300 * 1024]);
    journal.append(large.clone()).await.unwrap();
    assert_eq!(journal.read(commits, 1).await.unwrap()[0].records, [large], "a larger record goes alone");
}

#[tokio::test]
async fn a_flipped_bit_in_a_batch_is_found_and_named() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    append_each(&journal, 0..5).await;
    journal.close().await;
    let mut sql = behind(folder.path()).await;
    let good: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM journal WHERE batch = 3").fetch_one(&mut sql).await.unwrap();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        let update = sqlx::query("UPDATE journal SET sealed = $1 WHERE batch = 3").bind(changed);
        update.execute(&mut sql).await.unwrap();
        let journal = open(folder.path(), &keys).await.unwrap();
        assert_eq!(journal.read(0, 1).await.unwrap().len(), 1, "batches before it are read");
        let error = journal.read(1, 10_000).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unusable(text) if text.contains("batch 3 ")), "byte {at}: {error}");
        journal.close().await;
    }
}

#[tokio::test]
async fn exchanged_and_missing_batches_are_found() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    append_each(&journal, 0..6).await;
    let mut sql = behind(folder.path()).await;
    sqlx::raw_sql(
        "UPDATE journal SET batch = -batch WHERE batch IN (2, 3); UPDATE journal SET batch = 5 + batch WHERE batch < 0",
    )
    .execute(&mut sql)
    .await
    .unwrap();
    let error = journal.read(0, 10_000).await.unwrap_err();
    assert!(error.to_string().contains("batch 2 "), "{error}");
    sqlx::raw_sql("DELETE FROM journal WHERE batch IN (2, 3)").execute(&mut sql).await.unwrap();
    let error = journal.read(0, 10_000).await.unwrap_err();
    assert!(error.to_string().contains("batches 2 to 3 are missing"), "{error}");
    let error = journal.read(3, 10_000).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

/// A page that stands where another belongs makes SQLite find nothing where there is something.
#[tokio::test]
async fn no_exchange_of_half_pages_loses_a_record_in_silence() {
    const HALF: usize = 4096;
    const PROCESSED: u64 = 40;
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    // Of letters that cannot be compressed, so that the batches fill several pages.
    let letters = |number: u64| {
        let mut state = number;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from(state >> 57).unwrap() % 90)
        };
        Bytes::from((0..900).map(|_| next()).collect::<String>())
    };
    for number in 1..=60 {
        journal.append(letters(number)).await.unwrap();
    }
    journal.close().await;
    let good = std::fs::read(folder.path().join("journal.db")).unwrap();
    let (mut refused, mut whole) = (0, 0);
    for one in 0..good.len() / HALF {
        for other in 0..one {
            let mut bytes = good.clone();
            let (low, high) = bytes.split_at_mut(one * HALF);
            low[other * HALF..][..HALF].swap_with_slice(&mut high[..HALF]);
            let damaged = tempfile::tempdir().unwrap();
            std::fs::write(damaged.path().join("journal.db"), bytes).unwrap();
            std::fs::copy(folder.path().join("journal.mark"), damaged.path().join("journal.mark")).unwrap();
            let start = Start { processed: PROCESSED, accept_gap: false };
            let Ok(journal) = open_at(damaged.path(), &keys, start).await else {
                refused += 1;
                continue;
            };
            match read_all(&journal, PROCESSED).await {
                Err(_) => refused += 1,
                Ok((records, last)) => {
                    let expected: Vec<Bytes> = (PROCESSED + 1..=60).map(letters).collect();
                    assert!(records == expected, "{one} and {other}: {} records, the last {last}", records.len());
                    whole += 1;
                }
            }
            journal.close().await;
        }
    }
    assert!(refused > 20 && whole > 20, "{refused} refused, {whole} whole");
}

#[tokio::test]
async fn a_lost_end_is_refused_by_the_mark_until_a_person_accepts_it() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    append_each(&journal, 0..5).await;
    journal.close().await;
    let mut sql = behind(folder.path()).await;
    sqlx::raw_sql("DELETE FROM journal WHERE batch > 3").execute(&mut sql).await.unwrap();
    let error = open(folder.path(), &keys).await.err().unwrap().to_string();
    assert!(error.contains("batches 4 to 5 are lost") && error.contains("restore"), "{error}");
    std::fs::remove_file(folder.path().join("journal.mark")).unwrap();
    let error = open(folder.path(), &keys).await.err().unwrap().to_string();
    assert!(error.contains("journal.mark is missing"), "{error}");
    let journal = open_at(folder.path(), &keys, ACCEPT).await.unwrap();
    append_each(&journal, 10..11).await;
    let (records, last) = read_all(&journal, 0).await.unwrap();
    assert_eq!((records, last), ([0, 1, 2, 10].map(record).to_vec(), 4));
    journal.close().await;
    open(folder.path(), &keys).await.unwrap().close().await;
}

async fn open_bounded(folder: &Path, bounds: Bounds) -> SqliteJournal {
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    SqliteJournal::open(folder, keys, Arc::new(SystemClock), bounds, Start::default()).await.unwrap()
}

fn full(result: Result<(), StoreError>, expected: &str) {
    assert!(matches!(&result, Err(StoreError::Full(text)) if text.contains(expected)), "{result:?}");
}

#[tokio::test]
async fn a_full_queue_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_bounded(folder.path(), Bounds { queue_bytes: 10_000, ..Bounds::default() }).await;
    full(journal.has_room(10_000), "queue");
    full(journal.append(Bytes::from(vec![0; 10_000])).await, "queue");
    // On this thread the writer's answers are not taken while the appends are made: each takes its room at once.
    let mut appends: Vec<_> = (0..20).map(|_| journal.append(Bytes::from(vec![1; 1000]))).collect();
    let mut taken = 0;
    let mut results = Vec::new();
    for append in &mut appends {
        let now = std::future::poll_fn(|context| std::task::Poll::Ready(append.as_mut().poll(context))).await;
        match now {
            std::task::Poll::Pending => taken += 1,
            std::task::Poll::Ready(result) => results.push(result),
        }
    }
    let refused = results.iter().filter(|result| matches!(result, Err(StoreError::Full(_)))).count();
    drop(appends);
    assert!(taken >= 8, "{taken} taken");
    assert!(results.len() == refused, "only refusals are answered at once");
    until(async || journal.health().queue_bytes == 0).await;
    let (records, _) = read_all(&journal, 0).await.unwrap();
    assert_eq!(records.len(), taken, "what was refused is not in the journal");
    journal.append(Bytes::from(vec![2; 1000])).await.unwrap();
}

#[tokio::test]
async fn the_journals_bound_holds_until_batches_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_bounded(folder.path(), Bounds { journal_bytes: 1 << 20, ..Bounds::default() }).await;
    let key = convizit_keys::DataKey::ephemeral(0).unwrap();
    // Sealed bytes do not compress.
    let place = convizit_keys::Place { table: "test", purpose: "test", row: b"" };
    let noise = Bytes::from(key.seal(place, &[0; 30_000]).unwrap());
    let mut last = 0;
    let error = loop {
        match journal.append(noise.clone()).await {
            Ok(()) => last += 1,
            Err(error) => break Err(error),
        }
        assert!(last < 100, "no bound");
    };
    full(error, "worker is behind");
    assert!(last >= 25, "full after {last} of about 35");
    full(journal.has_room(1), "worker is behind");
    journal.forget_through(last);
    until(async || journal.has_room(1).is_ok()).await;
    journal.append(noise.clone()).await.unwrap();
    assert_eq!(journal.read(last, 1).await.unwrap()[0].records, [noise]);
}

#[tokio::test]
async fn the_disks_reserve_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_bounded(folder.path(), Bounds { reserve_bytes: u64::MAX, ..Bounds::default() }).await;
    full(journal.has_room(1), "reserve");
    full(journal.append(record(1)).await, "reserve");
    assert_eq!(journal.health().offset, 0);
}

#[tokio::test]
async fn a_full_disk_refuses_and_accepts_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    // SQLite answers a file at its page limit as it answers a full disk: SQLITE_FULL at commit.
    let journal = open_bounded(folder.path(), Bounds { file_pages: 60, ..Bounds::default() }).await;
    let noise = || Bytes::from(convizit_keys::random_text(15_000).unwrap());
    let mut answered = Vec::new();
    let error = loop {
        let record = noise();
        match journal.append(record.clone()).await {
            Ok(()) => answered.push(record),
            Err(error) => break error,
        }
    };
    full(Err(error), "full");
    let reason = journal.health().failing.unwrap();
    assert!(reason.contains("cannot be written"), "{reason}");
    full(journal.has_room(1), "cannot be written");
    let (records, last) = read_all(&journal, 0).await.unwrap();
    assert_eq!(records, answered, "reading goes on, and what was answered is there");
    journal.forget_through(last);
    let record = noise();
    until(async || journal.append(record.clone()).await.is_ok()).await;
    assert_eq!(journal.health().failing, None);
    assert_eq!(journal.read(last, 1).await.unwrap()[0].records, [record]);
}

#[tokio::test]
async fn a_second_appender_is_refused_but_reads_and_takes_over() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let first = open(folder.path(), &keys).await.unwrap();
    let second = open(folder.path(), &keys).await.unwrap();
    append_each(&first, 0..3).await;
    full(second.append(record(9)).await, "another process");
    tokio::time::timeout(Duration::from_secs(5), second.wait(2)).await.unwrap();
    assert_eq!(read_all(&second, 0).await.unwrap().0, (0..3).map(record).collect::<Vec<_>>());
    first.close().await;
    full(first.append(record(9)).await, "closed");
    until(async || second.append(record(3)).await.is_ok()).await;
    assert_eq!(read_all(&second, 0).await.unwrap(), ((0..4).map(record).collect(), 4));
}

#[tokio::test]
async fn forgotten_batches_are_dropped_and_the_chain_goes_on() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    append_each(&journal, 0..200).await;
    journal.forget_through(150);
    let mut sql = behind(folder.path()).await;
    until(async || {
        let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM journal").fetch_one(&mut sql).await.unwrap();
        rows == 51
    })
    .await;
    assert_eq!(read_all(&journal, 150).await.unwrap().0, (150..200).map(record).collect::<Vec<_>>());
    let error = journal.read(100, 1000).await.unwrap_err().to_string();
    assert!(error.contains("missing"), "an older reader is told: {error}");
    journal.forget_through(200);
    journal.close().await;
    let journal = open_at(folder.path(), &keys, Start { processed: 200, accept_gap: false }).await.unwrap();
    journal.forget_through(200);
    append_each(&journal, 200..201).await;
    assert_eq!(read_all(&journal, 200).await.unwrap(), (vec![record(200)], 201));
}

#[tokio::test]
async fn a_journal_and_a_worker_of_different_times_are_refused() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open_at(folder.path(), &keys, Start { processed: 700, accept_gap: false }).await.unwrap();
    append_each(&journal, 0..2).await;
    assert_eq!(read_all(&journal, 700).await.unwrap().1, 702, "a new journal begins after what is processed");
    journal.close().await;
    let open = |processed, accept_gap| open_at(folder.path(), &keys, Start { processed, accept_gap });
    let error = open(703, false).await.err().unwrap().to_string();
    assert!(error.contains("ends at batch 702, but batch 703 is already processed"), "{error}");
    let journal = open(710, true).await.unwrap();
    append_each(&journal, 5..6).await;
    assert_eq!(read_all(&journal, 710).await.unwrap(), (vec![record(5)], 711));
}

#[tokio::test]
async fn a_newer_schema_a_foreign_file_and_another_key_file_are_refused() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    append_each(&journal, 0..2).await;
    journal.close().await;
    let error = open(folder.path(), &Arc::new(KeyRing::ephemeral().unwrap())).await.err().unwrap().to_string();
    assert!(error.contains("the keys in control.db"), "{error}");
    let mut sql = behind(folder.path()).await;
    sqlx::raw_sql("PRAGMA user_version = 2").execute(&mut sql).await.unwrap();
    let error = open(folder.path(), &keys).await.err().unwrap().to_string();
    assert!(error.contains("schema 2") && error.contains("newer build"), "{error}");
    sql.close().await.unwrap();
    for log in ["journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(log));
    }
    std::fs::write(folder.path().join("journal.db"), vec![b'x'; 20_000]).unwrap();
    let error = open(folder.path(), &keys).await.err().unwrap().to_string();
    assert!(error.contains("journal.db is damaged") && error.contains("move it away"), "{error}");
}

#[tokio::test]
async fn after_a_backlog_the_disk_gets_its_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_bounded(folder.path(), Bounds::default()).await;
    let noise = Bytes::from(convizit_keys::random_text(1 << 20).unwrap());
    for _ in 0..70 {
        journal.append(noise.clone()).await.unwrap();
    }
    let length = || std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    until(async || length() > 66 << 20).await;
    journal.forget_through(70);
    until(async || length() < 66 << 20).await;
    assert!(journal.health().journal_bytes < 1 << 20, "{:?}", journal.health());
}

#[tokio::test]
async fn a_damaged_batch_is_passed_over_once_a_person_accepts_it() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), Arc::new(KeyRing::ephemeral().unwrap()));
    let journal = open(folder.path(), &keys).await.unwrap();
    append_each(&journal, 0..6).await;
    journal.close().await;
    let mut sql = behind(folder.path()).await;
    let mut sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM journal WHERE batch = 3").fetch_one(&mut sql).await.unwrap();
    sealed[20] ^= 1;
    sqlx::query("UPDATE journal SET sealed = $1 WHERE batch = 3").bind(sealed).execute(&mut sql).await.unwrap();
    let after_two = Start { processed: 2, accept_gap: false };
    let journal = open_at(folder.path(), &keys, after_two).await.unwrap();
    let error = journal.read(2, 10_000).await.unwrap_err().to_string();
    assert!(error.contains("journal batch 3 is damaged") && error.contains("--accept-gap"), "{error}");
    journal.close().await;
    let journal = open_at(folder.path(), &keys, Start { accept_gap: true, ..after_two }).await.unwrap();
    assert_eq!(journal.begins_after(), 3);
    assert_eq!(read_all(&journal, 3).await.unwrap(), ([3, 4, 5].map(record).to_vec(), 6));
}
