//! Holds the lines between rooms: who may use whom, and which room alone may name a crate.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// The rooms that a room may use, as ARCHITECTURE.md has them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("keys", &["model"]),
    ("pipeline", &["model"]),
    ("store", &["keys", "model"]),
    ("collector", &["pipeline", "store", "model"]),
    ("worker", &["pipeline", "store", "model"]),
    ("delivery", &["store", "keys", "model"]),
    ("console", &["store", "pipeline", "delivery", "model"]),
    ("server", &["model", "keys", "pipeline", "store", "collector", "worker", "delivery", "console"]),
    // Measures rooms from outside; nothing uses it.
    ("bench", &["model", "keys", "pipeline", "store", "collector", "worker", "delivery"]),
];

/// Crates that exactly these rooms may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("aws-lc-rs", &["keys"]),
    ("argon2", &["keys"]),
    ("zxcvbn", &["keys"]),
    ("sqlx", &["store"]),
    ("object_store", &["store"]),
    ("cryptoki", &["keys"]),
    ("reqwest", &["delivery", "keys", "bench"]),
    ("lettre", &["delivery"]),
    ("tokio-postgres", &["delivery", "bench"]),
    ("tokio-rustls", &["delivery", "bench"]),
    ("anyhow", &["server", "bench"]),
    ("ring", &[]),
    ("openssl", &[]),
];

/// What a pure room may not name: whatever does IO, knows the time or rolls dice.
const IMPURE: &[&str] =
    &["tokio", "axum", "hyper", "reqwest", "sqlx", "rand", "getrandom", "fastrand", "tempfile", "mio", "socket2"];

fn rooms() -> BTreeMap<String, Package> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    metadata
        .packages
        .into_iter()
        .filter_map(|package| package.name.strip_prefix("convizit-").map(str::to_owned).map(|room| (room, package)))
        .collect()
}

fn named(package: &Package) -> BTreeSet<&str> {
    package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development).map(|d| d.name.as_str()).collect()
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let table: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    for (room, package) in rooms() {
        let allowed = table.get(room.as_str()).unwrap_or_else(|| panic!("room {room} is not in the table"));
        for used in named(&package).iter().filter_map(|name| name.strip_prefix("convizit-")) {
            assert!(allowed.contains(&used), "{room} may not use {used}");
        }
    }
}

#[test]
fn some_crates_belong_to_one_room() {
    for (room, package) in rooms() {
        for (name, owners) in ONLY_IN {
            assert!(!named(&package).contains(name) || owners.contains(&room.as_str()), "{room} may not name {name}");
        }
    }
}

#[test]
fn pure_rooms_name_nothing_impure() {
    let rooms = rooms();
    for room in ["model", "pipeline"] {
        for name in named(&rooms[room]) {
            assert!(!IMPURE.contains(&name), "{room} is pure and may not name {name}");
        }
    }
}

#[test]
fn every_room_takes_the_lints_of_the_workspace() {
    for (room, package) in rooms() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{room} must say [lints] workspace = true");
    }
}

#[test]
fn members_stand_in_the_order_of_the_flow() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let manifest = std::fs::read_to_string(metadata.workspace_root.join("Cargo.toml")).unwrap();
    let places: Vec<_> = ["model", "keys", "pipeline", "store", "collector", "worker", "delivery", "console", "server"]
        .iter()
        .map(|room| manifest.find(&format!("\"crates/{room}\"")).unwrap())
        .collect();
    assert!(places.is_sorted(), "members in Cargo.toml are out of order");
}
