//! How a database is opened: fresh, again, by two at once, of a newer build, out of reach.

use std::time::{Duration, Instant};

use convizit_model::ProjectSettings;
use convizit_store::{Store, StoreConfig, StoreError};
use sqlx::Connection as _;

use crate::engines::{Place, events, on_both_engines, stored, work};

on_both_engines!(
    a_fresh_database_is_made_and_found_again,
    two_processes_start_on_a_fresh_database_at_once,
    a_database_of_a_newer_build_is_refused_with_what_to_do,
);

async fn a_fresh_database_is_made_and_found_again(place: Place) {
    let (store, shop) = place.shop().await;
    store.journal_append("a record".into()).await.unwrap();
    store.commit_work(work(0, &shop, events(0..3))).await.unwrap();
    store.close().await;
    drop(store);
    for _ in 0..2 {
        let store = place.open().await;
        assert_eq!(store.project(&shop.id).await.unwrap(), shop);
        assert_eq!(stored(&store, shop.number, 0).await, [0, 1, 2]);
        assert_eq!(store.worker_offset().await.unwrap(), 1);
        store.close().await;
    }
}

async fn two_processes_start_on_a_fresh_database_at_once(place: Place) {
    let (a, b) = tokio::join!(place.try_open(), place.try_open());
    let (a, b) = (a.unwrap(), b.unwrap());
    a.create_project(&"shop".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    assert_eq!(b.projects().await.unwrap().len(), 1);
}

async fn a_database_of_a_newer_build_is_refused_with_what_to_do(place: Place) {
    place.shop().await.0.close().await;
    for (file, version) in [("data", 2999_i64), ("control", 1999)] {
        let mut sql = place.behind(file).await;
        sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ($1, 'later', TRUE, $2, 0)")
            .bind(version)
            .bind(vec![1_u8])
            .execute(&mut sql)
            .await
            .unwrap();
        let error = place.try_open().await.err().expect("a newer database was opened");
        assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("newer convizit") && text.contains("start that version"), "{text}");
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = $1").bind(version).execute(&mut sql).await.unwrap();
        sql.close().await.unwrap();
    }
    place.open().await.close().await;
}

async fn refused(place: &Place, url: &str) -> String {
    let config = StoreConfig { database: Some(url.to_owned()), ..StoreConfig::in_folder(place.folder.path()) };
    let start = Instant::now();
    let error = Store::open(config, place.provider(), place.clock.clone()).await.err().expect(url).to_string();
    assert!(start.elapsed() < Duration::from_secs(5), "{url}: an answer after {:?}", start.elapsed());
    error
}

#[tokio::test]
async fn an_unreachable_postgresql_says_what_to_do_and_keeps_the_password() {
    let place = Place::postgres();
    let mut sql = place.behind("data").await;
    sqlx::raw_sql("CREATE USER secretive PASSWORD 'right-one'").execute(&mut sql).await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let socket = place.cluster.as_ref().unwrap().url("secretive:canary-password");
    for url in [
        format!("postgres://user:canary-password@127.0.0.1:{free}/events"),
        socket.clone(),
        socket.replace("/postgres?", "/missing?").replace("canary-password", "right-one"),
        "postgres://user:canary-password@host.invalid/events".to_owned(),
        "postgres://user:canary-password@127.0.0.1:port/events".to_owned(),
        "postgress://user:canary-password@127.0.0.1/events".to_owned(),
        "user:canary-password@127.0.0.1/events".to_owned(),
    ] {
        let text = refused(&place, &url).await;
        assert!(!text.contains("canary") && !text.contains("right-one"), "the password stands in: {text}");
        assert!(text.contains("PostgreSQL") && text.contains("check"), "{url}: {text}");
        let config = StoreConfig { database: Some(url), ..StoreConfig::in_folder(place.folder.path()) };
        let text = format!("{config:?}");
        assert!(!text.contains("canary") && !text.contains("right-one"), "the password stands in: {text}");
    }
}

#[tokio::test]
async fn a_postgresql_database_keeps_to_one_data_folder() {
    let place = Place::postgres();
    place.open().await.close().await;
    let other = tempfile::tempdir().unwrap();
    let config = StoreConfig { database: place.config().database, ..StoreConfig::in_folder(other.path()) };
    let error = Store::open(config, place.provider(), place.clock.clone()).await.err().unwrap();
    assert!(error.to_string().contains("the journal of another data folder"), "{error}");
    place.open().await.close().await;
}

#[tokio::test]
async fn a_folder_is_taken_by_its_name_whatever_signs_it_has() {
    let place = Place::sqlite();
    let folder = place.folder.path().join("My data #1, 50%?");
    for _ in 0..2 {
        let config = StoreConfig::in_folder(&folder);
        Store::open(config, place.provider(), place.clock.clone()).await.unwrap().close().await;
    }
    for name in ["control.db", "data.db", "journal.db"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
}

#[tokio::test]
async fn a_folder_that_lost_its_keys_or_a_row_its_form_is_refused_by_name() {
    let place = Place::sqlite();
    let (store, _) = place.shop().await;
    store.close().await;
    let mut sql = place.behind("control").await;
    sqlx::query("UPDATE projects SET settings = CAST(x'ff' AS TEXT)").execute(&mut sql).await.unwrap();
    sqlx::Connection::close(sql).await.unwrap();
    let error = place.try_open().await.err().unwrap().to_string();
    assert!(error.starts_with("control.db is damaged") && error.contains("restore --move-aside"), "{error}");
    // A table that lost its rows is no empty one: the pages of two tables change places.
    let mut sql = place.behind("control").await;
    sqlx::query("UPDATE projects SET settings = '{}'").execute(&mut sql).await.unwrap();
    sqlx::raw_sql(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = \
         (SELECT rootpage FROM sqlite_schema WHERE name = 'key_requests') WHERE name = 'projects'; PRAGMA writable_schema = OFF",
    )
    .execute(&mut sql)
    .await
    .unwrap();
    sqlx::Connection::close(sql).await.unwrap();
    let error = place.try_open().await.err().unwrap().to_string();
    assert!(error.starts_with("control.db is damaged") && error.contains("projects is malformed"), "{error}");
    let control = place.config().folder.join("control.db");
    std::fs::remove_file(&control).unwrap();
    let error = place.try_open().await.err().unwrap().to_string();
    assert!(error.starts_with("control.db is missing"), "{error}");
    assert!(!control.exists(), "nothing is made in its place");
}

/// Every column of every table is in the list of what a stolen database shows, and on the right side of it.
#[tokio::test]
async fn the_document_lists_every_column_and_whether_it_can_be_read() {
    let place = Place::sqlite();
    let (store, shop) = place.shop().await;
    store.commit_work(work(0, &shop, events(0..1))).await.unwrap();
    store.journal_append("a record".into()).await.unwrap();
    let document = include_str!("../../../../docs/encryption.md");
    let mut listed = std::collections::BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [table, readable, sealed] = cells.as_slice() else { continue };
        let columns =
            |text: &str| text.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        listed.insert((*table).replace('`', ""), (columns(readable), columns(sealed)));
    }
    let mut found = 0;
    for file in ["control", "data", "journal"] {
        let mut sql = place.behind(file).await;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' \
             AND name NOT LIKE 'seen\\_2%' ESCAPE '\\'",
        )
        .fetch_all(&mut sql)
        .await
        .unwrap();
        for table in tables {
            let name =
                if file == "journal" && table == "keys" { "keys of the journal".to_owned() } else { table.clone() };
            let (readable, sealed) = listed.get(&name).unwrap_or_else(|| panic!("{name} is not in docs/encryption.md"));
            let columns: Vec<(String, String)> =
                sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT name, type FROM pragma_table_info('{table}')")))
                    .fetch_all(&mut sql)
                    .await
                    .unwrap();
            for (column, kind) in columns {
                found += 1;
                let is_bytes = matches!(kind.as_str(), "BYTEA" | "BLOB");
                assert_eq!(readable.contains(&column), !is_bytes, "{name}.{column} ({kind})");
                assert_eq!(sealed.contains(&column), is_bytes, "{name}.{column} ({kind})");
            }
        }
    }
    assert!(found > 80, "{found} columns");
}
