//! Any selector is read or refused with the place of the error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match convizit_model::selector::parse(text) {
        Ok(list) => assert!(!list.is_empty()),
        Err(problem) => assert!(!problem.is_empty()),
    }
});
