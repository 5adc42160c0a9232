//! Browsers that send: user agents and client hints as their makers write them, some hundred of them.

/// A browser's headers.
pub(crate) struct Agent {
    pub(crate) user_agent: String,
    /// `Sec-CH-UA…` header lines; empty for browsers that send none.
    pub(crate) hints: String,
}

/// Every browser, the frequent ones first.
pub(crate) fn all() -> Vec<Agent> {
    let mut agents = Vec::new();
    for version in (118..=148).rev() {
        for (system, platform) in [
            ("Windows NT 10.0; Win64; x64", "Windows"),
            ("Macintosh; Intel Mac OS X 10_15_7", "macOS"),
            ("X11; Linux x86_64", "Linux"),
        ] {
            agents.push(chrome(system, platform, version, false));
        }
        for model in ["Pixel 8", "Pixel 9 Pro", "SM-S918B", "SM-A546B", "2201117TY", "moto g84 5G", "K"] {
            for android in [13, 14, 15] {
                agents.push(chrome(&format!("Linux; Android {android}; {model}"), "Android", version, true));
            }
        }
        let firefox = version - 2;
        for system in ["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10.15", "X11; Ubuntu; Linux x86_64"] {
            let user_agent = format!("Mozilla/5.0 ({system}; rv:{firefox}.0) Gecko/20100101 Firefox/{firefox}.0");
            agents.push(Agent { user_agent, hints: String::new() });
        }
    }
    for (major, minor) in (15..=26).rev().flat_map(|major| (0..6).map(move |minor| (major, minor))) {
        let user_agent = format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS {major}_{minor} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{major}.{minor} Mobile/15E148 Safari/604.1"
        );
        agents.push(Agent { user_agent, hints: String::new() });
    }
    agents
}

fn chrome(system: &str, platform: &str, version: u32, mobile: bool) -> Agent {
    let (safari, digit) = if mobile { ("Mobile Safari", 1) } else { ("Safari", 0) };
    Agent {
        user_agent: format!(
            "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 {safari}/537.36"
        ),
        hints: format!(
            "Sec-CH-UA: \"Chromium\";v=\"{version}\", \"Google Chrome\";v=\"{version}\", \"Not_A Brand\";v=\"24\"\r\nSec-CH-UA-Mobile: ?{digit}\r\nSec-CH-UA-Platform: \"{platform}\"\r\n"
        ),
    }
}
