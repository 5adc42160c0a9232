//! Watches that what came goes on coming: a name or a project that falls silent raises a notice, and its silence is what the
//! registries look at for controls that were replaced.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convizit_model::{NameId, NoticeKind, Project, Timestamp};
use convizit_pipeline::{Registry, Silence};
use convizit_store::{Expected, Store, StoreError};
use tokio_util::sync::CancellationToken;

/// Between two looks. A silence is known at 16 expected events, so that it is told before the twentieth where four take longer
/// than this; where they take less, within a minute and a quarter of it.
const EVERY: Duration = Duration::from_mins(1);
/// After how long it is learned anew what is expected of names: that reads all counts of a project.
const LEARN_MILLIS: i64 = 600_000;
/// Events that a whole project is expected to have from which on none is a silence.
const EXPECTED: f64 = 20.0;
/// How long nothing has come from a project before its silence is told.
const LEAST_MILLIS: i64 = 1_800_000;
const HOUR_MILLIS: i64 = 3_600_000;

/// Silent names by project, with a number that changes when they do, and each hour.
#[derive(Clone, Default)]
pub(crate) struct Silences(Arc<Mutex<HashMap<i64, State>>>);

#[derive(Default)]
struct State {
    number: u64,
    hour: i64,
    silent: Arc<Vec<Silence>>,
    /// How many decisions say so, and the names of which no event can come because of them.
    settled: usize,
    excused: Arc<HashSet<u64>>,
}

impl Silences {
    /// Those of a project; number 0 before the first look.
    pub(crate) fn of(&self, project: i64) -> (u64, Arc<Vec<Silence>>) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&project).map(|state| (state.number, state.silent.clone())).unwrap_or_default()
    }

    /// Takes the names of which no event can come, where the decisions changed.
    pub(crate) fn excuse(&self, project: i64, registry: &Registry) {
        let settled = registry.settled();
        let known = |all: &HashMap<i64, State>| all.get(&project).map_or(0, |state| state.settled);
        if known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) == settled {
            return;
        }
        let excused = Arc::new(registry.excused());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = all.entry(project).or_default();
        (state.settled, state.excused) = (settled, excused);
    }

    fn excused(&self, project: i64) -> Arc<HashSet<u64>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&project).map(|state| state.excused.clone()).unwrap_or_default()
    }

    fn set(&self, project: i64, silent: Vec<Silence>, hour: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = all.entry(project).or_default();
        let names = |list: &[Silence]| list.iter().map(|one| one.name).collect::<Vec<_>>();
        if state.hour != hour || names(&state.silent) != names(&silent) {
            state.number += 1;
        }
        (state.hour, state.silent) = (hour, Arc::new(silent));
    }
}

/// What the watch remembers between its looks.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) silences: Silences,
    /// Number of the newest event of a project, and when the watch first saw it.
    newest: HashMap<i64, (i64, Timestamp)>,
    /// What is expected of a project's names, and when that was learned.
    expected: HashMap<i64, (Timestamp, Expected)>,
    /// Names and projects (as 0) of which it was said that they are silent.
    said: HashSet<(i64, u64)>,
    /// Whether `said` holds what was said before the start.
    recalled: bool,
}

impl Watch {
    /// Looks again and again until `stop`.
    pub(crate) async fn run(mut self, store: Store, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(error) = self.look(&store).await {
                tracing::warn!(%error, "cannot look for silent names; it is tried again");
            }
        }
    }

    /// What was said before a restart, and still stands.
    async fn recall(&mut self, store: &Store) -> Result<(), StoreError> {
        let numbers: HashMap<String, i64> =
            store.projects().await?.into_iter().map(|project| (project.id.to_string(), project.number)).collect();
        for notice in store.notices(false).await? {
            let project = notice.project.as_ref().map(ToString::to_string).unwrap_or_default();
            let Some(number) = numbers.get(&project) else { continue };
            match notice.kind {
                NoticeKind::SilentProject => drop(self.said.insert((*number, 0))),
                NoticeKind::SilentName => {
                    if let Ok(name) = notice.subject.parse::<NameId>() {
                        self.said.insert((*number, name.0));
                    }
                }
                _ => {}
            }
        }
        self.recalled = true;
        Ok(())
    }

    /// One look at all projects.
    pub(crate) async fn look(&mut self, store: &Store) -> Result<(), StoreError> {
        if !self.recalled {
            self.recall(store).await?;
        }
        let now = store.clock().now();
        let newest = store.all_last_events().await?;
        // Of projects that are gone nothing is kept.
        self.newest.retain(|number, _| newest.contains_key(number));
        self.expected.retain(|number, _| newest.contains_key(number));
        for project in store.projects().await? {
            let Some(&last) = newest.get(&project.number) else { continue };
            let (known, since) = self.newest.get(&project.number).copied().unwrap_or((0, now));
            if last == known {
                self.look_at_project(store, &project, since, now).await?;
                continue;
            }
            self.newest.insert(project.number, (last, now));
            self.end(store, &project, NoticeKind::SilentProject, 0, "events").await?;
            self.look_at_names(store, &project).await?;
        }
        Ok(())
    }

    async fn look_at_names(&mut self, store: &Store, project: &Project) -> Result<(), StoreError> {
        let excused = self.silences.excused(project.number);
        let now = store.clock().now();
        let expected = match self.expected.entry(project.number) {
            Entry::Occupied(known) if now.since(known.get().0) < LEARN_MILLIS => known.into_mut(),
            other => other.insert_entry((now, store.expect_names(project.number).await?)).into_mut(),
        };
        let silent: Vec<Silence> = store
            .silent_names(project.number, &mut expected.1)
            .await?
            .into_iter()
            .filter(|one| !excused.contains(&one.name))
            .map(|one| Silence { name: NameId(one.name), missing: one.missing })
            .collect();
        let names: HashSet<u64> = silent.iter().map(|one| one.name.0).collect();
        for one in &silent {
            if self.said.insert((project.number, one.name.0)) {
                let text = format!(
                    "the name {} has no more events, though {} were expected since its last one: what it named may be gone from \
                     the site, or changed. See: convizit project changes {}",
                    one.name, one.missing, project.id
                );
                store.raise(NoticeKind::SilentName, Some(&project.id), &one.name.to_string(), &text).await?;
            }
        }
        let over: Vec<u64> = self
            .said
            .iter()
            .filter(|(number, name)| *number == project.number && *name != 0 && !names.contains(name))
            .map(|(_, name)| *name)
            .collect();
        for name in over {
            self.end(store, project, NoticeKind::SilentName, name, &NameId(name).to_string()).await?;
        }
        self.silences.set(project.number, silent, store.clock().now().hour());
        Ok(())
    }

    /// A project without any new event, by what came in the same hours a week and two weeks before, or on the days that it
    /// has; the least of them counts, so that a holiday among them is no reason to wait for more.
    async fn look_at_project(
        &mut self,
        store: &Store,
        project: &Project,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if now.since(since) < LEAST_MILLIS || self.said.contains(&(project.number, 0)) {
            return Ok(());
        }
        let expected = expected(&store.events_by_hour(project.number).await?, since, now);
        if expected >= EXPECTED && self.said.insert((project.number, 0)) {
            let text = format!(
                "nothing has come since {since}, though about {expected:.0} events were expected: is the snippet still on the \
                 site, and does its address answer? See: convizit doctor"
            );
            store.raise(NoticeKind::SilentProject, Some(&project.id), "events", &text).await?;
        }
        Ok(())
    }

    async fn end(
        &mut self,
        store: &Store,
        project: &Project,
        kind: NoticeKind,
        name: u64,
        subject: &str,
    ) -> Result<(), StoreError> {
        if self.said.remove(&(project.number, name)) {
            store.resolve_notice(kind, Some(&project.id), subject).await?;
        }
        Ok(())
    }
}

/// Events that should have come between two times.
fn expected(by_hour: &HashMap<i64, i64>, since: Timestamp, now: Timestamp) -> f64 {
    let Some(first) = by_hour.keys().min().copied() else { return 0.0 };
    let mut expected = 0.0;
    // Beyond two weeks there is nothing to compare with.
    for hour in since.hour()..=now.hour().min(since.hour() + 14 * 24) {
        let days: &[i64] = if hour - first >= 7 * 24 { &[7, 14] } else { &[1, 2, 3, 4, 5, 6] };
        let known = days.iter().map(|day| hour - 24 * day).filter(|before| *before >= first);
        let least = known.map(|before| by_hour.get(&before).copied().unwrap_or(0)).min().unwrap_or(0);
        let (start, end) = (hour * HOUR_MILLIS, (hour + 1) * HOUR_MILLIS);
        let covered = end.min(now.as_millis()) - start.max(since.as_millis());
        #[expect(clippy::cast_precision_loss, reason = "events and milliseconds of an hour")]
        let share = least as f64 * covered.max(0) as f64 / HOUR_MILLIS as f64;
        expected += share;
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_expected_to_have_what_it_had_a_week_before() {
        let hour = 480_000;
        let at = |hours: i64, minutes: i64| Timestamp::from_millis((hour + hours) * HOUR_MILLIS + minutes * 60_000);
        // Sixty an hour on each of three days before.
        let steady: HashMap<i64, i64> = (hour - 72..hour).map(|hour| (hour, 60)).collect();
        assert!((expected(&steady, at(0, 0), at(0, 30)) - 30.0).abs() < 0.01);
        assert!((expected(&steady, at(0, 50), at(1, 10)) - 20.0).abs() < 0.01);
        // Nothing on one of them: the least counts.
        let holiday: HashMap<i64, i64> =
            steady.into_iter().filter(|(at, _)| *at >= hour - 24 || *at < hour - 48).collect();
        assert!(expected(&holiday, at(0, 0), at(3, 0)) < 0.01);
        // Two weeks: the same weekday is asked, whatever came on the others.
        let weekly: HashMap<i64, i64> = (hour - 14 * 24..hour)
            .filter(|at| (hour - at) % 168 < 24 || (hour - at) % 168 > 140)
            .map(|at| (at, 60))
            .collect();
        assert!(expected(&weekly, at(0, 0), at(1, 0)) > 50.0);
        assert!(expected(&HashMap::new(), at(0, 0), at(9, 0)).abs() < 0.01);
    }
}
