//! Key providers: where the key-encryption key lives. It wraps and unwraps other keys there, and never leaves.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use convizit_model::Timestamp;
use serde::Deserialize;

use crate::{KeyError, Secret};

#[cfg(feature = "aws-kms")]
mod aws_kms;
mod file;
#[cfg(any(feature = "aws-kms", feature = "vault-transit"))]
mod https;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod private_file;
#[cfg(feature = "vault-transit")]
mod vault_transit;

pub use private_file::read_secret_file;

/// Days for which a version of a key-encryption key wraps.
pub const KEK_DAYS: i64 = 365;

/// What a provider does later: boxed, so that the store can hold any provider.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// What a wrapped key belongs to: bound into its wrapping, so that one that was moved elsewhere does not unwrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The installation's id.
    pub installation: [u8; 16],
    /// `root` or `project`.
    pub purpose: &'static str,
    /// The project's number; 0 for the installation itself.
    pub project: i64,
    /// The version of the wrapped key.
    pub version: u32,
}

/// The text that is bound as associated data, or as a cloud's encryption context.
impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("convizit/")?;
        for byte in self.installation {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "/{}/{}/{}", self.purpose, self.project, self.version)
    }
}

/// A wrapped key, and what wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Id of the version of the key-encryption key.
    pub kek: String,
    /// The wrapped bytes.
    pub bytes: Vec<u8>,
}

/// A version of a key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kek {
    /// Its id, unique among all that the provider has: `file:5f0c…`, a cloud's resource name.
    pub id: String,
    /// When it was made, where the provider tells.
    pub made: Option<Timestamp>,
}

/// Where the key-encryption key lives.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// `file`, `pkcs11`, `aws-kms`, `vault-transit`.
    fn name(&self) -> &'static str;

    /// All versions that there are, the one that wraps now first; none before the first `rotate`.
    ///
    /// # Errors
    /// When the provider cannot be reached or trusted; it says what to do.
    fn versions(&self) -> Later<'_, Vec<Kek>>;

    /// Wraps a key under the newest version.
    ///
    /// # Errors
    /// As `versions`.
    fn wrap<'a>(&'a self, binding: &'a Binding, secret: &'a Secret) -> Later<'a, Wrapped>;

    /// Unwraps a key.
    ///
    /// # Errors
    /// `Unwrap` when its version is gone or the wrapping was changed or moved; else as `versions`.
    fn unwrap<'a>(&'a self, binding: &'a Binding, wrapped: &'a Wrapped) -> Later<'a, Secret>;

    /// Makes a new version, which wraps from now on; the first one when there is none.
    ///
    /// # Errors
    /// As `versions`; where versions are made elsewhere, it says where.
    fn rotate(&self, now: Timestamp) -> Later<'_, Kek>;

    /// Destroys a version that nothing is wrapped by any more.
    ///
    /// # Errors
    /// As `versions`; where versions are destroyed elsewhere, it says where.
    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()>;

    /// Whether it can destroy a single version: `destroy` never does where not.
    fn destroys(&self) -> bool {
        true
    }

    /// The id of the installation that the keys are tied to, in hexadecimal digits; `None` where there is none, or no note of it is kept.
    ///
    /// # Errors
    /// As `versions`.
    fn owner(&self) -> Later<'_, Option<String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Ties the keys to an installation, where the provider can note that: two on the same keys would destroy each other's.
    ///
    /// # Errors
    /// When they are of another installation; else as `versions`.
    fn claim<'a>(&'a self, installation: &'a [u8; 16]) -> Later<'a, ()> {
        let _ = installation;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Which provider, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProviderConfig {
    /// A file that only its owner reads.
    File {
        /// Where it is; empty for where the program puts it.
        #[serde(default)]
        path: PathBuf,
    },
    /// A token behind PKCS#11: a hardware security module, or SoftHSM.
    Pkcs11 {
        /// Path of the vendor's module, a shared library.
        module: PathBuf,
        /// Label of the token.
        token: String,
        /// File of the user's PIN, which only its owner may read.
        pin_file: PathBuf,
        /// What the labels of the keys begin with.
        #[serde(default = "default_label")]
        label: String,
    },
    /// A symmetric key of AWS KMS.
    AwsKms {
        /// Id, ARN or alias (`alias/convizit`) of the key.
        key: String,
        /// The key's region.
        region: String,
        /// Another address of the service: of a private endpoint, or of a stand-in on this machine.
        endpoint: Option<String>,
    },
    /// The transit engine of HashiCorp Vault or OpenBao.
    VaultTransit {
        /// Address of the server: `https://vault.example:8200`.
        address: String,
        /// Where the engine is mounted.
        #[serde(default = "default_mount")]
        mount: String,
        /// Name of the key.
        key: String,
        /// File of the token, which only its owner may read; read anew for each request, so that an agent can renew it.
        token_file: PathBuf,
        /// The namespace, where there are any.
        namespace: Option<String>,
    },
}

fn default_label() -> String {
    "convizit".to_owned()
}

fn default_mount() -> String {
    "transit".to_owned()
}

/// The provider of a configuration. Nothing is made yet.
///
/// The first call into a token's module may take a second: not for a thread that others wait for.
///
/// # Errors
/// When the configuration names something that is not there, or a provider that this program was built without.
pub fn open_provider(config: &ProviderConfig) -> Result<Arc<dyn KeyProvider>, KeyError> {
    Ok(match config {
        ProviderConfig::File { path } => Arc::new(file::FileProvider::new(path.clone())),
        #[cfg(feature = "pkcs11")]
        ProviderConfig::Pkcs11 { module, token, pin_file, label } => {
            Arc::new(pkcs11::Pkcs11Provider::open(module, token, pin_file, label)?)
        }
        #[cfg(feature = "aws-kms")]
        ProviderConfig::AwsKms { key, region, endpoint } => {
            Arc::new(aws_kms::AwsKms::open(key, region, endpoint.as_deref())?)
        }
        #[cfg(feature = "vault-transit")]
        ProviderConfig::VaultTransit { address, mount, key, token_file, namespace } => {
            Arc::new(vault_transit::VaultTransit::open(address, mount, key, token_file, namespace.as_deref())?)
        }
        #[cfg(not(feature = "pkcs11"))]
        ProviderConfig::Pkcs11 { .. } => return Err(left_out("pkcs11")),
        #[cfg(not(feature = "aws-kms"))]
        ProviderConfig::AwsKms { .. } => return Err(left_out("aws-kms")),
        #[cfg(not(feature = "vault-transit"))]
        ProviderConfig::VaultTransit { .. } => return Err(left_out("vault-transit")),
    })
}

#[cfg(not(all(feature = "pkcs11", feature = "aws-kms", feature = "vault-transit")))]
fn left_out(name: &str) -> KeyError {
    let problem = format!("this program was built without it: build with --features convizit-keys/{name}");
    KeyError::Provider { provider: name.to_owned(), problem }
}
