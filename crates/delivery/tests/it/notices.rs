//! Notices on their way to people: mail, webhook and Slack, once each, and none lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use convizit_delivery::{DeliveryConfig, Mail, MailConfig, MailError};
use convizit_model::{Channel, Channels, NoticeHook, NoticeKind, NoticeState, Role};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::mailbox::Mailbox;
use crate::stand::{SECRET, Stand, until};

const PASSWORD: &str = "copper lantern walks uphill";

/// Delivery with a mail server, until it is told to stop.
struct Sending(CancellationToken, tokio::task::JoinHandle<Result<(), String>>);

impl Sending {
    fn start(stand: &Stand, mail: Option<MailConfig>, networks: &[&str]) -> Self {
        let stop = CancellationToken::new();
        let config = with_mail(stand, mail, networks);
        Self(stop.clone(), tokio::spawn(convizit_delivery::run(stand.store.clone(), config, stop)))
    }

    async fn end(self) {
        self.0.cancel();
        self.1.await.unwrap().unwrap();
    }
}

fn with_mail(stand: &Stand, mail: Option<MailConfig>, networks: &[&str]) -> DeliveryConfig {
    let (console, admin) = ("https://console.shop.example/".to_owned(), "https://admin.shop.example/".to_owned());
    DeliveryConfig { mail, console, admin, ..stand.config(networks) }
}

async fn member(stand: &Stand, email: &str, role: Role) -> i64 {
    let project = stand.store.project(&stand.project).await.unwrap();
    let link = stand.store.invite_member(&project, email, role).await.unwrap();
    stand.store.accept(&link, "", "A Person", PASSWORD).await.unwrap().number
}

/// A Master Admin, who sees to incidents.
async fn master(stand: &Stand, email: &str) {
    let link = stand.store.first_link().await.unwrap();
    stand.store.accept(&link, email, "A Person", PASSWORD).await.unwrap();
}

async fn raise(stand: &Stand, kind: NoticeKind, subject: &str) -> i64 {
    let text = "destination hook refused events; look at “<b>Pay & go</b>”";
    stand.store.raise(kind, Some(&stand.project), subject, text).await.unwrap();
    let all = stand.store.notices(false).await.unwrap();
    all.into_iter().find(|notice| notice.subject == subject).unwrap().id
}

/// The states of the messages of a notice, in the order of their channels.
async fn states(stand: &Stand, notice: i64) -> Vec<String> {
    let all = stand.store.sends(&stand.project, 100).await.unwrap();
    all.into_iter().filter(|send| send.notice.id == notice).map(|send| send.state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_mailed_once_to_those_who_want_it() {
    let stand = Stand::new().await;
    let mailbox = Mailbox::strict(stand.folder.path());
    let first = stand.store.first_link().await.unwrap();
    stand.store.accept(&first, "mia@shop.example", "Mia Master", PASSWORD).await.unwrap();
    let admin = member(&stand, "ada@shop.example", Role::Admin).await;
    member(&stand, "vic@shop.example", Role::Viewer).await;
    let sending = Sending::start(&stand, Some(mailbox.config()), &[]);
    let id = raise(&stand, NoticeKind::DeadLetters, "hook").await;
    until(async || states(&stand, id).await == ["sent"]).await;
    let kept = mailbox.kept();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(
        (&kept[0]["to"], &kept[0]["tls"], &kept[0]["user"]),
        (&"ada@shop.example".into(), &true.into(), &true.into())
    );
    let text = kept[0]["text"].as_str().unwrap();
    for part in [
        "Subject: [shop] A destination refused events",
        "From: Convizit <convizit@shop.example>",
        "Auto-Submitted: auto-generated",
        "https://console.shop.example/p/shop/notices",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("A Person") && !text.contains("mia@"), "no more of persons than the address: {text}");

    // A repeat is the same notice, an unwanted kind is sent to nobody, an incident to Master Admins, and to no Admin.
    assert_eq!(raise(&stand, NoticeKind::DeadLetters, "hook").await, id);
    raise(&stand, NoticeKind::SiteChanged, "elements").await;
    let incident = raise(&stand, NoticeKind::Incident, "incident:1").await;
    until(async || states(&stand, incident).await == ["sent"]).await;
    stand.store.raise(NoticeKind::Backup, None, "backup", "no backup was made").await.unwrap();
    until(async || mailbox.kept().len() == 3).await;
    let to: Vec<String> = mailbox.kept().iter().map(|one| one["to"].as_str().unwrap().to_owned()).collect();
    assert_eq!(to.iter().filter(|to| *to == "mia@shop.example").count(), 2, "{to:?}");
    assert!(!to.contains(&"vic@shop.example".to_owned()), "{to:?}");
    // A line of a mail may be broken within a word.
    let whole = |mail: &Value| mail["text"].as_str().unwrap().replace("=\r\n", "").replace("=3D", "=");
    let leads = |what: &str, to: &str| {
        let all = mailbox.kept();
        let of: Vec<String> = all.iter().map(whole).filter(|text| text.contains(what)).collect();
        assert!(!of.is_empty() && of.iter().all(|text| text.contains(to)), "{to} in {of:?}");
    };
    leads("Subject: [shop] A security incident", "https://console.shop.example/p/shop/incidents");
    leads("Subject: [Convizit]", "https://admin.shop.example/notices");
    // After it was resolved it is another one; whoever was removed gets none.
    stand.store.set_notice(id, NoticeState::Resolved).await.unwrap();
    let project = stand.store.project(&stand.project).await.unwrap();
    stand.store.remove_member(&project, admin).await.unwrap();
    let anew = raise(&stand, NoticeKind::DeadLetters, "hook").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((states(&stand, anew).await, mailbox.kept().len()), (Vec::new(), 3));
    sending.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_take_now_is_sent_later_and_an_end_in_between_loses_nothing() {
    let stand = Stand::new().await;
    let mailbox = Mailbox::plain(2);
    member(&stand, "ada@shop.example", Role::Admin).await;
    member(&stand, "gone@shop.example", Role::Admin).await;
    let id = raise(&stand, NoticeKind::SilentProject, "events").await;
    let sending = Sending::start(&stand, Some(mailbox.config()), &[]);
    until(async || stand.store.sends(&stand.project, 9).await.unwrap().iter().any(|send| send.tries > 0)).await;
    sending.end().await;
    let sending = Sending::start(&stand, Some(mailbox.config()), &[]);
    until(async || states(&stand, id).await == ["sent", "failed"]).await;
    sending.end().await;
    assert_eq!(mailbox.kept().len(), 1);
    let sends = stand.store.sends(&stand.project, 9).await.unwrap();
    let failed = sends.iter().find(|send| send.state == "failed").unwrap();
    assert!(failed.reason.contains("(550)") && !failed.reason.contains("gone@"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_cannot_be_trusted_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mailbox = Mailbox::strict(folder.path());
    let good = mailbox.config();
    good.answers().await.unwrap();
    let mail = Mail { to: "ada@shop.example".to_owned(), subject: "s".to_owned(), text: "t".to_owned(), id: None };
    let unknown = MailConfig { ca: None, ..good.clone() };
    assert!(unknown.answers().await.unwrap_err().contains("TLS"));
    assert!(matches!(unknown.send(&mail).await, Err(MailError::Later(_))));
    let wrong = MailConfig { login: Some(("convizit".to_owned(), "wrong".to_owned())), ..good.clone() };
    assert!(wrong.answers().await.unwrap_err().contains("user and password"));
    let nobody = MailConfig { port: 9, ..good.clone() };
    assert!(nobody.answers().await.unwrap_err().contains("localhost:9"));
    let plain = Mailbox::plain(0);
    let clear = MailConfig { port: plain.config().port, ..good };
    assert!(matches!(clear.send(&mail).await, Err(MailError::Refused(_))), "a server without TLS is refused");
    assert_eq!((mailbox.kept(), plain.kept()), (Vec::new(), Vec::new()));
}

type Got = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// Answers 500 once, then takes everything.
async fn receiver() -> (String, Got) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let got = Got::default();
    let keep = got.clone();
    let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
        let keep = keep.clone();
        async move {
            let mut got = keep.lock().unwrap();
            got.push((headers, serde_json::from_slice(&body).unwrap()));
            if got.len() == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_them_signed_and_slack_as_text() {
    let stand = Stand::new().await;
    let ((hook, got), (slack, slack_got)) = (receiver().await, receiver().await);
    let project = stand.store.project(&stand.project).await.unwrap();
    let channels = Channels {
        mail_to: None,
        webhook: Some(NoticeHook { url: hook, secret: SECRET.to_owned() }),
        webhook_kinds: vec![NoticeKind::DeadLetters],
        slack: Some(slack),
        slack_kinds: vec![NoticeKind::DeadLetters],
        ..Channels::default()
    };
    stand.store.save_channels(&project, &channels, 0).await.unwrap();
    let sending = Sending::start(&stand, None, &["127.0.0.0/8"]);
    raise(&stand, NoticeKind::SilentProject, "events").await;
    let id = raise(&stand, NoticeKind::DeadLetters, "hook").await;
    until(async || states(&stand, id).await == ["sent", "sent"]).await;
    sending.end().await;
    let got = got.lock().unwrap().clone();
    assert_eq!(got.len(), 2, "the first was answered 500: {got:?}");
    let header = |at: usize, name: &str| got[at].0.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"), "the same message");
    let (time, signature) = (header(1, "webhook-timestamp").parse().unwrap(), header(1, "webhook-signature"));
    let body = got[1].1.to_string();
    assert!(
        convizit_keys::verify_webhook(SECRET, &header(1, "webhook-id"), time, body.as_bytes(), &signature).unwrap()
    );
    assert_eq!((&got[1].1["type"], &got[1].1["notice"]["kind"]), (&"notice".into(), &"dead_letters".into()));
    assert_eq!(got[1].1["notice"]["link"], "https://console.shop.example/p/shop/notices");
    let said = slack_got.lock().unwrap()[1].1["text"].as_str().unwrap().to_owned();
    assert!(said.contains("&lt;b&gt;Pay &amp; go&lt;/b&gt;") && !said.contains("<b>"), "{said}");

    // What leads inside is not dialled, and says so where somebody looks; a test says it at once.
    let closed = with_mail(&stand, None, &[]);
    let why = convizit_delivery::try_channel(&stand.store, &closed, &project, Channel::Webhook).await.unwrap_err();
    assert!(why.contains("private or reserved"), "{why}");
    let open = with_mail(&stand, None, &["127.0.0.0/8"]);
    convizit_delivery::try_channel(&stand.store, &open, &project, Channel::Slack).await.unwrap();
    let none = convizit_delivery::try_channel(&stand.store, &open, &project, Channel::Mail(1)).await.unwrap_err();
    assert!(none.contains("[mail]") || none.contains("there is no"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_is_mailed_within_a_minute() {
    let stand = Stand::new().await;
    let mailbox = Mailbox::plain(0);
    master(&stand, "ada@shop.example").await;
    // Incidents are not theirs to see.
    member(&stand, "adam@shop.example", Role::Admin).await;
    let viewer = member(&stand, "vic@shop.example", Role::Viewer).await;
    let sending = Sending::start(&stand, Some(mailbox.config()), &[]);
    let attack = std::time::Instant::now();
    let own = stand.store.acting_as(&format!("account:{viewer}"));
    for _ in 0..12 {
        own.audit("access.refuse", "shop", "/p/{project}/settings", "").await.unwrap();
    }
    until(async || !mailbox.kept().is_empty()).await;
    assert!(attack.elapsed() < Duration::from_secs(60), "{:?}", attack.elapsed());
    let mail = mailbox.kept().remove(0);
    assert_eq!(mail["to"], "ada@shop.example");
    assert!(mail["text"].as_str().unwrap().contains("https://console.shop.example/p/shop/incidents"), "{mail}");
    let notice = stand.store.notices(false).await.unwrap().into_iter().find(|one| one.kind == NoticeKind::Incident);
    until(async || states(&stand, notice.as_ref().unwrap().id).await == ["sent"]).await;
    sending.end().await;
}

/// Takes what it gets after half a minute: nobody waits so long.
async fn slow_receiver() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().fallback(|| async { tokio::time::sleep(Duration::from_secs(30)).await });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_holds_up_no_incident_and_no_other_receiver() {
    let stand = Stand::new().await;
    let mailbox = Mailbox::plain(0);
    master(&stand, "mia@shop.example").await;
    member(&stand, "ada@shop.example", Role::Admin).await;
    let blog = stand.store.create_project(&"blog".parse().unwrap(), Default::default()).await.unwrap();
    let slow = Channels {
        mail_to: None,
        webhook: Some(NoticeHook { url: slow_receiver().await, secret: SECRET.to_owned() }),
        webhook_kinds: vec![NoticeKind::DeadLetters, NoticeKind::Incident],
        ..Channels::default()
    };
    stand.store.save_channels(&blog, &slow, 0).await.unwrap();
    let sending = Sending::start(&stand, Some(mailbox.config()), &["127.0.0.0/8"]);
    for n in 0..12 {
        for kind in [NoticeKind::DeadLetters, NoticeKind::Incident] {
            stand.store.raise(kind, Some(&blog.id), &format!("subject {n}"), "text").await.unwrap();
        }
    }
    // To the slow one, and the incidents to the Master Admin, too.
    until(async || stand.store.sends(&blog.id, 99).await.unwrap().len() == 36).await;
    // They are on their way now.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let begun = std::time::Instant::now();
    let incident = raise(&stand, NoticeKind::Incident, "incident:1").await;
    let other = raise(&stand, NoticeKind::DeadLetters, "hook").await;
    until(async || states(&stand, incident).await == ["sent"] && states(&stand, other).await == ["sent"]).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    sending.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_of_an_hour_is_none_for_incidents() {
    let stand = Stand::new().await;
    let (hook, got) = receiver().await;
    let project = stand.store.project(&stand.project).await.unwrap();
    let channels = Channels {
        mail_to: None,
        webhook: Some(NoticeHook { url: hook, secret: SECRET.to_owned() }),
        webhook_kinds: vec![NoticeKind::DeadLetters, NoticeKind::Incident],
        ..Channels::default()
    };
    stand.store.save_channels(&project, &channels, 0).await.unwrap();
    for n in 0..65 {
        let subject = format!("subject {n}");
        stand.store.raise(NoticeKind::DeadLetters, Some(&stand.project), &subject, "text").await.unwrap();
    }
    let sending = Sending::start(&stand, None, &["127.0.0.0/8"]);
    let sent = async || {
        let all = stand.store.sends(&stand.project, 200).await.unwrap();
        all.iter().filter(|send| send.state == "sent" && send.notice.kind == NoticeKind::DeadLetters).count()
    };
    until(async || sent().await == 60).await;
    let incident = raise(&stand, NoticeKind::Incident, "incident:1").await;
    until(async || states(&stand, incident).await == ["sent"]).await;
    assert_eq!(sent().await, 60, "the others wait");
    sending.end().await;
    let kinds = got.lock().unwrap().iter().filter(|(_, body)| body["notice"]["kind"] == "incident").count();
    assert_eq!(kinds, 1);
}
