//! Connections to servers whose addresses a person typed: each resolved once, looked at, dialled at the very address, with TLS by its name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::connectors::manifest::{Protocol, Schemes};
use crate::destinations::SendError;
use crate::guard::{Guard, Unresolved};
use crate::why;

/// One address of a server that is tried before the next.
const TRY: Duration = Duration::from_secs(5);
/// What stands for a server in what is kept and told.
const SERVER: &str = "the server";
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

    /// The first of them with which this begins well, in their order from the one of this number on; each has its share of the time. Returns
    /// how many were passed over. What waits for a person, once somebody has answered, is the same with all of them.
    pub(crate) async fn begin<'f, T>(
        &self,
        (first, within): (usize, Duration),
        guard: &Guard,
        begin: impl Fn(Dialled) -> BoxFuture<'f, Result<T, SendError>> + Send,
    ) -> (usize, Result<T, SendError>) {
        let until = Instant::now() + within;
        let mut failure = SendError::Pause("the address names no server".to_owned());
        for passed in 0..self.of.len() {
            let Some((host, port)) = self.of.get((first % self.of.len() + passed) % self.of.len()) else { continue };
            let left = u32::try_from(self.of.len() - passed).unwrap_or(1);
            let share = until.saturating_duration_since(Instant::now()) / left;
            let beginning = async {
                let dialled = self.dial_one(host, *port, guard, SERVER).await.map_err(|failure| (failure, true))?;
                begin(dialled).await.map_err(|failure| {
                    let goes_on = matches!(failure, SendError::Later { .. });
                    (failure, goes_on)
                })
            };
            let (error, goes_on) = match tokio::time::timeout(share, beginning).await {
                Ok(Ok(begun)) => return (passed, Ok(begun)),
                Ok(Err(failed)) => failed,
                Err(_) => {
                    let seconds = (share.as_millis() + 500) / 1_000;
                    (SendError::later(format!("{SERVER} did not answer within {seconds} s")), true)
                }
            };
            if !goes_on {
                return (passed + 1, Err(error));
            }
            // What may pass is told before what waits for a person: another server may come back.
            if !matches!(failure, SendError::Later { .. }) {
                failure = error;
            }
        }
        (self.of.len(), Err(failure))
    }

    /// One server, which these or their cluster have named; it is told as `who`, since addresses stand in no reason.
    pub(crate) async fn dial_one(&self, host: &str, port: u16, guard: &Guard, who: &str) -> Result<Dialled, SendError> {
        let plain = || {
            SendError::Pause(format!(
                "{who}: write {}://; without TLS only networks are sent to that the operator allows with delivery.allow_networks",
                self.schemes.tls.0
            ))
        };
        let resolved = guard.resolve(host, port).await.map_err(|error| match error {
            // It begins with another word than https.
            Unresolved::Open => plain(),
            error => why::unresolved(who, error),
        })?;
        // Without TLS only to the operator's own networks.
        let own = guard.own();
        let addresses: Vec<SocketAddr> =
            resolved.into_iter().filter(|address| self.tls || own.allows(address.ip())).collect();
        if addresses.is_empty() {
            return Err(plain());
        }
        let connected = tokio::time::timeout(TRY, TcpStream::connect(addresses.as_slice())).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                // A batch is written in few pieces, and what follows waits for its answer.
                stream.set_nodelay(true).ok();
                Ok(Dialled { stream, host: host.to_owned(), tls: self.tls })
            }
            Err(error) => Err(SendError::later(why::unreached(who, &error))),
        }
    }
}

/// A connection on which nothing was said yet.
pub(crate) struct Dialled {
    pub(crate) stream: TcpStream,
    pub(crate) host: String,
    /// Whether it is to be TLS.
    pub(crate) tls: bool,
}

impl Dialled {
    /// With TLS where it is wanted, for protocols that begin with it.
    pub(crate) async fn secured(self) -> Result<Box<dyn Wire>, SendError> {
        if self.tls { secure(self.stream, &self.host).await } else { Ok(Box::new(self.stream)) }
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
        .map_err(|_| SendError::Pause(format!("the name of {SERVER} is none that a certificate can have")))?;
    match tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(why::refused(SERVER, &error).unwrap_or_else(|| {
            SendError::later(format!("{SERVER} ended the connection while TLS began: are address and port right?"))
        })),
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

    /// Dials, and says who was dialled.
    async fn begun(servers: &Servers, first: usize, guard: &Guard) -> Result<String, SendError> {
        let begin = |dialled: Dialled| -> BoxFuture<'_, _> { Box::pin(async move { Ok(dialled.host) }) };
        servers.begin((first, Duration::from_secs(15)), guard, begin).await.1
    }

    #[tokio::test]
    async fn one_that_answers_nothing_leads_to_the_next_within_its_share_of_the_time() {
        let guard = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        let (silent, good) = (
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let of = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap().port();
        let wanted = of(&good);
        let text = format!("nats://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{wanted}", of(&silent), of(&silent));
        let servers = Servers::parse(&text, Protocol::Nats).unwrap();
        // Signing in: one hangs, one breaks off, one takes everybody.
        let begin = |dialled: Dialled| -> BoxFuture<'_, Result<u16, SendError>> {
            Box::pin(async move {
                let port = dialled.stream.peer_addr().unwrap().port();
                if port != wanted {
                    std::future::pending::<()>().await;
                }
                Ok(port)
            })
        };
        let started = Instant::now();
        let within = Duration::from_millis(900);
        let (passed, begun) = servers.begin((0, within), &guard, begin).await;
        assert_eq!((passed, begun.unwrap()), (2, wanted));
        assert!(started.elapsed() < within, "{:?}", started.elapsed());
        // From another one on.
        let (passed, begun) = servers.begin((5, within), &guard, begin).await;
        assert_eq!((passed, begun.unwrap()), (0, wanted));
        // What waits for a person is the same with all of them.
        let refused = |_: Dialled| -> BoxFuture<'_, Result<(), SendError>> {
            Box::pin(async { Err(SendError::Pause("refused the credentials".to_owned())) })
        };
        let (passed, begun) = servers.begin((0, within), &guard, refused).await;
        assert!(passed == 1 && matches!(begun, Err(SendError::Pause(_))), "{begun:?}");
        let busy = |_: Dialled| -> BoxFuture<'_, Result<(), SendError>> {
            Box::pin(async { Err(SendError::later("READONLY")) })
        };
        let (passed, begun) = servers.begin((0, within), &guard, busy).await;
        assert!(passed == 3 && matches!(begun, Err(SendError::Later { .. })), "{begun:?}");
    }

    #[tokio::test]
    async fn the_guard_looks_at_every_server_and_without_tls_the_operators_networks_are_all() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        let closed = Guard::new(&[]).unwrap();
        let servers = |text: String| Servers::parse(&text, Protocol::Nats).unwrap();
        assert_eq!(begun(&servers(format!("nats://127.0.0.1:{port}")), 0, &open).await.unwrap(), "127.0.0.1");
        // The first of them that answers.
        let two = servers(format!("nats://nowhere.invalid:1,127.0.0.1:{port}"));
        assert_eq!(begun(&two, 0, &open).await.unwrap(), "127.0.0.1");
        for text in ["nats", "tls"].iter().flat_map(|scheme| {
            ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"]
                .map(|host| format!("{scheme}://{host}:{port}"))
        }) {
            let failure = begun(&servers(text.clone()), 0, &closed).await.unwrap_err();
            assert!(matches!(failure, SendError::Pause(_) | SendError::Later { .. }), "{text}");
            assert!(!failure.to_string().contains("refused"), "{text}: {failure}");
        }
        let failure = begun(&servers("nats://1.1.1.1:4222".to_owned()), 0, &closed).await.unwrap_err().to_string();
        assert!(failure.contains("write tls://"), "{failure}");
        // What is kept of a failure names no address, and is one that needs no advice.
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        for (text, word) in [
            (format!("nats://127.0.0.1:{gone}"), "the connection is refused"),
            ("nats://nowhere.invalid".to_owned(), "its name does not resolve"),
        ] {
            let said = begun(&servers(text), 0, &open).await.unwrap_err().to_string();
            assert!(said.starts_with("the server cannot be reached: ") && said.contains(word), "{said}");
            assert!(why::says(&said) && !said.contains("127.") && !said.contains("nowhere"), "{said}");
        }
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
        for (host, trusted, tls, word) in [
            ("broker.example", false, true, "signed by nobody whom this machine trusts"),
            ("other.example", true, true, "is for another name"),
            ("127.0.0.1", true, true, "is for another name"),
            ("broker.example", true, false, "is not TLS"),
        ] {
            let failure = secured(host, trusted, tls).await.unwrap_err();
            assert!(failure.contains(word) && why::says(&failure) && !failure.contains(host), "{failure}");
        }
    }
}
