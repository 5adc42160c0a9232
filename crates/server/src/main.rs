//! The binary convizit.
fn main() {}
