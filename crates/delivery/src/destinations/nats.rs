//! NATS with JetStream: each record published with its id, all of a batch on their way at once, each acknowledgement awaited.
//!
//! The client protocol (docs.nats.io, "Client Protocol") is lines of text, so that it is spoken here and no client library is built:
//! such a one resolves names and follows the addresses that servers announce by itself, past the guard.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};

use crate::connectors::encode::Record;
use crate::destinations::native::Settings;
use crate::destinations::{Fate, SendError};
use crate::dial::{Dialled, Wire, secure};

/// Bytes of a line and of an acknowledgement.
const LINE: u64 = 1 << 20;
/// Bytes of a message where the server does not say.
const PAYLOAD: usize = 1 << 20;
/// JetStream's number for a message that is larger than its stream takes.
const LARGER: i64 = 10_054;
/// For the answers to which streams there are.
const STREAMS: Duration = Duration::from_secs(5);
/// What a server may say of what it does not do (docs.nats.io, "Client Protocol"): of its own words only these are told.
const ERRORS: [&str; 8] = [
    "maximum payload violation",
    "permissions violation",
    "maximum connections exceeded",
    "slow consumer",
    "stale connection",
    "authorization violation",
    "user authentication expired",
    "account authentication expired",
];

pub(crate) struct Nats {
    reader: BufReader<ReadHalf<Box<dyn Wire>>>,
    writer: WriteHalf<Box<dyn Wire>>,
    /// What acknowledgements of this connection are sent to, followed by a number.
    inbox: String,
    published: usize,
    /// Bytes of a message, as far as the server has said so where nobody between could.
    max_payload: usize,
    vendor: String,
}

/// What a server says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    headers: bool,
    jetstream: bool,
    tls_required: bool,
    max_payload: usize,
    nonce: String,
}

/// What a server sends.
enum Said {
    Ping,
    Pong,
    Error(String),
    /// Of its bounds, which are the account's once a user has signed in.
    Info(Info),
    Message {
        number: Option<usize>,
        headers: Vec<u8>,
        body: Vec<u8>,
    },
    Other,
}

/// JetStream's answer to a message.
#[derive(Debug, Deserialize)]
struct Stored {
    #[serde(default)]
    error: Option<NotStored>,
    #[serde(default)]
    stream: String,
}

#[derive(Debug, Deserialize)]
struct NotStored {
    #[serde(default)]
    err_code: i64,
}

/// Names of the streams that take a subject.
#[derive(Debug, Deserialize)]
struct Names {
    #[serde(default)]
    error: Option<NotStored>,
    #[serde(default)]
    streams: Option<Vec<String>>,
}

impl Nats {
    pub(crate) async fn connect(settings: &Settings, dialled: Dialled) -> Result<Self, SendError> {
        let Dialled { mut stream, host, tls } = dialled;
        // Byte by byte: what follows may be TLS.
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let byte = stream.read_u8().await.map_err(|_| broke(&settings.vendor))?;
            line.push(byte);
            if line.len() > 1 << 16 || (line.len() == 5 && !line.starts_with(b"INFO ")) {
                return Err(SendError::Pause("what answers is no NATS server: are address and port right?".to_owned()));
            }
        }
        let info: Info = serde_json::from_slice(line.get(5..).unwrap_or_default()).unwrap_or_default();
        if !info.headers {
            return Err(SendError::Pause(
                "the NATS server knows no headers: it must be of version 2.2 or later".to_owned(),
            ));
        }
        if !info.jetstream {
            return Err(SendError::Pause(
                "the NATS server has no JetStream, without which it keeps nothing: switch it on there".to_owned(),
            ));
        }
        let tls = tls || info.tls_required;
        let stream: Box<dyn Wire> = if tls { secure(stream, &host).await? } else { Box::new(stream) };
        let (reader, writer) = tokio::io::split(stream);
        let random = convizit_keys::random_text(12).map_err(|error| SendError::later(error.to_string()))?;
        let mut nats = Self {
            reader: BufReader::new(reader),
            writer,
            inbox: format!("_INBOX.{random}"),
            published: 0,
            max_payload: match info.max_payload {
                // Said before TLS, by anybody: the server itself refuses what is too large.
                _ if tls => usize::MAX,
                0 => PAYLOAD,
                bytes => bytes,
            },
            vendor: settings.vendor.clone(),
        };
        let connect = login(settings, &info.nonce)?;
        nats.write(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await?;
        loop {
            match nats.read().await? {
                Said::Pong => break,
                Said::Error(text) if text.contains("authori") || text.contains("authentication") => {
                    return Err(settings.wrong_credentials());
                }
                Said::Error(text) => return Err(failed(&nats.vendor, &text)),
                Said::Info(info) if info.max_payload > 0 => nats.max_payload = info.max_payload,
                Said::Ping => nats.write(b"PONG\r\n").await?,
                Said::Message { .. } | Said::Info(_) | Said::Other => {}
            }
        }
        let subscribe = format!("SUB {}.* 1\r\n", nats.inbox);
        nats.write(subscribe.as_bytes()).await?;
        Ok(nats)
    }

    pub(crate) async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        let first = self.published;
        self.published += records.len();
        let mut out = Vec::new();
        let mut left = 0;
        for (index, (record, fate)) in records.iter().zip(fates.iter_mut()).enumerate() {
            let mut headers = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n", record.id);
            for (name, value) in &record.headers {
                let value = value.replace(['\r', '\n'], " ");
                headers.push_str(&format!("{name}: {value}\r\n"));
            }
            headers.push_str("\r\n");
            let whole = headers.len() + record.body.len();
            if whole > self.max_payload {
                *fate = Fate::Refused(format!(
                    "with {whole} bytes it is larger than the {} that NATS takes",
                    self.max_payload
                ));
                continue;
            }
            let (to, inbox, number) = (&record.place, &self.inbox, first + index);
            out.extend_from_slice(
                format!("HPUB {to} {inbox}.{number} {} {whole}\r\n{headers}", headers.len()).as_bytes(),
            );
            out.extend_from_slice(&record.body);
            out.extend_from_slice(b"\r\n");
            left += 1;
        }
        let Self { reader, writer, vendor, max_payload, .. } = self;
        let mut pings = 0;
        let mut without: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        // Acknowledgements come while the rest is still written: who does not read them makes the server wait.
        let writing = async {
            writer.write_all(&out).await.map_err(|_| broke(vendor))?;
            writer.flush().await.map_err(|_| broke(vendor))
        };
        let reading = async {
            while left > 0 {
                match read(reader, vendor).await? {
                    Said::Ping => pings += 1,
                    Said::Error(text) if text.contains("permissions violation") => {
                        return Err(SendError::Pause(format!(
                            "{vendor} lets this user not publish to the subject, or not subscribe to _INBOX.>"
                        )));
                    }
                    Said::Error(text) => return Err(failed(vendor, &text)),
                    Said::Info(info) if info.max_payload > 0 => *max_payload = info.max_payload,
                    Said::Message { number: Some(number), headers, body } => {
                        let Some(index) = number.checked_sub(first).filter(|index| *index < records.len()) else {
                            continue;
                        };
                        if fates[index] == Fate::Waiting {
                            fates[index] = stored(&records[index], &headers, &body)?;
                            if nobody_answers(&headers) {
                                without.entry(records[index].place.clone()).or_default().push(index);
                            }
                            left -= 1;
                        }
                    }
                    Said::Message { .. } | Said::Info(_) | Said::Pong | Said::Other => {}
                }
            }
            Ok(())
        };
        tokio::try_join!(writing, reading)?;
        for _ in 0..pings {
            self.write(b"PONG\r\n").await?;
        }
        // Nobody answers for a stream that has no leader just now, either: only where none takes the subject has a record no place.
        for (subject, has_stream) in self.streams(without.keys()).await? {
            if has_stream {
                for index in without.remove(&subject).unwrap_or_default() {
                    let reason = format!("the stream of {} for this subject does not answer now", self.vendor);
                    fates[index] = Fate::Again(reason);
                }
            }
        }
        Ok(())
    }

    /// Whether a stream takes each of these subjects, as far as the server says so.
    async fn streams(&mut self, subjects: impl Iterator<Item = &String>) -> Result<Vec<(String, bool)>, SendError> {
        let mut asked: HashMap<usize, String> = HashMap::new();
        let mut out = Vec::new();
        for subject in subjects {
            let body = json!({ "subject": subject }).to_string();
            let question =
                format!("PUB $JS.API.STREAM.NAMES {}.{} {}\r\n{body}\r\n", self.inbox, self.published, body.len());
            out.extend_from_slice(question.as_bytes());
            asked.insert(self.published, subject.clone());
            self.published += 1;
        }
        let mut found = Vec::new();
        if asked.is_empty() {
            return Ok(found);
        }
        let asking = async {
            self.write(&out).await?;
            while !asked.is_empty() {
                match self.read().await? {
                    Said::Ping => self.write(b"PONG\r\n").await?,
                    // Who may not ask: it is not known, so that each has none.
                    Said::Error(text) if text.contains("permissions violation") => break,
                    Said::Error(text) => return Err(failed(&self.vendor, &text)),
                    Said::Message { number: Some(number), headers, body } => {
                        let Some(subject) = asked.remove(&number) else { continue };
                        let names = serde_json::from_slice(&body).unwrap_or(Names { error: None, streams: None });
                        // Where JetStream as a whole does not answer, nothing is known of its streams.
                        let has_stream = nobody_answers(&headers)
                            || names.error.is_some()
                            || names.streams.is_some_and(|names| !names.is_empty());
                        found.push((subject, has_stream));
                    }
                    Said::Message { .. } | Said::Info(_) | Said::Pong | Said::Other => {}
                }
            }
            Ok(())
        };
        let answered = tokio::time::timeout(STREAMS, asking).await;
        answered.map_err(|_| SendError::later("NATS did not say which streams there are".to_owned()))??;
        Ok(found)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.writer.write_all(bytes).await.map_err(|_| broke(&self.vendor))?;
        self.writer.flush().await.map_err(|_| broke(&self.vendor))
    }

    async fn read(&mut self) -> Result<Said, SendError> {
        read(&mut self.reader, &self.vendor).await
    }
}

fn broke(vendor: &str) -> SendError {
    SendError::later(format!("the connection to {vendor} broke"))
}

/// What a record has become. A subject that its event names is its own trouble.
fn stored(record: &Record, headers: &[u8], body: &[u8]) -> Result<Fate, SendError> {
    let subject = &record.place_of;
    let alone = |failure: SendError| {
        if record.is_named() { Ok(Fate::NoPlace(failure.to_string())) } else { Err(failure) }
    };
    if nobody_answers(headers) {
        return alone(SendError::later(format!(
            "no stream of NATS takes the subject {subject}: make one, or give another subject"
        )));
    }
    let other = || {
        alone(SendError::Pause(format!("somebody else than JetStream answers on the subject {subject}: give another")))
    };
    let Ok(stored) = serde_json::from_slice::<Stored>(body) else { return other() };
    match stored.error {
        // Also a repeat, which is there already.
        None if !stored.stream.is_empty() => Ok(Fate::Done),
        None => other(),
        Some(error) if error.err_code == LARGER => Ok(Fate::Refused("larger than the stream of NATS takes".to_owned())),
        Some(error) => Err(SendError::later(format!("JetStream answered {}", error.err_code))),
    }
}

/// The server's own answer where nobody listens on a subject.
fn nobody_answers(headers: &[u8]) -> bool {
    headers.starts_with(b"NATS/1.0 503")
}

/// What an error means, of whose words only known ones are told: they may quote what was sent.
fn failed(vendor: &str, text: &str) -> SendError {
    match ERRORS.into_iter().find(|error| text.contains(error)) {
        Some("maximum payload violation") => SendError::TooLarge,
        Some(error) => SendError::later(format!("{vendor} answered: {error}")),
        None => SendError::later(format!("{vendor} ended the connection with an error")),
    }
}

async fn read(reader: &mut BufReader<ReadHalf<Box<dyn Wire>>>, vendor: &str) -> Result<Said, SendError> {
    let mut line = Vec::new();
    (&mut *reader).take(LINE).read_until(b'\n', &mut line).await.map_err(|_| broke(vendor))?;
    if line.last() != Some(&b'\n') {
        return Err(broke(vendor));
    }
    let text = String::from_utf8_lossy(&line);
    let mut words = text.split_ascii_whitespace();
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    let words: Vec<&str> = words.collect();
    Ok(match verb.as_str() {
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "INFO" => {
            Said::Info(text.split_once(' ').and_then(|(_, info)| serde_json::from_str(info).ok()).unwrap_or_default())
        }
        "-ERR" => Said::Error(words.join(" ").to_lowercase().chars().filter(|c| !c.is_control()).take(200).collect()),
        "MSG" | "HMSG" => {
            let sized = |text: Option<&&str>| text.and_then(|text| text.parse::<usize>().ok());
            let whole = sized(words.last()).filter(|whole| *whole as u64 <= LINE).ok_or_else(|| broke(vendor))?;
            let head = match verb.as_str() {
                "HMSG" => sized(words.get(words.len().wrapping_sub(2)))
                    .filter(|head| *head <= whole)
                    .ok_or_else(|| broke(vendor))?,
                _ => 0,
            };
            let number =
                words.first().and_then(|subject| subject.rsplit('.').next()).and_then(|number| number.parse().ok());
            let mut headers = vec![0; whole + 2];
            reader.read_exact(&mut headers).await.map_err(|_| broke(vendor))?;
            headers.truncate(whole);
            let body = headers.split_off(head);
            Said::Message { number, headers, body }
        }
        _ => Said::Other,
    })
}

/// What is said of oneself, with the credentials.
fn login(settings: &Settings, nonce: &str) -> Result<Value, SendError> {
    let mut said = json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
        "name": "convizit", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
    });
    let mut add = |fields: Value| {
        if let (Value::Object(said), Value::Object(fields)) = (&mut said, fields) {
            Map::extend(said, fields);
        }
    };
    let (user, password, credentials) = (settings.get("user"), settings.get("password"), settings.get("credentials"));
    if !credentials.is_empty() {
        let (jwt, signature) = signed(credentials, nonce).ok_or_else(|| {
            SendError::Pause("the credentials file is none of NATS: it has a user JWT and an NKEY seed".to_owned())
        })?;
        add(json!({"jwt": jwt, "sig": signature}));
    } else if user.is_empty() && !password.is_empty() {
        add(json!({"auth_token": password}));
    } else if !user.is_empty() {
        add(json!({"user": user, "pass": password}));
    }
    Ok(said)
}

/// The JWT of a credentials file, and the nonce signed with its seed.
fn signed(credentials: &str, nonce: &str) -> Option<(String, String)> {
    let between = |begin: &str, end: &str| -> Option<String> {
        let (_, rest) = credentials.split_once(begin)?;
        // A form's field may have taken the ends of lines away.
        let (inner, _) = rest.trim_start_matches('-').split_once(end)?;
        Some(inner.trim_end_matches('-').split_whitespace().collect())
    };
    let jwt = between("BEGIN NATS USER JWT", "END NATS USER JWT")?;
    let seed = base32(&between("BEGIN USER NKEY SEED", "END USER NKEY SEED")?)?;
    // Two bytes of what it is, 32 of the seed, two of a sum.
    let seed = seed.get(2..34).filter(|_| seed.len() == 36)?;
    let signature = convizit_keys::sign_ed25519(seed, nonce.as_bytes()).ok()?;
    Some((jwt, URL_SAFE_NO_PAD.encode(signature)))
}

/// RFC 4648 without padding.
fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for sign in text.bytes() {
        let value = match sign {
            b'A'..=b'Z' => sign - b'A',
            b'2'..=b'7' => sign - b'2' + 26,
            _ => return None,
        };
        held = ((held << 5) | u32::from(value)) & 0xffff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_jetstream_are_told_apart() {
        let to = |place_of: &str| Record {
            row: 0,
            id: "1".to_owned(),
            place: place_of.replace("{name}", "canary"),
            place_of: place_of.to_owned(),
            key: "v".to_owned(),
            time: 0,
            headers: Vec::new(),
            item: Value::Null,
            body: Vec::new(),
        };
        let of = |body: &str| stored(&to("a.{type}"), b"", body.as_bytes());
        assert_eq!(of(r#"{"stream":"E","seq":1,"duplicate":true}"#).unwrap(), Fate::Done);
        assert!(matches!(of(r#"{"error":{"code":400,"err_code":10054,"description":"x"}}"#), Ok(Fate::Refused(_))));
        let full = of("{\"error\":{\"code\":503,\"err_code\":10023,\"description\":\"canary\"}}");
        let SendError::Later { reason, .. } = full.unwrap_err() else { panic!("it may pass") };
        assert_eq!(reason, "JetStream answered 10023");
        assert!(matches!(failed("NATS", "'maximum payload violation'"), SendError::TooLarge));
        for (said, told) in [
            ("'stale connection'", "NATS answered: stale connection"),
            ("canary", "NATS ended the connection with an error"),
        ] {
            let SendError::Later { reason, .. } = failed("NATS", said) else { panic!("it may pass") };
            assert_eq!(reason, told);
        }
        for body in ["{}", "hello", "{\"ok\":true}"] {
            assert!(matches!(of(body), Err(SendError::Pause(_))), "{body}");
        }
        let none = b"NATS/1.0 503\r\n\r\n";
        assert!(matches!(stored(&to("a.{type}"), none, b""), Err(SendError::Later { .. })));
        // A subject that the event names: that event alone, and its name is not told.
        for (headers, body) in [(none.as_slice(), b"".as_slice()), (b"".as_slice(), b"hello".as_slice())] {
            let Ok(Fate::NoPlace(reason)) = stored(&to("a.{name}"), headers, body) else { panic!("{body:?}") };
            assert!(reason.contains("the subject a.{name}") && !reason.contains("canary"), "{reason}");
        }
    }

    #[test]
    fn a_credentials_file_signs_also_where_a_form_has_taken_its_lines() {
        // A seed that nsc printed for its documents, of no account.
        let file = "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n\
                    -----BEGIN USER NKEY SEED-----\nSUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n------END USER NKEY SEED------\n";
        let (jwt, signature) = signed(file, "nonce").unwrap();
        assert_eq!((jwt.as_str(), signature.len()), ("eyJ0.eyJq.c2ln", 86));
        assert_eq!(signed(&file.replace('\n', ""), "nonce").unwrap().1, signature);
        assert!(signed("eyJ0", "nonce").is_none());
        assert!(signed(&file.replace("SUACSSL3", ""), "nonce").is_none());
    }
}
