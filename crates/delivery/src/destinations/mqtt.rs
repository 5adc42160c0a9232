//! MQTT 5: each record published with QoS 1, as many on their way as the broker wants, each acknowledgement awaited.
//!
//! The packets that this takes (OASIS, "MQTT Version 5.0") are five, so that they are written here.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};

use crate::connectors::encode::Record;
use crate::destinations::native::Settings;
use crate::destinations::{Fate, SendError};
use crate::dial::{Dialled, Wire};

/// Messages on their way at most: what acknowledgements of them take has room in the buffers of any connection.
const WINDOW: usize = 1_000;
/// Seconds after which a broker may end a connection that says nothing; those that are idle for half of it are made anew.
const KEEP_ALIVE: u16 = 60;
/// Bytes of a packet of the broker's.
const PACKET: usize = 64 << 10;

/// Kinds of packets, as they stand in the upper half of the first byte.
const CONNACK: u8 = 2;
const PUBACK: u8 = 4;
const DISCONNECT: u8 = 14;

pub(crate) struct Mqtt {
    reader: BufReader<ReadHalf<Box<dyn Wire>>>,
    writer: WriteHalf<Box<dyn Wire>>,
    next: u16,
    window: usize,
    /// Bytes of a packet that the broker takes.
    most: usize,
    /// For how long it may say nothing: half of what the broker bears.
    pub(crate) idle: Duration,
    vendor: String,
}

impl Mqtt {
    pub(crate) async fn connect(settings: &Settings, dialled: Dialled) -> Result<Self, SendError> {
        let (reader, writer) = tokio::io::split(dialled.secured().await?);
        let vendor = settings.vendor.clone();
        let mut mqtt = Self {
            reader: BufReader::new(reader),
            writer,
            next: 0,
            window: WINDOW,
            most: usize::MAX,
            idle: half(KEEP_ALIVE),
            vendor,
        };
        let random = convizit_keys::random_text(9).map_err(|error| SendError::later(error.to_string()))?;
        let (user, password) = (settings.get("user"), settings.get("password"));
        let mut body = Vec::new();
        string("MQTT", &mut body);
        // The version; a new session, with the credentials that there are.
        let flags = 2 | if user.is_empty() { 0 } else { 0x80 } | if password.is_empty() { 0 } else { 0x40 };
        body.extend_from_slice(&[5, flags]);
        body.extend_from_slice(&KEEP_ALIVE.to_be_bytes());
        body.push(0);
        string(&format!("convizit-{random}"), &mut body);
        for text in [user, password].into_iter().filter(|text| !text.is_empty()) {
            string(text, &mut body);
        }
        let mut packet = Vec::new();
        frame(0x10, &body, &mut packet);
        mqtt.write(&packet).await?;
        let (kind, body) = mqtt.read().await?;
        let (CONNACK, [_, reason, rest @ ..]) = (kind, body.as_slice()) else {
            return Err(SendError::Pause("what answers is no MQTT broker: are address and port right?".to_owned()));
        };
        match reason {
            0 => {}
            1 | 0x84 => return Err(SendError::Pause("the broker does not speak MQTT 5".to_owned())),
            0x86 | 0x87 | 0x8c => return Err(settings.wrong_credentials()),
            code => return Err(judge(&mqtt.vendor, *code)),
        }
        mqtt.take_bounds(rest)?;
        Ok(mqtt)
    }

    pub(crate) async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        let mut on_the_way: HashMap<u16, usize> = HashMap::new();
        let mut coming = records.iter().enumerate();
        loop {
            let mut out = Vec::new();
            while on_the_way.len() < self.window {
                let Some((index, record)) = coming.next() else { break };
                self.next = self.next.checked_add(1).unwrap_or(1);
                let before = out.len();
                publish(record, self.next, &mut out);
                let whole = out.len() - before;
                if whole > self.most {
                    out.truncate(before);
                    fates[index] = Fate::Refused(format!(
                        "with {whole} bytes it is larger than the {} that the broker takes",
                        self.most
                    ));
                    continue;
                }
                on_the_way.insert(self.next, index);
            }
            if on_the_way.is_empty() {
                return Ok(());
            }
            self.write(&out).await?;
            // All that has come, so that many are written at once.
            loop {
                let (kind, body) = self.read().await?;
                match (kind, body.as_slice()) {
                    (PUBACK, [a, b, rest @ ..]) => {
                        if let Some(index) = on_the_way.remove(&u16::from_be_bytes([*a, *b])) {
                            fates[index] = self.acknowledged(rest.first().copied().unwrap_or(0))?;
                        }
                    }
                    (DISCONNECT, rest) => return Err(judge(&self.vendor, rest.first().copied().unwrap_or(0))),
                    _ => {}
                }
                if self.reader.buffer().is_empty() || on_the_way.is_empty() {
                    break;
                }
            }
        }
    }

    fn acknowledged(&self, reason: u8) -> Result<Fate, SendError> {
        match reason {
            // 16: taken, though nobody listens now.
            0 | 16 => Ok(Fate::Done),
            // 0x95 is none of the standard's for this packet; Mosquitto says so of a message above its limit.
            0x90 | 0x95 | 0x99 => {
                Ok(Fate::Refused(format!("the broker does not take the message (reason {reason:#04x})")))
            }
            code => Err(judge(&self.vendor, code)),
        }
    }

    /// What the broker says that it takes.
    fn take_bounds(&mut self, body: &[u8]) -> Result<(), SendError> {
        let unreadable = || SendError::later("the broker answered something that cannot be read");
        let (size, rest) = varint(body).ok_or_else(unreadable)?;
        let mut left = rest.get(..size).ok_or_else(unreadable)?;
        while let Some((id, rest)) = left.split_first() {
            let wide = match id {
                0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
                0x13 | 0x21 | 0x22 => 2,
                0x11 | 0x27 => 4,
                // A text or bytes with their length; two texts.
                0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => sized(rest).ok_or_else(unreadable)?,
                0x26 => {
                    let first = sized(rest).ok_or_else(unreadable)?;
                    first + rest.get(first..).and_then(sized).ok_or_else(unreadable)?
                }
                _ => return Err(unreadable()),
            };
            let (value, behind) = rest.split_at_checked(wide).ok_or_else(unreadable)?;
            match (id, value) {
                (0x21, [a, b]) => self.window = WINDOW.min(usize::from(u16::from_be_bytes([*a, *b]))).max(1),
                // The broker's own time in place of ours; 0 for no end.
                (0x13, [a, b]) => {
                    self.idle = match u16::from_be_bytes([*a, *b]) {
                        0 => half(KEEP_ALIVE),
                        seconds => half(KEEP_ALIVE.min(seconds)),
                    };
                }
                (0x24, [0]) => {
                    return Err(SendError::Pause(
                        "the broker takes no messages of QoS 1, without which one may be lost".to_owned(),
                    ));
                }
                (0x27, [a, b, c, d]) => {
                    self.most = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
                }
                _ => {}
            }
            left = behind;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.writer.write_all(bytes).await.map_err(|_| self.broke())?;
        self.writer.flush().await.map_err(|_| self.broke())
    }

    async fn read(&mut self) -> Result<(u8, Vec<u8>), SendError> {
        let kind = self.reader.read_u8().await.map_err(|_| self.broke())? >> 4;
        let mut size = 0;
        for place in 0..4 {
            let byte = self.reader.read_u8().await.map_err(|_| self.broke())?;
            size |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if size > PACKET {
            return Err(SendError::Pause("what answers is no MQTT broker: are address and port right?".to_owned()));
        }
        let mut body = vec![0; size];
        self.reader.read_exact(&mut body).await.map_err(|_| self.broke())?;
        Ok((kind, body))
    }

    fn broke(&self) -> SendError {
        SendError::later(format!("the connection to {} broke", self.vendor))
    }
}

/// Half of so many seconds.
fn half(seconds: u16) -> Duration {
    Duration::from_secs(seconds.into()) / 2
}

/// A message of QoS 1 that is not retained.
fn publish(record: &Record, number: u16, out: &mut Vec<u8>) {
    let mut properties = vec![1, 1, 3];
    string("application/json", &mut properties);
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in headers.chain([("id", record.id.as_str())]) {
        properties.push(0x26);
        string(name, &mut properties);
        string(value, &mut properties);
    }
    let mut body = Vec::with_capacity(record.body.len() + properties.len() + record.place.len() + 16);
    string(&record.place, &mut body);
    body.extend_from_slice(&number.to_be_bytes());
    number_of(properties.len(), &mut body);
    body.extend_from_slice(&properties);
    body.extend_from_slice(&record.body);
    frame(0x32, &body, out);
}

fn frame(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    number_of(body.len(), out);
    out.extend_from_slice(body);
}

/// Seven bits a byte, the lowest first.
fn number_of(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        out.push(if value == 0 { low & 0x7f } else { low | 0x80 });
        if value == 0 {
            return;
        }
    }
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}

/// Bytes of a text with its length.
fn sized(bytes: &[u8]) -> Option<usize> {
    let [a, b, ..] = bytes else { return None };
    Some(usize::from(u16::from_be_bytes([*a, *b])) + 2)
}

/// A text with its length; what is longer than a length can say is cut on a whole character.
fn string(text: &str, out: &mut Vec<u8>) {
    let text = crate::mapping::cut_bytes(text, usize::from(u16::MAX));
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// What a reason code means (section 2.4 of the standard).
fn judge(vendor: &str, code: u8) -> SendError {
    match code {
        0x87 => SendError::Pause(format!("{vendor} lets this user not publish to the topic")),
        0x9c | 0x9d => SendError::Pause(format!("{vendor} says that another server is to be used ({code:#04x})")),
        0x95 => SendError::TooLarge,
        0x97 => SendError::later(format!("a quota of {vendor} is used up (0x97)")),
        _ => SendError::later(format!("{vendor} answered with the reason {code:#04x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard() {
        for (value, bytes) in
            [(0, vec![0]), (127, vec![127]), (128, vec![0x80, 1]), (268_435_455, vec![0xff, 0xff, 0xff, 0x7f])]
        {
            let mut out = Vec::new();
            number_of(value, &mut out);
            assert_eq!((&out, varint(&out)), (&bytes, Some((value, [].as_slice()))));
        }
        assert_eq!(varint(&[0x80, 0x80, 0x80, 0x80, 1]), None);
        assert_eq!(sized(&[0, 3, b'a']), Some(5));
    }

    #[test]
    fn bounds_of_a_broker_are_read_and_what_breaks_off_is_said() {
        let (one, _) = tokio::io::duplex(64);
        let (reader, writer) = tokio::io::split(Box::new(one) as Box<dyn Wire>);
        let mut mqtt = Mqtt {
            reader: BufReader::new(reader),
            writer,
            next: 0,
            window: WINDOW,
            most: usize::MAX,
            idle: half(KEEP_ALIVE),
            vendor: "MQTT".to_owned(),
        };
        // Receive maximum 20, a user property, maximum packet size 1 MB.
        let body = [15, 0x21, 0, 20, 0x26, 0, 1, b'a', 0, 1, b'b', 0x27, 0, 0x10, 0, 0];
        mqtt.take_bounds(&body).unwrap();
        assert_eq!((mqtt.window, mqtt.most, mqtt.idle), (20, 1 << 20, Duration::from_secs(30)));
        for cut in 0..body.len() {
            assert!(mqtt.take_bounds(&body[..cut]).is_err(), "{cut}");
        }
        assert!(matches!(mqtt.take_bounds(&[2, 0x24, 0]), Err(SendError::Pause(_))));
        // The broker's keep alive: 5 s, none, more than was asked for.
        for (seconds, idle) in [(5, 2_500), (0, 30_000), (600, 30_000)] {
            let [a, b] = u16::to_be_bytes(seconds);
            mqtt.take_bounds(&[3, 0x13, a, b]).unwrap();
            assert_eq!(mqtt.idle, Duration::from_millis(idle), "{seconds}");
        }
        assert!(matches!(mqtt.acknowledged(0x97), Err(SendError::Later { .. })));
        assert!(matches!(mqtt.acknowledged(0x87), Err(SendError::Pause(_))));
        assert!(matches!(mqtt.acknowledged(0x99), Ok(Fate::Refused(_))));
        assert!(matches!(mqtt.acknowledged(0x95), Ok(Fate::Refused(_))));
        assert!(matches!(judge("MQTT", 0x95), SendError::TooLarge));
    }
}
