//! The forms of what lies in a backup: packs of rows, the manifest that names them, and the head of every file.
//!
//! A file begins with a magic, its format's number, what it is and the installation's id, in clear, so that what a newer
//! program or another installation made is refused with a sentence that says so. The rest is compressed and sealed with the
//! installation's own key, bound to its name. Rows are postcard's: small, and the same bytes for the same rows.

use bytes::Bytes;
use convizit_keys::{KeyRing, Place};
use convizit_model::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

const MAGIC: &[u8; 8] = b"convizit";
/// The format that this build writes, and the newest that it reads.
pub(super) const FORMAT: u16 = 1;
/// Magic, format, what it is, installation.
const HEAD: usize = 8 + 2 + 1 + 16;
/// Bytes of rows from which on a pack is full.
pub(super) const PACK_BYTES: usize = 8 << 20;
/// Bytes that a file may have when it is opened: a pack is full with its last row, which is a frame at most.
const MOST: usize = 256 << 20;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Pack = 1,
    Manifest = 2,
    Ledger = 3,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Bytes),
}

impl Cell {
    pub(super) fn int(&self) -> i64 {
        if let Self::Int(number) = self { *number } else { 0 }
    }

    pub(super) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if let Self::Bytes(bytes) = self { bytes } else { &[] }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) => 8,
            Self::Text(text) => text.len() + 4,
            Self::Bytes(bytes) => bytes.len() + 4,
        }
    }
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pack {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Pack {
    /// Where a column stands.
    pub(super) fn at(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }
}

/// A pack's name: a keyed hash of its plain content.
pub(super) type PackId = [u8; 32];

/// A pack that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackRef {
    pub(super) id: PackId,
    pub(super) rows: u64,
    /// Bytes of its file.
    pub(super) bytes: u64,
}

/// A part of a table that is read again only when its fingerprint has changed: a day's frames of a project; or a whole table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) table: String,
    pub(super) project: i64,
    pub(super) day: i64,
    /// Empty: always read.
    pub(super) fingerprint: Vec<i64>,
    pub(super) packs: Vec<PackRef>,
    /// Rows and events by project, 0 for what belongs to none.
    pub(super) counts: Vec<(i64, u64, i64)>,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// When it was begun, in milliseconds since 1970.
    pub(super) made: i64,
    /// The program that made it.
    pub(super) program: String,
    /// The offset that the snapshot's worker stood at.
    pub(super) journal_offset: u64,
    /// Sequence of the ledger copy that was written after the snapshot.
    pub(super) ledger: u64,
    /// Number of the newest erasure in the snapshot.
    pub(super) erasure: i64,
    /// Erasures up to this number were carried out in every frame, and forgotten by the worker.
    pub(super) erased: i64,
    pub(super) parts: Vec<Part>,
}

impl Manifest {
    pub(super) fn made(&self) -> Timestamp {
        Timestamp::from_millis(self.made)
    }

    pub(super) fn packs(&self) -> impl Iterator<Item = &PackRef> {
        self.parts.iter().flat_map(|part| &part.packs)
    }
}

/// The head of a file.
pub(super) fn head(what: What, ring: &KeyRing) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&FORMAT.to_be_bytes());
    head.push(what as u8);
    head.extend_from_slice(&installation_of(ring));
    head
}

/// An installation's id as bytes.
pub(super) fn installation_of(ring: &KeyRing) -> [u8; 16] {
    // The ring made the text of 16 bytes.
    u128::from_str_radix(&ring.installation_text(), 16).unwrap_or(0).to_be_bytes()
}

/// The installation that a file names, and what stands behind its head.
pub(super) fn behead<'a>(what: What, name: &str, bytes: &'a [u8]) -> Result<([u8; 16], &'a [u8]), StoreError> {
    let parts = || {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (format, rest) = rest.split_first_chunk::<2>()?;
        let (kind, rest) = rest.split_first()?;
        let (installation, rest) = rest.split_first_chunk::<16>()?;
        (magic == MAGIC).then_some((u16::from_be_bytes(*format), *kind, *installation, rest))
    };
    let (format, kind, installation, rest) = parts().ok_or_else(|| damaged(name))?;
    if format > FORMAT {
        return Err(StoreError::Unusable(format!(
            "{name} was made by a newer convizit (format {format}, this one reads up to {FORMAT}): restore it with that version"
        )));
    }
    if format == 0 || kind != what as u8 {
        return Err(damaged(name));
    }
    Ok((installation, rest))
}

/// What to say of a file that cannot be what was written there.
pub(super) fn damaged(name: &str) -> StoreError {
    StoreError::Unusable(if name.starts_with("ledger-") {
        format!(
            "{name}, a copy of keys and erasures, is damaged or cut, and the other copy is no better: bring a whole one, or have \
             the installation write it anew with convizit backup where it still runs"
        )
    } else {
        format!("{name} is damaged, cut or not of this backup: take another backup")
    })
}

fn place<'a>(what: What, row: &'a [u8]) -> Place<'a> {
    let purpose = match what {
        What::Pack => "pack",
        What::Manifest => "manifest",
        What::Ledger => "ledger",
    };
    Place { table: "backup", purpose, row }
}

/// A file of plain bytes: compressed and sealed behind its head, bound to its row.
pub(super) fn seal(
    ring: &KeyRing,
    now: Timestamp,
    (what, row): (What, &[u8]),
    plain: &[u8],
) -> Result<Vec<u8>, StoreError> {
    // Quick, since most of it is sealed already and grows no smaller.
    let packed = zstd::bulk::compress(plain, 1)
        .map_err(|error| StoreError::Database { action: "compress a pack", problem: error.to_string() })?;
    let sealed = ring.own().seal(now, place(what, row), &packed)?;
    Ok([head(what, ring).as_slice(), &sealed].concat())
}

/// Refuses a place where another installation keeps this file: whoever wrote over it would leave that one without.
pub(super) fn refuse_foreign(
    ring: &KeyRing,
    what: What,
    (name, place): (&str, &str),
    bytes: &[u8],
) -> Result<(), StoreError> {
    match behead(what, name, bytes) {
        Ok((installation, _)) if installation != installation_of(ring) => Err(StoreError::Unusable(format!(
            "{place} holds the backups of another installation ({name}), and nothing was written there: give this one a \
             place of its own, or look whether `data` names the right folder"
        ))),
        // What is damaged is judged by whoever needs it.
        _ => Ok(()),
    }
}

/// The plain bytes of a file.
pub(super) fn open(
    ring: &KeyRing,
    name: &str,
    (what, row): (What, &[u8]),
    bytes: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let (installation, sealed) = behead(what, name, bytes)?;
    if installation != installation_of(ring) {
        return Err(StoreError::Unusable(format!(
            "{name} is of another installation: name the place of this one's backups"
        )));
    }
    let packed = ring.own().open(place(what, row), sealed).map_err(|_| damaged(name))?;
    // The frame says how much it holds; what was sealed here is believed, within a bound.
    zstd::bulk::decompress(
        &packed,
        zstd::zstd_safe::get_frame_content_size(&packed)
            .ok()
            .flatten()
            .map_or(MOST, |size| usize::try_from(size).unwrap_or(MOST).min(MOST)),
    )
    .map_err(|_| damaged(name))
}

/// Something as postcard.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value)
        .map_err(|error| StoreError::Database { action: "encode a backup", problem: error.to_string() })
}

/// What `encode` made.
pub(super) fn decode<T: DeserializeOwned>(name: &str, plain: &[u8]) -> Result<T, StoreError> {
    match postcard::take_from_bytes(plain) {
        Ok((value, [])) => Ok(value),
        _ => Err(damaged(name)),
    }
}

/// The id of a pack of these plain bytes.
pub(super) fn id_of(ring: &KeyRing, plain: &[u8]) -> PackId {
    ring.mac("backup pack", plain)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Where a pack lies.
pub(super) fn pack_name(id: &PackId) -> String {
    let hex = hex(id);
    format!("packs/{}/{hex}", hex.get(..2).unwrap_or_default())
}

/// A pack out of its file, checked against its name and the number of its rows.
pub(super) fn open_pack(ring: &KeyRing, of: &PackRef, bytes: &[u8]) -> Result<Pack, StoreError> {
    let name = pack_name(&of.id);
    let plain = open(ring, &name, (What::Pack, &of.id), bytes)?;
    if id_of(ring, &plain) != of.id {
        return Err(damaged(&name));
    }
    let pack: Pack = decode(&name, &plain)?;
    if pack.rows.len() as u64 != of.rows {
        return Err(damaged(&name));
    }
    Ok(pack)
}

/// A manifest out of its file.
pub(super) fn open_manifest(ring: &KeyRing, name: &str, bytes: &[u8]) -> Result<Manifest, StoreError> {
    decode(name, &open(ring, name, (What::Manifest, name.as_bytes()), bytes)?)
}
