//! Redis Streams: each record an entry, all of a batch on their way at once; an id that was seen lately makes no second entry.
//!
//! The protocol (redis.io, "Redis serialization protocol specification", RESP 2) is a few kinds of lines, so that it is spoken here.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};

use crate::connectors::encode::Record;
use crate::destinations::native::Settings;
use crate::destinations::{Fate, SendError};
use crate::dial::{Dialled, Wire};

/// Bytes of an answer, of which there are but ids and errors.
const ANSWER: usize = 64 << 10;
/// Adds an entry unless its id was seen. The id is written down after the entry: a script that fails leaves neither.
const ADD: &str = "if redis.call('EXISTS', KEYS[2]) == 1 then return 'there' end \
                   local entry = redis.call('XADD', KEYS[1], unpack(ARGV, 2)) \
                   redis.call('SET', KEYS[2], entry, 'EX', ARGV[1]) return entry";

pub(crate) struct Redis {
    reader: BufReader<ReadHalf<Box<dyn Wire>>>,
    writer: WriteHalf<Box<dyn Wire>>,
    /// The script's name and for how many seconds ids are remembered; `None` where they are not.
    script: Option<(String, u64)>,
    /// Entries that a stream keeps, nearly; 0 for all.
    keep: u64,
    vendor: String,
}

/// An answer; its lists are never asked for.
enum Answer {
    Text(String),
    Error(String),
}

impl Redis {
    pub(crate) async fn connect(settings: &Settings, dialled: Dialled) -> Result<Self, SendError> {
        let (reader, writer) = tokio::io::split(dialled.secured().await?);
        let number = |id: &str| settings.get(id).parse::<u64>().unwrap_or(0);
        let mut redis = Self {
            reader: BufReader::new(reader),
            writer,
            script: None,
            keep: number("keep"),
            vendor: settings.vendor.clone(),
        };
        let (user, password) = (settings.get("user"), settings.get("password"));
        let login: &[&str] = match (user, password) {
            (_, "") => &[],
            ("", password) => &["AUTH", password],
            (user, password) => &["AUTH", user, password],
        };
        if !login.is_empty()
            && let Answer::Error(text) = redis.ask(login).await?
        {
            return Err(match judge(&redis.vendor, &text) {
                SendError::Later { reason, after } if !text.starts_with("ERR") => SendError::Later { reason, after },
                _ => settings.wrong_credentials(),
            });
        }
        let database = settings.get("database");
        if !matches!(database, "" | "0") {
            redis.must(&["SELECT", database]).await?;
        }
        redis.must(&["PING"]).await?;
        let hours = number("repeats");
        if hours > 0 {
            redis.script = Some((redis.must(&["SCRIPT", "LOAD", ADD]).await?, hours * 3_600));
        }
        Ok(redis)
    }

    pub(crate) async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        let mut out = Vec::new();
        for record in records {
            self.add(record, &mut out);
        }
        let Self { reader, writer, vendor, .. } = self;
        // Answers come while the rest is still written: who does not read them makes the server wait.
        let writing = async {
            writer.write_all(&out).await.map_err(|_| broke(vendor))?;
            writer.flush().await.map_err(|_| broke(vendor))
        };
        let reading = async {
            let mut failure = None;
            // All answers are read, since what stands behind a failure may have been added.
            for fate in fates.iter_mut() {
                match read(reader, vendor).await? {
                    Answer::Text(_) => *fate = Fate::Done,
                    Answer::Error(text) => {
                        failure.get_or_insert_with(|| judge(vendor, &text));
                    }
                }
            }
            failure.map_or(Ok(()), Err)
        };
        tokio::try_join!(writing, reading).map(|_| ())
    }

    /// The command that adds a record's entry.
    fn add(&self, record: &Record, out: &mut Vec<u8>) {
        let (keep, seen, seconds);
        let mut parts: Vec<&[u8]> = Vec::new();
        match &self.script {
            Some((script, remembered)) => {
                // In a cluster both keys have to lie together.
                seen = format!("{{{}}}:convizit:{}", record.place, record.id);
                seconds = remembered.to_string();
                parts.extend(["EVALSHA", script, "2", &record.place, &seen, &seconds].map(str::as_bytes));
            }
            None => parts.extend(["XADD", &record.place].map(str::as_bytes)),
        }
        if self.keep > 0 {
            keep = self.keep.to_string();
            parts.extend(["MAXLEN", "~", &keep].map(str::as_bytes));
        }
        parts.push(b"*");
        for (name, value) in &record.headers {
            parts.extend([name.as_bytes(), value.as_bytes()]);
        }
        parts.extend([b"event".as_slice(), &record.body]);
        command(&parts, out);
    }

    async fn ask(&mut self, parts: &[&str]) -> Result<Answer, SendError> {
        let mut out = Vec::new();
        command(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(), &mut out);
        self.writer.write_all(&out).await.map_err(|_| broke(&self.vendor))?;
        self.writer.flush().await.map_err(|_| broke(&self.vendor))?;
        read(&mut self.reader, &self.vendor).await
    }

    async fn must(&mut self, parts: &[&str]) -> Result<String, SendError> {
        match self.ask(parts).await? {
            Answer::Text(text) => Ok(text),
            Answer::Error(text) => Err(judge(&self.vendor, &text)),
        }
    }
}

fn broke(vendor: &str) -> SendError {
    SendError::later(format!("the connection to {vendor} broke"))
}

/// A command as a list of texts.
fn command(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

async fn read(reader: &mut BufReader<ReadHalf<Box<dyn Wire>>>, vendor: &str) -> Result<Answer, SendError> {
    let mut line = Vec::new();
    (&mut *reader).take(ANSWER as u64).read_until(b'\n', &mut line).await.map_err(|_| broke(vendor))?;
    if !line.ends_with(b"\r\n") {
        return Err(broke(vendor));
    }
    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
    let rest = text.get(1..).unwrap_or_default();
    match line.first() {
        Some(b'+' | b':') => Ok(Answer::Text(rest.to_owned())),
        Some(b'-') => Ok(Answer::Error(rest.to_owned())),
        Some(b'$') => {
            let size: i64 = rest.parse().map_err(|_| broke(vendor))?;
            // A text that is not there.
            let Ok(size) = usize::try_from(size) else { return Ok(Answer::Text(String::new())) };
            if size > ANSWER {
                return Err(broke(vendor));
            }
            let mut bytes = vec![0; size + 2];
            reader.read_exact(&mut bytes).await.map_err(|_| broke(vendor))?;
            bytes.truncate(size);
            Ok(Answer::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Err(SendError::Pause(format!("what answers is no {vendor}: are address and port right?"))),
    }
}

/// What an error means. Only its code is kept: its text may quote what was sent. Scripts put their own words around it.
fn judge(vendor: &str, text: &str) -> SendError {
    let has = |codes: &[&'static str]| {
        codes.iter().find(|code| text.split_ascii_whitespace().any(|word| word == **code)).copied()
    };
    if has(&["WRONGPASS", "NOAUTH"]).is_some() {
        return SendError::Pause(format!("{vendor} refused the credentials: are user and password right?"));
    }
    if has(&["NOPERM"]).is_some() {
        return SendError::Pause(format!(
            "{vendor} lets this user not write the stream: it needs XADD, EVALSHA and SCRIPT LOAD on its keys"
        ));
    }
    if has(&["DENIED"]).is_some() {
        return SendError::Pause(format!(
            "{vendor} is in protected mode and talks to its own machine only: give it a password"
        ));
    }
    if has(&["WRONGTYPE"]).is_some() {
        return SendError::Pause(format!(
            "the key of {vendor} that the stream is to have holds something else: give another"
        ));
    }
    if has(&["MOVED", "ASK", "CROSSSLOT"]).is_some() {
        return SendError::Pause(format!(
            "the stream lies on another node of the {vendor} cluster: give that node's address"
        ));
    }
    let known = [
        "OOM",
        "LOADING",
        "READONLY",
        "BUSY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "MISCONF",
        "NOREPLICAS",
        "NOSCRIPT",
    ];
    match has(&known) {
        Some("OOM") => SendError::later(format!("the memory of {vendor} is full (OOM)")),
        Some(code) => SendError::later(format!("{vendor} answered {code}")),
        None => SendError::later(format!(
            "{vendor} answered an error: does it know streams, and is it of version 5 or later?"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_and_what_they_quote_is_not_kept() {
        let said = |text: &str| judge("Redis", text).to_string();
        for (text, word) in [
            ("WRONGPASS invalid username-password pair or user is disabled.", "user and password"),
            ("NOAUTH Authentication required.", "user and password"),
            ("NOPERM this user has no permissions to run the 'xadd' command", "XADD"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "memory"),
            (
                "ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation against a key",
                "something else",
            ),
            ("MOVED 3999 127.0.0.1:6381", "cluster"),
            ("ERR unknown command 'EVALSHA', with args beginning with: 'canary'", "version 5"),
        ] {
            assert!(said(text).contains(word) && !said(text).contains("canary"), "{}", said(text));
        }
        assert!(matches!(judge("Redis", "LOADING Redis is loading the dataset in memory"), SendError::Later { .. }));
    }

    #[tokio::test]
    async fn answers_are_bounded_and_what_is_no_redis_is_said() {
        let of = async |bytes: &'static [u8]| {
            let (one, mut other) = tokio::io::duplex(1 << 20);
            other.write_all(bytes).await.unwrap();
            drop(other);
            let (reader, _) = tokio::io::split(Box::new(one) as Box<dyn Wire>);
            match read(&mut BufReader::new(reader), "Redis").await {
                Ok(Answer::Text(text)) => text,
                Ok(Answer::Error(text)) => format!("error {text}"),
                Err(failure) => failure.to_string(),
            }
        };
        assert_eq!(of(b"+OK\r\n").await, "OK");
        assert_eq!(of(b"$3\r\n1-0\r\n").await, "1-0");
        assert_eq!(of(b"-ERR no\r\n").await, "error ERR no");
        assert_eq!(of(b"$-1\r\n").await, "");
        for broken in [b"$999999999\r\n".as_slice(), b"$3\r\n1", b"+OK", b"", b"$x\r\n"] {
            assert!(of(broken).await.contains("broke"), "{}", String::from_utf8_lossy(broken));
        }
        assert!(of(b"HTTP/1.1 400 Bad Request\r\n").await.contains("no Redis"));
    }
}
