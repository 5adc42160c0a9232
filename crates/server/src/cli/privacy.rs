//! `convizit privacy`: what was withheld, for whoever has to answer for a site's visitors.

use anyhow::Result;
use clap::Subcommand;
use convizit_model::withheld::{monday_of, week_of};
use convizit_model::{ProjectId, Timestamp};
use convizit_store::Store;

use crate::cli::{say, table};

const DAY_MILLIS: i64 = 86_400_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Privacy {
    /// What was withheld of a project, by week, field, rule and side; never a text.
    #[command(after_help = "Example: convizit privacy report shop --weeks 4")]
    Report {
        /// The project.
        project: ProjectId,
        /// So many weeks back, this one included; two years are kept.
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=104))]
        weeks: u32,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

impl Privacy {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        let Self::Report { project, weeks, json } = self;
        let number = store.project(&project).await?.number;
        let from = week_of(store.clock().now().day()) - i64::from(weeks) + 1;
        let found = store.withheld(number, from).await?;
        let monday = |week: i64| {
            let text = Timestamp::from_millis(monday_of(week) * DAY_MILLIS).to_string();
            text.split('T').next().unwrap_or_default().to_owned()
        };
        if json {
            let lines: Vec<serde_json::Value> = found
                .iter()
                .map(|line| {
                    serde_json::json!({"week": monday(line.week), "field": line.field, "rule": line.rule, "by": line.side, "items": line.items})
                })
                .collect();
            return say(serde_json::Value::from(lines).to_string());
        }
        if found.is_empty() {
            return say(format!("Nothing of {project} was withheld in {weeks} weeks."));
        }
        let rows: Vec<Vec<String>> = found
            .into_iter()
            .map(|line| vec![monday(line.week), line.field, line.rule, line.side, line.items.to_string()])
            .collect();
        table(&["week of", "field", "rule", "by", "times"], &rows)
    }
}
