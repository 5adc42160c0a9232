//! Promises of the store, through its public face, on the real databases.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

mod journal;
mod journal_crash;
