//! Tokens of the site's own systems: made once, shown once, kept as a keyed hash.

use convizit_model::time::DAY_MILLIS;
use convizit_model::{Project, Timestamp};
use serde::Serialize;
use sqlx::query;

use crate::Store;
use crate::audit;
use crate::error::{Columns as _, During, StoreError};

/// Days for which a token lives at most.
pub(crate) const TOKEN_DAYS: i64 = 366;

/// What a token allows. A token has one of them or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Seeing its project: names, counts, states, settings, members without their addresses.
    Read,
    /// Seeing what visitors were shown and did: example values and single events.
    Samples,
    /// What changes names and what is captured: renaming, merging, excluding, publishing drafts, undoing; and marking notices.
    Capture,
    /// Changing the project's settings, and to whom its notices go.
    Settings,
    /// Adding, changing and removing destinations, and sending again.
    Destinations,
    /// Inviting, changing and removing members up to Admin.
    Members,
    /// Erasing persons of its project.
    Erase,
    /// Exporting persons of its project.
    Export,
    /// Reading who did what.
    Audit,
    /// Seeing the project's incidents, and seeing to them.
    Incidents,
    /// Being one of the two who destroy a living key; of the installation, and beside no other.
    Keys,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Samples,
        Self::Capture,
        Self::Settings,
        Self::Destinations,
        Self::Members,
        Self::Erase,
        Self::Export,
        Self::Audit,
        Self::Incidents,
        Self::Keys,
    ];

    /// The scope as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Samples => "samples",
            Self::Capture => "capture",
            Self::Settings => "settings",
            Self::Destinations => "destinations",
            Self::Members => "members",
            Self::Erase => "erase",
            Self::Export => "export",
            Self::Audit => "audit",
            Self::Incidents => "incidents",
            Self::Keys => "keys",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its name, unique in the installation.
    pub name: String,
    /// The project's number; 0 for the installation.
    #[serde(skip)]
    pub number: i64,
    /// The project's id; empty for the installation.
    pub project: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

impl Token {
    /// Whether it has a scope.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Who acts, for the audit log.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("token:{}", self.name)
    }
}

/// As the column `scope` has them: words with spaces between. A token of an earlier program has one.
fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}

impl Store {
    /// Makes a token that lives for so many days; its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// `Invalid` for a name that is taken or malformed, for more than 366 days, for no scope, or for scopes that do not go together.
    pub async fn make_token(
        &self,
        project: Option<&Project>,
        scopes: &[Scope],
        name: &str,
        days: i64,
    ) -> Result<String, StoreError> {
        const NAME: &str = "make token";
        let named = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !named || name.is_empty() || name.len() > 64 {
            return Err(StoreError::Invalid("a token's name has 1 to 64 of a-z, 0-9 and -".to_owned()));
        }
        if !(1..=TOKEN_DAYS).contains(&days) {
            return Err(StoreError::Invalid(format!("a token lives 1 to {TOKEN_DAYS} days")));
        }
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let kind = match scopes.as_slice() {
            [] => return Err(StoreError::Invalid("a token has one scope at least".to_owned())),
            [one] => one.as_str(),
            _ => "project",
        };
        let of_keys = scopes.contains(&Scope::Keys);
        if of_keys != project.is_none() || (of_keys && scopes.len() > 1) {
            let text = "a token of scope keys is of the installation and has no other, every other is of a project";
            return Err(StoreError::Invalid(text.to_owned()));
        }
        let scopes = words(&scopes);
        let secret = format!("cz_{kind}_{}", convizit_keys::random_text(30)?);
        let hash = self.token_hash(&secret);
        let (number, id) = project.map_or((0, ""), |project| (project.number, project.id.as_str()));
        let now = self.clock().now();
        let expires = now.plus_millis(days * DAY_MILLIS);
        let entry = self.entry("token.make", id, name, scopes.as_str());
        let (name, ring) = (name.to_owned(), self.ring().clone());
        self.control()
            .run_tx(NAME, move |connection| {
                let (name, scopes, entry, ring) = (name.clone(), scopes.clone(), entry.clone(), ring.clone());
                Box::pin(async move {
                    let done = query("INSERT INTO tokens (name, project, scope, hash, made, expires) VALUES ($1, $2, $3, $4, $5, $6)")
                        .bind(name.as_str())
                        .bind(number)
                        .bind(scopes.as_str())
                        .bind(hash.as_slice())
                        .bind(now.as_millis())
                        .bind(expires.as_millis())
                        .execute(&mut *connection)
                        .await;
                    match done {
                        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                            return Err(StoreError::Invalid(format!("there is a token {name} already: choose another name")));
                        }
                        other => other.during(NAME)?,
                    };
                    audit::append(connection, &ring, &[entry]).await
                })
            })
            .await?;
        self.copy_ledger_soon().await;
        Ok(secret)
    }

    fn token_hash(&self, secret: &str) -> [u8; 32] {
        self.ring().mac("token", secret.as_bytes())
    }

    /// The token of a secret, while it lives.
    ///
    /// # Errors
    /// `Database`.
    pub async fn token(&self, secret: &str) -> Result<Option<Token>, StoreError> {
        let found = query("SELECT name, project, scope, made, expires FROM tokens WHERE hash = $1 AND expires > $2")
            .bind(self.token_hash(secret).as_slice())
            .bind(self.clock().now().as_millis())
            .fetch_optional(self.control().readers())
            .await
            .during("find token")?;
        let Some(row) = found else { return Ok(None) };
        Ok(self.tokens_of(&[row]).await?.pop())
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// `Database`.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let rows = query("SELECT name, project, scope, made, expires FROM tokens ORDER BY name")
            .fetch_all(self.control().readers())
            .await
            .during("list tokens")?;
        self.tokens_of(&rows).await
    }

    async fn tokens_of(&self, rows: &[sqlx::any::AnyRow]) -> Result<Vec<Token>, StoreError> {
        let projects = self.projects().await?;
        let mut tokens = Vec::with_capacity(rows.len());
        for row in rows {
            let number: i64 = row.read(1)?;
            let project = projects.iter().find(|project| project.number == number);
            // A scope that a later program gave allows nothing here.
            let scopes: Vec<Scope> = row.read::<&str>(2)?.split(' ').filter_map(Scope::of).collect();
            // Of a project that is gone a token allows nothing.
            if scopes.is_empty() || (number != 0 && project.is_none()) {
                continue;
            }
            tokens.push(Token {
                name: row.read(0)?,
                number,
                project: project.map(|project| project.id.to_string()).unwrap_or_default(),
                scopes,
                made: Timestamp::from_millis(row.read(3)?),
                expires: Timestamp::from_millis(row.read(4)?),
            });
        }
        Ok(tokens)
    }

    /// Ends a token. What it asked for is asked for no more: returns the keys that it asked to be destroyed, within the last day.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_token(&self, name: &str) -> Result<Vec<String>, StoreError> {
        const NAME: &str = "remove token";
        let since = self.clock().now().plus_millis(-DAY_MILLIS).as_millis();
        let (store, name) = (self.clone(), name.to_owned());
        let withdrawn = self
            .control()
            .run_tx(NAME, move |connection| {
                let (store, name) = (store.clone(), name.clone());
                Box::pin(async move {
                    let mut entries = vec![store.entry("token.remove", "", &name, "")];
                    let done = query("DELETE FROM tokens WHERE name = $1")
                        .bind(name.as_str())
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    if done.rows_affected() == 0 {
                        return Err(StoreError::not_found("token", &name));
                    }
                    let rows = query("SELECT key, made FROM key_requests WHERE asked_by = $1 ORDER BY key")
                        .bind(name.as_str())
                        .fetch_all(&mut *connection)
                        .await
                        .during(NAME)?;
                    let mut withdrawn = Vec::new();
                    for row in &rows {
                        let key: String = row.read(0)?;
                        // One that is older is over already.
                        if row.read::<i64>(1)? > since {
                            let project = key.split('/').nth(1).unwrap_or_default();
                            let detail = format!("asked by {name}, whose token was removed");
                            entries.push(store.entry("key.destroy.withdraw", project, &key, detail));
                            withdrawn.push(key);
                        }
                    }
                    query("DELETE FROM key_requests WHERE asked_by = $1")
                        .bind(name.as_str())
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    audit::append(connection, store.ring(), &entries).await?;
                    Ok(withdrawn)
                })
            })
            .await?;
        // No restore brings it back.
        self.copy_ledger_soon().await;
        Ok(withdrawn)
    }
}
