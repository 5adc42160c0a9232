//! Reading the audit log as a person does: which entries there are, chosen and counted, and which acts are known.

use std::collections::BTreeSet;

use convizit_model::{Project, Timestamp};
use sqlx::{AssertSqlSafe, query};

use super::{AuditEntry, read_entries};
use crate::Store;
use crate::error::{Columns as _, During, StoreError};

const NAME: &str = "read audit log";

/// Every act that is written, in the order of the alphabet: a mistyped one is found by it.
pub const ACTS: &[&str] = &[
    "access.refuse",
    "account.code",
    "account.codes",
    "account.make",
    "account.passkey",
    "account.passkey_add",
    "account.passkey_remove",
    "account.password",
    "account.recovery_code",
    "account.refuse",
    "account.reset",
    "account.second_factor",
    "audit.export",
    "audit.verify",
    "backup.drill",
    "backup.drop",
    "backup.fail",
    "backup.make",
    "backup.restore",
    "backup.take_over",
    "customizer.begin",
    "customizer.open",
    "decision.make",
    "destination.drop",
    "destination.pass_over",
    "destination.pause",
    "destination.processor",
    "destination.remove",
    "destination.replay",
    "destination.resume",
    "destination.retry",
    "destination.save",
    "destination.stop_replay",
    "destination.test",
    "draft.discard",
    "draft.publish",
    "draft.save",
    "erase.all",
    "erase.persons",
    "export.persons",
    "frame.restore",
    "incident.note",
    "incident.open",
    "incident.own",
    "incident.resolve",
    "incident.triage",
    "invitation.accept",
    "invitation.make",
    "invitation.take_back",
    "key.destroy",
    "key.destroy.ask",
    "key.destroy.withdraw",
    "key.refuse",
    "key.rotate",
    "key.unwrap",
    "key.wrap",
    "master.remove",
    "member.owner",
    "member.remove",
    "member.role",
    "notice.set",
    "notices.channels",
    "notices.test",
    "project.create",
    "project.remove",
    "session.begin",
    "session.end",
    "session.end_others",
    "session.half",
    "settings.save",
    "start.accept_gap",
    "token.make",
    "token.remove",
];

/// Which entries are listed; all of them by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// About this project.
    pub project: Option<&'a str>,
    /// Of this act: `project.create`.
    pub act: Option<&'a str>,
    /// By this actor; `os:anna` is also whoever has that name with whatever number.
    pub actor: Option<&'a str>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// With a number below this: to go on behind a page.
    pub below: Option<i64>,
    /// Without the uses of the key provider, `key.wrap` and `key.unwrap`, which are most of all.
    pub acts_only: bool,
}

/// Which entries a filter means: the bound values are those of `Chosen::bind`.
const CHOSEN: &str = "($1 IS NULL OR (project = $1 AND number >= $2) OR (project = '' AND subject LIKE $3)) AND ($4 IS NULL OR act = $4) \
     AND ($5 IS NULL OR actor = $5 OR actor LIKE $10 ESCAPE '\\') AND time >= $6 AND ($7 = 0 OR act NOT IN ('key.wrap', 'key.unwrap')) AND time < $8 AND number < $9";

/// A filter, and what it says of a project that there is or was.
struct Chosen<'a> {
    filter: AuditFilter<'a>,
    /// The entry with which the project was made that has the id now.
    begun: i64,
    /// Uses of a project's keys name it by its number.
    of_number: String,
    /// The actor with whatever number; no actor is `-`.
    with_number: String,
}

type Select<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

impl Chosen<'_> {
    fn bind<'q>(&'q self, select: Select<'q>) -> Select<'q> {
        let filter = &self.filter;
        select
            .bind(filter.project)
            .bind(self.begun)
            .bind(self.of_number.as_str())
            .bind(filter.act)
            .bind(filter.actor)
            .bind(filter.since.map_or(i64::MIN, Timestamp::as_millis))
            .bind(i64::from(filter.acts_only))
            .bind(filter.until.map_or(i64::MAX, Timestamp::as_millis))
            .bind(filter.below.unwrap_or(i64::MAX))
            .bind(self.with_number.as_str())
    }
}

impl Store {
    async fn chosen<'a>(&self, filter: AuditFilter<'a>, projects: &[Project]) -> Result<Chosen<'a>, StoreError> {
        let number = filter
            .project
            .and_then(|id| projects.iter().find(|project| project.id.as_str() == id))
            .map(|project| project.number);
        if let Some(id) = filter.project.filter(|_| number.is_none()) {
            let removed: Option<i64> = sqlx::query_scalar("SELECT number FROM audit WHERE project = $1 LIMIT 1")
                .bind(id)
                .fetch_optional(self.control().readers())
                .await
                .during(NAME)?;
            removed.ok_or_else(|| StoreError::not_found("project", id))?;
        }
        let begun: i64 = match filter.project.filter(|_| number.is_some()) {
            Some(id) => sqlx::query_scalar(
                "SELECT COALESCE(MAX(number), 0) FROM audit WHERE project = $1 AND act = 'project.create'",
            )
            .bind(id)
            .fetch_one(self.control().readers())
            .await
            .during(NAME)?,
            None => 0,
        };
        let of_number = number.map_or_else(|| "-".to_owned(), |number| format!("project/{number}/%"));
        let with_number = filter.actor.filter(|actor| actor.starts_with("os:") && !actor.contains('('));
        // A name of the system may hold what means something in a pattern.
        let literal = |actor: &str| actor.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let with_number = with_number.map_or_else(|| "-".to_owned(), |actor| format!("{}(%", literal(actor)));
        Ok(Chosen { filter, begun, of_number, with_number })
    }

    /// Entries for a person to read, newest first, at most so many: with a project's id in place of its number. Where the id was used
    /// by a project before, which was removed, those of the project that has it now.
    ///
    /// # Errors
    /// `NotFound` for a project that there is not and never was; `Database`.
    pub async fn audit_log(&self, filter: AuditFilter<'_>, limit: i64) -> Result<Vec<AuditEntry>, StoreError> {
        let projects = self.projects().await?;
        let chosen = self.chosen(filter, &projects).await?;
        let sql = format!(
            "SELECT number, time, actor, act, project, subject, detail FROM audit WHERE {CHOSEN} ORDER BY number DESC LIMIT $11"
        );
        // Constants only.
        let rows = chosen
            .bind(query(AssertSqlSafe(sql)))
            .bind(limit)
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?;
        let mut entries = read_entries(&rows)?;
        for entry in entries.iter_mut().filter(|entry| entry.project.is_empty()) {
            let parts: Vec<&str> = entry.subject.split('/').collect();
            let [kind @ ("project" | "root"), number, rest @ ..] = parts.as_slice() else { continue };
            let Ok(number) = number.parse::<i64>() else { continue };
            let id = projects.iter().find(|project| project.number == number).map(|project| project.id.to_string());
            let name = if number == 0 { Some("installation") } else { id.as_deref() };
            let Some(name) = name else { continue };
            entry.subject = [&[*kind, name], rest].concat().join("/");
            entry.project = id.unwrap_or_default();
        }
        Ok(entries)
    }

    /// How many entries a filter means.
    ///
    /// # Errors
    /// As `audit_log`.
    pub async fn audit_count(&self, filter: AuditFilter<'_>) -> Result<i64, StoreError> {
        let chosen = self.chosen(filter, &self.projects().await?).await?;
        let sql = format!("SELECT COUNT(*) FROM audit WHERE {CHOSEN}");
        let row = chosen.bind(query(AssertSqlSafe(sql))).fetch_one(self.control().readers()).await.during(NAME)?;
        row.read(0)
    }

    /// The acts that this program writes, and those that the log has of another one.
    ///
    /// # Errors
    /// `Database`.
    pub async fn audit_acts(&self) -> Result<BTreeSet<String>, StoreError> {
        let written: Vec<String> = sqlx::query_scalar("SELECT DISTINCT act FROM audit")
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?;
        Ok(written.into_iter().chain(ACTS.iter().map(|act| (*act).to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::ACTS;

    /// Words of this form that are no acts: fields, files, templates.
    const OTHERS: [&str; 7] = [
        "audit.mark",
        "backup.lock",
        "backup.state",
        "session.id",
        "session.start",
        "settings.retention_days",
        "settings.secret",
    ];

    /// Texts `word.word` of the sources, without their tests, that begin as an act does.
    fn words(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                words(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("audit/list.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                for word in text.split('"').skip(1) {
                    let is_word =
                        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                    if word.contains('.') && word.split('.').all(is_word) && !word.ends_with(".html") {
                        found.insert(word.to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn every_act_that_is_written_is_known_and_every_known_one_is_written() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(crates).unwrap().flatten() {
            words(&entry.path().join("src"), &mut found);
        }
        let kinds: BTreeSet<&str> = ACTS.iter().filter_map(|act| act.split('.').next()).collect();
        let of_a_kind = |word: &&String| kinds.contains(word.split('.').next().unwrap_or_default());
        let unknown: Vec<&String> = found
            .iter()
            .filter(of_a_kind)
            .filter(|word| !ACTS.contains(&word.as_str()) && !OTHERS.contains(&word.as_str()))
            .collect();
        assert!(unknown.is_empty(), "written, and not in the list: {unknown:?}");
        let unwritten: Vec<&&str> = ACTS.iter().filter(|act| !found.contains(**act)).collect();
        assert!(unwritten.is_empty(), "in the list, and written nowhere: {unwritten:?}");
        assert!(ACTS.is_sorted(), "in the order of the alphabet");
    }
}
