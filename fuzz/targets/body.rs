//! Any body, packed or not, is a batch within its bounds or an error that names a field.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match convizit_pipeline::decode(data) {
        Ok(batch) => {
            assert!((1..=100).contains(&batch.events.len()));
            let text = serde_json::to_vec(&batch).expect("a batch is JSON");
            assert!(convizit_pipeline::decode(&text).is_ok(), "what was taken is taken again");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
