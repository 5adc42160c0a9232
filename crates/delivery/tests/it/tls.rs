//! What TLS is promised: nothing goes where the other side cannot be trusted, and each reason is told with what to do.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use convizit_delivery::{Mail, MailConfig, MailError, MailTls, test, try_channel};
use convizit_model::{Channel, Channels, DestinationKind, NoticeHook};
use serde_json::Value;

use crate::stand::{SECRET, Stand};

const SERVERS: &str = include_str!("tls.py");
/// Servers by their certificates, and what is said of each; of the good one nothing is.
const CASES: [(&str, &str); 7] = [
    ("good", ""),
    ("name", "its certificate is for another name"),
    ("expired", "its certificate has expired"),
    ("self", "signed by nobody whom this machine trusts"),
    ("authority", "signed by nobody whom this machine trusts"),
    ("unknown", "signed by nobody whom this machine trusts"),
    ("old", "it does not speak TLS 1.2 or 1.3"),
];
/// In the environment of the second process: where the servers are.
const PORTS: &str = "CONVIZIT_TEST_TLS_PORTS";

fn openssl(folder: &Path, arguments: &str) {
    let ran = Command::new("openssl").current_dir(folder).args(arguments.split_whitespace()).output();
    let ran = ran.expect("openssl is missing: run ./test, which installs it");
    assert!(ran.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Two authorities, of which one will be trusted, and a certificate for each case.
fn make_certificates(folder: &Path) {
    const KEY: &str = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    for name in ["trusted", "other"] {
        openssl(
            folder,
            &format!(
                "req -x509 {KEY} -days 2 -subj /CN={name} -addext basicConstraints=critical,CA:TRUE -keyout {name}.key -out {name}.pem"
            ),
        );
    }
    // What `openssl ca` wants: it alone gives certificates whose time is over.
    let settings = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\nunique_subject=no\n\
                    rand_serial=yes\ncopy_extensions=copy\n[any]\ncommonName=supplied\n";
    std::fs::write(folder.join("ca.cnf"), settings).unwrap();
    std::fs::write(folder.join("index.txt"), "").unwrap();
    for (name, by, host, from, to) in [
        ("good", "trusted", "localhost", "20260101000000Z", "20990101000000Z"),
        ("name", "trusted", "other.example", "20260101000000Z", "20990101000000Z"),
        ("expired", "trusted", "localhost", "20260101000000Z", "20260201000000Z"),
        ("unknown", "other", "localhost", "20260101000000Z", "20990101000000Z"),
    ] {
        openssl(
            folder,
            &format!(
                "req -new {KEY} -subj /CN={name} -addext subjectAltName=DNS:{host} -keyout {name}.key -out {name}.csr"
            ),
        );
        openssl(
            folder,
            &format!(
                "ca -batch -notext -config ca.cnf -cert {by}.pem -keyfile {by}.key -startdate {from} -enddate {to} -in {name}.csr -out {name}.pem"
            ),
        );
    }
    // Those that signed themselves, one as most manuals have it.
    for (name, authority) in [("self", "FALSE"), ("authority", "TRUE")] {
        openssl(
            folder,
            &format!(
                "req -x509 {KEY} -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:{authority} -keyout {name}.key -out {name}.pem"
            ),
        );
    }
}

/// A second process tries them, in whose environment one of the authorities is trusted, as an operator would have it.
#[test]
fn nothing_is_sent_where_tls_cannot_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    let mut servers = Command::new("python3")
        .args(["-W", "ignore", "-c", SERVERS])
        .arg(folder.path())
        .args(CASES.map(|(name, _)| name))
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is missing");
    let mut ports = String::new();
    BufReader::new(servers.stdout.take().unwrap()).read_line(&mut ports).unwrap();
    let tried = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "tls::where_one_authority_is_trusted"])
        .env("SSL_CERT_FILE", folder.path().join("trusted.pem"))
        .env_remove("SSL_CERT_DIR")
        .env(PORTS, &ports)
        .output();
    servers.kill().ok();
    servers.wait().ok();
    let tried = tried.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&tried.stdout), String::from_utf8_lossy(&tried.stderr));
    assert!(tried.status.success() && said.contains("1 passed"), "{said}");
    // They do answer whoever trusts everybody, so it was not for another reason that nothing was sent.
    let ports: Value = serde_json::from_str(&ports).unwrap();
    // And mail servers take mail: what those that cannot be trusted were entrusted with is nothing, a password least of all.
    let files = std::fs::read_dir(folder.path()).unwrap().flatten();
    let mut heard: Vec<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    heard.retain(|name| name.starts_with("heard-"));
    heard.sort();
    assert_eq!(heard, ["heard-smtp-good", "heard-starttls-good"]);
    for name in &heard {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.contains("AUTH PLAIN ") && text.contains("Nobody else is to read this"), "{text}");
    }
    assert_eq!((ports["agreed"]["old"].as_str(), ports["agreed"]["self"].as_str()), (Some("TLSv1.1"), Some("TLSv1.3")));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, in an environment of its own"]
async fn where_one_authority_is_trusted() {
    let Ok(ports) = std::env::var(PORTS) else { return };
    let ports: Value = serde_json::from_str(&ports).unwrap();
    let stand = Stand::new().await;
    let config = stand.config(&["127.0.0.0/8"]);
    let now = stand.store.clock().now();
    let project = stand.store.project(&stand.project).await.unwrap();
    for (version, (name, why)) in (0..).zip(CASES) {
        let place = |kind: &str| format!("localhost:{}", ports[kind][name].as_u64().unwrap());
        let url = format!("https://{}", place("https"));
        let settings = BTreeMap::from([("address".to_owned(), url.clone())]);
        let connector = DestinationKind::Connector { connector: "http".to_owned(), region: None, settings };
        let database = format!("postgres://me:secret@{}/events?sslmode=require", place("postgres"));
        let tried = |kind: DestinationKind, secret: Option<String>| {
            let (destination, config) = (stand.destination("one", kind), config.clone());
            async move { test(&destination, secret.as_deref(), &config, now).await.map(|_| ()) }
        };
        let channels = Channels {
            webhook: Some(NoticeHook { url: url.clone(), secret: SECRET.to_owned() }),
            slack: Some(url.clone()),
            ..Channels::default()
        };
        stand.store.save_channels(&project, &channels, version).await.unwrap();
        let tls = mail_server(&ports["smtp"][name], MailTls::Tls);
        let starttls = mail_server(&ports["starttls"][name], MailTls::Starttls);
        let sent = async |server: &MailConfig| server.send(&letter()).await.map_err(|error| error.to_string());
        for (what, said) in [
            ("webhook", tried(DestinationKind::Webhook { url: url.clone() }, Some(SECRET.to_owned())).await),
            ("connector", tried(connector, None).await),
            ("database", tried(DestinationKind::Postgres { schema: "convizit".to_owned() }, Some(database)).await),
            ("signed notice", try_channel(&stand.store, &config, &project, Channel::Webhook).await),
            ("notice", try_channel(&stand.store, &config, &project, Channel::Slack).await),
            ("mail server", tls.answers().await),
            ("mail", sent(&tls).await),
            ("mail server after STARTTLS", starttls.answers().await),
            ("mail after STARTTLS", sent(&starttls).await),
        ] {
            match said {
                // The database has no such user: TLS was agreed on before it said so.
                Err(said) if why.is_empty() => assert!(what == "database" && said.contains("28P01"), "{what}: {said}"),
                Ok(()) => assert!(why.is_empty(), "{what} was sent to the server {name}"),
                Err(said) => {
                    assert!(said.contains(why) && !said.contains('\n'), "{what} to {name}: {said}");
                    assert!(!said.contains("secret") && !said.contains(SECRET), "{said}");
                }
            }
        }
    }
    // Where TLS is asked for, a server that does not have it, or somebody between who says so, is told nothing.
    let stripped = mail_server(&ports["without"]["stripped"], MailTls::Starttls);
    let refused = mail_server(&ports["without"]["refused"], MailTls::Starttls);
    let said = stripped.send(&letter()).await.unwrap_err();
    assert!(matches!(&said, MailError::Refused(text) if text.contains("STARTTLS")), "{said:?}");
    assert!(stripped.answers().await.unwrap_err().contains("STARTTLS"));
    let said = refused.send(&letter()).await.unwrap_err();
    assert!(matches!(&said, MailError::Later(text) if text.contains("454")), "{said:?}");
    refused.answers().await.unwrap_err();
}

fn mail_server(port: &Value, tls: MailTls) -> MailConfig {
    let port = u16::try_from(port.as_u64().unwrap()).unwrap();
    let login = Some(("convizit".to_owned(), "secret".to_owned()));
    MailConfig { host: "localhost".to_owned(), port, tls, login, ca: None, from: "convizit@shop.example".to_owned() }
}

fn letter() -> Mail {
    let (to, subject) = ("ada@shop.example".to_owned(), "A secret".to_owned());
    Mail { to, subject, text: "Nobody else is to read this.".to_owned(), id: None }
}
