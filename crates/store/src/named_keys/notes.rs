//! What a listed key is for, in words: in use and until when, or what still needs it before it is destroyed.

use convizit_keys::{KEK_DAYS, PROJECT_KEY_DAYS};
use convizit_model::Timestamp;
use convizit_model::time::DAY_MILLIS;
use sqlx::query_scalar;

use super::date;
use crate::Store;
use crate::error::{During, StoreError};
use crate::rotation::AHEAD_DAYS;

/// A number with its noun.
fn counted(count: i64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The day before which what was made then is replaced, for its age.
fn replaced(made: Timestamp, days: i64) -> String {
    date(made.plus_millis((days - AHEAD_DAYS) * DAY_MILLIS).day())
}

pub(super) fn of_wrapping(made: Option<Timestamp>) -> String {
    match made {
        Some(made) => format!("in use; a new one takes its place on {}", replaced(made, KEK_DAYS)),
        None => "in use; how old it is, its provider knows".to_owned(),
    }
}

pub(super) fn of_old_wrapping(wraps: i64, destroys: bool) -> String {
    match (wraps, destroys) {
        (0, true) => "nothing needs it: upkeep destroys it within an hour".to_owned(),
        (0, false) => "nothing needs it: end it at its provider".to_owned(),
        (wraps, _) => format!("only opens {}, which upkeep wraps anew within an hour", counted(wraps, "key")),
    }
}

pub(super) fn of_sealing(made: Timestamp) -> String {
    format!("in use; a new one takes its place on {}", replaced(made, PROJECT_KEY_DAYS))
}

pub(super) fn of_day(day: i64, today: i64, retention: i64) -> String {
    let use_of = if day < today { "only opens" } else { "in use" };
    // Whole UTC days: the last of them is kept.
    format!("{use_of}; destroyed with its events, on {}", date(day + retention + 1))
}

impl Store {
    /// What still needs a version of a project's key that seals no more.
    pub(super) async fn note_of_old(
        &self,
        (project, version): (i64, i64),
        wraps: i64,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        const NAME: &str = "find what needs a key";
        if project == 0 {
            return Ok("only opens what it has sealed; it stays for as long as the installation lives".to_owned());
        }
        let number = u32::try_from(version).unwrap_or(0);
        let head = number.to_be_bytes().to_vec();
        let mut rows = 0;
        for (sql, database) in [
            ("SELECT COUNT(*) FROM state WHERE project = $1 AND substr(body, 1, 4) = $2", self.data()),
            ("SELECT COUNT(*) FROM quarantine WHERE project = $1 AND substr(body, 1, 4) = $2", self.data()),
            (
                "SELECT COUNT(*) FROM erasures WHERE project = $1 AND id IS NOT NULL AND substr(id, 1, 4) = $2",
                self.data(),
            ),
            ("SELECT COUNT(*) FROM destinations WHERE project = $1 AND substr(body, 1, 4) = $2", self.control()),
        ] {
            let count: i64 =
                query_scalar(sql).bind(project).bind(head.clone()).fetch_one(database.readers()).await.during(NAME)?;
            rows += count;
        }
        let mut needs = Vec::new();
        if wraps > 0 {
            needs.push(counted(wraps, "key") + " of days");
        }
        if rows > 0 {
            needs.push(counted(rows, "sealed row"));
        }
        let anew = if needs.is_empty() { "" } else { ", which upkeep seals anew" };
        let needed = needs.join(" and ") + anew;
        let backups = match self.backups_need_until(project, number, now).await? {
            Some(until) if until > now => format!("backups until {}", date(until.day() + 1)),
            Some(_) => "backups that lie there from before".to_owned(),
            None if needed.is_empty() => return Ok("nothing needs it: upkeep destroys it".to_owned()),
            None => String::new(),
        };
        let all: Vec<String> = [needed, backups].into_iter().filter(|need| !need.is_empty()).collect();
        Ok(format!("only opens; needed by {}", all.join("; and by ")))
    }
}
