//! Google's connectors against an emulator, which asks for no credential: the token is asked of a stand-in that looks at the form of the request.

use std::fs;
use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::routing::post;
use convizit_delivery::DeliveryConfig;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::emulators::{EVENTS, Emulator, again, connector, ids, ids_of, installed, put_all, unpacked};
use crate::objects::hold;
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
