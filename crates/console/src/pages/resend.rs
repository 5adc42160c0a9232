//! Sending again: dead letters, some or all, and a replay of a range of time, whose count is shown before it begins.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_delivery::replay_rules;
use convizit_model::{Change, Timestamp};
use convizit_store::{ReplayPlan, StoreError};

use super::destinations::{path_of, refused};
use crate::Console;
use crate::access::Member;
use crate::known::known;
use crate::page::{Chrome, Problem, Refusal, again, count, html, minute, see};

/// The dead letters that a form chose: `None` for all.
fn chosen(member: &Member) -> Result<Option<Vec<i64>>, Problem> {
    let fields = &member.asking.fields;
    if fields.get("all") == "yes" {
        return Ok(None);
    }
    let numbers: Vec<i64> = fields.all("event").filter_map(|text| text.parse().ok()).collect();
    if numbers.is_empty() {
        return Err(Problem::new("event", "choose at least one refused event, or take all of them"));
    }
    Ok(Some(numbers))
}

pub(super) async fn retry(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (store, id) = (&member.asking.store, &member.project.id);
    store.destination(id, &name).await?;
    match chosen(&member) {
        Ok(numbers) => {
            store.retry_dead_letters(id, &name, numbers.as_deref()).await?;
            Ok(see(&path_of(&member, &name), "retried"))
        }
        Err(problem) => refused(&console, &member, &name, problem).await,
    }
}

pub(super) async fn give_up(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (store, id) = (&member.asking.store, &member.project.id);
    store.destination(id, &name).await?;
    match chosen(&member) {
        Ok(numbers) => {
            store.drop_dead_letters(id, &name, numbers.as_deref()).await?;
            Ok(see(&path_of(&member, &name), "given-up"))
        }
        Err(problem) => refused(&console, &member, &name, problem).await,
    }
}

#[derive(Template)]
#[template(path = "replay.html")]
struct ReplayPage {
    chrome: Chrome,
    project: String,
    name: String,
    many: String,
    exact: bool,
    /// As people read them, and as they are sent back.
    shown: (String, String),
    from: String,
    to: String,
    warning: Option<String>,
    /// How many are too old for it, and why.
    late: Option<String>,
    paused: bool,
    problem: Problem,
}

/// A time of a form: as a browser's field has it, which is taken as UTC, or whole.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let seconds = if text.len() == 16 { ":00Z" } else { "Z" };
    text.parse().or_else(|_| format!("{text}{seconds}").parse()).ok()
}

/// The range that the form says.
async fn range(console: &Console, member: &Member) -> Result<Result<(Timestamp, Timestamp), Problem>, Refusal> {
    let fields = &member.asking.fields;
    let since = fields.get("since");
    let from = if since.is_empty() {
        time(fields.get("from"))
    } else {
        let known = known(console, &member.project).await?;
        let mut all = known.registry.decisions().into_iter();
        let renamed = |change: &Change| matches!(change, Change::Rename { .. });
        all.find(|decision| decision.id.to_string() == since && renamed(&decision.what)).map(|decision| decision.made)
    };
    let Some(from) = from else {
        return Ok(Err(Problem::new("from", "say a time such as 2026-11-28 09:00, or choose a rename")));
    };
    let to = if fields.get("to").trim().is_empty() { Some(member.asking.now()) } else { time(fields.get("to")) };
    let Some(to) = to else {
        return Ok(Err(Problem::new("to", "say a time such as 2026-11-29 09:00, or none for now")));
    };
    Ok(if from < to {
        Ok((from, to))
    } else {
        Err(Problem::new("to", "it is not after the beginning: change one of the two"))
    })
}

pub(super) async fn replay(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (store, id) = (&member.asking.store, &member.project.id);
    let (destination, _) = store.destination(id, &name).await?;
    let range = match range(&console, &member).await? {
        Ok(range) => range,
        Err(problem) => return refused(&console, &member, &name, problem).await,
    };
    let rules = replay_rules(&destination.kind, &console.config().delivery, member.asking.now());
    if let Some(why) = rules.refused {
        return refused(&console, &member, &name, Problem::new("from", why)).await;
    }
    let fields = &member.asking.fields;
    let counted = fields.get("counted") == "yes";
    let agreed = rules.warning.is_none() || fields.get("agreed") == "yes";
    if counted && agreed {
        return match store.start_replay(id, &name, range).await {
            Ok(_) => Ok(see(&path_of(&member, &name), "replayed")),
            Err(StoreError::Invalid(text)) => refused(&console, &member, &name, Problem::new("from", text)).await,
            Err(error) => Err(error.into()),
        };
    }
    let ReplayPlan { events, exact, late, .. } = store.plan_replay(id, &name, range, rules.oldest).await?;
    if events == 0 {
        let text = if late > 0 {
            format!("all {} events of this range are too old: {}", count(late), rules.bound)
        } else {
            "no event that it wants and had its turn of was received then: choose another range".to_owned()
        };
        return refused(&console, &member, &name, Problem::new("from", text)).await;
    }
    let (from, to) = range;
    let page = ReplayPage {
        chrome: member.asking.chrome(&format!("Replay to {name}"), "destinations"),
        project: id.to_string(),
        many: count(events),
        exact,
        shown: (minute(from), minute(to)),
        from: from.to_string(),
        to: to.to_string(),
        warning: rules.warning,
        late: (late > 0).then(|| {
            let least = if exact { "" } else { "at least " };
            format!("{least}{} more are too old and are left out: {}.", count(late), rules.bound)
        }),
        paused: destination.paused.is_some(),
        problem: if counted {
            Problem::new("agreed", "say that you have read this, and want it all the same")
        } else {
            Problem::default()
        },
        name,
    };
    Ok(if counted { again(&page) } else { html(&page) })
}

pub(super) async fn stop(
    member: Member,
    Path((_, name, replay)): Path<(String, String, i64)>,
) -> Result<Response, Refusal> {
    member.asking.store.stop_replay(&member.project.id, &name, replay).await?;
    Ok(see(&path_of(&member, &name), "replay-stopped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_form_are_utc() {
        for (text, means) in [
            ("2026-11-28T09:30", "2026-11-28T09:30:00.000Z"),
            ("2026-11-28 09:30", "2026-11-28T09:30:00.000Z"),
            ("2026-11-28T09:30:15", "2026-11-28T09:30:15.000Z"),
            ("2026-11-28T09:30:15.250Z", "2026-11-28T09:30:15.250Z"),
        ] {
            assert_eq!(time(text).unwrap().to_string(), means, "{text}");
        }
        assert!(time("yesterday").is_none() && time("").is_none());
    }
}
