//! Google's connectors against emulators, which ask for no credential: the token is asked of a stand-in that looks at the form of the request.

use std::fs;
use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::routing::post;
use convizit_delivery::DeliveryConfig;
use convizit_model::EventType;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::emulators::{EVENTS, Emulator, again, connector, ids, ids_of, installed, put_all, unpacked};
use crate::objects::{duckdb, hold};
use crate::stand::Stand;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Google's address of tokens, connectors that are the product's but for that address, each as `<id>_here`, and a credential.
async fn google(stand: &Stand, ids: &[&str]) -> (DeliveryConfig, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tokens = format!("http://{}/token", listener.local_addr().unwrap());
    let answer = |body: String| async move {
        assert!(body.starts_with("grant_type=urn%3Aietf") && body.contains("&assertion=ey"), "{body}");
        axum::Json(json!({"access_token": "t", "expires_in": 3600}))
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/token", post(answer))).await });
    let manifests = stand.folder.path().join("connectors");
    fs::create_dir(&manifests).unwrap();
    for id in ids {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("connectors/{id}.toml"));
        let text = fs::read_to_string(path).unwrap();
        let text = text
            .replace(&format!("id = \"{id}\""), &format!("id = \"{id}_here\""))
            .replace("kind = \"google\"", &format!("kind = \"google\"\ntoken_url = \"{tokens}\""));
        fs::write(manifests.join(format!("{id}_here.toml")), text).unwrap();
    }
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "RSA"]).output().expect("openssl is missing");
    let key = json!({"client_email": "convizit@shop.example", "private_key": String::from_utf8(made.stdout).unwrap()});
    let config = DeliveryConfig { connectors: Some(manifests), ..stand.config(&["127.0.0.0/8"]) };
    (config, json!({"key": key.to_string()}).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn google_cloud_storage_has_objects_by_the_hour() {
    let stand = Stand::new().await;
    let folder = installed("gcs-2026.7.19", "gcp-storage-emulator==2026.7.19");
    let on = |port: u16| {
        vec!["start".to_owned(), "--host=127.0.0.1".to_owned(), format!("--port={port}"), "--in-memory".to_owned()]
    };
    let server = Emulator::start(&folder.join("bin/gcp-storage-emulator"), on).await;
    for bucket in ["shop-events", "columns"] {
        let body = json!({"name": bucket}).to_string();
        assert_eq!(server.call("POST", "/storage/v1/b?project=shop", &JSON, body).await.0, 200);
    }
    let (config, secret) = google(&stand, &["gcs"]).await;
    let kind = |bucket: &str, format: &str| {
        connector("gcs_here", &[("bucket", bucket), ("endpoint", &server.address), ("format", format)])
    };
    stand.add("lake", kind("shop-events", "jsonl"), Some(&secret)).await;
    stand.add("columns", kind("columns", "parquet"), Some(&secret)).await;
    stand.add("missing", kind("nobody", "jsonl"), Some(&secret)).await;
    put_all(&stand).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(convizit_delivery::run(stand.store.clone(), config, stop.clone()));
    for name in ["lake", "columns"] {
        stand.at(name, EVENTS).await;
        again(&stand, name, &secret).await;
    }
    let reason = stand.paused("missing").await;
    assert!(reason.contains("answered 404: are region, address and names right?"), "{reason}");

    let objects = async |bucket: &str, end: &str| {
        let (_, list) = server.call("GET", &format!("/storage/v1/b/{bucket}/o"), &JSON, "").await;
        let list: Value = serde_json::from_slice(&list).unwrap();
        let mut objects = std::collections::BTreeMap::new();
        for object in list["items"].as_array().unwrap() {
            let name = object["name"].as_str().unwrap().to_owned();
            assert!(name.starts_with("convizit/dt=2026-11-23/hr=12/") && name.ends_with(end), "{name}");
            let step = name.replace('/', "%2F").replace('=', "%3D");
            let path = format!("/storage/v1/b/{bucket}/o/{step}?alt=media");
            objects.insert(name, server.call("GET", &path, &JSON, "").await.1);
        }
        objects
    };
    // The second time wrote the same objects.
    let lines: String = objects("shop-events", ".jsonl.gz").await.values().map(|bytes| unpacked(bytes)).collect();
    assert_eq!(ids_of(&lines), ids());
    hold(&objects("columns", ".parquet").await, &lines);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bigquery_has_a_row_for_each_event_and_refuses_those_that_its_table_does_not_take() {
    let (stand, folder) = (Stand::new().await, duckdb());
    let on = |port: u16| ["start", "--rest-port", &port.to_string(), "--grpc-port", "0"].map(str::to_owned).to_vec();
    let mut program = Command::new(folder.join("bin/bqemulator"));
    program.env("HOME", &folder);
    let server = Emulator::run(program, on).await;
    let root = "/bigquery/v2/projects/shop-123456";
    let ask = async |path: &str, body: Value| {
        let (status, answer) = server.call("POST", &format!("{root}/{path}"), &JSON, body.to_string()).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice::<Value>(&answer).unwrap()
    };
    let query = async |sql: &str| ask("queries", json!({"query": sql, "useLegacySql": false})).await;
    ask("datasets", json!({"datasetReference": {"projectId": "shop-123456", "datasetId": "convizit"}})).await;
    // As the page of the connector says, and one that somebody has changed.
    let prepare = convizit_delivery::connectors::find("bigquery", None).unwrap().manifest.meta.prepare.clone();
    query(&prepare).await;
    query(&prepare.replace("convizit.events", "convizit.changed").replace("page_title STRING", "page_title INT64"))
        .await;

    let (config, secret) = google(&stand, &["bigquery"]).await;
    let kind = |table: &str| {
        let settings = [("project_id", "shop-123456"), ("table", table), ("endpoint", &server.address)];
        connector("bigquery_here", &settings)
    };
    stand.add("table", kind("events"), Some(&secret)).await;
    stand.add("missing", kind("nobody"), Some(&secret)).await;
    let mut changed = stand.destination("changed", kind("changed"));
    changed.types = vec![EventType::PageView];
    stand.store.save_destination(&changed, Some(&secret), true).await.unwrap();
    put_all(&stand).await;
    stand
        .put_with(&[("e", "v2")], &json!({"user": "u1", "group": null, "properties": {"ü\"'\\": [1, {"a": null}]}}))
        .await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(convizit_delivery::run(stand.store.clone(), config, stop.clone()));
    stand.at("table", EVENTS + 1).await;
    assert_eq!(stand.state("table").await.dead, 0);
    let reason = stand.paused("missing").await;
    assert!(reason.contains("answered 404: are region, address and names right?"), "{reason}");
    stand.at("changed", EVENTS + 1).await;
    assert_eq!(stand.state("changed").await.dead, 30, "each page view, and for itself");

    let one = |answer: &Value| -> Vec<Value> {
        answer["rows"][0]["f"].as_array().unwrap().iter().map(|field| field["v"].clone()).collect()
    };
    let counted = query(
        "SELECT COUNT(*), COUNT(DISTINCT id), COUNTIF(JSON_VALUE(event, '$.id') = id AND name = JSON_VALUE(event, '$.name') \
         AND UNIX_MILLIS(time) = 1795435267123 AND project = 'shop' AND source = 'convizit') FROM convizit.events",
    )
    .await;
    assert_eq!(one(&counted), [json!("301"), json!("301"), json!("301")]);
    let last = query(
        "SELECT user_id, visitor, group_position, UNIX_MILLIS(session_start), properties FROM convizit.events WHERE visitor = 'v2'",
    )
    .await;
    let last = one(&last);
    assert_eq!(last[..4], [json!("u1"), json!("v2"), Value::Null, json!("1795435200000")]);
    let properties: Value = serde_json::from_str(last[4].as_str().unwrap()).unwrap();
    assert_eq!(properties, json!({"ü\"'\\": [1, {"a": null}]}));
    stop.cancel();
    running.await.unwrap().unwrap();
}
