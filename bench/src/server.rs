//! The product as a child process: its folder, its configuration, its start, what it used, its end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::ProjectSettings;
use convizit_store::{Store, StoreConfig, SystemClock};
use tokio::sync::{Mutex, OnceCell};

use crate::corpus::ORIGIN;

/// Clock ticks a second in /proc: the same on every Linux of the architectures that we build for.
const TICKS: f64 = 100.0;

/// How a server is started.
#[derive(Clone, Default)]
pub(crate) struct Start {
    pub(crate) role: &'static str,
    pub(crate) tls: Option<crate::tls::Certificate>,
    /// A library that makes each sync slower.
    pub(crate) preload: Option<PathBuf>,
    /// The URL of the PostgreSQL database for settings and events.
    pub(crate) database: Option<String>,
    /// The operator's folder of connectors.
    pub(crate) connectors: Option<PathBuf>,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) console: SocketAddr,
    /// From the start of the process to its readiness.
    pub(crate) ready: Duration,
}

/// What a process used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: f64,
    /// Peak of resident memory.
    pub(crate) peak_megabytes: f64,
    pub(crate) written_bytes: f64,
}

/// The program that is measured: beside this one, or what CONVIZIT_BIN names.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CONVIZIT_BIN") {
        return Ok(path.into());
    }
    let path = std::env::current_exe()?.with_file_name("convizit");
    if !path.exists() {
        bail!("{} is missing: start this by bench/run, which builds it", path.display());
    }
    Ok(path)
}

/// A folder for one measurement, on the disk that BENCH_FOLDER names, else that of temporary files; gone when dropped.
pub(crate) fn folder() -> Result<tempfile::TempDir> {
    match std::env::var_os("BENCH_FOLDER") {
        Some(place) => Ok(tempfile::tempdir_in(place)?),
        None => Ok(tempfile::tempdir()?),
    }
}

/// Opens the store of a folder, with its key file.
pub(crate) async fn open(folder: &Path) -> Result<Store> {
    open_on(folder, None).await
}

/// The same of a folder whose events were stored without a journal.
pub(crate) async fn open_without_journal(folder: &Path) -> Result<Store> {
    let data = folder.join("data");
    let keys = open_provider(&ProviderConfig::File { path: data.join("keys") })?;
    let config = StoreConfig { accept_gap: true, ..StoreConfig::in_folder(&data) };
    Ok(Store::open(config, keys, Arc::new(SystemClock)).await?)
}

/// The same with settings and events in a PostgreSQL database.
pub(crate) async fn open_on(folder: &Path, database: Option<String>) -> Result<Store> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data)?;
    let keys = open_provider(&ProviderConfig::File { path: data.join("keys") })?;
    let config = StoreConfig { database, ..StoreConfig::in_folder(&data) };
    Ok(Store::open(config, keys, Arc::new(SystemClock)).await?)
}

/// A folder with projects, and their keys.
type Template = (tempfile::TempDir, Vec<String>);

/// Puts a store with so many projects into a folder; returns their keys. A thousand take their time, so they are made
/// once for a run, and copied.
pub(crate) async fn projects(folder: &Path, count: usize) -> Result<Vec<String>> {
    static MADE: OnceCell<Mutex<HashMap<usize, Template>>> = OnceCell::const_new();
    let made = MADE.get_or_init(async || Mutex::default()).await;
    let mut made = made.lock().await;
    if let Entry::Vacant(place) = made.entry(count) {
        let template = self::folder()?;
        let store = open(template.path()).await?;
        let keys = make_projects(&store, count).await?;
        closed(store, template.path()).await?;
        place.insert((template, keys));
    }
    let (template, keys) = made.get(&count).context("just made")?;
    copy(template.path(), folder)?;
    Ok(keys.clone())
}

/// Closes the store of a folder, so that it can be copied.
pub(crate) async fn closed(store: Store, folder: &Path) -> Result<()> {
    store.close().await;
    drop(store);
    // The connections end a moment later, and the last one takes SQLite's logs with it.
    while std::fs::read_dir(folder.join("data"))?
        .flatten()
        .any(|entry| entry.path().to_string_lossy().ends_with("-wal"))
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Copies what a store has in a folder, which nobody has open, into another.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from.join("data")).arg(to).status()?;
    ensure!(copied.success(), "{} cannot be copied", from.display());
    Ok(())
}

/// Makes so many projects that take from our origin; returns their keys.
pub(crate) async fn make_projects(store: &Store, count: usize) -> Result<Vec<String>> {
    let settings = ProjectSettings { origins: vec![ORIGIN.to_owned()], ..ProjectSettings::default() };
    let mut keys = Vec::with_capacity(count);
    for number in 0..count {
        let project = store.create_project(&format!("shop-{number}").parse()?, settings.clone()).await?;
        keys.push(project.key.to_string());
    }
    Ok(keys)
}

/// A free port of loopback.
pub(crate) fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Server {
    /// Starts `convizit serve` on a folder and waits until it is ready.
    pub(crate) fn start(folder: &Path, start: &Start) -> Result<Self> {
        let (address, console) = (free()?, free()?);
        let certificate = start
            .tls
            .as_ref()
            .map_or_else(String::new, |tls| format!("certificate = {:?}\nkey = {:?}\n", tls.certificate, tls.key));
        let connectors =
            start.connectors.as_ref().map_or_else(String::new, |folder| format!("connectors = {folder:?}\n"));
        let configuration = format!(
            "data = {:?}\n[collector]\nlisten = \"{address}\"\nbehind_proxy = true\n{certificate}[console]\nlisten = \"{console}\"\n\
             [delivery]\nallow_networks = [\"127.0.0.0/8\"]\n{connectors}[log]\nfilter = \"warn\"\n",
            folder.join("data")
        );
        let file = folder.join("convizit.toml");
        std::fs::write(&file, configuration)?;
        let mut command = Command::new(program()?);
        command.arg("--config").arg(&file).args(["serve", "--role", start.role]).stdin(Stdio::null());
        if let Some(library) = &start.preload {
            command.env("LD_PRELOAD", library);
        }
        if let Some(url) = &start.database {
            command.env("CONVIZIT_DATABASE_URL", url);
        }
        let began = Instant::now();
        let child = command.spawn().context("convizit cannot be started")?;
        let mut server = Self { child, address, console, ready: Duration::ZERO };
        let collects = matches!(start.role, "all" | "collect");
        let has_console = matches!(start.role, "all" | "console");
        let ready = |server: &Self| {
            (!collects || TcpStream::connect(server.address).is_ok())
                && (!has_console
                    || get(server.console, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))
        };
        while !ready(&server) {
            if began.elapsed() > Duration::from_secs(60) || server.child.try_wait()?.is_some() {
                bail!("convizit serve did not become ready");
            }
            crate::machine::pause(Duration::from_millis(2));
        }
        server.ready = began.elapsed();
        Ok(server)
    }

    /// Journal batches that wait for the worker.
    pub(crate) fn lag(&self) -> Result<u64> {
        lag(self.console)
    }

    /// Batches that were written to the journal since the start.
    pub(crate) fn journal_batches(&self) -> Result<f64> {
        let answer = get(self.console, "/metrics")?;
        let line = answer.lines().find_map(|line| line.strip_prefix("convizit_journal_commits_total "));
        line.context("/metrics has no convizit_journal_commits_total")?.trim().parse().context("/metrics")
    }

    /// Waits until the worker has everything.
    pub(crate) async fn drained(&self, at_most: Duration) -> Result<()> {
        let end = Instant::now() + at_most;
        while self.lag()? > 0 {
            if Instant::now() > end {
                bail!("the worker is still behind after {} s", at_most.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(crate) fn used(&self) -> Result<Used> {
        used(self.child.id())
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        // Without unsafe code there is no signal but by the command.
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Journal batches that wait for the worker of the server with this console.
pub(crate) fn lag(console: SocketAddr) -> Result<u64> {
    let answer = get(console, "/readyz")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json: serde_json::Value = serde_json::from_str(body).context("/readyz")?;
    json["waiting_batches"].as_u64().context("/readyz has no waiting_batches")
}

/// What a process used, after /proc.
pub(crate) fn used(process: u32) -> Result<Used> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}"));
    let stat = read("stat")?;
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // User and system time are fields 14 and 15; the first two stand before the parenthesis.
    let cpu = fields.get(11).copied().unwrap_or(0.0) + fields.get(12).copied().unwrap_or(0.0);
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    Ok(Used {
        cpu_seconds: cpu / TICKS,
        peak_megabytes: field(&read("status")?, "VmHWM:") / 1024.0,
        written_bytes: field(&read("io").unwrap_or_default(), "write_bytes:"),
    })
}

/// A plain GET; the whole answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
