//! `convizit project`: one for each site.

use anyhow::Result;
use clap::Subcommand;
use convizit_console::{snippet, unreachable_snippet};
use convizit_model::{ProjectId, ProjectSettings};
use convizit_store::Store;

use crate::cli::ask::Hold;
use crate::cli::names::Naming;
use crate::cli::{say, say_error, table};

/// On standard error: the snippet alone is on the other, also for programs.
fn note_unreachable(public: &str, origins: &[String]) {
    if let Some(why) = unreachable_snippet(public, origins) {
        say_error(&format!("note: {why}\n"));
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// Makes a project and prints the snippet for its pages.
    #[command(
        after_help = "Example: convizit project add shop --origin https://shop.example --origin https://*.shop.example"
    )]
    Add {
        /// Short name: a-z, 0-9 and -.
        id: ProjectId,
        /// An origin that may send; can be given several times.
        #[arg(long = "origin", required = true, value_name = "ORIGIN")]
        origins: Vec<String>,
        /// For programs: key and snippet.
        #[arg(long)]
        json: bool,
    },
    /// Lists projects.
    #[command(after_help = "Example: convizit project list --json")]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Shows a project: key, snippet, settings, what became of its events.
    #[command(after_help = "Example: convizit project show shop")]
    Show {
        /// The project.
        id: ProjectId,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Prints the snippet for the head of the site's pages.
    #[command(after_help = "Example: convizit project snippet shop")]
    Snippet {
        /// The project.
        id: ProjectId,
    },
    /// Removes a project and all its data.
    #[command(after_help = "Example: convizit project remove shop --yes")]
    Remove {
        /// The project.
        id: ProjectId,
        #[command(flatten)]
        hold: Hold,
    },
    #[command(flatten)]
    Naming(Naming),
}

impl Project {
    pub(crate) async fn run(self, store: &Store, public: &str) -> Result<()> {
        match self {
            Self::Add { id, origins, json } => {
                let settings = ProjectSettings { origins, ..ProjectSettings::default() };
                let project = store.create_project(&id, settings).await?;
                note_unreachable(public, &project.settings.origins);
                if json {
                    let snippet = snippet(public, project.key.as_str());
                    return say(serde_json::json!({"project": project, "snippet": snippet}).to_string());
                }
                say(format!("project {id} is made. Put this before </head> on every page:\n"))?;
                say(snippet(public, project.key.as_str()))
            }
            Self::List { json } => {
                let projects = store.projects().await?;
                if json {
                    return say(serde_json::to_string(&projects)?);
                }
                if projects.is_empty() {
                    return say("There is no project yet: convizit project add shop --origin https://shop.example");
                }
                let mut rows = Vec::new();
                for project in projects {
                    let events = store.last_event(project.number).await?;
                    rows.push(vec![
                        project.id.to_string(),
                        project.key.to_string(),
                        events.to_string(),
                        project.settings.origins.join(" "),
                    ]);
                }
                table(&["project", "key", "last event", "origins"], &rows)
            }
            Self::Show { id, json } => {
                let project = store.project(&id).await?;
                let outcomes = store.outcomes(project.number).await?;
                if json {
                    let outcomes: serde_json::Map<_, _> =
                        outcomes.into_iter().map(|(name, items)| (name, items.into())).collect();
                    return say(serde_json::json!({"project": project, "outcomes": outcomes, "snippet": snippet(public, project.key.as_str())}).to_string());
                }
                say(format!(
                    "project   {}\nkey       {}\nsince     {}\nsettings  version {}",
                    project.id, project.key, project.created, project.version
                ))?;
                say(format!("\n{}\n", snippet(public, project.key.as_str())))?;
                say(serde_json::to_string_pretty(&project.settings)?)?;
                if outcomes.is_empty() {
                    return say("\nNothing has arrived yet.");
                }
                say("")?;
                table(
                    &["outcome", "items"],
                    &outcomes.into_iter().map(|(name, items)| vec![name, items.to_string()]).collect::<Vec<_>>(),
                )
            }
            Self::Snippet { id } => {
                let project = store.project(&id).await?;
                note_unreachable(public, &project.settings.origins);
                say(snippet(public, project.key.as_str()))
            }
            Self::Naming(naming) => naming.run(store).await,
            Self::Remove { id, hold } => {
                let events = store.last_event(store.project(&id).await?.number).await?;
                let what = format!(
                    "destroy the keys of project {id} and delete its events ({events} were stored in all), names, destinations and the list of its \
                     erasures; destinations keep what they were sent"
                );
                if !hold.goes_on(&what)? {
                    return Ok(());
                }
                store.remove_project(&id).await?;
                say(format!(
                    "project {id} is removed; what is left of its data goes within seconds of the next `convizit serve`"
                ))
            }
        }
    }
}
