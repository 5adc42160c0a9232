//! Incidents: opened once by an attack, never by a normal day, seen to step by step; and to whom notices go.

use std::net::IpAddr;

use convizit_model::{Channels, Incident, IncidentKind, IncidentState, NoticeKind, Project, Role};
use convizit_store::{Account, IncidentChange, SessionPlace, Store, StoreError};

use crate::engines::{DAY, NOON, Place, on_both_engines, within};

on_both_engines!(
    an_attack_opens_one_incident_and_what_goes_on_joins_it,
    a_normal_day_opens_none,
    an_incident_goes_from_open_to_resolved_and_never_back,
    a_deadline_that_passes_is_said_once,
    two_who_save_channels_at_once_do_not_overwrite_each_other,
    there_is_always_a_master_admin,
);

const PASSWORD: &str = "copper lantern walks uphill";
const MINUTE: i64 = 60_000;

async fn master(store: &Store) -> Account {
    let link = store.first_link().await.unwrap();
    store.accept(&link, "mia@shop.example", "Mia", PASSWORD).await.unwrap()
}

async fn member(store: &Store, project: &Project, name: &str, role: Role) -> Account {
    let link = store.invite_member(project, &format!("{name}@shop.example"), role).await.unwrap();
    store.accept(&link, "", name, PASSWORD).await.unwrap()
}

fn place(country: &str) -> SessionPlace {
    SessionPlace { country: Some(country.to_owned()), ..SessionPlace::default() }
}

/// Looks, and gives the incidents that are open then.
async fn open(store: &Store) -> Vec<Incident> {
    store.look_for_incidents().await.unwrap();
    store.incidents(None, false).await.unwrap()
}

async fn an_attack_opens_one_incident_and_what_goes_on_joins_it(place_: Place) {
    let (store, shop) = place_.shop().await;
    let mia = master(&store).await;
    let vic = member(&store, &shop, "vic", Role::Viewer).await;
    let own = store.acting_as(&vic.actor());
    // Refused acts of one account.
    for _ in 0..12 {
        own.audit("access.refuse", "shop", "/p/{project}/settings", "").await.unwrap();
    }
    let found = open(&store).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].subject.as_str()), (IncidentKind::RoleEscalation, vic.actor().as_str()));
    assert_eq!(found[0].project.as_ref(), Some(&shop.id));
    place_.clock.set(NOON + MINUTE);
    own.audit("access.refuse", "shop", "/p/{project}/members/{account}/role", "own role").await.unwrap();
    let again = open(&store).await;
    assert_eq!((again.len(), again[0].id, again[0].last.as_millis()), (1, found[0].id, NOON + MINUTE));

    // Exports in great number.
    store.acting_as("token:desk").audit("export.persons", "shop", "", "150 persons").await.unwrap();
    // Keys that are asked for by whoever may not.
    for _ in 0..3 {
        let refused = store.destroy_key("project/nothing/1", "eve").await;
        assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    }
    // A Master Admin who signs in from elsewhere; the first country is no new one, and for others nothing is.
    for (account, country) in [(&mia, "DE"), (&mia, "DE"), (&vic, "DE"), (&vic, "BR"), (&mia, "KP")] {
        store.begin_session(account, true, &place(country), None).await.unwrap();
    }
    // Passwords that are tried.
    for n in 0..15 {
        store.sign_in_refused(&format!("person{n}@shop.example"), IpAddr::from([203, 0, 113, 7]));
    }
    within(std::time::Duration::from_secs(20), "five incidents", async || {
        let kinds: Vec<_> = open(&store).await.iter().map(|one| one.kind).collect();
        kinds.len() == 5 && IncidentKind::ALL.iter().all(|kind| kinds.contains(kind))
    })
    .await;
    let country = open(&store).await.into_iter().find(|one| one.kind == IncidentKind::NewCountry).unwrap();
    assert!(country.text.contains("KP") && country.subject == mia.actor(), "{country:?}");
    let notices = store.notices(false).await.unwrap();
    let of_incidents: Vec<_> = notices.iter().filter(|notice| notice.kind == NoticeKind::Incident).collect();
    assert_eq!(of_incidents.len(), 5, "{notices:?}");
    let entries = store.audit_entries(None, 500).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.act == "incident.open").count(), 5);
}

async fn a_normal_day_opens_none(place_: Place) {
    let (store, shop) = place_.shop().await;
    let mia = master(&store).await;
    let mut people = Vec::new();
    for (name, role) in [("ada", Role::Admin), ("bob", Role::Editor), ("vic", Role::Viewer)] {
        people.push(member(&store, &shop, name, role).await);
    }
    let desk = store.acting_as("token:desk");
    let office = IpAddr::from([198, 51, 100, 4]);
    for hour in 0..10_i64 {
        place_.clock.set(NOON + hour * 60 * MINUTE);
        store.begin_session(&mia, true, &place("DE"), None).await.unwrap();
        for (n, person) in people.iter().enumerate() {
            // Everybody mistypes now and then, and somebody follows an old link.
            for _ in 0..=n {
                store.sign_in_refused(&person.email, office);
            }
            store.begin_session(person, true, &place(if hour == 5 { "FR" } else { "DE" }), None).await.unwrap();
            let own = store.acting_as(&person.actor());
            own.audit("access.refuse", "shop", "/p/{project}/settings", "").await.unwrap();
            for _ in 0..12 {
                own.note_read("shop");
            }
        }
        for _ in 0..4 {
            desk.audit("export.persons", "shop", "", "2 persons").await.unwrap();
        }
        store.destroy_key("project/nothing/1", "ada").await.unwrap_err();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(open(&store).await, [], "hour {hour}");
    }
    place_.clock.set(NOON + DAY);
    assert_eq!(open(&store).await, []);
}

/// A store with one open incident.
async fn attacked(place: &Place) -> (Store, Account, Incident) {
    let (store, _) = place.shop().await;
    let mia = master(&store).await;
    store.acting_as("token:desk").audit("export.persons", "shop", "", "150 persons").await.unwrap();
    let incident = open(&store).await.remove(0);
    (store.acting_as(&mia.actor()), mia, incident)
}

async fn an_incident_goes_from_open_to_resolved_and_never_back(place: Place) {
    let (store, mia, found) = attacked(&place).await;
    let now = async || store.incident(None, found.id).await.unwrap();
    let change = async |change: IncidentChange| {
        let incident = now().await;
        store.change_incident(&incident, incident.version, change).await
    };
    let refused = |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Invalid(_))), "{done:?}");
    refused(change(IncidentChange::Resolve("too early".to_owned())).await);
    refused(change(IncidentChange::Note("  ".to_owned())).await);
    change(IncidentChange::Triage { owner: Some(mia.number), text: "the desk's new script".to_owned() }).await.unwrap();
    let triaged = now().await;
    assert_eq!((triaged.state, triaged.owner), (IncidentState::Triaged, Some(mia.number)));
    refused(change(IncidentChange::Triage { owner: None, text: String::new() }).await);
    let old = store.change_incident(&triaged, found.version, IncidentChange::Note("late".to_owned())).await;
    assert!(matches!(old, Err(StoreError::Moved { .. })), "{old:?}");
    change(IncidentChange::Own(99)).await.unwrap();
    refused(change(IncidentChange::Resolve(String::new())).await);
    place.clock.set(NOON + MINUTE);
    change(IncidentChange::Resolve("wanted by the board".to_owned())).await.unwrap();
    let over = now().await;
    assert_eq!((over.state, over.owner), (IncidentState::Resolved, Some(99)));
    refused(change(IncidentChange::Resolve("again".to_owned())).await);
    change(IncidentChange::Note("the script is gone".to_owned())).await.unwrap();
    let history = store.incident_notes(found.id).await.unwrap();
    let acts: Vec<&str> = history.iter().map(|note| note.act.as_str()).collect();
    assert_eq!(acts, ["open", "triage", "own", "resolve", "note"]);
    assert_eq!((history[1].actor.as_str(), history[1].text.as_str()), (mia.actor().as_str(), "the desk's new script"));
    let entries = store.audit_entries(Some("shop"), 100).await.unwrap();
    for act in ["incident.open", "incident.triage", "incident.own", "incident.resolve", "incident.note"] {
        assert_eq!(entries.iter().filter(|entry| entry.act == act).count(), 1, "{act}");
    }
    // Its signals open no other one; what comes again does.
    assert_eq!(open(&store).await, []);
    assert!(store.notices(false).await.unwrap().iter().all(|notice| notice.kind != NoticeKind::Incident));
    place.clock.set(NOON + 2 * MINUTE);
    store.acting_as("token:desk").audit("export.persons", "shop", "", "150 persons").await.unwrap();
    let anew = open(&store).await;
    assert_eq!(anew.len(), 1);
    assert_ne!(anew[0].id, found.id);
    let blog = store.create_project(&"blog".parse().unwrap(), Default::default()).await.unwrap();
    assert!(matches!(store.incident(Some(&blog.id), found.id).await, Err(StoreError::NotFound { .. })));
}

async fn a_deadline_that_passes_is_said_once(place: Place) {
    let (store, _, found) = attacked(&place).await;
    let said = async || {
        store.look_for_incidents().await.unwrap();
        store.look_for_incidents().await.unwrap();
        let all = store.notices(false).await.unwrap().into_iter();
        let own = all.filter(|notice| notice.kind == NoticeKind::Incident);
        own.map(|notice| (notice.subject, notice.count)).collect::<Vec<_>>()
    };
    assert_eq!(said().await, [("incident:1".to_owned(), 1)]);
    place.clock.set(found.acknowledge_by.as_millis() + 1);
    assert_eq!(said().await.len(), 2);
    store
        .change_incident(&found, found.version, IncidentChange::Triage { owner: None, text: String::new() })
        .await
        .unwrap();
    assert_eq!(said().await.len(), 1, "what somebody has looked at is not waiting for that");
    place.clock.set(found.resolve_by.as_millis() + 1);
    assert!(said().await.contains(&("incident:1 resolve".to_owned(), 1)));
    assert_eq!(said().await.len(), 2);
}

async fn two_who_save_channels_at_once_do_not_overwrite_each_other(place: Place) {
    let (store, shop) = place.shop().await;
    assert_eq!(store.channels(shop.number).await.unwrap().version, 0);
    let (mine, theirs) = (
        Channels { slack: Some("https://hooks.slack.example/canary".to_owned()), ..Channels::default() },
        Channels { mail_to: None, ..Channels::default() },
    );
    for version in [0, 1] {
        let (one, two) =
            tokio::join!(store.save_channels(&shop, &mine, version), store.save_channels(&shop, &theirs, version));
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        assert!(matches!(one.and(two), Err(StoreError::Moved { .. })));
    }
    let saved = store.channels(shop.number).await.unwrap();
    assert_eq!(saved.version, 2);
    assert!(saved.channels == mine || saved.channels == theirs);
    store.remove_project(&shop.id).await.unwrap();
    assert_eq!(store.channels(shop.number).await.unwrap().version, 0);
}

async fn there_is_always_a_master_admin(place: Place) {
    let (store, shop) = place.shop().await;
    let mia = master(&store).await;
    let ada = member(&store, &shop, "ada", Role::Admin).await;
    let last = store.remove_master(mia.number).await;
    assert!(matches!(last, Err(StoreError::Invalid(_))), "{last:?}");
    // One who has an account, and one who has none.
    let link = store.invite_master(&ada.email).await.unwrap();
    assert!(store.accept_as(&link, &mia).await.is_err(), "the link is another address's");
    store.accept_as(&link, &ada).await.unwrap();
    let link = store.invite_master("new@shop.example").await.unwrap();
    assert_eq!(store.master_invitations().await.unwrap().len(), 1);
    store.take_back_master("new@shop.example").await.unwrap();
    assert!(store.accept(&link, "", "Nora", PASSWORD).await.is_err());
    let link = store.invite_master("new@shop.example").await.unwrap();
    assert!(store.accept(&link, "", "Nora", PASSWORD).await.unwrap().master);
    assert!(store.account(ada.number).await.unwrap().master);
    store.remove_master(ada.number).await.unwrap();
    assert!(matches!(store.remove_master(ada.number).await, Err(StoreError::NotFound { .. })));
    let nora = store.account_by_email("new@shop.example").await.unwrap().unwrap();
    // Two who remove each other at once.
    let (one, two) = tokio::join!(store.remove_master(mia.number), store.remove_master(nora.number));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert!(store.has_master_admin().await.unwrap());
    assert_eq!(store.role(shop.number, ada.number).await.unwrap(), Some(Role::Admin), "what they were they are");
}
