//! Notices: one for each kind, project and subject, open until a person says otherwise.

use convizit_model::{Notice, NoticeKind, NoticeState, ProjectId};
use convizit_store::{Store, StoreError};

use crate::engines::{NOON, Place, on_both_engines};

on_both_engines!(a_repeat_counts_and_a_state_is_kept, notices_raised_at_once_are_all_there);

async fn raise(store: &Store, kind: NoticeKind, project: Option<&ProjectId>, subject: &str) {
    store.raise(kind, project, subject, "something happened; do something").await.unwrap();
}

async fn a_repeat_counts_and_a_state_is_kept(place: Place) {
    let (store, shop) = place.shop().await;
    raise(&store, NoticeKind::DeadLetters, Some(&shop.id), "hook").await;
    place.clock.set(NOON + 1000);
    raise(&store, NoticeKind::DeadLetters, Some(&shop.id), "hook").await;
    raise(&store, NoticeKind::DeadLetters, Some(&shop.id), "other").await;
    raise(&store, NoticeKind::Disk, None, "journal").await;
    let notices = store.notices(false).await.unwrap();
    assert_eq!(notices.len(), 3, "{notices:?}");
    let find = |notices: &[Notice], subject: &str| notices.iter().find(|n| n.subject == subject).cloned().unwrap();
    let hook = find(&notices, "hook");
    assert_eq!((hook.count, hook.state, hook.project), (2, NoticeState::Open, Some(shop.id.clone())));
    assert_eq!((hook.first.as_millis(), hook.last.as_millis()), (NOON, NOON + 1000));
    assert_eq!(find(&notices, "journal").project, None);

    store.set_notice(hook.id, NoticeState::Seen).await.unwrap();
    raise(&store, NoticeKind::DeadLetters, Some(&shop.id), "hook").await;
    let hook = find(&store.notices(false).await.unwrap(), "hook");
    assert_eq!((hook.count, hook.state), (3, NoticeState::Seen), "what was seen stays seen");

    store.set_notice(hook.id, NoticeState::Resolved).await.unwrap();
    assert!(store.notices(false).await.unwrap().iter().all(|notice| notice.id != hook.id));
    assert_eq!(store.notices(true).await.unwrap().len(), 3);
    raise(&store, NoticeKind::DeadLetters, Some(&shop.id), "hook").await;
    let anew = find(&store.notices(false).await.unwrap(), "hook");
    assert_eq!((anew.count, anew.state), (1, NoticeState::Open), "after it was resolved it is a new one");
    assert_ne!(anew.id, hook.id);
    let missing = store.set_notice(999, NoticeState::Seen).await;
    assert!(matches!(missing, Err(StoreError::NotFound { what: "notice", .. })));

    // Whatever face it came by, it stands in the audit log of its project.
    let entries = store.audit_entries(Some("shop"), 100).await.unwrap();
    let set = entries.iter().filter(|entry| entry.act == "notice.set");
    let set: Vec<_> = set.map(|entry| (entry.subject.clone(), entry.detail.as_str())).collect();
    let of_hook = format!("notice:{}", hook.id);
    assert_eq!(set, [(of_hook.clone(), "resolved"), (of_hook, "seen")]);
}

async fn notices_raised_at_once_are_all_there(place: Place) {
    let (store, other) = (place.open().await, place.open().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        tasks.spawn(async move { raise(&store, NoticeKind::Lag, None, &format!("subject {}", n % 10)).await });
    }
    tasks.join_all().await;
    let notices = store.notices(true).await.unwrap();
    assert_eq!(notices.len(), 10, "{notices:?}");
    assert!(notices.iter().all(|notice| notice.count == 4), "{notices:?}");
}
