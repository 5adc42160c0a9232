//! One damaged frame brought back while everything runs: out of the newest backup that has it sound, or out of itself where only what
//! stands beside its content is damaged. What was erased since does not come back with it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use convizit_keys::DataKey;
use convizit_model::{ProjectId, Timestamp};
use futures_util::TryStreamExt as _;
use serde::Serialize;
use sqlx::{AssertSqlSafe, query};

use super::check::packs;
use super::events::{Frame, look};
use super::opening::living;
use super::pack::{Cell, Manifest};
use super::tables::FRAMES;
use super::target::Target;
use super::{Progress, listed};
use crate::Store;
use crate::error::{Columns as _, During, StoreError};
use crate::frames::{self, PutBack, Sound, Torn};

/// Frames of a backup that stand in the place of one: far more than one was ever joined of.
const TILES: usize = 10_000;

/// Which frame: by its project and the number of its first event, `shop/1201`, as `convizit verify` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameId {
    /// The project's id.
    pub project: ProjectId,
    /// Number of its first event.
    pub first: i64,
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.first)
    }
}

impl FromStr for FrameId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let form = || {
            StoreError::Invalid(
                "a frame is PROJECT/NUMBER, the number of its first event, as convizit verify names it".to_owned(),
            )
        };
        let (project, first) = text.split_once('/').ok_or_else(form)?;
        let (project, first) = (project.parse().map_err(|_| form())?, first.parse().map_err(|_| form())?);
        Ok(Self { project, first })
    }
}

/// What would be brought back, and where from.
pub struct FramePlan {
    id: FrameId,
    number: i64,
    made: Option<Timestamp>,
    last: i64,
    holds: bool,
    back: PutBack,
}

/// A frame that is, or is to be, brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MendedFrame {
    /// The project's id.
    pub project: String,
    /// Number of its first event.
    pub first: i64,
    /// Number of its last.
    pub last: i64,
    /// When the backup was begun that it is out of; `None` where it is out of itself, since only what stood beside its content was damaged.
    pub backup: Option<Timestamp>,
    /// Events in it.
    pub events: i64,
    /// Events of it that were erased since that backup, and that do not come back.
    pub erased: u64,
    /// Whether it holds an erasure open, which goes on once it is back.
    pub holds: bool,
}

impl FramePlan {
    /// What it would bring back.
    #[must_use]
    pub fn frame(&self) -> MendedFrame {
        MendedFrame {
            project: self.id.project.to_string(),
            first: self.id.first,
            last: self.last,
            backup: self.made,
            events: self.back.events,
            erased: self.back.erased.len() as u64,
            holds: self.holds,
        }
    }
}

/// Of frames by their first numbers those that stand in the place of one, from its first number to its last.
fn tiles(mut found: BTreeMap<i64, Sound>, first: i64, last: i64) -> Option<Vec<Sound>> {
    let (mut tiles, mut next) = (Vec::new(), first);
    while next <= last {
        let tile = found.remove(&next).filter(|tile| tile.last >= next)?;
        next = tile.last + 1;
        tiles.push(tile);
    }
    (next == last + 1 && !tiles.is_empty()).then_some(tiles)
}

impl Store {
    /// Looks for a sound frame in the place of a damaged one.
    ///
    /// # Errors
    /// `NotFound` for a frame that there is not; `Invalid` where it is whole, or its key was destroyed, or no place of backups is known;
    /// `Unusable` where no backup has it sound; `Keys` where the key of its day does not open.
    pub async fn plan_frame(&self, id: FrameId, progress: &Progress) -> Result<FramePlan, StoreError> {
        const NAME: &str = "read a frame";
        let project = self.project(&id.project).await?.number;
        let (filter, body) = frames::as_bytes(self.data().engine);
        let sql = format!("SELECT last, day, ledger, {filter}, {body} FROM frames WHERE project = $1 AND first = $2");
        let row = query(AssertSqlSafe(sql))
            .bind(project)
            .bind(id.first)
            .fetch_optional(self.data().readers())
            .await
            .during(NAME)?
            .ok_or_else(|| StoreError::not_found("frame", &id))?;
        let torn = Torn { project, first: id.first, last: row.read(0)?, day: row.read(1)?, ledger: row.read(2)? };
        let frame = Frame {
            project,
            first: torn.first,
            last: torn.last,
            day: torn.day,
            filter: row.read(3)?,
            body: row.read(4)?,
        };
        let key = self.keyring().day(project, torn.day).await?;
        let (hasher, of_day) = (self.hasher(), Arc::clone(&key));
        let (own, problem) = super::write::blocking(move || Ok(content(&of_day, &hasher, frame))).await?;
        let Some(problem) = problem else {
            return Err(StoreError::Invalid(format!("frame {id} opens and is whole: there is nothing to bring back")));
        };
        // What the key has sealed says by itself how long it is.
        let last = own.as_ref().map_or(torn.last, |own| own.last);
        let next: Option<i64> = sqlx::query_scalar("SELECT MIN(first) FROM frames WHERE project = $1 AND first > $2")
            .bind(project)
            .bind(torn.first)
            .fetch_one(self.data().readers())
            .await
            .during(NAME)?;
        if next.is_some_and(|next| next <= last) {
            return Err(StoreError::Unusable(format!(
                "frame {id} reaches over the one behind it, {}/{}: bring that back first, or restore a backup into an empty place",
                id.project,
                next.unwrap_or_default()
            )));
        }
        let (made, sound) = match own {
            Some(own) => (None, vec![own]),
            None => self.sound_frames(&id, (torn, last), &key, &problem, progress).await?,
        };
        let back = self.prepare_to_put_back(torn, key, sound).await?;
        let holds = self.holds_erasure(project, torn.first).await?;
        Ok(FramePlan { id, number: project, made, last, holds, back })
    }

    /// Brings a frame back as it was planned.
    ///
    /// # Errors
    /// `Moved` where it, or the ledger of erasures, has changed since; `Database`, also where it is back and the audit log does not say so.
    pub async fn bring_frame_back(&self, plan: FramePlan) -> Result<MendedFrame, StoreError> {
        let frame = plan.frame();
        let from = frame.backup.map_or_else(|| "out of itself".to_owned(), |made| format!("from the backup of {made}"));
        let detail = format!("{from}, {} events, without {} erased since", frame.events, frame.erased);
        let subject = format!("events {} to {}", frame.first, frame.last);
        self.put_back(plan.back).await?;
        // Where that fails, upkeep meets it within two minutes: no reason to call the frame damaged that is back.
        if let Err(error) = self.note_no_longer(plan.number, Some(&plan.id.project), plan.id.first).await {
            tracing::warn!(%error, frame = %plan.id, "that a frame is back is noted by upkeep");
        }
        // Behind it, since it may not come to pass.
        self.audit("frame.restore", &frame.project, &subject, detail).await.map_err(|error| StoreError::Database {
            action: "the frame is back, and the audit log does not say so",
            problem: error.to_string(),
        })?;
        Ok(frame)
    }

    /// Sound frames in the place of one, of the newest backup that has them, and when that was begun.
    async fn sound_frames(
        &self,
        id: &FrameId,
        (torn, last): (Torn, i64),
        key: &Arc<DataKey>,
        problem: &str,
        progress: &Progress,
    ) -> Result<(Option<Timestamp>, Vec<Sound>), StoreError> {
        let target = Target::open(&self.backups_at()?.to, false)?;
        for backup in listed(&target, self.ring()).await?.into_iter().rev() {
            let Ok(manifest) = backup.manifest else { continue };
            match self.frames_of_backup((&target, &manifest), (torn, last), key, progress).await {
                Ok(found) => {
                    if let Some(tiles) = tiles(found, torn.first, last) {
                        return Ok((Some(manifest.made()), tiles));
                    }
                }
                // A pack is damaged or missing: an older backup may have another one.
                Err(error @ StoreError::Unusable(_)) => {
                    tracing::warn!(%error, backup = backup.name, "a backup is passed over for a frame");
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unusable(format!(
            "frame {id} ({problem}) is whole in no backup in {}: its events {} to {last} are lost; deliveries go on behind it with \
             convizit destination resume {} NAME --skip-damaged",
            target.shown, torn.first, id.project
        )))
    }

    /// The frames of a backup between two numbers that open under the key of their day, by their first numbers.
    async fn frames_of_backup(
        &self,
        (target, manifest): (&Target, &Manifest),
        (torn, last): (Torn, i64),
        key: &Arc<DataKey>,
        progress: &Progress,
    ) -> Result<BTreeMap<i64, Sound>, StoreError> {
        let mut found = BTreeMap::new();
        let mut packs = packs(target, self.ring(), manifest, progress, |part| {
            part.table == FRAMES.name && (part.project, part.day) == (torn.project, torn.day)
        });
        while let Some((_, pack)) = packs.try_next().await? {
            let columns = ["first", "last", "body"].map(|name| pack.at(name));
            for row in &pack.rows {
                let cell =
                    |at: usize| columns.get(at).copied().flatten().and_then(|at| row.get(at)).unwrap_or(&Cell::Null);
                let (first, to, body) = (cell(0).int(), cell(1).int(), cell(2).bytes());
                let inside = first >= torn.first && to <= last && found.len() < TILES;
                if inside && living(key, torn.project, (first, to), body).is_ok() {
                    found.insert(first, Sound { first, last: to, body: body.to_vec() });
                }
            }
        }
        Ok(found)
    }
}

/// What of a frame is sound by itself, and what is wrong with it, where something is.
fn content(key: &DataKey, hasher: &crate::people::PersonHasher, frame: Frame) -> (Option<Sound>, Option<String>) {
    let Err(problem) = look(key, hasher, &frame) else { return (None, None) };
    let lines = frames::open(key, frame.project, frame.first, &frame.body).ok();
    let own = lines.and_then(|lines| {
        let all = lines.split(|byte| *byte == b'\n');
        let whole = all.clone().all(|line| line.is_empty() || crate::ledger::Whose::of(line).is_some());
        let count = i64::try_from(all.count()).ok()?;
        whole.then_some(Sound { first: frame.first, last: frame.first + count - 1, body: frame.body })
    });
    (own, Some(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_named_by_its_project_and_its_first_event() {
        let id: FrameId = "shop/1201".parse().unwrap();
        assert_eq!((id.project.as_str(), id.first, id.to_string()), ("shop", 1201, "shop/1201".to_owned()));
        for wrong in ["shop", "shop/", "/7", "shop/x", "shop/1/2"] {
            assert!(wrong.parse::<FrameId>().unwrap_err().to_string().contains("PROJECT/NUMBER"), "{wrong}");
        }
    }

    #[test]
    fn frames_stand_in_the_place_of_one_without_a_gap() {
        let of = |ranges: &[(i64, i64)]| {
            ranges
                .iter()
                .map(|&(first, last)| (first, Sound { first, last, body: Vec::new() }))
                .collect::<BTreeMap<_, _>>()
        };
        let firsts = |ranges: &[(i64, i64)]| {
            tiles(of(ranges), 4, 9).map(|tiles| tiles.iter().map(|tile| tile.first).collect::<Vec<_>>())
        };
        assert_eq!(firsts(&[(4, 9)]), Some(vec![4]));
        assert_eq!(firsts(&[(1, 3), (4, 6), (7, 9), (10, 12)]), Some(vec![4, 7]));
        for wrong in [&[(4, 6)][..], &[(4, 6), (8, 9)], &[(4, 10)], &[(5, 9)], &[(4, 3)], &[]] {
            assert_eq!(firsts(wrong), None, "{wrong:?}");
        }
    }
}
