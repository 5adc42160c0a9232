//! A connector that is open: makes requests, adds credentials, sends them, and says what became of each event.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use convizit_model::{Person, ProjectId, Timestamp};
use convizit_store::{EraseMessage, StoredEvent};
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Verdict, judge};
use super::encode::{Encoded, Request, With, beside, encoded};
use super::token::Credentials;
use super::{Connector, filled};
use crate::destinations::{Fate, SendError, Taken};
use crate::guard::Guard;
use crate::mapping::{Directive, Input, Limits};
use crate::pace::Pace;
use crate::quoted::Hidden;
use crate::retry::retry_after;
use crate::why;

/// A vendor that takes longer is asked again later.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const ANSWER: usize = 256 << 10;

pub(crate) struct Http {
    connector: Arc<Connector>,
    region: Option<String>,
    base: Url,
    settings: BTreeMap<String, String>,
    credentials: Credentials,
    /// What no answer that is kept may hold.
    hidden: Hidden,
    guard: Guard,
    client: Client,
    /// Fields of items that a person has made another way.
    set: Vec<(String, Directive)>,
    /// `<project>/<destination>`, part of each batch's id.
    name: String,
    /// Of the destination, whose other lanes have the same.
    pace: Arc<Pace>,
}

impl Http {
    /// `entered` are the settings with the secrets among them.
    pub(crate) fn open(
        connector: Arc<Connector>,
        region: Option<&str>,
        entered: &BTreeMap<String, String>,
        (name, set): (String, Vec<(String, Directive)>),
        guard: &Guard,
    ) -> Result<Self, SendError> {
        let settings = connector.settle(region, entered).map_err(|error| SendError::Pause(error.to_string()))?;
        let base = base_of(&connector, region, &settings)?;
        // Without TLS only to the operator's own networks.
        let guard = &guard.for_address(&base);
        let base = guard.check_url(&base).map_err(SendError::Pause)?;
        let mut client = Client::builder()
            // A redirect would carry events and credentials to an address that nobody typed.
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .user_agent(concat!("Convizit/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        client = client.dns_resolver(guard.clone());
        let client =
            client.build().map_err(|error| SendError::Pause(format!("no HTTP client can be made: {error}")))?;
        let credentials = Credentials::new(connector.manifest.auth.clone(), settings.clone(), guard.clone());
        let region = region.map(str::to_owned);
        let secrets = connector.manifest.settings.iter().filter(|setting| setting.secret);
        let hidden = Hidden::of(secrets.filter_map(|setting| settings.get(&setting.id)).map(String::as_str));
        let (guard, pace) = (guard.clone(), Arc::default());
        Ok(Self { connector, region, base, settings, credentials, hidden, guard, client, set, name, pace })
    }

    /// Makes requests in turn with others of the destination.
    pub(crate) fn keep_to(&mut self, pace: &Arc<Pace>) {
        self.pace = pace.clone();
    }

    fn with(&self) -> With<'_> {
        With { settings: &self.settings, set: &self.set, name: &self.name, now: now() }
    }

    fn vendor(&self) -> &str {
        &self.connector.manifest.meta.name
    }

    /// Sends a batch; one fate for each event. What had to be changed counts once it was taken, however often it was tried.
    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<Taken, SendError> {
        let mut encoded = encoded(&self.connector, events, self.with()).await;
        let changes = std::mem::take(&mut encoded.changes);
        let mut taken = self.send_encoded(events, encoded).await?;
        for (changes, _) in changes.iter().zip(&taken.fates).filter(|(_, fate)| **fate == Fate::Done) {
            taken.changes.add(changes);
        }
        Ok(taken)
    }

    async fn send_encoded(&mut self, events: &[StoredEvent], encoded: Encoded) -> Result<Taken, SendError> {
        let mut taken = Taken::of(events.len());
        for row in encoded.skipped {
            taken.fates[row] = Fate::Skipped;
        }
        for (row, reason) in encoded.refused {
            taken.fates[row] = Fate::Refused(reason);
        }
        let mut waiting: Vec<Request> = encoded.requests;
        waiting.reverse();
        let (mut sent, mut halved) = (0, false);
        while let Some(request) = waiting.pop() {
            // Whoever asked for these looks between requests that wait for their turn whether to stop, and comes again with the rest.
            if sent > 0 && !halved && !self.pace.is_free() {
                break;
            }
            sent += 1;
            let verdict = match self.ask(&request).await {
                Ok(verdict) => verdict,
                Err(failure) => {
                    taken.failure = Some(failure);
                    return Ok(taken);
                }
            };
            match verdict {
                Verdict::Items(fates) => {
                    for (row, fate) in request.rows.iter().zip(fates) {
                        taken.fates[*row] = fate;
                    }
                }
                Verdict::Later { reason, after } => {
                    taken.failure = Some(SendError::Later { reason, after });
                    return Ok(taken);
                }
                Verdict::Pause(reason) => {
                    taken.failure = Some(SendError::Pause(reason));
                    return Ok(taken);
                }
                Verdict::TooLarge if request.rows.len() == 1 => {
                    taken.fates[request.rows[0]] = Fate::Refused(format!("larger than {} takes", self.vendor()));
                }
                Verdict::Refused(reason) if request.rows.len() == 1 => {
                    taken.fates[request.rows[0]] = Fate::Refused(reason);
                }
                Verdict::TooLarge | Verdict::Refused(_) => {
                    // Halves: the refused event is found in as many steps as the batch can be halved.
                    halved = true;
                    let rows: Vec<usize> = request.rows;
                    for half in [&rows[rows.len() / 2..], &rows[..rows.len() / 2]] {
                        let part: Vec<StoredEvent> = half.iter().map(|row| events[*row].clone()).collect();
                        let mut again = self.connector.encode(&part, self.with()).requests;
                        for one in &mut again {
                            one.rows = one.rows.iter().map(|row| half[*row]).collect();
                        }
                        again.reverse();
                        waiting.extend(again);
                    }
                }
            }
        }
        Ok(taken)
    }

    async fn ask(&mut self, request: &Request) -> Result<Verdict, SendError> {
        let fields = self.credentials.fields();
        let body = with_fields(&request.body, &fields);
        let (mut body, mut headers) = (body, request.headers.clone());
        if request.gzip {
            body = beside(move || gzip(&body))
                .await
                .map_err(|error| SendError::later(format!("the body cannot be compressed: {error}")))?;
            if !self.connector.manifest.send[request.send].batch.gzip_file {
                headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
            }
        }
        if !request.file.is_empty() {
            let rows = request.file.clone();
            body = beside(move || rows.file())
                .await
                .map_err(|error| SendError::later(format!("the Parquet file cannot be made: {error}")))?;
        }
        let rules = self.connector.manifest.send[request.send].response.clone();
        let mut fresh = false;
        loop {
            let (status, after, bytes) = self.call(&request.method, &request.target, &headers, body.clone()).await?;
            // A token may end early: once with a new one.
            if status == 401 && !fresh && self.credentials.forget() {
                fresh = true;
                continue;
            }
            let answer = Answer { status, body: bytes.as_bytes(), retry_after: after };
            return Ok(judge(self.vendor(), &rules, &request.items, &answer));
        }
    }

    /// Makes a request; its answer is without the credentials.
    async fn call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<(u16, Option<Duration>, String), SendError> {
        self.pace.turn(self.connector.manifest.rate.per_second).await;
        let mut url = join(&self.base, target)?;
        let at = now();
        let proof = self.credentials.prove(&self.client, &url, method, headers, &body, at).await?;
        for (name, value) in &proof.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        if !proof.path.is_empty() {
            url.set_path(&format!("{}{}", url.path(), proof.path));
        }
        let method: Method = method.parse().map_err(|_| SendError::Pause(format!("{method} is no method")))?;
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers.iter().chain(&proof.headers) {
            let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
                return Err(SendError::Pause(format!("a setting holds what no header may hold ({name})")));
            };
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|error| why::unsent(self.vendor(), TIMEOUT.as_secs(), &error))?;
        let status = answer.status().as_u16();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = retry_after(after, at.as_millis().div_euclid(1_000));
        let answer = bounded(answer).await?;
        let answer = Hidden::of(proof.quotable()).clear(&String::from_utf8_lossy(&answer));
        Ok((status, after, self.hidden.clear(&answer)))
    }

    /// Has the vendor erase persons, where it has a call for that.
    pub(crate) async fn erase(&mut self, project: &ProjectId, message: &EraseMessage) -> Result<(), SendError> {
        let connector = self.connector.clone();
        let vendor = connector.manifest.meta.name.clone();
        let by_hand = |what: &str| {
            Err(SendError::Refused(format!(
                "{what}: delete them in {vendor} itself, as its page says ({})",
                connector.manifest.meta.docs
            )))
        };
        let Some(erase) = &connector.manifest.erase else {
            return Err(SendError::Refused(connector.never_erases().unwrap_or_default()));
        };
        if message.persons.is_empty() {
            return by_hand(&format!("it has no call that erases all of {project}"));
        }
        if let Some(setting) = erase.lacks(&connector.manifest, &self.settings) {
            return by_hand(&format!("its setting {} is empty, which its call that erases needs", setting.label));
        }
        let taken: Vec<&Person> =
            message.persons.iter().filter(|person| erase.takes(person.kind(), &self.settings)).collect();
        let left = message.persons.len() - taken.len();
        let body = erase.body.as_ref().map(Directive::compile).transpose();
        let body = body.map_err(|error| SendError::Pause(error.to_string()))?;
        let own = erase.auth.clone().map(|auth| Credentials::new(auth, self.settings.clone(), self.guard.clone()));
        let of_region = self.region.as_ref().and_then(|region| erase.hosts.get(region)).or(erase.hosts.values().next());
        let saved_base = of_region.or(erase.host.as_ref()).map(|host| {
            let base = self.base.clone();
            (base, filled(host, &self.settings, str::to_owned))
        });
        if let Some((_, host)) = &saved_base {
            let none = |_| SendError::Pause("the address of its call that erases cannot be used".to_owned());
            self.base = Url::parse(host).map_err(none)?;
        }
        let events_credentials = own.map(|own| std::mem::replace(&mut self.credentials, own));
        let mut done = Ok(());
        for persons in taken.chunks(erase.most.max(1)) {
            let ids: Vec<&str> = persons.iter().map(|person| person.id()).collect();
            let mut values = self.settings.clone();
            values.insert("id".to_owned(), ids.first().copied().unwrap_or_default().to_owned());
            values.insert("request".to_owned(), message.request.clone());
            let target = target_of(&erase.path, &erase.query, &values);
            let input = json!({
                "ids": ids, "id": ids.first(), "kind": persons.first().map(|person| person.kind()),
                "request": message.request, "time": message.made,
            });
            let plain = self.connector.plain(&self.settings);
            let body =
                body.as_ref().and_then(|body| body.run(Input { event: &input, settings: &plain }, Limits::default()));
            let mut headers: Vec<(String, String)> = erase
                .headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), filled(value, &values, str::to_owned)))
                .collect();
            if body.is_some() {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            let bytes = body
                .map(|body| with_fields(body.to_string().as_bytes(), &self.credentials.fields()))
                .unwrap_or_default();
            done = match self.call(&erase.method, &target, &headers, bytes).await {
                Ok((200..=299, ..)) => Ok(()),
                // Somebody that the vendor does not know is erased there; an address that names nobody may be wrong.
                Ok((404, ..)) if erase.path.contains("{id}") => Ok(()),
                Ok((code, after, _)) if code == 429 || code >= 500 => {
                    Err(SendError::Later { reason: format!("{vendor} answered {code} to an erasure"), after })
                }
                Ok((code, ..)) => Err(SendError::Refused(format!(
                    "{vendor} answered {code} to an erasure: delete them there by hand"
                ))),
                Err(failure) => Err(failure),
            };
            if done.is_err() {
                break;
            }
        }
        if let Some(credentials) = events_credentials {
            self.credentials = credentials;
        }
        if let Some((base, _)) = saved_base {
            self.base = base;
        }
        done?;
        if left > 0 {
            return by_hand(&format!("it erases by one kind of id only, {left} of another are left"));
        }
        Ok(())
    }

    /// The requests for these events as a person may see them: without credentials.
    pub(crate) fn preview(
        connector: &Connector,
        region: Option<&str>,
        settings: &BTreeMap<String, String>,
        (name, set): (&str, &[(String, Directive)]),
        events: &[StoredEvent],
    ) -> Result<Vec<Shown>, String> {
        let base = base_of(connector, region, settings).map_err(|error| error.to_string())?;
        let encoded = connector.encode(events, With { settings, set, name, now: now() });
        let mut shown: Vec<Shown> = encoded
            .requests
            .into_iter()
            .map(|request| Shown {
                body: request.text(),
                method: request.method,
                url: format!("{base}{}", request.target),
                headers: request.headers,
                note: String::new(),
            })
            .collect();
        for row in encoded.skipped {
            shown.push(Shown {
                note: format!("event {} is not sent: this connector does not take it", row + 1),
                ..Shown::default()
            });
        }
        for (row, reason) in encoded.refused {
            shown.push(Shown { note: format!("event {} would be refused: {reason}", row + 1), ..Shown::default() });
        }
        Ok(shown)
    }
}

/// A request as a person sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) note: String,
}

pub(super) fn base_of(
    connector: &Connector,
    region: Option<&str>,
    settings: &BTreeMap<String, String>,
) -> Result<String, SendError> {
    let manifest = &connector.manifest;
    if let Some(id) = &manifest.host_setting {
        let typed = settings.get(id).map(String::as_str).unwrap_or_default();
        return Ok(typed.trim_end_matches('/').to_owned());
    }
    let endpoint = manifest.endpoint_setting.as_ref().and_then(|id| settings.get(id)).map(|text| text.trim());
    if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) {
        return Ok(endpoint.trim_end_matches('/').to_owned());
    }
    let host = match region {
        Some(region) => manifest.hosts.get(region),
        None => manifest.hosts.values().next(),
    };
    let host = host.ok_or_else(|| SendError::Pause("the region is missing".to_owned()))?;
    Ok(filled(host, settings, str::to_owned))
}

fn join(base: &Url, target: &str) -> Result<Url, SendError> {
    let text = format!("{}{target}", base.as_str().trim_end_matches('/'));
    let url = Url::parse(&text).map_err(|error| SendError::Pause(format!("the address cannot be used: {error}")))?;
    // Nothing that was entered may lead to another host.
    if url.host() != base.host() || url.port_or_known_default() != base.port_or_known_default() {
        return Err(SendError::Pause("a setting leads to another host".to_owned()));
    }
    Ok(url)
}

fn target_of(path: &str, query: &BTreeMap<String, String>, values: &BTreeMap<String, String>) -> String {
    let mut target = filled(path, values, super::encode::encode_path);
    if !query.is_empty() {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in query {
            pairs.append_pair(name, &filled(value, values, str::to_owned));
        }
        target.push('?');
        target.push_str(&pairs.finish());
    }
    target
}

/// A body with credentials among its fields.
fn with_fields(body: &[u8], fields: &[(String, String)]) -> Vec<u8> {
    if fields.is_empty() {
        return body.to_vec();
    }
    let mut object: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    for (name, value) in fields {
        super::shape::put(&mut object, name, Value::String(value.clone()));
    }
    Value::Object(object).to_string().into_bytes()
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// An answer's body, up to its bound; the rest is not read.
pub(super) async fn bounded(mut answer: Response) -> Result<Vec<u8>, SendError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| SendError::later("the answer broke off"))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER {
            bytes.truncate(ANSWER);
            break;
        }
    }
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "a signature's time is compared with the vendor's own clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use axum::http::StatusCode;

    use super::*;

    const MANIFEST: &str = r#"
        host_setting = "address"
        [meta]
        id = "ours"
        name = "Ours"
        group = "analytics"
        version = 1
        proof = "spec-only"
        about = "A vendor of the test's own."
        credential = "None."
        docs = "https://vendor.example/docs"
        [[settings]]
        id = "address"
        label = "Address"
        [[send]]
        path = "/events"
        item = { name = "$.name" }
        [send.batch]
        shape = "array"
        max_events = 10
        max_bytes = 100000
        max_item_bytes = 5000
        [[send.limit]]
        at = ""
        value = 3
    "#;

    #[tokio::test]
    async fn what_had_to_be_cut_counts_once_and_when_it_was_taken() {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let answers: Arc<Mutex<VecDeque<u16>>> = Arc::new(Mutex::new([503, 422, 422, 200].into()));
        let router = axum::Router::new().fallback(move || {
            let code = answers.lock().unwrap().pop_front().unwrap();
            async move { StatusCode::from_u16(code).unwrap() }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let entered = BTreeMap::from([("address".to_owned(), format!("http://{}", listener.local_addr().unwrap()))]);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let guard = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        let connector = Arc::new(Connector::read(MANIFEST).unwrap());
        let mut vendor = Http::open(connector, None, &entered, ("shop/ours".to_owned(), Vec::new()), &guard).unwrap();
        let event = |number| StoredEvent {
            number,
            json:
                br#"{"name":"too long","type":"click","time":"2026-11-23T12:01:07Z","received":"2026-11-23T12:01:08Z"}"#
                    .to_vec()
                    .into(),
        };
        let events = [event(1), event(2)];
        let busy = vendor.send(&events).await.unwrap();
        assert!(busy.failure.is_some() && busy.changes == Default::default(), "a try is no change: {busy:?}");
        // The batch is refused, then its first half, and the second one is taken.
        let taken = vendor.send(&events).await.unwrap();
        assert!(matches!(taken.fates.as_slice(), [Fate::Refused(_), Fate::Done]), "{taken:?}");
        assert_eq!((taken.changes.cut, taken.changes.left_out, taken.changes.renamed), (1, 0, 0));
    }
}
