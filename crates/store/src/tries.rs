//! How often passwords and codes of one account may be tried: counted in the database, so that it holds over all processes.
//!
//! Of each address stands when all its tries are back, as the generic cell rate algorithm has it (ITU-T I.371, annex A): one number
//! is the whole bucket, and of two processes that take a try at once the second sees what the first has taken.

use sqlx::query;

use crate::Store;
use crate::accounts::normal_email;
use crate::error::{During, StoreError};

/// Tries at once, and the time in which one comes back: at most 10 + 60 in any hour, of which NIST SP 800-63B-4 allows 100.
const HELD: i64 = 10;
const BACK_MILLIS: i64 = 60_000;
/// No process's clock is so far ahead of another's: what stands further on was written before the clock went back.
const AHEAD_MILLIS: i64 = 3_600_000;

/// A try that was let in.
#[derive(Debug)]
pub struct AccountTry {
    hash: [u8; 32],
}

impl Store {
    /// Lets a password or code of an address be tried, or says how many seconds to wait. Taken before the answer is known, so that
    /// many at once gain nothing; it is the same whether there is such an account or not.
    ///
    /// # Errors
    /// `Database`.
    pub async fn take_account_try(&self, email: &str) -> Result<Result<AccountTry, u64>, StoreError> {
        const NAME: &str = "take a try of an account";
        let hash = self.ring().mac("account tries", normal_email(email).as_bytes());
        let now = self.clock().now().as_millis();
        // The last moment that lets one in.
        let room = now + (HELD - 1) * BACK_MILLIS;
        let waits = self
            .control()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    query("DELETE FROM account_tries WHERE whole_at <= $1 OR whole_at > $2")
                        .bind(now)
                        .bind(room + AHEAD_MILLIS)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    let done = query(
                        "INSERT INTO account_tries (hash, whole_at) VALUES ($1, $2) ON CONFLICT (hash) DO UPDATE SET whole_at = \
                         CASE WHEN account_tries.whole_at > $3 THEN account_tries.whole_at + $4 ELSE $2 END \
                         WHERE account_tries.whole_at <= $5",
                    )
                    .bind(hash.as_slice())
                    .bind(now + BACK_MILLIS)
                    .bind(now)
                    .bind(BACK_MILLIS)
                    .bind(room)
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                    if done.rows_affected() > 0 {
                        return Ok(None);
                    }
                    let whole: Option<i64> = sqlx::query_scalar("SELECT whole_at FROM account_tries WHERE hash = $1")
                        .bind(hash.as_slice())
                        .fetch_optional(connection)
                        .await
                        .during(NAME)?;
                    Ok(Some(whole.map_or(0, |whole| whole - room)))
                })
            })
            .await?;
        Ok(match waits {
            None => Ok(AccountTry { hash }),
            Some(millis) => Err(u64::try_from(millis).unwrap_or(0).div_ceil(1000).max(1)),
        })
    }

    /// The answer was right: so many tries, this one and what came before it, do not count.
    ///
    /// # Errors
    /// `Database`.
    pub async fn give_account_tries_back(&self, one: AccountTry, tries: u8) -> Result<(), StoreError> {
        const NAME: &str = "give tries of an account back";
        self.control()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    query("UPDATE account_tries SET whole_at = whole_at - $1 WHERE hash = $2")
                        .bind(i64::from(tries) * BACK_MILLIS)
                        .bind(one.hash.as_slice())
                        .execute(connection)
                        .await
                        .during(NAME)
                        .map(|_| ())
                })
            })
            .await
    }
}
