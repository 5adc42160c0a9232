//! Batches to begin with: one with every field filled, and one of its fields changed.

use convizit_model::{Project, ProjectSettings, Received, Timestamp};
use convizit_pipeline::{Compiled, Request, Tables, Witness, decode, receive};
use serde_json::{Value, json};

/// A batch with harmless text in every field that holds text.
pub(crate) fn full() -> Value {
    json!({
        "v": 1, "key": "pk_abcdefgh", "batch": "tab.1", "sent": "2026-11-23T18:00:00.000Z", "settings": 3,
        "visitor": "visitor", "session": {"id": "session", "start": "2026-11-23T17:00:00.000Z"}, "user": "customer",
        "consent": {"analytics": true, "ads": false, "gpc": false},
        "page": {
            "url": "https://shop.example/shoes/trail?utm_source=mail&sort=price", "title": "Trail shoe", "language": "en",
            "referrer": "https://search.example/find", "type": "Product", "canonical": "https://shop.example/shoes/trail",
            "product": {"Product name": "Trail shoe", "Brand": "Peak"}, "breadcrumb": ["Shoes", "Trail"],
            "viewport": {"width": 1200, "height": 800}
        },
        "events": [{
            "id": "0193a1f0-0000-7000-8000-00000000000a", "type": "click", "time": "2026-11-23T18:00:00.000Z",
            "name": "Anything", "properties": {"Note": "a note", "Quantity": 2},
            "withheld": [{"field": "properties.Comment", "rule": "person", "by": "browser", "rules": 1}],
            "descriptor": {
                "role": "button", "label": "Add to cart", "labelSource": "content", "template": "Add to cart",
                "name_value": 3, "tag": "button", "path": "main>ul>li>button",
                "context": [{"kind": "section", "name": "Recommended"}],
                "group": {"position": 1, "length": 3, "signature": [1, 2], "container": "All shoes", "member": "card", "path": "div>button"},
                "outer": {"position": 1, "length": 2, "signature": [3], "container": "Departments", "member": "li", "path": "ul"},
                "properties": {"Product name": "Trail shoe", "Selected color": "Red"},
                "attributes": {"id": "add", "class": "btn primary", "href": "/cart/add", "data-testid": "add-to-cart"}
            }
        }]
    })
}

/// What the collector makes of a batch; `None` when nothing is left of it.
pub(crate) fn taken(batch: &Value) -> Option<Received> {
    taken_by(batch, Witness::blind())
}

/// As `taken`, by a collector that knows of a crowd.
pub(crate) fn taken_by(batch: &Value, witness: Witness<'_>) -> Option<Received> {
    static TABLES: std::sync::LazyLock<Tables> = std::sync::LazyLock::new(|| Tables::vendored().unwrap());
    let project = Project {
        id: "shop".parse().unwrap(),
        number: 1,
        key: "pk_abcdefgh".parse().unwrap(),
        created: Timestamp::from_millis(0),
        version: 1,
        since: std::collections::BTreeMap::new(),
        settings: ProjectSettings::default(),
    };
    let request = Request {
        gpc: false,
        dnt: false,
        address: "127.0.0.1".parse().unwrap(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        hints: &[],
        received: "2026-11-23T18:00:01.000Z".parse().unwrap(),
        derived_visitor: "derived",
        witness,
    };
    let batch = decode(batch.to_string().as_bytes()).unwrap();
    receive(batch, &Compiled::new(&project).unwrap(), &TABLES, &request).received
}
