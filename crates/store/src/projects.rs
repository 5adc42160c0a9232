//! Projects, their keys and settings; a copy in memory answers the collector.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use convizit_model::{Project, ProjectId, ProjectKey, ProjectSettings, Role, Timestamp};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::audit;
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError};
use crate::exclusions;
use crate::members::{from_to, insert_owner};

/// What the collector asks for with every request.
pub(crate) type KeyCache = HashMap<ProjectKey, Arc<Project>>;

const COLUMNS: &str = "SELECT number, id, key, created, version, settings, since FROM projects";

fn project(row: &AnyRow) -> Result<Project, StoreError> {
    let id: String = row.read(1)?;
    let key: String = row.read(2)?;
    let settings: String = row.read(5)?;
    let damaged =
        |what: String| StoreError::Unusable(format!("project {id}: {what}; restore control.db from a backup"));
    Ok(Project {
        id: id.parse().map_err(|error: convizit_model::IdError| damaged(error.to_string()))?,
        number: row.read(0)?,
        key: key.parse().map_err(|error: convizit_model::IdError| damaged(error.to_string()))?,
        created: Timestamp::from_millis(row.read(3)?),
        version: u64::try_from(row.read::<i64>(4)?).unwrap_or(0),
        settings: serde_json::from_str(&settings).map_err(|error| damaged(error.to_string()))?,
        since: serde_json::from_str(row.read::<&str>(6)?).map_err(|error| damaged(error.to_string()))?,
    })
}

/// Raises the control version, so that other processes look again.
pub(crate) async fn touch(connection: &mut AnyConnection) -> Result<(), StoreError> {
    query("UPDATE control_version SET version = version + 1 WHERE id = 0")
        .execute(connection)
        .await
        .during("raise control version")?;
    Ok(())
}

fn valid(settings: &ProjectSettings) -> Result<String, StoreError> {
    settings
        .validate()
        .and_then(|()| settings.check_selectors())
        .map_err(|error| StoreError::Invalid(error.to_string()))?;
    serde_json::to_string(settings).map_err(|error| StoreError::Invalid(error.to_string()))
}

/// What came into a list and what went, for the audit log; `None` where it is no list. As long as a list may be.
fn came_and_went(old: &Value, new: &Value) -> Option<String> {
    let (old, new) = (old.as_array()?, new.as_array()?);
    let but = |all: &[Value], other: &[Value]| -> Vec<Value> {
        all.iter().filter(|entry| !other.contains(entry)).cloned().collect()
    };
    let sides = [("+", but(new, old)), ("-", but(old, new))].into_iter().filter(|(_, entries)| !entries.is_empty());
    let sides: Vec<String> = sides.map(|(sign, entries)| format!("{sign}{}", Value::Array(entries))).collect();
    Some(if sides.is_empty() { "in another order".to_owned() } else { sides.join(" ") })
}

/// Names of the fields that differ, and from what to what, for the audit log.
fn changed(before: &ProjectSettings, after: &ProjectSettings) -> (String, String) {
    let fields = |settings| match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let before = fields(before);
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (field, value) in fields(after) {
        let old = before.get(&field).unwrap_or(&Value::Null);
        if *old != value {
            let what = came_and_went(old, &value).unwrap_or_else(|| format!("{old} -> {value}"));
            values.push(format!("{field}: {what}"));
            names.push(field);
        }
    }
    (names.join(" "), values.join("; "))
}

/// With which version each selector came; one that was there before keeps its own.
fn since(known: &BTreeMap<String, u64>, settings: &ProjectSettings, version: u64) -> Result<String, StoreError> {
    let all = settings.exclude_selectors.iter();
    let since: BTreeMap<&str, u64> =
        all.map(|selector| (selector.as_str(), known.get(selector).copied().unwrap_or(version))).collect();
    serde_json::to_string(&since).map_err(|error| StoreError::Invalid(error.to_string()))
}

impl Store {
    /// Makes a project with a new random key. One that had the same id before and was removed is another project, of which this one
    /// shows nothing.
    ///
    /// # Errors
    /// `Invalid` when it exists or the settings are wrong.
    pub async fn create_project(&self, id: &ProjectId, settings: ProjectSettings) -> Result<Project, StoreError> {
        self.create(id, settings, None).await
    }

    /// As `create_project`, with the account that becomes its Owner in the same transaction.
    ///
    /// # Errors
    /// As `create_project`.
    pub async fn create_project_of(
        &self,
        owner: i64,
        id: &ProjectId,
        settings: ProjectSettings,
    ) -> Result<Project, StoreError> {
        self.create(id, settings, Some(owner)).await
    }

    async fn create(
        &self,
        id: &ProjectId,
        settings: ProjectSettings,
        owner: Option<i64>,
    ) -> Result<Project, StoreError> {
        let body = valid(&settings)?;
        let since = since(&BTreeMap::new(), &settings, 1)?;
        let key = format!("pk_{}", convizit_keys::random_text(15)?);
        let now = self.clock().now().as_millis();
        let name = id.to_string();
        let (entry, ring) = (self.entry("project.create", id.as_str(), "", ""), self.ring().clone());
        let owns = owner.map(|account| {
            (
                account,
                self.entry(
                    "member.owner",
                    id.as_str(),
                    &format!("account:{account}"),
                    from_to(None, Some(Role::Owner)),
                ),
            )
        });
        let (by, store) = (self.actor().to_owned(), self.clone());
        if matches!(self.project(id).await, Err(StoreError::NotFound { .. })) {
            // What was under way when one of this id was removed has raised them since.
            self.drop_notices(id).await?;
        }
        self.control()
            .run_tx("create project", move |connection| {
                let store = store.clone();
                let (name, key, body, since) = (name.clone(), key.clone(), body.clone(), since.clone());
                let (entry, owns, ring, settings, by) =
                    (entry.clone(), owns.clone(), ring.clone(), settings.clone(), by.clone());
                Box::pin(async move {
                    let number: i64 = sqlx::query_scalar("UPDATE control_version SET version = version + 1 WHERE id = 1 RETURNING version")
                        .fetch_one(&mut *connection)
                        .await
                        .during("number project")?;
                    let insert = "INSERT INTO projects (number, id, key, created, version, settings, since) VALUES ($1, $2, $3, $4, 1, $5, $6)";
                    let done = query(insert).bind(number).bind(name.as_str()).bind(key).bind(now).bind(body).bind(since).execute(&mut *connection).await;
                    match done {
                        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                            Err(StoreError::Invalid(format!("project {name} exists already: choose another id")))
                        }
                        other => other.during("create project").map(|_| ()),
                    }?;
                    store.keep_incidents(connection, &name, &format!("{name}#before-{number}")).await?;
                    let change = (&ProjectSettings::default(), &settings);
                    exclusions::note(connection, number, change, (&by, Timestamp::from_millis(now))).await?;
                    let mut entries = vec![entry];
                    if let Some((account, entry)) = owns {
                        insert_owner(connection, number, account, now).await?;
                        entries.push(entry);
                    }
                    audit::append(connection, &ring, &entries).await?;
                    touch(connection).await
                })
            })
            .await?;
        self.refresh().await?;
        self.project(id).await
    }

    /// All projects, by id.
    ///
    /// # Errors
    /// `Database`.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} ORDER BY id")))
            .fetch_all(self.control().readers())
            .await
            .during("list projects")?;
        rows.iter().map(project).collect()
    }

    /// One project.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, id: &ProjectId) -> Result<Project, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = $1")))
            .bind(id.as_str())
            .fetch_optional(self.control().readers())
            .await
            .during("read project")?;
        row.as_ref().map(project).transpose()?.ok_or_else(|| StoreError::not_found("project", id))
    }

    /// The project of a public key, from memory (refreshed at once in this process, within 2 s across processes).
    #[must_use]
    pub fn project_by_key(&self, key: &ProjectKey) -> Option<Arc<Project>> {
        self.keys_in_memory().get(key).cloned()
    }

    /// Validates and saves settings, raising the version.
    ///
    /// # Errors
    /// `Invalid` with the field and what to change; `NotFound`.
    pub async fn save_settings(&self, id: &ProjectId, settings: ProjectSettings) -> Result<Project, StoreError> {
        self.save(id, None, settings).await
    }

    /// As `save_settings`, of settings that were made from this version: what somebody else saved meanwhile is not lost.
    ///
    /// # Errors
    /// As `save_settings`, and `Moved` when the version is another one now; then nothing is saved.
    pub async fn save_settings_from(
        &self,
        id: &ProjectId,
        version: u64,
        settings: ProjectSettings,
    ) -> Result<Project, StoreError> {
        self.save(id, Some(version), settings).await
    }

    async fn save(
        &self,
        id: &ProjectId,
        made_from: Option<u64>,
        settings: ProjectSettings,
    ) -> Result<Project, StoreError> {
        const NAME: &str = "save settings";
        let body = valid(&settings)?;
        let name = id.to_string();
        let (fields, values) = changed(&self.project(id).await?.settings, &settings);
        let (entry, ring) = (self.entry("settings.save", id.as_str(), &fields, values), self.ring().clone());
        let (by, now, engine) = (self.actor().to_owned(), self.clock().now(), self.control().engine);
        self.control()
            .run_tx(NAME, move |connection| {
                let (name, body, settings) = (name.clone(), body.clone(), settings.clone());
                let (entry, ring, by) = (entry.clone(), ring.clone(), by.clone());
                Box::pin(async move {
                    // SQLite has one writer; on PostgreSQL nobody else may save between these statements.
                    let hold = if engine == Engine::Postgres { " FOR UPDATE" } else { "" };
                    let select = format!("{COLUMNS} WHERE id = $1{hold}");
                    let row = query(sqlx::AssertSqlSafe(select))
                        .bind(name.as_str())
                        .fetch_optional(&mut *connection)
                        .await
                        .during(NAME)?;
                    let before = row.as_ref().map(project).transpose()?;
                    let Some(before) = before else { return Err(StoreError::not_found("project", name)) };
                    if made_from.is_some_and(|version| version != before.version) {
                        return Err(StoreError::Moved { what: format!("the version of the settings of {name}") });
                    }
                    let version = before.version + 1;
                    query("UPDATE projects SET settings = $1, version = $2, since = $3 WHERE id = $4")
                        .bind(body)
                        .bind(version.cast_signed())
                        .bind(since(&before.since, &settings, version)?)
                        .bind(name.as_str())
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    exclusions::note(connection, before.number, (&before.settings, &settings), (&by, now)).await?;
                    audit::append(connection, &ring, &[entry]).await?;
                    touch(connection).await
                })
            })
            .await?;
        self.refresh().await?;
        self.project(id).await
    }

    /// Deletes a project: its settings, destinations and notices at once, its data in the steps of `upkeep`. Its incidents become the
    /// installation's, and what was done with it stays in the audit log.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_project(&self, id: &ProjectId) -> Result<(), StoreError> {
        let number = self.project(id).await?.number;
        let (entry, ring) = (self.entry("project.remove", id.as_str(), "", ""), self.ring().clone());
        let (store, name) = (self.clone(), id.to_string());
        self.control()
            .run_tx("remove project", move |connection| {
                let (entry, ring, store, name) = (entry.clone(), ring.clone(), store.clone(), name.clone());
                Box::pin(async move {
                    for sql in [
                        // First, so that nothing of it can be read any more, in backups either.
                        "DELETE FROM keys WHERE project = $1",
                        "DELETE FROM tokens WHERE project = $1",
                        "DELETE FROM members WHERE project = $1",
                        "DELETE FROM invitations WHERE project = $1",
                        "DELETE FROM idempotency_keys WHERE project = $1",
                        "DELETE FROM destinations WHERE project = $1",
                        "DELETE FROM exclusions WHERE project = $1",
                        "DELETE FROM notice_channels WHERE project = $1",
                        "DELETE FROM drafts WHERE project = $1",
                        "DELETE FROM projects WHERE number = $1",
                    ] {
                        query(sql).bind(number).execute(&mut *connection).await.during("remove project")?;
                    }
                    store.keep_incidents(connection, &name, &format!("{name}#{number}")).await?;
                    audit::append(connection, &ring, &[entry]).await?;
                    touch(connection).await
                })
            })
            .await?;
        self.keyring().forget_project(number);
        self.drop_notices(id).await?;
        self.control().sweep().await?;
        self.refresh().await?;
        // Its keys are in no copy from now on.
        self.copy_ledger_soon().await;
        Ok(())
    }

    /// A project's id by its number, as this process knows it.
    pub(crate) fn project_id(&self, number: i64) -> Option<ProjectId> {
        self.keys_in_memory().values().find(|known| known.number == number).map(|known| known.id.clone())
    }

    /// A project as people call it, `project shop`; by its number where it was removed, or has come within the last second.
    pub(crate) fn project_in_words(&self, number: i64) -> String {
        self.project_id(number).map_or_else(|| format!("project number {number}"), |id| format!("project {id}"))
    }

    /// A frame as `convizit restore --frame` takes it, `frame shop/1201`; of a project that is not known by its number.
    pub(crate) fn frame_in_words(&self, project: i64, first: i64) -> String {
        match self.project_id(project) {
            Some(id) => format!("frame {id}/{first}"),
            None => format!("frame {first} of project number {project}"),
        }
    }

    /// Takes over what other processes changed.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let version: i64 = sqlx::query_scalar("SELECT version FROM control_version WHERE id = 0")
            .fetch_one(self.control().readers())
            .await
            .during("read control version")?;
        let version = u64::try_from(version).unwrap_or(0);
        if version != self.control_version() {
            self.keyring().refresh().await?;
            let cache: KeyCache =
                self.projects().await?.into_iter().map(|project| (project.key.clone(), Arc::new(project))).collect();
            self.set_control(version, cache);
        }
        Ok(())
    }
}
