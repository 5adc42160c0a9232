//! Wiring: store, roles as tasks, one way to stop, and the order in which they end so that nothing queued is lost.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::Router;
use clap::ValueEnum;
use convizit_collector::CollectorConfig;
use convizit_console::ConsoleConfig;
use convizit_delivery::DeliveryConfig;
use convizit_keys::{ProviderConfig, open_provider};
use convizit_pipeline::{Countries, Tables};
use convizit_store::{Store, StoreConfig, StoreError, SystemClock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::{cli, daily, observe, os_user};

/// How long a role may take to end.
const ROLE_END: Duration = Duration::from_secs(15);
/// How long delivery and console wait for the installation that another role makes.
const TOGETHER: Duration = Duration::from_secs(5);
/// How long the last events may take to their destinations.
const LAST_DELIVERY: Duration = Duration::from_secs(3);
/// The lock that every process shares that runs on a data folder, whatever its role, and that whoever moves its databases away has alone.
const SHARED: &str = "serve.lock";

/// Which parts this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything.
    All,
    /// Only the collector.
    Collect,
    /// Only the worker.
    Work,
    /// Only delivery.
    Deliver,
    /// Only the console.
    Console,
}

impl Role {
    /// The roles that one process of a data folder has at a time, held by a lock.
    pub(crate) const HELD: [Self; 3] = [Self::Collect, Self::Work, Self::Deliver];

    fn is(self, wanted: Self) -> bool {
        self == Self::All || self == wanted
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Opens the store of a configuration. Where there is none, nothing is made: a folder that was mistyped must not become an
/// installation that looks as if everything were lost, and what one has lost must not look as if it had never been.
pub(crate) async fn open_store(config: &StoreConfig, keys: &ProviderConfig) -> Result<Store> {
    if !config.is_there() {
        bail!(
            "there is no installation in {}: name its folder with data in convizit.toml, with --config or with CONVIZIT_DATA; \
             convizit project add makes a new one, convizit restore brings one back from a backup",
            config.folder.display()
        );
    }
    os_user::refuse_root_of_another(&config.folder)?;
    open(&StoreConfig { makes: false, ..config.clone() }, keys).await
}

/// Opens the store of an installation that is to last, or makes it; whoever makes it is told of its key file, once.
pub(crate) async fn make_installation(
    config: &StoreConfig,
    keys: &ProviderConfig,
    tell: impl FnOnce(&str),
) -> Result<Store> {
    os_user::refuse_root_within_another(&config.folder)?;
    let file = match keys {
        ProviderConfig::File { path } if !path.exists() => Some(path),
        _ => None,
    };
    let store = make_store(config, keys).await?;
    if let Some(path) = file.filter(|path| path.exists()) {
        tell(&format!(
            "the key file {} was made: without it nothing that is stored can be opened, and no backup either, which does not hold it; keep a \
             copy of it apart from the data and from the backups",
            path.display()
        ));
    }
    Ok(store)
}

/// Opens the store of a configuration, or makes it.
pub(crate) async fn make_store(config: &StoreConfig, keys: &ProviderConfig) -> Result<Store> {
    os_user::refuse_root_of_another(&config.folder)?;
    refuse_keys_of_another(config, keys).await?;
    let of_keys = match keys {
        ProviderConfig::File { path } => path.parent(),
        _ => None,
    };
    for folder in [Some(config.folder.as_path()), of_keys].into_iter().flatten() {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    }
    open(config, keys).await
}

/// Refuses a new installation on the key file of another one, before anything is made that would be in the way of a restore.
async fn refuse_keys_of_another(config: &StoreConfig, keys: &ProviderConfig) -> Result<()> {
    // With PostgreSQL the database says whose it is.
    let ProviderConfig::File { path } = keys else { return Ok(()) };
    if config.database.is_some() {
        return Ok(());
    }
    // The file first: of two processes that start at once the other makes the databases, and then ties the keys to them.
    let owner = open_provider(keys)?.owner().await?;
    if owner.is_none() || config.is_there() {
        return Ok(());
    }
    bail!(
        "the key file {} is of an installation of which nothing is in {}, so nothing was made there: convizit restore brings it back from its \
         newest backup; where it lies elsewhere, name its folder with data; for a new installation name a key file of its own with path \
         below [keys]",
        path.display(),
        config.folder.display()
    )
}

async fn open(config: &StoreConfig, keys: &ProviderConfig) -> Result<Store> {
    let keys = keys.clone();
    let of_file = keys.clone();
    // A token's module may take its time.
    let provider = tokio::task::spawn_blocking(move || open_provider(&keys)).await??;
    let opened = Store::open(config.clone(), provider, Arc::new(SystemClock)).await;
    opened.map_err(|error| name_missing_keys(&of_file, error))
}

/// What went wrong without the key file, which the provider takes for one that holds no key, is said so.
pub(crate) fn name_missing_keys(keys: &ProviderConfig, error: StoreError) -> anyhow::Error {
    match (keys, &error) {
        (ProviderConfig::File { path }, StoreError::Keys(_)) if !path.exists() => anyhow!(
            "the key file {} is missing, without which nothing that is stored opens: bring it back from its copy, or name its place \
             with path below [keys] ({error})",
            path.display()
        ),
        _ => error.into(),
    }
}

/// What the roles need beside the store.
pub(crate) struct Parts {
    pub(crate) collector: Option<(TcpListener, CollectorConfig)>,
    pub(crate) tables: Option<Arc<Tables>>,
    pub(crate) worker: bool,
    /// Whether this process makes the daily backup.
    pub(crate) backups: bool,
    pub(crate) delivery: Option<DeliveryConfig>,
    /// The console's pages, which stand beside health and metrics, which every process has.
    pub(crate) pages: Option<ConsoleConfig>,
    /// Where the pages are; health and metrics, too, unless the operator has a listener of their own.
    pub(crate) console: TcpListener,
    /// Where health, metrics and the pages of the whole installation are then.
    pub(crate) operator: Option<TcpListener>,
}

/// `convizit serve`.
pub(crate) async fn serve(config: &Config, role: Role, accept_gap: bool) -> Result<()> {
    observe::start_logs(&config.log)?;
    observe::start_metrics()?;
    let is = |wanted| role.is(wanted);
    // Read and compiled beside the store's opening: a start is to be quick.
    let geo = config.geo.clone();
    let reading = is(Role::Collect).then(|| tokio::spawn(async move { tables(geo.as_deref()).await }));
    // One process of an installation makes the backups, and copies what the others do to keys and erasures.
    let backup = is(Role::Work).then(|| config.backup());
    let backs_up = backup.as_ref().is_some_and(|backup| backup.makes);
    let (settings, keys) =
        (StoreConfig { accept_gap, backup, upkeep: is(Role::Work), ..config.store() }, config.keys());
    // Before anything is opened: what is moved aside must be open nowhere.
    let mut shared = share(&settings)?;
    // What only reads has nothing to read in a new installation, but may have been started together with what makes one.
    let store = if is(Role::Collect) || is(Role::Work) {
        make_installation(&settings, &keys, |text| tracing::warn!("{text}")).await?
    } else {
        let begun = std::time::Instant::now();
        while !settings.is_whole() && begun.elapsed() < TOGETHER {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        open_store(&settings, &keys).await?
    };
    if shared.is_none() {
        // It was made only now.
        shared = share(&settings)?;
    }
    let (_shared, _alone) = (shared, alone(&config.data, role)?);
    let collector = if is(Role::Collect) {
        convizit_collector::check_tls(&config.collector()).await.map_err(|error| anyhow!("collector: {error}"))?;
        Some((bind(config.collector.listen, "collector.listen")?, config.collector()))
    } else {
        None
    };
    let tables = match reading {
        Some(reading) => Some(reading.await??),
        None => None,
    };
    let console = bind(config.console.listen, "console.listen")?;
    // A process without pages has nothing to keep apart.
    let admin = config.console.admin_listen.filter(|_| is(Role::Console));
    let operator = admin.map(|address| bind(address, "console.admin_listen")).transpose()?;
    for (name, listen, public) in [
        ("listen", Some(config.console.listen), &config.console.public),
        ("admin_listen", admin, &config.console.admin_public),
    ] {
        let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) else { continue };
        if public.as_deref().is_none_or(|public| public.starts_with("http://")) {
            let its = if name == "listen" { "public" } else { "admin_public" };
            tracing::warn!(%listen, "console.{name} can be reached from other machines by plain HTTP, and passwords travel over it: put a proxy that speaks HTTPS before it, and say its address in console.{its}");
        }
    }
    let at = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    tracing::info!(
        role = role.name(),
        collector = collector.as_ref().map(|(listener, _)| at(listener)),
        console = at(&console),
        operator = operator.as_ref().map(at),
        data = %config.data.display(),
        version = env!("CARGO_PKG_VERSION"),
        "convizit is ready"
    );
    let parts = Parts {
        collector,
        tables,
        worker: is(Role::Work),
        backups: backs_up,
        delivery: is(Role::Deliver).then(|| config.delivery()),
        pages: if is(Role::Console) {
            let countries = countries(config.geo.as_deref()).await?;
            Some(ConsoleConfig { countries: Some(countries), ..config.console() })
        } else {
            None
        },
        console,
        operator,
    };
    if parts.pages.is_some() && !store.has_master_admin().await? {
        let address = match &parts.operator {
            Some(operator) => config.admin_address(operator.local_addr()?),
            None => config.console_address(parts.console.local_addr()?),
        };
        // A secret: to whoever started the program, and never through the log's own writer.
        cli::say_error(&format!(
            "There is no account yet. This link makes the first one, the Master Admin, within 24 hours:\n\n  {address}/welcome/{}\n",
            store.first_link().await?
        ));
    }
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let behind = run(store, parts, stop).await?;
    tracing::info!("convizit has stopped; {}", last_words(behind.as_deref()));
    Ok(())
}

/// A lock file of a data folder, locked in this way; the system lets go of it when the process ends, however it ends. `None` where
/// another process is in the way.
fn lock(data: &Path, name: &str, how: impl FnOnce(&File) -> Result<(), TryLockError>) -> Result<Option<File>> {
    let path = data.join(name);
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    let file = opened.with_context(|| format!("{} cannot be opened", path.display()))?;
    match how(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
    }
}

/// Says, for as long as the file is held, that a process runs on this data folder. `None` where there is no installation yet: then
/// nothing is left in it.
pub(crate) fn share(config: &StoreConfig) -> Result<Option<File>> {
    let data = &config.folder;
    if !config.is_there() {
        return Ok(None);
    }
    os_user::refuse_root_of_another(data)?;
    lock(data, SHARED, File::try_lock_shared)?.map_or_else(|| Err(is_moved(data)), |file| Ok(Some(file)))
}

/// The same for a command: what it did and acknowledged would be moved away with the databases.
pub(crate) fn share_as_command(config: &StoreConfig) -> Result<Option<File>> {
    if !config.is_there() {
        return Ok(None);
    }
    os_user::refuse_root_of_another(&config.folder)?;
    match lock(&config.folder, SHARED, File::try_lock_shared) {
        Ok(None) => Err(is_moved(&config.folder)),
        Ok(file) => Ok(file),
        // Where nothing can be written, opening the databases says why.
        Err(_) => Ok(None),
    }
}

fn is_moved(data: &Path) -> anyhow::Error {
    anyhow!(
        "convizit restore --move-aside is moving the databases of {} away: wait until it has ended, and start again",
        data.display()
    )
}

/// Has a data folder alone, so that its databases can be moved away: what runs has them open, and would go on writing into them
/// wherever they are. `None` where there is no installation.
pub(crate) fn have_alone(config: &StoreConfig) -> Result<Option<File>> {
    let data = &config.folder;
    if !config.is_there() {
        return Ok(None);
    }
    match lock(data, SHARED, File::try_lock)? {
        Some(file) => Ok(Some(file)),
        None => {
            // A console alone holds nothing else, nor does a command.
            let role = Role::HELD.into_iter().find(|role| runs(data, *role));
            let who = role.map_or_else(
                || "a console, or another command of convizit,".to_owned(),
                |role| format!("a convizit with the role {}", role.name()),
            );
            bail!("{who} runs on {}: end it first, since its databases are to be moved aside", data.display())
        }
    }
}

/// Holds the roles of a data folder for this process: a second collector could only answer 503, a second delivery would
/// send every event twice. The system lets go of them when the process ends, however it ends.
pub(crate) fn alone(data: &Path, role: Role) -> Result<Vec<File>> {
    let hold = |name: String| {
        lock(data, &format!("{name}.lock"), File::try_lock)?.with_context(|| {
            format!(
                "another convizit already runs the role {name} on the data folder {}: stop it first, or give this one a folder of its own",
                data.display()
            )
        })
    };
    Role::HELD.into_iter().filter(|one| role.is(*one)).map(|one| hold(one.name())).collect()
}

/// Whether a process runs this role on the data folder; makes nothing.
pub(crate) fn runs(data: &Path, role: Role) -> bool {
    File::open(data.join(format!("{}.lock", role.name())))
        .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The look-up tables, read and compiled on a thread of their own.
pub(crate) async fn tables(geo: Option<&Path>) -> Result<Arc<Tables>> {
    let geo = geo.map(Path::to_owned);
    tokio::task::spawn_blocking(move || {
        let tables = Tables::vendored().map_err(|error| anyhow!(error))?;
        let tables = match geo {
            None => tables,
            Some(path) => {
                let bytes = std::fs::read(&path).with_context(|| format!("geo = {} cannot be read", path.display()))?;
                tables.with_geo(bytes).map_err(|error| anyhow!("geo = {}: {error}", path.display()))?
            }
        };
        Ok(Arc::new(tables))
    })
    .await?
}

/// The countries of those who sign in, by the collector's table.
async fn countries(geo: Option<&Path>) -> Result<Countries> {
    let Some(path) = geo else { return Countries::vendored().map_err(|error| anyhow!(error)) };
    let bytes = tokio::fs::read(path).await.with_context(|| format!("geo = {} cannot be read", path.display()))?;
    Countries::given(bytes).map_err(|error| anyhow!("geo = {}: {error}", path.display()))
}

/// Connections that wait to be taken: the usual 128 are soon overrun by a crowd that comes at once.
const BACKLOG: i32 = 4096;

fn listen(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // As the standard library does: a start right after an end must not wait for old connections.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

pub(crate) fn bind(address: std::net::SocketAddr, setting: &str) -> Result<TcpListener> {
    listen(address).map_err(|error| {
        let what = match error.kind() {
            ErrorKind::AddrInUse => "is busy: end what listens there, or set another port",
            ErrorKind::PermissionDenied => {
                "needs a right that this user has not: ports below 1024 want CAP_NET_BIND_SERVICE"
            }
            ErrorKind::AddrNotAvailable => "is no address of this machine",
            _ => "cannot be listened on",
        };
        anyhow!("{setting} = {address} {what} ({error})")
    })
}

/// A role's task, and what tells it to stop.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What ended a role before it was told to.
type Failure = Arc<Mutex<Option<String>>>;

fn start(
    name: &'static str,
    all: &CancellationToken,
    failure: &Failure,
    role: impl FnOnce(CancellationToken) -> BoxFuture,
) -> Running {
    let stop = CancellationToken::new();
    let running = role(stop.clone());
    let (all, failure) = (all.clone(), failure.clone());
    let task = tokio::spawn(async move {
        // A task of its own, so that a panic is an error here.
        let ended = match tokio::spawn(running).await {
            Ok(Ok(())) if all.is_cancelled() => return,
            Ok(Ok(())) => "ended by itself".to_owned(),
            Ok(Err(error)) => error,
            Err(_) => "ended in a panic".to_owned(),
        };
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!("{name}: {ended}"));
        all.cancel();
    });
    Running { stop, task }
}

type BoxFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Runs the roles until `stop`, or until one of them fails. They end in the order of the flow, each after the one before it
/// has left its last work: collector, worker, delivery, console. Returns which destinations are behind then,
/// where this process delivers and the store can say it.
pub(crate) async fn run(store: Store, parts: Parts, stop: CancellationToken) -> Result<Option<Vec<(String, i64)>>> {
    let failure: Failure = Arc::default();
    let mut roles = Vec::new();
    if let Some((listener, config)) = parts.collector {
        let Some(tables) = parts.tables else { bail!("the collector has no tables") };
        let store = store.clone();
        roles.push(start("collector", &stop, &failure, |stop| {
            Box::pin(convizit_collector::serve(listener, config, store, tables, stop))
        }));
    }
    if parts.worker {
        let store = store.clone();
        roles.push(start("worker", &stop, &failure, |stop| Box::pin(convizit_worker::run(store, stop))));
    }
    if parts.backups {
        let store = store.clone();
        roles.push(start("backups", &stop, &failure, |stop| Box::pin(daily::run(store, stop))));
    }
    let delivers = parts.delivery.is_some();
    let before_delivery = roles.len();
    if let Some(config) = parts.delivery {
        let store = store.clone();
        roles.push(start("delivery", &stop, &failure, |stop| Box::pin(convizit_delivery::run(store, config, stop))));
    }
    let served = parts.pages.map(|config| convizit_console::serve(store.clone(), config));
    let (mut app, admin) = served.map_or_else(|| (Router::new(), None), |served| (served.pages, served.admin));
    let operator = observe::router(store.clone());
    match parts.operator {
        Some(listener) => {
            let operator = admin.unwrap_or_default().merge(operator);
            roles.push(start("operator", &stop, &failure, |stop| Box::pin(serve_http(listener, operator, stop))));
        }
        None => app = app.merge(operator),
    }
    roles.push(start("console", &stop, &failure, |stop| Box::pin(serve_http(parts.console, app, stop))));
    stop.cancelled().await;
    for (index, role) in roles.into_iter().enumerate() {
        if delivers && index == before_delivery {
            // What the worker stored last is delivered where a destination takes it now.
            let all = async {
                while behind(&store, false).await.map_or(true, |waiting| !waiting.is_empty()) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(LAST_DELIVERY, all).await.ok();
        }
        role.stop.cancel();
        if tokio::time::timeout(ROLE_END, role.task).await.is_err() {
            tracing::warn!("a role did not end within {} s and is left behind", ROLE_END.as_secs());
        }
    }
    let behind = if delivers { behind(&store, true).await.ok() } else { None };
    store.close().await;
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failure {
        Some(error) => bail!(error),
        None => Ok(behind),
    }
}

/// The enabled destinations that have not every event yet, and how many wait for each; with `paused`, those that a person
/// must resume as well.
async fn behind(store: &Store, paused: bool) -> Result<Vec<(String, i64)>> {
    let mut out = Vec::new();
    for state in store.destinations(None).await? {
        let destination = state.destination;
        if destination.enabled && (paused || destination.paused.is_none()) {
            let project = store.project(&destination.project).await?;
            let waiting = store.last_event(project.number).await? - state.cursor;
            if waiting > 0 {
                let state = if destination.paused.is_some() { ", which is paused" } else { "" };
                out.push((format!("{}/{}{state}", destination.project, destination.name), waiting));
            }
        }
    }
    Ok(out)
}

/// What stands at the end, in words.
pub(crate) fn last_words(behind: Option<&[(String, i64)]>) -> String {
    let Some(behind) = behind else { return "everything that was taken is stored".to_owned() };
    if behind.is_empty() {
        return "everything that was taken is stored, and nothing waits for a destination".to_owned();
    }
    let waiting: Vec<String> = behind.iter().map(|(name, events)| format!("{events} for {name}")).collect();
    format!("everything that was taken is stored; still to be delivered: {}", waiting.join(", "))
}

/// Serves pages until `stop`.
pub(crate) async fn serve_http(listener: TcpListener, app: Router, stop: CancellationToken) -> Result<(), String> {
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
    let ending = stop.clone();
    let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    let serving =
        async move { axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await }).await };
    tokio::select! {
        served = serving => served.map_err(|error| error.to_string()),
        // A browser keeps its connection open: pages are read, nothing of theirs is lost.
        () = async { ending.cancelled().await; tokio::time::sleep(Duration::from_millis(300)).await } => Ok(()),
    }
}

/// The first SIGINT or SIGTERM stops in order, the second at once.
pub(crate) fn stop_on_signal(stop: CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                // The journal and the databases are safe against this at any moment.
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(())
}
