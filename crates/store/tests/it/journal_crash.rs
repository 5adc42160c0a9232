//! What the journal promises when the process is killed or its files are damaged: answered means there, or its loss is seen.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convizit_keys::{KeyRing, ProjectKey, Secret, random_bytes, random_text};
use convizit_model::Timestamp;
use convizit_store::journal::{Bounds, Journal, SqliteJournal, Start};
use convizit_store::{StoreError, SystemClock};
use sqlx::Connection as _;

const CHILD: &str = "CONVIZIT_JOURNAL_CHILD";

async fn open(folder: &Path) -> Result<SqliteJournal, StoreError> {
    // The same in parent and child.
    let made = Timestamp::from_millis(i64::MAX / 2);
    let own = ProjectKey { number: 1, secret: Secret::new([1; 32]), made, from: made };
    let keys = KeyRing::new([2; 16], &Secret::new([3; 32]), vec![own]).unwrap();
    SqliteJournal::open(folder, Arc::new(keys), Arc::new(SystemClock), Bounds::default(), Start::default()).await
}

async fn read_all(journal: &SqliteJournal) -> Result<Vec<Bytes>, StoreError> {
    let (mut after, mut records) = (0, Vec::new());
    loop {
        let batches = journal.read(after, 1 << 20).await?;
        let Some(last) = batches.last() else { return Ok(records) };
        after = last.offset;
        records.extend(batches.into_iter().flat_map(|batch| batch.records));
    }
}

fn random(below: u64) -> u64 {
    u64::from_be_bytes(*random_bytes().unwrap()) % below
}

/// The child: appends without end and says what was answered.
async fn append_and_tell(folder: &Path) {
    let journal = Arc::new(open(folder).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let journal = Arc::clone(&journal);
        tasks.spawn(async move {
            loop {
                let id = random_text(12).unwrap();
                journal.append(format!("{id} {}", random_text(1500).unwrap()).into()).await.unwrap();
                // Not by a macro: the test harness would keep that back.
                writeln!(std::io::stdout(), "\nanswered {id}").unwrap();
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn nothing_answered_is_lost_or_repeated_when_the_process_is_killed() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return append_and_tell(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = HashSet::new();
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal_crash::nothing_answered_is_lost_or_repeated_when_the_process_is_killed"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kill_after = ledger.len() + 1 + random(1500) as usize;
        let mut killed = false;
        while let Some(Ok(line)) = lines.next() {
            if let Some(id) = line.strip_prefix("answered ").filter(|id| id.len() == 16) {
                ledger.insert(id.to_owned());
            }
            if ledger.len() >= kill_after && !killed {
                // SIGKILL. What it said before is still read.
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed, "the child ended by itself: {}", child.wait().unwrap());
        child.wait().unwrap();
        let started = Instant::now();
        let journal = open(folder.path()).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2), "ready after {:?}", started.elapsed());
        let records = read_all(&journal).await.unwrap();
        let found: HashSet<&str> = records.iter().map(|record| std::str::from_utf8(&record[..16]).unwrap()).collect();
        assert_eq!(found.len(), records.len(), "round {round}: repeated");
        let lost = ledger.iter().filter(|id| !found.contains(id.as_str())).count();
        assert_eq!(lost, 0, "round {round}: of {} answered records, in a journal of {}", ledger.len(), found.len());
        journal.close().await;
    }
}

/// Copies a data folder as a crash would leave it.
fn copy(from: &Path, to: &Path) {
    for file in ["journal.db", "journal.db-wal", "journal.mark"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// Appends, waits for the mark, then flips one bit of the write-ahead log in each of 100 copies. With `moved` the log
/// has been moved into the file before, which makes a damaged log worse: old pages come to lie over newer ones.
async fn flips(moved: bool) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("journal.db"));
    let mut reader = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let mut answered = Vec::new();
    for number in 0..60 {
        let record = Bytes::from(format!("{number} {}", random_text(3000).unwrap()));
        journal.append(record.clone()).await.unwrap();
        answered.push(record);
        if number == 0 && !moved {
            // A reader of this state holds checkpoints back from here on.
            sqlx::raw_sql("BEGIN; SELECT COUNT(*) FROM journal").execute(&mut reader).await.unwrap();
        }
    }
    let started = Instant::now();
    while !std::fs::read_to_string(folder.path().join("journal.mark")).unwrap().contains("mark 1 60 ") {
        assert!(started.elapsed() < Duration::from_millis(1000), "the mark is older than a second");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if moved {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (mut refused, mut whole) = (0, 0);
    for _ in 0..100 {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        let log = damaged.path().join("journal.db-wal");
        let mut bytes = std::fs::read(&log).unwrap();
        let at = random(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random(8);
        std::fs::write(&log, bytes).unwrap();
        match open(damaged.path()).await {
            Err(StoreError::Unusable(_)) => refused += 1,
            Err(other) => panic!("bit at {at}: refused without advice: {other}"),
            Ok(journal) => match read_all(&journal).await {
                Err(StoreError::Unusable(_)) => refused += 1,
                Err(other) => panic!("bit at {at}: refused without advice: {other}"),
                Ok(records) => {
                    assert!(records == answered, "bit at {at}: {} of 60 records without any error", records.len());
                    whole += 1;
                }
            },
        }
    }
    assert_eq!(refused + whole, 100);
    assert!(moved || refused > 50, "only {refused} of 100 flips did harm: the log was not what was flipped");
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_never_hides_a_loss() {
    flips(false).await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_log_that_is_moved_never_hides_a_loss() {
    flips(true).await;
}
