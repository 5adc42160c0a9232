//! Every manifest against its sample: events in, exact requests out.

use super::*;

#[test]
fn every_manifest_compiles() {
    let texts: &[&str] = include!(concat!(env!("OUT_DIR"), "/manifests.rs"));
    for text in texts {
        if let Err(error) = Connector::read(text) {
            panic!("{error}");
        }
    }
    assert_eq!(built_in().len(), texts.len());
}

#[test]
fn an_unknown_connector_names_those_that_may_be_meant() {
    for (id, near) in [
        ("mixpanl", vec!["mixpanel"]),
        ("Google Ads", vec!["google_ads"]),
        ("salesforce", vec!["salesforce_data_cloud", "salesforce_marketing_cloud"]),
        ("nothing_like_it", Vec::new()),
        ("", Vec::new()),
    ] {
        assert_eq!(nearest(id, None), near, "{id}");
    }
    let said = find("mixpanl", None).unwrap_err();
    assert!(said.contains("there is no connector mixpanl") && said.ends_with("Is it mixpanel?"), "{said}");
}

/// `UPDATE_SAMPLES=1` writes anew what the manifests make; the difference is then read.
#[test]
fn every_manifest_makes_the_requests_of_its_sample() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/samples");
    let mut wrong = Vec::new();
    for connector in built_in() {
        let id = &connector.manifest.meta.id;
        let path = folder.join(format!("{id}.json"));
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let settings: BTreeMap<String, String> = serde_json::from_value(sample["settings"].clone()).unwrap_or_default();
        let made = match connector.sample_requests(sample["region"].as_str(), &settings) {
            Ok(made) => made,
            Err(error) => {
                wrong.push(format!("{id}: {error}"));
                continue;
            }
        };
        if std::env::var_os("UPDATE_SAMPLES").is_some() {
            let mut whole = serde_json::Map::new();
            if !sample["region"].is_null() {
                whole.insert("region".to_owned(), sample["region"].clone());
            }
            whole.insert("settings".to_owned(), serde_json::json!(settings));
            whole.insert("makes".to_owned(), made);
            std::fs::write(&path, serde_json::to_string_pretty(&whole).unwrap() + "\n").unwrap();
        } else if made != sample["makes"] {
            wrong.push(format!(
                "{id}: other requests than its sample holds: UPDATE_SAMPLES=1, then read the difference"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bounds_hold_for_every_connector_whatever_an_event_holds() {
    let all = built_in().iter().flat_map(|connector| {
        let as_sampled = sample_settings(connector);
        let columns =
            connector.manifest.settings.iter().any(|setting| setting.words().contains(&"parquet")).then(|| {
                let mut settings = as_sampled.clone();
                settings.insert("format".to_owned(), "parquet".to_owned());
                settings
            });
        [as_sampled].into_iter().chain(columns).map(move |settings| (connector, settings))
    });
    for (connector, settings) in all {
        let id = &connector.manifest.meta.id;
        let with =
            |now: &str| encode::With { settings: &settings, set: &[], name: "shop/x", now: now.parse().unwrap() };
        let event = |n: usize| {
            serde_json::json!({"id": format!("0193a1f0-1b2c-7def-8123-{n:012x}"), "name": "n".repeat(n * 7 % 400), "type": EventType::ALL[n % EventType::ALL.len()].as_str(),
                "time": "2026-11-23T18:00:00.123Z", "received": "2026-11-23T18:00:01.020Z", "visitor": format!("visitor-{}", n % 5), "session": {"id": "s-1234567", "start": "2026-11-23T17:52:10.000Z"},
                "user": if n.is_multiple_of(2) { Value::from(format!("user-{n}")) } else { Value::Null }, "consent": {"analytics": true, "ads": true, "gpc": false},
                "page": {"url": "https://shop.example/ß".repeat(n % 90), "path": "/ß"}, "device": {"platform": "web"}, "location": {}, "campaign": {},
                "properties": (0..n % 60).map(|k| (format!("Key {k} {}", "ü".repeat(k * 9)), Value::from("日本".repeat(k * 40)))).collect::<serde_json::Map<_, _>>()})
        };
        let events: Vec<convizit_store::StoredEvent> = (1..400)
            .map(|n| convizit_store::StoredEvent { number: 1, json: event(n).to_string().into_bytes().into() })
            .collect();
        let encoded = connector.encode(&events, with("2026-11-23T18:01:00.000Z"));
        let mut seen = vec![0; events.len()];
        for request in &encoded.requests {
            let (send, batch) = (&connector.manifest.send[request.send], &connector.manifest.send[request.send].batch);
            assert!(request.rows.len() <= batch.max_events && !request.rows.is_empty(), "{id}");
            // What surrounds the items may be counted a little short.
            assert!(
                request.body.len() <= batch.max_bytes.max(batch.max_item_bytes) + 1_024,
                "{id}: {} bytes",
                request.body.len()
            );
            for row in &request.rows {
                seen[*row] += 1;
            }
            for (item, limit) in request.items.iter().flat_map(|item| send.limit.iter().map(move |limit| (item, limit)))
            {
                let Some(Value::Object(object)) = shape::at(item, &limit.at) else { continue };
                assert!(limit.count == 0 || object.len() <= limit.count, "{id}: {} fields", object.len());
                for (key, value) in object {
                    assert!(limit.key == 0 || key.chars().count() <= limit.key, "{id}: {key}");
                    let most = limit.longer.get(key).copied().unwrap_or(limit.value);
                    assert!(most == 0 || value.as_str().is_none_or(|text| text.chars().count() <= most), "{id}: {key}");
                    assert!(
                        limit.value_bytes == 0 || value.as_str().is_none_or(|text| text.len() <= limit.value_bytes),
                        "{id}: {key}"
                    );
                }
            }
            for item in request.items.iter() {
                let Some(limit) = &send.name else { continue };
                let name = shape::at(item, &limit.at).and_then(Value::as_str).unwrap_or_default();
                assert!(name.chars().count() <= limit.max, "{id}: {name}");
            }
        }
        for record in &encoded.records {
            assert!(
                !record.id.is_empty() && !record.place.is_empty() && !record.place.contains('{'),
                "{id}: {record:?}"
            );
            assert!(record.body.len() <= connector.manifest.send[0].batch.max_item_bytes, "{id}");
            seen[record.row] += 1;
        }
        for row in encoded.skipped.iter().chain(encoded.refused.iter().map(|(row, _)| row)) {
            seen[*row] += 1;
        }
        assert!(seen.iter().all(|times| *times == 1), "{id}: an event is sent twice or lost");
        let again = connector.encode(&events, with("2026-11-23T18:02:00.000Z"));
        assert!(again == encoded, "{id}: another try makes other requests");
    }
}

fn sample_settings(connector: &Connector) -> BTreeMap<String, String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("connectors/samples/{}.json", connector.manifest.meta.id));
    let sample: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut settings: BTreeMap<String, String> = serde_json::from_value(sample["settings"].clone()).unwrap_or_default();
    for setting in &connector.manifest.settings {
        settings
            .entry(setting.id.clone())
            .or_insert_with(|| setting.default.clone().unwrap_or_else(|| "secret".to_owned()));
    }
    settings
}

#[test]
fn a_parquet_file_has_the_columns_that_its_manifest_names_and_no_others() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/s3.toml")).unwrap();
    for (from, to, word) in [
        ("shape = \"parquet\"", "shape = \"ndjson\"", "batch.columns belongs to the shape parquet"),
        ("{ name = \"source\", type = \"text\" }", "{ name = \"id\", type = \"text\" }", "id is no name of its own"),
        ("type = \"integer\"", "type = \"decimal\"", "decimal"),
        ("max_bytes = 8000000", "max_bytes = 8000000\ngzip = true", "compressed in itself"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Connector::read(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(word), "{to}: {error}");
    }
    let s3 = find("s3", None).unwrap();
    let mut settings = sample_settings(&s3);
    let made = |settings: &BTreeMap<String, String>, set: &[(String, crate::mapping::Directive)], title: Value| {
        let event = serde_json::json!({"id": "a", "type": "click", "time": "2026-11-23T18:00:00.123Z", "received": "2026-11-23T18:00:01.020Z",
            "page": {"title": "t"}, "group": {"position": title}});
        let events = [convizit_store::StoredEvent { number: 1, json: event.to_string().into_bytes().into() }];
        let now = "2026-11-23T18:01:00.000Z".parse().unwrap();
        let mut encoded = s3.encode(&events, encode::With { settings, set, name: "shop/x", now });
        (encoded.requests.remove(0), encoded.changes[0])
    };
    let (lines, _) = made(&settings, &[], Value::from(3));
    assert!(lines.target.ends_with(".jsonl.gz") && lines.gzip && lines.file.is_empty(), "{lines:?}");
    settings.insert("format".to_owned(), "parquet".to_owned());
    let own = [("shop".to_owned(), crate::mapping::Directive::compile(&Value::from("$.page")).unwrap())];
    let (file, changes) = made(&settings, &own, Value::from("third"));
    assert!(file.target.ends_with(".parquet") && !file.gzip && file.file.columns.len() == 26, "{file:?}");
    assert_eq!((file.file.columns[25].name.as_str(), changes.left_out), ("shop", 1));
    assert_eq!(file.file.cells[0][25], columns::Cell::json(r#"{"title":"t"}"#.to_owned()));
    // By way of the item and without it the same file comes out, and nothing is left out twice.
    let (direct, without) = made(&settings, &[], Value::from("third"));
    let own = [("id".to_owned(), crate::mapping::Directive::compile(&Value::from("$.id")).unwrap())];
    let (by_item, with) = made(&settings, &own, Value::from("third"));
    assert_eq!((&direct.file, &direct.target, without), (&by_item.file, &by_item.target, with));
    let line: Value = serde_json::from_str(&direct.text()).unwrap();
    assert_eq!((&line["event"]["page"]["title"], &line["page_title"]), (&Value::from("t"), &Value::from("t")));
    assert!(line["group_position"].is_null() && without.left_out == 1);
}

#[test]
fn what_a_person_enters_is_checked_and_secrets_are_parted() {
    let mixpanel = find("mixpanel", None).unwrap();
    let enter = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let right = enter(&[("project_id", " 77 "), ("token", "abcdefabcdefabcdef"), ("user", "me"), ("secret", "canary")]);
    let (plain, secrets) = mixpanel.part(Some("eu"), &right).unwrap();
    assert_eq!(plain["project_id"], "77");
    assert!(!plain.contains_key("secret") && secrets.unwrap().contains("canary"));
    let fails = |region: Option<&str>, entered: &BTreeMap<String, String>| mixpanel.part(region, entered).unwrap_err();
    assert_eq!(fails(None, &right).setting, "region");
    assert!(fails(Some("mars"), &right).what.contains("eu"));
    let mut wrong = right.clone();
    wrong.insert("project_id".to_owned(), "canary".to_owned());
    let error = fails(Some("eu"), &wrong);
    assert!(error.setting == "project_id" && !error.what.contains("canary"), "{error}");
    wrong.remove("project_id");
    assert!(fails(Some("eu"), &wrong).what.contains("missing"));
    assert!(fails(Some("eu"), &enter(&[("projekt", "1")])).what.contains("project_id"));
    assert!(find("nothing", None).unwrap_err().contains("convizit destinations"));
    assert!(find("../etc", Some(Path::new("/"))).unwrap_err().contains("no connector"));
}

#[test]
fn an_erasure_takes_the_kind_of_person_that_was_sent_and_says_what_it_lacks() {
    let amplitude = find("amplitude", None).unwrap();
    let erase = amplitude.manifest.erase.as_ref().unwrap();
    let of = |pairs: [(&str, &str); 2]| {
        pairs.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let by_device = of([("visitor_as", "device_id"), ("api_key", "k")]);
    let by_user = of([("visitor_as", "user_id"), ("api_key", "k")]);
    assert!(erase.takes("user", &by_device) && !erase.takes("visitor", &by_device));
    assert!(erase.takes("visitor", &by_user) && !erase.takes("user", &by_user));
    assert_eq!(erase.lacks(&amplitude.manifest, &by_user).map(|setting| setting.id.as_str()), Some("secret_key"));
    assert!(erase.lacks(&amplitude.manifest, &of([("secret_key", "s"), ("api_key", "k")])).is_none());
    assert!(erase.hosts.keys().eq(amplitude.manifest.hosts.keys()));
}

#[test]
fn a_manifest_that_cannot_be_right_is_refused_with_its_place() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/mixpanel.toml")).unwrap();
    for (from, to, word) in [
        ("https://api.mixpanel.com\"", "http://api.mixpanel.com\"", "https://"),
        ("https://api.mixpanel.com\"", "https://{secret}.mixpanel.com\"", "settings.secret"),
        ("https://api.mixpanel.com\"", "https://{nobody}.mixpanel.com\"", "nobody"),
        ("project_id = \"{project_id}\"", "project_id = \"{secret}\"", "secrets stand in [auth] only"),
        ("proof = \"spec-only\"", "proof = \"sure\"", "meta.proof"),
        ("max_events = 2000", "max_events = 0", "above 0"),
        ("types = [\"identify\"]", "types = [\"identity\"]", "no type identity"),
        ("event = \"$.name\"", "event = \"$name\"", "no path"),
        ("kind = \"basic\"", "kind = \"magic\"", "magic"),
        ("shape = \"array\"\nmax_events = 200\n", "shape = \"object\"\nmax_events = 200\n", "batch.field"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Connector::read(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(word), "{to}: {error}");
    }
}

#[test]
fn a_protocol_has_the_settings_that_it_needs_and_nothing_of_http() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/nats.toml")).unwrap();
    for (from, to, word) in [
        ("protocol = \"nats\"", "protocol = \"telex\"", "telex"),
        ("protocol = \"nats\"\n", "", "belongs to protocols"),
        ("shape = \"records\"", "shape = \"ndjson\"", "belongs to protocols"),
        ("id = \"credentials\"", "id = \"creds\"", "needs the setting credentials"),
        ("host_setting = \"address\"", "host_setting = \"subject\"", "host_setting"),
        ("[dedup]", "[auth]\nkind = \"bearer\"\ntoken = \"{password}\"\n[dedup]", "belong to HTTP"),
        ("path = \"{subject}\"", "path = \"{password}\"", "secrets stand in [auth] only"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Connector::read(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(word), "{to}: {error}");
    }
    let nats = Connector::read(&text).unwrap();
    let subject = |subject: &str| {
        let entered = [("address", "tls://nats.example"), ("subject", subject)];
        let entered = entered.into_iter().map(|(id, value)| (id.to_owned(), value.to_owned())).collect();
        nats.sample_requests(None, &entered).map(|made| made["records"][0]["to"].as_str().unwrap().to_owned())
    };
    assert_eq!(subject("x.{project}.{type}.{name}").unwrap(), "x.shop.click.add_to_cart");
    for wrong in ["x..y", "x.{visitor}", "x.>", "x y", ".x"] {
        assert!(subject(wrong).is_err(), "{wrong}");
    }
}

/// `UPDATE_SAMPLES=1` writes them anew.
#[test]
fn the_pages_of_documents_are_those_that_the_manifests_make() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/destinations");
    let mut pages = vec![("README.md".to_owned(), page::table())];
    pages.extend(built_in().iter().map(|connector| (format!("{}.md", connector.manifest.meta.id), connector.page())));
    if std::env::var_os("UPDATE_SAMPLES").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in &pages {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let there = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(there == *text, "docs/destinations/{name} is not what the manifests make: UPDATE_SAMPLES=1");
    }
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, pages.len(), "docs/destinations has a page of no connector");
}

#[test]
fn what_is_entered_for_a_path_may_have_steps_and_a_header_without_a_value_is_not_sent() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/http.toml")).unwrap();
    let http = Connector::read(&text.replace("idempotency-key = \"{batch}\"", "x-empty = \"{value}\"")).unwrap_err();
    assert!(http.contains("secrets stand in [auth] only"), "{http}");
    let text = text.replace("idempotency-key = \"{batch}\"", "x-path = \"{path}\"");
    let http = Connector::read(&text).unwrap();
    let made = |path: &str| {
        let pairs = [("address", "https://in.example"), ("path", path)];
        let entered = pairs.into_iter().map(|(id, value)| (id.to_owned(), value.to_owned())).collect();
        http.sample_requests(None, &entered).unwrap()["requests"][0].clone()
    };
    assert_eq!(made("v1/my-evänts")["target"], "/v1/my-ev%C3%A4nts");
    assert_eq!(made("v1/in")["headers"]["x-path"], "v1/in");
    assert!(made("")["headers"].get("x-path").is_none());
}

#[test]
fn a_path_may_hold_what_a_mapping_makes_of_the_first_event_and_an_endpoint_stands_for_the_hosts() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/s3.toml")).unwrap();
    for (from, to, word) in [
        ("[send.path_values]", "[send.path_values]\nbatch = \"$.id\"", "path_values.batch"),
        ("[send.path_values]", "[send.path_values]\nbucket = \"$.id\"", "path_values.bucket"),
        ("{day}", "{week}", "{week} is no setting"),
        ("endpoint_setting = \"endpoint\"", "endpoint_setting = \"bucket\"", "endpoint_setting"),
        ("linger_setting = \"wait\"", "linger_setting = \"prefix\"", "linger_setting"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Connector::read(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(word), "{to}: {error}");
    }
}

#[test]
fn an_event_that_goes_out_whole_is_sent_as_it_stands_but_for_what_the_vendor_must_not_get() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/http.toml")).unwrap();
    let text = text.replace("[rate]", "[identity]\nbanned = [\"nobody\"]\n[time]\nclamp_future = true\n[rate]");
    let http = Connector::read(&text).unwrap();
    let settings = sample_settings(&http);
    let now = "2026-11-23T12:02:00.000Z".parse().unwrap();
    let with = encode::With { settings: &settings, set: &[], name: "shop/x", now };
    let sent = |event: &Value| {
        let event = convizit_store::StoredEvent { number: 1, json: event.to_string().into_bytes().into() };
        let body = http.encode(&[event], with).requests.remove(0).body;
        serde_json::from_slice::<Value>(&body).unwrap()[0].clone()
    };
    let event = serde_json::json!({"id": "1", "type": "click", "time": "2026-11-23T12:01:07.000Z", "user": "me", "visitor": "v",
        "received": "2026-11-23T12:01:08.000Z", "properties": {"Price": 89.9, "Note": "ä \"quoted\"\n"}});
    assert_eq!(sent(&event), event);
    let mut nobody = event.clone();
    nobody["user"] = "Nobody".into();
    assert_eq!(sent(&nobody)["user"], Value::Null);
    let mut ahead = event.clone();
    ahead["time"] = "2026-11-23T13:00:00.000Z".into();
    assert_eq!(sent(&ahead)["time"], event["received"]);
}
