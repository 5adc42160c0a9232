//! How much of what is private the text gate withholds, how much of what is not, and how many texts a second it reads on one core.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use convizit_pipeline::{first_rule, judge, looks_like_name};
use serde_json::Value;

use crate::replay::{Replay, Visit};
use crate::table::{Table, count};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: bench/run scrub --data ../shared/data")]
pub(crate) struct Scrub {
    /// The folder of the data sets; `pii/dev.jsonl` in it is read.
    #[arg(long, value_name = "DIR", default_value = "../shared/data")]
    data: PathBuf,
    /// Another file of the same form.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Seconds for each speed.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

struct Row {
    text: String,
    is_private: bool,
    entities: Vec<String>,
    kind: String,
    is_core: bool,
}

/// Kinds of interface texts without anything private.
const UI: [&str; 5] = ["neg_ui", "neg_ui_filled", "neg_catalog", "neg_url", "neg_sentence"];

impl Scrub {
    pub(crate) fn run(&self) -> Result<()> {
        let path = self.file.clone().unwrap_or_else(|| self.data.join("pii/dev.jsonl"));
        let rows = read(&path)?;
        quality(&rows);
        crowd(&rows);
        visits(&rows)?;
        self.speed(&rows)
    }

    fn speed(&self, rows: &[Row]) -> Result<()> {
        let patterns = [
            r"[^\s@]+@[^\s@]+\.[a-zA-Z]{2,}",
            r"(?:\+?\d[\s().-]{0,3}){7,}",
            r"\b(?:\d[ -]?){13,19}\b",
            r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b",
            r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
            r"(?i)\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b",
            r"-?\d{1,3}\.\d{3,}[,; ]\s?-?\d{1,3}\.\d{3,}",
            r"(?i)\b(?:hi|hello|dear|welcome back),?\s+\p{Lu}",
            r"(?i)\b\d{1,5}\s+\w+\s+(?:street|road|avenue|lane)\b",
            r"\beyJ[\w-]{8,}\.",
            r"\b0x[0-9a-fA-F]{40}\b",
            r"(?i)\b(?:passport|ssn|iban|tel)\b.{0,12}\d{3}",
        ];
        let plain = regex::RegexSet::new(patterns)?;
        let interface: Vec<&str> =
            rows.iter().filter(|row| row.kind == "neg_ui").map(|row| row.text.as_str()).collect();
        let mix: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let mut table = Table::new(&["texts", "the gate", "goal", "texts not seen before", "12 plain patterns"]);
        for (name, texts, goal) in [("interface texts", &interface, 1_000_000), ("all texts", &mix, 400_000)] {
            let gate = self.rate(texts, |text| first_rule(text).is_some());
            let fresh = self.rate(texts, |text| judge(text).is_some());
            let set = self.rate(texts, |text| plain.is_match(text));
            table.row(vec![name.to_owned(), count(gate), count(f64::from(goal)), count(fresh), count(set)]);
        }
        table.print("Texts a second on one core");
        Ok(())
    }

    /// The best of three rounds: what else the machine does only slows.
    fn rate(&self, texts: &[&str], verdict: impl Fn(&str) -> bool) -> f64 {
        let round = || {
            let (start, mut read) = (Instant::now(), 0_u32);
            while start.elapsed().as_millis() * 3 < u128::from(self.seconds) * 1_000 {
                for text in texts {
                    black_box(verdict(black_box(text)));
                }
                read += u32::try_from(texts.len()).unwrap_or(u32::MAX);
            }
            f64::from(read) / start.elapsed().as_secs_f64()
        };
        (0..3).map(|_| round()).fold(0.0, f64::max)
    }
}

fn read(path: &std::path::Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read: name the folder of the data sets with --data", path.display()))?;
    let rows: Vec<Row> = text
        .lines()
        .enumerate()
        .map(|(at, line)| {
            let row: Value = serde_json::from_str(line).with_context(|| format!("line {}", at + 1))?;
            let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let entities = row["entities"].as_array().into_iter().flatten().filter_map(Value::as_str);
            Ok(Row {
                text: word("text"),
                is_private: row["has_pii"].as_bool().unwrap_or_default(),
                entities: entities.map(str::to_owned).collect(),
                kind: word("kind"),
                is_core: word("tier") == "core",
            })
        })
        .collect::<Result<_>>()?;
    if rows.is_empty() {
        bail!("{} holds no rows", path.display());
    }
    Ok(rows)
}

fn quality(rows: &[Row]) {
    let mut table = Table::new(&["", "withheld", "share", "95 % interval", "goal"]);
    #[expect(clippy::cast_precision_loss, reason = "some thousand rows")]
    let mut show = |name: &str, goal: &str, belongs: &dyn Fn(&Row) -> bool| {
        let part: Vec<&Row> = rows.iter().filter(|row| belongs(row)).collect();
        let hits = part.iter().filter(|row| first_rule(&row.text).is_some()).count();
        let (low, high) = wilson(hits as f64, part.len() as f64);
        let share = if part.is_empty() { 0.0 } else { hits as f64 / part.len() as f64 };
        table.row(vec![
            name.to_owned(),
            format!("{hits} of {}", part.len()),
            format!("{share:.4}"),
            format!("{low:.4}–{high:.4}"),
            goal.to_owned(),
        ]);
    };
    let core = |row: &Row| row.is_private && row.is_core;
    show("all that is private", "≥ .99", &core);
    show("a person in context", "≥ .95", &|row| core(row) && row.kind == "pos_person_ctx");
    let mut entities: BTreeMap<&str, usize> = BTreeMap::new();
    for entity in rows.iter().filter(|row| core(row)).flat_map(|row| &row.entities) {
        *entities.entry(entity).or_default() += 1;
    }
    for (entity, count) in entities {
        let goal = match entity {
            "PHONE" | "EMAIL" | "CARD" | "IBAN" | "IP" | "NATIONAL_ID" => "≥ .99",
            "SECRET" => "≥ .98",
            "ADDRESS" => "≥ .95",
            _ if count < 20 => "(few)",
            _ => "",
        };
        show(&format!("  {entity}"), goal, &|row| core(row) && row.entities.iter().any(|one| one == entity));
    }
    show("interface texts", "< .005", &|row| row.kind == "neg_ui");
    show("catalogue texts", "< .015", &|row| row.kind == "neg_catalog");
    show("all of interfaces", "", &|row| UI.contains(&row.kind.as_str()));
    show("titles like names", "< .05", &|row| row.kind == "neg_hard_namelike");
    show("hard numbers", "", &|row| row.kind == "neg_hard_number");
    show("bare names (for the crowd rule)", "", &|row| row.kind == "pos_person_bare");
    table.print("Texts that are withheld");
}

/// What may be shown only once a crowd has shown it; the rest of what looks like a name is withheld by a rule.
fn crowd(rows: &[Row]) {
    let mut table = Table::new(&["", "wait or are withheld", "of", "goal"]);
    for (name, kind, goal) in [
        ("bare names", "pos_person_bare", "all"),
        ("interface texts", "neg_ui", "≤ 5 %"),
        ("interface texts with numbers", "neg_ui_filled", "≤ 5 %"),
        ("catalogue texts", "neg_catalog", ""),
        ("titles like names", "neg_hard_namelike", ""),
    ] {
        let part: Vec<&Row> = rows.iter().filter(|row| row.kind == kind).collect();
        let held = |row: &&&Row| looks_like_name(&row.text) || first_rule(&row.text).is_some();
        let waits = part.iter().filter(held).count();
        table.row(vec![name.to_owned(), waits.to_string(), part.len().to_string(), goal.to_owned()]);
    }
    table.print("Texts at their first visit");
}

/// Visits, and what became of their texts: names of many at one control, one person for sixty days, static labels.
fn visits(rows: &[Row]) -> Result<()> {
    let of = |kind: &'static str| rows.iter().filter(move |row| row.kind == kind).map(|row| row.text.as_str());
    let names: Vec<&str> = of("pos_person_bare").collect();
    let mut table = Table::new(&["visits", "texts shown", "of", "goal"]);
    let mut row = |name: &str, shown: usize, all: usize, goal: &str| {
        table.row(vec![name.to_owned(), shown.to_string(), all.to_string(), goal.to_owned()]);
    };
    // The first names are shown by up to a dozen visitors each, in an order that only looks random.
    let mut order: Vec<&str> = names.iter().enumerate().flat_map(|(at, name)| vec![*name; 1 + 60 / (5 + at)]).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (1..order.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        order.swap(at, usize::try_from(random >> 33)? % (at + 1));
    }
    let mut replay = Replay::new()?;
    let mut shown = 0;
    for (at, text) in order.iter().enumerate() {
        let visit = Visit { text, at: 0, visitor: at, network: u32::try_from(at)?, day: 0 };
        shown += usize::from(!replay.visit(&visit)?.is_empty());
    }
    row("bare names at one control, up to 13 visitors each", shown, order.len(), "0");
    let mut replay = Replay::new()?;
    let mut shown = 0;
    for day in 0..60_u32 {
        for (at, text) in names.iter().take(5).enumerate() {
            let visitor = usize::try_from(day)?;
            let visit = Visit { text, at, visitor, network: 1, day: day.into() };
            shown += usize::from(!replay.visit(&visit)?.is_empty());
        }
    }
    row("one person, 60 days, cookies cleared daily", shown, 300, "0");
    let mut replay = Replay::new()?;
    let (mut shown, mut all) = (0, 0);
    for (at, text) in of("neg_ui").enumerate() {
        all += 1;
        shown += usize::from(!replay.visit(&Visit { text, at, visitor: at, network: 1, day: 0 })?.is_empty());
    }
    row("static labels at their first visit", shown, all, "≥ 95 %");
    table.print("Visits");
    Ok(())
}

/// Wilson's interval of a share.
fn wilson(hits: f64, count: f64) -> (f64, f64) {
    if count == 0.0 {
        return (0.0, 1.0);
    }
    let z = 1.96;
    let (share, scale) = (hits / count, 1.0 + z * z / count);
    let centre = (share + z * z / (2.0 * count)) / scale;
    let half = z * (share * (1.0 - share) / count + z * z / (4.0 * count * count)).sqrt() / scale;
    ((centre - half).max(0.0), (centre + half).min(1.0))
}
