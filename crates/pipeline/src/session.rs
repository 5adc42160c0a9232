//! Sessions: start, campaign of the landing page; made here where the tracker keeps none (identity mode `none`).

use convizit_model::{Properties, Received, Timestamp, event};
use serde_json::Value;

use crate::registry::crowd::visitor_hash;
use crate::registry::{self, Registry};
use crate::scrub::{first_rule, query_of};

/// Without an event for so long, a session is over.
const IDLE_MILLIS: i64 = 30 * 60_000;

/// The session of a batch's event and the campaign that began it.
pub(crate) fn of_event(received: &Received, time: Timestamp, registry: &mut Registry) -> (event::Session, Properties) {
    match &received.batch.session {
        Some(session) => {
            let key = Registry::session_key(&received.visitor, &session.id);
            if registry.session(key).is_none() {
                let start = session.start.map_or(time, |start| start.plus_millis(received.clock)).min(time);
                let campaign = campaign(&received.batch.page.url);
                registry.set_session(
                    key,
                    registry::Session {
                        start: start.as_millis(),
                        last: None,
                        campaign,
                        visitor: visitor_hash(&received.visitor),
                    },
                );
            }
            let (start, campaign) = registry.session(key).map_or((time, Properties::new()), |known| {
                (Timestamp::from_millis(known.start), known.campaign.as_deref().cloned().unwrap_or_default())
            });
            (event::Session { id: session.id.clone(), start }, campaign)
        }
        None => derived(received, time, registry),
    }
}

fn derived(received: &Received, time: Timestamp, registry: &mut Registry) -> (event::Session, Properties) {
    let key = Registry::session_key(&received.visitor, "");
    let now = time.as_millis();
    let session = match registry.session(key) {
        Some(known) if (now - known.last.unwrap_or(known.start)).abs() <= IDLE_MILLIS => {
            registry::Session { last: Some(known.last.unwrap_or(known.start).max(now)), ..known.clone() }
        }
        _ => registry::Session {
            start: now,
            last: Some(now),
            campaign: campaign(&received.batch.page.url),
            visitor: visitor_hash(&received.visitor),
        },
    };
    let id = format!("{:016x}", registry::hash(&["derived session", &received.visitor, &session.start.to_string()]));
    let answer = (
        event::Session { id, start: Timestamp::from_millis(session.start) },
        session.campaign.as_deref().cloned().unwrap_or_default(),
    );
    if registry.session(key) != Some(&session) {
        registry.set_session(key, session);
    }
    answer
}

/// The utm parameters of a landing page.
fn campaign(url: &str) -> Option<Box<Properties>> {
    let mut campaign = Properties::new();
    for (key, value) in query_of(url) {
        let name = match key {
            "utm_source" => "source",
            "utm_medium" => "medium",
            "utm_campaign" => "name",
            "utm_term" => "term",
            "utm_content" => "content",
            _ => continue,
        };
        let value = value.replace('+', " ");
        if first_rule(&value).is_none() {
            campaign.insert(name.to_owned(), Value::String(value));
        }
    }
    (!campaign.is_empty()).then(|| Box::new(campaign))
}
