//! What can go wrong in the store, each in one sentence that says what to do.

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the database failed; nothing was written.
    #[error("{action}: {problem}")]
    Database {
        /// The transaction's name.
        action: &'static str,
        /// What the engine said.
        problem: String,
    },
    /// There is no room: the collector answers 503.
    #[error("{0}")]
    Full(String),
    /// A thing that does not exist.
    #[error("there is no {what} {name}")]
    NotFound {
        /// `project`, `destination`, `notice`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// What a person asked for is not possible as it stands.
    #[error("{0}")]
    Invalid(String),
    /// The stored data cannot be used by this build, or is damaged.
    #[error("{0}")]
    Unusable(String),
    /// Another worker has moved the offset, or another reader the cursor.
    #[error("{what} stands elsewhere than expected: somebody else has moved it")]
    Moved {
        /// Which cursor.
        what: String,
    },
    /// Keys.
    #[error(transparent)]
    Keys(#[from] convizit_keys::KeyError),
}

impl StoreError {
    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }
}

/// Gives an engine's error the name of what was being done.
pub(crate) trait During<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, action: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| {
            let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            StoreError::Database { action, problem: format!("{error}{code}") }
        })
    }
}
