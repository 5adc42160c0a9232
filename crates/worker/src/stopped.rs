//! Projects of which nothing can be made now, since their key or what people decided of them does not open: their records wait, sealed,
//! and go on in their order once it does. No other project waits for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use convizit_model::{NoticeKind, ProjectId};
use convizit_store::{HeldRecord, STOPPED, Store, StoreError};

use crate::Failure;
use crate::stretch::Record;

/// How often it is looked whether a project goes on.
pub(crate) const AGAIN: Duration = Duration::from_secs(5);
/// Where a person reads what to do.
const DOCUMENT: &str = "docs/data-lifecycle.md, \"A project that stands still\"";

/// Those that stand still.
pub(crate) struct Stopped {
    store: Store,
    /// When each is tried again.
    projects: HashMap<i64, Instant>,
    /// Whether what stands still since before the start is among them.
    recalled: bool,
    /// The one of which something is made of what waited.
    trying: Option<i64>,
}

impl Stopped {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, projects: HashMap::new(), recalled: false, trying: None }
    }

    /// Those that are to be tried now; at the first look also what stands still since before the start.
    pub(crate) async fn due(&mut self) -> Result<Vec<i64>, StoreError> {
        // One whose try was cut short stands still as before.
        self.trying = None;
        let now = Instant::now();
        if !self.recalled {
            let told = self.store.notices(false).await?.into_iter();
            let told = told.filter(|notice| notice.kind == NoticeKind::Damaged && notice.subject == STOPPED);
            let told: Vec<ProjectId> = told.filter_map(|notice| notice.project).collect();
            let projects = self.store.projects().await?.into_iter();
            let told = projects.filter(|project| told.contains(&project.id)).map(|project| project.number);
            let held = self.store.held_projects().await?.into_iter();
            self.projects.extend(held.chain(told).map(|number| (number, now)));
            self.recalled = true;
        }
        Ok(self.projects.iter().filter(|(_, again)| **again <= now).map(|(number, _)| *number).collect())
    }

    pub(crate) fn any(&self) -> bool {
        !self.projects.is_empty()
    }

    /// Whether what comes for a project is held.
    pub(crate) fn has(&self, number: i64) -> bool {
        self.projects.contains_key(&number) && self.trying != Some(number)
    }

    /// Tries a project again in a while.
    pub(crate) fn later(&mut self, number: i64) {
        self.projects.insert(number, Instant::now() + AGAIN);
    }

    /// Lets something be made of a project while it is tried.
    pub(crate) fn tries(&mut self, number: Option<i64>) {
        self.trying = number;
    }

    /// Takes down that nothing can be made of a project, and tells it once.
    pub(crate) async fn stop(&mut self, number: i64, project: &ProjectId, failure: &Failure) -> Result<(), StoreError> {
        self.later(number);
        tracing::warn!(%project, %failure, "nothing can be made of a project now; what comes for it waits");
        let text = format!(
            "nothing that comes of this site becomes events, since what it is to be made with does not open: {failure}. It waits, sealed, and \
             goes on by itself once that opens again; nothing is captured against what you decided, and other sites go on. convizit restore \
             brings the last backup back ({DOCUMENT}); convizit doctor says what does not open and how much waits"
        );
        self.store.raise_once(NoticeKind::Damaged, Some(project), STOPPED, &text).await
    }

    /// A project goes on: nothing waits for it any more.
    pub(crate) async fn goes_on(&mut self, number: i64, project: Option<&ProjectId>) -> Result<(), StoreError> {
        self.projects.remove(&number);
        match project {
            Some(project) => self.store.resolve_notice(NoticeKind::Damaged, Some(project), STOPPED).await,
            None => Ok(()),
        }
    }
}

/// What of records is kept until their project goes on: without the events of whoever was erased, which were taken out before.
pub(crate) fn held(number: i64, records: Vec<Record>) -> Vec<HeldRecord> {
    let hold = |record: Record| {
        let received = record.received?;
        Some(HeldRecord {
            project: number,
            offset: record.offset,
            index: record.index as u64,
            day: received.received.day(),
            body: serde_json::to_vec(&received).ok()?.into(),
        })
    };
    records.into_iter().filter_map(hold).collect()
}
