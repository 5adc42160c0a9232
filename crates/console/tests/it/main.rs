//! Promises of the console, through its router, on a real store.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

mod accounts;
mod api;
mod capture;
mod destinations;
mod headers;
mod roles;
mod samples;
mod site;
