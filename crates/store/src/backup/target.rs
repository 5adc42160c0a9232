//! Where backups go: a folder, or a store that speaks S3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};

use crate::disk;
use crate::error::StoreError;

/// How long a store that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Environment variables that name another address of S3, the first that is set.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// A place of files by name.
#[derive(Clone)]
pub(crate) struct Target {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    folder: Option<PathBuf>,
    /// The place as a person named it.
    pub(super) shown: String,
}

impl Target {
    /// The place of this name: a folder, which is made when it is missing and `make` says so, or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// `Invalid` for a wrong address, `Database` when it cannot be made.
    pub(super) fn open(place: &str, make: bool) -> Result<Self, StoreError> {
        match place.strip_prefix("s3://") {
            Some(rest) => Self::s3(place, rest),
            None => Self::folder(place, make),
        }
    }

    fn folder(place: &str, make: bool) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let failed = |problem: String| StoreError::Database { action: "open the place of backups", problem };
        if make {
            let mut folder = std::fs::DirBuilder::new();
            let made = folder.recursive(true).mode(0o700).create(place);
            made.map_err(|error| failed(disk::io_in_words(Path::new(place), &error)))?;
        }
        if !Path::new(place).is_dir() {
            return Err(StoreError::Invalid(format!(
                "there is no folder {place}, where the backups should be: convizit backup makes the first one, or name their place with backup.to"
            )));
        }
        let store = LocalFileSystem::new_with_prefix(place).map_err(|error| failed(format!("{place}: {error}")))?;
        Ok(Self {
            store: Arc::new(store.with_fsync(true)),
            prefix: Key::default(),
            folder: Some(place.into()),
            shown: place.to_owned(),
        })
    }

    fn s3(place: &str, rest: &str) -> Result<Self, StoreError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let invalid = |problem: String| StoreError::Invalid(format!("{place}: {problem}"));
        let endpoint = ENDPOINTS.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_allow_http(false)
            .with_retry(RetryConfig { max_retries: 8, retry_timeout: PATIENCE, ..RetryConfig::default() });
        if let Some(endpoint) = endpoint {
            let plain = endpoint.starts_with("http://");
            if plain && !is_loopback(&endpoint) {
                return Err(invalid(format!(
                    "{endpoint} is plain HTTP, which is for this machine only: give an address of https"
                )));
            }
            builder = builder.with_endpoint(endpoint).with_allow_http(plain);
        }
        let store = builder.build().map_err(|error| invalid(error.to_string()))?;
        let prefix = Key::parse(prefix.trim_matches('/')).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { store: Arc::new(store), prefix, folder: None, shown: place.to_owned() })
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    fn failed(&self, name: &str, error: &object_store::Error) -> StoreError {
        let problem = match (&self.folder, system_error(error)) {
            (Some(folder), Some(error)) => disk::io_in_words(&folder.join(name), error),
            _ => format!("{}/{name}: {error}", self.shown),
        };
        StoreError::Database { action: "use the place of backups", problem }
    }

    /// Writes a file whole or not at all; on disk when this returns.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.store.put(&self.key(name), PutPayload::from_bytes(bytes)).await;
        put.map(|_| ()).map_err(|error| self.failed(name, &error))
    }

    /// Removes what a write that was cut has left of a file: it may hold what is to be nowhere any more.
    pub(super) fn remove_cut_writes(&self, name: &str) -> Result<(), StoreError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let failed = |error: std::io::Error| StoreError::Database {
            action: "remove what a cut write has left",
            problem: format!("{}: {error}", self.shown),
        };
        // `object_store` writes name#1, name#2 … and renames.
        let head = format!("{name}#");
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&head)) {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// A file's bytes; `None` when there is none.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        match self.store.get(&self.key(name)).await {
            Ok(found) => found.bytes().await.map(Some).map_err(|error| self.failed(name, &error)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    /// Names and sizes of all files below a folder.
    pub(super) async fn list(&self, folder: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        let key = self.key(folder);
        let mut files = self.store.list(Some(&key));
        let mut found = BTreeMap::new();
        let skip = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        while let Some(file) = files.try_next().await.map_err(|error| self.failed(folder, &error))? {
            found.insert(file.location.as_ref().get(skip..).unwrap_or_default().to_owned(), file.size);
        }
        Ok(found)
    }

    /// Deletes a file; one that is gone already is no error.
    pub(super) async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.store.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(name, &error)),
        }
    }
}

/// The system's own error below one of the library.
fn system_error(error: &object_store::Error) -> Option<&std::io::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

/// Whether an address is of this machine.
fn is_loopback(endpoint: &str) -> bool {
    let host = endpoint.trim_start_matches("http://").split(['/', '?']).next().unwrap_or_default();
    let host = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, system_error};

    #[test]
    fn the_systems_own_error_is_found_below_that_of_the_library() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
        assert_eq!(system_error(&error).map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
        assert!(
            system_error(&object_store::Error::NotImplemented { operation: "x".into(), implementer: "y".into() })
                .is_none()
        );
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for here in ["http://127.0.0.1:5000", "http://localhost", "http://[::1]:9/x", "http://127.9.9.9/"] {
            assert!(is_loopback(here), "{here}");
        }
        for away in ["http://10.0.0.1:5000", "http://localhost.example", "http://127.0.0.1@evil.example/", "http://s3"]
        {
            assert!(!is_loopback(away), "{away}");
        }
    }
}
