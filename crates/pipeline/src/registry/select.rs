//! Which of the known controls a CSS selector matches, as far as their hashed features tell: for trying one before it is saved.

use convizit_model::selector::{self, Complex, Compound, Test};
use convizit_model::{ElementId, Timestamp};

use super::Registry;
use crate::naming::{Features, short};

const DAY_MILLIS: i64 = 24 * 3_600_000;

/// A list of selectors that was read.
#[derive(Debug, Clone)]
pub struct Selector(Vec<Complex>);

/// How sure it is that a selector takes a control out. What stands around a control, and most attributes, the page alone knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hit {
    /// The control itself is selected.
    Itself,
    /// Something around it is, by its tag.
    Around,
    /// What is known of it fits; the rest is for the page to say.
    Perhaps,
}

/// A control that a selector matches, or may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// The control, before decisions of people.
    pub element: ElementId,
    /// The element that it is by all decisions.
    pub identity: ElementId,
    /// How sure it is.
    pub hit: Hit,
    /// The day when it was last seen.
    pub last: Timestamp,
}

impl Selector {
    /// Reads a list of selectors.
    ///
    /// # Errors
    /// What is wrong, and after which text.
    pub fn parse(text: &str) -> Result<Self, String> {
        selector::parse(text).map(Self)
    }

    fn hit(&self, features: &Features) -> Option<Hit> {
        self.0.iter().filter_map(|complex| hit(complex, features)).min()
    }
}

fn hit(complex: &Complex, features: &Features) -> Option<Hit> {
    let subject = &complex.subject;
    let known = own(subject, features);
    if known == Some(true) && !complex.open && !subject.open {
        return Some(Hit::Itself);
    }
    // A container by its tag alone: all that stands in it goes with it.
    let tag_alone = !complex.open && !subject.open && subject.tests.is_empty();
    if tag_alone && subject.tag.as_ref().is_some_and(|tag| features.path.iter().skip(1).any(|step| *step == short(tag)))
    {
        return Some(Hit::Around);
    }
    (known != Some(false)).then_some(Hit::Perhaps)
}

/// Whether the control is what the last part of a selector says, pseudo-classes aside; `None` where that cannot be told.
fn own(subject: &Compound, features: &Features) -> Option<bool> {
    let tag = match (&subject.tag, features.path.first()) {
        (None, _) => Some(true),
        (Some(_), None) => None,
        (Some(tag), Some(known)) => Some(short(tag) == *known),
    };
    // One that certainly is not so decides, whatever the others are.
    let mut all = tag;
    for test in &subject.tests {
        match holds(test, features) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => all = all.filter(|fits| !fits),
        }
    }
    all
}

/// Whether an attribute is so, by its hash: whole texts and words of a class are told, parts of a text are not.
fn holds(test: &Test, features: &Features) -> Option<bool> {
    let value = short(&test.value);
    let whole = |known: u32| match test.operator {
        None => Some(known != 0),
        Some(_) if known == 0 => Some(false),
        Some('=') if !test.fold => Some(known == value),
        Some(_) => None,
    };
    match test.name.as_str() {
        "id" => whole(features.id),
        // Names that a program made are not among the features.
        "name" if features.name == 0 => None,
        "name" => whole(features.name),
        "class" => match test.operator {
            None => Some(!features.classes.is_empty()),
            Some('~') if !test.fold => Some(features.classes.binary_search(&value).is_ok()),
            Some(_) => None,
        },
        name if name.starts_with("data-") => {
            let name = short(name);
            let known = features.data.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            whole(known.unwrap_or(0))
        }
        _ => None,
    }
}

impl Registry {
    /// The known controls that a selector matches or may match, the surest and newest first. Classes of a control are those that
    /// it was last seen with, all else is what it was first seen with.
    #[must_use]
    pub fn select(&self, selector: &Selector) -> Vec<Selected> {
        let mut found: Vec<Selected> = self
            .elements
            .iter()
            .filter_map(|(id, element)| {
                let hit = selector.hit(&element.features)?;
                let day = element.forms.iter().map(|form| form.day).max().unwrap_or(0);
                Some(Selected {
                    element: ElementId(*id),
                    identity: ElementId(self.canonical(*id)),
                    hit,
                    last: Timestamp::from_millis(day * DAY_MILLIS),
                })
            })
            .collect();
        found.sort_by_key(|one| (one.hit, std::cmp::Reverse(one.last), one.element.0));
        found
    }

    /// The day when a control was last seen that a selector certainly matches, and how many there are.
    #[must_use]
    pub fn last_selected(&self, selector: &Selector) -> Option<(Timestamp, usize)> {
        let days = self.elements.values().filter_map(|element| {
            let hit = selector.hit(&element.features)?;
            (hit != Hit::Perhaps).then(|| element.forms.iter().map(|form| form.day).max().unwrap_or(0))
        });
        let (last, count) = days.fold((None, 0), |(last, count), day| (last.max(Some(day)), count + 1));
        last.map(|day| (Timestamp::from_millis(day * DAY_MILLIS), count))
    }

    /// Whether the known controls can tell what a selector matches: one that asks for what stands around a control, or for an
    /// attribute that is not told, is for the page to answer.
    #[must_use]
    pub fn can_tell(selector: &Selector) -> bool {
        let told = |test: &Test| {
            let words = test.name == "class" && test.operator == Some('~');
            let whole = (matches!(test.name.as_str(), "id" | "name") || test.name.starts_with("data-"))
                && matches!(test.operator, None | Some('='));
            (words || whole) && !test.fold
        };
        selector.0.iter().all(|one| !one.open && !one.subject.open && one.subject.tests.iter().all(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convizit_model::Descriptor;
    use serde_json::json;

    fn features() -> Features {
        let descriptor: Descriptor = serde_json::from_value(json!({
            "role": "button", "label": "Pay", "labelSource": "content", "tag": "button", "path": "form>div>button",
            "attributes": {"id": "pay", "class": "button big", "data-qa": "pay-now", "type": "submit", "name": "pay"}
        }))
        .unwrap();
        Features::of(&descriptor, "Payment", "en")
    }

    #[test]
    fn a_selector_is_told_as_far_as_the_features_go() {
        let of = |text: &str| Selector::parse(text).unwrap().hit(&features());
        for text in ["button", "#pay", ".big", "button.big[data-qa=pay-now]", "[data-qa]", "[name=pay]", "*", "a, .big"]
        {
            assert_eq!(of(text), Some(Hit::Itself), "{text}");
        }
        for text in ["form", "div", "a, form"] {
            assert_eq!(of(text), Some(Hit::Around), "{text}");
        }
        for text in
            ["form button", "button:hover", ".checkout .big", "[aria-label=Pay]", "[data-qa^=pay]", "[type=submit]"]
        {
            assert_eq!(of(text), Some(Hit::Perhaps), "{text}");
        }
        for text in
            ["a", "#other", ".small", ".checkout", "nav", "form a", "[data-id]", "[data-qa=other]", "[title=x].small"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn what_the_page_alone_can_tell_is_known() {
        for (text, told) in [
            (".card", true),
            ("#a, button[name=x]", true),
            ("form .card", false),
            ("a:hover", false),
            ("[title]", false),
            ("[data-x^=a]", false),
        ] {
            assert_eq!(Registry::can_tell(&Selector::parse(text).unwrap()), told, "{text}");
        }
    }
}
