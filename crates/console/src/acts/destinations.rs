//! Adding a destination, changing and trying one, and how an event would be sent to it: the same checks and the same functions of the
//! store as at the command line.

use std::collections::BTreeMap;

use convizit_delivery::Preview;
use convizit_delivery::connectors;
use convizit_model::{Destination, DestinationKind, EventType, Project, ProjectId};
use convizit_store::{Store, StoreError, StoredEvent};

use super::{Acting, Undone};
use crate::Console;
use crate::access::Samples;
use crate::page::{Problem, Refusal};

/// Events and bytes that are looked through for one to show.
const LOOKED: i64 = 50;
const LOOKED_BYTES: usize = 1 << 20;

/// What is said of a destination; what its kind does not ask for is empty.
#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) kind: &'a str,
    pub(crate) url: &'a str,
    pub(crate) schema: &'a str,
    /// Of PostgreSQL: the connection's URL.
    pub(crate) secret: &'a str,
    pub(crate) path: &'a str,
    /// Of a connector: where the account is.
    pub(crate) region: &'a str,
    /// Of a connector: what was entered, secrets too.
    pub(crate) settings: BTreeMap<String, String>,
}

/// What is said of a kind, and the field that is to be changed where that is nothing of use.
fn kind_of(said: &Said<'_>) -> Result<DestinationKind, Problem> {
    match said.kind {
        "webhook" if said.url.is_empty() => Err(Problem::new("url", "say the address that takes the events")),
        "webhook" => Ok(DestinationKind::Webhook { url: said.url.to_owned() }),
        "postgres" if said.schema.is_empty() => Err(Problem::new("schema", "say the schema that is to be made there")),
        "postgres" => Ok(DestinationKind::Postgres { schema: said.schema.to_owned() }),
        "file" if !said.path.starts_with('/') => {
            Err(Problem::new("path", "say the whole path, such as /var/lib/convizit/events.jsonl"))
        }
        "file" => Ok(DestinationKind::File { path: said.path.to_owned() }),
        _ => Err(Problem::new("kind", "choose what kind of destination it is")),
    }
}

/// What is said of a destination: its kind, and the secrets of a connector. A secret of one that is not said stays as it is stored.
fn made_of(
    console: &Console,
    said: &Said<'_>,
    stored: Option<&str>,
    seen: Option<&DestinationKind>,
) -> Result<(DestinationKind, Option<String>), Problem> {
    let Ok(connector) = connectors::find(said.kind, console.config().delivery.connectors.as_deref()) else {
        return kind_of(said).map(|kind| (kind, None));
    };
    let mut entered: BTreeMap<String, String> =
        stored.and_then(|stored| serde_json::from_str(stored).ok()).unwrap_or_default();
    entered.extend(said.settings.iter().map(|(id, value)| (id.clone(), value.clone())));
    let region = Some(said.region).filter(|region| !region.is_empty());
    let (settings, secrets) = connector.part(region, &entered).map_err(|error| {
        let field = if error.setting == "region" { "region".to_owned() } else { format!("set-{}", error.setting) };
        Problem::new(field, error.what)
    })?;
    if let Some(DestinationKind::Connector { region: before, settings: of, .. }) = seen
        && connector.goes_to(before.as_deref(), of) != connector.goes_to(region, &settings)
    {
        // A secret goes with what is sent: it is not for whoever changes the address.
        let secrets = connector.manifest.settings.iter().filter(|setting| setting.secret);
        let kept =
            |id: &String| !said.settings.contains_key(id) && entered.get(id).is_some_and(|text| !text.is_empty());
        if let Some(secret) = secrets.into_iter().find(|setting| kept(&setting.id)) {
            let text = format!("events would go to another address: enter the {} again", secret.label.to_lowercase());
            return Err(Problem::new(format!("set-{}", secret.id), text));
        }
    }
    let (connector, region) = (connector.manifest.meta.id.clone(), region.map(str::to_owned));
    Ok((DestinationKind::Connector { connector, region, settings }, secrets))
}

/// The field that a failed check is about.
fn field_of(kind: &DestinationKind, said: &str) -> &'static str {
    match kind {
        DestinationKind::Webhook { .. } => "url",
        DestinationKind::Postgres { .. } if said.contains("schema") => "schema",
        DestinationKind::Postgres { .. } => "secret",
        DestinationKind::File { .. } | DestinationKind::Stdout { .. } => "path",
        DestinationKind::Connector { .. } => "kind",
    }
}

async fn check(console: &Console, destination: &Destination, secret: Option<&str>) -> Result<(), Undone> {
    let checked = convizit_delivery::check(destination, secret, &console.config().delivery).await;
    checked.map_err(|said| Undone::wrong(field_of(&destination.kind, &said), said))
}

fn new_webhook_secret() -> Result<String, Refusal> {
    convizit_delivery::new_webhook_secret().map_err(Refusal::Failed)
}

/// A destination that is to be added.
pub(crate) struct Adding<'a> {
    pub(crate) name: &'a str,
    pub(crate) said: Said<'a>,
    /// The types that it gets; none means all.
    pub(crate) types: Vec<EventType>,
    /// Whether it begins with the first event, and not with the next one.
    pub(crate) from_start: bool,
    /// Why it waits until it is resumed; `None` where it begins at once.
    pub(crate) held: Option<String>,
}

/// Checks a destination and adds it; returns a webhook's signing secret, which is shown this once.
///
/// # Errors
/// `Wrong` at a field.
pub(crate) async fn add(console: &Console, acting: &Acting<'_>, adding: Adding<'_>) -> Result<Option<String>, Undone> {
    let Adding { name, said, types, from_start, held } = adding;
    if name.parse::<ProjectId>().is_err() {
        return Err(Undone::wrong("name", "1 to 64 of a-z, 0-9 and -, a letter or digit first"));
    }
    let (kind, secrets) = made_of(console, &said, None, None).map_err(Undone::Wrong)?;
    let secret = match &kind {
        DestinationKind::Connector { .. } => secrets,
        DestinationKind::Webhook { .. } => Some(new_webhook_secret()?),
        DestinationKind::Postgres { .. } if said.secret.is_empty() => {
            return Err(Undone::wrong("secret", "say postgres://user:password@host:5432/database"));
        }
        DestinationKind::Postgres { .. } => Some(said.secret.to_owned()),
        DestinationKind::File { .. } | DestinationKind::Stdout { .. } => None,
    };
    let project = acting.project.id.clone();
    let destination = Destination {
        project,
        name: name.to_owned(),
        enabled: true,
        paused: held,
        types,
        shaping: Default::default(),
        kind,
    };
    let states = acting.store.destinations(Some(&acting.project.id)).await?;
    if states.iter().any(|state| state.destination.name == name) {
        return Err(Undone::wrong("name", "there is a destination of this name already: choose another"));
    }
    check(console, &destination, secret.as_deref()).await?;
    match acting.store.add_destination(&destination, secret.as_deref(), from_start).await {
        Ok(()) => Ok(secret.filter(|_| matches!(destination.kind, DestinationKind::Webhook { .. }))),
        Err(StoreError::Invalid(text)) => Err(Undone::wrong("name", text)),
        Err(error) => Err(error.into()),
    }
}

/// Checks and changes a destination that stands as `seen`; with `renew` a webhook's signing secret, too, which is returned, and shown
/// this once.
///
/// # Errors
/// `Wrong` at a field; `Meanwhile` where it stands otherwise by now.
pub(crate) async fn change(
    console: &Console,
    acting: &Acting<'_>,
    seen: &Destination,
    (said, types, renew): (Said<'_>, Vec<EventType>, bool),
) -> Result<Option<String>, Undone> {
    if matches!(seen.kind, DestinationKind::Stdout { .. }) {
        let text = "standard output is set by the program that was started".to_owned();
        return Err(Refusal::Invalid(text).into());
    }
    let stored = acting.store.destination_secret(&acting.project.id, &seen.name).await?;
    let (kind, secrets) = made_of(console, &said, stored.as_deref(), Some(&seen.kind)).map_err(Undone::Wrong)?;
    let secret = match &kind {
        DestinationKind::Connector { .. } => secrets.filter(|secrets| Some(secrets) != stored.as_ref()),
        DestinationKind::Webhook { .. } if renew => Some(new_webhook_secret()?),
        DestinationKind::Postgres { .. } if !said.secret.is_empty() => Some(said.secret.to_owned()),
        _ => None,
    };
    let changed = Destination { types, kind, ..seen.clone() };
    // Delivery may be writing to a file: one that stays where it is is left alone.
    if !(matches!(changed.kind, DestinationKind::File { .. }) && changed.kind == seen.kind) {
        check(console, &changed, secret.as_deref().or(stored.as_deref())).await?;
    }
    if !acting.store.change_destination(seen, &changed, secret.as_deref()).await? {
        return Err(Undone::Meanwhile);
    }
    Ok(secret.filter(|_| matches!(changed.kind, DestinationKind::Webhook { .. })))
}

/// Sends a test event as real ones are sent; returns what it came to, in a sentence.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn test(
    console: &Console,
    acting: &Acting<'_>,
    name: &str,
) -> Result<Result<String, String>, Refusal> {
    let (store, id) = (acting.store, &acting.project.id);
    let (destination, _) = store.destination(id, name).await?;
    let secret = store.destination_secret(id, name).await?;
    store.audit("destination.test", id.as_str(), name, "").await?;
    let config = &console.config().delivery;
    Ok(convizit_delivery::test(&destination, secret.as_deref(), config, store.clock().now()).await)
}

/// Where it is, in words; for those who may change it, since an address may hold a credential.
pub(crate) fn place(kind: &DestinationKind) -> String {
    match kind {
        DestinationKind::Connector { region: Some(region), .. } => format!("region {region}"),
        DestinationKind::Connector { .. } => String::new(),
        DestinationKind::Webhook { url } => url.clone(),
        DestinationKind::Postgres { schema } => format!("schema {schema}"),
        DestinationKind::File { path } => path.clone(),
        DestinationKind::Stdout { .. } => "standard output".to_owned(),
    }
}

/// The newest event that a destination wants.
async fn sample(
    _: &Samples,
    store: &Store,
    project: &Project,
    destination: &Destination,
) -> Result<Option<StoredEvent>, Refusal> {
    let last = store.last_event(project.number).await?;
    let limit = usize::try_from(LOOKED).unwrap_or(0);
    let events = store.events_after(project.number, (last - LOOKED).max(0), limit, LOOKED_BYTES).await?;
    let wanted = |event: &StoredEvent| event.head().is_some_and(|head| destination.wants(head.kind));
    Ok(events.into_iter().rev().find(wanted))
}

/// How an event would be sent, and whether it is a real one: that is for those who see samples, and where there is one.
pub(crate) async fn preview(
    console: &Console,
    acting: &Acting<'_>,
    samples: Option<&Samples>,
    destination: &Destination,
) -> Result<(Preview, bool), Refusal> {
    let (store, project, config) = (acting.store, acting.project, &console.config().delivery);
    let real = match samples {
        Some(right) => sample(right, store, project, destination).await?,
        None => None,
    };
    if let Some(event) = real {
        return Ok((convizit_delivery::preview(destination, &event, config), true));
    }
    let made = convizit_delivery::test_event(&project.id, store.clock().now()).map_err(Refusal::Failed)?;
    let json = serde_json::to_vec(&made).map_err(|error| Refusal::Failed(error.to_string()))?;
    Ok((convizit_delivery::preview(destination, &StoredEvent { number: 0, json: json.into() }, config), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_at_its_field() {
        for (said, field) in [
            (Said { kind: "webhook", ..Said::default() }, "url"),
            (Said { kind: "postgres", ..Said::default() }, "schema"),
            (Said { kind: "file", path: "events.jsonl", ..Said::default() }, "path"),
            (Said { kind: "stdout", ..Said::default() }, "kind"),
        ] {
            assert_eq!(kind_of(&said).unwrap_err().field, field, "{}", said.kind);
        }
        let said = Said { kind: "webhook", url: "https://hooks.example/", ..Said::default() };
        assert_eq!(kind_of(&said).unwrap(), DestinationKind::Webhook { url: "https://hooks.example/".to_owned() });
    }
}
