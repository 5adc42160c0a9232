//! Promises of the room `keys`, through its public face.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

mod key_file;
mod sealing;
