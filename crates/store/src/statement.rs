//! Statements for many rows: their placeholders, and pieces of a few sizes so that plans are used again.

use crate::database::Engine;

/// Rows in pieces of a few fixed sizes, so that each statement's text, and with it its plan, is used again.
pub(crate) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = [400, 100, 30, 10, 3, 1].into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

/// Placeholders in the order of their binding: `$1, $2` or, on SQLite, `?, ?`. Those have no name there: to find a named
/// one, each binding walks through all names, which took a tenth of the worker's time with 500 of them.
struct Marks {
    engine: Engine,
    next: usize,
}

impl Marks {
    fn push(&mut self, sql: &mut String, count: usize) {
        for index in 0..count {
            if index > 0 {
                sql.push_str(", ");
            }
            match self.engine {
                Engine::Sqlite => sql.push('?'),
                Engine::Postgres => {
                    sql.push('$');
                    sql.push_str(&self.next.to_string());
                }
            }
            self.next += 1;
        }
    }
}

/// So many placeholders, from the first on.
pub(crate) fn marks(engine: Engine, count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    Marks { engine, next: 1 }.push(&mut text, count);
    text
}

/// `head VALUES ($1, $2), ($3, $4) tail` for so many rows and columns; head and tail have no placeholders.
pub(crate) fn insert_rows(engine: Engine, head: &str, columns: usize, rows: usize, tail: &str) -> String {
    let mut sql = format!("{head} VALUES ");
    let mut marks = Marks { engine, next: 1 };
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        marks.push(&mut sql, columns);
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(tail);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_those_of_the_engine() {
        let sql = |engine| insert_rows(engine, "INSERT INTO t (a, b)", 2, 2, "ON CONFLICT DO NOTHING");
        assert_eq!(sql(Engine::Sqlite), "INSERT INTO t (a, b) VALUES (?, ?), (?, ?) ON CONFLICT DO NOTHING");
        assert_eq!(sql(Engine::Postgres), "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING");
        assert_eq!(marks(Engine::Postgres, 3), "$1, $2, $3");
    }

    #[test]
    fn pieces_are_all_rows_in_their_order() {
        let rows: Vec<usize> = (0..547).collect();
        assert_eq!(pieces(&rows).map(<[usize]>::len).collect::<Vec<_>>(), [400, 100, 30, 10, 3, 3, 1]);
        assert_eq!(pieces(&rows).flatten().copied().collect::<Vec<_>>(), rows);
    }
}
