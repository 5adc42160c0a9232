//! How fast requests go to a destination: no more a second than its manifest says, whichever of its lanes makes them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bucket of one token, which all lanes of a destination share: requests keep their distance, so that no second holds more of them.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the next request may go.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Whether a request may go now.
    pub(crate) fn is_free(&self) -> bool {
        self.is_free_at(Instant::now())
    }

    /// Waits for a request's turn.
    pub(crate) async fn turn(&self, per_second: u32) {
        tokio::time::sleep_until(self.booked(per_second, Instant::now())).await;
    }

    fn is_free_at(&self, now: Instant) -> bool {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|next| next <= now)
    }

    /// When the request may go; the next one may so much later.
    fn booked(&self, per_second: u32, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + Duration::from_secs(1) / per_second.max(1));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lanes_together_make_no_more_requests_a_second_than_one_may_and_an_idle_time_saves_none_up() {
        let (pace, start) = (Pace::default(), Instant::now());
        let tenth = Duration::from_millis(100);
        assert!(pace.is_free_at(start));
        // Four lanes at once, each of which comes again as soon as it had its turn.
        let mut lanes = [start; 4];
        let mut turns = Vec::new();
        for _ in 0..25 {
            for lane in &mut lanes {
                *lane = pace.booked(10, *lane);
                turns.push(*lane);
            }
        }
        assert_eq!(turns[0], start);
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == tenth), "{turns:?}");

        let later = start + Duration::from_secs(60);
        assert!(!pace.is_free_at(turns[99]) && pace.is_free_at(later));
        let turns: Vec<Instant> = (0..11).map(|_| pace.booked(10, later)).collect();
        assert_eq!((turns[0], turns[10]), (later, later + Duration::from_secs(1)));
    }
}
