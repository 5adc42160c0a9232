//! From cursor to destination: filter, map, batch, send, advance. The only room that dials an address that a user typed.

pub mod connectors;
mod destinations;
mod dial;
mod guard;
mod halves;
mod lanes;
mod mail;
mod mapping;
mod notices;
mod pace;
mod quoted;
mod replays;
mod resend;
mod retry;
mod route;
mod shaping;
mod supervise;
mod transform;
mod trial;
mod trouble;
mod why;

use convizit_model::{Channel, Destination, DestinationKind, Project, Shaping};
use convizit_store::Store;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use mail::{Mail, MailConfig, MailError, MailTls};
pub use mapping::MappingError;
pub use replays::{ReplayRules, replay_rules};
pub use shaping::ShapingError;
pub use transform::SUBCOMMAND as TRANSFORM_WORKER;
/// The process in which a transform runs: its subcommand, and what it does.
#[cfg(feature = "vrl")]
pub use transform::work as transform_worker;
pub use trial::{Preview, TEST_NAME, newest_for, preview, test, test_event};
pub use trouble::briefly;

use destinations::Sink;
use guard::Guard;

/// Whether destinations of this build may have a transform in VRL.
pub const HAS_TRANSFORMS: bool = cfg!(feature = "vrl");

/// What the operator allows.
#[derive(Debug, Clone, Default)]
pub struct DeliveryConfig {
    /// Networks beyond the public internet that destinations may reach: `127.0.0.0/8`, `10.0.0.0/8`. None by default.
    pub allow_networks: Vec<String>,
    /// Folders that file destinations may write in. None by default.
    pub allow_folders: Vec<std::path::PathBuf>,
    /// A folder with further manifests of connectors, `<id>.toml`.
    pub connectors: Option<std::path::PathBuf>,
    /// The program that is started, with `transform-worker`, for each destination with a transform. None by default: then there are none.
    pub transforms: Option<std::path::PathBuf>,
    /// Whether a `stdout` destination may write to this process's standard output.
    pub allow_stdout: bool,
    /// The mail server; without one nothing is sent by mail.
    pub mail: Option<MailConfig>,
    /// Where people find the console, for links in messages.
    pub console: String,
    /// Where Master Admins find what is of the whole installation, where that is another address; else empty.
    pub admin: String,
}

/// Serves every enabled destination, each in a task of its own, and sends notices to people, until `stop`; then finishes the batches at hand (at most 5 s).
///
/// # Errors
/// A configuration that cannot be used.
pub async fn run(store: Store, config: DeliveryConfig, stop: CancellationToken) -> Result<(), String> {
    let sending = notices::run(store.clone(), config.clone(), Guard::new(&config.allow_networks)?, stop.clone());
    let (served, ()) = tokio::join!(supervise::run(store, config, stop), sending);
    served
}

/// Checks the configuration: asked before anything is started.
///
/// # Errors
/// The setting that cannot be used.
pub fn check_config(config: &DeliveryConfig) -> Result<(), String> {
    Guard::new(&config.allow_networks)?;
    config.mail.as_ref().map_or(Ok(()), MailConfig::check)
}

/// Checks an address that notices are to be posted to, as far as it can be checked without posting.
///
/// # Errors
/// One sentence: what is wrong and what to change.
pub fn check_address(url: &str, config: &DeliveryConfig) -> Result<(), String> {
    Guard::new(&config.allow_networks)?.for_address(url).check_url(url).map(|_| ())
}

/// Sends a test message over one channel of a project, as a notice would go.
///
/// # Errors
/// One sentence: what is wrong.
pub fn try_channel<'a>(
    store: &'a Store,
    config: &'a DeliveryConfig,
    project: &'a Project,
    channel: Channel,
) -> BoxFuture<'a, Result<(), String>> {
    Box::pin(notices::try_channel(store, config, project, channel))
}

/// Checks what a destination of a kind is to get of its events.
///
/// # Errors
/// Which part is wrong, and what to write.
pub fn check_shaping(shaping: &Shaping, kind: &DestinationKind) -> Result<(), ShapingError> {
    shaping::Shape::compile(shaping)?;
    if !shaping.set.is_empty() && !matches!(kind, DestinationKind::Connector { .. }) {
        let what =
            "fields are made another way for connectors only: a webhook, a file and PostgreSQL get events as they are";
        return Err(ShapingError { field: "fields", what: what.to_owned() });
    }
    // One of the operator's folder is held to it when it is opened.
    if let DestinationKind::Connector { connector, .. } = kind
        && let Ok(connector) = connectors::find(connector, None)
        && let Some(protocol) = connector.manifest.protocol
    {
        let fields = shaping.set.keys().map(String::as_str);
        destinations::native::check_fields(protocol, fields).map_err(|what| ShapingError { field: "fields", what })?;
    }
    Ok(())
}

/// Checks a destination as far as it can be checked without sending events: address allowed, reachable, schema can be made.
/// Called before a destination is saved.
///
/// # Errors
/// One sentence: what is wrong and what to change.
pub fn check<'a>(
    destination: &'a Destination,
    secret: Option<&'a str>,
    config: &'a DeliveryConfig,
) -> BoxFuture<'a, Result<(), String>> {
    // Boxed, here and below: who awaits it would have the compiler look through all that speaks to any system, for minutes.
    Box::pin(checked(destination, secret, config))
}

async fn checked(destination: &Destination, secret: Option<&str>, config: &DeliveryConfig) -> Result<(), String> {
    let guard = Guard::new(&config.allow_networks)?;
    check_shaping(&destination.shaping, &destination.kind)?;
    let mut sink = Sink::open(destination, secret, config, &guard).await.map_err(|error| error.to_string())?;
    match &destination.kind {
        DestinationKind::Webhook { url } => guard.for_address(url).reach(url).await?,
        // An address that a person typed; those of manifests are right.
        DestinationKind::Connector { connector, region, settings } => {
            let connector = connectors::find(connector, config.connectors.as_deref())?;
            if let Some(address) = connector.typed_address(region.as_deref(), settings) {
                guard.for_address(&address).reach(&address).await?;
            }
        }
        DestinationKind::Postgres { .. } | DestinationKind::File { .. } | DestinationKind::Stdout { .. } => {}
    }
    sink.ready().await.map_err(|error| error.to_string())
}

/// Whether a saved destination answers now: as [`check`], but a file that a running delivery writes is left alone.
///
/// # Errors
/// One sentence: what is wrong.
pub async fn answers(destination: &Destination, secret: Option<&str>, config: &DeliveryConfig) -> Result<(), String> {
    match &destination.kind {
        DestinationKind::File { path } => destinations::file_allowed(path.as_ref(), &config.allow_folders),
        _ => check(destination, secret, config).await,
    }
}

/// A new secret with which a webhook's batches are signed, as Standard Webhooks have it.
///
/// # Errors
/// No random bytes.
pub fn new_webhook_secret() -> Result<String, String> {
    convizit_keys::webhook_secret().map_err(|error| error.to_string())
}
