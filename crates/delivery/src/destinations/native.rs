//! A connector that speaks a protocol other than HTTP: records are made as the manifest says and given to whoever speaks it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use convizit_model::{ProjectId, Timestamp};
use convizit_store::{EraseMessage, StoredEvent};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::connectors::Connector;
use crate::connectors::encode::{Encoded, Record, With, encoded};
use crate::connectors::manifest::Protocol;
use crate::destinations::amqp::Amqp;
use crate::destinations::kafka::Kafka;
use crate::destinations::mqtt::Mqtt;
use crate::destinations::mysql::Mysql;
use crate::destinations::nats::Nats;
use crate::destinations::redis::Redis;
use crate::destinations::{Fate, SendError, Taken};
use crate::dial::{Dialled, Servers};
use crate::guard::Guard;
use crate::mapping::Directive;
use crate::quoted::Hidden;

/// To connect, sign in and be ready.
const CONNECT: Duration = Duration::from_secs(15);
/// For the acknowledgements of a batch.
const ANSWER: Duration = Duration::from_secs(30);
/// Rounds of one call in which one event of each visitor is on its way: between calls it may be stopped, where one visitor has many.
const ROUNDS: usize = 50;
/// Columns of a table by which rows are told apart, ordered and erased: no field of one's own takes their place.
const KEPT: [&str; 6] = ["id", "project", "visitor", "user_id", "time", "received"];
/// A connection that was not used for so long is made anew: the server, or something between, may have ended it.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) struct Native {
    connector: Arc<Connector>,
    settings: Settings,
    servers: Servers,
    guard: Guard,
    /// What no words of a server that are kept may hold.
    hidden: Hidden,
    /// Fields of items that a person has made another way.
    set: Vec<(String, Directive)>,
    /// `<project>/<destination>`.
    name: String,
    speaker: Option<Speaker>,
    used: Instant,
    /// The server with which the next connection begins: another one after each failure.
    first: usize,
}

/// What a person entered, checked by the manifest.
#[derive(Clone)]
pub(crate) struct Settings {
    of: BTreeMap<String, String>,
    /// The system's name, for people to read.
    pub(crate) vendor: String,
}

impl Settings {
    #[cfg(test)]
    pub(crate) fn of(vendor: &str, of: &[(&str, &str)]) -> Self {
        let of = of.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect();
        Self { of, vendor: vendor.to_owned() }
    }

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
    async fn connect(protocol: Protocol, settings: &Settings, dialled: Dialled) -> Result<Self, SendError> {
        Ok(match protocol {
            Protocol::Amqp => Self::Amqp(Box::new(Amqp::connect(settings, dialled).await?)),
            Protocol::Mqtt => Self::Mqtt(Box::new(Mqtt::connect(settings, dialled).await?)),
            Protocol::Mysql => Self::Mysql(Box::new(Mysql::connect(settings, dialled).await?)),
            Protocol::Nats => Self::Nats(Box::new(Nats::connect(settings, dialled).await?)),
            Protocol::Redis => Self::Redis(Box::new(Redis::connect(settings, dialled).await?)),
            Protocol::Kafka => {
                return Err(SendError::Pause(format!("{} is connected to as a cluster", settings.vendor)));
            }
        })
    }

    /// For how long it may be unused.
    fn idle(&self) -> Duration {
        match self {
            Self::Mqtt(mqtt) => mqtt.idle.min(IDLE),
            _ => IDLE,
        }
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
        let fields = set.iter().map(|(field, _)| field.as_str());
        check_fields(protocol_of(&connector)?, fields).map_err(SendError::Pause)?;
        let vendor = connector.manifest.meta.name.clone();
        let settings = Settings { of, vendor };
        let servers = Servers::parse(settings.get("address"), protocol_of(&connector)?).map_err(SendError::Pause)?;
        let guard = guard.clone();
        let secrets = connector.manifest.settings.iter().filter(|setting| setting.secret);
        let hidden = Hidden::of(secrets.map(|setting| settings.get(&setting.id)));
        Ok(Self {
            connector,
            settings,
            servers,
            guard,
            hidden,
            set,
            name,
            speaker: None,
            used: Instant::now(),
            first: 0,
        })
    }

    /// Connects and signs in.
    pub(crate) async fn ready(&mut self) -> Result<(), SendError> {
        self.speaker().await.map(|_| ())
    }

    async fn speaker(&mut self) -> Result<&mut Speaker, SendError> {
        let kept = self.speaker.take().filter(|speaker| self.used.elapsed() < speaker.idle());
        let speaker = match kept {
            Some(speaker) => speaker,
            None => {
                let made = self.connect().await;
                made.map_err(|failure| self.hidden.failure(failure))?
            }
        };
        self.used = Instant::now();
        Ok(self.speaker.insert(speaker))
    }

    /// With one of the servers, which are tried one after the other.
    async fn connect(&mut self) -> Result<Speaker, SendError> {
        let protocol = protocol_of(&self.connector)?;
        let (settings, turn) = (&self.settings, (self.first, CONNECT));
        if protocol == Protocol::Kafka {
            // A cluster leads on to others, whichever is asked.
            let kafka = Kafka::connect(settings, &self.servers, turn, &self.guard).await;
            self.first = self.first.wrapping_add(usize::from(kafka.is_err()));
            return kafka.map(|kafka| Speaker::Kafka(Box::new(kafka)));
        }
        let begin = |dialled: Dialled| -> BoxFuture<'_, _> { Box::pin(Speaker::connect(protocol, settings, dialled)) };
        let (passed, speaker) = self.servers.begin(turn, &self.guard, begin).await;
        self.first = self.first.wrapping_add(passed);
        // No event was sent yet, so that none is refused.
        speaker.map_err(|failure| match failure {
            SendError::TooLarge | SendError::Refused(_) => {
                SendError::later(format!("{} refused the connection", self.settings.vendor))
            }
            failure => failure,
        })
    }

    /// Sends a batch; one fate for each event.
    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<Taken, SendError> {
        let with = With { settings: &self.settings.of, set: &self.set, name: &self.name, now: now() };
        let Encoded { records, skipped, refused, changes, .. } = encoded(&self.connector, events, with).await;
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
        let one_by_one = protocol_of(&self.connector)?.takes_one_by_one();
        self.send_records(one_by_one, records, &mut taken).await;
        for (changes, _) in changes.iter().zip(&taken.fates).filter(|(_, fate)| **fate == Fate::Done) {
            taken.changes.add(changes);
        }
        Ok(taken)
    }

    async fn send_records(&mut self, one_by_one: bool, records: Vec<Record>, taken: &mut Taken) {
        // Whose event was not taken: a later one of theirs is not to come before it.
        let mut held: HashSet<String> = HashSet::new();
        for round in rounds(records, one_by_one) {
            let (behind, round): (Vec<Record>, Vec<Record>) =
                round.into_iter().partition(|record| held.contains(&record.key));
            for record in behind {
                taken.fates[record.row] = Fate::Again("an earlier event of the same visitor was not taken".to_owned());
            }
            if round.is_empty() {
                continue;
            }
            let mut fates = vec![Fate::Waiting; round.len()];
            let sent = match self.speaker().await {
                Ok(speaker) => match tokio::time::timeout(ANSWER, speaker.send(&round, &mut fates)).await {
                    Ok(sent) => sent,
                    Err(_) => Err(SendError::later(format!("{} did not answer within 30 s", self.settings.vendor))),
                },
                Err(failure) => Err(failure),
            };
            self.used = Instant::now();
            if sent.is_err() && self.speaker.take().is_some() {
                // One that cannot be written to now is one of several.
                self.first = self.first.wrapping_add(1);
            }
            let waits = |fate: &Fate| matches!(fate, Fate::NoPlace(_) | Fate::Again(_));
            let keys = round.iter().zip(&fates).filter(|(_, fate)| waits(fate)).map(|(record, _)| record.key.clone());
            held.extend(keys.filter(|key| one_by_one && !key.is_empty()));
            self.hidden.fates(&mut fates);
            note(taken, &round, fates, sent.map_err(|failure| self.hidden.failure(failure)));
            if taken.failure.is_some() {
                return;
            }
        }
    }

    /// Rows are deleted; messages are others' by then.
    pub(crate) async fn erase(&mut self, project: &ProjectId, message: &EraseMessage) -> Result<(), SendError> {
        if let Some(why) = self.connector.never_erases() {
            return Err(SendError::Refused(why));
        }
        let done = match self.speaker().await? {
            // Each statement has its own time; of many persons there are many.
            Speaker::Mysql(mysql) => mysql.erase(project, message).await,
            _ => Ok(()),
        };
        self.used = Instant::now();
        if done.is_err() {
            self.speaker = None;
            self.first = self.first.wrapping_add(1);
        }
        done.map_err(|failure| self.hidden.failure(failure))
    }
}

/// Records as they are on their way together: where those of one key wait for each other, one of each key. What is behind the last round
/// waits still.
fn rounds(records: Vec<Record>, one_by_one: bool) -> Vec<Vec<Record>> {
    if !one_by_one {
        return vec![records];
    }
    let mut rounds: Vec<Vec<Record>> = vec![Vec::new()];
    let mut seen: HashMap<String, usize> = HashMap::new();
    for record in records {
        let times = match record.key.as_str() {
            "" => 0,
            key => {
                let times = seen.entry(key.to_owned()).or_default();
                *times += 1;
                *times - 1
            }
        };
        if times == rounds.len() && times < ROUNDS {
            rounds.push(Vec::new());
        }
        if let Some(round) = rounds.get_mut(times) {
            round.push(record);
        }
    }
    rounds
}

/// Writes down what became of records: what was taken is taken, whatever became of those behind it.
fn note(taken: &mut Taken, records: &[Record], fates: Vec<Fate>, sent: Result<(), SendError>) {
    for (record, fate) in records.iter().zip(fates) {
        taken.fates[record.row] = fate;
    }
    taken.failure = sent.err();
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

/// Whether what a person makes otherwise leaves rows to be found by who is erased.
///
/// # Errors
/// The field, and why it stays.
pub(crate) fn check_fields<'a>(protocol: Protocol, mut fields: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let is_kept = |field: &&str| KEPT.contains(&field.split('.').next().unwrap_or_default());
    match fields.find(is_kept).filter(|_| protocol.erases()) {
        Some(field) => Err(format!(
            "{field} cannot be made another way: rows are told apart, ordered and erased by {}",
            KEPT.join(", ")
        )),
        None => Ok(()),
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::connectors;

    /// What a Redis of the test's own answers to an entry, by the visitor and the number of its event.
    type Answers = Arc<dyn Fn(&str, i64) -> &'static str + Send + Sync>;
    /// Visitors and numbers of the entries that came together.
    type Came = Arc<Mutex<Vec<Vec<(String, i64)>>>>;

    /// Answers all that has come after a millisecond, as over a network.
    async fn redis(answers: Answers) -> (u16, Came) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let came = Came::default();
        let keep = came.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut stream, answers, keep) = (BufReader::new(stream), answers.clone(), keep.clone());
                tokio::spawn(async move {
                    let (mut out, mut together) = (String::new(), Vec::new());
                    loop {
                        let mut parts: Vec<String> = Vec::new();
                        let mut line = String::new();
                        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                            return;
                        }
                        for _ in 0..line.trim_start_matches('*').trim().parse().unwrap() {
                            line.clear();
                            stream.read_line(&mut line).await.unwrap();
                            let mut part = vec![0; line.trim_start_matches('$').trim().parse::<usize>().unwrap() + 2];
                            stream.read_exact(&mut part).await.unwrap();
                            parts.push(String::from_utf8(part).unwrap().trim_end().to_owned());
                        }
                        let value = |name: &str| parts.iter().skip_while(|part| *part != name).nth(1).cloned();
                        let answer = match value("visitor") {
                            Some(visitor) => {
                                let number = value("name").unwrap().parse().unwrap();
                                together.push((visitor.clone(), number));
                                answers(&visitor, number)
                            }
                            None => "+PONG",
                        };
                        out.push_str(&format!("{answer}\r\n"));
                        if stream.buffer().is_empty() {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            let entries = std::mem::take(&mut together);
                            if !entries.is_empty() {
                                keep.lock().unwrap().push(entries);
                            }
                            stream.write_all(std::mem::take(&mut out).as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        (port, came)
    }

    fn sink(ports: &[u16]) -> Native {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let address = format!("redis://{}", hosts.join(","));
        let entered = [("address", address.as_str()), ("keep", "0"), ("repeats", "0"), ("password", "")];
        let entered = entered.map(|(id, value)| (id.to_owned(), value.to_owned())).into();
        let guard = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        let connector = connectors::find("redis", None).unwrap();
        Native::open(connector, None, &entered, ("shop/redis".to_owned(), Vec::new()), &guard).unwrap()
    }

    fn events(many: i64, visitors: i64) -> Vec<StoredEvent> {
        let event = |number: i64| {
            StoredEvent {
            number,
            json: serde_json::json!({
                "id": format!("id-{number}"), "project": "shop", "type": "click", "name": number.to_string(),
                "visitor": format!("v{}", number % visitors), "time": "2026-11-23T12:01:07Z", "received": "2026-11-23T12:01:08Z",
            })
            .to_string()
            .into_bytes()
            .into(),
        }
        };
        (0..many).map(event).collect()
    }

    #[tokio::test]
    async fn one_event_of_a_visitor_is_on_its_way_and_what_is_not_taken_now_holds_back_the_later_ones() {
        let (port, came) = redis(Arc::new(|_, _| "+1-0")).await;
        let started = Instant::now();
        let taken = sink(&[port]).send(&events(500, 50)).await.unwrap();
        assert!(taken.failure.is_none() && taken.fates.iter().all(|fate| *fate == Fate::Done), "{taken:?}");
        // Ten rounds, where all at once would be one: ten times a millisecond and what the work takes.
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        let bursts = came.lock().unwrap().clone();
        assert!(bursts.len() >= 10, "{bursts:?}");
        for burst in &bursts {
            let visitors: HashSet<&str> = burst.iter().map(|(visitor, _)| visitor.as_str()).collect();
            assert_eq!(visitors.len(), burst.len(), "{burst:?}");
        }

        // The second event of v3 is not taken now: its later ones are not there before it.
        let (port, came) = redis(Arc::new(|_, number| if number == 53 { "-OOM full" } else { "+1-0" })).await;
        let taken = sink(&[port]).send(&events(500, 50)).await.unwrap();
        assert!(matches!(taken.failure, Some(SendError::Later { .. })), "{:?}", taken.failure);
        let there: Vec<i64> = came.lock().unwrap().iter().flatten().map(|(_, number)| *number).collect();
        assert!(there.contains(&3) && !there.iter().any(|number| *number > 53 && number % 50 == 3), "{there:?}");
        assert_eq!((&taken.fates[3], &taken.fates[53], &taken.fates[54]), (&Fate::Done, &Fate::Waiting, &Fate::Done));

        // Many of one visitor: as many as rounds, the rest waits, and nothing is wrong.
        let (port, _) = redis(Arc::new(|_, _| "+1-0")).await;
        let taken = sink(&[port]).send(&events(80, 1)).await.unwrap();
        let done = taken.fates.iter().filter(|fate| **fate == Fate::Done).count();
        assert!(taken.failure.is_none() && done == ROUNDS, "{done}");
    }

    #[tokio::test]
    async fn one_that_may_only_be_read_leads_to_the_next_server() {
        let (replica, _) = redis(Arc::new(|_, _| "-READONLY You can't write against a read only replica.")).await;
        let (primary, came) = redis(Arc::new(|_, _| "+1-0")).await;
        let mut sink = sink(&[replica, primary]);
        let first = sink.send(&events(1, 1)).await.unwrap();
        assert!(first.failure.is_some_and(|failure| failure.to_string().contains("READONLY")));
        let second = sink.send(&events(1, 1)).await.unwrap();
        assert!(second.failure.is_none() && second.fates == [Fate::Done], "{second:?}");
        assert_eq!(came.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_was_acknowledged_before_a_refusal_is_done() {
        let mut taken = Taken::of(3);
        let events = events(3, 3);
        let connector = connectors::find("redis", None).unwrap();
        let settings = BTreeMap::from([("stream".to_owned(), "s".to_owned())]);
        let with = With { settings: &settings, set: &[], name: "shop/redis", now: now() };
        let records = connector.encode(&events, with).records;
        note(&mut taken, &records, vec![Fate::Done, Fate::Waiting, Fate::Waiting], Err(SendError::TooLarge));
        assert_eq!(taken.fates, [Fate::Done, Fate::Waiting, Fate::Waiting]);
        assert!(matches!(taken.failure, Some(SendError::TooLarge)), "only the rest is halved");
    }

    #[test]
    fn fields_by_which_rows_are_erased_are_nobodys_own() {
        let kind = |connector: &str| convizit_model::DestinationKind::Connector {
            connector: connector.to_owned(),
            region: None,
            settings: BTreeMap::new(),
        };
        let shaping = |field: &str| convizit_model::Shaping {
            set: [(field.to_owned(), serde_json::json!("$.name"))].into_iter().collect(),
            ..Default::default()
        };
        for field in KEPT.into_iter().chain(["visitor.x"]) {
            let error = crate::check_shaping(&shaping(field), &kind("mysql")).unwrap_err();
            assert!(error.field == "fields" && error.what.starts_with(&format!("{field} cannot be made")), "{error:?}");
            crate::check_shaping(&shaping(field), &kind("kafka")).unwrap();
        }
        crate::check_shaping(&shaping("country"), &kind("mysql")).unwrap();
    }
}
