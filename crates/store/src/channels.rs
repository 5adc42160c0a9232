//! To whom notices go: a project's channels, sealed, and what was sent of each notice, so that an end in between loses none.

use std::collections::HashMap;

use convizit_keys::Place;
use convizit_model::time::DAY_MILLIS;
use convizit_model::{Channel, Channels, Notice, NoticeKind, Project, ProjectId, Role, Timestamp};
use sqlx::query;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};

/// Notices whose channels are looked up in one look, and messages that are handed out in one.
const LOOKED: i64 = 100;
/// Messages of one channel of a project within an hour; later ones wait, but those of incidents.
const HOURLY: i64 = 60;
/// A message beyond that is looked at again after this time.
const PUT_OFF: i64 = 10 * 60_000;
/// What was sent is kept so long, to be looked at.
const KEPT_DAYS: i64 = 30;
const HOUR: i64 = 3_600_000;
/// Characters of a reason.
const REASON_CHARS: usize = 300;

/// A project's channels as they are saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedChannels {
    /// What is set.
    pub channels: Channels,
    /// Raised with every change; 0 where nothing was saved yet.
    pub version: i64,
}

/// A message that waits, or is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeSend {
    /// The notice.
    pub notice: Notice,
    /// Which way it goes.
    pub channel: Channel,
    /// `waiting`, `sent`, `failed` or `dropped`.
    pub state: String,
    /// Tries so far.
    pub tries: u32,
    /// When it is tried next, or was ended.
    pub at: Timestamp,
    /// What the last try came to; empty before it.
    pub reason: String,
}

/// What a try to send came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendEnd {
    /// Taken.
    Sent,
    /// Not taken for this reason, and tried again at this time.
    Later(String, Timestamp),
    /// Not taken for this reason, and not tried again.
    Failed(String),
    /// Nobody is there to get it any more.
    Dropped,
}

/// A new signing secret for a webhook.
///
/// # Errors
/// When there are no random bytes.
pub fn webhook_secret() -> Result<String, StoreError> {
    Ok(convizit_keys::webhook_secret()?)
}

fn body_of(row: &[u8; 8]) -> Place<'_> {
    Place { table: "notice_channels", purpose: "body", row }
}

impl Store {
    /// To whom a project's notices go.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn channels(&self, project: i64) -> Result<SavedChannels, StoreError> {
        let row = query("SELECT version, body FROM notice_channels WHERE project = $1")
            .bind(project)
            .fetch_optional(self.control().readers())
            .await
            .during("read channels")?;
        let Some(row) = row else { return Ok(SavedChannels { channels: Channels::default(), version: 0 }) };
        let body = self.keyring().open_sealed(0, body_of(&project.to_be_bytes()), row.read(1)?).await?;
        let newer =
            |_| StoreError::Unusable("channels of notices are of a newer convizit: start that version".to_owned());
        Ok(SavedChannels { channels: serde_json::from_slice(&body).map_err(newer)?, version: row.read(0)? })
    }

    /// Saves to whom a project's notices go, over what was saved at a version.
    ///
    /// # Errors
    /// `Moved` when somebody has saved others since.
    pub async fn save_channels(&self, project: &Project, channels: &Channels, version: i64) -> Result<(), StoreError> {
        const NAME: &str = "save channels";
        let number = project.number;
        let body = serde_json::to_vec(channels).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let sealed = self.keyring().seal_own(body_of(&number.to_be_bytes()), &body)?;
        let on: Vec<&str> = [
            channels.mail_to.map(|_| "mail"),
            channels.webhook.as_ref().map(|_| "webhook"),
            channels.slack.as_ref().map(|_| "slack"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let entry = self.entry("notices.channels", project.id.as_str(), &on.join(", "), "");
        self.change(NAME, entry, move |connection| {
            let sealed = sealed.clone();
            Box::pin(async move {
                let done = if version == 0 {
                    query("INSERT INTO notice_channels (project, version, body) VALUES ($1, 1, $2) ON CONFLICT (project) DO NOTHING")
                        .bind(number)
                        .bind(sealed)
                        .execute(connection)
                        .await
                } else {
                    query("UPDATE notice_channels SET version = version + 1, body = $2 WHERE project = $1 AND version = $3")
                        .bind(number)
                        .bind(sealed)
                        .bind(version)
                        .execute(connection)
                        .await
                };
                if done.during(NAME)?.rows_affected() == 0 {
                    return Err(StoreError::Moved { what: "what is saved of the project's channels".to_owned() });
                }
                Ok(())
            })
        })
        .await
    }

    /// Writes down, for each new notice, every channel that it goes to, for incidents first. `mail` is whether mail can be sent.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn address_notices(&self, mail: bool) -> Result<(), StoreError> {
        let new = self
            .read_notices("WHERE told = 0 ORDER BY CASE kind WHEN 'incident' THEN 0 ELSE 1 END, id LIMIT 100", None)
            .await?;
        for notice in new {
            let channels = match &notice.project {
                Some(id) => match self.project(id).await {
                    Ok(project) => self.channels_of(&project, notice.kind, mail).await?,
                    // Removed meanwhile.
                    Err(StoreError::NotFound { .. }) => Vec::new(),
                    Err(error) => return Err(error),
                },
                None if mail => self.masters().await?.into_iter().map(Channel::Mail).collect(),
                None => Vec::new(),
            };
            self.address(&notice, channels).await?;
        }
        Ok(())
    }

    /// The numbers of the Master Admins. The demo's account has no address that anybody reads.
    async fn masters(&self) -> Result<Vec<i64>, StoreError> {
        sqlx::query_scalar("SELECT number FROM accounts WHERE master = 1 AND excused = 0 ORDER BY number")
            .fetch_all(self.control().readers())
            .await
            .during("list Master Admins")
    }

    async fn channels_of(&self, project: &Project, kind: NoticeKind, mail: bool) -> Result<Vec<Channel>, StoreError> {
        let set = self.channels(project.number).await?.channels;
        let mut channels = Vec::new();
        if set.webhook.is_some() && set.webhook_kinds.contains(&kind) {
            channels.push(Channel::Webhook);
        }
        if set.slack.is_some() && set.slack_kinds.contains(&kind) {
            channels.push(Channel::Slack);
        }
        if !mail {
            return Ok(channels);
        }
        let mut accounts = if kind == NoticeKind::Incident { self.masters().await? } else { Vec::new() };
        if let Some(least) = set.mail_to.filter(|_| set.mail_kinds.contains(&kind)) {
            // What an incident says is for whoever sees to it, and not for whom it may be about.
            let least = if kind == NoticeKind::Incident { Role::Owner } else { least };
            let rows = query("SELECT account, role FROM members WHERE project = $1 ORDER BY account")
                .bind(project.number)
                .fetch_all(self.control().readers())
                .await
                .during("list members")?;
            for row in rows {
                if Role::of(row.read(1)?).is_some_and(|role| role >= least) {
                    accounts.push(row.read(0)?);
                }
            }
        }
        accounts.sort_unstable();
        accounts.dedup();
        channels.extend(accounts.into_iter().map(Channel::Mail));
        Ok(channels)
    }

    async fn address(&self, notice: &Notice, channels: Vec<Channel>) -> Result<(), StoreError> {
        const NAME: &str = "address notice";
        let (id, now) = (notice.id, self.clock().now().as_millis());
        let project = notice.project.as_ref().map(ToString::to_string).unwrap_or_default();
        let channels: Vec<String> = channels.into_iter().map(Channel::text).collect();
        self.data()
            .run_tx(NAME, move |connection| {
                let (channels, project) = (channels.clone(), project.clone());
                Box::pin(async move {
                    let done = query("UPDATE notices SET told = 1 WHERE id = $1 AND told = 0").bind(id);
                    if done.execute(&mut *connection).await.during(NAME)?.rows_affected() == 0 {
                        return Ok(());
                    }
                    for channel in channels {
                        query(
                            "INSERT INTO notice_sends (notice, channel, project, state, tries, at, reason) \
                             VALUES ($1, $2, $3, 'waiting', 0, $4, '')",
                        )
                        .bind(id)
                        .bind(channel)
                        .bind(project.as_str())
                        .bind(now)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// The messages that are to be sent now, the oldest first: those of incidents, or all others.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn due_sends(&self, incidents: bool) -> Result<Vec<NoticeSend>, StoreError> {
        const NAME: &str = "read sends";
        let now = self.clock().now();
        let rows = query(
            "SELECT notice, channel, project, state, tries, at, reason FROM notice_sends \
             WHERE state = 'waiting' AND at <= $1 \
             AND (CASE WHEN notice IN (SELECT id FROM notices WHERE kind = $3) THEN 1 ELSE 0 END) = $4 \
             ORDER BY at, notice LIMIT $2",
        )
        .bind(now.as_millis())
        .bind(LOOKED)
        .bind(NoticeKind::Incident.as_str())
        .bind(i64::from(incidents))
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        if rows.is_empty() || incidents {
            return self.sends_of(rows).await;
        }
        let sent = query(
            "SELECT project, channel, COUNT(*) FROM notice_sends WHERE state = 'sent' AND at > $1 GROUP BY project, channel",
        )
        .bind(now.plus_millis(-HOUR).as_millis())
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        let mut sent: HashMap<(String, String), i64> = sent
            .iter()
            .map(|row| Ok(((row.read(0)?, row.read(1)?), row.read(2)?)))
            .collect::<Result<_, StoreError>>()?;
        let (mut fit, mut over) = (Vec::new(), Vec::new());
        for row in rows {
            let count = sent.entry((row.read(2)?, row.read(1)?)).or_default();
            *count += 1;
            if *count <= HOURLY {
                fit.push(row);
            } else {
                over.push((row.read::<i64>(0)?, row.read::<String>(1)?));
            }
        }
        if !over.is_empty() {
            self.put_off(over, now.plus_millis(PUT_OFF)).await?;
        }
        self.sends_of(fit).await
    }

    /// Messages beyond the bound of an hour come later, so that they hold up no others.
    async fn put_off(&self, over: Vec<(i64, String)>, at: Timestamp) -> Result<(), StoreError> {
        const NAME: &str = "put off sends";
        self.data()
            .run_tx(NAME, move |connection| {
                let over = over.clone();
                Box::pin(async move {
                    for (notice, channel) in over {
                        query(
                            "UPDATE notice_sends SET at = $1 WHERE notice = $2 AND channel = $3 AND state = 'waiting'",
                        )
                        .bind(at.as_millis())
                        .bind(notice)
                        .bind(channel)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn sends_of(&self, rows: Vec<sqlx::any::AnyRow>) -> Result<Vec<NoticeSend>, StoreError> {
        let mut sends = Vec::with_capacity(rows.len());
        for row in rows {
            let id: i64 = row.read(0)?;
            let Some(notice) = self.read_notices("WHERE id = $1", Some(id)).await?.pop() else { continue };
            let Some(channel) = Channel::of(row.read(1)?) else { continue };
            sends.push(NoticeSend {
                notice,
                channel,
                state: row.read(3)?,
                tries: u32::try_from(row.read::<i64>(4)?).unwrap_or(u32::MAX),
                at: Timestamp::from_millis(row.read(5)?),
                reason: row.read(6)?,
            });
        }
        Ok(sends)
    }

    /// What became of a project's newest messages.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn sends(&self, project: &ProjectId, limit: i64) -> Result<Vec<NoticeSend>, StoreError> {
        let rows = query(
            "SELECT notice, channel, project, state, tries, at, reason FROM notice_sends WHERE project = $1 \
             ORDER BY notice DESC, channel LIMIT $2",
        )
        .bind(project.as_str())
        .bind(limit)
        .fetch_all(self.data().readers())
        .await
        .during("read sends")?;
        self.sends_of(rows).await
    }

    /// Writes down what a try came to.
    ///
    /// # Errors
    /// `Database`.
    pub async fn end_send(&self, notice: i64, channel: Channel, end: SendEnd) -> Result<(), StoreError> {
        const NAME: &str = "end send";
        let now = self.clock().now();
        let (state, at, reason) = match end {
            SendEnd::Sent => ("sent", now, String::new()),
            SendEnd::Later(reason, at) => ("waiting", at, reason),
            SendEnd::Failed(reason) => ("failed", now, reason),
            SendEnd::Dropped => ("dropped", now, String::new()),
        };
        let reason: String = reason.chars().take(REASON_CHARS).collect();
        let channel = channel.text();
        self.data()
            .run_tx(NAME, move |connection| {
                let (reason, channel) = (reason.clone(), channel.clone());
                Box::pin(async move {
                    query(
                        "UPDATE notice_sends SET state = $1, tries = tries + 1, at = $2, reason = $3 \
                         WHERE notice = $4 AND channel = $5",
                    )
                    .bind(state)
                    .bind(at.as_millis())
                    .bind(reason)
                    .bind(notice)
                    .bind(channel)
                    .execute(connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
                })
            })
            .await
    }

    /// Drops what was sent long ago, and what waits of notices that are no more.
    ///
    /// # Errors
    /// `Database`.
    pub async fn forget_sends(&self) -> Result<(), StoreError> {
        const NAME: &str = "forget sends";
        let before = self.clock().now().plus_millis(-KEPT_DAYS * DAY_MILLIS).as_millis();
        self.data()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    query(
                        "DELETE FROM notice_sends WHERE (state <> 'waiting' AND at < $1) \
                         OR notice NOT IN (SELECT id FROM notices)",
                    )
                    .bind(before)
                    .execute(connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
                })
            })
            .await
    }
}
