//! The queue between appenders and the writer: first come, first written; a group is what waits, up to a batch's bytes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::BATCH_BYTES;
use super::state::Room;
use crate::StoreError;

/// Gathering a group never waits; this bounds it when records come as fast as they are taken.
const GATHER: Duration = Duration::from_millis(2);

/// A record and who waits for it.
pub(super) struct Waiting {
    pub(super) record: Bytes,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
    /// Given back when the record is answered.
    pub(super) _room: Room,
}

/// What the writer is told.
pub(super) enum Message {
    Append(Waiting),
    /// There is something to forget.
    Wake,
    /// Commit what came before this, then end.
    Stop,
}

/// The writer's end.
pub(super) struct Queue {
    messages: mpsc::UnboundedReceiver<Message>,
    /// A record that the last group had no room for.
    held: Option<Waiting>,
    stopped: bool,
}

/// What there is to do next.
pub(super) enum Next {
    Commit(Vec<Waiting>),
    /// Nothing waits for the time given.
    Idle,
    Wake,
    /// Nothing waits and nothing will come.
    End,
}

impl Queue {
    /// The channel itself has no bound: the room that each record takes is the bound, in bytes.
    pub(super) fn new() -> (mpsc::UnboundedSender<Message>, Self) {
        let (sender, messages) = mpsc::unbounded_channel();
        (sender, Self { messages, held: None, stopped: false })
    }

    /// Whether a record waits.
    pub(super) fn has_records(&self) -> bool {
        self.held.is_some() || !self.messages.is_empty()
    }

    /// The next group, or that there was none for so long.
    pub(super) async fn next(&mut self, idle: Duration) -> Next {
        if let Some(first) = self.held.take() {
            return Next::Commit(self.gather(first));
        }
        if self.stopped {
            return Next::End;
        }
        match tokio::time::timeout(idle, self.messages.recv()).await {
            Ok(Some(Message::Append(first))) => Next::Commit(self.gather(first)),
            Ok(Some(Message::Wake)) => Next::Wake,
            Ok(Some(Message::Stop) | None) => {
                self.stop();
                Next::End
            }
            Err(_) => Next::Idle,
        }
    }

    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let started = Instant::now();
        let mut bytes = first.record.len();
        let mut group = vec![first];
        while bytes < BATCH_BYTES && !self.stopped && started.elapsed() < GATHER {
            match self.messages.try_recv() {
                Ok(Message::Append(next)) if bytes + next.record.len() > BATCH_BYTES => {
                    self.held = Some(next);
                    break;
                }
                Ok(Message::Append(next)) => {
                    bytes += next.record.len();
                    group.push(next);
                }
                Ok(Message::Wake) => {}
                Ok(Message::Stop) => self.stop(),
                Err(_) => break,
            }
        }
        group
    }

    /// Everything that waits now.
    pub(super) fn drain(&mut self) -> Vec<Waiting> {
        let mut waiting: Vec<Waiting> = self.held.take().into_iter().collect();
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Append(next) => waiting.push(next),
                Message::Wake => {}
                Message::Stop => self.stop(),
            }
        }
        waiting
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.messages.close();
    }
}
