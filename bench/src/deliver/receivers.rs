//! Receivers of the measurement's own, over HTTP: one that verifies signatures, one that keeps objects as S3 does.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::{post, put};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde::de::IgnoredAny;

/// Bytes of a request at most.
const BODY: usize = 64 << 20;
/// So long nothing came: then what came is opened and counted, which would otherwise take time from whoever sends.
pub(crate) const QUIET: Duration = Duration::from_millis(500);

/// Events that came, and when the last of them did.
#[derive(Clone)]
struct Count(Arc<Mutex<(u64, Instant)>>);

impl Count {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((0, Instant::now()))))
    }

    fn add(&self, events: usize) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *count = (count.0 + events as u64, Instant::now());
    }

    fn now(&self) -> (u64, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(app: Router) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = app.layer(axum::extract::DefaultBodyLimit::max(BODY));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// `/hook` verifies each signature, `/array` takes a plain array; both count what they can read.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    pub(crate) secret: String,
    count: Count,
}

impl Hook {
    pub(crate) async fn start() -> Result<Self> {
        let (secret, count) = (convizit_keys::webhook_secret()?, Count::new());
        let (counter, known) = (count.clone(), secret.clone());
        let signed = move |headers: HeaderMap, body: Bytes| {
            let taken = verified(&known, &headers, &body).and_then(|verified| {
                ensure!(verified, "the signature is wrong");
                Ok(serde_json::from_slice::<Signed>(&body)?.events.len())
            });
            std::future::ready(took(&counter, taken))
        };
        let counter = count.clone();
        let array = move |body: Bytes| {
            let taken = serde_json::from_slice::<Vec<IgnoredAny>>(&body);
            std::future::ready(took(&counter, taken.map(|events| events.len()).map_err(Into::into)))
        };
        let address = serve(Router::new().route("/hook", post(signed)).route("/array", post(array))).await?;
        Ok(Self { address, secret, count })
    }

    pub(crate) fn arrived(&self) -> (u64, Instant) {
        self.count.now()
    }
}

/// A body of the webhook.
#[derive(serde::Deserialize)]
struct Signed {
    events: Vec<IgnoredAny>,
}

fn took(count: &Count, events: Result<usize>) -> StatusCode {
    match events {
        Ok(events) => {
            count.add(events);
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

fn verified(secret: &str, headers: &HeaderMap, body: &[u8]) -> Result<bool> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let timestamp = header("webhook-timestamp").parse()?;
    Ok(convizit_keys::verify_webhook(secret, header("webhook-id"), timestamp, body, header("webhook-signature"))?)
}

/// Keeps what is PUT in memory: digest and length are verified and `If-None-Match` is obeyed, the signature is not looked at.
pub(crate) struct Objects {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Bytes>,
    /// Of objects that were opened: how many, with how many events.
    counted: (usize, u64),
    last: Option<Instant>,
}

impl Objects {
    pub(crate) async fn start() -> Result<Self> {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let keep = kept.clone();
        let take = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            std::future::ready(keep_object(&keep, uri.path(), &headers, body))
        };
        let address = serve(Router::new().route("/{*key}", put(take))).await?;
        Ok(Self { address, kept })
    }

    pub(crate) fn arrived(&self) -> Result<(u64, Instant)> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.last.unwrap_or_else(Instant::now);
        if kept.counted.0 < kept.objects.len() && last.elapsed() > QUIET {
            let mut events = 0;
            for object in kept.objects.values() {
                events += rows(object)?;
            }
            kept.counted = (kept.objects.len(), events);
        }
        Ok((kept.counted.1, last))
    }

    /// Takes the objects out.
    pub(crate) fn take(&self) -> Vec<Bytes> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        kept.objects.into_values().collect()
    }
}

/// Events of an object: lines, or rows of Parquet.
fn rows(object: &Bytes) -> Result<u64> {
    if is_parquet(object) {
        let reader = SerializedFileReader::new(object.clone())?;
        return Ok(u64::try_from(reader.metadata().file_metadata().num_rows())?);
    }
    Ok(opened(object)?.iter().filter(|byte| **byte == b'\n').count() as u64)
}

pub(crate) fn is_parquet(object: &[u8]) -> bool {
    object.starts_with(b"PAR1")
}

/// What a compressed object holds.
pub(crate) fn opened(object: &[u8]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    flate2::read::GzDecoder::new(object).read_to_end(&mut lines)?;
    Ok(lines)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keep_object(kept: &Mutex<Kept>, key: &str, headers: &HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let whole = header("content-length").is_some_and(|length| length.parse() == Ok(body.len()));
    if !whole || header("x-amz-content-sha256") != Some(&hex(&convizit_keys::sha256(&body))) {
        return StatusCode::BAD_REQUEST;
    }
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if header("if-none-match") == Some("*") && kept.objects.contains_key(key) {
        return StatusCode::PRECONDITION_FAILED;
    }
    kept.objects.insert(key.to_owned(), body);
    kept.last = Some(Instant::now());
    StatusCode::OK
}
