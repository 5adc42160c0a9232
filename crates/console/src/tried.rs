//! What test events came to, until the page behind the form has shown it: a page that is loaded again must not send another.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use convizit_model::Timestamp;

/// Answers that are kept in all.
const KEPT: usize = 200;
/// Milliseconds after which one is forgotten.
const LIFE: i64 = 10 * 60_000;

/// Whose test of which destination: the account, the project, the destination's name.
type Key = (i64, i64, String);

/// What a test came to, and when.
struct Answer {
    key: Key,
    at: Timestamp,
    said: Result<String, String>,
}

impl Answer {
    fn is_of(&self, key: &Key, now: Timestamp) -> bool {
        self.key == *key && now.since(self.at) < LIFE
    }
}

/// The newest answers.
#[derive(Default)]
pub(crate) struct Tried(Mutex<VecDeque<Answer>>);

impl Tried {
    /// Keeps what a test came to, in place of an earlier one of the same destination.
    pub(crate) fn keep(&self, key: Key, now: Timestamp, said: Result<String, String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.key != key && now.since(known.at) < LIFE);
        if all.len() >= KEPT {
            all.pop_front();
        }
        all.push_back(Answer { key, at: now, said });
    }

    /// What the last test came to, where that is not long ago.
    pub(crate) fn of(&self, key: &Key, now: Timestamp) -> Option<Result<String, String>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|answer| answer.is_of(key, now)).map(|answer| answer.said.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_answer_is_kept_for_whoever_asked_and_not_for_ever() {
        let (tried, now) = (Tried::default(), Timestamp::from_millis(1_796_000_000_000));
        let key = |account: i64, name: &str| (account, 1, name.to_owned());
        tried.keep(key(1, "hook"), now, Err("it is down".to_owned()));
        tried.keep(key(1, "hook"), now, Ok("it took it".to_owned()));
        assert_eq!(tried.of(&key(1, "hook"), now), Some(Ok("it took it".to_owned())));
        assert_eq!((tried.of(&key(2, "hook"), now), tried.of(&key(1, "other"), now)), (None, None));
        assert_eq!(tried.of(&key(1, "hook"), now.plus_millis(LIFE)), None);
        for account in 0..1_000 {
            tried.keep(key(account, "hook"), now, Ok(String::new()));
        }
        assert_eq!(tried.0.lock().unwrap().len(), KEPT);
    }
}
