//! Attacks on the console as an attacker makes them: each opens one incident and a notice; and people see to it.

use axum::http::StatusCode;
use convizit_console::ConsoleConfig;
use convizit_model::{Incident, IncidentKind, NoticeKind, NoticeState, Outcome, ProjectWork, Role, Work};
use convizit_pipeline::Countries;

use crate::destinations::put;
use crate::site::{Ask, PASSWORD, Site, Who};

/// A console behind a proxy, which knows countries.
async fn site() -> Site {
    let mut site = Site::make().await;
    let countries = Some(Countries::vendored().unwrap());
    site.set_up(ConsoleConfig { behind_proxy: true, countries, ..ConsoleConfig::default() });
    site
}

/// Posts a form as whoever has this cookie, from an address.
async fn post_from(
    site: &Site,
    path: &str,
    (cookie, from): (&str, &str),
    fields: &[(&'static str, &str)],
) -> StatusCode {
    let mut all = vec![("token", site.store.form_token(cookie))];
    all.extend(fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
    site.ask(Ask { from: Some(from), ..Ask::post(path, Some(cookie), all) }).await.status
}

/// The one incident that there is, which has one notice.
pub(crate) async fn only(site: &Site, kind: IncidentKind) -> Incident {
    for _ in 0..100 {
        site.store.look_for_incidents().await.unwrap();
        let all = site.store.incidents(None, true).await.unwrap();
        if !all.is_empty() {
            assert_eq!(all.iter().map(|one| one.kind).collect::<Vec<_>>(), [kind], "{all:?}");
            let notices = site.store.notices(false).await.unwrap();
            let raised = notices.iter().filter(|notice| notice.kind == NoticeKind::Incident).count();
            assert_eq!(raised, 1, "{notices:?}");
            return all.into_iter().next().unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{kind:?} opened no incident");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_from_one_network_are_one_incident() {
    let site = site().await;
    let cookie = site.store.new_secret().unwrap();
    for n in 0..15 {
        let email = format!("person{n}@leaked.example");
        let fields = [("email", email.as_str()), ("password", "a password of a list")];
        let status = post_from(&site, "/sign-in", (&cookie, "8.8.8.8"), &fields).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let found = only(&site, IncidentKind::CredentialStuffing).await;
    assert!(!found.text.contains("8.8.8.8") && !found.text.contains("leaked.example"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_that_is_tried_again_and_again_is_an_incident() {
    let site = site().await;
    let cookie = site.store.new_secret().unwrap();
    let email = site.account(Who::In(Role::Admin)).email.clone();
    for n in 0..24 {
        // As often as the throttle lets anybody, and each time from another network.
        if n >= 10 {
            site.wait(61_000);
        }
        let fields = [("email", email.as_str()), ("password", "a password of a list")];
        let status = post_from(&site, "/sign-in", (&cookie, &format!("8.8.{n}.8")), &fields).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "try {n}");
    }
    let found = only(&site, IncidentKind::CredentialStuffing).await;
    assert!(found.text.contains("account:"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_exports_many_persons_opens_one_of_the_project() {
    let site = site().await;
    let admin = site.session(Who::In(Role::Admin)).await;
    for round in 0..3 {
        let ids: Vec<String> = (0..60).map(|n| format!("visitor-{round}-{n}")).collect();
        let ids = ids.join("\n");
        let fields = [("kind", "visitor"), ("ids", ids.as_str())];
        // Nothing is stored about them; that it was asked for counts all the same.
        let none = site.post("/p/shop/privacy/export", &admin, &fields).await;
        assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let found = only(&site, IncidentKind::MassExport).await;
    assert_eq!(found.project.as_ref(), Some(&site.shop.id));
    let owner = site.session(Who::In(Role::Owner)).await;
    let page = site.get("/p/shop/incidents", &owner).await;
    assert!(page.text.contains("Much is being taken out"), "{}", page.text);
    let stranger = site.session(Who::Stranger).await;
    let other = site.get(&format!("/p/blog/incidents/{}", found.id), &stranger).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND, "it is of another project");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_samples_faster_than_anybody_reads_opens_one() {
    let site = site().await;
    let admin = site.session(Who::In(Role::Admin)).await;
    for _ in 0..210 {
        assert_eq!(site.get("/p/shop/audit", &admin).await.status, StatusCode::OK);
    }
    only(&site, IncidentKind::MassExport).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_newest_again_and_again_opens_one_and_an_open_page_does_not() {
    let site = site().await;
    put(&site, &["a", "b"]).await;
    let admin = site.session(Who::In(Role::Admin)).await;
    for _ in 0..210 {
        assert_eq!(site.get("/p/shop/samples/pulse?after=1", &admin).await.status, StatusCode::OK);
    }
    // Signals are written beside the answers.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    site.store.look_for_incidents().await.unwrap();
    assert_eq!(site.store.incidents(None, true).await.unwrap(), []);
    for _ in 0..210 {
        assert_eq!(site.get("/p/shop/samples/pulse", &admin).await.status, StatusCode::OK);
    }
    only(&site, IncidentKind::MassExport).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_what_their_role_does_not_allow_opens_one() {
    let site = site().await;
    let viewer = site.session(Who::In(Role::Viewer)).await;
    for n in 0..12 {
        let path = ["/p/shop/settings", "/p/shop/members/invite", "/p/shop/privacy/erase"][n % 3];
        assert_eq!(site.post(path, &viewer, &[("role", "admin")]).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    only(&site, IncidentKind::RoleEscalation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reaches_for_another_role_opens_one() {
    for (who, role) in [(Role::Editor, "admin"), (Role::Admin, "owner")] {
        let site = site().await;
        let cookie = site.session(Who::In(who)).await;
        let own = site.account(Who::In(who)).number;
        let status = site.post(&format!("/p/shop/members/{own}/role"), &cookie, &[("role", role)]).await.status;
        assert!(status.is_client_error(), "{status}");
        let found = only(&site, IncidentKind::RoleEscalation).await;
        assert!(found.text.contains("their own role"), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_admin_in_a_new_country_opens_one() {
    let site = site().await;
    let (_, account, totp) = site.people.iter().find(|(who, ..)| *who == Who::In(Role::MasterAdmin)).unwrap();
    // Germany, Germany, then the United States.
    for (step, from) in [(1, "193.99.144.80"), (2, "193.99.144.80"), (3, "8.8.8.8")] {
        let fresh = site.store.new_secret().unwrap();
        let sign_in = |cookie: String, path: &'static str, fields: Vec<(&'static str, String)>| {
            let mut all = vec![("token", site.store.form_token(&cookie))];
            all.extend(fields);
            let site = &site;
            async move { site.ask(Ask { from: Some(from), ..Ask::post(path, Some(&cookie), all) }).await }
        };
        let fields = vec![("email", account.email.clone()), ("password", PASSWORD.to_owned())];
        let half = sign_in(fresh, "/sign-in", fields).await.cookie().unwrap();
        site.wait(30_000);
        let code = totp.code(site.store.clock().now());
        let whole = sign_in(half, "/sign-in/code", vec![("code", code)]).await;
        assert_eq!(whole.location(), "/projects", "step {step}: {}", whole.text);
        site.store.look_for_incidents().await.unwrap();
        let opened = site.store.incidents(None, true).await.unwrap().len();
        assert_eq!(opened, usize::from(step == 3), "step {step}");
    }
    let found = only(&site, IncidentKind::NewCountry).await;
    assert!(found.text.contains("US") && !found.text.contains("8.8.8.8"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_to_an_incident_and_lose_nothing_typed() {
    let site = site().await;
    let editor = site.session(Who::In(Role::Editor)).await;
    let own = site.account(Who::In(Role::Editor)).number;
    site.post(&format!("/p/shop/members/{own}/role"), &editor, &[("role", "admin")]).await;
    let id = only(&site, IncidentKind::RoleEscalation).await.id;
    let (owner, path) = (site.session(Who::In(Role::Owner)).await, format!("/p/shop/incidents/{id}"));
    let early = site.post(&path, &owner, &[("act", "resolve"), ("version", "1"), ("text", "nothing")]).await;
    assert_eq!(early.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(early.text.contains("triage it first") && early.text.contains(">nothing</textarea>"), "{}", early.text);
    let form = |act: &'static str, version: &'static str, text: &'static str| {
        [("act", act), ("version", version), ("text", text), ("owner", "0")]
    };
    let taken = site.post(&path, &owner, &form("triage", "1", "asked the editor")).await;
    assert_eq!(taken.location(), format!("{path}?done=triaged"));
    let master = site.session(Who::In(Role::MasterAdmin)).await;
    let late = site.post(&format!("/incidents/{id}"), &master, &form("note", "1", "typed by the other")).await;
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
    for kept in ["Somebody else has changed", ">typed by the other</textarea>", "asked the editor"] {
        assert!(late.text.contains(kept), "{kept} in {}", late.text);
    }
    let stranger = site.account(Who::Stranger).number.to_string();
    let foreign = [("act", "own"), ("version", "2"), ("owner", stranger.as_str())];
    assert_eq!(site.post(&path, &owner, &foreign).await.status, StatusCode::UNPROCESSABLE_ENTITY, "no member");
    let done = site.post(&path, &owner, &form("resolve", "2", "a stale tab of theirs")).await;
    assert_eq!(done.location(), format!("{path}?done=resolved"));
    let page = site.get(&path, &owner).await.text;
    assert!(page.contains("a stale tab of theirs") && !page.contains("<textarea"), "{page}");
    let admin = site.session(Who::In(Role::Admin)).await;
    assert_eq!(site.get(&path, &admin).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_an_incident_is_for_those_who_see_to_incidents() {
    let site = Site::make().await;
    let shop = ProjectWork {
        number: site.shop.number,
        project: site.shop.id.clone(),
        events: Vec::new(),
        rows: Vec::new(),
        // A project to which nothing came has no overview yet.
        outcomes: vec![(Outcome::Accepted, 1)],
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    site.store.commit_work(Work { from: 0, to: 1, projects: vec![shop] }).await.unwrap();
    let text = "account:7 exported 300 persons";
    site.store.raise(NoticeKind::Incident, Some(&site.shop.id), "incident:1", text).await.unwrap();
    let notice = async || site.store.notices(true).await.unwrap().remove(0);
    let path = format!("/p/shop/notices/{}", notice().await.id);
    for role in [Role::Viewer, Role::Editor, Role::Admin, Role::Owner] {
        let (cookie, sees) = (site.session(Who::In(role)).await, role == Role::Owner);
        for page in ["/p/shop", "/p/shop/notices", "/p/shop/notices?state=all"] {
            let shown = site.get(page, &cookie).await.text;
            assert_eq!(shown.contains(text), sees, "{page} by {role:?}: {shown}");
            let counted = shown.contains("Notices <span class=\"badge bad\">1</span>");
            assert_eq!(counted, sees, "the count on {page} by {role:?}");
        }
        for state in ["seen", "resolved"] {
            let answer = site.post(&path, &cookie, &[("state", state)]).await;
            let expected = match role {
                Role::Viewer => StatusCode::FORBIDDEN,
                Role::Owner => StatusCode::SEE_OTHER,
                _ => StatusCode::NOT_FOUND,
            };
            assert_eq!(answer.status, expected, "{state} by {role:?}");
            assert_eq!(notice().await.state == NoticeState::Open, !sees, "{state} by {role:?}");
        }
    }
    assert_eq!(notice().await.state, NoticeState::Resolved);
}
