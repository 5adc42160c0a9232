//! Notices on their way to people: each once for each channel, retried, and known across an end in between.

use std::collections::HashMap;
use std::time::Duration;

use convizit_model::{Channel, Notice, NoticeKind, NoticeState, Project, ProjectId, Timestamp};
use convizit_store::{NoticeSend, SendEnd, Store, StoreError};
use serde_json::json;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::destinations::SendError;
use crate::destinations::webhook::{Webhook, post_plain};
use crate::guard::Guard;
use crate::mail::{Mail, MailError};
use crate::{DeliveryConfig, retry};

/// How soon a new notice is seen.
const LOOK: Duration = Duration::from_secs(1);
/// How long messages under way may take after `stop`.
const DRAIN: Duration = Duration::from_secs(3);
/// Mails that are on their way at once, and as many messages to other receivers: of those one to each.
const AT_ONCE: usize = 8;
/// A message that nobody took for so long is given up.
const GIVEN_UP: i64 = 24 * 3_600_000;
/// Looks between two clearings of what was sent long ago.
const LOOKS: u32 = 3_600;
/// After this many characters a text is cut: a message is to be read on a phone.
const TEXT_CHARS: usize = 1_500;

/// Sends notices until `stop`: incidents beside all others, which may be many and slow.
pub(crate) async fn run(store: Store, config: DeliveryConfig, guard: Guard, stop: CancellationToken) {
    let send = |incidents| send(&store, &config, &guard, incidents, &stop);
    tokio::join!(address(&store, config.mail.is_some(), &stop), send(true), send(false));
}

/// Writes down to whom each new notice goes.
async fn address(store: &Store, mail: bool, stop: &CancellationToken) {
    let mut looks = 0;
    while !stop.is_cancelled() {
        if let Err(error) = store.address_notices(mail).await {
            tracing::warn!(%error, "notices cannot be addressed now; looking again");
        }
        if looks % LOOKS == 0
            && let Err(error) = store.forget_sends().await
        {
            tracing::warn!(%error, "what was sent long ago could not be dropped");
        }
        looks = looks.wrapping_add(1);
        pause(stop).await;
    }
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LOOK) => {}
    }
}

/// A message on its way: its notice, its channel, and whose channel that is.
type OnItsWay = (i64, Channel, Option<ProjectId>);

/// Whether a message may go now: not twice, not while its receiver has another one, and not more at once than are bounded.
fn may_go(on_their_way: &HashMap<Id, OnItsWay>, (notice, channel, project): &OnItsWay) -> bool {
    let is_mail = |channel: &Channel| matches!(channel, Channel::Mail(_));
    let alike: Vec<_> = on_their_way.values().filter(|(_, other, _)| is_mail(other) == is_mail(channel)).collect();
    let busy = alike
        .iter()
        .any(|(other, known, of)| known == channel && if is_mail(channel) { other == notice } else { of == project });
    !busy && alike.len() < AT_ONCE
}

/// Sends what is due, of incidents or of all else. A receiver that is slow holds up its own messages alone.
async fn send(store: &Store, config: &DeliveryConfig, guard: &Guard, incidents: bool, stop: &CancellationToken) {
    let (mut tasks, mut on_their_way) = (JoinSet::new(), HashMap::new());
    while !stop.is_cancelled() {
        let due = store.due_sends(incidents).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "notices cannot be sent now; looking again");
            Vec::new()
        });
        for message in due {
            let key = (message.notice.id, message.channel, message.notice.project.clone());
            if may_go(&on_their_way, &key) {
                let (store, config, guard) = (store.clone(), config.clone(), guard.clone());
                let task = tasks.spawn(async move { one(&store, &config, &guard, message).await });
                on_their_way.insert(task.id(), key);
            }
        }
        let done = tokio::select! {
            Some(done) = tasks.join_next_with_id() => done,
            () = pause(stop) => continue,
        };
        let task = done.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        on_their_way.remove(&task);
        match done {
            Ok((_, Ok(()))) => {}
            // The message still waits, and is not to be tried without a pause.
            Ok((_, Err(error))) => {
                tracing::warn!(%error, "what became of a notice cannot be written now; looking again");
                pause(stop).await;
            }
            // It panicked, which is logged.
            Err(_) => pause(stop).await,
        }
    }
    // What does not end in time is sent again at the next start, under the same id.
    let all = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(DRAIN, all).await.ok();
}

/// Tries one message, and writes down what it came to.
async fn one(store: &Store, config: &DeliveryConfig, guard: &Guard, send: NoticeSend) -> Result<(), StoreError> {
    let NoticeSend { notice, channel, tries, .. } = send;
    let now = store.clock().now();
    let result = if notice.state == NoticeState::Resolved {
        // What it was about is over.
        Err(Unsent::Nobody)
    } else {
        say(store, config, guard, &notice, channel).await
    };
    let end = match result {
        Ok(()) => SendEnd::Sent,
        Err(Unsent::Nobody) => SendEnd::Dropped,
        Err(Unsent::Store(error)) => return Err(error),
        Err(Unsent::Failed(reason)) => SendEnd::Failed(reason),
        Err(Unsent::Later(reason, _)) if now.since(notice.first) > GIVEN_UP => SendEnd::Failed(reason),
        Err(Unsent::Later(reason, after)) => SendEnd::Later(reason, later(now, tries, after)),
    };
    if let SendEnd::Later(reason, _) | SendEnd::Failed(reason) = &end {
        tracing::info!(notice = notice.id, channel = channel.text(), reason, "a notice was not taken");
    }
    let word = match &end {
        SendEnd::Sent => "sent",
        SendEnd::Later(..) => "later",
        SendEnd::Failed(_) => "failed",
        SendEnd::Dropped => "dropped",
    };
    metrics::counter!("convizit_notices_total", "result" => word).increment(1);
    store.end_send(notice.id, channel, end).await
}

fn later(now: Timestamp, tries: u32, after: Option<Duration>) -> Timestamp {
    let wait = retry::wait(tries.saturating_add(1), after);
    now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

/// Why a message did not go out.
enum Unsent {
    /// Whoever was to get it is no member any more, or the channel is gone.
    Nobody,
    Later(String, Option<Duration>),
    Failed(String),
    Store(StoreError),
}

impl From<StoreError> for Unsent {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Nobody,
            other => Self::Store(other),
        }
    }
}

impl From<SendError> for Unsent {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Later { reason, after } => Self::Later(reason, after),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<MailError> for Unsent {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Later(reason) => Self::Later(reason, None),
            MailError::Refused(reason) => Self::Failed(reason),
        }
    }
}

/// The same at each try, and another for each channel.
fn id_of(store: &Store, notice: &Notice, channel: Channel) -> String {
    let of = format!("{}\n{}\n{}\n{}", store.installation(), notice.id, notice.first, channel.text());
    let digest = convizit_keys::sha256(of.as_bytes());
    digest.iter().take(16).fold(String::from("ntc_"), |id, byte| id + &format!("{byte:02x}"))
}

/// Where a person reads more, in the console.
fn link(config: &DeliveryConfig, notice: &Notice) -> String {
    let admin = if config.admin.is_empty() { &config.console } else { &config.admin };
    let (console, admin) = (config.console.trim_end_matches('/'), admin.trim_end_matches('/'));
    let page = if notice.kind == NoticeKind::Incident { "incidents" } else { "notices" };
    match &notice.project {
        Some(project) => format!("{console}/p/{project}/{page}"),
        None => format!("{admin}/{page}"),
    }
}

/// A text of bounded length on one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TEXT_CHARS {
        return line;
    }
    line.chars().take(TEXT_CHARS).chain(['…']).collect()
}

/// What it is, in words; a message without a notice is a test.
fn title(notice: &Notice) -> &'static str {
    if notice.id == 0 { "A test" } else { notice.kind.title() }
}

fn subject(notice: &Notice) -> String {
    let place = notice.project.as_ref().map_or("Convizit", ProjectId::as_str);
    format!("[{place}] {}", title(notice))
}

async fn say(
    store: &Store,
    config: &DeliveryConfig,
    guard: &Guard,
    notice: &Notice,
    channel: Channel,
) -> Result<(), Unsent> {
    let project = match &notice.project {
        Some(id) => Some(store.project(id).await?),
        None => None,
    };
    let id = id_of(store, notice, channel);
    match channel {
        Channel::Mail(account) => mail(store, config, (notice, project.as_ref()), account, id).await,
        Channel::Webhook | Channel::Slack => {
            let project = project.ok_or(Unsent::Nobody)?;
            hook(store, config, guard, (notice, &project), channel, id).await
        }
    }
}

async fn mail(
    store: &Store,
    config: &DeliveryConfig,
    (notice, project): (&Notice, Option<&Project>),
    account: i64,
    id: String,
) -> Result<(), Unsent> {
    let Some(server) = &config.mail else { return Err(Unsent::Nobody) };
    let account = store.account(account).await?;
    let member = match project {
        Some(project) => store.role(project.number, account.number).await?.is_some(),
        None => false,
    };
    if !(member || account.master) {
        return Err(Unsent::Nobody);
    }
    let link = link(config, notice);
    let (text, title) = (short(&notice.text), title(notice));
    let why = match project {
        Some(_) => {
            "You get this as a member of the project; its Admins choose what is sent, on the page Notices of its settings."
        }
        None => "You get this as a Master Admin of the installation.",
    };
    let text = format!(
        "{title}.\n\n{text}\n\nSince {} UTC. More, and marking it as seen:\n{link}\n\n-- \n{why}\n",
        minute(notice.first)
    );
    server.send(&Mail { to: account.email, subject: subject(notice), text, id: Some(id) }).await?;
    Ok(())
}

async fn hook(
    store: &Store,
    config: &DeliveryConfig,
    guard: &Guard,
    (notice, project): (&Notice, &Project),
    channel: Channel,
    id: String,
) -> Result<(), Unsent> {
    let channels = store.channels(project.number).await?.channels;
    let link = link(config, notice);
    if channel == Channel::Webhook {
        let hook = channels.webhook.ok_or(Unsent::Nobody)?;
        let body = json!({"type": "notice", "notice": {
            "id": notice.id, "kind": notice.kind, "project": notice.project, "title": title(notice),
            "text": short(&notice.text), "first": notice.first, "link": link,
        }});
        let webhook = Webhook::open(&hook.url, Some(&hook.secret), String::new(), guard)?;
        webhook.post(id, body.to_string().into_bytes()).await?;
        return Ok(());
    }
    let address = channels.slack.ok_or(Unsent::Nobody)?;
    let text = format!("*{}*\n{}\n<{}|Look at it>", plain(&subject(notice)), plain(&short(&notice.text)), plain(&link));
    post_plain(&address, json!({ "text": text }).to_string().into_bytes(), guard).await?;
    Ok(())
}

/// Slack's three signs with a meaning of their own: a text must not make a link or call everybody.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A time as people read it, to the minute.
fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..16).map_or(text.clone(), |text| text.replace('T', " "))
}

/// Sends a message over one channel of a project, as a notice would go, to see whether it arrives.
pub(crate) async fn try_channel(
    store: &Store,
    config: &DeliveryConfig,
    project: &Project,
    channel: Channel,
) -> Result<(), String> {
    let guard = Guard::new(&config.allow_networks)?;
    let now = store.clock().now();
    let notice = Notice {
        id: 0,
        kind: NoticeKind::SiteChanged,
        project: Some(project.id.clone()),
        subject: "test".to_owned(),
        text: "This is a test: somebody asked for it on the page Notices. Nothing has happened.".to_owned(),
        state: NoticeState::Open,
        count: 1,
        first: now,
        last: now,
    };
    match say(store, config, &guard, &notice, channel).await {
        Ok(()) => Ok(()),
        Err(Unsent::Nobody) if matches!(channel, Channel::Mail(_)) => {
            Err("no mail server is set up: [mail] in convizit.toml names one".to_owned())
        }
        Err(Unsent::Nobody) => Err("this channel has no address yet: enter one and save first".to_owned()),
        Err(Unsent::Later(reason, _) | Unsent::Failed(reason)) => Err(reason),
        Err(Unsent::Store(error)) => Err(error.to_string()),
    }
}
