//! `erase`: persons out of millions of events while more arrive: how soon nobody reads them, how soon their bytes are gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use convizit_model::{EventId, NewEvent, Person, Project, ProjectSettings, ProjectWork, Timestamp, Work};
use convizit_store::Store;

use crate::table::{Table, count, note, say};
use crate::{machine, server};

/// Events of one of the worker's transactions.
const STRETCH: u64 = 1_500;
/// How often readers look whether anything of the erased is left.
const LOOK: Duration = Duration::from_millis(200);

/// Erases persons under load, and looks for what is left of them.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// Events that are stored before.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Visitors who made them.
    #[arg(long, default_value_t = 100_000)]
    visitors: u64,
    /// How many of them are erased.
    #[arg(long, default_value_t = 1_000)]
    erased: u64,
    /// Events a second that arrive meanwhile.
    #[arg(long, default_value_t = 3_000)]
    rate: u64,
}

/// Visitor numbers in an order without pattern: consecutive events are of different visitors.
fn visitor_of(n: u64, visitors: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9) % visitors
}

fn id_of(millis: i64, n: u64) -> Result<EventId> {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    (bytes[6], bytes[8]) = (0x70, 0x80);
    bytes[9..].copy_from_slice(&n.to_be_bytes()[1..]);
    EventId::from_bytes(bytes).map_err(|error| anyhow!("{error}"))
}

fn event(n: u64, visitors: u64, now: Timestamp) -> Result<NewEvent> {
    let visitor = visitor_of(n, visitors);
    let id = id_of(now.as_millis(), n)?;
    let json = serde_json::json!({
        "id": id, "project": "shop", "source": "convizit", "schema": 1, "name": "Add to cart", "name_state": "published", "type": "click",
        "time": now, "received": now, "visitor": format!("visitor-{visitor}"), "session": {"id": format!("s{visitor}"), "start": now},
        "user": null, "consent": {"analytics": true, "ads": null, "gpc": false},
        "page": {"url": "https://shop.example/p/:id", "path": "/p/:id", "title": "Trail shoe", "type": "Product", "language": "en", "referrer": null},
        "element": {"id": "el_0000000000000001", "role": "button", "label": "Add to cart", "section": "All products"},
        "properties": {"Product name": format!("canary of {visitor}"), "Product price": n % 97}, "device": {"platform": "web"},
        "location": {"country": "DE", "region": null}
    });
    Ok(NewEvent {
        id,
        name: 1,
        hour: now.hour(),
        day: now.day(),
        visitor: format!("visitor-{visitor}"),
        user: None,
        since: now,
        json: serde_json::to_vec(&json)?,
    })
}

async fn put(store: &Store, project: &Project, numbers: std::ops::Range<u64>, visitors: u64) -> Result<()> {
    let from = store.worker_offset().await?;
    let now = store.clock().now();
    let events = numbers.map(|n| event(n, visitors, now)).collect::<Result<Vec<_>>>()?;
    let share = ProjectWork {
        number: project.number,
        project: project.id.clone(),
        events,
        rows: Vec::new(),
        outcomes: Vec::new(),
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    // A stretch that met an erasure is made anew, as the worker does.
    let mut work = Work { from, to: from + 1, projects: vec![share] };
    for _ in 0..50 {
        match store.commit_work(work.clone()).await {
            Ok(()) => return Ok(()),
            Err(convizit_store::StoreError::Moved { .. }) => work.from = store.worker_offset().await?,
            Err(error) => return Err(error.into()),
        }
        work.to = work.from + 1;
    }
    Err(anyhow!("a stretch was not committed in 50 tries"))
}

/// Events of these visitors, and all events, read from the first to the last.
async fn search(store: &Store, project: i64, wanted: &HashSet<String>, made: Timestamp) -> Result<(u64, u64)> {
    let (mut after, mut found, mut all) = (0, 0, 0);
    loop {
        let events = store.events_after(project, after, 20_000, 64 << 20).await?;
        let Some(last) = events.last() else { return Ok((found, all)) };
        after = last.number;
        all += events.len() as u64;
        for event in events {
            #[derive(serde::Deserialize)]
            struct Whose<'a> {
                visitor: &'a str,
                received: Timestamp,
            }
            let whose: Whose<'_> = serde_json::from_slice(&event.json)?;
            found += u64::from(wanted.contains(whose.visitor) && whose.received <= made);
        }
    }
}

impl Erase {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let store = server::open(folder.path()).await?;
        let project = store
            .create_project(&"shop".parse().map_err(|error| anyhow!("{error}"))?, ProjectSettings::default())
            .await?;
        let started = Instant::now();
        let mut n = 0;
        while n < self.events {
            let end = (n + STRETCH).min(self.events);
            put(&store, &project, n..end, self.visitors).await?;
            if n % 500_000 < STRETCH {
                note(&format!("{} events stored", count(n as f64)));
            }
            n = end;
        }
        note(&format!("filled in {:.0} s; frames are merged", started.elapsed().as_secs_f64()));
        store.upkeep().await?;
        let wanted: HashSet<String> = (0..self.erased).map(|visitor| format!("visitor-{visitor}")).collect();
        let (before, all) = search(&store, project.number, &wanted, store.clock().now()).await?;
        ensure!(all == self.events, "{all} of {} events can be read", self.events);
        note(&format!("{before} events of the {} visitors are found before", self.erased));

        // Ingestion at its rate, from now to the end.
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(self.events)));
        let load = {
            let (store, project, stop, written) = (store.clone(), project.clone(), stop.clone(), written.clone());
            let (visitors, rate) = (self.visitors, self.rate);
            tokio::spawn(async move {
                let (began, first) = (Instant::now(), written.load(Ordering::Relaxed));
                let mut slowest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let n = written.load(Ordering::Relaxed);
                    let start = Instant::now();
                    put(&store, &project, n..n + 150, visitors).await?;
                    slowest = slowest.max(start.elapsed());
                    written.store(n + 150, Ordering::Relaxed);
                    let due = Duration::from_secs_f64((n + 150 - first) as f64 / rate as f64);
                    tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
                }
                anyhow::Ok((began.elapsed(), written.load(Ordering::Relaxed) - first, slowest))
            })
        };
        tokio::time::sleep(Duration::from_secs(3)).await;
        let persons: Vec<Person> = wanted.iter().map(|id| Person::Visitor(id.clone())).collect();
        let asked = Instant::now();
        store.erase(&project, &persons).await.context("erasing")?;
        let answered = asked.elapsed();
        let made = store.erasures(project.number).await?.first().map(|erasure| erasure.made).context("no erasure")?;
        // The first whole reading that began after the answer.
        let (left, _) = search(&store, project.number, &wanted, made).await?;
        let read = asked.elapsed();
        while store.erasures(project.number).await?.iter().any(|erasure| erasure.open > 0) {
            tokio::time::sleep(LOOK).await;
        }
        let rewritten = asked.elapsed();
        stop.store(true, Ordering::Relaxed);
        let (took, arrived, slowest) = load.await??;
        let total = written.load(Ordering::Relaxed);
        store.close().await;
        drop(store);
        // The bytes themselves: what frames hold when the ledger is silent.
        let store = server::open_without_journal(folder.path()).await?;
        let (after, all) = search(&store, project.number, &wanted, made).await?;
        let expected = total - before;
        store.close().await;
        let mut table = Table::new(&["", "measured", "figure"]);
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        table.row(vec![
            format!("events of {} of {} visitors before", self.erased, count(self.visitors as f64)),
            count(before as f64),
            "all".to_owned(),
        ]);
        table.row(vec!["the command's answer".to_owned(), seconds(answered), String::new()]);
        table.row(vec!["of theirs found by a whole reading after it".to_owned(), left.to_string(), "0".to_owned()]);
        table.row(vec!["… which ended after".to_owned(), seconds(read), "60 s".to_owned()]);
        table.row(vec![
            "frames rewritten, pages given back, log emptied".to_owned(),
            seconds(rewritten),
            "3 600 s".to_owned(),
        ]);
        table.row(vec!["of theirs in the frames after a restart".to_owned(), after.to_string(), "0".to_owned()]);
        let kept = format!("{} of {}", count(all as f64), count(expected as f64));
        table.row(vec!["events of everybody else".to_owned(), kept, "all and those who came back".to_owned()]);
        let rate = format!(
            "{:.0} a second, slowest transaction {:.0} ms",
            arrived as f64 / took.as_secs_f64(),
            slowest.as_secs_f64() * 1e3
        );
        table.row(vec!["ingestion meanwhile".to_owned(), rate, format!("{} a second", self.rate)]);
        table.print(&format!(
            "Erasing {} of {} visitors in {} events",
            self.erased,
            count(self.visitors as f64),
            count(self.events as f64)
        ));
        Ok(())
    }
}
