//! Who has shown which text where: what releases a text that waits, and what takes the text from a place for good.
//!
//! A text is released when so many visitors showed it at one element within a UTC day, from as many networks, and not as one
//! identified user; a name only where no other name was shown at its place. Nothing here is a text, a visitor or an address:
//! all are hashes.

use convizit_model::{Crowd, Fate, Ruling, Shown, StateKind};
use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Registry, hash};
use crate::scrub::text_key;

/// Places and waiting texts of a project at most: beyond it a text goes on waiting and is not counted.
const PLACES: usize = 50_000;
const WAITING: usize = 50_000;
/// Days that a place is remembered after its last change.
pub(super) const KEPT_DAYS: i64 = 30;
/// Visitors whose first text at a place is looked at together.
const WINDOW: usize = 32;
/// Different texts of a window from which on a place may vary, and of which it has none any more.
const VARIES: usize = 3;
const DYNAMIC: usize = 16;
/// Different names at one place from which on it has no text any more.
const NAMES: usize = 3;

/// What the first visitors of a window saw at a place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    /// When it last changed, in days since 1970.
    pub(super) day: i64,
    visitors: Vec<u32>,
    texts: Vec<u64>,
    /// Those of the texts that look like names.
    names: Vec<u64>,
    /// The window is over, and all of its visitors saw one text.
    calm: bool,
    varies: bool,
    dynamic: bool,
}

/// Who has shown a text that waits, on one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Waiting {
    pub(super) day: i64,
    visitors: Vec<u32>,
    networks: Vec<u32>,
    users: Vec<u32>,
    released: bool,
    /// It stood where another name was shown: not today.
    refused: bool,
}

/// What the crowd rule has done since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrowdCounts {
    /// Texts that began to wait.
    pub waiting: u64,
    /// Texts that were released.
    pub released: u64,
    /// Places that lost their text for good.
    pub dynamic: u64,
    /// Texts that are not counted, since there are too many.
    pub uncounted: u64,
}

fn short(purpose: &str, text: &str) -> u32 {
    u32::try_from(hash(&[purpose, text]) >> 32).unwrap_or_default()
}

/// By which a visitor stands in places, waiting texts and sessions.
pub(crate) fn visitor_hash(visitor: &str) -> u32 {
    short("crowd visitor", visitor)
}

/// By which a user stands in waiting texts, of the collector's keyed hash.
pub(super) fn user_hash(user: u64) -> u32 {
    u32::try_from(user >> 32).unwrap_or_default()
}

impl Registry {
    /// Takes visitors and users out of places and waiting texts; returns which rows that changes.
    pub(super) fn forget_in_crowds(&mut self, visitors: &HashSet<u32>, users: &HashSet<u32>) -> Vec<(StateKind, u64)> {
        let mut changed = Vec::new();
        for (key, place) in &mut self.places {
            let before = place.visitors.len();
            place.visitors.retain(|visitor| !visitors.contains(visitor));
            if place.visitors.len() != before {
                changed.push((StateKind::Place, *key));
            }
        }
        for (key, waiting) in &mut self.waiting {
            let before = waiting.visitors.len() + waiting.users.len();
            waiting.visitors.retain(|visitor| !visitors.contains(visitor));
            waiting.users.retain(|user| !users.contains(user));
            if waiting.visitors.len() + waiting.users.len() != before {
                changed.push((StateKind::Waiting, *key));
            }
        }
        changed
    }

    /// Counts the texts of a batch; what it decides is in `take_rulings`.
    pub(crate) fn see(&mut self, crowd: &Crowd, visitor: &str, day: i64) {
        let visitor = visitor_hash(visitor);
        let user = crowd.user.map(user_hash);
        for shown in &crowd.shown {
            self.see_at_place(shown, visitor, day);
            if shown.fate == Fate::Waits {
                self.see_waiting(shown, crowd, (visitor, user), day);
            }
        }
    }

    fn see_at_place(&mut self, shown: &Shown, visitor: u32, day: i64) {
        if self.places.len() >= PLACES && !self.places.contains_key(&shown.place) {
            // Those of today stay; of the others the collectors know what was ruled.
            self.places.retain(|_, place| place.day >= day);
        }
        let room = self.places.len() < PLACES;
        let place = match self.places.get_mut(&shown.place) {
            Some(place) => place,
            None if room => self.places.entry(shown.place).or_default(),
            None => {
                self.crowd.uncounted += 1;
                return;
            }
        };
        if place.day + KEPT_DAYS < day {
            *place = Place { dynamic: place.dynamic, ..Place::default() };
        }
        if place.dynamic || (place.calm && place.texts.contains(&shown.text)) || place.visitors.contains(&visitor) {
            return;
        }
        place.day = day;
        place.calm = false;
        place.visitors.push(visitor);
        for (texts, most, counts) in [(&mut place.texts, DYNAMIC, true), (&mut place.names, NAMES, shown.name)] {
            if counts && texts.len() < most && !texts.contains(&shown.text) {
                texts.push(shown.text);
            }
        }
        let (visitors, texts) = (place.visitors.len(), place.texts.len());
        let much = texts * 4 > visitors;
        let mut ruling = None;
        // In a list the texts of a position change with its order: they wait, each for its crowd.
        let in_list = shown.place != shown.element;
        if place.names.len() >= NAMES || (!in_list && texts >= DYNAMIC && texts * 2 >= visitors) {
            *place = Place { day, dynamic: true, ..Place::default() };
            ruling = Some(Ruling::Dynamic);
        } else if texts >= VARIES && much && !place.varies {
            place.varies = true;
            ruling = Some(Ruling::Varies);
        } else if visitors >= WINDOW {
            if place.varies && !much {
                place.varies = false;
                ruling = Some(Ruling::Calm);
            }
            place.calm = texts == 1;
            place.visitors.clear();
            if !place.calm {
                place.texts.clear();
            }
        }
        if ruling == Some(Ruling::Dynamic) {
            self.crowd.dynamic += 1;
        }
        self.rulings.extend(ruling.map(|ruling| (shown.place, ruling)));
        self.change(StateKind::Place, shown.place);
    }

    fn see_waiting(&mut self, shown: &Shown, crowd: &Crowd, (visitor, user): (u32, Option<u32>), day: i64) {
        let key = text_key(shown.element, shown.text);
        if !self.waiting.contains_key(&key) {
            if self.waiting.len() >= WAITING {
                self.waiting.retain(|_, waiting| waiting.day == day);
            }
            if self.waiting.len() >= WAITING {
                self.crowd.uncounted += 1;
                return;
            }
            self.crowd.waiting += 1;
        }
        let alone = self.places.get(&shown.place).is_some_and(|place| !place.dynamic && place.names.len() < 2);
        let waiting = self.waiting.entry(key).or_default();
        if waiting.released {
            return;
        }
        if waiting.day != day {
            *waiting = Waiting { day, ..Waiting::default() };
        }
        waiting.refused |= shown.name && !alone;
        if waiting.visitors.contains(&visitor)
            || waiting.networks.contains(&crowd.network)
            || user.is_some_and(|user| waiting.users.contains(&user))
        {
            return;
        }
        // Beyond what is asked for, nothing is kept.
        let most = usize::try_from(crowd.most.clamp(2, 100)).unwrap_or(100);
        if waiting.visitors.len() < most {
            waiting.visitors.push(visitor);
            waiting.networks.push(crowd.network);
            waiting.users.extend(user);
        }
        if waiting.visitors.len() >= most && !waiting.refused {
            *waiting = Waiting { day, released: true, ..Waiting::default() };
            self.rulings.push((key, Ruling::Released));
            self.crowd.released += 1;
        }
        self.change(StateKind::Waiting, key);
    }

    /// Says that a name was made without the text of its control, which waits for a crowd.
    pub(crate) fn await_text(&mut self, id: u64) {
        if let Some(name) = self.names.get_mut(&id).filter(|name| !name.waits && !name.published) {
            name.waits = true;
            self.change(StateKind::Name, id);
        }
    }

    /// Whether a name waits for the text of its control.
    pub(crate) fn awaits_text(&self, id: u64) -> bool {
        self.names.get(&id).is_some_and(|name| name.waits && !name.published)
    }

    /// Gives a name that waited the text that was made of what its control says.
    pub(crate) fn give_text(&mut self, id: u64, text: &str) {
        if let Some(mut name) = self.names.remove(&id) {
            let learned = self.learned_text(name.owner, text);
            if learned.is_some() {
                self.overlay.names.insert(id, text.to_owned());
            }
            // It stays this identity's: nothing else is called so later.
            name.former = std::mem::replace(&mut name.text, learned.unwrap_or_else(|| text.to_owned()));
            name.waits = false;
            self.put_name(id, name);
            self.change(StateKind::Name, id);
        }
    }

    /// What was decided since the last call, for the collectors.
    pub fn take_rulings(&mut self) -> Vec<(u64, Ruling)> {
        std::mem::take(&mut self.rulings)
    }

    /// What was counted since the last call.
    pub fn take_crowd_counts(&mut self) -> CrowdCounts {
        std::mem::take(&mut self.crowd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convizit_model::ShownField;

    /// Visits of one element, each with a visitor, network, user and text; what was ruled of them.
    fn rule(visits: impl IntoIterator<Item = (i64, u32, u32, Option<u32>, u64)>, name: bool) -> Vec<Ruling> {
        let mut registry = Registry::default();
        for (day, visitor, network, user, text) in visits {
            let id = "0193a1f0-0000-7000-8000-000000000001".parse().unwrap();
            let shown =
                Shown { event: id, field: ShownField::Label, element: 1, place: 1, text, name, fate: Fate::Waits };
            let user = user.map(|user| u64::from(user) << 32);
            let crowd = Crowd { most: 5, network, user, shown: vec![shown] };
            registry.see(&crowd, &visitor.to_string(), day);
        }
        registry.take_rulings().into_iter().map(|(_, ruling)| ruling).collect()
    }

    #[test]
    fn a_text_is_released_by_five_visitors_of_one_day() {
        let visit = |n: u32| (1, n, n, None, 7);
        assert_eq!(rule((0..4).map(visit), true), []);
        assert_eq!(rule((0..5).map(visit), true), [Ruling::Released]);
        assert_eq!(rule((0..9).map(visit), true), [Ruling::Released], "once");
        assert_eq!(rule((0..5).map(|n| (i64::from(n), n, n, None, 7)), true), [], "five days");
        assert_eq!(
            rule((0..60).map(|n| (i64::from(n), n, 1, None, 7)), true),
            [],
            "one person whose cookies are cleared each day"
        );
        assert_eq!(rule((0..60).map(|n| (1, n, 1, None, 7)), true), [], "one network");
        assert_eq!(rule((0..60).map(|n| (1, 1, n, None, 7)), true), [], "one visitor");
        assert_eq!(rule((0..60).map(|n| (1, n, n, Some(1), 7)), true), [], "one user");
        assert_eq!(rule((0..5).map(|n| (1, n, n, Some(n), 7)), true), [Ruling::Released]);
    }

    #[test]
    fn a_place_with_names_of_many_loses_its_text() {
        let names = |n: u32| (1, n, n, None, u64::from(n % 7));
        assert_eq!(rule((0..70).map(names), true), [Ruling::Dynamic], "each of them was shown by ten");
        // The most common name came first, and still not alone.
        let common = |n: u32| (1, n, n, None, u64::from(n % 4 == 3));
        assert_eq!(rule((0..40).map(common), true), []);
    }

    #[test]
    fn words_that_vary_wait_and_are_released_unless_all_differ() {
        let few = |n: u32| (1, n, n, None, u64::from(n % 4));
        assert_eq!(rule((0..20).map(few), false).iter().filter(|ruling| **ruling == Ruling::Released).count(), 4);
        let all = |n: u32| (1, n, n, None, u64::from(n));
        assert_eq!(rule((0..40).map(all), false), [Ruling::Varies, Ruling::Dynamic]);
        // Three texts of many visitors are a language or a test.
        let three = |n: u32| (1, n, n, None, u64::from(n % 3));
        assert!(rule((0..40).map(three), false).contains(&Ruling::Calm));
    }
}
