//! Before something is destroyed: what will be, and a question, unless `--yes` was said.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::say;

/// How a destructive command is held.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Hold {
    /// Does it without asking.
    #[arg(long)]
    yes: bool,
    /// Says what it would do, and does nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

impl Hold {
    /// Whether only to say what would be done.
    pub(crate) fn is_dry(self) -> bool {
        self.dry_run
    }

    /// Whether it is to be done without looking.
    pub(crate) fn is_said(self) -> bool {
        self.yes
    }

    /// Says what will be done and asks; false when it is not to be done.
    pub(crate) fn goes_on(self, what: &str) -> Result<bool> {
        if self.dry_run {
            say(format!("would {what}; nothing was done (--dry-run)"))?;
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        let mut stderr = std::io::stderr();
        if !std::io::stdin().is_terminal() {
            bail!("this will {what}: say --yes, or --dry-run to look first");
        }
        write!(stderr, "This will {what}. Type yes to go on: ")?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() != "yes" {
            bail!("nothing was done");
        }
        Ok(true)
    }
}
