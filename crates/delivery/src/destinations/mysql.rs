//! MySQL and MariaDB: a table of our own, one statement a batch, a repeated event is no second row, rows of erased persons are deleted.
//!
//! Of the protocol (dev.mysql.com, "Client/Server Protocol") signing in and plain queries are enough, so that they are written here. Every
//! value stands in a statement as a number or in hexadecimal, so that nothing of an event can be read as SQL, whatever the server's modes.

use std::time::Duration;

use convizit_keys::MysqlPlugin;
use convizit_model::{Person, ProjectId};
use convizit_store::EraseMessage;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::connectors::encode::Record;
use crate::destinations::native::Settings;
use crate::destinations::{Fate, SendError};
use crate::dial::{Dialled, Wire, secure};

/// Version of the table below, which its comment names.
const VERSION: &str = "convizit 1";
/// Bytes of a packet, of which there are but answers, and of one of the protocol's own.
const ANSWER: usize = 1 << 20;
const PACKET: usize = (1 << 24) - 1;
/// Persons of one statement, and rows that it deletes.
const PERSONS: usize = 500;
const ROWS: usize = 10_000;
/// Statements that delete rows of the same persons in one go.
const DELETES: usize = 10_000;
/// Bytes and packets of an answer of which only the first value is read.
const ANSWERS: usize = 64 << 10;
const PACKETS: usize = 200;
/// That what is done is done for good, in the status that a server gives with an answer.
const AUTOCOMMIT: u16 = 2;

/// For a statement that deletes.
const STATEMENT: Duration = Duration::from_secs(120);

/// Long passwords, protocol 4.1, transactions, secure sign-in, plug-ins, the database at once.
const CAPABILITIES: u32 = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
const TLS: u32 = 0x800;
/// utf8mb4_bin.
const CHARSET: u8 = 46;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Time,
}

/// Columns, by the names that the manifest gives them. What may be left out of an event may be NULL.
const COLUMNS: [(&str, &str, Kind); 24] = [
    ("id", "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY", Kind::Text),
    ("project", "VARCHAR(64) NOT NULL", Kind::Text),
    ("name", "TEXT NOT NULL", Kind::Text),
    ("name_state", "VARCHAR(32)", Kind::Text),
    ("type", "VARCHAR(32) NOT NULL", Kind::Text),
    ("time", "DATETIME(3) NOT NULL", Kind::Time),
    ("received", "DATETIME(3) NOT NULL", Kind::Time),
    ("visitor", "VARCHAR(512) NOT NULL", Kind::Text),
    ("session", "VARCHAR(512)", Kind::Text),
    ("session_start", "DATETIME(3)", Kind::Time),
    ("user_id", "VARCHAR(512)", Kind::Text),
    ("page_url", "TEXT", Kind::Text),
    ("page_path", "TEXT", Kind::Text),
    ("page_title", "TEXT", Kind::Text),
    ("page_type", "TEXT", Kind::Text),
    ("element_id", "VARCHAR(64)", Kind::Text),
    ("element_label", "TEXT", Kind::Text),
    ("group_id", "VARCHAR(64)", Kind::Text),
    ("group_name", "TEXT", Kind::Text),
    ("group_position", "INT", Kind::Number),
    ("group_length", "INT", Kind::Number),
    ("country", "VARCHAR(8)", Kind::Text),
    ("properties", "JSON", Kind::Text),
    ("event", "JSON NOT NULL", Kind::Text),
];

pub(crate) struct Mysql {
    stream: Box<dyn Wire>,
    /// Of the packets of one question and its answer.
    sequence: u8,
    /// Bytes of a statement that the server takes.
    most: usize,
    table: String,
    vendor: String,
}

/// What a server says before a user signs in.
struct Greeting {
    nonce: Vec<u8>,
    plugin: String,
    tls: bool,
}

impl Mysql {
    pub(crate) async fn connect(settings: &Settings, dialled: Dialled) -> Result<Self, SendError> {
        let Dialled { stream, host, tls } = dialled;
        let (table, vendor) = (settings.get("table").to_owned(), settings.vendor.clone());
        let mut mysql = Self { stream: Box::new(stream), sequence: 0, most: PACKET, table, vendor };
        let first = mysql.read().await?;
        if first.first() == Some(&0xff) {
            return Err(judge(&mysql.vendor, &first));
        }
        let none = || SendError::Pause(format!("what answers is no {}: are address and port right?", settings.vendor));
        let greeting = greeting(&first).ok_or_else(none)?;
        let flags = CAPABILITIES | if tls { TLS } else { 0 };
        let mut hello = flags.to_le_bytes().to_vec();
        hello.extend_from_slice(&u32::try_from(PACKET).unwrap_or(u32::MAX).to_le_bytes());
        hello.push(CHARSET);
        hello.extend_from_slice(&[0; 23]);
        if tls {
            if !greeting.tls {
                return Err(SendError::Pause(format!("{} there speaks no TLS: switch it on", mysql.vendor)));
            }
            mysql.write(&hello).await?;
            let plain = std::mem::replace(&mut mysql.stream, Box::new(tokio::io::empty()));
            mysql.stream = secure(plain, &host).await?;
        }
        let plugin = |name: &str| match name {
            "mysql_native_password" => Some(MysqlPlugin::Native),
            "caching_sha2_password" => Some(MysqlPlugin::CachingSha2),
            _ => None,
        };
        let password = settings.get("password");
        let proof = |name: &str, nonce: &[u8]| match plugin(name) {
            _ if password.is_empty() => Vec::new(),
            Some(plugin) => convizit_keys::mysql_proof(plugin, password, nonce),
            None => Vec::new(),
        };
        hello.extend_from_slice(settings.get("user").as_bytes());
        hello.push(0);
        let first = proof(&greeting.plugin, &greeting.nonce);
        hello.push(u8::try_from(first.len()).unwrap_or(0));
        hello.extend_from_slice(&first);
        hello.extend_from_slice(settings.get("database").as_bytes());
        hello.push(0);
        let named = plugin(&greeting.plugin).map_or("mysql_native_password", |_| &greeting.plugin);
        hello.extend_from_slice(named.as_bytes());
        hello.push(0);
        mysql.write(&hello).await?;
        loop {
            let answer = mysql.read().await?;
            match answer.as_slice() {
                [0x00, ..] => break,
                [0xff, ..] => return Err(judge(&mysql.vendor, &answer)),
                // Another plug-in, with a nonce of its own.
                [0xfe, rest @ ..] => {
                    let mut parts = rest.splitn(2, |byte| *byte == 0);
                    let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
                    let nonce = parts.next().unwrap_or_default();
                    if plugin(&name).is_none() {
                        return Err(SendError::Pause(format!(
                            "{} wants the sign-in {}, which is not known here: give the user mysql_native_password or caching_sha2_password",
                            mysql.vendor,
                            name.chars()
                                .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                                .take(40)
                                .collect::<String>()
                        )));
                    }
                    let proof = proof(&name, nonce.strip_suffix(&[0]).unwrap_or(nonce));
                    mysql.write(&proof).await?;
                }
                // caching_sha2_password: known already; or the password itself, which goes through TLS only.
                [0x01, 3] => {}
                [0x01, 4] if tls => {
                    let whole = [password.as_bytes(), &[0]].concat();
                    mysql.write(&whole).await?;
                }
                [0x01, 4] => {
                    return Err(SendError::Pause(format!(
                        "{} wants the password itself, which is not sent without TLS: write mysqls://",
                        mysql.vendor
                    )));
                }
                _ => return Err(none()),
            }
        }
        // A value that does not fit is refused and not cut; times are UTC; what is answered is kept, whatever the server begins with.
        mysql
            .query(
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00', \
                 SESSION autocommit = 1",
            )
            .await?;
        // A statement above it ends the connection, often before the server says why.
        let most = mysql.query("SELECT @@max_allowed_packet").await?;
        mysql.most = most.and_then(|most| most.parse().ok()).unwrap_or(PACKET).min(PACKET);
        mysql.make_table().await?;
        Ok(mysql)
    }

    /// Looked at first: a table of a newer version is not touched, and a user who may only insert needs no more rights.
    async fn make_table(&mut self) -> Result<(), SendError> {
        let asked = format!(
            "SELECT table_comment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = {}",
            hex(&self.table)
        );
        match self.query(&asked).await?.as_deref() {
            Some(VERSION) => return Ok(()),
            Some(_) => {
                return Err(SendError::Pause(format!(
                    "the table {} is not of this version of the program, or not of it at all: give another",
                    self.table
                )));
            }
            None => {}
        }
        let columns: Vec<String> = COLUMNS.iter().map(|(name, kind, _)| format!("`{name}` {kind}")).collect();
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS `{}` ({}, INDEX (`time`), INDEX (visitor(64)), INDEX (user_id(64))) \
             ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = '{VERSION}'",
            self.table,
            columns.join(", ")
        );
        self.query(&sql).await.map(|_| ())
    }

    pub(crate) async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        let names: Vec<String> = COLUMNS.iter().map(|(name, ..)| format!("`{name}`")).collect();
        let mut sql = format!("INSERT INTO `{}` ({}) VALUES ", self.table, names.join(", "));
        for (at, record) in records.iter().enumerate() {
            sql.push_str(if at == 0 { "(" } else { ", (" });
            sql.push_str(&values_of(&record.item).join(", "));
            sql.push(')');
        }
        // Unlike INSERT IGNORE this takes nothing but a repeat for done.
        sql.push_str(" ON DUPLICATE KEY UPDATE id = id");
        self.query(&sql).await?;
        fates.fill(Fate::Done);
        Ok(())
    }

    /// Deletes the rows of persons, or all of a project, that happened or were received up to a time.
    pub(crate) async fn erase(&mut self, project: &ProjectId, message: &EraseMessage) -> Result<(), SendError> {
        let made = value_of(&Value::from(message.made.to_string()), Kind::Time);
        let of = format!(
            "DELETE FROM `{}` WHERE project = {} AND LEAST(`time`, received) <= {made}",
            self.table,
            hex(project.as_str())
        );
        let parts: Vec<&[Person]> = match message.persons.as_slice() {
            [] => vec![&[]],
            persons => persons.chunks(PERSONS).collect(),
        };
        for persons in parts {
            let column = |kind: &str, name: &str| {
                let ids: Vec<String> =
                    persons.iter().filter(|person| person.kind() == kind).map(|person| hex(person.id())).collect();
                (!ids.is_empty()).then(|| format!("{name} IN ({})", ids.join(", ")))
            };
            let whose: Vec<String> =
                [column("visitor", "visitor"), column("user", "user_id")].into_iter().flatten().collect();
            let whose = if whose.is_empty() { String::new() } else { format!(" AND ({})", whose.join(" OR ")) };
            // Some at a time, so that no statement is long.
            let sql = format!("{of}{whose} LIMIT {ROWS}");
            let mut left = true;
            for _ in 0..DELETES {
                let change = tokio::time::timeout(STATEMENT, self.change(&sql)).await;
                left = change.map_err(|_| SendError::later(format!("{} did not answer", self.vendor)))?? > 0;
                if !left {
                    break;
                }
            }
            if left {
                return Err(SendError::later(format!("{} has still more rows of who is erased", self.vendor)));
            }
        }
        Ok(())
    }

    /// Rows that a statement changed.
    async fn change(&mut self, sql: &str) -> Result<u64, SendError> {
        let answer = self.ask(sql).await?;
        match answer.split_first() {
            Some((0, rest)) => self.kept(rest),
            Some((0xff, _)) => Err(judge(&self.vendor, &answer)),
            _ => Err(self.broke()),
        }
    }

    /// Rows that a statement changed, where that stands: a server that waits for a COMMIT would take it back with the connection.
    fn kept(&self, ok: &[u8]) -> Result<u64, SendError> {
        let read = number(ok).and_then(|(rows, rest)| Some((rows, number(rest)?.1.first_chunk::<2>()?)));
        let (rows, status) = read.ok_or_else(|| self.broke())?;
        match u16::from_le_bytes(*status) & AUTOCOMMIT {
            0 => {
                Err(SendError::Pause(format!("{} does not commit what is written: switch autocommit on", self.vendor)))
            }
            _ => Ok(rows),
        }
    }

    /// The first column of a query's first row.
    async fn query(&mut self, sql: &str) -> Result<Option<String>, SendError> {
        let answer = self.ask(sql).await?;
        match answer.split_first() {
            Some((0, rest)) => return self.kept(rest).map(|_| None),
            Some((0xff, _)) => return Err(judge(&self.vendor, &answer)),
            Some(_) => {}
            None => return Err(self.broke()),
        }
        // Descriptions of columns up to an end, then rows up to another.
        let mut value = None;
        let (mut ends, mut bytes) = (0, 0);
        for _ in 0..PACKETS {
            let packet = self.read().await?;
            bytes += packet.len();
            match packet.as_slice() {
                [0xff, ..] => return Err(judge(&self.vendor, &packet)),
                [0xfe, rest @ ..] if rest.len() < 8 => ends += 1,
                row if ends == 1 && value.is_none() => {
                    let text = number(row).and_then(|(size, rest)| rest.get(..usize::try_from(size).ok()?));
                    value = Some(String::from_utf8_lossy(text.unwrap_or_default()).into_owned());
                }
                _ => {}
            }
            if ends == 2 {
                return Ok(value);
            }
            if bytes > ANSWERS {
                break;
            }
        }
        Err(SendError::Pause(format!("what answers is no {}: are address and port right?", self.vendor)))
    }

    /// The first packet of the answer to a statement.
    async fn ask(&mut self, sql: &str) -> Result<Vec<u8>, SendError> {
        // With the byte that says that it is a statement; one of exactly the largest size would want another packet behind it.
        if sql.len() + 1 >= self.most.min(PACKET) {
            return Err(SendError::TooLarge);
        }
        self.sequence = u8::MAX;
        let packet = [&[3], sql.as_bytes()].concat();
        self.write(&packet).await?;
        self.read().await
    }

    async fn write(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.sequence = self.sequence.wrapping_add(1);
        let [a, b, c, ..] = payload.len().to_le_bytes();
        let packet = [&[a, b, c, self.sequence], payload].concat();
        self.stream.write_all(&packet).await.map_err(|_| self.broke())?;
        self.stream.flush().await.map_err(|_| self.broke())
    }

    async fn read(&mut self) -> Result<Vec<u8>, SendError> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.map_err(|_| self.broke())?;
        let [a, b, c, sequence] = head;
        self.sequence = sequence;
        let size = usize::from(a) | (usize::from(b) << 8) | (usize::from(c) << 16);
        if size > ANSWER {
            return Err(SendError::Pause(format!("what answers is no {}: are address and port right?", self.vendor)));
        }
        let mut payload = vec![0; size];
        self.stream.read_exact(&mut payload).await.map_err(|_| self.broke())?;
        Ok(payload)
    }

    fn broke(&self) -> SendError {
        SendError::later(format!("the connection to {} broke", self.vendor))
    }
}

/// Version 10, which every server since 1998 sends.
fn greeting(packet: &[u8]) -> Option<Greeting> {
    let rest = packet.strip_prefix(&[10])?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    // Behind the server's version: the connection's number, eight bytes of the nonce, an empty one.
    let rest = rest.get(end + 1 + 4..)?;
    let (first, rest) = rest.split_at_checked(8)?;
    let [_, low_a, low_b, _, _, _, high_a, high_b, size, rest @ ..] = rest else { return None };
    let flags = u32::from_le_bytes([*low_a, *low_b, *high_a, *high_b]);
    let rest = rest.get(10..)?;
    let (second, rest) = rest.split_at_checked(usize::from(*size).saturating_sub(8).max(13))?;
    let nonce = [first, second.get(..12)?].concat();
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let plugin = String::from_utf8_lossy(rest.get(..end)?).into_owned();
    Some(Greeting { nonce, plugin, tls: flags & TLS != 0 })
}

/// A number of the protocol, which says how long it is.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let wide = match first {
        0..=250 => return Some((u64::from(*first), rest)),
        252 => 2,
        253 => 3,
        254 => 8,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(wide)?;
    Some((value.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)), rest))
}

fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() * 2 + 16);
    out.push_str("_utf8mb4 X'");
    for byte in text.bytes() {
        write!(out, "{byte:02x}").ok();
    }
    out.push('\'');
    out
}

/// In the order of the columns.
fn values_of(item: &Value) -> [String; COLUMNS.len()] {
    COLUMNS.map(|(name, _, kind)| value_of(&item[name], kind))
}

fn value_of(value: &Value, kind: Kind) -> String {
    match (value, kind) {
        (Value::Number(number), Kind::Number) if number.is_i64() => number.to_string(),
        // 2026-11-23T18:00:00.123Z as 2026-11-23 18:00:00.123.
        (Value::String(text), Kind::Time) => hex(&text.trim_end_matches('Z').replace('T', " ")),
        (Value::String(text), Kind::Text) => hex(text),
        (Value::Null, _) | (_, Kind::Number | Kind::Time) => "NULL".to_owned(),
        (value, Kind::Text) => hex(&value.to_string()),
    }
}

/// What an error means. Only its number is kept: its text may quote a value.
fn judge(vendor: &str, packet: &[u8]) -> SendError {
    let code =
        packet.get(1..3).and_then(|bytes| bytes.first_chunk::<2>()).map_or(0, |bytes| u16::from_le_bytes(*bytes));
    let class = packet.get(4..6).filter(|_| packet.get(3) == Some(&b'#')).unwrap_or_default();
    let pause = |what: &str| SendError::Pause(format!("{vendor} answered {code}: {what}"));
    match code {
        1045 | 1698 => SendError::Pause(format!("{vendor} refused the credentials: are user and password right?")),
        1044 | 1142 | 1143 | 1227 | 1370 => pause("the user may not create, read or write the table"),
        1049 => pause("there is no such database"),
        1054 | 1146 | 1364 => pause("its table was changed by somebody else"),
        1130 => pause("the user may not come from this machine"),
        1153 => SendError::TooLarge,
        3140 | 3819 | 4025 => SendError::Refused(format!("{vendor} answered {code}")),
        _ if matches!(class, b"22" | b"23" | b"21") => SendError::Refused(format!("{vendor} answered {code}")),
        _ => SendError::later(format!("{vendor} answered {code}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::connectors::encode::With;
    use crate::shaping::whole_and_without_each;

    #[test]
    fn a_row_is_made_whatever_was_left_out_of_the_event() {
        let connector = crate::connectors::find("mysql", None).unwrap();
        let settings = BTreeMap::from([("table".to_owned(), "events".to_owned())]);
        for (without, event) in whole_and_without_each() {
            let now = "2026-11-23T12:02:00.000Z".parse().unwrap();
            let with = With { settings: &settings, set: &[], name: "shop/db", now };
            let mut encoded = connector.encode(&[event], with);
            let record = encoded.records.pop().unwrap_or_else(|| panic!("without {without}: {encoded:?}"));
            for ((name, form, _), value) in COLUMNS.iter().zip(values_of(&record.item)) {
                let missing = value == "NULL";
                assert!(!missing || !form.contains("NOT NULL"), "without {without} {name} is missing");
                assert!(!missing || without != "nothing", "{name} is missing");
            }
        }
    }

    #[test]
    fn nothing_of_an_event_can_be_read_as_sql() {
        assert_eq!(value_of(&Value::from("a'); DROP"), Kind::Text), "_utf8mb4 X'6127293b2044524f50'");
        assert_eq!(value_of(&Value::from("2026-11-23T18:00:00.123Z"), Kind::Time), hex("2026-11-23 18:00:00.123"));
        assert_eq!(value_of(&Value::from(7), Kind::Number), "7");
        for value in [Value::Null, Value::from("1; DROP"), Value::from(1.5)] {
            assert_eq!(value_of(&value, Kind::Number), "NULL");
        }
    }

    #[test]
    fn a_greeting_is_read_and_what_breaks_off_is_not() {
        let mut packet = vec![10];
        packet.extend_from_slice(b"8.4.0\0");
        packet.extend_from_slice(&[1, 0, 0, 0]);
        packet.extend_from_slice(b"abcdefgh\0");
        packet.extend_from_slice(&[0xff, 0xff, 46, 2, 0, 0xff, 0xdf, 21]);
        packet.extend_from_slice(&[0; 10]);
        packet.extend_from_slice(b"ijklmnopqrst\0");
        let whole = packet.len();
        packet.extend_from_slice(b"caching_sha2_password\0");
        let read = greeting(&packet).unwrap();
        assert_eq!(
            (read.nonce.as_slice(), read.plugin.as_str(), read.tls),
            (b"abcdefghijklmnopqrst".as_slice(), "caching_sha2_password", true)
        );
        for cut in 0..whole {
            assert!(greeting(&packet[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn errors_are_told_apart_and_what_they_quote_is_not_kept() {
        let of = |code: u16, state: &str| {
            let packet = [&[0xff][..], &code.to_le_bytes(), b"#", state.as_bytes(), b"canary"].concat();
            judge("MySQL", &packet)
        };
        assert!(matches!(of(1045, "28000"), SendError::Pause(_)));
        assert!(matches!(of(1406, "22001"), SendError::Refused(_)));
        assert!(matches!(of(1213, "40001"), SendError::Later { .. }));
        assert!(!of(1062, "23000").to_string().contains("canary"));
    }
}
