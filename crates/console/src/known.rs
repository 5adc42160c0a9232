//! What is known of a project's controls, groups and names, kept in memory for a moment, since reading it all takes time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use convizit_model::{ElementId, GroupId, NameId, Project, Timestamp};
use convizit_pipeline::{Catalogue, ElementView, GroupView, NameView, Registry, Selector};
use convizit_store::Store;

use crate::Console;
use crate::page::Refusal;

/// What was read of a project is used again for so long while events arrive: a page that follows them asks twice a second, …
const FRESH: Duration = Duration::from_millis(250);
/// … and for so many times as long as reading it took: of two cores a twentieth at most goes into it.
const SHARE: u32 = 20;
/// What takes longer than this to read is read beside the page, which shows what was read before …
const SLOW: Duration = Duration::from_millis(25);
/// … unless that is older than this.
const STALE: Duration = Duration::from_mins(10);
/// Projects that are kept in memory at most.
const KEPT: usize = 64;
/// Hours that the chart of a name or group shows: a week.
pub(crate) const HOURS: i64 = 7 * 24;

/// What is known of each project.
#[derive(Default)]
pub(crate) struct Catalogues(Mutex<HashMap<i64, Kept>>);

#[derive(Clone)]
struct Kept {
    at: Timestamp,
    /// How long it took to read.
    took: Duration,
    version: u64,
    events: i64,
    /// Somebody is reading it anew.
    reading: bool,
    known: Arc<Known>,
}

/// A project's registry and what it shows.
pub(crate) struct Known {
    pub(crate) registry: Registry,
    pub(crate) catalogue: Catalogue,
    /// Events of each name that are kept.
    events: HashMap<NameId, i64>,
    /// The catalogue's names, the most frequent first.
    by_events: Vec<usize>,
    names: HashMap<NameId, usize>,
    elements: HashMap<ElementId, usize>,
    by_element: HashMap<ElementId, Vec<usize>>,
    by_group: HashMap<GroupId, Vec<usize>>,
    /// What was told of excluded selectors: each looks through all controls.
    sights: Mutex<HashMap<String, Option<Sight>>>,
}

/// The day when something was last seen that an entry of the exclusions takes out, and how much of it is known; `None` where there is
/// nothing like it.
pub(crate) type Sight = Option<(Timestamp, usize)>;

impl Known {
    fn new(registry: Registry, events: HashMap<NameId, i64>) -> Self {
        let catalogue = registry.catalogue();
        let names = catalogue.names.iter().enumerate().map(|(at, name)| (name.id, at)).collect();
        let elements: HashMap<ElementId, usize> =
            catalogue.elements.iter().enumerate().map(|(at, element)| (element.id, at)).collect();
        // Once, and not with each page: to look ten thousand names up as often as a sort compares them takes longer than all else.
        let mut by_events: Vec<usize> = (0..catalogue.names.len()).collect();
        let rank = |at: &usize| {
            catalogue
                .names
                .get(*at)
                .map(|name| (std::cmp::Reverse(events.get(&name.id).copied().unwrap_or(0)), name.text.as_str()))
        };
        by_events.sort_by_cached_key(rank);
        let mut known = Self {
            registry,
            catalogue,
            events,
            by_events,
            names,
            elements,
            by_element: HashMap::new(),
            by_group: HashMap::new(),
            sights: Mutex::default(),
        };
        for (at, name) in known.catalogue.names.iter().enumerate() {
            if let Some(element) = name.element {
                known.by_element.entry(element).or_default().push(at);
            }
            if let Some(group) = known.group_around(name) {
                known.by_group.entry(group).or_default().push(at);
            }
        }
        known
    }

    async fn read(store: &Store, number: i64) -> Result<Self, Refusal> {
        let rows = store.load_state(number).await?;
        let events = store.events_by_name(number).await?.into_iter().map(|(name, events)| (NameId(name), events));
        let events = events.collect();
        blocking(move || {
            let mut registry = Registry::default();
            registry.load(&rows).map_err(Refusal::Failed)?;
            Ok(Self::new(registry, events))
        })
        .await?
    }

    /// With what people decided since.
    async fn follow(self: &Arc<Self>, store: &Store, number: i64) -> Result<Arc<Self>, Refusal> {
        let rows = store.decisions_after(number, self.registry.last_decision()).await?;
        if rows.is_empty() {
            return Ok(self.clone());
        }
        let before = self.clone();
        blocking(move || {
            let mut registry = before.registry.clone();
            registry.load(&rows).map_err(Refusal::Failed)?;
            Ok(Arc::new(Self::new(registry, before.events.clone())))
        })
        .await?
    }

    pub(crate) fn name(&self, id: NameId) -> Option<&NameView> {
        self.names.get(&id).and_then(|at| self.catalogue.names.get(*at))
    }

    pub(crate) fn element(&self, id: ElementId) -> Option<&ElementView> {
        self.elements.get(&id).and_then(|at| self.catalogue.elements.get(*at))
    }

    pub(crate) fn group(&self, id: GroupId) -> Option<&GroupView> {
        self.catalogue.groups.iter().find(|group| group.id == id)
    }

    /// The group whose items a name is of, or that its control stands in.
    pub(crate) fn group_around(&self, name: &NameView) -> Option<GroupId> {
        name.group.or_else(|| self.element(name.element?)?.group)
    }

    fn at<'a>(&'a self, found: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a NameView> {
        found.into_iter().flatten().filter_map(|at| self.catalogue.names.get(*at))
    }

    /// The names of a control's events.
    pub(crate) fn names_of(&self, element: ElementId) -> impl Iterator<Item = &NameView> {
        self.at(self.by_element.get(&element))
    }

    /// The names of a group's items and of what stands in them.
    pub(crate) fn names_in(&self, group: GroupId) -> impl Iterator<Item = &NameView> {
        self.at(self.by_group.get(&group))
    }

    /// The names that a control's events have: its own, or those of the items that it is one of.
    pub(crate) fn names_for(&self, element: &ElementView) -> Vec<&NameView> {
        let identity = element.part_of.unwrap_or(element.id);
        let own: Vec<&NameView> = self.names_of(identity).collect();
        match element.group {
            Some(group) if own.is_empty() => self.names_in(group).filter(|name| name.group.is_some()).collect(),
            _ => own,
        }
    }

    /// Events of a name that are kept.
    pub(crate) fn events(&self, name: NameId) -> i64 {
        self.events.get(&name).copied().unwrap_or(0)
    }

    /// What is known of an excluded selector; `None` where the page alone can tell. Told once: of those that are saved there are a
    /// few hundred at most.
    pub(crate) fn sight(&self, text: &str) -> Option<Sight> {
        let known = || self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = known().get(text) {
            return *told;
        }
        let selector = Selector::parse(text).ok().filter(Registry::can_tell);
        let told = selector.map(|selector| self.registry.last_selected(&selector));
        known().insert(text.to_owned(), told);
        told
    }

    /// All names, the most frequent first.
    pub(crate) fn by_events(&self) -> impl Iterator<Item = &NameView> {
        self.by_events.iter().filter_map(|at| self.catalogue.names.get(*at))
    }

    /// A name of an address.
    pub(crate) fn find(&self, id: &str) -> Result<&NameView, Refusal> {
        id.parse().ok().and_then(|id| self.name(id)).ok_or(Refusal::NotFound)
    }
}

/// Runs what computes long beside the pages.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::Failed("reading what is known of the project failed".to_owned()))
}

impl Catalogues {
    fn get(&self, number: i64) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn put(&self, number: i64, kept: Kept) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT && !all.contains_key(&number) {
            all.clear();
        }
        all.insert(number, kept);
    }

    /// Whether nobody reads it yet; whoever asks does then.
    fn begin(&self, number: i64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&number).is_some_and(|kept| !std::mem::replace(&mut kept.reading, true))
    }

    fn give_up(&self, number: i64) {
        if let Some(kept) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&number) {
            kept.reading = false;
        }
    }
}

async fn read(console: &Console, number: i64) -> Result<Arc<Known>, Refusal> {
    let store = console.store();
    let (at, version, events) = (store.clock().now(), store.control_version(), store.last_event(number).await?);
    let began = Instant::now();
    let known = Arc::new(Known::read(store, number).await?);
    let kept = Kept { at, took: began.elapsed(), version, events, reading: false, known: known.clone() };
    console.catalogues().put(number, kept);
    Ok(known)
}

/// Reads anew beside the page that is shown.
fn read_beside(console: &Console, number: i64) {
    if !console.catalogues().begin(number) {
        return;
    }
    let console = console.clone();
    tokio::spawn(async move {
        if read(&console, number).await.is_err() {
            console.catalogues().give_up(number);
        }
    });
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What is known of a project: with all that people decided; what visitors did is a quarter of a second old at most, or older where
/// there is much to read.
pub(crate) async fn known(console: &Console, project: &Project) -> Result<Arc<Known>, Refusal> {
    let (store, number) = (console.store(), project.number);
    let Some(kept) = console.catalogues().get(number) else { return read(console, number).await };
    let version = store.control_version();
    let age = store.clock().now().since(kept.at);
    let slow = kept.took >= SLOW && age < millis(STALE);
    if kept.version != version {
        if !slow {
            return read(console, number).await;
        }
        let known = kept.known.follow(store, number).await?;
        console.catalogues().put(number, Kept { version, reading: false, known: known.clone(), ..kept });
        // What else may have changed, such as an erasure.
        read_beside(console, number);
        return Ok(known);
    }
    if age < millis(FRESH.max(kept.took * SHARE)) || store.last_event(number).await? == kept.events {
        return Ok(kept.known);
    }
    if slow {
        read_beside(console, number);
        return Ok(kept.known);
    }
    read(console, number).await
}
