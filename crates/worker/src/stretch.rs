//! One stretch of the journal: records become each project's share of the work.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use convizit_model::outcome::Filter;
use convizit_model::{
    EventId, NewEvent, NoticeKind, Outcome, ProjectId, ProjectWork, Quarantined, Received, Refusal, StateRow,
    Timestamp, Withheld,
};
use convizit_pipeline::{Registry, Reviewed, Silence};
use convizit_store::{HeldRecord, JournalBatch, Store};

use crate::registries::Registries;
use crate::stopped::{Stopped, held};
use crate::{Failure, Naming};

const ENDLESS: &str = "a place in the site says something new each time (more than 300 texts on controls that are alike in all \
    else); further ones share one identity and name, and what they say is the property Text. Give such controls a data-testid, \
    or exclude them.";

/// A record with its place in the journal.
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) index: usize,
    body: Bytes,
    pub(crate) received: Option<Received>,
}

/// Parses every record; one that is none of this version's form is quarantined later.
pub(crate) async fn parse(batches: Vec<JournalBatch>) -> Result<Vec<Record>, Failure> {
    blocking(move || {
        let mut records = Vec::new();
        for batch in batches {
            for (index, body) in batch.records.into_iter().enumerate() {
                records.push(Record {
                    offset: batch.offset,
                    index,
                    received: serde_json::from_slice(&body).ok(),
                    body,
                });
            }
        }
        records
    })
    .await
}

/// As `parse`, of records that waited for their project.
pub(crate) async fn parse_held(held: Vec<HeldRecord>) -> Result<Vec<Record>, Failure> {
    blocking(move || {
        let record = |held: HeldRecord| Record {
            offset: held.offset,
            index: usize::try_from(held.index).unwrap_or(usize::MAX),
            received: serde_json::from_slice(&held.body).ok(),
            body: held.body,
        };
        held.into_iter().map(record).collect()
    })
    .await
}

/// Runs on a blocking thread; a panic there is a failure here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Panic)
}

/// A project's records of a stretch.
struct Share {
    number: i64,
    project: ProjectId,
    records: Vec<Record>,
    registry: Registry,
    seen: HashSet<EventId>,
    /// Silent names that are to be looked at.
    silences: Option<Arc<Vec<Silence>>>,
    /// Events of records of which nothing is made, since their person was erased.
    erased: u64,
}

/// Names everything; `alone` takes each item by itself, so that one that fails is found and its neighbours are kept.
/// `uncommitted` are events that the store is about to know, `from` the first offset of the stretch. Also returns what waits, since nothing
/// can be made of its project.
pub(crate) async fn process(
    store: &Store,
    (registries, stopped): (&mut Registries, &mut Stopped),
    naming: Naming,
    records: Vec<Record>,
    uncommitted: Option<&HashSet<(i64, EventId)>>,
    (from, alone): (u64, bool),
) -> Result<(Vec<ProjectWork>, Vec<HeldRecord>), Failure> {
    let mut by_project: BTreeMap<(i64, ProjectId), Vec<Record>> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for record in records {
        match record.received.as_ref().map(|received| (received.number, received.project.clone())) {
            Some(project) => by_project.entry(project).or_default().push(record),
            None => unreadable.push(record),
        }
    }
    let mut shares = Vec::with_capacity(by_project.len());
    let (mut waiting, mut erased_of) = (Vec::new(), Vec::new());
    for ((number, project), mut records) in by_project {
        // A project of the same id that was made later has another number.
        if !registries.has(number, &project).await? {
            tracing::info!(%project, records = records.len(), "records of a removed project were dropped");
            continue;
        }
        // Before anything is learned of them: sessions and waiting texts are of persons, too.
        let mut erased = 0;
        for received in records.iter_mut().filter_map(|record| record.received.as_mut()) {
            let (at, ahead) = (received.received, received.clock);
            let whose = (received.visitor.as_str(), received.batch.user.as_deref());
            let before = received.batch.events.len();
            // By its own time: what waited in a browser may be older than an erasure that it comes after.
            received
                .batch
                .events
                .retain(|event| !store.is_erased(number, whose, event.time.plus_millis(ahead).min(at)));
            erased += (before - received.batch.events.len()) as u64;
        }
        records.retain(|record| record.received.as_ref().is_none_or(|received| !received.batch.events.is_empty()));
        let taken = match stopped.has(number) {
            true => None,
            false => match take(store, registries, number, &records).await {
                Err(failure) if failure.is_of_one_project() => {
                    stopped.stop(number, &project, &failure).await?;
                    None
                }
                taken => Some(taken.map_err(|failure| failure.of(&project))?),
            },
        };
        let Some(mut registry) = taken else {
            waiting.extend(held(number, records));
            if erased > 0 {
                erased_of.push(only_erased(number, project, erased));
            }
            continue;
        };
        registry.meet_decisions(from);
        let (state, silences) = registries.silences(number);
        let silences = (!registry.is_reviewed(state)).then_some(silences);
        let share = Share { number, project, records, registry, seen: HashSet::new(), silences, erased };
        shares.push(share);
    }
    look_up(store, &mut shares, uncommitted).await?;
    let now = store.clock().now();
    let (mut works, mut back, reviews) = blocking(move || name_shares(shares, (naming, now), alone)).await??;
    for (project, reviewed) in reviews {
        tell(store, &project, reviewed).await?;
    }
    for (number, registry) in &mut back {
        registries.excuse(*number, registry);
        let crowd = registry.take_crowd_counts();
        for (what, texts) in [
            ("waiting", crowd.waiting),
            ("released", crowd.released),
            ("dynamic", crowd.dynamic),
            ("uncounted", crowd.uncounted),
        ] {
            if texts > 0 {
                metrics::counter!("convizit_crowd_texts_total", "what" => what).increment(texts);
            }
        }
        let folded = registry.take_folded();
        if folded > 0 {
            metrics::counter!("convizit_endless_labels_total").increment(folded);
            if let Some(project) = registries.first_endless(*number) {
                store.raise(NoticeKind::EndlessLabels, Some(project), "elements", ENDLESS).await?;
            }
        }
    }
    registries.put(back.into_iter());
    if !unreadable.is_empty() {
        works.push(unreadable_work(unreadable));
    }
    works.extend(erased_of);
    Ok((works, waiting))
}

/// Takes a project's registry out where all opens that its events are made with.
async fn take(
    store: &Store,
    registries: &mut Registries,
    number: i64,
    records: &[Record],
) -> Result<Registry, Failure> {
    let received = records.iter().filter_map(|record| record.received.as_ref());
    let days: BTreeSet<i64> = received.map(|received| received.received.day()).collect();
    store.opens_for(number, &days.into_iter().collect::<Vec<_>>()).await?;
    registries.take(number).await
}

/// Raises notices of what a review found.
async fn tell(store: &Store, project: &ProjectId, reviewed: Reviewed) -> Result<(), Failure> {
    let look = format!("See: convizit project changes {project}");
    if reviewed.burst > 0 {
        let text = format!("the site has {} controls that are new or changed. {look}", reviewed.burst);
        store.raise(NoticeKind::SiteChanged, Some(project), "elements", &text).await?;
    }
    if reviewed.merged + reviewed.proposed > 0 {
        let text = format!(
            "{} controls that fell silent were found again as new ones and merged, {} may be: say so with convizit project merge. {look}",
            reviewed.merged, reviewed.proposed
        );
        store.raise(NoticeKind::MergeProposed, Some(project), "elements", &text).await?;
    }
    Ok(())
}

/// Loads the sessions that go on and finds the repeats, of all projects at once.
async fn look_up(
    store: &Store,
    shares: &mut [Share],
    uncommitted: Option<&HashSet<(i64, EventId)>>,
) -> Result<(), Failure> {
    let mut sessions: Vec<(i64, u64)> = Vec::new();
    let mut ids: Vec<(i64, EventId)> = Vec::new();
    for share in shares.iter() {
        for received in share.records.iter().filter_map(|record| record.received.as_ref()) {
            let session = received.batch.session.as_ref().map_or("", |session| session.id.as_str());
            let key = Registry::session_key(&received.visitor, session);
            if !share.registry.has_session(key) {
                sessions.push((share.number, key));
            }
            ids.extend(received.batch.events.iter().map(|event| (share.number, event.id)));
        }
    }
    sessions.sort_unstable();
    sessions.dedup();
    let mut rows: HashMap<i64, Vec<StateRow>> = HashMap::new();
    for (number, row) in store.load_sessions_of(&sessions).await? {
        rows.entry(number).or_default().push(row);
    }
    let mut seen: HashMap<i64, HashSet<EventId>> = HashMap::new();
    let repeated = ids.iter().filter(|id| uncommitted.is_some_and(|uncommitted| uncommitted.contains(*id))).copied();
    for (number, id) in store.seen_of(&ids).await?.into_iter().chain(repeated) {
        seen.entry(number).or_default().insert(id);
    }
    for share in shares {
        share.registry.load(&rows.remove(&share.number).unwrap_or_default()).map_err(Failure::State)?;
        share.seen = seen.remove(&share.number).unwrap_or_default();
    }
    Ok(())
}

type Named = (Vec<ProjectWork>, Vec<(i64, Registry)>, Vec<(ProjectId, Reviewed)>);

fn name_shares(shares: Vec<Share>, (naming, now): (Naming, Timestamp), alone: bool) -> Result<Named, Failure> {
    let mut works = Vec::with_capacity(shares.len());
    let mut back = Vec::with_capacity(shares.len());
    let mut reviews = Vec::new();
    for mut share in shares {
        if let Some(silences) = share.silences.take() {
            reviews.push((share.project.clone(), share.registry.review(&silences, now)));
        }
        let (work, registry) = if alone {
            name_alone(share, naming)
        } else {
            catch_unwind(AssertUnwindSafe(|| name_share(share, naming))).map_err(|_| Failure::Panic)?
        };
        back.push((work.number, registry));
        works.push(work);
    }
    Ok((works, back, reviews))
}

/// What is gathered of one project.
struct Gathered {
    events: Vec<NewEvent>,
    outcomes: HashMap<Outcome, u64>,
    quarantined: Vec<Quarantined>,
    withheld: HashMap<Withheld, u64>,
    /// Ids of this stretch and of the store.
    seen: HashSet<EventId>,
    dropped: Vec<(EventId, i64)>,
}

impl Gathered {
    fn new(seen: HashSet<EventId>) -> Self {
        let (events, quarantined, dropped) = (Vec::new(), Vec::new(), Vec::new());
        Self { events, outcomes: HashMap::new(), quarantined, withheld: HashMap::new(), seen, dropped }
    }

    fn count(&mut self, outcome: Outcome, items: u64) {
        if items > 0 {
            *self.outcomes.entry(outcome).or_default() += items;
        }
    }

    /// Drops the events that are stored already.
    fn drop_repeats(&mut self, received: &mut Received) {
        let before = received.batch.events.len();
        let seen = &mut self.seen;
        received.batch.events.retain(|event| seen.insert(event.id));
        self.count(Outcome::Repeated, (before - received.batch.events.len()) as u64);
    }

    /// Takes what became of the items of these ids; those that became no event are known from now on, too.
    fn take(&mut self, received: Timestamp, ids: Vec<EventId>, named: Vec<convizit_pipeline::Named>) {
        let before = self.events.len();
        let kept: HashSet<EventId> = named.iter().map(|named| named.event.id).collect();
        self.dropped.extend(ids.into_iter().filter(|id| !kept.contains(id)).map(|id| (id, received.day())));
        for named in named {
            for receipt in &named.event.withheld {
                *self.withheld.entry(Withheld::of(receipt, received.day())).or_default() += 1;
            }
            // An event is texts, numbers and maps with text keys: it always serialises.
            if let Ok(json) = serde_json::to_vec(&named.event) {
                self.events.push(NewEvent {
                    id: named.event.id,
                    name: named.name,
                    hour: received.hour(),
                    day: received.day(),
                    since: named.event.time.min(received),
                    visitor: named.event.visitor,
                    user: named.event.user,
                    json,
                });
            }
        }
        self.count(Outcome::Accepted, (self.events.len() - before) as u64);
    }

    fn finish(mut self, number: i64, project: ProjectId, registry: &mut Registry) -> ProjectWork {
        self.count(Outcome::Filtered(Filter::Excluded), registry.take_excluded());
        let mut outcomes: Vec<(Outcome, u64)> = self.outcomes.into_iter().collect();
        outcomes.sort_unstable();
        for (outcome, items) in &outcomes {
            metrics::counter!("convizit_outcomes_total", "outcome" => outcome.as_str()).increment(*items);
        }
        let mut withheld: Vec<(Withheld, u64)> = self.withheld.into_iter().collect();
        withheld.sort_unstable();
        ProjectWork {
            number,
            project,
            events: self.events,
            rows: registry.take_changes(),
            outcomes,
            withheld,
            rulings: registry.take_rulings(),
            quarantined: self.quarantined,
            dropped: self.dropped,
        }
    }
}

fn ids_of(received: &Received) -> Vec<EventId> {
    received.batch.events.iter().map(|event| event.id).collect()
}

fn name_share(share: Share, naming: Naming) -> (ProjectWork, Registry) {
    let mut gathered = Gathered::new(share.seen);
    gathered.count(Outcome::Filtered(Filter::Erased), share.erased);
    let mut registry = share.registry;
    for mut received in share.records.into_iter().filter_map(|record| record.received) {
        gathered.drop_repeats(&mut received);
        let (time, ids) = (received.received, ids_of(&received));
        gathered.take(time, ids, naming(received, &mut registry));
    }
    (gathered.finish(share.number, share.project, &mut registry), registry)
}

/// Each record by itself, and each event of a record that fails: only what fails alone is quarantined.
fn name_alone(share: Share, naming: Naming) -> (ProjectWork, Registry) {
    let mut gathered = Gathered::new(share.seen);
    gathered.count(Outcome::Filtered(Filter::Erased), share.erased);
    let mut registry = share.registry;
    let attempt = |received: Received, registry: &mut Registry| {
        // A panic may leave the registry half changed: the try works on a copy.
        let mut copy = registry.clone();
        let named = catch_unwind(AssertUnwindSafe(|| naming(received, &mut copy))).ok()?;
        *registry = copy;
        Some(named)
    };
    for mut received in share.records.into_iter().filter_map(|record| record.received) {
        gathered.drop_repeats(&mut received);
        let time = received.received;
        if let Some(named) = attempt(received.clone(), &mut registry) {
            gathered.take(time, ids_of(&received), named);
            continue;
        }
        for event in std::mem::take(&mut received.batch.events) {
            let mut one = received.clone();
            let id = event.id;
            one.batch.events.push(event);
            match attempt(one.clone(), &mut registry) {
                Some(named) => gathered.take(time, vec![id], named),
                None => {
                    tracing::error!(project = %share.project, event = %id, "an event cannot be processed; it is in quarantine");
                    gathered.count(Outcome::Refused(Refusal::Internal), 1);
                    gathered.quarantined.push(Quarantined {
                        notice: NoticeKind::Quarantined,
                        subject: id.to_string(),
                        body: serde_json::to_vec(&one).unwrap_or_default(),
                    });
                }
            }
        }
    }
    (gathered.finish(share.number, share.project, &mut registry), registry)
}

/// Of a project whose records wait: what became of those of whom nothing is kept.
fn only_erased(number: i64, project: ProjectId, erased: u64) -> ProjectWork {
    ProjectWork {
        number,
        project,
        events: Vec::new(),
        rows: Vec::new(),
        outcomes: vec![(Outcome::Filtered(Filter::Erased), erased)],
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    }
}

/// Records that name no project: kept under number 0, which no project has.
fn unreadable_work(records: Vec<Record>) -> ProjectWork {
    let items = records.len() as u64;
    let quarantined = records
        .into_iter()
        .map(|record| {
            tracing::error!(
                offset = record.offset,
                index = record.index,
                "a journal record cannot be read; it is in quarantine"
            );
            Quarantined {
                notice: NoticeKind::Quarantined,
                subject: format!("journal record {}/{}", record.offset, record.index),
                body: record.body.to_vec(),
            }
        })
        .collect();
    ProjectWork {
        number: 0,
        project: no_project(),
        events: Vec::new(),
        rows: Vec::new(),
        outcomes: vec![(Outcome::Refused(Refusal::Internal), items)],
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined,
        dropped: Vec::new(),
    }
}

#[expect(clippy::expect_used, reason = "a constant of the form that an id has")]
fn no_project() -> ProjectId {
    "0".parse().expect("constant id")
}
