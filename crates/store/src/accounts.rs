//! People's accounts: addresses and names sealed, passwords and second factors checked here and nowhere else.

use std::sync::Arc;

use convizit_keys::{
    Place, TotpSecret, check_password, hash_password, normal_recovery_code, recovery_codes, verify_nothing,
    verify_password,
};
use convizit_model::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, query};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::Store;
use crate::audit::{self, Entry};
use crate::database::Job;
use crate::error::{Columns as _, During, StoreError};

/// Passwords that are hashed at once: each takes 19 MiB and a processor.
const HASHES: usize = 2;
static HASHING: Semaphore = Semaphore::const_new(HASHES);
/// Signs of an e-mail address (RFC 5321) and of a name.
const EMAIL_CHARS: usize = 254;
const NAME_CHARS: usize = 100;
const COLUMNS: &str =
    "SELECT number, person, CASE WHEN totp IS NULL THEN 0 ELSE 1 END, master, excused, made FROM accounts";

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Its number, which the audit log names: `account:7`.
    pub number: i64,
    /// E-mail address, as it was typed.
    pub email: String,
    /// What the person is called.
    pub name: String,
    /// Whether it has every right in all projects.
    pub master: bool,
    /// Whether a second factor is set up.
    pub second_factor: bool,
    /// Whether none is asked for: the demo's account.
    pub excused: bool,
    /// When it was made.
    pub made: Timestamp,
}

impl Account {
    /// Who acts, for the audit log.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("account:{}", self.number)
    }
}

/// What is sealed of a person.
#[derive(Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) email: String,
    pub(crate) name: String,
}

/// What a new account is made of.
pub(crate) struct NewAccount {
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password_hash: Zeroizing<String>,
    pub(crate) master: bool,
    pub(crate) excused: bool,
}

pub(crate) fn sealed_of<'a>(purpose: &'static str, row: &'a [u8; 8]) -> Place<'a> {
    Place { table: "accounts", purpose, row }
}

/// An address as it is looked up: capitals do not matter to people, whatever RFC 5321 allows.
pub(crate) fn normal_email(email: &str) -> String {
    email.trim().to_lowercase()
}

pub(crate) fn valid_email(email: &str) -> Result<(), StoreError> {
    let email = email.trim();
    let (local, domain) = email.rsplit_once('@').unwrap_or_default();
    let plain = !email.chars().any(|sign| sign.is_whitespace() || sign.is_control() || "<>\"(),;".contains(sign));
    let fits = !local.is_empty() && !domain.is_empty() && !local.contains('@') && email.chars().count() <= EMAIL_CHARS;
    if plain && fits && !domain.starts_with('.') && !domain.ends_with('.') {
        return Ok(());
    }
    Err(StoreError::Invalid("an e-mail address such as ada@shop.example is needed".to_owned()))
}

pub(crate) fn valid_name(name: &str) -> Result<(), StoreError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
        return Err(StoreError::Invalid(format!("a name of 1 to {NAME_CHARS} characters is needed")));
    }
    Ok(())
}

/// Runs what hashes a password apart from the async threads, a few at once.
pub(crate) async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let failed = |_| StoreError::Unusable("a password could not be hashed: its thread ended".to_owned());
    // Never closed.
    let _permit = HASHING.acquire().await.ok();
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// Checks and hashes a new password.
pub(crate) async fn new_password(password: &str, email: &str, name: &str) -> Result<Zeroizing<String>, StoreError> {
    let password = Zeroizing::new(password.to_owned());
    let context = [email.to_owned(), name.to_owned(), "convizit".to_owned()];
    hashing(move || {
        let context: Vec<&str> = context.iter().map(String::as_str).collect();
        check_password(&password, &context).map_err(|problem| StoreError::Invalid(problem.to_string()))?;
        Ok(Zeroizing::new(hash_password(&password)?))
    })
    .await?
}

impl Store {
    pub(crate) fn email_hash(&self, email: &str) -> [u8; 32] {
        self.ring().mac("account", normal_email(email).as_bytes())
    }

    fn recovery_hash(&self, account: i64, code: &str) -> [u8; 32] {
        let text = [account.to_string(), normal_recovery_code(code)].join(" ");
        self.ring().mac("recovery", text.as_bytes())
    }

    /// Writes a new account inside a transaction; returns its number.
    pub(crate) async fn insert_account(
        &self,
        connection: &mut AnyConnection,
        new: &NewAccount,
    ) -> Result<i64, StoreError> {
        const NAME: &str = "make account";
        let number: i64 =
            // Never used again, as those of projects: the audit log names them.
            sqlx::query_scalar(
                "INSERT INTO control_version (id, version) VALUES (3, 1) \
                 ON CONFLICT (id) DO UPDATE SET version = control_version.version + 1 RETURNING version",
            )
                .fetch_one(&mut *connection)
                .await
                .during(NAME)?;
        let (now, keys, row) = (self.clock().now(), self.ring().own(), number.to_be_bytes());
        let person = Person { email: new.email.trim().to_owned(), name: new.name.trim().to_owned() };
        let person = serde_json::to_vec(&person).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let done = query(
            "INSERT INTO accounts (number, email_hash, person, password, totp, totp_step, master, excused, made) \
             VALUES ($1, $2, $3, $4, NULL, 0, $5, $6, $7)",
        )
        .bind(number)
        .bind(self.email_hash(&new.email).as_slice())
        .bind(keys.seal(now, sealed_of("person", &row), &person)?)
        .bind(keys.seal(now, sealed_of("password", &row), new.password_hash.as_bytes())?)
        .bind(i64::from(new.master))
        .bind(i64::from(new.excused))
        .bind(now.as_millis())
        .execute(&mut *connection)
        .await;
        match done {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::Invalid(
                "there is an account with this address already: sign in to it, then open the link again".to_owned(),
            )),
            other => other.during(NAME).map(|_| number),
        }
    }

    async fn account_of(&self, row: &AnyRow) -> Result<Account, StoreError> {
        let number: i64 = row.read(0)?;
        let sealed: Vec<u8> = row.read(1)?;
        let body = self.keyring().open_sealed(0, sealed_of("person", &number.to_be_bytes()), &sealed).await?;
        let person: Person = serde_json::from_slice(&body).map_err(|_| {
            StoreError::Unusable(format!("account {number} is of a newer convizit: start that version"))
        })?;
        Ok(Account {
            number,
            email: person.email,
            name: person.name,
            second_factor: row.read::<i64>(2)? == 1,
            master: row.read::<i64>(3)? == 1,
            excused: row.read::<i64>(4)? == 1,
            made: Timestamp::from_millis(row.read(5)?),
        })
    }

    /// One account.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn account(&self, number: i64) -> Result<Account, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE number = $1")))
            .bind(number)
            .fetch_optional(self.control().readers())
            .await
            .during("read account")?;
        self.account_of(&row.ok_or_else(|| StoreError::not_found("account", number))?).await
    }

    /// The account of an address.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE email_hash = $1")))
            .bind(self.email_hash(email).as_slice())
            .fetch_optional(self.control().readers())
            .await
            .during("find account")?;
        match row {
            Some(row) => Ok(Some(self.account_of(&row).await?)),
            None => Ok(None),
        }
    }

    /// All accounts, the oldest first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!("{COLUMNS} ORDER BY number")))
            .fetch_all(self.control().readers())
            .await
            .during("list accounts")?;
        let mut accounts = Vec::with_capacity(rows.len());
        for row in &rows {
            accounts.push(self.account_of(row).await?);
        }
        Ok(accounts)
    }

    /// Whether there is a Master Admin.
    ///
    /// # Errors
    /// `Database`.
    pub async fn has_master_admin(&self) -> Result<bool, StoreError> {
        let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM accounts WHERE master = 1")
            .fetch_one(self.control().readers())
            .await
            .during("look for a Master Admin")?;
        Ok(found > 0)
    }

    /// The account of this address and password. Takes as long where there is none, and a refusal of one that there is goes to the
    /// audit log; how often somebody may try is the caller's to bound.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn account_of_password(&self, email: &str, password: &str) -> Result<Option<Account>, StoreError> {
        let Some(account) = self.account_by_email(email).await? else {
            let password = Zeroizing::new(password.to_owned());
            hashing(move || verify_nothing(&password)).await?;
            return Ok(None);
        };
        Ok(self.is_password(&account, password).await?.then_some(account))
    }

    /// Whether this is the account's password; a refusal goes to the audit log.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn is_password(&self, account: &Account, password: &str) -> Result<bool, StoreError> {
        let sealed: Vec<u8> = sqlx::query_scalar("SELECT password FROM accounts WHERE number = $1")
            .bind(account.number)
            .fetch_optional(self.control().readers())
            .await
            .during("read password")?
            .ok_or_else(|| StoreError::not_found("account", account.number))?;
        let row = account.number.to_be_bytes();
        let hash = Zeroizing::new(self.keyring().open_sealed(0, sealed_of("password", &row), &sealed).await?);
        let password = Zeroizing::new(password.to_owned());
        let right =
            hashing(move || std::str::from_utf8(&hash).is_ok_and(|hash| verify_password(&password, hash))).await?;
        if !right {
            // Beside the answer: how long it takes must not tell that there is such an account.
            let store = self.acting_as(&account.actor());
            tokio::spawn(async move {
                if let Err(error) = store.audit("account.refuse", "", "password", "").await {
                    tracing::warn!(%error, "a refused password was not written down");
                }
            });
        }
        Ok(right)
    }

    /// Gives an account another password, and ends its other sessions.
    ///
    /// # Errors
    /// `Invalid` with what to change about the password.
    pub async fn set_password(&self, account: &Account, password: &str, keep: i64) -> Result<(), StoreError> {
        let hash = new_password(password, &account.email, &account.name).await?;
        let (number, row) = (account.number, account.number.to_be_bytes());
        let sealed = self.keyring().seal_own(sealed_of("password", &row), hash.as_bytes())?;
        self.change("set password", self.entry("account.password", "", "", ""), move |connection| {
            let sealed = sealed.clone();
            Box::pin(async move {
                query("UPDATE accounts SET password = $1 WHERE number = $2")
                    .bind(sealed)
                    .bind(number)
                    .execute(&mut *connection)
                    .await
                    .during("set password")?;
                query("DELETE FROM sessions WHERE account = $1 AND number <> $2")
                    .bind(number)
                    .bind(keep)
                    .execute(&mut *connection)
                    .await
                    .during("set password")
                    .map(|_| ())
            })
        })
        .await
    }

    /// Sets up the second factor, once a code shows that the phone has its secret; returns new recovery codes. The code counts as
    /// used, and all sessions of the account but `keep` end: none of them has given this factor. 0 keeps none.
    ///
    /// # Errors
    /// `Invalid` when it is not the secret's code of now.
    pub async fn set_second_factor(
        &self,
        account: &Account,
        secret: &TotpSecret,
        code: &str,
        keep: i64,
    ) -> Result<Vec<String>, StoreError> {
        let step = secret.step(code, self.clock().now(), 0).ok_or_else(|| {
            let text = "this is not the code of now: wait for the next one, and see that the phone's clock is right";
            StoreError::Invalid(text.to_owned())
        })?;
        let (number, row) = (account.number, account.number.to_be_bytes());
        let sealed = self.keyring().seal_own(sealed_of("totp", &row), secret.bytes())?;
        let codes = recovery_codes()?;
        let hashes: Vec<[u8; 32]> = codes.iter().map(|code| self.recovery_hash(number, code)).collect();
        let hashes = Arc::new(hashes);
        self.change("set second factor", self.entry("account.second_factor", "", "", ""), move |connection| {
            let (sealed, hashes) = (sealed.clone(), hashes.clone());
            Box::pin(async move {
                query("UPDATE accounts SET totp = $1, totp_step = $2 WHERE number = $3")
                    .bind(sealed)
                    .bind(step)
                    .bind(number)
                    .execute(&mut *connection)
                    .await
                    .during("set second factor")?;
                query("DELETE FROM sessions WHERE account = $1 AND number <> $2")
                    .bind(number)
                    .bind(keep)
                    .execute(&mut *connection)
                    .await
                    .during("set second factor")?;
                replace_codes(connection, number, &hashes).await
            })
        })
        .await?;
        Ok(codes)
    }

    /// Makes new recovery codes; the old ones end.
    ///
    /// # Errors
    /// `Database`.
    pub async fn new_recovery_codes(&self, account: &Account) -> Result<Vec<String>, StoreError> {
        let number = account.number;
        let codes = recovery_codes()?;
        let hashes: Vec<[u8; 32]> = codes.iter().map(|code| self.recovery_hash(number, code)).collect();
        let hashes = Arc::new(hashes);
        self.change("make recovery codes", self.entry("account.codes", "", "", ""), move |connection| {
            let hashes = hashes.clone();
            Box::pin(async move { replace_codes(connection, number, &hashes).await })
        })
        .await?;
        Ok(codes)
    }

    /// How many recovery codes are left.
    ///
    /// # Errors
    /// `Database`.
    pub async fn recovery_codes_left(&self, account: i64) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT COUNT(*) FROM recovery_codes WHERE account = $1")
            .bind(account)
            .fetch_one(self.control().readers())
            .await
            .during("count recovery codes")
    }

    /// Whether this is a code of the second factor, or a recovery code: it is used up by that. A refusal goes to the audit log; how
    /// often somebody may try is the caller's to bound.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn use_code(&self, account: &Account, typed: &str) -> Result<bool, StoreError> {
        const NAME: &str = "use code";
        let number = account.number;
        let row = query("SELECT totp, totp_step FROM accounts WHERE number = $1")
            .bind(number)
            .fetch_optional(self.control().readers())
            .await
            .during(NAME)?
            .ok_or_else(|| StoreError::not_found("account", number))?;
        let (sealed, used): (Option<Vec<u8>>, i64) = (row.read(0)?, row.read(1)?);
        let mut step = None;
        if let Some(sealed) = sealed {
            let place = number.to_be_bytes();
            let secret = Zeroizing::new(self.keyring().open_sealed(0, sealed_of("totp", &place), &sealed).await?);
            step = TotpSecret::of(&secret).and_then(|secret| secret.step(typed, self.clock().now(), used));
        }
        let hash = self.recovery_hash(number, typed);
        let act = if step.is_some() { "account.code" } else { "account.recovery_code" };
        let acting = self.acting_as(&account.actor());
        let (entry, refused) = (acting.entry(act, "", "", ""), acting.entry("account.refuse", "", "code", ""));
        let ring = self.ring().clone();
        self.control()
            .run_tx(NAME, move |connection| {
                let (entry, refused, ring) = (entry.clone(), refused.clone(), ring.clone());
                Box::pin(async move {
                    // Of two that come with the same code at once, one finds it used.
                    let done = match step {
                        Some(step) => {
                            query("UPDATE accounts SET totp_step = $1 WHERE number = $2 AND totp_step < $1")
                                .bind(step)
                                .bind(number)
                                .execute(&mut *connection)
                                .await
                        }
                        None => {
                            query("DELETE FROM recovery_codes WHERE account = $1 AND hash = $2")
                                .bind(number)
                                .bind(hash.as_slice())
                                .execute(&mut *connection)
                                .await
                        }
                    };
                    let right = done.during(NAME)?.rows_affected() == 1;
                    audit::append(connection, &ring, &[if right { entry } else { refused }]).await?;
                    Ok(right)
                })
            })
            .await
    }

    /// Makes a change of the control database and its audit entry in one transaction.
    pub(crate) async fn change<T, F>(&self, name: &'static str, entry: Entry, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut AnyConnection) -> Job<'c, T> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        self.change_saying(name, move |connection| {
            let (entry, work) = (entry.clone(), work.clone());
            Box::pin(async move { Ok((work(connection).await?, entry)) })
        })
        .await
    }

    /// The same of a change that knows only once it is done what is to be written down of it.
    pub(crate) async fn change_saying<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut AnyConnection) -> Job<'c, (T, Entry)> + Send + Sync + 'static,
    {
        let (ring, work) = (self.ring().clone(), Arc::new(work));
        self.control()
            .run_tx(name, move |connection| {
                let (ring, work) = (ring.clone(), work.clone());
                Box::pin(async move {
                    let (done, entry) = work(&mut *connection).await?;
                    audit::append(connection, &ring, &[entry]).await?;
                    Ok(done)
                })
            })
            .await
    }
}

async fn replace_codes(connection: &mut AnyConnection, account: i64, hashes: &[[u8; 32]]) -> Result<(), StoreError> {
    const NAME: &str = "replace recovery codes";
    query("DELETE FROM recovery_codes WHERE account = $1")
        .bind(account)
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    for hash in hashes {
        query("INSERT INTO recovery_codes (account, hash) VALUES ($1, $2)")
            .bind(account)
            .bind(hash.as_slice())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
    }
    Ok(())
}
