//! What a request says beside its body: device, bot or not, country. The address and the user agent end here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use convizit_model::{Device, Location};
use maxminddb::Reader;
use regex::RegexSet;
use ua_parser::{Extractor, Regexes};

static COUNTRIES: &[u8] = include_bytes!("../../../data/country.mmdb");
static USER_AGENTS: &str = include_str!("../../../data/user-agents.json");
static BOTS: &str = include_str!("../../../data/bots.txt");

/// User agents whose answer is kept in memory; few thousand make nearly all traffic of a site.
const CACHED: usize = 4096;
/// Longest user agent that is looked at, in bytes.
const USER_AGENT_BYTES: usize = 512;

/// The countries of addresses, for whoever needs nothing else of the tables; cheap to clone.
#[derive(Clone)]
pub struct Countries(Arc<Reader<Database>>);

impl std::fmt::Debug for Countries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Countries")
    }
}

impl Countries {
    /// The table vendored in `data/`.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn vendored() -> Result<Self, String> {
        let reader = Reader::from_source(Database::Vendored(COUNTRIES));
        Ok(Self(Arc::new(reader.map_err(|error| format!("data/country.mmdb: {error}"))?)))
    }

    /// Another MaxMind-format database.
    ///
    /// # Errors
    /// When the bytes are no such database.
    pub fn given(database: Vec<u8>) -> Result<Self, String> {
        let reader = Reader::from_source(Database::Given(database));
        Ok(Self(Arc::new(reader.map_err(|error| format!("not a MaxMind-format database: {error}"))?)))
    }

    /// The code of an address's country; `None` where it is of none, as private ones are.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<String> {
        locate(&self.0, address).country
    }
}

fn locate(countries: &Reader<Database>, address: IpAddr) -> Location {
    let Ok(found) = countries.lookup(canonical(address)) else { return Location::default() };
    let text = |path: &[maxminddb::PathElement<'_>]| found.decode_path::<String>(path).ok().flatten();
    use maxminddb::PathElement::{Index, Key};
    let country = text(&[Key("country"), Key("iso_code")]).or_else(|| text(&[Key("country_code")]));
    let region = text(&[Key("subdivisions"), Index(0), Key("iso_code")]);
    Location { country: country.filter(|code| code.len() == 2), region: region.filter(|code| code.len() <= 6) }
}

/// Look-up tables that the collector loads once.
pub struct Tables {
    countries: Countries,
    user_agents: Extractor<'static>,
    bots: RegexSet,
    known: RwLock<HashMap<u64, Arc<Client>>>,
}

/// A database that is part of the program, or one that the operator gave.
enum Database {
    Vendored(&'static [u8]),
    Given(Vec<u8>),
}

impl AsRef<[u8]> for Database {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Vendored(bytes) => bytes,
            Self::Given(bytes) => bytes,
        }
    }
}

/// What a user agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) device: Device,
    pub(crate) bot: bool,
}

impl Tables {
    /// The tables vendored in `data/`.
    ///
    /// # Errors
    /// When a table is malformed.
    pub fn vendored() -> Result<Self, String> {
        let regexes: Regexes<'static> =
            serde_json::from_str(USER_AGENTS).map_err(|error| format!("data/user-agents.json: {error}"))?;
        Ok(Self {
            countries: Countries::vendored()?,
            user_agents: Extractor::try_from(regexes).map_err(|error| format!("data/user-agents.json: {error}"))?,
            bots: RegexSet::new(BOTS.lines()).map_err(|error| format!("data/bots.txt: {error}"))?,
            known: RwLock::default(),
        })
    }

    /// Replaces the country database by another MaxMind-format file (a city database also gives regions).
    ///
    /// # Errors
    /// When the bytes are no such database.
    pub fn with_geo(self, database: Vec<u8>) -> Result<Self, String> {
        Ok(Self { countries: Countries::given(database)?, ..self })
    }

    /// Country, and region where the database has one.
    pub(crate) fn locate(&self, address: IpAddr) -> Location {
        locate(&self.countries.0, address)
    }

    /// Device and bot flag of a user agent and its client hints.
    pub(crate) fn client(&self, user_agent: &str, hints: &[(&str, &str)]) -> Arc<Client> {
        let user_agent = user_agent.get(..USER_AGENT_BYTES).unwrap_or(user_agent);
        let mut key = xxhash_rust::xxh3::Xxh3::new();
        for part in std::iter::once(user_agent).chain(hints.iter().flat_map(|(name, value)| [*name, *value])) {
            key.update(part.as_bytes());
            key.update(&[0]);
        }
        let key = key.digest();
        if let Some(client) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return client.clone();
        }
        let client = Arc::new(self.parse(user_agent, hints));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED {
            // Refilled within moments by what is really seen; a list of ages would cost every hit.
            known.clear();
        }
        known.insert(key, client.clone());
        client
    }

    fn parse(&self, user_agent: &str, hints: &[(&str, &str)]) -> Client {
        let (browser, system, device) = self.user_agents.extract(user_agent);
        let hint = |name: &str| {
            hints
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim_matches('"'))
                .filter(|v| !v.is_empty())
        };
        let family = browser.as_ref().map(|browser| browser.family.replace("Mobile ", "").replace(" Mobile", ""));
        let os_name = hint("sec-ch-ua-platform")
            .filter(|platform| PLATFORMS.contains(platform))
            .map(str::to_owned)
            .or_else(|| system.as_ref().map(|system| system.os.to_string()))
            .map(|os| if os == "Mac OS X" { "macOS".to_owned() } else { os });
        let brand = device
            .as_ref()
            .and_then(|device| match (device.brand.as_deref(), device.model.as_deref()) {
                (_, Some(model)) if model.starts_with("Pixel") => Some("Pixel"),
                (Some(brand), _) if !brand.starts_with("Generic") && brand != "Spider" => Some(brand),
                _ => None,
            })
            .map(str::to_owned);
        let tablet = user_agent.contains("iPad")
            || user_agent.contains("Tablet")
            || (user_agent.contains("Android") && !user_agent.contains("Mobile"));
        let kind = if ["TV", "Tizen", "Web0S", "BRAVIA"].iter().any(|word| user_agent.contains(word)) {
            "tv"
        } else if tablet {
            "tablet"
        } else if hint("sec-ch-ua-mobile") == Some("?1") || user_agent.contains("Mobi") || user_agent.contains("iPhone")
        {
            "mobile"
        } else {
            "desktop"
        };
        let client = Device {
            platform: "web".to_owned(),
            os_name: os_name.filter(|os| os != "Other"),
            os_version: system.as_ref().and_then(|system| system.major.as_deref()).map(str::to_owned),
            browser: family.filter(|family| family != "Other"),
            browser_version: browser.as_ref().and_then(|browser| browser.major).map(str::to_owned),
            brand,
            kind: Some(kind.to_owned()),
        };
        let headless = client.browser.as_deref() == Some("HeadlessChrome");
        let bot = user_agent.trim().is_empty() || headless || self.bots.is_match(user_agent);
        Client { device: clean(client), bot }
    }
}

/// What `Sec-CH-UA-Platform` may say (User-Agent Client Hints, 3.6); it is free text of the client's otherwise.
const PLATFORMS: [&str; 7] = ["Android", "Chrome OS", "Chromium OS", "iOS", "Linux", "macOS", "Windows"];

/// A user agent is free text of the client's: what does not look like a word of a device is left out.
fn clean(mut device: Device) -> Device {
    for field in [
        &mut device.os_name,
        &mut device.os_version,
        &mut device.browser,
        &mut device.browser_version,
        &mut device.brand,
    ] {
        let fits = |text: &String| {
            text.chars().count() <= 40
                && !text.chars().any(char::is_control)
                && crate::scrub::first_rule(text).is_none()
        };
        *field = field.take().filter(fits);
    }
    device
}

/// IPv4 in IPv6 forms as IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendored_tables_know_devices_bots_and_countries() {
        let tables = Tables::vendored().unwrap();
        let phone = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
        let client = tables.client(phone, &[]);
        assert_eq!(client.device.os_name.as_deref(), Some("Android"));
        assert_eq!(client.device.os_version.as_deref(), Some("15"));
        assert_eq!(client.device.browser.as_deref(), Some("Chrome"));
        assert_eq!(client.device.brand.as_deref(), Some("Pixel"));
        assert_eq!(client.device.kind.as_deref(), Some("mobile"));
        assert!(!client.bot);
        assert_eq!(tables.client(phone, &[]), client, "the second answer comes from memory");
        for bot in
            ["Googlebot/2.1 (+http://www.google.com/bot.html)", "", "curl/8.1", "Mozilla/5.0 HeadlessChrome/131.0"]
        {
            assert!(tables.client(bot, &[]).bot, "{bot}");
        }
        let windows = tables.client("Mozilla/5.0", &[("sec-ch-ua-platform", "\"Windows\"")]);
        assert_eq!(windows.device.os_name.as_deref(), Some("Windows"));
        assert_eq!(tables.locate("8.8.8.8".parse().unwrap()).country.as_deref(), Some("US"));
        assert_eq!(tables.locate("::ffff:8.8.8.8".parse().unwrap()).country.as_deref(), Some("US"));
        assert_eq!(tables.locate("127.0.0.1".parse().unwrap()), Location::default());
    }

    #[test]
    fn a_private_text_in_a_user_agent_goes_no_further() {
        let tables = Tables::vendored().unwrap();
        let client = tables.client(
            "Mozilla/5.0 (Linux; Android 15; anna.b@mail.example) Mobile",
            &[("sec-ch-ua-platform", "anna.b@mail.example")],
        );
        assert!(!serde_json::to_string(&client.device).unwrap().contains("anna"));
    }

    #[test]
    fn the_cache_is_bounded() {
        let tables = Tables::vendored().unwrap();
        for n in 0..CACHED + 10 {
            tables.client(&format!("x{n}"), &[]);
        }
        assert!(tables.known.read().unwrap().len() <= CACHED);
    }
}
