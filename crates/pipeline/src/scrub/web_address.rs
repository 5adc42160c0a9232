//! Addresses: what of a URL may be kept, with its ids replaced (`/p/:id`), so that pages of one kind are one page.

use crate::scrub::first_rule;

/// Query parameters whose values are kept in every project.
const KEPT: &[&str] = &["page", "p", "sort", "order", "lang", "locale", "view", "tab"];

/// Steps of a path behind which somebody's name stands; `settings` and the like stay (`rules/rules.json`).
const OWNERS: &[&str] =
    &["u", "user", "users", "profile", "profiles", "member", "members", "people", "author", "authors"];

/// Click ids of advertisers: random texts that identify a click, not a person; they become the campaign and leave the address.
const CLICK_IDS: &[&str] = &["gclid", "fbclid", "msclkid", "ttclid", "dclid", "gbraid", "wbraid"];

/// Scheme and host of an address, lower case, without user information: `https://shop.example:8080`.
pub(crate) fn host_of(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let fits = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b));
    // The slice of the original from the scheme to the host, when nothing stood between them.
    fits.then_some((host, tail))
}

/// The address in the form that is stored: ids replaced, unlisted query values dropped, no fragment, no user information.
pub(crate) fn template(url: &str, keep: &[String]) -> String {
    let (head, tail) = match (host_of(url), url.split_once("://")) {
        (Some((host, tail)), Some((scheme, _))) => (format!("{scheme}://{}", host.to_ascii_lowercase()), tail),
        // A relative address is kept as a path; anything else is no address.
        _ if url.starts_with('/') => (String::new(), url),
        _ => return String::new(),
    };
    let tail = tail.split('#').next().unwrap_or_default();
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let mut out = head + &path_template(path);
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with('=')).take(20) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = KEPT.contains(&key) || key.starts_with("utm_") || keep.iter().any(|kept| kept == key);
        if CLICK_IDS.contains(&key) {
            continue;
        }
        if !known && (key.len() > 40 || first_rule(key).is_some() || looks_like_id(key)) {
            continue;
        }
        out.push(separator);
        separator = '&';
        out.push_str(key);
        if known && value.len() <= 100 && first_rule(value).is_none() && !value.is_empty() {
            out.push('=');
            out.push_str(value);
        }
    }
    out
}

/// A path with its ids and private segments replaced by `:id`.
pub(crate) fn path_template(path: &str) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let mut out = String::with_capacity(path.len());
    let mut before = "";
    for segment in path.split('/').skip(usize::from(path.starts_with('/'))).take(16) {
        out.push('/');
        // "/users/anna": whose page it is, though the step alone says nothing.
        let is_owner = !segment.is_empty()
            && OWNERS.contains(&before)
            && first_rule(&format!("/{before}/{segment}")) == Some("username");
        if is_owner || looks_like_id(segment) || first_rule(segment).is_some() {
            out.push_str(":id");
        } else {
            out.push_str(segment);
        }
        before = segment;
    }
    out
}

/// Whether a segment names one thing of many: a number, a UUID, a hash, a long token, letters mixed with many digits.
fn looks_like_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return segment.len() > 80;
    }
    let letters = bytes.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let hex = segment.len() >= 8 && bytes.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
    letters == 0 || hex || digits >= 4 || segment.len() > 80 || (!segment.contains(['-', '_', '.']) && digits >= 3)
}

/// The query's pairs of an address, undecoded.
pub(crate) fn query_of(url: &str) -> impl Iterator<Item = (&str, &str)> {
    url.split('#')
        .next()
        .and_then(|url| url.split_once('?'))
        .map_or("", |(_, query)| query)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_a_template_and_words_stay() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("/p/17", "/p/:id"),
            ("/p/trail-shoe", "/p/trail-shoe"),
            ("/orders/0193a1f0-0000-7000-8000-000000000001/items", "/orders/:id/items"),
            ("/u/anna%40mail.example", "/u/:id"),
            ("/v2/users", "/v2/users"),
            ("/top-10", "/top-10"),
            ("/t/deadbeef99", "/t/:id"),
            ("/blog/2026/11", "/blog/:id/:id"),
            ("/users/anna/profile", "/users/:id/profile"),
            ("/u/annab", "/u/:id"),
            ("/users/settings", "/users/settings"),
            ("/users/", "/users/"),
        ] {
            assert_eq!(path_template(path), expected, "{path}");
        }
    }

    #[test]
    fn query_values_are_kept_by_list_only() {
        let keep = vec!["color".to_owned()];
        let url = "https://anna:secret@Shop.example/p/17?utm_source=mail&token=abc&color=red&q=my+name&gclid=x1#frag";
        assert_eq!(template(url, &keep), "https://shop.example/p/:id?utm_source=mail&token&color=red&q");
        assert_eq!(template("https://shop.example?lang=a@b.example", &[]), "https://shop.example/?lang");
        assert_eq!(template("javascript:alert(1)", &[]), "");
        assert_eq!(template("/cart?x=1", &[]), "/cart?x");
    }
}
