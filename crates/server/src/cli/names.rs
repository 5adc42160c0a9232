//! `convizit project names, rename, merge, …`: what a project's controls are called and which is which, seen and changed by people.

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use convizit_model::{Change, DecisionId, ElementId, GroupId, NameId, Project, ProjectId, Timestamp};
use convizit_pipeline::{NameView, Registry};
use convizit_store::Store;

use crate::cli::{say, table};

mod shown;

use shown::{changes, history, list, look};

/// Who decides at the command line.
const BY: &str = "command line";

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
