//! Promises of the room `keys`, through its public face.
// The attribute tells clippy that helpers outside `#[test]` functions may unwrap, too.
#![cfg(test)]

#[cfg(feature = "aws-kms")]
mod aws_kms;
#[cfg(any(feature = "aws-kms", feature = "pkcs11"))]
mod child;
mod config;
mod contract;
mod key_file;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod project;
mod sealing;
#[cfg(any(feature = "aws-kms", feature = "vault-transit"))]
mod server;
#[cfg(feature = "pkcs11")]
mod softhsm;
#[cfg(feature = "vault-transit")]
mod vault_transit;
