//! What is known of one project: elements, groups, names, sessions. It learns from events in journal order and yields its
//! own changes as rows, which the store keeps in the same transaction as the events.

mod catalogue;
pub(crate) mod crowd;
mod decisions;
mod elements;
mod lost;
mod review;
mod select;
mod templates;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use convizit_model::{Decision, GroupId, NameState, Properties, Ruling, StateKind, StateRow, Timestamp};
use serde::{Deserialize, Serialize};

pub use catalogue::{Catalogue, ElementView, FormView, GroupView, NameChange, NameView};
pub use crowd::CrowdCounts;
use crowd::{Place, Waiting};
use decisions::Overlay;
pub(crate) use decisions::item_owner;
pub(crate) use elements::{Element, Form};
pub use review::{Reviewed, Silence, SiteChange, SiteChangeKind};
pub use select::{Hit, Selected, Selector};
pub(crate) use templates::above;
use templates::{Sibling, Template};

/// Elements of a project at most; beyond it a new control shares the identity of its structural key.
pub(crate) const ELEMENTS: usize = 20_000;
/// Elements of one place that differ in nothing but what they say, at most; what says something new after that is no element of
/// its own, or a page of endless labels would make endless elements and names.
const FAMILY: u32 = 300;
/// Names of a project at most; beyond it a name is made anew for each event and stays provisional.
pub(crate) const NAMES: usize = 60_000;
/// Keys of an element or group at most: one whose keys change with every visit must not grow without end.
const KEYS: usize = 24;
/// Sessions in memory; older ones are read from the store when they go on.
const SESSIONS: usize = 32_768;
/// Events and visitors that publish a name, and the time that does so without them.
const PUBLISH_EVENTS: u32 = 10;
const PUBLISH_VISITORS: usize = 3;
const PUBLISH_AFTER_MILLIS: i64 = 24 * 3_600_000;
/// How long a name waits for the text that is missing.
const WAIT_MILLIS: i64 = 30 * PUBLISH_AFTER_MILLIS;

/// What is known of one project: elements, groups, names, page templates, sessions. Yields its own changes.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    pub(crate) elements: HashMap<u64, Element>,
    /// Key of K1, K2 or K3 → element, and which of its forms.
    keys: HashMap<u64, (u64, u8)>,
    /// Elements in the order of their making, for scoring.
    pub(crate) order: Vec<u64>,
    /// Ordered, so that a search among them ends alike everywhere.
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) group_keys: HashMap<u64, u64>,
    names: HashMap<u64, Name>,
    /// Lower-case name → which name was the first to have it, and its identity.
    owners: HashMap<String, (u64, u64)>,
    /// Elements and names made so far: what was made first decides, before and after a restart.
    made: u64,
    sessions: HashMap<u64, Session>,
    session_order: VecDeque<u64>,
    /// Structure (K3) → its only element, or 0 where several share it.
    pub(crate) structures: HashMap<u64, u64>,
    /// Place (role, tag, landmark, path, group) → how many elements it has.
    families: HashMap<u64, u32>,
    /// Events on controls that share an identity because their place says something new each time, since the last look.
    folded: u64,
    /// Events on controls that people do not want captured, since the last look.
    excluded: u64,
    /// In the order of their numbers; what they make of elements, groups and names is in `overlay`.
    decisions: BTreeMap<u64, Decision>,
    overlay: Overlay,
    /// The journal offset at which the stretch begins that is being named.
    offset: u64,
    /// Page templates, by the path above what varies.
    templates: HashMap<u64, Template>,
    /// Controls that differ in nothing but the page and the section that heads it.
    siblings: HashMap<u64, Vec<Sibling>>,
    /// How often a class word was still there, and how often not, when its element was seen on another day.
    classes: HashMap<u32, (u32, u32)>,
    /// What visitors saw where, and who has shown the texts that wait.
    places: HashMap<u64, Place>,
    waiting: HashMap<u64, Waiting>,
    rulings: Vec<(u64, Ruling)>,
    crowd: CrowdCounts,
    /// Elements and forms made since the last review.
    fresh: u32,
    reviewed: u64,
    /// What was known and whose row does not open any more.
    lost: lost::Lost,
    /// From what elements say to where they stand in `order`: made when an unknown control is compared, let go with the changes.
    traces: Option<HashMap<u32, Vec<u32>>>,
    /// The lines that `convizit name --known` registered; empty elsewhere.
    pub(crate) lines: Vec<Line>,
    changed: HashSet<(StateKind, u64)>,
    changes: Vec<(StateKind, u64)>,
}

/// A description that `convizit name --known` registered, for ranking line by line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) element: u64,
    pub(crate) features: crate::naming::Features,
}

/// A group's permanent identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) container: String,
    pub(crate) member: String,
    #[serde(default)]
    pub(crate) landmark: String,
    /// The tags above its members, hashed: it only decides between groups that are equally alike.
    #[serde(default)]
    pub(crate) place: u64,
    /// Of the page where it was first seen.
    #[serde(default)]
    pub(crate) language: String,
    /// That page's path, hashed.
    #[serde(default)]
    pub(crate) page: u32,
    pub(crate) signature: Vec<u32>,
    /// When it was last seen, in days since 1970.
    #[serde(default)]
    pub(crate) day: i64,
    /// Further exact keys under which it was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<u64>,
}

/// A published or provisional name of one identity and event type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Name {
    #[serde(default)]
    made: u64,
    pub(crate) text: String,
    owner: u64,
    published: bool,
    /// Made while its text waited: it is made anew when the text comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    waits: bool,
    /// What it was called while it waited.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    former: String,
    first: i64,
    /// When it last had an event, in days since 1970.
    #[serde(default)]
    day: i64,
    events: u32,
    /// Hashes of the first distinct visitors; dropped when the name is published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    visitors: Vec<u32>,
}

/// A session as events need it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) start: i64,
    /// Kept only where the server makes the sessions (identity mode `none`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<i64>,
    /// Most sessions have none, and sessions are what there is most of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) campaign: Option<Box<Properties>>,
    /// A short hash of its visitor, who may have to be forgotten.
    #[serde(default)]
    pub(crate) visitor: u32,
}

impl Registry {
    /// Takes rows that the store kept.
    ///
    /// # Errors
    /// When a row is not of this version's form.
    pub fn load(&mut self, rows: &[StateRow]) -> Result<(), String> {
        for row in rows {
            let read =
                |error: serde_json::Error| format!("a {:?} row is not of this version's form: {error}", row.kind);
            match row.kind {
                StateKind::Element => self.put_element(row.key, serde_json::from_slice(&row.body).map_err(read)?),
                StateKind::Group => self.put_group(row.key, serde_json::from_slice(&row.body).map_err(read)?),
                StateKind::Name => self.put_name(row.key, serde_json::from_slice(&row.body).map_err(read)?),
                StateKind::Session => self.put_session(row.key, serde_json::from_slice(&row.body).map_err(read)?),
                StateKind::Template => self.put_template(row.key, serde_json::from_slice(&row.body).map_err(read)?),
                StateKind::Place => {
                    self.places.insert(row.key, serde_json::from_slice(&row.body).map_err(read)?);
                }
                StateKind::Waiting => {
                    self.waiting.insert(row.key, serde_json::from_slice(&row.body).map_err(read)?);
                }
                StateKind::Decision => {
                    self.decisions.insert(row.key, serde_json::from_slice(&row.body).map_err(read)?);
                }
                StateKind::Class => {
                    if let Ok(word) = u32::try_from(row.key) {
                        self.classes.insert(word, serde_json::from_slice(&row.body).map_err(read)?);
                    }
                }
            }
        }
        if rows.iter().any(|row| row.kind == StateKind::Decision) {
            self.settle();
        }
        if rows.iter().any(|row| row.kind == StateKind::Element) {
            // Rows come in the order of their keys.
            let elements = &self.elements;
            self.order.sort_by_key(|id| (elements.get(id).map(|element| element.made), *id));
            self.traces = None;
            self.find_siblings();
        }
        Ok(())
    }

    /// The rows that are new or changed since the last call.
    pub fn take_changes(&mut self) -> Vec<StateRow> {
        self.changed.clear();
        self.traces = None;
        let mut rows = Vec::with_capacity(self.changes.len());
        for (kind, key) in std::mem::take(&mut self.changes) {
            let body = match kind {
                StateKind::Element => self.elements.get(&key).map(serde_json::to_vec),
                StateKind::Group => self.groups.get(&key).map(serde_json::to_vec),
                StateKind::Name => self.names.get(&key).map(serde_json::to_vec),
                StateKind::Session => self.sessions.get(&key).map(serde_json::to_vec),
                StateKind::Template => self.templates.get(&key).map(serde_json::to_vec),
                StateKind::Decision => self.decisions.get(&key).map(serde_json::to_vec),
                StateKind::Place => self.places.get(&key).map(serde_json::to_vec),
                StateKind::Waiting => self.waiting.get(&key).map(serde_json::to_vec),
                StateKind::Class => {
                    u32::try_from(key).ok().and_then(|word| self.classes.get(&word)).map(serde_json::to_vec)
                }
            };
            let expires_day = match kind {
                StateKind::Session => self
                    .sessions
                    .get(&key)
                    // A session goes on for 30 minutes after its last event, and a late batch may come days after: the
                    // tracker keeps what it could not send.
                    .map(|session| Timestamp::from_millis(session.last.unwrap_or(session.start)).day() + 8),
                StateKind::Place => self.places.get(&key).map(|place| place.day + crowd::KEPT_DAYS + 1),
                // The visitors of one day count.
                StateKind::Waiting => self.waiting.get(&key).map(|waiting| waiting.day + 2),
                // The day of the last sight: these go when the project keeps no event of that day any more.
                StateKind::Element => {
                    self.elements.get(&key).and_then(|element| element.forms.iter().map(|form| form.day).max())
                }
                StateKind::Group => self.groups.get(&key).map(|group| group.day),
                StateKind::Name => self.names.get(&key).map(|name| name.day),
                StateKind::Template => self.templates.get(&key).map(|template| template.day),
                StateKind::Decision | StateKind::Class => None,
            };
            // Rows are plain maps and texts: they always serialise.
            if let Some(Ok(body)) = body {
                rows.push(StateRow { kind, key, expires_day, body });
            }
        }
        rows
    }

    /// The key of a session's state row.
    #[must_use]
    pub fn session_key(visitor: &str, session: &str) -> u64 {
        hash(&["session", visitor, session])
    }

    /// Whether the session of this key is in memory.
    #[must_use]
    pub fn has_session(&self, key: u64) -> bool {
        self.sessions.contains_key(&key)
    }

    /// About how many bytes of memory this takes: a bound for caches, not a measurement.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.elements.len() * 1_500
            + self.groups.len() * 600
            + self.names.len() * 350
            + self.sessions.len() * 80
            + self.templates.len() * 300
            + self.decisions.len() * 500
            + self.places.len() * 200
            + self.waiting.len() * 120
    }

    /// Lets go of all but the newest sessions, which the store has; one that goes on is read from it.
    pub fn forget_sessions(&mut self, keep: usize) {
        while self.session_order.len() > keep {
            let Some(oldest) = self.session_order.pop_front() else { break };
            self.sessions.remove(&oldest);
        }
        self.sessions.shrink_to_fit();
        self.session_order.shrink_to_fit();
    }

    /// Forgets visitors, and users by the hashes that the crowd rule knows them by: their sessions, and that they have shown texts.
    pub fn forget_persons(&mut self, visitors: &[&str], users: &[u64]) {
        let visitors: HashSet<u32> = visitors.iter().map(|visitor| crowd::visitor_hash(visitor)).collect();
        let users: HashSet<u32> = users.iter().map(|user| crowd::user_hash(*user)).collect();
        self.sessions.retain(|_, session| !visitors.contains(&session.visitor));
        self.session_order.retain(|key| self.sessions.contains_key(key));
        let sessions: HashSet<u64> = self.sessions.keys().copied().collect();
        self.changes.retain(|(kind, key)| *kind != StateKind::Session || sessions.contains(key));
        self.changed.retain(|(kind, key)| *kind != StateKind::Session || sessions.contains(key));
        for (kind, key) in self.forget_in_crowds(&visitors, &users) {
            self.change(kind, key);
        }
    }

    /// Rows that overwrite those of stored sessions of these visitors, and are dropped by the next upkeep.
    #[must_use]
    pub fn forgotten_sessions(rows: &[StateRow], visitors: &[&str]) -> Vec<StateRow> {
        let visitors: HashSet<u32> = visitors.iter().map(|visitor| crowd::visitor_hash(visitor)).collect();
        let of_them = |row: &&StateRow| {
            serde_json::from_slice::<Session>(&row.body).is_ok_and(|session| visitors.contains(&session.visitor))
        };
        let empty = Session { start: 0, last: None, campaign: None, visitor: 0 };
        let body = serde_json::to_vec(&empty).unwrap_or_default();
        rows.iter()
            .filter(of_them)
            .map(|row| StateRow { kind: row.kind, key: row.key, expires_day: Some(0), body: body.clone() })
            .collect()
    }

    fn change(&mut self, kind: StateKind, key: u64) {
        if self.changed.insert((kind, key)) {
            self.changes.push((kind, key));
        }
    }

    fn put_element(&mut self, id: u64, element: Element) {
        for (form, keys) in (0..=u8::MAX).zip(element.forms.iter().map(|form| &form.keys)) {
            for key in keys {
                self.keys.entry(*key).or_insert((id, form));
            }
        }
        if element.structure != 0 {
            let only = self.structures.entry(element.structure).or_insert(id);
            if *only != id {
                *only = 0;
            }
        }
        self.made = self.made.max(element.made + 1);
        let family = element.family;
        if self.elements.insert(id, element).is_none() {
            self.order.push(id);
            *self.families.entry(family).or_default() += 1;
        }
    }

    fn put_group(&mut self, id: u64, group: Group) {
        for key in &group.keys {
            self.group_keys.entry(*key).or_insert(id);
        }
        self.groups.insert(id, group);
    }

    fn put_name(&mut self, id: u64, name: Name) {
        self.made = self.made.max(name.made + 1);
        for text in [&name.text, &name.former].into_iter().filter(|text| !text.is_empty()) {
            let first = self.owners.entry(text.to_lowercase()).or_insert((name.made, name.owner));
            *first = (*first).min((name.made, name.owner));
        }
        self.names.insert(id, name);
    }

    fn put_session(&mut self, key: u64, session: Session) {
        if self.sessions.insert(key, session).is_none() {
            self.session_order.push_back(key);
        }
    }

    /// Whether a place has so many elements that it says something new each time.
    pub(crate) fn is_endless(&self, family: u64) -> bool {
        self.families.get(&family).is_some_and(|count| *count >= FAMILY)
    }

    /// Counts an event on a control that is no element of its own.
    pub(crate) fn fold(&mut self) {
        self.folded += 1;
    }

    /// How many events were on such controls since the last call.
    pub fn take_folded(&mut self) -> u64 {
        std::mem::take(&mut self.folded)
    }

    /// Keeps a description by the id of its line.
    pub(crate) fn keep_line(&mut self, id: &str, element: u64, features: crate::naming::Features) {
        self.lines.push(Line { id: id.to_owned(), element, features });
    }

    /// Makes the index by which elements are found that have something in common with an unknown control.
    pub(crate) fn index(&mut self) {
        if self.traces.is_none() {
            let mut traces = HashMap::new();
            for (place, id) in self.order.iter().enumerate() {
                if let Some(element) = self.elements.get(id) {
                    trace(&mut traces, place, &element.features);
                }
            }
            self.traces = Some(traces);
        }
    }

    /// At most `most` elements that share something with this description, the rarest traces first, newer elements first.
    pub(crate) fn candidates(&mut self, features: &crate::naming::Features, most: usize) -> Vec<u64> {
        self.index();
        let Some(traces) = &self.traces else { return Vec::new() };
        let mut found: Vec<&Vec<u32>> = features.traces().filter_map(|mark| traces.get(&mark)).collect();
        found.sort_by_key(|places| places.len());
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        for place in found.into_iter().flat_map(|places| places.iter().rev()) {
            if out.len() >= most {
                break;
            }
            if seen.insert(*place)
                && let Some(id) = usize::try_from(*place).ok().and_then(|place| self.order.get(place))
            {
                out.push(*id);
            }
        }
        out
    }

    pub(crate) fn add_group(&mut self, key: u64, group: Group) -> GroupId {
        let mut id = key;
        while self.groups.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.put_group(id, group);
        self.change(StateKind::Group, id);
        self.is_group_again(id);
        GroupId(id)
    }

    /// Takes down the day on which a group was seen, once a day.
    pub(crate) fn saw_group(&mut self, id: u64, today: i64) {
        if let Some(group) = self.groups.get_mut(&id).filter(|group| group.day < today) {
            group.day = today;
            self.change(StateKind::Group, id);
        }
    }

    /// Remembers a further exact key of a group, so that history decides once.
    pub(crate) fn add_group_key(&mut self, id: u64, key: u64) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.keys.len() < KEYS && key != id && !self.group_keys.contains_key(&key) {
            group.keys.push(key);
            self.group_keys.insert(key, id);
            self.change(StateKind::Group, id);
        }
    }

    /// The text of a name: what people call it, else how it was made.
    pub(crate) fn name(&self, id: u64) -> Option<&str> {
        let made = self.names.get(&id)?;
        Some(self.overlay.names.get(&id).unwrap_or(&made.text))
    }

    /// Whether another identity has this name, or has had it.
    pub(crate) fn is_taken(&self, text: &str, owner: u64) -> bool {
        let text = text.to_lowercase();
        let others = [self.owners.get(&text).map(|(_, other)| *other), self.overlay.texts.get(&text).copied()];
        others.into_iter().flatten().any(|other| self.canonical(other) != owner)
    }

    pub(crate) fn add_name(&mut self, id: u64, owner: u64, text: &str, now: Timestamp) {
        let made = self.made;
        // What people call a group lies over its names and is not learned.
        let text = match self.learned_text(owner, text) {
            Some(learned) => {
                self.overlay.names.insert(id, text.to_owned());
                learned
            }
            None => text.to_owned(),
        };
        let name = Name {
            made,
            text,
            owner,
            published: false,
            waits: false,
            former: String::new(),
            first: now.as_millis(),
            day: now.day(),
            events: 0,
            visitors: Vec::new(),
        };
        self.put_name(id, name);
        self.change(StateKind::Name, id);
    }

    /// Whether a further name is remembered.
    pub(crate) fn has_room_for_names(&self) -> bool {
        self.names.len() < NAMES
    }

    /// Counts an event towards publishing; returns the name's text and state as of this event, or nothing where it is not
    /// remembered.
    pub(crate) fn count_name(&mut self, id: u64, visitor: &str, now: Timestamp) -> Option<(String, NameState)> {
        // Once a day: what has had no event for as long as events are kept is forgotten with them.
        if let Some(name) = self.names.get_mut(&id).filter(|name| name.day < now.day()) {
            name.day = now.day();
            self.change(StateKind::Name, id);
        }
        if let Some(given) = self.overlay.names.get(&id).filter(|_| self.names.contains_key(&id)) {
            return Some((given.clone(), NameState::Published));
        }
        let name = self.names.get_mut(&id)?;
        if name.published {
            return Some((name.text.clone(), NameState::Published));
        }
        name.events = name.events.saturating_add(1);
        // Folded: 32 bits of a hash tell three visitors apart.
        let visitor = u32::try_from(hash(&["visitor", visitor]) >> 32).unwrap_or(0);
        if name.visitors.len() < PUBLISH_VISITORS && !name.visitors.contains(&visitor) {
            name.visitors.push(visitor);
        }
        name.published = (name.events >= PUBLISH_EVENTS && name.visitors.len() >= PUBLISH_VISITORS)
            || now.as_millis() - name.first >= PUBLISH_AFTER_MILLIS;
        name.published &= !name.waits || now.as_millis() - name.first >= WAIT_MILLIS;
        if name.published {
            name.visitors = Vec::new();
        }
        let state = if name.published { NameState::Published } else { NameState::Provisional };
        let text = name.text.clone();
        self.change(StateKind::Name, id);
        Some((text, state))
    }

    pub(crate) fn session(&self, key: u64) -> Option<&Session> {
        self.sessions.get(&key)
    }

    pub(crate) fn set_session(&mut self, key: u64, session: Session) {
        self.put_session(key, session);
        self.change(StateKind::Session, key);
        // Only sessions that are written may leave memory.
        while self.session_order.len() > SESSIONS {
            let Some(oldest) = self.session_order.pop_front() else { break };
            if self.changed.contains(&(StateKind::Session, oldest)) {
                self.session_order.push_back(oldest);
                break;
            }
            self.sessions.remove(&oldest);
        }
    }
}

fn trace(traces: &mut HashMap<u32, Vec<u32>>, place: usize, features: &crate::naming::Features) {
    let Ok(place) = u32::try_from(place) else { return };
    for mark in features.traces() {
        let places = traces.entry(mark).or_default();
        // A mark that one description leaves twice counts once.
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
}

impl crate::naming::Rarity for Registry {
    fn of_class(&self, word: u32) -> f64 {
        let (stayed, left) = self.classes.get(&word).copied().unwrap_or_default();
        self.of(word) * (f64::from(stayed) + 1.0) / (f64::from(stayed) + f64::from(left) + 1.0)
    }

    fn of(&self, word: u32) -> f64 {
        let with = self.traces.as_ref().and_then(|traces| traces.get(&word)).map_or(0, Vec::len);
        #[expect(clippy::cast_precision_loss, reason = "at most some ten thousand")]
        let share = (self.order.len() + 2) as f64 / (with + 1) as f64;
        share.ln() + 0.1
    }
}

/// XXH3 over texts, each closed by a byte that no text holds: a published function that stays the same for ever.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update(&[0xff]);
    }
    hasher.digest()
}

pub(crate) fn hash_numbers(purpose: &str, numbers: &[u64]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(purpose.as_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hasher.digest()
}
