//! Replays texts as visits to one installation: which of them the crowd rule lets through, and when.

use std::cell::RefCell;
use std::collections::HashMap;

use anyhow::{Context, Result, anyhow};
use convizit_model::{Project, ProjectSettings, Ruling, Timestamp};
use convizit_pipeline::{Compiled, Registry, Request, Tables, Witness, decode, name_events, receive};
use serde_json::json;

/// 23 November 2026, noon.
const NOON: i64 = 1_795_435_200_000;
const DAY: i64 = 86_400_000;
const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

/// One click on a control that says a text.
pub(crate) struct Visit<'a> {
    pub(crate) text: &'a str,
    /// Which control.
    pub(crate) at: usize,
    pub(crate) visitor: usize,
    pub(crate) network: u32,
    pub(crate) day: i64,
}

/// A collector and a worker without anything between them.
pub(crate) struct Replay {
    compiled: Compiled,
    tables: Tables,
    registry: Registry,
    rulings: RefCell<HashMap<u64, Ruling>>,
    events: u64,
}

impl Replay {
    pub(crate) fn new() -> Result<Self> {
        let project = Project {
            id: "shop".parse()?,
            number: 1,
            key: "pk_12345678".parse()?,
            created: Timestamp::from_millis(0),
            version: 1,
            since: std::collections::BTreeMap::new(),
            settings: ProjectSettings::default(),
        };
        Ok(Self {
            compiled: Compiled::new(&project).map_err(|error| anyhow!(error))?,
            tables: Tables::vendored().map_err(|error| anyhow!(error))?,
            registry: Registry::default(),
            rulings: RefCell::default(),
            events: 0,
        })
    }

    /// The label with which the click became an event.
    pub(crate) fn visit(&mut self, visit: &Visit<'_>) -> Result<String> {
        self.events += 1;
        let time = Timestamp::from_millis(NOON + visit.day * DAY);
        let body = json!({
            "v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": time.to_string(), "visitor": format!("v{}", visit.visitor),
            "session": {"id": format!("s{}", visit.visitor)}, "page": {"url": "https://shop.example/shoes", "title": "Shoes", "language": "en"},
            "events": [{"id": format!("0193a1f0-0000-7000-8000-{:012}", self.events), "type": "click", "time": time.to_string(),
                "descriptor": {"role": "button", "label": visit.text, "labelSource": "content", "tag": "button",
                    "attributes": {"data-testid": format!("control {}", visit.at)}, "path": "main>div>button"}}]
        });
        let batch = decode(body.to_string().as_bytes())?;
        let hash = |text: &str| xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        let ruling = |key: u64| self.rulings.borrow().get(&key).copied();
        let request = Request {
            gpc: false,
            dnt: false,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            user_agent: CHROME,
            hints: &[],
            received: time,
            derived_visitor: "",
            witness: Witness { most: 5, network: visit.network, hash: &hash, ruling: &ruling },
        };
        let received =
            receive(batch, &self.compiled, &self.tables, &request).received.context("a visit was filtered")?;
        let named = name_events(received, &mut self.registry).pop().context("a visit made no event")?;
        self.rulings.borrow_mut().extend(self.registry.take_rulings());
        Ok(named.event.element.map(|element| element.label).unwrap_or_default())
    }
}
