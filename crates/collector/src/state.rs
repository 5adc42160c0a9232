//! What requests share: store, tables, compiled projects, prebuilt scripts, and the bound on bodies in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use convizit_model::{Project, ProjectKey, Timestamp};
use convizit_pipeline::{Compiled, Tables};
use convizit_store::Store;
use tokio::sync::Semaphore;

use crate::customizer::Registries;
use crate::script::Script;

/// Bytes of one permit of `bodies`.
pub(crate) const ROOM: usize = 1024;
/// Bodies in memory at once: 32 MiB.
const BODIES: usize = (32 << 20) / ROOM;
/// Compiled projects and scripts kept; a new one beyond it drops all, which are made again when asked for.
const KEPT: usize = 1024;
/// After so long without a refusal the collector says that it takes batches again.
const CALM_MILLIS: u64 = 3_000;

pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) tables: Arc<Tables>,
    pub(crate) behind_proxy: bool,
    /// Room for bodies, in permits of `ROOM` bytes.
    pub(crate) bodies: Semaphore,
    compiled: RwLock<HashMap<ProjectKey, (u64, Arc<Compiled>)>>,
    scripts: RwLock<HashMap<Cached, Arc<Script>>>,
    /// When each project's drift was last told; as many as there are projects.
    told: std::sync::Mutex<HashMap<i64, Timestamp>>,
    /// Of projects whose customizer is open.
    pub(crate) registries: Registries,
    /// Held while a script is built: each build takes a core and some megabytes, and others may wait for the same one.
    pub(crate) building: tokio::sync::Mutex<()>,
    started: Instant,
    /// Milliseconds after `started` of the last refusal for want of room; 0 while all is taken.
    refused: AtomicU64,
}

/// What `/t/` answers with.
/// What a script is made of: the project with its version, or neither where it is the same for all that have the same parts.
pub(crate) type Cached = (Option<ProjectKey>, u64, Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Core,
    Settings,
    /// The customizer's overlay.
    Overlay,
    /// The second script with its parts that a project may have off, and the words of a language.
    More {
        vitals: bool,
        friction: bool,
        language: Option<&'static str>,
    },
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
            told: std::sync::Mutex::default(),
            registries: Registries::default(),
            building: tokio::sync::Mutex::default(),
            started: Instant::now(),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes down that a batch was refused for want of room; the first of a row is logged.
    pub(crate) fn refuses(&self, why: &str) {
        if self.refused.swap(self.elapsed(), Ordering::Relaxed) == 0 {
            tracing::warn!(why, "batches are refused; browsers keep them and come again");
        }
    }

    /// Takes down that a batch was taken; the first after a row of refusals is logged.
    pub(crate) fn takes(&self) {
        let refused = self.refused.load(Ordering::Relaxed);
        let calm = refused > 0 && self.elapsed().saturating_sub(refused) > CALM_MILLIS;
        if calm && self.refused.compare_exchange(refused, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::info!("batches are taken again");
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
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

    /// Whether an hour has passed since a project's drift was told.
    pub(crate) fn is_time_to_tell(&self, project: i64, now: Timestamp) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.get(&project).is_none_or(|last| now.since(*last) >= 3_600_000);
        if due {
            told.insert(project, now);
        }
        due
    }

    pub(crate) fn script(&self, key: &Cached) -> Option<Arc<Script>> {
        self.scripts.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(crate) fn keep_script(&self, key: Cached, script: &Arc<Script>) {
        let mut scripts = self.scripts.write().unwrap_or_else(PoisonError::into_inner);
        // Scripts of older versions are asked for no more.
        scripts.retain(|(project, version, _), _| *project != key.0 || *version == key.1);
        if scripts.len() >= KEPT {
            scripts.clear();
        }
        scripts.insert(key, script.clone());
    }
}
