//! Who gets a project's events: the entry of a destination in the list of processors, and whether it fits where data is to stay.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::destination::{Destination, DestinationKind};
use crate::settings::{ProjectSettings, ResidencyRule};
use crate::time::Timestamp;

/// Most characters of a name and of a region.
const NAME: usize = 200;
const REGION: usize = 40;

/// Who processes the events that a destination gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Processor {
    /// The organisation, as it stands in the agreement: `Amplitude Inc.`; `own` for a system of one's own organisation.
    pub name: String,
    /// Where it keeps the data: `eu`, `us`, `eu-west-1`. Empty for an own system that stands where this installation does.
    pub region: String,
    /// Date of the data processing agreement, `2026-10-01`; empty for an own system.
    pub agreement: String,
}

/// What is wrong with an entry: the part, and what to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ProcessorError {
    /// `processor`, `processor_region` or `agreement`.
    pub field: &'static str,
    /// What to give.
    pub problem: &'static str,
}

impl Processor {
    /// The name of an entry for a system of one's own organisation.
    pub const OWN: &'static str = "own";

    /// The entry of a system of one's own organisation, which stands where this installation does.
    #[must_use]
    pub fn own() -> Self {
        Self { name: Self::OWN.to_owned(), ..Self::default() }
    }

    /// An entry of what a person said; `None` where they said nothing.
    ///
    /// # Errors
    /// What is missing or not of its form.
    pub fn of(name: &str, region: &str, agreement: &str) -> Result<Option<Self>, ProcessorError> {
        let [name, region, agreement] = [name, region, agreement].map(str::trim);
        if name.is_empty() && region.is_empty() && agreement.is_empty() {
            return Ok(None);
        }
        let fail = |field, problem| Err(ProcessorError { field, problem });
        if name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
            let problem = "say who processes the events, as the agreement names them: Amplitude Inc.; own for a system of your organisation";
            return fail("processor", problem);
        }
        let own = name.eq_ignore_ascii_case(Self::OWN);
        let region = region.to_ascii_lowercase();
        let plain = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if region.len() > REGION || !plain || (region.is_empty() && !own) {
            return fail("processor_region", "say where the data is kept: eu, us, eu-west-1; a-z, 0-9 and -");
        }
        if own && !agreement.is_empty() {
            return fail("agreement", "a system of your organisation has no agreement: leave it out");
        }
        if !own && !is_date(agreement) {
            return fail("agreement", "say the date of the data processing agreement: 2026-10-01");
        }
        let name = if own { Self::OWN } else { name }.to_owned();
        Ok(Some(Self { name, region, agreement: agreement.to_owned() }))
    }

    /// Whether it is of the same organisation.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.name == Self::OWN
    }

    /// Whether it keeps data where it is to stay: `eu-west-1` and `eu1` are in `eu`.
    #[must_use]
    pub fn is_inside(&self, residency: &str) -> bool {
        if residency == ProjectSettings::ANYWHERE || (self.is_own() && self.region.is_empty()) {
            return true;
        }
        lies_in(&self.region, residency)
    }
}

fn lies_in(region: &str, residency: &str) -> bool {
    region.strip_prefix(residency).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, region, agreement } = self;
        match (self.is_own(), region.is_empty()) {
            (true, true) => f.write_str("a system of the own organisation"),
            (true, false) => write!(f, "a system of the own organisation ({region})"),
            (false, _) => write!(f, "{name} ({region}, agreement of {agreement})"),
        }
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && format!("{text}T00:00:00Z").parse::<Timestamp>().is_ok()
}

/// What somebody who answers for privacy has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// What it is, as the end of a sentence about the destination.
    pub what: String,
    /// Whether it may not be enabled like this. One that sends already goes on.
    pub bars: bool,
}

impl Destination {
    /// What is to be said of who processes its events; `None` where nothing is. Files and standard output stay on this machine.
    #[must_use]
    pub fn concern(&self, settings: &ProjectSettings) -> Option<Concern> {
        let here = matches!(self.kind, DestinationKind::File { .. } | DestinationKind::Stdout { .. });
        let Some(processor) = &self.processor else {
            let what = "has no entry of who processes its events: name, region and date of the agreement are needed";
            return (!here).then(|| Concern { what: what.to_owned(), bars: true });
        };
        let residency = &settings.residency;
        // The account's own region, too: what is entered may be of before it was moved.
        let account = match &self.kind {
            DestinationKind::Connector { region, .. } => region.as_deref(),
            _ => None,
        };
        let account = account.filter(|region| residency != ProjectSettings::ANYWHERE && !lies_in(region, residency));
        let outside = account.or(Some(processor.region.as_str()).filter(|_| !processor.is_inside(residency)));
        outside.map(|region| Concern {
            what: format!("keeps data in {region}, and this project's is to stay in {residency}"),
            bars: settings.residency_rule == ResidencyRule::Refuse,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_name_a_region_and_a_date_or_is_of_the_own_organisation() {
        let made = Processor::of(" Amplitude Inc. ", "EU", "2026-10-01").unwrap().unwrap();
        assert_eq!(made.to_string(), "Amplitude Inc. (eu, agreement of 2026-10-01)");
        assert_eq!(Processor::of("Own", "", "").unwrap(), Some(Processor::own()));
        assert_eq!(Processor::of("", " ", "").unwrap(), None);
        for (name, region, agreement, field) in [
            ("", "eu", "2026-10-01", "processor"),
            ("a\nb", "eu", "2026-10-01", "processor"),
            ("Amplitude Inc.", "", "2026-10-01", "processor_region"),
            ("Amplitude Inc.", "in the EU", "2026-10-01", "processor_region"),
            ("Amplitude Inc.", "eu", "", "agreement"),
            ("Amplitude Inc.", "eu", "2026-13-01", "agreement"),
            ("Amplitude Inc.", "eu", "2026-02-30", "agreement"),
            ("Amplitude Inc.", "eu", "yesterday", "agreement"),
            ("own", "eu", "2026-10-01", "agreement"),
        ] {
            assert_eq!(Processor::of(name, region, agreement).unwrap_err().field, field, "{name} {region} {agreement}");
        }
    }

    #[test]
    fn a_region_is_inside_a_label_that_it_begins_with() {
        let of = |region: &str| Processor {
            region: region.to_owned(),
            ..Processor::of("A", "x", "2026-10-01").unwrap().unwrap()
        };
        for inside in ["eu", "eu-west-1", "eu1"] {
            assert!(of(inside).is_inside("eu"), "{inside}");
        }
        for outside in ["us", "us-east-1", "europe", "e"] {
            assert!(!of(outside).is_inside("eu") && of(outside).is_inside("none"), "{outside}");
        }
        assert!(Processor::own().is_inside("eu"));
        assert!(!Processor { region: "us".to_owned(), ..Processor::own() }.is_inside("eu"));
    }

    #[test]
    fn what_is_missing_bars_and_what_is_outside_bars_where_it_is_set_so() {
        let text = r#"{"project": "shop", "name": "hook", "enabled": true, "kind": "webhook", "url": "https://hooks.example/"}"#;
        // As destinations were stored before there were entries.
        let mut hook: Destination = serde_json::from_str(text).unwrap();
        let mut settings = ProjectSettings::default();
        assert!(hook.enabled && hook.concern(&settings).unwrap().bars);
        hook.processor = Processor::of("Hooks Ltd", "us", "2026-10-01").unwrap();
        assert_eq!(hook.concern(&settings), None);
        settings.residency = "eu".to_owned();
        let concern = hook.concern(&settings).unwrap();
        assert!(!concern.bars && concern.what.contains("us") && concern.what.contains("eu"), "{concern:?}");
        settings.residency_rule = ResidencyRule::Refuse;
        assert!(hook.concern(&settings).unwrap().bars);
        let file = Destination { processor: None, kind: DestinationKind::File { path: "/x".to_owned() }, ..hook };
        assert_eq!(file.concern(&settings), None);
    }
}
