//! Requests to destroy a living key, which wait for a second person: who asked, and taking one back.

use convizit_model::Timestamp;
use convizit_model::time::DAY_MILLIS;
use serde::Serialize;
use sqlx::query;

use crate::Store;
use crate::audit::{self, Entry};
use crate::error::{Columns as _, During, StoreError};

/// What the name of an actor ends with where neither the kernel nor sudo knows who has logged in, as in a container: everybody is the
/// same user there.
pub const NO_LOGIN: &str = ", and no login is known here";

/// A request that a second person may confirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRequest {
    /// The key, as it is listed: `day/shop/2026-11-29`.
    pub key: String,
    /// The token of whoever asked.
    pub asked_by: String,
    /// The user of the operating system who asked, `os:anna(1001)`; empty where none is known.
    pub asked_from: String,
    /// When.
    pub made: Timestamp,
    /// Until when it holds.
    pub until: Timestamp,
}

impl Store {
    /// The requests to destroy a key that hold, oldest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn key_requests(&self) -> Result<Vec<KeyRequest>, StoreError> {
        let keys: Vec<String> = sqlx::query_scalar("SELECT key FROM key_requests ORDER BY made, key")
            .fetch_all(self.control().readers())
            .await
            .during("list requests to destroy keys")?;
        let mut requests = Vec::new();
        for key in keys {
            match self.find_key(&key).await {
                Ok((.., made)) => requests.extend(self.key_request(&key, made).await?),
                // It is gone meanwhile, or its project is.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(requests)
    }

    /// Takes a request back, whoever asked: nobody destroys anything by it.
    ///
    /// # Errors
    /// `NotFound` where none holds for this key.
    pub async fn withdraw_key_request(&self, key: &str) -> Result<(), StoreError> {
        const NAME: &str = "withdraw a request to destroy a key";
        let (.., made) = self.find_key(key).await?;
        let none = |key: &str| StoreError::not_found("request to destroy the key", key);
        let request = self.key_request(key, made).await?.ok_or_else(|| none(key))?;
        let detail = format!("asked by {}", request.asked_by);
        let entry = self.entry("key.destroy.withdraw", key.split('/').nth(1).unwrap_or_default(), key, detail);
        let (ring, made) = (self.ring().clone(), request.made.as_millis());
        let key = key.to_owned();
        self.control()
            .run_tx(NAME, move |connection| {
                let (key, entry, ring) = (key.clone(), entry.clone(), ring.clone());
                Box::pin(async move {
                    let done = query("DELETE FROM key_requests WHERE key = $1 AND made = $2")
                        .bind(key.as_str())
                        .bind(made)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    // A second person was quicker.
                    if done.rows_affected() == 0 {
                        return Err(none(&key));
                    }
                    audit::append(connection, &ring, &[entry]).await
                })
            })
            .await
    }

    /// Takes a request up to carry it out, in one transaction with the entry that says so: it can be withdrawn up to here, and not from
    /// here on.
    pub(super) async fn take_key_request(&self, request: &KeyRequest, entry: audit::Entry) -> Result<(), StoreError> {
        const NAME: &str = "take up a request to destroy a key";
        let (request, ring) = (request.clone(), self.ring().clone());
        self.control()
            .run_tx(NAME, move |connection| {
                let (request, entry, ring) = (request.clone(), entry.clone(), ring.clone());
                Box::pin(async move {
                    let done = query("DELETE FROM key_requests WHERE key = $1 AND made = $2 AND asked_by = $3")
                        .bind(request.key.as_str())
                        .bind(request.made.as_millis())
                        .bind(request.asked_by.as_str())
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    if done.rows_affected() == 0 {
                        return Err(StoreError::Invalid(format!(
                            "the request to destroy {} was withdrawn or carried out meanwhile, so nothing was done: convizit keys requests \
                             says what is asked for now",
                            request.key
                        )));
                    }
                    audit::append(connection, &ring, &[entry]).await
                })
            })
            .await
    }

    /// Puts a request back that was not carried out, unless somebody has asked anew.
    pub(super) async fn put_key_request_back(&self, request: &KeyRequest, entry: Entry) -> Result<(), StoreError> {
        const NAME: &str = "put a request to destroy a key back";
        let (request, ring) = (request.clone(), self.ring().clone());
        self.control()
            .run_tx(NAME, move |connection| {
                let (request, entry, ring) = (request.clone(), entry.clone(), ring.clone());
                Box::pin(async move {
                    query(
                        "INSERT INTO key_requests (key, asked_by, made, asked_from) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (key) DO NOTHING",
                    )
                    .bind(request.key)
                    .bind(request.asked_by)
                    .bind(request.made.as_millis())
                    .bind(request.asked_from)
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                    audit::append(connection, &ring, &[entry]).await
                })
            })
            .await
    }

    /// The user of the operating system behind the actor, without whose rights are used: `os:anna(1001)` of
    /// `os:anna(1001) as convizit(998)`. Empty where the actor is no such user, or who has logged in is not known.
    pub(super) fn os_user(&self) -> &str {
        let person = self.actor().split(" as ").next().unwrap_or_default();
        if self.is_os() && !self.actor().ends_with(NO_LOGIN) { person } else { "" }
    }

    /// Whether a user of the operating system acts, known or not.
    pub(super) fn is_os(&self) -> bool {
        self.actor().starts_with("os:")
    }

    /// Why who asks now, with whatever token, is no second person beside the one who asked before: the same user of the operating system,
    /// or one of two of whom the login of only one is known, since whoever has logged in can also act where nobody sees it. Where no login
    /// is known of either, the two tokens alone decide.
    pub(super) fn no_second_person(&self, request: &KeyRequest) -> Option<String> {
        let (first, now) = (request.asked_from.as_str(), self.os_user());
        match (first.is_empty(), now.is_empty()) {
            (true, true) => None,
            (false, false) if first != now => None,
            (false, false) => Some(format!(
                "{} asked for it from the same user of this machine, {first}, and two tokens of one person are one word: a second person must \
                 say so from a login of their own",
                request.asked_by
            )),
            (false, true) => Some(format!(
                "{} asked for it from a login, {first}, and none is known here, so that this may be the same person: a second person must say so \
                 from a login of their own",
                request.asked_by
            )),
            (true, false) => Some(format!(
                "{} asked for it where no login was known, which may have been you, {now}: the first person must say so from a login of their own",
                request.asked_by
            )),
        }
    }

    /// The request to destroy a key that was made at this time, where one holds: one for a key of the same name that is gone is about
    /// nothing.
    pub(super) async fn key_request(&self, key: &str, key_made: i64) -> Result<Option<KeyRequest>, StoreError> {
        let row = query("SELECT asked_by, made, asked_from FROM key_requests WHERE key = $1 AND made >= $2")
            .bind(key)
            .bind(key_made)
            .fetch_optional(self.control().readers())
            .await
            .during("find who asked to destroy a key")?;
        let Some(row) = row else { return Ok(None) };
        let made = Timestamp::from_millis(row.read(1)?);
        let holds = self.clock().now().since(made) < DAY_MILLIS;
        let (key, asked_by, asked_from) = (key.to_owned(), row.read(0)?, row.read(2)?);
        Ok(holds.then_some(KeyRequest { key, asked_by, asked_from, made, until: made.plus_millis(DAY_MILLIS) }))
    }
}
