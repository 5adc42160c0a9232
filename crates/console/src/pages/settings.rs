//! A project's settings: every field that `convizit settings` knows, checked when it is saved.

use askama::Template;
use axum::response::Response;
use convizit_model::{Action, EventType, ProjectSettings, SettingsError};
use convizit_store::StoreError;
use serde_json::{Map, Value};

use super::projects::lines;
use crate::access::{Fields, Member};
use crate::page::{Chrome, Problem, Refusal, again, count, html, minute, see};

/// Characters of what somebody else has saved in a field that are shown.
const SAID: usize = 120;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    chrome: Chrome,
    project: String,
    key: String,
    version: u64,
    may_edit: bool,
    fields: Vec<Field>,
    meanwhile: Option<String>,
    goes: Option<Goes>,
    /// Destinations that keep events elsewhere than they are to stay, with what is to be said of each.
    outside: Vec<(String, String)>,
    problem: Problem,
}

/// What a shorter retention deletes.
struct Goes {
    /// The retention that is to be saved, and the one that holds.
    days: u32,
    kept: u32,
    events: String,
    /// Of how many days, the last of which is the one before `before`.
    of_days: String,
    before: String,
}

/// How a field is entered.
#[derive(Clone, Copy)]
enum Kind {
    Lines,
    Number(u32, u32),
    Yes,
    Choice(&'static [(&'static str, &'static str)]),
    Word,
    Types,
}

/// A field of the form.
struct Field {
    group: &'static str,
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: Kind,
    text: String,
    yes: bool,
    types: Vec<(&'static str, bool)>,
}

impl Field {
    fn is_lines(&self) -> bool {
        matches!(self.kind, Kind::Lines)
    }
    fn number(&self) -> Option<(u32, u32)> {
        match self.kind {
            Kind::Number(least, most) => Some((least, most)),
            _ => None,
        }
    }
    fn is_yes(&self) -> bool {
        matches!(self.kind, Kind::Yes)
    }
    fn is_word(&self) -> bool {
        matches!(self.kind, Kind::Word)
    }
    /// What it says, on one line.
    fn said(&self) -> String {
        let said = match self.kind {
            Kind::Yes => if self.yes { "yes" } else { "no" }.to_owned(),
            Kind::Choice(all) => {
                all.iter().find(|(word, _)| *word == self.text).map_or("", |(_, means)| means).to_owned()
            }
            _ if self.text.is_empty() => "none".to_owned(),
            _ => self.text.replace('\n', ", "),
        };
        match said.char_indices().nth(SAID) {
            Some((at, _)) => format!("{}…", said.get(..at).unwrap_or_default()),
            None => said,
        }
    }
    fn choices(&self) -> &'static [(&'static str, &'static str)] {
        match self.kind {
            Kind::Choice(all) => all,
            _ => &[],
        }
    }
}

const SIGNAL: Kind = Kind::Choice(&[
    ("stop", "capture nothing of this visitor"),
    ("no_ads", "capture, but tell destinations: not for advertising"),
    ("ignore", "take no notice"),
]);

/// Group, field, label, hint, kind. A test holds it against the settings that there are.
const FIELDS: &[(&str, &str, &str, &str, Kind)] = &[
    (
        "Site",
        "origins",
        "Where the site is",
        "One address in each line, such as https://shop.example or https://*.shop.example. Nobody else's pages may send events.",
        Kind::Lines,
    ),
    ("Site", "filter_bots", "Filter known bots", "Also browsers that a program drives.", Kind::Yes),
    (
        "Visitors",
        "identity",
        "How visitors are recognised",
        "",
        Kind::Choice(&[
            ("cookie+storage", "first-party cookie and local storage"),
            ("storage", "local storage only, no cookie"),
            ("none", "nothing is kept in the browser; a visitor is known for a day"),
        ]),
    ),
    ("Visitors", "cookie_days", "Life of the cookie in days", "1 to 400.", Kind::Number(1, 400)),
    (
        "Visitors",
        "consent_required",
        "Wait for consent",
        "Nothing is captured before the page calls convizit.consent.",
        Kind::Yes,
    ),
    ("Visitors", "gpc", "A browser that sends Global Privacy Control", "", SIGNAL),
    ("Visitors", "dnt", "A browser that sends Do Not Track", "", SIGNAL),
    ("Capture", "events", "Types of events", "", Kind::Types),
    (
        "Capture",
        "option_labels",
        "Carry the label of a chosen option",
        "Of selects, checkboxes and radio buttons.",
        Kind::Yes,
    ),
    (
        "Capture",
        "exclude_selectors",
        "Excluded elements",
        "One CSS selector in each line, such as .card-number. What they match is not captured.",
        Kind::Lines,
    ),
    (
        "Capture",
        "exclude_paths",
        "Excluded pages",
        "One path in each line; * stands for any text: /account/*.",
        Kind::Lines,
    ),
    (
        "Capture",
        "keep_query",
        "Query parameters to keep",
        "One in each line, beside utm_*. All others are cut from addresses.",
        Kind::Lines,
    ),
    (
        "Privacy",
        "crowd",
        "Visitors who must have shown a text",
        "A text that looks like a name is withheld until so many have. 2 to 100.",
        Kind::Number(2, 100),
    ),
    (
        "Privacy",
        "traits",
        "Traits that may say anything",
        "One name in each line: an e-mail address that the site wants to have, say. All other traits are scrubbed.",
        Kind::Lines,
    ),
    (
        "Privacy",
        "retention_days",
        "Days that events are kept",
        "1 to 3650. Fewer deletes what is older within a minute, and cannot be undone: first you see how much that is, and are asked once more who you are.",
        Kind::Number(1, 3650),
    ),
    (
        "Privacy",
        "samples_from",
        "Who sees samples",
        "Example values and single events, as visitors made them.",
        Kind::Choice(&[("admin", "Admins and the Owner"), ("editor", "Editors and above"), ("viewer", "all members")]),
    ),
    (
        "Privacy",
        "second_factor_for_all",
        "Every member needs a second factor",
        "Viewers and Editors too. Whoever has none sets it up before they enter this project.",
        Kind::Yes,
    ),
    (
        "Privacy",
        "residency",
        "Where events are to stay",
        "A region such as eu or us, which the regions of processors are held against; none for anywhere.",
        Kind::Word,
    ),
    (
        "Privacy",
        "residency_rule",
        "A destination that keeps them elsewhere",
        "",
        Kind::Choice(&[("warn", "is pointed out"), ("refuse", "cannot be enabled; one that sends already goes on")]),
    ),
];

/// The form as it shows settings.
fn fields(values: &Map<String, Value>) -> Vec<Field> {
    let shown = FIELDS.iter().map(|(group, name, label, hint, kind)| {
        let value = values.get(*name).unwrap_or(&Value::Null);
        let list: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = match value {
            Value::Array(_) => list.join("\n"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let types = match kind {
            Kind::Types => EventType::ALL.iter().map(|one| (one.as_str(), list.contains(&one.as_str()))).collect(),
            _ => Vec::new(),
        };
        Field { group, name, label, hint, kind: *kind, yes: value == &Value::Bool(true), text, types }
    });
    shown.collect()
}

/// The settings that a form says, as JSON; a number that is none stays a text, and is refused by name.
fn entered(form: &Fields) -> Map<String, Value> {
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let read = |(_, name, _, _, kind): &(&str, &'static str, &str, &str, Kind)| {
        let text = form.get(name).trim();
        let value = match kind {
            Kind::Lines if *name == "exclude_selectors" || *name == "exclude_paths" => {
                // A selector may hold a comma.
                texts(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
            }
            Kind::Lines => texts(lines(text)),
            Kind::Number(..) => text.parse::<u32>().map_or_else(|_| Value::from(text), Value::from),
            Kind::Yes => Value::Bool(text == "yes"),
            Kind::Choice(_) | Kind::Word => Value::from(text),
            Kind::Types => texts(form.all(name).map(str::to_owned).collect()),
        };
        ((*name).to_owned(), value)
    };
    FIELDS.iter().map(read).collect()
}

fn values(settings: &ProjectSettings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn page(member: &Member, values: &Map<String, Value>, version: u64, problem: Problem) -> SettingsPage {
    SettingsPage {
        chrome: member.asking.chrome("Settings", "settings"),
        project: member.project.id.to_string(),
        key: member.project.key.to_string(),
        version,
        may_edit: member.may(Action::EditSettings),
        fields: fields(values),
        meanwhile: None,
        goes: None,
        outside: Vec::new(),
        problem,
    }
}

/// Destinations outside of where events are to stay.
async fn outside(member: &Member) -> Result<Vec<(String, String)>, Refusal> {
    let states = member.asking.store.destinations(Some(&member.project.id)).await?;
    let entered = states.into_iter().map(|state| state.destination).filter(|one| one.processor.is_some());
    let concerns = entered.filter_map(|one| {
        let concern = one.concern(&member.project.settings)?;
        Some((one.name, concern.what))
    });
    Ok(concerns.collect())
}

/// What retention of so many days deletes; `None` where it is nothing.
async fn goes(member: &Member, days: u32) -> Result<Option<Goes>, Refusal> {
    let (store, number) = (&member.asking.store, member.project.number);
    let beyond = store.events_beyond(number, days).await?;
    if beyond.events == 0 {
        return Ok(None);
    }
    let many = |number: u64, one: &str| {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
    };
    Ok(Some(Goes {
        days,
        kept: member.project.settings.retention_days,
        events: many(beyond.events, "event"),
        of_days: many(beyond.days, "day"),
        before: minute(beyond.kept_from).chars().take(10).collect(),
    }))
}

pub(super) async fn show(member: Member) -> Result<Response, Refusal> {
    let (settings, version) = (&member.project.settings, member.project.version);
    let outside = outside(&member).await?;
    Ok(html(&SettingsPage { outside, ..page(&member, &values(settings), version, Problem::default()) }))
}

/// The field of the form that an error is about: `origins[0]` is in `origins`.
fn field_of(name: &str) -> &'static str {
    let plain = name.split('[').next().unwrap_or(name);
    FIELDS.iter().map(|(_, field, ..)| *field).find(|field| *field == plain).unwrap_or("form")
}

fn checked(entered: &Map<String, Value>) -> Result<ProjectSettings, Problem> {
    for (_, name, _, _, kind) in FIELDS {
        if let (Kind::Number(least, most), Some(Value::String(_))) = (kind, entered.get(*name)) {
            return Err(Problem::new(*name, format!("a whole number from {least} to {most}")));
        }
    }
    let settings: ProjectSettings = serde_json::from_value(Value::Object(entered.clone()))
        .map_err(|error| Problem::new("form", error.to_string()))?;
    let wrong = |SettingsError { field, problem }| Problem::new(field_of(&field), problem);
    settings.validate().and_then(|()| settings.check_selectors()).map_err(wrong)?;
    Ok(settings)
}

pub(super) async fn save(member: Member) -> Result<Response, Refusal> {
    let form = &member.asking.fields;
    let entered = entered(form);
    let made_from = form.get("version").parse().unwrap_or(0);
    let settings = match checked(&entered) {
        Ok(settings) if made_from == member.project.version => settings,
        Err(problem) if made_from == member.project.version => {
            return Ok(again(&page(&member, &entered, made_from, problem)));
        }
        _ => return Ok(overtaken(&member, &entered)),
    };
    // It deletes what is older, for good: first it is said what, then it is asked who that wants.
    if settings.retention_days < member.project.settings.retention_days {
        let goes = goes(&member, settings.retention_days).await?;
        if goes.is_some() && form.get("goes").parse() != Ok(settings.retention_days) {
            return Ok(again(&SettingsPage { goes, ..page(&member, &entered, made_from, Problem::default()) }));
        }
        if !member.asking.is_proved() {
            return Ok(super::prove_first(member.asking.clone(), &format!("/p/{}/settings", member.project.id)).await);
        }
    }
    match member.asking.store.save_settings_from(&member.project.id, made_from, settings).await {
        Ok(_) => Ok(see(&format!("/p/{}/settings", member.project.id), "saved")),
        Err(StoreError::Moved { .. }) => {
            let project = member.asking.store.project(&member.project.id).await?;
            Ok(overtaken(&Member { project, ..member }, &entered))
        }
        Err(error) => Err(error.into()),
    }
}

/// Somebody else was quicker: nothing typed is lost, and what differs is said.
fn overtaken(member: &Member, entered: &Map<String, Value>) -> Response {
    let saved = values(&member.project.settings);
    let differ: Vec<String> = fields(&saved)
        .iter()
        .filter(|field| saved.get(field.name) != entered.get(field.name))
        .map(|field| format!("{}, now: {}", field.label, field.said()))
        .collect();
    let meanwhile = if differ.is_empty() { "nothing".to_owned() } else { differ.join("; ") };
    let page = page(member, entered, member.project.version, Problem::default());
    again(&SettingsPage { meanwhile: Some(meanwhile), ..page })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_has_every_setting_and_gives_back_what_it_shows() {
        let defaults = values(&ProjectSettings::default());
        let mut shown: Vec<&str> = FIELDS.iter().map(|(_, name, ..)| *name).collect();
        let mut known: Vec<&str> = defaults.keys().map(String::as_str).collect();
        shown.sort_unstable();
        known.sort_unstable();
        assert_eq!(shown, known);
        let mut form = Vec::new();
        for field in fields(&defaults) {
            match field.kind {
                Kind::Types => form.extend(
                    field.types.iter().filter(|(_, on)| *on).map(|(one, _)| (field.name.to_owned(), (*one).to_owned())),
                ),
                Kind::Yes => form.push((field.name.to_owned(), if field.yes { "yes" } else { "no" }.to_owned())),
                _ => form.push((field.name.to_owned(), field.text.clone())),
            }
        }
        let back = checked(&entered(&Fields::of(form))).unwrap();
        assert_eq!(back, ProjectSettings::default());
    }

    #[test]
    fn what_is_wrong_is_said_at_its_field() {
        for (name, value, field) in [
            ("retention_days", "soon", "retention_days"),
            ("retention_days", "0", "retention_days"),
            ("origins", "https://shop.example/path", "origins"),
            ("exclude_selectors", ":::", "exclude_selectors"),
        ] {
            let mut form = values(&ProjectSettings::default());
            let one = Fields::of(vec![(name.to_owned(), value.to_owned())]);
            form.insert(name.to_owned(), entered(&one)[name].clone());
            assert_eq!(checked(&form).unwrap_err().field, field, "{name} = {value}");
        }
    }
}
