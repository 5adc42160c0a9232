//! A connection to one Kafka broker: requests and answers in frames, signed in by SASL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convizit_keys::Scram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::destinations::SendError;
use crate::destinations::native::Settings;
use crate::dial::{Dialled, Wire};

/// Bytes of an answer: those to metadata of a topic with thousands of partitions are the largest.
const ANSWER: i32 = 8 << 20;
/// How it calls itself.
const CLIENT: &str = "convizit";

/// Kinds of requests, with the version that is spoken: the oldest that brokers of Kafka 4 still take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Api {
    Produce,
    Metadata,
    SaslHandshake,
    InitProducerId,
    SaslAuthenticate,
}

impl Api {
    fn key_and_version(self) -> (i16, i16) {
        match self {
            Self::Produce => (0, 3),
            Self::Metadata => (3, 4),
            Self::SaslHandshake => (17, 1),
            Self::InitProducerId => (22, 0),
            Self::SaslAuthenticate => (36, 0),
        }
    }
}

pub(crate) struct Connection {
    stream: Box<dyn Wire>,
    correlation: i32,
    vendor: String,
}

impl Connection {
    /// To a broker that the guard has let pass.
    pub(crate) async fn open(dialled: Dialled, settings: &Settings) -> Result<Self, SendError> {
        let stream = dialled.secured().await?;
        let mut connection = Self { stream, correlation: 0, vendor: settings.vendor.clone() };
        if !settings.get("user").is_empty() {
            connection.sign_in(settings).await?;
        }
        Ok(connection)
    }

    pub(crate) async fn ask(&mut self, api: Api, body: &[u8]) -> Result<Vec<u8>, SendError> {
        self.write(api, body).await?;
        self.read().await
    }

    pub(crate) async fn write(&mut self, api: Api, body: &[u8]) -> Result<(), SendError> {
        let (key, version) = api.key_and_version();
        self.correlation = self.correlation.wrapping_add(1);
        let mut head = Out::default();
        head.i16(key);
        head.i16(version);
        head.i32(self.correlation);
        head.string(CLIENT);
        let size = i32::try_from(head.0.len() + body.len()).map_err(|_| SendError::TooLarge)?;
        let whole = [&size.to_be_bytes()[..], &head.0, body].concat();
        self.stream.write_all(&whole).await.map_err(|_| self.broke())?;
        self.stream.flush().await.map_err(|_| self.broke())
    }

    /// The answer to the newest request.
    pub(crate) async fn read(&mut self) -> Result<Vec<u8>, SendError> {
        let size = self.stream.read_i32().await.map_err(|_| self.broke())?;
        if !(4..=ANSWER).contains(&size) {
            return Err(SendError::Pause(format!(
                "what answers is no {}: are address and port right, and does it speak TLS there?",
                self.vendor
            )));
        }
        let mut answer = vec![0; usize::try_from(size).unwrap_or(0)];
        self.stream.read_exact(&mut answer).await.map_err(|_| self.broke())?;
        let body = answer.split_off(4);
        if answer != self.correlation.to_be_bytes() {
            return Err(self.broke());
        }
        Ok(body)
    }

    fn broke(&self) -> SendError {
        // A broker that wants TLS or a user says so by hanging up.
        let hint = if self.correlation <= 1 { ": does it want TLS, or a user?" } else { "" };
        SendError::later(format!("the connection to {} broke{hint}", self.vendor))
    }

    async fn sign_in(&mut self, settings: &Settings) -> Result<(), SendError> {
        let mechanism = settings.get("mechanism");
        let mut body = Out::default();
        body.string(mechanism);
        let answer = self.ask(Api::SaslHandshake, &body.0).await?;
        let mut answer = In(&answer);
        let refused = || SendError::Pause(format!("{} does not take the mechanism {mechanism}", settings.vendor));
        if answer.i16().ok_or_else(|| self.broke())? != 0 {
            return Err(refused());
        }
        let (user, password) = (settings.get("user"), settings.get("password"));
        let hash = match mechanism {
            "SCRAM-SHA-256" => Scram::Sha256,
            "SCRAM-SHA-512" => Scram::Sha512,
            _ => {
                self.authenticate(format!("\0{user}\0{password}").as_bytes(), settings).await?;
                return Ok(());
            }
        };
        // RFC 5802, section 5; the name's own signs are escaped.
        let nonce = convizit_keys::random_text(24).map_err(|error| SendError::later(error.to_string()))?;
        let first = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        let challenge = self.authenticate(format!("n,,{first}").as_bytes(), settings).await?;
        let challenge = String::from_utf8(challenge).map_err(|_| refused())?;
        let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name));
        let (Some(joined), Some(salt), Some(times)) = (field("r="), field("s="), field("i=")) else {
            return Err(refused());
        };
        let (Ok(salt), Ok(times)) = (STANDARD.decode(salt), times.parse()) else { return Err(refused()) };
        if !joined.starts_with(&nonce) {
            return Err(refused());
        }
        let last = format!("c=biws,r={joined}");
        let message = format!("{first},{challenge},{last}");
        // The broker says how long this computes: not on a thread that others need.
        let password = password.to_owned();
        let proving = tokio::task::spawn_blocking(move || {
            convizit_keys::scram(hash, &password, (&salt, times), message.as_bytes())
        });
        let (proof, signature) = proving
            .await
            .map_err(|_| SendError::later(format!("the proof for {} could not be computed", settings.vendor)))?
            .map_err(|error| SendError::Pause(format!("{}: {error}", settings.vendor)))?;
        let answer = self.authenticate(format!("{last},p={}", STANDARD.encode(proof)).as_bytes(), settings).await?;
        if answer != format!("v={}", STANDARD.encode(signature)).into_bytes() {
            return Err(SendError::Pause(format!(
                "{} does not know the password itself: is it the right server?",
                settings.vendor
            )));
        }
        Ok(())
    }

    async fn authenticate(&mut self, token: &[u8], settings: &Settings) -> Result<Vec<u8>, SendError> {
        let mut body = Out::default();
        body.bytes(token);
        let answer = self.ask(Api::SaslAuthenticate, &body.0).await?;
        let mut answer = In(&answer);
        let code = answer.i16().ok_or_else(|| self.broke())?;
        answer.string();
        match code {
            0 => Ok(answer.bytes().unwrap_or_default().to_vec()),
            _ => Err(settings.wrong_credentials()),
        }
    }
}

/// What is written, as the protocol has its types.
#[derive(Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn len(&mut self, value: usize) {
        self.i32(i32::try_from(value).unwrap_or(i32::MAX));
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

/// What is read; `None` where it ends early.
pub(crate) struct In<'a>(pub(crate) &'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, many: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(many)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn i8(&mut self) -> Option<i8> {
        Some(i8::from_be_bytes(self.take(1)?.try_into().ok()?))
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A text that may be null.
    pub(crate) fn string(&mut self) -> Option<String> {
        let many = usize::try_from(self.i16()?).unwrap_or(0);
        Some(String::from_utf8_lossy(self.take(many)?).into_owned())
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let many = usize::try_from(self.i32()?).unwrap_or(0);
        self.take(many)
    }

    /// A list, whose every part takes at least a byte.
    pub(crate) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let many = usize::try_from(self.i32()?).unwrap_or(0);
        if many > self.0.len() {
            return None;
        }
        (0..many).map(|_| one(self)).collect()
    }
}
