//! What is known of a project's controls, as it is shown: names, one element or group, decisions, and what changed on the site.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use convizit_model::{Change, Decision, ElementId, NameId, ProjectId, Timestamp};
use convizit_pipeline::{ElementView, NameView, Silence, SiteChangeKind};
use convizit_store::Store;

use super::{Known, Target, known};
use crate::cli::{say, table};

const DAY_MILLIS: i64 = 24 * 3_600_000;

pub(super) async fn list(store: &Store, id: &ProjectId, like: Option<&str>, json: bool) -> Result<()> {
    let known = known(store, id).await?;
    let mut catalogue = known.registry.catalogue();
    let events = store.events_by_name(known.project.number).await?;
    let like = like.map(str::to_lowercase);
    catalogue.names.retain(|name| like.as_ref().is_none_or(|like| name.text.to_lowercase().contains(like)));
    if json {
        let mut out = serde_json::to_value(&catalogue)?;
        for name in out.get_mut("names").and_then(|names| names.as_array_mut()).into_iter().flatten() {
            let id: Option<NameId> = name.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
            let count = id.and_then(|id| events.get(&id.0)).copied().unwrap_or(0);
            if let Some(map) = name.as_object_mut() {
                map.insert("events".to_owned(), count.into());
            }
        }
        return say(out.to_string());
    }
    if catalogue.names.is_empty() {
        return say(match like {
            Some(like) => format!("No name holds {like:?}."),
            None => "Nothing has a name yet: names come with the first events.".to_owned(),
        });
    }
    let mut rows: Vec<(i64, Vec<String>)> = catalogue
        .names
        .iter()
        .map(|name| {
            let count = events.get(&name.id.0).copied().unwrap_or(0);
            let of = name.element.map(|id| id.to_string()).or_else(|| name.group.map(|id| id.to_string()));
            let state = match (name.captured, name.published, &name.made_as) {
                (false, ..) => "not captured",
                (_, _, Some(_)) => "given",
                (_, true, _) => "published",
                _ => "provisional",
            };
            (count, vec![count.to_string(), state.to_owned(), of.unwrap_or_default(), name.text.clone()])
        })
        .collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    table(&["events", "state", "of", "name"], &rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>())
}

pub(super) fn look(known: &Known, what: &str) -> Result<()> {
    let catalogue = known.registry.catalogue();
    let (element, group) = match known.find(what)? {
        Target::Element(id) => (Some(id), None),
        Target::Group(id) => (None, Some(id)),
        Target::Name(id) => {
            let name = known.name(id)?;
            (name.element.filter(|_| name.group.is_none()), name.group)
        }
    };
    let names = |of: &dyn Fn(&NameView) -> bool| {
        catalogue
            .names
            .iter()
            .filter(|name| of(name))
            .map(|name| format!("name      {}  {}", name.text, name.id))
            .collect::<Vec<_>>()
    };
    if let Some(id) = element {
        let found = catalogue.elements.iter().find(|element| element.id == id);
        let element = found.ok_or_else(|| anyhow!("there is no element {id}"))?;
        say(format!("element   {id}  {}{}", element.role, if element.captured { "" } else { "  not captured" }))?;
        if let Some(into) = element.part_of {
            say(format!("part of   {into}"))?;
        }
        if let Some(group) = element.group {
            say(format!("in group  {group}"))?;
        }
        for line in names(&|name| name.element == Some(id)) {
            say(line)?;
        }
        say("")?;
        return forms(known, element);
    }
    let id = group.ok_or_else(|| anyhow!("{what:?} is the name of no control"))?;
    let found = catalogue.groups.iter().find(|group| group.id == id);
    let group = found.ok_or_else(|| anyhow!("there is no group {id}"))?;
    say(format!("group     {id}  {}{}", group.name, if group.captured { "" } else { "  not captured" }))?;
    if let Some(into) = group.part_of {
        say(format!("part of   {into}"))?;
    }
    for line in names(&|name| name.group == Some(id)) {
        say(line)?;
    }
    let mut inside: HashMap<ElementId, &ElementView> = HashMap::new();
    inside.extend(
        catalogue.elements.iter().filter(|element| element.group == Some(id)).map(|element| (element.id, element)),
    );
    let mut rows: Vec<Vec<String>> = inside
        .values()
        .map(|element| {
            let label = element.forms.first().map_or("", |form| &form.label);
            vec![element.id.to_string(), element.role.clone(), label.to_owned()]
        })
        .collect();
    rows.sort();
    if rows.is_empty() {
        return Ok(());
    }
    say("")?;
    table(&["element", "role", "text"], &rows)
}

fn forms(known: &Known, element: &ElementView) -> Result<()> {
    let rows: Vec<Vec<String>> = element
        .forms
        .iter()
        .enumerate()
        .map(|(at, form)| {
            let sure = match (at, form.probability) {
                _ if known.registry.is_split(element.id, at) => {
                    format!("is {}", known.registry.part_of(element.id, at))
                }
                (0, _) => "first".to_owned(),
                (_, Some(sure)) => format!("{:.1} %", sure * 100.0),
                (_, None) => "by key".to_owned(),
            };
            let day = |time: Timestamp| time.to_string().chars().take(10).collect::<String>();
            vec![
                at.to_string(),
                day(form.since),
                day(form.last),
                sure,
                form.page.clone(),
                form.section.clone(),
                form.label.clone(),
            ]
        })
        .collect();
    table(&["form", "since", "last seen", "sure", "page", "section", "text"], &rows)
}

/// A decision in one line.
fn told(known: &Known, what: &Change) -> String {
    let name = |id: NameId| known.registry.made_as(id).map_or_else(|| id.to_string(), str::to_owned);
    match what {
        Change::Rename { name: id, text } => format!("name {:?} becomes {text:?}", name(*id)),
        Change::RenameGroup { group, text } => format!("group {group} becomes {text:?}"),
        Change::Merge { element, into } => format!("{element} is {into}"),
        Change::Split { element, form } => format!("form {form} of {element} is an element of its own"),
        Change::Regroup { group, into } => format!("{group} is {into}"),
        Change::CaptureElement { element, captured } => format!("{element} is {}", kept(*captured)),
        Change::CaptureGroup { group, captured } => format!("all in {group} is {}", kept(*captured)),
        Change::Undo { decision } => format!("decision {decision} is undone"),
    }
}

const fn kept(captured: bool) -> &'static str {
    if captured { "captured" } else { "not captured" }
}

fn state(known: &Known, decision: &Decision) -> &'static str {
    match (decision.proposed, known.registry.holds(decision.id)) {
        (true, _) if known.registry.is_open(decision) => "proposed",
        (true, _) => "answered",
        (false, true) => "holds",
        (false, false) => "undone",
    }
}

pub(super) fn history(known: &Known, json: bool) -> Result<()> {
    let mut decisions = known.registry.decisions();
    decisions.reverse();
    if json {
        let all: Vec<serde_json::Value> = decisions
            .into_iter()
            .map(|decision| serde_json::json!({"state": state(known, decision), "decision": decision}))
            .collect();
        return say(serde_json::to_string(&all)?);
    }
    if decisions.is_empty() {
        return say(format!(
            "Nothing was decided yet: convizit project rename {} OLD NEW gives a name another text.",
            known.project.id
        ));
    }
    let rows: Vec<Vec<String>> = decisions
        .into_iter()
        .map(|decision| {
            vec![
                decision.id.to_string(),
                decision.made.to_string(),
                decision.by.clone(),
                state(known, decision).to_owned(),
                told(known, &decision.what),
            ]
        })
        .collect();
    table(&["decision", "made", "by", "state", "what"], &rows)
}

pub(super) async fn changes(store: &Store, known: &Known, days: u32, json: bool) -> Result<()> {
    let since = store.clock().now().plus_millis(-i64::from(days) * DAY_MILLIS);
    let mut expected = store.expect_names(known.project.number).await?;
    let silences: Vec<Silence> = store
        .silent_names(known.project.number, &mut expected)
        .await?
        .into_iter()
        .map(|one| Silence { name: NameId(one.name), missing: one.missing })
        .collect();
    let changes = known.registry.site_changes(since, &silences);
    let proposed: Vec<&Decision> =
        known.registry.decisions().into_iter().filter(|one| known.registry.is_open(one)).collect();
    if json {
        return say(serde_json::json!({"changes": changes, "proposed": proposed}).to_string());
    }
    if changes.is_empty() && proposed.is_empty() {
        return say(format!("Nothing changed in {days} days."));
    }
    let rows: Vec<Vec<String>> = changes
        .iter()
        .map(|change| {
            let kind = match change.kind {
                SiteChangeKind::New => "new",
                SiteChangeKind::Moved => "moved",
                SiteChangeKind::Renamed => "renamed",
                SiteChangeKind::Lost => "lost",
            };
            let what = match (&change.before, &change.now) {
                (Some(before), Some(now)) => format!("{before} → {now}"),
                (Some(one), None) | (None, Some(one)) => one.clone(),
                (None, None) => String::new(),
            };
            let missing =
                if change.missing > 0 { format!(", {} events missing", change.missing) } else { String::new() };
            vec![
                change.since.to_string().chars().take(16).collect(),
                kind.to_owned(),
                change.element.to_string(),
                change.names.join(", "),
                format!("{what}{missing}"),
            ]
        })
        .collect();
    if !rows.is_empty() {
        table(&["since", "change", "element", "names", "what"], &rows)?;
    }
    for decision in proposed {
        let Change::Merge { element, into } = &decision.what else { continue };
        let evidence = decision.evidence.clone().unwrap_or_default();
        say(format!(
            "\nMay {element} be {into}? {0:.0} % sure; same {1}; other {2}; {3} events of it are missing.\n  yes: convizit project merge {4} {element} {into}\n  no:  convizit project undo {4} {5}",
            evidence.probability * 100.0,
            or_none(&evidence.agree),
            or_none(&evidence.differ),
            evidence.missing,
            known.project.id,
            decision.id
        ))?;
    }
    Ok(())
}

fn or_none(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
