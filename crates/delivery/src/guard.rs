//! The address guard: what a user typed leads to the public internet, or to networks that the operator allowed.
//!
//! It looks at addresses after name resolution, and the connection goes to the very address that was looked at.

#[cfg(test)]
mod hostile;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Where names lead.
pub(crate) trait Names: std::fmt::Debug + Send + Sync {
    /// The addresses of a name, with this port.
    fn find<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>>;
}

/// What this machine asks; tests ask a name server of their own.
#[derive(Debug)]
struct System;

impl Names for System {
    fn find<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Which addresses may be dialled.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    networks: Arc<Vec<IpNet>>,
    /// The public internet, too.
    public: bool,
    names: Arc<dyn Names>,
}

impl Guard {
    /// # Errors
    /// A network that is not of the form 10.0.0.0/8.
    pub(crate) fn new(allowed: &[String]) -> Result<Self, String> {
        let networks = allowed
            .iter()
            .map(|text| {
                text.parse::<IpNet>()
                    .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| format!("delivery.allow_networks: {text} is no network such as 10.0.0.0/8"))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { networks: Arc::new(networks), public: true, names: Arc::new(System) })
    }

    /// The same for the operator's networks only.
    pub(crate) fn own(&self) -> Self {
        Self { public: false, ..self.clone() }
    }

    /// The same for what is sent to this address: without TLS only to the operator's networks.
    pub(crate) fn for_address(&self, text: &str) -> Self {
        match Url::parse(text) {
            Ok(url) if url.scheme() == "http" => self.own(),
            _ => self.clone(),
        }
    }

    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        (self.public && is_public(address)) || self.networks.iter().any(|network| network.contains(&address))
    }

    /// The addresses of a host that may be dialled.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Unresolved> {
        let found: Vec<SocketAddr> = self.names.find(host, port).await.map_err(|_| Unresolved::Unknown)?;
        let (allowed, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| self.allows(address.ip()));
        if !allowed.is_empty() {
            return Ok(allowed);
        }
        let is_open = others.iter().any(|address| is_public(canonical(address.ip())));
        Err(if is_open { Unresolved::Open } else { Unresolved::Forbidden })
    }

    /// The checks of an address that need no network: scheme, no user information, no forbidden literal. What is wrong is said without the
    /// address: it may hold a token, and members who may not see it are told.
    pub(crate) fn check_url(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("what was entered is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http and https are sent to: write an address that begins with https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "the address holds a user name or password, which would be stored unsealed: leave it out".to_owned()
            );
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err("the address has no host".to_owned()),
        };
        if literal.is_some_and(|address| !self.allows(address)) {
            if !self.public && literal.is_some_and(|address| is_public(canonical(address))) {
                return Err(format!("the address {}", Unresolved::Open));
            }
            return Err(
                "the address is a private or reserved address; the operator allows networks with delivery.allow_networks"
                    .to_owned(),
            );
        }
        Ok(url)
    }

    /// Whether somebody listens there. What is said is for whoever entered the address, and kept nowhere.
    pub(crate) async fn reach(&self, text: &str) -> Result<(), String> {
        let url = self.check_url(text)?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses = self.resolve(host, port).await.map_err(|error| format!("the address {error}"))?;
        let connected =
            tokio::time::timeout(Duration::from_secs(5), tokio::net::TcpStream::connect(addresses.as_slice()));
        match connected.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(format!("nobody answers at {host}:{port}")),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Why a name leads nowhere: what is said behind the word for whom it is of. The name itself stands nowhere: reasons are kept, and told to
/// members who may not see addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    /// Nobody knows it now; that may pass.
    #[error("has a name that cannot be resolved")]
    Unknown,
    /// A person must act.
    #[error("leads to a private or reserved address; the operator allows networks with delivery.allow_networks")]
    Forbidden,
    /// A person must act.
    #[error(
        "is in no network that the operator allows with delivery.allow_networks, and without TLS only those are sent to: write https"
    )]
    Open,
}

/// IPv4 inside IPv6 forms (mapped, compatible, 6to4, NAT64) as the IPv4 address that is reached.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => v4(a, b),
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => v4(a, b),
        [0x2002, a, b, ..] => v4(a, b),
        _ => IpAddr::V6(v6),
    }
}

/// Neither loopback, private, link-local, shared, documentation, benchmark, multicast nor reserved (IANA special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Global unicast only, less what is carved out of it.
    (a & 0xe000) == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass_without_the_operator() {
        let guard = Guard::new(&[]).unwrap();
        for address in
            ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8"]
        {
            assert!(guard.allows(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.8",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "192.88.99.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "3fff::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "::7f00:1",
            "64:ff9b:1::1",
            "5f00::1",
        ] {
            assert!(!guard.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_operator_allows_networks_and_literals_in_other_forms_are_seen_through() {
        let guard = Guard::new(&["127.0.0.0/8".to_owned(), "::1".to_owned()]).unwrap();
        assert!(guard.allows("127.0.0.1".parse().unwrap()));
        assert!(guard.allows("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!guard.allows("10.0.0.1".parse().unwrap()));
        assert!(Guard::new(&["lan".to_owned()]).unwrap_err().contains("lan"));
        let closed = Guard::new(&[]).unwrap();
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://127.1/",
            "ftp://8.8.8.8/",
            "http://user:secret@8.8.8.8/",
            "file:///etc/passwd",
            "nonsense",
        ] {
            assert!(closed.check_url(url).is_err(), "{url}");
        }
        assert!(closed.check_url("https://hooks.example/x").is_ok());
    }

    #[test]
    fn what_goes_without_tls_goes_to_the_operators_networks_only() {
        let own = Guard::new(&["10.0.0.0/8".to_owned()]).unwrap().own();
        assert!(own.check_url("http://10.1.2.3:9000/bucket").is_ok());
        assert!(own.check_url("http://8.8.8.8/").unwrap_err().contains("https"));
        assert!(!own.allows("8.8.8.8".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_after_resolution_and_an_unknown_one_may_be_known_later() {
        let closed = Guard::new(&[]).unwrap();
        assert!(matches!(closed.resolve("nowhere.invalid", 80).await, Err(Unresolved::Unknown)));
        assert!(matches!(closed.resolve("localhost", 80).await, Err(Unresolved::Forbidden)));
    }
}
