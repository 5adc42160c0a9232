//! Pages of the connectors for `docs/destinations`, made from the manifests, so that what is read there is what is done.

use std::fmt::Write as _;

use serde_json::Value;

use super::manifest::{ConsentRule, ErasesWhom, Needs, Rate, Style};
use super::{Connector, built_in};

/// What a proof means.
const PROOFS: [(&str, &str); 4] = [
    ("real-server", "the system itself ran in the tests"),
    ("vendor-emulator", "the vendor's own emulator ran in the tests"),
    ("third-party-emulator", "somebody else's emulator ran in the tests"),
    ("spec-only", "requests are held to the vendor's specification and documents; nothing of the vendor's ran"),
];
/// Those that are written in Rust: id, name, group, proof, page.
const OWN: [(&str, &str, &str, &str); 3] = [
    ("webhook", "Webhook (signed)", "cdp", "real-server"),
    ("postgres", "PostgreSQL", "warehouse", "real-server"),
    ("file", "File of JSON Lines", "storage", "real-server"),
];

/// The table of all of them.
pub(super) fn table() -> String {
    let mut rows: Vec<[String; 4]> = OWN
        .iter()
        .map(|(id, name, group, proof)| {
            [(*group).to_owned(), format!("[{name}](../destinations.md)"), format!("`{id}`"), (*proof).to_owned()]
        })
        .collect();
    for connector in built_in() {
        let meta = &connector.manifest.meta;
        let note = if meta.proof_note.is_empty() { String::new() } else { format!(" ({})", meta.proof_note) };
        rows.push([
            meta.group.clone(),
            format!("[{}]({}.md)", meta.name, meta.id),
            format!("`{}`", meta.id),
            format!("{}{note}", meta.proof),
        ]);
    }
    rows.sort();
    let mut text = String::from(
        "# Connectors\n\nMade from the manifests in `crates/delivery/connectors` by the tests; `convizit destinations` prints the same. How one is \
         added to a project: [destinations](../destinations.md). How a vendor is added to the product: CONTRIBUTING.md.\n\n",
    );
    writeln!(text, "{} connectors. What each proof means:\n", rows.len()).ok();
    for (proof, means) in PROOFS {
        let many = rows.iter().filter(|row| row[3].starts_with(proof)).count();
        writeln!(text, "- **{proof}** ({many}): {means}").ok();
    }
    text.push_str("\n| for | connector | id | proof |\n|---|---|---|---|\n");
    for [group, name, id, proof] in rows {
        writeln!(text, "| {group} | {name} | {id} | {proof} |").ok();
    }
    text
}

/// Which events a `[[send]]` takes by its condition.
fn when(rule: &Value) -> String {
    let setting = rule["of"].as_str().and_then(|of| of.strip_prefix("$settings."));
    match (setting, rule["is"].as_str()) {
        (Some(setting), Some(is)) => format!(", where `{setting}` is `{is}`"),
        _ => " that meets its condition".to_owned(),
    }
}

impl Connector {
    /// Its page.
    pub(super) fn page(&self) -> String {
        let manifest = &self.manifest;
        let meta = &manifest.meta;
        let mut text = format!("# {}\n\n{}\n\n", meta.name, meta.about);
        let means = PROOFS.iter().find(|(proof, _)| *proof == meta.proof).map_or("", |(_, means)| means);
        let note = if meta.proof_note.is_empty() { String::new() } else { format!(" {}.", meta.proof_note) };
        writeln!(text, "Proof: **{}** – {means}.{note}\n", meta.proof).ok();
        writeln!(text, "## Credential\n\n{} See [{}]({}).\n", meta.credential, meta.name, meta.docs).ok();
        if !meta.prepare.is_empty() {
            writeln!(text, "## Make this there first\n\n```\n{}\n```\n", meta.prepare.trim()).ok();
        }
        text.push_str("## Add it\n\n```sh\nconvizit destination add shop ");
        write!(text, "{} connector {}", meta.id.replace('_', "-"), meta.id).ok();
        if manifest.hosts.len() > 1 {
            write!(text, " --region {}", manifest.hosts.keys().next().map_or("", String::as_str)).ok();
        }
        for setting in manifest.settings.iter().filter(|setting| setting.default.is_none()) {
            if setting.secret {
                write!(text, " \\\n  --secret-env {}={}", setting.id, setting.id.to_uppercase()).ok();
            } else {
                write!(text, " \\\n  --set {}=…", setting.id).ok();
            }
        }
        let region = if manifest.hosts.len() > 1 { "" } else { " --processor-region …" };
        write!(text, " \\\n  --processor …{region} --agreement 2026-10-01").ok();
        text.push_str("\n```\n\n");
        if !manifest.settings.is_empty() || manifest.hosts.len() > 1 {
            text.push_str("| setting | what | |\n|---|---|---|\n");
            if manifest.hosts.len() > 1 {
                let regions: Vec<&str> = manifest.hosts.keys().map(String::as_str).collect();
                writeln!(text, "| region | where the account is | one of {} |", regions.join(", ")).ok();
            }
            for setting in &manifest.settings {
                let mut more: Vec<String> = Vec::new();
                if !setting.hint.is_empty() {
                    more.push(setting.hint.clone());
                }
                if setting.secret {
                    more.push("secret: sealed, shown to nobody".to_owned());
                }
                if let Some(default) = &setting.default {
                    more.push(if default.is_empty() {
                        "may be empty".to_owned()
                    } else {
                        format!("`{default}` when empty")
                    });
                }
                writeln!(text, "| `{}` | {} | {} |", setting.id, setting.label, more.join("; ").replace('|', "\\|"))
                    .ok();
            }
            text.push('\n');
        }
        text.push_str("## What is sent\n\n");
        for (index, send) in manifest.send.iter().enumerate() {
            let types = if send.types.is_empty() {
                if index == 0 { "every event".to_owned() } else { "every other event".to_owned() }
            } else {
                send.types.join(", ")
            };
            let when = send.when.as_ref().map(when).unwrap_or_default();
            if let Some(protocol) = manifest.protocol {
                let (to, most, many) = (&send.path, send.batch.max_item_bytes / 1_000, send.batch.max_events);
                let how = if protocol.erases() {
                    format!("up to {many} rows in a statement")
                } else {
                    format!("each for itself, up to {many} on their way before the first is acknowledged")
                };
                writeln!(text, "- {types}{when}: to `{to}`, {how}, each of at most {most} kB").ok();
                continue;
            }
            let most = match send.batch.max_events {
                1 => "one a request".to_owned(),
                many => format!("up to {many} in a request of {} kB", send.batch.max_bytes / 1_000),
            };
            writeln!(
                text,
                "- {types}{when}: `{} {}`, {most}, each of at most {} kB",
                send.method,
                send.path,
                send.batch.max_item_bytes / 1_000
            )
            .ok();
            if !send.batch.columns.is_empty() {
                let columns =
                    send.batch.columns.iter().map(|column| format!("`{}` ({})", column.name, column.kind.as_str()));
                writeln!(text, "  - columns, each of which may be null: {}", columns.collect::<Vec<_>>().join(", "))
                    .ok();
            }
            if let Some(name) = &send.name {
                let style = if name.style == Style::Slug { ", written as `product_price`" } else { "" };
                writeln!(text, "  - names: at most {} characters{style}", name.max).ok();
            }
            for limit in &send.limit {
                let mut bounds = Vec::new();
                if limit.count > 0 {
                    bounds.push(format!("at most {} fields", limit.count));
                }
                if limit.key > 0 {
                    bounds.push(format!("keys of at most {} characters", limit.key));
                }
                if limit.value > 0 {
                    bounds.push(format!("texts of at most {} characters", limit.value));
                }
                if limit.value_bytes > 0 {
                    bounds.push(format!("texts of at most {} bytes", limit.value_bytes));
                }
                if limit.keys == Style::Slug {
                    bounds.push("keys written as `product_price`".to_owned());
                }
                if !bounds.is_empty() {
                    writeln!(text, "  - `{}`: {}", limit.at, bounds.join(", ")).ok();
                }
            }
        }
        let sample = serde_json::from_str::<serde_json::Value>(&self.sample_body()).ok();
        if let Some(body) = sample.and_then(|body| serde_json::to_string_pretty(&body).ok()) {
            let what = if self.is_native() { "record" } else { "request" };
            writeln!(text, "\nThe first {what} for the sample events (`convizit destinations --check` prints such {what}s):\n\n```json\n{body}\n```").ok();
        }
        text.push_str("\n## What to know\n\n");
        let dedup = &manifest.dedup;
        match (dedup.field.as_str(), dedup.window_hours) {
            ("", _) => text.push_str(
                "- Repeats: the vendor knows none; after a crash or an unclear answer an event may be there twice.\n",
            ),
            (field, 0) => writeln!(text, "- Repeats are known by `{field}`.").unwrap_or(()),
            (field, hours) => writeln!(text, "- Repeats are known by `{field}` for {hours} hours.").unwrap_or(()),
        }
        if !dedup.note.is_empty() {
            writeln!(text, "  {}.", dedup.note.trim_end_matches('.')).ok();
        }
        match manifest.time.max_age_hours {
            0 => {}
            hours => writeln!(text, "- Events older than {hours} hours become dead letters.").unwrap_or(()),
        }
        if manifest.time.clamp_future {
            text.push_str("- A time after that of its receipt becomes that of the receipt.\n");
        }
        if manifest.identity.needs == Needs::User {
            text.push_str("- Only events of users whom the site has named (`convizit.identify`) are sent.\n");
        }
        text.push_str(match manifest.consent {
            ConsentRule::Analytics => "- Nothing is sent of visitors who refused analytics.\n",
            ConsentRule::Ads => {
                "- Only events of visitors who agreed to ads are sent, and none with Global Privacy Control.\n"
            }
        });
        let Rate { per_second, concurrency } = manifest.rate;
        if self.is_native() {
            writeln!(text, "- {concurrency} connections, each with the events of its visitors in order.").ok();
        } else {
            writeln!(text, "- At most {per_second} requests a second, {concurrency} at once.").ok();
        }
        if !manifest.replay.allowed {
            text.push_str("- Events cannot be sent a second time.\n");
        }
        if !manifest.replay.warning.is_empty() {
            writeln!(text, "- Replay: {}", manifest.replay.warning).ok();
        }
        text.push_str(match manifest.erase.as_ref().map(|erase| erase.of) {
            None if manifest.protocol.is_some_and(|protocol| protocol.erases()) => {
                "- Erasure: the rows of users and visitors are deleted.\n"
            }
            None if self.is_native() => {
                "- Erasure: what was sent is not taken back; the receipt says what a person has to do there.\n"
            }
            None => "- Erasure: the vendor has no call that is used; the receipt says what a person has to do there.\n",
            Some(ErasesWhom::All) => "- Erasure: passed on for users and visitors.\n",
            Some(ErasesWhom::Users) => {
                "- Erasure: passed on for users; the receipt says what is left to do for visitors.\n"
            }
            Some(ErasesWhom::Visitors) => {
                "- Erasure: passed on for visitors; the receipt says what is left to do for users.\n"
            }
        });
        text
    }

    fn sample_body(&self) -> String {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/samples");
        let sample =
            std::fs::read_to_string(folder.join(format!("{}.json", self.manifest.meta.id))).unwrap_or_default();
        let sample: serde_json::Value = serde_json::from_str(&sample).unwrap_or_default();
        if self.is_native() {
            return sample["makes"]["records"][0].to_string();
        }
        let body = &sample["makes"]["requests"][0]["body"];
        // The first event of it says enough.
        let mut body = body.clone();
        if let Some(list) = body.as_array_mut() {
            list.truncate(1);
        } else if let Some(fields) = body.as_object_mut() {
            for list in fields.values_mut().filter_map(serde_json::Value::as_array_mut) {
                list.truncate(1);
            }
        }
        body.to_string()
    }
}
