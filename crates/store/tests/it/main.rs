//! Promises of the store, through its public face, on the real databases.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

mod accounts;
mod audit;
mod backup;
mod backup_damaged;
mod backup_erased;
mod backup_mended;
mod backup_owner;
mod backup_refused;
mod backup_s3;
mod decisions;
mod destinations;
mod drafts;
mod emptied;
mod engines;
mod erasure;
mod failing_disk;
mod frames;
mod idempotency;
mod incidents;
mod journal;
mod journal_crash;
mod key_ends;
mod keys;
mod missing;
mod notices;
mod passkeys;
mod postgres;
mod projects;
mod replays;
mod schema;
mod seen;
mod silence;
mod tokens;
mod tries;
mod upkeep;
mod work;
