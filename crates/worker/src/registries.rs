//! Registries of projects in memory, the least used dropped; the store has what they learned.

use std::collections::HashMap;

use convizit_model::{Project, ProjectId};
use convizit_pipeline::Registry;
use convizit_store::Store;

use crate::Failure;

/// Projects whose registries are in memory.
const KEPT: usize = 1024;

/// Registries by project number, and the projects by id.
pub(crate) struct Registries {
    store: Store,
    known: HashMap<i64, (Registry, u64)>,
    round: u64,
    projects: HashMap<ProjectId, i64>,
    version: Option<u64>,
}

impl Registries {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: HashMap::new(), round: 0, projects: HashMap::new(), version: None }
    }

    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.version = None;
    }

    /// The number of a project; `None` when it was removed.
    pub(crate) async fn number(&mut self, id: &ProjectId) -> Result<Option<i64>, Failure> {
        let version = self.store.control_version();
        if self.version != Some(version) || !self.projects.contains_key(id) {
            self.projects =
                self.store.projects().await?.into_iter().map(|Project { id, number, .. }| (id, number)).collect();
            self.version = Some(version);
        }
        Ok(self.projects.get(id).copied())
    }

    /// Takes a registry out, loading it when it is not in memory.
    pub(crate) async fn take(&mut self, project: i64) -> Result<Registry, Failure> {
        if let Some((registry, _)) = self.known.remove(&project) {
            return Ok(registry);
        }
        let mut registry = Registry::default();
        registry.load(&self.store.load_state(project).await?).map_err(Failure::State)?;
        Ok(registry)
    }

    /// Puts registries back, the changes of which are about to be committed.
    pub(crate) fn put(&mut self, registries: impl Iterator<Item = (i64, Registry)>) {
        self.round += 1;
        for (project, registry) in registries {
            self.known.insert(project, (registry, self.round));
        }
        if self.known.len() > KEPT {
            let mut rounds: Vec<u64> = self.known.values().map(|(_, round)| *round).collect();
            rounds.sort_unstable();
            let oldest = rounds.get(self.known.len() - KEPT / 2).copied().unwrap_or(0);
            self.known.retain(|_, (_, round)| *round >= oldest);
        }
    }
}
