//! Sending again, between two batches of the live stream: dead letters of which a person wants it, then replays.

use std::collections::HashSet;
use std::time::Duration;

use convizit_model::NoticeKind;
use convizit_store::{FoundEvents, Resent, StoreError, StoredEvent};
use tokio::time::Instant;

use crate::destinations::{SendError, Sink};
use crate::replays::oldest_of;
use crate::retry;
use crate::route::{Route, Sent, Stop};

/// Events and bytes of one batch: fewer than of the live stream, which waits for it.
const EVENTS: usize = 200;
const BYTES: usize = 1 << 20;
/// Batches of the live stream after which sending again has its turn, though more wait.
const LIVE: u32 = 4;
/// How soon a wish to send again is noticed while nothing else goes on.
const LOOK: Duration = Duration::from_millis(500);

/// Where sending again stands.
#[derive(Default)]
pub(crate) struct Again {
    /// The version of the settings under which there was nothing to be sent again: with each wish it rises.
    nothing_at: Option<u64>,
    /// Batches of the live stream since the last turn.
    live: u32,
    failures: u32,
    /// After a failure: the live stream does not wait for it.
    not_before: Option<Instant>,
    /// Events of this replay that are done behind others that wait still: what was taken is not sent again.
    ahead: (i64, HashSet<i64>),
}

impl Again {
    /// A batch of the live stream came back.
    pub(crate) fn count_live(&mut self) {
        self.live += 1;
    }

    /// Whether the live stream waits now for a turn of sending again: not where nothing is wished for under these settings, since to wait is to
    /// have no batch on its way.
    pub(crate) fn is_due(&self, version: u64) -> bool {
        self.live >= LIVE
            && self.nothing_at != Some(version)
            && self.not_before.is_none_or(|time| time <= Instant::now())
    }
}

impl Route {
    /// Returns when it may be worth asking `send_again` again.
    pub(crate) async fn wait_for_again(&self) {
        loop {
            match self.again.not_before {
                Some(time) => return tokio::time::sleep_until(time).await,
                None => tokio::time::sleep(LOOK).await,
            }
            if self.again.nothing_at != Some(self.store.control_version()) {
                return;
            }
        }
    }

    /// One batch of what is to be sent again; false when there is none now.
    pub(crate) async fn send_again(&mut self, number: i64, sink: &mut Option<Sink>) -> Result<bool, Stop> {
        self.again.live = 0;
        if self.again.not_before.is_some_and(|time| time > Instant::now()) {
            return Ok(false);
        }
        // Read first: what is wished for meanwhile is found at the next look.
        let version = self.store.control_version();
        if self.again.nothing_at == Some(version) {
            return Ok(false);
        }
        let mut turn = self.letters(number, sink).await?;
        if turn.is_none() {
            turn = self.replay(number, sink).await?;
        }
        let Some((resent, failure)) = turn else {
            self.again.nothing_at = Some(version);
            return Ok(false);
        };
        let (project, name) = (self.destination.project.clone(), self.destination.name.clone());
        for (result, events) in [("resent", resent.sent.len()), ("dead", resent.dead.len())] {
            let labels =
                [("project", project.to_string()), ("destination", name.clone()), ("result", result.to_owned())];
            metrics::counter!("convizit_delivery_events_total", &labels).increment(events as u64);
        }
        let (refused, unread) = (!resent.dead.is_empty(), !resent.unread.is_empty());
        let (letters, took) = (resent.replay.is_none(), !resent.sent.is_empty());
        self.store.resent(number, &name, resent).await?;
        if refused {
            self.say_dead("refused events").await?;
        } else if unread {
            self.say_dead("was to get events again that cannot be read").await?;
        } else if letters {
            self.store.settle_dead_letters(&project, &name).await?;
        }
        let Some(failure) = failure else {
            if took {
                self.went_well().await?;
            }
            (self.again.failures, self.again.not_before) = (0, None);
            return Ok(true);
        };
        match self.failed(failure).await? {
            Stop::Later(asked) => {
                self.again.failures += 1;
                self.again.not_before = Some(Instant::now() + retry::wait(self.again.failures, asked));
                *sink = sink.take().filter(Sink::mends_itself);
                Ok(false)
            }
            other => Err(other),
        }
    }

    /// Sends some dead letters.
    async fn letters(&mut self, number: i64, sink: &mut Option<Sink>) -> Result<Option<Turn>, Stop> {
        let limit = i64::try_from(EVENTS).unwrap_or(i64::MAX);
        let letters = self.store.letters_to_retry(number, &self.destination.name, limit).await?;
        if letters.is_empty() {
            return Ok(None);
        }
        let FoundEvents { events, gone, unread } = self.store.events_of(number, &letters, BYTES).await?;
        let resent = Resent { gone, unread, ..Resent::default() };
        let Some(last) = events.last().map(|event| event.number) else { return Ok(Some((resent, None))) };
        let sink = self.opened(sink).await?;
        let sent = self.send(sink, &events, 0, last).await;
        Ok(Some(turn(sent, resent)))
    }

    /// Sends a stretch of the oldest replay.
    async fn replay(&mut self, number: i64, sink: &mut Option<Sink>) -> Result<Option<Turn>, Stop> {
        let Some(replay) = self.store.open_replay(number, &self.destination.name).await? else { return Ok(None) };
        let mut events = match self.store.events_after(number, replay.done, EVENTS, BYTES).await {
            // It goes on behind them: the live stream stops there for a person to decide, and what is sent again was sent once.
            Err(error @ StoreError::Damaged { first, last, .. }) => {
                if first <= replay.last {
                    self.say_passed_over(replay.id, &error).await?;
                }
                let resent = Resent { replay: Some((replay.id, last.min(replay.last))), ..Resent::default() };
                return Ok(Some((resent, None)));
            }
            events => events?,
        };
        events.retain(|event| event.number <= replay.last);
        // Where nothing is left of the range, all of it is done.
        let newest = events.last().map_or(replay.last, |event| event.number);
        let oldest = oldest_of(&self.destination.kind, &self.config, replay.made);
        let wanted = |event: &StoredEvent| {
            event.head().is_some_and(|head| {
                // What was too old when they were counted was said to be left out.
                let late = oldest.is_some_and(|oldest| head.time < oldest);
                replay.covers(&head) && self.destination.wants(head.kind) && !late
            })
        };
        events.retain(wanted);
        if self.again.ahead.0 == replay.id {
            events.retain(|event| !self.again.ahead.1.contains(&event.number));
        }
        let sent = if events.is_empty() {
            Sent { through: newest, ..Sent::default() }
        } else {
            let sink = self.opened(sink).await?;
            self.send(sink, &events, replay.done, newest).await
        };
        let (of, before) = std::mem::take(&mut self.again.ahead);
        let done = [&sent.sent, &sent.skipped].into_iter().flatten().copied();
        let done = done.chain(sent.dead.iter().map(|letter| letter.number));
        let kept = before.into_iter().filter(|_| of == replay.id);
        self.again.ahead = (replay.id, done.chain(kept).filter(|number| *number > sent.through).collect());
        let resent = Resent { replay: Some((replay.id, sent.through)), ..Resent::default() };
        Ok(Some(turn(sent, resent)))
    }

    /// Has a person see what a replay did not send. Apart from the notice of the dead letters, which ends with the last of them.
    async fn say_passed_over(&self, replay: i64, error: &StoreError) -> Result<(), Stop> {
        let name = &self.destination.name;
        let text = format!(
            "{error}; replay {replay} to destination {name} went on without them. `convizit verify` names all that cannot be read"
        );
        let subject = format!("{name}, replay {replay}");
        self.store.raise(NoticeKind::DeadLetters, Some(&self.destination.project), &subject, &text).await?;
        Ok(())
    }
}

/// What a turn came to, and why it ended early.
type Turn = (Resent, Option<SendError>);

/// What was sent and what was refused.
fn turn(mut sent: Sent, resent: Resent) -> Turn {
    // Its rules have changed meanwhile: what it is not to get is no dead letter any more.
    sent.sent.append(&mut sent.skipped);
    sent.sent.sort_unstable();
    (Resent { sent: sent.sent, dead: sent.dead, ..resent }, sent.failure)
}
