//! Who excluded what, and when: beside the settings, which say what holds. What was taken out is kept for a while.

use std::collections::HashSet;

use convizit_model::{ProjectSettings, Timestamp};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::error::{Columns as _, During, StoreError};

/// How long an entry that was taken out can be put back.
const KEPT_MILLIS: i64 = 90 * 86_400_000;

/// What an entry excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExclusionKind {
    /// Elements, by a CSS selector.
    Selector,
    /// Pages, by a path.
    Path,
}

impl ExclusionKind {
    /// The kind as it is stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Selector => "selector",
            Self::Path => "path",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Selector, Self::Path].into_iter().find(|kind| kind.as_str() == word)
    }

    fn entries(self, settings: &ProjectSettings) -> &[String] {
        match self {
            Self::Selector => &settings.exclude_selectors,
            Self::Path => &settings.exclude_paths,
        }
    }
}

/// An entry of `exclude_selectors` or `exclude_paths`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// What it excludes.
    pub kind: ExclusionKind,
    /// The selector or path.
    pub entry: String,
    /// Who set it: `account:7`, `os:root`.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
    /// Who took it out and when; `None` while it holds.
    pub removed: Option<(String, Timestamp)>,
}

/// Takes down what a change of the settings sets and takes out, inside its transaction.
pub(crate) async fn note(
    connection: &mut AnyConnection,
    project: i64,
    (before, after): (&ProjectSettings, &ProjectSettings),
    (by, now): (&str, Timestamp),
) -> Result<(), StoreError> {
    const NAME: &str = "note exclusions";
    for kind in [ExclusionKind::Selector, ExclusionKind::Path] {
        let known: HashSet<&String> = kind.entries(before).iter().collect();
        let wanted: HashSet<&String> = kind.entries(after).iter().collect();
        for entry in wanted.difference(&known) {
            query(
                "INSERT INTO exclusions (project, kind, entry, set_by, set_at, removed_by, removed_at) \
                 VALUES ($1, $2, $3, $4, $5, '', NULL) ON CONFLICT (project, kind, entry) DO UPDATE \
                 SET set_by = excluded.set_by, set_at = excluded.set_at, removed_by = '', removed_at = NULL",
            )
            .bind(project)
            .bind(kind.as_str())
            .bind(entry.as_str())
            .bind(by)
            .bind(now.as_millis())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        }
        for entry in known.difference(&wanted) {
            query("UPDATE exclusions SET removed_by = $1, removed_at = $2 WHERE project = $3 AND kind = $4 AND entry = $5")
                .bind(by)
                .bind(now.as_millis())
                .bind(project)
                .bind(kind.as_str())
                .bind(entry.as_str())
                .execute(&mut *connection)
                .await
                .during(NAME)?;
        }
    }
    query("DELETE FROM exclusions WHERE project = $1 AND removed_at < $2")
        .bind(project)
        .bind(now.plus_millis(-KEPT_MILLIS).as_millis())
        .execute(connection)
        .await
        .during(NAME)?;
    Ok(())
}

impl Store {
    /// Who set a project's excluded selectors and paths, the newest first; those that were taken out within 90 days too.
    ///
    /// # Errors
    /// `Database`, and `Unusable` for a kind that this build does not know.
    pub async fn exclusions(&self, project: i64) -> Result<Vec<Exclusion>, StoreError> {
        let rows = query(
            "SELECT kind, entry, set_by, set_at, removed_by, removed_at FROM exclusions WHERE project = $1 \
             ORDER BY set_at DESC, kind, entry",
        )
        .bind(project)
        .fetch_all(self.control().readers())
        .await
        .during("list exclusions")?;
        rows.iter()
            .map(|row| {
                let kind: &str = row.read(0)?;
                let removed_at: Option<i64> = row.read(5)?;
                let removed_by: String = row.read(4)?;
                Ok(Exclusion {
                    kind: ExclusionKind::of(kind).ok_or_else(|| {
                        StoreError::Unusable(format!(
                            "exclusions of kind {kind} are of a newer convizit: start that version"
                        ))
                    })?,
                    entry: row.read(1)?,
                    set_by: row.read(2)?,
                    set_at: Timestamp::from_millis(row.read(3)?),
                    removed: removed_at.map(|at| (removed_by, Timestamp::from_millis(at))),
                })
            })
            .collect()
    }
}
