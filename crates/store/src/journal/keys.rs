//! The journal's own keys: one for each hour, wrapped by the installation's key in the journal's file, destroyed with the last
//! batch that it sealed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use convizit_keys::{DataKey, KeyRing, Place};
use convizit_model::{Clock, Timestamp};
use sqlx::SqliteConnection;

use super::file;
use crate::StoreError;

/// Keys that were opened last are kept: those of a backlog's hours come one after the other.
const KEPT: usize = 64;

/// The keys of one journal, shared by its writer and its readers.
pub(super) struct JournalKeys {
    pub(super) ring: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<u32, Arc<DataKey>>>,
}

/// A key that seals, until its hour is over.
pub(super) struct HourKey {
    pub(super) number: u32,
    hour: i64,
    pub(super) key: Arc<DataKey>,
}

fn place(row: &[u8; 4]) -> Place<'_> {
    Place { table: "journal keys", purpose: "hour", row }
}

impl JournalKeys {
    pub(super) fn new(ring: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Self {
        Self { ring, clock, known: Mutex::default() }
    }

    fn learn(&self, number: u32, key: DataKey) -> Arc<DataKey> {
        let key = Arc::new(key);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.pop_first();
        }
        known.insert(number, Arc::clone(&key));
        key
    }

    /// The key of this hour: the one at hand while its hour lasts, else a new one, which is on disk before it is used.
    pub(super) async fn to_seal(
        &self,
        connection: &mut SqliteConnection,
        at_hand: Option<HourKey>,
    ) -> Result<HourKey, StoreError> {
        let now = self.clock.now();
        if let Some(key) = at_hand.filter(|key| key.hour == now.hour()) {
            return Ok(key);
        }
        let newest = file::newest_key(connection).await?;
        // A process that has just started goes on with the key of the one before.
        if let Some((number, made)) = newest
            && Timestamp::from_millis(made).hour() == now.hour()
        {
            return Ok(HourKey { number, hour: now.hour(), key: self.to_open(connection, number).await? });
        }
        let number = newest.map_or(0, |(number, _)| number) + 1;
        let (key, wrapped) = self.ring.own().new_key(now, place(&number.to_be_bytes()))?;
        file::insert_key(connection, number, now.as_millis(), &wrapped).await?;
        Ok(HourKey { number, hour: now.hour(), key: self.learn(number, key) })
    }

    /// The key of this number.
    pub(super) async fn to_open(
        &self,
        connection: &mut SqliteConnection,
        number: u32,
    ) -> Result<Arc<DataKey>, StoreError> {
        if let Some(key) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Arc::clone(key));
        }
        let damaged = |what: &str| {
            StoreError::Unusable(format!(
                "key {number} of {} {what}: put a whole copy of the file in its place if there is one, or start once with --accept-gap to go \
                 on without what it sealed",
                file::NAME
            ))
        };
        let wrapped = file::key(connection, number).await?.ok_or_else(|| damaged("is missing"))?;
        let opened = self.ring.own().open_key(place(&number.to_be_bytes()), &wrapped);
        let key = opened.map_err(|_| damaged("is damaged, or is of another installation"))?;
        Ok(self.learn(number, key))
    }
}
