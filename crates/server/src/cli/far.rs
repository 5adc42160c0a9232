//! How far a command has come that reads all of a project's events: one line at a terminal, once it takes long.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use convizit_store::{Store, StoreError};

/// What is done sooner needs no line, and a line that changes more often is not read.
const AFTER: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_millis(500);

/// What is shown while one looks.
pub(crate) struct Far {
    what: &'static str,
    all: i64,
    next: Instant,
    shown: bool,
}

impl Far {
    /// Of a project's events, by their numbers.
    pub(crate) async fn of(store: &Store, project: i64, what: &'static str) -> Result<Self, StoreError> {
        Ok(Self { what, all: store.last_event(project).await?, next: Instant::now() + AFTER, shown: false })
    }

    fn line(&self, done: i64) -> String {
        let done = done.clamp(0, self.all);
        let percent = done.saturating_mul(100).checked_div(self.all).unwrap_or(100);
        format!("{}: {done} of {} events, {percent} %", self.what, self.all)
    }

    /// Everything up to this number was read.
    pub(crate) fn is_at(&mut self, number: i64) {
        if self.next <= Instant::now() && std::io::stderr().is_terminal() {
            // Beside the work: what cannot be shown is no reason to end it.
            write!(std::io::stderr(), "\r\x1b[K{}", self.line(number)).ok();
            (self.next, self.shown) = (Instant::now() + EACH, true);
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if self.shown {
            write!(std::io::stderr(), "\r\x1b[K").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let far = |all| Far { what: "reading", all, next: Instant::now(), shown: false };
        assert_eq!(far(200).line(50), "reading: 50 of 200 events, 25 %");
        assert_eq!(far(200).line(999), "reading: 200 of 200 events, 100 %");
        assert_eq!(far(0).line(0), "reading: 0 of 0 events, 100 %");
    }
}
