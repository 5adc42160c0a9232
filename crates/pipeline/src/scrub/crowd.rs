//! Texts that only a crowd may show: what looks like a name, and what says something else to each visitor, is held back before
//! anything is written, and only its hash goes on to be counted (privacy reference, section 7).

use convizit_model::{Batch, Descriptor, EventId, Fate, PageBlock, Receipt, Ruling, Shown, ShownField, WireEvent};
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::normal::normalise;
use super::person::{is_ordinary, looks_like_name};
use super::{RULES, batch};
use crate::naming::template_of;
use crate::registry::{hash, hash_numbers};

/// What the collector knows of the crowd.
pub struct Witness<'a> {
    /// Distinct visitors that release a text.
    pub most: u32,
    /// The client's network, hashed under a key of its day.
    pub network: u32,
    /// A keyed hash of a text, the same for the life of the installation.
    pub hash: &'a dyn Fn(&str) -> u64,
    /// What was decided of a text at its element (`text_key`) or of a place.
    pub ruling: &'a dyn Fn(u64) -> Option<Ruling>,
}

impl Witness<'static> {
    /// One who has seen nobody: what looks like a name waits for ever. For measurements and tests.
    #[must_use]
    pub fn blind() -> Self {
        fn no_hash(_: &str) -> u64 {
            0
        }
        fn no_ruling(_: u64) -> Option<Ruling> {
            None
        }
        Self { most: 5, network: 0, hash: &no_hash, ruling: &no_ruling }
    }
}

/// By what a released text is known: where, and what.
pub(crate) fn text_key(element: u64, text: u64) -> u64 {
    hash_numbers("text at", &[element, text])
}

/// Words of a class, an id, an address or a heading that tell an account, a profile or a greeting, in the languages of the rules.
const PRIVATE: [&str; 36] = [
    "account",
    "avatar",
    "benutzer",
    "bruker",
    "compte",
    "conta",
    "cuenta",
    "cliente",
    "customer",
    "felhasznal",
    "gebruiker",
    "greet",
    "hesab",
    "klient",
    "kullanici",
    "kunde",
    "konto",
    "logged",
    "member",
    "mitglied",
    "perfil",
    "profil",
    "signed-in",
    "signedin",
    "user",
    "usuario",
    "utente",
    "utilisateur",
    "welcome",
    "аккаунт",
    "профиль",
    "账户",
    "用户",
    "アカウント",
    "계정",
    "حساب",
];

/// What has to be looked at before texts are withheld by rules: which events stand in an account, a profile or a greeting, and
/// whether the whole page does.
pub(crate) struct Places {
    private: Vec<bool>,
    page: bool,
}

impl Places {
    pub(crate) fn of(batch: &Batch) -> Self {
        let page = says_private(&batch.page.url);
        let event = |event: &WireEvent| page || event.descriptor.as_ref().is_some_and(is_private);
        Self { private: batch.events.iter().map(event).collect(), page }
    }
}

/// Holds back what waits, and says what was shown and what was not; receipts go to the events. Where visitors are derived from
/// addresses (`anonymous`), one person may be several of them: then no name is released.
pub(crate) fn hold_texts(batch: &mut Batch, places: &Places, anonymous: bool, witness: &Witness<'_>) -> Vec<Shown> {
    let mut shown = Vec::new();
    let Some(first) = batch.events.first().map(|event| event.id) else { return shown };
    let path = hash(&["page", &batch.page.path, &batch.page.language]);
    let mut of_events = Vec::new();
    for (wire, private) in batch.events.iter_mut().zip(&places.private) {
        let Some(descriptor) = &mut wire.descriptor else { continue };
        let receipts = &mut wire.withheld;
        let mut hold = Hold { witness, anonymous, event: wire.id, shown: &mut shown, receipts, held: Vec::new() };
        hold.descriptor(descriptor, path, *private, wire.properties.get_mut("Option"));
        of_events.append(&mut hold.held);
        wire.properties.retain(|key, value| key != "Option" || value.as_str() != Some(""));
    }
    let mut receipts = Vec::new();
    let mut hold =
        Hold { witness, anonymous, event: first, shown: &mut shown, receipts: &mut receipts, held: Vec::new() };
    hold.page(&mut batch.page, path, places.page, &of_events);
    for wire in &mut batch.events {
        wire.withheld.extend(receipts.iter().cloned());
        wire.withheld.dedup();
        wire.withheld.truncate(batch::RECEIPTS);
    }
    shown
}

/// Where a text stands.
#[derive(Clone, Copy)]
struct Where {
    element: u64,
    place: u64,
    private: bool,
}

/// A text that was held back, by which it is found wherever else it stands: `Anna Schmidt` in `/team/anna-schmidt`.
struct Said {
    /// Its letters, without marks and in lower case.
    letters: String,
    /// Those of its words that are no ordinary ones.
    words: Vec<String>,
}

/// Letters of a text that is compared as a whole, and of a word, at least.
const COMPARED: usize = 4;
const COMPARED_WORD: usize = 3;

impl Said {
    fn of(text: &str) -> Self {
        let words = normalise(text)
            .split(|c: char| !c.is_alphabetic() && !is_combining_mark(c))
            .filter(|word| !is_ordinary(word))
            .map(letters)
            .filter(|word| word.chars().count() >= COMPARED_WORD)
            .collect();
        Self { letters: letters(text), words }
    }

    /// Whether letters say this text, a part of it, or one of its own words.
    fn is_in(&self, letters: &str) -> bool {
        self.is_whole_in(letters) || self.words.iter().any(|word| letters.contains(word.as_str()))
    }

    fn is_whole_in(&self, letters: &str) -> bool {
        let long = |text: &str| text.chars().count() >= COMPARED;
        (long(&self.letters) && letters.contains(&self.letters))
            || (long(letters) && !is_ordinary(letters) && self.letters.contains(letters))
    }
}

/// A text as far as it can be compared with an identifier or an address: its letters, without marks and in lower case.
fn letters(text: &str) -> String {
    normalise(text).nfkd().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

struct Hold<'a> {
    witness: &'a Witness<'a>,
    anonymous: bool,
    event: EventId,
    shown: &'a mut Vec<Shown>,
    receipts: &'a mut Vec<Receipt>,
    /// What was held back so far.
    held: Vec<Said>,
}

impl Hold<'_> {
    /// A control and what was chosen in it. First what stands around it, so that a label which holds a name of there is held back
    /// too; then whatever repeats what was held back.
    fn descriptor(&mut self, descriptor: &mut Descriptor, page: u64, private: bool, mut option: Option<&mut Value>) {
        let (element, place) = structure(descriptor, page);
        let at = |field: &str| Where {
            element: hash_numbers(field, &[element]),
            place: hash_numbers(field, &[place]),
            private,
        };
        self.properties(&mut descriptor.properties, at("property"));
        if let Some(Value::String(text)) = option.as_deref_mut() {
            self.text("properties.Option", ShownField::Property, at("option"), text);
        }
        for entry in &mut descriptor.context {
            self.text("element.section", ShownField::Section, at("section"), &mut entry.name);
        }
        for sketch in [descriptor.group.as_mut(), descriptor.outer.as_deref_mut()].into_iter().flatten() {
            self.text("group.name", ShownField::Group, at("group"), &mut sketch.container);
            // One word is a tag or a class: `li` is a family name, too.
            if sketch.member.contains(['-', '_', ' ', '.']) {
                self.text("group.name", ShownField::Group, at("group"), &mut sketch.member);
            }
        }
        self.label(descriptor, at("label"));
        self.repeats(descriptor, option);
    }

    fn properties(&mut self, properties: &mut Map<String, Value>, at: Where) {
        for (key, value) in properties.iter_mut() {
            let Value::String(text) = value else { continue };
            let of = |number: u64| hash(&["key", key, &number.to_string()]);
            let its = Where { element: of(at.element), place: of(at.place), ..at };
            self.text(&format!("properties.{key}"), ShownField::Property, its, text);
        }
        properties.retain(|key, value| value.as_str() != Some("") && !looks_like_name(key));
    }

    /// A label is counted whatever it says, so that one that varies is known before it looks like a name.
    fn label(&mut self, descriptor: &mut Descriptor, at: Where) {
        if descriptor.label.is_empty() {
            return;
        }
        let said = template_of(&descriptor.label).0;
        let name = looks_like_name(&descriptor.label);
        let varies = (self.witness.ruling)(at.place) == Some(Ruling::Varies);
        // Letters are compared only where something was held back: on most events nothing is.
        let repeats = !self.held.is_empty() && {
            let its = letters(&descriptor.label);
            self.held.iter().any(|held| held.is_in(&its))
        };
        let fate = self.fate("element.label", ShownField::Label, at, &said, name, name || varies || repeats);
        descriptor.fate = Some(fate);
        if matches!(fate, Fate::Waits | Fate::Private) {
            self.held.push(Said::of(&descriptor.label));
            descriptor.label.clear();
            descriptor.template.clear();
            descriptor.name_value = None;
        }
    }

    /// Clears what says again what was held back, wherever it stands; of attributes also what looks like a name.
    fn repeats(&mut self, descriptor: &mut Descriptor, option: Option<&mut Value>) {
        let held = std::mem::take(&mut self.held);
        let says_again = |text: &str| {
            !held.is_empty() && {
                let letters = letters(text);
                held.iter().any(|said| said.is_in(&letters))
            }
        };
        let mut clear = |field: &str, text: &mut String| {
            if !text.is_empty() && says_again(text) {
                text.clear();
                self.receipts.push(receipt(field, "waits"));
            }
        };
        if !held.is_empty() {
            for entry in &mut descriptor.context {
                clear("element.section", &mut entry.name);
            }
            for sketch in [descriptor.group.as_mut(), descriptor.outer.as_deref_mut()].into_iter().flatten() {
                clear("group.name", &mut sketch.container);
                clear("group.name", &mut sketch.member);
            }
            if let Some(Value::String(text)) = option {
                clear("properties.Option", text);
            }
            for (key, value) in &mut descriptor.properties {
                if let Value::String(text) = value {
                    clear(&format!("properties.{key}"), text);
                }
            }
            descriptor.properties.retain(|key, value| value.as_str() != Some("") && !says_again(key));
        }
        // They only help to recognise a control.
        descriptor.attributes.retain(|key, value| {
            let Some(text) = value.as_str() else { return true };
            let is_word =
                matches!(key.as_str(), "class" | "type" | "itemprop") || !text.contains(['-', '_', '.', ' ', '/']);
            !says_again(text) && (is_word || !looks_like_name(text))
        });
        self.held = held;
    }

    /// Title, product and breadcrumb; then the steps of the page's addresses that say what was held back, here or at a control.
    fn page(&mut self, page: &mut PageBlock, path: u64, private: bool, of_events: &[Said]) {
        let place = |field: &str| hash(&["page text", field, &path.to_string()]);
        let mut look = |field: &str, text: &mut String| {
            let place = place(field);
            self.text(field, ShownField::Page, Where { element: place, place, private }, text);
            if of_events.is_empty() || text.is_empty() {
                return;
            }
            let its = letters(text);
            if of_events.iter().any(|said| said.is_whole_in(&its)) {
                text.clear();
                self.receipts.push(receipt(field, "waits"));
            }
        };
        look("page.title", &mut page.title);
        for (key, value) in &mut page.product {
            if let Value::String(text) = value {
                look(&format!("page.product.{key}"), text);
            }
        }
        page.product.retain(|_, value| value.as_str() != Some(""));
        for name in &mut page.breadcrumb {
            look("page.breadcrumb", name);
        }
        page.breadcrumb.retain(|name| !name.is_empty());
        if self.held.is_empty() && of_events.is_empty() {
            return;
        }
        for address in [&mut page.url, &mut page.path, &mut page.canonical, &mut page.referrer] {
            let (before, query) =
                address.split_once('?').map_or((address.as_str(), None), |(path, query)| (path, Some(query)));
            let is_held = |step: &str| {
                let letters = letters(step);
                self.held.iter().chain(of_events).any(|said| said.is_whole_in(&letters))
            };
            let host = before.find("://").map_or(0, |at| at + 3);
            let (host, steps) = before
                .split_at(before.get(host..).and_then(|rest| rest.find('/')).map_or(before.len(), |at| host + at));
            let hidden: Vec<&str> = steps.split('/').map(|step| if is_held(step) { ":id" } else { step }).collect();
            let path = format!("{host}{}", hidden.join("/"));
            *address = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        }
    }

    /// Any other text: only what looks like a name waits.
    fn text(&mut self, field: &str, kind: ShownField, at: Where, text: &mut String) {
        if text.is_empty() || !looks_like_name(text) {
            return;
        }
        if matches!(self.fate(field, kind, at, text, true, true), Fate::Waits | Fate::Private) {
            self.held.push(Said::of(text));
            text.clear();
        }
    }

    fn fate(&mut self, field: &str, kind: ShownField, at: Where, said: &str, name: bool, held: bool) -> Fate {
        let text = (self.witness.hash)(said);
        let dynamic = (self.witness.ruling)(at.place) == Some(Ruling::Dynamic);
        let released = || (self.witness.ruling)(text_key(at.element, text)) == Some(Ruling::Released);
        let fate = match (dynamic, held) {
            (true, _) => Fate::Private,
            (false, false) => Fate::Shown,
            (false, true) if at.private || (name && self.anonymous) => Fate::Private,
            (false, true) if released() => Fate::Released,
            (false, true) => Fate::Waits,
        };
        if !dynamic {
            let Where { element, place, .. } = at;
            self.shown.push(Shown { event: self.event, field: kind, element, place, text, name, fate });
        }
        if matches!(fate, Fate::Waits | Fate::Private) {
            let rule = match (dynamic, fate) {
                (true, _) => "varies",
                (false, Fate::Waits) => "waits",
                _ => "private_place",
            };
            self.receipts.push(Receipt {
                field: field.to_owned(),
                rule: rule.to_owned(),
                by: "server".to_owned(),
                rules: RULES,
            });
        }
        fate
    }
}

/// The structure around a control without its texts, and the same with its position in its list. On two pages it is two, except
/// in a list: there the text tells what it is.
fn structure(descriptor: &Descriptor, page: u64) -> (u64, u64) {
    let attribute = |key: &str| descriptor.attributes.get(key).and_then(Value::as_str).unwrap_or_default();
    let kinds: Vec<&str> = descriptor.context.iter().map(|entry| entry.kind.as_str()).collect();
    let author = ["data-testid", "data-qa", "data-cy", "data-test", "id", "name", "class"].map(attribute).join("\n");
    let href = super::template(attribute("href"), &[]);
    let own = hash(&[&descriptor.role, &descriptor.tag, &descriptor.path, &kinds.join(">"), &author, &href]);
    let Some(group) = &descriptor.group else {
        let element = hash_numbers("alone", &[own, page]);
        return (element, element);
    };
    let signature: Vec<u64> = group.signature.iter().map(|mark| u64::from(*mark)).collect();
    // In a record ids are numbered on.
    let own = hash(&[&descriptor.role, &descriptor.tag, &descriptor.path, &kinds.join(">"), &group.path]);
    let element = hash_numbers("in list", &[own, page, hash_numbers("signature", &signature)]);
    (element, hash_numbers("at position", &[element, u64::from(group.position)]))
}

/// Whether a control stands in an account, a profile or a greeting.
fn is_private(descriptor: &Descriptor) -> bool {
    let attributes = descriptor.attributes.values().filter_map(Value::as_str);
    let around = descriptor.context.iter().map(|entry| entry.name.as_str());
    let lists = [descriptor.group.as_ref(), descriptor.outer.as_deref()].into_iter().flatten();
    let lists = lists.flat_map(|group| [group.container.as_str(), group.member.as_str()]);
    let greeting = |text: &str| matches!(super::first_rule(text), Some("person" | "username"));
    attributes.chain(around).chain(lists).any(|text| says_private(text) || greeting(text))
}

fn says_private(text: &str) -> bool {
    let text = text.to_lowercase();
    PRIVATE.iter().any(|word| text.contains(word))
}

fn receipt(field: &str, rule: &str) -> Receipt {
    Receipt { field: field.to_owned(), rule: rule.to_owned(), by: "server".to_owned(), rules: RULES }
}
