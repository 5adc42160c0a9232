//! What is sent: batches recorded from the demo shop, each time with other ids, times, visitors and product names.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context, Result};
use convizit_model::Timestamp;
use serde_json::Value;

use crate::agents;
use crate::words::{PAIRS, pair};

static RECORDED: &str = include_str!("../recorded/visits.jsonl");
/// The origin that all projects allow, in place of the demo's.
pub(crate) const ORIGIN: &str = "https://shop.example";
/// Events of one visit.
const VISIT: usize = 20;
/// Visits under way at the same time.
const ACTIVE: usize = 1_000;

/// Where something else stands each time: characters of a private-use area, which no recorded text holds.
const ID: char = '\u{e100}';
const TIME: char = '\u{e101}';
const FIRST_PRODUCT: u32 = 0xe000;

enum Piece {
    Text(Box<str>),
    Id,
    Time,
    Product(usize),
}

type Template = Vec<Piece>;

/// A recorded page and what was done on it.
struct Page {
    block: Template,
    events: Vec<Template>,
}

/// The recorded batches, ready to be written with new contents.
pub(crate) struct Corpus {
    pages: Vec<Page>,
    products: Vec<String>,
    agents: Vec<agents::Agent>,
}

impl Corpus {
    /// Reads the recording.
    pub(crate) fn load() -> Result<Self> {
        let batches: Vec<Value> =
            RECORDED.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("recorded/visits.jsonl")?;
        let mut products = Vec::new();
        for batch in &batches {
            find_products(batch, &mut products);
        }
        // The longest first, so that no name hides in another.
        products.sort_by_key(|name: &String| std::cmp::Reverse(name.len()));
        let mut by_page: BTreeMap<String, Page> = BTreeMap::new();
        for mut batch in batches {
            let block = template(batch["page"].take(), &products)?;
            let path = batch["page"]["url"].as_str().unwrap_or_default().to_owned() + &written(&block);
            let page = by_page.entry(path).or_insert(Page { block, events: Vec::new() });
            for event in batch["events"].as_array_mut().context("a recorded batch has no events")? {
                event["id"] = Value::String(ID.to_string());
                event["time"] = Value::String(TIME.to_string());
                page.events.push(template(event.take(), &products)?);
            }
        }
        Ok(Self { pages: by_page.into_values().collect(), products, agents: agents::all() })
    }
}

fn find_products(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(name) if key == "Product name" && !found.contains(name) => found.push(name.clone()),
                    _ => find_products(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| find_products(value, found)),
        _ => {}
    }
}

fn mark(value: &mut Value, products: &[String]) {
    match value {
        Value::String(text) => {
            for (index, name) in (FIRST_PRODUCT..).zip(products) {
                if let Some(mark) = char::from_u32(index) {
                    *text = text.replace(name.as_str(), &mark.to_string());
                }
            }
            if let Some((_, path)) = text.strip_prefix("http://localhost:").and_then(|rest| rest.split_once('/')) {
                *text = format!("{ORIGIN}/{path}");
            }
        }
        Value::Object(map) => map.values_mut().for_each(|value| mark(value, products)),
        Value::Array(list) => list.iter_mut().for_each(|value| mark(value, products)),
        _ => {}
    }
}

fn template(mut value: Value, products: &[String]) -> Result<Template> {
    mark(&mut value, products);
    let json = serde_json::to_string(&value)?;
    let mut pieces = Vec::new();
    let mut text = String::new();
    for c in json.chars() {
        let piece = match c {
            ID => Piece::Id,
            TIME => Piece::Time,
            '\u{e000}'..='\u{e0ff}' => Piece::Product((c as u32 - FIRST_PRODUCT) as usize),
            _ => {
                text.push(c);
                continue;
            }
        };
        pieces.push(Piece::Text(std::mem::take(&mut text).into()));
        pieces.push(piece);
    }
    pieces.push(Piece::Text(text.into()));
    Ok(pieces)
}

/// A template's fixed text, to tell pages apart.
fn written(template: &Template) -> String {
    let texts = template.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.as_ref()),
        _ => None,
    });
    texts.collect()
}

/// A visit under way.
struct Visit {
    number: u64,
    project: usize,
    agent: usize,
    address: u32,
    left: usize,
    batches: u32,
    page: usize,
    start: i64,
}

/// Writes batches of one size for these projects, without end and without repeats.
pub(crate) struct Author {
    corpus: Corpus,
    keys: Vec<String>,
    size: usize,
    random: u64,
    visits: Vec<Visit>,
    next: usize,
    /// Visits begun, each by another visitor.
    pub(crate) visitors: u64,
    run: u64,
}

/// Who sends a batch: what stands in the request's head.
pub(crate) struct Sender<'a> {
    pub(crate) agent: &'a agents::Agent,
    pub(crate) address: u32,
}

impl Author {
    /// `run` makes the visitors of this author others than those of any other run.
    pub(crate) fn new(corpus: Corpus, keys: Vec<String>, size: usize, run: u64) -> Self {
        let random = 0x9e37_79b9_7f4a_7c15 ^ run.wrapping_mul(0x2545_f491_4f6c_dd1d);
        Self { corpus, keys, size, random, visits: Vec::new(), next: 0, visitors: 0, run }
    }

    /// Events of each batch.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// xorshift64*: quick, and the same sequence in every run of the same number.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.random()) * bound as u128) >> 64) as usize
    }

    fn begin(&mut self, now: i64) -> Visit {
        self.visitors += 1;
        let (first, second) = (self.below(self.corpus.agents.len()), self.below(self.corpus.agents.len()));
        Visit {
            number: self.visitors,
            project: self.below(self.keys.len()),
            // Some browsers are frequent.
            agent: first.min(second),
            address: u32::try_from(self.random() >> 32).unwrap_or(0),
            left: VISIT,
            batches: 0,
            page: self.below(self.corpus.pages.len()),
            start: now,
        }
    }

    /// Writes the next batch into `body`, as of `now` in milliseconds since 1970.
    pub(crate) fn write(&mut self, now: i64, body: &mut Vec<u8>) -> Sender<'_> {
        if self.visits.len() < ACTIVE {
            let visit = self.begin(now);
            self.visits.push(visit);
        }
        self.next = (self.next + 1) % self.visits.len();
        let slot = self.next;
        if self.visits[slot].left == 0 {
            self.visits[slot] = self.begin(now);
        }
        let another = self.below(self.corpus.pages.len());
        let (salt, catalogue) = (self.random(), PAIRS / self.keys.len() as u64);
        let visit = &mut self.visits[slot];
        // A visit sees its page's products; a shop of one project has them all, of a thousand projects each has nine.
        let names = visit.project as u64 * catalogue + (visit.number ^ u64::from(visit.batches)) % catalogue.max(1);
        visit.left = visit.left.saturating_sub(self.size);
        visit.batches += 1;
        let time = Timestamp::from_millis(now).to_string();
        write_head(body, &self.keys[visit.project], visit, self.run, &time);
        let texts = Texts { time: &time, names, products: &self.corpus.products };
        let page = &self.corpus.pages[visit.page];
        write_template(body, &page.block, &texts, &mut || 0);
        body.extend_from_slice(b",\"events\":[");
        let from = usize::try_from(salt >> 40).unwrap_or(0);
        let mut counter = salt;
        for index in 0..self.size {
            if index > 0 {
                body.push(b',');
            }
            let event = &page.events[(from + index) % page.events.len()];
            write_template(body, event, &texts, &mut || {
                counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
                (u128::from(now.cast_unsigned()) << 80)
                    | u128::from(mix(counter))
                    | (u128::from(mix(!counter)) << 64 & 0xfff << 64)
            });
        }
        body.extend_from_slice(b"]}");
        visit.page = another;
        Sender { agent: &self.corpus.agents[visit.agent], address: visit.address }
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn write_head(body: &mut Vec<u8>, key: &str, visit: &Visit, run: u64, time: &str) {
    let start = Timestamp::from_millis(visit.start);
    let (number, batch) = (visit.number, visit.batches);
    write!(
        body,
        r#"{{"v":1,"key":"{key}","batch":"t{run:x}-{number:x}.{batch}","sent":"{time}","settings":1,"visitor":"{run:012x}-{number:020x}","session":{{"id":"{number:016x}{run:04x}","start":"{start}"}},"consent":{{"analytics":null,"ads":null,"gpc":false}},"page":"#
    )
    .ok();
}

/// What stands in a template's holes.
struct Texts<'a> {
    time: &'a str,
    names: u64,
    products: &'a [String],
}

fn write_template(body: &mut Vec<u8>, template: &Template, texts: &Texts<'_>, id: &mut dyn FnMut() -> u128) {
    for piece in template {
        match piece {
            Piece::Text(text) => body.extend_from_slice(text.as_bytes()),
            Piece::Time => body.extend_from_slice(texts.time.as_bytes()),
            Piece::Product(index) => {
                let (look, stuff) = pair(texts.names);
                for text in [look, " ", stuff, " ", texts.products[*index].as_str()] {
                    body.extend_from_slice(text.as_bytes());
                }
            }
            Piece::Id => write_id(body, id()),
        }
    }
}

/// A UUIDv7 of a time and random bits.
fn write_id(body: &mut Vec<u8>, bits: u128) {
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (7 << 76) | (2 << 62);
    for (index, shift) in (0..32).map(|digit| 124 - 4 * digit).enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            body.push(b'-');
        }
        body.push(b"0123456789abcdef"[(bits >> shift) as usize & 15]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_what_the_collector_takes_and_never_repeat() {
        let keys = vec!["pk_0123456789".to_owned(), "pk_9876543210".to_owned()];
        let mut author = Author::new(Corpus::load().unwrap(), keys, 10, 7);
        let (mut ids, mut names) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        for _ in 0..5000 {
            let mut body = Vec::new();
            author.write(1_795_000_000_000, &mut body);
            let batch = convizit_pipeline::decode(&body).unwrap();
            assert_eq!(batch.events.len(), 10);
            for event in batch.events {
                assert!(ids.insert(event.id), "an id came twice");
                names.extend(
                    event.descriptor.and_then(|d| d.properties.get("Product name").cloned()).map(|n| n.to_string()),
                );
            }
        }
        assert!(author.visitors > 2000, "{} visitors", author.visitors);
        assert!(names.len() > 2000, "{} product names", names.len());
    }
}
