//! What a database is promised: its schema made, each event one row however often it is sent, a pause where a person is needed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use convizit_model::DestinationKind;

use crate::stand::{Stand, until};

/// A PostgreSQL cluster of the test's own: initdb refuses to run as root, so root lends it to the `postgres` user.
struct Server {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            let done = Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap();
            assert!(done.success());
        }
        let data = folder.path().join("data");
        let made = as_postgres("initdb", folder.path())
            .arg("-D")
            .arg(&data)
            .args(["-U", "convizit", "--auth=scram-sha-256", "--no-sync", "-E", "UTF8", "--pwfile"])
            .arg(password_file(folder.path()))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = as_postgres("postgres", folder.path())
            .arg("-D")
            .arg(&data)
            .arg("-p")
            .arg(port.to_string())
            .args(["-h", "127.0.0.1", "-k", ""])
            .spawn()
            .unwrap();
        let server = Self { folder, child, port };
        until(async || tokio_postgres::connect(&server.url("right"), tokio_postgres::NoTls).await.is_ok()).await;
        server
    }

    fn url(&self, password: &str) -> String {
        format!("postgres://convizit:{password}@127.0.0.1:{}/postgres", self.port)
    }

    async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url("right"), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server's own process, by its id: `runuser` does not pass the signal on.
        if let Ok(text) = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")) {
            let pid = text.lines().next().unwrap_or_default().to_owned();
            Command::new("kill").args(["-INT", &pid]).status().ok();
        }
        self.child.wait().ok();
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn password_file(folder: &Path) -> PathBuf {
    let path = folder.join("password");
    std::fs::write(&path, "right\n").unwrap();
    path
}

fn as_postgres(program: &str, folder: &Path) -> Command {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("no PostgreSQL server found: run ./test, which installs it")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    let program = versions.last().expect("no PostgreSQL server found: run ./test, which installs it").join(program);
    let mut command = if is_root() { Command::new("runuser") } else { Command::new(&program) };
    if is_root() {
        command.args(["-u", "postgres", "--"]).arg(&program);
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn kind() -> DestinationKind {
    DestinationKind::Postgres { schema: "convizit".to_owned() }
}

#[tokio::test]
async fn events_become_rows_once_however_often_they_are_sent() {
    let (stand, server) = (Stand::new().await, Server::start().await);
    stand.add("db", kind(), Some(&server.url("right"))).await;
    stand.put(&["Add to cart", "Removed"]).await;
    let running = stand.deliver();
    stand.at("db", 2).await;
    // The same events again, as after a crash before the cursor moved, beside a new one and over a broken connection.
    stand.add("again", kind(), Some(&server.url("right"))).await;
    stand.at("again", 2).await;
    let client = server.client().await;
    client
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'convizit'", &[])
        .await
        .unwrap();
    stand.put(&["Bought"]).await;
    stand.at("db", 3).await;
    stand.at("again", 3).await;
    let sql = "SELECT number, name, type, time::text, group_position, properties->>'Selected color', \
               (properties->'Product price')::text, country FROM convizit.events ORDER BY number";
    let rows = client.query(sql, &[]).await.unwrap();
    assert_eq!(rows.len(), 3);
    let row = &rows[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1), row.get::<_, &str>(2)), (1, "Add to cart", "click"));
    assert!(row.get::<_, &str>(3).contains(":01:07.123"));
    assert_eq!(row.get::<_, i32>(4), 3);
    assert_eq!((row.get::<_, &str>(5), row.get::<_, &str>(6)), ("Red\u{fffd}", "89.9"));
    assert_eq!(stand.state("db").await.dead + stand.state("again").await.dead, 0);
    // Whatever is left out, there is a row.
    let mut bare = stand.destination("bare", DestinationKind::Postgres { schema: "bare".to_owned() });
    bare.shaping.without =
        ["source", "name_state", "user", "session", "consent", "page", "group", "properties", "device", "location"]
            .map(str::to_owned)
            .into();
    stand.store.save_destination(&bare, Some(&server.url("right")), true).await.unwrap();
    stand.at("bare", 3).await;
    assert_eq!(stand.state("bare").await.dead, 0);
    let sql = "SELECT 1 FROM bare.events WHERE session IS NULL AND page_url IS NULL AND visitor = 'v1'";
    assert_eq!(client.query(sql, &[]).await.unwrap().len(), 3);
    running.end().await;
}

#[tokio::test]
async fn a_newer_schema_and_a_wrong_password_pause_and_a_refused_row_is_found() {
    let (stand, server) = (Stand::new().await, Server::start().await);
    let client = server.client().await;
    stand.add("wrong", kind(), Some(&server.url("wrong"))).await;
    stand.add("db", DestinationKind::Postgres { schema: "strict".to_owned() }, Some(&server.url("right"))).await;
    stand.add("newer", kind(), Some(&server.url("right"))).await;
    let config = stand.config(&["127.0.0.0/8"]);
    convizit_delivery::check(&stand.state("db").await.destination, Some(&server.url("right")), &config).await.unwrap();
    client
        .batch_execute(
            "CREATE SCHEMA convizit; CREATE TABLE convizit.schema_version (version integer); INSERT INTO convizit.schema_version VALUES (9); \
             ALTER TABLE strict.events ADD CHECK (name <> 'bad')",
        )
        .await
        .unwrap();
    stand.put(&["a", "b", "bad", "c"]).await;
    let running = stand.deliver();
    assert!(stand.paused("wrong").await.contains("password"));
    assert!(stand.paused("newer").await.contains("version 9"));
    let made =
        client.query("SELECT 1 FROM pg_tables WHERE schemaname = 'convizit' AND tablename = 'events'", &[]).await;
    assert!(made.unwrap().is_empty(), "a newer schema is not touched");
    stand.at("db", 4).await;
    assert_eq!(client.query("SELECT 1 FROM strict.events", &[]).await.unwrap().len(), 3);
    assert_eq!(stand.state("db").await.dead, 1);
    running.end().await;
}
