//! Lanes of one destination: a visitor's events stand in one lane, in order, and a lane has one batch on its way.
//!
//! What is planned is written down before it is sent and holds until its outcome is known, so that a try after a crash sends the same
//! events together. A row that the destination would not take now holds back its visitor's later rows, nobody else's.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use convizit_model::Timestamp;
use convizit_store::{DeadLetter, Delivered, StoredEvent};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::destinations::Fate;
use crate::retry;

/// How long a row that waits to be tried again holds back later rows of its visitor.
const HOLD: Duration = Duration::from_secs(300);
/// Tries of a row for which there is no place: with the waits between them some fifteen seconds.
const NO_PLACE: u32 = 5;
/// Unfinished and finished rows behind the cursor: where there are more, nothing is read until the oldest is done.
const WINDOW: i64 = 50_000;
/// Bytes of events that wait in lanes.
const WAITING: usize = 8 << 20;

/// Where a lane stands, as it is written down with the cursor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// Everything of this lane up to here is finished.
    done: i64,
    /// Last number of the batch that was planned.
    last: Option<i64>,
}

/// All lanes of a destination.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Up to here events were read.
    pub(crate) read: i64,
    bytes: usize,
    linger: Option<Linger>,
    /// More is stored than was read.
    pub(crate) more: bool,
}

/// How long a batch waits for company.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linger {
    /// From an event's receipt on, so that what begins anew meanwhile waits no longer.
    wait: Duration,
    /// What fills a batch.
    events: usize,
    bytes: usize,
    /// What the time was at an instant.
    time: Timestamp,
    at: Instant,
}

#[derive(Default)]
struct Lane {
    /// Rising numbers; those on their way are still here.
    waiting: VecDeque<Row>,
    /// Bytes of them.
    bytes: usize,
    on_the_way: bool,
    /// Batches that failed one after the other, and when it is tried again.
    failures: u32,
    not_before: Option<Instant>,
    /// What became of rows behind the first that waits.
    ahead: BTreeMap<i64, Fate>,
    done: i64,
    planned: Option<i64>,
    /// Visitors of whom a row is to be tried again: how often it was tried, since when, and when it is due.
    held: HashMap<u64, Held>,
}

struct Row {
    event: StoredEvent,
    visitor: u64,
    /// Until then it waits for company, where batches do.
    ripe: Option<Instant>,
}

struct Held {
    number: i64,
    tries: u32,
    since: Instant,
    due: Instant,
}

/// What is read of an event to find its lane.
#[derive(Deserialize)]
struct Of<'a> {
    #[serde(borrow)]
    visitor: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    received: std::borrow::Cow<'a, str>,
}

impl Linger {
    /// `None` where nothing waits.
    pub(crate) fn new(wait: Duration, (events, bytes): (usize, usize), time: Timestamp, at: Instant) -> Option<Self> {
        (!wait.is_zero()).then_some(Self { wait, events, bytes, time, at })
    }

    /// Until when an event waits: never longer than it may, since clocks differ.
    fn ripe(&self, received: &str) -> Instant {
        let Ok(received) = received.parse::<Timestamp>() else { return self.at };
        let wait = i64::try_from(self.wait.as_millis()).unwrap_or(i64::MAX);
        let left = received.since(self.time).saturating_add(wait);
        let ripe = self.at + Duration::from_millis(u64::try_from(left).unwrap_or(0));
        ripe.min(Instant::now() + self.wait)
    }
}

impl Lanes {
    /// `cursor` and `plan` as they were written down; another number of lanes begins at the cursor.
    pub(crate) fn new(many: usize, cursor: i64, plan: &str) -> Self {
        let planned: Vec<Planned> = serde_json::from_str(plan).unwrap_or_default();
        let known = planned.len() == many;
        let lanes = (0..many).map(|index| {
            let planned = planned.get(index).copied().filter(|_| known).unwrap_or_default();
            Lane {
                done: planned.done.max(cursor),
                planned: planned.last.filter(|last| *last > cursor),
                ..Lane::default()
            }
        });
        Self { lanes: lanes.collect(), read: cursor, bytes: 0, linger: None, more: false }
    }

    /// The same with batches that wait for company.
    pub(crate) fn lingering(self, linger: Option<Linger>) -> Self {
        Self { linger, ..self }
    }

    /// Whether more may be read now.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < WAITING && self.read - self.cursor() < WINDOW
    }

    /// Whether nothing waits, but for company, and nothing is on its way.
    pub(crate) fn are_idle(&self, now: Instant) -> bool {
        let linger = self.linger.filter(|_| self.has_room() && !self.more);
        self.lanes.iter().all(|lane| lane.waiting.is_empty() || (!lane.on_the_way && lane.lingers(linger, false, now)))
    }

    /// Takes an event that the destination wants; false where that is finished.
    pub(crate) fn take(&mut self, event: StoredEvent) -> bool {
        // The same in every process and every version: a plan is carried out by whoever comes after a crash.
        let of = serde_json::from_slice::<Of<'_>>(&event.json).ok();
        let visitor = of.as_ref().map_or(0, |of| {
            let [a, b, c, d, e, f, g, h, ..] = convizit_keys::sha256(of.visitor.as_bytes());
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        });
        let ripe = self.linger.zip(of).map(|(linger, of)| linger.ripe(&of.received));
        let many = u64::try_from(self.lanes.len()).unwrap_or(1).max(1);
        let Some(lane) = usize::try_from(visitor % many).ok().and_then(|index| self.lanes.get_mut(index)) else {
            return false;
        };
        if event.number <= lane.done {
            return false;
        }
        self.bytes += event.json.len();
        lane.bytes += event.json.len();
        // A copy of its own: as it was read, it holds the whole frame that it stood in, of which nothing else may wait.
        let event = StoredEvent { number: event.number, json: event.json.to_vec().into() };
        lane.waiting.push_back(Row { event, visitor, ripe });
        true
    }

    /// A batch of each idle lane that has one, within these bounds; each is planned from now on.
    pub(crate) fn batches(&mut self, events: usize, bytes: usize, now: Instant) -> Vec<(usize, Vec<StoredEvent>)> {
        let mut batches = Vec::new();
        let (read, has_room) = (self.read, self.has_room());
        // Where no more is read, nobody would come.
        let (linger, more) = (self.linger.filter(|_| has_room), self.more);
        for (index, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.on_the_way) {
            // After a crash: a part of what was planned would be another request than the one that may have arrived.
            if has_room && lane.planned.is_some_and(|last| last > read) {
                continue;
            }
            if lane.not_before.is_some_and(|time| time > now) {
                continue;
            }
            lane.not_before = None;
            if lane.planned.is_some_and(|last| last <= lane.low(read)) {
                lane.planned = None;
            }
            if lane.lingers(linger, more, now) {
                continue;
            }
            let mut batch = lane.batch(events, bytes, now);
            if batch.is_empty()
                && lane.planned.is_some()
                && lane.waiting.iter().any(|row| Some(row.event.number) > lane.planned)
            {
                // What was planned is finished but for rows that wait for their time: others need not.
                lane.planned = None;
                batch = lane.batch(events, bytes, now);
            }
            if let Some(last) = batch.last() {
                lane.planned = Some(lane.planned.unwrap_or(0).max(last.number));
                lane.on_the_way = true;
                batches.push((index, batch));
            }
        }
        batches
    }

    /// Writes down what became of a batch; returns why rows of it are to be tried again.
    pub(crate) fn finish(
        &mut self,
        index: usize,
        batch: &[StoredEvent],
        fates: Vec<Fate>,
        now: Instant,
    ) -> Option<String> {
        let lane = self.lanes.get_mut(index)?;
        lane.on_the_way = false;
        let mut why = None;
        for (event, fate) in batch.iter().zip(fates) {
            match fate {
                Fate::Waiting => {}
                Fate::Again(reason) => {
                    lane.hold(event.number, now);
                    why.get_or_insert(reason);
                }
                Fate::NoPlace(reason) => {
                    if lane.hold(event.number, now) >= NO_PLACE {
                        lane.ahead.insert(event.number, Fate::Refused(reason));
                    } else {
                        why.get_or_insert(reason);
                    }
                }
                fate => {
                    lane.ahead.insert(event.number, fate);
                }
            }
        }
        let Lane { waiting, ahead, held, bytes, .. } = lane;
        let (mut freed, mut kept) = (0, Vec::new());
        // What stands behind the batch is not looked at: it may be a hundred times as much.
        let last = batch.last().map_or(0, |event| event.number);
        while let Some(row) = waiting.pop_front_if(|row| row.event.number <= last) {
            if ahead.contains_key(&row.event.number) {
                freed += row.event.json.len();
            } else {
                kept.push(row);
            }
        }
        for row in kept.into_iter().rev() {
            waiting.push_front(row);
        }
        held.retain(|_, held| !ahead.contains_key(&held.number));
        *bytes = bytes.saturating_sub(freed);
        self.bytes = self.bytes.saturating_sub(freed);
        why
    }

    /// A batch failed as a whole: the lane waits, the others go on. Returns when it is tried again.
    pub(crate) fn put_off(&mut self, index: usize, asked: Option<Duration>, now: Instant) -> Instant {
        let Some(lane) = self.lanes.get_mut(index) else { return now };
        lane.failures = lane.failures.saturating_add(1);
        let again = now + retry::wait(lane.failures, asked);
        lane.not_before = Some(again);
        again
    }

    /// A batch of the lane came through.
    pub(crate) fn went_well(&mut self, index: usize) {
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.failures = 0;
        }
    }

    /// Whether a lane fails, or an event is to be tried again.
    pub(crate) fn are_held_up(&self) -> bool {
        self.lanes.iter().any(|lane| lane.failures > 0 || !lane.held.is_empty())
    }

    /// Up to here everything of every lane is finished.
    pub(crate) fn cursor(&self) -> i64 {
        self.lanes.iter().map(|lane| lane.low(self.read)).min().unwrap_or(self.read)
    }

    /// Moves each lane to its first row that waits: what was finished on the way.
    pub(crate) fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        for lane in &mut self.lanes {
            let low = lane.low(self.read);
            let behind = lane.ahead.split_off(&(low + 1));
            for (number, fate) in std::mem::replace(&mut lane.ahead, behind) {
                match fate {
                    Fate::Done => settled.sent += 1,
                    Fate::Skipped => settled.skipped += 1,
                    Fate::Refused(reason) => settled.dead.push(DeadLetter::new(number, reason)),
                    Fate::Waiting | Fate::Again(_) | Fate::NoPlace(_) => {}
                }
            }
            lane.done = lane.done.max(low);
        }
        settled.dead.sort_by_key(|letter| letter.number);
        settled
    }

    /// What is written down with the cursor.
    pub(crate) fn plan(&self) -> String {
        let of = |lane: &Lane| Planned { done: lane.done, last: lane.planned.filter(|last| *last > lane.done) };
        let plan: Vec<Planned> = self.lanes.iter().map(of).collect();
        serde_json::to_string(&plan).unwrap_or_default()
    }

    /// When the first lane or row that is to be tried again is due, or the first batch waits no longer for company.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let due = |lane: &Lane| {
            let again = lane.not_before.or_else(|| lane.held.values().map(|held| held.due).min());
            // What is past was sent, or waits for what is to be tried again.
            let ripe = lane.waiting.front().and_then(|row| row.ripe).filter(|ripe| *ripe > now);
            [again, ripe].into_iter().flatten().min()
        };
        self.lanes.iter().filter(|lane| !lane.on_the_way).filter_map(due).min()
    }
}

/// What was finished since it was last written down.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) sent: usize,
    pub(crate) skipped: usize,
    pub(crate) dead: Vec<DeadLetter>,
}

impl Settled {
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == 0 && self.skipped == 0 && self.dead.is_empty()
    }

    /// With the events that were never to be sent.
    pub(crate) fn delivered(self, filtered: usize) -> Delivered {
        let many = |events: usize| i64::try_from(events).unwrap_or(i64::MAX);
        Delivered { sent: many(self.sent), filtered: many(self.skipped + filtered), dead: self.dead }
    }
}

impl Lane {
    /// Whether what waits, waits for company: nothing of it was planned, it fills no batch, and its time is not up, or what is still to be read
    /// comes at once.
    fn lingers(&self, linger: Option<Linger>, more: bool, now: Instant) -> bool {
        // One that is tried again has its own time.
        let Some(linger) = linger.filter(|_| self.planned.is_none() && self.held.is_empty()) else { return false };
        let is_full = self.waiting.len() >= linger.events || self.bytes >= linger.bytes;
        !is_full && (more || self.waiting.front().and_then(|row| row.ripe).is_some_and(|ripe| ripe > now))
    }

    fn low(&self, read: i64) -> i64 {
        self.waiting.front().map_or(read, |row| row.event.number - 1).max(self.done)
    }

    fn batch(&self, events: usize, bytes: usize, now: Instant) -> Vec<StoredEvent> {
        let mut batch: Vec<StoredEvent> = Vec::new();
        let mut size = 0;
        for row in &self.waiting {
            if self.planned.is_some_and(|last| row.event.number > last) {
                break;
            }
            if let Some(held) = self.held.get(&row.visitor) {
                let its_turn = held.due <= now;
                let is_over = now.duration_since(held.since) >= HOLD && row.event.number > held.number;
                if !its_turn && !is_over {
                    continue;
                }
            }
            if !batch.is_empty() && (batch.len() >= events || size + row.event.json.len() > bytes) {
                break;
            }
            size += row.event.json.len();
            batch.push(row.event.clone());
        }
        batch
    }

    /// Has a row wait to be tried again; returns how often it was tried, 0 for one behind another of its visitor that waits.
    fn hold(&mut self, number: i64, now: Instant) -> u32 {
        let Some(visitor) = self.waiting.iter().find(|row| row.event.number == number).map(|row| row.visitor) else {
            return 0;
        };
        let held = self.held.entry(visitor).or_insert(Held { number, tries: 0, since: now, due: now });
        // The oldest row decides.
        if number > held.number {
            return 0;
        }
        held.tries = if number == held.number { held.tries + 1 } else { 1 };
        held.number = number;
        held.due = now + retry::wait(held.tries, None);
        held.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64, visitor: &str) -> StoredEvent {
        StoredEvent { number, json: format!("{{\"visitor\":\"{visitor}\"}}").into_bytes().into() }
    }

    fn numbers(batch: &[StoredEvent]) -> Vec<i64> {
        batch.iter().map(|event| event.number).collect()
    }

    #[test]
    fn a_crash_plans_the_same_batches_again_though_more_events_came() {
        let now = Instant::now();
        let mut lanes = Lanes::new(4, 0, "");
        let all: Vec<StoredEvent> = (1..=40).map(|number| event(number, &format!("v{}", number % 7))).collect();
        let feed = |lanes: &mut Lanes, upto: i64| {
            let read = lanes.read;
            for one in all.iter().filter(|one| one.number > read && one.number <= upto) {
                lanes.take(one.clone());
            }
            lanes.read = upto;
        };
        feed(&mut lanes, 20);
        let first = lanes.batches(500, 1 << 20, now);
        assert_eq!(first.iter().map(|(_, batch)| batch.len()).sum::<usize>(), 20);
        let plan = lanes.plan();
        // After a crash more events are there.
        let mut after = Lanes::new(4, lanes.cursor(), &plan);
        feed(&mut after, 11);
        let early = after.batches(500, 1 << 20, now);
        let whole: Vec<usize> = first.iter().map(|(_, batch)| batch.len()).collect();
        assert!(
            early.iter().all(|(lane, batch)| batch.len() == whole[*lane]),
            "what was planned goes out whole or not yet: {early:?}"
        );
        for (lane, batch) in &early {
            after.finish(*lane, batch, vec![Fate::Waiting; batch.len()], now);
        }
        feed(&mut after, 40);
        let again = after.batches(500, 1 << 20, now);
        let of = |batches: &[(usize, Vec<StoredEvent>)]| {
            batches.iter().map(|(lane, batch)| (*lane, numbers(batch))).collect::<Vec<_>>()
        };
        assert_eq!(of(&again), of(&first));
        for (lane, batch) in &again {
            assert!(after.finish(*lane, batch, vec![Fate::Done; batch.len()], now).is_none());
        }
        assert_eq!(after.settle().sent, 20);
        let rest = after.batches(500, 1 << 20, now);
        assert_eq!(rest.iter().map(|(_, batch)| batch.len()).sum::<usize>(), 20);
        // Every visitor's events stand in one lane, rising.
        for (_, batch) in rest {
            assert!(batch.is_sorted_by_key(|event| event.number));
        }
    }

    #[test]
    fn a_row_that_waits_holds_back_its_visitor_and_nobody_else_and_not_for_ever() {
        let mut now = Instant::now();
        let mut lanes = Lanes::new(1, 0, "");
        for (number, visitor) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
            lanes.take(event(number, visitor));
        }
        lanes.read = 4;
        let (_, batch) = lanes.batches(2, 1 << 20, now).remove(0);
        assert_eq!(numbers(&batch), [1, 2]);
        assert!(lanes.finish(0, &batch, vec![Fate::Again("busy".to_owned()), Fate::Done], now).is_some());
        assert_eq!((lanes.cursor(), lanes.settle().sent), (0, 0));
        let (_, batch) = lanes.batches(2, 1 << 20, now).remove(0);
        assert_eq!(numbers(&batch), [4], "b goes on");
        lanes.finish(0, &batch, vec![Fate::Done], now);
        assert!(lanes.batches(2, 1 << 20, now).is_empty(), "a waits");
        now += Duration::from_secs(2);
        let (_, batch) = lanes.batches(1, 1 << 20, now).remove(0);
        assert_eq!(numbers(&batch), [1], "its turn");
        lanes.finish(0, &batch, vec![Fate::Again("busy".to_owned())], now);
        // Tried again and again: after five minutes later rows of the visitor go on.
        for _ in 0..40 {
            now += Duration::from_secs(60);
            let Some((_, batch)) = lanes.batches(1, 1 << 20, now).pop() else { continue };
            let fates =
                batch.iter().map(|event| if event.number == 1 { Fate::Again("busy".to_owned()) } else { Fate::Done });
            lanes.finish(0, &batch, fates.collect(), now);
        }
        assert_eq!(lanes.lanes[0].waiting.len(), 1, "row 3 went, row 1 still waits");
        assert_eq!(lanes.cursor(), 0);
        now += Duration::from_secs(600);
        let (_, batch) = lanes.batches(5, 1 << 20, now).remove(0);
        lanes.finish(0, &batch, vec![Fate::Refused("never".to_owned())], now);
        let settled = lanes.settle();
        assert_eq!((settled.sent, settled.dead.len(), lanes.cursor()), (3, 1, 4));
    }

    #[test]
    fn an_event_that_waits_holds_no_more_than_its_own_bytes() {
        let lines: Vec<u8> = (0..1000).flat_map(|n| format!("{{\"visitor\":\"v{n}\"}}\n").into_bytes()).collect();
        let end = lines.iter().position(|byte| *byte == b'\n').unwrap();
        let frame = StoredEvent { number: 1, json: lines.into() }.json;
        let mut lanes = Lanes::new(1, 0, "");
        assert!(lanes.take(StoredEvent { number: 1, json: frame.slice(..end) }));
        assert!(frame.is_unique(), "the frame goes with whoever has read it");
        assert_eq!(lanes.bytes, end);
        let (_, batch) = lanes.batches(1, 1 << 20, Instant::now()).remove(0);
        assert_eq!(batch[0].json, frame.slice(..end));
    }

    #[test]
    fn a_row_without_a_place_is_refused_after_some_tries_and_the_others_went() {
        let mut now = Instant::now();
        let mut lanes = Lanes::new(1, 0, "");
        for (number, visitor) in [(1, "a"), (2, "b"), (3, "a")] {
            lanes.take(event(number, visitor));
        }
        lanes.read = 3;
        let mut tries = 0;
        for _ in 0..100 {
            now += Duration::from_secs(10);
            let Some((lane, batch)) = lanes.batches(5, 1 << 20, now).pop() else { continue };
            tries += u32::from(batch.iter().any(|event| event.number == 1));
            let fates = batch.iter().map(|event| match event.number {
                1 => Fate::NoPlace("no such topic".to_owned()),
                _ => Fate::Done,
            });
            lanes.finish(lane, &batch, fates.collect(), now);
        }
        assert_eq!(tries, NO_PLACE);
        let settled = lanes.settle();
        assert_eq!((settled.sent, settled.dead.len(), lanes.cursor()), (2, 1, 3));
        assert_eq!((settled.dead[0].number, settled.dead[0].reason.as_str()), (1, "no such topic"));
        assert!(!lanes.are_held_up());
    }

    #[test]
    fn a_lane_that_fails_waits_longer_each_time_whatever_the_others_do() {
        let mut now = Instant::now();
        let mut lanes = Lanes::new(2, 0, "");
        for number in 1..=40 {
            lanes.take(event(number, &format!("v{number}")));
        }
        lanes.read = 40;
        let bad = 0;
        let mut waited = Duration::ZERO;
        for round in 1..=8 {
            let batches = lanes.batches(1, 1 << 20, now);
            assert!(batches.iter().any(|(lane, _)| *lane == bad), "its turn has come");
            for (lane, batch) in batches {
                if lane == bad {
                    lanes.finish(lane, &batch, vec![Fate::Waiting], now);
                    waited = lanes.put_off(lane, None, now) - now;
                } else {
                    lanes.finish(lane, &batch, vec![Fate::Done], now);
                    lanes.went_well(lane);
                }
            }
            assert!(lanes.are_held_up());
            // The other lane has its turn at once.
            let batches = lanes.batches(1, 1 << 20, now);
            assert!(batches.iter().all(|(lane, _)| *lane != bad), "round {round}");
            for (lane, batch) in batches {
                lanes.finish(lane, &batch, vec![Fate::Done], now);
            }
            assert!(lanes.due(now).is_some_and(|due| due == now + waited));
            now += waited;
        }
        assert!(waited >= Duration::from_secs(64), "{waited:?}");
        lanes.went_well(bad);
        assert!(!lanes.are_held_up());
    }

    #[test]
    fn another_number_of_lanes_begins_at_the_cursor_and_the_window_is_bounded() {
        let mut lanes = Lanes::new(2, 10, "[{\"done\":15,\"last\":20},{\"done\":12,\"last\":null}]");
        assert_eq!(lanes.lanes[0].done, 15);
        assert!(!Lanes::new(3, 10, &lanes.plan()).lanes.iter().any(|lane| lane.done != 10));
        for number in 11..100_000 {
            if !lanes.has_room() {
                break;
            }
            lanes.take(event(number, "a"));
            lanes.take(event(number, "b"));
            lanes.read = number;
        }
        assert!(lanes.read <= 15 + WINDOW && lanes.bytes <= WAITING + 100, "{} {}", lanes.read, lanes.bytes);
    }

    #[test]
    fn a_batch_waits_for_company_from_its_first_events_receipt_on_and_not_after_a_crash() {
        let (time, at) = ("2026-11-23T12:00:00.000Z".parse().unwrap(), Instant::now());
        let second = Duration::from_secs(1);
        let lingering = |cursor: i64, plan: &str| {
            Lanes::new(1, cursor, plan).lingering(Linger::new(60 * second, (5, 1_000), time, at))
        };
        let event = |number: i64, received: &str| {
            let json = format!("{{\"visitor\":\"a\",\"received\":\"2026-11-23T{received}.000Z\"}}");
            StoredEvent { number, json: json.into_bytes().into() }
        };
        let many = |lanes: &mut Lanes, now: Instant| -> usize {
            lanes.batches(5, 1_000, now).iter().map(|(_, batch)| batch.len()).sum()
        };
        let mut lanes = lingering(0, "");
        lanes.take(event(1, "11:59:50"));
        lanes.take(event(2, "11:59:59"));
        lanes.read = 2;
        assert_eq!(many(&mut lanes, at), 0);
        assert!(lanes.are_idle(at) && !lanes.are_idle(at + 50 * second));
        assert_eq!(lanes.due(at), Some(at + 50 * second));
        assert_eq!(many(&mut lanes, at + 49 * second), 0);
        assert_eq!(many(&mut lanes, at + 50 * second), 2);

        // What was planned goes out as it was, whatever its age.
        let mut after = lingering(0, &lanes.plan());
        for number in 1..=3 {
            after.take(event(number, "12:00:00"));
        }
        after.read = 3;
        let (lane, batch) = after.batches(5, 1_000, at).remove(0);
        assert_eq!(numbers(&batch), [1, 2]);
        after.finish(lane, &batch, vec![Fate::Done; 2], at);
        after.settle();
        assert_eq!(many(&mut after, at), 0, "what came later waits");

        // A full one goes at once, and so do all where no more is read.
        for number in 4..=7 {
            after.take(event(number, "12:00:00"));
        }
        after.read = 7;
        assert_eq!(many(&mut after, at), 5);
        let mut stuffed = lingering(0, "");
        stuffed.take(event(1, "12:00:00"));
        stuffed.read = WINDOW;
        assert_eq!(many(&mut stuffed, at), 1);

        // After an outage the old ones wait for those that are still to be read.
        let mut behind = lingering(0, "");
        behind.take(event(1, "01:00:00"));
        (behind.read, behind.more) = (1, true);
        assert_eq!(many(&mut behind, at), 0);
        assert!(!behind.are_idle(at), "that is no time for anything else");
        behind.more = false;
        assert_eq!(many(&mut behind, at), 1);

        // Of a time that is still to come it waits no longer than of now; without a time it waits for nothing.
        let mut ahead = lingering(0, "");
        ahead.take(event(1, "23:00:00"));
        ahead.read = 1;
        assert!(ahead.due(at).is_some_and(|due| due < at + 90 * second));
        let mut none = Lanes::new(1, 0, "").lingering(Linger::new(Duration::ZERO, (5, 1_000), time, at));
        none.take(event(1, "12:00:00"));
        assert_eq!(many(&mut none, at), 1);
    }
}
