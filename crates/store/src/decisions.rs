//! Decisions of people about names, elements and groups: written beside the state that the worker keeps, and met by it with
//! its next stretch.

use convizit_keys::ProjectKeys;
use convizit_model::{Change, Decision, DecisionId, Project, StateKind, StateRow};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::error::{During, StoreError};
use crate::key_ends::same_ledger;
use crate::work::{body_of_state, state_row};

/// Which kind of decision, for the audit log: never the text of a name.
fn what_of(change: &Change) -> String {
    let written = serde_json::to_value(change).unwrap_or_default();
    written.get("change").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// What it is about, for the audit log: ids and switches, never a text.
fn whom_of(change: &Change) -> String {
    let written = serde_json::to_value(change).unwrap_or_default();
    let parts = ["name", "element", "form", "group", "into", "captured", "decision"].into_iter().filter_map(|part| {
        let value = written.get(part)?;
        Some(format!("{part} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    });
    let mut words: Vec<String> = parts.collect();
    if matches!(change, Change::Rename { .. } | Change::RenameGroup { .. }) {
        words.push("renamed".to_owned());
    }
    words.join(", ")
}

/// Numbers decisions and writes them.
async fn write(
    connection: &mut AnyConnection,
    keys: &ProjectKeys,
    project: i64,
    mut decisions: Vec<Decision>,
) -> Result<Vec<Decision>, StoreError> {
    const NAME: &str = "take down decision";
    let last: i64 =
        sqlx::query_scalar("SELECT COALESCE(MAX(key), 0) FROM state WHERE project = $1 AND kind = $2 AND key < $3")
            .bind(project)
            .bind(StateKind::Decision as i64)
            .bind(DecisionId::OWN.cast_signed())
            .fetch_one(&mut *connection)
            .await
            .during(NAME)?;
    for (decision, number) in decisions.iter_mut().zip(last.cast_unsigned() + 1..) {
        decision.id = DecisionId(number);
        let body = serde_json::to_vec(decision).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let row = StateRow { kind: StateKind::Decision, key: number, expires_day: None, body };
        let sealed = keys.seal(decision.made, body_of_state(&state_row(&row)), &row.body)?;
        query("INSERT INTO state (project, kind, key, expires, body) VALUES ($1, $2, $3, NULL, $4)")
            .bind(project)
            .bind(row.kind as i64)
            .bind(row.key.cast_signed())
            .bind(sealed)
            .execute(&mut *connection)
            .await
            .during(NAME)?;
    }
    Ok(decisions)
}

impl Store {
    /// Takes down a person's decision; the worker meets it within two seconds, with the next events of the project.
    /// Whether it can be made is asked before, of the registry.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn decide(&self, project: &Project, by: &str, what: Change) -> Result<Decision, StoreError> {
        let made = self.decide_all(project, by, vec![what]).await?;
        made.into_iter().next().ok_or_else(|| StoreError::not_found("decision", "that was just made"))
    }

    /// As `decide`, of several that are made together or not at all.
    ///
    /// # Errors
    /// As `decide`.
    pub async fn decide_all(
        &self,
        project: &Project,
        by: &str,
        what: Vec<Change>,
    ) -> Result<Vec<Decision>, StoreError> {
        const NAME: &str = "take down decision";
        let entry = |change| self.entry("decision.make", project.id.as_str(), &what_of(change), whom_of(change));
        crate::audit::write(self.control(), self.ring(), what.iter().map(entry).collect()).await?;
        let (number, made) = (project.number, self.clock().now());
        let decision = |what| Decision {
            id: DecisionId(0),
            made,
            by: by.to_owned(),
            what,
            from: None,
            proposed: false,
            evidence: None,
        };
        let decisions: Vec<Decision> = what.into_iter().map(decision).collect();
        let mut tries = 0;
        let written = loop {
            let done = async {
                self.look_for_erasures().await?;
                let known = self.ledger().now().number;
                let (keys, decisions) = (self.keyring().project(number).await?, decisions.clone());
                self.data()
                    .run_tx(NAME, move |connection| {
                        let (keys, decisions) = (keys.clone(), decisions.clone());
                        Box::pin(async move {
                            same_ledger(connection, known).await?;
                            write(connection, &keys, number, decisions).await
                        })
                    })
                    .await
            }
            .await;
            if self.is_over(&done, &mut tries).await? {
                break done?;
            }
        };
        // After the rows are there: whoever sees the new version finds them.
        self.control().run_tx(NAME, |connection| Box::pin(crate::projects::touch(connection))).await?;
        self.refresh().await?;
        Ok(written)
    }

    /// People's decisions of a project after a number.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn decisions_after(&self, project: i64, number: u64) -> Result<Vec<StateRow>, StoreError> {
        let rows = query(
            "SELECT kind, key, expires, body FROM state WHERE project = $1 AND kind = $2 AND key > $3 AND key < $4 ORDER BY key",
        )
        .bind(project)
        .bind(StateKind::Decision as i64)
        .bind(number.cast_signed())
        .bind(DecisionId::OWN.cast_signed())
        .fetch_all(self.data().readers())
        .await
        .during("read decisions")?;
        self.open_states(project, &rows).await
    }
}
