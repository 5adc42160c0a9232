//! The forms that add a destination and change one.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_delivery::{Preview, connectors};
use convizit_model::{Destination, DestinationKind, EventType, Processor};

use super::destinations::{Shown, added_and_tried, path_of, preview_for, with};
use super::shaping_form::{self, ShapingForm};
use crate::Console;
use crate::access::{Fields, Member, Samples};
use crate::acts::Undone;
use crate::acts::destinations::{self, Adding, Changing, Said};
use crate::page::{Chrome, Problem, Refusal, again, html, see};

/// Kinds that are added here, with their names and what each is.
const KINDS: [(&str, &str, &str); 3] = [
    ("webhook", "Webhook", "Batches of events are posted to an address, signed as Standard Webhooks say."),
    ("postgres", "PostgreSQL", "Each event becomes a row; schema and tables are made there."),
    ("file", "File", "Each event becomes a line of JSON, on the machine that delivers."),
];

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
    less: ShapingForm,
    /// Whether the part of what it gets stands open.
    open: bool,
    /// What it would get, and of which event that is.
    look: Option<(Preview, &'static str)>,
    /// Who processes the events.
    own: bool,
    processor: String,
    processor_region: String,
    agreement: String,
    from_start: bool,
    hold: bool,
    /// Whether a test event is sent as soon as it is added.
    try_now: bool,
    renew: bool,
    /// What the form was made from, as JSON.
    seen: String,
    /// What stands there otherwise than it is entered, where somebody else was quicker.
    meanwhile: Option<String>,
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
    /// What an empty field means, where that is something.
    by_default: String,
    /// The vendor need not have it.
    needless: bool,
    /// A secret is stored that may be taken away.
    stored: bool,
    /// It is to be taken away.
    removed: bool,
    /// The words that it is one of, and which is chosen; none where it is a text.
    words: Vec<(String, bool)>,
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
    let entries = manifest.into_iter().flat_map(|manifest| &manifest.settings).map(|setting| {
        // Secrets are shown to nobody, not even to whoever has just typed one.
        let typed = if setting.secret { String::new() } else { text(&format!("set-{}", setting.id)) };
        let words = if setting.secret { Vec::new() } else { setting.words() };
        let by_default = setting.default.as_deref().filter(|_| typed.is_empty() && !words.is_empty());
        let value = by_default.map(str::to_owned).unwrap_or(typed);
        Entry {
            id: setting.id.clone(),
            label: setting.label.clone(),
            hint: setting.hint.clone(),
            secret: setting.secret,
            optional: setting.default.is_some(),
            by_default: setting.default.clone().filter(|_| !setting.secret).unwrap_or_default(),
            needless: setting.default.is_some(),
            stored: false,
            removed: fields.get(&format!("remove-{}", setting.id)) == "yes",
            words: words.into_iter().map(|word| (word.to_owned(), word == value)).collect(),
            value,
        }
    });
    let hosts = manifest.map(|manifest| &manifest.hosts).filter(|hosts| hosts.len() > 1);
    let regions = hosts.into_iter().flat_map(|hosts| hosts.keys());
    let folders = &console.config().delivery.allow_folders;
    let less = ShapingForm::sent(fields);
    let open = less.is_used() || shaping_form::is_part(&problem.field);
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
        less,
        open,
        look: None,
        own: fields.get("own") == "yes",
        processor: text("processor"),
        processor_region: text("processor_region"),
        agreement: text("agreement"),
        from_start: fields.get("begin") == "start",
        hold: fields.get("hold") == "yes",
        try_now: fields.get("try") == "yes",
        renew: fields.get("renew") == "yes",
        seen: text("seen"),
        meanwhile: None,
        problem,
    }
}

pub(super) async fn show_new(State(console): State<Console>, member: Member) -> Response {
    let kind = member.asking.query.get("kind");
    let page = filled(&console, &member, kind, &Fields::default(), Problem::default());
    html(&FormPage { schema: "convizit".to_owned(), try_now: true, ..page })
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
        removed: fields.starting_with("remove-").filter(|(_, on)| *on == "yes").map(|(id, _)| id.to_owned()).collect(),
        processor: if text("own") == "yes" { Processor::OWN } else { text("processor") },
        processor_region: text("processor_region"),
        agreement: text("agreement"),
    }
}

/// Whether a form is only to show what a destination would get.
fn only_looks(fields: &Fields) -> bool {
    fields.get("look") == "yes"
}

/// What a destination would get that is as the form says; nothing of it is saved.
async fn look(
    console: &Console,
    member: &Member,
    kind: &str,
    right: Option<&Samples>,
) -> Result<Result<(Preview, &'static str), Problem>, Refusal> {
    let fields = &member.asking.fields;
    let drafted = shaping_form::shaping(fields).and_then(|shaping| {
        destinations::drafted(console, &member.project, &said(kind, fields), (types(fields), shaping))
    });
    match drafted {
        Ok(destination) => preview_for(console, member, right, &destination).await.map(Ok),
        Err(problem) => Ok(Err(problem)),
    }
}

/// The form as it was sent, with what the destination would get.
async fn looked(console: &Console, member: &Member, kind: &str, page: FormPage) -> Result<Response, Refusal> {
    // Each look may be of another event, and nothing was read before the first: all count as reading.
    let right = member.samples();
    Ok(match look(console, member, kind, right.as_ref()).await? {
        Ok(look) => html(&FormPage { look: Some(look), open: true, ..page }),
        Err(problem) => again(&FormPage { open: page.open || shaping_form::is_part(&problem.field), problem, ..page }),
    })
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
    with(console, member, name, Shown::of_secret(secret)).await
}

pub(super) async fn add(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let fields = &member.asking.fields;
    let (name, kind) = (fields.get("name").trim(), fields.get("kind"));
    let page = |problem: Problem| filled(&console, &member, kind, fields, problem);
    if only_looks(fields) {
        return looked(&console, &member, kind, page(Problem::default())).await;
    }
    let shaping = match shaping_form::shaping(fields) {
        Ok(shaping) => shaping,
        Err(problem) => return Ok(again(&page(problem))),
    };
    let adding = Adding {
        name,
        said: said(kind, fields),
        types: types(fields),
        shaping,
        from_start: fields.get("begin") == "start",
        held: (fields.get("hold") == "yes").then(|| member.asking.store.rest_reason(true)),
    };
    match destinations::add(&console, &member.acting(), adding).await {
        // A webhook's receiver does not know the secret yet that a test event is signed with.
        Ok(None) if fields.get("try") == "yes" => added_and_tried(&console, &member, name).await,
        Ok(secret) => done(&console, &member, (name, secret), "destination-added").await,
        Err(Undone::Wrong(problem)) => Ok(again(&page(problem))),
        Err(Undone::Refused(Refusal::Barred(text))) => Ok(again(&page(Problem::new("processor", text)))),
        Err(undone) => Err(undone.into()),
    }
}

/// What a form is made from: what can be changed in it, since whether it is paused is set elsewhere.
fn seen_of(destination: &Destination) -> String {
    let shown = Destination { paused: None, ..destination.clone() };
    serde_json::to_string(&shown).unwrap_or_default()
}

/// The part of the form that stands on a connector's own page: its own fields, and all else as it is.
pub(super) struct OwnFields {
    /// Hidden fields of the form.
    pub(super) kept: Vec<(String, String)>,
    pub(super) fields: String,
}

impl OwnFields {
    /// `None` for what has no own fields.
    pub(super) fn of(destination: &Destination) -> Option<Self> {
        let DestinationKind::Connector { region, settings, .. } = &destination.kind else { return None };
        let less = ShapingForm::of(&destination.shaping);
        let settings = settings.iter().map(|(id, value)| (format!("set-{id}"), value.clone()));
        let types = destination.types.iter().map(|kind| ("types".to_owned(), kind.as_str().to_owned()));
        let ticks = less.ticks.iter().filter(|(.., on)| *on).map(|(word, ..)| ("less".to_owned(), (*word).to_owned()));
        let own = destination.processor.as_ref().is_some_and(Processor::is_own);
        let entered = destination.processor.clone().unwrap_or_default();
        let texts = [
            ("seen", seen_of(destination)),
            ("own", if own { "yes" } else { "" }.to_owned()),
            ("processor", if own { String::new() } else { entered.name }),
            ("processor_region", entered.region),
            ("agreement", entered.agreement),
            ("region", region.clone().unwrap_or_default()),
            ("without", less.without),
            ("when", less.when),
            ("percent", less.percent),
            ("transform", less.transform),
        ];
        let texts = texts.into_iter().map(|(name, value)| (name.to_owned(), value));
        Some(Self { kept: texts.chain(settings).chain(types).chain(ticks).collect(), fields: less.fields })
    }
}

/// A destination in the form.
fn current(console: &Console, member: &Member, destination: &Destination) -> FormPage {
    let page = filled(console, member, destination.kind.as_str(), &Fields::default(), Problem::default());
    let mut page = FormPage {
        chrome: member.asking.chrome(&format!("Change {}", destination.name), "destinations"),
        of: Some(destination.name.clone()),
        name: destination.name.clone(),
        types: EventType::ALL.iter().map(|one| (one.as_str(), destination.types.contains(one))).collect(),
        less: ShapingForm::of(&destination.shaping),
        open: true,
        seen: seen_of(destination),
        ..page
    };
    if let Some(processor) = &destination.processor {
        page.own = processor.is_own();
        page.processor = if page.own { String::new() } else { processor.name.clone() };
        page.processor_region.clone_from(&processor.region);
        page.agreement.clone_from(&processor.agreement);
    }
    match &destination.kind {
        DestinationKind::Webhook { url } => page.url.clone_from(url),
        DestinationKind::Postgres { schema } => page.schema.clone_from(schema),
        DestinationKind::File { path } => page.path.clone_from(path),
        DestinationKind::Connector { region, settings, .. } => {
            for entry in &mut page.entries {
                // One of a few words that is not stored is the default.
                let stored = settings.get(&entry.id).filter(|_| !entry.secret).cloned();
                if let Some(stored) = stored.or_else(|| entry.words.is_empty().then(String::new)) {
                    entry.value = stored;
                }
                for (word, on) in &mut entry.words {
                    *on = *word == entry.value;
                }
            }
            for (name, on) in &mut page.regions {
                *on = Some(&*name) == region.as_ref();
            }
        }
        DestinationKind::Stdout { .. } => {}
    }
    page
}

/// In what a destination differs from what was typed, with what stands there; of secrets nothing.
fn differ(typed: &FormPage, stands: &FormPage) -> String {
    let mut differ = Vec::new();
    let mut hold = |name: &str, typed: &str, stands: &str| {
        if typed.trim() != stands {
            differ.push(format!("{name}, now {}", if stands.is_empty() { "empty" } else { stands }));
        }
    };
    hold("the address", &typed.url, &stands.url);
    hold("the schema", &typed.schema, &stands.schema);
    hold("the path", &typed.path, &stands.path);
    let region =
        |page: &FormPage| page.regions.iter().find(|(_, on)| *on).map_or(String::new(), |(name, _)| name.clone());
    hold("the region", &region(typed), &region(stands));
    for (typed, stands) in typed.entries.iter().zip(&stands.entries).filter(|(entry, _)| !entry.secret) {
        hold(&stands.label, &typed.value, &stands.value);
    }
    let types = |page: &FormPage| {
        let on: Vec<&str> = page.types.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        if on.is_empty() { "all".to_owned() } else { on.join(", ") }
    };
    hold("the types of events", &types(typed), &types(stands));
    let processor = |page: &FormPage| {
        let entered = [&page.processor, &page.processor_region, &page.agreement].map(String::as_str);
        if page.own { Processor::OWN.to_owned() } else { entered.join(" ").trim().to_owned() }
    };
    // Where nothing is said of it, it stays.
    if !processor(typed).is_empty() {
        hold("who processes the events", &processor(typed), &processor(stands));
    }
    let less = |page: &FormPage| {
        let on: Vec<&str> = page.less.ticks.iter().filter(|(.., on)| *on).map(|(_, name, _)| *name).collect();
        on.into_iter().chain(page.less.without.split_whitespace()).collect::<Vec<_>>().join(", ")
    };
    hold("what is left out", &less(typed), &less(stands));
    hold("the condition", &typed.less.when, &stands.less.when);
    hold("the share of visitors", &typed.less.percent, &stands.less.percent);
    let lines = |page: &FormPage| page.less.fields.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    hold("own fields", &lines(typed), &lines(stands));
    hold("the transform", &typed.less.transform.replace("\r\n", "\n"), stands.less.transform.trim());
    if differ.is_empty() { "nothing that is shown here".to_owned() } else { differ.join("; ") }
}

pub(super) async fn show_change(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (store, id) = (&member.asking.store, &member.project.id);
    let (destination, _) = store.destination(id, &name).await?;
    let mut page = current(&console, &member, &destination);
    show_stored(&mut page, store.destination_secret(id, &name).await?.as_deref());
    page.look = Some(preview_for(&console, &member, member.samples().as_ref(), &destination).await?);
    Ok(html(&page))
}

/// Marks the secrets that are stored and need not be: those can be taken away.
fn show_stored(page: &mut FormPage, stored: Option<&str>) {
    let stored: std::collections::BTreeMap<String, String> =
        stored.and_then(|stored| serde_json::from_str(stored).ok()).unwrap_or_default();
    for entry in page.entries.iter_mut().filter(|entry| entry.secret) {
        entry.stored = entry.needless && stored.get(&entry.id).is_some_and(|secret| !secret.is_empty());
        entry.optional = true;
    }
}

pub(super) async fn change(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (store, id, fields) = (&member.asking.store, &member.project.id, &member.asking.fields);
    let (destination, _) = store.destination(id, &name).await?;
    let word = destination.kind.as_str();
    let stored = store.destination_secret(id, &name).await?;
    // What was typed, made from what stands there now.
    let typed = |destination: &Destination, problem: Problem| {
        let mut page = FormPage {
            chrome: member.asking.chrome(&format!("Change {name}"), "destinations"),
            of: Some(name.clone()),
            name: name.clone(),
            open: true,
            seen: seen_of(destination),
            ..filled(&console, &member, word, fields, problem)
        };
        show_stored(&mut page, stored.as_deref());
        page
    };
    if only_looks(fields) {
        // What it was made from stays: whoever has changed it meanwhile is met when it is saved.
        let page = FormPage { seen: fields.get("seen").to_owned(), ..typed(&destination, Problem::default()) };
        return looked(&console, &member, word, page).await;
    }
    let meanwhile = |destination: &Destination| {
        let typed = typed(destination, Problem::default());
        let differ = differ(&typed, &current(&console, &member, destination));
        Ok(again(&FormPage { meanwhile: Some(differ), ..typed }))
    };
    let seen: Option<Destination> = serde_json::from_str(fields.get("seen")).ok();
    let Some(seen) = seen.filter(|seen| seen_of(seen) == seen_of(&destination)) else { return meanwhile(&destination) };
    let shaping = match shaping_form::shaping(fields) {
        Ok(shaping) => shaping,
        Err(problem) => return Ok(again(&typed(&destination, problem))),
    };
    let renew = fields.get("renew") == "yes";
    let changing = Changing { said: said(word, fields), types: types(fields), shaping, renew };
    match destinations::change(&console, &member.acting(), &seen, changing).await {
        Ok(secret) => done(&console, &member, (&name, secret), "destination-changed").await,
        Err(Undone::Wrong(problem)) => Ok(again(&typed(&destination, problem))),
        Err(Undone::Refused(Refusal::Barred(text))) => Ok(again(&typed(&destination, Problem::new("processor", text)))),
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

    #[test]
    fn own_fields_are_saved_with_all_else_that_shapes_a_destination() {
        let shaping = serde_json::json!({"without": ["properties.Note"], "when": {"exists": "$.user"}, "percent": 7, "transform": ".a = 1\n.b = 2"});
        let shaping: convizit_model::Shaping = serde_json::from_value(shaping).unwrap();
        let connector = "mixpanel".to_owned();
        let destination = Destination {
            project: "shop".parse().unwrap(),
            name: "mx".to_owned(),
            enabled: true,
            paused: None,
            processor: None,
            types: Vec::new(),
            shaping: shaping.clone(),
            kind: DestinationKind::Connector { connector, region: None, settings: Default::default() },
        };
        let own = OwnFields::of(&destination).unwrap();
        let fields = Fields::of(own.kept);
        assert_eq!(shaping_form::shaping(&fields).unwrap(), shaping);
    }
}
