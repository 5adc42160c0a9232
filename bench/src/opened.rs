//! Opens everything that a data folder holds, for whoever looks for what must not be there: tests/e2e/canary.test.mjs.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::server;

/// Bytes of the journal that are read at once.
const CHUNK: usize = 4 << 20;

#[derive(Debug, Args)]
pub(crate) struct Opened {
    /// The folder in which `data` lies. Nothing may be serving from it.
    folder: PathBuf,
}

impl Opened {
    /// Prints one line for each thing: its place, a tab, its contents.
    pub(crate) async fn run(&self) -> Result<()> {
        let store = server::open(&self.folder).await?;
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut line = |place: &str, bytes: &[u8]| -> Result<()> {
            Ok(writeln!(out, "{place}\t{}", String::from_utf8_lossy(bytes).replace('\n', "\\n"))?)
        };
        // What is processed is no longer there.
        let mut after = store.worker_offset().await?;
        loop {
            let batches = store.journal_read(after, CHUNK).await?;
            let Some(last) = batches.last() else { break };
            after = last.offset;
            for record in batches.iter().flat_map(|batch| &batch.records) {
                line("journal", record)?;
            }
        }
        for project in store.projects().await? {
            let number = project.number;
            let mut after = 0;
            loop {
                let events = store.events_after(number, after, 1000, CHUNK).await?;
                let Some(last) = events.last() else { break };
                after = last.number;
                for event in &events {
                    line("frame", &event.json)?;
                }
            }
            for row in store.load_state(number).await? {
                line("registry", &row.body)?;
            }
            for name in store.events_by_name(number).await?.into_keys() {
                for sample in store.samples(number, name).await? {
                    line("sample", &serde_json::to_vec(&sample)?)?;
                }
            }
            for destination in store.destinations(Some(&project.id)).await? {
                let name = &destination.destination.name;
                for dead in store.dead_letters(&project.id, name, 10_000).await? {
                    line("dead letter", dead.reason.as_bytes())?;
                    for event in store.events_after(number, dead.number - 1, 1, CHUNK).await? {
                        line("dead letter", &event.json)?;
                    }
                }
            }
            for notice in store.notices(true).await? {
                line("notice", &serde_json::to_vec(&notice)?)?;
            }
        }
        out.flush()?;
        drop(out);
        store.close().await;
        Ok(())
    }
}
