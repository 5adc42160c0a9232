//! Page templates, learned from traffic: addresses that differ in one step and are many, and controls that differ in nothing
//! but the page and the section that heads it.
//!
//! A template is no part of an identity's key. It makes pages alike to the grammar ("Article detail page view"), and it joins
//! identities that were made before it was known, by decisions that can be undone.

use std::borrow::Cow;
use std::collections::HashSet;

use convizit_model::{Change, Decision, DecisionId, ElementId, EventType, Evidence, PageBlock, StateKind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Element, Registry, hash};
use crate::naming::short;

/// Page templates of a project at most.
const TEMPLATES: usize = 2_000;
/// Addresses below one path from which on its last step is one of many …
const MANY: usize = 30;
/// … of which so many of a hundred are words or numbers put together, as those of items are and those of sections are not.
const SLUGS_OF_HUNDRED: usize = 60;
/// Pages on which a control stands under a section of each page's own, from which on it is one control: the third is no chance.
const PAGES: usize = 3;
/// The same where the site itself says that the pages are of one kind.
const PAGES_OF_KIND: usize = 2;
/// Controls of one kind that are remembered to find that out.
const SIBLINGS: usize = 8;

/// What stands below one path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Template {
    /// The path above what varies.
    path: String,
    /// Its next steps, hashed, up to as many as it takes.
    steps: Vec<u32>,
    /// How many of them are words or numbers put together.
    slugs: usize,
    /// Steps of one word, hashed: those of sections, which stay pages of their own.
    words: Vec<u32>,
    /// When an address below it was last seen, in days since 1970.
    pub(super) day: i64,
}

/// Sections beside many items below one path, at most.
const WORDS: usize = 100;

impl Template {
    /// As it is once enough addresses below a path were seen; which they were is not known.
    pub(super) fn of_many(above: &str, day: i64) -> Self {
        let steps = (0..u32::try_from(MANY).unwrap_or(0)).collect();
        Self { path: above.to_owned(), steps, slugs: MANY, words: Vec::new(), day }
    }

    fn varies(&self) -> bool {
        self.steps.len() >= MANY && self.slugs * 100 >= self.steps.len() * SLUGS_OF_HUNDRED
    }
}

/// A control that may be the same on other pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sibling {
    element: u64,
    page: u32,
    section: u32,
}

impl Sibling {
    pub(super) fn of(element: u64, known: &Element) -> Option<Self> {
        let form = known.forms.first().filter(|_| known.sibling != 0)?;
        Some(Self { element, page: short(&form.page), section: short(&form.section) })
    }
}

/// `/blog/`, `how-to-lace` of `/blog/how-to-lace`.
fn parted(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let at = path.rfind('/')? + 1;
    let (above, step) = path.split_at_checked(at)?;
    (!step.is_empty()).then_some((above, step))
}

/// Several words, or a word and a number: what items are called in addresses.
fn is_slug(step: &str) -> bool {
    let stem = step.split('.').next().unwrap_or(step);
    stem.split(['-', '_', '+']).filter(|word| !word.is_empty()).count() > 2
        || (stem.chars().any(|c| c.is_ascii_digit()) && stem.chars().count() > 3)
}

/// The path that a page's siblings share.
pub(crate) fn above(path: &str) -> &str {
    parted(path).map_or("", |(above, _)| above)
}

impl Registry {
    /// Counts a page's address, and gives the page as naming sees it: with `:id` in place of a step that is one of many.
    /// `today` in days since 1970; nothing where nothing is to be learned.
    pub(crate) fn page<'a>(&mut self, page: &'a PageBlock, today: Option<i64>) -> Cow<'a, PageBlock> {
        let Some((above, step)) = parted(&page.path).filter(|(_, step)| *step != ":id") else {
            return Cow::Borrowed(page);
        };
        let key = hash(&["template", above]);
        if let Some(today) = today {
            self.recall_template(key, above, page, today);
            self.count_step(key, above, step, today);
        }
        let Some(known) = self.templates.get(&key).filter(|known| known.varies()) else { return Cow::Borrowed(page) };
        // A section among items (`/pricing` beside a blog's articles), and a page whose name is published, stay as they are.
        if (!is_slug(step) && (known.words.contains(&short(step)) || known.words.len() < WORDS)) || self.is_named(page)
        {
            return Cow::Borrowed(page);
        }
        Cow::Owned(PageBlock { path: format!("{above}:id"), ..page.clone() })
    }

    /// Whether this page's own name is published: it never changes.
    fn is_named(&self, page: &PageBlock) -> bool {
        let id = crate::naming::page_view(page);
        self.names.get(&id).is_some_and(|name| name.published)
    }

    /// Whether an element has a published name.
    pub(super) fn is_published(&self, element: u64) -> bool {
        let kinds = [EventType::Click, EventType::Change, EventType::Submit];
        let mut ids = kinds.iter().map(|kind| crate::naming::name_id(*kind, element, ""));
        ids.any(|id| self.names.get(&id).is_some_and(|name| name.published))
    }

    fn count_step(&mut self, key: u64, above: &str, step: &str, today: i64) {
        if let Some(known) = self.templates.get_mut(&key).filter(|known| known.day < today) {
            known.day = today;
            self.change(StateKind::Template, key);
        }
        let hashed = short(step);
        let full = self.templates.len() >= TEMPLATES;
        match self.templates.get_mut(&key) {
            Some(known) if !is_slug(step) && !known.words.contains(&hashed) && known.words.len() < WORDS => {
                known.words.push(hashed);
                if known.steps.len() < MANY && !known.steps.contains(&hashed) {
                    known.steps.push(hashed);
                }
            }
            Some(known) if known.steps.len() >= MANY || known.steps.contains(&hashed) => return,
            Some(known) => {
                known.steps.push(hashed);
                known.slugs += usize::from(is_slug(step));
            }
            None if full => return,
            None => {
                let is_slug = is_slug(step);
                let words = if is_slug { Vec::new() } else { vec![hashed] };
                let slugs = usize::from(is_slug);
                let first = Template { path: above.to_owned(), steps: vec![hashed], slugs, words, day: today };
                self.templates.insert(key, first);
            }
        }
        self.change(StateKind::Template, key);
    }

    pub(super) fn put_template(&mut self, key: u64, template: Template) {
        self.templates.insert(key, template);
    }

    pub(super) fn put_sibling(&mut self, id: u64, element: &Element) {
        let Some(sibling) = Sibling::of(id, element) else { return };
        let known = self.siblings.entry(element.sibling).or_default();
        if known.len() < SIBLINGS {
            known.push(sibling);
        }
    }

    /// Those of all elements, the oldest first: rows come in the order of their keys.
    pub(super) fn find_siblings(&mut self) {
        self.siblings.clear();
        for id in &self.order {
            let Some(element) = self.elements.get(id) else { continue };
            if let Some(sibling) = Sibling::of(*id, element) {
                let known = self.siblings.entry(element.sibling).or_default();
                if known.len() < SIBLINGS {
                    known.push(sibling);
                }
            }
        }
    }

    /// The element that a new control is, if it differs from others in nothing but the page and the section that heads it, on
    /// enough pages. Those that were made before are joined to the oldest.
    pub(crate) fn joined(&mut self, key: u64, page: &str, section: &str, of_kind: bool, now: Timestamp) -> Option<u64> {
        let known = self.siblings.get(&key).filter(|_| key != 0)?.clone();
        let (page, section) = (short(page), short(section));
        // A control that stands twice on one page, or under one section on two, says that the section tells them apart.
        if known.iter().any(|one| one.page == page || one.section == section) {
            return None;
        }
        let pages: HashSet<u32> = known.iter().map(|one| one.page).collect();
        let sections: HashSet<u32> = known.iter().map(|one| one.section).collect();
        let needed = if of_kind { PAGES_OF_KIND } else { PAGES };
        if pages.len() != known.len() || sections.len() != known.len() || pages.len() + 1 < needed {
            return None;
        }
        let oldest = self.canonical(known.first()?.element);
        for other in known.iter().skip(1) {
            // A part already; or what people said of the two stays, and so does a name that was published.
            if other.element == oldest
                || self.canonical(other.element) != other.element
                || self.is_published(other.element)
                || self.is_dropped(other.element, None) != self.is_dropped(oldest, None)
                || self.is_decided(other.element, oldest)
            {
                continue;
            }
            let evidence = Evidence {
                probability: 1.0,
                agree: vec!["all but the page and the section that heads it".to_owned()],
                differ: vec!["section".to_owned()],
                missing: 0,
            };
            self.decide(Decision {
                id: DecisionId(0),
                made: now,
                by: super::review::OWN.to_owned(),
                what: Change::Merge { element: ElementId(other.element), into: ElementId(oldest) },
                from: None,
                proposed: false,
                evidence: Some(evidence),
            });
        }
        known.first().map(|one| one.element)
    }
}
