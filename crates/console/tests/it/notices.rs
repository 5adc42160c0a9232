//! Notices and their channels, mail, and what goes with it: Master Admins, lost passwords, a second factor for all.

use axum::http::StatusCode;
use convizit_console::ConsoleConfig;
use convizit_delivery::DeliveryConfig;
use convizit_model::{NoticeKind, NoticeState, ProjectSettings, Role};

use crate::mailbox::Mailbox;
use crate::site::{Ask, PASSWORD, Site, Who};

const CONSOLE: &str = "https://console.shop.example";

/// A console with a mail server, and hooks on loopback allowed.
async fn with_mail(mailbox: &Mailbox) -> Site {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let mut site = Site::make().await;
    let delivery = DeliveryConfig {
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        mail: Some(mailbox.config()),
        console: CONSOLE.to_owned(),
        ..DeliveryConfig::default()
    };
    site.set_up(ConsoleConfig { delivery, ..ConsoleConfig::default() });
    site
}

/// The text of the mailbox's only message to somebody, with its long lines whole again.
async fn mailed(mailbox: &Mailbox, to: &str) -> String {
    for _ in 0..500 {
        if let Some(mail) = mailbox.kept().into_iter().find(|mail| mail["to"] == to) {
            return mail["text"].as_str().unwrap().replace("=\r\n", "").replace("=3D", "=");
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{to} got no mail");
}

/// The path of the link in a message.
fn link_in(text: &str) -> String {
    let at = text.find(CONSOLE).unwrap_or_else(|| panic!("no link in {text}"));
    text[at + CONSOLE.len()..].split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_seen_by_members_and_marked_by_editors() {
    let site = Site::make().await;
    let blog = "blog".parse().unwrap();
    site.store.raise(NoticeKind::DeadLetters, Some(&site.shop.id), "hook", "hook refused events").await.unwrap();
    site.store.raise(NoticeKind::SilentProject, Some(&blog), "events", "blog is silent").await.unwrap();
    site.store.raise(NoticeKind::Backup, None, "backup", "no backup was made").await.unwrap();
    let id = async |text: &str| {
        let all = site.store.notices(true).await.unwrap();
        all.into_iter().find(|notice| notice.text == text).map(|notice| (notice.id, notice.state)).unwrap()
    };
    let viewer = site.session(Who::In(Role::Viewer)).await;
    let page = site.get("/p/shop/notices", &viewer).await.text;
    assert!(
        page.contains("hook refused events") && page.contains("Notices <span class=\"badge bad\">1</span>"),
        "{page}"
    );
    assert!(
        !page.contains("blog is silent") && !page.contains("no backup") && !page.contains("Mark as seen"),
        "{page}"
    );
    let editor = site.session(Who::In(Role::Editor)).await;
    let (hook, other) = (id("hook refused events").await.0, id("blog is silent").await.0);
    let stolen = site.post(&format!("/p/shop/notices/{other}"), &editor, &[("state", "resolved")]).await;
    assert_eq!(stolen.status, StatusCode::NOT_FOUND, "it is of another project");
    let seen = site.post(&format!("/p/shop/notices/{hook}"), &editor, &[("state", "seen")]).await;
    assert_eq!(seen.location(), "/p/shop/notices?done=seen");
    assert_eq!(id("hook refused events").await.1, NoticeState::Seen);
    let page = site.get("/p/shop/notices?state=open", &viewer).await.text;
    assert!(page.contains("No such notice") && !page.contains("badge bad"), "{page}");
    let master = site.session(Who::In(Role::MasterAdmin)).await;
    let all = site.get("/notices?like=BACKUP", &master).await.text;
    assert!(all.contains("no backup was made") && !all.contains("blog is silent"), "{all}");
    let done = site.post(&format!("/notices/{other}"), &master, &[("state", "resolved")]).await;
    assert_eq!(done.location(), "/notices?done=resolved");
    assert_eq!(id("blog is silent").await.1, NoticeState::Resolved);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_set_and_tried_and_keep_their_secrets() {
    let mailbox = Mailbox::plain(0);
    let site = with_mail(&mailbox).await;
    let admin = site.session(Who::In(Role::Admin)).await;
    let path = "/p/shop/notices/channels";
    let save = async |version: &str, webhook: &str, slack: &str| {
        let fields = [
            ("version", version),
            ("mail_to", "editor"),
            ("mail_kinds", "dead_letters"),
            ("webhook", webhook),
            ("webhook_kinds", "incident"),
            ("slack", slack),
        ];
        site.post(path, &admin, &fields).await
    };
    let wrong = save("0", "http://10.0.0.1/hook", "").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    for kept in ["id=\"wrong-webhook\"", "value=\"http://10.0.0.1/hook\"", "value=\"editor\" selected"] {
        assert!(wrong.text.contains(kept), "{kept} in {}", wrong.text);
    }
    let canary = "https://hooks.slack.example/canary";
    let first = save("0", "https://hooks.invalid/n", canary).await;
    let secret =
        first.text.split("whsec_").nth(1).expect("the new secret is shown").split('<').next().unwrap().to_owned();
    assert!(!first.text.contains("canary"), "whoever sees the address may post there");
    assert_eq!(save("1", "https://hooks.invalid/n", "").await.location(), "/p/shop/notices/channels?done=channels");
    let saved = site.store.channels(site.shop.number).await.unwrap();
    assert_eq!((saved.version, saved.channels.slack.as_deref()), (2, Some(canary)), "left empty it stays");
    assert!(saved.channels.webhook.unwrap().secret.ends_with(&secret), "the same address keeps its secret");
    assert_eq!(saved.channels.mail_kinds, [NoticeKind::DeadLetters]);
    let late = save("1", "https://typed.example/n", "").await;
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        late.text.contains("Somebody else has saved") && late.text.contains("https://typed.example/n"),
        "{}",
        late.text
    );
    assert!(
        late.text.contains("It differs from what is saved in: the webhook, now https://hooks.invalid/n."),
        "{}",
        late.text
    );
    let page = site.get(path, &admin).await.text;
    assert!(!page.contains(&secret) && !page.contains("canary"), "{page}");

    let tried = site.post(&format!("{path}/test"), &admin, &[("channel", "mail")]).await;
    assert_eq!(tried.status, StatusCode::OK, "{}", tried.text);
    assert!(mailed(&mailbox, "admin@shop.example").await.contains("Subject: [shop] A test"));
    let failed = site.post(&format!("{path}/test"), &admin, &[("channel", "webhook")]).await;
    assert_eq!(failed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(failed.text.contains("The test did not arrive"), "{}", failed.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_mailed_and_only_shown_where_it_cannot_be() {
    let mailbox = Mailbox::plain(0);
    let mut site = with_mail(&mailbox).await;
    let admin = site.session(Who::In(Role::Admin)).await;
    let invite = [("email", "new@shop.example"), ("role", "viewer")];
    let answer = site.post("/p/shop/members/invite", &admin, &invite).await;
    assert!(answer.text.contains("Sent to new@shop.example") && !answer.text.contains("/welcome/"), "{}", answer.text);
    let path = link_in(&mailed(&mailbox, "new@shop.example").await);
    let made = site.post(&path, &site.store.new_secret().unwrap(), &[("name", "Nora"), ("password", PASSWORD)]).await;
    assert_eq!(made.location(), "/projects", "{}", made.text);
    let refused =
        site.post("/p/shop/members/invite", &admin, &[("email", "gone@shop.example"), ("role", "viewer")]).await;
    assert!(refused.text.contains("could not be mailed") && refused.text.contains("/welcome/"), "{}", refused.text);
    site.set_up(ConsoleConfig::default());
    let shown = site.post("/p/shop/members/invite", &admin, &[("email", "two@shop.example"), ("role", "viewer")]).await;
    assert!(shown.text.contains("http://127.0.0.1:8091/welcome/"), "{}", shown.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_set_anew_by_mail_and_the_second_factor_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mailbox = Mailbox::strict(folder.path());
    let site = with_mail(&mailbox).await;
    let (_, account, totp) = site.people.iter().find(|(who, ..)| *who == Who::In(Role::Owner)).unwrap();
    let fresh = site.store.new_secret().unwrap();
    let forgot = async |email: &str| site.post("/forgot", &fresh, &[("email", email)]).await;
    let (known, unknown) = (forgot(&account.email).await.text, forgot("nobody@shop.example").await.text);
    let same = |text: &str| text.replace(&account.email, "").replace("nobody@shop.example", "");
    assert_eq!(same(&known), same(&unknown), "nobody learns which addresses have accounts");
    let path = link_in(&mailed(&mailbox, &account.email).await);
    assert_eq!(mailbox.kept().len(), 1);
    let entries = site.store.audit_entries(None, 100).await.unwrap();
    let made = entries.iter().find(|entry| entry.act == "invitation.make" && entry.subject == "password").unwrap();
    assert_eq!((made.actor.as_str(), made.detail.clone()), ("anonymous", account.actor()), "nobody knows who asked");
    let old = site.session(Who::In(Role::Owner)).await;
    let set = site.post(&path, &fresh, &[("password", "seven brass kettles sing low")]).await;
    assert!(
        set.location().starts_with("/sign-in/code"),
        "the mailbox alone opens nothing: {} {}",
        set.location(),
        set.text
    );
    assert!(site.get("/projects", &old).await.location().starts_with("/sign-in"), "all sessions have ended");
    let half = set.cookie().unwrap();
    let code = totp.code(site.store.clock().now().plus_millis(30_000));
    assert_eq!(site.post("/sign-in/code", &half, &[("code", &code)]).await.location(), "/projects");
    assert!(site.store.account(account.number).await.unwrap().second_factor);
    let again = site.post(&path, &fresh, &[("password", "nine copper drums beat slow")]).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "it holds once");
    // Whoever asks again and again is held up as one who tries passwords.
    let mut answered = 0;
    for _ in 0..20 {
        answered += usize::from(forgot(&account.email).await.status == StatusCode::OK);
    }
    assert!(answered < 10, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_master_admin_comes_and_goes_and_the_last_one_stays() {
    let site = Site::make().await;
    let master = site.session(Who::In(Role::MasterAdmin)).await;
    let own = site.account(Who::In(Role::MasterAdmin)).number;
    let last = site.post(&format!("/system/masters/{own}/remove"), &master, &[]).await;
    assert_eq!(last.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = site.post("/system/masters/invite", &master, &[("email", "editor@shop.example")]).await.text;
    let path = page.split("http://127.0.0.1:8091").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let editor = site.session(Who::In(Role::Editor)).await;
    assert!(site.get(&path, &editor).await.text.contains("Be a Master Admin"));
    assert_eq!(site.get("/system", &editor).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.post(&format!("{path}/join"), &editor, &[]).await.location(), "/projects?done=joined");
    assert_eq!(site.get("/system", &editor).await.status, StatusCode::OK);
    let removed = site.post(&format!("/system/masters/{own}/remove"), &editor, &[]).await;
    assert_eq!(removed.location(), "/system?done=unmastered");
    assert_eq!(site.get("/system", &master).await.status, StatusCode::FORBIDDEN, "at once");
    // What opens much is asked for once more.
    site.age_proof();
    let proof = site.post("/system/masters/invite", &editor, &[("email", "x@shop.example")]).await;
    assert!(proof.asks_who_it_is(), "{} {}", proof.status, proof.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_may_ask_all_its_members_for_a_second_factor() {
    let site = Site::make().await;
    let secret = site.store.invite_member(&site.shop, "new@shop.example", Role::Viewer).await.unwrap();
    let welcome = site.ask(Ask::get("/sign-in", None)).await.cookie().unwrap();
    let path = format!("/welcome/{secret}");
    let viewer = site.post(&path, &welcome, &[("name", "Nora"), ("password", PASSWORD)]).await.cookie().unwrap();
    assert_eq!(site.get("/p/shop", &viewer).await.status, StatusCode::OK);
    let settings = ProjectSettings { second_factor_for_all: true, ..site.shop.settings.clone() };
    site.store.save_settings(&site.shop.id, settings).await.unwrap();
    for path in ["/p/shop", "/p/shop/events", "/p/shop/members"] {
        assert_eq!(site.get(path, &viewer).await.location(), "/account/second-factor", "{path}");
    }
    assert_eq!(site.get("/projects", &viewer).await.status, StatusCode::OK, "what is not of the project is open");
    let page = site.get("/account/second-factor", &viewer).await.text;
    assert!(page.contains("A project of yours asks all its members"), "{page}");
    let known = site.session(Who::In(Role::Viewer)).await;
    assert_eq!(site.get("/p/shop", &known).await.status, StatusCode::OK, "who has one enters");
    let stranger = site.session(Who::Stranger).await;
    assert_eq!(site.get("/p/shop", &stranger).await.status, StatusCode::NOT_FOUND, "nobody else learns of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_leads_to_its_destination_and_shows_commands_as_they_are_typed() {
    let site = Site::make().await;
    let text = "destination hook was paused: no; then `convizit destination resume shop hook`";
    site.store.raise(NoticeKind::DestinationPaused, Some(&site.shop.id), "hook", text).await.unwrap();
    let viewer = site.session(Who::In(Role::Viewer)).await;
    let page = site.get("/p/shop/notices", &viewer).await.text;
    assert!(page.contains("<code>convizit destination resume shop hook</code>") && !page.contains('`'), "{page}");
    assert!(page.contains("href=\"/p/shop/destinations/hook\">Open hook</a>"), "{page}");
}
