//! What the journal holds: a batch after decode, filter, scrub and locate, before naming.

use serde::{Deserialize, Serialize};

use crate::crowd::Crowd;
use crate::event::{Device, Location};
use crate::id::ProjectId;
use crate::time::Timestamp;
use crate::wire::Batch;

/// A scrubbed batch with what only the collector could know. No address, no user agent text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The project that the key names.
    pub project: ProjectId,
    /// Its number, which no later project of the same id has.
    pub number: i64,
    /// When the collector received it; the stored `received` of each event.
    pub received: Timestamp,
    /// received − sent in milliseconds when above 5 s, else 0.
    pub clock: i64,
    /// Visitor: the tracker's, or in identity mode `none` derived on the server.
    pub visitor: String,
    /// Device from user agent and client hints.
    pub device: Device,
    /// Country of the address.
    pub location: Location,
    /// Its texts, for counting who else showed the same.
    #[serde(default, skip_serializing_if = "Crowd::is_empty")]
    pub crowd: Crowd,
    /// The scrubbed batch.
    pub batch: Batch,
}
