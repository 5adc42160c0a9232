//! Why a connection did not come about, in a sentence: the usual causes, each with what to look at. Never an address, which may hold a token.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use crate::guard::Unresolved;

/// Errors that stand in each other at most.
const DEPTH: usize = 16;

/// Why a request came to no answer within so many seconds; `who` is what was asked.
pub(crate) fn unanswered(who: &str, seconds: u64, error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("{who} did not answer within {seconds} s");
    }
    match cause(error) {
        Some(cause) => format!("{who} cannot be reached: {cause}"),
        None if error.is_connect() => format!("{who} cannot be reached"),
        None => format!("the connection to {who} broke"),
    }
}

/// The first cause in an error and in what stands behind it that a person can do something about.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    for _ in 0..DEPTH {
        let error = next?;
        let found = match (error.downcast_ref::<Unresolved>(), error.downcast_ref::<rustls::Error>()) {
            (Some(Unresolved::Unknown(_)), _) => {
                Some("its name does not resolve; is it spelt right, and does this machine's name server know it?")
            }
            (Some(Unresolved::Forbidden(_)), _) => Some(
                "its name leads to a private or reserved address, which is refused; the operator allows networks with delivery.allow_networks",
            ),
            (None, Some(error)) => Some(of_tls(error)),
            (None, None) => None,
        };
        if found.is_some() {
            return found;
        }
        next = match error.downcast_ref::<io::Error>() {
            // What stands in one is not told by `source`.
            Some(io) => match (of_io(io.kind()), io.get_ref()) {
                (Some(found), _) => return Some(found),
                (None, Some(inner)) => Some(inner),
                (None, None) => None,
            },
            None => error.source(),
        };
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

fn of_tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its TLS certificate has expired; renew it there"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its TLS certificate is of another name; use the name that it is of"
            }
            CertificateError::UnknownIssuer => {
                "its TLS certificate is not trusted by this machine; it may be self-signed, or its chain is not whole"
            }
            _ => "its TLS certificate is not taken",
        },
        _ => "TLS fails; does it speak TLS 1.2 or later at this port?",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// An error behind which another one stands.
    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[source] Box<dyn Error + Send + Sync>);

    fn behind(error: impl Error + Send + Sync + 'static) -> Outside {
        Outside(Box::new(Outside(Box::new(error))))
    }

    #[test]
    fn each_usual_cause_is_found_behind_whatever_stands_before_it() {
        let tls = |error: CertificateError| {
            behind(io::Error::other(io::Error::new(
                io::ErrorKind::InvalidData,
                rustls::Error::InvalidCertificate(error),
            )))
        };
        for (error, word) in [
            (behind(Unresolved::Unknown("canary.example".to_owned())), "does not resolve"),
            (behind(Unresolved::Forbidden("canary.example".to_owned())), "delivery.allow_networks"),
            (behind(io::Error::from(io::ErrorKind::ConnectionRefused)), "is refused"),
            (behind(io::Error::from(io::ErrorKind::TimedOut)), "firewall"),
            (behind(io::Error::from(io::ErrorKind::NetworkUnreachable)), "no way"),
            (tls(CertificateError::Expired), "has expired"),
            (tls(CertificateError::NotValidForName), "another name"),
            (tls(CertificateError::UnknownIssuer), "not trusted"),
            (tls(CertificateError::BadEncoding), "not taken"),
            (behind(rustls::Error::DecryptError), "TLS fails"),
        ] {
            let said = cause(&error).unwrap_or_default();
            assert!(said.contains(word) && !said.contains("canary"), "{error:?}: {said}");
        }
        assert_eq!(cause(&behind(io::Error::from(io::ErrorKind::BrokenPipe))), None);
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
            (format!("https://127.0.0.1:{port}/canary"), "TLS fails"),
        ] {
            let error = client.get(&url).send().await.unwrap_err();
            let said = unanswered("the receiver", 15, &error);
            assert!(
                said.starts_with("the receiver cannot be reached: ") && said.contains(word),
                "{url}: {said} {error:?}"
            );
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
