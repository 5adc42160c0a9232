//! Connections to servers whose addresses a person typed: each resolved once, looked at, dialled at the very address, with TLS by its name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::connectors::manifest::{Protocol, Schemes};
use crate::destinations::SendError;
use crate::guard::{Guard, Unresolved};

/// One address of a server that is tried before the next.
const TRY: Duration = Duration::from_secs(5);
/// Servers of one destination: those of a cluster.
const SERVERS: usize = 16;

/// A connection, whatever it goes through.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// Servers that a person typed: `nats://one:4222,two:4222`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Servers {
    pub(crate) of: Vec<(String, u16)>,
    pub(crate) tls: bool,
    schemes: Schemes,
}

impl Servers {
    /// # Errors
    /// One sentence: what to write.
    pub(crate) fn parse(text: &str, protocol: Protocol) -> Result<Self, String> {
        let schemes = protocol.schemes();
        let wrong = || {
            let (plain, tls) = (schemes.plain, schemes.tls);
            format!("the address is none of the form {}://host:{}, or {}:// without TLS", tls.0, tls.1, plain.0)
        };
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(wrong)?;
        let (tls, port) = match scheme {
            scheme if scheme == schemes.tls.0 => (true, schemes.tls.1),
            scheme if scheme == schemes.plain.0 => (false, schemes.plain.1),
            _ => return Err(wrong()),
        };
        let of = rest.trim_end_matches('/').split(',').map(|one| host_and_port(one, port).ok_or_else(wrong));
        let of = of.collect::<Result<Vec<_>, _>>()?;
        if of.len() > SERVERS {
            return Err(format!("more than {SERVERS} servers: some of a cluster are enough"));
        }
        Ok(Self { of, tls, schemes })
    }

    /// The first of them that answers, with its host. TLS is the caller's, since some protocols begin it later.
    pub(crate) async fn dial(&self, guard: &Guard) -> Result<(TcpStream, String), SendError> {
        let mut failure = SendError::Pause("the address names no server".to_owned());
        for (host, port) in &self.of {
            match self.dial_one(host, *port, guard).await {
                Ok(stream) => return Ok((stream, host.clone())),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// One server, which these or their cluster have named.
    pub(crate) async fn dial_one(&self, host: &str, port: u16, guard: &Guard) -> Result<TcpStream, SendError> {
        let resolved = guard.resolve(host, port).await.map_err(|error| match error {
            Unresolved::Unknown(_) => SendError::later(error.to_string()),
            Unresolved::Forbidden(_) | Unresolved::Open(_) => SendError::Pause(error.to_string()),
        })?;
        // Without TLS only to the operator's own networks.
        let own = guard.own();
        let addresses: Vec<SocketAddr> =
            resolved.into_iter().filter(|address| self.tls || own.allows(address.ip())).collect();
        if addresses.is_empty() {
            return Err(SendError::Pause(format!(
                "{host}: write {}://; without TLS only networks are sent to that the operator allows with delivery.allow_networks",
                self.schemes.tls.0
            )));
        }
        match tokio::time::timeout(TRY, TcpStream::connect(addresses.as_slice())).await {
            Ok(Ok(stream)) => {
                // A batch is written in few pieces, and what follows waits for its answer.
                stream.set_nodelay(true).ok();
                Ok(stream)
            }
            _ => Err(SendError::later(format!("nobody answers at {host}:{port}"))),
        }
    }
}

fn host_and_port(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        // A colon within brackets is the address's own.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (text, port),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let known = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    known.then(|| (inner.unwrap_or(host).to_owned(), port))
}

/// TLS over a connection; the certificate has to be of `host`.
pub(crate) async fn secure<W: Wire + 'static>(stream: W, host: &str) -> Result<Box<dyn Wire>, SendError> {
    secure_by(stream, host, tls_config().await).await
}

async fn secure_by<W: Wire + 'static>(
    stream: W,
    host: &str,
    config: rustls::ClientConfig,
) -> Result<Box<dyn Wire>, SendError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| SendError::Pause(format!("{host} is no name that a certificate can have")))?;
    match tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            let of = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            Err(SendError::later(match of {
                Some(rustls::Error::InvalidCertificate(what)) => {
                    format!(
                        "the certificate of {host} is not trusted ({what}): does its name stand in it, and does this system know who signed it?"
                    )
                }
                Some(_) => format!("{host} speaks no TLS 1.2 or later there: are address and port right?"),
                None => format!("{host} ended the connection while TLS began: are address and port right?"),
            }))
        }
    }
}

/// TLS that trusts whom the system trusts.
pub(crate) async fn tls_config() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    // Files are read: not on a thread that others need.
    let found = tokio::task::spawn_blocking(|| rustls_native_certs::load_native_certs().certs).await;
    for certificate in found.unwrap_or_default() {
        // One that cannot be parsed is one that is not trusted.
        roots.add(certificate).ok();
    }
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_wrong_ones_refused() {
        let of = |text: &str| Servers::parse(text, Protocol::Nats);
        assert_eq!(of("nats://a.example").unwrap().of, [("a.example".to_owned(), 4222)]);
        let two = of("tls://a:1,[::1]:2/").unwrap();
        assert!(two.tls && two.of == [("a".to_owned(), 1), ("::1".to_owned(), 2)]);
        assert_eq!(of("nats://[::1]").unwrap().of[0].0, "::1");
        for text in [
            "",
            "a:4222",
            "http://a:4222",
            "nats://",
            "nats://a:0",
            "nats://a:99999",
            "nats://user:secret@a:4222",
            "nats://a/path",
            "nats://a:1,,b:2",
            "nats://[::1",
            "nats://a b:1",
            "nats://a\r\n:1",
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains("tls://host:4222") && !error.contains("secret"), "{text}: {error}");
        }
        assert!(of(&format!("nats://{}a", "a,".repeat(16))).unwrap_err().contains("16 servers"));
    }

    #[tokio::test]
    async fn the_guard_looks_at_every_server_and_without_tls_the_operators_networks_are_all() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        let closed = Guard::new(&[]).unwrap();
        let servers = |text: String| Servers::parse(&text, Protocol::Nats).unwrap();
        assert!(servers(format!("nats://127.0.0.1:{port}")).dial(&open).await.is_ok());
        // The first of them that answers.
        let (_, host) = servers(format!("nats://nowhere.invalid:1,127.0.0.1:{port}")).dial(&open).await.unwrap();
        assert_eq!(host, "127.0.0.1");
        for text in ["nats", "tls"].iter().flat_map(|scheme| {
            ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"]
                .map(|host| format!("{scheme}://{host}:{port}"))
        }) {
            let failure = servers(text.clone()).dial(&closed).await.err().unwrap();
            assert!(matches!(failure, SendError::Pause(_) | SendError::Later { .. }), "{text}");
            assert!(!failure.to_string().contains("nobody answers"), "{text}: {failure}");
        }
        let failure = servers("nats://1.1.1.1:4222".to_owned()).dial(&closed).await.err().unwrap().to_string();
        assert!(failure.contains("write tls://"), "{failure}");
    }

    /// A certificate of an authority of the test's own, for `broker.example`.
    fn certified(folder: &std::path::Path) {
        let openssl = |arguments: &str| {
            let made =
                std::process::Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
        openssl(&format!("req {key} -keyout key.pem -out asked.pem -subj /CN=broker"));
        std::fs::write(folder.join("names"), "subjectAltName=DNS:broker.example\n").unwrap();
        openssl(
            "x509 -req -in asked.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
        );
    }

    #[tokio::test]
    async fn a_certificate_is_of_the_host_and_of_an_authority_that_is_known() {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};

        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        certified(folder.path());
        let certificate = |name: &str| CertificateDer::from_pem_file(folder.path().join(name)).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
        let server = rustls::ServerConfig::builder().with_no_client_auth();
        let server = Arc::new(server.with_single_cert(vec![certificate("cert.pem")], key).unwrap());
        let trusting = |trusted: bool| {
            let mut roots = rustls::RootCertStore::empty();
            if trusted {
                roots.add(certificate("ca.pem")).unwrap();
            }
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
        };
        let secured = async |host: &str, trusted: bool, tls: bool| {
            let (one, mut other) = tokio::io::duplex(1 << 16);
            let server = server.clone();
            let task = tokio::spawn(async move {
                if tls {
                    tokio_rustls::TlsAcceptor::from(server).accept(other).await.ok();
                } else {
                    tokio::io::AsyncWriteExt::write_all(&mut other, b"INFO {}\r\n").await.ok();
                }
            });
            let outcome = secure_by(one, host, trusting(trusted)).await.map(|_| ()).map_err(|error| error.to_string());
            task.abort();
            outcome
        };
        assert_eq!(secured("broker.example", true, true).await, Ok(()));
        for (host, trusted) in [("broker.example", false), ("other.example", true), ("127.0.0.1", true)] {
            let failure = secured(host, trusted, true).await.unwrap_err();
            assert!(failure.contains(&format!("the certificate of {host} is not trusted")), "{failure}");
        }
        let failure = secured("broker.example", true, false).await.unwrap_err();
        assert!(failure.contains("are address and port right?"), "{failure}");
    }
}
