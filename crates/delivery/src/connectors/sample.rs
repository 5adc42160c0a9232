//! Requests for sample events, which show what a manifest does: for its golden file, its page of documents, and whoever writes one.

use std::collections::BTreeMap;

use convizit_model::Timestamp;
use convizit_store::StoredEvent;
use serde_json::{Value, json};

use super::Connector;
use super::encode::With;

/// Events as they are delivered: one of each kind that manifests tell apart.
const EVENTS: &str = include_str!("../../connectors/samples/events.json");
/// The time at which they are sent.
const NOW: i64 = 1_795_456_860_000;

impl Connector {
    /// The requests that this connector makes of the sample events, without credentials. What is not entered gets a value of the setting's
    /// own: its default, or its id.
    ///
    /// # Errors
    /// A setting that has not its form.
    pub fn sample_requests(&self, region: Option<&str>, entered: &BTreeMap<String, String>) -> Result<Value, String> {
        let events: Vec<Value> = serde_json::from_str(EVENTS).map_err(|error| error.to_string())?;
        self.requests_of(&events, NOW, region, entered)
    }

    /// The same of events of one's own, in the form in which they are delivered, as they would be sent a minute after the newest was received.
    ///
    /// # Errors
    /// A setting that has not its form; an event without `received`.
    pub fn own_requests(
        &self,
        events: &[Value],
        region: Option<&str>,
        entered: &BTreeMap<String, String>,
    ) -> Result<Value, String> {
        let mut newest = 0;
        for (event, number) in events.iter().zip(1..) {
            let received = event.get("received").cloned().unwrap_or_default();
            let received: Timestamp =
                serde_json::from_value(received).map_err(|_| format!("event {number} has no time in \"received\""))?;
            newest = newest.max(received.as_millis());
        }
        self.requests_of(events, newest + 60_000, region, entered)
    }

    fn requests_of(
        &self,
        events: &[Value],
        now: i64,
        region: Option<&str>,
        entered: &BTreeMap<String, String>,
    ) -> Result<Value, String> {
        let region = region.or_else(|| self.manifest.hosts.keys().next().map(String::as_str));
        let mut whole = entered.clone();
        for setting in &self.manifest.settings {
            // Secrets are in no request that is shown.
            if let Some(value) = setting.default.as_deref().or_else(|| setting.secret.then_some("secret")) {
                whole.entry(setting.id.clone()).or_insert_with(|| value.to_owned());
            }
        }
        for setting in &self.manifest.settings {
            if let Some(default) = &setting.default {
                whole.entry(setting.id.clone()).or_insert_with(|| default.clone());
            }
        }
        let settings = match self.settle(region, &whole) {
            Ok(settings) => settings,
            // A secret of a certain form is not looked at here.
            Err(error)
                if self.manifest.settings.iter().any(|setting| setting.secret && setting.id == error.setting) =>
            {
                whole
            }
            Err(error) => return Err(format!("{}: {error} (--set {}=…)", error.setting, error.setting)),
        };
        let stored: Vec<StoredEvent> = (1..)
            .zip(events)
            .map(|(number, event)| StoredEvent { number, json: event.to_string().into_bytes().into() })
            .collect();
        let encoded = self.encode(
            &stored,
            With { settings: &settings, set: &[], name: "shop/sample", now: Timestamp::from_millis(now) },
        );
        let requests: Vec<Value> = encoded
            .requests
            .iter()
            .map(|request| {
                let text = request.text();
                let body = serde_json::from_str::<Value>(&text).unwrap_or_else(|_| {
                    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line))).collect()
                });
                json!({"method": request.method, "target": request.target, "headers": request.headers.iter().cloned().collect::<BTreeMap<_, _>>(),
                    "events": request.rows, "body": body})
            })
            .collect();
        if self.is_native() {
            let records: Vec<Value> = encoded
                .records
                .into_iter()
                .map(|record| {
                    json!({"to": record.place, "id": record.id, "key": record.key,
                        "headers": record.headers.into_iter().collect::<BTreeMap<_, _>>(), "event": record.row, "body": record.item})
                })
                .collect();
            return Ok(json!({"records": records, "not_sent": encoded.skipped, "refused": encoded.refused}));
        }
        Ok(json!({"requests": requests, "not_sent": encoded.skipped, "refused": encoded.refused}))
    }
}
