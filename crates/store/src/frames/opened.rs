//! Frames that were opened a moment ago: however many destinations and pages follow the same events, each frame is opened once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::StoreError;

/// Opened bytes that are kept at most: about the newest sixteen full frames.
const BYTES: usize = 16 << 20;
/// Frames that are kept at most, those being opened among them.
const FRAMES: usize = 256;

/// What tells a sealed frame from every other. A rewrite, also after an erasure, is sealed anew and so another one: nothing has to be
/// taken out when frames change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    project: i64,
    first: i64,
    body: u128,
}

impl Sealed {
    pub(super) fn of(project: i64, first: i64, body: &[u8]) -> Self {
        Self { project, first, body: xxh3_128(body) }
    }
}

/// Empty until it is opened; whoever comes meanwhile waits for the first.
type Slot = Arc<tokio::sync::Mutex<Option<Bytes>>>;

struct Kept {
    sealed: Sealed,
    slot: Slot,
    bytes: usize,
}

/// The newest opened frames, oldest first.
#[derive(Default)]
pub(crate) struct Opened(Mutex<VecDeque<Kept>>);

impl Opened {
    /// The lines of a frame, opened by `open` if nobody did a moment ago. What fails is not kept.
    pub(super) async fn lines(
        &self,
        sealed: Sealed,
        open: impl FnOnce() -> Result<Vec<u8>, StoreError>,
    ) -> Result<Bytes, StoreError> {
        let slot = self.slot(sealed);
        let mut kept = slot.lock().await;
        if let Some(lines) = &*kept {
            return Ok(lines.clone());
        }
        let lines = Bytes::from(open()?);
        *kept = Some(lines.clone());
        self.weigh(sealed, lines.len());
        Ok(lines)
    }

    fn slot(&self, sealed: Sealed) -> Slot {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.iter().rev().find(|kept| kept.sealed == sealed) {
            return kept.slot.clone();
        }
        if all.len() >= FRAMES {
            all.pop_front();
        }
        let slot = Slot::default();
        all.push_back(Kept { sealed, slot: slot.clone(), bytes: 0 });
        slot
    }

    fn weigh(&self, sealed: Sealed, bytes: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.iter_mut().rev().find(|kept| kept.sealed == sealed) {
            kept.bytes = bytes;
        }
        let mut sum: usize = all.iter().map(|kept| kept.bytes).sum();
        while sum > BYTES
            && let Some(oldest) = all.pop_front()
        {
            sum -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn readers_at_once_open_a_frame_once_and_a_rewrite_anew() {
        let (opened, times) = (Opened::default(), AtomicUsize::new(0));
        let read = async |body: &'static [u8]| {
            let open = || {
                times.fetch_add(1, Ordering::Relaxed);
                Ok(body.to_vec())
            };
            opened.lines(Sealed::of(1, 1, body), open).await.unwrap()
        };
        let (a, b, c) = tokio::join!(read(b"old"), read(b"old"), read(b"old"));
        assert_eq!((&a[..], &b[..], &c[..]), (&b"old"[..], &b"old"[..], &b"old"[..]));
        assert_eq!(times.load(Ordering::Relaxed), 1);
        assert_eq!(&read(b"new").await[..], b"new");
        assert_eq!(times.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_fails_is_tried_again_and_memory_is_bounded() {
        let opened = Opened::default();
        let fails = opened.lines(Sealed::of(1, 1, b"a"), || Err(StoreError::Unusable("broken".to_owned())));
        assert!(fails.await.is_err());
        assert!(opened.lines(Sealed::of(1, 1, b"a"), || Ok(b"whole".to_vec())).await.is_ok());
        for first in 0..600_i64 {
            let sealed = Sealed::of(1, first, &first.to_be_bytes());
            opened.lines(sealed, || Ok(vec![0; 1 << 20])).await.unwrap();
        }
        let all = opened.0.lock().unwrap();
        assert!(all.iter().map(|kept| kept.bytes).sum::<usize>() <= BYTES);
        assert!(all.len() <= FRAMES);
        // The newest are the ones that stay.
        assert_eq!(all.back().unwrap().sealed.first, 599);
    }
}
