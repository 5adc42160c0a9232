//! What requests share: store, tables, compiled projects, prebuilt scripts, and the bound on bodies in memory.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use convizit_model::{Project, ProjectKey};
use convizit_pipeline::{Compiled, Tables};
use convizit_store::Store;
use tokio::sync::Semaphore;

use crate::script::Script;

/// Requests whose bodies are in memory at once: 512 of 64 KiB are 32 MiB.
const BODIES: usize = 512;
/// Compiled projects and scripts kept; a new one beyond it drops all, which are made again when asked for.
const KEPT: usize = 2048;

pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) tables: Arc<Tables>,
    pub(crate) behind_proxy: bool,
    pub(crate) bodies: Semaphore,
    compiled: RwLock<HashMap<ProjectKey, (u64, Arc<Compiled>)>>,
    scripts: RwLock<HashMap<(ProjectKey, u64, Kind), Arc<Script>>>,
}

/// What `/t/` answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Core,
    Settings,
    More,
}

impl State {
    pub(crate) fn new(store: Store, tables: Arc<Tables>, behind_proxy: bool) -> Self {
        Self {
            store,
            tables,
            behind_proxy,
            bodies: Semaphore::new(BODIES),
            compiled: RwLock::default(),
            scripts: RwLock::default(),
        }
    }

    /// The project's settings, ready for use.
    pub(crate) fn compiled(&self, project: &Project) -> Result<Arc<Compiled>, String> {
        let known = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, compiled)) = known.get(&project.key)
            && *version == project.version
        {
            return Ok(compiled.clone());
        }
        drop(known);
        let compiled = Arc::new(Compiled::new(project)?);
        let mut known = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(project.key.clone(), (project.version, compiled.clone()));
        Ok(compiled)
    }

    pub(crate) fn script(&self, key: &(ProjectKey, u64, Kind)) -> Option<Arc<Script>> {
        self.scripts.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(crate) fn keep_script(&self, key: (ProjectKey, u64, Kind), script: &Arc<Script>) {
        let mut scripts = self.scripts.write().unwrap_or_else(PoisonError::into_inner);
        // Scripts of older versions are asked for no more.
        scripts.retain(|(project, version, _), _| *project != key.0 || *version == key.1);
        if scripts.len() >= KEPT {
            scripts.clear();
        }
        scripts.insert(key, script.clone());
    }
}
