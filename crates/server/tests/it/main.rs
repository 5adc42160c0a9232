#![cfg(test)]
//! The program from outside: command line, and the lines between rooms.

mod cli;
mod damaged;
mod owner;
mod rooms;
#[cfg(feature = "vrl")]
mod transform;
