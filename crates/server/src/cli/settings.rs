//! `convizit settings`: one field of a project at a time, checked before it is saved.

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use convizit_model::{ProjectId, ProjectSettings};
use convizit_store::{Beyond, Store};
use serde_json::Value;

use crate::cli::ask::Hold;
use crate::cli::{counted, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Settings {
    /// Prints all settings, or one.
    #[command(after_help = "Example: convizit settings get shop origins")]
    Get {
        /// The project.
        project: ProjectId,
        /// The field.
        field: Option<String>,
    },
    /// Sets a field: a number, a word, true or false, or a JSON list.
    #[command(
        after_help = "Examples:\n  convizit settings set shop retention_days 90\n  convizit settings set shop exclude_paths '[\"/account/*\"]'\n  convizit settings set shop identity none"
    )]
    Set {
        /// The project.
        project: ProjectId,
        /// The field; `convizit settings get` shows all.
        field: String,
        /// Its new value.
        #[arg(allow_hyphen_values = true)]
        value: String,
        #[command(flatten)]
        hold: Hold,
    },
    /// Puts a field back to its default.
    #[command(after_help = "Example: convizit settings unset shop retention_days")]
    Unset {
        /// The project.
        project: ProjectId,
        /// The field.
        field: String,
        #[command(flatten)]
        hold: Hold,
    },
}

impl Settings {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        match self {
            Self::Get { project, field } => {
                let settings = serde_json::to_value(store.project(&project).await?.settings)?;
                match field {
                    None => say(serde_json::to_string_pretty(&settings)?),
                    Some(field) => say(known(&settings, &field)?.to_string()),
                }
            }
            Self::Set { project, field, value, hold } => {
                let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
                save(store, &project, (&field, value), hold).await
            }
            Self::Unset { project, field, hold } => {
                let defaults = serde_json::to_value(ProjectSettings::default())?;
                let value = known(&defaults, &field)?.clone();
                save(store, &project, (&field, value), hold).await
            }
        }
    }
}

fn known<'a>(settings: &'a Value, field: &str) -> Result<&'a Value> {
    settings.get(field).ok_or_else(|| {
        let fields: Vec<&str> =
            settings.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
        anyhow!("there is no setting {field}; there are {}", fields.join(", "))
    })
}

/// The form that a field has, where a value has another: serde would name it in words of its own.
fn other_form(now: &Value, value: &Value) -> Option<String> {
    match now {
        Value::Array(_) if value.is_string() => Some(format!("a JSON list of texts, here '[{value}]'")),
        Value::Array(_) if !value.as_array().is_some_and(|list| list.iter().all(Value::is_string)) => {
            Some(r#"a JSON list of texts such as '["one", "two"]'"#.to_owned())
        }
        Value::Bool(_) if !value.is_boolean() => Some("true or false".to_owned()),
        Value::Number(_) if value.as_u64().is_none_or(|number| u32::try_from(number).is_err()) => {
            Some("a whole number from 0 up".to_owned())
        }
        Value::String(now) if !value.is_string() => Some(format!("a word such as {now}")),
        _ => None,
    }
}

async fn save(store: &Store, project: &ProjectId, (field, value): (&str, Value), hold: Hold) -> Result<()> {
    let before = store.project(project).await?;
    let mut settings = serde_json::to_value(&before.settings)?;
    let now = known(&settings, field)?;
    if let Some(form) = other_form(now, &value) {
        bail!("{field} takes {form}, and {value} is none");
    }
    if let Some(map) = settings.as_object_mut() {
        map.insert(field.to_owned(), value);
    }
    let settings: ProjectSettings =
        serde_json::from_value(settings).with_context(|| format!("{field} cannot have this value"))?;
    let (days, kept) = (settings.retention_days, before.settings.retention_days);
    let shortens = days < kept;
    let what = if shortens {
        settings.validate().map_err(|error| anyhow!(error))?;
        let Beyond { events, days: gone, kept_from, .. } = store.events_beyond(before.number, days).await?;
        let first = kept_from.to_string();
        let takes = match events {
            0 => "nothing that is stored is older now; what becomes older is deleted".to_owned(),
            _ => format!(
                "{} of {}, all from before {}, {} deleted within a minute",
                counted(events, "event"),
                counted(gone, "day"),
                first.split('T').next().unwrap_or_default(),
                if events == 1 { "is" } else { "are" }
            ),
        };
        format!(
            "keep events of {project} for {} in place of {kept}: {takes}, with the keys of those days, so that no backup of them can be read any more",
            counted(days, "day")
        )
    } else {
        format!("save {field}")
    };
    // Of all settings only this one deletes.
    if (shortens || hold.is_dry()) && !hold.goes_on(&what)? {
        return Ok(());
    }
    if shortens && hold.is_said() {
        say(format!("this will {what}"))?;
    }
    let saved = store.save_settings(project, settings).await?;
    say(format!("saved as version {}; browsers take it within a minute", saved.version))
}
