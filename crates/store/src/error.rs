//! What can go wrong in the store, each in one sentence that says what to do.

use crate::missing;
use crate::named_keys::date;

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
    /// A destination may not send events as it is entered: who processes them is not known, or keeps them elsewhere than is allowed.
    #[error("{0}")]
    Barred(String),
    /// The stored data cannot be used by this build, or is damaged.
    #[error("{0}")]
    Unusable(String),
    /// The key of a day was destroyed.
    #[error(
        "the events of project number {project} of {} cannot be opened: their key was destroyed", date(*.day)
    )]
    KeyGone {
        /// The project's number.
        project: i64,
        /// Days since 1970.
        day: i64,
    },
    /// A frame that does not open: damaged, or of a damaged key.
    #[error(
        "events {first} to {last} of {project} cannot be read ({problem}): convizit verify says how they are brought back from a backup"
    )]
    Damaged {
        /// The project as people call it: `project shop`.
        project: String,
        /// Number of the first event.
        first: i64,
        /// Number of the last.
        last: i64,
        /// What is wrong with it.
        problem: String,
    },
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

/// Names the file where an engine's error at the start says that it is damaged.
pub(crate) trait InFile<T> {
    fn in_file(self, name: &str) -> Result<T, StoreError>;
}

impl<T> InFile<T> for Result<T, StoreError> {
    fn in_file(self, name: &str) -> Result<T, StoreError> {
        // SQLite's own words for damage, and what a table says that lost its rows.
        const DAMAGE: [&str; 9] = [
            "malformed",
            "not a database",
            "no rows returned",
            "no such table",
            "no such column",
            "already exists",
            "previously applied but has been modified",
            "occurred while decoding",
            "disk I/O error",
        ];
        self.map_err(|error| match error {
            StoreError::Database { action, problem } if DAMAGE.iter().any(|word| problem.contains(word)) => {
                StoreError::Unusable(format!("{name} is damaged ({action}: {problem}): {}", way_back(name)))
            }
            other => other,
        })
    }
}

/// What brings a damaged database back.
fn way_back(name: &str) -> &'static str {
    if name == missing::CONTROL || name == missing::DATA {
        "end what runs on it, and convizit restore --move-aside brings the newest backup back"
    } else {
        "restore it from a backup"
    }
}

/// Names the file in an engine's error that says, whenever it comes, that a page is damaged.
pub(crate) fn name_damage(error: StoreError, name: &str) -> StoreError {
    match error {
        StoreError::Database { action, problem }
            if ["database disk image is malformed", "file is not a database"]
                .iter()
                .any(|said| problem.contains(said)) =>
        {
            StoreError::Database { action, problem: format!("{name} is damaged ({problem}): {}", way_back(name)) }
        }
        other => other,
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
            // On one line, though SQLite may quote the text of a table.
            let said = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            StoreError::Database { action, problem: format!("{said}{code}") }
        })
    }
}

/// Reads columns of rows that damage may have changed: another type is an error, where the driver's own `get` panics.
pub(crate) trait Columns {
    /// The value of a column, counted from 0.
    fn read<'row, T>(&'row self, index: usize) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'row, sqlx::Any> + sqlx::Type<sqlx::Any>;
}

/// Rows of two columns, as a list or a map.
pub(crate) fn pairs<'row, K, V, C>(rows: &'row [sqlx::any::AnyRow]) -> Result<C, StoreError>
where
    K: sqlx::Decode<'row, sqlx::Any> + sqlx::Type<sqlx::Any>,
    V: sqlx::Decode<'row, sqlx::Any> + sqlx::Type<sqlx::Any>,
    C: FromIterator<(K, V)>,
{
    rows.iter().map(|row| Ok((row.read(0)?, row.read(1)?))).collect()
}

impl Columns for sqlx::any::AnyRow {
    fn read<'row, T>(&'row self, index: usize) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'row, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        sqlx::Row::try_get(self, index).during("read a row")
    }
}
