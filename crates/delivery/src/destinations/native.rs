//! A connector that speaks a protocol other than HTTP: records are made as the manifest says and given to whoever speaks it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convizit_model::{ProjectId, Timestamp};
use convizit_store::{EraseMessage, StoredEvent};
use tokio::time::Instant;

use crate::connectors::Connector;
use crate::connectors::encode::{Encoded, Record, With};
use crate::connectors::manifest::Protocol;
use crate::destinations::amqp::Amqp;
use crate::destinations::kafka::Kafka;
use crate::destinations::mqtt::Mqtt;
use crate::destinations::mysql::Mysql;
use crate::destinations::nats::Nats;
use crate::destinations::redis::Redis;
use crate::destinations::{Fate, SendError, Taken};
use crate::dial::Servers;
use crate::guard::Guard;
use crate::mapping::Directive;

/// To connect, sign in and be ready.
const CONNECT: Duration = Duration::from_secs(15);
/// For the acknowledgements of a batch.
const ANSWER: Duration = Duration::from_secs(30);
/// A connection that was not used for so long is made anew: the server, or something between, may have ended it.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) struct Native {
    connector: Arc<Connector>,
    settings: Settings,
    servers: Servers,
    guard: Guard,
    /// Fields of items that a person has made another way.
    set: Vec<(String, Directive)>,
    /// `<project>/<destination>`.
    name: String,
    speaker: Option<Speaker>,
    used: Instant,
}

/// What a person entered, checked by the manifest.
#[derive(Clone)]
pub(crate) struct Settings {
    of: BTreeMap<String, String>,
    /// The system's name, for people to read.
    pub(crate) vendor: String,
}

impl Settings {
    /// The manifest is held to have it; empty where nothing was entered.
    pub(crate) fn get(&self, id: &str) -> &str {
        self.of.get(id).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn wrong_credentials(&self) -> SendError {
        SendError::Pause(format!("{} refused the credentials: are they right?", self.vendor))
    }
}

/// A connection that is signed in.
enum Speaker {
    Amqp(Box<Amqp>),
    Kafka(Box<Kafka>),
    Mqtt(Box<Mqtt>),
    Mysql(Box<Mysql>),
    Nats(Box<Nats>),
    Redis(Box<Redis>),
}

impl Speaker {
    async fn connect(protocol: Protocol, of: &Native) -> Result<Self, SendError> {
        let (settings, servers, guard) = (&of.settings, &of.servers, &of.guard);
        Ok(match protocol {
            Protocol::Amqp => Self::Amqp(Box::new(Amqp::connect(settings, servers, guard).await?)),
            Protocol::Kafka => Self::Kafka(Box::new(Kafka::connect(settings, servers, guard).await?)),
            Protocol::Mqtt => Self::Mqtt(Box::new(Mqtt::connect(settings, servers, guard).await?)),
            Protocol::Mysql => Self::Mysql(Box::new(Mysql::connect(settings, servers, guard).await?)),
            Protocol::Nats => Self::Nats(Box::new(Nats::connect(settings, servers, guard).await?)),
            Protocol::Redis => Self::Redis(Box::new(Redis::connect(settings, servers, guard).await?)),
        })
    }

    /// Sends records in order, and writes down what became of each as soon as it is known.
    async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        match self {
            Self::Amqp(amqp) => amqp.send(records, fates).await,
            Self::Kafka(kafka) => kafka.send(records, fates).await,
            Self::Mqtt(mqtt) => mqtt.send(records, fates).await,
            Self::Mysql(mysql) => mysql.send(records, fates).await,
            Self::Nats(nats) => nats.send(records, fates).await,
            Self::Redis(redis) => redis.send(records, fates).await,
        }
    }
}

impl Native {
    /// `entered` are the settings with the secrets among them.
    pub(crate) fn open(
        connector: Arc<Connector>,
        region: Option<&str>,
        entered: &BTreeMap<String, String>,
        (name, set): (String, Vec<(String, Directive)>),
        guard: &Guard,
    ) -> Result<Self, SendError> {
        let of = connector.settle(region, entered).map_err(|error| SendError::Pause(error.to_string()))?;
        let vendor = connector.manifest.meta.name.clone();
        let settings = Settings { of, vendor };
        let servers = Servers::parse(settings.get("address"), protocol_of(&connector)?).map_err(SendError::Pause)?;
        let guard = guard.clone();
        Ok(Self { connector, settings, servers, guard, set, name, speaker: None, used: Instant::now() })
    }

    /// Connects and signs in.
    pub(crate) async fn ready(&mut self) -> Result<(), SendError> {
        self.speaker().await.map(|_| ())
    }

    async fn speaker(&mut self) -> Result<&mut Speaker, SendError> {
        let speaker = match self.speaker.take().filter(|_| self.used.elapsed() < IDLE) {
            Some(speaker) => speaker,
            None => {
                let connecting = Speaker::connect(protocol_of(&self.connector)?, self);
                let late = || SendError::later(format!("{} did not answer within 15 s", self.settings.vendor));
                tokio::time::timeout(CONNECT, connecting).await.map_err(|_| late())??
            }
        };
        self.used = Instant::now();
        Ok(self.speaker.insert(speaker))
    }

    /// Sends a batch; one fate for each event.
    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<Taken, SendError> {
        let with = With { settings: &self.settings.of, set: &self.set, name: &self.name, now: now() };
        let Encoded { records, skipped, refused, changes, .. } = self.connector.encode(events, with);
        let mut taken = Taken::of(events.len());
        for row in skipped {
            taken.fates[row] = Fate::Skipped;
        }
        for (row, reason) in refused {
            taken.fates[row] = Fate::Refused(reason);
        }
        if records.is_empty() {
            return Ok(taken);
        }
        let mut fates = vec![Fate::Waiting; records.len()];
        let sent = match self.speaker().await {
            Ok(speaker) => match tokio::time::timeout(ANSWER, speaker.send(&records, &mut fates)).await {
                Ok(sent) => sent,
                Err(_) => Err(SendError::later(format!("{} did not answer within 30 s", self.settings.vendor))),
            },
            Err(failure) => Err(failure),
        };
        self.used = Instant::now();
        for (record, fate) in records.iter().zip(fates) {
            taken.fates[record.row] = fate;
        }
        for (changes, _) in changes.iter().zip(&taken.fates).filter(|(_, fate)| **fate == Fate::Done) {
            taken.changes.add(changes);
        }
        if let Err(failure) = sent {
            self.speaker = None;
            // What was acknowledged before a refusal is done: the rest is halved.
            taken.failure = Some(failure);
        }
        Ok(taken)
    }

    /// Rows are deleted; messages are others' by then.
    pub(crate) async fn erase(&mut self, project: &ProjectId, message: &EraseMessage) -> Result<(), SendError> {
        if !protocol_of(&self.connector)?.erases() {
            let meta = &self.connector.manifest.meta;
            return Err(SendError::Refused(format!(
                "what {} was sent is not taken back: delete it there, and wherever it went from there ({})",
                meta.name, meta.docs
            )));
        }
        let done = match self.speaker().await? {
            // Each statement has its own time; of many persons there are many.
            Speaker::Mysql(mysql) => mysql.erase(project, message).await,
            _ => Ok(()),
        };
        self.used = Instant::now();
        if done.is_err() {
            self.speaker = None;
        }
        done
    }
}

/// How an event would be sent, as a person may see it: where to, with which headers.
pub(crate) fn preview(
    connector: &Connector,
    settings: &BTreeMap<String, String>,
    (name, set): (&str, &[(String, Directive)]),
    event: &StoredEvent,
) -> Result<Record, String> {
    let mut encoded = connector.encode(std::slice::from_ref(event), With { settings, set, name, now: now() });
    match (encoded.records.pop(), encoded.refused.pop()) {
        (Some(record), _) => Ok(record),
        (None, Some((_, reason))) => Err(format!("It would be refused: {reason}.")),
        (None, None) => Err("It is not sent: this connector does not take it.".to_owned()),
    }
}

fn protocol_of(connector: &Connector) -> Result<Protocol, SendError> {
    let none = || SendError::Pause(format!("{} speaks HTTP", connector.manifest.meta.name));
    connector.manifest.protocol.ok_or_else(none)
}

#[expect(clippy::disallowed_methods, reason = "how old an event is may decide whether it is taken")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(0))
}
