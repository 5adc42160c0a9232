//! Reading a backup again: every pack is there, opens, is what its name says and holds the rows that the manifest counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use convizit_keys::KeyRing;
use convizit_model::Timestamp;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::pack::{Cell, Manifest, Pack, PackRef, damaged, open_pack, pack_name};
use super::tables::{FRAMES, JOURNAL, table};
use super::target::Target;
use super::write::blocking;
use super::{BackupInfo, Progress, manifests, read_manifest};
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
    which: impl Fn(&str) -> bool,
) -> BoxStream<'p, Result<(usize, Pack), StoreError>> {
    let mut wanted = Vec::new();
    for (index, part) in manifest.parts.iter().enumerate().filter(|(_, part)| which(&part.table)) {
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
            if pack.table == table && is_known(&pack)? { Ok(pack) } else { Err(damaged(&name)) }
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

/// Rows and events of a pack by project, as a part counts them.
pub(super) fn count(pack: &Pack, into: &mut BTreeMap<i64, (u64, i64)>) {
    let frames = pack.table == FRAMES.name;
    let known = table(&pack.table).is_some_and(|table| table.columns.contains(&("project", super::tables::Kind::Int)));
    let project = pack.at("project").filter(|_| known);
    let (first, last) = (pack.at("first").filter(|_| frames), pack.at("last").filter(|_| frames));
    for row in &pack.rows {
        let int = |at: Option<usize>| at.and_then(|at| row.get(at)).map_or(0, Cell::int);
        let counts = into.entry(int(project)).or_default();
        counts.0 += 1;
        counts.1 += if frames { int(last) - int(first) + 1 } else { 0 };
    }
}

/// Looks at every pack of a backup.
pub(super) async fn check(
    target: &Target,
    ring: &Arc<KeyRing>,
    (name, manifest): (&str, &Manifest),
    progress: &Progress,
) -> Result<(), StoreError> {
    let mut found: Vec<BTreeMap<i64, (u64, i64)>> = vec![BTreeMap::new(); manifest.parts.len()];
    let mut packs = packs(target, ring, manifest, progress, |_| true);
    while let Some((index, pack)) = packs.try_next().await? {
        if let Some(counts) = found.get_mut(index) {
            count(&pack, counts);
        }
    }
    for (part, found) in manifest.parts.iter().zip(found) {
        let found: Vec<_> = found.into_iter().map(|(project, (rows, events))| (project, rows, events)).collect();
        if found != part.counts {
            return Err(damaged(name));
        }
    }
    Ok(())
}

/// The newest backup that was begun at or before a time.
pub(super) async fn newest(
    target: &Target,
    ring: &KeyRing,
    at: Option<Timestamp>,
) -> Result<(String, Manifest), StoreError> {
    let all = manifests(target).await?;
    let Some((oldest, _)) = all.first().cloned() else {
        return Err(StoreError::Invalid(format!("there is no backup in {}", target.shown)));
    };
    let (_, name) = all
        .into_iter()
        .rfind(|(made, _)| at.is_none_or(|at| *made <= at))
        .ok_or_else(|| StoreError::Invalid(format!("there is no backup of that time: the oldest is of {oldest}")))?;
    let manifest = read_manifest(target, ring, &name).await?;
    Ok((name, manifest))
}

pub(super) fn info(name: &str, manifest: &Manifest) -> BackupInfo {
    let counts = manifest.parts.iter().flat_map(|part| &part.counts);
    let (rows, events) = counts.fold((0, 0), |(rows, events), (_, more, of)| (rows + more, events + of));
    let bytes = manifest.packs().map(|pack| pack.bytes).sum();
    BackupInfo { made: manifest.made(), name: name.to_owned(), events, rows, bytes, program: manifest.program.clone() }
}

impl Store {
    /// Looks at every pack of the newest backup, or of the newest at or before a time: it is there, opens, and holds what the
    /// manifest counts.
    ///
    /// # Errors
    /// `Unusable` that names the file that is damaged or missing; `Invalid` when there is no backup.
    pub async fn verify_backup(&self, at: Option<Timestamp>, progress: &Progress) -> Result<BackupInfo, StoreError> {
        let target = Target::open(&self.backups_at()?.to, false)?;
        let (name, manifest) = newest(&target, self.ring(), at).await?;
        check(&target, self.ring(), (&name, &manifest), progress).await?;
        Ok(info(&name, &manifest))
    }
}
