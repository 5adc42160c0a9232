//! Sending a batch: one that is too large or holds a refused event is halved until that one is found; what was taken is not sent again.

use convizit_store::StoredEvent;
use tokio_util::sync::CancellationToken;

use crate::destinations::{Fate, SendError, Sink, Taken};

/// Sends a batch, in its order but for what is halved.
pub(crate) async fn send_all(sink: &mut Sink, events: &[StoredEvent], stop: &CancellationToken) -> Taken {
    let mut halves = Halves::of(events.len());
    while let Some(rows) = halves.next() {
        if stop.is_cancelled() {
            // What is done is written down; the rest goes at the next start.
            break;
        }
        let part: Vec<StoredEvent> = rows.iter().filter_map(|row| events.get(*row).cloned()).collect();
        let sent = sink.send(&part).await;
        if !halves.take(rows, sent) {
            break;
        }
    }
    halves.all
}

/// What is still to be sent of a batch, in parts, and what became of the rest.
struct Halves {
    all: Taken,
    /// Places in the batch; the last part is the next.
    waiting: Vec<Vec<usize>>,
}

impl Halves {
    fn of(events: usize) -> Self {
        Self { all: Taken::of(events), waiting: vec![(0..events).collect()] }
    }

    fn next(&mut self) -> Option<Vec<usize>> {
        while let Some(rows) = self.waiting.pop() {
            if !rows.is_empty() {
                return Some(rows);
            }
        }
        None
    }

    /// Writes down what became of a part; false where nothing more is sent now.
    fn take(&mut self, rows: Vec<usize>, sent: Result<Taken, SendError>) -> bool {
        let failure = match sent {
            Ok(taken) => {
                self.all.changes.add(&taken.changes);
                for (row, fate) in rows.iter().zip(taken.fates) {
                    self.all.fates[*row] = fate;
                }
                taken.failure
            }
            Err(failure) => Some(failure),
        };
        let reason = match failure {
            None => {
                // What was not sent yet, since others had to come first.
                let left: Vec<usize> =
                    rows.iter().copied().filter(|row| self.all.fates[*row] == Fate::Waiting).collect();
                if left.len() < rows.len() {
                    self.waiting.push(left);
                }
                return true;
            }
            Some(SendError::Refused(reason)) => reason,
            Some(SendError::TooLarge) => "larger than the destination takes".to_owned(),
            Some(failure) => {
                self.all.failure = Some(failure);
                return false;
            }
        };
        let mut left: Vec<usize> = rows.into_iter().filter(|row| self.all.fates[*row] == Fate::Waiting).collect();
        if let [row] = left.as_slice() {
            self.all.fates[*row] = Fate::Refused(reason);
            return true;
        }
        let behind = left.split_off(left.len() / 2);
        self.waiting.extend([behind, left]);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_still_waits_is_halved_until_the_refused_one_is_found() {
        let mut halves = Halves::of(8);
        let mut sent = Vec::new();
        while let Some(rows) = halves.next() {
            sent.push(rows.clone());
            // Row 5 ends the connection; what stands before it was acknowledged.
            let mut taken = Taken::of(rows.len());
            for (row, fate) in rows.iter().zip(&mut taken.fates).take_while(|(row, _)| **row != 5) {
                assert_ne!(*row, 5);
                *fate = Fate::Done;
            }
            if rows.contains(&5) {
                taken.failure = Some(SendError::TooLarge);
            }
            assert!(halves.take(rows, Ok(taken)));
        }
        assert_eq!(sent, [vec![0, 1, 2, 3, 4, 5, 6, 7], vec![5], vec![6, 7]]);
        let refused = Fate::Refused("larger than the destination takes".to_owned());
        let fates = [vec![Fate::Done; 5], vec![refused], vec![Fate::Done; 2]].concat();
        assert!(halves.all.fates == fates && halves.all.failure.is_none(), "{:?}", halves.all);
    }

    #[test]
    fn what_was_not_sent_yet_goes_in_further_parts_as_long_as_something_goes() {
        let mut halves = Halves::of(5);
        let mut sent = Vec::new();
        while let Some(rows) = halves.next() {
            let mut taken = Taken::of(rows.len());
            // Two a time, and of the last none.
            for fate in taken.fates.iter_mut().take(if rows.len() > 1 { 2 } else { 0 }) {
                *fate = Fate::Done;
            }
            sent.push(rows.clone());
            assert!(halves.take(rows, Ok(taken)));
        }
        assert_eq!(sent, [vec![0, 1, 2, 3, 4], vec![2, 3, 4], vec![4]]);
        assert!(halves.all.fates[4] == Fate::Waiting && halves.all.failure.is_none());
    }

    #[test]
    fn a_failure_that_may_pass_ends_it_and_what_is_done_stays_done() {
        let mut halves = Halves::of(4);
        let rows = halves.next().unwrap();
        assert!(halves.take(rows, Err(SendError::Refused("no".to_owned()))));
        let rows = halves.next().unwrap();
        assert_eq!(rows, [0, 1]);
        let mut taken = Taken::of(2);
        taken.fates[0] = Fate::Done;
        taken.failure = Some(SendError::later("busy"));
        assert!(!halves.take(rows, Ok(taken)));
        assert_eq!(halves.all.fates, [Fate::Done, Fate::Waiting, Fate::Waiting, Fate::Waiting]);
        assert!(matches!(halves.all.failure, Some(SendError::Later { .. })));
    }
}
