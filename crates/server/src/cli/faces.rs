//! `convizit name` and `convizit scrub`: the faces by which naming and the text gate are measured from outside. No disk, no visitors.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use convizit_model::{Descriptor, PageBlock};
use convizit_pipeline::{NameOptions, NamedDescriptor, Registry, looks_like_name, name_descriptor, scrub_text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Registers the lines of this file first, and learns nothing from the queries.
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// Adds candidates, best first.
    #[arg(long)]
    rank: bool,
}

#[derive(Deserialize)]
struct Line {
    id: Value,
    #[serde(default)]
    page: PageBlock,
    descriptor: Descriptor,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a Value,
    #[serde(flatten)]
    named: NamedDescriptor,
}

impl Name {
    pub(crate) fn run(self) -> Result<()> {
        let mut registry = Registry::default();
        let mut wrong = None;
        if let Some(path) = &self.known {
            let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let name = path.display().to_string();
            wrong = for_each(BufReader::new(file), &name, |line: Line| {
                let options = NameOptions { learn: true, keep: self.rank, rank: false };
                name_descriptor(&mut registry, &text_of(&line.id), &line.page, &line.descriptor, options);
                Ok(())
            })?;
        }
        let mut out = BufWriter::new(std::io::stdout().lock());
        let learn = self.known.is_none();
        let options = NameOptions { learn, keep: learn && self.rank, rank: self.rank };
        let queries = for_each(std::io::stdin().lock(), "standard input", |line: Line| {
            let id = text_of(&line.id);
            let named = name_descriptor(&mut registry, &id, &line.page, &line.descriptor, options);
            serde_json::to_writer(&mut out, &Answer { id: &line.id, named })?;
            Ok(out.write_all(b"\n")?)
        })?;
        done(out, [wrong, queries])
    }
}

#[derive(Debug, Args)]
pub(crate) struct Scrub {
    /// Texts; without any, lines are read.
    texts: Vec<String>,
    /// Reads the lines of this text file, not JSON from standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,
    /// Says what each rule stands for.
    #[arg(long)]
    explain: bool,
}

impl Scrub {
    pub(crate) fn run(self) -> Result<()> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        if let Some(path) = &self.file {
            let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
            for line in BufReader::new(file).split(b'\n') {
                let line = line.with_context(|| format!("{} cannot be read", path.display()))?;
                say_of(&mut out, String::from_utf8_lossy(&line).trim_end(), self.explain)?;
            }
        } else if self.texts.is_empty() {
            return lines(self.explain);
        }
        for text in &self.texts {
            say_of(&mut out, text, self.explain)?;
        }
        Ok(out.flush()?)
    }
}

/// One line for people: the verdict, the rules, the text.
fn say_of(out: &mut impl Write, text: &str, explain: bool) -> Result<()> {
    let rules = scrub_text(text);
    let waits = rules.is_empty() && looks_like_name(text);
    let verdict = match rules.as_slice() {
        [] if waits => "may be a name".to_owned(),
        [] => "may pass".to_owned(),
        rules => format!("withheld by {}", rules.join(", ")),
    };
    writeln!(out, "{verdict:<28} {text}")?;
    if explain && waits {
        writeln!(
            out,
            "  waits: as a label, a heading or a title it is held back until a crowd has shown it (setting crowd)"
        )?;
    }
    for rule in rules.iter().filter(|_| explain) {
        writeln!(out, "  {rule}: {}", meaning(rule))?;
    }
    Ok(())
}

/// What a rule stands for.
fn meaning(rule: &str) -> &'static str {
    match rule {
        "email" => "an e-mail address, in plain or hidden spelling",
        "handle" => "somebody's @name",
        "digits" => {
            "seven digits and more that are no amount, date, time, range or rating: a telephone, account or order number"
        }
        "card" => "a number with the check digit of a payment card",
        "mixed_token" => "letters mixed with five digits and more: an order number, a licence key",
        "secret" => {
            "a key, token or password: by its prefix, by the parameter it stands in, or because nobody writes so"
        }
        "ip" | "mac" => "the address of a device",
        "coords" => "a place on the map",
        "crypto" => "the address of a wallet",
        "iban" => "a bank account",
        "national_id" => "the form of a national or tax id",
        "labelled_number" => "a number behind a label such as passport, date of birth, account, telephone",
        "address" => "a postal address, or what is announced as one",
        "person" => "a name behind a greeting, a title or a label, or with a courtesy behind it",
        "username" => "a user name, in a text or an address",
        _ => "looks private",
    }
}

/// JSON lines in, JSON lines out.
fn lines(explain: bool) -> Result<()> {
    #[derive(Deserialize)]
    struct Text {
        id: Value,
        text: String,
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let wrong = for_each(std::io::stdin().lock(), "standard input", |line: Text| {
        let rules = scrub_text(&line.text);
        let mut answer = serde_json::json!({"id": line.id, "withheld": !rules.is_empty(), "rules": rules});
        if explain {
            answer["why"] = rules.iter().map(|rule| meaning(rule)).collect();
        }
        serde_json::to_writer(&mut out, &answer)?;
        Ok(out.write_all(b"\n")?)
    })?;
    done(out, [None, wrong])
}

fn text_of(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// Every line that is not empty. What cannot be read is said with its line's number, and the others go on; the last such
/// error is returned, so that the command fails.
fn for_each<T: DeserializeOwned>(
    input: impl BufRead,
    name: &str,
    mut each: impl FnMut(T) -> Result<()>,
) -> Result<Option<anyhow::Error>> {
    let mut wrong: Option<anyhow::Error> = None;
    for (index, line) in input.split(b'\n').enumerate() {
        let line = line.with_context(|| format!("{name} cannot be read"))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&convizit_pipeline::whole_characters(&line)) {
            Ok(parsed) => each(parsed)?,
            Err(error) => {
                let error = anyhow::Error::new(error).context(format!("{name}, line {}", index + 1));
                if let Some(before) = wrong.replace(error) {
                    super::fail(&before);
                }
            }
        }
    }
    Ok(wrong)
}

/// The last error, after all has been written.
fn done(mut out: impl Write, wrong: [Option<anyhow::Error>; 2]) -> Result<()> {
    out.flush()?;
    let [first, second] = wrong;
    if let (Some(before), true) = (&first, second.is_some()) {
        super::fail(before);
    }
    second.or(first).map_or(Ok(()), Err)
}
