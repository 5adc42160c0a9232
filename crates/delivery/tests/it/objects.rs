//! Objects in the stores of clouds: by the hour, none twice, as lines and as columns, which somebody else's reader of Parquet reads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use convizit_model::Timestamp;
use serde_json::{Value, json};

use crate::emulators::{CANARY, EVENTS, Emulator, again, connector, ids, ids_of, installed, put_all, tags, unpacked};
use crate::stand::Stand;

/// Columns of the objects, and where their values stand in an event.
const COLUMNS: [(&str, &str, &str); 25] = [
    ("id", "VARCHAR", "/id"),
    ("source", "VARCHAR", "/source"),
    ("project", "VARCHAR", "/project"),
    ("name", "VARCHAR", "/name"),
    ("name_state", "VARCHAR", "/name_state"),
    ("type", "VARCHAR", "/type"),
    ("time", "TIMESTAMP WITH TIME ZONE", "/time"),
    ("received", "TIMESTAMP WITH TIME ZONE", "/received"),
    ("visitor", "VARCHAR", "/visitor"),
    ("session", "VARCHAR", "/session/id"),
    ("session_start", "TIMESTAMP WITH TIME ZONE", "/session/start"),
    ("user_id", "VARCHAR", "/user"),
    ("page_url", "VARCHAR", "/page/url"),
    ("page_path", "VARCHAR", "/page/path"),
    ("page_title", "VARCHAR", "/page/title"),
    ("page_type", "VARCHAR", "/page/type"),
    ("element_id", "VARCHAR", "/element/id"),
    ("element_label", "VARCHAR", "/element/label"),
    ("group_id", "VARCHAR", "/group/id"),
    ("group_name", "VARCHAR", "/group/name"),
    ("group_position", "BIGINT", "/group/position"),
    ("group_length", "BIGINT", "/group/length"),
    ("country", "VARCHAR", "/location/country"),
    ("properties", "VARCHAR", "/properties"),
    ("event", "VARCHAR", ""),
];

/// An environment with DuckDB, which reads Parquet by code of its own and which the emulator of BigQuery computes with.
pub(crate) fn duckdb() -> PathBuf {
    let packages = "bqemulator==1.4.0 duckdb==1.5.5 duckdb-extension-spatial==1.5.5 numpy";
    let folder = installed("bqemulator-1.4.0", packages);
    if folder.join(".duckdb").exists() {
        return folder;
    }
    // The emulator loads an extension, which it would otherwise fetch.
    let spatial = "import duckdb, duckdb_extension_spatial as d, glob, os; \
                   f = glob.glob(os.path.dirname(d.__file__) + '/extensions/*/*.duckdb_extension'); duckdb.execute(f\"INSTALL '{f[0]}'\")";
    let mut python = Command::new(folder.join("bin/python"));
    let ran = python.args(["-c", spatial]).env("HOME", &folder).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    folder
}

/// What the last of these statements gives, a row an object.
fn asked(sql: &str) -> Vec<Value> {
    let ask = "import duckdb, json, sys; c = duckdb.connect(); c.execute(sys.argv[1]); rows = c.fetchall(); \
               print(json.dumps([dict(zip([d[0] for d in c.description], row)) for row in rows]))";
    let ran = Command::new(duckdb().join("bin/python")).args(["-c", ask, sql]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Holds each value of Parquet objects against the same events as lines of JSON, and the query of the documents against both.
pub(crate) fn hold(objects: &BTreeMap<String, Vec<u8>>, lines: &str) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in objects {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let all = format!("read_parquet('{}/*/*/*/*.parquet', hive_partitioning = false)", folder.path().display());
    let described: Vec<(String, String)> = asked(&format!("DESCRIBE SELECT * FROM {all}"))
        .iter()
        .map(|row| (row["column_name"].as_str().unwrap().into(), row["column_type"].as_str().unwrap().into()))
        .collect();
    assert_eq!(described, COLUMNS.map(|(name, kind, _)| (name.to_owned(), kind.to_owned())));

    let times: Vec<String> =
        ["time", "received", "session_start"].iter().map(|name| format!("epoch_ms({name}) AS {name}")).collect();
    let rows = asked(&format!("SELECT * REPLACE ({}) FROM {all}", times.join(", ")));
    let events: BTreeMap<String, Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| (event["id"].as_str().unwrap().to_owned(), event))
        .collect();
    assert_eq!(rows.len(), events.len());
    for row in &rows {
        let event = &events[row["id"].as_str().unwrap()];
        for (column, kind, at) in COLUMNS {
            let (value, wanted) = (&row[column], event.pointer(at).unwrap_or(&Value::Null));
            let read = match (column, kind) {
                ("properties" | "event", _) => serde_json::from_str(value.as_str().unwrap()).unwrap(),
                (_, "TIMESTAMP WITH TIME ZONE") => {
                    json!(Timestamp::from_millis(value.as_i64().unwrap()))
                }
                _ => value.clone(),
            };
            assert_eq!(read, *wanted, "{column} of {}", row["id"]);
        }
    }

    let documents =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/destinations.md")).unwrap();
    let query = documents.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0;
    let root = objects.keys().next().unwrap().split("/dt=").next().unwrap();
    assert!(query.contains("s3://shop-events/convizit/"), "{query}");
    let query = query.replace("s3://shop-events/convizit", &folder.path().join(root).display().to_string());
    let counted: i64 = asked(&query).iter().map(|row| row["events"].as_i64().unwrap()).sum();
    assert_eq!(usize::try_from(counted).unwrap(), events.len());
}

/// A program of the packages of `tests`, which are installed when it is not there.
fn of_tests(program: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm.lock")).unwrap();
    lock.lock().unwrap();
    let path = tests.join("node_modules/.bin").join(program);
    if !path.exists() {
        let mut npm = Command::new("npm");
        let ran = npm.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&tests).output();
        let ran = ran.expect("npm is missing: install nodejs and npm");
        assert!(ran.status.success(), "npm ci in tests: {}", String::from_utf8_lossy(&ran.stderr));
    }
    path
}

/// Azurite, the emulator of Microsoft's own. Account and key are those that its documents name.
struct Azurite {
    emulator: Emulator,
}

const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const VERSION: &str = "2021-12-02";
const END: &str = "2099-01-01T00:00:00Z";

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn signature(fields: &[&str]) -> String {
    let sign = "import base64, hashlib, hmac, sys; \
                print(base64.b64encode(hmac.digest(base64.b64decode(sys.argv[1]), sys.argv[2].encode(), 'sha256')).decode(), end='')";
    let ran = Command::new("python3").args(["-c", sign, KEY, &fields.join("\n")]).output().unwrap();
    encoded(&String::from_utf8(ran.stdout).unwrap())
}

/// A shared access signature of a container, as the portal makes it.
fn sas(container: &str, permissions: &str) -> String {
    let resource = format!("/blob/{ACCOUNT}/{container}");
    let mut fields = [""; 16];
    (fields[0], fields[2], fields[3], fields[7], fields[8]) = (permissions, END, resource.as_str(), VERSION, "c");
    format!("sv={VERSION}&se={}&sr=c&sp={permissions}&sig={}", encoded(END), signature(&fields))
}

impl Azurite {
    async fn start() -> Self {
        let on = |port: u16| {
            let fixed = "--silent --disableTelemetry --inMemoryPersistence --extentMemoryLimit 64 --blobHost 127.0.0.1 --blobPort";
            fixed.split(' ').map(str::to_owned).chain([port.to_string()]).collect::<Vec<_>>()
        };
        Self { emulator: Emulator::start(&of_tests("azurite-blob"), on).await }
    }

    async fn make(&self, container: &str) {
        let fields = [ACCOUNT, "c", "b", "c", "", END, "", "", VERSION, "", ""];
        let signed = format!("sv={VERSION}&ss=b&srt=c&sp=c&se={}&sig={}", encoded(END), signature(&fields));
        let path = format!("/{ACCOUNT}/{container}?restype=container&{signed}");
        assert_eq!(self.emulator.call("PUT", &path, &[], "").await.0, 201);
    }

    async fn objects(&self, container: &str) -> BTreeMap<String, Vec<u8>> {
        let signed = sas(container, "rl");
        let path = format!("/{ACCOUNT}/{container}?restype=container&comp=list&{signed}");
        let (status, list) = self.emulator.call("GET", &path, &[], "").await;
        assert_eq!(status, 200);
        let mut objects = BTreeMap::new();
        for name in tags(&String::from_utf8(list).unwrap(), "Name") {
            let path = format!("/{ACCOUNT}/{container}/{}?{signed}", name.replace('=', "%3D"));
            objects.insert(name, self.emulator.call("GET", &path, &[], "").await.1);
        }
        objects
    }

    fn kind(&self, container: &str, format: &str) -> convizit_model::DestinationKind {
        let endpoint = format!("{}/{ACCOUNT}", self.emulator.address);
        connector(
            "azure_blob",
            &[("account", ACCOUNT), ("container", container), ("endpoint", &endpoint), ("format", format)],
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_blob_storage_has_objects_by_the_hour_as_lines_and_as_columns_and_none_twice() {
    let (stand, azurite) = (Stand::new().await, Azurite::start().await);
    let all = [("lines", "jsonl", ".jsonl.gz"), ("columns", "parquet", ".parquet")];
    let secret = |container: &str, permissions: &str| json!({"sas": sas(container, permissions)}).to_string();
    for (name, format, _) in all {
        azurite.make(name).await;
        stand.add(name, azurite.kind(name, format), Some(&secret(name, "cw"))).await;
    }
    put_all(&stand).await;
    // Later, of another hour, and with whatever was null.
    let odd = json!({"received": "2026-11-24T05:00:00.000Z", "user": "Zoë \"the\" user", "element": {"id": "el_1", "role": "button", "label": "日本\n'"},
        "group": null, "properties": {}, "page": {"url": "https://shop.example/", "path": "/", "title": null, "type": "Product", "language": null, "referrer": null}});
    stand.put_with(&[("odd", "v2")], &odd).await;
    let running = stand.deliver();
    for (name, ..) in all {
        stand.at(name, EVENTS + 1).await;
        assert_eq!(stand.state(name).await.dead, 0);
    }
    let mut before = BTreeMap::new();
    for (name, _, end) in all {
        let objects = azurite.objects(name).await;
        let hours: Vec<&str> = objects.keys().map(|key| key.rsplit_once('/').unwrap().0).collect();
        assert!(
            hours.contains(&"convizit/dt=2026-11-23/hr=12") && hours.contains(&"convizit/dt=2026-11-24/hr=05"),
            "{hours:?}"
        );
        assert!(objects.keys().all(|key| key.ends_with(end)), "{:?}", objects.keys());
        before.insert(name, objects);
    }
    let lines: String = before["lines"].values().map(|bytes| unpacked(bytes)).collect();
    let mut wanted = ids();
    wanted.insert(crate::stand::id(EVENTS + 1).to_string());
    assert_eq!(ids_of(&lines), wanted);
    hold(&before["columns"], &lines);

    // Once more: the same objects are there already, which is no failure.
    for (name, ..) in all {
        again(&stand, name, &secret(name, "cw")).await;
        assert_eq!(stand.state(name).await.dead, 0);
        assert_eq!(azurite.objects(name).await, before[name]);
    }

    // What a person did wrong is said, nothing is refused, and nothing holds the credential.
    let canary = json!({"sas": format!("sv={VERSION}&se={}&sr=c&sp=cw&sig={CANARY}", encoded(END))}).to_string();
    let wrong = [
        ("missing", "nobody", secret("nobody", "cw"), "answered 404: are region, address and names right?"),
        ("reader", "lines", secret("lines", "r"), "answered 403: is the credential right"),
        ("canary", "lines", canary, "answered 403: is the credential right"),
    ];
    for (name, container, secret, word) in &wrong {
        stand.add(name, azurite.kind(container, "parquet"), Some(secret)).await;
        let reason = stand.paused(name).await;
        assert!(reason.contains(word) && !reason.contains(CANARY), "{name}: {reason}");
        assert_eq!(stand.state(name).await.dead, 0);
    }
    running.end().await;
}
