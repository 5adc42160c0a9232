//! `console`: how long each page takes and what it weighs, of a project with many names and events, while more arrive.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use clap::Args;
use convizit_model::{
    EventId, NameId, NewEvent, Outcome, Project, ProjectSettings, ProjectWork, Received, StateRow, Timestamp, Work,
};
use convizit_pipeline::{Registry, name_events};
use convizit_store::{SessionPlace, Store, TotpSecret};
use serde_json::json;

use crate::cluster::Cluster;
use crate::corpus::{Author, Corpus, ORIGIN};
use crate::server::{Server, Start};
use crate::table::{Table, count, note, percentile, say};
use crate::{load, machine, server};

/// Events of one of the filling's transactions.
const STRETCH: u64 = 5_000;
/// Days over which the events are spread.
const DAYS: i64 = 59;
const DAY_MILLIS: i64 = 86_400_000;
/// Bytes of a page over the wire, and milliseconds of the server, that are to be kept.
const BYTES: usize = 100 * 1024;
const MILLIS: f64 = 50.0;

/// Opens every page of the console again and again.
#[derive(Debug, Args)]
pub(crate) struct Console {
    /// Names of the project.
    #[arg(long, default_value_t = 10_000)]
    names: u64,
    /// Events that they have, the more frequent the lower their number.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Requests of each page.
    #[arg(long, default_value_t = 100)]
    requests: usize,
    /// Events a second that arrive meanwhile.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Where settings and events lie: sqlite, postgres.
    #[arg(long, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    on: Vec<String>,
}

/// Two words for each number, since names are made from texts without their digits.
fn label(n: u64) -> String {
    let word = |mut n: u64| {
        let mut text = String::new();
        for _ in 0..3 {
            text.push(['b', 'd', 'f', 'g', 'k', 'l', 'm', 'n', 'p', 't'][(n % 10) as usize]);
            n /= 10;
            text.push(['a', 'e', 'i', 'o', 'u'][(n % 5) as usize]);
            n /= 5;
        }
        text
    };
    format!("Open {} {}", word(n), word(n / 97 + 31))
}

/// A number without pattern, the same in each run.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn id_of(millis: i64, n: u64) -> Result<EventId> {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    (bytes[6], bytes[8]) = (0x70, 0x80);
    bytes[9..].copy_from_slice(&n.to_be_bytes()[1..]);
    EventId::from_bytes(bytes).map_err(|error| anyhow!("{error}"))
}

/// A control as the product itself named it.
struct Known {
    name: u64,
    text: String,
}

/// A click on the control with this number, received at a time.
fn received(project: &Project, n: u64, at: Timestamp) -> Result<Received> {
    let label = label(n);
    Ok(serde_json::from_value(json!({
        "project": project.id, "number": project.number, "received": at, "clock": 0, "visitor": format!("visitor-{n}"),
        "device": {"platform": "web"}, "location": {"country": "DE"},
        "batch": {"v": 1, "key": project.key, "batch": format!("fill.{}", n + 1), "sent": at, "session": {"id": "s1", "start": at},
            "page": {"url": "https://shop.example/p/:id", "path": "/p/:id", "title": "Shoes", "type": "Product"},
            "events": [{"id": id_of(at.as_millis(), n)?, "type": "click", "time": at, "descriptor": {
                "role": "button", "label": label, "labelSource": "content", "template": label, "tag": "button",
                "context": [{"kind": "section", "name": format!("Section {label}")}, {"kind": "main", "name": ""}], "group": null,
                "properties": {}, "attributes": {"data-testid": label}, "path": format!("main>section#s{n}>button")}}]}
    }))?)
}

async fn commit(store: &Store, project: &Project, events: Vec<NewEvent>, rows: Vec<StateRow>) -> Result<()> {
    store.journal_append(Bytes::from_static(b"{}")).await?;
    let from = store.worker_offset().await?;
    let share = ProjectWork {
        number: project.number,
        project: project.id.clone(),
        outcomes: vec![(Outcome::Accepted, events.len() as u64)],
        events,
        rows,
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    Ok(store.commit_work(Work { from, to: from + 1, projects: vec![share] }).await?)
}

/// The nth event: names come as often as the inverse of their place.
fn event(known: &[Known], n: u64, at: Timestamp) -> Result<NewEvent> {
    let share = (mixed(n) >> 11) as f64 / (1_u64 << 53) as f64;
    let place = ((known.len() as f64).powf(share) as usize).saturating_sub(1);
    let of = known.get(place).context("a name that is none")?;
    let (id, visitor, product) = (id_of(at.as_millis(), n)?, mixed(n) % 200_000, mixed(n + 7) % 500);
    let json = format!(
        r#"{{"id":"{id}","project":"shop","source":"convizit","schema":1,"name":{},"name_state":"published","type":"click","time":"{at}","received":"{at}","visitor":"visitor-{visitor}","session":{{"id":"s{visitor}","start":"{at}"}},"user":null,"consent":{{"analytics":true,"ads":null,"gpc":false}},"page":{{"url":"https://shop.example/p/:id","path":"/p/:id","title":"Shoes","type":"Product","language":"en","referrer":null}},"properties":{{"Product name":"Trail shoe {product}","Product price":{}.9,"Currency":"EUR"}},"device":{{"platform":"web"}},"location":{{"country":"DE","region":null}}}}"#,
        serde_json::to_string(&of.text)?,
        product % 97
    );
    Ok(NewEvent {
        id,
        name: of.name,
        hour: at.hour(),
        day: at.day(),
        visitor: format!("visitor-{visitor}"),
        user: None,
        since: at,
        json: json.into_bytes(),
    })
}

impl Console {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        for on in &self.on {
            self.measure(on == "postgres").await?;
        }
        Ok(())
    }

    /// Names made by the product, and events of them over two months.
    async fn fill(&self, store: &Store, project: &Project) -> Result<Arc<Vec<Known>>> {
        let start = store.clock().now().plus_millis(-DAYS * DAY_MILLIS);
        let mut registry = Registry::default();
        let (mut known, mut events) = (Vec::new(), Vec::new());
        for n in 0..self.names {
            let at = start.plus_millis(i64::try_from(n)?);
            for named in name_events(received(project, n, at)?, &mut registry) {
                known.push(Known { name: named.name, text: named.event.name.clone() });
                events.push(NewEvent {
                    id: named.event.id,
                    name: named.name,
                    hour: at.hour(),
                    day: at.day(),
                    visitor: named.event.visitor.clone(),
                    user: None,
                    since: at,
                    json: serde_json::to_vec(&named.event)?,
                });
            }
            if events.len() >= 500 || n + 1 == self.names {
                commit(store, project, std::mem::take(&mut events), registry.take_changes()).await?;
            }
        }
        let distinct: std::collections::HashSet<u64> = known.iter().map(|known| known.name).collect();
        ensure!(distinct.len() as u64 == self.names, "{} names were made of {}", distinct.len(), self.names);
        note(&format!("{} names made", count(self.names as f64)));
        let (known, all, mut n, began) = (Arc::new(known), self.events, self.names, Instant::now());
        let step = DAYS * DAY_MILLIS / i64::try_from(all.max(1))?.max(1);
        // While one stretch is stored the next is made on the other core.
        let make = |from: u64| {
            let known = known.clone();
            tokio::task::spawn_blocking(move || {
                let at = |n| Ok::<_, anyhow::Error>(start.plus_millis(i64::try_from(n)? * step));
                (from..(from + STRETCH).min(all)).map(|n| event(&known, n, at(n)?)).collect::<Result<Vec<_>>>()
            })
        };
        let mut next = make(n);
        while n < all {
            let end = (n + STRETCH).min(all);
            let events = std::mem::replace(&mut next, make(end)).await??;
            commit(store, project, events, Vec::new()).await?;
            if n / 500_000 != end / 500_000 {
                note(&format!("{} events stored after {:.0} s", count(end as f64), began.elapsed().as_secs_f64()));
            }
            n = end;
        }
        store.upkeep().await?;
        Ok(known)
    }

    async fn measure(&self, on_postgres: bool) -> Result<()> {
        let folder = server::folder()?;
        let cluster = if on_postgres { Some(Cluster::start()?) } else { None };
        let database = cluster.as_ref().map(|cluster| cluster.url.clone());
        let store = server::open_on(folder.path(), database.clone()).await?;
        let settings = ProjectSettings { origins: vec![ORIGIN.to_owned()], ..ProjectSettings::default() };
        let project = store.create_project(&"shop".parse().map_err(|error| anyhow!("{error}"))?, settings).await?;
        let known = self.fill(&store, &project).await?;
        let link = store.first_link().await?;
        let account = store.accept(&link, "ada@shop.example", "Ada", "copper lantern walks uphill").await?;
        let totp = TotpSecret::random()?;
        store.set_second_factor(&account, &totp, &totp.code(store.clock().now()), 0).await?;
        let account = store.account(account.number).await?;
        let cookie = store.begin_session(&account, true, &SessionPlace::default(), None).await?;
        store.close().await;
        drop(store);
        let server = Server::start(folder.path(), &Start { role: "all", database, ..Start::default() })?;
        let (console, frequent) = (server.console, known.first().context("no name")?);
        let rare = known.last().context("no name")?;
        let first = Answer::get(console, "/p/shop/events", &cookie)?;
        let stop = Arc::new(AtomicBool::new(false));
        let visits = self.visits(&server, &project, stop.clone())?;
        let pages = [
            ("projects", "/projects".to_owned()),
            ("overview", "/p/shop".to_owned()),
            ("its part that refreshes", "/p/shop/pulse".to_owned()),
            ("events, the first 50", "/p/shop/events".to_owned()),
            ("events, from 5 000 on", "/p/shop/events?from=5000".to_owned()),
            ("events, searched", "/p/shop/events?like=gab".to_owned()),
            ("a frequent event", format!("/p/shop/events/{}", NameId(frequent.name))),
            ("a rare event", format!("/p/shop/events/{}", NameId(rare.name))),
            ("a merge, looked for", format!("/p/shop/events/{}/merge", NameId(frequent.name))),
            ("a merge, before it is made", {
                let (one, into) = (NameId(rare.name), NameId(frequent.name));
                format!("/p/shop/events/{one}/merge?into={into}")
            }),
            ("groups", "/p/shop/groups".to_owned()),
            ("exclusions", "/p/shop/exclusions".to_owned()),
            ("exclusions, a path tried", "/p/shop/exclusions?path=%2Fa*".to_owned()),
            ("notices", "/p/shop/notices".to_owned()),
            ("samples", "/p/shop/samples".to_owned()),
            ("their part that refreshes", "/p/shop/samples/pulse".to_owned()),
            ("destinations", "/p/shop/destinations".to_owned()),
            ("privacy", "/p/shop/privacy".to_owned()),
            ("members", "/p/shop/members".to_owned()),
            ("settings", "/p/shop/settings".to_owned()),
            ("audit log", "/p/shop/audit".to_owned()),
            ("snippet", "/p/shop/start".to_owned()),
            ("system", "/system".to_owned()),
            ("account", "/account".to_owned()),
        ];
        let mut table = Table::new(&["page", "median ms", "p95 ms", "slowest ms", "KB over the wire", "KB of HTML"]);
        let mut over = Vec::new();
        for (name, path) in &pages {
            let (mut micros, mut last) = (Vec::new(), None);
            for _ in 0..self.requests {
                let answer = Answer::get(console, path, &cookie)?;
                micros.push(answer.micros);
                last = Some(answer);
                // Each finds other events than the one before.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            micros.sort_unstable();
            let last = last.context("no request")?;
            let millis = |share: f64| percentile(&micros, share) / 1000.0;
            if millis(0.95) > MILLIS || last.wire > BYTES {
                over.push(*name);
            }
            table.row(vec![
                (*name).to_owned(),
                format!("{:.1}", millis(0.5)),
                format!("{:.1}", millis(0.95)),
                format!("{:.1}", millis(1.0)),
                format!("{:.1}", last.wire as f64 / 1024.0),
                format!("{:.1}", last.plain as f64 / 1024.0),
            ]);
        }
        stop.store(true, Ordering::Relaxed);
        visits.join().map_err(|_| anyhow!("the visits ended in a panic"))??;
        let lag = server.lag()?;
        server.stop()?;
        table.print(&format!(
            "Pages of a project with {} names and {} events on {}, {} requests each, {} events a second arriving",
            count(self.names as f64),
            count(self.events as f64),
            if on_postgres { "PostgreSQL" } else { "SQLite" },
            self.requests,
            self.rate
        ));
        say(&format!(
            "The first page after the start, which reads all names: {:.0} ms. Batches that wait at the end: {lag}. Over {MILLIS} ms at p95 or {} KB: {}",
            f64::from(first.micros) / 1000.0,
            BYTES / 1024,
            if over.is_empty() { "none".to_owned() } else { over.join(", ") }
        ));
        Ok(())
    }

    /// Visits that go on while pages are read.
    fn visits(
        &self,
        server: &Server,
        project: &Project,
        stop: Arc<AtomicBool>,
    ) -> Result<std::thread::JoinHandle<Result<()>>> {
        const BATCH: usize = 10;
        let mut author = Author::new(Corpus::load()?, vec![project.key.to_string()], BATCH, 3);
        let (address, gap) = (server.address, Duration::from_secs_f64(BATCH as f64 / self.rate.max(1) as f64));
        Ok(std::thread::spawn(move || {
            let mut body = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                body.clear();
                let sender = author.write(load::now(), &mut body);
                let head = format!(
                    "POST /v1/collect HTTP/1.1\r\nHost: localhost\r\nOrigin: {ORIGIN}\r\nUser-Agent: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    sender.agent.user_agent,
                    body.len()
                );
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(&[head.as_bytes(), &body].concat())?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                ensure!(answer.starts_with("HTTP/1.1 204"), "a batch was answered {answer}");
                machine::pause(gap);
            }
            Ok(())
        }))
    }
}

/// A page's answer.
struct Answer {
    micros: u32,
    wire: usize,
    plain: usize,
}

impl Answer {
    /// As a browser asks; the time is from the request to the last byte.
    fn get(console: SocketAddr, path: &str, cookie: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(console)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let began = Instant::now();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {console}\r\nCookie: convizit_console={cookie}\r\nSec-Fetch-Site: same-origin\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let micros = u32::try_from(began.elapsed().as_micros())?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")? + 4;
        let (head, body) = answer.split_at(end);
        let head = String::from_utf8_lossy(head).to_lowercase();
        if !head.starts_with("http/1.1 200") {
            bail!("{path} was answered {head}");
        }
        let plain = if head.contains("content-encoding: gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?;
            plain.len()
        } else {
            body.len()
        };
        Ok(Self { micros, wire: answer.len(), plain })
    }
}
