//! To whom the project's notices are sent: members by mail, a webhook, Slack, each for the kinds that are chosen.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use convizit_model::{Channel, NoticeKind, Role, Timestamp};
use convizit_store::{NoticeSend, SavedChannels, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Given, Page, at};
use crate::Console;
use crate::access::Caller;
use crate::acts::Undone;
use crate::acts::channels::{self, Slack, Wanted};

/// Messages whose fate is shown.
const SENDS: i64 = 50;

pub(super) fn routes(api: Api) -> Api {
    let shows = Call::get(at!("/channels"), Scope::Settings, "show_channels", "To whom notices are sent");
    let saves = Call::put(
        at!("/channels"),
        Scope::Settings,
        "save_channels",
        "Saves to whom notices are sent, if nobody else has saved since",
    );
    let tests =
        Call::post(at!("/channels/test"), Scope::Settings, "test_channel", "Sends a test message as a notice would go");
    let sends = Call::get(
        at!("/channels/sends"),
        Scope::Settings,
        "list_sends",
        "What became of the newest 50 messages, the newest first",
    );
    api.add(shows.answers::<ChannelsView>(200, "The channels, with their version."), show)
        .add(saves.takes::<Save>().answers::<Saved>(200, "Saved; a new secret is shown this once."), save)
        .add(tests.takes::<Test>(), test)
        .add(sends.answers::<Page<SendView>>(200, "Messages."), list_sends)
}

/// To whom notices are sent.
#[derive(Serialize, ToSchema)]
#[schema(as = Channels)]
struct ChannelsView {
    /// Raised with every change; 0 where nothing was saved yet.
    version: i64,
    /// From which role on members get mail; null for nobody.
    #[schema(value_type = Option<String>)]
    mail_to: Option<Role>,
    /// What is sent to them.
    #[schema(value_type = Vec<String>)]
    mail_kinds: Vec<NoticeKind>,
    /// The webhook's address; null without one.
    webhook: Option<String>,
    /// What is sent to it.
    #[schema(value_type = Vec<String>)]
    webhook_kinds: Vec<NoticeKind>,
    /// Whether there is a Slack channel; whoever knows its address may post there, so that it is not shown.
    slack: bool,
    /// What is sent to it.
    #[schema(value_type = Vec<String>)]
    slack_kinds: Vec<NoticeKind>,
}

impl From<SavedChannels> for ChannelsView {
    fn from(saved: SavedChannels) -> Self {
        let set = saved.channels;
        Self {
            version: saved.version,
            mail_to: set.mail_to,
            mail_kinds: set.mail_kinds,
            webhook: set.webhook.map(|hook| hook.url),
            webhook_kinds: set.webhook_kinds,
            slack: set.slack.is_some(),
            slack_kinds: set.slack_kinds,
        }
    }
}

async fn show(caller: Caller) -> Result<Json<ChannelsView>, Problem> {
    Ok(Json(caller.store.channels(caller.project.number).await?.into()))
}

/// From which role on members get mail.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MailTo)]
enum MailTo {
    Viewer,
    Editor,
    Admin,
    Owner,
}

impl From<MailTo> for Role {
    fn from(role: MailTo) -> Self {
        match role {
            MailTo::Viewer => Self::Viewer,
            MailTo::Editor => Self::Editor,
            MailTo::Admin => Self::Admin,
            MailTo::Owner => Self::Owner,
        }
    }
}

/// Channels, and the version that they were made from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SaveChannels)]
struct Save {
    /// The version that was read.
    version: i64,
    /// From which role on members get mail; null for nobody.
    mail_to: Option<MailTo>,
    /// What is sent to them: kinds of notices of a project, such as `dead_letters`.
    #[schema(max_items = 50)]
    mail_kinds: Vec<String>,
    /// The webhook's address; null for none.
    webhook: Option<String>,
    /// What is sent to it.
    #[schema(max_items = 50)]
    webhook_kinds: Vec<String>,
    /// Whether there is a Slack channel: false takes it out, true leaves it.
    slack: bool,
    /// The address of another Slack channel.
    slack_url: Option<String>,
    /// What is sent to it.
    #[schema(max_items = 50)]
    slack_kinds: Vec<String>,
}

/// What was saved.
#[derive(Serialize, ToSchema)]
#[schema(as = SavedChannels)]
struct Saved {
    /// The channels' version now.
    version: i64,
    /// What messages to a webhook that is new are signed with, `whsec_…`; else null.
    secret: Option<String>,
}

fn kinds(field: &str, words: &[String]) -> Result<Vec<NoticeKind>, Problem> {
    let kind = |(at, word): (usize, &String)| {
        let kind = NoticeKind::of(word).filter(|kind| NoticeKind::OF_PROJECTS.contains(kind));
        let known = || NoticeKind::OF_PROJECTS.map(NoticeKind::as_str).join(", ");
        kind.ok_or_else(|| Problem::invalid(format!("one of {}", known())).at(format!("{field}[{at}]")))
    };
    words.iter().enumerate().map(kind).collect()
}

/// What stands there now, for whoever was too late.
async fn now(caller: &Caller) -> Result<Value, Problem> {
    let saved = caller.store.channels(caller.project.number).await?;
    Ok(json!(ChannelsView::from(saved)))
}

async fn save(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<Save>,
) -> Result<Json<Saved>, Problem> {
    let saved = caller.store.channels(caller.project.number).await?;
    if given.version != saved.version {
        return Err(Problem::stale("version", json!(ChannelsView::from(saved))));
    }
    let slack = match given.slack_url.as_deref().map(str::trim) {
        Some("") => return Err(Problem::invalid("an address of hooks.slack.com, or none").at("slack_url")),
        Some(url) if given.slack => Slack::At(url),
        _ if given.slack => Slack::Stays,
        _ => Slack::Off,
    };
    let wanted = Wanted {
        mail_to: given.mail_to.map_or("", |role| Role::from(role).as_str()),
        webhook: given.webhook.as_deref().unwrap_or_default().trim(),
        slack,
        kinds: [
            kinds("mail_kinds", &given.mail_kinds)?,
            kinds("webhook_kinds", &given.webhook_kinds)?,
            kinds("slack_kinds", &given.slack_kinds)?,
        ],
    };
    match channels::save(&console, &caller.acting(), wanted, &saved).await {
        Ok(secret) => Ok(Json(Saved { version: saved.version + 1, secret })),
        Err(Undone::Wrong(problem)) if problem.field == "slack" => Err(Problem::invalid(problem.text).at("slack_url")),
        Err(Undone::Meanwhile) => Err(Problem::stale("version", now(&caller).await?)),
        Err(undone) => Err(undone.into()),
    }
}

/// Which channel is tried.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TriedChannel)]
enum Tried {
    Webhook,
    Slack,
}

/// Which channel is tried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TestChannel)]
struct Test {
    /// Mail is tried by a member, who gets it.
    channel: Tried,
}

async fn test(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<Test>,
) -> Result<StatusCode, Problem> {
    let channel = match given.channel {
        Tried::Webhook => Channel::Webhook,
        Tried::Slack => Channel::Slack,
    };
    match channels::test(&console, &caller.acting(), channel).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(why) => Err(Problem::invalid(why).at("channel")),
    }
}

/// A message, and what became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = NoticeSend)]
struct SendView {
    /// The notice's number.
    notice: i64,
    /// The notice's kind.
    kind: &'static str,
    /// `mail`, `webhook` or `slack`.
    channel: &'static str,
    /// `waiting`, `sent`, `failed` or `dropped`.
    state: String,
    /// Tries so far.
    tries: u32,
    /// When it is tried next, or was ended.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What the last try came to; empty before it.
    reason: String,
}

impl From<NoticeSend> for SendView {
    fn from(send: NoticeSend) -> Self {
        let NoticeSend { notice, channel, state, tries, at, reason } = send;
        let channel = match channel {
            Channel::Mail(_) => "mail",
            Channel::Webhook => "webhook",
            Channel::Slack => "slack",
        };
        Self { notice: notice.id, kind: notice.kind.as_str(), channel, state, tries, at, reason }
    }
}

async fn list_sends(caller: Caller) -> Result<Json<Page<SendView>>, Problem> {
    let sends = caller.store.sends(&caller.project.id, SENDS).await?;
    Ok(Json(Page::whole(sends.into_iter().map(SendView::from).collect())))
}
