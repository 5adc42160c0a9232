//! The audit log: whoever may write every row of the database changes nothing unseen.

use convizit_model::{NoticeKind, ProjectSettings, Role};
use convizit_store::{AuditFilter, Store, StoreError};
use sqlx::Connection as _;

use crate::engines::{Place, events, on_both_engines, within, work};

on_both_engines!(
    acts_and_uses_of_keys_are_written_and_the_chain_is_whole,
    a_lost_end_stops_the_start_until_a_person_accepts_it,
    an_end_that_was_cut_is_found_when_the_log_has_grown_past_it,
    two_processes_write_one_chain,
    a_person_reads_what_was_done_and_not_each_use_of_a_key,
    who_did_what_to_whom_stands_in_the_log,
    a_long_list_that_changes_says_what_came_and_went,
);

async fn entries(store: &Store, number: usize) {
    for n in 0..number {
        store.audit("test.act", "shop", &format!("subject {n}"), "detail").await.unwrap();
    }
}

async fn acts_and_uses_of_keys_are_written_and_the_chain_is_whole(place: Place) {
    let (store, shop) = place.shop().await;
    let store = store.acting_as("os:anna");
    store.save_settings(&shop.id, ProjectSettings { retention_days: 30, ..ProjectSettings::default() }).await.unwrap();
    store.commit_work(work(0, &shop, events(0..3))).await.unwrap();
    let log = store.audit_entries(None, 100).await.unwrap();
    let of = |act: &str| log.iter().filter(|entry| entry.act == act).collect::<Vec<_>>();
    assert_eq!(of("project.create").len(), 1);
    let saved = of("settings.save");
    assert_eq!((saved[0].actor.as_str(), saved[0].subject.as_str()), ("os:anna", "retention_days"));
    assert!(of("key.wrap").len() >= 3, "root, installation, project: {log:?}");
    let report = store.verify_audit(&[]).await.unwrap();
    assert_eq!((report.entries, report.problem), (log.len() as i64, None));
    let checkpoint = store.audit_checkpoint().await.unwrap();
    assert!(checkpoint.is_signed());
    entries(&store, 3).await;
    assert_eq!(store.verify_audit(std::slice::from_ref(&checkpoint)).await.unwrap().problem, None);
    let mut forged = checkpoint.clone();
    forged.number += 1;
    assert!(!forged.is_signed());
    assert!(store.verify_audit(&[forged]).await.unwrap().problem.is_some());
}

async fn a_lost_end_stops_the_start_until_a_person_accepts_it(place: Place) {
    let (store, _) = place.shop().await;
    entries(&store, 10).await;
    store.close().await;
    drop(store);
    let mut sql = place.behind("control").await;
    let before: i64 = sqlx::query_scalar("SELECT MAX(number) FROM audit").fetch_one(&mut sql).await.unwrap();
    // As if the last commits had never been: the chain itself is whole.
    sqlx::query("DELETE FROM audit WHERE number > $1").bind(before - 4).execute(&mut sql).await.unwrap();
    sqlx::query("UPDATE audit_end SET number = $1, chain = (SELECT chain FROM audit WHERE number = $1)")
        .bind(before - 4)
        .execute(&mut sql)
        .await
        .unwrap();
    sql.close().await.unwrap();
    let error = place.try_open().await.err().unwrap();
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("but entry {before} was written")) && text.contains("--accept-gap"), "{text}");
    let store = place.open_accepting().await;
    assert_eq!(store.verify_audit(&[]).await.unwrap().problem, None, "accepted, it goes on from there");
    store.close().await;
    place.open().await.close().await;
}

async fn an_end_that_was_cut_is_found_when_the_log_has_grown_past_it(place: Place) {
    let (store, _) = place.shop().await;
    entries(&store, 10).await;
    // The mark is written once a second.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let mut sql = place.behind("control").await;
    let before: i64 = sqlx::query_scalar("SELECT MAX(number) FROM audit").fetch_one(&mut sql).await.unwrap();
    sqlx::query("DELETE FROM audit WHERE number > $1").bind(before - 4).execute(&mut sql).await.unwrap();
    sqlx::query("UPDATE audit_end SET number = $1, chain = (SELECT chain FROM audit WHERE number = $1)")
        .bind(before - 4)
        .execute(&mut sql)
        .await
        .unwrap();
    sql.close().await.unwrap();
    entries(&store, 8).await;
    let problem = store.verify_audit(&[]).await.unwrap().problem.unwrap();
    assert!(problem.contains(&format!("entry {before} is not the one")), "{problem}");
    let told = async || store.notices(false).await.unwrap().iter().any(|notice| notice.kind == NoticeKind::Audit);
    within(std::time::Duration::from_secs(10), "it is told", told).await;
    store.close().await;
    drop(store);
    let error = place.try_open().await.err().unwrap().to_string();
    assert!(error.contains(&format!("entry {before} of the audit log is not the one")), "{error}");
    let store = place.open_accepting().await;
    let log = store.audit_entries(None, 1000).await.unwrap();
    let accepted = log.iter().find(|entry| entry.act == "start.accept_gap").unwrap();
    assert!(accepted.detail.contains(&format!("entry {before}")), "{accepted:?}");
    store.close().await;
    place.open().await.close().await;
}

async fn two_processes_write_one_chain(place: Place) {
    let (store, _) = place.shop().await;
    let other = place.open().await;
    tokio::join!(entries(&store, 40), entries(&other, 40));
    let report = store.verify_audit(&[]).await.unwrap();
    assert_eq!(report.problem, None);
    assert!(report.entries >= 80);
}

/// Random changes by somebody with full rights: each alone is found.
#[tokio::test]
async fn any_tampering_is_found() {
    let rounds: usize = std::env::var("TAMPERINGS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let place = Place::sqlite();
    let (store, _) = place.shop().await;
    entries(&store, 200).await;
    let last = store.verify_audit(&[]).await.unwrap().entries;
    // The mark is written once a second.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let mut sql = place.behind("control").await;
    sqlx::raw_sql(
        "CREATE TEMP TABLE kept AS SELECT * FROM audit; CREATE TEMP TABLE kept_end AS SELECT * FROM audit_end",
    )
    .execute(&mut sql)
    .await
    .unwrap();
    let mut seed = 7_u64;
    let mut random = move |below: i64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33).cast_signed() % below
    };
    let mut missed = Vec::new();
    for _ in 0..rounds {
        let (one, two) = (1 + random(last), 1 + random(last));
        let sql_of = match random(9) {
            0 => format!("UPDATE audit SET actor = actor || 'x' WHERE number = {one}"),
            1 => format!("UPDATE audit SET time = time + 1 WHERE number = {one}"),
            2 => format!("UPDATE audit SET act = 'key.nothing' WHERE number = {one}"),
            3 => format!("DELETE FROM audit WHERE number = {one}"),
            4 => format!("DELETE FROM audit WHERE number >= {one}"),
            5 if one != two => format!(
                "UPDATE audit SET number = -1 WHERE number = {one}; UPDATE audit SET number = {one} WHERE number = {two}; \
                 UPDATE audit SET number = {two} WHERE number = -1"
            ),
            // The end moved back, as if what came later had never been.
            6 if one < last => format!(
                "DELETE FROM audit WHERE number > {one}; \
                 UPDATE audit_end SET number = {one}, chain = (SELECT chain FROM audit WHERE number = {one})"
            ),
            7 => format!(
                "INSERT INTO audit SELECT {last} + 1, time, actor, act, project, subject, detail, chain FROM audit WHERE number = {one}; \
                 UPDATE audit_end SET number = {last} + 1"
            ),
            // Texts that move from one field into the next.
            _ => format!(
                "UPDATE audit SET subject = '', detail = subject || detail WHERE number = {one} AND subject <> ''"
            ),
        };
        let mut transaction = sql.begin().await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql_of.clone())).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        if done.rows_affected() > 0 && store.verify_audit(&[]).await.unwrap().problem.is_none() {
            missed.push(sql_of);
        }
        // As it was.
        restore(&mut sql).await;
    }
    assert!(missed.is_empty(), "{} of {rounds} tamperings were not found: {:?}", missed.len(), missed.first());
    assert_eq!(store.verify_audit(&[]).await.unwrap().problem, None, "what was put back is whole");
    println!("{rounds} tamperings of {last} entries, all found");
}

/// Puts the log back from its copy.
async fn restore(sql: &mut sqlx::AnyConnection) {
    sqlx::raw_sql(
        "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; \
         UPDATE audit_end SET number = (SELECT number FROM kept_end), chain = (SELECT chain FROM kept_end)",
    )
    .execute(sql)
    .await
    .unwrap();
}

async fn a_person_reads_what_was_done_and_not_each_use_of_a_key(place: Place) {
    let (store, shop) = place.shop().await;
    store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    store.commit_work(work(0, &shop, events(0..3))).await.unwrap();
    store.acting_as("os:anna").save_settings(&shop.id, ProjectSettings::default()).await.unwrap();
    let log = async |filter: AuditFilter<'_>| store.audit_log(filter, 100).await.unwrap();
    let acts = AuditFilter { acts_only: true, ..AuditFilter::default() };
    assert!(log(acts).await.iter().all(|entry| !["key.wrap", "key.unwrap"].contains(&entry.act.as_str())));
    let of_shop = log(AuditFilter { project: Some("shop"), ..AuditFilter::default() }).await;
    let used = of_shop.iter().find(|entry| entry.act == "key.wrap").unwrap();
    assert_eq!((used.subject.as_str(), used.project.as_str()), ("project/shop/1", "shop"));
    assert!(of_shop.iter().any(|entry| entry.act == "project.create"));
    assert!(of_shop.iter().all(|entry| entry.project == "shop"), "{of_shop:?}");
    assert_eq!(log(AuditFilter { actor: Some("os:anna"), ..AuditFilter::default() }).await.len(), 1);
    store.acting_as("os:anna(1001) as root(0)").save_settings(&shop.id, ProjectSettings::default()).await.unwrap();
    store.acting_as("os:annabel(1002)").save_settings(&shop.id, ProjectSettings::default()).await.unwrap();
    let by = async |actor| log(AuditFilter { actor: Some(actor), ..AuditFilter::default() }).await.len();
    assert_eq!((by("os:anna").await, by("os:annabel").await, by("os:ann").await), (2, 1, 0));
    assert_eq!(by("os:anna(1001) as root(0)").await, 1);
    assert_eq!((by("os:a%a").await, by("os:anna_el").await, by("os:ann_bel").await), (0, 0, 0), "a name is no pattern");
    let wraps = log(AuditFilter { act: Some("key.wrap"), ..AuditFilter::default() }).await;
    assert!(wraps.iter().any(|entry| entry.subject == "root/installation/1"), "{wraps:?}");
    let later = store.clock().now().plus_millis(1);
    assert_eq!(log(AuditFilter { since: Some(later), ..AuditFilter::default() }).await, []);
    let error = store.audit_log(AuditFilter { project: Some("shoop"), ..AuditFilter::default() }, 9).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no project shoop");
    // A removed one is found by what was done with it.
    store.remove_project(&"blog".parse().unwrap()).await.unwrap();
    assert!(!log(AuditFilter { project: Some("blog"), ..AuditFilter::default() }).await.is_empty());
    let all = store.audit_after(0, 1000).await.unwrap();
    assert!(all.iter().map(|entry| entry.number).eq(1..=i64::try_from(all.len()).unwrap()));
}

async fn who_did_what_to_whom_stands_in_the_log(place: Place) {
    const PASSWORD: &str = "copper lantern walks uphill";
    let (store, shop) = place.shop().await;
    let first = store.first_link().await.unwrap();
    let mia = store.accept(&first, "mia@shop.example", "Mia", PASSWORD).await.unwrap();
    let by = store.acting_as(&mia.actor());
    let link = by.invite_member(&shop, "bob@shop.example", Role::Editor).await.unwrap();
    let bob = store.accept(&link, "", "Bob", PASSWORD).await.unwrap();
    let link = by.invite_member(&shop, "bob@shop.example", Role::Admin).await.unwrap();
    store.accept_as(&link, &bob).await.unwrap();
    by.make_owner(&shop, mia.number).await.unwrap();
    by.set_role(&shop, bob.number, Role::Viewer).await.unwrap();
    by.pass_ownership(&shop, bob.number).await.unwrap();
    store.acting_as(&bob.actor()).remove_member(&shop, mia.number).await.unwrap();
    by.reset_link(&bob).await.unwrap();
    let link = by.invite_master("bob@shop.example").await.unwrap();
    store.accept_as(&link, &bob).await.unwrap();
    let entries = store.audit_log(AuditFilter { acts_only: true, ..AuditFilter::default() }, 100).await.unwrap();
    let mut said: Vec<String> = entries
        .iter()
        .filter(|entry| entry.act.starts_with("invitation.") || entry.act.starts_with("member."))
        .map(|entry| {
            // Each link has an id of its own.
            let detail = entry.detail.split("; link ").next().unwrap();
            [entry.actor.as_str(), &entry.act, &entry.project, &entry.subject, detail].join("|")
        })
        .collect();
    said.reverse();
    let expected = [
        "system|invitation.make||first|master_admin",
        "account:1|invitation.accept||first|none -> master_admin",
        "account:1|invitation.make|shop|member|editor",
        "account:2|invitation.accept|shop|member|none -> editor",
        "account:1|invitation.make|shop|member|admin",
        "account:2|invitation.accept|shop|member|editor -> admin",
        "account:1|member.owner|shop|account:1|none -> owner",
        "account:1|member.role|shop|account:2|admin -> viewer",
        "account:1|member.owner|shop|account:2|viewer -> owner; account:1: owner -> admin",
        "account:2|member.remove|shop|account:1|admin -> none",
        "account:1|invitation.make||reset|account:2",
        "account:1|invitation.make||master|master_admin",
        "account:2|invitation.accept||master|none -> master_admin",
    ];
    assert_eq!(said, expected);
}

async fn a_long_list_that_changes_says_what_came_and_went(place: Place) {
    let (store, shop) = place.shop().await;
    let paths: Vec<String> = (0..100).map(|n| format!("/a-path-of-some-length/{n}")).collect();
    let settings = |paths: &[String]| ProjectSettings {
        exclude_paths: paths.to_vec(),
        origins: vec!["https://shop.example".to_owned()],
        ..ProjectSettings::default()
    };
    store.save_settings(&shop.id, settings(&paths)).await.unwrap();
    let mut others = paths[..99].to_vec();
    others.push("/new".to_owned());
    let saved = ProjectSettings { retention_days: 30, ..settings(&others) };
    store.save_settings(&shop.id, saved.clone()).await.unwrap();
    others.reverse();
    store.save_settings(&shop.id, ProjectSettings { exclude_paths: others, ..saved }).await.unwrap();
    let entries = store.audit_entries(Some("shop"), 100).await.unwrap();
    let said: Vec<&str> =
        entries.iter().filter(|entry| entry.act == "settings.save").map(|entry| entry.detail.as_str()).collect();
    let [order, change, made] = said.as_slice() else { panic!("{said:?}") };
    assert!(made.contains("/a-path-of-some-length/99\""), "{made}");
    for part in ["exclude_paths: +[\"/new\"] -[\"/a-path-of-some-length/99\"]", "retention_days: 60 -> 30"] {
        assert!(change.contains(part), "{part}: {change}");
    }
    assert!(!change.contains("length/98") && !change.contains("origins"), "{change}");
    assert_eq!(*order, "exclude_paths: in another order");
}
