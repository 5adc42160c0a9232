//! Excluded selectors on the server, for batches whose tracker did not know them yet: what a descriptor says of its control, of what
//! stands around it and of neither.

use std::collections::BTreeMap;

use convizit_model::Descriptor;
use convizit_model::selector::{Complex, Compound, Test, parse};
use serde_json::Value;

use crate::scrub::first_rule;

/// What a descriptor says of a selector, for the control and everything around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is excluded.
    Match,
    /// It is not.
    Miss,
    /// A class of an ancestor, a sibling, a state: the descriptor does not say.
    Unknown,
}

use Verdict::{Match, Miss, Unknown};

impl Verdict {
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Miss, _) | (_, Miss) => Miss,
            (Match, Match) => Match,
            _ => Unknown,
        }
    }

    const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Match, _) | (_, Match) => Match,
            (Miss, Miss) => Miss,
            _ => Unknown,
        }
    }

    const fn of(holds: bool) -> Self {
        if holds { Match } else { Miss }
    }
}

/// A project's selectors, each with the version of the settings with which it came.
pub(crate) struct Exclusions(Vec<(Complex, u64)>);

impl Exclusions {
    /// `selectors` as they are set; `since` says with which version each came, for one that it does not hold every version is older.
    pub(crate) fn new(selectors: &[String], since: &BTreeMap<String, u64>) -> Self {
        let known = |selector: &String| since.get(selector).copied().unwrap_or(u64::MAX);
        Self(
            selectors
                .iter()
                .flat_map(|selector| {
                    // One that an older build has saved and this one cannot read excludes nothing by itself: it matches all.
                    let all = parse(selector).unwrap_or_else(|_| vec![Complex { open: true, ..Complex::default() }]);
                    all.into_iter().map(|complex| (complex, known(selector)))
                })
                .collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to become of an event that was captured under this version: of selectors that its tracker knew only a certain match
    /// counts, and is drift; of newer ones what is not certain is a match as well.
    pub(crate) fn decide(&self, descriptor: &Descriptor, version: u64) -> Decided {
        let mut out = Decided::Kept;
        for (complex, since) in &self.0 {
            let knew = version >= *since;
            match (decide(complex, descriptor), knew) {
                (Match, true) => return Decided::Drift,
                (Match, false) => out = Decided::Excluded,
                (Unknown, false) if out == Decided::Kept => out = Decided::Withheld,
                _ => {}
            }
        }
        out
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    Kept,
    /// A selector that came later matches.
    Excluded,
    /// A selector that came later may match.
    Withheld,
    /// The tracker should have excluded it.
    Drift,
}

/// Tags that the tracker tells of all surroundings (`contextOf` in tracker/src/element.ts), at most `CONTEXT`.
const LANDMARKS: [&str; 15] = [
    "dialog", "form", "section", "article", "fieldset", "table", "nav", "header", "main", "aside", "footer", "search",
    "group", "banner", "region",
];
/// Kinds that are roles: which tag has it is not said.
const ROLES: [&str; 10] = [
    "alertdialog",
    "region",
    "group",
    "radiogroup",
    "grid",
    "tabpanel",
    "navigation",
    "banner",
    "complementary",
    "contentinfo",
];
const CONTEXT: usize = 6;

fn decide(complex: &Complex, descriptor: &Descriptor) -> Verdict {
    let around: Vec<&str> = descriptor.path.split('>').rev().skip(1).collect();
    // A path ends at the nearest landmark; only the body has nothing around it.
    let complete = around.last().is_some_and(|tag| *tag == "body");
    let inside =
        complex.inside.iter().fold(Match, |all, compound| all.and(somewhere(compound, &around, complete, descriptor)));
    let siblings = if complex.open { Unknown } else { Match };
    // Which of the surroundings stands in which is not looked at.
    let order = if complex.inside.is_empty() { Match } else { Unknown };
    let own = own(&complex.subject, descriptor);
    let outer = somewhere(&complex.subject, &around, complete, descriptor).and(order);
    own.or(outer).and(inside).and(siblings)
}

/// Whether one of the elements around the control is so.
fn somewhere(compound: &Compound, around: &[&str], complete: bool, descriptor: &Descriptor) -> Verdict {
    let rest = if compound.open || !compound.tests.is_empty() { Unknown } else { Match };
    let Some(tag) = compound.tag.as_deref() else { return rest };
    if matches!(tag, "html" | "body") || around.contains(&tag) {
        return rest;
    }
    let kinds = || descriptor.context.iter().map(|entry| entry.kind.as_str());
    if kinds().any(|kind| kind == tag) {
        return rest;
    }
    let all_told =
        LANDMARKS.contains(&tag) && descriptor.context.len() < CONTEXT && !kinds().any(|kind| ROLES.contains(&kind));
    if complete || all_told { Miss } else { Unknown }
}

/// Whether the control itself is so.
fn own(compound: &Compound, descriptor: &Descriptor) -> Verdict {
    let (tag, kind) = descriptor.tag.split_once(':').unwrap_or((&descriptor.tag, ""));
    let is_tag = Verdict::of(compound.tag.as_deref().is_none_or(|wanted| wanted == tag));
    let tests = compound.tests.iter().fold(is_tag, |all, test| all.and(holds(test, descriptor, kind)));
    tests.and(if compound.open { Unknown } else { Match })
}

/// What the tracker tells of an attribute (`attributesOf` in tracker/src/element.ts).
fn holds(test: &Test, descriptor: &Descriptor, kind: &str) -> Verdict {
    let said = match test.name.as_str() {
        "type" if !kind.is_empty() => Some(kind),
        "role" if !descriptor.role.is_empty() => Some(descriptor.role.as_str()),
        name => descriptor.attributes.get(name).and_then(Value::as_str),
    };
    match (test.name.as_str(), said) {
        // Words that a build made are left out, and so are the seventh and further ones.
        ("class", Some(said)) if test.operator == Some('~') => match compare(test, said) {
            Match => Match,
            _ if said.split_whitespace().count() < 6 && is_told(&test.value) => Miss,
            _ => Unknown,
        },
        ("class", _) => Unknown,
        // Without query and fragment.
        ("href", Some(said)) => match (compare(test, said), test.operator) {
            (found, None) => found,
            (Match, Some('^' | '*')) => Match,
            _ => Unknown,
        },
        ("id" | "name" | "type" | "itemprop", Some(said)) => compare(test, said),
        (name, Some(said)) if name.starts_with("data-") => compare(test, said),
        ("role", Some(said)) => compare(test, said),
        // What is long or looks private is not told.
        ("id" | "name" | "itemprop", None) if test.operator == Some('=') && is_told(&test.value) => Miss,
        _ => Unknown,
    }
}

/// Whether the tracker would have told this word.
fn is_told(word: &str) -> bool {
    (2..=60).contains(&word.chars().count()) && !word.chars().any(char::is_numeric) && first_rule(word).is_none()
}

fn compare(test: &Test, said: &str) -> Verdict {
    let lower = |text: &str| if test.fold { text.to_lowercase() } else { text.to_owned() };
    let (said, value) = (lower(said), lower(&test.value));
    Verdict::of(match test.operator {
        None => true,
        Some('~') => said.split_whitespace().any(|word| word == value),
        Some('|') => said == value || said.strip_prefix(&value).is_some_and(|rest| rest.starts_with('-')),
        // Nothing begins with, ends with or holds an empty text (Selectors 4, 6.2).
        Some('^' | '$' | '*') if value.is_empty() => false,
        Some('^') => said.starts_with(&value),
        Some('$') => said.ends_with(&value),
        Some('*') => said.contains(&value),
        Some(_) => said == value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn descriptor() -> Descriptor {
        serde_json::from_value(json!({
            "role": "", "label": "Pay", "labelSource": "content", "tag": "button", "path": "form>div>button",
            "context": [{"kind": "form", "name": "Payment"}, {"kind": "main", "name": ""}],
            "group": null, "properties": {},
            "attributes": {"id": "pay", "class": "button big", "data-qa": "pay-now", "type": "submit"}
        }))
        .unwrap()
    }

    #[test]
    fn a_descriptor_decides_what_it_can() {
        for (selector, verdict) in [
            ("button", Match),
            ("#pay", Match),
            (".big", Match),
            ("button.big[data-qa=pay-now]", Match),
            ("[data-qa^=PAY i]", Match),
            ("form button", Match),
            ("main .big", Match),
            ("form", Match),
            ("div", Match),
            ("nav", Miss),
            ("nav a", Miss),
            ("nav .big", Miss),
            ("input", Unknown),
            ("footer > .x", Miss),
            (".small", Unknown),
            ("#other", Unknown),
            ("button:hover", Unknown),
            ("button:not(.big)", Unknown),
            ("form.checkout button", Unknown),
            ("form > button", Unknown),
            ("h2 + button", Unknown),
            ("[title=x]", Unknown),
        ] {
            let all = parse(selector).unwrap();
            assert_eq!(decide(&all[0], &descriptor()), verdict, "{selector}");
        }
        let mut whole = descriptor();
        whole.path = "body>div>button".to_owned();
        whole.context.clear();
        for (selector, verdict) in [("span", Miss), ("a.small", Miss), ("p button", Miss), ("button", Match)] {
            assert_eq!(decide(&parse(selector).unwrap()[0], &whole), verdict, "{selector}");
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
        assert_eq!(of(&["nav a"]).decide(&descriptor(), 1), Decided::Kept);
        assert_eq!(of(&[".checkout", "#pay"]).decide(&descriptor(), 4), Decided::Excluded);
    }
}
