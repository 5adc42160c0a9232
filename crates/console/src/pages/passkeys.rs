//! Passkeys: made and removed by a person who has proved who they are, used in place of the second factor's code.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use convizit_store::{PasskeyAnswer, StoreError};
use serde_json::json;
use url::{Host, Url};

use super::{account, sign_in};
use crate::Console;
use crate::access::{Asking, Person};
use crate::page::{Problem, Refusal, see};
use crate::session::local_path;

/// The console as browsers know it, and its host; `None` where passkeys cannot be: they belong to a name, not to a number.
pub(super) fn site(asking: &Asking) -> Option<(String, String)> {
    let address = Url::parse(&asking.own_address).ok()?;
    match address.host()? {
        Host::Domain(host) => Some((address.origin().ascii_serialization(), host.to_owned())),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

/// Whether the person has a passkey that can be used here.
pub(super) async fn has(person: &Person) -> Result<bool, Refusal> {
    Ok(site(&person.asking).is_some() && !person.asking.store.passkeys(person.account.number).await?.is_empty())
}

fn no_site() -> Refusal {
    let text =
        "passkeys belong to a name: open the console by one, such as http://localhost:8091 or what console.public says";
    Refusal::Invalid(text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A field of a form in hexadecimal; empty where it is none.
fn bytes(asking: &Asking, field: &str) -> Vec<u8> {
    let digits = asking.fields.get(field).as_bytes().chunks(2);
    let pairs = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect::<Option<_>>().unwrap_or_default()
}

/// A challenge for this session, and what the browser asks the device with.
pub(super) async fn begin(person: Person) -> Result<Response, Refusal> {
    let (asking, account) = (&person.asking, &person.account);
    let (_, host) = site(asking).ok_or_else(no_site)?;
    let known = asking.store.passkeys(account.number).await?;
    let challenge = asking.store.new_challenge(person.session.number).await?;
    Ok(Json(json!({
        "challenge": hex(&challenge),
        "host": host,
        "user": hex(&asking.store.passkey_user(account.number)),
        "email": account.email,
        "name": account.name,
        "ids": known.iter().map(|passkey| hex(passkey.id())).collect::<Vec<_>>(),
    }))
    .into_response())
}

pub(super) async fn add(person: Person) -> Result<Response, Refusal> {
    let asking = &person.asking;
    let (origin, host) = site(asking).ok_or_else(no_site)?;
    let [id, client, data] = ["id", "client", "data"].map(|field| bytes(asking, field));
    let answer = PasskeyAnswer {
        site: (&origin, &host),
        session: person.session.number,
        id: &id,
        client: &client,
        data: &data,
        signature: &[],
    };
    match asking.store.add_passkey(&person.account, asking.fields.get("name"), answer).await {
        Ok(()) => Ok(see("/account", "passkey")),
        Err(StoreError::Invalid(text)) => account::again_with(&person, Problem::new("passkey", text)).await,
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn remove(person: Person, Path(number): Path<i64>) -> Result<Response, Refusal> {
    person.asking.store.remove_passkey(person.account.number, number).await?;
    Ok(see("/account", "passkey-gone"))
}

/// Whether the browser answered with a passkey of this account, to make a sign-in whole or to prove who it is; what is wrong, where
/// not. Tries are bounded as those of codes are.
async fn is_right(console: &Console, person: &Person, signs_in: bool) -> Result<Result<(), String>, Refusal> {
    let asking = &person.asking;
    let (origin, host) = site(asking).ok_or_else(no_site)?;
    let ticket = console.throttle().take(&asking.store, &person.account.email, asking.address).await?;
    let [id, client, data, signature] = ["id", "client", "data", "signature"].map(|field| bytes(asking, field));
    let answer = PasskeyAnswer {
        site: (&origin, &host),
        session: person.session.number,
        id: &id,
        client: &client,
        data: &data,
        signature: &signature,
    };
    let used = asking.store.use_passkey(&person.account, answer).await?;
    match (&used, signs_in) {
        (Ok(()), true) => console.throttle().give_back_sign_in(&asking.store, ticket).await,
        (Ok(()), false) => console.throttle().give_back(&asking.store, ticket).await,
        (Err(_), _) => {}
    }
    Ok(used.map_err(|problem| problem.to_string()))
}

pub(super) async fn sign_in(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    let next = local_path(person.asking.fields.get("next")).to_owned();
    match is_right(&console, &person, true).await? {
        Ok(()) => {
            let before = Some(person.session.number);
            sign_in::begin(&console, &person.asking, &person.account, (true, before), &next).await
        }
        Err(text) => {
            person.asking.store.sign_in_refused(&person.account.email, person.asking.address);
            sign_in::code_again(&person, &next, text).await
        }
    }
}

pub(super) async fn prove(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    match is_right(&console, &person, false).await? {
        // The device has verified the person: that is both factors.
        Ok(()) => {
            person.asking.store.session_proved(person.session.number).await?;
            Ok(account::proved(&person))
        }
        Err(text) => account::prove_again(&person, text).await,
    }
}
