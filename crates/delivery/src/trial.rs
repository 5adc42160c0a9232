//! A try before anything real goes out: a test event to a destination, and how a stored event would be sent there.

use std::time::Duration;

use convizit_model::event::{Consent, Device, Location, Page, Session};
use convizit_model::{Destination, DestinationKind, Event, EventId, EventType, NameState, ProjectId, Timestamp};
use convizit_store::StoredEvent;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::DeliveryConfig;
use crate::connectors::{self, Http};
use crate::destinations::{self, Fate, SendError, Sink, native};
use crate::guard::Guard;
use crate::shaping::Shape;
use crate::transform::{Made, Transform};
use crate::why;

/// What the test event is called.
pub const TEST_NAME: &str = "Convizit test event";
/// A person waits for the answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a destination would get an event.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// One sentence: in what form.
    pub how: String,
    /// The topic, subject or table, where there is one: for those alone who may change the destination.
    pub to: String,
    /// Headers of a request, or columns of a row, with their values.
    pub fields: Vec<(String, String)>,
    /// The body of a request, or a line; empty where the fields are all.
    pub body: String,
}

/// An event that nobody made, marked as one: its name says so, its visitor and session are `test`, and it has the property `Test`.
///
/// # Errors
/// No random bytes for its id.
pub fn test_event(project: &ProjectId, now: Timestamp) -> Result<Event, String> {
    let mut bytes = *convizit_keys::random_bytes::<16>().map_err(|error| error.to_string())?;
    // A UUID of version 7: the time, then random bits.
    let millis = now.as_millis().to_be_bytes();
    bytes[..6].copy_from_slice(&millis[2..]);
    (bytes[6], bytes[8]) = (0x70 | (bytes[6] & 0x0f), 0x80 | (bytes[8] & 0x3f));
    let page = Page {
        url: "https://test.invalid/".to_owned(),
        path: "/".to_owned(),
        title: Some(TEST_NAME.to_owned()),
        ..Page::default()
    };
    let properties = [("Test", Value::Bool(true)), ("Product price", Value::from(89.9)), ("Currency", "EUR".into())];
    Ok(Event {
        id: EventId::from_bytes(bytes).map_err(|error| error.to_string())?,
        project: project.clone(),
        source: "convizit".to_owned(),
        schema: 1,
        name: TEST_NAME.to_owned(),
        name_state: NameState::Published,
        kind: EventType::Coded,
        time: now,
        client_time: None,
        received: now,
        visitor: "test".to_owned(),
        session: Session { id: "test".to_owned(), start: now },
        user: None,
        consent: Consent::default(),
        page,
        element: None,
        group: None,
        properties: properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        campaign: Map::new(),
        device: Device { platform: "web".to_owned(), ..Device::default() },
        location: Location::default(),
        withheld: Vec::new(),
    })
}

/// Sends one test event as real ones are sent, through the address guard. Returns one sentence: where to look for it.
///
/// # Errors
/// One sentence: what is wrong, and what to do.
pub fn test<'a>(
    destination: &'a Destination,
    secret: Option<&'a str>,
    config: &'a DeliveryConfig,
    now: Timestamp,
) -> BoxFuture<'a, Result<String, String>> {
    Box::pin(tested(destination, secret, config, now))
}

async fn tested(
    destination: &Destination,
    secret: Option<&str>,
    config: &DeliveryConfig,
    now: Timestamp,
) -> Result<String, String> {
    let guard = Guard::new(&config.allow_networks)?;
    let event = test_event(&destination.project, now)?;
    let json = serde_json::to_vec(&event).map_err(|error| error.to_string())?;
    let event = Shape::compile(&destination.shaping)?.bared(StoredEvent { number: 0, json: json.into() });
    let sent = match &destination.kind {
        // Delivery may be writing to it: the line goes behind whatever is there.
        DestinationKind::File { path } => match transformed(destination, config, event).await? {
            Some(event) => destinations::file_test(path, &config.allow_folders, &event).await,
            None => return Ok("The transform leaves the test event out, so nothing was written.".to_owned()),
        },
        _ => {
            let sending = async {
                let mut sink = Sink::open(destination, secret, config, &guard).await?;
                let taken = sink.send(&[event]).await?;
                match (taken.failure, taken.fates.into_iter().next()) {
                    (Some(failure), _) => Err(failure),
                    (None, Some(Fate::Refused(reason))) => Err(SendError::Refused(reason)),
                    (None, Some(Fate::Again(reason) | Fate::NoPlace(reason))) => Err(SendError::later(reason)),
                    (None, Some(Fate::Skipped)) => {
                        Err(SendError::Refused("this connector is not sent events of visitors without a user or consent, so a test event cannot show more than that its settings have the right form".to_owned()))
                    }
                    (None, _) => Ok(()),
                }
            };
            let late = || SendError::later("no answer within 20 s");
            tokio::time::timeout(PATIENCE, sending).await.unwrap_or_else(|_| Err(late()))
        }
    };
    sent.map_err(|error| advice(&destination.kind, &error))?;
    Ok(match &destination.kind {
        DestinationKind::Connector { connector, .. } => {
            let vendor = connectors::find(connector, config.connectors.as_deref())
                .map_or_else(|_| connector.clone(), |connector| connector.manifest.meta.name.clone());
            format!("{vendor} took the event “{TEST_NAME}”. It may be minutes until it shows there.")
        }
        DestinationKind::Webhook { .. } => format!("The receiver took the event “{TEST_NAME}”."),
        DestinationKind::Postgres { schema } => {
            format!(
                "The event “{TEST_NAME}” is a row of {schema}.events with the number 0: delete it once you have seen it."
            )
        }
        DestinationKind::File { path } => format!("The event “{TEST_NAME}” is the last line of {path}."),
        DestinationKind::Stdout { .. } => format!("The event “{TEST_NAME}” was printed."),
    })
}

/// What went wrong, and what a person can do about it.
fn advice(kind: &DestinationKind, error: &SendError) -> String {
    let said = error.to_string();
    if matches!(kind, DestinationKind::Connector { .. }) {
        return match error {
            SendError::Later { .. } if !why::says(&said) && why::is_of_network(&said) => {
                format!("{} Try again in a while; if it stays so, may this machine reach it?", sentence(said))
            }
            // What asks or says what to do stands for itself.
            SendError::Later { .. } if !said.contains(": ") && !said.ends_with('?') => {
                format!("{} Try again in a while.", sentence(said))
            }
            _ => sentence(said),
        };
    }
    let webhook = matches!(kind, DestinationKind::Webhook { .. });
    let what = match error {
        SendError::Pause(_) if webhook && [" 401", " 403"].iter().any(|code| said.contains(code)) => {
            "does it check the signature with this destination's secret, and let nobody else in?"
        }
        SendError::Pause(_) if webhook && said.ends_with(" 410") => "it wants no more events; give another address",
        // These say it themselves.
        SendError::Pause(_) | SendError::Ended => return sentence(said),
        SendError::Later { .. } if why::says(&said) => return sentence(said),
        SendError::Refused(_) => "it does not take an event of this form; its own log says why",
        SendError::TooLarge => "it must take bodies of up to 1 MB, better of 2",
        SendError::Later { .. } if webhook && said.contains("answered") => {
            "it failed in itself; look into its log, then try again"
        }
        SendError::Later { .. } if !why::is_of_network(&said) => return sentence(said),
        SendError::Later { .. } if webhook => {
            "is it running, does its name lead to it, and may this machine reach it? Networks that are not public are allowed with delivery.allow_networks"
        }
        SendError::Later { .. } => "is it running, and may this machine reach it?",
    };
    sentence(format!("{said}: {what}"))
}

/// With its end, where it is no question.
fn sentence(said: String) -> String {
    if said.ends_with('?') { said } else { said + "." }
}

/// How a vendor would get this event, without credentials.
fn preview_connector(destination: &Destination, event: &StoredEvent, config: &DeliveryConfig) -> Option<Preview> {
    let DestinationKind::Connector { connector, region, settings } = &destination.kind else { return None };
    let said = |how: String| Preview { how, ..Preview::default() };
    let connector = match connectors::find(connector, config.connectors.as_deref()) {
        Ok(connector) => connector,
        Err(error) => return Some(said(error)),
    };
    let name = format!("{}/{}", destination.project, destination.name);
    let shape = match Shape::compile(&destination.shaping) {
        Ok(shape) => shape,
        Err(error) => return Some(said(error.what)),
    };
    let with = (name.as_str(), shape.set.as_slice());
    if connector.is_native() {
        let record = match native::preview(&connector, settings, with, event) {
            Ok(record) => record,
            Err(why) => return Some(said(why)),
        };
        let mut fields = vec![("key".to_owned(), record.key)];
        fields.retain(|(_, value)| !value.is_empty());
        fields.extend(record.headers);
        let body = serde_json::to_string_pretty(&record.item).unwrap_or_default();
        let how = format!("One record of {}.", connector.manifest.meta.name);
        return Some(Preview { how, to: record.place, fields, body });
    }
    let shown = match Http::preview(&connector, region.as_deref(), settings, with, std::slice::from_ref(event)) {
        Ok(shown) => shown,
        Err(error) => return Some(said(error)),
    };
    let Some(first) = shown.into_iter().next() else { return Some(said("It is not sent.".to_owned())) };
    if !first.note.is_empty() {
        return Some(said(first.note));
    }
    let most = connector.manifest.send.iter().map(|send| send.batch.max_events).max().unwrap_or(1);
    let body = serde_json::from_str::<Value>(&first.body)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or(first.body);
    Some(Preview {
        // Without the address: whoever sees this may not see where it is.
        how: format!("A {} request, with credentials; up to {most} events stand in one.", first.method),
        fields: first.headers,
        body,
        ..Preview::default()
    })
}

/// Of events in their order the newest that a destination gets; where it gets none of them, the newest of its types.
#[must_use]
pub fn newest_for(destination: &Destination, events: &[StoredEvent]) -> Option<StoredEvent> {
    let wanted = |event: &&StoredEvent| event.head().is_some_and(|head| destination.wants(head.kind));
    let shape = Shape::compile(&destination.shaping).unwrap_or_default();
    let newest = || events.iter().rev().filter(wanted);
    newest().find(|event| shape.apply((*event).clone()).is_some()).or_else(|| newest().next()).cloned()
}

/// What a destination's transform makes of an event, where it has one.
async fn transformed(
    destination: &Destination,
    config: &DeliveryConfig,
    event: StoredEvent,
) -> Result<Option<StoredEvent>, String> {
    let Some(source) = &destination.shaping.transform else { return Ok(Some(event)) };
    let transform = Transform::open(source, config.transforms.as_deref());
    let mut transform = transform.map_err(|error| error.to_string())?;
    let made = transform.run(std::slice::from_ref(&event)).await.map_err(|error| error.to_string())?;
    match made.into_iter().next() {
        Some(Made::Event(json)) => Ok(Some(StoredEvent { number: event.number, json })),
        Some(Made::Failed(reason)) => Err(reason),
        Some(Made::LeftOut) | None => Ok(None),
    }
}

/// How a destination would get this event.
pub async fn preview(destination: &Destination, event: &StoredEvent, config: &DeliveryConfig) -> Preview {
    let shaped = match Shape::compile(&destination.shaping).map(|shape| shape.apply(event.clone())) {
        Ok(Some(event)) => transformed(destination, config, event).await,
        shaped => shaped.map_err(|error| error.what),
    };
    let event = match &shaped {
        Ok(Some(event)) => event,
        Ok(None) => {
            return Preview {
                how: "This event is not sent: it does not meet the conditions.".to_owned(),
                ..Preview::default()
            };
        }
        Err(why) => return Preview { how: why.clone(), ..Preview::default() },
    };
    if let Some(preview) = preview_connector(destination, event, config) {
        return preview;
    }
    let value: Value = serde_json::from_slice(&event.json).unwrap_or_default();
    let line = || String::from_utf8_lossy(&event.json).into_owned();
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    match &destination.kind {
        DestinationKind::Webhook { .. } => Preview {
            how: "A POST request with these headers and this body; up to 500 events stand in one.".to_owned(),
            fields: [
                ("content-type", "application/json"),
                ("webhook-id", "msg_…, the same whenever these events are sent together"),
                ("webhook-timestamp", "seconds since 1970"),
                ("webhook-signature", "v1,… made with the signing secret"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            body: pretty(&serde_json::json!({"type": "events", "events": [value]})),
            ..Preview::default()
        },
        DestinationKind::Postgres { schema } => Preview {
            how: "One row. An id that is there already makes no second row.".to_owned(),
            to: format!("{schema}.events"),
            fields: destinations::postgres_columns(event),
            ..Preview::default()
        },
        DestinationKind::Connector { .. } | DestinationKind::File { .. } | DestinationKind::Stdout { .. } => {
            Preview { how: "One line of JSON for each event.".to_owned(), body: line(), ..Preview::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_event_is_one_for_everybody_who_reads_it() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let event = test_event(&"shop".parse().unwrap(), now).unwrap();
        assert_eq!((event.id.embedded_time(), event.name.as_str()), (now, TEST_NAME));
        assert_ne!(event.id, test_event(&"shop".parse().unwrap(), now).unwrap().id);
        assert_eq!(event.properties["Test"], true);
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let webhook = DestinationKind::Webhook { url: "https://hooks.example/".to_owned() };
        for (error, word) in [
            (SendError::Pause("the receiver answered 401".to_owned()), "secret"),
            (SendError::Pause("the receiver answered 410".to_owned()), "another address"),
            (SendError::Refused("the receiver answered 422".to_owned()), "its own log"),
            (SendError::TooLarge, "1 MB"),
            (SendError::later("the receiver answered 503"), "try again"),
            (SendError::later("the receiver cannot be reached"), "allow_networks"),
            (SendError::later("the receiver cannot be reached: the connection is refused; is the port right?"), "port"),
        ] {
            let text = advice(&webhook, &error);
            assert!(text.contains(word) && text.starts_with(&error.to_string()), "{text}");
        }
        let connector =
            DestinationKind::Connector { connector: "nats".to_owned(), region: None, settings: Default::default() };
        let database = DestinationKind::Postgres { schema: "convizit".to_owned() };
        for (kind, said, asks) in [
            (&connector, "the server did not answer within 15 s", true),
            (&connector, "the connection to NATS JetStream broke", true),
            (
                &connector,
                "the server cannot be reached: the connection is refused; does it run there, and is the port right?",
                false,
            ),
            (&connector, "no stream of NATS takes the subject a.{name}: make one, or give another subject", false),
            (&connector, "RabbitMQ could not keep a message: is a queue full?", false),
            (&connector, "NATS JetStream answered the code 7", false),
            (&database, "the database did not answer", true),
            (&database, "the database speaks no TLS: set ssl = on there", false),
            (&database, "the database answered 53300", false),
        ] {
            let text = advice(kind, &SendError::later(said));
            assert_eq!(text.contains("may this machine reach it?"), asks, "{text}");
            assert!(text.starts_with(said) && !text.contains("?.") && !text.contains(".."), "{text}");
        }
    }
}
