//! Mail by SMTP: plain text, to one person each, by the server that the operator named.

use std::net::IpAddr;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::why;

/// A server that takes longer is asked again later.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How the connection to a mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailTls {
    /// Plain at first, TLS before anything is said; a server without it is refused.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None: for a server on the same machine.
    None,
}

/// The mail server of an installation.
#[derive(Clone, PartialEq, Eq)]
pub struct MailConfig {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub tls: MailTls,
    /// User name and password; `None` where it takes mail from this machine without.
    pub login: Option<(String, String)>,
    /// The certificate of an authority that is trusted beside the system's, as PEM.
    pub ca: Option<Vec<u8>>,
    /// From whom mail comes: `convizit@shop.example` or `Convizit <convizit@shop.example>`.
    pub from: String,
}

/// Without the password.
impl std::fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("login", &self.login.as_ref().map(|(user, _)| user))
            .field("ca", &self.ca.is_some())
            .field("from", &self.from)
            .finish()
    }
}

/// A message to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The text, with lines of any length.
    pub text: String,
    /// The same at each try, so that a mailbox shows it once; `None` where it is tried once.
    pub id: Option<String>,
}

/// Why a message was not taken. No text here names a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// It may be taken later.
    #[error("{0}")]
    Later(String),
    /// A person has to do something.
    #[error("{0}")]
    Refused(String),
}

impl MailConfig {
    /// Checks what can be checked without the server.
    ///
    /// # Errors
    /// The setting that cannot be used, and what to change.
    pub fn check(&self) -> Result<(), String> {
        if self.host.is_empty() {
            return Err("mail.host: the name of the mail server is needed".to_owned());
        }
        if self.from.parse::<Mailbox>().is_err() {
            return Err(format!("mail.from = {}: an address such as convizit@shop.example is needed", self.from));
        }
        if self.ca.as_ref().is_some_and(|pem| Certificate::from_pem(pem).is_err()) {
            return Err("mail.ca: the file holds no certificate in PEM form".to_owned());
        }
        let near = self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if self.tls == MailTls::None && !near {
            return Err(
                "mail.tls = \"none\" would carry links and a password over the network for all to read: only to a server on this machine"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
        let parameters = || {
            let mut builder = TlsParameters::builder(self.host.clone());
            if let Some(pem) = &self.ca {
                let unread = |_| MailError::Refused("mail.ca holds no certificate".to_owned());
                builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(unread)?);
            }
            let unread = |_| MailError::Refused("the system's certificates cannot be read".to_owned());
            builder.build_rustls().map_err(unread)
        };
        let tls = match self.tls {
            MailTls::Starttls => Tls::Required(parameters()?),
            MailTls::Tls => Tls::Wrapper(parameters()?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.host.as_str())
            .port(self.port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Ok(from) = self.from.parse::<Mailbox>() {
            builder = builder.hello_name(ClientId::Domain(from.email.domain().to_owned()));
        }
        if let Some((user, password)) = &self.login {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(builder.build())
    }

    /// Whether the server answers, speaks TLS and takes the password; nothing is sent.
    ///
    /// # Errors
    /// One sentence: what is wrong.
    pub async fn answers(&self) -> Result<(), String> {
        let trying = async {
            let transport = self.transport()?;
            transport.test_connection().await.map_err(|error| self.why(&error))
        };
        match tokio::time::timeout(TIMEOUT, trying).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(format!("the mail server {}:{} ended the connection", self.host, self.port)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the mail server {}:{} does not answer", self.host, self.port)),
        }
    }

    /// Sends a message; done means that the server has taken it.
    ///
    /// # Errors
    /// `Later` or `Refused`.
    pub async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let refused = |what: &str| MailError::Refused(what.to_owned());
        let from: Mailbox = self.from.parse().map_err(|_| refused("mail.from is no address"))?;
        let to: Address = mail.to.parse().map_err(|_| refused("the account's address cannot be written to"))?;
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .message_id(Some(match &mail.id {
                Some(id) => format!("<{id}@{}>", from.email.domain()),
                None => format!("<{}@{}>", random_id(), from.email.domain()),
            }))
            .from(from)
            .to(Mailbox::new(None, to))
            .subject(mail.subject.as_str())
            // RFC 3834: no answer of an absent person's machine is wanted.
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|_| refused("the message cannot be made"))?;
        let transport = self.transport()?;
        // The library bounds each command, this all of them.
        match tokio::time::timeout(TIMEOUT * 2, transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.why(&error)),
            Err(_) => Err(MailError::Later("the mail server takes too long".to_owned())),
        }
    }

    /// What went wrong: of the server's answer the code alone, since its text may name whom it was to.
    fn why(&self, error: &lettre::transport::smtp::Error) -> MailError {
        let place = format!("{}:{}", self.host, self.port);
        if let Some(said) = why::of_tls(error) {
            return MailError::Later(format!("TLS with the mail server {place} failed: {said}"));
        }
        match error.status() {
            Some(code) if error.is_permanent() => MailError::Refused(match u16::from(code) {
                530 | 534 | 535 => format!("the mail server {place} does not take this user and password ({code})"),
                _ => format!("the mail server {place} refused the message ({code})"),
            }),
            Some(code) => MailError::Later(format!("the mail server {place} takes no mail now ({code})")),
            None if error.is_client() => {
                MailError::Refused(format!("the mail server {place} does not offer what is needed: {error}"))
            }
            None if error.is_tls() => MailError::Later(format!("TLS with the mail server {place} failed: {error}")),
            None if error.is_timeout() => MailError::Later(format!("the mail server {place} does not answer")),
            None => MailError::Later(format!("the mail server {place} cannot be reached")),
        }
    }
}

fn random_id() -> String {
    // Without random bytes two mails may have one id, and a mailbox may show one of them.
    let bytes = convizit_keys::random_bytes::<12>().map_or([0; 12], |bytes| *bytes);
    bytes.iter().fold(String::new(), |id, byte| id + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_would_send_in_clear_are_refused() {
        let good = MailConfig {
            host: "mail.shop.example".to_owned(),
            port: 587,
            tls: MailTls::Starttls,
            login: Some(("me".to_owned(), "canary".to_owned())),
            ca: None,
            from: "Convizit <convizit@shop.example>".to_owned(),
        };
        good.check().unwrap();
        assert!(!format!("{good:?}").contains("canary"));
        let none = |host: &str| MailConfig { tls: MailTls::None, host: host.to_owned(), ..good.clone() };
        assert!(none("mail.shop.example").check().unwrap_err().contains("mail.tls"));
        none("127.0.0.1").check().unwrap();
        for from in ["", "nobody", "a@b\r\nBcc: c@d.example"] {
            let wrong = MailConfig { from: from.to_owned(), ..good.clone() };
            assert!(wrong.check().unwrap_err().contains("mail.from"), "{from:?}");
        }
    }
}
