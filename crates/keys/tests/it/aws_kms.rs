//! The provider of AWS KMS: against moto's server, and against stand-ins where moto is too kind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, thread};

use convizit_keys::{KeyError, ProviderConfig, Wrapped, open_provider};
use serde_json::{Value, json};

use crate::child;
use crate::contract::{self, BINDING, now, problem, wait};
use crate::server::{Request, serve};

const VERSION: &str = "5.2.5";
const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn config(key: &str, endpoint: &str) -> ProviderConfig {
    let (key, region) = (key.to_owned(), "eu-west-1".to_owned());
    ProviderConfig::AwsKms { key, region, endpoint: Some(endpoint.to_owned()) }
}

/// moto's server in an environment of its own below the target folder, which is made when it is not there.
struct Moto {
    server: Child,
    address: String,
}

impl Moto {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new(installed().join("bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self { server, address: format!("http://127.0.0.1:{port}") };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "moto does not start");
            #[expect(clippy::disallowed_methods, reason = "no runtime waits here")]
            thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    /// A call of KMS by somebody else.
    fn ask(&self, action: &str, body: &Value) -> Value {
        let scope = "Credential=test/20261129/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=00";
        wait(async {
            let client = reqwest::Client::builder().tls_backend_preconfigured(tls()).no_proxy().build().unwrap();
            let answer = client
                .post(&self.address)
                .header("authorization", format!("AWS4-HMAC-SHA256 {scope}"))
                .header("x-amz-target", format!("TrentService.{action}"))
                .header("content-type", "application/x-amz-json-1.1")
                .body(body.to_string())
                .send()
                .await
                .unwrap();
            assert!(answer.status().is_success(), "{action}: {}", answer.status());
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
        })
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("moto-{VERSION}"));
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let whole = folder.join("whole");
    if !whole.exists() {
        let run = |program: &Path, arguments: &[&OsStr]| {
            let ran = Command::new(program).args(arguments).output().expect("python3 is missing: install python3-venv");
            assert!(ran.status.success(), "{}: install python3-venv", String::from_utf8_lossy(&ran.stderr));
        };
        run(Path::new("python3"), &["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), folder.as_os_str()]);
        let moto = format!("moto[server]=={VERSION}");
        run(&folder.join("bin/pip"), &["install".as_ref(), "--quiet".as_ref(), moto.as_ref()]);
        fs::write(whole, "").unwrap();
    }
    folder
}

#[test]
fn keys_wrap_rotate_and_are_refused_as_they_should() {
    if !child::is_child() {
        let moto = Moto::start();
        let made = moto.ask("CreateKey", &json!({ "KeyUsage": "ENCRYPT_DECRYPT" }));
        let key = made["KeyMetadata"]["KeyId"].as_str().unwrap();
        moto.ask("CreateAlias", &json!({ "AliasName": "alias/convizit", "TargetKeyId": key }));
        let other = moto.ask("CreateKey", &json!({ "KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P256" }));
        let variables = [
            ("MOTO", moto.address.as_str()),
            ("OTHER", other["KeyMetadata"]["KeyId"].as_str().unwrap()),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ];
        let variables = variables.map(|(name, value)| (name, OsStr::new(value)));
        return child::run("aws_kms::keys_wrap_rotate_and_are_refused_as_they_should", &variables);
    }
    let address = env::var("MOTO").unwrap();
    let provider = contract::open(&config("alias/convizit", &address));
    let first = wait(provider.versions()).unwrap();
    assert!(first.len() == 1 && first[0].id.starts_with("arn:aws:kms:eu-west-1:"), "{first:?}");

    let (secret, wrapped) = contract::wraps(&*provider);
    for at in 0..wrapped.bytes.len() {
        let mut changed = wrapped.clone();
        changed.bytes[at] ^= 1;
        assert!(wait(provider.unwrap(&BINDING, &changed)).is_err(), "byte {at}");
    }
    let last = wrapped.bytes.len() - 1;
    let mut changed = wrapped.clone();
    changed.bytes[last] ^= 1;
    assert!(contract::refused(&*provider, BINDING, &changed));
    let elsewhere = Wrapped { kek: ARN.to_owned(), bytes: wrapped.bytes.clone() };
    assert!(problem(wait(provider.unwrap(&BINDING, &elsewhere))).contains(ARN));
    let of_file = Wrapped { kek: "file:0123456789ab".to_owned(), bytes: wrapped.bytes.clone() };
    assert!(contract::refused(&*provider, BINDING, &of_file));

    let rotated = wait(provider.rotate(now(0))).unwrap();
    assert_eq!((rotated.id.as_str(), rotated.made), (first[0].id.as_str(), Some(now(0))));
    let newest = wait(provider.versions()).unwrap();
    assert!(newest[0].made > first[0].made, "the date of the newest material");
    assert_eq!(wait(provider.unwrap(&BINDING, &wrapped)).unwrap(), secret);

    let text = problem(wait(provider.destroy(&rotated.id)));
    assert!(text.contains("only together with the key") && text.contains("aws kms schedule-key-deletion"), "{text}");
    for missing in ["alias/nothing", "1234abcd-12ab-34cd-56ef-1234567890ab"] {
        let missing = contract::open(&config(missing, &address));
        for text in [problem(wait(missing.versions())), problem(wait(missing.rotate(now(0))))] {
            assert!(text.contains("aws kms create-key --region eu-west-1"), "{text}");
        }
    }
    let signs = contract::open(&config(&env::var("OTHER").unwrap(), &address));
    assert!(problem(wait(signs.versions())).contains("no symmetric key"));

    // Last, since nothing can be done with it any more.
    let key = rotated.id.rsplit('/').next().unwrap();
    let stopped = stop(&address, key);
    assert!(stopped.success());
    for text in [problem(wait(provider.versions())), problem(wait(provider.wrap(&BINDING, &secret)))] {
        assert!(text.contains("is disabled") && text.contains("aws kms enable-key"), "{text}");
    }
}

/// Disables the key with AWS's own client, which comes with moto.
fn stop(address: &str, key: &str) -> std::process::ExitStatus {
    let program =
        "import boto3, sys\nboto3.client('kms', 'eu-west-1', endpoint_url=sys.argv[1]).disable_key(KeyId=sys.argv[2])";
    Command::new(installed().join("bin/python")).args(["-c", program, address, key]).status().unwrap()
}

/// A KMS that describes its key, when asked with these credentials.
fn kms(request: &Request) -> (u16, String) {
    match request.header("x-amz-target") {
        "TrentService.DescribeKey" => {
            let key = json!({ "Arn": ARN, "CreationDate": 1_700_000_000.5, "KeyState": "Enabled", "KeySpec": "SYMMETRIC_DEFAULT",
                "KeyUsage": "ENCRYPT_DECRYPT" });
            (200, json!({ "KeyMetadata": key }).to_string())
        }
        "TrentService.ListKeyRotations" => (200, json!({ "Rotations": [], "Truncated": false }).to_string()),
        other => refuse("UnknownOperationException", other),
    }
}

fn refuse(name: &str, words: &str) -> (u16, String) {
    (400, json!({ "__type": name, "message": words }).to_string())
}

fn in_child(test: &str, variables: &[(&str, &str)]) {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, OsStr::new(*value))).collect();
    child::run(test, &variables);
}

#[test]
fn without_credentials_it_says_how_to_give_some() {
    if !child::is_child() {
        return in_child(
            "aws_kms::without_credentials_it_says_how_to_give_some",
            &[("AWS_EC2_METADATA_DISABLED", "true")],
        );
    }
    let provider = contract::open(&config("alias/convizit", "http://127.0.0.1:1"));
    let text = problem(wait(provider.versions()));
    assert!(text.contains("there are no credentials: set AWS_ACCESS_KEY_ID"), "{text}");
}

#[test]
fn the_role_of_the_instance_is_asked_for_once() {
    if child::is_child() {
        let provider = contract::open(&config("alias/convizit", &env::var("KMS").unwrap()));
        for _ in 0..3 {
            assert_eq!(wait(provider.versions()).unwrap()[0].id, ARN);
        }
        return;
    }
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let address = serve(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") if request.header("x-aws-ec2-metadata-token-ttl-seconds") == "300" => {
            (200, "session".to_owned())
        }
        ("GET", _) if request.header("x-aws-ec2-metadata-token") != "session" => (401, String::new()),
        ("GET", "/latest/meta-data/iam/security-credentials/") => (200, "web-role".to_owned()),
        ("GET", "/latest/meta-data/iam/security-credentials/web-role") => {
            *count.lock().unwrap() += 1;
            (200, role("ASIAINSTANCE", "2099-01-01T00:00:00Z"))
        }
        ("POST", "/") if signed_by(&request, "ASIAINSTANCE") => kms(&request),
        _ => refuse("UnrecognizedClientException", "unknown"),
    });
    let variables = [("KMS", address.as_str()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)];
    in_child("aws_kms::the_role_of_the_instance_is_asked_for_once", &variables);
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[test]
fn the_role_of_the_container_is_asked_for_again_before_it_expires() {
    if child::is_child() {
        let provider = contract::open(&config("alias/convizit", &env::var("KMS").unwrap()));
        assert_eq!(wait(provider.versions()).unwrap()[0].id, ARN);
        return;
    }
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let address = serve(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/role") if request.header("authorization") == "agent-token" => {
            *count.lock().unwrap() += 1;
            (200, role("ASIACONTAINER", "2020-01-01T00:00:00Z"))
        }
        ("POST", "/") if signed_by(&request, "ASIACONTAINER") => kms(&request),
        _ => refuse("UnrecognizedClientException", "unknown"),
    });
    let full = format!("{address}/role");
    let variables = [
        ("KMS", address.as_str()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &full),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agent-token"),
    ];
    in_child("aws_kms::the_role_of_the_container_is_asked_for_again_before_it_expires", &variables);
    assert_eq!(*asked.lock().unwrap(), 2, "once for each of the two calls");
}

fn role(id: &str, expiration: &str) -> String {
    json!({ "AccessKeyId": id, "SecretAccessKey": "hunter2secret", "Token": format!("token-{id}"), "Expiration": expiration })
        .to_string()
}

fn signed_by(request: &Request, id: &str) -> bool {
    let authorization = request.header("authorization");
    authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential={id}/"))
        && authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,")
        && request.header("x-amz-security-token") == format!("token-{id}")
}

#[test]
fn what_may_pass_is_tried_three_times_and_what_aws_refuses_is_explained() {
    let name = "aws_kms::what_may_pass_is_tried_three_times_and_what_aws_refuses_is_explained";
    if child::is_child() {
        let ask = |key: &str| wait(contract::open(&config(key, &env::var("KMS").unwrap())).versions());
        assert_eq!(ask("passing").unwrap()[0].id, ARN);
        assert_eq!(ask("throttled").unwrap()[0].id, ARN);
        for (key, expected) in [
            ("broken", "answered 503"),
            ("AccessDeniedException", "allow kms:DescribeKey"),
            ("UnrecognizedClientException", "renew them"),
            ("DisabledException", "aws kms enable-key --region eu-west-1 --key-id DisabledException"),
            ("KMSInvalidStateException", "aws kms describe-key"),
            ("SomethingNew", "AWS answered SomethingNew (words of AWS)"),
        ] {
            let text = problem(ask(key));
            assert!(text.contains(expected) && !text.contains("hunter2"), "{text}");
        }
        // The key's own refusals at unwrapping.
        let provider = contract::open(&config("passing", &env::var("KMS").unwrap()));
        let wrapped = Wrapped { kek: ARN.to_owned(), bytes: vec![1] };
        assert!(matches!(wait(provider.unwrap(&BINDING, &wrapped)), Err(KeyError::Unwrap { kek, .. }) if kek == ARN));
        return;
    }
    let tries = Arc::new(Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&tries);
    let address = serve(move |request| {
        let body = request.json();
        let key = body["KeyId"].as_str().unwrap_or_default().to_owned();
        seen.lock().unwrap().push(key.clone());
        let times = seen.lock().unwrap().iter().filter(|seen| **seen == key).count();
        match key.as_str() {
            ARN if request.header("x-amz-target") == "TrentService.Decrypt" => {
                assert_eq!(body["EncryptionContext"]["convizit"], BINDING.to_string());
                refuse("com.amazonaws.kms#IncorrectKeyException", "words of AWS")
            }
            "passing" if times < 3 => (500, String::new()),
            "throttled" if times < 3 => refuse("ThrottlingException", "Rate exceeded"),
            ARN | "passing" | "throttled" => kms(&request),
            "broken" => (503, "<html>".to_owned()),
            name => refuse(name, "words of AWS"),
        }
    });
    let variables =
        [("KMS", address.as_str()), ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "hunter2secret")];
    in_child(name, &variables);
    let tries = tries.lock().unwrap();
    let count = |key: &str| tries.iter().filter(|seen| *seen == key).count();
    assert_eq!((count("broken"), count("AccessDeniedException")), (3, 1));
}

#[test]
fn what_is_configured_wrongly_is_said_in_one_sentence() {
    let with = |region: &str, endpoint: &str| {
        let (key, region, endpoint) = ("alias/convizit".to_owned(), region.to_owned(), Some(endpoint.to_owned()));
        problem(open_provider(&ProviderConfig::AwsKms { key, region, endpoint }))
    };
    assert!(with("eu-west-1.evil.example/", "https://kms").contains("give one such as eu-west-1"));
    assert!(with("eu-west-1", "http://kms.example").contains("give an https address"));
}
