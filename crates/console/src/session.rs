//! What a browser brings: its cookie, its form's token, where it is, what it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use convizit_store::SessionPlace;

use crate::ConsoleConfig;

/// A browser takes it only with `Secure`, for this host and every path: no other host, no page of plain HTTP can set it.
const SECURE_NAME: &str = "__Host-convizit_console";
const PLAIN_NAME: &str = "convizit_console";
/// Characters of a cookie's secret at most; ours have 43.
const SECRET_CHARS: usize = 64;

/// The secret of the request's cookie.
pub(crate) fn secret(headers: &HeaderMap, config: &ConsoleConfig) -> Option<String> {
    let name = if config.secure() { SECURE_NAME } else { PLAIN_NAME };
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = all
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let secret = found.next()?;
    let fits = secret.len() <= SECRET_CHARS
        && secret.bytes().all(|sign| sign.is_ascii_alphanumeric() || b"-_".contains(&sign));
    // Two of one name are none of ours.
    (fits && !secret.is_empty() && found.next().is_none()).then(|| secret.to_owned())
}

/// The header that gives a browser its secret.
pub(crate) fn cookie(secret: &str, config: &ConsoleConfig) -> HeaderValue {
    let text = if config.secure() {
        format!("{SECURE_NAME}={secret}; Path=/; HttpOnly; SameSite=Lax; Secure")
    } else {
        format!("{PLAIN_NAME}={secret}; Path=/; HttpOnly; SameSite=Lax")
    };
    // Of characters that a header may hold.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Where the browser finds this console.
pub(crate) fn own_address(headers: &HeaderMap, config: &ConsoleConfig) -> Option<String> {
    match &config.public {
        Some(public) => Some(public.trim_end_matches('/').to_owned()),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(|host| format!("http://{host}")),
    }
}

/// Whether a changing request comes from a page of ours. Browsers say so with each of them; what says nothing is none.
pub(crate) fn is_of_our_page(headers: &HeaderMap, config: &ConsoleConfig) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let site = text(header::HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(own) = own_address(headers, config) else { return false };
    match text(header::ORIGIN) {
        Some(origin) => origin == own,
        // A page with a strict referrer policy still sends the origin with a form; only without both headers nothing is known.
        None => site.is_some(),
    }
}

/// The address of whoever asks.
pub(crate) fn address(parts: &Parts, config: &ConsoleConfig) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let forwarded = || {
        let all = parts.headers.get_all("x-forwarded-for").iter().next_back()?;
        all.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if config.behind_proxy { forwarded().unwrap_or(peer) } else { peer }
}

/// What is kept of where a session was begun: a network, a country, and a browser in words.
pub(crate) fn place(address: IpAddr, headers: &HeaderMap, config: &ConsoleConfig) -> SessionPlace {
    let network = match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.x")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::")
        }
    };
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let country = config.countries.as_ref().and_then(|countries| countries.of(address));
    SessionPlace { network, browser: browser_words(agent), country }
}

/// A browser and a system that people know; never the header itself.
fn browser_words(agent: &str) -> String {
    // The order matters: each of the first also calls itself one of the later.
    let of =
        |known: &[(&str, &'static str)]| known.iter().find(|(sign, _)| agent.contains(sign)).map(|(_, word)| *word);
    let browser = of(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = of(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "another browser".to_owned(),
    }
}

/// The place on this console that a sign-in leads to: a path of ours, or the start.
pub(crate) fn local_path(wanted: &str) -> &str {
    let plain = wanted.bytes().all(|sign| sign.is_ascii_graphic() && sign != b'\\');
    let local = wanted.starts_with('/') && !wanted.starts_with("//");
    if plain && local { wanted } else { "/projects" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn config(public: Option<&str>) -> ConsoleConfig {
        ConsoleConfig { public: public.map(str::to_owned), ..ConsoleConfig::default() }
    }

    #[test]
    fn a_sign_in_leads_nowhere_else() {
        for (wanted, to) in [
            ("/p/shop/events?like=a", "/p/shop/events?like=a"),
            ("//evil.example", "/projects"),
            ("/\\evil.example", "/projects"),
            ("\\\\evil.example", "/projects"),
            ("https://evil.example", "/projects"),
            ("javascript:alert(1)", "/projects"),
            ("/a\r\nset-cookie: a=b", "/projects"),
            (" //evil.example", "/projects"),
            ("", "/projects"),
        ] {
            assert_eq!(local_path(wanted), to, "{wanted:?}");
        }
    }

    #[test]
    fn only_our_own_pages_change_anything() {
        let plain = config(None);
        let own = [("host", "127.0.0.1:8091"), ("origin", "http://127.0.0.1:8091"), ("sec-fetch-site", "same-origin")];
        assert!(is_of_our_page(&headers(&own), &plain));
        assert!(is_of_our_page(&headers(&own[..2]), &plain));
        for foreign in [
            &[("host", "127.0.0.1:8091")][..],
            &[("host", "127.0.0.1:8091"), ("origin", "https://evil.example")],
            &[("host", "127.0.0.1:8091"), ("origin", "null")],
            &[("host", "127.0.0.1:8091"), ("origin", "http://127.0.0.1:8091"), ("sec-fetch-site", "same-site")],
            &[("host", "127.0.0.1:8091"), ("sec-fetch-site", "cross-site")],
            &[("host", "127.0.0.1:8091"), ("sec-fetch-site", "none")],
            &[("origin", "http://127.0.0.1:8091")],
        ] {
            assert!(!is_of_our_page(&headers(foreign), &plain), "{foreign:?}");
        }
        let public = config(Some("https://console.shop.example/"));
        assert!(is_of_our_page(&headers(&[("host", "x"), ("origin", "https://console.shop.example")]), &public));
        assert!(!is_of_our_page(&headers(&[("host", "evil.example"), ("origin", "http://evil.example")]), &public));
    }

    #[test]
    fn the_cookie_is_as_strict_as_the_scheme_allows() {
        let secure = cookie("abc", &config(Some("https://console.shop.example")));
        assert_eq!(secure, "__Host-convizit_console=abc; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(cookie("abc", &config(None)), "convizit_console=abc; Path=/; HttpOnly; SameSite=Lax");
        let read = |line: &str| secret(&headers(&[("cookie", line)]), &config(None));
        assert_eq!(read("a=b; convizit_console=abc"), Some("abc".to_owned()));
        for none in [
            "convizit_console=",
            "convizit_console=a b",
            "convizit_console=a; convizit_console=b",
            "__Host-convizit_console=abc",
            "",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn of_an_address_and_a_browser_little_is_kept() {
        let agent =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
        let found = place([192, 0, 2, 77].into(), &headers(&[("user-agent", agent)]), &config(None));
        assert_eq!(found.country, None);
        assert_eq!((found.network.as_str(), found.browser.as_str()), ("192.0.2.x", "Chrome on Linux"));
        let known = ConsoleConfig {
            countries: Some(convizit_pipeline::Countries::vendored().unwrap()),
            ..ConsoleConfig::default()
        };
        assert_eq!(place([8, 8, 8, 8].into(), &headers(&[]), &known).country.as_deref(), Some("US"));
        assert_eq!(place([10, 0, 0, 1].into(), &headers(&[]), &known).country, None);
        let found =
            place(IpAddr::from([0x2001, 0xdb8, 1, 2, 3, 4, 5, 6]), &headers(&[("user-agent", "<script>")]), &known);
        assert_eq!((found.network.as_str(), found.browser.as_str()), ("2001:db8:1::", "another browser"));
    }
}
