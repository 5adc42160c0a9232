//! Passkeys of people: made, used, removed; verified in `keys`, each answer for a challenge of its own session and for one time.

use convizit_keys::{Ceremony, Passkey, PasskeyProblem};
use convizit_model::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::query;

use crate::Store;
use crate::accounts::Account;
use crate::audit;
use crate::error::{Columns as _, During, StoreError};

/// A challenge is answered within this time.
const CHALLENGE_MILLIS: i64 = 5 * 60_000;
/// Passkeys of an account at most.
const PASSKEYS: usize = 20;
/// Characters of what a person calls one.
const NAME_CHARS: usize = 64;

/// A passkey in the list of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPasskey {
    /// Its number: a random one, no secret.
    pub number: i64,
    /// What the person calls it.
    pub name: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
    passkey: Passkey,
}

impl KnownPasskey {
    /// The credential's id, for the browser to choose it by.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        &self.passkey.id
    }
}

/// What a browser answered with a passkey.
#[derive(Debug, Clone, Copy)]
pub struct PasskeyAnswer<'a> {
    /// The console as the browser knows it, `https://console.shop.example`, and its host.
    pub site: (&'a str, &'a str),
    /// The session that the challenge was given to.
    pub session: i64,
    /// The credential's id.
    pub id: &'a [u8],
    /// `clientDataJSON`.
    pub client: &'a [u8],
    /// `attestationObject` of a new one, `authenticatorData` of one that is used.
    pub data: &'a [u8],
    /// Of one that is used.
    pub signature: &'a [u8],
}

/// What is sealed of a passkey.
#[derive(Serialize, Deserialize)]
struct About {
    id: Vec<u8>,
    key: Vec<u8>,
    may_be_copied: bool,
    name: String,
}

fn place(row: &[u8; 8]) -> convizit_keys::Place<'_> {
    convizit_keys::Place { table: "passkeys", purpose: "about", row }
}

fn invalid(problem: PasskeyProblem) -> StoreError {
    StoreError::Invalid(problem.to_string())
}

impl Store {
    /// A challenge for a session, in place of the one before. It holds for five minutes and one answer.
    ///
    /// # Errors
    /// `Database`, and when there are no random bytes.
    pub async fn new_challenge(&self, session: i64) -> Result<Vec<u8>, StoreError> {
        const NAME: &str = "make challenge";
        let challenge = convizit_keys::random_bytes::<{ convizit_keys::CHALLENGE_BYTES }>()?.to_vec();
        let (given, now) = (challenge.clone(), self.clock().now().as_millis());
        self.control()
            .run_tx(NAME, move |connection| {
                let given = given.clone();
                Box::pin(async move {
                    query("DELETE FROM challenges WHERE made < $1")
                        .bind(now - CHALLENGE_MILLIS)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    query(
                        "INSERT INTO challenges (session, challenge, made) VALUES ($1, $2, $3) \
                         ON CONFLICT (session) DO UPDATE SET challenge = excluded.challenge, made = excluded.made",
                    )
                    .bind(session)
                    .bind(given)
                    .bind(now)
                    .execute(connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
                })
            })
            .await?;
        Ok(challenge)
    }

    /// The session's challenge, which is used up by that; empty when there is none, and nothing answers an empty one.
    async fn take_challenge(&self, session: i64) -> Result<Vec<u8>, StoreError> {
        const NAME: &str = "take challenge";
        let least = self.clock().now().as_millis() - CHALLENGE_MILLIS;
        self.control()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    let given: Option<Vec<u8>> =
                        sqlx::query_scalar("SELECT challenge FROM challenges WHERE session = $1 AND made >= $2")
                            .bind(session)
                            .bind(least)
                            .fetch_optional(&mut *connection)
                            .await
                            .during(NAME)?;
                    let done = query("DELETE FROM challenges WHERE session = $1")
                        .bind(session)
                        .execute(connection)
                        .await
                        .during(NAME)?;
                    // Of two that come at once, one finds it gone.
                    Ok(given.filter(|_| done.rows_affected() == 1).unwrap_or_default())
                })
            })
            .await
    }

    fn passkey_hash(&self, id: &[u8]) -> [u8; 32] {
        self.ring().mac("passkey", id)
    }

    /// What a browser knows the account by: says nothing of it.
    #[must_use]
    pub fn passkey_user(&self, account: i64) -> [u8; 32] {
        self.ring().mac("passkey user", &account.to_be_bytes())
    }

    /// The passkeys of an account, the oldest first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn passkeys(&self, account: i64) -> Result<Vec<KnownPasskey>, StoreError> {
        const NAME: &str = "list passkeys";
        let rows =
            query("SELECT number, counter, made, used, about FROM passkeys WHERE account = $1 ORDER BY made, number")
                .bind(account)
                .fetch_all(self.control().readers())
                .await
                .during(NAME)?;
        let mut passkeys = Vec::with_capacity(rows.len());
        for row in rows {
            let (number, counter): (i64, i64) = (row.read(0)?, row.read(1)?);
            let about = self.keyring().open_sealed(0, place(&number.to_be_bytes()), row.read(4)?).await?;
            let About { id, key, may_be_copied, name } = serde_json::from_slice(&about)
                .map_err(|_| StoreError::Unusable("a passkey is of a newer convizit: start that version".to_owned()))?;
            passkeys.push(KnownPasskey {
                number,
                name,
                made: Timestamp::from_millis(row.read(2)?),
                used: Timestamp::from_millis(row.read(3)?),
                passkey: Passkey { id, key, counter: u32::try_from(counter).unwrap_or(u32::MAX), may_be_copied },
            });
        }
        Ok(passkeys)
    }

    /// Takes a new passkey of an account that has a second factor already, and with it recovery codes.
    ///
    /// # Errors
    /// `Invalid` with what is wrong.
    pub async fn add_passkey(
        &self,
        account: &Account,
        name: &str,
        answer: PasskeyAnswer<'_>,
    ) -> Result<(), StoreError> {
        const NAME: &str = "add passkey";
        let challenge = self.take_challenge(answer.session).await?;
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
            return Err(StoreError::Invalid(format!("call the passkey something: 1 to {NAME_CHARS} characters")));
        }
        if !account.second_factor {
            return Err(StoreError::Invalid(
                "set up the second factor first: its recovery codes let you in without the passkey".to_owned(),
            ));
        }
        if self.passkeys(account.number).await?.len() >= PASSKEYS {
            return Err(StoreError::Invalid(format!(
                "{PASSKEYS} passkeys are enough: remove one that you no longer use"
            )));
        }
        let ceremony = Ceremony { challenge: &challenge, origin: answer.site.0, host: answer.site.1 };
        let passkey = ceremony.made(answer.client, answer.data).map_err(invalid)?;
        let number = i64::from_be_bytes(*convizit_keys::random_bytes::<8>()?) >> 1 & i64::MAX | 1;
        let (hash, owner, now) = (self.passkey_hash(&passkey.id), account.number, self.clock().now().as_millis());
        let counter = i64::from(passkey.counter);
        let Passkey { id, key, may_be_copied, .. } = passkey;
        let about = About { id, key, may_be_copied, name: name.to_owned() };
        let about = serde_json::to_vec(&about).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let about = self.keyring().seal_own(place(&number.to_be_bytes()), &about)?;
        self.change(NAME, self.entry("account.passkey_add", "", "", ""), move |connection| {
            let about = about.clone();
            Box::pin(async move {
                let done = query(
                    "INSERT INTO passkeys (number, account, hash, counter, made, used, about) \
                     VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT (hash) DO NOTHING",
                )
                .bind(number)
                .bind(owner)
                .bind(hash.as_slice())
                .bind(counter)
                .bind(now)
                .bind(about)
                .execute(connection)
                .await
                .during(NAME)?;
                if done.rows_affected() == 1 {
                    Ok(())
                } else {
                    Err(StoreError::Invalid("this passkey is known already".to_owned()))
                }
            })
        })
        .await
    }

    /// Whether an answer was given with a passkey of this account; what is wrong, where not. A refusal goes to the audit log; how
    /// often somebody may try is the caller's to bound.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn use_passkey(
        &self,
        account: &Account,
        answer: PasskeyAnswer<'_>,
    ) -> Result<Result<(), PasskeyProblem>, StoreError> {
        const NAME: &str = "use passkey";
        let challenge = self.take_challenge(answer.session).await?;
        let ceremony = Ceremony { challenge: &challenge, origin: answer.site.0, host: answer.site.1 };
        let known = self.passkeys(account.number).await?;
        let used = match known.iter().find(|known| known.id() == answer.id) {
            Some(known) => ceremony
                .used(&known.passkey, answer.client, answer.data, answer.signature)
                .map(|counter| (known.number, i64::from(known.passkey.counter), i64::from(counter))),
            None => Err(PasskeyProblem::Signature),
        };
        let now = self.clock().now().as_millis();
        let acting = self.acting_as(&account.actor());
        let (entry, refused) =
            (acting.entry("account.passkey", "", "", ""), acting.entry("account.refuse", "", "passkey", ""));
        let ring = self.ring().clone();
        self.control()
            .run_tx(NAME, move |connection| {
                let (entry, refused, ring) = (entry.clone(), refused.clone(), ring.clone());
                Box::pin(async move {
                    let mut result = used.map(|_| ());
                    if let Ok((number, before, counter)) = used {
                        // Of two that come at once, one finds that it was used.
                        let done =
                            query("UPDATE passkeys SET counter = $1, used = $2 WHERE number = $3 AND counter = $4")
                                .bind(counter)
                                .bind(now)
                                .bind(number)
                                .bind(before)
                                .execute(&mut *connection)
                                .await
                                .during(NAME)?;
                        if done.rows_affected() != 1 {
                            result = Err(PasskeyProblem::Copied);
                        }
                    }
                    audit::append(connection, &ring, &[if result.is_ok() { entry } else { refused }]).await?;
                    Ok(result)
                })
            })
            .await
    }

    /// Removes a passkey of an account.
    ///
    /// # Errors
    /// `NotFound` when it has no such one.
    pub async fn remove_passkey(&self, account: i64, number: i64) -> Result<(), StoreError> {
        self.change("remove passkey", self.entry("account.passkey_remove", "", "", ""), move |connection| {
            Box::pin(async move {
                let done = query("DELETE FROM passkeys WHERE account = $1 AND number = $2")
                    .bind(account)
                    .bind(number)
                    .execute(connection)
                    .await
                    .during("remove passkey")?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::not_found("passkey", number));
                }
                Ok(())
            })
        })
        .await
    }
}
