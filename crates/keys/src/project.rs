//! A project's keys: they seal what outlives a day, and wrap the keys of days. The installation's own are those of project 0.
//!
//! A version seals for 90 days at most and opens for as long as it is kept. What it seals itself is sealed under a key
//! derived for the day (HKDF-SHA-256, RFC 5869), so that no key comes near the bound of random nonces.
//! Form: version (4 bytes, big endian) ‖ day (4) ‖ nonce (12) ‖ ciphertext ‖ tag (16).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::AES_256_GCM;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use convizit_model::Timestamp;
use convizit_model::time::DAY_MILLIS;

use crate::envelope::{DataKey, Owner, Place};
use crate::random::random_bytes;
use crate::{KeyError, Secret};

const SALT: &[u8] = b"convizit 2 project";
/// Days for which a version seals.
pub const PROJECT_KEY_DAYS: i64 = 90;
/// Bytes before the nonce: version and day.
const HEAD: usize = 8;
/// Derived keys kept per project, about 1 KiB each: today's, and a few of the rows that are read.
const DERIVED: usize = 8;

/// The opened versions of a project's key.
pub struct ProjectKeys {
    owner: Owner,
    /// Newest first.
    versions: Vec<Version>,
    derived: Mutex<Vec<([u8; HEAD], Arc<DataKey>)>>,
}

struct Version {
    number: u32,
    secret: Prk,
    made: Timestamp,
    from: Timestamp,
}

/// A version as it was unwrapped.
pub struct ProjectKey {
    /// Counted from 1.
    pub number: u32,
    /// The key itself.
    pub secret: Secret,
    /// When it was made.
    pub made: Timestamp,
    /// From when on it seals: later than `made`, so that every process knows it by then.
    pub from: Timestamp,
}

/// Says the versions, never a key.
impl fmt::Debug for ProjectKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<u32> = self.versions.iter().map(|version| version.number).collect();
        f.debug_struct("ProjectKeys")
            .field("project", &self.owner.project)
            .field("versions", &versions)
            .finish_non_exhaustive()
    }
}

impl ProjectKeys {
    pub(crate) fn new(owner: Owner, keys: Vec<ProjectKey>) -> Self {
        let mut versions: Vec<Version> = keys
            .into_iter()
            .map(|key| Version {
                number: key.number,
                secret: Salt::new(HKDF_SHA256, SALT).extract(key.secret.as_slice()),
                made: key.made,
                from: key.from,
            })
            .collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        Self { owner, versions, derived: Mutex::default() }
    }

    /// The project's number; 0 for the installation itself.
    #[must_use]
    pub fn project(&self) -> i64 {
        self.owner.project
    }

    /// The newest version there is, whether it seals already or not, and when it was made.
    #[must_use]
    pub fn newest(&self) -> Option<(u32, Timestamp)> {
        self.versions.first().map(|version| (version.number, version.made))
    }

    /// The numbers of the versions that there are, the newest first.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.versions.iter().map(|version| version.number)
    }

    /// The version that seals at this time.
    ///
    /// # Errors
    /// `Expired` when there is none that is young enough.
    pub fn sealing(&self, now: Timestamp) -> Result<u32, KeyError> {
        self.sealing_version(now).map(|version| version.number)
    }

    fn sealing_version(&self, now: Timestamp) -> Result<&Version, KeyError> {
        let expired = || KeyError::Expired {
            key: format!("key of project number {}", self.owner.project),
            days: PROJECT_KEY_DAYS,
        };
        // The oldest has nothing before it, so it seals from the first moment, also behind a clock that was set back.
        let is_young = |version: &&Version| now.since(version.made) <= PROJECT_KEY_DAYS * DAY_MILLIS;
        // The newest, but for one that was made while the clock was set far back, and is too old for it now.
        let begun = self.versions.iter().filter(|version| version.from <= now).find(is_young);
        begun.or(self.versions.last().filter(is_young)).ok_or_else(expired)
    }

    /// Seals under the newest version: version (4) ‖ day (4) ‖ nonce (12) ‖ ciphertext ‖ tag (16).
    ///
    /// # Errors
    /// `Expired` when no version is young enough, and when there are no random bytes.
    pub fn seal(&self, now: Timestamp, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.seal_under(self.sealing_version(now)?, now, place, plain)
    }

    /// As `seal`, under the newest version, though it may not be known everywhere yet: the ones before it are about to go.
    ///
    /// # Errors
    /// As `seal`.
    pub fn seal_newest(&self, now: Timestamp, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let newest = self.versions.first().ok_or(KeyError::Unknown { project: self.owner.project, version: 0 })?;
        self.seal_under(newest, now, place, plain)
    }

    fn seal_under(
        &self,
        version: &Version,
        now: Timestamp,
        place: Place<'_>,
        plain: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&version.number.to_be_bytes());
        // Days since 1970 fit into 4 bytes for ten million years.
        head[4..].copy_from_slice(&u32::try_from(now.day()).unwrap_or(0).to_be_bytes());
        self.derive(version, head)?.seal_behind(&head, place, plain)
    }

    /// Opens what `seal` made for the same place.
    ///
    /// # Errors
    /// `Unknown` when it was sealed under a version that is not here, `Open` when it was changed or moved.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let refused = || KeyError::Open { place: place.to_string(), project: self.owner.project };
        let (head, rest) = sealed.split_first_chunk::<HEAD>().ok_or_else(refused)?;
        let number = version_of(sealed).ok_or_else(refused)?;
        let version = self
            .versions
            .iter()
            .find(|version| version.number == number)
            .ok_or(KeyError::Unknown { project: self.owner.project, version: number })?;
        self.derive(version, *head)?.open_behind(head, place, rest)
    }

    /// A new random key and its sealed form, for the key of a day or an hour.
    ///
    /// # Errors
    /// As `seal`.
    pub fn new_key(&self, now: Timestamp, place: Place<'_>) -> Result<(DataKey, Vec<u8>), KeyError> {
        let secret = random_bytes()?;
        Ok((DataKey::of_secret(self.owner, &secret)?, self.seal(now, place, secret.as_slice())?))
    }

    /// The key that `new_key` or `rewrap` sealed.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_key(&self, place: Place<'_>, wrapped: &[u8]) -> Result<DataKey, KeyError> {
        DataKey::of_secret(self.owner, &self.open_secret(place, wrapped)?)
    }

    /// The same key, wrapped under the newest version.
    ///
    /// # Errors
    /// As `open` and `seal`.
    pub fn rewrap(&self, now: Timestamp, place: Place<'_>, wrapped: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.seal(now, place, self.open_secret(place, wrapped)?.as_slice())
    }

    fn open_secret(&self, place: Place<'_>, wrapped: &[u8]) -> Result<Secret, KeyError> {
        let opened = zeroize::Zeroizing::new(self.open(place, wrapped)?);
        let mut secret = Secret::default();
        if opened.len() != secret.len() {
            return Err(KeyError::Open { place: place.to_string(), project: self.owner.project });
        }
        secret.copy_from_slice(&opened);
        Ok(secret)
    }

    fn derive(&self, version: &Version, head: [u8; HEAD]) -> Result<Arc<DataKey>, KeyError> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = derived.iter().find(|(of, _)| *of == head) {
            return Ok(Arc::clone(key));
        }
        let info: [&[u8]; 2] = [b"seal", &head];
        let key = version.secret.expand(&info, &AES_256_GCM).map_err(|_| KeyError::Primitive("deriving a key"))?;
        let key = Arc::new(DataKey::new(self.owner, key.into()));
        if derived.len() >= DERIVED {
            derived.remove(0);
        }
        derived.push((head, Arc::clone(&key)));
        Ok(key)
    }
}

/// The version of the project's key that sealed bytes name.
#[must_use]
pub fn version_of(sealed: &[u8]) -> Option<u32> {
    sealed.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
