//! Why a connection did not come about, in a sentence: the usual causes, each with what to do. Never an address, which may hold a token.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::destinations::SendError;
use crate::guard::Unresolved;

/// Causes of a cause that are followed.
const DEPTH: usize = 16;
/// With what a sentence of TLS goes on behind the name of whom it is about.
const NOT_SENT: &str = "is not sent to: ";
/// With what a sentence of the network goes on.
const NOT_REACHED: &str = "cannot be reached: ";

/// Why a request came to no answer within so many seconds; `who` is what was asked.
pub(crate) fn unsent(who: &str, seconds: u64, error: &reqwest::Error) -> SendError {
    if let Some(refused) = refused(who, error) {
        return refused;
    }
    if error.is_builder() {
        return SendError::Pause(format!("the address of {who} cannot be used: give it in another form"));
    }
    SendError::later(if error.is_timeout() {
        format!("{who} did not answer within {seconds} s")
    } else if let Some(cause) = cause(error) {
        format!("{who} {NOT_REACHED}{cause}")
    } else if error.is_connect() {
        format!("{who} cannot be reached")
    } else {
        format!("the connection to {who} broke")
    })
}

/// That somebody was not reached, and why, where a person can do something about that.
pub(crate) fn unreached(who: &str, error: &(dyn Error + 'static)) -> String {
    match cause(error) {
        Some(cause) => format!("{who} {NOT_REACHED}{cause}"),
        None => format!("{who} cannot be reached"),
    }
}

/// That the name of somebody leads nowhere where it may be sent to.
pub(crate) fn unresolved(who: &str, error: Unresolved) -> SendError {
    match error {
        Unresolved::Unknown => SendError::later(unreached(who, &error)),
        Unresolved::Forbidden | Unresolved::Open => SendError::Pause(format!("{who} {error}")),
    }
}

/// Whether a sentence is of the network between, and not of what the other side said.
pub(crate) fn is_of_network(sentence: &str) -> bool {
    const WORDS: [&str; 4] = ["cannot be reached", "did not answer", "no answer within", "the answer broke off"];
    WORDS.iter().any(|words| sentence.contains(words))
        || (sentence.starts_with("the connection to ") && sentence.ends_with(" broke"))
        || sentence.ends_with(" closed the connection")
}

/// Why nobody was sent to who was reached or may be: an address that is not allowed, TLS that cannot be trusted.
pub(crate) fn refused(who: &str, error: &(dyn Error + 'static)) -> Option<SendError> {
    match find::<Unresolved>(error) {
        Some(Unresolved::Unknown) | None => {}
        Some(forbidden) => return Some(unresolved(who, *forbidden)),
    }
    // It may be mended by itself: certificates are renewed.
    of_tls(error).map(|said| SendError::later(format!("{who} {NOT_SENT}{said}")))
}

/// Whether a sentence is one of these, which needs no further advice.
pub(crate) fn says(sentence: &str) -> bool {
    sentence.contains(NOT_SENT) || sentence.contains(NOT_REACHED)
}

/// Why the network did not bring it there, where a person can do something about that.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(Unresolved::Unknown) = find(error) {
        return Some("its name does not resolve; is it spelt right, and does this machine's name server know it?");
    }
    let mut at = Some(error);
    for _ in 0..DEPTH {
        let error = at?;
        if let Some(found) = error.downcast_ref::<io::Error>().and_then(|io| of_io(io.kind())) {
            return Some(found);
        }
        at = behind(error);
    }
    None
}

fn of_io(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => "the connection is refused; does it run there, and is the port right?",
        io::ErrorKind::TimedOut => "its address does not answer; does a firewall stand before it?",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no way leads from this machine to its address"
        }
        _ => return None,
    })
}

/// Why TLS was not agreed on, and what to do; `None` where it was not TLS that failed.
pub(crate) fn of_tls(error: &(dyn Error + 'static)) -> Option<&'static str> {
    const NOBODY: &str = "its certificate is signed by nobody whom this machine trusts; take one of a public authority there, or add \
                          your own authority's certificate to those that this machine trusts";
    const OLD: &str = "it does not speak TLS 1.2 or 1.3; turn one of them on there";
    Some(match find::<rustls::Error>(error)? {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired; renew it there"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; are the clocks of both machines right?"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name; give the name that stands in the certificate, or renew it there with this name"
            }
            CertificateError::Revoked => "its certificate was revoked; renew it there",
            // Also one that signed itself.
            _ => NOBODY,
        },
        rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        )
        | rustls::Error::PeerIncompatible(_) => OLD,
        rustls::Error::InvalidMessage(_) => "what answers there is not TLS; is the port right?",
        _ => "TLS could not be agreed on; its own log says why",
    })
}

/// What stands behind an error.
fn behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    // The source of an io::Error is that of the error which it holds, and not this error itself.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

/// An error among the causes of another.
fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut at = Some(error);
    for _ in 0..DEPTH {
        let error = at?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        at = behind(error);
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_cause_is_found_however_deep_it_is_wrapped() {
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, expired));
        let said = refused("the receiver", &wrapped).unwrap().to_string();
        assert_eq!(said, "the receiver is not sent to: its certificate has expired; renew it there");
        assert!(says(&said));
        let inside = io::Error::other(Unresolved::Forbidden);
        assert!(
            matches!(refused("the receiver", &inside), Some(SendError::Pause(text)) if text.starts_with("the receiver leads to a private"))
        );
        for passing in [io::Error::other(Unresolved::Unknown), io::Error::other("reset")] {
            assert!(refused("the receiver", &passing).is_none());
        }
    }

    /// An error behind which another one stands.
    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn each_usual_cause_is_found_behind_whatever_stands_before_it() {
        let wrapped = |error: Box<dyn Error + Send + Sync>| Outside(Box::new(Outside(error)));
        let of = |kind: io::ErrorKind| wrapped(Box::new(io::Error::from(kind)));
        for (error, word) in [
            (wrapped(Box::new(Unresolved::Unknown)), "does not resolve"),
            (of(io::ErrorKind::ConnectionRefused), "is refused"),
            (of(io::ErrorKind::TimedOut), "firewall"),
            (of(io::ErrorKind::NetworkUnreachable), "no way"),
        ] {
            let said = cause(&error).unwrap_or_default();
            assert!(said.contains(word), "{error:?}: {said}");
        }
        assert_eq!(cause(&of(io::ErrorKind::BrokenPipe)), None);
    }

    #[tokio::test]
    async fn a_request_says_why_it_has_no_answer() {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let guard = crate::guard::Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        let client = reqwest::Client::builder().dns_resolver(guard).no_proxy().build().unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = plain.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = plain.accept().await {
                stream.read_exact(&mut [0; 1]).await.ok();
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
                // Until the other side has hung up.
                stream.read_to_end(&mut Vec::new()).await.ok();
            }
        });
        for (url, word) in [
            (format!("http://{closed}/canary"), "is refused"),
            ("http://nowhere.invalid/canary".to_owned(), "does not resolve"),
            (format!("https://127.0.0.1:{port}/canary"), "is not TLS"),
        ] {
            let error = client.get(&url).send().await.unwrap_err();
            let said = unsent("the receiver", 15, &error).to_string();
            assert!(says(&said) && said.contains(word), "{url}: {said} {error:?}");
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
