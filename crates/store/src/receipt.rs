//! The receipt of one erasure, for whoever asked for it.

use convizit_model::Timestamp;
use sqlx::query;

use crate::error::{Columns as _, During, StoreError};
use crate::{Erasure, Store, Told};

impl Store {
    /// One erasure of a project and how far it has come, by its request's id.
    ///
    /// # Errors
    /// `Database`.
    pub async fn erasure(&self, project: i64, request: &str) -> Result<Option<Erasure>, StoreError> {
        const NAME: &str = "find erasure";
        let row = query(
            "SELECT COUNT(*), COALESCE(MIN(made), 0), CAST(COALESCE(SUM(CASE WHEN state = 'open' THEN 1 ELSE 0 END), 0) AS BIGINT), \
             COALESCE(MIN(kind), '') FROM erasures WHERE project = $1 AND request = $2 AND kind IN ('visitor', 'user', 'all')",
        )
        .bind(project)
        .bind(request)
        .fetch_one(self.data().readers())
        .await
        .during(NAME)?;
        let (persons, all): (i64, bool) = (row.read(0)?, row.read::<&str>(3)? == "all");
        if persons == 0 {
            return Ok(None);
        }
        let messages = query(
            "SELECT destination, state, reason FROM erase_messages WHERE project = $1 AND request = $2 ORDER BY destination",
        )
        .bind(project)
        .bind(request)
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        let told = messages
            .iter()
            .map(|row| Ok(Told { destination: row.read(0)?, state: row.read(1)?, reason: row.read(2)? }))
            .collect::<Result<_, StoreError>>()?;
        Ok(Some(Erasure {
            request: request.to_owned(),
            made: Timestamp::from_millis(row.read(1)?),
            persons: if all { 0 } else { persons },
            all,
            open: row.read(2)?,
            held: self.held(project, Some(request)).await?.remove(request).unwrap_or_default(),
            destinations: told,
        }))
    }
}
