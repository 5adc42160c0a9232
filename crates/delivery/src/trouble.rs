//! What a destination's failures come to: counted, written down, told after a while, and taken back once it takes something again.

use std::sync::atomic::Ordering;

use convizit_model::NoticeKind;

use crate::destinations::SendError;
use crate::route::{Route, Stop};

/// After so many milliseconds in which it did not get on a person is told.
const TOLD_AFTER: i64 = 15 * 60_000;

impl Route {
    /// Has a person look at the dead letters, of which the destination did this.
    pub(crate) async fn say_dead(&self, did: &str) -> Result<(), Stop> {
        let (project, name) = (&self.destination.project, self.destination.name.as_str());
        let text = format!(
            "destination {name} {did}; `convizit destination dead {project} {name}` lists them and why, \
             `convizit destination retry {project} {name} --all` sends them again"
        );
        self.store.raise(NoticeKind::DeadLetters, Some(project), name, &text).await?;
        Ok(())
    }

    /// Counts a failure and writes it down for people.
    pub(crate) async fn note_failure(&self, failure: &SendError) -> Result<(), Stop> {
        let (project, name) = (&self.destination.project, self.destination.name.as_str());
        let labels = [("project", project.to_string()), ("destination", name.to_owned())];
        metrics::counter!("convizit_delivery_failures_total", &labels).increment(1);
        if matches!(failure, SendError::Ended) {
            return Ok(());
        }
        let number = self.store.project(project).await?.number;
        self.troubled.store(true, Ordering::Relaxed);
        let failing = self.store.delivery_failed(number, name, &failure.to_string()).await?;
        // What is paused has a notice of its own.
        let is_long = self.store.clock().now().since(failing.since) >= TOLD_AFTER;
        if is_long && !matches!(failure, SendError::Pause(_)) {
            let text = format!(
                "destination {name} has not got on since {} and failed {} times: {failure}. Its events wait; it is tried again by \
                 itself, and `convizit destination list {project}` shows how it stands",
                failing.since, failing.times
            );
            self.store.raise(NoticeKind::DestinationFailing, Some(project), name, &text).await?;
        }
        Ok(())
    }

    /// It took something: it counts as failing no more, unless something else is held up still.
    pub(crate) async fn went_well(&self) -> Result<(), Stop> {
        if !self.held_up && self.troubled.load(Ordering::Relaxed) {
            self.store.delivery_recovered(&self.destination.project, &self.destination.name).await?;
            self.troubled.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A pause is written down; anything else waits.
    pub(crate) async fn failed(&self, failure: SendError) -> Result<Stop, Stop> {
        let (project, name) = (&self.destination.project, self.destination.name.as_str());
        self.note_failure(&failure).await?;
        match failure {
            SendError::Pause(reason) => {
                tracing::warn!(%project, destination = name, reason = briefly(&reason), "destination paused");
                self.store.pause_destination(project, name, Some(&reason)).await?;
                Ok(Stop::Paused)
            }
            SendError::Later { reason, after } => {
                tracing::info!(%project, destination = name, reason = briefly(&reason), "delivery is tried again later");
                Ok(Stop::Later(after))
            }
            SendError::Ended => Ok(Stop::Gone),
            SendError::TooLarge | SendError::Refused(_) => Ok(Stop::Later(None)),
        }
    }
}

/// Why, for the log and for whoever has no right to samples: a vendor's own words behind it may quote an event. The console has all of it for
/// those who have the right, and so does the command line.
#[must_use]
pub fn briefly(reason: &str) -> &str {
    reason.split(['(', '“', '"']).next().unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_no_words_of_a_vendor() {
        for (reason, brief) in [
            ("Mixpanel answered 400 (field \"canary\" is not known)", "Mixpanel answered 400"),
            ("Mixpanel answered 401: are settings right? (canary)", "Mixpanel answered 401: are settings right?"),
            ("no answer within 20 s", "no answer within 20 s"),
            ("", ""),
        ] {
            assert_eq!(briefly(reason), brief);
        }
    }
}
