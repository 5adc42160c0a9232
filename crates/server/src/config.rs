//! `convizit.toml`: every setting of an installation, unknown keys refused, secrets from files or the environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use convizit_collector::CollectorConfig;
use convizit_console::ConsoleConfig;
use convizit_delivery::{DeliveryConfig, MailConfig, MailTls};
use convizit_keys::ProviderConfig;
use convizit_store::StoreConfig;
use convizit_store::backup::{BackupConfig, Keep};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The file that is read when none is named.
const DEFAULT: &str = "convizit.toml";

/// An installation's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Data folder.
    pub(crate) data: PathBuf,
    /// Where the key-encryption key lives; a file beside the data when missing.
    #[serde(deserialize_with = "provider")]
    pub(crate) keys: Option<ProviderConfig>,
    /// File that holds the URL of the PostgreSQL database for control data and events.
    pub(crate) database_url_file: Option<PathBuf>,
    /// MaxMind-format database in place of the vendored countries.
    pub(crate) geo: Option<PathBuf>,
    pub(crate) collector: Collector,
    pub(crate) console: Console,
    pub(crate) journal: Journal,
    pub(crate) delivery: Delivery,
    pub(crate) mail: Option<Mail>,
    pub(crate) backup: Backup,
    pub(crate) log: Log,
    /// The database's URL from the environment; never in the file, so that a backup of it holds no password.
    #[serde(skip)]
    pub(crate) database_url: Option<String>,
    /// The mail server's password, from its file or the environment.
    #[serde(skip)]
    mail_password: Option<String>,
    #[serde(skip)]
    mail_ca: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Collector {
    pub(crate) listen: SocketAddr,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) behind_proxy: bool,
    /// The address that browsers use, for the snippet.
    pub(crate) public: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Console {
    pub(crate) listen: SocketAddr,
    /// The address that browsers use, where it is not `listen`.
    pub(crate) public: Option<String>,
    pub(crate) behind_proxy: bool,
    /// Where the operator finds health, metrics and what is of the whole installation, in place of `listen`.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// The address that browsers use for it, where it is not `admin_listen`.
    pub(crate) admin_public: Option<String>,
    /// Whom to tell of a weakness.
    pub(crate) security_contact: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Journal {
    pub(crate) megabytes: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Delivery {
    pub(crate) allow_networks: Vec<String>,
    pub(crate) allow_folders: Vec<PathBuf>,
    pub(crate) connectors: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: MailSecurity,
    user: Option<String>,
    password_file: Option<PathBuf>,
    /// The certificate of an authority that is trusted beside the system's.
    ca: Option<PathBuf>,
    from: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MailSecurity {
    #[default]
    Starttls,
    /// From the first byte on.
    Tls,
    None,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Backup {
    /// A folder or `s3://bucket/prefix`; `<data>/backups` when missing.
    to: Option<String>,
    /// Where keys and erasures are copied to; `<data>/backup-keys` when missing.
    keys_to: Option<String>,
    hour: u8,
    daily: u16,
    weekly: u16,
    monthly: u16,
    off: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "convizit-data".into(),
            keys: None,
            database_url_file: None,
            geo: None,
            collector: Collector::default(),
            console: Console::default(),
            journal: Journal::default(),
            delivery: Delivery::default(),
            mail: None,
            backup: Backup::default(),
            log: Log::default(),
            database_url: None,
            mail_password: None,
            mail_ca: None,
        }
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 8090).into(), certificate: None, key: None, behind_proxy: false, public: None }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8091).into(),
            public: None,
            behind_proxy: false,
            admin_listen: None,
            admin_public: None,
            security_contact: None,
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { megabytes: 4096 }
    }
}

impl Default for Backup {
    fn default() -> Self {
        let Keep { daily, weekly, monthly } = Keep::default();
        Self { to: None, keys_to: None, hour: 3, daily, weekly, monthly, off: false }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

impl Config {
    /// The named file, or `convizit.toml` here, or the defaults; then the environment.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let found = path.map(Path::to_owned).or_else(|| Path::new(DEFAULT).exists().then(|| DEFAULT.into()));
        let mut config = match found {
            Some(path) => {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("the configuration {} cannot be read", path.display()))?;
                parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?
            }
            None => Self::default(),
        };
        if let Some(folder) = std::env::var_os("CONVIZIT_DATA") {
            config.data = folder.into();
        }
        config.database_url = match (&config.database_url_file, std::env::var("CONVIZIT_DATABASE_URL")) {
            (_, Ok(url)) => Some(url),
            (Some(file), _) => Some(
                std::fs::read_to_string(file)
                    .with_context(|| format!("database_url_file {} cannot be read", file.display()))?
                    .trim()
                    .to_owned(),
            ),
            (None, _) => None,
        };
        config.mail_password = match (&config.mail, std::env::var("CONVIZIT_MAIL_PASSWORD")) {
            (Some(_), Ok(password)) => Some(password),
            (Some(Mail { password_file: Some(file), .. }), _) => Some(
                std::fs::read_to_string(file)
                    .with_context(|| format!("mail.password_file {} cannot be read", file.display()))?
                    .trim()
                    .to_owned(),
            ),
            _ => None,
        };
        if let Some(path) = config.mail.as_ref().and_then(|mail| mail.ca.as_ref()) {
            let read = std::fs::read(path);
            config.mail_ca = Some(read.with_context(|| format!("mail.ca {} cannot be read", path.display()))?);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let collector = &self.collector;
        if collector.certificate.is_some() != collector.key.is_some() {
            bail!("collector.certificate and collector.key belong together: give both or neither");
        }
        if collector.certificate.is_none() && !collector.behind_proxy && !collector.listen.ip().is_loopback() {
            bail!(
                "collector.listen = {} would take visitors' data over plain HTTP: give collector.certificate and collector.key, or say behind_proxy = true when a proxy before it speaks HTTPS",
                collector.listen
            );
        }
        let console = &self.console;
        for (name, public) in [("public", &console.public), ("admin_public", &console.admin_public)] {
            let Some(public) = public else { continue };
            let rest = public.strip_prefix("https://").or_else(|| public.strip_prefix("http://"));
            if !rest.is_some_and(|host| !host.is_empty() && !host.trim_end_matches('/').contains(['/', '?', '#', '@']))
            {
                bail!("console.{name} = {public}: an address without a path, such as https://console.shop.example");
            }
        }
        if console.admin_public.is_some() && console.admin_listen.is_none() {
            bail!("console.admin_public is the address of console.admin_listen: set that one, too");
        }
        if let Some(contact) = &self.console.security_contact {
            let known = ["mailto:", "tel:", "https://"].iter().any(|scheme| contact.starts_with(scheme));
            if !known || contact.contains(|sign: char| sign.is_whitespace() || sign.is_control()) {
                bail!(
                    "console.security_contact = {contact}: an address such as mailto:security@shop.example or https://shop.example/security"
                );
            }
        }
        if self.console.admin_listen == Some(self.console.listen) {
            bail!("console.admin_listen is console.listen: name another address, or leave it out");
        }
        if let Some(mail) = &self.mail
            && mail.user.is_some() != self.mail_password.is_some()
        {
            bail!(
                "mail.user and its password belong together: give both, the password with mail.password_file or CONVIZIT_MAIL_PASSWORD, or neither"
            );
        }
        if !(16..=1 << 20).contains(&self.journal.megabytes) {
            bail!("journal.megabytes: 16 to 1048576");
        }
        self.backup().check().map_err(|error| anyhow!(error))?;
        convizit_delivery::check_config(&self.delivery()).map_err(|error| anyhow!(error))?;
        Ok(())
    }

    /// Files with secrets of others that it names, which are read at each start.
    pub(crate) fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let mail = self.mail.as_ref().and_then(|mail| mail.password_file.as_deref());
        [self.database_url_file.as_deref(), mail].into_iter().flatten()
    }

    pub(crate) fn keys(&self) -> ProviderConfig {
        match &self.keys {
            Some(ProviderConfig::File { path }) if !path.as_os_str().is_empty() => {
                ProviderConfig::File { path: path.clone() }
            }
            None | Some(ProviderConfig::File { .. }) => ProviderConfig::File { path: self.data.join("keys") },
            Some(other) => other.clone(),
        }
    }

    pub(crate) fn store(&self) -> StoreConfig {
        StoreConfig {
            database: self.database_url.clone(),
            journal_bytes: self.journal.megabytes << 20,
            backup: Some(self.backup()),
            upkeep: false,
            ..StoreConfig::in_folder(&self.data)
        }
    }

    /// Where backups lie. Also where they are off: what lies there is read all the same.
    pub(crate) fn backup(&self) -> BackupConfig {
        let Backup { to, keys_to, hour, daily, weekly, monthly, off } = &self.backup;
        let place = |place: &Option<String>, name: &str| {
            place.clone().unwrap_or_else(|| self.data.join(name).to_string_lossy().into_owned())
        };
        BackupConfig {
            to: place(to, "backups"),
            keys_to: place(keys_to, "backup-keys"),
            makes: !off,
            keep: Keep { daily: *daily, weekly: *weekly, monthly: *monthly },
            hour: *hour,
        }
    }

    pub(crate) fn collector(&self) -> CollectorConfig {
        CollectorConfig {
            tls: self.collector.certificate.clone().zip(self.collector.key.clone()),
            behind_proxy: self.collector.behind_proxy,
        }
    }

    pub(crate) fn delivery(&self) -> DeliveryConfig {
        DeliveryConfig {
            allow_networks: self.delivery.allow_networks.clone(),
            allow_folders: self.delivery.allow_folders.clone(),
            connectors: self.delivery.connectors.clone(),
            transforms: std::env::current_exe().ok(),
            allow_stdout: false,
            mail: self.mail(),
            console: self.console_address(self.console.listen),
            admin: self.console.admin_listen.map_or_else(String::new, |listening| self.admin_address(listening)),
        }
    }

    /// The mail server, where one is named.
    pub(crate) fn mail(&self) -> Option<MailConfig> {
        let Mail { host, port, tls, user, from, .. } = self.mail.as_ref()?;
        let (tls, usual) = match tls {
            MailSecurity::Starttls => (MailTls::Starttls, 587),
            MailSecurity::Tls => (MailTls::Tls, 465),
            MailSecurity::None => (MailTls::None, 25),
        };
        Some(MailConfig {
            host: host.clone(),
            port: port.unwrap_or(usual),
            tls,
            login: user.clone().zip(self.mail_password.clone()),
            ca: self.mail_ca.clone(),
            from: from.clone(),
        })
    }

    /// What the console's pages need to know.
    pub(crate) fn console(&self) -> ConsoleConfig {
        let Console { public, behind_proxy, security_contact, admin_listen, admin_public, .. } = &self.console;
        ConsoleConfig {
            public: public.clone(),
            behind_proxy: *behind_proxy,
            collector: self.public(),
            security_contact: security_contact.clone(),
            operator_apart: admin_listen.is_some(),
            admin_public: admin_public.clone(),
            delivery: self.delivery(),
            countries: None,
        }
    }

    /// Where a person finds a path of the console.
    pub(crate) fn console_address(&self, listening: SocketAddr) -> String {
        let public = self.console.public.clone().unwrap_or_else(|| format!("http://{listening}"));
        public.trim_end_matches('/').to_owned()
    }

    /// Where the operator finds a path of theirs.
    pub(crate) fn admin_address(&self, listening: SocketAddr) -> String {
        let public = self.console.admin_public.clone().unwrap_or_else(|| format!("http://{listening}"));
        public.trim_end_matches('/').to_owned()
    }

    /// Where the snippet loads from.
    pub(crate) fn public(&self) -> String {
        let scheme = if self.collector.certificate.is_some() { "https" } else { "http" };
        self.collector.public.clone().unwrap_or_else(|| format!("{scheme}://{}", self.collector.listen))
    }
}

/// A path below `[keys]` without a provider is that of the file, which is the default.
fn provider<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ProviderConfig>, D::Error> {
    let mut table = toml::Table::deserialize(deserializer)?;
    if table.keys().all(|key| key == "path") {
        table.insert("provider".to_owned(), "file".into());
    }
    let provider = ProviderConfig::deserialize(toml::Value::Table(table));
    provider.map(Some).map_err(|error| D::Error::custom(error.message()))
}

/// One sentence with the line.
fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or(text).lines().count().max(1));
        let line = error.span().map_or(line, |span| {
            1 + text.get(..span.start).unwrap_or(text).bytes().filter(|byte| *byte == b'\n').count()
        });
        let message = error.message().replace('\n', " ").replace("expected u64", "expected a whole number");
        format!("line {line}: {message}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = parse("data = \"x\"\n\n[collector]\nlisten = \"127.0.0.1:1\"\nlissten = 3\n").unwrap_err();
        assert!(error.starts_with("line 5: unknown field `lissten`"), "{error}");
        assert!(parse("data = ").unwrap_err().starts_with("line 1"), "{}", parse("data = ").unwrap_err());
    }

    #[test]
    fn the_example_is_true_and_says_every_setting() {
        let example = include_str!("../../../convizit.toml.example");
        parse(example).unwrap();
        // Every setting stands in it, commented out where it has no default.
        for key in [
            "data",
            "provider",
            "path",
            "database_url_file",
            "geo",
            "listen",
            "certificate",
            "key",
            "behind_proxy",
            "public",
            "admin_listen",
            "admin_public",
            "security_contact",
            "megabytes",
            "allow_networks",
            "allow_folders",
            "connectors",
            "host",
            "port",
            "tls",
            "user",
            "password_file",
            "ca",
            "from",
            "format",
            "filter",
        ] {
            assert!(
                example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} ="))),
                "{key}"
            );
        }
        let uncommented: String = example
            .lines()
            .map(|line| {
                let setting = |rest: &&str| rest.contains(" = ") || rest.starts_with('[');
                line.strip_prefix("# ").filter(setting).unwrap_or(line).to_owned() + "\n"
            })
            .collect();
        parse(&uncommented).unwrap();
    }

    #[test]
    fn a_mail_server_is_checked_at_the_start() {
        let check = |rest: &str, password: Option<&str>| {
            let mut config =
                parse(&format!("[mail]\nhost = \"mail.shop.example\"\nfrom = \"c@shop.example\"\n{rest}")).unwrap();
            config.mail_password = password.map(str::to_owned);
            config.check().map_err(|error| error.to_string()).map(|()| config.mail().unwrap().port)
        };
        assert_eq!(check("", None), Ok(587));
        assert_eq!(check("tls = \"tls\"\nuser = \"me\"", Some("secret")), Ok(465));
        assert!(check("user = \"me\"", None).unwrap_err().contains("belong together"));
        assert!(check("tls = \"none\"", None).unwrap_err().contains("mail.tls"));
        assert!(parse("[mail]\nhost = \"mail.shop.example\"\n").unwrap_err().contains("from"));
    }

    #[test]
    fn a_path_of_keys_needs_no_provider() {
        let keys = |text: &str| parse(text).map(|config| config.keys());
        let file = |path: &str| Ok(ProviderConfig::File { path: path.into() });
        assert_eq!(keys("[keys]\npath = \"/etc/convizit/keys\"\n"), file("/etc/convizit/keys"));
        assert_eq!(keys("[keys]\n"), file("convizit-data/keys"));
        assert_eq!(keys("data = \"d\"\n[keys]\nprovider = \"file\"\n"), file("d/keys"));
        // Which provider is meant by other settings is not guessed.
        let error = keys("data = \"d\"\n[keys]\nmodule = \"/m.so\"\n").unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains("`provider`"), "{error}");
        let error = keys("[keys]\nprovider = \"file\"\npth = \"/k\"\n").unwrap_err();
        assert!(error.contains("`pth`"), "{error}");
    }

    #[test]
    fn where_backups_are_off_their_place_is_known_all_the_same() {
        let of = |text: &str| {
            let backup = parse(text).unwrap().backup();
            (backup.to, backup.keys_to, backup.makes)
        };
        let named = of("[backup]\noff = true\nto = \"s3://backups/shop\"\nkeys_to = \"s3://backup-keys/shop\"\n");
        assert_eq!(named, ("s3://backups/shop".to_owned(), "s3://backup-keys/shop".to_owned(), false));
        let by_default = of("data = \"nowhere\"\n[backup]\noff = true\n");
        assert_eq!(by_default, ("nowhere/backups".to_owned(), "nowhere/backup-keys".to_owned(), false));
        assert!(of("").2);
    }

    #[test]
    fn the_operators_address_is_whole() {
        let check = |text: &str| {
            let config = parse(&format!("[console]\n{text}\n")).unwrap();
            config.check().map_err(|error| error.to_string()).map(|()| config.delivery().admin)
        };
        let listen = "admin_listen = \"10.0.0.5:8099\"";
        assert_eq!(check(""), Ok(String::new()));
        assert_eq!(check(listen), Ok("http://10.0.0.5:8099".to_owned()));
        let public = "admin_public = \"https://admin.shop.example/\"";
        assert_eq!(check(&format!("{listen}\n{public}")), Ok("https://admin.shop.example".to_owned()));
        assert!(check(public).unwrap_err().contains("console.admin_listen"));
        let path = "admin_public = \"https://shop.example/admin\"";
        assert!(check(&format!("{listen}\n{path}")).unwrap_err().contains("console.admin_public = "));
    }

    #[test]
    fn plain_http_stays_on_loopback() {
        let mut config = Config::default();
        config.check().unwrap();
        config.collector.listen = "0.0.0.0:80".parse().unwrap();
        assert!(config.check().unwrap_err().to_string().contains("behind_proxy"));
        config.collector.behind_proxy = true;
        config.check().unwrap();
    }
}
