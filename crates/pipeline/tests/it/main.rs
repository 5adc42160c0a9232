//! Promises of the pipeline for whatever arrives: nothing panics, nothing private passes, the same input gives the same events.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

mod batches;
mod crowd;
mod decisions;
mod decoding;
mod lost;
mod naming;
mod scrubbing;
