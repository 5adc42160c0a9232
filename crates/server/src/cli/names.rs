//! `convizit project names, rename, merge, …`: what a project's controls are called and which is which, seen and changed by people.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use convizit_model::{Change, Decision, DecisionId, ElementId, GroupId, NameId, Project, ProjectId, Timestamp};
use convizit_pipeline::{ElementView, NameView, Registry, Silence, SiteChangeKind};
use convizit_store::Store;

use crate::cli::{say, table};

/// Who decides at the command line.
const BY: &str = "command line";
const DAY_MILLIS: i64 = 24 * 3_600_000;

/// How a change is made.
#[derive(Debug, Args)]
pub(crate) struct Way {
    /// Only shows what would change.
    #[arg(long)]
    preview: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Naming {
    /// Lists the names of a project's events, with how many there are.
    #[command(after_help = "Examples:\n  convizit project names shop\n  convizit project names shop --like cart")]
    Names {
        /// The project.
        id: ProjectId,
        /// Only names that hold this text.
        #[arg(long, value_name = "TEXT")]
        like: Option<String>,
        /// For programs: elements and groups too.
        #[arg(long)]
        json: bool,
    },
    /// Shows an element or a group: its names, what it was seen as, what was decided about it.
    #[command(
        after_help = "Examples:\n  convizit project look shop 'Add to cart'\n  convizit project look shop gr_00c5b1f5a3f5a1d2"
    )]
    Look {
        /// The project.
        id: ProjectId,
        /// A name, or an id: `el_…`, `gr_…`, `na_…`.
        what: String,
    },
    /// Gives a name or a group another text. Past events keep the old one; their ids stay, so that they can be sent again.
    #[command(after_help = "Example: convizit project rename shop 'Add to cart' 'Add to basket' --preview")]
    Rename {
        /// The project.
        id: ProjectId,
        /// The name, or its id; `gr_…` for a group.
        what: String,
        /// Its new text.
        text: String,
        #[command(flatten)]
        way: Way,
    },
    /// Says that two controls are one: events on the first carry identity and name of the second from now on.
    #[command(after_help = "Example: convizit project merge shop 'Buy now' 'Add to cart' --preview")]
    Merge {
        /// The project.
        id: ProjectId,
        /// The one that is given up: `el_…` or one of its names.
        element: String,
        /// The one that stays.
        into: String,
        #[command(flatten)]
        way: Way,
    },
    /// Says that a form in which an element was seen is a control of its own.
    #[command(after_help = "Example: convizit project split shop el_00c5b1f5a3f5a1d2 --form 1")]
    Split {
        /// The project.
        id: ProjectId,
        /// The element: `el_…` or one of its names.
        element: String,
        /// Which form; `convizit project look` numbers them.
        #[arg(long)]
        form: usize,
        #[command(flatten)]
        way: Way,
    },
    /// Says that two groups are one.
    #[command(after_help = "Example: convizit project regroup shop gr_00c5b1f5a3f5a1d2 gr_1f5a3f5a1d200c5b")]
    Regroup {
        /// The project.
        id: ProjectId,
        /// The one that is given up: `gr_…` or the name of its items.
        group: String,
        /// The one that stays.
        into: String,
        #[command(flatten)]
        way: Way,
    },
    /// Keeps no more events of an element, or of all that stands in a group. What is stored stays.
    #[command(after_help = "Example: convizit project not-captured shop gr_00c5b1f5a3f5a1d2")]
    NotCaptured {
        /// The project.
        id: ProjectId,
        /// `el_…`, `gr_…`, or a name.
        what: String,
        #[command(flatten)]
        way: Way,
    },
    /// Keeps events of an element or group again.
    #[command(after_help = "Example: convizit project captured shop gr_00c5b1f5a3f5a1d2")]
    Captured {
        /// The project.
        id: ProjectId,
        /// `el_…`, `gr_…`, or a name.
        what: String,
        #[command(flatten)]
        way: Way,
    },
    /// What people, and the product itself, decided and proposed, newest first.
    #[command(after_help = "Example: convizit project history shop")]
    History {
        /// The project.
        id: ProjectId,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Undoes a decision; an undo can be undone too.
    #[command(after_help = "Example: convizit project undo shop 7")]
    Undo {
        /// The project.
        id: ProjectId,
        /// Its number in the history.
        decision: DecisionId,
        #[command(flatten)]
        way: Way,
    },
    /// What changed on the site: controls that are new, moved, renamed or lost, and merges that are proposed.
    #[command(after_help = "Example: convizit project changes shop --days 2")]
    Changes {
        /// The project.
        id: ProjectId,
        /// How far to look back, in days.
        #[arg(long, default_value_t = 7)]
        days: u32,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// A project with what is known of it.
struct Known {
    project: Project,
    registry: Registry,
}

async fn known(store: &Store, id: &ProjectId) -> Result<Known> {
    let project = store.project(id).await?;
    let mut registry = Registry::default();
    registry.load(&store.load_state(project.number).await?).map_err(|problem| anyhow!(problem))?;
    Ok(Known { project, registry })
}

/// When a name was last renamed.
pub(crate) async fn renamed_at(store: &Store, id: &ProjectId, what: &str) -> Result<Timestamp> {
    let known = known(store, id).await?;
    let Target::Name(wanted) = known.find(what)? else { bail!("{what} is no name: say its text, or its id, na_…") };
    let renames = known.registry.decisions().into_iter().filter(|decision| {
        matches!(decision.what, Change::Rename { name, .. } if name == wanted) && known.registry.holds(decision.id)
    });
    renames.map(|decision| decision.made).max().ok_or_else(|| anyhow!("{what} was never renamed: give --from"))
}

/// What a person points at.
enum Target {
    Element(ElementId),
    Group(GroupId),
    Name(NameId),
}

impl Known {
    /// An id, or a name's text.
    fn find(&self, what: &str) -> Result<Target> {
        if let Ok(id) = what.parse() {
            return Ok(Target::Element(id));
        }
        if let Ok(id) = what.parse() {
            return Ok(Target::Group(id));
        }
        if let Ok(id) = what.parse() {
            return Ok(Target::Name(id));
        }
        let names = self.registry.catalogue().names;
        let found: Vec<&NameView> =
            names.iter().filter(|name| name.text.to_lowercase() == what.to_lowercase()).collect();
        match found.as_slice() {
            [one] => Ok(Target::Name(one.id)),
            [] => bail!(
                "there is no name {what:?} in {}: convizit project names {} lists them",
                self.project.id,
                self.project.id
            ),
            several => {
                let ids: Vec<String> = several.iter().map(|name| name.id.to_string()).collect();
                bail!("several have the name {what:?}: say which by its id, {}", ids.join(" or "))
            }
        }
    }

    fn name(&self, id: NameId) -> Result<NameView> {
        let names = self.registry.catalogue().names;
        names.into_iter().find(|name| name.id == id).ok_or_else(|| anyhow!("there is no name {id}"))
    }

    fn element(&self, what: &str) -> Result<ElementId> {
        match self.find(what)? {
            Target::Element(id) => Ok(id),
            Target::Group(id) => bail!("{id} is a group: name an element"),
            Target::Name(id) => {
                self.name(id)?.element.ok_or_else(|| anyhow!("{what:?} is no name of one element: say its id, el_…"))
            }
        }
    }

    fn group(&self, what: &str) -> Result<GroupId> {
        match self.find(what)? {
            Target::Group(id) => Ok(id),
            Target::Element(id) => bail!("{id} is an element: name a group"),
            Target::Name(id) => {
                self.name(id)?.group.ok_or_else(|| anyhow!("{what:?} is no name of a group's items: say its id, gr_…"))
            }
        }
    }

    fn capture(&self, what: &str, captured: bool) -> Result<Change> {
        Ok(match self.find(what)? {
            Target::Element(element) => Change::CaptureElement { element, captured },
            Target::Group(group) => Change::CaptureGroup { group, captured },
            Target::Name(id) => match self.name(id)? {
                NameView { group: Some(group), .. } => Change::CaptureGroup { group, captured },
                NameView { element: Some(element), .. } => Change::CaptureElement { element, captured },
                _ => bail!(
                    "{what:?} is no event on a control: choose event types with convizit settings set {} events",
                    self.project.id
                ),
            },
        })
    }
}

impl Naming {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        match self {
            Self::Names { id, like, json } => list(store, &id, like.as_deref(), json).await,
            Self::Look { id, what } => look(&known(store, &id).await?, &what),
            Self::Rename { id, what, text, way } => {
                let known = known(store, &id).await?;
                let change = match known.find(&what)? {
                    Target::Name(name) => Change::Rename { name, text },
                    Target::Group(group) => Change::RenameGroup { group, text },
                    Target::Element(element) => {
                        let names = known.registry.catalogue().names;
                        let own: Vec<&NameView> = names.iter().filter(|name| name.element == Some(element)).collect();
                        match own.as_slice() {
                            [one] => Change::Rename { name: one.id, text },
                            [] => bail!("{element} has no name"),
                            _ => bail!(
                                "{element} has several names: say which, convizit project look {id} {element} lists them"
                            ),
                        }
                    }
                };
                decide(store, &known, change, &way).await
            }
            Self::Merge { id, element, into, way } => {
                let known = known(store, &id).await?;
                let change = Change::Merge { element: known.element(&element)?, into: known.element(&into)? };
                decide(store, &known, change, &way).await
            }
            Self::Split { id, element, form, way } => {
                let known = known(store, &id).await?;
                let change = Change::Split { element: known.element(&element)?, form };
                decide(store, &known, change, &way).await
            }
            Self::Regroup { id, group, into, way } => {
                let known = known(store, &id).await?;
                let change = Change::Regroup { group: known.group(&group)?, into: known.group(&into)? };
                decide(store, &known, change, &way).await
            }
            Self::NotCaptured { id, what, way } => {
                let known = known(store, &id).await?;
                decide(store, &known, known.capture(&what, false)?, &way).await
            }
            Self::Captured { id, what, way } => {
                let known = known(store, &id).await?;
                decide(store, &known, known.capture(&what, true)?, &way).await
            }
            Self::Undo { id, decision, way } => {
                let known = known(store, &id).await?;
                decide(store, &known, Change::Undo { decision }, &way).await
            }
            Self::History { id, json } => history(&known(store, &id).await?, json),
            Self::Changes { id, days, json } => changes(store, &known(store, &id).await?, days, json).await,
        }
    }
}

/// Shows what a change does, and makes it unless it is only looked at.
async fn decide(store: &Store, known: &Known, change: Change, way: &Way) -> Result<()> {
    let effect = known.registry.preview(&change).map_err(|problem| anyhow!(problem))?;
    let events = store.events_by_name(known.project.number).await?;
    let decision = if way.preview { None } else { Some(store.decide(&known.project, BY, change.clone()).await?) };
    if way.json {
        let answer =
            serde_json::json!({"change": change, "decision": decision.as_ref().map(|one| one.id), "names": effect});
        return say(answer.to_string());
    }
    let rows: Vec<Vec<String>> = effect
        .iter()
        .map(|name| {
            let held = |view: &NameView| {
                let kept = if view.captured { "" } else { " (not captured)" };
                let of = view.element.map(|id| format!(" {id}")).or_else(|| view.group.map(|id| format!(" {id}")));
                format!("{}{kept}{}", view.text, of.unwrap_or_default())
            };
            let count = events.get(&name.id.0).copied().unwrap_or(0);
            vec![count.to_string(), held(&name.before), held(&name.after)]
        })
        .collect();
    if !rows.is_empty() {
        table(&["events", "before", "after"], &rows)?;
        say("")?;
    }
    if let Change::Split { element, form } = &change {
        let part = known.registry.part_of(*element, *form);
        say(format!("Form {form} of {element} becomes {part}: its names are made with its next events."))?;
    }
    match decision {
        None => say("Nothing is changed yet: this was a preview."),
        Some(decision) => say(format!(
            "decision {}: it holds for new events, within two seconds. Undo it: convizit project undo {} {}",
            decision.id, known.project.id, decision.id
        )),
    }
}

async fn list(store: &Store, id: &ProjectId, like: Option<&str>, json: bool) -> Result<()> {
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

fn look(known: &Known, what: &str) -> Result<()> {
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

fn history(known: &Known, json: bool) -> Result<()> {
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

async fn changes(store: &Store, known: &Known, days: u32, json: bool) -> Result<()> {
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
