//! Requests to a key service: over https, except to this machine, and bounded in time, size and tries.
//!
//! What is held here is wiped; the HTTP client's own buffers are not, so that a key may stay in freed memory for a while.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use zeroize::Zeroizing;

/// A try that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses after the first and the second try; there are three.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// An answer of more bytes is none of a key service.
const MAX_BYTES: usize = 256 * 1024;

/// What a service answered: a status and at most `MAX_BYTES`, wiped when dropped, since a key may be in it.
pub(super) type Answer = (StatusCode, Zeroizing<Vec<u8>>);

/// An address that secrets may be sent to: https, or http to this machine.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("{text} is no address ({error}): give one such as https://host:8200"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
            Err("the address holds a user, a password or a query: give host and port only".to_owned())
        }
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(format!("keys would travel unencrypted to {host}: give an https address")),
    }
}

/// A client that trusts the system's certificates (or those of `SSL_CERT_FILE`), follows no redirect and uses no proxy.
pub(super) fn client() -> Result<Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that cannot be parsed is one that is not trusted.
        roots.add(certificate).ok();
    }
    // Named here, since reqwest would want one that the program installed, which tests and tools have not.
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS client can be made: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .user_agent(concat!("Convizit/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("no HTTP client can be made: {error}"))
}

/// The answer to a request that is made anew for each of three tries; `passing` says which answers are worth another one.
///
/// An answer that stays so is returned as it is. Errors name no header and no body.
pub(super) async fn ask<E>(
    make: impl Fn() -> Result<RequestBuilder, E>,
    passing: impl Fn(&Answer) -> bool,
) -> Result<Result<Answer, String>, E> {
    let mut pauses = PAUSES.iter();
    loop {
        let result = once(make()?).await;
        let again = result.as_ref().map_or(true, &passing);
        match pauses.next() {
            Some(pause) if again => tokio::time::sleep(*pause).await,
            _ => return Ok(result),
        }
    }
}

/// One try.
pub(super) async fn once(request: RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(|error| reason(&error))?;
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err("its answer is too long for a key service: check the address".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body))
}

fn reason(error: &reqwest::Error) -> String {
    let text = if error.is_timeout() {
        "it did not answer within 5 s"
    } else if error.is_connect() {
        "it cannot be reached, or its certificate is not trusted"
    } else {
        "the connection broke"
    };
    format!("{text}: check the address, the network and the system's certificates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for text in ["https://vault.example:8200", "http://127.0.0.1:8200", "http://[::1]:1", "http://localhost:3"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in ["http://vault.example", "http://10.0.0.1", "http://127.0.0.1.example", "ftp://127.0.0.1", "vault"]
        {
            assert!(address(text).is_err(), "{text}");
        }
        assert!(!address("https://user:hunter2@vault.example").unwrap_err().contains("hunter2"));
    }
}
