//! `convizit name` and `convizit scrub`: the faces by which naming and the text gate are measured from outside. No disk, no visitors.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use convizit_model::{Descriptor, PageBlock};
use convizit_pipeline::{NameOptions, NamedDescriptor, Registry, name_descriptor, scrub_text};
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

/// `convizit scrub`.
pub(crate) fn scrub() -> Result<()> {
    #[derive(Deserialize)]
    struct Text {
        id: Value,
        text: String,
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let wrong = for_each(std::io::stdin().lock(), "standard input", |line: Text| {
        let rules = scrub_text(&line.text);
        let answer = serde_json::json!({"id": line.id, "withheld": !rules.is_empty(), "rules": rules});
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
fn for_each<T: for<'de> Deserialize<'de>>(
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
        match serde_json::from_slice(&line) {
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
