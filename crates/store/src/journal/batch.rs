//! The form of one batch: records behind their lengths, zstd level 1, sealed at its offset behind its predecessor's tag.
//! Before the sealed bytes stands the number (4 bytes, big endian) of the key that sealed them.
//!
//! The tag of the batch before is part of the place, so a batch opens only behind the one that it was written behind:
//! a removed, exchanged or older batch breaks the chain.

use std::io;

use bytes::{BufMut as _, Bytes};
use convizit_keys::{DataKey, Place, TAG_BYTES, tag_of};

use crate::StoreError;

/// The tag at the end of a sealed batch; of the beginning of a journal, zeros.
pub(crate) type Tag = [u8; TAG_BYTES];

/// Before compression: a batch of records is at most 128 KiB or one record, so this is far above what is ever written.
const MAX_BYTES: usize = 64 << 20;
/// First byte of the sealed text.
const FORM: u8 = 1;
/// Bytes before the sealed ones.
const HEAD: usize = 4;

/// One end of the chain: an offset and the tag of the batch there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
}

/// A batch as it is written.
pub(super) struct Sealed {
    pub(super) link: Link,
    /// Bytes of its records.
    pub(super) plain_bytes: usize,
    pub(super) bytes: Vec<u8>,
}

/// Makes batches; keeps compressor and buffer, which are costlier to make than to use.
pub(super) struct Sealer {
    compressor: zstd::bulk::Compressor<'static>,
    framed: Vec<u8>,
}

impl Sealer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(1)?, framed: Vec::new() })
    }

    /// Seals records as the batch after `previous`.
    pub(super) fn seal<'a>(
        &mut self,
        (number, key): (u32, &DataKey),
        previous: Link,
        records: impl Iterator<Item = &'a Bytes>,
    ) -> Result<Sealed, StoreError> {
        let too_large = || StoreError::Invalid(format!("a journal batch has at most {MAX_BYTES} bytes"));
        self.framed.clear();
        let mut plain_bytes = 0;
        for record in records {
            self.framed.put_u32_le(u32::try_from(record.len()).map_err(|_| too_large())?);
            self.framed.put_slice(record);
            plain_bytes += record.len();
        }
        if self.framed.len() > MAX_BYTES {
            return Err(too_large());
        }
        let mut text = vec![FORM];
        text.put_u32_le(u32::try_from(self.framed.len()).map_err(|_| too_large())?);
        let compressed = self
            .compressor
            .compress(&self.framed)
            .map_err(|error| StoreError::Database { action: "compress a journal batch", problem: error.to_string() })?;
        text.extend_from_slice(&compressed);
        let offset = previous.offset + 1;
        let sealed = at(offset, previous.tag, number, |place| key.seal(place, &text))?;
        let tag = tag_of(&sealed).unwrap_or_default();
        let bytes = [number.to_be_bytes().as_slice(), &sealed].concat();
        Ok(Sealed { link: Link { offset, tag }, plain_bytes, bytes })
    }
}

/// The records of the batch after `previous`, or why it cannot be the one that was written there.
pub(super) fn open(key: &DataKey, previous: Link, bytes: &[u8]) -> Result<(Link, Vec<Bytes>), StoreError> {
    let offset = previous.offset + 1;
    let damaged = || damaged(offset);
    let number = key_of(bytes).ok_or_else(damaged)?;
    let sealed = bytes.get(HEAD..).unwrap_or_default();
    let text = at(offset, previous.tag, number, |place| key.open(place, sealed)).map_err(|_| damaged())?;
    let records = unframe(&text).ok_or_else(damaged)?;
    let tag = tag_of(sealed).ok_or_else(damaged)?;
    Ok((Link { offset, tag }, records))
}

/// What to say of a batch that cannot be the one that was written there.
pub(super) fn damaged(offset: u64) -> StoreError {
    StoreError::Unusable(format!(
        "journal batch {offset} is damaged, or is not the one written after batch {}: put a whole copy of journal.db in its \
         place if there is one, or start once with --accept-gap to go on without it",
        offset.saturating_sub(1)
    ))
}

/// The number of the key that sealed a batch.
pub(super) fn key_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|number| u32::from_be_bytes(*number))
}

fn at<T>(offset: u64, previous: Tag, number: u32, act: impl FnOnce(Place<'_>) -> T) -> T {
    let row = [offset.to_be_bytes().as_slice(), &previous, &number.to_be_bytes()].concat();
    act(Place { table: "journal", purpose: "batch", row: &row })
}

fn unframe(text: &[u8]) -> Option<Vec<Bytes>> {
    let (&form, rest) = text.split_first()?;
    let (length, compressed) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if form != FORM || length > MAX_BYTES {
        return None;
    }
    let mut framed = Bytes::from(zstd::bulk::decompress(compressed, length).ok()?);
    if framed.len() != length {
        return None;
    }
    let mut records = Vec::new();
    while !framed.is_empty() {
        let length = usize::try_from(u32::from_le_bytes(*framed.first_chunk()?)).ok()?;
        let _ = framed.split_to(4);
        if length > framed.len() {
            return None;
        }
        records.push(framed.split_to(length));
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_batch_opens_behind_its_predecessor_and_nowhere_else(
            offset in 0..u64::MAX / 2, tag: Tag, other: Tag, records: Vec<Vec<u8>>,
        ) {
            let key = DataKey::ephemeral(0).unwrap();
            let previous = Link { offset, tag };
            let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
            let sealed = Sealer::new().unwrap().seal((7, &key), previous, records.iter()).unwrap();
            let (link, opened) = open(&key, previous, &sealed.bytes).unwrap();
            prop_assert_eq!(link, sealed.link);
            prop_assert_eq!(opened, records);
            prop_assert_eq!(key_of(&sealed.bytes), Some(7));
            let elsewhere = Link { offset: offset + 1, tag };
            prop_assert!(open(&key, elsewhere, &sealed.bytes).is_err());
            prop_assume!(other != tag);
            let behind_another = Link { offset, tag: other };
            prop_assert!(open(&key, behind_another, &sealed.bytes).is_err());
        }

        #[test]
        fn any_bytes_in_an_authentic_envelope_are_refused_without_panic(text: Vec<u8>, form in prop::bool::ANY) {
            let text = if form { [&[FORM], text.as_slice()].concat() } else { text };
            let _ = unframe(&text);
        }
    }
}
