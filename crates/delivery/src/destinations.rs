//! The destinations of the default build, behind one closed enum.

mod amqp;
mod file;
mod kafka;
mod line;
mod mqtt;
mod mysql;
pub(crate) mod native;
mod nats;
mod postgres;
mod redis;
mod stdout;
pub(crate) mod webhook;

use std::sync::Arc;
use std::time::Duration;

use convizit_model::{Destination, DestinationKind, ProjectId};
use convizit_store::{EraseMessage, Store, StoreError, StoredEvent};

use crate::DeliveryConfig;
use crate::connectors::{self, Changes, Http};
use crate::guard::Guard;
use crate::pace::Pace;
use crate::shaping::Shape;
use crate::transform::{Made, Transform};

/// Why a batch was not taken. No text here comes from an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Nobody can say when: tried again, at the earliest after what the destination asked for.
    #[error("{reason}")]
    Later {
        /// What happened.
        reason: String,
        /// `Retry-After`.
        after: Option<Duration>,
    },
    /// A person has to do something.
    #[error("{0}")]
    Pause(String),
    /// The batch is larger than the destination takes.
    #[error("the batch is larger than the destination takes")]
    TooLarge,
    /// Nobody reads any more; nothing is wrong, and the next start begins where this one ended.
    #[error("nobody reads standard output any more")]
    Ended,
    /// An event of the batch will never be taken.
    #[error("{0}")]
    Refused(String),
}

impl SendError {
    pub(crate) fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), after: None }
    }
}

/// What became of each event of a batch.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// One for each event, in their order.
    pub(crate) fates: Vec<Fate>,
    /// Why those that are still waiting were not sent.
    pub(crate) failure: Option<SendError>,
    /// What had to be cut, renamed or left out of the events that were taken.
    pub(crate) changes: Changes,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not sent yet.
    Waiting,
    Done,
    /// The destination is not to get it.
    Skipped,
    /// It will never be taken.
    Refused(String),
    /// It was not taken now.
    Again(String),
    /// There is no place for it now, and the place is named by the event itself: after some tries it is refused.
    NoPlace(String),
}

impl Taken {
    /// All of them wait.
    pub(crate) fn of(events: usize) -> Self {
        Self { fates: vec![Fate::Waiting; events], ..Self::default() }
    }

    /// All of them were taken.
    fn all(events: usize) -> Self {
        Self { fates: vec![Fate::Done; events], ..Self::default() }
    }
}

/// Whether the operator allows a file destination there.
pub(crate) fn file_allowed(path: &std::path::Path, folders: &[std::path::PathBuf]) -> Result<(), String> {
    file::allowed(path, folders).map(|_| ()).map_err(|error| error.to_string())
}

/// Writes one event behind whatever stands in a file; nothing in it is mended or cut.
pub(crate) async fn file_test(
    path: &str,
    folders: &[std::path::PathBuf],
    event: &StoredEvent,
) -> Result<(), SendError> {
    file::write_line(path.as_ref(), folders, event).await
}

/// Columns of an event's row and their values, but for the one that holds all of it; empty for an event that has no row.
pub(crate) fn postgres_columns(event: &StoredEvent) -> Vec<(String, String)> {
    postgres::columns_of(event)
}

/// What a person has to do with a file that holds lines of whoever was erased. Without their ids: what stands here is kept, and would
/// name them.
fn file_erasure(path: &str, message: &EraseMessage) -> String {
    let request = &message.request;
    if message.persons.is_empty() {
        return format!("lines of a file are not taken back: delete {path}");
    }
    let of = |kind: &str| match message.persons.iter().filter(|person| person.kind() == kind).count() {
        0 => None,
        1 => Some(format!("whose \"{kind}\" is the one id that {request} erased")),
        many => Some(format!("whose \"{kind}\" is one of the {many} ids that {request} erased")),
    };
    let whose: Vec<String> = ["visitor", "user"].into_iter().filter_map(of).collect();
    format!(
        "lines of a file are not taken back: delete {path}, or its lines {}; the ids are not kept here, since they would name who was \
         erased, so take them from whoever asked for {request}",
        whose.join(" or ")
    )
}

/// Why what was printed is not erased.
const PRINTED: &str = "what was printed is not taken back";

/// Why a destination can never erase, with what a person has to do; `None` where it can be asked.
fn never_erases(kind: &DestinationKind, config: &DeliveryConfig, message: &EraseMessage) -> Option<String> {
    match kind {
        DestinationKind::File { path } => Some(file_erasure(path, message)),
        DestinationKind::Stdout { .. } => Some(PRINTED.to_owned()),
        DestinationKind::Connector { connector, .. } => {
            connectors::find(connector, config.connectors.as_deref()).ok()?.never_erases()
        }
        DestinationKind::Postgres { .. } | DestinationKind::Webhook { .. } => None,
    }
}

/// Says of a destination that does not run what it could not be told anyway, so that no erasure stays open for its sake.
pub(crate) async fn close_erasures(
    store: &Store,
    config: &DeliveryConfig,
    destination: &Destination,
) -> Result<(), StoreError> {
    let number = store.project(&destination.project).await?.number;
    for message in store.erase_messages(number, &destination.name).await? {
        if let Some(why) = never_erases(&destination.kind, config, &message) {
            store.told(number, &destination.name, &message.request, Some(&why)).await?;
        }
    }
    Ok(())
}

/// How a destination's stream is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How many batches may be on their way at once. Those of one connection, and those that keep all events in order, have one.
    pub(crate) lanes: usize,
    /// Events and bytes of a batch at most.
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// How long a batch that is not full waits for company, from its first event's receipt.
    pub(crate) linger: Duration,
}

/// An open destination.
pub(crate) struct Sink {
    /// A person's own program, which events go through before.
    transform: Option<Transform>,
    to: To,
}

enum To {
    Connector(Box<Http>),
    File(file::File),
    Native(Box<native::Native>),
    Postgres(Box<postgres::Postgres>),
    Stdout(stdout::Stdout),
    Webhook(Box<webhook::Webhook>),
}

impl Sink {
    pub(crate) async fn open(
        destination: &Destination,
        secret: Option<&str>,
        config: &DeliveryConfig,
        guard: &Guard,
    ) -> Result<Self, SendError> {
        let name = format!("{}/{}", destination.project, destination.name);
        let source = destination.shaping.transform.as_deref();
        let transform = source.map(|source| Transform::open(source, config.transforms.as_deref())).transpose()?;
        let to = match &destination.kind {
            DestinationKind::Connector { connector, region, settings } => {
                let connector = connectors::find(connector, config.connectors.as_deref()).map_err(SendError::Pause)?;
                let entered = connectors::with_secrets(settings, secret).map_err(SendError::Pause)?;
                let shape = Shape::compile(&destination.shaping).map_err(|error| SendError::Pause(error.what))?;
                let (region, named) = (region.as_deref(), (name, shape.set));
                if connector.is_native() {
                    To::Native(Box::new(native::Native::open(connector, region, &entered, named, guard)?))
                } else {
                    To::Connector(Box::new(Http::open(connector, region, &entered, named, guard)?))
                }
            }
            DestinationKind::File { path } => To::File(file::File::open(path.as_ref(), &config.allow_folders).await?),
            DestinationKind::Postgres { schema } => {
                To::Postgres(Box::new(postgres::Postgres::open(schema, secret, guard).await?))
            }
            DestinationKind::Stdout { format } => To::Stdout(stdout::Stdout::open(*format, config.allow_stdout)?),
            DestinationKind::Webhook { url } => {
                To::Webhook(Box::new(webhook::Webhook::open(url, secret, name, guard)?))
            }
        };
        Ok(Self { transform, to })
    }

    /// How a destination's stream is sent; a manifest is looked up for it, so it is asked once a stream.
    pub(crate) fn bounds(destination: &Destination, config: &DeliveryConfig) -> Bounds {
        let own = Bounds { lanes: 1, events: 500, bytes: 1 << 20, linger: Duration::ZERO };
        let DestinationKind::Connector { connector, settings, .. } = &destination.kind else { return own };
        let Ok(connector) = connectors::find(connector, config.connectors.as_deref()) else { return own };
        let manifest = &connector.manifest;
        let most = manifest.send.iter().map(|send| (send.batch.max_events, send.batch.max_bytes)).max();
        // One request at a time where a request has one event: more of them are sent one after the other.
        let (events, bytes) =
            most.map_or((own.events, own.bytes), |(events, bytes)| (events.clamp(100, 5_000), bytes.min(4 << 20)));
        let lanes = usize::try_from(manifest.rate.concurrency).unwrap_or(1).clamp(1, 32);
        Bounds { lanes, events, bytes, linger: connector.linger(settings) }
    }

    /// Whether it goes on by itself after a failure, so that it is kept: with another server of those that it knows.
    pub(crate) fn mends_itself(&self) -> bool {
        matches!(self.to, To::Native(_))
    }

    /// Has requests keep the pace of the whole destination.
    pub(crate) fn keep_to(&mut self, pace: &Arc<Pace>) {
        if let To::Connector(sink) = &mut self.to {
            sink.keep_to(pace);
        }
    }

    /// Makes ready what `send` needs: a schema.
    pub(crate) async fn ready(&mut self) -> Result<(), SendError> {
        match &mut self.to {
            To::Native(sink) => sink.ready().await,
            To::Postgres(sink) => sink.ready().await,
            To::Connector(_) | To::File(_) | To::Stdout(_) | To::Webhook(_) => Ok(()),
        }
    }

    /// Has the destination erase persons, or all of a project. `Refused` where it cannot, with what a person has to do.
    pub(crate) async fn erase(&mut self, project: &ProjectId, message: &EraseMessage) -> Result<(), SendError> {
        let cannot = |what: String| Err(SendError::Refused(what));
        match &mut self.to {
            To::Connector(sink) => sink.erase(project, message).await,
            To::Native(sink) => sink.erase(project, message).await,
            To::Postgres(sink) => sink.erase(project, message).await,
            To::Webhook(sink) => sink.erase(project, message).await,
            To::File(sink) => cannot(file_erasure(&sink.path().display().to_string(), message)),
            To::Stdout(_) => cannot(PRINTED.to_owned()),
        }
    }

    /// Sends a batch: what became of each event, or why nothing of it was taken.
    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<Taken, SendError> {
        let Some(transform) = &mut self.transform else { return self.to.send(events).await };
        let mut taken = Taken::of(events.len());
        let (mut rows, mut sent) = (Vec::new(), Vec::new());
        for ((row, made), event) in transform.run(events).await?.into_iter().enumerate().zip(events) {
            match made {
                Made::Event(json) => {
                    rows.push(row);
                    sent.push(StoredEvent { number: event.number, json });
                }
                Made::LeftOut => taken.fates[row] = Fate::Skipped,
                Made::Failed(reason) => taken.fates[row] = Fate::Refused(reason),
            }
        }
        if sent.is_empty() {
            return Ok(taken);
        }
        let part = self.to.send(&sent).await?;
        for (row, fate) in rows.into_iter().zip(part.fates) {
            taken.fates[row] = fate;
        }
        Ok(Taken { failure: part.failure, changes: part.changes, ..taken })
    }
}

impl To {
    async fn send(&mut self, events: &[StoredEvent]) -> Result<Taken, SendError> {
        match self {
            Self::Connector(sink) => return sink.send(events).await,
            Self::Native(sink) => return sink.send(events).await,
            Self::File(sink) => sink.send(events).await,
            Self::Postgres(sink) => sink.send(events).await,
            Self::Stdout(sink) => sink.send(events).await,
            Self::Webhook(sink) => sink.send(events).await,
        }
        .map(|()| Taken::all(events.len()))
    }
}

#[cfg(test)]
mod tests {
    use convizit_model::{Person, Timestamp};

    use super::*;

    #[test]
    fn a_file_says_whose_lines_a_person_must_take_out() {
        let persons = |visitors: usize, users: usize| {
            let visitors = (0..visitors).map(|n| Person::Visitor(format!("canary-{n}")));
            visitors.chain((0..users).map(|n| Person::User(format!("canary-{n}")))).collect()
        };
        let said = |persons| {
            let message =
                EraseMessage { request: "er_1".to_owned(), made: Timestamp::from_millis(0), persons, unopened: 0 };
            file_erasure("/var/lines.jsonl", &message)
        };
        let text = said(persons(1, 2));
        let whose =
            "whose \"visitor\" is the one id that er_1 erased or whose \"user\" is one of the 2 ids that er_1 erased";
        assert!(text.contains("/var/lines.jsonl") && text.contains(whose), "{text}");
        assert!(!text.contains("canary"), "what is kept names nobody: {text}");
        assert!(said(persons(0, 0)).ends_with("delete /var/lines.jsonl"));
    }
}
