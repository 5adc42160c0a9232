//! Promises of delivery, through its public face, against real receivers, files and a PostgreSQL of the test's own.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

mod connector;
mod emulators;
mod file;
mod google;
mod kafka;
mod mailbox;
mod notices;
mod objects;
mod postgres;
mod protocols;
mod receiver;
mod resend;
mod server;
mod stand;
mod tls;
mod webhook;
