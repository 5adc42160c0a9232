//! Which tables a backup holds, with their columns and the order of their rows, and which it leaves out and why.
//!
//! `verify` compares both lists with the databases, and a test does so on both engines, so that a table that somebody adds is
//! not forgotten.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, query};

use super::pack::Cell;
use crate::database::{Database, Engine};
use crate::error::{Columns as _, During, StoreError};
use crate::frames;
use crate::statement::{insert_rows, pieces};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    MaybeInt,
    Text,
    Bytes,
    MaybeBytes,
}

/// A table of the backup.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Its primary key, by which its rows are ordered.
    pub(super) order: &'static str,
}

use Kind::{Bytes, Int, MaybeBytes, MaybeInt, Text};

/// The frames: by far the most, so they are kept in parts that are read again only when they have changed.
pub(super) const FRAMES: Table = Table {
    name: "frames",
    columns: &[
        ("project", Int),
        ("first", Int),
        ("last", Int),
        ("day", Int),
        ("ledger", Int),
        ("filter", Bytes),
        ("body", Bytes),
    ],
    order: "project, first",
};

/// The other tables of what the worker writes, in the database `data`.
pub(super) const DATA: &[Table] = &[
    Table { name: "worker", columns: &[("id", Int), ("journal_offset", Int), ("journal", Text)], order: "id" },
    Table { name: "progress", columns: &[("project", Int), ("last_number", Int)], order: "project" },
    Table {
        name: "state",
        columns: &[("project", Int), ("kind", Int), ("key", Int), ("expires", MaybeInt), ("body", Bytes)],
        order: "project, kind, key",
    },
    Table {
        name: "damaged_state",
        columns: &[("project", Int), ("kind", Int), ("key", Int), ("expires", Int), ("since", Int), ("body", Bytes)],
        order: "project, kind, key",
    },
    Table {
        name: "counts",
        columns: &[("project", Int), ("name", Int), ("hour", Int), ("events", Int), ("newest", Text)],
        order: "project, name, hour",
    },
    Table {
        name: "rulings",
        columns: &[("project", Int), ("key", Int), ("ruling", Int), ("journal_offset", Int)],
        order: "project, key",
    },
    Table {
        name: "withheld",
        columns: &[("project", Int), ("week", Int), ("field", Text), ("rule", Text), ("side", Text), ("items", Int)],
        order: "project, week, field, rule, side",
    },
    Table {
        name: "outcomes",
        columns: &[("project", Int), ("outcome", Text), ("items", Int)],
        order: "project, outcome",
    },
    Table {
        name: "quarantine",
        columns: &[("project", Int), ("subject", Text), ("day", Int), ("body", Bytes)],
        order: "project, subject",
    },
    Table {
        name: "held",
        columns: &[("project", Int), ("journal_offset", Int), ("place", Int), ("day", Int), ("body", Bytes)],
        order: "project, journal_offset, place",
    },
    Table {
        name: "notices",
        columns: &[
            ("id", Int),
            ("kind", Text),
            ("project", Text),
            ("subject", Text),
            ("text", Bytes),
            ("state", Text),
            ("count", Int),
            ("first", Int),
            ("last", Int),
            ("told", Int),
        ],
        order: "id",
    },
    Table {
        name: "notice_sends",
        columns: &[
            ("notice", Int),
            ("channel", Text),
            ("project", Text),
            ("state", Text),
            ("tries", Int),
            ("at", Int),
            ("reason", Text),
        ],
        order: "notice, channel",
    },
    Table {
        name: "cursors",
        columns: &[("project", Int), ("destination", Text), ("number", Int), ("plan", Text)],
        order: "project, destination",
    },
    Table {
        name: "dead_letters",
        columns: &[
            ("project", Int),
            ("destination", Text),
            ("number", Int),
            ("reason", Text),
            ("time", Int),
            ("attempts", Int),
            ("retry", Int),
            ("sealed", MaybeBytes),
        ],
        order: "project, destination, number",
    },
    Table {
        name: "replays",
        columns: &[
            ("project", Int),
            ("destination", Text),
            ("id", Int),
            ("made", Int),
            ("received_from", Int),
            ("received_to", Int),
            ("first", Int),
            ("last", Int),
            ("done", Int),
            ("sent", Int),
            ("dead", Int),
            ("state", Text),
        ],
        order: "project, destination, id",
    },
];

/// The tables of what people set, in the database `control`.
pub(super) const CONTROL: &[Table] = &[
    Table {
        name: "projects",
        columns: &[
            ("number", Int),
            ("id", Text),
            ("key", Text),
            ("created", Int),
            ("version", Int),
            ("settings", Text),
            ("since", Text),
        ],
        order: "number",
    },
    Table {
        name: "destinations",
        columns: &[("project", Int), ("name", Text), ("body", Bytes), ("secret", MaybeBytes)],
        order: "project, name",
    },
    Table {
        name: "exclusions",
        columns: &[
            ("project", Int),
            ("kind", Text),
            ("entry", Text),
            ("set_by", Text),
            ("set_at", Int),
            ("removed_by", Text),
            ("removed_at", MaybeInt),
        ],
        order: "project, kind, entry",
    },
    Table { name: "control_version", columns: &[("id", Int), ("version", Int)], order: "id" },
    Table { name: "installation", columns: &[("id", Text)], order: "id" },
    Table {
        name: "audit",
        columns: &[
            ("number", Int),
            ("time", Int),
            ("actor", Text),
            ("act", Text),
            ("project", Text),
            ("subject", Text),
            ("detail", Text),
            ("chain", Bytes),
        ],
        order: "number",
    },
    Table { name: "audit_end", columns: &[("id", Int), ("number", Int), ("chain", MaybeBytes)], order: "id" },
    Table {
        name: "accounts",
        columns: &[
            ("number", Int),
            ("email_hash", Bytes),
            ("person", Bytes),
            ("password", Bytes),
            ("totp", MaybeBytes),
            ("totp_step", Int),
            ("master", Int),
            ("excused", Int),
            ("made", Int),
        ],
        order: "number",
    },
    Table { name: "recovery_codes", columns: &[("account", Int), ("hash", Bytes)], order: "account, hash" },
    Table {
        name: "members",
        columns: &[("project", Int), ("account", Int), ("role", Text), ("since", Int)],
        order: "project, account",
    },
    Table {
        name: "incidents",
        columns: &[
            ("id", Int),
            ("kind", Text),
            ("project", Text),
            ("subject", Text),
            ("text", Bytes),
            ("state", Text),
            ("owner", Int),
            ("opened", Int),
            ("acknowledge_by", Int),
            ("resolve_by", Int),
            ("triaged", Int),
            ("resolved", Int),
            ("last", Int),
            ("version", Int),
            ("told", Int),
        ],
        order: "id",
    },
    Table {
        name: "incident_notes",
        columns: &[("incident", Int), ("number", Int), ("time", Int), ("actor", Text), ("act", Text), ("text", Bytes)],
        order: "incident, number",
    },
    Table {
        name: "account_countries",
        columns: &[("account", Int), ("country", Bytes), ("last", Int)],
        order: "account, country",
    },
    Table {
        name: "notice_channels",
        columns: &[("project", Int), ("version", Int), ("body", Bytes)],
        order: "project",
    },
];

/// Wrapped keys, which are in the ledger copy.
pub(super) const KEYS: Table = Table {
    name: "keys",
    columns: &[
        ("project", Int),
        ("kind", Text),
        ("number", Int),
        ("wrapped_by", Text),
        ("made", Int),
        ("seals_from", Int),
        ("wrapped", Bytes),
    ],
    order: "project, kind, number",
};

/// Tokens, which are in the ledger copy: one that was revoked must not come back with an older backup.
pub(super) const TOKENS: Table = Table {
    name: "tokens",
    columns: &[("name", Text), ("project", Int), ("scope", Text), ("hash", Bytes), ("made", Int), ("expires", Int)],
    order: "name",
};

/// The ledger of erasures, which is in the ledger copy.
pub(super) const ERASURES: &[Table] = &[
    Table {
        name: "erasures",
        columns: &[
            ("number", Int),
            ("project", Int),
            ("kind", Text),
            ("person", Bytes),
            ("made", Int),
            ("through", Int),
            ("request", Text),
            ("state", Text),
            ("forgotten", Int),
            ("id", MaybeBytes),
        ],
        order: "number",
    },
    Table {
        name: "erase_messages",
        columns: &[("project", Int), ("destination", Text), ("request", Text), ("state", Text), ("reason", Text)],
        order: "project, destination, request",
    },
];

/// What neither a backup nor the ledger copy holds, and why.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    ("key_requests", "what one of two people asked for is asked again: it holds for a day"),
    ("sessions", "whoever was signed in signs in again"),
    ("signals", "what may be the beginning of an attack is kept for two hours"),
    ("passkeys", "made anew, with the app's code: one that was removed since must not come back"),
    ("challenges", "they hold for five minutes"),
    ("account_tries", "all tries are back within ten minutes"),
    ("invitations", "links of an old day are made anew: what was taken back since must not come back"),
    ("idempotency_keys", "answers are kept for a day, for calls to this installation as it was"),
    ("deliveries", "how an hour went says nothing of the time after a restore"),
    ("delivery_failures", "neither does why a destination could not be reached"),
    ("failing_destinations", "nor since when it could not be"),
    ("drafts", "what nobody has published is drafted anew: the names that it was about may be others then"),
    ("damaged_frames", "upkeep meets them again"),
    ("clock", "a restore may come long after the backup, and that is no jump of the clock"),
    ("totals", "made anew from the counts"),
    ("seen_days", "made anew from the frames, as the tables that it names"),
    ("_sqlx_migrations", "written by the migrations themselves"),
];

/// The records of the journal that the snapshot's worker had not processed.
pub(super) const JOURNAL: &str = "journal";

/// A table of the backup or of the ledger copy by its name.
pub(super) fn table(name: &str) -> Option<&'static Table> {
    static OTHERS: [&Table; 3] = [&FRAMES, &KEYS, &TOKENS];
    let all = DATA.iter().chain(CONTROL).chain(ERASURES).chain(OTHERS);
    all.into_iter().find(|table| table.name == name)
}

/// Tables and columns of the databases that neither a backup nor the copy of keys and erasures holds, though nobody left them out.
pub(super) async fn forgotten(databases: [&Database; 2]) -> Result<Vec<String>, StoreError> {
    let mut forgotten = Vec::new();
    for database in databases {
        let sql = match database.engine {
            Engine::Sqlite => {
                "SELECT tables.name, columns.name FROM sqlite_schema tables JOIN pragma_table_info(tables.name) columns \
                 WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite%' ORDER BY 1, 2"
            }
            Engine::Postgres => {
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = current_schema() ORDER BY 1, 2"
            }
        };
        for row in query(sql).fetch_all(database.readers()).await.during("list tables")? {
            let (name, column): (&str, &str) = (row.read(0)?, row.read(1)?);
            let known = table(name).is_some_and(|table| table.columns.iter().any(|(known, _)| *known == column));
            let seen = name.strip_prefix("seen_").is_some_and(|day| day.bytes().all(|byte| byte.is_ascii_digit()));
            if !known && !seen && !LEFT_OUT.iter().any(|(left_out, _)| *left_out == name) {
                forgotten.push(format!("{name}.{column}"));
            }
        }
    }
    // On PostgreSQL both are one.
    forgotten.sort();
    forgotten.dedup();
    Ok(forgotten)
}

impl Table {
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    /// `SELECT` of all columns; `rest` holds placeholders only.
    pub(super) fn select(&self, engine: Engine, rest: &str) -> String {
        // Of a damaged frame, too: it is in the backup as it is.
        let (filter, body) = frames::as_bytes(engine);
        let selected = |name: &'static str| match name {
            "filter" if self.name == FRAMES.name => filter,
            "body" if self.name == FRAMES.name => body,
            name => name,
        };
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| selected(name)).collect();
        format!("SELECT {} FROM {} {rest}", columns.join(", "), self.name)
    }

    /// A row's cells.
    pub(super) fn cells(&self, row: &AnyRow) -> Result<Vec<Cell>, StoreError> {
        let read = |index: usize, kind: Kind| -> Result<Cell, StoreError> {
            Ok(match kind {
                Int => Cell::Int(row.read(index)?),
                MaybeInt => row.read::<Option<i64>>(index)?.map_or(Cell::Null, Cell::Int),
                Text => Cell::Text(row.read(index)?),
                Bytes => Cell::Bytes(row.read::<Vec<u8>>(index)?.into()),
                MaybeBytes => row.read::<Option<Vec<u8>>>(index)?.map_or(Cell::Null, |bytes| Cell::Bytes(bytes.into())),
            })
        };
        let cells = self.columns.iter().enumerate().map(|(index, (_, kind))| read(index, *kind));
        cells.collect()
    }

    /// Whether a row of a pack can be one of this table.
    pub(super) fn fits(&self, columns: &[String], row: &[Cell]) -> bool {
        columns.len() == row.len()
            && columns.iter().zip(row).all(|(name, cell)| {
                let kind = self.columns.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
                matches!(
                    (kind, cell),
                    (Some(Int | MaybeInt), Cell::Int(_))
                        | (Some(Text), Cell::Text(_))
                        | (Some(Bytes | MaybeBytes), Cell::Bytes(_))
                        | (Some(MaybeInt | MaybeBytes), Cell::Null)
                )
            })
    }

    /// Writes rows that `fits` has looked at.
    pub(super) async fn insert(
        &self,
        connection: &mut AnyConnection,
        engine: Engine,
        columns: &[String],
        rows: &[Vec<Cell>],
    ) -> Result<(), StoreError> {
        let head = format!("INSERT INTO {} ({})", self.name, columns.join(", "));
        for piece in pieces(rows) {
            // Names of columns are those of the lists here; all else is placeholders.
            let sql = insert_rows(engine, &head, columns.len(), piece.len(), "");
            let mut insert = query(AssertSqlSafe(sql));
            for (cell, name) in piece.iter().flat_map(|row| row.iter().zip(columns)) {
                insert = match cell {
                    Cell::Int(number) => insert.bind(*number),
                    Cell::Text(text) => insert.bind(text.as_str()),
                    Cell::Bytes(bytes) => insert.bind(bytes.to_vec()),
                    Cell::Null if self.columns.contains(&(name.as_str(), MaybeBytes)) => insert.bind(None::<Vec<u8>>),
                    Cell::Null => insert.bind(None::<i64>),
                };
            }
            insert.execute(&mut *connection).await.during("restore rows")?;
        }
        Ok(())
    }
}
