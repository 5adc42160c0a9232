//! Promises of the console, through its router, on a real store.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

mod accounts;
mod api;
mod capture;
mod customizer;
mod destinations;
mod headers;
mod incidents;
#[path = "../../../delivery/tests/it/mailbox.rs"]
mod mailbox;
mod notices;
mod privacy;
mod programs;
mod roles;
mod samples;
mod site;
mod system;
