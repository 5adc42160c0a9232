//! The project's settings: read with their version, and written from the version that was read.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use convizit_model::{ProjectSettings, SettingsError};
use convizit_store::{Scope, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Given, at};
use crate::access::Caller;

/// What writing settings is answered with.
const WRITTEN: &str = "Saved; browsers take it within a minute. With `dry_run` nothing is.";

pub(super) fn routes(api: Api) -> Api {
    let shows = Call::get(at!("/settings"), Scope::Read, "show_settings", "The settings, with their version");
    let saves = Call::put(
        at!("/settings"),
        Scope::Settings,
        "save_settings",
        "Saves all settings, if nobody else has saved since",
    );
    let changes = Call::patch(
        at!("/settings"),
        Scope::Settings,
        "change_settings",
        "Changes the settings that are named, if nobody else has saved since",
    );
    api.add(shows.answers::<Versioned>(200, "The settings.").versioned(), show)
        .add(saves.takes::<Save>().answers::<Written>(200, WRITTEN).versioned(), save)
        .add(changes.takes::<Change>().answers::<Written>(200, WRITTEN).versioned(), change)
}

/// The project's settings; docs/settings.md says what each does.
#[derive(Deserialize, ToSchema)]
#[schema(as = Settings)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct SettingsSchema {
    /// Origins that may send.
    #[schema(max_items = 200)]
    origins: Vec<String>,
    /// How visitors are recognised.
    identity: IdentitySchema,
    /// Life of the visitor cookie in days.
    #[schema(minimum = 1, maximum = 400)]
    cookie_days: u32,
    /// Which event types are captured.
    events: Vec<String>,
    /// Whether a chosen option's label is carried.
    option_labels: bool,
    /// CSS selectors whose elements are not captured.
    #[schema(max_items = 200)]
    exclude_selectors: Vec<String>,
    /// Paths that are not captured.
    #[schema(max_items = 200)]
    exclude_paths: Vec<String>,
    /// Query parameters that are kept.
    #[schema(max_items = 200)]
    keep_query: Vec<String>,
    /// Whether capture waits for consent.
    consent_required: bool,
    /// What Global Privacy Control does.
    gpc: SignalSchema,
    /// What Do Not Track does.
    dnt: SignalSchema,
    /// Traits that may say anything.
    #[schema(max_items = 200)]
    traits: Vec<String>,
    /// Visitors who must have shown a text that looks like a name.
    #[schema(minimum = 2, maximum = 100)]
    crowd: u32,
    /// Whether known bots are filtered.
    filter_bots: bool,
    /// Days that events are kept.
    #[schema(minimum = 1, maximum = 3650)]
    retention_days: u32,
    /// From which role on a member sees samples.
    samples_from: SamplesFromSchema,
    /// Whether no member enters the project without a second factor.
    second_factor_for_all: bool,
    /// Where events are to stay: a region such as `eu`, or `none`.
    #[schema(min_length = 2, max_length = 20)]
    residency: String,
    /// What becomes of a destination that keeps them elsewhere.
    residency_rule: ResidencyRuleSchema,
}

/// How visitors are recognised.
#[derive(Deserialize, ToSchema)]
#[schema(as = Identity)]
enum IdentitySchema {
    #[serde(rename = "cookie+storage")]
    CookieStorage,
    #[serde(rename = "storage")]
    Storage,
    #[serde(rename = "none")]
    None,
}

/// What a signal of the browser does.
#[derive(Deserialize, ToSchema)]
#[schema(as = Signal)]
#[serde(rename_all = "snake_case")]
enum SignalSchema {
    Stop,
    NoAds,
    Ignore,
}

/// The least role that sees samples.
#[derive(Deserialize, ToSchema)]
#[schema(as = SamplesFrom)]
#[serde(rename_all = "snake_case")]
enum SamplesFromSchema {
    Viewer,
    Editor,
    Admin,
}

/// What becomes of a destination that keeps events elsewhere than they are to stay.
#[derive(Deserialize, ToSchema)]
#[schema(as = ResidencyRule)]
#[serde(rename_all = "snake_case")]
enum ResidencyRuleSchema {
    Warn,
    Refuse,
}

/// The same, of which any may be left out.
struct SettingsPart;

impl PartialSchema for SettingsPart {
    fn schema() -> RefOr<Schema> {
        match SettingsSchema::schema() {
            RefOr::T(Schema::Object(mut object)) => {
                object.required.clear();
                object.into()
            }
            other => other,
        }
    }
}

impl ToSchema for SettingsPart {
    fn name() -> Cow<'static, str> {
        "SettingsPart".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        SettingsSchema::schemas(schemas);
    }
}

/// Settings with their version.
#[derive(Serialize, ToSchema)]
#[schema(as = VersionedSettings)]
struct Versioned {
    /// Raised with every change.
    version: u64,
    /// All of them.
    #[schema(value_type = SettingsSchema)]
    settings: ProjectSettings,
}

/// All settings, and the version that they were made from.
#[derive(Deserialize, ToSchema)]
#[schema(as = SaveSettings)]
#[serde(deny_unknown_fields)]
struct Save {
    /// The version that was read.
    version: u64,
    /// All of them.
    #[schema(value_type = SettingsSchema)]
    settings: Map<String, Value>,
    /// Whether they are checked and nothing is saved: the answer says what would be deleted.
    #[serde(default)]
    dry_run: bool,
}

/// Some settings, and the version that they were made from.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChangeSettings)]
#[serde(deny_unknown_fields)]
struct Change {
    /// The version that was read.
    version: u64,
    /// Those that change; the others stay.
    #[schema(value_type = SettingsPart)]
    settings: Map<String, Value>,
    /// Whether they are checked and nothing is saved: the answer says what would be deleted.
    #[serde(default)]
    dry_run: bool,
}

/// What was saved, and what goes with it.
#[derive(Serialize, ToSchema)]
#[schema(as = WrittenSettings)]
struct Written {
    /// The settings' version now.
    version: u64,
    /// Events that fewer `retention_days` delete within a minute, for good; 0 where they are not fewer.
    deletes: u64,
}

/// What was saved.
#[derive(Serialize, ToSchema)]
#[schema(as = SavedSettings)]
pub(super) struct Saved {
    /// The settings' version now.
    pub(super) version: u64,
}

/// An answer with its version as `ETag`, too.
pub(super) fn tagged(version: u64, body: impl Serialize) -> Response {
    let mut answer = Json(body).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

async fn show(caller: Caller) -> Response {
    let version = caller.project.version;
    tagged(version, Versioned { version, settings: caller.project.settings })
}

async fn save(caller: Caller, Given(given): Given<Save>) -> Result<Response, Problem> {
    for name in values(&caller.project.settings).keys() {
        if !given.settings.contains_key(name) {
            let text = format!("{name} is missing: PUT takes all settings, PATCH those that change");
            return Err(Problem::invalid(text).at(format!("settings.{name}")));
        }
    }
    write(&caller, given.version, (given.settings, given.dry_run)).await
}

async fn change(caller: Caller, Given(given): Given<Change>) -> Result<Response, Problem> {
    let mut all = values(&caller.project.settings);
    all.extend(given.settings);
    write(&caller, given.version, (all, given.dry_run)).await
}

fn values(settings: &ProjectSettings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(values)) => values,
        _ => Map::new(),
    }
}

fn checked(given: Map<String, Value>) -> Result<ProjectSettings, Problem> {
    let settings: ProjectSettings = serde_path_to_error::deserialize(Value::Object(given)).map_err(|error| {
        let field = match error.path().to_string().as_str() {
            "." => "settings".to_owned(),
            path => format!("settings.{path}"),
        };
        Problem::invalid(error.into_inner().to_string()).at(field)
    })?;
    let wrong = |SettingsError { field, problem }| Problem::invalid(problem).at(format!("settings.{field}"));
    settings.validate().and_then(|()| settings.check_selectors()).map_err(wrong)?;
    Ok(settings)
}

async fn write(caller: &Caller, from: u64, (given, dry_run): (Map<String, Value>, bool)) -> Result<Response, Problem> {
    let id = &caller.project.id;
    if from != caller.project.version {
        return Err(stale(caller.project.version, &caller.project.settings));
    }
    let settings = checked(given)?;
    // It deletes what is older, for good.
    let shortens = settings.retention_days < caller.project.settings.retention_days;
    if shortens && !caller.may(Scope::Erase) {
        caller.store.audit("access.refuse", id.as_str(), "retention_days", "").await?;
        return Err(Problem::wrong_scope(Scope::Erase).at("settings.retention_days"));
    }
    let deletes = match shortens {
        true => caller.store.events_beyond(caller.project.number, settings.retention_days).await?.events,
        false => 0,
    };
    if dry_run {
        return Ok(tagged(from, Written { version: from, deletes }));
    }
    match caller.store.save_settings_from(id, from, settings).await {
        Ok(saved) => Ok(tagged(saved.version, Written { version: saved.version, deletes })),
        Err(StoreError::Moved { .. }) => {
            let now = caller.store.project(id).await?;
            Err(stale(now.version, &now.settings))
        }
        Err(error) => Err(error.into()),
    }
}

/// What somebody who was too late is told: the settings as they stand.
pub(super) fn stale(version: u64, settings: &ProjectSettings) -> Problem {
    Problem::stale("version", json!({"version": version, "settings": settings}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_every_setting() {
        let RefOr::T(Schema::Object(object)) = SettingsSchema::schema() else { panic!("an object") };
        let mut shown: Vec<&str> = object.properties.keys().map(String::as_str).collect();
        let defaults = values(&ProjectSettings::default());
        let mut known: Vec<&str> = defaults.keys().map(String::as_str).collect();
        shown.sort_unstable();
        known.sort_unstable();
        assert_eq!(shown, known);
        assert_eq!(object.required.len(), known.len());
    }

    #[test]
    fn what_is_wrong_is_said_at_its_field() {
        for (name, value, field) in [
            ("retention_days", json!("soon"), "settings.retention_days"),
            ("retention_days", json!(0), "settings.retention_days"),
            ("origins", json!(["https://shop.example/path"]), "settings.origins[0]"),
            ("exclude_selectors", json!([":::"]), "settings.exclude_selectors[0]"),
            ("orgins", json!([]), "settings"),
        ] {
            let mut given = values(&ProjectSettings::default());
            given.insert(name.to_owned(), value);
            let problem = checked(given).unwrap_err().told();
            assert!(problem["field"].as_str().unwrap().starts_with(field), "{problem}");
        }
    }
}
