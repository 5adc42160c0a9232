//! Signing in, second factors, sessions, links and roles as people meet them.

use axum::http::StatusCode;
use convizit_console::ConsoleConfig;
use convizit_model::Role;
use convizit_store::SessionPlace;

use crate::capture::Shop;
use crate::site::{Answer, Ask, PASSWORD, Site, Who};

/// The cookie that a browser gets with its first page.
async fn fresh(site: &Site) -> String {
    let answer = site.ask(Ask::get("/sign-in", None)).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.cookie().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_both_factors_and_gets_a_new_secret_at_each() {
    let site = Site::make().await;
    let (_, account, totp) = site.people.iter().find(|(who, ..)| *who == Who::In(Role::Owner)).unwrap();
    let before = fresh(&site).await;
    let wrong =
        site.post("/sign-in", &before, &[("email", &account.email), ("password", "not the right one at all")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.cookie().is_none() && wrong.text.contains("do not belong together"));
    let unknown = site.post("/sign-in", &before, &[("email", "nobody@shop.example"), ("password", PASSWORD)]).await;
    let same = |text: &str| text.replace(&account.email, "").replace("nobody@shop.example", "");
    assert_eq!(same(&unknown.text), same(&wrong.text), "nobody learns which addresses have accounts");

    let half = site
        .post(
            "/sign-in",
            &before,
            &[("email", &account.email.to_uppercase()), ("password", PASSWORD), ("next", "/p/shop/members")],
        )
        .await;
    assert_eq!((half.status, half.location()), (StatusCode::SEE_OTHER, "/sign-in/code?next=%2Fp%2Fshop%2Fmembers"));
    let half_cookie = half.cookie().unwrap();
    assert_ne!(half_cookie, before);
    for path in ["/projects", "/account", "/p/shop", "/account/second-factor", "/account/prove"] {
        let answer = site.get(path, &half_cookie).await;
        assert_eq!(
            (answer.status, answer.location()),
            (StatusCode::SEE_OTHER, "/sign-in/code"),
            "{path}: half is nothing"
        );
    }
    let next = totp.code(site.store.clock().now().plus_millis(30_000));
    let whole = site.post("/sign-in/code", &half_cookie, &[("code", &next), ("next", "//evil.example")]).await;
    assert_eq!((whole.status, whole.location()), (StatusCode::SEE_OTHER, "/projects"), "no open redirect");
    let cookie = whole.cookie().unwrap();
    assert!(cookie != half_cookie && cookie != before);
    assert_eq!(site.get("/projects", &cookie).await.status, StatusCode::OK);
    // Whoever knew a secret from before the sign-in has nothing.
    for stale in [before, half_cookie] {
        assert_eq!(site.store.session(&stale).await.unwrap(), None, "it is no session any more, not even half of one");
        assert!(site.get("/projects", &stale).await.location().starts_with("/sign-in"));
    }
    // Nor has whoever knew that of a session in which one signs in once more.
    let again = site.post("/sign-in", &cookie, &[("email", &account.email), ("password", PASSWORD)]).await;
    assert_eq!(again.location(), "/sign-in/code?next=%2Fprojects");
    assert_eq!(site.store.session(&cookie).await.unwrap(), None);
    let half = again.cookie().unwrap();
    let used = site.post("/sign-in/code", &half, &[("code", &next)]).await;
    assert_eq!(used.status, StatusCode::UNPROCESSABLE_ENTITY, "a code holds once");
    let next = totp.code(site.store.clock().now().plus_millis(60_000));
    site.wait(60_000);
    let cookie = site.post("/sign-in/code", &half, &[("code", &next)]).await.cookie().unwrap();
    assert_eq!(site.get("/projects", &cookie).await.status, StatusCode::OK);
    let out = site.post("/sign-out", &cookie, &[]).await;
    assert_eq!(out.location(), "/sign-in");
    assert!(site.get("/projects", &cookie).await.location().starts_with("/sign-in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_holds_once() {
    let site = Site::make().await;
    let account = site.account(Who::In(Role::Viewer));
    let cookie = site.session(Who::In(Role::Viewer)).await;
    let page = site.post("/account/codes", &cookie, &[]).await;
    let codes: Vec<&str> = page.text.split("<li>").skip(1).filter_map(|rest| rest.get(..11)).collect();
    assert_eq!(codes.len(), 10, "{}", page.text);
    for (round, expected) in [(0, StatusCode::SEE_OTHER), (1, StatusCode::UNPROCESSABLE_ENTITY)] {
        let half = site.store.begin_session(account, false, &SessionPlace::default(), None).await.unwrap();
        let answer = site.post("/sign-in/code", &half, &[("code", &codes[0].to_uppercase())]).await;
        assert_eq!(answer.status, expected, "round {round}");
    }
    assert_eq!(site.store.recovery_codes_left(account.number).await.unwrap(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_is_dead_at_once() {
    let site = Site::make().await;
    let who = Who::In(Role::Editor);
    let (mine, stolen) = (site.session(who).await, site.session(who).await);
    assert_eq!(site.get("/p/shop", &stolen).await.status, StatusCode::OK);
    let number = site.store.session(&stolen).await.unwrap().unwrap().number;
    let ended = site.post(&format!("/account/sessions/{number}/end"), &mine, &[]).await;
    assert_eq!(ended.location(), "/account?done=ended");
    assert!(site.get("/p/shop", &stolen).await.location().starts_with("/sign-in"));
    assert_eq!(site.get("/p/shop", &mine).await.status, StatusCode::OK);
    // Of another account nobody ends a session.
    let others = site.session(Who::In(Role::Owner)).await;
    let number = site.store.session(&others).await.unwrap().unwrap().number;
    let answer = site.post(&format!("/account/sessions/{number}/end"), &mine, &[]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(site.get("/p/shop", &others).await.status, StatusCode::OK);
    // A new password ends all others.
    let third = site.session(who).await;
    let changed =
        site.post("/account/password", &mine, &[("old", PASSWORD), ("new", "seven brass kettles sing low")]).await;
    assert_eq!(changed.location(), "/account?done=password", "{}", changed.text);
    assert!(site.get("/p/shop", &third).await.location().starts_with("/sign-in"));
    assert_eq!(site.get("/p/shop", &mine).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_tried_a_few_times_and_then_not_at_all() {
    let site = Site::make().await;
    let cookie = fresh(&site).await;
    let email = &site.account(Who::In(Role::Admin)).email;
    let mut answered = 0;
    for n in 0..25 {
        let answer = site
            .post("/sign-in", &cookie, &[("email", email), ("password", &format!("wrong password number {n}"))])
            .await;
        if answer.status != StatusCode::TOO_MANY_REQUESTS {
            answered += 1;
        }
    }
    assert_eq!(answered, 10);
    let right = site.post("/sign-in", &cookie, &[("email", email), ("password", PASSWORD)]).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "the right one neither");
    assert!(right.headers.get("retry-after").is_some());
    // Written beside the answers.
    for _ in 0..100 {
        let entries = site.store.audit_entries(None, 100).await.unwrap();
        if entries.iter().filter(|entry| entry.act == "account.refuse").count() == 10 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("ten refusals are in the audit log within two seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_alone_has_few_tries_and_a_whole_sign_in_costs_none() {
    let site = Site::make().await;
    let who = Who::In(Role::Admin);
    let (account, whole) = (site.account(who), site.session(who).await);
    let cookie = fresh(&site).await;
    let password = async || site.post("/sign-in", &cookie, &[("email", &account.email), ("password", PASSWORD)]).await;
    // As many as there are tries: each gives its own back, and that of the password.
    for code in site.store.new_recovery_codes(account).await.unwrap() {
        let half = password().await;
        assert!(half.location().starts_with("/sign-in/code"), "{}", half.status);
        let answer = site.post("/sign-in/code", &half.cookie().unwrap(), &[("code", &code)]).await;
        assert_eq!(answer.location(), "/projects", "{}", answer.status);
    }
    let mut answered = 0;
    for _ in 0..15 {
        answered += usize::from(password().await.status == StatusCode::SEE_OTHER);
    }
    assert_eq!(answered, 10);
    assert_eq!(site.get("/p/shop", &whole).await.status, StatusCode::OK, "nobody is signed out by it");
    let entries = site.store.audit_entries(None, 200).await.unwrap();
    let halves = entries.iter().filter(|entry| entry.act == "session.half" && entry.actor == account.actor()).count();
    assert_eq!(halves, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_do_harm_sets_a_second_factor_up_before_anything_else() {
    let site = Site::make().await;
    let secret = site.store.invite_member(&site.shop, "new@shop.example", Role::Admin).await.unwrap();
    let cookie = fresh(&site).await;
    let path = format!("/welcome/{secret}");
    let page = site.get(&path, &cookie).await;
    assert!(
        page.text.contains("new@shop.example") && page.text.contains("An Admin also sees samples"),
        "{}",
        page.text
    );
    for (password, word) in [
        ("short", "at least 15 characters"),
        ("passwordpassword", "guessed soon"),
        ("new@shop.example shop", "without your name"),
    ] {
        let answer = site.post(&path, &cookie, &[("name", "Noah New"), ("password", password)]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text.contains(word) && answer.text.contains("Noah New"), "{password}: {}", answer.text);
    }
    let answer = site.post(&path, &cookie, &[("name", "Noah New"), ("password", PASSWORD)]).await;
    assert_eq!(answer.location(), "/projects", "{}", answer.text);
    let cookie = answer.cookie().unwrap();
    for path in ["/projects", "/account", "/p/shop", "/p/shop/members"] {
        assert_eq!(site.get(path, &cookie).await.location(), "/account/second-factor", "{path}");
    }
    // Somebody else has the password, too.
    let account = site.store.account_by_email("new@shop.example").await.unwrap().unwrap();
    let stolen = site.store.begin_session(&account, true, &SessionPlace::default(), None).await.unwrap();
    assert_eq!(site.get("/p/shop/members", &stolen).await.location(), "/account/second-factor");
    let page = site.get("/account/second-factor", &cookie).await;
    let secret = page.text.split("name=\"secret\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let totp = convizit_store::TotpSecret::parse(secret).unwrap();
    let code = totp.code(site.store.clock().now());
    let wrong = site.post("/account/second-factor", &cookie, &[("secret", secret), ("code", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains(secret), "the picture stays the same");
    let codes = site.post("/account/second-factor", &cookie, &[("secret", secret), ("code", &code)]).await;
    assert!(codes.status == StatusCode::OK && codes.text.contains("recovery codes"));
    assert_eq!(site.get("/p/shop/members", &cookie).await.status, StatusCode::OK);
    assert!(site.get("/p/shop/members", &stolen).await.location().starts_with("/sign-in"), "it never gave a code");
    // The link was for one time.
    assert_eq!(site.get(&path, &cookie).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_asks_again_who_it_is() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Owner)).await;
    assert_eq!(site.get("/p/shop/owner", &cookie).await.status, StatusCode::OK);
    site.age_proof();
    assert_eq!(site.get("/p/shop/owner", &cookie).await.location(), "/account/prove?next=%2Fp%2Fshop%2Fowner");
    for path in ["/p/shop/owner", "/p/shop/privacy/erase", "/p/shop/privacy/export", "/account/codes"] {
        let answer = site.post(path, &cookie, &[("ids", "visitor-1"), ("kind", "visitor")]).await;
        assert!(answer.asks_who_it_is(), "{path}: {}", answer.status);
    }
    assert!(site.store.erasures(site.shop.number).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_waits_for_the_proof_and_goes_on_with_it() {
    let site = Site::make().await;
    let who = Who::In(Role::Owner);
    let cookie = site.session(who).await;
    let (_, _, totp) = site.people.iter().find(|(known, ..)| *known == who).unwrap();
    site.age_proof();
    let typed = [
        ("kind", "visitor"),
        ("ids", "visitor-1\nvisitor-2"),
        ("other", "\"><b>bold"),
        ("password", "no field of theirs"),
    ];
    let asked = site.post("/p/shop/privacy/erase", &cookie, &typed).await;
    assert!(asked.asks_who_it_is(), "{}", asked.text);
    assert!(!asked.text.contains("no field of theirs") && !asked.text.contains("<b>bold"), "{}", asked.text);
    // What a browser sends: the hidden fields, and what the person types into the others.
    let proof = async |asked: &Answer, password: &str| {
        let code = totp.code(site.store.clock().now());
        let mut fields = asked.hidden();
        fields.retain(|(name, _)| name != "token");
        let mut all: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend([("password", password), ("code", code.as_str())]);
        let answer = site.post("/account/prove", &cookie, &all).await;
        let body: Vec<(String, String)> = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        (answer, body)
    };
    let (wrong, _) = proof(&asked, "not the password").await;
    assert!(wrong.status == StatusCode::UNPROCESSABLE_ENTITY && wrong.text.contains("This is not your password"));
    assert_eq!(wrong.hidden()[1..], asked.hidden()[1..], "still there after a slip");
    let (right, body) = proof(&wrong, PASSWORD).await;
    assert_eq!((right.status, right.location()), (StatusCode::TEMPORARY_REDIRECT, "/p/shop/privacy/erase"));
    // The browser sends the same body there.
    let body: Vec<(&str, &str)> = body.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let done = site.post(right.location(), &cookie, &body).await;
    assert!(done.status == StatusCode::OK && done.text.contains("Erase 2 ids for good?"), "{}", done.text);
    let sure = done.hidden();
    assert!(sure.contains(&("ids".to_owned(), "visitor-1\nvisitor-2".to_owned())), "{sure:?}");
    let sure: Vec<(&str, &str)> =
        sure.iter().filter(|(name, _)| name != "token").map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let done = site.post("/p/shop/privacy/erase", &cookie, &sure).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let erasures = site.store.erasures(site.shop.number).await.unwrap();
    assert_eq!(erasures.iter().map(|erasure| erasure.persons).sum::<i64>(), 2, "{erasures:?}");

    // The picture of a second factor stays the same.
    site.age_proof();
    let other = convizit_store::TotpSecret::random().unwrap();
    let secret = other.text().to_string();
    let asked = site.post("/account/second-factor", &cookie, &[("secret", &secret), ("code", "123456")]).await;
    assert!(asked.asks_who_it_is() && !asked.text.contains("123456"), "{}", asked.text);
    assert!(asked.hidden().contains(&("secret".to_owned(), secret)), "{}", asked.text);

    // Nobody is sent elsewhere with a form.
    for evil in ["//evil.example", "https://evil.example"] {
        // A code holds once.
        site.pass(1);
        let code = totp.code(site.store.clock().now());
        let fields = [("password", PASSWORD), ("code", code.as_str()), ("resend", evil)];
        assert_eq!(site.post("/account/prove", &cookie, &fields).await.location(), "/projects", "{evil}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_is_passed_on_whole_and_roles_have_their_limits() {
    let site = Site::make().await;
    let [owner, admin, editor] =
        [Role::Owner, Role::Admin, Role::Editor].map(|role| site.account(Who::In(role)).number);
    let role = async |account| site.store.role(site.shop.number, account).await.unwrap();
    let cookie = site.session(Who::In(Role::Admin)).await;
    for (path, fields, status) in [
        (format!("/p/shop/members/{owner}/role"), vec![("role", "viewer")], StatusCode::UNPROCESSABLE_ENTITY),
        (format!("/p/shop/members/{owner}/remove"), vec![], StatusCode::UNPROCESSABLE_ENTITY),
        (format!("/p/shop/members/{admin}/role"), vec![("role", "owner")], StatusCode::UNPROCESSABLE_ENTITY),
        (format!("/p/shop/members/{editor}/role"), vec![("role", "master_admin")], StatusCode::UNPROCESSABLE_ENTITY),
        (
            "/p/shop/members/invite".to_owned(),
            vec![("email", "x@shop.example"), ("role", "owner")],
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("/p/shop/owner".to_owned(), vec![("account", "2")], StatusCode::FORBIDDEN),
        (format!("/p/shop/members/{editor}/role"), vec![("role", "viewer")], StatusCode::SEE_OTHER),
    ] {
        assert_eq!(site.post(&path, &cookie, &fields).await.status, status, "{path} {fields:?}");
    }
    assert_eq!((role(owner).await, role(editor).await), (Some(Role::Owner), Some(Role::Viewer)));
    let cookie = site.session(Who::In(Role::Owner)).await;
    let passed = site.post("/p/shop/owner", &cookie, &[("account", &admin.to_string())]).await;
    assert_eq!(passed.location(), "/p/shop/members?done=owner");
    assert_eq!((role(owner).await, role(admin).await), (Some(Role::Admin), Some(Role::Owner)));
    let again = site.post("/p/shop/owner", &cookie, &[("account", &owner.to_string())]).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "it is no longer theirs to pass on");
    let acts: Vec<String> = site
        .store
        .audit_entries(Some("shop"), 100)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| format!("{} {}", entry.actor, entry.act))
        .collect();
    for expected in [
        format!("account:{owner} member.owner"),
        format!("account:{admin} member.role"),
        format!("account:{admin} access.refuse"),
    ] {
        assert!(acts.contains(&expected), "{expected} in {acts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_person_who_has_an_account_joins_and_nobody_else_does() {
    let site = Site::make().await;
    let stranger = site.account(Who::Stranger).clone();
    let secret = site.store.invite_member(&site.shop, &stranger.email, Role::Viewer).await.unwrap();
    let path = format!("/welcome/{secret}");
    let other = site.session(Who::In(Role::Editor)).await;
    let refused = site.post(&format!("{path}/join"), &other, &[]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let cookie = site.session(Who::Stranger).await;
    assert!(site.get(&path, &cookie).await.text.contains("Join the project"));
    assert_eq!(site.post(&format!("{path}/join"), &cookie, &[]).await.location(), "/projects?done=joined");
    assert_eq!(site.get("/p/shop", &cookie).await.status, StatusCode::OK);
    assert_eq!(site.get("/p/shop/audit", &cookie).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_who_save_at_once_lose_nothing_typed() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Admin)).await;
    let page = site.get("/p/shop/settings", &cookie).await;
    let version = page.text.split("name=\"version\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let settings = convizit_model::ProjectSettings { crowd: 9, ..site.shop.settings.clone() };
    site.store.save_settings(&site.shop.id, settings).await.unwrap();
    let form = |days: &'static str, version: String| {
        let fields = [
            ("version", version),
            ("origins", "https://typed.example".to_owned()),
            ("identity", "storage".to_owned()),
            ("cookie_days", "30".to_owned()),
            ("gpc", "stop".to_owned()),
            ("dnt", "stop".to_owned()),
            ("crowd", "5".to_owned()),
            ("retention_days", days.to_owned()),
            ("samples_from", "admin".to_owned()),
            ("residency", "none".to_owned()),
            ("residency_rule", "warn".to_owned()),
        ];
        fields.to_vec()
    };
    let send = async |fields: Vec<(&'static str, String)>| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        site.post("/p/shop/settings", &cookie, &fields).await
    };
    let answer = send(form("45", version)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    for text in [
        "Somebody else has saved",
        "https://typed.example",
        "value=\"45\"",
        "Visitors who must have shown a text, now: 9;",
    ] {
        assert!(answer.text.contains(text), "{text}");
    }
    for text in [
        "Where the site is, now: https://shop.example;",
        "local storage only, no cookie",
        "Filter known bots, now: yes;",
    ] {
        assert!(answer.text.contains(text), "{text}: {}", answer.text);
    }
    let now = site.store.project(&site.shop.id).await.unwrap().version.to_string();
    let wrong = send(form("9999", now.clone())).await;
    assert!(
        wrong.text.contains("id=\"wrong-retention_days\"") && wrong.text.contains("value=\"9999\""),
        "{}",
        wrong.text
    );
    assert_eq!(send(form("45", now)).await.location(), "/p/shop/settings?done=saved");
    let saved = site.store.project(&site.shop.id).await.unwrap().settings;
    assert_eq!((saved.retention_days, saved.origins), (45, vec!["https://typed.example".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_retention_deletes_so_it_asks_who_it_is() {
    let site = Site::make().await;
    let (who, cookie) = (Who::In(Role::Admin), site.session(Who::In(Role::Admin)).await);
    let (_, _, totp) = site.people.iter().find(|(known, ..)| *known == who).unwrap();
    let saved = async || site.store.project(&site.shop.id).await.unwrap();
    let form = |version: u64, days: &str| {
        let fields = [
            ("version", version.to_string()),
            ("origins", "https://typed.example".to_owned()),
            ("identity", "storage".to_owned()),
            ("cookie_days", "30".to_owned()),
            ("gpc", "stop".to_owned()),
            ("dnt", "stop".to_owned()),
            ("crowd", "5".to_owned()),
            ("retention_days", days.to_owned()),
            ("samples_from", "admin".to_owned()),
            ("residency", "none".to_owned()),
            ("residency_rule", "warn".to_owned()),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).to_vec()
    };
    let send = async |path: &str, fields: &[(String, String)]| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        site.post(path, &cookie, &fields).await
    };
    let was = saved().await.settings.retention_days;
    site.age_proof();
    // What deletes nothing is saved as ever.
    let same = send("/p/shop/settings", &form(saved().await.version, &was.to_string())).await;
    assert_eq!(same.location(), "/p/shop/settings?done=saved", "{}", same.text);
    let asked = send("/p/shop/settings", &form(saved().await.version, "5")).await;
    assert!(asked.asks_who_it_is(), "{}", asked.text);
    assert_eq!(saved().await.settings.retention_days, was);
    let mut proof = asked.hidden();
    proof.retain(|(name, _)| name != "token");
    proof.push(("password".to_owned(), PASSWORD.to_owned()));
    proof.push(("code".to_owned(), totp.code(site.store.clock().now())));
    let right = send("/account/prove", &proof).await;
    assert_eq!((right.status, right.location()), (StatusCode::TEMPORARY_REDIRECT, "/p/shop/settings"));
    assert_eq!(send(right.location(), &proof).await.location(), "/p/shop/settings?done=saved");
    let now = saved().await.settings;
    assert_eq!((now.retention_days, now.origins), (5, vec!["https://typed.example".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_may_show_samples_to_lower_roles() {
    let site = Site::make().await;
    for (from, allowed) in
        [(Role::Admin, [false, false, true]), (Role::Editor, [false, true, true]), (Role::Viewer, [true, true, true])]
    {
        let settings = convizit_model::ProjectSettings { samples_from: from, ..site.shop.settings.clone() };
        site.store.save_settings(&site.shop.id, settings).await.unwrap();
        for (role, allowed) in [Role::Viewer, Role::Editor, Role::Admin].into_iter().zip(allowed) {
            let cookie = site.session(Who::In(role)).await;
            let expected = if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(
                site.get("/p/shop/samples", &cookie).await.status,
                expected,
                "{role:?} where {from:?} sees them"
            );
            let shown = site.get("/p/shop", &cookie).await.text.contains("/p/shop/samples");
            assert_eq!(shown, allowed, "the navigation of {role:?}");
        }
    }
    let wrong = convizit_model::ProjectSettings { samples_from: Role::Owner, ..site.shop.settings.clone() };
    assert!(site.store.save_settings(&site.shop.id, wrong).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_type_is_shown_as_text() {
    let site = Site::make().await;
    let payload = "\"><img src=x onerror=alert(1)><script>alert(1)</script>";
    let cookie = site.session(Who::In(Role::MasterAdmin)).await;
    for (path, fields) in [
        ("/projects", vec![("id", payload), ("origins", payload)]),
        ("/p/shop/members/invite", vec![("email", payload), ("role", "viewer")]),
        ("/p/shop/settings", vec![("origins", payload), ("version", "1"), ("identity", payload)]),
        ("/p/shop/privacy/erase", vec![("ids", ""), ("kind", payload)]),
    ] {
        let answer = site.post(path, &cookie, &fields).await;
        assert!(
            !answer.text.contains("<img src=x") && !answer.text.contains("<script>alert"),
            "{path}: {}",
            answer.text
        );
    }
    for path in ["/p/shop/events?like=", "/p/shop/audit?like=", "/sign-in?next="] {
        let path = format!("{path}{}", url::form_urlencoded::byte_serialize(payload.as_bytes()).collect::<String>());
        let answer = site.get(&path, &cookie).await;
        assert!(
            !answer.text.contains("<img src=x") && !answer.text.contains("<script>alert"),
            "{path}: {}",
            answer.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_of_an_account_are_counted_over_all_processes() {
    let mut site = Site::make().await;
    let cookie = fresh(&site).await;
    let email = site.account(Who::In(Role::Editor)).email.clone();
    let wrong = [("email", email.as_str()), ("password", "not the right one at all")];
    for _ in 0..6 {
        assert_eq!(site.post("/sign-in", &cookie, &wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    // Another process of the role console on the same database.
    site.set_up(ConsoleConfig::default());
    let mut answered = 0;
    for _ in 0..10 {
        answered += usize::from(site.post("/sign-in", &cookie, &wrong).await.status != StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(answered, 4);
    let held = site.post("/sign-in", &cookie, &wrong).await;
    let seconds: u64 = held.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    site.pass(1);
    assert_eq!(site.post("/sign-in", &cookie, &wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_retention_says_first_what_it_deletes() {
    let shop = Shop::open().await;
    let site = &shop.site;
    site.pass(10 * 24 * 60);
    let cookie = site.session(Who::In(Role::Admin)).await;
    let saved = async || site.store.project(&site.shop.id).await.unwrap();
    let send = async |cookie: &str, days: &str, goes: &str| {
        let version = saved().await.version.to_string();
        let fields = [
            ("version", version.as_str()),
            ("origins", "https://typed.example"),
            ("identity", "storage"),
            ("cookie_days", "30"),
            ("gpc", "stop"),
            ("dnt", "stop"),
            ("crowd", "5"),
            ("retention_days", days),
            ("samples_from", "admin"),
            ("residency", "none"),
            ("residency_rule", "warn"),
            ("goes", goes),
        ];
        site.post("/p/shop/settings", cookie, &fields).await
    };
    let before = saved().await;
    // Of another number of days than what was shown nothing is deleted either.
    for (days, goes) in [("5", ""), ("5", "6")] {
        let asked = send(&cookie, days, goes).await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
        for text in [
            "Not saved yet. With 5 days in place of 60, 11 events of 1 day, all that was received before 20",
            "name=\"goes\" value=\"5\"",
            "Save and delete 11 events",
            "https://typed.example",
        ] {
            assert!(asked.text.contains(text), "{text}: {}", asked.text);
        }
        assert_eq!(saved().await.version, before.version);
    }
    // Confirmed, it still asks who it is.
    site.age_proof();
    let asked = send(&cookie, "5", "5").await;
    assert!(asked.asks_who_it_is(), "{}", asked.text);
    assert!(asked.hidden().contains(&("goes".to_owned(), "5".to_owned())), "{:?}", asked.hidden());
    assert_eq!(saved().await.version, before.version);
    let cookie = site.session(Who::In(Role::Admin)).await;
    // What deletes nothing is saved at once, and what was confirmed is.
    for (days, goes) in [("30", ""), ("5", "5")] {
        let done = send(&cookie, days, goes).await;
        assert_eq!(done.location(), "/p/shop/settings?done=saved", "{days} {}", done.text);
    }
    assert_eq!(saved().await.settings.retention_days, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_role_is_not_enough_learns_whom_to_ask_and_finds_a_way_on() {
    let site = Site::make().await;
    let (editor, admin) = (site.session(Who::In(Role::Editor)).await, site.session(Who::In(Role::Admin)).await);
    let refused = site.get("/p/shop/audit", &editor).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for text in [
        "Your role in shop is Editor, and this asks for Admin or above.",
        "Ask Person owner@shop.example (Owner) or Person admin@shop.example (Admin)",
        "href=\"/p/shop\"",
        "href=\"/p/shop/members\"",
        "href=\"/projects\"",
    ] {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    // What is the Owner's alone, an Admin cannot give.
    let refused = site.get("/p/shop/owner", &admin).await.text;
    assert!(refused.contains("asks for Owner or above. Ask Person owner@shop.example (Owner) to do it"), "{refused}");
    // Samples are for whom the project says.
    let refused = site.get("/p/shop/samples", &editor).await.text;
    assert!(refused.contains("asks for Admin or above"), "{refused}");
    let refused = site.get("/system", &admin).await.text;
    assert!(refused.contains("This is for Master Admins") && !refused.contains("/p/"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_invitation_takes_the_place_of_the_first_and_says_so() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Admin)).await;
    let invite = async |email: &str, role: &str| {
        site.post("/p/shop/members/invite", &cookie, &[("email", email), ("role", role)]).await.text
    };
    let link = |text: &str| {
        let from = text.split("/welcome/").nth(1).unwrap_or_else(|| panic!("no link in {text}"));
        from.split('<').next().unwrap().to_owned()
    };
    let first = invite("new@shop.example", "admin").await;
    assert!(!first.contains("had an open invitation"), "{first}");
    let second = invite("New@Shop.example", "viewer").await;
    assert!(second.contains("had an open invitation"), "{second}");
    assert!(site.store.invitation(&link(&first)).await.unwrap().is_none());
    assert_eq!(site.store.invitation(&link(&second)).await.unwrap().unwrap().role, Role::Viewer);
    assert_eq!(site.store.invitations(site.shop.number).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_change_a_member_the_second_sees_it() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Admin)).await;
    let editor = site.account(Who::In(Role::Editor)).number;
    let role = async || site.store.role(site.shop.number, editor).await.unwrap();
    let path = format!("/p/shop/members/{editor}/role");
    // The page was made when they were a Viewer; somebody has made them an Editor since.
    let late = site.post(&path, &cookie, &[("seen", "viewer"), ("role", "admin")]).await;
    assert_eq!((late.status, role().await), (StatusCode::UNPROCESSABLE_ENTITY, Some(Role::Editor)));
    let form = late.text.split(&format!("action=\"{path}\"")).nth(1).unwrap().split("</form>").next().unwrap();
    assert!(
        late.text.contains("Person editor@shop.example has become Editor since you opened this page"),
        "{}",
        late.text
    );
    assert!(form.contains("name=\"seen\" value=\"editor\"") && form.contains("value=\"admin\" selected"), "{form}");
    let late = site.post(&format!("/p/shop/members/{editor}/remove"), &cookie, &[("seen", "viewer")]).await;
    assert_eq!((late.status, role().await), (StatusCode::UNPROCESSABLE_ENTITY, Some(Role::Editor)));
    let done = site.post(&path, &cookie, &[("seen", "editor"), ("role", "admin")]).await;
    assert_eq!((done.location(), role().await), ("/p/shop/members?done=role", Some(Role::Admin)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_stays_in_every_form_that_is_refused() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::MasterAdmin)).await;
    let version = site.shop.version.to_string();
    let long = "x".repeat(300);
    for (path, fields, kept) in [
        (
            "/projects",
            vec![("id", "My Shop"), ("origins", "https://typed.example")],
            vec!["value=\"My Shop\"", "https://typed.example", "id=\"wrong-id\""],
        ),
        (
            "/p/shop/members/invite",
            vec![("email", "nobody"), ("role", "editor")],
            vec!["value=\"nobody\"", "value=\"editor\" selected", "id=\"wrong-email\""],
        ),
        (
            "/p/shop/members/invite",
            vec![("email", "typed@shop.example"), ("role", "owner")],
            vec!["value=\"typed@shop.example\"", "id=\"wrong-role\""],
        ),
        (
            "/p/shop/exclusions/add",
            vec![("version", version.as_str()), ("kind", "selector"), ("entry", ".a:::b")],
            vec!["value=\".a:::b\"", "id=\"wrong-selector\""],
        ),
        (
            "/p/shop/privacy/erase",
            vec![("kind", "visitor"), ("ids", long.as_str())],
            vec![long.as_str(), "value=\"visitor\" checked", "id=\"wrong-ids\""],
        ),
        (
            "/p/shop/notices/channels",
            vec![
                ("version", "0"),
                ("mail_to", "admin"),
                ("webhook", "ftp://typed.example"),
                ("mail_kinds", "dead_letters"),
            ],
            vec![
                "value=\"ftp://typed.example\"",
                "value=\"admin\" selected",
                "value=\"dead_letters\"",
                "id=\"wrong-webhook\"",
            ],
        ),
        (
            "/system/masters/invite",
            vec![("email", "nobody at all")],
            vec!["value=\"nobody at all\"", "id=\"wrong-email\""],
        ),
    ] {
        let refused = site.post(path, &cookie, &fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {}", refused.text);
        for text in kept {
            assert!(refused.text.contains(text), "{path}: {text} is missing in {}", refused.text);
        }
    }
    // What is too much for a form at all.
    let much = site.post("/p/shop/settings", &cookie, &[("origins", &"x".repeat(300 * 1024))]).await;
    assert_eq!(much.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(much.text.contains("your browser still has what you entered"), "{}", much.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_in_whose_place_a_newer_one_stands_says_so() {
    let site = Site::make().await;
    let cookie = fresh(&site).await;
    let old = site.store.invite_member(&site.shop, "new@shop.example", Role::Viewer).await.unwrap();
    let new = site.store.invite_member(&site.shop, "New@shop.example", Role::Editor).await.unwrap();
    let path = format!("/welcome/{old}");
    let told = site.get(&path, &cookie).await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told.text.contains("A newer invitation took the place") && !told.text.contains("first account"));
    let tried = site.post(&path, &cookie, &[("name", "Nora"), ("password", PASSWORD)]).await;
    assert!(tried.text.contains("A newer invitation took the place"), "{}", tried.text);
    assert!(site.store.accept(&old, "", "Nora", PASSWORD).await.is_err());
    assert_eq!(site.store.invitations(site.shop.number).await.unwrap().len(), 1);
    let log = site.store.audit_entries(Some("shop"), 2).await.unwrap();
    let id = log[1].detail.strip_prefix("viewer; link ").unwrap();
    assert!(log[0].detail.starts_with("editor; link ") && log[0].detail.ends_with(&format!(", in place of link {id}")));
    assert_eq!(site.get(&format!("/welcome/{new}"), &cookie).await.status, StatusCode::OK);
    let unknown = site.get("/welcome/none", &cookie).await;
    assert!(unknown.text.contains("was used already, or is too old"), "{}", unknown.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_settings_cannot_be_typed_into() {
    let site = Site::make().await;
    let page = site.get("/p/shop/settings", &site.session(Who::In(Role::Viewer)).await).await.text;
    let main = page.split_once("<main").unwrap().1;
    for field in ["<textarea ", "<input type=\"number\" ", "<input type=\"text\" ", "<select "] {
        for part in main.split(field).skip(1) {
            assert!(part.split_once('>').unwrap().0.contains(" disabled"), "{field}: {part}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_cards_on_a_narrow_screen_and_badges_widen_nothing() {
    let site = Site::make().await;
    let page = site.get("/p/shop/members", &site.session(Who::In(Role::Admin)).await).await.text;
    assert!(page.contains("<table class=\"blocks\">") && page.contains("data-is=\"Second factor\""), "{page}");
    let style = site.ask(Ask::get("/static/console.css", None)).await.text;
    assert!(style.contains(".tabs .badge { position: absolute"), "{style}");
    assert!(style.contains(".blocks td[data-is]::before { content: attr(data-is)"), "{style}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_after_the_session_says_so_and_leads_back() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Admin)).await;
    let session = site.store.session(&cookie).await.unwrap().unwrap();
    site.store.end_session(session.account, session.number).await.unwrap();
    let fields = vec![("token", site.store.form_token(&cookie)), ("version", "1".to_owned())];
    let page = Some("https://console.example/p/shop/settings?done=saved");
    let sent = site.ask(Ask { page, ..Ask::post("/p/shop/settings", Some(&cookie), fields) }).await;
    assert_eq!(sent.location(), "/sign-in?next=%2Fp%2Fshop%2Fsettings%3Fdone%3Dsaved&ended=yes");
    let page = site.get(sent.location(), &cookie).await;
    assert!(page.text.contains("what you sent was not taken"), "{}", page.text);
    assert!(page.text.contains("name=\"next\" value=\"/p/shop/settings?done=saved\""), "{}", page.text);
    // Who only looked is sent back without a word.
    let looked = site.get("/p/shop/settings", &cookie).await;
    assert_eq!(looked.location(), "/sign-in?next=%2Fp%2Fshop%2Fsettings");
    assert!(!site.get(looked.location(), &cookie).await.text.contains("was not taken"));
}
