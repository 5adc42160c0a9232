//! The load generator: keep-alive connections on one thread, at a fixed rate with scheduled send times, or as fast as answers come.
//!
//! At a fixed rate a request's latency counts from when it was due, not from when a connection was free for it: a slow
//! server is not asked less (no coordinated omission).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::corpus::{Author, ORIGIN};

/// How long requests that were due may take after the end.
const GRACE: Duration = Duration::from_secs(10);

/// Where the load goes.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// How much, how long.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// Requests per second; `None` sends the next when the last is answered.
    pub(crate) rate: Option<f64>,
    pub(crate) time: Duration,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Requests answered 204 and their events.
    pub(crate) requests: u64,
    pub(crate) events: u64,
    /// Other answers by status; 0 is a broken connection.
    pub(crate) others: BTreeMap<u16, u64>,
    /// Requests that were due and were never sent: the rate was too high by far.
    pub(crate) unsent: u64,
    /// Of each 204, in microseconds, sorted.
    pub(crate) micros: Vec<u32>,
    pub(crate) seconds: f64,
}

impl Answers {
    pub(crate) fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    pub(crate) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// A share of the latencies is at most this long, in milliseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        crate::table::percentile(&self.micros, share) / 1000.0
    }

    /// Whether every request was answered 204.
    pub(crate) fn clean(&self) -> bool {
        self.others.is_empty() && self.unsent == 0
    }
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "stands for the browsers' own clocks")]
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

/// Sends until the time is over; runs on a thread of its own.
pub(crate) async fn send(target: Target, plan: Plan, author: Author) -> Result<(Answers, Author)> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio::task::LocalSet::new().block_on(&runtime, send_all(target, plan, author))
    })
    .await?
}

struct Shared {
    author: RefCell<Author>,
    answers: RefCell<Answers>,
    due: Arc<Semaphore>,
    sent: RefCell<u64>,
    total: Option<u64>,
    start: Instant,
    plan: Plan,
}

async fn send_all(target: Target, plan: Plan, author: Author) -> Result<(Answers, Author)> {
    let due = Arc::new(Semaphore::new(0));
    let mut streams = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        streams.push(connect(&target).await?);
    }
    let start = Instant::now();
    let total = plan.rate.map(|rate| (rate * plan.time.as_secs_f64()) as u64);
    if let (Some(rate), Some(total)) = (plan.rate, total) {
        let due = due.clone();
        std::thread::spawn(move || pace(&due, rate, total, start, plan.connections));
    }
    let shared = Rc::new(Shared {
        author: RefCell::new(author),
        answers: RefCell::default(),
        due,
        sent: RefCell::new(0),
        total,
        start,
        plan,
    });
    let mut connections = tokio::task::JoinSet::new();
    for stream in streams {
        connections.spawn_local(connection(target.clone(), stream, shared.clone()));
    }
    let all = async {
        while connections.join_next().await.transpose()?.transpose()?.is_some() {}
        anyhow::Ok(())
    };
    match tokio::time::timeout(plan.time + GRACE, all).await {
        Ok(ended) => ended?,
        // What is late by more than the grace is counted as unsent below.
        Err(_) => connections.shutdown().await,
    }
    let shared = Rc::into_inner(shared).ok_or_else(|| anyhow!("a connection did not end"))?;
    let mut answers = shared.answers.into_inner();
    answers.seconds = if plan.rate.is_some() { plan.time.as_secs_f64() } else { start.elapsed().as_secs_f64() };
    answers.unsent =
        total.map_or(0, |total| total.saturating_sub(answers.requests + answers.others.values().sum::<u64>()));
    answers.micros.sort_unstable();
    Ok((answers, shared.author.into_inner()))
}

/// Lets requests go when they are due. On a thread of its own, because the runtime's timer only knows milliseconds.
#[expect(clippy::disallowed_methods, reason = "this thread has no other work")]
fn pace(due: &Semaphore, rate: f64, total: u64, start: Instant, connections: usize) {
    let mut released = 0;
    while released < total {
        let now = ((start.elapsed().as_secs_f64() * rate) as u64 + 1).min(total);
        if now > released {
            due.add_permits(usize::try_from(now - released).unwrap_or(0));
            released = now;
        }
        let next = Duration::from_secs_f64(released as f64 / rate).saturating_sub(start.elapsed());
        std::thread::sleep(next.max(Duration::from_micros(200)));
    }
    // One more for each connection, which then sees that all is sent.
    due.add_permits(connections);
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

async fn connect(target: &Target) -> Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(target.address).await.context("the server is not reached")?;
    stream.set_nodelay(true)?;
    Ok(match &target.tls {
        None => Box::new(stream),
        Some(config) => {
            let name = ServerName::try_from("localhost")?;
            Box::new(TlsConnector::from(config.clone()).connect(name, stream).await.context("no TLS connection")?)
        }
    })
}

async fn connection(target: Target, mut stream: Box<dyn Stream>, shared: Rc<Shared>) -> Result<()> {
    let (mut body, mut request, mut buffer) = (Vec::new(), Vec::new(), vec![0; 4096]);
    loop {
        let since = match shared.plan.rate {
            Some(rate) => {
                shared.due.acquire().await?.forget();
                let mut sent = shared.sent.borrow_mut();
                if shared.total.is_some_and(|total| *sent >= total) {
                    return Ok(());
                }
                let due = shared.start + Duration::from_secs_f64(*sent as f64 / rate);
                *sent += 1;
                due
            }
            None if shared.start.elapsed() >= shared.plan.time => return Ok(()),
            None => Instant::now(),
        };
        let events = write_request(&mut shared.author.borrow_mut(), &mut body, &mut request);
        let status = match exchange(&mut *stream, &request, &mut buffer).await {
            Ok(status) => status,
            Err(_) => {
                stream = connect(&target).await?;
                0
            }
        };
        let mut answers = shared.answers.borrow_mut();
        if status == 204 {
            answers.requests += 1;
            answers.events += events;
            answers.micros.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            *answers.others.entry(status).or_default() += 1;
        }
    }
}

/// A request as a browser sends it; returns its events.
fn write_request(author: &mut Author, body: &mut Vec<u8>, request: &mut Vec<u8>) -> u64 {
    body.clear();
    request.clear();
    let events = author.size() as u64;
    let sender = author.write(now(), body);
    let [a, b, c, d] = sender.address.to_be_bytes();
    write!(
        request,
        "POST /v1/collect HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {a}.{b}.{c}.{d}\r\nOrigin: {ORIGIN}\r\nReferer: {ORIGIN}/\r\nUser-Agent: {}\r\n{}Content-Type: text/plain;charset=UTF-8\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nContent-Length: {}\r\n\r\n",
        sender.agent.user_agent,
        sender.agent.hints,
        body.len()
    )
    .ok();
    request.extend_from_slice(body);
    events
}

/// Sends a request and reads its answer; returns the status.
async fn exchange(stream: &mut dyn Stream, request: &[u8], buffer: &mut [u8]) -> Result<u16> {
    stream.write_all(request).await?;
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await?;
        if read == 0 {
            bail!("closed");
        }
        length += read;
        let Some(head) = buffer[..length].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head])?;
        let status = text.get(9..12).context("no status")?.parse()?;
        let content = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
        let mut missing = (head + 4 + content).saturating_sub(length);
        while missing > 0 {
            let read = stream.read(buffer).await?;
            if read == 0 {
                bail!("closed");
            }
            missing = missing.saturating_sub(read);
        }
        return Ok(status);
    }
}
