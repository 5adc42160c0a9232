//! Sessions of signed-in people: of each the store has a keyed hash, the browser alone has the secret.

use convizit_model::Timestamp;
use convizit_model::time::DAY_MILLIS;
use serde::{Deserialize, Serialize};
use sqlx::query;

use crate::Store;
use crate::accounts::Account;
use crate::audit;
use crate::error::{Columns as _, During, StoreError};

/// A session ends after this time without a request.
const SESSION_IDLE_MILLIS: i64 = 12 * 3_600_000;
/// A session ends after this time whatever happens.
const SESSION_MILLIS: i64 = 7 * DAY_MILLIS;
/// A sign-in that waits for its second factor ends after this time.
const HALF_SESSION_MILLIS: i64 = 10 * 60_000;
/// `seen` is written at most once in this time.
const SEEN_MILLIS: i64 = 60_000;
/// Whole sessions of an account; beyond it the oldest end.
const SESSIONS: i64 = 50;
/// Sign-ins of an account that wait for the second factor; beyond it the oldest end, and never a whole one: the password alone
/// signs nobody out.
const HALF_SESSIONS: i64 = 5;

/// Where a session was begun, as far as it may be known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionPlace {
    /// The network of the address: the last part is cut off.
    pub network: String,
    /// Browser and system, in words.
    pub browser: String,
    /// Code of the country that the address is of, where it is known.
    #[serde(default)]
    pub country: Option<String>,
}

/// A session that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its number: a random one, no secret.
    pub number: i64,
    /// Whose it is.
    pub account: i64,
    /// Whether every factor that the account has was given.
    pub whole: bool,
    /// When it was begun.
    pub made: Timestamp,
    /// When it was last used, to the minute.
    pub seen: Timestamp,
    /// When the person last proved who they are.
    pub proved: Timestamp,
}

/// The row's number as a sealed value is bound to it.
fn about_of(row: &[u8; 8]) -> convizit_keys::Place<'_> {
    convizit_keys::Place { table: "sessions", purpose: "about", row }
}

impl Session {
    /// Whether it lives at this time.
    fn lives(&self, now: Timestamp) -> bool {
        let whole = if self.whole { SESSION_MILLIS } else { HALF_SESSION_MILLIS };
        now.since(self.made) < whole && now.since(self.seen) < SESSION_IDLE_MILLIS
    }
}

impl Store {
    fn session_hash(&self, secret: &str) -> [u8; 32] {
        self.ring().mac("session secret", secret.as_bytes())
    }

    /// The token that forms of this secret's holder carry: who only makes a browser send requests cannot know it.
    #[must_use]
    pub fn form_token(&self, secret: &str) -> String {
        use std::fmt::Write as _;
        let tag = self.ring().mac("form", secret.as_bytes());
        tag.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
            // Writing into a text cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Whether a form's token is this secret's. Of two hashes of them the comparison's time tells nothing.
    #[must_use]
    pub fn is_form_token(&self, secret: &str, token: &str) -> bool {
        let of = |text: &str| self.ring().mac("form token", text.as_bytes());
        of(&self.form_token(secret)) == of(token)
    }

    /// A new secret for a cookie.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn new_secret(&self) -> Result<String, StoreError> {
        Ok(convizit_keys::random_text(32)?)
    }

    /// Begins a session; `whole` when every factor that the account has was given. Where `account` was read before it got a second
    /// factor, the session is half. `before` is the session that it takes the place of, which ends: a secret that was known before
    /// the sign-in is worth nothing after it. Returns the new secret.
    ///
    /// # Errors
    /// `NotFound`, `Database`, `Keys`.
    pub async fn begin_session(
        &self,
        account: &Account,
        whole: bool,
        place: &SessionPlace,
        before: Option<i64>,
    ) -> Result<String, StoreError> {
        const NAME: &str = "begin session";
        let secret = self.new_secret()?;
        let hash = self.session_hash(&secret);
        // Random, since it stands in addresses; 0 and what is negative is left out.
        let number = i64::from_be_bytes(*convizit_keys::random_bytes::<8>()?) >> 1 & i64::MAX | 1;
        let (now, owner) = (self.clock().now(), account.number);
        let row = number.to_be_bytes();
        let about = serde_json::to_vec(place).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let about = self.keyring().seal_own(about_of(&row), &about)?;
        let entry = self.acting_as(&account.actor()).entry("session.half", "", "", "");
        let (ring, store, account) = (self.ring().clone(), self.clone(), account.clone());
        let country = place.country.clone();
        self.control()
            .run_tx(NAME, move |connection| {
                let (about, entry, ring) = (about.clone(), entry.clone(), ring.clone());
                let (store, account, country) = (store.clone(), account.clone(), country.clone());
                Box::pin(async move {
                    // Takes the row, so that a second factor is set up before, and this is half, or after, and this ends.
                    let has_factor = query(
                        "UPDATE accounts SET made = made WHERE number = $1 \
                         RETURNING CASE WHEN totp IS NULL THEN 0 ELSE 1 END",
                    )
                    .bind(owner)
                    .fetch_optional(&mut *connection)
                    .await
                    .during(NAME)?
                    .ok_or_else(|| StoreError::not_found("account", owner))?
                    .read::<i64>(0)?
                        == 1;
                    let whole = whole && (account.second_factor || !has_factor);
                    for (sql, than) in [
                        ("DELETE FROM sessions WHERE made < $1", now.as_millis() - SESSION_MILLIS),
                        ("DELETE FROM sessions WHERE seen < $1", now.as_millis() - SESSION_IDLE_MILLIS),
                        ("DELETE FROM sessions WHERE whole = 0 AND made < $1", now.as_millis() - HALF_SESSION_MILLIS),
                        ("DELETE FROM sessions WHERE number = $1", before.unwrap_or(0)),
                    ] {
                        query(sql).bind(than).execute(&mut *connection).await.during(NAME)?;
                    }
                    query(
                        "DELETE FROM sessions WHERE account = $1 AND whole = $2 AND number NOT IN (SELECT number \
                         FROM sessions WHERE account = $1 AND whole = $2 ORDER BY seen DESC, number LIMIT $3)",
                    )
                    .bind(owner)
                    .bind(i64::from(whole))
                    .bind(if whole { SESSIONS } else { HALF_SESSIONS } - 1)
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                    query(
                        "INSERT INTO sessions (number, hash, account, whole, made, seen, proved, about) \
                         VALUES ($1, $2, $3, $4, $5, $5, $5, $6)",
                    )
                    .bind(number)
                    .bind(hash.as_slice())
                    .bind(owner)
                    .bind(i64::from(whole))
                    .bind(now.as_millis())
                    .bind(about)
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                    if let Some(country) = country.filter(|_| whole) {
                        store.note_country(connection, &account, &country, now).await?;
                    }
                    // Half a sign-in is none yet; somebody has the password.
                    let entry = if whole { audit::Entry { act: "session.begin", ..entry } } else { entry };
                    audit::append(connection, &ring, &[entry]).await
                })
            })
            .await?;
        Ok(secret)
    }

    /// The session of a secret, while it lives. Read from the database each time, so that one that was ended is dead at once.
    ///
    /// # Errors
    /// `Database`.
    pub async fn session(&self, secret: &str) -> Result<Option<Session>, StoreError> {
        let row = query("SELECT number, account, whole, made, seen, proved FROM sessions WHERE hash = $1")
            .bind(self.session_hash(secret).as_slice())
            .fetch_optional(self.control().readers())
            .await
            .during("find session")?;
        let Some(row) = row else { return Ok(None) };
        let session = Session {
            number: row.read(0)?,
            account: row.read(1)?,
            whole: row.read::<i64>(2)? == 1,
            made: Timestamp::from_millis(row.read(3)?),
            seen: Timestamp::from_millis(row.read(4)?),
            proved: Timestamp::from_millis(row.read(5)?),
        };
        let now = self.clock().now();
        if !session.lives(now) {
            return Ok(None);
        }
        if now.since(session.seen) >= SEEN_MILLIS {
            let touched = self.touch_session(session.number, "UPDATE sessions SET seen = $1 WHERE number = $2").await;
            // On a full disk whoever is signed in must still see what is wrong.
            if let Err(error) = touched {
                tracing::debug!(%error, "when a session was last used could not be written");
            }
        }
        Ok(Some(session))
    }

    /// Whether an account's session of this number lives, and every factor was given in it.
    pub(crate) async fn session_lives(&self, number: i64, account: i64) -> Result<bool, StoreError> {
        let row = query("SELECT whole, made, seen, proved FROM sessions WHERE number = $1 AND account = $2")
            .bind(number)
            .bind(account)
            .fetch_optional(self.control().readers())
            .await
            .during("find session")?;
        let Some(row) = row else { return Ok(false) };
        let session = Session {
            number,
            account,
            whole: row.read::<i64>(0)? == 1,
            made: Timestamp::from_millis(row.read(1)?),
            seen: Timestamp::from_millis(row.read(2)?),
            proved: Timestamp::from_millis(row.read(3)?),
        };
        Ok(session.whole && session.lives(self.clock().now()))
    }

    async fn touch_session(&self, number: i64, sql: &'static str) -> Result<(), StoreError> {
        const NAME: &str = "touch session";
        let now = self.clock().now().as_millis();
        self.control()
            .run_tx(NAME, move |connection| {
                Box::pin(
                    async move { query(sql).bind(now).bind(number).execute(connection).await.during(NAME).map(|_| ()) },
                )
            })
            .await
    }

    /// Takes down that the person of a session proved again who they are.
    ///
    /// # Errors
    /// `Database`.
    pub async fn session_proved(&self, number: i64) -> Result<(), StoreError> {
        self.touch_session(number, "UPDATE sessions SET proved = $1 WHERE number = $2").await
    }

    /// The living sessions of an account with their places, the last used first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn sessions(&self, account: i64) -> Result<Vec<(Session, SessionPlace)>, StoreError> {
        let rows = query(
            "SELECT number, account, whole, made, seen, proved, about FROM sessions \
             WHERE account = $1 AND whole = 1 ORDER BY seen DESC, number",
        )
        .bind(account)
        .fetch_all(self.control().readers())
        .await
        .during("list sessions")?;
        let now = self.clock().now();
        let mut sessions = Vec::with_capacity(rows.len());
        for row in rows {
            let session = Session {
                number: row.read(0)?,
                account: row.read(1)?,
                whole: true,
                made: Timestamp::from_millis(row.read(3)?),
                seen: Timestamp::from_millis(row.read(4)?),
                proved: Timestamp::from_millis(row.read(5)?),
            };
            if !session.lives(now) {
                continue;
            }
            let about: Vec<u8> = row.read(6)?;
            let place = self.keyring().open_sealed(0, about_of(&session.number.to_be_bytes()), &about).await?;
            sessions.push((session, serde_json::from_slice(&place).unwrap_or_default()));
        }
        Ok(sessions)
    }

    /// Ends a session of an account.
    ///
    /// # Errors
    /// `NotFound` when it has no such session.
    pub async fn end_session(&self, account: i64, number: i64) -> Result<(), StoreError> {
        self.change("end session", self.entry("session.end", "", "", ""), move |connection| {
            Box::pin(async move {
                let done = query("DELETE FROM sessions WHERE account = $1 AND number = $2")
                    .bind(account)
                    .bind(number)
                    .execute(connection)
                    .await
                    .during("end session")?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::not_found("session", number));
                }
                Ok(())
            })
        })
        .await
    }

    /// Ends all sessions of an account but one; returns how many.
    ///
    /// # Errors
    /// `Database`.
    pub async fn end_other_sessions(&self, account: i64, keep: i64) -> Result<u64, StoreError> {
        self.change("end sessions", self.entry("session.end_others", "", "", ""), move |connection| {
            Box::pin(async move {
                let done = query("DELETE FROM sessions WHERE account = $1 AND number <> $2")
                    .bind(account)
                    .bind(keep)
                    .execute(connection)
                    .await
                    .during("end sessions")?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}
