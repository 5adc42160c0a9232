//! To whom a project's notices are sent: members by mail, a webhook, Slack, each for the kinds that are chosen.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use convizit_model::{Channel, Channels, NoticeKind, Role};
use convizit_store::SavedChannels;

use crate::Console;
use crate::access::{Fields, Member};
use crate::acts::Undone;
use crate::acts::channels::{self, Slack, Wanted};
use crate::page::{Chrome, Problem, Refusal, again, html, minute, see};

/// Messages whose fate is shown.
const SENDS: i64 = 20;
/// From which role on members may get mail.
const MAIL_TO: [(&str, &str); 5] = [
    ("", "nobody"),
    ("owner", "the Owner"),
    ("admin", "Admins and the Owner"),
    ("editor", "Editors and above"),
    ("viewer", "all members"),
];
/// The kinds of each channel are chosen in fields of these names.
const KINDS: [&str; 3] = ["mail_kinds", "webhook_kinds", "slack_kinds"];

#[derive(Template)]
#[template(path = "channels.html")]
struct ChannelsPage<'a> {
    chrome: Chrome,
    project: String,
    version: i64,
    entered: Entered<'a>,
    kinds: Vec<Choice>,
    mail_choices: &'static [(&'static str, &'static str)],
    has_mail: bool,
    has_slack: bool,
    /// A signing secret that was made just now: it is shown this once.
    secret: Option<String>,
    sends: Vec<Sent>,
    /// What is saved otherwise than it is entered, where somebody else was quicker.
    meanwhile: Option<String>,
    /// The channels that can be tried, and in words.
    tests: Vec<(&'static str, &'static str)>,
    tested: Option<&'static str>,
    untested: Option<String>,
    problem: Problem,
}

/// What stands in the form's fields.
#[derive(Default)]
struct Entered<'a> {
    mail_to: &'a str,
    webhook: String,
    slack: &'a str,
}

/// A kind of notices, and whether each channel gets it.
struct Choice {
    word: &'static str,
    title: &'static str,
    on: [bool; 3],
}

/// A message in the list.
struct Sent {
    title: &'static str,
    channel: &'static str,
    badge: (&'static str, &'static str),
    at: String,
    reason: String,
}

fn choices(chosen: [&[NoticeKind]; 3]) -> Vec<Choice> {
    let of = |kind: NoticeKind| Choice {
        word: kind.as_str(),
        title: kind.title(),
        on: chosen.map(|kinds| kinds.contains(&kind)),
    };
    NoticeKind::OF_PROJECTS.into_iter().map(of).collect()
}

/// The kinds that a form has chosen for one channel.
fn chosen(form: &Fields, field: &str) -> Vec<NoticeKind> {
    let kinds = form.all(field).filter_map(NoticeKind::of);
    kinds.filter(|kind| NoticeKind::OF_PROJECTS.contains(kind)).collect()
}

async fn sends(member: &Member) -> Result<Vec<Sent>, Refusal> {
    let sends = member.asking.store.sends(&member.project.id, SENDS).await?.into_iter().map(|send| Sent {
        title: send.notice.kind.title(),
        channel: match send.channel {
            Channel::Mail(_) => "mail",
            Channel::Webhook => "webhook",
            Channel::Slack => "Slack",
        },
        badge: match send.state.as_str() {
            "sent" => ("good", "sent"),
            "waiting" => ("warn", "waits"),
            "dropped" => ("", "no longer needed"),
            _ => ("bad", "not taken"),
        },
        at: minute(send.at),
        reason: send.reason,
    });
    Ok(sends.collect())
}

async fn page<'a>(console: &Console, member: &'a Member, saved: &SavedChannels) -> Result<ChannelsPage<'a>, Refusal> {
    let set = &saved.channels;
    let has_mail = console.config().delivery.mail.is_some();
    let tests = [
        ("mail", "By mail", has_mail),
        ("webhook", "To the webhook", set.webhook.is_some()),
        ("slack", "To Slack", set.slack.is_some()),
    ];
    Ok(ChannelsPage {
        chrome: member.asking.chrome("To whom notices are sent", "notices"),
        project: member.project.id.to_string(),
        version: saved.version,
        entered: Entered {
            mail_to: set.mail_to.map_or("", Role::as_str),
            webhook: set.webhook.as_ref().map(|hook| hook.url.clone()).unwrap_or_default(),
            // Whoever sees the address may post there: it is not shown again.
            slack: "",
        },
        kinds: choices([&set.mail_kinds, &set.webhook_kinds, &set.slack_kinds]),
        mail_choices: &MAIL_TO,
        has_mail,
        has_slack: set.slack.is_some(),
        tests: tests.into_iter().filter(|(.., ready)| *ready).map(|(word, name, _)| (word, name)).collect(),
        secret: None,
        sends: sends(member).await?,
        meanwhile: None,
        tested: None,
        untested: None,
        problem: Problem::default(),
    })
}

/// The page with what a form has entered in place of what is saved.
async fn entered<'a>(
    console: &Console,
    member: &'a Member,
    saved: &SavedChannels,
    problem: Problem,
) -> Result<ChannelsPage<'a>, Refusal> {
    let form = &member.asking.fields;
    let kinds = KINDS.map(|field| chosen(form, field));
    let [mail, webhook, slack] = &kinds;
    Ok(ChannelsPage {
        entered: Entered {
            mail_to: form.get("mail_to"),
            webhook: form.get("webhook").to_owned(),
            slack: form.get("slack"),
        },
        kinds: choices([mail, webhook, slack]),
        problem,
        ..page(console, member, saved).await?
    })
}

pub(super) async fn show(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let saved = member.asking.store.channels(member.project.number).await?;
    Ok(html(&page(&console, &member, &saved).await?))
}

/// In what the saved channels differ from what a form says, with what is saved.
fn differ(form: &Fields, saved: &Channels) -> String {
    let mut differ = Vec::new();
    let mail = saved.mail_to.map_or("", Role::as_str);
    if form.get("mail_to") != mail {
        let name = MAIL_TO.iter().find(|(word, _)| *word == mail).map_or(mail, |(_, name)| name);
        differ.push(format!("mail, now to {name}"));
    }
    let hook = saved.webhook.as_ref().map_or("", |hook| hook.url.as_str());
    if form.get("webhook").trim() != hook {
        differ.push(if hook.is_empty() {
            "the webhook, now none".to_owned()
        } else {
            format!("the webhook, now {hook}")
        });
    }
    let slack = form.get("slack").trim();
    if !slack.is_empty() && saved.slack.as_deref() != Some(slack) {
        // Its address is not shown again.
        differ.push(if saved.slack.is_some() { "Slack, now another one" } else { "Slack, now none" }.to_owned());
    }
    let kinds = [&saved.mail_kinds, &saved.webhook_kinds, &saved.slack_kinds];
    for ((field, saved), name) in KINDS.iter().zip(kinds).zip(["mail", "the webhook", "Slack"]) {
        let chosen = chosen(form, field);
        if chosen.len() != saved.len() || chosen.iter().any(|kind| !saved.contains(kind)) {
            let titles: Vec<&str> = saved.iter().map(|kind| kind.title()).collect();
            let titles = if titles.is_empty() { "nothing".to_owned() } else { titles.join(", ") };
            differ.push(format!("what goes by {name}, now {titles}"));
        }
    }
    if differ.is_empty() { "nothing".to_owned() } else { differ.join("; ") }
}

/// What a form says.
fn wanted(form: &Fields) -> Wanted<'_> {
    Wanted {
        mail_to: form.get("mail_to"),
        webhook: form.get("webhook").trim(),
        slack: match (form.get("slack").trim(), form.get("slack_off")) {
            (_, "yes") => Slack::Off,
            ("", _) => Slack::Stays,
            (url, _) => Slack::At(url),
        },
        kinds: KINDS.map(|field| chosen(form, field)),
    }
}

pub(super) async fn save(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (store, form) = (&member.asking.store, &member.asking.fields);
    let saved = store.channels(member.project.number).await?;
    let moved = async |saved: &SavedChannels| {
        let meanwhile = Some(differ(form, &saved.channels));
        let page = ChannelsPage { meanwhile, ..entered(&console, &member, saved, Problem::default()).await? };
        Ok::<_, Refusal>(again(&page))
    };
    if form.get("version").parse() != Ok(saved.version) {
        return moved(&saved).await;
    }
    match channels::save(&console, &member.acting(), wanted(form), &saved).await {
        Ok(Some(secret)) => {
            let saved = store.channels(member.project.number).await?;
            Ok(html(&ChannelsPage { secret: Some(secret), ..page(&console, &member, &saved).await? }))
        }
        Ok(None) => Ok(see(&format!("/p/{}/notices/channels", member.project.id), "channels")),
        Err(Undone::Wrong(problem)) => Ok(again(&entered(&console, &member, &saved, problem).await?)),
        Err(Undone::Meanwhile) => moved(&store.channels(member.project.number).await?).await,
        Err(Undone::Refused(refusal)) => Err(refusal),
    }
}

pub(super) async fn test(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (channel, sent) = match member.asking.fields.get("channel") {
        "mail" => (Channel::Mail(member.account.number), "The mail server has taken the test: look into your mailbox."),
        "webhook" => (Channel::Webhook, "The webhook has taken the test."),
        "slack" => (Channel::Slack, "Slack has taken the test: look into the channel."),
        _ => return Err(Refusal::Invalid("a test goes by mail, webhook or Slack".to_owned())),
    };
    let store = &member.asking.store;
    let tried = channels::test(&console, &member.acting(), channel).await?;
    let saved = store.channels(member.project.number).await?;
    let page = page(&console, &member, &saved).await?;
    Ok(match tried {
        Ok(()) => html(&ChannelsPage { tested: Some(sent), ..page }),
        Err(why) => again(&ChannelsPage { untested: Some(why), ..page }),
    })
}
