//! Adding a destination, changing and trying one, and how an event would be sent to it: the same checks and the same functions of the
//! store as at the command line.

use std::collections::{BTreeMap, BTreeSet};

use convizit_delivery::Preview;
use convizit_delivery::connectors;
use convizit_model::{Destination, DestinationKind, EventType, Processor, Project, ProjectId, Shaping, Timestamp};
use convizit_store::{DestinationState, Store, StoreError, StoredEvent};

use super::{Acting, Undone};
use crate::Console;
use crate::access::Samples;
use crate::page::{Problem, Refusal};

/// Events and bytes that are looked through for one to show.
const LOOKED: i64 = 50;
const LOOKED_BYTES: usize = 1 << 20;
/// How far clocks of the world are ahead of UTC at most.
const AHEAD_MILLIS: i64 = 14 * 3_600_000;

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
    /// Of a connector: settings of which nothing is to be kept, secrets too.
    pub(crate) removed: BTreeSet<String>,
    /// Who processes the events: the organisation, where it keeps them, and the date of the agreement.
    pub(crate) processor: &'a str,
    pub(crate) processor_region: &'a str,
    pub(crate) agreement: &'a str,
}

/// The entry of who processes the events; the region of a connector's account is taken where none is said.
fn processor_of(said: &Said<'_>, kind: &DestinationKind, now: Timestamp) -> Result<Option<Processor>, Problem> {
    let region = match kind {
        DestinationKind::Connector { region: Some(region), .. }
            if said.processor_region.is_empty() && !said.processor.is_empty() =>
        {
            region.as_str()
        }
        _ => said.processor_region,
    };
    let entry = Processor::of(said.processor, region, said.agreement);
    let entry = entry.map_err(|wrong| Problem::new(wrong.field, wrong.problem))?;
    // Where the day begins first it is tomorrow already.
    let latest = now.plus_millis(AHEAD_MILLIS).to_string();
    if entry.as_ref().is_some_and(|entry| latest.get(..10).is_some_and(|latest| *entry.agreement > *latest)) {
        return Err(Problem::new("agreement", "this day has not come yet: say the date of an agreement that holds"));
    }
    Ok(entry)
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

/// Whether a word is of a kind with settings of its own, and of no connector.
pub(crate) fn is_own_kind(word: &str) -> bool {
    ["webhook", "postgres", "file", "stdout"].contains(&word)
}

/// What is said of a destination: its kind, and the secrets of a connector. A secret of one that is not said stays as it is stored.
fn made_of(
    console: &Console,
    said: &Said<'_>,
    stored: Option<&str>,
    seen: Option<&DestinationKind>,
) -> Result<(DestinationKind, Option<String>), Problem> {
    let folder = console.config().delivery.connectors.as_deref();
    if said.kind.is_empty() || is_own_kind(said.kind) {
        return kind_of(said).map(|kind| (kind, None));
    }
    let connector = connectors::find(said.kind, folder).map_err(|error| Problem::new("connector", error))?;
    let mut entered: BTreeMap<String, String> =
        stored.and_then(|stored| serde_json::from_str(stored).ok()).unwrap_or_default();
    entered.extend(said.settings.iter().map(|(id, value)| (id.clone(), value.clone())));
    entered.retain(|id, _| !said.removed.contains(id));
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
        DestinationKind::Connector { .. } => "connector",
    }
}

fn check_shaping(shaping: &Shaping, kind: &DestinationKind) -> Result<(), Undone> {
    convizit_delivery::check_shaping(shaping, kind).map_err(|error| Undone::wrong(error.field, error.what))
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
    /// What it gets of them.
    pub(crate) shaping: Shaping,
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
    let Adding { name, said, types, shaping, from_start, held } = adding;
    if name.parse::<ProjectId>().is_err() {
        return Err(Undone::wrong("name", "1 to 64 of a-z, 0-9 and -, a letter or digit first"));
    }
    let (kind, secrets) = made_of(console, &said, None, None).map_err(Undone::Wrong)?;
    check_shaping(&shaping, &kind)?;
    let secret = match &kind {
        DestinationKind::Connector { .. } => secrets,
        DestinationKind::Webhook { .. } => Some(new_webhook_secret()?),
        DestinationKind::Postgres { .. } if said.secret.is_empty() => {
            return Err(Undone::wrong("secret", "say postgres://user:password@host:5432/database"));
        }
        DestinationKind::Postgres { .. } => Some(said.secret.to_owned()),
        DestinationKind::File { .. } | DestinationKind::Stdout { .. } => None,
    };
    let processor = processor_of(&said, &kind, acting.store.clock().now()).map_err(Undone::Wrong)?;
    let project = acting.project.id.clone();
    let destination =
        Destination { project, name: name.to_owned(), enabled: true, paused: held, types, shaping, processor, kind };
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

/// What is to become of a destination.
pub(crate) struct Changing<'a> {
    pub(crate) said: Said<'a>,
    pub(crate) types: Vec<EventType>,
    pub(crate) shaping: Shaping,
    /// Whether a webhook gets a new signing secret.
    pub(crate) renew: bool,
}

/// Checks and changes a destination that stands as `seen`; returns a webhook's new signing secret, which is shown this once.
///
/// # Errors
/// `Wrong` at a field; `Meanwhile` where it stands otherwise by now.
pub(crate) async fn change(
    console: &Console,
    acting: &Acting<'_>,
    seen: &Destination,
    Changing { said, types, shaping, renew }: Changing<'_>,
) -> Result<Option<String>, Undone> {
    if matches!(seen.kind, DestinationKind::Stdout { .. }) {
        let text = "standard output is set by the program that was started".to_owned();
        return Err(Refusal::Invalid(text).into());
    }
    let stored = acting.store.destination_secret(&acting.project.id, &seen.name).await?;
    let (kind, secrets) = made_of(console, &said, stored.as_deref(), Some(&seen.kind)).map_err(Undone::Wrong)?;
    check_shaping(&shaping, &kind)?;
    let secret = match &kind {
        DestinationKind::Connector { .. } => secrets.filter(|secrets| Some(secrets) != stored.as_ref()),
        DestinationKind::Webhook { .. } if renew => Some(new_webhook_secret()?),
        DestinationKind::Postgres { .. } if !said.secret.is_empty() => Some(said.secret.to_owned()),
        _ => None,
    };
    // An entry is changed and never taken away: where nothing is said it stays.
    let entered = processor_of(&said, &kind, acting.store.clock().now()).map_err(Undone::Wrong)?;
    let mut processor = entered.or_else(|| seen.processor.clone());
    // An account that moves takes its entry along, unless another place is said.
    if let (Some(entry), Some(before), Some(region)) = (&mut processor, &seen.processor, region_of(&kind))
        && Some(region) != region_of(&seen.kind)
        && entry.region == before.region
        && !entry.region.is_empty()
    {
        region.clone_into(&mut entry.region);
    }
    let changed = Destination { types, shaping, kind, processor, ..seen.clone() };
    // One that stays where it is is not asked: it may be away while its types or its entry change, and delivery may be writing to a file.
    if changed.kind != seen.kind || secret.is_some() {
        check(console, &changed, secret.as_deref().or(stored.as_deref())).await?;
    }
    if !acting.store.change_destination(seen, &changed, secret.as_deref()).await? {
        return Err(Undone::Meanwhile);
    }
    Ok(secret.filter(|_| matches!(changed.kind, DestinationKind::Webhook { .. })))
}

fn region_of(kind: &DestinationKind) -> Option<&str> {
    match kind {
        DestinationKind::Connector { region, .. } => region.as_deref(),
        _ => None,
    }
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
    store.audit("destination.test", id.as_str(), name, destination.kind.in_words()).await?;
    let config = &console.config().delivery;
    let tested = convizit_delivery::test(&destination, secret.as_deref(), config, store.clock().now()).await;
    if tested.is_ok() {
        store.took_test(acting.project.number, name).await?;
    }
    Ok(tested)
}

/// Why something was not taken, as it is shown: a vendor's own words may quote an event, and are for those who see samples.
pub(crate) fn shown_reason(reason: String, sees_samples: bool) -> String {
    if sees_samples { reason } else { convizit_delivery::briefly(&reason).to_owned() }
}

/// How a destination stands, as it is shown.
pub(crate) fn shown_state(mut state: DestinationState, sees_samples: bool) -> DestinationState {
    if let Some(failing) = &mut state.failing {
        failing.reason = shown_reason(std::mem::take(&mut failing.reason), sees_samples);
    }
    // Where a person has paused it, that is what stands there.
    if state.destination.rest().is_none() {
        state.destination.paused = state.destination.paused.map(|reason| shown_reason(reason, sees_samples));
    }
    state
}

/// Where it is, in words; for those who may change it, since an address may hold a credential. Of a connector the region and what
/// says where in it: its settings that are no secrets.
pub(crate) fn place(kind: &DestinationKind) -> String {
    match kind {
        DestinationKind::Connector { region, settings, .. } => {
            let region = region.iter().map(|region| format!("region {region}"));
            let entered = settings.iter().filter(|(_, value)| !value.is_empty());
            region.chain(entered.map(|(id, value)| format!("{id} {value}"))).collect::<Vec<_>>().join(", ")
        }
        DestinationKind::Webhook { url } => url.clone(),
        DestinationKind::Postgres { schema } => format!("schema {schema}"),
        DestinationKind::File { path } => path.clone(),
        DestinationKind::Stdout { .. } => "standard output".to_owned(),
    }
}

/// A connector's settings that are no secrets, by their labels.
pub(crate) fn open_settings(console: &Console, kind: &DestinationKind) -> Vec<(String, String)> {
    let DestinationKind::Connector { connector, settings, .. } = kind else { return Vec::new() };
    let known = connectors::find(connector, console.config().delivery.connectors.as_deref()).ok();
    let entered = settings.iter().filter(|(_, value)| !value.is_empty());
    entered
        .filter_map(|(id, value)| {
            let setting = known.as_ref()?.manifest.settings.iter().find(|setting| setting.id == *id)?;
            (!setting.secret).then(|| (setting.label.clone(), value.clone()))
        })
        .collect()
}

/// A destination as a form that is not sent yet says it, to show what it would get: what is missing is left out, secrets are not asked for.
///
/// # Errors
/// `Wrong` at a field.
pub(crate) fn drafted(
    console: &Console,
    project: &Project,
    said: &Said<'_>,
    (types, shaping): (Vec<EventType>, Shaping),
) -> Result<Destination, Problem> {
    let kind = match said.kind {
        "webhook" => DestinationKind::Webhook { url: said.url.to_owned() },
        "postgres" => DestinationKind::Postgres { schema: said.schema.to_owned() },
        "file" => DestinationKind::File { path: said.path.to_owned() },
        id => {
            let connector = connectors::find(id, console.config().delivery.connectors.as_deref())
                .map_err(|error| Problem::new("connector", error))?;
            let entered = |id: &String| said.settings.get(id).filter(|_| !said.removed.contains(id)).cloned();
            let open = connector.manifest.settings.iter().filter(|setting| !setting.secret);
            let settings = open
                .filter_map(|setting| Some((setting.id.clone(), entered(&setting.id).or(setting.default.clone())?)))
                .collect();
            let region = Some(said.region).filter(|region| !region.is_empty()).map(str::to_owned);
            DestinationKind::Connector { connector: id.to_owned(), region, settings }
        }
    };
    convizit_delivery::check_shaping(&shaping, &kind).map_err(|error| Problem::new(error.field, error.what))?;
    let (project, name) = (project.id.clone(), "preview".to_owned());
    Ok(Destination { project, name, enabled: true, paused: None, types, shaping, processor: None, kind })
}

/// The newest event that a destination gets.
async fn sample(
    _: &Samples,
    store: &Store,
    project: &Project,
    destination: &Destination,
) -> Result<Option<StoredEvent>, Refusal> {
    let last = store.last_event(project.number).await?;
    let limit = usize::try_from(LOOKED).unwrap_or(0);
    let events = store.events_after(project.number, (last - LOOKED).max(0), limit, LOOKED_BYTES).await?;
    Ok(convizit_delivery::newest_for(destination, &events))
}

/// How an event would be sent, and whether it is a real one: that is for those who see samples, and where there is one. Where it would go is for
/// those who may change the destination.
pub(crate) async fn preview(
    console: &Console,
    acting: &Acting<'_>,
    (samples, may_edit): (Option<&Samples>, bool),
    destination: &Destination,
) -> Result<(Preview, bool), Refusal> {
    let (store, project, config) = (acting.store, acting.project, &console.config().delivery);
    let real = match samples {
        Some(right) => sample(right, store, project, destination).await?,
        None => None,
    };
    let is_real = real.is_some();
    let event = match real {
        Some(event) => event,
        None => {
            let made = convizit_delivery::test_event(&project.id, store.clock().now()).map_err(Refusal::Failed)?;
            let json = serde_json::to_vec(&made).map_err(|error| Refusal::Failed(error.to_string()))?;
            StoredEvent { number: 0, json: json.into() }
        }
    };
    let mut preview = convizit_delivery::preview(destination, &event, config).await;
    let to = std::mem::take(&mut preview.to);
    if may_edit && !to.is_empty() {
        preview.fields.insert(0, ("to".to_owned(), to));
    }
    Ok((preview, is_real))
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
