//! One destination's way: events after its cursor, filtered, sent in order, the cursor moved only over what is done.

use std::collections::BTreeMap;
use std::time::Duration;

use convizit_model::{Destination, NoticeKind};
use convizit_store::{DeadLetter, Delivered, Store, StoreError, StoredEvent};
use tokio_util::sync::CancellationToken;

use crate::DeliveryConfig;
use crate::connectors::Changes;
use crate::destinations::{Fate, SendError, Sink};
use crate::guard::Guard;
use crate::resend::Again;
use crate::retry;

/// Events and bytes of one batch.
const EVENTS: usize = 500;
const BYTES: usize = 1 << 20;
/// Wait after the store failed.
const STORE_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Route {
    pub(crate) store: Store,
    pub(crate) destination: Destination,
    config: DeliveryConfig,
    guard: Guard,
    stop: CancellationToken,
    /// Last number of the batch that failed: tried again it holds the same events, and so has the same id.
    bound: Option<i64>,
    /// What became of events behind the first that is unfinished: they are not sent a second time while this process runs.
    ahead: BTreeMap<i64, Fate>,
    /// The settings under which the sink was opened: after any change it is opened anew, with the secret of now.
    opened: u64,
    /// The newest erasure that the destination was told of.
    told: i64,
    pub(crate) again: Again,
}

/// What sending a batch came to.
#[derive(Default)]
pub(crate) struct Sent {
    /// Number up to which everything is delivered, filtered or dead.
    pub(crate) through: i64,
    /// What was delivered up to there.
    pub(crate) sent: Vec<i64>,
    /// What the destination was not to get, up to there.
    pub(crate) skipped: Vec<i64>,
    pub(crate) dead: Vec<DeadLetter>,
    /// What became of events behind it.
    pub(crate) ahead: Vec<(i64, Fate)>,
    pub(crate) failure: Option<SendError>,
    /// Last number of the piece that failed.
    pub(crate) bound: Option<i64>,
}

impl Route {
    pub(crate) fn new(
        store: Store,
        destination: Destination,
        config: DeliveryConfig,
        guard: Guard,
        stop: CancellationToken,
    ) -> Self {
        Self {
            store,
            destination,
            config,
            guard,
            stop,
            bound: None,
            ahead: BTreeMap::new(),
            opened: 0,
            told: -1,
            again: Again::default(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        let mut sink = None;
        while !self.stop.is_cancelled() {
            match self.step(&mut sink).await {
                Ok(()) => failures = 0,
                Err(Stop::Paused) => return,
                Err(Stop::Gone) if self.has_lost_its_cursor().await => return,
                Err(Stop::Gone) => {
                    tracing::info!(project = %self.destination.project, destination = self.destination.name, "delivery ends: the destination or its cursor was removed, or nobody reads any more");
                    return;
                }
                Err(Stop::Later(asked)) => {
                    failures += 1;
                    sink = None;
                    self.rest(retry::wait(failures, asked)).await;
                }
                Err(Stop::Store(error)) => {
                    tracing::warn!(project = %self.destination.project, destination = self.destination.name, %error, "delivery waits for the store");
                    sink = None;
                    self.rest(STORE_WAIT).await;
                }
            }
        }
    }

    /// Of a destination that there is, a cursor can be gone by damage only: then it is paused, for a person to decide.
    async fn has_lost_its_cursor(&self) -> bool {
        let (project, name) = (&self.destination.project, self.destination.name.as_str());
        let Ok(number) = self.store.project(project).await.map(|project| project.number) else { return false };
        if !matches!(self.store.cursor(number, name).await, Err(StoreError::NotFound { .. })) {
            return false;
        }
        let reason = format!(
            "where it stood is missing from the database: restore that from a backup, or remove {name} and add it again"
        );
        // One that was removed is not there to be paused.
        let paused = self.store.pause_destination(project, name, Some(&reason)).await.is_ok();
        if paused {
            tracing::warn!(%project, destination = name, reason, "destination paused");
        }
        paused
    }

    async fn rest(&self, wait: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// One batch: read, filter, send, advance.
    async fn step(&mut self, sink: &mut Option<Sink>) -> Result<(), Stop> {
        let destination = self.destination.clone();
        let (project, name) = (&destination.project, destination.name.as_str());
        let number = self.store.project(project).await?.number;
        self.tell_erasures(number, sink).await?;
        let cursor = self.store.cursor(number, name).await?;
        // Read before the events: what is missing up to here was erased, and is not merely still to come.
        let last = self.store.last_event(number).await?;
        let mut events = match self.store.events_after(number, cursor, EVENTS, BYTES).await {
            Err(error @ StoreError::Damaged { .. }) => {
                let reason = format!(
                    "{error}, or go on without them: convizit destination resume {project} {name} --skip-damaged"
                );
                return Err(self.failed(SendError::Pause(reason)).await?);
            }
            events => events?,
        };
        if events.is_empty() && last > cursor {
            self.store.advance(project, name, cursor, last, Vec::new()).await?;
            return Ok(());
        }
        if events.first().is_some_and(|event| self.bound.is_some_and(|bound| event.number > bound)) {
            self.bound = None;
        }
        if let Some(bound) = self.bound.filter(|bound| *bound > cursor) {
            events.retain(|event| event.number <= bound);
        }
        let labels = [("project", project.to_string()), ("destination", name.to_owned())];
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("convizit_delivery_lag_events", &labels).set((last - cursor) as f64);
        let Some(newest) = events.last().map(|event| event.number) else {
            if self.send_again(number, sink).await? {
                return Ok(());
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.store.wait_for_event(number, cursor) => {}
                () = self.store.wait_for_erasure(self.told) => {}
                () = self.wait_for_again() => {}
            }
            return Ok(());
        };
        let read = events.len();
        let mut wanted: Vec<StoredEvent> = events.into_iter().filter(|event| self.wants(event)).collect();
        let filtered = read - wanted.len();
        wanted.retain(|event| !self.ahead.contains_key(&event.number));
        let mut sent = if wanted.is_empty() {
            Sent { through: newest, ..Sent::default() }
        } else {
            let sink = self.opened(sink).await?;
            self.send(sink, &wanted, cursor, newest).await
        };
        self.bound = sent.bound;
        let behind = self.ahead.split_off(&(sent.through + 1));
        for (number, fate) in std::mem::replace(&mut self.ahead, behind) {
            sent.note(number, fate);
        }
        self.ahead.extend(std::mem::take(&mut sent.ahead));
        if sent.through > cursor {
            let dead = sent.dead.len();
            let done = sent.sent.len();
            // Counted with the stretch that is done whole.
            let filtered = sent.skipped.len() + if sent.failure.is_none() { filtered } else { 0 };
            for (result, events) in [("sent", done), ("dead", dead), ("filtered", filtered)] {
                let labels =
                    [("project", project.to_string()), ("destination", name.to_owned()), ("result", result.to_owned())];
                metrics::counter!("convizit_delivery_events_total", &labels).increment(events as u64);
            }
            let many = |events: usize| i64::try_from(events).unwrap_or(i64::MAX);
            let delivered = Delivered { sent: many(done), filtered: many(filtered), dead: sent.dead };
            self.store.advance(project, name, cursor, sent.through, delivered).await?;
            if dead > 0 {
                self.say_dead("refused events").await?;
            }
        }
        match sent.failure {
            None => self.after_live(number, sink).await,
            Some(failure) => Err(self.failed(failure).await?),
        }
    }

    /// Has a person look at the dead letters, of which the destination did this.
    pub(crate) async fn say_dead(&self, did: &str) -> Result<(), Stop> {
        let (project, name) = (&self.destination.project, self.destination.name.as_str());
        let text = format!(
            "destination {name} {did}; `convizit destination dead {project} {name}` lists them and why, \
             `convizit destination retry {project} {name} --all` sends them again"
        );
        self.store.raise(NoticeKind::DeadLetters, Some(project), name, &text).await?;
        Ok(())
    }

    /// Tells the destination whom to erase, between two batches, so that nothing of theirs is on its way meanwhile.
    async fn tell_erasures(&mut self, number: i64, sink: &mut Option<Sink>) -> Result<(), Stop> {
        let newest = self.store.newest_erasure();
        if self.told == newest {
            return Ok(());
        }
        let name = self.destination.name.clone();
        for message in self.store.erase_messages(number, &name).await? {
            let project = self.destination.project.clone();
            let cannot = match self.opened(sink).await?.erase(&project, &message).await {
                Ok(()) => None,
                Err(SendError::Refused(reason)) => Some(reason),
                Err(SendError::TooLarge) => Some("the destination does not take so many persons at once".to_owned()),
                Err(failure) => return Err(self.failed(failure).await?),
            };
            self.store.told(number, &name, &message.request, cannot.as_deref()).await?;
        }
        self.told = newest;
        Ok(())
    }

    /// The sink, opened anew after any change of settings.
    pub(crate) async fn opened<'s>(&mut self, sink: &'s mut Option<Sink>) -> Result<&'s mut Sink, Stop> {
        let version = self.store.control_version();
        if self.opened != version {
            (self.opened, *sink) = (version, None);
        }
        match sink {
            Some(sink) => Ok(sink),
            none => Ok(none.insert(self.open().await?)),
        }
    }

    async fn open(&self) -> Result<Sink, Stop> {
        let secret = self.store.destination_secret(&self.destination.project, &self.destination.name).await?;
        match Sink::open(&self.destination, secret.as_deref(), &self.config, &self.guard).await {
            Ok(sink) => Ok(sink),
            Err(failure) => Err(self.failed(failure).await?),
        }
    }

    /// A pause is written down; anything else waits.
    pub(crate) async fn failed(&self, failure: SendError) -> Result<Stop, Stop> {
        let (project, name) = (&self.destination.project, self.destination.name.as_str());
        let labels = [("project", project.to_string()), ("destination", name.to_owned())];
        metrics::counter!("convizit_delivery_failures_total", &labels).increment(1);
        if !matches!(failure, SendError::Ended) {
            let number = self.store.project(project).await?.number;
            self.store.delivery_failed(number, name, &failure.to_string()).await?;
        }
        match failure {
            SendError::Pause(reason) => {
                tracing::warn!(%project, destination = name, reason, "destination paused");
                self.store.pause_destination(project, name, Some(&reason)).await?;
                Ok(Stop::Paused)
            }
            SendError::Later { reason, after } => {
                tracing::info!(%project, destination = name, reason, "delivery is tried again later");
                Ok(Stop::Later(after))
            }
            SendError::Ended => Ok(Stop::Gone),
            SendError::TooLarge | SendError::Refused(_) => Ok(Stop::Later(None)),
        }
    }

    fn wants(&self, event: &StoredEvent) -> bool {
        self.destination.types.is_empty() || event.head().is_some_and(|head| self.destination.wants(head.kind))
    }

    /// Sends in order. A batch that is too large or holds a refused event is halved until that one is found.
    pub(crate) async fn send(&self, sink: &mut Sink, events: &[StoredEvent], cursor: i64, newest: i64) -> Sent {
        let mut waiting = vec![events];
        let mut sent = Sent { through: cursor, ..Sent::default() };
        while let Some(piece) = waiting.pop() {
            if self.stop.is_cancelled() {
                // What is done is written down; the rest goes at the next start.
                return sent;
            }
            let Some(last) = piece.last() else { continue };
            match sink.send(piece).await {
                Ok(taken) => {
                    self.count_changes(&taken.changes);
                    let again = sent.take(piece, taken.fates);
                    let failure = taken.failure.or_else(|| again.map(SendError::later));
                    if failure.is_some() {
                        (sent.failure, sent.bound) = (failure, Some(last.number));
                        return sent;
                    }
                }
                Err(SendError::Refused(reason)) if piece.len() == 1 => {
                    sent.dead.push(DeadLetter::new(last.number, reason));
                    sent.through = last.number;
                }
                Err(SendError::TooLarge) if piece.len() == 1 => {
                    sent.dead.push(DeadLetter::new(last.number, "larger than the destination takes"));
                    sent.through = last.number;
                }
                Err(SendError::Refused(_) | SendError::TooLarge) => {
                    let (first, second) = piece.split_at(piece.len() / 2);
                    waiting.push(second);
                    waiting.push(first);
                }
                Err(failure) => {
                    (sent.failure, sent.bound) = (Some(failure), Some(last.number));
                    return sent;
                }
            }
        }
        sent.through = newest;
        sent
    }

    /// What a connector's bounds changed.
    fn count_changes(&self, changes: &Changes) {
        let of = [("cut", changes.cut), ("left_out", changes.left_out), ("renamed", changes.renamed)];
        for (change, times) in of.into_iter().filter(|(_, times)| *times > 0) {
            let labels = [
                ("project", self.destination.project.to_string()),
                ("destination", self.destination.name.clone()),
                ("change", change.to_owned()),
            ];
            metrics::counter!("convizit_delivery_changes_total", &labels).increment(times as u64);
        }
    }
}

impl Sent {
    /// Notes what became of an event that everything before is done of.
    fn note(&mut self, number: i64, fate: Fate) {
        match fate {
            Fate::Done => self.sent.push(number),
            Fate::Skipped => self.skipped.push(number),
            Fate::Refused(reason) => self.dead.push(DeadLetter::new(number, reason)),
            Fate::Waiting | Fate::Again(_) => {}
        }
    }

    /// Goes on over what is finished, up to the first that is not; returns why that was not taken.
    fn take(&mut self, events: &[StoredEvent], fates: Vec<Fate>) -> Option<String> {
        let mut why = None;
        let mut whole = true;
        for (event, fate) in events.iter().zip(fates) {
            match fate {
                Fate::Waiting => whole = false,
                Fate::Again(reason) => {
                    whole = false;
                    why.get_or_insert(reason);
                }
                fate if whole => {
                    self.through = event.number;
                    self.note(event.number, fate);
                }
                fate => self.ahead.push((event.number, fate)),
            }
        }
        why
    }
}

/// Why a step ended early.
pub(crate) enum Stop {
    Paused,
    /// Removed, or nobody reads any more.
    Gone,
    Later(Option<Duration>),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Gone,
            other => Self::Store(other),
        }
    }
}
