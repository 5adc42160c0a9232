//! Texts that only a crowd may show: what looks like a name, and what says something else to each visitor, is held back before
//! anything is written, and only its hash goes on to be counted (privacy reference, section 7).

use convizit_model::{Batch, Descriptor, EventId, Fate, Receipt, Ruling, Shown, ShownField};
use serde_json::{Map, Value};

use super::person::looks_like_name;
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

/// Holds back what waits, and says what was shown and what was not; receipts go to the events.
pub(crate) fn hold_texts(batch: &mut Batch, witness: &Witness<'_>) -> Vec<Shown> {
    let mut shown = Vec::new();
    let path = hash(&["page", &batch.page.path, &batch.page.language]);
    let mut of_page = Vec::new();
    let Some(first) = batch.events.first().map(|event| event.id) else { return shown };
    let mut hold = Hold { witness, event: first, shown: &mut shown, receipts: &mut of_page, label: String::new() };
    let mut at_page = |field: &str, text: &mut String| {
        let place = hash(&["page text", field, &path.to_string()]);
        hold.text(field, ShownField::Page, Where { element: place, place, private: false }, text);
    };
    at_page("page.title", &mut batch.page.title);
    for (key, value) in &mut batch.page.product {
        if let Value::String(text) = value {
            at_page(&format!("page.product.{key}"), text);
        }
    }
    batch.page.product.retain(|_, value| value.as_str() != Some(""));
    for name in &mut batch.page.breadcrumb {
        at_page("page.breadcrumb", name);
    }
    batch.page.breadcrumb.retain(|name| !name.is_empty());
    for wire in &mut batch.events {
        let mut hold = Hold {
            witness,
            event: wire.id,
            shown: &mut shown,
            receipts: &mut wire.withheld,
            label: String::new(),
        };
        if let Some(descriptor) = &mut wire.descriptor {
            hold.descriptor(descriptor, path, wire.properties.get_mut("Option"));
            wire.properties.retain(|_, value| value.as_str() != Some(""));
        }
        wire.withheld.extend(of_page.iter().cloned());
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

struct Hold<'a> {
    witness: &'a Witness<'a>,
    event: EventId,
    shown: &'a mut Vec<Shown>,
    receipts: &'a mut Vec<Receipt>,
    /// The label that was held back, in lower case: what repeats it is held back with it.
    label: String,
}

impl Hold<'_> {
    /// A control and what was chosen in it.
    fn descriptor(&mut self, descriptor: &mut Descriptor, page: u64, option: Option<&mut Value>) {
        let (element, place) = structure(descriptor, page);
        let at = |field: &str| Where {
            element: hash_numbers(field, &[element]),
            place: hash_numbers(field, &[place]),
            private: is_private(descriptor),
        };
        let (label, section, group, property) = (at("label"), at("section"), at("group"), at("property"));
        self.label(descriptor, label);
        for entry in &mut descriptor.context {
            self.text("element.section", ShownField::Section, section, &mut entry.name);
        }
        for sketch in [descriptor.group.as_mut(), descriptor.outer.as_deref_mut()].into_iter().flatten() {
            self.text("group.name", ShownField::Group, group, &mut sketch.container);
            // One word is a tag or a class: `li` is a family name, too.
            if sketch.member.contains(['-', '_', ' ', '.']) {
                self.text("group.name", ShownField::Group, group, &mut sketch.member);
            }
        }
        self.properties(&mut descriptor.properties, property);
        if let Some(Value::String(text)) = option {
            self.text("properties.Option", ShownField::Property, property, text);
        }
        // They only help to recognise a control.
        descriptor.attributes.retain(|key, value| {
            matches!(key.as_str(), "class" | "type" | "icon" | "itemprop")
                || !value.as_str().is_some_and(|text| {
                    self.repeats_label(text) || (text.contains(['-', '_', '.', ' ', '/']) && looks_like_name(text))
                })
        });
    }

    fn properties(&mut self, properties: &mut Map<String, Value>, at: Where) {
        for (key, value) in properties.iter_mut() {
            let Value::String(text) = value else { continue };
            let of = |number: u64| hash(&["key", key, &number.to_string()]);
            let its = Where { element: of(at.element), place: of(at.place), ..at };
            self.text(&format!("properties.{key}"), ShownField::Property, its, text);
        }
        properties.retain(|_, value| value.as_str() != Some(""));
    }

    /// A label is counted whatever it says, so that one that varies is known before it looks like a name.
    fn label(&mut self, descriptor: &mut Descriptor, at: Where) {
        if descriptor.label.is_empty() {
            return;
        }
        let said = template_of(&descriptor.label).0;
        let name = looks_like_name(&descriptor.label);
        let varies = (self.witness.ruling)(at.place) == Some(Ruling::Varies);
        let fate = self.fate("element.label", ShownField::Label, at, &said, name, name || varies);
        descriptor.fate = Some(fate);
        if matches!(fate, Fate::Waits | Fate::Private) {
            self.label = said.to_lowercase();
            descriptor.label.clear();
            descriptor.template.clear();
            descriptor.name_value = None;
        }
    }

    /// Any other text: only what looks like a name waits.
    fn text(&mut self, field: &str, kind: ShownField, at: Where, text: &mut String) {
        if self.repeats_label(text) {
            text.clear();
            let rule = "waits".to_owned();
            self.receipts.push(Receipt { field: field.to_owned(), rule, by: "server".to_owned(), rules: RULES });
            return;
        }
        if text.is_empty() || !looks_like_name(text) {
            return;
        }
        if matches!(self.fate(field, kind, at, text, true, true), Fate::Waits | Fate::Private) {
            text.clear();
        }
    }

    /// Whether a text says what the label said that was held back.
    fn repeats_label(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let (label, text) = (self.label.trim(), text.trim());
        label.chars().count() > 2 && text.chars().count() > 2 && (text.contains(label) || label.contains(text))
    }

    fn fate(&mut self, field: &str, kind: ShownField, at: Where, said: &str, name: bool, held: bool) -> Fate {
        let text = (self.witness.hash)(said);
        let dynamic = (self.witness.ruling)(at.place) == Some(Ruling::Dynamic);
        let released = || (self.witness.ruling)(text_key(at.element, text)) == Some(Ruling::Released);
        let fate = match (dynamic, held) {
            (true, _) => Fate::Private,
            (false, false) => Fate::Shown,
            (false, true) if at.private => Fate::Private,
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
    let own = hash(&[&descriptor.role, &descriptor.tag, &descriptor.path, &kinds.join(">"), &author]);
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
    let lists = descriptor.group.iter().flat_map(|group| [group.container.as_str(), group.member.as_str()]);
    attributes.chain(around).chain(lists).any(|text| {
        let text = text.to_lowercase();
        PRIVATE.iter().any(|word| text.contains(word))
    })
}
