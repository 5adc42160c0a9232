//! To whom a project's notices go: what is to be saved, made of what is said and of what was saved before, and a try.

use convizit_model::{Channel, Channels, NoticeHook, NoticeKind, Role};
use convizit_store::{SavedChannels, StoreError};

use super::{Acting, Undone};
use crate::Console;
use crate::page::Problem;

/// What is to become of the address of a Slack channel, which is not shown again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Slack<'a> {
    /// It stays as it is.
    Stays,
    /// There is none.
    Off,
    /// This is it.
    At(&'a str),
}

/// What is said of channels.
pub(crate) struct Wanted<'a> {
    /// From which role on members get mail; empty for nobody.
    pub(crate) mail_to: &'a str,
    /// The webhook's address; empty for none.
    pub(crate) webhook: &'a str,
    pub(crate) slack: Slack<'a>,
    /// What goes by mail, to the webhook and to Slack.
    pub(crate) kinds: [Vec<NoticeKind>; 3],
}

/// The channels to be saved, and the secret of a webhook that is named for the first time.
fn made(console: &Console, wanted: Wanted<'_>, saved: &Channels) -> Result<(Channels, Option<String>), Problem> {
    let delivery = &console.config().delivery;
    let mail_to = match wanted.mail_to {
        "" => None,
        word => {
            let role = Role::of(word).filter(|role| *role <= Role::Owner);
            Some(role.ok_or_else(|| Problem::new("mail_to", "choose one of the list"))?)
        }
    };
    let mut secret = None;
    let webhook = if wanted.webhook.is_empty() {
        None
    } else {
        let url = wanted.webhook;
        convizit_delivery::check_address(url, delivery).map_err(|text| Problem::new("webhook", text))?;
        let known = saved.webhook.as_ref().filter(|hook| hook.url == url).map(|hook| hook.secret.clone());
        let key = match known {
            Some(known) => known,
            None => {
                let made =
                    convizit_store::webhook_secret().map_err(|error| Problem::new("webhook", error.to_string()))?;
                secret.insert(made).clone()
            }
        };
        Some(NoticeHook { url: url.to_owned(), secret: key })
    };
    let slack = match wanted.slack {
        Slack::Off => None,
        Slack::Stays => saved.slack.clone(),
        Slack::At(url) => {
            convizit_delivery::check_address(url, delivery).map_err(|text| Problem::new("slack", text))?;
            Some(url.to_owned())
        }
    };
    let [mail_kinds, webhook_kinds, slack_kinds] = wanted.kinds;
    Ok((Channels { mail_to, mail_kinds, webhook, webhook_kinds, slack, slack_kinds }, secret))
}

/// Saves channels over what was saved before; returns the signing secret of a webhook that is named for the first time, which is shown
/// this once.
///
/// # Errors
/// `Wrong` at a field; `Meanwhile` where somebody has saved others since.
pub(crate) async fn save(
    console: &Console,
    acting: &Acting<'_>,
    wanted: Wanted<'_>,
    saved: &SavedChannels,
) -> Result<Option<String>, Undone> {
    let (channels, secret) = made(console, wanted, &saved.channels).map_err(Undone::Wrong)?;
    acting.store.save_channels(acting.project, &channels, saved.version).await?;
    Ok(secret)
}

/// Sends a test message over a channel, as a notice would go; returns why it was not taken.
///
/// # Errors
/// What the store says.
pub(crate) async fn test(
    console: &Console,
    acting: &Acting<'_>,
    channel: Channel,
) -> Result<Result<(), String>, StoreError> {
    let Acting { store, project, .. } = acting;
    store.audit("notices.test", project.id.as_str(), &channel.text(), "").await?;
    Ok(convizit_delivery::try_channel(store, &console.config().delivery, project, channel).await)
}
