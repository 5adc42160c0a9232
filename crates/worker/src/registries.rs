//! Registries of projects in memory, the least used dropped; the store has what they learned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use convizit_model::{Project, ProjectId};
use convizit_pipeline::{Registry, Silence};
use convizit_store::Store;

use crate::Failure;
use crate::watch::Silences;

/// Bytes of the registries in memory, about; those of the last stretch stay in any case.
const KEPT_BYTES: usize = 48 << 20;
/// Sessions that a registry keeps when there is too much.
const SESSIONS: usize = 16;

/// Registries by project number, and the projects' ids by number.
pub(crate) struct Registries {
    store: Store,
    /// With the round of their last use.
    known: HashMap<i64, (Registry, u64)>,
    round: u64,
    projects: HashMap<i64, ProjectId>,
    version: Option<u64>,
    /// Projects of which it was said that a place in them has endless labels.
    endless: HashSet<i64>,
    /// The version of the settings at which a project's decisions were looked for.
    met: HashMap<i64, u64>,
    silences: Silences,
}

impl Registries {
    pub(crate) fn new(store: Store, silences: Silences) -> Self {
        Self {
            store,
            known: HashMap::new(),
            round: 0,
            projects: HashMap::new(),
            version: None,
            endless: HashSet::new(),
            met: HashMap::new(),
            silences,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.version = None;
    }

    /// Whether there is a project of this number and id: not after it was removed.
    pub(crate) async fn has(&mut self, number: i64, id: &ProjectId) -> Result<bool, Failure> {
        let version = self.store.control_version();
        if self.version != Some(version) || !self.projects.contains_key(&number) {
            self.projects =
                self.store.projects().await?.into_iter().map(|Project { id, number, .. }| (number, id)).collect();
            self.version = Some(version);
        }
        Ok(self.projects.get(&number) == Some(id))
    }

    /// The project's id, the first time that endless labels are met in it since the start.
    pub(crate) fn first_endless(&mut self, number: i64) -> Option<&ProjectId> {
        if self.endless.insert(number) { self.projects.get(&number) } else { None }
    }

    /// Takes a registry out, loading it when it is not in memory, with all that people decided up to now.
    pub(crate) async fn take(&mut self, project: i64) -> Result<Registry, Failure> {
        let version = self.store.control_version();
        let registry = match self.known.remove(&project) {
            Some((mut registry, _)) => {
                // Every decision raises the version.
                if self.met.get(&project) != Some(&version) {
                    let decisions = self.store.decisions_after(project, registry.last_decision()).await?;
                    registry.load(&decisions).map_err(Failure::State)?;
                }
                registry
            }
            None => {
                let learned = self.store.load_learned(project).await?;
                let mut registry = Registry::default();
                registry.load(&learned.rows).map_err(Failure::State)?;
                registry.lose(&learned.lost);
                registry
            }
        };
        self.met.insert(project, version);
        Ok(registry)
    }

    /// Lets go of a project's registry: its dataset was erased.
    pub(crate) fn drop_project(&mut self, project: i64) {
        self.known.remove(&project);
        self.met.remove(&project);
    }

    /// Tells the watch of which names a decision says that no events come.
    pub(crate) fn excuse(&self, project: i64, registry: &Registry) {
        self.silences.excuse(project, registry);
    }

    pub(crate) fn silences(&self, project: i64) -> (u64, Arc<Vec<Silence>>) {
        self.silences.of(project)
    }

    /// Puts registries back, the changes of which are about to be committed.
    pub(crate) fn put(&mut self, registries: impl Iterator<Item = (i64, Registry)>) {
        self.round += 1;
        for (project, registry) in registries {
            self.known.insert(project, (registry, self.round));
        }
        let mut bytes: usize = self.known.values().map(|(registry, _)| registry.bytes()).sum();
        if bytes > KEPT_BYTES {
            // What the last stretch changed is not in the store yet.
            let mut oldest: Vec<(u64, i64)> = self
                .known
                .iter()
                .map(|(project, (_, round))| (*round, *project))
                .filter(|(round, _)| *round < self.round)
                .collect();
            oldest.sort_unstable();
            for (_, project) in &oldest {
                if let Some((registry, _)) = self.known.get_mut(project) {
                    let before = registry.bytes();
                    registry.forget_sessions(SESSIONS);
                    bytes -= before - registry.bytes();
                }
            }
            // Then whole registries, down to half, so that it is not done at each stretch.
            let over = bytes > KEPT_BYTES;
            for (_, project) in oldest {
                if !over || bytes <= KEPT_BYTES / 2 {
                    break;
                }
                bytes -= self.known.remove(&project).map_or(0, |(registry, _)| registry.bytes());
            }
        }
    }
}
