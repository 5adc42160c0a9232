//! Webhook: batches as Standard Webhooks say, signed; the same batch has the same id at each try.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use convizit_model::{Person, ProjectId};
use convizit_store::{EraseMessage, StoredEvent};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

use crate::destinations::SendError;
use crate::guard::Guard;
use crate::retry::retry_after;
use crate::why;

/// A receiver that takes longer is asked again later.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Persons of one message at most.
const PERSONS: usize = 1_000;

pub(crate) struct Webhook {
    client: Client,
    url: Url,
    secret: String,
    /// `<project>/<destination>`, part of each batch's id.
    name: String,
}

impl Webhook {
    pub(crate) fn open(url: &str, secret: Option<&str>, name: String, guard: &Guard) -> Result<Self, SendError> {
        let guard = &guard.for_address(url);
        let url = guard.check_url(url).map_err(SendError::Pause)?;
        let secret = secret
            .ok_or_else(|| SendError::Pause("the signing secret is missing: add the destination again".to_owned()))?;
        convizit_keys::sign_webhook(secret, "check", 0, b"").map_err(|error| SendError::Pause(error.to_string()))?;
        Ok(Self { client: client(guard)?, url, secret: secret.to_owned(), name })
    }

    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<(), SendError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut body = Vec::with_capacity(events.iter().map(|event| event.json.len() + 1).sum::<usize>() + 64);
        body.extend_from_slice(b"{\"type\":\"events\",\"events\":[");
        for (index, event) in events.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&event.json);
        }
        body.extend_from_slice(b"]}");
        // Of the events and not of their numbers: after a restore a number may be given to another event.
        let digest = convizit_keys::sha256(&body);
        let of: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.post(message_id(&self.name, &of), body).await
    }

    /// Messages of the type `erase`, each of at most 1 000 persons.
    pub(crate) async fn erase(&mut self, project: &ProjectId, message: &EraseMessage) -> Result<(), SendError> {
        let parts: Vec<&[Person]> = match message.persons.as_slice() {
            [] => vec![&[]],
            persons => persons.chunks(PERSONS).collect(),
        };
        for (part, persons) in parts.into_iter().enumerate() {
            let of = |kind: &str| -> Vec<&str> {
                persons.iter().filter(|person| person.kind() == kind).map(Person::id).collect()
            };
            let body = serde_json::json!({
                "type": "erase", "request": message.request, "project": project, "through": message.made,
                "all": message.persons.is_empty(), "visitors": of("visitor"), "users": of("user"),
            });
            let id = message_id(&self.name, &format!("{} {part}", message.request));
            self.post(id, body.to_string().into_bytes()).await?;
        }
        Ok(())
    }

    pub(crate) async fn post(&self, id: String, body: Vec<u8>) -> Result<(), SendError> {
        let timestamp = now();
        let signature = convizit_keys::sign_webhook(&self.secret, &id, timestamp, &body)
            .map_err(|error| SendError::Pause(error.to_string()))?;
        let answer = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await
            .map_err(|error| unsent(&error))?;
        judge(answer.status(), answer.headers(), timestamp)
    }
}

fn client(guard: &Guard) -> Result<Client, SendError> {
    Client::builder()
        .dns_resolver(guard.clone())
        // A redirect would carry events to an address that nobody typed.
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("Convizit/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .build()
        .map_err(|error| SendError::Pause(format!("no HTTP client can be made: {error}")))
}

/// Posts JSON to an address that is itself the credential.
pub(crate) async fn post_plain(url: &str, body: Vec<u8>, guard: &Guard) -> Result<(), SendError> {
    let guard = &guard.for_address(url);
    let url = guard.check_url(url).map_err(SendError::Pause)?;
    let sending = client(guard)?.post(url).header(CONTENT_TYPE, "application/json").body(body).send();
    let answer = sending.await.map_err(|error| unsent(&error))?;
    judge(answer.status(), answer.headers(), now())
}

fn unsent(error: &reqwest::Error) -> SendError {
    why::unsent("the receiver", TIMEOUT.as_secs(), error)
}

fn judge(status: StatusCode, headers: &HeaderMap, now: i64) -> Result<(), SendError> {
    let code = status.as_u16();
    match code {
        200..=299 => Ok(()),
        300..=399 => Err(SendError::Pause(format!("the receiver answered {code}, a redirect: give its final address"))),
        401 | 403 | 410 => Err(SendError::Pause(format!("the receiver answered {code}"))),
        404 | 405 => Err(SendError::Pause(format!("the receiver answered {code}: is the address right?"))),
        413 => Err(SendError::TooLarge),
        400..=499 if !matches!(code, 408 | 425 | 429) => {
            Err(SendError::Refused(format!("the receiver answered {code}")))
        }
        _ => {
            let after = retry_after(headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()), now);
            Err(SendError::Later { reason: format!("the receiver answered {code}"), after })
        }
    }
}

/// The idempotency key: the same for the same events of the same destination, another when one of them was erased.
fn message_id(name: &str, of: &str) -> String {
    let digest = convizit_keys::sha256(format!("{name}\n{of}").as_bytes());
    digest.iter().take(16).fold(String::from("msg_"), |id, byte| id + &format!("{byte:02x}"))
}

/// Seconds since 1970, for the signature.
#[expect(
    clippy::disallowed_methods,
    reason = "the receiver compares with its own clock, so this is the system's and no argument"
)]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_mends_is_tried_again_and_what_a_person_mends_pauses() {
        let judged = |code| judge(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), 0);
        assert!(judged(200).is_ok() && judged(204).is_ok());
        for (code, pauses) in [(301, true), (401, true), (403, true), (404, true), (405, true), (410, true)]
            .into_iter()
            .chain([408, 425, 429, 500, 502, 503].map(|code| (code, false)))
        {
            let failure = judged(code).unwrap_err();
            assert_eq!(matches!(failure, SendError::Pause(_)), pauses, "{code}: {failure}");
            assert_eq!(matches!(failure, SendError::Later { .. }), !pauses, "{code}: {failure}");
        }
        assert!(matches!(judged(400), Err(SendError::Refused(_))) && matches!(judged(422), Err(SendError::Refused(_))));
        assert!(matches!(judged(413), Err(SendError::TooLarge)));
    }
}
