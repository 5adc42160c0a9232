//! `backup`: how long a backup and a restore of so much data take, and by how much a running backup slows what comes in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use convizit_keys::{KeyProvider, ProviderConfig, open_provider, random_bytes, random_text};
use convizit_model::{EventId, NewEvent, Project, ProjectSettings, ProjectWork, Timestamp, Work};
use convizit_store::backup::{BackupConfig, BackupReport, Keep, Progress, Restore};
use convizit_store::{Store, StoreConfig, SystemClock};
use serde_json::json;

use crate::table::{Table, count, note, say};
use crate::{load, machine, server};

/// Events of a transaction while filling, and while backups run.
const FILLING: usize = 1_000;
const COMING: usize = 100;

/// Fills a data folder, then measures backups, ingestion beside them, and a restore.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Megabytes of frames.
    #[arg(long, default_value_t = 1_000)]
    megabytes: u64,
    /// Characters of each event that cannot be compressed to less than three quarters.
    #[arg(long, default_value_t = 200)]
    random: usize,
    /// Days that the events are of.
    #[arg(long, default_value_t = 30)]
    days: i64,
    /// Seconds of ingestion without a backup, before and after.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

struct Place {
    config: StoreConfig,
    provider: Arc<dyn KeyProvider>,
}

impl Backup {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let place = Place::new(folder.path())?;
        let store = Store::open(place.config.clone(), place.provider.clone(), Arc::new(SystemClock)).await?;
        let shop = store.create_project(&"shop".parse()?, ProjectSettings::default()).await?;
        let (events, bytes) = self.fill(&store, &shop, &place.config.folder).await?;
        let mut table = Table::new(&["what", "seconds", "events", "MB", "packs written", "of packs"]);
        let row = |what: &str, report: &BackupReport| {
            let megabytes = report.bytes as f64 / 1e6;
            let cells = [report.seconds, report.events as f64, megabytes, report.written as f64, report.packs as f64];
            let [seconds, rest @ ..] = cells;
            let rest = rest.into_iter().map(count);
            [what.to_owned(), format!("{seconds:.1}")].into_iter().chain(rest).collect::<Vec<_>>()
        };
        note("the first backup, nothing beside it");
        let first = store.back_up(&Progress::default()).await?;
        table.row(row("first backup", &first));
        note("the second, of what is new");
        table.row(row("second backup", &store.back_up(&Progress::default()).await?));
        std::fs::remove_dir_all(folder.path().join("backups"))?;
        let speeds =
            self.beside(&store, &shop, &mut |report| table.row(row("first backup, beside ingestion", report))).await?;
        let stored = store.last_event(shop.number).await?;
        note("restoring");
        store.back_up(&Progress::default()).await?;
        store.close().await;
        let into = StoreConfig { folder: folder.path().join("restored"), ..place.config.clone() };
        let started = Instant::now();
        let plan =
            Restore::plan(into, place.provider.clone(), Arc::new(SystemClock), None, &Progress::default()).await?;
        let looked = started.elapsed().as_secs_f64();
        let report = plan.run("bench", &Progress::default()).await?;
        let back: i64 = report.events.iter().map(|(_, events)| events).sum();
        ensure!(back == stored, "{back} events came back of {stored}");
        let cells = ["restore".to_owned(), format!("{:.1}", started.elapsed().as_secs_f64()), count(back as f64)];
        table.row(cells.into_iter().chain(std::iter::repeat_n(String::new(), 3)).collect());
        table.print(&format!(
            "{} events in {:.0} MB of frames ({:.0} bytes each), SQLite, a folder on the same disk; of the restore {looked:.1} s to look at every pack",
            count(events as f64),
            bytes as f64 / 1e6,
            bytes as f64 / events as f64
        ));
        let mut table = Table::new(&["ingestion", "events/s", "share"]);
        let [before, during, after] = speeds;
        let alone = f64::midpoint(before, after);
        for (what, speed) in [("before", before), ("while a backup runs", during), ("after", after)] {
            table.row(vec![what.to_owned(), count(speed), format!("{:.0} %", speed * 100.0 / alone)]);
        }
        table.print("Journal and worker's transaction, one after the other, as fast as they go: the share is of the mean of before and after");
        Ok(())
    }

    async fn fill(&self, store: &Store, shop: &Project, folder: &Path) -> Result<(u64, u64)> {
        let (mut offset, mut events) = (0, 0_u64);
        let today = load::now() / 86_400_000;
        let data = folder.join("data.db");
        let started = Instant::now();
        loop {
            let size = std::fs::metadata(&data)?.len();
            // Of the file about nine tenths are frames; seen ids are the rest.
            let wanted = self.megabytes * 1_000_000 * 100 / 90;
            let day = today - (self.days - 1).max(0)
                + i64::try_from(size * self.days.unsigned_abs() / wanted.max(1))?.min(self.days - 1);
            if size >= wanted {
                break;
            }
            let made = self.events(day * 86_400_000 + 1_000, FILLING)?;
            events += made.len() as u64;
            commit(store, shop, offset, made).await?;
            offset += 1;
            if offset % 200 == 0 {
                note(&format!("{:.0} MB, {:.0} s", size as f64 / 1e6, started.elapsed().as_secs_f64()));
            }
        }
        Ok((events, std::fs::metadata(&data)?.len() - events * 25))
    }

    fn events(&self, millis: i64, many: usize) -> Result<Vec<NewEvent>> {
        (0..many)
            .map(|_| {
                let mut id = [0; 16];
                id.copy_from_slice(random_bytes::<16>()?.as_slice());
                id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
                (id[6], id[8]) = (0x70 | (id[6] & 15), 0x80 | (id[8] & 63));
                let id = EventId::from_bytes(id)?;
                let time = Timestamp::from_millis(millis);
                let visitor = random_text(16)?;
                let json = json!({
                    "id": id, "project": "shop", "source": "convizit", "schema": 1, "name": "Add To Cart Button",
                    "name_state": "published", "type": "click", "time": time, "received": time, "visitor": visitor,
                    "session": {"id": "s", "start": time}, "user": null, "consent": {"analytics": true, "ads": null, "gpc": false},
                    "page": {"url": "https://shop.example/", "path": "/", "title": null, "type": null, "language": null, "referrer": null},
                    "properties": {"random": random_text(self.random)?}, "device": {"platform": "web"},
                    "location": {"country": null, "region": null}
                });
                let (hour, day) = (time.hour(), time.day());
                Ok(NewEvent { id, name: 1, hour, day, visitor, user: None, since: time, json: serde_json::to_vec(&json)? })
            })
            .collect()
    }

    /// Events a second before, while and after a backup is made.
    async fn beside(&self, store: &Store, shop: &Project, made: &mut impl FnMut(&BackupReport)) -> Result<[f64; 3]> {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        // Made ahead, so that only the store is measured; ids repeat in none.
        let offset = store.worker_offset().await?;
        let coming = {
            let (store, shop, stop, done) = (store.clone(), shop.clone(), stop.clone(), done.clone());
            let this = Self { ..*self };
            tokio::spawn(async move {
                let mut offset = offset;
                while !stop.load(Ordering::Acquire) {
                    let events = this.events(load::now(), COMING)?;
                    commit(&store, &shop, offset, events).await?;
                    done.fetch_add(COMING as u64, Ordering::AcqRel);
                    offset += 1;
                }
                anyhow::Ok(())
            })
        };
        let now = || (Instant::now(), done.load(Ordering::Acquire));
        let speed = |(begun, before): (Instant, u64)| (now().1 - before) as f64 / begun.elapsed().as_secs_f64();
        let alone = Duration::from_secs(self.seconds);
        tokio::time::sleep(Duration::from_secs(2)).await;
        note("ingestion alone");
        let begun = now();
        tokio::time::sleep(alone).await;
        let before = speed(begun);
        note("ingestion beside a backup");
        let begun = now();
        made(&store.back_up(&Progress::default()).await?);
        let during = speed(begun);
        let begun = now();
        tokio::time::sleep(alone).await;
        let after = speed(begun);
        stop.store(true, Ordering::Release);
        coming.await??;
        Ok([before, during, after])
    }
}

impl Place {
    fn new(folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        let provider = open_provider(&ProviderConfig::File { path: folder.join("key") })?;
        let text = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let backup = BackupConfig {
            to: text("backups"),
            keys_to: text("backup-keys"),
            keep: Keep::default(),
            hour: 3,
            makes: true,
        };
        Ok(Self { config: StoreConfig { backup: Some(backup), ..StoreConfig::in_folder(&data) }, provider })
    }
}

async fn commit(store: &Store, shop: &Project, offset: u64, events: Vec<NewEvent>) -> Result<()> {
    let record: Vec<u8> = events.iter().flat_map(|event| event.json.iter().copied()).take(100_000).collect();
    store.journal_append(record.into()).await?;
    let share = ProjectWork {
        number: shop.number,
        project: shop.id.clone(),
        events,
        rows: Vec::new(),
        outcomes: Vec::new(),
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    store.commit_work(Work { from: offset, to: offset + 1, projects: vec![share] }).await?;
    Ok(())
}
