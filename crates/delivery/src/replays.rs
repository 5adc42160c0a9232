//! What is to be known before events are sent a second time: whether they may be, what becomes of repeats, and which are too old.

use convizit_model::{DestinationKind, Timestamp};
use serde_json::Value;

use crate::DeliveryConfig;
use crate::connectors::{self, Connector};

/// What is to be known before a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayRules {
    /// Why nothing may be sent a second time; such a replay is not begun.
    pub refused: Option<String>,
    /// What a person has to agree to before.
    pub warning: Option<String>,
    /// Events that happened before are not taken, and are left out.
    pub oldest: Option<Timestamp>,
    /// Why they are not: the end of a sentence that says how many there are.
    pub bound: String,
}

/// What is to be known before events are replayed to a destination of this kind now.
#[must_use]
pub fn replay_rules(kind: &DestinationKind, config: &DeliveryConfig, now: Timestamp) -> ReplayRules {
    let warned = |text: &str| ReplayRules { warning: Some(text.to_owned()), ..ReplayRules::default() };
    match kind {
        // The same id makes no second row.
        DestinationKind::Postgres { .. } => ReplayRules::default(),
        DestinationKind::Webhook { .. } => {
            warned("Its receiver must know an event again by its id; one that does not has them twice.")
        }
        DestinationKind::File { .. } | DestinationKind::Stdout { .. } => {
            warned("Lines that are there already will be there twice: an event's id tells them apart.")
        }
        DestinationKind::Connector { connector, .. } => {
            connectors::find(connector, config.connectors.as_deref()).map_or_else(
                // It sends nothing at all then.
                |problem| ReplayRules { refused: Some(problem), ..ReplayRules::default() },
                |connector| of_connector(&connector, now),
            )
        }
    }
}

fn of_connector(connector: &Connector, now: Timestamp) -> ReplayRules {
    let manifest = &connector.manifest;
    let (name, dedup, hours) = (&manifest.meta.name, &manifest.dedup, manifest.time.max_age_hours);
    let repeats = match dedup.window_hours {
        _ if !manifest.replay.warning.is_empty() => Some(manifest.replay.warning.clone()),
        _ if dedup.field.is_empty() => {
            Some(format!("{name} knows no repeats: events that it has already will be there twice."))
        }
        0 => None,
        hours => Some(format!("{name} knows repeats for {hours} hours only: what it got earlier will be there twice.")),
    };
    let times = (!sends_times(connector))
        .then(|| format!("{name} gets no times of events: what is sent again will be there as of today."));
    let warnings: Vec<String> = repeats.into_iter().chain(times).collect();
    ReplayRules {
        refused: (!manifest.replay.allowed)
            .then(|| format!("{name} may not get events a second time: its manifest says replay.allowed = false")),
        warning: (!warnings.is_empty()).then(|| warnings.join(" ")),
        oldest: oldest(connector, now),
        bound: if hours == 0 { String::new() } else { format!("{name} takes those of the last {hours} hours only") },
    }
}

/// When what a vendor takes has happened at the earliest.
fn oldest(connector: &Connector, now: Timestamp) -> Option<Timestamp> {
    let hours = i64::from(connector.manifest.time.max_age_hours);
    (hours > 0).then(|| now.plus_millis(-hours * 3_600_000))
}

/// As it was when a replay was asked for and its events were counted: those that become too old while it waits are dead letters.
pub(crate) fn oldest_of(kind: &DestinationKind, config: &DeliveryConfig, made: Timestamp) -> Option<Timestamp> {
    let DestinationKind::Connector { connector, .. } = kind else { return None };
    let connector = connectors::find(connector, config.connectors.as_deref()).ok()?;
    oldest(&connector, made)
}

/// Whether what is made of events says when they happened; who a user is has no time.
fn sends_times(connector: &Connector) -> bool {
    fn holds(value: &Value) -> bool {
        match value {
            Value::String(text) => text == "$" || text.contains("$.time"),
            Value::Array(items) => items.iter().any(holds),
            Value::Object(fields) => fields.values().any(holds),
            _ => false,
        }
    }
    let mut of_events = connector.manifest.send.iter().filter(|send| send.types != ["identify"]);
    of_events.all(|send| {
        let around = [&send.batch.envelope, &send.batch.before];
        holds(&send.item) || around.into_iter().flatten().any(holds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn rules(connector: &str) -> ReplayRules {
        let kind =
            DestinationKind::Connector { connector: connector.to_owned(), region: None, settings: Default::default() };
        replay_rules(&kind, &DeliveryConfig::default(), NOW)
    }

    #[test]
    fn who_cannot_tell_repeats_apart_or_gets_no_times_is_warned_of() {
        let no_times: Vec<&str> = connectors::built_in()
            .iter()
            .filter(|connector| !sends_times(connector))
            .map(|connector| connector.manifest.meta.id.as_str())
            .collect();
        assert_eq!(no_times, ["slack"]);
        let slack = rules("slack").warning.unwrap();
        assert!(slack.contains("does not recognise repeats") && slack.contains("as of today"), "{slack}");
        for connector in connectors::built_in() {
            let dedup = &connector.manifest.dedup;
            let told = of_connector(connector, NOW).warning.is_some();
            assert!(told || (!dedup.field.is_empty() && dedup.window_hours == 0), "{}", connector.manifest.meta.id);
        }
        assert!(rules("posthog").refused.is_none());
        let file = DestinationKind::File { path: "/x".to_owned() };
        assert!(replay_rules(&file, &DeliveryConfig::default(), NOW).warning.unwrap().contains("twice"));
        let database = DestinationKind::Postgres { schema: "s".to_owned() };
        assert_eq!(replay_rules(&database, &DeliveryConfig::default(), NOW), ReplayRules::default());
    }

    #[test]
    fn what_a_vendor_takes_no_more_has_a_bound() {
        let ga4 = rules("ga4");
        assert_eq!(ga4.oldest, Some(NOW.plus_millis(-72 * 3_600_000)));
        assert!(ga4.bound.ends_with("takes those of the last 72 hours only"), "{}", ga4.bound);
        assert_eq!((rules("amplitude").oldest, rules("amplitude").bound), (None, String::new()));
    }

    #[test]
    fn a_manifest_that_allows_no_replay_is_obeyed() {
        let slack = connectors::find("slack", None).unwrap();
        let mut never = (*slack).clone();
        never.manifest.replay.allowed = false;
        assert!(of_connector(&never, NOW).refused.unwrap().contains("replay.allowed"));
        assert!(rules("nobody").refused.unwrap().contains("no connector nobody"));
    }
}
