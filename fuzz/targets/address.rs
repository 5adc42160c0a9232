//! Any address, referrer, link and path ends as one that says nothing private, and stays as it is when it is cleaned again.
#![no_main]

use std::sync::LazyLock;

use convizit_model::{Project, ProjectSettings, Timestamp};
use convizit_pipeline::{Compiled, Request, Tables, Witness, decode, receive};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::vendored().expect("vendored tables"));
static PROJECT: LazyLock<Compiled> = LazyLock::new(|| {
    let project = Project {
        id: "fuzz".parse().expect("an id"),
        number: 1,
        key: "pk_12345678".parse().expect("a key"),
        created: Timestamp::from_millis(0),
        version: 1,
        settings: ProjectSettings { keep_query: vec!["size".to_owned()], ..ProjectSettings::default() },
        since: Default::default(),
    };
    Compiled::new(&project).expect("default settings")
});

/// Address, referrer and link of what is left of a click on this page.
fn cleaned(address: &str) -> Option<[String; 3]> {
    let body = json!({
        "v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": "2026-11-23T18:00:00.000Z", "visitor": "v1", "session": {"id": "s1"},
        "page": {"url": address, "title": "", "referrer": address},
        "events": [{"id": "0193a1f0-0000-7000-8000-000000000001", "type": "click", "time": "2026-11-23T18:00:00.000Z",
            "descriptor": {"role": "", "label": "Go", "tag": "a", "attributes": {"href": address}}}]
    });
    let batch = decode(body.to_string().as_bytes()).ok()?;
    let request = Request {
        address: [127, 0, 0, 1].into(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        hints: &[],
        gpc: false,
        dnt: false,
        received: Timestamp::from_millis(1_800_000_000_000),
        derived_visitor: "",
        witness: Witness::blind(),
    };
    let batch = receive(batch, &PROJECT, &TABLES, &request).received?.batch;
    let href = batch.events[0].descriptor.as_ref().and_then(|found| found.attributes.get("href")?.as_str().map(str::to_owned));
    Some([batch.page.url, batch.page.referrer, href.unwrap_or_default()])
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(once) = cleaned(text) else { return };
    for address in &once {
        assert!(!address.contains('#'), "a fragment is left: {address}");
        // `/1/2` becomes `/:id/:id`: what just kept the bound of an attribute may be beyond it then.
        let Some(again) = cleaned(address) else {
            assert!(address.chars().count() > 255, "{address} is not taken again");
            continue;
        };
        assert!(again.contains(address) || address.is_empty(), "{address} became {again:?}");
    }
});
