//! The lines that load the tracker into a site, and whether its visitors' browsers can.

use axum::http::Uri;

static SNIPPET: &str = include_str!("../../../tracker/dist/snippet.html");

/// The snippet for a page's head.
#[must_use]
pub fn snippet(origin: &str, key: &str) -> String {
    SNIPPET.trim().replace("{{origin}}", origin.trim_end_matches('/')).replace("{{key}}", key)
}

/// The script of the snippet alone, for what writes the element itself.
pub(crate) fn script(origin: &str, key: &str) -> String {
    let whole = snippet(origin, key);
    whole.trim_start_matches("<script>").trim_end_matches("</script>").to_owned()
}

/// Why browsers of these origins cannot load the tracker from `public`; `None` when they can.
#[must_use]
pub fn unreachable_snippet(public: &str, origins: &[String]) -> Option<String> {
    let local = |address: &str| {
        let uri: Option<Uri> = address.parse().ok();
        uri.and_then(|uri| uri.host().map(str::to_owned)).is_some_and(|host| {
            host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.") || host == "[::1]"
        })
    };
    let away = origins.iter().find(|origin| !local(origin))?;
    if public.contains("://0.0.0.0") || public.contains("://[::]") {
        return Some(format!(
            "its snippet loads the tracker from {public}, which is no address that a browser can reach: set collector.public in convizit.toml"
        ));
    }
    if local(public) {
        return Some(format!(
            "its snippet loads the tracker from {public}, which only this machine reaches, and visitors of {away} do not: set collector.public in convizit.toml to the address that browsers use"
        ));
    }
    let secure = origins.iter().find(|origin| origin.starts_with("https://") && !local(origin))?;
    public.starts_with("http://").then(|| {
        format!("its snippet loads the tracker from {public}, and browsers load nothing by plain HTTP into {secure}: set collector.public to an https:// address")
    })
}
