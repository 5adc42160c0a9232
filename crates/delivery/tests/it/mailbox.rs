//! A mail server on loopback that keeps what it takes: aiosmtpd, with TLS and a password where a test wants them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use convizit_delivery::{MailConfig, MailTls};
use serde_json::Value;

const VERSION: &str = "1.4.6";
/// Says its port, then a line of JSON for each message.
const SERVER: &str = r#"
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
later, certificate, key = int(sys.argv[1]), *(sys.argv[2:4] or [None, None])

class Keep:
    left = later
    async def handle_DATA(self, server, session, envelope):
        if Keep.left > 0:
            Keep.left -= 1
            return '451 not now'
        to = envelope.rcpt_tos[0]
        if to.startswith('gone'):
            return '550 <' + to + '> is unknown'
        text = envelope.content.decode()
        print(json.dumps({'to': to, 'text': text, 'tls': session.ssl is not None, 'user': session.authenticated}), flush=True)
        return '250 kept'

def may(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b'convizit' and data.password == b'right', handled=False)

async def main():
    options = {}
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        options = dict(tls_context=context, require_starttls=True, auth_required=True, authenticator=may)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Keep(), **options), '127.0.0.1', 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"#;

pub(crate) struct Mailbox {
    server: Child,
    port: u16,
    kept: Arc<Mutex<Vec<Value>>>,
    certificate: Option<PathBuf>,
}

fn run(program: &str, arguments: &[&str]) {
    let ran = Command::new(program).args(arguments).output().expect("python3 or openssl is missing");
    assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// The folder of an environment with aiosmtpd: made once, and moved to its place only when it is whole.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("aiosmtpd-{VERSION}"));
    let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let done = folder.join("done");
    if !done.exists() {
        run("python3", &["-m", "venv", "--clear", folder.to_str().unwrap()]);
        run(folder.join("bin/pip").to_str().unwrap(), &["install", "--quiet", &format!("aiosmtpd=={VERSION}")]);
        std::fs::write(done, "").unwrap();
    }
    folder
}

impl Mailbox {
    /// Answers the first messages with "not now".
    pub(crate) fn plain(later: u32) -> Self {
        Self::start(later, None)
    }

    /// Wants TLS and a password.
    pub(crate) fn strict(folder: &Path) -> Self {
        let (certificate, key) = (folder.join("mail.pem"), folder.join("mail.key"));
        let mut arguments: Vec<&str> =
            "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE"
                .split(' ')
                .collect();
        let (out, keyout) = (certificate.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned());
        arguments.extend(["-out", &out, "-keyout", &keyout]);
        run("openssl", &arguments);
        Self::start(0, Some((certificate, key)))
    }

    fn start(later: u32, tls: Option<(PathBuf, PathBuf)>) -> Self {
        let mut command = Command::new(installed().join("bin/python"));
        command.args(["-c", SERVER, &later.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some((certificate, key)) = &tls {
            command.arg(certificate).arg(key);
        }
        let mut server = command.spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let kept = Arc::<Mutex<Vec<Value>>>::default();
        let keep = kept.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                keep.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { server, port, kept, certificate: tls.map(|(certificate, _)| certificate) }
    }

    pub(crate) fn config(&self) -> MailConfig {
        let strict = self.certificate.is_some();
        MailConfig {
            host: "localhost".to_owned(),
            port: self.port,
            tls: if strict { MailTls::Starttls } else { MailTls::None },
            login: strict.then(|| ("convizit".to_owned(), "right".to_owned())),
            ca: self.certificate.as_ref().map(|path| std::fs::read(path).unwrap()),
            from: "Convizit <convizit@shop.example>".to_owned(),
        }
    }

    pub(crate) fn kept(&self) -> Vec<Value> {
        self.kept.lock().unwrap().clone()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
