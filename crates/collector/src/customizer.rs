//! What the customizer on the live site asks: the names of the controls that it sees, and that drafts be kept. It stands here and not in the
//! console, since the site's pages reach the collector already and may be kept from the console.
//!
//! Every request carries the token that the console gave out, and is answered to pages of the token's origin alone. No cookie counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, Response, header};
use convizit_model::{Change, Project, Timestamp};
use convizit_pipeline::{Registry, Witness, decode, look};
use convizit_store::{Draft, Opening, OpeningRefusal, Saved, Store, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{allow_origin, later, problem};
use crate::collect::{BODY_TIME, read};
use crate::state::State;

/// What was read of a project is used again for so long while events arrive.
const FRESH_MILLIS: i64 = 2_000;
/// Projects whose names are kept in memory at most.
const KEPT: usize = 8;

/// The registries of projects whose customizer is open, read anew when people or events have changed them.
#[derive(Default)]
pub(crate) struct Registries {
    kept: Mutex<HashMap<i64, Kept>>,
    /// Who reads a project, while somebody does: others wait for what they read.
    reading: Mutex<HashMap<i64, Arc<tokio::sync::Mutex<()>>>>,
}

struct Kept {
    at: Timestamp,
    version: u64,
    events: i64,
    registry: Arc<Mutex<Registry>>,
}

impl Registries {
    /// The registry of a project as it is now, or was two seconds ago at most.
    pub(crate) async fn of(&self, store: &Store, project: i64) -> Result<Arc<Mutex<Registry>>, String> {
        let text = |error: StoreError| error.to_string();
        let (now, version) = (store.clock().now(), store.control_version());
        let events = store.last_event(project).await.map_err(text)?;
        let known = || {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let fits =
                |kept: &&Kept| kept.version == version && (kept.events == events || now.since(kept.at) < FRESH_MILLIS);
            kept.get(&project).filter(fits).map(|kept| kept.registry.clone())
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let reading = {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            reading.retain(|_, one| Arc::strong_count(one) > 1);
            reading.entry(project).or_default().clone()
        };
        let _alone = reading.lock().await;
        if let Some(known) = known() {
            return Ok(known);
        }
        let rows = store.load_state(project).await.map_err(text)?;
        let loaded = tokio::task::spawn_blocking(move || {
            let mut registry = Registry::default();
            registry.load(&rows).map(|()| registry)
        });
        let registry = loaded.await.map_err(|error| error.to_string())??;
        let registry = Arc::new(Mutex::new(registry));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(project, Kept { at: now, version, events, registry: registry.clone() });
        Ok(registry)
    }
}

/// What every request carries.
#[derive(Deserialize)]
struct Carrier {
    token: String,
}

/// A request whose token holds.
struct Admitted {
    opening: Opening,
    origin: HeaderValue,
    body: Vec<u8>,
}

/// Reads the body and asks whether its token holds for the page's origin.
async fn admit(state: &State, request: Request) -> Result<Admitted, Response<Body>> {
    let (parts, body) = request.into_parts();
    let unknown =
        || problem(401, "token", "token", "no token that this page may use: open the customizer from the console");
    let origin = parts.headers.get(header::ORIGIN).cloned().ok_or_else(unknown)?;
    let (body, _room) = match tokio::time::timeout(BODY_TIME, read(state, body)).await {
        Ok(read) => read?,
        Err(_) => return Err(problem(408, "timeout", "body", "the body took longer than 10 s")),
    };
    let carrier: Carrier = serde_json::from_slice(&body).map_err(|_| unknown())?;
    let opening = state.store.opening(&carrier.token, origin.to_str().unwrap_or_default()).await;
    let refused = match opening {
        Ok(Ok(opening)) => return Ok(Admitted { opening, origin, body }),
        // Not of this origin, perhaps: it may not even read why.
        Ok(Err(OpeningRefusal::Unknown)) => return Err(unknown()),
        Ok(Err(OpeningRefusal::Expired)) => {
            problem(401, "expired", "token", "the quarter of an hour is over: open the site from the console again")
        }
        Ok(Err(OpeningRefusal::Revoked)) => {
            let detail = "you are signed out of the console, or no Editor of this project any more";
            problem(401, "revoked", "token", detail)
        }
        Err(error) => {
            tracing::warn!(%error, "a token of the customizer could not be looked at");
            return Err(later("the server cannot look at the token now"));
        }
    };
    Err(readable(refused, &origin))
}

fn readable(mut response: Response<Body>, origin: &HeaderValue) -> Response<Body> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    allow_origin(&mut response, origin);
    response
}

fn answer(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn failed(error: &StoreError) -> Response<Body> {
    match error {
        StoreError::Invalid(text) => problem(422, "invalid", "change", text),
        error => {
            tracing::warn!(%error, "the customizer could not be answered");
            later("the server cannot answer now")
        }
    }
}

fn malformed() -> Response<Body> {
    problem(400, "malformed", "body", "not of the customizer's form")
}

/// Whose draft it is: the person's own, or somebody else's by name.
async fn shown(store: &Store, opening: &Opening, draft: &Draft) -> Value {
    let own = draft.account == opening.account.number;
    let by = match own {
        true => None,
        // One who is gone has left a draft all the same.
        false => store.account(draft.account).await.map(|account| account.name).ok(),
    };
    json!({"subject": draft.subject, "version": draft.version, "change": draft.change, "own": own, "by": by})
}

/// `POST /v1/customizer/open`: what the overlay needs to begin: until when it may, and the drafts that there are.
pub(crate) async fn open(Shared(state): Shared<Arc<State>>, request: Request) -> Response<Body> {
    #[derive(Deserialize)]
    struct Asked {
        /// The first page after the console, and not a further one.
        #[serde(default)]
        first: bool,
    }
    let admitted = match admit(&state, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let Admitted { opening, origin, body } = &admitted;
    let store = state.store.acting_as(&opening.account.actor());
    let done = async {
        let asked: Asked = serde_json::from_slice(body).map_err(|_| malformed())?;
        if asked.first {
            let site = origin.to_str().unwrap_or_default();
            store.customizer_began(&opening.project, site).await.map_err(|error| failed(&error))?;
        }
        let mut drafts = Vec::new();
        for draft in store.drafts(opening.project.number).await.map_err(|error| failed(&error))? {
            drafts.push(shown(&store, opening, &draft).await);
        }
        let (project, expires) = (&opening.project, opening.expires);
        Ok::<_, Response<Body>>(answer(&json!({"project": project.id, "expires": expires, "drafts": drafts})))
    };
    readable(done.await.unwrap_or_else(|refused| refused), origin)
}

/// `POST /v1/customizer/names`: a batch as the tracker would send it, with the token; what each of its events would be, in their order. Nothing
/// of it is kept.
pub(crate) async fn names(Shared(state): Shared<Arc<State>>, request: Request) -> Response<Body> {
    let admitted = match admit(&state, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let Admitted { opening, origin, body } = admitted;
    let done = name(&state, &opening.project, body).await;
    readable(done.unwrap_or_else(|refused| refused), &origin)
}

async fn name(state: &Arc<State>, project: &Project, body: Vec<u8>) -> Result<Response<Body>, Response<Body>> {
    let batch = decode(&body).map_err(|error| problem(400, "malformed", &error.field, &error.problem))?;
    let cannot = |error: String| {
        tracing::warn!(project = %project.id, error, "the names for the customizer could not be read");
        later("the server cannot read the names now")
    };
    let compiled = state.compiled(project).map_err(cannot)?;
    let registry = state.registries.of(&state.store, project.number).await.map_err(cannot)?;
    let (store, number, most) = (state.store.clone(), project.number, project.settings.crowd);
    // Comparing controls takes its time.
    let looked = tokio::task::spawn_blocking(move || {
        let rulings = store.rulings(number);
        let witness =
            Witness { most, network: 0, hash: &|text| store.text_hash(number, text), ruling: &|key| rulings.of(key) };
        look(batch, &compiled, &witness, &mut registry.lock().unwrap_or_else(PoisonError::into_inner))
    });
    let controls = looked.await.map_err(|error| cannot(error.to_string()))?;
    Ok(answer(&json!({"controls": controls})))
}

/// `POST /v1/customizer/draft`: keeps a change until somebody publishes it in the console.
pub(crate) async fn draft(Shared(state): Shared<Arc<State>>, request: Request) -> Response<Body> {
    let admitted = match admit(&state, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let Admitted { opening, origin, body } = admitted;
    let done = save(&state, &opening, &body).await;
    readable(done.unwrap_or_else(|refused| refused), &origin)
}

async fn save(state: &State, opening: &Opening, body: &[u8]) -> Result<Response<Body>, Response<Body>> {
    #[derive(Deserialize)]
    struct Asked {
        change: Change,
        /// What the person saw it to be.
        before: String,
        /// The version of the draft that the person saw; 0 for none.
        #[serde(default)]
        seen: i64,
    }
    let Asked { change, before, seen } = serde_json::from_slice(body).map_err(|_| malformed())?;
    let invalid = |text: &str| problem(422, "invalid", "change", text);
    let Some((_, aim)) = change.draft() else {
        return Err(invalid("only names, and what is captured, are changed on the site"));
    };
    let project = &opening.project;
    let cannot = |error: String| {
        tracing::warn!(project = %project.id, error, "the names for the customizer could not be read");
        later("the server cannot read the names now")
    };
    let registry = state.registries.of(&state.store, project.number).await.map_err(cannot)?;
    let wanted = change.clone();
    // Comparing controls may hold it for long.
    let asked = tokio::task::spawn_blocking(move || {
        let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = registry.stands(&wanted) else {
            let text = "no event has come from it yet, or it is part of something else by now: load the page again";
            return Err(text.to_owned());
        };
        // What is as it was takes a draft back, and needs no asking.
        if aim != now {
            registry.check(&wanted)?;
        }
        Ok(now)
    });
    let asked = asked.await.map_err(|error| cannot(error.to_string()))?;
    let now = asked.map_err(|text| invalid(&text))?;
    if now != before {
        let detail = format!("it is “{now}” by now: somebody has changed it in the console");
        return Err(conflict("changed", "before", &detail, "now", Value::from(now)));
    }
    let store = state.store.acting_as(&opening.account.actor());
    let saved = store.save_draft(project, opening.account.number, change, &now, seen).await;
    match saved.map_err(|error| failed(&error))? {
        Saved::Done(draft) => {
            let draft = match &draft {
                Some(draft) => shown(&store, opening, draft).await,
                None => Value::Null,
            };
            Ok(answer(&json!({"draft": draft})))
        }
        Saved::Meanwhile(draft) => {
            let theirs = match &draft {
                Some(draft) => shown(&store, opening, draft).await,
                None => Value::Null,
            };
            let detail = "somebody has drafted something else meanwhile";
            Err(conflict("drafted", "seen", detail, "draft", theirs))
        }
    }
}

/// 409, with what somebody else has made of it meanwhile.
fn conflict(kind: &str, field: &str, detail: &str, key: &str, theirs: Value) -> Response<Body> {
    let (parts, _) = problem(409, kind, field, detail).into_parts();
    let mut body =
        json!({"type": format!("urn:convizit:problem:{kind}"), "status": 409, "field": field, "detail": detail});
    body[key] = theirs;
    Response::from_parts(parts, Body::from(body.to_string()))
}
