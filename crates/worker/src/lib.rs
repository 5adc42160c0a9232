//! The loop from journal to frames: read a stretch, drop repeats, name, write everything in one transaction, and make the
//! next stretch meanwhile.
//!
//! The pure part runs on a blocking thread inside `catch_unwind`. A stretch that fails twice is taken item by item: the item
//! that fails alone goes to quarantine with a notice, everything around it is stored, and the offset moves on. Where a project's key
//! or what people decided of it does not open, its records wait apart, and the others go on.

mod registries;
mod stopped;
mod stretch;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use convizit_model::{EventId, NoticeKind, Person, ProjectId, ProjectWork, Work};
use convizit_pipeline::{Named, Registry, name_events};
use convizit_store::{PreparedWork, Store, StoreError};
use tokio_util::sync::CancellationToken;

use registries::Registries;
use stopped::{AGAIN, Stopped};
use watch::{Silences, Watch};

/// Bytes of journal records of one stretch: about 1 500 events, whose transaction stays below 20 ms.
const STRETCH_BYTES: usize = 768 * 1024;
/// So many batches are as good as many bytes: the journal gives 256 at once at most.
const MANY: usize = 128;
/// Waits between tries when the store fails.
const BACKOFF: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
];
/// How long the worker lets the journal gather what comes after it had everything.
const GATHER: Duration = Duration::from_millis(20);
/// How long a round may take: a database server may be gone without a word.
const ROUND: Duration = Duration::from_mins(1);
/// Failures one after the other from which on a person is told.
const TOLD: usize = 3;
/// How long a round goes on with what waited for one project.
const RESUMES: Duration = Duration::from_secs(20);
/// What the notice of them is about.
const SUBJECT: &str = "worker";
/// How long the worker goes on after it was told to stop, to leave the journal empty.
const DRAIN: Duration = Duration::from_secs(10);

/// How events are named; tests put a failing one in its place.
pub(crate) type Naming = fn(convizit_model::Received, &mut Registry) -> Vec<Named>;

/// Runs until `stop`; then works off what the journal holds, for at most 10 s.
///
/// # Errors
/// Only what a restart cannot mend: a damaged journal, a state of a newer build. Everything else is tried again.
pub async fn run(store: Store, stop: CancellationToken) -> Result<(), String> {
    let watch = Watch::default();
    let worker = Worker::new(store.clone(), name_events, watch.silences.clone());
    let watching = tokio::spawn(watch.run(store, stop.clone()));
    let ended = worker.run(stop).await;
    watching.abort();
    ended
}

pub(crate) struct Worker {
    store: Store,
    registries: Registries,
    stopped: Stopped,
    naming: Naming,
    /// Bytes of a stretch at most, one batch at least, and those behind which more waits for sure; tests make them small.
    stretch: usize,
    large: usize,
    /// Whether the journal is let gather before the next look.
    gathers: bool,
    /// What was made while the last commit ran.
    ahead: Option<Stretch>,
    /// The newest erasure whose persons are forgotten.
    erased: i64,
}

/// What became of one round.
enum Round {
    /// The journal holds nothing after this offset.
    Empty,
    /// The worker stands at this offset now.
    At(u64),
}

impl Worker {
    pub(crate) fn new(store: Store, naming: Naming, silences: Silences) -> Self {
        Self {
            registries: Registries::new(store.clone(), silences),
            stopped: Stopped::new(store.clone()),
            store,
            naming,
            stretch: STRETCH_BYTES,
            large: STRETCH_BYTES / 2,
            gathers: false,
            ahead: None,
            // Those of before the start are looked for at once.
            erased: -1,
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), String> {
        let mut after = self.store.worker_offset().await.map_err(|error| error.to_string())?;
        let mut failures = 0_usize;
        // Whether the notice is open that the worker stands still; unknown at the start.
        let mut told = None;
        let mut drain_until: Option<Instant> = None;
        loop {
            if stop.is_cancelled() {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN);
                if Instant::now() >= until {
                    return Ok(());
                }
            }
            let round = async {
                self.forget(after).await?;
                self.resume(after, failures).await?;
                self.round(after, failures).await
            };
            let round = tokio::time::timeout(ROUND, round).await;
            let round = round.unwrap_or(Err(Failure::Silent));
            if round.is_ok() && told != Some(false) && self.tell(after, None).await {
                told = Some(false);
            }
            match round {
                Ok(Round::Empty) if stop.is_cancelled() => return Ok(()),
                Ok(Round::Empty) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = self.store.journal_wait(after) => {}
                        () = self.store.wait_for_erasure(self.erased) => {}
                        () = tokio::time::sleep(AGAIN), if self.stopped.any() => {}
                    }
                }
                Ok(Round::At(offset)) => {
                    after = offset;
                    failures = 0;
                    // Many small transactions cost more than a few larger ones: where more comes while one is committed, and
                    // not enough for the next to be large, a little more is awaited.
                    if self.gathers {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = tokio::time::sleep(GATHER) => {}
                        }
                    }
                }
                Err(Failure::Store(StoreError::Unusable(problem)) | Failure::State(problem)) => return Err(problem),
                Err(failure) => {
                    // What the registries learned since the last commit is not in the store.
                    self.registries.clear();
                    tracing::warn!(%failure, after, "a stretch of the journal was not processed; it is tried again");
                    metrics::counter!("convizit_worker_failures_total").increment(1);
                    failures += 1;
                    if failures >= TOLD && told != Some(true) && self.tell(after, Some(&failure)).await {
                        told = Some(true);
                    }
                    // A panic is tried again at once, then item by item; one that goes on must not take the core.
                    if !matches!(failure, Failure::Panic) || failures > 2 {
                        let wait = BACKOFF.get(failures.min(BACKOFF.len()) - 1).copied().unwrap_or(DRAIN);
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                    if let Ok(offset) = self.store.worker_offset().await {
                        after = offset;
                    }
                }
            }
        }
    }

    /// Raises the notice that the worker stands still, or resolves it; false when the store took neither.
    async fn tell(&self, after: u64, failure: Option<&Failure>) -> bool {
        let said = async {
            let Some(failure) = failure else {
                return self.store.resolve_notice(NoticeKind::Lag, None, SUBJECT).await;
            };
            let text = format!(
                "nothing that comes is processed, of any project, since journal offset {after}: {failure}. It waits in the journal, and is \
                 refused (503) once that is full. Where something does not open, convizit verify names it: restore it from a backup"
            );
            self.store.raise(NoticeKind::Lag, None, SUBJECT, &text).await
        };
        matches!(tokio::time::timeout(ROUND, said).await, Ok(Ok(())))
    }

    /// Forgets persons that were erased since the last look: what the registries know of them.
    async fn forget(&mut self, after: u64) -> Result<(), Failure> {
        let newest = self.store.newest_erasure();
        if newest == self.erased {
            return Ok(());
        }
        for forgotten in self.store.to_forget().await? {
            // What was made ahead may hold what is erased; the store would refuse it, and what was learned of it goes with it.
            if self.ahead.take().is_some() {
                self.registries.clear();
            }
            let project = forgotten.project;
            if forgotten.whole {
                self.registries.drop_project(project);
            }
            if !forgotten.persons.is_empty() {
                match self.forget_persons(after, project, &forgotten.persons).await {
                    // Once it opens again; until then nothing of it is read either.
                    Err(failure) if failure.is_of_one_project() => {
                        if let Some(id) = self.id_of(project).await? {
                            self.stopped.stop(project, &id, &failure).await?;
                        }
                        continue;
                    }
                    done => done?,
                }
            }
            self.store.forgotten(&forgotten.numbers).await?;
        }
        self.erased = newest;
        Ok(())
    }

    async fn id_of(&self, number: i64) -> Result<Option<ProjectId>, Failure> {
        let projects = self.store.projects().await?;
        Ok(projects.into_iter().find(|project| project.number == number).map(|project| project.id))
    }

    /// Goes on with projects that stood still, where what they are made with opens again: what waited comes before what is in the journal.
    async fn resume(&mut self, after: u64, failures: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        for number in self.stopped.due().await? {
            loop {
                if begun.elapsed() >= RESUMES {
                    // The journal has its turn, and then the next one.
                    self.stopped.later(number);
                    break;
                }
                match self.release(after, number, failures >= 2).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(failure) if failure.is_of_one_project() => {
                        // What it learned of records that are not stored.
                        self.registries.drop_project(number);
                        self.stopped.later(number);
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(())
    }

    /// Makes events of the first records that wait for a project; false where that was the last, or it stands still again.
    async fn release(&mut self, after: u64, number: i64, alone: bool) -> Result<bool, Failure> {
        let id = self.id_of(number).await?;
        if id.is_some() {
            self.store.opens_for(number, &[self.store.clock().now().day()]).await?;
            let registry = self.registries.take(number).await?;
            self.registries.put(std::iter::once((number, registry)));
        }
        // What was made ahead comes behind these.
        if self.ahead.take().is_some() {
            self.registries.clear();
        }
        // Persons that could not be forgotten meanwhile, before anything is made of what is known of them.
        self.erased = -1;
        self.forget(after).await?;
        let held = self.store.held_records(number, self.stretch).await?;
        if held.is_empty() {
            self.stopped.goes_on(number, id.as_ref()).await?;
            return Ok(false);
        }
        let records = stretch::parse_held(held.clone()).await?;
        // Until the last of them is stored, what comes is held behind them.
        self.stopped.tries(Some(number));
        let into = (&mut self.registries, &mut self.stopped);
        let made = stretch::process(&self.store, into, self.naming, records, None, (after, alone)).await;
        self.stopped.tries(None);
        let (projects, waiting) = made?;
        if !waiting.is_empty() {
            return Ok(false);
        }
        let work = Work { from: after, to: after, projects };
        let work = self.store.prepare_work_with(work, (Vec::new(), &held), None).await?;
        self.store.commit_prepared(&work).await?;
        Ok(true)
    }

    async fn forget_persons(&mut self, after: u64, number: i64, persons: &[Person]) -> Result<(), Failure> {
        let projects = self.store.projects().await?;
        let Some(project) = projects.into_iter().find(|project| project.number == number) else { return Ok(()) };
        let visitors: Vec<&str> = persons
            .iter()
            .filter_map(|person| match person {
                Person::Visitor(id) => Some(id.as_str()),
                Person::User(_) => None,
            })
            .collect();
        let users: Vec<u64> = persons
            .iter()
            .filter_map(|person| match person {
                Person::User(id) => Some(self.store.text_hash(number, id)),
                Person::Visitor(_) => None,
            })
            .collect();
        let mut registry = self.registries.take(number).await.map_err(|failure| failure.of(&project.id))?;
        registry.forget_persons(&visitors, &users);
        let stored = self.store.load_all_sessions(number).await?;
        let mut rows = Registry::forgotten_sessions(&stored, &visitors);
        rows.extend(registry.take_changes());
        self.registries.put(std::iter::once((number, registry)));
        let share = ProjectWork {
            number,
            project: project.id,
            events: Vec::new(),
            rows,
            outcomes: Vec::new(),
            withheld: Vec::new(),
            rulings: Vec::new(),
            quarantined: Vec::new(),
            dropped: Vec::new(),
        };
        self.store.commit_work(Work { from: after, to: after, projects: vec![share] }).await?;
        Ok(())
    }

    /// One stretch: from the journal to the commit. From the third try on, item by item.
    async fn round(&mut self, after: u64, failures: usize) -> Result<Round, Failure> {
        let ahead = self.ahead.take().filter(|stretch| stretch.after == after && failures == 0);
        let stretch = match ahead {
            Some(stretch) => Some(stretch),
            None => self.make(after, None, failures >= 2).await?,
        };
        let Some(stretch) = stretch else { return Ok(Round::Empty) };
        let (to, committing) = (stretch.to, Instant::now());
        let store = self.store.clone();
        let commit = async {
            let committed = store.commit_prepared(&stretch.work).await;
            metrics::histogram!("convizit_worker_commit_seconds").record(committing.elapsed().as_secs_f64());
            committed
        };
        self.gathers = !stretch.is_large && stretch.batches > 1;
        if !stretch.is_large {
            commit.await?;
            return Ok(Round::At(to));
        }
        // The database works on this stretch while the next one is named.
        let (committed, ahead) = tokio::join!(commit, self.make(to, Some(&stretch), false));
        committed?;
        match ahead {
            Ok(ahead) => self.ahead = ahead,
            // Met again by the next round, by itself.
            Err(_) => self.registries.clear(),
        }
        Ok(Round::At(to))
    }

    /// Reads, names and seals what follows an offset in the journal: a stretch, or one batch alone; `None` when nothing does.
    /// `behind` is the stretch before, which is not committed yet.
    async fn make(&mut self, after: u64, behind: Option<&Stretch>, alone: bool) -> Result<Option<Stretch>, Failure> {
        let mut batches = self.store.journal_read(after, self.stretch).await?;
        if alone {
            batches.truncate(1);
        }
        let Some((first, last)) = batches.first().zip(batches.last()) else { return Ok(None) };
        let from = first.offset;
        let (to, started) = (last.offset, Instant::now());
        let count = batches.len();
        let bytes: usize = batches.iter().flat_map(|batch| &batch.records).map(bytes::Bytes::len).sum();
        let records = stretch::parse(batches).await?;
        let uncommitted = behind.map(|behind| &behind.ids);
        let into = (&mut self.registries, &mut self.stopped);
        let (projects, held) =
            stretch::process(&self.store, into, self.naming, records, uncommitted, (from, alone)).await?;
        let ids = projects.iter().flat_map(|share| share.events.iter().map(|event| (share.number, event.id))).collect();
        let work = Work { from: after, to, projects };
        let behind = behind.map(|behind| &behind.work);
        let work = self.store.prepare_work_with(work, (held, &[]), behind).await?;
        metrics::histogram!("convizit_worker_stretch_seconds").record(started.elapsed().as_secs_f64());
        Ok(Some(Stretch { after, to, batches: count, is_large: bytes >= self.large || count >= MANY, ids, work }))
    }
}

/// A stretch of the journal, named and sealed.
struct Stretch {
    after: u64,
    to: u64,
    batches: usize,
    /// So that more waits behind it.
    is_large: bool,
    /// Events that the store does not know before the commit.
    ids: HashSet<(i64, EventId)>,
    work: PreparedWork,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store, with what is one project's.
    #[error("project {0}: {1}")]
    Project(ProjectId, StoreError),
    /// Nothing came back in time.
    #[error("the store did not answer within a minute")]
    Silent,
    /// The pure part panicked; its message may hold captured text and is not kept.
    #[error("naming ended in a panic")]
    Panic,
    /// A row of the project's state is of another version.
    #[error("{0}")]
    State(String),
}

impl Failure {
    /// Whether it is about what one project has alone, so that no other has to wait.
    pub(crate) fn is_of_one_project(&self) -> bool {
        matches!(self, Self::Store(error) | Self::Project(_, error) if convizit_store::is_of_one_project(error))
    }

    /// Says whose it is. What ends the worker stays as it is.
    fn of(self, project: &ProjectId) -> Self {
        match self {
            Self::Store(error) if !matches!(error, StoreError::Unusable(_)) => Self::Project(project.clone(), error),
            other => other,
        }
    }
}
