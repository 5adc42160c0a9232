//! Where the ring's secrets come from. Today a file; a hardware module or a cloud's key service comes beside it.

pub(crate) mod file;
