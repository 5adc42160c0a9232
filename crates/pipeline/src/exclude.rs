//! Excluded selectors on the server: what a descriptor says of its control, and what becomes of events whose tracker did not know a selector yet.

use std::collections::BTreeMap;

use convizit_model::Descriptor;
use convizit_model::selector::{Complex, Test, parse};
use serde_json::Value;

/// A project's selectors, each with the version of the settings with which it came.
pub(crate) struct Exclusions {
    selectors: Vec<(Complex, u64)>,
    newest: u64,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    Kept,
    /// A selector that its tracker did not know excludes the control.
    Excluded,
    /// Such a selector may exclude the control, something around it or a part of it: which is nowhere said.
    Withheld,
    /// The tracker should have excluded it.
    Drift,
}

impl Exclusions {
    /// `selectors` as they are set; `since` says with which version each came, for one that it does not hold every version is older.
    pub(crate) fn new(selectors: &[String], since: &BTreeMap<String, u64>) -> Self {
        let known = |selector: &String| since.get(selector).copied().unwrap_or(u64::MAX);
        Self {
            newest: selectors.iter().map(known).max().unwrap_or_default(),
            selectors: selectors
                .iter()
                // One that an older build has saved and this one cannot read matches nothing here.
                .flat_map(|selector| {
                    parse(selector).unwrap_or_default().into_iter().map(move |one| (one, known(selector)))
                })
                .collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.selectors.is_empty()
    }

    /// Whether a tracker with these settings knew every selector.
    pub(crate) fn knew_all(&self, version: u64) -> bool {
        version >= self.newest
    }

    /// What becomes of a control that was captured under this version. A descriptor tells tag, id, classes and a few attributes of the control, of what
    /// stands around it and in it nothing of the kind: that a newer selector matches nothing there is never certain.
    pub(crate) fn decide(&self, descriptor: &Descriptor, version: u64) -> Decided {
        let hit =
            self.selectors.iter().filter(|(complex, _)| matches(complex, descriptor)).map(|(_, since)| *since).min();
        match hit {
            Some(since) if version >= since => Decided::Drift,
            Some(_) => Decided::Excluded,
            None if self.knew_all(version) => Decided::Kept,
            None => Decided::Withheld,
        }
    }
}

/// Whether the control itself is certainly selected.
fn matches(complex: &Complex, descriptor: &Descriptor) -> bool {
    let subject = &complex.subject;
    let tag = descriptor.tag.split(':').next().unwrap_or_default();
    let says_something = subject.tag.is_some() || !subject.tests.is_empty();
    says_something
        && !complex.open
        && !subject.open
        && subject.tag.as_deref().is_none_or(|wanted| wanted == tag)
        && subject.tests.iter().all(|test| holds(test, descriptor))
}

/// Whether an attribute certainly is so (`attributesOf` in tracker/src/element.ts): of an address neither query nor fragment is told.
fn holds(test: &Test, descriptor: &Descriptor) -> bool {
    let Some(said) = descriptor.attributes.get(&test.name).and_then(Value::as_str) else { return false };
    match (test.name.as_str(), test.operator) {
        // Only the classes that a person wrote are told: words of it, not the whole.
        ("class", operator) => operator == Some('~') && compare(test, said),
        ("href", operator) => matches!(operator, None | Some('^' | '*')) && compare(test, said),
        // What the page calls an icon is no attribute.
        ("icon", _) => false,
        _ => compare(test, said),
    }
}

fn compare(test: &Test, said: &str) -> bool {
    let lower = |text: &str| if test.fold { text.to_lowercase() } else { text.to_owned() };
    let (said, value) = (lower(said), lower(&test.value));
    match test.operator {
        None => true,
        Some('~') => said.split_whitespace().any(|word| word == value),
        Some('|') => said == value || said.strip_prefix(&value).is_some_and(|rest| rest.starts_with('-')),
        // Nothing begins with, ends with or holds an empty text (Selectors 4, 6.2).
        Some('^' | '$' | '*') if value.is_empty() => false,
        Some('^') => said.starts_with(&value),
        Some('$') => said.ends_with(&value),
        Some('*') => said.contains(&value),
        Some(_) => said == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn descriptor() -> Descriptor {
        serde_json::from_value(json!({
            "role": "", "label": "Pay", "labelSource": "content", "tag": "button", "path": "form>div>button",
            "context": [{"kind": "form", "name": "Payment"}, {"kind": "dialog", "name": ""}],
            "group": null, "properties": {},
            "attributes": {"id": "pay", "class": "button big", "data-qa": "pay-now", "type": "submit", "href": "/pay/now"}
        }))
        .unwrap()
    }

    #[test]
    fn a_descriptor_says_what_its_control_is_and_nothing_else() {
        for selector in [
            "button",
            "#pay",
            ".big",
            "button.big[data-qa=pay-now]",
            "[data-qa^=PAY i]",
            "[href^='/pay']",
            "[type=submit]",
        ] {
            assert!(matches(&parse(selector).unwrap()[0], &descriptor()), "{selector}");
        }
        for selector in [
            "a",
            "*",
            "form",
            "dialog",
            "form button",
            "form > button",
            "h2 + button",
            ".small",
            "#other",
            "button:hover",
            "button:not(.a)",
            "[title=x]",
            "[class='button big']",
            "[href$=now]",
            "[href='/pay/now']",
            "[data-qa^='']",
            "#\\31 a",
            "[icon]",
        ] {
            assert!(!matches(&parse(selector).unwrap()[0], &descriptor()), "{selector}");
        }
    }

    #[test]
    fn an_older_tracker_is_given_no_benefit_of_doubt() {
        let since = BTreeMap::from([(".checkout".to_owned(), 5), ("#pay".to_owned(), 7), ("nav a".to_owned(), 9)]);
        let of = |selectors: &[&str]| {
            Exclusions::new(&selectors.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &since)
        };
        assert_eq!(of(&[".checkout"]).decide(&descriptor(), 4), Decided::Withheld);
        assert_eq!(of(&[".checkout"]).decide(&descriptor(), 5), Decided::Kept);
        assert_eq!(of(&["#pay"]).decide(&descriptor(), 6), Decided::Excluded);
        assert_eq!(of(&["#pay"]).decide(&descriptor(), 7), Decided::Drift);
        assert_eq!(of(&["nav a"]).decide(&descriptor(), 8), Decided::Withheld);
        assert_eq!(of(&[".checkout", "#pay"]).decide(&descriptor(), 4), Decided::Excluded);
        assert!(of(&[]).is_empty() && of(&[]).knew_all(0));
    }
}
