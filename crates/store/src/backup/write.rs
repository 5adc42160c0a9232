//! Writing a backup: what the journal still holds, then the rows of one moment, then the copy of keys and erasures, then the
//! manifest. Each frame is opened before it is packed, each pack is read back from where it was written; between packs it rests, so that ingestion goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convizit_keys::KeyRing;
use convizit_model::{NoticeKind, Timestamp};
use futures_util::TryStreamExt as _;

use super::check::info;
use super::opening::{Damaged, Opened, Opener, key_of_day, open_frames};
use super::pack::{self, Cell, Manifest, PACK_BYTES, Pack, PackRef, Part, What, pack_name};
use super::plan::{FINGERPRINTS, days_of_frames, is_as_before};
use super::snapshot::Snapshot;
use super::tables::{CONTROL, DATA, FRAMES, JOURNAL, Table};
use super::target::Target;
use super::{
    BackupReport, GONE, Keep, Listed, Progress, VerifyReport, listed, manifest_name, manifests, read_manifest,
};
use crate::Store;
use crate::error::StoreError;

/// How long the worker may take to process what was acknowledged; what it has not goes into the backup as it is.
const WORKER: Duration = Duration::from_secs(30);
/// A worker that has not moved for so long does not run.
const STUCK: Duration = Duration::from_secs(2);
/// Bytes that a backup reads in a microsecond at most while events come in, so that 1 GB takes 50 s: whatever a pack costs, the rest of
/// its time is theirs.
const PACE: u64 = 20;
/// Within this time a process sees what another has appended to the journal before.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes of the journal that are read at once.
const JOURNAL_BYTES: usize = 4 << 20;
/// Tries to read the journal while the worker drops what it has processed.
const TRIES: usize = 20;

pub(super) async fn run(store: &Store, progress: &Progress) -> Result<BackupReport, StoreError> {
    let started = Instant::now();
    let made = store.clock().now();
    let config = store.makes_backups_at()?;
    let target = Target::open(&config.to, true)?;
    let before = manifests(&target).await?;
    for (_, name) in &before {
        if let Some(bytes) = target.get(name).await? {
            pack::refuse_foreign(store.ring(), What::Manifest, (name, &target.shown), &bytes)?;
        }
    }
    let gone = if before.is_empty() { store.last_made_at(&target).await? } else { None };
    store.refuse_anothers_place(&target, &before).await?;
    store.refuse_anothers_copy(&config.keys_to).await?;
    // Of one that cannot be read nothing is taken over; what is whole of it is found again by its content.
    let last = listed(&target, store.ring()).await?.into_iter().rev().find_map(|backup| backup.manifest.ok());
    let mut writer = Writer {
        known: target.list("packs").await?,
        // What a drill found damaged is not to be taken over again.
        trusts: store.backup_state().drill_problem.is_none(),
        ring: store.ring().clone(),
        target: target.clone(),
        made,
        progress,
        written: 0,
        bytes: 0,
        damaged: Damaged::default(),
        rested: Instant::now(),
        store,
        came: (0, 0),
    };
    let mut parts = Vec::new();
    let end = journal_end(store).await;
    wait_for_worker(store, end).await?;
    writer.rested = Instant::now();
    parts.extend(writer.journal(store, end).await?);
    let mut data = Snapshot::of(store.data()).await?;
    let [journal_offset] = data.numbers("SELECT journal_offset FROM worker WHERE id = 0").await?;
    let [erasure] = data.numbers("SELECT COALESCE(MAX(number), 0) FROM erasures").await?;
    let [erased] = data
        .numbers("SELECT COALESCE(MIN(number) - 1, (SELECT COALESCE(MAX(number), 0) FROM erasures)) FROM erasures WHERE state = 'open' OR forgotten = 0")
        .await?;
    parts.extend(writer.frames(store, &mut data, last.as_ref()).await?);
    for table in DATA {
        parts.push(writer.whole(&mut data, table).await?);
    }
    data.end().await?;
    let mut control = Snapshot::of(store.control()).await?;
    for table in CONTROL {
        parts.push(writer.whole(&mut control, table).await?);
    }
    control.end().await?;
    // After the snapshots, so that every key that sealed a row of theirs is in it.
    let ledger = store.copy_ledger().await?;
    let manifest = Manifest {
        made: made.as_millis(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        journal_offset: journal_offset.cast_unsigned(),
        ledger,
        erasure,
        erased,
        parts,
    };
    let name = manifest_name(made, &convizit_keys::random_text(6)?.to_lowercase());
    let plain = pack::encode(&manifest)?;
    let sealed = Bytes::from(pack::seal(store.ring(), made, (What::Manifest, name.as_bytes()), &plain)?);
    let info = info(&name, &manifest);
    let (written, bytes, damaged) = (writer.written, writer.bytes, writer.damaged);
    let detail = format!(
        "{} events and {} rows in {} bytes, {bytes} of them written anew, to {}{}",
        info.events,
        info.rows,
        info.bytes,
        target.shown,
        if damaged.is_none() { String::new() } else { format!("; {} frames do not open", damaged.count) }
    );
    // Before: whose a manifest is, is known by its entry.
    store.audit("backup.make", "", &name, detail).await?;
    target.put(&name, sealed).await?;
    if read_manifest(&target, store.ring(), &name).await? != manifest {
        target.delete(&name).await?;
        return Err(differs(&name));
    }
    store.take_backups().await?;
    if let Some(older) = gone {
        let text = format!(
            "none of the older backups lies in {} any more, the last of which was {older}: where a disk is not mounted or a bucket was changed, \
             set that right; {name} was made there all the same",
            target.shown
        );
        store.raise(NoticeKind::Backup, None, GONE, &text).await?;
    }
    // Older backups have it whole, perhaps.
    let keeps_all = store.keeps_all_backups().await?;
    let mut beside = VerifyReport::default();
    store.verify_beside(&store.projects().await?, &mut beside).await?;
    let drops = damaged.is_none() && beside.problem_count == 0 && keeps_all.is_none();
    let dropped = if drops { prune(store, &target, made).await? } else { 0 };
    Ok(BackupReport {
        made,
        events: info.events,
        packs: manifest.packs().count() as u64,
        written,
        bytes,
        dropped,
        keeps_all,
        damaged: damaged.count,
        problems: damaged.said,
        damaged_beside: beside.problem_count,
        problems_beside: beside.problems,
        seconds: started.elapsed().as_secs_f64(),
        name,
    })
}

fn differs(name: &str) -> StoreError {
    StoreError::Database {
        action: "read back what was written",
        problem: format!("{name} is not what was written there"),
    }
}

/// The journal's end, not before the moment of asking: where another process appends, this one looks only now and then.
async fn journal_end(store: &Store) -> u64 {
    let known = store.health().journal_offset;
    tokio::time::timeout(LOOK, store.journal_wait(known)).await.ok();
    store.health().journal_offset
}

/// How far events have come in: what this process has appended to the journal, and what the worker of any process has stored, since one
/// that does not append learns nothing of the journal by itself.
async fn came(store: &Store) -> Result<(u64, u64), StoreError> {
    Ok((store.health().journal_offset, store.worker_offset().await?))
}

/// Waits until the worker has processed what was acknowledged before, as long as it moves.
async fn wait_for_worker(store: &Store, target: u64) -> Result<(), StoreError> {
    let (begun, mut moved, mut last) = (Instant::now(), Instant::now(), 0);
    loop {
        let offset = store.worker_offset().await?;
        if offset != last {
            (moved, last) = (Instant::now(), offset);
        }
        if offset >= target || begun.elapsed() > WORKER || moved.elapsed() > STUCK {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Writer<'p> {
    /// Files of packs that are there, and their sizes.
    known: BTreeMap<String, u64>,
    /// Whether a pack that is there is taken for whole.
    trusts: bool,
    ring: Arc<KeyRing>,
    target: Target,
    made: Timestamp,
    progress: &'p Progress,
    written: u64,
    bytes: u64,
    damaged: Damaged,
    /// When the last rest ended.
    rested: Instant,
    store: &'p Store,
    /// How far events had come at the last rest.
    came: (u64, u64),
}

/// Rows on their way into packs.
struct Filling {
    table: &'static str,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
    packs: Vec<PackRef>,
    /// Rows and events by project.
    counts: HashMap<i64, (u64, i64)>,
    /// What opens its frames.
    opener: Option<Opener>,
}

impl Filling {
    fn new(table: &'static str, columns: Vec<String>) -> Self {
        Self { table, columns, rows: Vec::new(), bytes: 0, packs: Vec::new(), counts: HashMap::new(), opener: None }
    }

    fn part(self, (project, day): (i64, i64), fingerprint: Vec<i64>) -> Part {
        let mut counts: Vec<_> =
            self.counts.into_iter().map(|(project, (rows, events))| (project, rows, events)).collect();
        counts.sort_unstable();
        Part { table: self.table.to_owned(), project, day, fingerprint, packs: self.packs, counts }
    }
}

impl Writer<'_> {
    /// What the journal holds behind the worker. Read before the snapshot: what the worker processes meanwhile is in that, and its
    /// batches are dropped, so that they could not be read afterwards.
    async fn journal(&mut self, store: &Store, target: u64) -> Result<Option<Part>, StoreError> {
        for _ in 0..TRIES {
            let mut after = store.worker_offset().await?;
            let mut filling = Filling::new(JOURNAL, vec!["batch".to_owned(), "record".to_owned()]);
            let whole = loop {
                match store.journal_read(after, JOURNAL_BYTES).await {
                    Ok(batches) => {
                        let Some(last) = batches.last() else { break true };
                        after = last.offset;
                        for batch in batches {
                            for record in batch.records {
                                let row = vec![Cell::Int(batch.offset.cast_signed()), Cell::Bytes(record)];
                                self.take(&mut filling, row, 0).await?;
                            }
                        }
                        // What comes later belongs to the next backup.
                        if after >= target {
                            break true;
                        }
                    }
                    // The worker has processed them meanwhile: what is left is behind where it stands now.
                    Err(StoreError::Unusable(_)) if store.worker_offset().await? > after => break false,
                    Err(error) => return Err(error),
                }
            };
            if whole {
                self.flush(&mut filling).await?;
                return Ok((!filling.packs.is_empty()).then(|| filling.part((0, 0), Vec::new())));
            }
        }
        Err(StoreError::Database {
            action: "back up the journal",
            problem: "the worker was faster each time: try again".to_owned(),
        })
    }

    /// Frames by project and day; those that are as they were in the last backup are taken over unread.
    /// Each frame is opened before it is packed.
    async fn frames(
        &mut self,
        store: &Store,
        data: &mut Snapshot,
        last: Option<&Manifest>,
    ) -> Result<Vec<Part>, StoreError> {
        let before = days_of_frames(last);
        let fingerprints = data.all_numbers::<7>(FINGERPRINTS).await?;
        self.progress.expect(fingerprints.iter().map(|[.., bytes]| bytes.cast_unsigned()).sum());
        let mut parts = Vec::with_capacity(fingerprints.len());
        for [project, day, fingerprint @ ..] in fingerprints {
            let bytes = fingerprint[4].cast_unsigned();
            if let Some(part) = before.get(&(project, day))
                && self.trusts
                && is_as_before(part, fingerprint, &self.known)
            {
                parts.push((*part).clone());
                self.progress.add(bytes);
                continue;
            }
            let mut filling = Filling::new(FRAMES.name, FRAMES.names());
            let damaged_before = self.damaged.count;
            match store.keyring().day(project, day).await {
                Ok(key) => filling.opener = Some(Opener::new(store, (project, day), key)),
                // Destroyed since the snapshot: a restore leaves out what it sealed.
                Err(StoreError::KeyGone { .. }) => {}
                Err(error) => self.damaged.add(key_of_day(store, (project, day), &error)),
            }
            let mut rows = data.rows(&FRAMES, Some(("project = $1 AND day = $2", [project, day])));
            while let Some(row) = rows.try_next().await? {
                self.progress.add(row.iter().map(Cell::size).sum::<usize>() as u64);
                self.take(&mut filling, row, project).await?;
            }
            drop(rows);
            self.flush(&mut filling).await?;
            // What is damaged is looked at again each time.
            let is_whole = self.damaged.count == damaged_before;
            parts.push(filling.part((project, day), if is_whole { fingerprint.to_vec() } else { Vec::new() }));
        }
        Ok(parts)
    }

    /// A whole table.
    async fn whole(&mut self, snapshot: &mut Snapshot, table: &'static Table) -> Result<Part, StoreError> {
        let mut filling = Filling::new(table.name, table.names());
        let project = table.columns.iter().position(|column| *column == ("project", super::tables::Kind::Int));
        let mut rows = snapshot.rows(table, None);
        while let Some(row) = rows.try_next().await? {
            let of = project.and_then(|at| row.get(at)).map_or(0, Cell::int);
            self.take(&mut filling, row, of).await?;
        }
        drop(rows);
        self.flush(&mut filling).await?;
        Ok(filling.part((0, 0), Vec::new()))
    }

    async fn take(&mut self, into: &mut Filling, row: Vec<Cell>, project: i64) -> Result<(), StoreError> {
        into.bytes += row.iter().map(Cell::size).sum::<usize>();
        into.rows.push(row);
        into.counts.entry(project).or_default().0 += 1;
        if into.bytes >= PACK_BYTES { self.flush(into).await } else { Ok(()) }
    }

    /// Writes what waits as a pack, unless it is there already.
    async fn flush(&mut self, from: &mut Filling) -> Result<(), StoreError> {
        if from.rows.is_empty() {
            return Ok(());
        }
        let rows = from.rows.len() as u64;
        let pack =
            Pack { table: from.table.to_owned(), columns: from.columns.clone(), rows: std::mem::take(&mut from.rows) };
        let read = std::mem::take(&mut from.bytes) as u64;
        let (ring, made, opener) = (self.ring.clone(), self.made, from.opener.clone());
        let (id, sealed, opened) = blocking(move || {
            let opened = opener.map(|opener| open_frames(&opener, &pack));
            let plain = pack::encode(&pack)?;
            let id = pack::id_of(&ring, &plain);
            Ok((id, pack::seal(&ring, made, (What::Pack, &id), &plain)?, opened))
        })
        .await?;
        if let Some(Opened { project, events, damaged, .. }) = opened {
            from.counts.entry(project).or_default().1 += events;
            self.damaged.join(damaged);
        }
        let (name, bytes) = (pack_name(&id), sealed.len() as u64);
        let of = PackRef { id, rows, bytes };
        let is_there =
            self.known.get(&name) == Some(&bytes) && (self.trusts || self.read_back(&of, &name).await.is_ok());
        if !is_there {
            self.target.put(&name, Bytes::from(sealed)).await?;
            self.read_back(&of, &name).await?;
            self.known.insert(name, bytes);
            self.written += 1;
            self.bytes += bytes;
        }
        from.packs.push(of);
        let came = came(self.store).await?;
        if std::mem::replace(&mut self.came, came) != came {
            // Its rows were read since the last rest, which is work as well.
            tokio::time::sleep(Duration::from_micros(read / PACE).saturating_sub(self.rested.elapsed())).await;
        }
        self.rested = Instant::now();
        Ok(())
    }

    /// Whether a pack opens and is what its name says.
    async fn read_back(&self, of: &PackRef, name: &str) -> Result<(), StoreError> {
        let bytes = self.target.get(name).await?.ok_or_else(|| differs(name))?;
        let (ring, of, named) = (self.ring.clone(), of.clone(), name.to_owned());
        blocking(move || {
            let plain = pack::open(&ring, &named, (What::Pack, &of.id), &bytes)?;
            if pack::id_of(&ring, &plain) == of.id { Ok(()) } else { Err(differs(&named)) }
        })
        .await
    }
}

/// Work that takes the processor, on a thread where nobody waits for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Database { action: "back up", problem: "it ended in a panic".to_owned() })?
}

/// The names of the backups that the schedule does not keep; with `next`, once another one was made then. Whatever cannot be read
/// takes no place from what can.
pub(super) fn going(keep: Keep, all: &[Listed], next: Option<Timestamp>) -> BTreeSet<&str> {
    let kept = |which: &dyn Fn(&Listed) -> bool| -> BTreeSet<&str> {
        let those: Vec<&Listed> =
            all.iter().filter(|backup| which(backup) && next.is_none_or(|next| backup.made < next)).collect();
        let times: Vec<Timestamp> = those.iter().map(|backup| backup.made).chain(next).collect();
        those.iter().zip(keep.kept(&times)).filter(|(_, keep)| *keep).map(|(backup, _)| backup.name.as_str()).collect()
    };
    let (readable, any) = (kept(&|backup| backup.manifest.is_ok()), kept(&|_| true));
    let before = all.iter().filter(|backup| next.is_none_or(|next| backup.made < next));
    before.map(|backup| backup.name.as_str()).filter(|name| !readable.contains(name) && !any.contains(name)).collect()
}

/// Drops the backups that the schedule does not keep, then the packs that none names any more; returns how many backups.
async fn prune(store: &Store, target: &Target, made: Timestamp) -> Result<u64, StoreError> {
    let Some(config) = store.backup_config() else { return Ok(0) };
    let all = listed(target, store.ring()).await?;
    let mut going = going(config.keep, &all, None);
    // One of a clock that ran ahead is no reason to drop the newest.
    going.retain(|name| all.iter().any(|backup| backup.name == *name && backup.made < made));
    for name in &going {
        let Keep { daily, weekly, monthly } = config.keep;
        let why = format!(
            "there is a later one of its day, week and month, or it is older than the {daily} days, {weekly} weeks and {monthly} months of \
             which the last is kept"
        );
        store.audit("backup.drop", "", name, why).await?;
        target.delete(name).await?;
    }
    let (mut needed, mut unreadable) = (BTreeSet::new(), false);
    for backup in all.iter().filter(|backup| !going.contains(backup.name.as_str())) {
        match &backup.manifest {
            Ok(manifest) => needed.extend(manifest.packs().map(|pack| pack_name(&pack.id))),
            Err(error) => {
                tracing::warn!(%error, "no pack is dropped while a backup cannot be read");
                unreadable = true;
            }
        }
    }
    if !unreadable {
        for name in target.list("packs").await?.into_keys().filter(|name| !needed.contains(name)) {
            target.delete(&name).await?;
        }
    }
    Ok(going.len() as u64)
}

#[cfg(test)]
mod tests {
    use convizit_keys::{ProviderConfig, open_provider};
    use convizit_model::Work;

    use super::*;
    use crate::{StoreConfig, SystemClock};

    /// `convizit backup` beside a server that takes events is as gentle as that server's own.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_comes_in_by_another_process_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let provider = open_provider(&ProviderConfig::File { path: folder.path().join("keys") }).unwrap();
        let open = || Store::open(StoreConfig::in_folder(folder.path()), provider.clone(), Arc::new(SystemClock));
        let serving = open().await.unwrap();
        let backing = open().await.unwrap();
        let mut before = came(&backing).await.unwrap();
        for from in 0..2 {
            serving.journal_append(Bytes::from_static(b"a record")).await.unwrap();
            serving.commit_work(Work { from, to: from + 1, projects: Vec::new() }).await.unwrap();
            let now = came(&backing).await.unwrap();
            assert_ne!(now, before, "batch {from} is not seen");
            assert_eq!(came(&backing).await.unwrap(), now, "nothing has come");
            before = now;
        }
    }
}
