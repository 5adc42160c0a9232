//! Backups in a store that speaks S3: moto's server. The environment names it, so the test runs in a process of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use convizit_store::backup::Progress;

use crate::backup::{Kept, back_up, commit, fill};
use crate::engines::{DAY, NOON, Place, event_at, stored};

const VERSION: &str = "5.2.5";

/// moto's server in an environment of its own below the target folder, which is made when it is not there.
struct Moto {
    server: Child,
    port: u16,
}

impl Moto {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new(installed().join("bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "moto does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { server, port }
    }

    /// Makes a bucket by hand: the product never does.
    fn make_bucket(&self, name: &str) {
        use std::io::{Read as _, Write as _};
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20261129/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00\r\n\r\n",
            self.port
        );
        connection.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("moto-s3-{VERSION}"));
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

#[tokio::test(flavor = "multi_thread")]
async fn backups_go_to_s3_and_come_back() {
    let Ok(endpoint) = std::env::var("CONVIZIT_TEST_S3") else {
        let moto = Moto::start().await;
        moto.make_bucket("backups");
        let address = format!("http://127.0.0.1:{}", moto.port);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "backup_s3::backups_go_to_s3_and_come_back", "--nocapture"])
            .envs([("CONVIZIT_TEST_S3", &address), ("AWS_ENDPOINT_URL", &address)])
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stdout));
        return;
    };
    assert!(endpoint.starts_with("http://127.0.0.1:"));
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let mut kept = Kept::of(Place::sqlite());
    kept.s3 = Some(("s3://backups/of/shop".to_owned(), "s3://backups/keys".to_owned()));
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    let first = back_up(&store).await;
    commit(&store, &shop, 30, vec![event_at(NOON, 90, 1)]).await;
    kept.place.clock.set(NOON + DAY);
    let second = back_up(&store).await;
    assert!(second.written < first.written);
    assert_eq!(store.backups().await.unwrap().len(), 2);
    store.drill(&Progress::default()).await.unwrap();
    store.close().await;
    let (restored, _) = kept.restore(&Place::sqlite()).await;
    assert_eq!(stored(&restored, shop.number, 0).await, (0..91).collect::<Vec<_>>());
    // A bucket that is not there is said.
    kept.s3 = Some(("s3://missing/of/shop".to_owned(), "s3://backups/keys".to_owned()));
    let error = kept.plan(&Place::sqlite()).await.err().unwrap().to_string();
    assert!(error.contains("s3://missing"), "{error}");
}
