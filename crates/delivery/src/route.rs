//! One destination's way: events behind its cursor, filtered, sent by its lanes, the cursor moved only over what is done.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use convizit_model::Destination;
use convizit_store::{DeadLetter, Store, StoreError, StoredEvent};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::DeliveryConfig;
use crate::connectors::Changes;
use crate::destinations::{Bounds, Fate, SendError, Sink, Taken};
use crate::guard::Guard;
use crate::halves::send_all;
use crate::lanes::{Lanes, Linger};
use crate::pace::Pace;
use crate::resend::Again;
use crate::retry;
use crate::shaping::Shape;
use crate::trouble::briefly;

/// Events and bytes that are read at once.
const EVENTS: usize = 500;
const BYTES: usize = 1 << 20;
/// Wait after the store failed.
const STORE_WAIT: Duration = Duration::from_secs(1);
/// An hour, for a wait that something else ends.
const LONG: Duration = Duration::from_secs(3_600);

pub(crate) struct Route {
    pub(crate) store: Store,
    pub(crate) destination: Destination,
    pub(crate) config: DeliveryConfig,
    guard: Guard,
    stop: CancellationToken,
    /// Where it cannot be used, why.
    shape: Result<Shape, String>,
    /// The settings under which sinks were opened: after any change they are opened anew, with the secret of now.
    opened: u64,
    /// The newest erasure that the destination was told of.
    told: i64,
    failures: u32,
    /// Whether the store may have it that this destination takes nothing: at the start nobody knows.
    pub(crate) troubled: AtomicBool,
    /// Whether a lane fails or an event is tried again, since the cursor moved last: what others take meanwhile mends nothing.
    pub(crate) held_up: bool,
    pub(crate) again: Again,
    /// Of all its lanes, and of what is sent again.
    pace: Arc<Pace>,
}

/// What sending some events in order came to.
#[derive(Default)]
pub(crate) struct Sent {
    /// Number up to which everything is delivered, filtered or dead.
    pub(crate) through: i64,
    /// What was delivered, also behind that number.
    pub(crate) sent: Vec<i64>,
    /// What the destination was not to get.
    pub(crate) skipped: Vec<i64>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) failure: Option<SendError>,
}

/// A batch that came back: its lane, the settings under which it was sent, its sink, its events, what became of them.
type Back = (usize, u64, Sink, Vec<StoredEvent>, Taken);

/// What a destination's stream is at, while nothing is removed from under it.
struct Stream {
    number: i64,
    /// Of the settings, when the cursor was last compared with what stands in the store.
    version: u64,
    cursor: i64,
    plan: String,
    bounds: Bounds,
    lanes: Lanes,
    sinks: Vec<Sink>,
    /// Tasks of their own, so that what they encode and compress has other cores; with the stream they end.
    on_the_way: JoinSet<Back>,
    /// Events that were read and not wanted, since the cursor moved.
    filtered: usize,
    /// The destination asked for it: nothing is sent before.
    not_before: Option<Instant>,
    /// The failure that was written down last, and until when the same of another lane is not.
    noted: Option<(String, Instant)>,
    /// Why nothing more is sent, once all batches are back.
    ending: Option<SendError>,
    /// Ends what waits for its turn in batches on the way.
    halt: CancellationToken,
}

impl Route {
    pub(crate) fn new(
        store: Store,
        destination: Destination,
        config: DeliveryConfig,
        guard: Guard,
        stop: CancellationToken,
    ) -> Self {
        let again = Again::default();
        let shape = Shape::compile(&destination.shaping).map_err(String::from);
        let troubled = AtomicBool::new(true);
        Self {
            store,
            destination,
            config,
            guard,
            stop,
            shape,
            opened: 0,
            told: -1,
            failures: 0,
            troubled,
            held_up: false,
            again,
            pace: Arc::default(),
        }
    }

    pub(crate) async fn run(mut self) {
        while !self.stop.is_cancelled() {
            match self.stream().await {
                Ok(()) => {}
                Err(Stop::Paused) => return,
                Err(Stop::Gone) if self.has_lost_its_cursor().await => return,
                Err(Stop::Gone) => {
                    tracing::info!(project = %self.destination.project, destination = self.destination.name, "delivery ends: the destination or its cursor was removed, or nobody reads any more");
                    return;
                }
                Err(Stop::Later(asked)) => {
                    self.failures += 1;
                    self.rest(retry::wait(self.failures, asked)).await;
                }
                Err(Stop::Store(error)) => {
                    tracing::warn!(project = %self.destination.project, destination = self.destination.name, %error, "delivery waits for the store");
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

    /// Sends until it is stopped, an erasure is to be told, or something fails: then what is on its way is awaited, and it begins anew.
    async fn stream(&mut self) -> Result<(), Stop> {
        let (project, name) = (self.destination.project.clone(), self.destination.name.clone());
        let version = self.store.control_version();
        let number = self.store.project(&project).await?.number;
        if let Err(reason) = &self.shape {
            return Err(self.failed(SendError::Pause(reason.clone())).await?);
        }
        let mut first = None;
        self.tell_erasures(number, &mut first).await?;
        let cursor = self.store.cursor(number, &name).await?;
        let plan = self.store.planned(number, &name).await?;
        let bounds = Sink::bounds(&self.destination, &self.config);
        let full = (bounds.events, bounds.bytes);
        let linger = Linger::new(bounds.linger, full, self.store.clock().now(), Instant::now());
        let lanes = Lanes::new(bounds.lanes, cursor, &plan).lingering(linger);
        let sinks = first.into_iter().collect();
        let on_the_way = JoinSet::new();
        let mut stream = Stream {
            number,
            version,
            cursor,
            plan,
            bounds,
            lanes,
            sinks,
            on_the_way,
            filtered: 0,
            not_before: None,
            noted: None,
            ending: None,
            halt: self.stop.child_token(),
        };
        loop {
            let erasing = self.told != self.store.newest_erasure();
            // One that was removed and added again is the same to whoever looks at destinations, and begins elsewhere.
            let version = self.store.control_version();
            if version != stream.version && stream.on_the_way.is_empty() {
                stream.version = version;
                if self.store.cursor(number, &name).await? != stream.cursor {
                    return Ok(());
                }
            }
            let over = self.stop.is_cancelled() || erasing || stream.ending.is_some();
            if over && stream.on_the_way.is_empty() {
                self.write_down(&mut stream).await?;
                return match stream.ending {
                    Some(failure) => Err(self.failed(failure).await?),
                    None => Ok(()),
                };
            }
            if erasing {
                // What waits for its turn may be of whoever is erased now.
                stream.halt.cancel();
            }
            if !over {
                if let Err(stop) = self.fill(&mut stream).await {
                    // What came back is not sent again.
                    self.write_down(&mut stream).await?;
                    return Err(stop);
                }
                if self.again.is_due(version) || (stream.lanes.are_idle(Instant::now()) && stream.on_the_way.is_empty())
                {
                    // Sending again has its turn between batches.
                    if stream.on_the_way.is_empty() {
                        self.write_down(&mut stream).await?;
                        let mut sink = stream.sinks.pop();
                        let sent = self.send_again(number, &mut sink).await?;
                        stream.sinks.extend(sink);
                        if sent {
                            continue;
                        }
                    }
                }
                if !self.again.is_due(version) && stream.not_before.is_none_or(|time| time <= Instant::now()) {
                    self.launch(&mut stream).await?;
                }
            }
            self.write_down(&mut stream).await?;
            if stream.ending.is_some() && !over {
                // Nothing was sent that could come back and bring the loop here.
                continue;
            }
            let may_read = !over && stream.lanes.has_room();
            // Where sending again has its turn, what is due waits for the batches that are on their way.
            let may_launch = !over && (stream.on_the_way.is_empty() || !self.again.is_due(version));
            let (read, told) = (stream.lanes.read, self.told);
            let now = Instant::now();
            let due = stream.not_before.filter(|time| *time > now).or_else(|| stream.lanes.due(now));
            let due = due.unwrap_or_else(|| Instant::now() + LONG).max(Instant::now() + Duration::from_millis(1));
            tokio::select! {
                Some(back) = stream.on_the_way.join_next() => match back {
                    Ok(back) => self.take_back(&mut stream, back).await?,
                    Err(error) => match error.try_into_panic() {
                        // As if it were this task's own, which is started again.
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // Nothing else ends them but the end of the process.
                        Err(_) => return Ok(()),
                    },
                },
                () = self.stop.cancelled(), if !over => {}
                () = self.store.wait_for_event(number, read), if may_read => {}
                () = self.store.wait_for_erasure(told), if !over => {}
                () = self.wait_for_again(), if !over && stream.on_the_way.is_empty() => {}
                () = tokio::time::sleep_until(due), if may_launch => {}
            }
        }
    }

    /// Reads what there is room for.
    async fn fill(&mut self, stream: &mut Stream) -> Result<(), Stop> {
        if !stream.lanes.has_room() {
            return Ok(());
        }
        let (project, name) = (self.destination.project.clone(), self.destination.name.clone());
        let read = stream.lanes.read;
        // Read before the events: what is missing up to here was erased, and is not merely still to come.
        let last = self.store.last_event(stream.number).await?;
        let labels = [("project", project.to_string()), ("destination", name.clone())];
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("convizit_delivery_lag_events", &labels).set((last - stream.cursor) as f64);
        stream.lanes.more = false;
        if last <= read {
            return Ok(());
        }
        let events = match self.store.events_after(stream.number, read, EVENTS, BYTES).await {
            Err(error @ StoreError::Damaged { .. }) => {
                let reason = format!(
                    "{error}, or go on without them: convizit destination resume {project} {name} --skip-damaged"
                );
                stream.ending = Some(SendError::Pause(reason));
                return Ok(());
            }
            events => events?,
        };
        stream.lanes.read = events.last().map_or(last, |event| event.number);
        stream.lanes.more = stream.lanes.read < last;
        for event in events {
            match self.shaped(event) {
                Some(event) => {
                    stream.lanes.take(event);
                }
                None => stream.filtered += 1,
            }
        }
        Ok(())
    }

    /// Plans a batch for each idle lane, writes the plans down, and sends them.
    async fn launch(&mut self, stream: &mut Stream) -> Result<(), Stop> {
        stream.not_before = None;
        let batches = stream.lanes.batches(stream.bounds.events, stream.bounds.bytes, Instant::now());
        if batches.is_empty() {
            return Ok(());
        }
        self.write_down(stream).await?;
        let version = self.store.control_version();
        if self.opened != version {
            (self.opened, stream.sinks) = (version, Vec::new());
        }
        for (lane, batch) in batches {
            let sink = match stream.sinks.pop() {
                Some(sink) => Ok(sink),
                None => self.open().await,
            };
            let mut sink = match sink {
                Ok(sink) => sink,
                Err(failure) => {
                    stream.lanes.finish(lane, &batch, vec![Fate::Waiting; batch.len()], Instant::now());
                    self.put_off(stream, lane, failure).await?;
                    continue;
                }
            };
            let stop = stream.halt.clone();
            stream.on_the_way.spawn(async move {
                let taken = send_all(&mut sink, &batch, &stop).await;
                (lane, version, sink, batch, taken)
            });
        }
        Ok(())
    }

    /// What became of a batch. It is written down together with what is planned next, before that is sent: a transaction a batch, not two.
    async fn take_back(&mut self, stream: &mut Stream, back: Back) -> Result<(), Stop> {
        let (lane, version, sink, batch, taken) = back;
        self.count_changes(&taken.changes);
        let took = taken.fates.contains(&Fate::Done);
        let why = stream.lanes.finish(lane, &batch, taken.fates, Instant::now());
        self.again.count_live();
        match taken.failure {
            // The sink that failed is dropped: those of other lanes work, or fail by themselves.
            Some(failure) => {
                if self.opened == version && sink.mends_itself() {
                    stream.sinks.push(sink);
                }
                self.put_off(stream, lane, failure).await?;
            }
            None => {
                self.failures = 0;
                stream.lanes.went_well(lane);
                self.held_up = stream.lanes.are_held_up();
                if self.opened == version {
                    stream.sinks.push(sink);
                }
                if took {
                    self.went_well().await?;
                }
                if let Some(reason) = why {
                    // Other visitors' events go on.
                    self.note_failure(&SendError::later(reason)).await?;
                }
            }
        }
        Ok(())
    }

    /// A pause ends the stream once all batches are back; anything else has the lane wait, or all where the destination asks for it.
    async fn put_off(&mut self, stream: &mut Stream, lane: usize, failure: SendError) -> Result<(), Stop> {
        let SendError::Later { reason, after } = failure else {
            stream.ending.get_or_insert(failure);
            return Ok(());
        };
        let now = Instant::now();
        self.held_up = true;
        let again = stream.lanes.put_off(lane, after, now);
        if after.is_some() {
            stream.not_before = stream.not_before.max(Some(again));
        }
        // Of batches that fail together one counts.
        if stream.noted.as_ref().is_none_or(|(noted, until)| *noted != reason || *until <= now) {
            stream.noted = Some((reason.clone(), again));
            tracing::info!(project = %self.destination.project, destination = self.destination.name, reason = briefly(&reason), "delivery is tried again later");
            self.note_failure(&SendError::Later { reason, after }).await?;
        }
        Ok(())
    }

    /// Moves the cursor over what is done, counts it, and writes down what is planned: in one transaction, if there is anything.
    async fn write_down(&mut self, stream: &mut Stream) -> Result<(), Stop> {
        let settled = stream.lanes.settle();
        let (cursor, plan) = (stream.lanes.cursor(), stream.lanes.plan());
        if settled.is_empty() && cursor == stream.cursor && plan == stream.plan {
            return Ok(());
        }
        let (project, name) = (self.destination.project.clone(), self.destination.name.clone());
        let filtered = if cursor == stream.lanes.read { std::mem::take(&mut stream.filtered) } else { 0 };
        let dead = settled.dead.len();
        for (result, events) in [("sent", settled.sent), ("dead", dead), ("filtered", settled.skipped + filtered)] {
            let labels =
                [("project", project.to_string()), ("destination", name.clone()), ("result", result.to_owned())];
            metrics::counter!("convizit_delivery_events_total", &labels).increment(events as u64);
        }
        let delivered = settled.delivered(filtered);
        self.store.advance_planned(&project, &name, (stream.cursor, cursor), delivered, &plan).await?;
        if cursor > stream.cursor {
            self.held_up = false;
            self.went_well().await?;
        }
        (stream.cursor, stream.plan) = (cursor, plan);
        if dead > 0 {
            self.say_dead("refused events").await?;
        }
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
                Ok(()) if message.unopened == 0 => None,
                Ok(()) => Some(format!(
                    "it was told of {} of its persons; the ids of {} do not open: have those erased there by hand",
                    message.persons.len(),
                    message.unopened
                )),
                Err(SendError::Refused(reason)) => Some(reason),
                Err(SendError::TooLarge) => Some("the destination does not take so many persons at once".to_owned()),
                Err(failure) => return Err(self.failed(failure).await?),
            };
            self.store.told(number, &name, &message.request, cannot.as_deref()).await?;
            self.went_well().await?;
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
            none => match self.open().await {
                Ok(sink) => Ok(none.insert(sink)),
                Err(failure) => Err(self.failed(failure).await?),
            },
        }
    }

    async fn open(&self) -> Result<Sink, SendError> {
        let secret = self.store.destination_secret(&self.destination.project, &self.destination.name).await;
        let secret = secret.map_err(|error| SendError::later(error.to_string()))?;
        let mut sink = Sink::open(&self.destination, secret.as_deref(), &self.config, &self.guard).await?;
        sink.keep_to(&self.pace);
        Ok(sink)
    }

    /// What this destination gets of an event.
    pub(crate) fn shaped(&self, event: StoredEvent) -> Option<StoredEvent> {
        Some(event).filter(|event| self.wants(event)).and_then(|event| self.shape.as_ref().ok()?.apply(event))
    }

    fn wants(&self, event: &StoredEvent) -> bool {
        self.destination.types.is_empty() || event.head().is_some_and(|head| self.destination.wants(head.kind))
    }

    /// Sends in order, as dead letters and replays are.
    pub(crate) async fn send(&self, sink: &mut Sink, events: &[StoredEvent], cursor: i64, newest: i64) -> Sent {
        // What it is not to get is skipped; replays and letters of old rules are no exception.
        let shaped: Vec<Option<StoredEvent>> = events.iter().map(|event| self.shaped(event.clone())).collect();
        let wanted: Vec<StoredEvent> = shaped.iter().flatten().cloned().collect();
        let taken = send_all(sink, &wanted, &self.stop).await;
        self.count_changes(&taken.changes);
        let mut fates = taken.fates.into_iter();
        let mut sent = Sent { through: cursor, failure: taken.failure, ..Sent::default() };
        let mut waits = false;
        for (event, shaped) in events.iter().zip(shaped) {
            let fate = if shaped.is_some() { fates.next().unwrap_or(Fate::Waiting) } else { Fate::Skipped };
            match fate {
                Fate::Done => sent.sent.push(event.number),
                Fate::Skipped => sent.skipped.push(event.number),
                // Nothing of what is sent again waits for a place.
                Fate::Refused(reason) | Fate::NoPlace(reason) => sent.dead.push(DeadLetter::new(event.number, reason)),
                Fate::Again(reason) => {
                    sent.failure.get_or_insert(SendError::later(reason));
                    waits = true;
                }
                Fate::Waiting => waits = true,
            }
            if !waits {
                sent.through = event.number;
            }
        }
        if !waits {
            sent.through = newest;
        }
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
