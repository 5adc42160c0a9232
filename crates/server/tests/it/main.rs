#![cfg(test)]
//! The program from outside: command line, and the lines between rooms.

mod cli;
mod owner;
mod rooms;
