//! PostgreSQL: a schema of our own, one statement a batch, a repeated event is no second row.

use std::time::Duration;

use convizit_model::{Person, ProjectId};
use convizit_store::{EraseMessage, StoredEvent};
use serde_json::Value;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::destinations::SendError;
use crate::dial::tls_config;
use crate::guard::Guard;
use crate::why;

/// Version of the schema below.
const VERSION: i32 = 1;
const CONNECT: Duration = Duration::from_secs(10);
/// A statement that takes longer is cut by the server and tried again.
const STATEMENT: Duration = Duration::from_secs(60);

const COLUMNS: &[(&str, &str)] = &[
    ("id", "uuid"),
    ("number", "bigint"),
    ("project", "text"),
    ("name", "text"),
    ("name_state", "text"),
    ("type", "text"),
    ("time", "timestamptz"),
    ("received", "timestamptz"),
    ("visitor", "text"),
    ("session", "text"),
    ("session_start", "timestamptz"),
    ("user_id", "text"),
    ("page_url", "text"),
    ("page_path", "text"),
    ("page_title", "text"),
    ("page_type", "text"),
    ("element_id", "text"),
    ("element_label", "text"),
    ("group_id", "text"),
    ("group_name", "text"),
    ("group_position", "integer"),
    ("group_length", "integer"),
    ("country", "text"),
    ("properties", "jsonb"),
    ("event", "jsonb"),
];

pub(crate) struct Postgres {
    config: Config,
    schema: String,
    connection: Option<(Client, Statement)>,
}

impl Postgres {
    pub(crate) async fn open(schema: &str, secret: Option<&str>, guard: &Guard) -> Result<Self, SendError> {
        let url = secret
            .ok_or_else(|| SendError::Pause("the connection URL is missing: add the destination again".to_owned()))?;
        // The parser's error may quote the URL, which holds the password.
        let parsed: Config = url.parse().map_err(|_| {
            SendError::Pause(
                "the connection URL is none of the form postgres://user:password@host:5432/database".to_owned(),
            )
        })?;
        let named = schema.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !named || schema.is_empty() || schema.len() > 63 || schema.starts_with("pg_") {
            return Err(SendError::Pause("the schema's name has 1 to 63 of a-z, 0-9 and _".to_owned()));
        }
        Ok(Self { config: checked(parsed, guard).await?, schema: schema.to_owned(), connection: None })
    }

    /// Connects, and makes or checks the schema.
    pub(crate) async fn ready(&mut self) -> Result<(), SendError> {
        if self.connection.as_ref().is_some_and(|(client, _)| !client.is_closed()) {
            return Ok(());
        }
        let client = connect(&self.config).await?;
        // Not in the connection's options: poolers refuse those.
        let bound = format!("SET statement_timeout = {}", STATEMENT.as_millis());
        client.batch_execute(&bound).await.map_err(|error| judge(&error))?;
        migrate(&client, &self.schema).await?;
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let casts: Vec<String> = COLUMNS.iter().map(|(name, kind)| format!("{name}::{kind}")).collect();
        let arrays: Vec<String> = (1..=COLUMNS.len()).map(|n| format!("${n}::text[]")).collect();
        // Composed of constants and a name that was checked.
        let sql = format!(
            "INSERT INTO {}.events ({}) SELECT {} FROM unnest({}) AS row ({}) ON CONFLICT (id) DO NOTHING",
            self.schema,
            names.join(", "),
            casts.join(", "),
            arrays.join(", "),
            names.join(", ")
        );
        let statement = client.prepare(&sql).await.map_err(|error| judge(&error))?;
        self.connection = Some((client, statement));
        Ok(())
    }

    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<(), SendError> {
        self.ready().await?;
        let Some((client, statement)) = &self.connection else { return Ok(()) };
        let mut columns: Vec<Vec<Option<String>>> = vec![Vec::with_capacity(events.len()); COLUMNS.len()];
        for event in events {
            let row = row_of(event).ok_or_else(|| SendError::Refused("not of this version's form".to_owned()))?;
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            columns.iter().map(|column| column as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        // The server's own bound does not help where the server is gone without a word.
        let done = match tokio::time::timeout(STATEMENT + CONNECT, client.execute(statement, &values)).await {
            Ok(done) => done.map_err(|error| judge(&error)),
            Err(_) => Err(SendError::later("the database did not answer")),
        };
        if !matches!(done, Ok(_) | Err(SendError::Refused(_))) {
            self.connection = None;
        }
        done.map(|_| ())
    }
}

impl Postgres {
    /// Deletes the rows of persons, or all of a project, that happened or were received up to a time.
    pub(crate) async fn erase(&mut self, project: &ProjectId, message: &EraseMessage) -> Result<(), SendError> {
        self.ready().await?;
        let Some((client, _)) = &self.connection else { return Ok(()) };
        let of = |kind: &str| -> Vec<&str> {
            message.persons.iter().filter(|person| person.kind() == kind).map(Person::id).collect()
        };
        let (project, made) = (project.as_str(), message.made.to_string());
        let (visitors, users) = (of("visitor"), of("user"));
        // A stretch of the table after the other, whatever its size and indexes: no statement comes near its time, and none passes
        // over the same dead rows again. Nothing of theirs is sent meanwhile. The schema's name was checked.
        let table = format!("{}.events", self.schema);
        let mut done = Ok(());
        let mut at = 0;
        let mut end = 1;
        while done.is_ok() && at < end {
            let whose = if message.persons.is_empty() { "" } else { "AND (visitor = ANY($3) OR user_id = ANY($4))" };
            let sql = format!(
                "DELETE FROM {table} WHERE ctid >= '({at},0)'::tid AND ctid < '({},0)'::tid \
                 AND project = $1 AND LEAST(time, received) <= ($2::text)::timestamptz {whose}",
                at + STRETCH
            );
            let stretch = async {
                // Asked each time: the table may grow meanwhile.
                let size = "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint";
                let blocks: i64 = client.query_one(size, &[&table]).await?.try_get(0)?;
                if message.persons.is_empty() {
                    client.execute(&sql, &[&project, &made]).await?;
                } else {
                    client.execute(&sql, &[&project, &made, &visitors, &users]).await?;
                }
                Ok(blocks)
            };
            done = match tokio::time::timeout(STATEMENT + CONNECT, stretch).await {
                Ok(Ok(blocks)) => {
                    (at, end) = (at + STRETCH, blocks);
                    Ok(())
                }
                Ok(Err(error)) => Err(judge(&error)),
                Err(_) => Err(SendError::later("the database did not answer")),
            };
        }
        if done.is_err() {
            self.connection = None;
        }
        done
    }
}

/// The same server by the address that was checked, so that a second resolution cannot lead elsewhere.
async fn checked(parsed: Config, guard: &Guard) -> Result<Config, SendError> {
    let mut config = Config::new();
    let ports = parsed.get_ports();
    let (mut hosts, mut inside, own) = (0, true, guard.own());
    for (index, host) in parsed.get_hosts().iter().enumerate() {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let Host::Tcp(name) = host else {
            return Err(SendError::Pause(
                "a database is reached by host name or address, not by a socket's path".to_owned(),
            ));
        };
        let addresses = guard.resolve(name, port).await.map_err(|error| why::unresolved("the database", error))?;
        if let Some(address) = addresses.first() {
            config.host(name).hostaddr(address.ip()).port(port);
            inside &= own.allows(address.ip());
            hosts += 1;
        }
    }
    if hosts == 0 {
        return Err(SendError::Pause("the connection URL names no host".to_owned()));
    }
    if let Some(user) = parsed.get_user() {
        config.user(user);
    }
    if let Some(password) = parsed.get_password() {
        config.password(password);
    }
    if let Some(database) = parsed.get_dbname() {
        config.dbname(database);
    }
    let mode = match parsed.get_ssl_mode() {
        mode if inside => mode,
        SslMode::Disable => {
            return Err(SendError::Pause(
                "the connection URL has sslmode=disable, which is for networks that the operator allows with delivery.allow_networks: \
                 take it out"
                    .to_owned(),
            ));
        }
        // Whoever stands between could say that the server has no TLS.
        _ => SslMode::Require,
    };
    config.ssl_mode(mode).application_name("convizit").connect_timeout(CONNECT);
    // On this machine there is nobody between, and Debian's own servers have a certificate that nobody signed.
    if config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback) && config.get_ssl_mode() == SslMode::Prefer {
        config.ssl_mode(SslMode::Disable);
    }
    Ok(config)
}

/// Blocks of a table that are looked through in one statement: 32 MB, as PostgreSQL has them by default.
const STRETCH: i64 = 4096;

async fn connect(config: &Config) -> Result<Client, SendError> {
    let connecting = async {
        if config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            return Ok(client);
        }
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls_config().await);
        let (client, connection) = config.connect(tls).await?;
        tokio::spawn(connection);
        Ok(client)
    };
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(judge(&error)),
        Err(_) => Err(SendError::later("the database did not answer within 10 s")),
    }
}

async fn migrate(client: &Client, schema: &str) -> Result<(), SendError> {
    // Looked at first: tables of a newer version are not touched, and a user who may only insert needs no more rights.
    if version(client, schema).await?.is_some() {
        return Ok(());
    }
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(name, kind)| if *name == "id" { "id uuid PRIMARY KEY".to_owned() } else { format!("{name} {kind}") })
        .collect();
    // Two of us may start at once: the lock makes one wait.
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(7281140); CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.schema_version (version integer NOT NULL);
         INSERT INTO {schema}.schema_version SELECT {VERSION} WHERE NOT EXISTS (SELECT 1 FROM {schema}.schema_version);
         CREATE TABLE IF NOT EXISTS {schema}.events ({});
         CREATE INDEX IF NOT EXISTS events_time ON {schema}.events (time);
         CREATE INDEX IF NOT EXISTS events_name ON {schema}.events (name, time); COMMIT;",
        columns.join(", ")
    );
    client.batch_execute(&sql).await.map_err(|error| judge(&error))?;
    version(client, schema).await.map(|_| ())
}

/// `None` when the schema was not made yet, our version when it was; any other is refused.
async fn version(client: &Client, schema: &str) -> Result<Option<i32>, SendError> {
    let table = format!("{schema}.schema_version");
    let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.map_err(|error| judge(&error))?;
    if !row.try_get::<_, bool>(0).map_err(|error| judge(&error))? {
        return Ok(None);
    }
    let row =
        client.query_one(&format!("SELECT max(version) FROM {table}"), &[]).await.map_err(|error| judge(&error))?;
    match row.try_get(0).map_err(|error| judge(&error))? {
        Some(VERSION) => Ok(Some(VERSION)),
        other => Err(SendError::Pause(format!(
            "the schema {schema} is of version {}, this program writes {VERSION}: start the newer program, or give another schema",
            other.unwrap_or(0)
        ))),
    }
}

/// What a database error means. Only its code is kept: its text may quote a value.
fn judge(error: &tokio_postgres::Error) -> SendError {
    let Some(code) = error.code() else {
        if let Some(refused) = why::refused("the database", error) {
            return refused;
        }
        // The driver's own words: those of a TLS library were looked for before.
        if std::error::Error::source(error).is_some_and(|cause| cause.to_string() == "server does not support TLS") {
            return SendError::later("the database speaks no TLS: set ssl = on there");
        }
        return SendError::later(match why::cause(error) {
            _ if error.is_closed() => "the database closed the connection".to_owned(),
            Some(cause) => format!("the database cannot be reached: {cause}"),
            None => "the database cannot be reached".to_owned(),
        });
    };
    let text = format!("the database answered {}", code.code());
    if [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_TABLE,
    ]
    .contains(code)
    {
        let what = match code.code() {
            "28P01" | "28000" => "user or password is wrong",
            "42501" => "the user may not create or write the schema",
            "3D000" => "there is no such database",
            _ => "its tables were changed by somebody else",
        };
        return SendError::Pause(format!("{text}: {what}"));
    }
    match code.code().get(..2) {
        // Data exceptions and constraint violations are about a row.
        Some("22" | "23" | "21") => SendError::Refused(text),
        Some("54") => SendError::TooLarge,
        _ => SendError::later(text),
    }
}

/// The columns of an event's row with their values, without the last, which is the event itself.
pub(crate) fn columns_of(event: &StoredEvent) -> Vec<(String, String)> {
    let Some(row) = row_of(event) else { return Vec::new() };
    let named = COLUMNS.iter().zip(row).take(COLUMNS.len() - 1);
    named.map(|((name, _), value)| ((*name).to_owned(), value.unwrap_or_else(|| "NULL".to_owned()))).collect()
}

/// `None` for what is no event. Whatever was left out of it is NULL.
fn row_of(stored: &StoredEvent) -> Option<[Option<String>; 25]> {
    // PostgreSQL's text and jsonb hold no NUL.
    let json = String::from_utf8(stored.json.to_vec()).ok()?.replace("\\u0000", "\\ufffd");
    let event: Value = serde_json::from_str(&json).ok()?;
    let of = |path: &str| match event.pointer(path)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    // No shaping takes these away.
    for path in ["/id", "/project", "/name", "/type", "/time", "/received", "/visitor"] {
        of(path)?;
    }
    Some([
        of("/id"),
        Some(stored.number.to_string()),
        of("/project"),
        of("/name"),
        of("/name_state"),
        of("/type"),
        of("/time"),
        of("/received"),
        of("/visitor"),
        of("/session/id"),
        of("/session/start"),
        of("/user"),
        of("/page/url"),
        of("/page/path"),
        of("/page/title"),
        of("/page/type"),
        of("/element/id"),
        of("/element/label"),
        of("/group/id"),
        of("/group/name"),
        of("/group/position"),
        of("/group/length"),
        of("/location/country"),
        event.get("properties").filter(|properties| properties.is_object()).map(Value::to_string),
        Some(json),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shaping::whole_and_without_each;

    #[test]
    fn a_row_is_made_whatever_was_left_out_of_the_event() {
        let value = |row: &[Option<String>; 25], name: &str| {
            row[COLUMNS.iter().position(|(column, _)| *column == name).unwrap()].clone()
        };
        let cases = whole_and_without_each();
        let whole = row_of(&cases[0].1).unwrap();
        assert!(whole.iter().all(Option::is_some), "{whole:?}");
        assert_eq!(value(&whole, "time").as_deref(), Some("2026-11-23T12:01:07.123Z"));
        for (without, event) in &cases[1..] {
            let row = row_of(event).unwrap_or_else(|| panic!("without {without} there is no row"));
            for name in ["id", "number", "project", "name", "type", "time", "received", "visitor"] {
                assert_eq!(value(&row, name), value(&whole, name), "without {without}");
            }
            let left_out = match *without {
                "session" => "session_start",
                "page" => "page_url",
                "element" => "element_label",
                "group" => "group_position",
                "user" => "user_id",
                "name_state" => "name_state",
                "location.country" => "country",
                _ => continue,
            };
            assert_eq!(value(&row, left_out), None, "without {without}");
        }
        assert!(row_of(&StoredEvent { number: 1, json: "{}".into() }).is_none());
    }

    #[tokio::test]
    async fn without_tls_only_the_operators_networks_are_written_to() {
        let guard = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        let mode = async |url: &str| {
            let config = checked(url.parse().unwrap(), &guard).await;
            config.map(|config| config.get_ssl_mode()).map_err(|error| error.to_string())
        };
        assert_eq!(mode("postgres://me@8.8.8.8/db").await.unwrap(), SslMode::Require);
        assert_eq!(mode("postgres://me@8.8.8.8/db?sslmode=prefer").await.unwrap(), SslMode::Require);
        assert!(mode("postgres://me@8.8.8.8/db?sslmode=disable").await.unwrap_err().contains("take it out"));
        assert_eq!(mode("postgres://me@127.0.0.1/db?sslmode=disable").await.unwrap(), SslMode::Disable);
        assert_eq!(mode("postgres://me@127.0.0.1/db?sslmode=require").await.unwrap(), SslMode::Require);
        let both = mode("postgres://me@127.0.0.1,8.8.8.8/db?sslmode=disable").await;
        assert!(both.is_err(), "one of two is public");
        // What is kept of a failure, and told to members who may not see the address, has neither name nor address.
        for (url, word) in [
            ("postgres://me:canary@10.9.8.7/canary", "the database leads to a private or reserved address"),
            ("postgres://me:canary@canary.invalid/db", "the database cannot be reached: its name does not resolve"),
            ("postgres://me:canary@8.8.8.8/db?sslmode=disable", "take it out"),
        ] {
            let said = mode(url).await.unwrap_err();
            assert!(said.contains(word), "{url}: {said}");
            assert!(!["canary", "10.9", "8.8.8"].iter().any(|part| said.contains(part)), "{said}");
        }
    }
}
