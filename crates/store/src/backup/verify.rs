//! Looking at everything that is stored: whether each frame and each sealed row opens, and whether the chains are whole.

use std::collections::BTreeMap;

use convizit_keys::Place;
use convizit_model::Project;
use serde::Serialize;
use sqlx::query;

use super::mend::FrameId;
use super::{Progress, tables};
use crate::Store;
use crate::destinations::{body_of, secret_of};
use crate::error::{Columns as _, During, StoreError};
use crate::held::is_of_one_project;

/// Rows that are read at once.
const PAGE: i64 = 500;
/// Bytes of the journal that are read at once.
const JOURNAL_BYTES: usize = 4 << 20;
/// Problems that are said one by one; more are counted.
const SAID: usize = 100;

/// What `verify` looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Frames that were opened.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// Sealed rows beside them that were opened: registry, quarantine, destinations and their secrets.
    pub rows: u64,
    /// Batches of the journal that were opened along its chain.
    pub batches: u64,
    /// Entries of the audit log along its chain.
    pub audit_entries: i64,
    /// What is wrong, in sentences; a hundred at most.
    pub problems: Vec<String>,
    /// Problems in all.
    pub problem_count: u64,
    /// Frames that `convizit restore --frame` may bring back, `shop/1201`; a hundred at most.
    pub damaged_frames: Vec<String>,
}

impl VerifyReport {
    pub(super) fn wrong(&mut self, what: String) {
        self.problem_count += 1;
        if self.problems.len() < SAID {
            self.problems.push(what);
        }
    }

    /// A frame that does not open, though the key of its day does.
    pub(super) fn damaged(&mut self, frame: Option<FrameId>) {
        if self.damaged_frames.len() < SAID {
            self.damaged_frames.extend(frame.map(|frame| frame.to_string()));
        }
    }
}

impl Store {
    /// Opens every frame and every sealed row, and follows the chains of the journal and of the audit log. Goes on beside
    /// everything else; what is merged or erased meanwhile is looked at as it is then.
    ///
    /// # Errors
    /// `Database`. What is damaged is no error but in the report.
    pub async fn verify(&self, progress: &Progress) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        for column in tables::forgotten([self.control(), self.data()]).await? {
            report.wrong(format!("{column} is in no backup: this database has more than this convizit knows"));
        }
        let bytes: i64 = sqlx::query_scalar("SELECT CAST(COALESCE(SUM(length(body)), 0) AS BIGINT) FROM frames")
            .fetch_one(self.data().readers())
            .await
            .during("measure frames")?;
        progress.expect(bytes.cast_unsigned());
        let projects = self.projects().await?;
        // What was learned is looked at where no event was stored, too.
        let mut lasts: BTreeMap<i64, i64> = projects.iter().map(|project| (project.number, 0)).collect();
        lasts.extend(self.all_last_events().await?);
        for (project, last) in lasts {
            let id = projects.iter().find(|known| known.number == project).map(|known| &known.id);
            self.verify_frames((project, id), last, &mut report, progress).await?;
        }
        self.verify_journal(&mut report).await?;
        self.verify_beside(&projects, &mut report).await?;
        Ok(report)
    }

    /// What is no frame and no batch: sealed rows, and the chain of the audit log.
    pub(super) async fn verify_beside(
        &self,
        projects: &[Project],
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        for project in projects {
            self.verify_state(project.number, report).await?;
        }
        self.verify_quarantine(report).await?;
        self.verify_held(report).await?;
        self.verify_destinations(report).await?;
        let audit = self.verify_audit(&[]).await?;
        report.audit_entries = audit.entries;
        if let Some(problem) = audit.problem {
            report.wrong(format!("audit log: {problem}"));
        }
        Ok(())
    }

    async fn verify_destinations(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let rows = query("SELECT project, name, body, secret FROM destinations ORDER BY project, name")
            .fetch_all(self.control().readers())
            .await
            .during("read destinations")?;
        for row in rows {
            let (project, name): (i64, String) = (row.read(0)?, row.read(1)?);
            let of = self.project_in_words(project);
            let sealed = [(body_of(&name), Some(row.read::<Vec<u8>>(2)?)), (secret_of(&name), row.read(3)?)];
            for (place, sealed) in sealed {
                let Some(sealed) = sealed else { continue };
                report.rows += 1;
                if let Err(error) = self.keyring().open_sealed(project, place, &sealed).await {
                    report.wrong(format!(
                        "destination {name} of {of}: {error}; it sends nothing: remove it and add it again, or restore a backup"
                    ));
                }
            }
        }
        Ok(())
    }

    async fn verify_state(&self, project: i64, report: &mut VerifyReport) -> Result<(), StoreError> {
        let mut after = (i64::MIN, i64::MIN);
        loop {
            let rows = query(
                "SELECT kind, key, expires, body FROM state WHERE project = $1 AND (kind > $2 OR (kind = $2 AND key > $3)) \
                 ORDER BY kind, key LIMIT $4",
            )
            .bind(project)
            .bind(after.0)
            .bind(after.1)
            .bind(PAGE)
            .fetch_all(self.data().readers())
            .await
            .during("read state")?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = (last.read(0)?, last.read(1)?);
            for row in &rows {
                report.rows += 1;
                if let Err(error) = self.open_state(project, row, 0).await {
                    let (kind, key): (i64, i64) = (row.read(0)?, row.read(1)?);
                    let of = self.project_in_words(project);
                    report.wrong(format!("state row {kind}/{key} of {of}: {error}"));
                }
            }
        }
    }

    async fn verify_quarantine(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let rows = query("SELECT project, subject, body FROM quarantine ORDER BY project, subject")
            .fetch_all(self.data().readers())
            .await
            .during("read quarantine")?;
        for row in rows {
            let (project, subject): (i64, String) = (row.read(0)?, row.read(1)?);
            let place = Place { table: "quarantine", purpose: "body", row: subject.as_bytes() };
            report.rows += 1;
            if let Err(error) = self.keyring().open_sealed(project, place, row.read(2)?).await {
                let of = self.project_in_words(project);
                report.wrong(format!("quarantined item {subject} of {of}: {error}"));
            }
        }
        Ok(())
    }

    /// Records that wait for a project, and what keeps them from going on.
    async fn verify_held(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        for project in self.held_projects().await? {
            let (records, problems) = self.count_held(project).await?;
            report.rows += records;
            problems.into_iter().for_each(|problem| report.wrong(problem));
        }
        for project in self.projects().await? {
            let opened = self.keyring().project(project.number).await;
            match opened {
                Err(error) if is_of_one_project(&error) => {
                    report.wrong(format!("the key of project {}: {error}", project.id));
                }
                opened => drop(opened?),
            }
        }
        Ok(())
    }

    async fn verify_journal(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let mut after = self.worker_offset().await?;
        loop {
            match self.journal_read(after, JOURNAL_BYTES).await {
                Ok(batches) => {
                    let Some(last) = batches.last() else { return Ok(()) };
                    after = last.offset;
                    report.batches += batches.len() as u64;
                }
                Err(error) => {
                    let now = self.worker_offset().await?;
                    // Processed and dropped meanwhile.
                    if now > after {
                        after = now;
                        continue;
                    }
                    report.wrong(format!("journal: {error}"));
                    return Ok(());
                }
            }
        }
    }
}
