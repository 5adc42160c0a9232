//! Samples: the newest events of a name. Their numbers stand beside the counts of each hour, the events in their frames.

use sqlx::query;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};

/// Samples of a name that are kept.
const SAMPLES: usize = 20;
/// Two samples whose numbers differ by less are read in one go.
const NEAR: i64 = 100;
/// Digits of a number: enough for 2^48 events of a project.
const DIGITS: usize = 12;
/// Adds to a row of counts what came since; `240` is `SAMPLES * DIGITS`.
pub(crate) const ADD: &str = "ON CONFLICT (project, name, hour) DO UPDATE SET events = counts.events + excluded.events, \
     newest = substr(excluded.newest || counts.newest, 1, 240)";

/// Numbers of the newest events of a name and hour, newest first, as `counts` keeps them.
pub(crate) struct Newest(String);

impl Newest {
    /// Of these numbers, the last of which is the newest.
    pub(crate) fn of(numbers: &[i64]) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(numbers.len().min(SAMPLES) * DIGITS);
        for number in numbers.iter().rev().take(SAMPLES) {
            // Writing into a text cannot fail.
            let _ = write!(text, "{number:012x}");
        }
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn numbers(text: &str) -> impl Iterator<Item = i64> {
        text.as_bytes()
            .chunks(DIGITS)
            .filter_map(|digits| i64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
    }
}

/// The number that stands first in such a list.
pub(crate) fn first_number(text: &str) -> Option<i64> {
    Newest::numbers(text).next()
}

impl Store {
    /// The newest samples of a name, newest first, at most 20.
    ///
    /// # Errors
    /// `Database`, `Keys`, and `Unusable` for an event that this build cannot read.
    pub async fn samples(&self, project: i64, name: u64) -> Result<Vec<convizit_model::Event>, StoreError> {
        // Every hour has one at least.
        let rows = query("SELECT newest FROM counts WHERE project = $1 AND name = $2 ORDER BY hour DESC LIMIT 20")
            .bind(project)
            .bind(name.cast_signed())
            .fetch_all(self.data().readers())
            .await
            .during("read samples")?;
        let mut numbers: Vec<i64> = Vec::new();
        for row in &rows {
            numbers.extend(Newest::numbers(row.read(0)?));
        }
        numbers.truncate(SAMPLES);
        numbers.sort_unstable();
        let mut samples = Vec::with_capacity(numbers.len());
        // What is near each other is in the same frames, which are opened once.
        for near in numbers.chunk_by(|before, after| after - before < NEAR) {
            let (Some(first), Some(last)) = (near.first(), near.last()) else { continue };
            let mut after = first - 1;
            while after < *last {
                let limit = usize::try_from(last - after).unwrap_or(1);
                let events = self.events_after(project, after, limit, usize::MAX).await?;
                // An erased event has a number and no frame that holds it.
                let Some(end) = events.last() else { break };
                after = end.number;
                for event in events.iter().filter(|event| near.binary_search(&event.number).is_ok()) {
                    let parsed = serde_json::from_slice(&event.json).map_err(|_| {
                        StoreError::Unusable(format!(
                            "event {} of project number {project} is not of this version's form",
                            event.number
                        ))
                    })?;
                    samples.push(parsed);
                }
            }
        }
        samples.reverse();
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_twenty_come_first() {
        let newest = Newest::of(&(1..=100).collect::<Vec<_>>());
        assert_eq!(Newest::numbers(newest.as_str()).collect::<Vec<_>>(), (81..=100).rev().collect::<Vec<_>>());
        assert_eq!(newest.as_str().len(), SAMPLES * DIGITS);
        assert!(ADD.ends_with(&format!("1, {})", SAMPLES * DIGITS)));
        assert_eq!(Newest::of(&[(1 << 48) - 1]).as_str().len(), DIGITS);
    }
}
