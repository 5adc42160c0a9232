//! Any text ends with a verdict, and the same one each time: by itself, from the memory of clean texts, and when it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let rules = convizit_pipeline::scrub_text(&text);
    let first = convizit_pipeline::judge(&text);
    assert_eq!(first.is_some(), !rules.is_empty());
    assert_eq!(convizit_pipeline::first_rule(&text), first);
    assert_eq!(convizit_pipeline::first_rule(&text), first);
    let _ = convizit_pipeline::looks_like_name(&text);
});
