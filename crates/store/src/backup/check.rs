//! Reading a backup again: every pack is there, opens, is what its name says and holds the rows that the manifest counts; and every
//! frame in it opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use convizit_keys::KeyRing;
use convizit_model::Timestamp;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::opening::{Damaged, Days, key_of_day, open_frames};
use super::pack::{Cell, Manifest, Pack, PackRef, Part, damaged as damaged_file, open_pack, pack_name};
use super::tables::{FRAMES, JOURNAL, Kind, table};
use super::target::Target;
use super::write::blocking;
use super::{BackupInfo, Listed, Progress, listed};
use crate::Store;
use crate::error::StoreError;

/// Packs that are read at once.
const AT_ONCE: usize = 2;

/// The packs of a manifest in their order, each with the index of its part; `which` chooses parts.
pub(super) fn packs<'p>(
    target: &Target,
    ring: &Arc<KeyRing>,
    manifest: &Manifest,
    progress: &'p Progress,
    which: impl Fn(&Part) -> bool,
) -> BoxStream<'p, Result<(usize, Pack), StoreError>> {
    let mut wanted = Vec::new();
    for (index, part) in manifest.parts.iter().enumerate().filter(|(_, part)| which(part)) {
        for of in &part.packs {
            let wants =
                Wanted { index, of: of.clone(), table: part.table.clone(), target: target.clone(), ring: ring.clone() };
            wanted.push(wants);
        }
    }
    progress.expect(wanted.iter().map(|wanted| wanted.of.bytes).sum());
    let read = futures_util::stream::iter(wanted).map(Wanted::read).buffered(AT_ONCE);
    read.inspect_ok(|(bytes, ..)| progress.add(*bytes)).map_ok(|(_, index, pack)| (index, pack)).boxed()
}

/// A pack that is to be read.
struct Wanted {
    index: usize,
    of: PackRef,
    table: String,
    target: Target,
    ring: Arc<KeyRing>,
}

impl Wanted {
    /// Its bytes, the index of its part, and what it holds.
    async fn read(self) -> Result<(u64, usize, Pack), StoreError> {
        let Self { index, of, table, target, ring } = self;
        let (name, size) = (pack_name(&of.id), of.bytes);
        let bytes = target.get(&name).await?.ok_or_else(|| {
            StoreError::Unusable(format!("{name} of the backup is missing from {}: take another backup", target.shown))
        })?;
        let pack = blocking(move || {
            let pack = open_pack(&ring, &of, &bytes)?;
            if pack.table == table && is_known(&pack)? { Ok(pack) } else { Err(damaged_file(&name)) }
        });
        Ok((size, index, pack.await?))
    }
}

/// Whether all rows are of a table and of columns that this build knows.
fn is_known(pack: &Pack) -> Result<bool, StoreError> {
    if pack.table == JOURNAL {
        return Ok(pack.rows.iter().all(|row| matches!(row.as_slice(), [Cell::Int(_), Cell::Bytes(_)])));
    }
    let newer = |what: String| {
        StoreError::Unusable(format!(
            "the backup holds {what}, which is of a newer convizit: restore it with that version"
        ))
    };
    let table = table(&pack.table).ok_or_else(|| newer(format!("a table {}", pack.table)))?;
    if let Some(column) = pack.columns.iter().find(|name| !table.columns.iter().any(|(known, _)| known == name)) {
        return Err(newer(format!("a column {column} of table {}", pack.table)));
    }
    Ok(pack.rows.iter().all(|row| table.fits(&pack.columns, row)))
}

/// Rows of a pack by project, as a part counts them.
fn count(pack: &Pack, into: &mut BTreeMap<i64, u64>) {
    let known = table(&pack.table).is_some_and(|table| table.columns.contains(&("project", Kind::Int)));
    let project = pack.at("project").filter(|_| known);
    for row in &pack.rows {
        let project = project.and_then(|at| row.get(at)).map_or(0, Cell::int);
        *into.entry(project).or_default() += 1;
    }
}

/// What was found of a part.
#[derive(Default)]
struct Found {
    rows: BTreeMap<i64, u64>,
    /// Of the frames that were opened.
    events: i64,
    /// Whether every frame of it was opened.
    whole: bool,
    /// Events of frames whose key was destroyed.
    gone: i64,
}

/// Looks at every pack of a backup, and with `days` into every frame whose key was not destroyed. Returns how many events nobody can
/// read any more, since their keys were destroyed.
pub(super) async fn check(
    target: &Target,
    ring: &Arc<KeyRing>,
    (name, manifest): (&str, &Manifest),
    days: Option<Days<'_>>,
    progress: &Progress,
) -> Result<i64, StoreError> {
    let mut found: Vec<Found> = manifest.parts.iter().map(|_| Found { whole: true, ..Found::default() }).collect();
    let mut damaged = Damaged::default();
    let mut packs = packs(target, ring, manifest, progress, |_| true);
    while let Some((index, pack)) = packs.try_next().await? {
        let (Some(found), Some(part)) = (found.get_mut(index), manifest.parts.get(index)) else { continue };
        count(&pack, &mut found.rows);
        let opener = match &days {
            Some(days) if part.table == FRAMES.name => match days.of(part.project, part.day).await {
                Ok(opener) => opener,
                Err(error) => {
                    let (Days::Running(store) | Days::Copied(store, _)) = days;
                    damaged.add(key_of_day(store, (part.project, part.day), &error));
                    None
                }
            },
            _ => None,
        };
        found.whole &= opener.is_some();
        if opener.is_none() && days.is_some() && part.table == FRAMES.name {
            found.gone = part.counts.iter().map(|(.., events)| events).sum();
        }
        if let Some(opener) = opener {
            let opened = blocking(move || Ok(open_frames(&opener, &pack))).await?;
            found.events += opened.events;
            found.whole &= opened.gone == 0;
            found.gone += opened.gone;
            damaged.join(opened.damaged);
        }
    }
    if !damaged.is_none() {
        return Err(StoreError::Unusable(format!(
            "{name} holds frames that do not open ({} in all): {}; take a backup that was made before they were damaged",
            damaged.count,
            damaged.said.join("; ")
        )));
    }
    let gone = found.iter().map(|found| found.gone).sum();
    for (part, found) in manifest.parts.iter().zip(found) {
        let rows = part.counts.iter().map(|(project, rows, _)| (*project, *rows));
        let events: i64 = part.counts.iter().map(|(.., events)| events).sum();
        if !rows.eq(found.rows) || (found.whole && found.events != events) {
            return Err(damaged_file(name));
        }
    }
    Ok(gone)
}

/// A backup that was chosen.
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) manifest: Manifest,
    /// Why newer ones were not taken, newest first.
    pub(super) passed_over: Vec<String>,
}

/// The newest backup that was begun at or before a time and that can be read.
pub(super) async fn newest(target: &Target, ring: &KeyRing, at: Option<Timestamp>) -> Result<Chosen, StoreError> {
    let all = listed(target, ring).await?;
    let Some(oldest) = all.first().map(|backup| backup.made) else {
        return Err(StoreError::Invalid(format!(
            "there is no backup in {}: name the place where they lie with backup.to",
            target.shown
        )));
    };
    let (mut unreadable, mut passed_over) = (None, Vec::new());
    for backup in all.into_iter().rev().filter(|backup| at.is_none_or(|at| backup.made <= at)) {
        match backup.manifest {
            Ok(manifest) => return Ok(Chosen { name: backup.name, manifest, passed_over }),
            Err(error) => {
                passed_over.push(error.to_string());
                unreadable.get_or_insert(error);
            }
        }
    }
    Err(unreadable
        .unwrap_or_else(|| StoreError::Invalid(format!("there is no backup of that time: the oldest is of {oldest}"))))
}

pub(super) fn info(name: &str, manifest: &Manifest) -> BackupInfo {
    let counts = manifest.parts.iter().flat_map(|part| &part.counts);
    let (rows, events) = counts.fold((0, 0), |(rows, events), (_, more, of)| (rows + more, events + of));
    let bytes = manifest.packs().map(|pack| pack.bytes).sum();
    let (name, program) = (name.to_owned(), manifest.program.clone());
    BackupInfo { made: manifest.made(), name, events, rows, bytes, program, gone: 0, problem: None }
}

/// As it is listed.
pub(super) fn info_of(backup: &Listed) -> BackupInfo {
    match &backup.manifest {
        Ok(manifest) => info(&backup.name, manifest),
        Err(error) => BackupInfo {
            made: backup.made,
            name: backup.name.clone(),
            events: 0,
            rows: 0,
            bytes: 0,
            gone: 0,
            program: String::new(),
            problem: Some(error.to_string()),
        },
    }
}

impl Store {
    /// Looks at every pack of the newest backup, or of the newest at or before a time: it is there, opens, and holds what the
    /// manifest counts. Opens every frame, but those whose key was destroyed.
    ///
    /// # Errors
    /// `Unusable` that names the file or the frame that is damaged or missing; `Invalid` when there is no backup.
    pub async fn verify_backup(&self, at: Option<Timestamp>, progress: &Progress) -> Result<BackupInfo, StoreError> {
        let target = Target::open(&self.backups_at()?.to, false)?;
        let Chosen { name, manifest, passed_over } = newest(&target, self.ring(), at).await?;
        if let Some(problem) = passed_over.into_iter().next() {
            let made = manifest.made();
            return Err(StoreError::Unusable(format!(
                "{problem}. The newest backup that can be read is of {made}: convizit verify --backup {made} looks at it"
            )));
        }
        let gone = check(&target, self.ring(), (&name, &manifest), Some(Days::Running(self)), progress).await?;
        Ok(BackupInfo { gone, ..info(&name, &manifest) })
    }
}
