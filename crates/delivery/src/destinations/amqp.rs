//! AMQP 0-9-1, as RabbitMQ speaks it: persistent messages, each confirmed by the broker; what no queue takes comes back.
//!
//! A publisher needs a dozen of the protocol's methods (www.rabbitmq.com, "AMQP 0-9-1 Complete Reference"), so that they are written here.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};

use crate::connectors::encode::Record;
use crate::destinations::native::Settings;
use crate::destinations::{Fate, SendError};
use crate::dial::{Dialled, Wire};

/// Properties of a message: content type, headers, delivery mode, message id, time, application.
const PROPERTIES: u16 = 0xb0c8;
/// Bytes of a frame where the broker has no bound, or a wider one.
const FRAME: u32 = 128 << 10;
/// What stands around a frame's payload.
const AROUND: usize = 8;
const END: u8 = 0xce;

/// Kinds of frames.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// Methods, by class and number.
type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const BLOCKED: Method = (10, 60);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const EXCHANGE_DECLARE: Method = (40, 10);
const EXCHANGE_DECLARE_OK: Method = (40, 11);
const PUBLISH: Method = (60, 40);
const RETURN: Method = (60, 50);
const ACK: Method = (60, 80);
const NACK: Method = (60, 120);
const SELECT: Method = (85, 10);
const SELECT_OK: Method = (85, 11);

pub(crate) struct Amqp {
    reader: BufReader<ReadHalf<Box<dyn Wire>>>,
    writer: WriteHalf<Box<dyn Wire>>,
    exchange: String,
    /// Bytes of a frame.
    most: usize,
    /// Messages of this channel: the number of each is known to both sides by counting.
    published: usize,
    settings: Settings,
}

impl Amqp {
    pub(crate) async fn connect(settings: &Settings, dialled: Dialled) -> Result<Self, SendError> {
        let (reader, writer) = tokio::io::split(dialled.secured().await?);
        let (exchange, most) = (settings.get("exchange").to_owned(), usize::try_from(FRAME).unwrap_or(usize::MAX));
        let mut amqp =
            Self { reader: BufReader::new(reader), writer, exchange, most, published: 0, settings: settings.clone() };
        amqp.write(b"AMQP\x00\x00\x09\x01").await?;
        amqp.wait_for(START).await?;
        let mut start = Out::default();
        start.table(|table| {
            table.field("product", b'S', |out| out.long("Convizit"));
            table.field("capabilities", b'F', |out| {
                out.table(|table| {
                    for name in ["publisher_confirms", "authentication_failure_close", "connection.blocked"] {
                        table.field(name, b't', |out| out.0.push(1));
                    }
                });
            });
        });
        start.short("PLAIN");
        start.long(&format!("\0{}\0{}", settings.get("user"), settings.get("password")));
        start.short("en_US");
        amqp.call(0, START_OK, &start.0).await?;
        let tune = amqp.wait_for(TUNE).await.map_err(|failure| match failure {
            // Before the tune there is nothing else to be refused.
            SendError::Pause(reason) if reason.contains("(403)") => settings.wrong_credentials(),
            failure => failure,
        })?;
        let [channels_a, channels_b, frame @ ..] = tune.as_slice() else { return Err(amqp.broke()) };
        let frame = frame.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let frame = if frame == 0 { FRAME } else { frame.min(FRAME) };
        amqp.most = usize::try_from(frame).unwrap_or(usize::MAX).max(4_096);
        // No heartbeats: a connection that is idle is made anew.
        let tuned = [&[*channels_a, *channels_b][..], &frame.to_be_bytes(), &[0, 0]].concat();
        amqp.call(0, TUNE_OK, &tuned).await?;
        let mut open = Out::default();
        open.short(settings.get("vhost"));
        open.0.extend_from_slice(&[0, 0]);
        amqp.call(0, OPEN, &open.0).await?;
        amqp.wait_for(OPEN_OK).await?;
        amqp.call(1, CHANNEL_OPEN, &[0]).await?;
        amqp.wait_for(CHANNEL_OPEN_OK).await?;
        if !amqp.exchange.is_empty() {
            // Passive: only whether it is there.
            let mut declare = Out(vec![0, 0]);
            declare.short(&amqp.exchange);
            declare.short("");
            declare.0.extend_from_slice(&[1, 0, 0, 0, 0]);
            amqp.call(1, EXCHANGE_DECLARE, &declare.0).await?;
            amqp.wait_for(EXCHANGE_DECLARE_OK).await?;
        }
        amqp.call(1, SELECT, &[0]).await?;
        amqp.wait_for(SELECT_OK).await?;
        Ok(amqp)
    }

    pub(crate) async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        let first = self.published;
        self.published += records.len();
        let mut out = Vec::new();
        for record in records {
            self.publish(record, &mut out);
        }
        let by_id: HashMap<&str, usize> =
            records.iter().enumerate().map(|(at, record)| (record.id.as_str(), at)).collect();
        let Self { reader, writer, settings, .. } = self;
        let writing = async {
            writer.write_all(&out).await.map_err(|_| broke(settings))?;
            writer.flush().await.map_err(|_| broke(settings))
        };
        // Confirmations come while the rest is still written: who does not read them makes the broker wait.
        let reading = async {
            let mut confirmed = vec![false; records.len()];
            let mut homeless = vec![false; records.len()];
            let mut left = records.len();
            let mut failure = None;
            let mut returned = false;
            while left > 0 {
                let (kind, payload) = read(reader, settings).await?;
                if kind == HEADER && returned {
                    // Whose it is has to be known: its acknowledgement follows as if it were kept.
                    let Some(index) = message_id(&payload).and_then(|id| by_id.get(id.as_str())) else {
                        return Err(SendError::later(format!(
                            "{} gave back a message that cannot be read",
                            settings.vendor
                        )));
                    };
                    let record = &records[*index];
                    let reason =
                        format!("no queue takes the routing key {}: bind one to the exchange", record.place_of);
                    if record.is_named() {
                        fates[*index] = Fate::NoPlace(reason);
                    } else {
                        // The same for all: a binding that is missing, or a queue whose server is away.
                        homeless[*index] = true;
                        failure.get_or_insert(SendError::later(reason));
                    }
                    returned = false;
                }
                let Some((method, rest)) = method_of(kind, &payload) else { continue };
                match (method, rest) {
                    (RETURN, _) => returned = true,
                    (ACK | NACK, [tag @ .., bits]) if tag.len() == 8 => {
                        let tag = tag.iter().fold(0_usize, |tag, byte| (tag << 8) | usize::from(*byte));
                        let Some(last) = tag.checked_sub(first + 1).filter(|last| *last < records.len()) else {
                            continue;
                        };
                        let from = if bits & 1 == 1 { 0 } else { last };
                        for at in (from..=last).filter(|at| !std::mem::replace(&mut confirmed[*at], true)) {
                            left -= 1;
                            if method == NACK {
                                failure.get_or_insert_with(|| {
                                    SendError::later(format!(
                                        "{} could not keep a message: is a queue full?",
                                        settings.vendor
                                    ))
                                });
                            } else if fates[at] == Fate::Waiting && !homeless[at] {
                                fates[at] = Fate::Done;
                            }
                        }
                    }
                    (BLOCKED, _) => {
                        return Err(SendError::later(format!(
                            "{} takes no messages now: its memory or disk is full",
                            settings.vendor
                        )));
                    }
                    (CLOSE | CHANNEL_CLOSE, rest) => return Err(judge(settings, rest)),
                    _ => {}
                }
            }
            failure.map_or(Ok(()), Err)
        };
        tokio::try_join!(writing, reading).map(|_| ())
    }

    /// A persistent message that comes back where no queue takes it.
    fn publish(&self, record: &Record, out: &mut Vec<u8>) {
        let mut method = Out(vec![0, 0]);
        method.short(&self.exchange);
        method.short(&record.place);
        method.0.push(1);
        frame(METHOD, 1, &with_method(PUBLISH, &method.0), out);
        let mut header = Out(vec![0, 60, 0, 0]);
        header.0.extend_from_slice(&(record.body.len() as u64).to_be_bytes());
        header.0.extend_from_slice(&PROPERTIES.to_be_bytes());
        header.short("application/json");
        header.table(|table| {
            for (name, value) in &record.headers {
                table.field(name, b'S', |out| out.long(value));
            }
        });
        header.0.push(2);
        header.short(&record.id);
        header.0.extend_from_slice(&record.time.div_euclid(1_000).to_be_bytes());
        header.short("convizit");
        frame(HEADER, 1, &header.0, out);
        for part in record.body.chunks(self.most - AROUND) {
            frame(BODY, 1, part, out);
        }
    }

    async fn call(&mut self, channel: u16, method: Method, arguments: &[u8]) -> Result<(), SendError> {
        let mut out = Vec::new();
        frame(METHOD, channel, &with_method(method, arguments), &mut out);
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.writer.write_all(bytes).await.map_err(|_| self.broke())?;
        self.writer.flush().await.map_err(|_| self.broke())
    }

    async fn wait_for(&mut self, wanted: Method) -> Result<Vec<u8>, SendError> {
        loop {
            let (kind, payload) = read(&mut self.reader, &self.settings).await?;
            match method_of(kind, &payload) {
                Some((method, rest)) if method == wanted => return Ok(rest.to_vec()),
                Some((CLOSE | CHANNEL_CLOSE, rest)) => return Err(judge(&self.settings, rest)),
                _ => {}
            }
        }
    }

    fn broke(&self) -> SendError {
        broke(&self.settings)
    }
}

fn broke(settings: &Settings) -> SendError {
    SendError::later(format!("the connection to {} broke", settings.vendor))
}

async fn read(
    reader: &mut BufReader<ReadHalf<Box<dyn Wire>>>,
    settings: &Settings,
) -> Result<(u8, Vec<u8>), SendError> {
    let mut head = [0; 7];
    reader.read_exact(&mut head).await.map_err(|_| broke(settings))?;
    let [kind, _, _, size @ ..] = head;
    let size = u32::from_be_bytes(size);
    if size > FRAME || !(matches!(kind, METHOD | HEADER | BODY) || kind == 8) {
        // Also a broker that wants another protocol answers with its name.
        return Err(SendError::Pause(format!("what answers is no {}: are address and port right?", settings.vendor)));
    }
    let mut payload = vec![0; usize::try_from(size).unwrap_or(0) + 1];
    reader.read_exact(&mut payload).await.map_err(|_| broke(settings))?;
    if payload.pop() != Some(END) {
        return Err(broke(settings));
    }
    Ok((kind, payload))
}

fn method_of(kind: u8, payload: &[u8]) -> Option<(Method, &[u8])> {
    let [a, b, c, d, rest @ ..] = payload else { return None };
    (kind == METHOD).then_some(((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])), rest))
}

fn with_method((class, number): Method, arguments: &[u8]) -> Vec<u8> {
    [&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat()
}

fn frame(kind: u8, channel: u16, payload: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(payload);
    out.push(END);
}

/// The id of a message of ours that came back: its properties stand as they were sent.
fn message_id(header: &[u8]) -> Option<String> {
    // Only where exactly the properties that were sent are there.
    let (flags, rest) = header.get(12..)?.split_at_checked(2)?;
    let (kind, rest) = rest.split_first().filter(|_| flags == PROPERTIES.to_be_bytes())?;
    let rest = rest.get(usize::from(*kind)..)?;
    let (table, rest) = rest.split_at_checked(4)?;
    let rest = rest.get(usize::try_from(u32::from_be_bytes(table.try_into().ok()?)).ok()?..)?;
    // The delivery mode.
    let (size, rest) = rest.get(1..)?.split_first()?;
    Some(String::from_utf8_lossy(rest.get(..usize::from(*size))?).into_owned())
}

/// Why a broker ended something: its code; its words may quote names.
fn judge(settings: &Settings, arguments: &[u8]) -> SendError {
    let vendor = &settings.vendor;
    let code = arguments.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes));
    match code {
        403 => SendError::Pause(format!("{vendor} lets this user not write to the exchange (403)")),
        404 => SendError::Pause(format!("{vendor} has no such exchange (404): make it there, or give another")),
        402 | 530 => {
            SendError::Pause(format!("{vendor} has no such virtual host, or the user may not enter it ({code})"))
        }
        311 | 406 => SendError::TooLarge,
        _ => SendError::later(format!("{vendor} ended the connection ({code})")),
    }
}

/// What is written, as the protocol has its types.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn short(&mut self, text: &str) {
        let text = crate::mapping::cut_bytes(text, usize::from(u8::MAX));
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn long(&mut self, text: &str) {
        self.0.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn table(&mut self, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.0.extend_from_slice(&u32::try_from(inner.0.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(&inner.0);
    }

    fn field(&mut self, name: &str, kind: u8, value: impl FnOnce(&mut Self)) {
        self.short(name);
        self.0.push(kind);
        value(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_message_that_came_back_is_found_and_a_broken_one_is_none() {
        let mut header = Out(vec![0, 60, 0, 0]);
        header.0.extend_from_slice(&7_u64.to_be_bytes());
        header.0.extend_from_slice(&0xb0c8_u16.to_be_bytes());
        header.short("application/json");
        header.table(|table| table.field("type", b'S', |out| out.long("click")));
        header.0.push(2);
        header.short("0193a1f0");
        assert_eq!(message_id(&header.0).as_deref(), Some("0193a1f0"));
        for cut in 0..header.0.len() {
            assert_eq!(message_id(&header.0[..cut]), None, "{cut}");
        }
    }
}
