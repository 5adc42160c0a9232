//! How a destination stands, in one word that the console, the interface for programs and the command line share.

use crate::{DestinationState, Failing};

/// So many events may wait while it is only sending.
const BEHIND: i64 = 1_000;

/// How a destination stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A person has switched it off.
    Off,
    /// It waits for a person.
    Paused,
    /// It takes nothing, however often it is tried.
    Failing,
    /// It did not take what was sent last, which is tried again.
    Waiting,
    /// It takes events, and many wait.
    Behind,
    /// It takes events.
    Sending,
    /// No event waits.
    UpToDate,
}

impl Standing {
    /// The word of programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Paused => "paused",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Behind => "behind",
            Self::Sending => "sending",
            Self::UpToDate => "up_to_date",
        }
    }

    /// The word of people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::UpToDate => "up to date",
            other => other.as_str(),
        }
    }
}

impl DestinationState {
    /// How it stands; `last` is the number of the project's newest event.
    #[must_use]
    pub fn standing(&self, last: i64) -> Standing {
        let behind = last - self.cursor;
        match (&self.destination.paused, self.destination.enabled, &self.failing) {
            (Some(_), ..) => Standing::Paused,
            (None, false, _) => Standing::Off,
            (None, true, Some(Failing { times: 2.., .. })) => Standing::Failing,
            (None, true, Some(_)) => Standing::Waiting,
            (None, true, None) if behind > BEHIND => Standing::Behind,
            (None, true, None) if behind > 0 => Standing::Sending,
            (None, true, None) => Standing::UpToDate,
        }
    }

    /// Why it does not take anything now, in a sentence; `None` while it does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if let Some(reason) = &self.destination.paused {
            let rests = self.destination.rest().is_some();
            return Some(if rests { reason.clone() } else { format!("paused: {reason}") });
        }
        let Failing { since, times, reason } = self.failing.as_ref()?;
        let since = since.to_string();
        let minute = since.get(..16).unwrap_or(&since).replace('T', " ");
        Some(match times {
            1 => format!("tried again after a failure at {minute} UTC: {reason}"),
            times => format!("failing since {minute} UTC, {times} times: {reason}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use convizit_model::{Destination, DestinationKind, Timestamp};

    use super::*;

    #[test]
    fn what_is_wrong_comes_before_how_far_it_is() {
        let state = |cursor, times: i64, paused: Option<&str>| DestinationState {
            destination: Destination {
                project: "shop".parse().unwrap(),
                name: "hook".to_owned(),
                enabled: true,
                paused: paused.map(str::to_owned),
                types: Vec::new(),
                shaping: Default::default(),
                processor: None,
                kind: DestinationKind::Webhook { url: "https://hooks.example/".to_owned() },
            },
            cursor,
            dead: 0,
            failing: (times > 0).then(|| Failing {
                since: Timestamp::from_millis(1_796_000_000_000),
                times,
                reason: "the receiver answered 503".to_owned(),
            }),
        };
        for (of, wanted) in [
            (state(5_000, 0, None), Standing::UpToDate),
            (state(4_999, 0, None), Standing::Sending),
            (state(10, 0, None), Standing::Behind),
            (state(4_999, 1, None), Standing::Waiting),
            (state(4_999, 2, None), Standing::Failing),
            (state(5_000, 9, Some("it answered 410")), Standing::Paused),
        ] {
            assert_eq!(of.standing(5_000), wanted);
        }
        assert_eq!(state(1, 0, None).trouble(), None);
        let text = state(1, 7, None).trouble().unwrap();
        assert!(
            text.starts_with("failing since 2026-11-") && text.ends_with("UTC, 7 times: the receiver answered 503"),
            "{text}"
        );
    }
}
