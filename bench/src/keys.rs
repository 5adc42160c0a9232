//! `keys`: keys of days wrapped anew while events arrive; and the audit log verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use convizit_model::{ProjectSettings, ProjectWork, Work};
use convizit_store::Store;

use crate::table::{Table, count, note, say};
use crate::{machine, server};

/// Wraps keys of days anew under load; verifies an audit log.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Keys of days.
    #[arg(long, default_value_t = 100_000)]
    keys: i64,
    /// Projects that have them.
    #[arg(long, default_value_t = 50)]
    projects: i64,
    /// Entries of the audit log.
    #[arg(long, default_value_t = 1_000_000)]
    entries: usize,
}

impl Keys {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let store = server::open(folder.path()).await?;
        let mut table = Table::new(&["", "count", "seconds", "a second", "errors"]);
        self.rewrap(&store, &mut table).await?;
        self.audit(&store, &mut table).await?;
        store.close().await;
        table.print("Keys of days wrapped anew under load, and the audit log verified");
        Ok(())
    }

    async fn rewrap(&self, store: &Store, table: &mut Table) -> Result<()> {
        let mut projects = Vec::new();
        for n in 0..self.projects {
            let id = format!("p{n}").parse().map_err(|error| anyhow!("{error}"))?;
            projects.push(store.create_project(&id, ProjectSettings::default()).await?);
        }
        let days = self.keys / self.projects;
        for day in 0..days {
            let numbers: Vec<i64> = projects.iter().map(|project| project.number).collect();
            store.make_keys_of_day(&numbers, 30_000 + day).await?;
            if day % 500 == 0 {
                note(&format!("{} keys made", count((day * self.projects) as f64)));
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let load = {
            let (store, stop, project) = (store.clone(), stop.clone(), projects.first().cloned());
            tokio::spawn(async move {
                let (mut commits, mut errors) = (0_u64, 0_u64);
                let Some(project) = project else { return (0, 0) };
                while !stop.load(Ordering::Relaxed) {
                    let from = store.worker_offset().await.unwrap_or(0);
                    let share = ProjectWork {
                        number: project.number,
                        project: project.id.clone(),
                        events: Vec::new(),
                        rows: (0..20).map(row).collect(),
                        outcomes: Vec::new(),
                        withheld: Vec::new(),
                        rulings: Vec::new(),
                        quarantined: Vec::new(),
                        dropped: Vec::new(),
                    };
                    let done = store.commit_work(Work { from, to: from + 1, projects: vec![share] }).await;
                    let read = store.load_state(project.number).await;
                    commits += 1;
                    errors += u64::from(done.is_err() || read.is_err());
                }
                (commits, errors)
            })
        };
        let start = Instant::now();
        let (mut rewrapped, now) = (0, store.clock().now());
        for project in &projects {
            store.rotate_project_key(project.number).await?;
        }
        // The new versions seal after a minute: wrapping does not wait for it here, by asking as of then.
        let then = now.plus_millis(120_000);
        for project in &projects {
            rewrapped += store.rewrap_days(project.number, 1, then).await?;
        }
        let took = start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let (commits, errors) = load.await?;
        ensure!(i64::try_from(rewrapped)? == days * self.projects, "{rewrapped} keys were wrapped anew");
        let rate = |number: f64| count(number / took);
        table.row(vec![
            "keys of days wrapped anew".to_owned(),
            count(rewrapped as f64),
            format!("{took:.1}"),
            rate(rewrapped as f64),
            "0".to_owned(),
        ]);
        table.row(vec![
            "… commits and readings beside it".to_owned(),
            count(commits as f64),
            format!("{took:.1}"),
            rate(commits as f64),
            errors.to_string(),
        ]);
        Ok(())
    }

    async fn audit(&self, store: &Store, table: &mut Table) -> Result<()> {
        let before = store.verify_audit(&[]).await?.entries;
        store.audit_many("test.entry", "shop", self.entries).await?;
        let start = Instant::now();
        let report = store.verify_audit(&[]).await?;
        let took = start.elapsed().as_secs_f64();
        ensure!(report.problem.is_none(), "{:?}", report.problem);
        ensure!(report.entries == before + i64::try_from(self.entries)?, "{} entries", report.entries);
        let entries = report.entries as f64;
        table.row(vec![
            "entries of the audit log verified".to_owned(),
            count(entries),
            format!("{took:.1}"),
            count(entries / took),
            "0".to_owned(),
        ]);
        Ok(())
    }
}

fn row(key: u64) -> convizit_model::StateRow {
    convizit_model::StateRow {
        kind: convizit_model::StateKind::Decision,
        key,
        expires_day: None,
        body: b"a row that is sealed anew each time".to_vec(),
    }
}
