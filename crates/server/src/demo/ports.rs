//! Free ports on loopback: a busy one is moved up by one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::{Result, anyhow};

/// Ports that are tried after the first.
const TRIES: u16 = 100;

/// A listener on 127.0.0.1.
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    /// `127.0.0.1:8090`.
    pub(super) authority: String,
    pub(super) moved: bool,
}

/// The shop's listeners: `localhost` is 127.0.0.1 and, where there is one, ::1.
pub(super) struct Shop {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) port: u16,
    pub(super) moved: bool,
}

pub(super) fn loopback(first: u16) -> Result<Bound> {
    for port in first..first.saturating_add(TRIES) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(Bound { listener, authority: format!("127.0.0.1:{port}"), moved: port != first });
        }
    }
    Err(busy(first))
}

pub(super) fn shop(first: u16) -> Result<Shop> {
    for port in first..first.saturating_add(TRIES) {
        let Ok(v4) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        let mut listeners = vec![v4];
        match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
            Ok(v6) => listeners.push(v6),
            // Somebody else answers there: a browser might ask them.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => continue,
            Err(_) => {}
        }
        return Ok(Shop { listeners, port, moved: port != first });
    }
    Err(busy(first))
}

fn busy(first: u16) -> anyhow::Error {
    anyhow!("the ports {first} to {} are all busy: end what listens there", first + TRIES - 1)
}
