//! Idempotency keys: the answer that a changing call of a program got, kept for a day for whoever sends the same call again.

use convizit_keys::Place;
use convizit_model::Project;
use convizit_model::time::DAY_MILLIS;
use sqlx::query;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};

/// A call whose process ended before it was answered may be carried out again after this time; each of them stands being done twice.
const RUNNING_MILLIS: i64 = 60_000;
/// Keys of a project at a time; each with its answer takes some 500 bytes.
const KEYS: i64 = 10_000;

/// A call that carries a key, and is this caller's to carry out.
#[derive(Debug, Clone)]
pub struct KeyedCall {
    hash: [u8; 32],
}

/// What is known of a call's key.
#[derive(Debug)]
pub enum Claim {
    /// Nothing: the call is to be carried out, then its answer kept or its key dropped.
    New(KeyedCall),
    /// The same call was answered so.
    Answered(Vec<u8>),
    /// The same call is being carried out.
    Running,
    /// Another call carried the key.
    Different,
    /// The project has as many keys as are kept.
    Full,
}

fn answer_of(hash: &[u8]) -> Place<'_> {
    Place { table: "idempotency_keys", purpose: "answer", row: hash }
}

impl Store {
    /// Takes a key for a call of this store's actor. `request` is whatever makes the call another one: method, address, body.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn claim_key(&self, project: &Project, key: &str, request: &[u8]) -> Result<Claim, StoreError> {
        const NAME: &str = "claim idempotency key";
        let number = project.number;
        let of_key = format!("{number}\n{}\n{key}", self.actor());
        let hash = self.ring().mac("idempotency key", of_key.as_bytes());
        let request = self.ring().mac("idempotent call", request);
        let now = self.clock().now().as_millis();
        let claim = self
            .control()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    query("DELETE FROM idempotency_keys WHERE made < $1 OR (hash = $2 AND answer IS NULL AND made < $3)")
                        .bind(now - DAY_MILLIS)
                        .bind(hash.as_slice())
                        .bind(now - RUNNING_MILLIS)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM idempotency_keys WHERE project = $1")
                        .bind(number)
                        .fetch_one(&mut *connection)
                        .await
                        .during(NAME)?;
                    if kept < KEYS {
                        // Of two that come at once, one finds the other's row.
                        let done = query(
                            "INSERT INTO idempotency_keys (hash, project, request, answer, made) VALUES ($1, $2, $3, NULL, $4) \
                             ON CONFLICT (hash) DO NOTHING",
                        )
                        .bind(hash.as_slice())
                        .bind(number)
                        .bind(request.as_slice())
                        .bind(now)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                        if done.rows_affected() == 1 {
                            return Ok(Claim::New(KeyedCall { hash }));
                        }
                    }
                    let row = query("SELECT request, answer FROM idempotency_keys WHERE hash = $1")
                        .bind(hash.as_slice())
                        .fetch_optional(&mut *connection)
                        .await
                        .during(NAME)?;
                    let Some(row) = row else { return Ok(Claim::Full) };
                    if row.read::<Vec<u8>>(0)? != request {
                        return Ok(Claim::Different);
                    }
                    Ok(row.read::<Option<Vec<u8>>>(1)?.map_or(Claim::Running, Claim::Answered))
                })
            })
            .await?;
        match claim {
            Claim::Answered(sealed) => {
                Ok(Claim::Answered(self.keyring().open_sealed(0, answer_of(&hash), &sealed).await?))
            }
            other => Ok(other),
        }
    }

    /// Keeps the answer of a call that was carried out, sealed.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn keep_answer(&self, call: &KeyedCall, answer: &[u8]) -> Result<(), StoreError> {
        const NAME: &str = "keep answer";
        let hash = call.hash;
        let sealed = self.keyring().seal_own(answer_of(&hash), answer)?;
        self.control()
            .run_tx(NAME, move |connection| {
                let sealed = sealed.clone();
                Box::pin(async move {
                    query("UPDATE idempotency_keys SET answer = $1 WHERE hash = $2")
                        .bind(sealed)
                        .bind(hash.as_slice())
                        .execute(connection)
                        .await
                        .during(NAME)
                        .map(|_| ())
                })
            })
            .await
    }

    /// Lets a key go whose call changed nothing: it may be sent again, mended.
    ///
    /// # Errors
    /// `Database`.
    pub async fn drop_key(&self, call: &KeyedCall) -> Result<(), StoreError> {
        const NAME: &str = "drop idempotency key";
        let hash = call.hash;
        self.control()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    query("DELETE FROM idempotency_keys WHERE hash = $1")
                        .bind(hash.as_slice())
                        .execute(connection)
                        .await
                        .during(NAME)
                        .map(|_| ())
                })
            })
            .await
    }
}
