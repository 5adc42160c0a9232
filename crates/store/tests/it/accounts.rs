//! Accounts, links, members and sessions: what is kept of people, and what holds when two come at once.

use std::time::Duration;

use convizit_model::{Project, ProjectSettings, Role};
use convizit_store::{Account, SessionPlace, Store, StoreError, TotpSecret};
use sqlx::Connection as _;

use crate::engines::{NOON, Place, on_both_engines};

on_both_engines!(
    the_first_link_makes_one_master_admin_and_holds_once,
    a_project_has_one_owner_whatever_comes_at_once,
    who_is_made_owner_meanwhile_stays_it,
    who_is_removed_has_no_second_link,
    of_an_address_the_newest_invitation_holds_alone,
    a_role_is_changed_as_it_was_seen,
    a_code_is_taken_once_even_by_two_at_once,
    a_second_factor_ends_sessions_that_never_gave_it,
    a_session_ends_when_it_should,
    half_sign_ins_end_no_whole_one,
    a_removed_project_leaves_no_member,
    a_password_that_is_refused_leaves_the_link,
    a_reset_takes_everything_old_away,
);

const PASSWORD: &str = "copper lantern walks uphill";

async fn master(store: &Store) -> Account {
    let link = store.first_link().await.unwrap();
    store.accept(&link, "Ada@Shop.example", "Ada Lovelace", PASSWORD).await.unwrap()
}

async fn member(store: &Store, project: &Project, name: &str, role: Role) -> Account {
    let link = store.invite_member(project, &format!("{name}@shop.example"), role).await.unwrap();
    store.accept(&link, "", name, PASSWORD).await.unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, word: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)) && error.to_string().contains(word), "{error}");
}

async fn the_first_link_makes_one_master_admin_and_holds_once(place: Place) {
    let store = place.open().await;
    assert!(!store.has_master_admin().await.unwrap());
    let old = store.first_link().await.unwrap();
    let link = store.first_link().await.unwrap();
    refused(store.accept(&old, "a@b.example", "Old", PASSWORD).await, "used already");
    // Two who open it at once.
    let (one, two) = tokio::join!(
        store.accept(&link, "ada@shop.example", "Ada", PASSWORD),
        store.accept(&link, "eve@shop.example", "Eve", PASSWORD)
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(store.accounts().await.unwrap().len(), 1);
    assert!(store.has_master_admin().await.unwrap());
    refused(store.first_link().await, "already");
    let account = one.or(two).unwrap();
    let found = store.account_of_password(&account.email.to_uppercase(), PASSWORD).await.unwrap().unwrap();
    assert_eq!(found, account);
    assert_eq!(store.account_of_password(&account.email, "another password entirely").await.unwrap(), None);
    assert_eq!(store.account_of_password("nobody@shop.example", PASSWORD).await.unwrap(), None);
    place.clock.set(NOON + 8 * 86_400_000);
}

async fn a_project_has_one_owner_whatever_comes_at_once(place: Place) {
    let (store, shop) = place.shop().await;
    let (ada, bob) = (master(&store).await, member(&store, &shop, "bob", Role::Admin).await);
    let cleo = member(&store, &shop, "cleo", Role::Viewer).await;
    store.make_owner(&shop, ada.number).await.unwrap();
    refused(store.make_owner(&shop, bob.number).await, "one Owner");
    refused(store.set_role(&shop, ada.number, Role::Viewer).await, "one Owner");
    refused(store.set_role(&shop, bob.number, Role::Owner).await, "one Owner");
    refused(store.remove_member(&shop, ada.number).await, "one Owner");
    let (one, two) = tokio::join!(store.pass_ownership(&shop, bob.number), store.pass_ownership(&shop, cleo.number));
    one.and(two).unwrap();
    let members = store.members(shop.number).await.unwrap();
    assert_eq!(members.iter().filter(|member| member.role == Role::Owner).count(), 1, "{members:?}");
    assert_eq!(
        members.iter().find(|member| member.account == ada).unwrap().role,
        Role::Admin,
        "the old one stays Admin"
    );
    assert!(matches!(store.pass_ownership(&shop, 999).await, Err(StoreError::NotFound { .. })));
    let members = store.members(shop.number).await.unwrap();
    assert_eq!(members.iter().filter(|member| member.role == Role::Owner).count(), 1, "a failed try changes nothing");
    let entries = store.audit_entries(Some("shop"), 100).await.unwrap();
    assert!(entries.iter().filter(|entry| entry.act == "member.owner").count() == 3, "{entries:?}");
    // What people are called is not in the log.
    assert!(!format!("{entries:?}").contains("shop.example"), "{entries:?}");
}

async fn who_is_made_owner_meanwhile_stays_it(place: Place) {
    let (store, shop) = place.shop().await;
    let (ada, bob) = (master(&store).await, member(&store, &shop, "bob", Role::Editor).await);
    store.make_owner(&shop, ada.number).await.unwrap();
    for act in ["role", "remove", "join"] {
        let link = store.invite_member(&shop, &bob.email, Role::Admin).await.unwrap();
        // What passing ownership on does, by somebody who has not come to the end.
        let mut sql = place.behind("control").await;
        let mut tx = sql.begin().await.unwrap();
        for step in [
            "UPDATE projects SET version = version",
            "UPDATE members SET role = 'admin' WHERE role = 'owner'",
            "UPDATE members SET role = 'owner' WHERE role = 'editor'",
        ] {
            assert_eq!(sqlx::query(step).execute(&mut *tx).await.unwrap().rows_affected(), 1, "{step}");
        }
        let (by, project, person) = (store.clone(), shop.clone(), bob.clone());
        let late = tokio::spawn(async move {
            match act {
                "role" => by.set_role(&project, person.number, Role::Viewer).await,
                "remove" => by.remove_member(&project, person.number).await,
                _ => by.accept_as(&link, &person).await,
            }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        tx.commit().await.unwrap();
        let result = late.await.unwrap();
        match act {
            "join" => result.unwrap(),
            _ => refused(result, "one Owner"),
        }
        assert_eq!(store.role(shop.number, bob.number).await.unwrap(), Some(Role::Owner), "{act}");
        store.pass_ownership(&shop, ada.number).await.unwrap();
        store.set_role(&shop, bob.number, Role::Editor).await.unwrap();
    }
}

async fn who_is_removed_has_no_second_link(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    let (ada, bob) = (master(&store).await, member(&store, &shop, "bob", Role::Admin).await);
    // As somebody else types the address.
    let link = async |project: &Project| store.invite_member(project, " Bob@Shop.example", Role::Admin).await.unwrap();
    let (second, of_blog) = (link(&shop).await, link(&blog).await);
    let of_cleo = store.invite_member(&shop, "cleo@shop.example", Role::Viewer).await.unwrap();
    store.set_role(&shop, bob.number, Role::Viewer).await.unwrap();
    refused(store.accept_as(&second, &bob).await, "used already");
    assert_eq!(store.role(shop.number, bob.number).await.unwrap(), Some(Role::Viewer));
    let second = link(&shop).await;
    store.remove_member(&shop, bob.number).await.unwrap();
    refused(store.accept_as(&second, &bob).await, "used already");
    assert_eq!(store.role(shop.number, bob.number).await.unwrap(), None);
    // Of others, and of other projects, they hold.
    store.accept_as(&of_blog, &bob).await.unwrap();
    store.accept(&of_cleo, "", "Cleo", PASSWORD).await.unwrap();
    // A Master Admin, who has a member's link, too.
    let back = store.invite_master(&bob.email).await.unwrap();
    store.accept_as(&back, &bob).await.unwrap();
    let (back, of_shop) = (store.invite_master(&bob.email).await.unwrap(), link(&shop).await);
    store.remove_master(bob.number).await.unwrap();
    refused(store.accept_as(&back, &bob).await, "used already");
    store.accept_as(&of_shop, &bob).await.unwrap();
    assert!(!store.account(bob.number).await.unwrap().master && store.account(ada.number).await.unwrap().master);
}

async fn of_an_address_the_newest_invitation_holds_alone(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    master(&store).await;
    let old = store.invite_member(&shop, "bob@shop.example", Role::Admin).await.unwrap();
    let of_blog = store.invite_member(&blog, "bob@shop.example", Role::Viewer).await.unwrap();
    let of_cleo = store.invite_member(&shop, "cleo@shop.example", Role::Viewer).await.unwrap();
    let as_master = store.invite_master("bob@shop.example").await.unwrap();
    let new = store.invite_member(&shop, " Bob@Shop.example", Role::Viewer).await.unwrap();
    refused(store.accept(&old, "", "Bob", PASSWORD).await, "used already");
    let open = store.invitations(shop.number).await.unwrap();
    assert_eq!(open.iter().filter(|one| one.is_for("BOB@shop.example")).count(), 1, "{open:?}");
    let bob = store.accept(&new, "", "Bob", PASSWORD).await.unwrap();
    assert_eq!(store.role(shop.number, bob.number).await.unwrap(), Some(Role::Viewer));
    // Of another project, another person and to be more they hold.
    store.accept_as(&of_blog, &bob).await.unwrap();
    store.accept(&of_cleo, "", "Cleo", PASSWORD).await.unwrap();
    let newer = store.invite_master("Bob@shop.example").await.unwrap();
    refused(store.accept_as(&as_master, &bob).await, "used already");
    store.accept_as(&newer, &bob).await.unwrap();
    assert_eq!(store.master_invitations().await.unwrap(), []);
}

async fn a_role_is_changed_as_it_was_seen(place: Place) {
    let (store, shop) = place.shop().await;
    let bob = member(&store, &shop, "bob", Role::Editor).await.number;
    let role = async || store.role(shop.number, bob).await.unwrap();
    let moved = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Moved { .. })), "{result:?}");
    moved(store.set_role_from(&shop, bob, Some(Role::Viewer), Role::Admin).await);
    moved(store.remove_member_from(&shop, bob, Some(Role::Viewer)).await);
    assert_eq!(role().await, Some(Role::Editor));
    store.set_role_from(&shop, bob, Some(Role::Editor), Role::Viewer).await.unwrap();
    store.set_role(&shop, bob, Role::Admin).await.unwrap();
    store.remove_member_from(&shop, bob, Some(Role::Admin)).await.unwrap();
    assert_eq!(role().await, None);
}

async fn a_code_is_taken_once_even_by_two_at_once(place: Place) {
    let store = place.open().await;
    let ada = master(&store).await;
    let secret = TotpSecret::random().unwrap();
    refused(store.set_second_factor(&ada, &secret, "000000", 0).await, "code of now");
    let now = store.clock().now();
    let codes = store.set_second_factor(&ada, &secret, &secret.code(now), 0).await.unwrap();
    assert!(store.account(ada.number).await.unwrap().second_factor);
    assert!(!store.use_code(&ada, &secret.code(now)).await.unwrap(), "it set the factor up");
    place.clock.set(NOON + 60_000);
    let code = secret.code(store.clock().now());
    let (one, two) = tokio::join!(store.use_code(&ada, &code), store.use_code(&ada, &code));
    assert_ne!(one.unwrap(), two.unwrap());
    let (one, two) = tokio::join!(store.use_code(&ada, &codes[0]), store.use_code(&ada, &codes[0]));
    assert_ne!(one.unwrap(), two.unwrap());
    assert_eq!(store.recovery_codes_left(ada.number).await.unwrap(), 9);
    let fresh = store.new_recovery_codes(&ada).await.unwrap();
    assert!(!store.use_code(&ada, &codes[1]).await.unwrap(), "the old ones have ended");
    assert!(store.use_code(&ada, &fresh[1].to_uppercase()).await.unwrap());
}

async fn a_second_factor_ends_sessions_that_never_gave_it(place: Place) {
    let store = place.open().await;
    let (ada, about) = (master(&store).await, SessionPlace::default());
    let begin = async |account: &Account| store.begin_session(account, true, &about, None).await.unwrap();
    let lives = async |secret: &str| store.session(secret).await.unwrap();
    let (own, stolen) = (begin(&ada).await, begin(&ada).await);
    let own_number = lives(&own).await.unwrap().number;
    let secret = TotpSecret::random().unwrap();
    refused(store.set_second_factor(&ada, &secret, "000000", own_number).await, "code of now");
    assert!(lives(&stolen).await.is_some(), "nothing has changed yet");
    store.set_second_factor(&ada, &secret, &secret.code(store.clock().now()), own_number).await.unwrap();
    assert!(lives(&own).await.is_some_and(|session| session.whole));
    assert_eq!(lives(&stolen).await, None);
    // A sign-in that was under way has looked at the account before.
    let late = begin(&ada).await;
    assert!(lives(&late).await.is_some_and(|session| !session.whole), "it has given the password alone");
    let whole = begin(&store.account(ada.number).await.unwrap()).await;
    assert!(lives(&whole).await.is_some_and(|session| session.whole));
}

async fn a_session_ends_when_it_should(place: Place) {
    const HOUR: i64 = 3_600_000;
    let store = place.open().await;
    let ada = master(&store).await;
    let about = SessionPlace { network: "192.0.2.x".to_owned(), browser: "Firefox on Linux".to_owned(), country: None };
    let whole = store.begin_session(&ada, true, &about, None).await.unwrap();
    let half = store.begin_session(&ada, false, &about, None).await.unwrap();
    let lives = async |secret: &str| store.session(secret).await.unwrap().is_some();
    assert!(lives(&whole).await && lives(&half).await && !lives("another").await);
    assert_eq!(store.sessions(ada.number).await.unwrap()[0].1, about);
    place.clock.set(NOON + 11 * 60_000);
    assert!(lives(&whole).await && !lives(&half).await, "half a sign-in waits ten minutes");
    place.clock.set(NOON + 12 * HOUR);
    assert!(lives(&whole).await, "it was used");
    place.clock.set(NOON + 25 * HOUR);
    assert!(!lives(&whole).await, "twelve hours without a request");
    let next = store.begin_session(&ada, true, &about, None).await.unwrap();
    for hours in (25..25 + 7 * 24).step_by(6) {
        place.clock.set(NOON + hours * HOUR);
        assert!(lives(&next).await, "{hours}");
    }
    place.clock.set(NOON + (25 + 7 * 24) * HOUR);
    assert!(!lives(&next).await, "seven days whatever happens");
    for _ in 0..60 {
        store.begin_session(&ada, true, &about, None).await.unwrap();
    }
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM sessions").await, 50, "old ones are cleared");
}

async fn half_sign_ins_end_no_whole_one(place: Place) {
    let store = place.open().await;
    let (ada, about) = (master(&store).await, SessionPlace::default());
    let whole = store.begin_session(&ada, true, &about, None).await.unwrap();
    let mut last = String::new();
    for n in 0..60 {
        place.clock.set(NOON + n * 1000);
        last = store.begin_session(&ada, false, &about, None).await.unwrap();
    }
    assert!(store.session(&whole).await.unwrap().is_some_and(|session| session.whole));
    assert!(store.session(&last).await.unwrap().is_some());
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM sessions WHERE whole = 0").await, 5);
    let entries = store.audit_entries(None, 100).await.unwrap();
    let of = |act: &str| entries.iter().filter(|one| one.act == act && one.actor == ada.actor()).count();
    assert_eq!((of("session.begin"), of("session.half")), (1, 60), "somebody has the password");
}

async fn a_removed_project_leaves_no_member(place: Place) {
    let (store, shop) = place.shop().await;
    member(&store, &shop, "bob", Role::Admin).await;
    let open = store.invite_member(&shop, "cleo@shop.example", Role::Editor).await.unwrap();
    store.remove_project(&shop.id).await.unwrap();
    // A new one of the same name is another project.
    store.create_project(&shop.id, ProjectSettings::default()).await.unwrap();
    refused(store.accept(&open, "", "Cleo", PASSWORD).await, "used already");
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM members").await, 0);
}

async fn a_password_that_is_refused_leaves_the_link(place: Place) {
    let (store, shop) = place.shop().await;
    let link = store.invite_member(&shop, "bob@shop.example", Role::Editor).await.unwrap();
    refused(store.accept(&link, "", "Bob", "short").await, "15 characters");
    refused(store.accept(&link, "", "", PASSWORD).await, "a name of");
    assert_eq!(store.invitations(shop.number).await.unwrap().len(), 1);
    let bob = store.accept(&link, "other@shop.example", "Bob", PASSWORD).await.unwrap();
    assert_eq!(bob.email, "bob@shop.example", "the invited address, whatever is sent");
    for wrong in
        ["", "bob", "bob@", "@shop.example", "a b@shop.example", "a@b@c.example", "bob@.example", "<b@c.example>"]
    {
        refused(store.invite_member(&shop, wrong, Role::Editor).await, "e-mail address");
    }
    refused(store.invite_member(&shop, "eve@shop.example", Role::Owner).await, "nobody is invited as Owner");
    // Too old.
    let late = store.invite_member(&shop, "late@shop.example", Role::Editor).await.unwrap();
    place.clock.set(NOON + 8 * 86_400_000);
    refused(store.accept(&late, "", "Late", PASSWORD).await, "too old");
}

async fn a_reset_takes_everything_old_away(place: Place) {
    let store = place.open().await;
    let ada = master(&store).await;
    let secret = TotpSecret::random().unwrap();
    let codes = store.set_second_factor(&ada, &secret, &secret.code(store.clock().now()), 0).await.unwrap();
    let session = store.begin_session(&ada, true, &SessionPlace::default(), None).await.unwrap();
    let link = store.reset_link(&ada).await.unwrap();
    refused(store.accept(&link, "a@b.example", "A", PASSWORD).await, "used already");
    refused(store.reset(&link, "short").await, "15 characters");
    assert!(store.session(&session).await.unwrap().is_some(), "nothing has changed yet");
    let new = "seven brass kettles sing low";
    let changed = store.reset(&link, new).await.unwrap();
    assert!(!changed.second_factor && changed.master);
    assert!(store.session(&session).await.unwrap().is_none());
    assert!(!store.use_code(&ada, &codes[0]).await.unwrap());
    assert_eq!(store.account_of_password(&ada.email, PASSWORD).await.unwrap(), None);
    assert!(store.account_of_password(&ada.email, new).await.unwrap().is_some());
    refused(store.reset(&link, "another fine long password").await, "used already");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_person_stands_readable_in_a_file() {
    let place = Place::sqlite();
    let (store, shop) = place.shop().await;
    let ada = master(&store).await;
    let secret = TotpSecret::random().unwrap();
    let codes = store.set_second_factor(&ada, &secret, &secret.code(store.clock().now()), 0).await.unwrap();
    let about = SessionPlace { network: "192.0.2.x".to_owned(), browser: "Firefox on Linux".to_owned(), country: None };
    let session = store.begin_session(&ada, true, &about, None).await.unwrap();
    let link = store.invite_member(&shop, "zelda@invited.example", Role::Viewer).await.unwrap();
    store.close().await;
    let texts = [
        "shop.example",
        "Lovelace",
        "$argon2id",
        "invited.example",
        "192.0.2",
        "Firefox",
        session.as_str(),
        link.as_str(),
        codes[0].as_str(),
        PASSWORD,
    ];
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for text in texts {
            let found = bytes.windows(text.len()).any(|piece| piece.eq_ignore_ascii_case(text.as_bytes()));
            assert!(!found, "{text} stands in {}", path.display());
        }
        assert!(!bytes.windows(20).any(|piece| piece == secret.bytes()), "the secret stands in {}", path.display());
    }
}
