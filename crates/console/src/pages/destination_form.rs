//! Adding a destination, and changing one: the same checks and the same functions of the store as at the command line.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Destination, DestinationKind, EventType, ProjectId};
use convizit_store::StoreError;

use super::destinations::{Said, path_of, with};
use crate::Console;
use crate::access::{Fields, Member};
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
    means: &'static str,
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

/// The form as it was sent.
fn filled(console: &Console, member: &Member, kind: &str, fields: &Fields, problem: Problem) -> FormPage {
    let text = |name: &str| fields.get(name).to_owned();
    let (known, _, means) = KINDS.into_iter().find(|(known, ..)| *known == kind).unwrap_or(KINDS[0]);
    let folders = &console.config().delivery.allow_folders;
    FormPage {
        chrome: member.asking.chrome("Add a destination", "destinations"),
        project: member.project.id.to_string(),
        of: None,
        kind: known.to_owned(),
        kinds: KINDS.map(|(word, name, _)| (word, name, word == known)).into(),
        means,
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

/// What a form says of a kind, and the field that is to be changed where it says nothing of use.
fn kind_of(kind: &str, fields: &Fields) -> Result<DestinationKind, Problem> {
    let text = |name: &str| fields.get(name).trim().to_owned();
    match kind {
        "webhook" if text("url").is_empty() => Err(Problem::new("url", "say the address that takes the events")),
        "webhook" => Ok(DestinationKind::Webhook { url: text("url") }),
        "postgres" if text("schema").is_empty() => {
            Err(Problem::new("schema", "say the schema that is to be made there"))
        }
        "postgres" => Ok(DestinationKind::Postgres { schema: text("schema") }),
        "file" if !text("path").starts_with('/') => {
            Err(Problem::new("path", "say the whole path, such as /var/lib/convizit/events.jsonl"))
        }
        "file" => Ok(DestinationKind::File { path: text("path") }),
        _ => Err(Problem::new("kind", "choose what kind of destination it is")),
    }
}

/// The field that a failed check is about.
fn field_of(kind: &DestinationKind, said: &str) -> &'static str {
    match kind {
        DestinationKind::Webhook { .. } => "url",
        DestinationKind::Postgres { .. } if said.contains("schema") => "schema",
        DestinationKind::Postgres { .. } => "secret",
        DestinationKind::File { .. } | DestinationKind::Stdout { .. } => "path",
    }
}

pub(super) async fn add(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let fields = &member.asking.fields;
    let fails = |problem| Ok(again(&filled(&console, &member, fields.get("kind"), fields, problem)));
    let name = fields.get("name").trim().to_owned();
    if name.parse::<ProjectId>().is_err() {
        return fails(Problem::new("name", "1 to 64 of a-z, 0-9 and -, a letter or digit first"));
    }
    let kind = match kind_of(fields.get("kind"), fields) {
        Ok(kind) => kind,
        Err(problem) => return fails(problem),
    };
    let secret = match &kind {
        DestinationKind::Webhook { .. } => Some(convizit_delivery::new_webhook_secret().map_err(Refusal::Failed)?),
        DestinationKind::Postgres { .. } => {
            let url = fields.get("secret").trim();
            if url.is_empty() {
                return fails(Problem::new("secret", "say postgres://user:password@host:5432/database"));
            }
            Some(url.to_owned())
        }
        DestinationKind::File { .. } | DestinationKind::Stdout { .. } => None,
    };
    let paused = (fields.get("hold") == "yes").then(|| HELD.to_owned());
    let destination =
        Destination { project: member.project.id.clone(), name, enabled: true, paused, types: types(fields), kind };
    let store = &member.asking.store;
    let states = store.destinations(Some(&member.project.id)).await?;
    if states.iter().any(|state| state.destination.name == destination.name) {
        return fails(Problem::new("name", "there is a destination of this name already: choose another"));
    }
    let config = &console.config().delivery;
    if let Err(said) = convizit_delivery::check(&destination, secret.as_deref(), config).await {
        return fails(Problem::new(field_of(&destination.kind, &said), said));
    }
    let from_start = fields.get("begin") == "start";
    match store.add_destination(&destination, secret.as_deref(), from_start).await {
        Ok(()) => {}
        Err(StoreError::Invalid(text)) => return fails(Problem::new("name", text)),
        Err(error) => return Err(error.into()),
    }
    match (&destination.kind, secret) {
        (DestinationKind::Webhook { .. }, Some(secret)) => {
            with(&console, &member, &destination.name, Said { secret: Some(secret), ..Said::default() }).await
        }
        _ => Ok(see(&path_of(&member, &destination.name), "destination-added")),
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
    if matches!(seen.kind, DestinationKind::Stdout { .. }) {
        return Err(Refusal::Invalid("standard output is set by the program that was started".to_owned()));
    }
    let kind = match kind_of(word, fields) {
        Ok(kind) => kind,
        Err(problem) => return Ok(again(&typed(&destination, problem))),
    };
    let given = fields.get("secret").trim();
    let secret = match &kind {
        DestinationKind::Webhook { .. } if fields.get("renew") == "yes" => {
            Some(convizit_delivery::new_webhook_secret().map_err(Refusal::Failed)?)
        }
        DestinationKind::Postgres { .. } if !given.is_empty() => Some(given.to_owned()),
        _ => None,
    };
    let changed = Destination { types: types(fields), kind, ..seen.clone() };
    // Delivery may be writing to a file: one that stays where it is is left alone.
    if !(matches!(changed.kind, DestinationKind::File { .. }) && changed.kind == seen.kind) {
        let stored = store.destination_secret(id, &name).await?;
        let config = &console.config().delivery;
        let with = secret.as_deref().or(stored.as_deref());
        if let Err(said) = convizit_delivery::check(&changed, with, config).await {
            return Ok(again(&typed(&destination, Problem::new(field_of(&changed.kind, &said), said))));
        }
    }
    if !store.change_destination(&seen, &changed, secret.as_deref()).await? {
        let (destination, _) = store.destination(id, &name).await?;
        return meanwhile(&destination);
    }
    match (&changed.kind, secret) {
        (DestinationKind::Webhook { .. }, Some(secret)) => {
            with(&console, &member, &name, Said { secret: Some(secret), ..Said::default() }).await
        }
        _ => Ok(see(&path_of(&member, &name), "destination-changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_at_its_field() {
        let fields = |pairs: &[(&str, &str)]| {
            Fields::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        for (kind, given, field) in [
            ("webhook", &[("url", " ")][..], "url"),
            ("postgres", &[("schema", "")], "schema"),
            ("file", &[("path", "events.jsonl")], "path"),
            ("stdout", &[], "kind"),
        ] {
            assert_eq!(kind_of(kind, &fields(given)).unwrap_err().field, field, "{kind}");
        }
        let kind = kind_of("webhook", &fields(&[("url", " https://hooks.example/ ")])).unwrap();
        assert_eq!(kind, DestinationKind::Webhook { url: "https://hooks.example/".to_owned() });
        let chosen = types(&fields(&[("types", "click"), ("types", "none"), ("types", "submit")]));
        assert_eq!(chosen, [EventType::Click, EventType::Submit]);
    }
}
