//! Kafka: records by partition to the brokers that lead them, acknowledged by all in-sync replicas; a batch whose answer was lost is
//! known again by the broker. Redpanda, WarpStream and Azure Event Hubs speak the same.
//!
//! The client is ours because a cluster names its brokers itself: each such name goes through the guard, which no client library asks.

mod batch;
mod connection;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use crate::connectors::encode::Record;
use crate::destinations::native::Settings;
use crate::destinations::{Fate, SendError};
use crate::dial::{Dialled, Servers};
use crate::guard::Guard;
use batch::{Producer, batch, partition, size_of};
use connection::{Api, Connection, In, Out};

/// Bytes of a batch before it is compressed: brokers take a megabyte when nobody says otherwise.
const BATCH: usize = 900_000;
/// Bytes of one request's batches. Azure Event Hubs hangs up on one of more than 1 046 528 in all.
const REQUEST: usize = 990_000;
/// To find somebody of the cluster who answers; below what connecting as a whole may take.
const LEARN: Duration = Duration::from_secs(12);
/// How often a connection breaks on a batch before that is halved.
const BREAKS: u32 = 2;
/// For the replicas' acknowledgement, in milliseconds.
const ACKNOWLEDGED: i32 = 10_000;
/// What stands for a broker in what is kept and told.
const BROKER: &str = "a broker that the cluster names";
/// Tries of a batch before the whole of it waits, and how long at first and at most between them: while a partition gets a new leader, which
/// takes some ten seconds, the broker knows again what it had taken. Behind these tries it does not.
const TRIES: u32 = 7;
/// Tries of a partition without a leader while those of others are taken.
const CLOSED: u32 = 2;
const BETWEEN: Duration = Duration::from_millis(300);
const BETWEEN_MOST: Duration = Duration::from_secs(5);
/// To connect with one broker and sign in, and for its answer: one that says nothing is not to keep the others' answers waiting.
const OPEN: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(12);

pub(crate) struct Kafka {
    settings: Settings,
    servers: Servers,
    /// The server that is asked first.
    first: usize,
    guard: Guard,
    /// By their numbers, as the cluster names them.
    brokers: HashMap<i32, (String, u16)>,
    connections: HashMap<i32, Connection>,
    /// The leaders of each topic's partitions.
    topics: HashMap<String, Vec<i32>>,
    producer: Option<Producer>,
    /// The next sequence of each partition.
    sequences: HashMap<Place, i32>,
}

/// A topic's name and a partition of it.
type Place = (String, usize);
/// Batches of records, each of places in the batch that is sent.
type Waiting = BTreeMap<Place, VecDeque<Vec<usize>>>;
/// Batches as they are written.
type Written = Vec<(Place, Vec<u8>)>;
/// Topics, each with what is told in place of its name.
type Topics = BTreeMap<String, String>;

/// What went wrong with batches of partitions.
#[derive(Default)]
struct Breaks {
    /// How often on the first batch of a partition.
    of: HashMap<Place, u32>,
    /// Whether one was halved since it was asked last.
    halved: bool,
    /// Partitions that nothing can be written to now, and why: of these nothing was taken.
    closed: BTreeMap<Place, String>,
}

impl Breaks {
    /// A connection broke on the first batches of these: what breaks it may stand in one of their halves alone.
    fn count(&mut self, places: &[Place], waiting: &mut Waiting) {
        for place in places {
            let times = self.of.entry(place.clone()).or_default();
            *times += 1;
            let Some(batches) = waiting.get_mut(place).filter(|_| *times >= BREAKS) else { continue };
            let Some(rows) = batches.pop_front() else { continue };
            if rows.len() > 1 {
                *times = 0;
                self.halved = true;
            }
            halve(rows, batches);
        }
    }
}

/// Puts the halves of a batch in its place; one of one record stays.
fn halve(mut rows: Vec<usize>, batches: &mut VecDeque<Vec<usize>>) {
    let behind = rows.split_off(rows.len().div_ceil(2));
    for half in [behind, rows].into_iter().filter(|half| !half.is_empty()) {
        batches.push_front(half);
    }
}

impl Kafka {
    /// Beginning with the server of this number, within this time.
    pub(crate) async fn connect(
        settings: &Settings,
        servers: &Servers,
        (first, within): (usize, Duration),
        guard: &Guard,
    ) -> Result<Self, SendError> {
        let mut kafka = Self {
            settings: settings.clone(),
            servers: servers.clone(),
            first,
            guard: guard.clone(),
            brokers: HashMap::new(),
            connections: HashMap::new(),
            topics: HashMap::new(),
            producer: None,
            sequences: HashMap::new(),
        };
        // A topic that holds values of events is asked for when there is an event.
        let topic = settings.get("topic").to_owned();
        let topics: Topics =
            Some(topic).filter(|topic| !topic.contains('{')).map(|of| (of.clone(), of)).into_iter().collect();
        let late = || SendError::later(format!("{} did not answer within {} s", settings.vendor, within.as_secs()));
        let missing = tokio::time::timeout(within, kafka.learn(&topics, true)).await.map_err(|_| late())??;
        missing.into_values().next().map_or(Ok(kafka), Err)
    }

    pub(crate) async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        let unknown: Vec<usize> =
            (0..records.len()).filter(|row| !self.topics.contains_key(&records[*row].place)).collect();
        self.find(records, &unknown, fates).await?;
        let mut waiting = self.parted(records, fates);
        let mut breaks = Breaks::default();
        let mut tries = 0;
        while !waiting.is_empty() {
            let failure = match self.round(records, &mut waiting, &mut breaks, fates).await {
                Ok(None) => continue,
                Ok(Some(failure)) | Err(failure @ SendError::Later { .. }) => failure,
                Err(failure) => return Err(failure),
            };
            tries += 1;
            if std::mem::take(&mut breaks.halved) {
                tries = 0;
            }
            if tries == TRIES {
                return Err(failure);
            }
            // A partition may have got another leader. What is asked again has the same sequence, so that nothing is there twice.
            self.connections.clear();
            tokio::time::sleep((BETWEEN * 2_u32.pow(tries.saturating_sub(1))).min(BETWEEN_MOST)).await;
            // A leader is not waited for by those whose partition has one.
            for (place, reason) in std::mem::take(&mut breaks.closed).into_iter().filter(|_| tries >= CLOSED) {
                if !breaks.of.contains_key(&place) && fates.contains(&Fate::Done) {
                    for row in waiting.remove(&place).into_iter().flatten().flatten() {
                        fates[row] = Fate::Again(reason.clone());
                    }
                }
            }
            let rows: Vec<usize> = waiting.values().flatten().flatten().copied().collect();
            self.find(records, &rows, fates).await?;
            waiting.retain(|_, batches| {
                batches.retain(|rows| rows.iter().any(|row| fates[*row] == Fate::Waiting));
                !batches.is_empty()
            });
        }
        Ok(())
    }

    /// Learns who leads the topics of these rows. One that is missing has no place for its record where the event names it, and is nothing
    /// that the cluster is to make; any other holds up all.
    async fn find(&mut self, records: &[Record], rows: &[usize], fates: &mut [Fate]) -> Result<(), SendError> {
        for named in [false, true] {
            let of = rows.iter().map(|row| &records[*row]).filter(|record| record.is_named() == named);
            let topics: Topics = of.map(|record| (record.place.clone(), record.place_of.clone())).collect();
            if topics.is_empty() {
                continue;
            }
            let mut missing = self.learn(&topics, !named).await?;
            if !named && let Some((_, failure)) = missing.pop_first() {
                return Err(failure);
            }
            for row in rows {
                if let Some(failure) = missing.get(&records[*row].place) {
                    fates[*row] = Fate::NoPlace(failure.to_string());
                }
            }
        }
        Ok(())
    }

    /// Records by partition, in batches that brokers take.
    fn parted(&self, records: &[Record], fates: &[Fate]) -> Waiting {
        let mut waiting = Waiting::new();
        let mut sizes: HashMap<Place, usize> = HashMap::new();
        for (row, record) in records.iter().enumerate().filter(|(row, _)| fates[*row] == Fate::Waiting) {
            let partitions = self.topics.get(&record.place).map_or(1, Vec::len);
            let key = if record.key.is_empty() { &record.id } else { &record.key };
            let place = (record.place.clone(), partition(key.as_bytes(), partitions));
            let batches = waiting.entry(place.clone()).or_default();
            let bytes = sizes.entry(place).or_default();
            let size = size_of(record);
            match batches.back_mut().filter(|_| *bytes + size <= BATCH) {
                Some(rows) => {
                    rows.push(row);
                    *bytes += size;
                }
                None => {
                    batches.push_back(vec![row]);
                    *bytes = size;
                }
            }
        }
        waiting
    }

    /// Sends the first batch of each partition; what was taken is taken out. A failure that may pass is given back.
    async fn round(
        &mut self,
        records: &[Record],
        waiting: &mut Waiting,
        breaks: &mut Breaks,
        fates: &mut [Fate],
    ) -> Result<Option<SendError>, SendError> {
        let producer = self.producer().await?;
        let gzip = self.settings.get("compression") == "gzip";
        let mut leaders: BTreeMap<i32, VecDeque<Written>> = BTreeMap::new();
        let mut failure = None;
        for (place, batches) in &*waiting {
            let Some(rows) = batches.front() else { continue };
            let of: Vec<&Record> = rows.iter().map(|row| &records[*row]).collect();
            let leader = self.topics.get(&place.0).and_then(|leaders| leaders.get(place.1)).copied().unwrap_or(-1);
            if leader < 0 {
                // The others go meanwhile.
                let told = of.first().map_or("", |record| &record.place_of);
                let reason = format!("a partition of the topic {told} has no leader now");
                breaks.closed.insert(place.clone(), reason.clone());
                failure.get_or_insert(SendError::later(reason));
                continue;
            }
            let sequence = self.sequences.get(place).copied().unwrap_or(0);
            let bytes = batch(&of, gzip, producer, sequence)
                .map_err(|error| SendError::later(format!("a batch cannot be compressed: {error}")))?;
            add(leaders.entry(leader).or_default(), (place.clone(), bytes));
        }
        // Each leader has one request on its way, and all of them at once.
        while leaders.values().any(|requests| !requests.is_empty()) {
            let mut asked: Vec<(i32, Connection, Written)> = Vec::new();
            let mut refused = None;
            for (leader, requests) in &mut leaders {
                let Some(request) = requests.pop_front() else { continue };
                match self.connection(*leader).await {
                    Ok(connection) => asked.push((*leader, connection, request)),
                    Err(error @ SendError::Later { .. }) => {
                        requests.clear();
                        failure.get_or_insert(error);
                    }
                    Err(error) => {
                        requests.clear();
                        refused.get_or_insert(error);
                    }
                }
            }
            // Each is heard, whatever the others say or do not say: what was taken is not to be sent again.
            let asking = asked.into_iter().map(|(leader, mut connection, request)| async move {
                let body = produce(&request);
                let answer = tokio::time::timeout(ANSWER, connection.ask(Api::Produce, &body)).await;
                let places: Vec<Place> = request.into_iter().map(|(place, _)| place).collect();
                (leader, connection, places, answer)
            });
            for (leader, connection, places, answer) in join_all(asking).await {
                let late = || SendError::later(format!("{} did not answer", self.settings.vendor));
                match answer.unwrap_or_else(|_| Err(late())) {
                    Ok(answer) => {
                        for place in &places {
                            breaks.of.remove(place);
                        }
                        match self.take(&answer, &places, records, waiting, fates) {
                            Ok(later) => failure = failure.or(later),
                            Err(error) => refused = refused.or(Some(error)),
                        }
                        self.connections.insert(leader, connection);
                    }
                    Err(error @ SendError::Later { .. }) => {
                        breaks.count(&places, waiting);
                        leaders.remove(&leader);
                        failure.get_or_insert(error);
                    }
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
            if let Some(error) = refused {
                return Err(error);
            }
        }
        Ok(failure)
    }

    /// What a leader says of the first batches of its partitions.
    fn take(
        &mut self,
        answer: &[u8],
        asked: &[Place],
        records: &[Record],
        waiting: &mut Waiting,
        fates: &mut [Fate],
    ) -> Result<Option<SendError>, SendError> {
        let mut failure = None;
        for (place, code) in produced(answer, asked).ok_or_else(|| self.unreadable())? {
            let Some(batches) = waiting.get_mut(place) else { continue };
            let Some(rows) = batches.pop_front() else { continue };
            let told = rows.first().map_or("", |row| &records[*row].place_of);
            match judge(&self.settings, told, code) {
                Ok(()) => {
                    let many = i32::try_from(rows.len()).unwrap_or(0);
                    let sequence = self.sequences.entry(place.clone()).or_default();
                    // Behind the largest comes the first.
                    *sequence = i32::try_from((i64::from(*sequence) + i64::from(many)) % (1 << 31)).unwrap_or(0);
                    for row in rows {
                        fates[row] = Fate::Done;
                    }
                }
                Err(SendError::TooLarge | SendError::Refused(_)) if rows.len() > 1 => halve(rows, batches),
                Err(SendError::TooLarge) => {
                    fates[rows[0]] = Fate::Refused(format!("larger than the topic {told} takes"));
                }
                Err(SendError::Refused(reason)) => fates[rows[0]] = Fate::Refused(reason),
                Err(SendError::Later { reason, after }) => {
                    batches.push_front(rows);
                    // Such a broker knows this producer no more, or has lost count: it begins anew, as another one.
                    if matches!(code, 45 | 47 | 59) {
                        self.producer = None;
                        self.sequences.clear();
                    }
                    failure.get_or_insert(SendError::Later { reason, after });
                }
                Err(failure) => return Err(failure),
            }
            if batches.is_empty() {
                waiting.remove(place);
            }
        }
        Ok(failure)
    }

    /// Who writes. Where a cluster gives no number, it knows no repeats of this kind.
    async fn producer(&mut self) -> Result<Producer, SendError> {
        if let Some(producer) = self.producer {
            return Ok(producer);
        }
        let mut body = Out::default();
        // No transactions.
        body.i16(-1);
        body.i32(60_000);
        let Some(broker) = self.brokers.keys().next().copied() else { return Err(self.unreadable()) };
        let mut connection = self.connection(broker).await?;
        let asking = tokio::time::timeout(ANSWER, connection.ask(Api::InitProducerId, &body.0));
        let answer = asking.await.map_err(|_| self.unreadable())??;
        self.connections.insert(broker, connection);
        let mut answer = In(&answer);
        answer.i32();
        let producer = match (answer.i16(), answer.i64(), answer.i16()) {
            (Some(0), Some(id), Some(epoch)) => Producer { id, epoch },
            (Some(14..=16), ..) => return Err(SendError::later(format!("{} is not ready yet", self.settings.vendor))),
            // It knows none, or this user is not to have one.
            (Some(31 | 35 | 53), ..) => Producer::NONE,
            // It cannot say why it gives none now: what is sent is not kept waiting for it, and the next round asks again.
            (Some(-1), ..) => return Ok(Producer::NONE),
            (Some(code), ..) => {
                return Err(SendError::later(format!("{} answered the code {code}", self.settings.vendor)));
            }
            _ => return Err(self.unreadable()),
        };
        self.producer = Some(producer);
        Ok(producer)
    }

    /// The kept connection to a broker, taken out, or a new one.
    async fn connection(&mut self, broker: i32) -> Result<Connection, SendError> {
        if let Some(connection) = self.connections.remove(&broker) {
            return Ok(connection);
        }
        let (host, port) = self.brokers.get(&broker).cloned().ok_or_else(|| self.unreadable())?;
        let opening = async {
            let dialled = self.servers.dial_one(&host, port, &self.guard, BROKER).await?;
            Connection::open(dialled, &self.settings).await
        };
        let late = || SendError::later(format!("{BROKER} did not answer within {} s", OPEN.as_secs()));
        tokio::time::timeout(OPEN, opening).await.map_err(|_| late())?
    }

    fn unreadable(&self) -> SendError {
        SendError::later(format!("{} answered something that cannot be read", self.settings.vendor))
    }

    /// Asks the cluster for its brokers and the leaders of topics, of which it may make those that are missing if its own rules have it so.
    /// Returns why some have no place for records.
    async fn learn(&mut self, topics: &Topics, make: bool) -> Result<BTreeMap<String, SendError>, SendError> {
        let settings = &self.settings;
        let begin = |dialled: Dialled| -> BoxFuture<'_, _> { Box::pin(Connection::open(dialled, settings)) };
        let (passed, connection) = self.servers.begin((self.first, LEARN), &self.guard, begin).await;
        self.first = self.first.wrapping_add(passed);
        let mut body = Out::default();
        body.len(topics.len());
        for topic in topics.keys() {
            body.string(topic);
        }
        body.0.push(u8::from(make));
        let answer = connection?.ask(Api::Metadata, &body.0).await?;
        let (brokers, found) = metadata(&answer).ok_or_else(|| self.unreadable())?;
        self.brokers = brokers.into_iter().collect();
        let mut missing = BTreeMap::new();
        for Topic { code, name, leaders } in found {
            // Of others nobody asked, and nobody is to fill this memory with them.
            let Some(told) = topics.get(&name) else { continue };
            match judge(&self.settings, told, code) {
                Ok(()) if leaders.is_empty() => {
                    return Err(SendError::later(format!("the topic {told} has no partitions yet")));
                }
                Ok(()) => {
                    self.topics.insert(name, leaders);
                }
                // None of this name, one that may not be seen, a name that none can have.
                Err(failure) if matches!(code, 3 | 17 | 29) => {
                    self.topics.remove(&name);
                    missing.insert(name, failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(missing)
    }
}

/// Adds a batch to the requests of a leader.
fn add(requests: &mut VecDeque<Written>, batch: (Place, Vec<u8>)) {
    // What a request says of a batch beside its bytes.
    let size = |(place, bytes): &(Place, Vec<u8>)| bytes.len() + place.0.len() + 32;
    match requests.back_mut() {
        Some(request) if request.iter().map(size).sum::<usize>() + size(&batch) <= REQUEST => request.push(batch),
        _ => requests.push_back(vec![batch]),
    }
}

/// A topic as a cluster describes it.
#[derive(Debug, PartialEq, Eq)]
struct Topic {
    code: i16,
    name: String,
    /// By partition; -1 where there is none now.
    leaders: Vec<i32>,
}

type Brokers = Vec<(i32, (String, u16))>;

fn metadata(answer: &[u8]) -> Option<(Brokers, Vec<Topic>)> {
    let mut answer = In(answer);
    answer.i32()?;
    let brokers = answer.list(|one| {
        let (number, host, port) = (one.i32()?, one.string()?, one.i32()?);
        one.string()?;
        Some((number, (host, u16::try_from(port).ok()?)))
    })?;
    answer.string()?;
    answer.i32()?;
    let topics = answer.list(|one| {
        let (code, name) = (one.i16()?, one.string()?);
        one.i8()?;
        let partitions = one.list(|one| {
            one.i16()?;
            let (number, leader) = (usize::try_from(one.i32()?).ok()?, one.i32()?);
            one.list(In::i32)?;
            one.list(In::i32)?;
            Some((number, leader))
        })?;
        let mut leaders = vec![-1; partitions.len()];
        for (number, leader) in partitions {
            *leaders.get_mut(number)? = leader;
        }
        Some(Topic { code, name, leaders })
    })?;
    Some((brokers, topics))
}

/// A request to write batches, sorted by topic and partition.
fn produce(batches: &[(Place, Vec<u8>)]) -> Vec<u8> {
    let mut body = Out::default();
    body.i16(-1);
    // All in-sync replicas.
    body.i16(-1);
    body.i32(ACKNOWLEDGED);
    let topics: Vec<_> = batches.chunk_by(|one, other| one.0.0 == other.0.0).collect();
    body.len(topics.len());
    for of in topics {
        body.string(of.first().map_or("", |((topic, _), _)| topic));
        body.len(of.len());
        for ((_, partition), bytes) in of {
            body.len(*partition);
            body.bytes(bytes);
        }
    }
    body.0
}

/// The code of each batch that was asked for; what else an answer names, or names again, is nobody's.
fn produced<'a>(answer: &[u8], asked: &'a [Place]) -> Option<Vec<(&'a Place, i16)>> {
    let mut codes: BTreeMap<usize, i16> = BTreeMap::new();
    let mut answer = In(answer);
    answer.list(|one| {
        let topic = one.string()?;
        one.list(|one| {
            let (partition, code) = (usize::try_from(one.i32()?).ok()?, one.i16()?);
            one.i64()?;
            one.i64()?;
            if let Some(at) = asked.iter().position(|(of, number)| *of == topic && *number == partition) {
                codes.entry(at).or_insert(code);
            }
            Some(())
        })?;
        Some(())
    })?;
    Some(codes.into_iter().filter_map(|(at, code)| Some((asked.get(at)?, code))).collect())
}

/// What a code means (kafka.apache.org, "Error Codes").
fn judge(settings: &Settings, topic: &str, code: i16) -> Result<(), SendError> {
    let vendor = &settings.vendor;
    Err(match code {
        // 46: a batch that is there already.
        0 | 46 => return Ok(()),
        10 | 18 => SendError::TooLarge,
        // 32: its time is beyond what the topic takes; one such record has a whole batch refused.
        32 => SendError::Refused(format!("the topic {topic} does not take a record of this time (32)")),
        87 => SendError::Refused(format!("the topic {topic} does not take such a record (87)")),
        3 => SendError::later(format!("{vendor} has no topic {topic}, or the user may not see it: make it there")),
        17 => SendError::Pause(format!("{vendor} takes no topic of the name {topic}")),
        29 | 31 | 53 | 30 => SendError::Pause(format!("{vendor} lets this user not write the topic {topic}")),
        34 | 58 => settings.wrong_credentials(),
        35 | 43 | 76 => SendError::Pause(format!("{vendor} is too old, or does not take what is sent ({code})")),
        5 | 6 | 8 | 9 => SendError::later(format!("a partition of the topic {topic} changes its leader ({code})")),
        19 | 20 => SendError::later(format!("the topic {topic} has too few replicas in sync now ({code})")),
        _ => SendError::later(format!("{vendor} answered the code {code}")),
    })
}
