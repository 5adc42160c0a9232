//! The watch: a thread that measures free disk space four times a second and writes the high-water mark twice a second.
//!
//! Apart from the writer, so that the mark's sync never stands between two commits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::state::{Part, State};
use crate::{disk, mark};

const TICK: Duration = Duration::from_millis(250);

/// A running watch; it ends, with a last mark, when `stop` is dropped.
pub(super) struct Watch {
    pub(super) stop: Sender<()>,
    pub(super) thread: JoinHandle<()>,
}

/// Starts the watch.
pub(super) fn start(state: Arc<State>) -> io::Result<Watch> {
    let (stop, stopped) = channel::<()>();
    measure(&state);
    let thread = std::thread::Builder::new().name("journal-watch".to_owned()).spawn(move || {
        // Not the newest of now: batches may have come before this thread did, and the mark knows none of them.
        let mut marked = None;
        let mut mark_now = || {
            let newest = *state.newest.borrow();
            if marked == Some(newest) || !state.owner.load(Ordering::Acquire) {
                return;
            }
            let failure = mark::write(&state.folder, mark::JOURNAL, &state.keys.ring, newest).err();
            if failure.is_none() {
                marked = Some(newest);
            }
            let why = |error| disk::io_in_words(&state.folder.join(mark::JOURNAL), &error);
            let reason = failure.map(|error| format!("{} cannot be written: {}", mark::JOURNAL, why(error)));
            if state.set_failing(Part::Mark, reason.clone()) {
                match reason {
                    Some(reason) => tracing::error!(reason, "nothing is accepted until the mark can be written"),
                    None => tracing::info!("the journal's mark can be written again"),
                }
            }
        };
        let mut odd = false;
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            measure(&state);
            odd = !odd;
            if odd {
                mark_now();
            }
        }
        mark_now();
    })?;
    Ok(Watch { stop, thread })
}

fn measure(state: &State) {
    // Unknown free space is not taken for none: the writer finds out, and refuses, when the disk is full.
    if let Ok(free) = disk::free_bytes(&state.folder) {
        state.free.store(free, Ordering::Relaxed);
    }
}
