//! The customizer's tokens and drafts: a token holds for its origin, project and person alone and only while they may; drafts are sealed,
//! and nobody overwrites one that they have not seen.

use convizit_model::{Change, ElementId, GroupId, NameId, Project, ProjectSettings, Role};
use convizit_store::{Account, OpeningRefusal, Saved, Session, SessionPlace, Store};

use crate::engines::{NOON, Place, on_both_engines};

on_both_engines!(a_token_holds_for_one_origin_person_and_quarter_of_an_hour, drafts_are_replaced_only_by_who_saw_them);

const ORIGIN: &str = "https://shop.example";

async fn shop(place: &Place) -> (Store, Project) {
    let store = place.open().await;
    let settings = ProjectSettings {
        origins: vec![ORIGIN.to_owned(), "https://www.shop.example".to_owned()],
        ..ProjectSettings::default()
    };
    let project = store.create_project(&"shop".parse().unwrap(), settings).await.unwrap();
    (store, project)
}

async fn member(store: &Store, project: &Project, name: &str, role: Role) -> Account {
    let link = store.invite_member(project, &format!("{name}@shop.example"), role).await.unwrap();
    store.accept(&link, "", name, "copper lantern walks uphill").await.unwrap()
}

async fn signed_in(store: &Store, account: &Account) -> Session {
    let secret = store.begin_session(account, true, &SessionPlace::default(), None).await.unwrap();
    store.session(&secret).await.unwrap().unwrap()
}

async fn a_token_holds_for_one_origin_person_and_quarter_of_an_hour(place: Place) {
    let (store, project) = shop(&place).await;
    let account = member(&store, &project, "eve", Role::Editor).await;
    let session = signed_in(&store, &account).await;
    assert!(store.open_customizer(&project, &session, "https://evil.example").await.is_err());
    let token = store.open_customizer(&project, &session, ORIGIN).await.unwrap();
    let opening = store.opening(&token, ORIGIN).await.unwrap().unwrap();
    assert_eq!((opening.project.number, opening.account.number), (project.number, account.number));
    let refused = async |token: &str, origin: &str| store.opening(token, origin).await.unwrap().unwrap_err();

    // An origin of the project that it was not made for, and one that is none.
    for origin in ["https://www.shop.example", "https://evil.example", "null", ""] {
        assert_eq!(refused(&token, origin).await, OpeningRefusal::Unknown, "{origin}");
    }
    // Changed anywhere: another project, another person, a later end, another tag.
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 5);
    for at in 0..parts.len() {
        let mut changed = parts.clone();
        let other = if at == 4 { "0".repeat(64) } else { format!("{}1", parts[at]) };
        changed[at] = &other;
        assert_eq!(refused(&changed.join("."), ORIGIN).await, OpeningRefusal::Unknown, "part {at}");
    }
    for none in ["", ".", "....", "1.2.3", &token[1..], &format!("{token}0"), &"9".repeat(5000)] {
        assert_eq!(refused(none, ORIGIN).await, OpeningRefusal::Unknown, "{none:.20}");
    }

    // A Viewer's, and nobody's any more.
    store.set_role(&project, account.number, Role::Viewer).await.unwrap();
    assert_eq!(refused(&token, ORIGIN).await, OpeningRefusal::Revoked);
    store.set_role(&project, account.number, Role::Editor).await.unwrap();
    assert!(store.opening(&token, ORIGIN).await.unwrap().is_ok());
    store.remove_member(&project, account.number).await.unwrap();
    assert_eq!(refused(&token, ORIGIN).await, OpeningRefusal::Revoked);

    // An origin that the project gave up, a session that ended, time that passed.
    let account = member(&store, &project, "ed", Role::Editor).await;
    let session = signed_in(&store, &account).await;
    let token = store.open_customizer(&project, &session, "https://www.shop.example").await.unwrap();
    let fewer = ProjectSettings { origins: vec![ORIGIN.to_owned()], ..ProjectSettings::default() };
    let project = store.save_settings(&project.id, fewer).await.unwrap();
    assert_eq!(refused(&token, "https://www.shop.example").await, OpeningRefusal::Revoked);
    let token = store.open_customizer(&project, &session, ORIGIN).await.unwrap();
    place.clock.set(NOON + 15 * 60_000 - 1);
    assert!(store.opening(&token, ORIGIN).await.unwrap().is_ok());
    place.clock.set(NOON + 15 * 60_000);
    assert_eq!(refused(&token, ORIGIN).await, OpeningRefusal::Expired);
    let token = store.open_customizer(&project, &session, ORIGIN).await.unwrap();
    assert!(store.opening(&token, ORIGIN).await.unwrap().is_ok());
    store.end_session(account.number, session.number).await.unwrap();
    assert_eq!(refused(&token, ORIGIN).await, OpeningRefusal::Revoked);
}

fn rename(text: &str) -> Change {
    Change::Rename { name: NameId(7), text: text.to_owned() }
}

async fn drafts_are_replaced_only_by_who_saw_them(place: Place) {
    let (store, project) = shop(&place).await;
    let saved = async |account, change, before: &str, seen| {
        store.save_draft(&project, account, change, before, seen).await.unwrap()
    };
    let Saved::Done(Some(first)) = saved(1, rename("Canary basket"), "Canary cart", 0).await else { panic!() };
    assert_eq!(store.drafts(project.number).await.unwrap(), std::slice::from_ref(&first));
    // Two who begin at once, and one who saw an older one.
    let meanwhile = Saved::Meanwhile(Some(first.clone()));
    assert_eq!(saved(2, rename("Another"), "Canary cart", 0).await, meanwhile);
    assert_eq!(saved(2, rename("Another"), "Canary cart", first.version - 1).await, meanwhile);
    let Saved::Done(Some(second)) = saved(2, rename("Another"), "Canary cart", first.version).await else { panic!() };
    assert!(second.version > first.version && second.account == 2);
    // What is as it was takes the draft back, but only the one that was seen.
    let back = async |seen| saved(1, rename("Canary cart"), "Canary cart", seen).await;
    assert_eq!(back(first.version).await, Saved::Meanwhile(Some(second.clone())));
    assert_eq!(back(second.version).await, Saved::Done(None));
    assert_eq!(back(0).await, Saved::Done(None));
    assert!(store.drafts(project.number).await.unwrap().is_empty());

    // Sealed where they lie, and bound to their place.
    let element = Change::CaptureElement { element: ElementId(8), captured: false };
    let group = Change::CaptureGroup { group: GroupId(9), captured: false };
    for change in [rename("Canary basket"), element, group] {
        assert!(matches!(saved(1, change, "captured", 0).await, Saved::Done(Some(_))));
    }
    let mut sql = place.behind("control").await;
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT body FROM drafts ORDER BY subject").fetch_all(&mut sql).await.unwrap();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| !body.windows(6).any(|part| part == b"Canary" || part == b"captur")));

    // A backup leaves them out; a removed project leaves none; only drafts that were seen go.
    let all = store.drafts(project.number).await.unwrap();
    let seen = vec![(all[0].subject.clone(), all[0].version), (all[1].subject.clone(), all[1].version + 1)];
    assert_eq!(store.remove_drafts(&project, seen, false).await.unwrap(), 1);
    assert_eq!(store.drafts(project.number).await.unwrap().len(), 2);
    assert!(store.save_draft(&project, 1, Change::Undo { decision: "1".parse().unwrap() }, "", 0).await.is_err());
    let other = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    assert!(store.drafts(other.number).await.unwrap().is_empty());
    store.remove_project(&project.id).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM drafts").fetch_one(&mut sql).await.unwrap();
    assert_eq!(left, 0);
}
