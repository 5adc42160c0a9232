//! Packs the words that `data/words.py` lists into `data/words.fst`.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use clap::Args;

/// Reads `word<TAB>number` lines in the order of their bytes, writes the map.
#[derive(Debug, Args)]
pub(crate) struct Lexicon {}

impl Lexicon {
    pub(crate) fn run() -> Result<()> {
        let mut map = fst::MapBuilder::memory();
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let (word, number) =
                line.split_once('\t').with_context(|| format!("{line}: a word, a tab and a number"))?;
            map.insert(word, number.parse()?)?;
        }
        std::io::stdout().lock().write_all(&map.into_inner()?)?;
        Ok(())
    }
}
