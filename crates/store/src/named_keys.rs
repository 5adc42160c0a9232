//! Keys by the names that people call them: listed, and a living one destroyed when two people say so.

use std::collections::BTreeMap;

use convizit_model::time::DAY_MILLIS;
use convizit_model::{ProjectId, Timestamp};
use serde::Serialize;
use sqlx::query;

mod need;
mod notes;
mod requests;

pub use need::KeyNeed;
pub use requests::{KeyRequest, NO_LOGIN};

use crate::Store;
use crate::audit;
use crate::error::{Columns as _, During, StoreError};
use crate::held::is_of_one_project;
use crate::key_ends::KeyEnd;

/// Characters that are kept of a key's name as somebody typed it.
const TYPED: usize = 100;

/// A key as it is listed: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its id: `file:5f0c…`, `project/shop/2`, `day/shop/2026-11-29`.
    pub id: String,
    /// When it was made, where that is known.
    pub made: Option<Timestamp>,
    /// `wraps`, `seals`, `waits` until it seals, `opens`, `destroyed`, `damaged`, or `derives` of the root secret, which keyed hashes are made with.
    pub state: &'static str,
    /// What it is for: in use and until when, from when on, or what still needs it.
    pub note: String,
    /// What wrapped it; empty for a key-encryption key, which its provider keeps.
    pub wrapped_by: String,
    /// How many keys it wraps.
    pub wraps: i64,
}

/// A day as `2026-11-29`.
pub(crate) fn date(day: i64) -> String {
    let text = Timestamp::from_millis(day * DAY_MILLIS).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

impl Store {
    /// All key-encryption keys, the root secret, and the keys of the installation and of its projects; those of days are counted.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn list_keys(&self) -> Result<Vec<KeyInfo>, StoreError> {
        self.list_keys_of(None).await
    }

    /// The keys of a project, and those of its days.
    ///
    /// # Errors
    /// `NotFound`, `Database`, `Keys`.
    pub async fn list_project_keys(&self, id: &ProjectId) -> Result<Vec<KeyInfo>, StoreError> {
        const NAME: &str = "list keys of days";
        let project = self.project(id).await?;
        let mut keys = self.list_keys_of(Some(project.number)).await?;
        let rows =
            query("SELECT number, wrapped_by, made FROM keys WHERE project = $1 AND kind = 'day' ORDER BY number DESC")
                .bind(project.number)
                .fetch_all(self.control().readers())
                .await
                .during(NAME)?;
        let today = self.clock().now().day();
        for row in rows {
            let (day, by): (i64, &str) = (row.read(0)?, row.read(1)?);
            keys.push(KeyInfo {
                id: format!("day/{id}/{}", date(day)),
                made: Some(Timestamp::from_millis(row.read(2)?)),
                state: if day < today { "opens" } else { "seals" },
                note: notes::of_day(day, today, project.settings.retention_days.into()),
                wrapped_by: by.replace("project:", &format!("project/{id}/")),
                wraps: 0,
            });
        }
        Ok(keys)
    }

    async fn list_keys_of(&self, only: Option<i64>) -> Result<Vec<KeyInfo>, StoreError> {
        const NAME: &str = "list keys";
        let now = self.clock().now();
        let counts = query("SELECT wrapped_by, project, COUNT(*) FROM keys GROUP BY wrapped_by, project")
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?;
        let mut wraps: BTreeMap<(String, i64), i64> = BTreeMap::new();
        let mut of_provider: BTreeMap<String, i64> = BTreeMap::new();
        for row in counts {
            let (by, project, count): (String, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
            *of_provider.entry(by.clone()).or_default() += count;
            wraps.insert((by, project), count);
        }
        let mut keys = Vec::new();
        let versions = if only.is_none() { self.keyring().provider().versions().await? } else { Vec::new() };
        let destroys = self.keyring().provider().destroys();
        for (index, kek) in versions.into_iter().enumerate() {
            let wraps = of_provider.get(&kek.id).copied().unwrap_or(0);
            let (state, note) = match index {
                0 => ("wraps", notes::of_wrapping(kek.made)),
                _ => ("opens", notes::of_old_wrapping(wraps, destroys)),
            };
            keys.push(KeyInfo { id: kek.id, made: kek.made, state, note, wrapped_by: String::new(), wraps });
        }
        let names: BTreeMap<i64, String> =
            self.projects().await?.into_iter().map(|project| (project.number, project.id.to_string())).collect();
        let rows = query(
            "SELECT project, number, wrapped_by, made, kind, seals_from FROM keys \
             WHERE kind IN ('project', 'root') AND ($1 IS NULL OR project = $1) ORDER BY project, kind DESC, number DESC",
        )
        .bind(only)
        .fetch_all(self.control().readers())
        .await
        .during(NAME)?;
        for row in rows {
            let (project, number): (i64, i64) = (row.read(0)?, row.read(1)?);
            let name = match project {
                0 => "installation",
                _ => names.get(&project).map_or("removed", String::as_str),
            };
            let by: String = row.read(2)?;
            if row.read::<&str>(4)? == "root" {
                let made = Some(Timestamp::from_millis(row.read(3)?));
                let id = format!("root/{name}/{number}");
                let note = "keyed hashes, for as long as the installation lives".to_owned();
                keys.push(KeyInfo { id, made, state: "derives", note, wrapped_by: by, wraps: 0 });
                continue;
            }
            let sealing = match self.keyring().project(project).await {
                Err(error) if is_of_one_project(&error) => {
                    let (id, made) = (format!("project/{name}/{number}"), Some(Timestamp::from_millis(row.read(3)?)));
                    let note =
                        format!("of its project's keys one does not open, and the project stands still: {error}");
                    keys.push(KeyInfo { id, made, state: "damaged", note, wrapped_by: by, wraps: 0 });
                    continue;
                }
                opened => opened?.sealing(now).map_or(0, i64::from),
            };
            let (made, from) = (Timestamp::from_millis(row.read(3)?), Timestamp::from_millis(row.read(5)?));
            let count = wraps.get(&(format!("project:{number}"), project)).copied().unwrap_or(0);
            let (state, note) = match by.as_str() {
                "destroyed" => ("destroyed", "opens nothing any more".to_owned()),
                _ if number == sealing => ("seals", notes::of_sealing(made)),
                _ if number > sealing => ("waits", format!("seals from {from} on, when every process knows it")),
                _ => ("opens", self.note_of_old((project, number), count, now).await?),
            };
            let (id, made) = (format!("project/{name}/{number}"), Some(made));
            keys.push(KeyInfo { id, made, state, note, wrapped_by: by, wraps: count });
        }
        Ok(keys)
    }

    /// Destroys a living key when two different people ask for it within a day; false when this is the first. Two tokens in the hands
    /// of one user of the operating system are one person, and so are one from a login and one from where none is known; where none is
    /// known of either, each token is one.
    ///
    /// # Errors
    /// `NotFound` for a key that there is not; `Invalid` when the same person asks twice, or of a key's form.
    pub async fn destroy_key(&self, key: &str, by: &str) -> Result<bool, StoreError> {
        let done = self.destroy_when_agreed(key, by).await;
        if let Err(error @ (StoreError::Invalid(_) | StoreError::NotFound { .. })) = &done {
            let mut entry = self.refusal("destroy", key, &error.to_string()).await;
            entry.actor = format!("token:{by}");
            if self.is_os() {
                entry.detail = format!("{}; from {}", entry.detail, self.actor());
            }
            audit::write(self.control(), self.ring(), vec![entry]).await?;
        }
        done
    }

    /// Takes down that somebody asked for an act on a key that they may not do, and why not.
    ///
    /// # Errors
    /// `Database`.
    pub async fn key_refused(&self, what: &str, key: &str, why: &str) -> Result<(), StoreError> {
        let entry = self.refusal(what, key, why).await;
        audit::write(self.control(), self.ring(), vec![entry]).await
    }

    async fn refusal(&self, what: &str, key: &str, why: &str) -> audit::Entry {
        // As it was typed, which may be anything.
        let (mut key, mut project): (String, _) = (key.chars().take(TYPED).collect(), String::new());
        if let Some(Ok(id)) = key.split('/').nth(1).map(str::parse::<ProjectId>)
            && self.project(&id).await.is_ok()
        {
            project = id.to_string();
        } else {
            // Not to be taken for a key of the project that has this number.
            key = format!("key {key}");
        }
        self.entry("key.refuse", &project, &key, format!("{what}: {why}"))
    }

    /// An entry of a token, which says from which user of the operating system it came.
    fn entry_of_token(&self, token: &str, act: &'static str, project: &str, subject: &str) -> audit::Entry {
        let from = if self.is_os() { format!("from {}", self.actor()) } else { String::new() };
        let mut entry = self.entry(act, project, subject, from);
        entry.actor = format!("token:{token}");
        entry
    }

    async fn destroy_when_agreed(&self, key: &str, by: &str) -> Result<bool, StoreError> {
        const NAME: &str = "destroy a living key";
        let (project, kind, number, key_made) = self.find_key(key).await?;
        let now = self.clock().now();
        let living = self.key_request(key, key_made).await?;
        let mut entry = self.entry_of_token(by, "key.destroy.ask", key.split('/').nth(1).unwrap_or_default(), key);
        let no_second = living.as_ref().filter(|request| request.asked_by != by);
        if let Some(why) = no_second.and_then(|request| self.no_second_person(request)) {
            return Err(StoreError::Invalid(format!("{why}; convizit keys withdraw {key} takes it back")));
        }
        match living {
            Some(request) if request.asked_by == by => Err(StoreError::Invalid(format!(
                "{by} has asked for it already: a second person must say so with a token of their own; convizit keys withdraw {key} takes it back"
            ))),
            None => {
                let (key, by, from, ring) =
                    (key.to_owned(), by.to_owned(), self.os_user().to_owned(), self.ring().clone());
                self.control()
                    .run_tx(NAME, move |connection| {
                        let (key, by, from) = (key.clone(), by.clone(), from.clone());
                        let (entry, ring) = (entry.clone(), ring.clone());
                        Box::pin(async move {
                            query(
                                "INSERT INTO key_requests (key, asked_by, made, asked_from) VALUES ($1, $2, $3, $4) \
                                 ON CONFLICT (key) DO UPDATE SET asked_by = excluded.asked_by, made = excluded.made, asked_from = excluded.asked_from",
                            )
                            .bind(key)
                            .bind(by)
                            .bind(now.as_millis())
                            .bind(from)
                            .execute(&mut *connection)
                            .await
                            .during(NAME)?;
                            audit::append(connection, &ring, &[entry]).await
                        })
                    })
                    .await?;
                Ok(false)
            }
            Some(request) => {
                entry.act = "key.destroy";
                self.take_key_request(&request, entry.clone()).await?;
                let written = match self.ends_of(project, kind, number).await {
                    Ok(ends) => self.write_key_ends(project, ends).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = written {
                    // Nothing ends by it, which the log says behind what it said: the second person says it once more.
                    entry.act = "key.destroy.ask";
                    entry.detail =
                        format!("not carried out, the key lives: what {} asked for holds again", request.asked_by);
                    if let Err(error) = self.put_key_request_back(&request, entry).await {
                        tracing::warn!(%error, key, "the request to destroy a key is lost: both people say it once more");
                    }
                    return Err(error);
                }
                self.take_over_key_ends().await?;
                self.delete_frames_of_ended_keys(project).await?;
                self.copy_ledger_soon().await;
                Ok(true)
            }
        }
    }

    /// A key, and before it those that it has wrapped.
    async fn ends_of(&self, project: i64, kind: &str, number: i64) -> Result<Vec<KeyEnd>, StoreError> {
        let days =
            query("SELECT number, made, wrapped_by FROM keys WHERE project = $1 AND kind = 'day' ORDER BY number")
                .bind(project)
                .fetch_all(self.control().readers())
                .await
                .during("find what a key has wrapped")?;
        let (is_day, by) = (kind == "day", format!("project:{number}"));
        let mut ends = Vec::new();
        for row in days {
            let day: i64 = row.read(0)?;
            if if is_day { day == number } else { row.read::<&str>(2)? == by } {
                ends.push(KeyEnd::Day(day, row.read(1)?));
            }
        }
        if !is_day {
            ends.push(KeyEnd::Version(number));
        }
        Ok(ends)
    }

    /// Why a key that is listed is never destroyed by hand; `None` where two people may do so.
    async fn never_by_hand(&self, key: &str) -> Result<Option<String>, StoreError> {
        let is_of_installation = match key.split('/').nth(1) {
            // A project may be called so.
            Some(id @ "installation") => match id.parse() {
                Ok(id) => matches!(self.project(&id).await, Err(StoreError::NotFound { .. })),
                Err(_) => true,
            },
            _ => false,
        };
        let why = match key.split_once('/').map_or(key, |(kind, _)| kind) {
            kind if kind.contains(':') => {
                "is a key-encryption key, which wraps the keys of the whole installation: convizit keys rotate makes a new one, and the old \
                 one ends by itself, or at its provider, once nothing needs it"
            }
            "root" => {
                "is the root secret, which the keyed hashes of everybody who was erased and of every token are made with: without it nobody \
                 could be kept erased"
            }
            "project" | "day" if is_of_installation => {
                "is the installation's own, which seals the journal, the notices and the backups of all projects: a new one takes its place by \
                 itself, and the old one only opens what it has sealed"
            }
            _ => return Ok(None),
        };
        Ok(Some(format!("{key} cannot be destroyed by hand: it {why}")))
    }

    /// Project number, kind and number of a key by its id, and when it was made.
    async fn find_key(&self, key: &str) -> Result<(i64, &'static str, i64, i64), StoreError> {
        let form = || {
            StoreError::Invalid(
                "a key is project/ID/VERSION or day/ID/YYYY-MM-DD, as convizit keys list shows it".to_owned(),
            )
        };
        if let Some(why) = self.never_by_hand(key).await? {
            return Err(StoreError::Invalid(why));
        }
        let parts: Vec<&str> = key.split('/').collect();
        let [kind, id, number] = parts.as_slice() else { return Err(form()) };
        let project = self.project(&id.parse().map_err(|_| form())?).await?.number;
        let (kind, number) = match *kind {
            "project" => ("project", number.parse().map_err(|_| form())?),
            "day" => {
                let noon: Timestamp = format!("{number}T12:00:00Z").parse().map_err(|_| form())?;
                ("day", noon.day())
            }
            _ => return Err(form()),
        };
        let made: Option<i64> = sqlx::query_scalar(
            "SELECT made FROM keys WHERE project = $1 AND kind = $2 AND number = $3 AND wrapped_by <> 'destroyed'",
        )
        .bind(project)
        .bind(kind)
        .bind(number)
        .fetch_optional(self.control().readers())
        .await
        .during("find key")?;
        made.map(|made| (project, kind, number, made)).ok_or_else(|| StoreError::not_found("key", key))
    }
}
