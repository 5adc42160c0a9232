//! Reading a backup again: every pack is there, opens, is what its name says and holds the rows that the manifest counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use convizit_keys::KeyRing;
use convizit_model::Timestamp;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

use super::pack::{Cell, Manifest, Pack, damaged, open_pack, pack_name};
use super::tables::{FRAMES, JOURNAL, table};
use super::target::Target;
use super::write::blocking;
use super::{BackupInfo, Progress, manifests, read_manifest};
use crate::Store;
use crate::error::StoreError;

/// Packs that are read at once.
const AT_ONCE: usize = 2;

/// The packs of a manifest in their order, each with the index of its part; `which` chooses parts.
pub(super) fn packs<'a>(
    target: &'a Target,
    ring: &'a Arc<KeyRing>,
    manifest: &'a Manifest,
    progress: &'a Progress,
    which: impl Fn(&str) -> bool,
) -> impl Stream<Item = Result<(usize, Pack), StoreError>> + Send + 'a {
    let parts = manifest.parts.iter().enumerate().filter(|(_, part)| which(&part.table));
    let wanted: Vec<_> =
        parts.flat_map(|(index, part)| part.packs.iter().map(move |pack| (index, pack, part.table.as_str()))).collect();
    progress.expect(wanted.iter().map(|(_, pack, _)| pack.bytes).sum());
    futures_util::stream::iter(wanted)
        .map(move |(index, of, table)| async move {
            let name = pack_name(&of.id);
            let bytes = target.get(&name).await?.ok_or_else(|| {
                StoreError::Unusable(format!("{name} of the backup is missing from {}: take another backup", target.shown))
            })?;
            let (ring, reference, expected) = (ring.clone(), of.clone(), table.to_owned());
            let pack = blocking(move || {
                let pack = open_pack(&ring, &reference, &bytes)?;
                if pack.table == expected && is_known(&pack)? { Ok(pack) } else { Err(damaged(&pack_name(&reference.id))) }
            })
            .await?;
            progress.add(of.bytes);
            Ok((index, pack))
        })
        .buffered(AT_ONCE)
}

/// Whether all rows are of a table and of columns that this build knows.
fn is_known(pack: &Pack) -> Result<bool, StoreError> {
    if pack.table == JOURNAL {
        return Ok(pack.rows.iter().all(|row| matches!(row.as_slice(), [Cell::Int(_), Cell::Bytes(_)])));
    }
    let newer = |what: String| StoreError::Unusable(format!("the backup holds {what}, which is of a newer convizit: restore it with that version"));
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
    let mut packs = std::pin::pin!(packs(target, ring, manifest, progress, |_| true));
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
    let (_, name) = all.into_iter().rfind(|(made, _)| at.is_none_or(|at| *made <= at)).ok_or_else(|| {
        StoreError::Invalid(format!("there is no backup of that time: the oldest is of {oldest}"))
    })?;
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
