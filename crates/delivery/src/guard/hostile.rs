//! The guard against whoever wants it to dial inside: hostile forms of addresses, redirects, and a name server that changes its mind.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use convizit_model::{Destination, DestinationKind};
use convizit_store::StoredEvent;
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::DeliveryConfig;
use crate::destinations::{Fate, SendError, Sink};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Forms of addresses that lead inside, one in each line; `P` stands for a port where somebody listens, names are answered by `INSIDE`.
const FORMS: &str = r"
http://127.0.0.1:P/
http://127.0.0.1:P
HTTP://127.0.0.1:P/
hTtP://127.0.0.1:P/
http://127.0.0.2:P/
http://127.8.8.8:P/
http://127.255.255.254:P/
http://127.0.0.1.:P/
http://127.1:P/
http://127.0.1:P/
http://127.1.:P/
http://127.65535:P/
http://2130706433:P/
http://2130706433.:P/
http://017700000001:P/
http://0017700000001:P/
http://0x7f000001:P/
http://0x7F000001:P/
http://0X7f000001:P/
http://0x00000007f000001:P/
http://0177.0.0.1:P/
http://0177.0.0.01:P/
http://00000177.0.0.1:P/
http://0177.0.1:P/
http://0177.1:P/
http://0x7f.0.0.1:P/
http://0x7f.0x0.0x0.0x1:P/
http://0x7f.1:P/
http://0x7f.0.1:P/
http://0x7f.0x000001:P/
http://127.0x0.0.1:P/
http://127.0.0.0x1:P/
http://127.000.000.001:P/
http://0x7f.0.0.0x01:P/
http://0:P/
http://0.0.0.0:P/
http://0.0:P/
http://00000000:P/
http://0x0:P/
http://0.1.2.3:P/
http://0.0.0.0.:P/
http://%31%32%37%2e%30%2e%30%2e%31:P/
http://127%2e0%2e0%2e1:P/
http://127.0.0.%31:P/
http://%30x7f.1:P/
http://1%327.0.0.1:P/
http://１２７.０.０.１:P/
http://127。0。0。1:P/
http://127．0．0．1:P/
http://127｡0｡0｡1:P/
http://①②⑦.⓪.⓪.①:P/
http://𝟏𝟐𝟕.𝟎.𝟎.𝟏:P/
http://𝟷𝟸𝟽.0.0.1:P/
http://⓪x7f.1:P/
http://０ｘ7f000001:P/
http://localhost:P/
http://LOCALHOST:P/
http://LocalHost.:P/
http://localhost.:P/
http://ｌｏｃａｌｈｏｓｔ:P/
http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:P/
http://loc%61lhost:P/
http://%6c%6f%63%61%6c%68%6f%73%74:P/
http://localhost.localdomain:P/
http://anything.localhost:P/
http://ip6-localhost:P/
http://127.0.0.1.nip.example:P/
http://7f000001.nip.example:P/
http://loopback.example:P/
http://both.example:P/
http://mapped.example:P/
http://six.example:P/
http://zero.example:P/
http://linklocal.example:P/
http://shared.example:P/
http://unique.example:P/
http://metadata.google.internal/computeMetadata/v1/
http://metadata.google.internal./computeMetadata/v1/
http://METADATA.google.internal/
http://metadata/
http://instance-data/latest/meta-data/
http://metadata.azure.internal/
http://metadata.tencentyun.com/latest/meta-data/
http://kubernetes.default.svc:P/
http://host.docker.internal:P/
http://nobody.invalid:P/
http://[::1]:P/
http://[0:0:0:0:0:0:0:1]:P/
http://[0000:0000:0000:0000:0000:0000:0000:0001]:P/
http://[::0001]:P/
http://[::0.0.0.1]:P/
http://[::]:P/
http://[0:0:0:0:0:0:0:0]:P/
http://[::127.0.0.1]:P/
http://[::7f00:1]:P/
http://[::ffff:127.0.0.1]:P/
http://[::ffff:7f00:1]:P/
http://[::FFFF:7F00:0001]:P/
http://[0:0:0:0:0:ffff:127.0.0.1]:P/
http://[::ffff:0:127.0.0.1]:P/
http://[::ffff:10.0.0.1]:P/
http://[::ffff:169.254.169.254]/
http://[::ffff:a9fe:a9fe]/
http://[64:ff9b::127.0.0.1]:P/
http://[64:ff9b::7f00:1]:P/
http://[64:ff9b::10.0.0.1]/
http://[64:ff9b::169.254.169.254]/
http://[64:ff9b:1::127.0.0.1]:P/
http://[2002:7f00:1::]:P/
http://[2002:7f00:0001::1]:P/
http://[2002:0a00:0001::]/
http://[2002:a9fe:a9fe::]/
http://[2002:c0a8:0101::1]/
http://[2001::1]/
http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/
http://[2001:0:7f00:1::]/
http://[2001:10::1]/
http://[2001:20::1]/
http://[2001:2::1]/
http://[2001:db8::1]/
http://[3fff::1]/
http://[5f00::1]/
http://[100::1]/
http://[fe80::1]:P/
http://[fe80::1%25lo]:P/
http://[fe80::1%25eth0]:P/
http://[fe80::1%lo]:P/
http://[::1%25lo]:P/
http://[febf::1]/
http://[fec0::1]/
http://[feff::1]/
http://[fc00::1]/
http://[fd00::1]/
http://[fd00:ec2::254]/latest/meta-data/
http://[fd12:3456:789a::1]/
http://[ff02::1]/
http://[ff0e::1]/
http://[::1]:P.
http://[::1:P/
http://::1:P/
http://10.0.0.1/
http://10.255.255.255/
http://167772161/
http://0x0a000001/
http://012.0.0.1/
http://10.1/
http://172.16.0.1/
http://172.31.255.254/
http://0xac100001/
http://192.168.0.1/
http://192.168.1/
http://3232235777/
http://0300.0250.1.1/
http://169.254.169.254/latest/meta-data/
http://169.254.169.254./
http://169.254.43518/
http://2852039166/latest/meta-data/
http://0xa9fea9fe/
http://0xa9.0xfe.0xa9.0xfe/
http://0251.0376.0251.0376/
http://0251.254.169.254/
http://169.254.170.2/v2/credentials
http://169.254.0.1/
http://100.64.0.1/
http://100.100.100.200/latest/meta-data/
http://100.127.255.254/
http://192.0.0.1/
http://192.0.0.192/latest/
http://192.0.2.1/
http://198.51.100.7/
http://203.0.113.9/
http://198.18.0.1/
http://198.19.255.254/
http://192.88.99.1/
http://224.0.0.1/
http://239.255.255.250:1900/
http://240.0.0.1/
http://255.255.255.255/
http://4294967295/
http://0xffffffff/
http://4294967296/
http://256.0.0.1/
http://127.0.0.1.5/
http://1.2.3.4.5:P/
http://0x100000000:P/
http://127.0.0.1:22/
http://127.0.0.1:25/
http://127.0.0.1:6379/
http://127.0.0.1:65535/
http://127.0.0.1:65536/
http://127.0.0.1:0/
http://127.0.0.1:-1/
http://127.0.0.1:00000P/
http://127.0.0.1:P?@hooks.example/
http://127.0.0.1:P#@hooks.example/
http://127.0.0.1:P\@loopback.example/
http://loopback.example:P\@hooks.example/
http://loopback.example:P#@hooks.example/
http://loopback.example:P?@hooks.example/
http://hooks.example@127.0.0.1:P/
http://hooks.example:443@127.0.0.1:P/
http://hooks.example%40127.0.0.1:P/
http://hooks.example%23@127.0.0.1:P/
http://hooks.example%2f@127.0.0.1:P/
http://user:secret@127.0.0.1:P/
http://@127.0.0.1:P/
http://:@127.0.0.1:P/
http://:secret@127.0.0.1:P/
http://a@b@127.0.0.1:P/
http://127.0.0.1:P@loopback.example/
http:127.0.0.1:P/
http:/127.0.0.1:P/
http:///127.0.0.1:P/
http://///127.0.0.1:P/
http:\\127.0.0.1:P\
http:/\127.0.0.1:P/
http://\127.0.0.1:P/
http://127.0.0.1:P\..\
http://127.0.0.1:P/../../
http://127.0.0.1:P/%2e%2e/
http://127.0.0.1%00.hooks.example:P/
http://127.0.0.1%0d%0a:P/
http://127.0.0.1%20:P/
http://127.0.0.1%2f:P/
http://127.0.0.1 :P/
http://127.0.0.1,hooks.example:P/
http://127.0.0.1;hooks.example:P/
http://{127.0.0.1}:P/
http://<127.0.0.1>:P/
http://^127.0.0.1:P/
http://127..0.0.1:P/
http://.127.0.0.1:P/
http://-127.0.0.1:P/
http://+127.0.0.1:P/
http://127.0.0.1e0:P/
http://xn--localhost:P/
http://xn--/
http://
http:///
http://:P/
https://127.0.0.1:P/
https://127.0.0.1
https://localhost:P/
https://loopback.example:P/
https://[::1]:P/
https://[::ffff:127.0.0.1]:P/
https://0x7f.1:P/
https://2130706433:P/
https://169.254.169.254/
https://metadata.google.internal/
//127.0.0.1:P/
127.0.0.1:P
localhost:P
/hook
ftp://127.0.0.1:P/
ws://127.0.0.1:P/
wss://127.0.0.1:P/
file:///etc/passwd
file://127.0.0.1/etc/passwd
gopher://127.0.0.1:P/_x
dict://127.0.0.1:P/
ldap://127.0.0.1:P/
tftp://127.0.0.1:P/
unix:///var/run/docker.sock
http+unix://%2fvar%2frun%2fdocker.sock/
jar:http://127.0.0.1:P!/
data:text/plain,x
javascript:alert(1)
about:blank
blob:http://127.0.0.1:P/
view-source:http://127.0.0.1:P/
";

/// What stands around or inside an address, and is taken out by whoever reads addresses.
const AROUND: [&str; 10] = [
    " http://127.0.0.1:P/ ",
    "\thttp://127.0.0.1:P/",
    "\nhttp://127.0.0.1:P/\n",
    "ht\ntp://127.0.0.1:P/",
    "http://127.0\t.0.1:P/",
    "http://local\nhost:P/",
    "\u{0}http://127.0.0.1:P/",
    "\u{feff}http://127.0.0.1:P/",
    "http://local\u{ad}host:P/",
    "http://local\u{200c}host:P/",
];

/// Names that lead inside.
const INSIDE: &[(&str, &[&[&str]])] = &[
    ("localhost", &[&["127.0.0.1", "::1"]]),
    ("localhost.localdomain", &[&["127.0.0.1"]]),
    ("anything.localhost", &[&["127.0.0.1"]]),
    ("ip6-localhost", &[&["::1"]]),
    ("127.0.0.1.nip.example", &[&["127.0.0.1"]]),
    ("7f000001.nip.example", &[&["127.0.0.1"]]),
    ("loopback.example", &[&["127.0.0.1"]]),
    ("both.example", &[&["127.0.0.1", "10.0.0.1", "::1"]]),
    ("mapped.example", &[&["::ffff:127.0.0.1"]]),
    ("six.example", &[&["::1"]]),
    ("zero.example", &[&["0.0.0.0"]]),
    ("linklocal.example", &[&["fe80::1"]]),
    ("shared.example", &[&["100.64.0.1"]]),
    ("unique.example", &[&["fd00::1"]]),
    ("metadata.google.internal", &[&["169.254.169.254"]]),
    ("metadata", &[&["169.254.169.254"]]),
    ("instance-data", &[&["169.254.169.254"]]),
    ("metadata.azure.internal", &[&["169.254.169.254"]]),
    ("metadata.tencentyun.com", &[&["169.254.0.23"]]),
    ("kubernetes.default.svc", &[&["10.96.0.1"]]),
    ("host.docker.internal", &[&["192.168.65.254"]]),
];

/// A name server on loopback. Each question for a name gets the next of its answers; the last one stays.
#[derive(Debug, Clone)]
struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    async fn start(answers: &[(&str, &[&[&str]])]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: socket.local_addr().unwrap(), asked: Arc::default() };
        let parse = |one: &&[&str]| one.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let mut left: HashMap<String, Vec<Vec<IpAddr>>> = answers
            .iter()
            .map(|(name, answers)| ((*name).to_owned(), answers.iter().rev().map(parse).collect()))
            .collect();
        let asked = server.asked.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                asked.fetch_add(1, Ordering::SeqCst);
                let question = &bytes[12..length];
                let addresses = match left.get_mut(&name_in(question)) {
                    Some(answers) if answers.len() > 1 => answers.pop().unwrap(),
                    Some(answers) => answers[0].clone(),
                    None => Vec::new(),
                };
                socket.send_to(&answer(&bytes[..2], question, &addresses), from).await.unwrap();
            }
        });
        server
    }

    /// A guard that asks it.
    fn guard(&self, allowed: &[&str]) -> Guard {
        let allowed: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        Guard { names: Arc::new(self.clone()), ..Guard::new(&allowed).unwrap() }
    }
}

impl Names for NameServer {
    fn find<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            if let Ok(address) = host.parse::<IpAddr>() {
                return Ok(vec![SocketAddr::new(address, port)]);
            }
            let mut question = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for label in host.trim_end_matches('.').split('.') {
                question.push(u8::try_from(label.len()).map_err(std::io::Error::other)?);
                question.extend_from_slice(label.as_bytes());
            }
            // All kinds of addresses at once.
            question.extend([0, 0, 255, 0, 1]);
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.send_to(&question, self.address).await?;
            let mut bytes = [0; 512];
            let (length, _) = socket.recv_from(&mut bytes).await?;
            let found = addresses_in(&bytes[question.len()..length]);
            if found.is_empty() {
                return Err(std::io::Error::other("there is no such name"));
            }
            Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
        })
    }
}

/// The name of a question.
fn name_in(mut question: &[u8]) -> String {
    let mut labels = Vec::new();
    while let [length, rest @ ..] = question
        && *length > 0
    {
        let (label, behind) = rest.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        question = behind;
    }
    labels.join(".")
}

/// The answer to a question: each address as a record of no life.
fn answer(id: &[u8], question: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let many = u8::try_from(addresses.len()).unwrap();
    let mut bytes = [id, &[0x81, 0x80 | if many == 0 { 3 } else { 0 }, 0, 1, 0, many, 0, 0, 0, 0], question].concat();
    for address in addresses {
        let (kind, octets) = match address {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (28, v6.octets().to_vec()),
        };
        bytes.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, u8::try_from(octets.len()).unwrap()]);
        bytes.extend(octets);
    }
    bytes
}

/// The addresses of the records of an answer.
fn addresses_in(mut records: &[u8]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    while records.len() > 12 {
        let (head, rest) = records.split_at(12);
        let (data, behind) = rest.split_at(usize::from(head[11]));
        match head[3] {
            1 => found.push(IpAddr::from(<[u8; 4]>::try_from(data).unwrap())),
            _ => found.push(IpAddr::from(<[u8; 16]>::try_from(data).unwrap())),
        }
        records = behind;
    }
    found
}

/// Listens inside and counts who comes.
#[derive(Clone)]
struct Inside {
    port: u16,
    came: Arc<AtomicUsize>,
}

impl Inside {
    async fn listen(addresses: &[&str]) -> Self {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = Self { port: first.local_addr().unwrap().port(), came: Arc::default() };
        let mut listeners = vec![first];
        for address in addresses {
            // A machine without IPv6 has one place less to come to.
            listeners.extend(TcpListener::bind((*address, inside.port)).await.ok());
        }
        for listener in listeners {
            let came = inside.came.clone();
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    came.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        inside
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

fn destination(kind: DestinationKind) -> Destination {
    Destination {
        project: "shop".parse().unwrap(),
        name: "hostile".to_owned(),
        enabled: true,
        paused: None,
        types: Vec::new(),
        shaping: Default::default(),
        processor: None,
        kind,
    }
}

fn webhook(url: &str) -> DestinationKind {
    DestinationKind::Webhook { url: url.to_owned() }
}

fn connector(url: &str) -> DestinationKind {
    let settings = BTreeMap::from([("address".to_owned(), url.to_owned())]);
    DestinationKind::Connector { connector: "http".to_owned(), region: None, settings }
}

/// Sends an event as delivery does; what is said where it was not taken.
async fn sent(kind: DestinationKind, secret: Option<&str>, guard: &Guard) -> Result<(), String> {
    let said = |error: SendError| error.to_string();
    let json = br#"{"id":"1","type":"click","time":"2026-11-23T12:01:07.123Z","received":"2026-11-23T12:01:08.000Z","consent":{}}"#;
    let event = StoredEvent { number: 1, json: json.to_vec().into() };
    let sending = async {
        let mut sink = Sink::open(&destination(kind), secret, &DeliveryConfig::default(), guard).await.map_err(said)?;
        let taken = sink.send(std::slice::from_ref(&event)).await.map_err(said)?;
        match (taken.failure, taken.fates.as_slice()) {
            (Some(failure), _) => Err(said(failure)),
            (None, [Fate::Done]) => Ok(()),
            (None, fates) => Err(format!("{fates:?}")),
        }
    };
    tokio::time::timeout(Duration::from_secs(10), sending)
        .await
        .unwrap_or_else(|_| Err("nobody said anything".to_owned()))
}

/// A sentence that a person can do something with.
fn is_told(said: &str) -> bool {
    const TOLD: [&str; 9] = [
        "is a private or reserved address",
        "leads to a private or reserved address",
        "is no address",
        "only http and https are sent to",
        "holds a user name or password",
        "is not of the right form",
        "cannot be resolved",
        "cannot be reached",
        "cannot be used",
    ];
    TOLD.iter().any(|words| said.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_an_address_leads_inside() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let inside = Inside::listen(&["127.0.0.2", "127.8.8.8", "::1"]).await;
    let guard = NameServer::start(INSIDE).await.guard(&[]);
    let port = inside.port.to_string();
    let lines = FORMS.lines().filter(|line| !line.is_empty()).map(str::to_owned);
    let forms: Vec<String> =
        lines.chain(AROUND.map(str::to_owned)).map(|form| form.replace(":P", &format!(":{port}"))).collect();
    for form in &forms {
        // No test sends anything to the internet: what would be dialled is a name of the list, or a literal that is refused.
        if let Ok(url) = Url::parse(form) {
            let literal = match url.host() {
                Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
                Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
                _ => None,
            };
            assert!(!literal.is_some_and(|address| guard.allows(address)), "{form:?} is dialled as {literal:?}");
        }
        for (by, said) in [
            ("a check", guard.reach(form).await),
            ("a webhook", sent(webhook(form), Some(SECRET), &guard).await),
            (
                "a notice",
                crate::destinations::webhook::post_plain(form, b"{}".to_vec(), &guard)
                    .await
                    .map_err(|error| error.to_string()),
            ),
            ("a connector", sent(connector(form), None, &guard).await),
        ] {
            let said = said.expect_err(form);
            assert!(is_told(&said), "{by} of {form:?}: {said}");
            // It is kept, and told to members who may not see the address.
            let named = form.len() > 3 && said.contains(form.trim());
            assert!(!named && !said.contains(&port), "{by} of {form:?}: {said}");
        }
    }
    // As databases are named: the system's own reading of numbers comes before the guard.
    let system = Guard::new(&[]).unwrap();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "10.0.0.1",
        "169.254.169.254",
        "localhost",
    ];
    for host in hosts {
        let url = format!("postgres://me:secret@{host}:{port}/events?sslmode=disable");
        let kind = DestinationKind::Postgres { schema: "convizit".to_owned() };
        let said = sent(kind, Some(&url), &system).await.unwrap_err();
        assert!(is_told(&said) && !said.contains("secret"), "{host}: {said}");
        assert!(!said.contains(&port), "{host}: {said}");
        assert!(host.len() == 1 || !said.contains(host), "{host}: {said}");
    }
    println!(
        "{} hostile forms, each four ways, and {} of databases: {} connections",
        forms.len(),
        hosts.len(),
        inside.came()
    );
    assert!(forms.len() >= 150, "{}", forms.len());
    assert_eq!(inside.came(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_leads_inside() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let inside = Inside::listen(&["::1"]).await;
    let port = inside.port;
    let answer: Arc<Mutex<(u16, String)>> = Arc::default();
    let (listener, next) = (TcpListener::bind("127.0.0.2:0").await.unwrap(), answer.clone());
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let router = Router::new().fallback(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let (code, place) = next.lock().unwrap().clone();
        async move { (StatusCode::from_u16(code).unwrap(), [(header::LOCATION, place)]) }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    // Only where it redirects from is allowed.
    let guard = NameServer::start(INSIDE).await.guard(&["127.0.0.2/32"]);
    let mut tries = 0;
    for code in [301, 302, 303, 307, 308] {
        for place in [
            format!("http://127.0.0.1:{port}/"),
            format!("//127.0.0.1:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://[::1]:{port}/"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "file:///etc/passwd".to_owned(),
            "/elsewhere".to_owned(),
        ] {
            *answer.lock().unwrap() = (code, place.clone());
            for (kind, secret) in [(webhook(&base), Some(SECRET)), (connector(&base), None)] {
                tries += 1;
                let said = sent(kind, secret, &guard).await.expect_err("a redirect is no success");
                assert!(said.contains("redirect"), "{code} to {place}: {said}");
            }
        }
    }
    assert_eq!((inside.came(), asked.load(Ordering::SeqCst)), (0, tries), "one request each, and none of them inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_at_the_second_question_leads_nowhere() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let inside = Inside::listen(&[]).await;
    let port = inside.port;
    let listener = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    // Each request makes a connection of its own, so that the name is looked up again.
    let router = Router::new().fallback(|| async { (StatusCode::NO_CONTENT, [(header::CONNECTION, "close")]) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let turns: &[&[&str]] = &[&["127.0.0.2"], &["127.0.0.1"]];
    let public: &[&[&str]] = &[&["8.8.8.8", "127.0.0.1"], &["127.0.0.1"]];
    let names = NameServer::start(&[
        ("hook.example", turns),
        ("vendor.example", turns),
        ("db.example", turns),
        ("public.example", public),
    ])
    .await;
    // 127.0.0.2 stands for the public internet, which no test dials.
    let guard = names.guard(&["127.0.0.2/32"]);
    for kind in [webhook(&format!("http://hook.example:{port}/")), connector(&format!("http://vendor.example:{port}"))]
    {
        let secret = matches!(kind, DestinationKind::Webhook { .. }).then_some(SECRET);
        sent(kind.clone(), secret, &guard).await.unwrap();
        let said = sent(kind, secret, &guard).await.unwrap_err();
        assert!(said.contains("leads to a private or reserved address") && !said.contains(".example"), "{said}");
    }
    // The address that was looked at is the one that is dialled: no second question.
    let before = names.asked.load(Ordering::SeqCst);
    let url = format!("postgres://me:secret@db.example:{port}/events");
    let kind = DestinationKind::Postgres { schema: "convizit".to_owned() };
    sent(kind.clone(), Some(&url), &guard).await.unwrap_err();
    assert_eq!(names.asked.load(Ordering::SeqCst), before + 1);
    assert!(sent(kind, Some(&url), &guard).await.unwrap_err().contains("leads to a private or reserved address"));
    // What is public at first is not dialled later, and of several addresses the ones inside are left out.
    let closed = names.guard(&[]);
    let first = closed.resolve("public.example", port).await.unwrap();
    assert_eq!(first, [SocketAddr::from(([8, 8, 8, 8], port))]);
    let said = sent(webhook(&format!("https://public.example:{port}/")), Some(SECRET), &closed).await.unwrap_err();
    assert!(said.contains("leads to a private or reserved address"), "{said}");
    assert_eq!(inside.came(), 0);
}
