//! The forms that add a destination and change one.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_delivery::connectors;
use convizit_model::{Destination, DestinationKind, EventType};

use super::destinations::{Shown, path_of, with};
use crate::Console;
use crate::access::{Fields, Member};
use crate::acts::Undone;
use crate::acts::destinations::{self, Adding, Said};
use crate::page::{Chrome, Problem, Refusal, again, html, see};

/// Kinds that are added here, with their names and what each is.
const KINDS: [(&str, &str, &str); 3] = [
    ("webhook", "Webhook", "Batches of events are posted to an address, signed as Standard Webhooks say."),
    ("postgres", "PostgreSQL", "Each event becomes a row; schema and tables are made there."),
    ("file", "File", "Each event becomes a line of JSON, on the machine that delivers."),
];
/// Why one waits that was added so.
const HELD: &str = "added in the console, to be resumed once it is ready";

#[derive(Template)]
#[template(path = "destination_form.html")]
struct FormPage {
    chrome: Chrome,
    project: String,
    /// The destination that is changed; `None` for a new one.
    of: Option<String>,
    kind: String,
    kinds: Vec<(&'static str, &'static str, bool)>,
    means: String,
    /// The connector's name and level of proof; empty for other kinds.
    vendor: String,
    proof: String,
    /// Connectors by what they are for.
    groups: Vec<Group>,
    /// What a connector needs.
    entries: Vec<Entry>,
    regions: Vec<(String, bool)>,
    credential: String,
    docs: String,
    /// Folders that the operator allows for files.
    folders: Vec<String>,
    name: String,
    url: String,
    secret: String,
    schema: String,
    path: String,
    types: Vec<(&'static str, bool)>,
    from_start: bool,
    hold: bool,
    renew: bool,
    /// What the form was made from, as JSON.
    seen: String,
    meanwhile: bool,
    problem: Problem,
}

/// Connectors of one purpose: its name, and of each the id, the name, and whether it is the chosen one.
type Group = (&'static str, Vec<(String, String, bool)>);

/// A setting of a connector, in the form.
struct Entry {
    id: String,
    label: String,
    hint: String,
    value: String,
    secret: bool,
    /// It need not be entered.
    optional: bool,
}

/// What connectors are for, in the order in which they are shown.
const GROUPS: [(&str, &str); 9] = [
    ("analytics", "Analytics"),
    ("cdp", "Customer data"),
    ("marketing", "Marketing"),
    ("ads", "Advertising"),
    ("warehouse", "Warehouses"),
    ("queue", "Queues"),
    ("search", "Search"),
    ("storage", "Storage"),
    ("alerts", "Alerts"),
];

/// The connectors, by what they are for.
fn groups(console: &Console, chosen: &str) -> Vec<Group> {
    let (all, _) = connectors::all(console.config().delivery.connectors.as_deref());
    let of = |group: &str| -> Vec<(String, String, bool)> {
        let metas = all.iter().map(|connector| &connector.manifest.meta);
        metas
            .filter(|meta| meta.group == group)
            .map(|meta| (meta.id.clone(), meta.name.clone(), meta.id == chosen))
            .collect()
    };
    GROUPS.into_iter().map(|(group, name)| (name, of(group))).filter(|(_, all)| !all.is_empty()).collect()
}

/// The form as it was sent.
fn filled(console: &Console, member: &Member, kind: &str, fields: &Fields, problem: Problem) -> FormPage {
    let text = |name: &str| fields.get(name).to_owned();
    let chosen = connectors::find(kind, console.config().delivery.connectors.as_deref()).ok();
    let manifest = chosen.as_ref().map(|connector| &connector.manifest);
    let (known, means) = match manifest {
        Some(manifest) => (kind, manifest.meta.about.clone()),
        None => {
            let (known, _, means) = KINDS.into_iter().find(|(known, ..)| *known == kind).unwrap_or(KINDS[0]);
            (known, means.to_owned())
        }
    };
    let entries = manifest.into_iter().flat_map(|manifest| &manifest.settings).map(|setting| Entry {
        id: setting.id.clone(),
        label: setting.label.clone(),
        hint: setting.hint.clone(),
        // Secrets are shown to nobody, not even to whoever has just typed one.
        value: if setting.secret { String::new() } else { text(&format!("set-{}", setting.id)) },
        secret: setting.secret,
        optional: setting.default.is_some(),
    });
    let hosts = manifest.map(|manifest| &manifest.hosts).filter(|hosts| hosts.len() > 1);
    let regions = hosts.into_iter().flat_map(|hosts| hosts.keys());
    let folders = &console.config().delivery.allow_folders;
    FormPage {
        chrome: member.asking.chrome("Add a destination", "destinations"),
        project: member.project.id.to_string(),
        of: None,
        kind: known.to_owned(),
        kinds: KINDS.map(|(word, name, _)| (word, name, word == known)).into(),
        means,
        vendor: manifest.map(|manifest| manifest.meta.name.clone()).unwrap_or_default(),
        proof: manifest.map(|manifest| manifest.meta.proof.clone()).unwrap_or_default(),
        groups: groups(console, kind),
        entries: entries.collect(),
        regions: regions.map(|region| (region.clone(), region == fields.get("region"))).collect(),
        credential: manifest.map(|manifest| manifest.meta.credential.clone()).unwrap_or_default(),
        docs: manifest.map(|manifest| manifest.meta.docs.clone()).unwrap_or_default(),
        folders: folders.iter().map(|folder| folder.display().to_string()).collect(),
        name: text("name"),
        url: text("url"),
        secret: text("secret"),
        schema: text("schema"),
        path: text("path"),
        types: EventType::ALL
            .iter()
            .map(|one| (one.as_str(), fields.all("types").any(|on| on == one.as_str())))
            .collect(),
        from_start: fields.get("begin") == "start",
        hold: fields.get("hold") == "yes",
        renew: fields.get("renew") == "yes",
        seen: text("seen"),
        meanwhile: false,
        problem,
    }
}

pub(super) async fn show_new(State(console): State<Console>, member: Member) -> Response {
    let kind = member.asking.query.get("kind");
    let page = filled(&console, &member, kind, &Fields::default(), Problem::default());
    html(&FormPage { schema: "convizit".to_owned(), ..page })
}

/// The chosen types of events; empty for all of them.
fn types(fields: &Fields) -> Vec<EventType> {
    EventType::ALL.into_iter().filter(|one| fields.all("types").any(|on| on == one.as_str())).collect()
}

/// What a form says of a destination.
fn said<'a>(kind: &'a str, fields: &'a Fields) -> Said<'a> {
    let text = |name: &str| fields.get(name).trim();
    let settings = fields.starting_with("set-").filter(|(_, value)| !value.trim().is_empty());
    Said {
        kind,
        url: text("url"),
        schema: text("schema"),
        secret: text("secret"),
        path: text("path"),
        region: text("region"),
        settings: settings.map(|(id, value)| (id.to_owned(), value.trim().to_owned())).collect(),
    }
}

/// The destination's page: with a signing secret that was just made, which is shown this once.
async fn done(
    console: &Console,
    member: &Member,
    (name, secret): (&str, Option<String>),
    word: &str,
) -> Result<Response, Refusal> {
    if secret.is_none() {
        return Ok(see(&path_of(member, name), word));
    }
    with(console, member, name, Shown { secret, ..Shown::default() }).await
}

pub(super) async fn add(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let fields = &member.asking.fields;
    let name = fields.get("name").trim();
    let adding = Adding {
        name,
        said: said(fields.get("kind"), fields),
        types: types(fields),
        from_start: fields.get("begin") == "start",
        held: (fields.get("hold") == "yes").then(|| HELD.to_owned()),
    };
    match destinations::add(&console, &member.acting(), adding).await {
        Ok(secret) => done(&console, &member, (name, secret), "destination-added").await,
        Err(Undone::Wrong(problem)) => Ok(again(&filled(&console, &member, fields.get("kind"), fields, problem))),
        Err(undone) => Err(undone.into()),
    }
}

/// What a form is made from: kind and types, since whether it is paused is set elsewhere.
fn seen_of(destination: &Destination) -> String {
    let shown = Destination { paused: None, ..destination.clone() };
    serde_json::to_string(&shown).unwrap_or_default()
}

/// A destination in the form.
fn current(console: &Console, member: &Member, destination: &Destination) -> FormPage {
    let page = filled(console, member, destination.kind.as_str(), &Fields::default(), Problem::default());
    let mut page = FormPage {
        chrome: member.asking.chrome(&format!("Change {}", destination.name), "destinations"),
        of: Some(destination.name.clone()),
        name: destination.name.clone(),
        types: EventType::ALL.iter().map(|one| (one.as_str(), destination.types.contains(one))).collect(),
        seen: seen_of(destination),
        ..page
    };
    match &destination.kind {
        DestinationKind::Webhook { url } => page.url.clone_from(url),
        DestinationKind::Postgres { schema } => page.schema.clone_from(schema),
        DestinationKind::File { path } => page.path.clone_from(path),
        DestinationKind::Connector { region, settings, .. } => {
            for entry in &mut page.entries {
                entry.value = settings.get(&entry.id).filter(|_| !entry.secret).cloned().unwrap_or_default();
                entry.optional |= entry.secret;
            }
            for (name, on) in &mut page.regions {
                *on = Some(&*name) == region.as_ref();
            }
        }
        DestinationKind::Stdout { .. } => {}
    }
    page
}

pub(super) async fn show_change(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (destination, _) = member.asking.store.destination(&member.project.id, &name).await?;
    Ok(html(&current(&console, &member, &destination)))
}

pub(super) async fn change(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (store, id, fields) = (&member.asking.store, &member.project.id, &member.asking.fields);
    let (destination, _) = store.destination(id, &name).await?;
    let word = destination.kind.as_str();
    // What was typed, made from what stands there now.
    let typed = |destination: &Destination, problem: Problem| FormPage {
        chrome: member.asking.chrome(&format!("Change {name}"), "destinations"),
        of: Some(name.clone()),
        name: name.clone(),
        seen: seen_of(destination),
        ..filled(&console, &member, word, fields, problem)
    };
    let meanwhile =
        |destination: &Destination| Ok(again(&FormPage { meanwhile: true, ..typed(destination, Problem::default()) }));
    let seen: Option<Destination> = serde_json::from_str(fields.get("seen")).ok();
    let Some(seen) = seen.filter(|seen| seen_of(seen) == seen_of(&destination)) else { return meanwhile(&destination) };
    let change = (said(word, fields), types(fields), fields.get("renew") == "yes");
    match destinations::change(&console, &member.acting(), &seen, change).await {
        Ok(secret) => done(&console, &member, (&name, secret), "destination-changed").await,
        Err(Undone::Wrong(problem)) => Ok(again(&typed(&destination, problem))),
        Err(Undone::Meanwhile) => {
            let (destination, _) = store.destination(id, &name).await?;
            meanwhile(&destination)
        }
        Err(Undone::Refused(refusal)) => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_what_it_says_without_what_stands_around_it() {
        let fields = |pairs: &[(&str, &str)]| {
            Fields::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(said("webhook", &fields(&[("url", " https://hooks.example/ ")])).url, "https://hooks.example/");
        let chosen = types(&fields(&[("types", "click"), ("types", "none"), ("types", "submit")]));
        assert_eq!(chosen, [EventType::Click, EventType::Submit]);
    }
}
