//! A PostgreSQL cluster of the test's own: in a temporary folder, on a Unix socket, gone with the test, however it ends.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Makes a cluster, says its folder when it answers, and ends it when standard input ends: with the test or its process.
const SUPERVISE: &str = r#"
folder=$(mktemp -d) && cd "$folder" || exit 1
"$1/initdb" -D data -U convizit --auth=trust --no-sync --no-locale -E UTF8 --no-instructions >log 2>&1 || { cat log >&2; exit 1; }
printf 'local all secretive scram-sha-256\nlocal all all trust\n' >data/pg_hba.conf
"$1/postgres" -D data -k "$folder" -h '' -F -c shared_buffers=16MB -c max_connections=60 >>log 2>&1 &
server=$!
until "$1/pg_isready" -q -h "$folder"; do
  kill -0 "$server" 2>/dev/null || { cat log >&2; exit 1; }
  sleep 0.02
done
echo "$folder"
read -r _
kill -QUIT "$server"
wait "$server"
rm -rf "$folder"
"#;

pub(crate) struct Postgres {
    folder: String,
    supervisor: Child,
    input: Option<ChildStdin>,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let binaries = binaries();
        // initdb refuses to run as root, which lends itself to the user that the server's package made.
        let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let mut command = if root { Command::new("runuser") } else { Command::new("sh") };
        if root {
            command.args(["-u", "postgres", "--", "sh"]);
        }
        let mut supervisor = command
            .args(["-c", SUPERVISE, "sh"])
            .arg(&binaries)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh, and for root runuser, start PostgreSQL");
        let mut folder = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut folder).unwrap();
        let folder = folder.trim().to_owned();
        assert!(!folder.is_empty(), "PostgreSQL of {} did not start; what it said stands above", binaries.display());
        let input = supervisor.stdin.take();
        Self { folder, supervisor, input }
    }

    /// The address of a database as this user; `secretive` is a user that needs a password.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("postgres://{user}@localhost/postgres?host={}", self.folder)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.supervisor.wait();
    }
}

fn binaries() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = versions.into_iter().rev().map(|(_, folder)| folder).chain(std::env::split_paths(&path));
    all.into_iter()
        .find(|folder| ["initdb", "postgres", "pg_isready"].iter().all(|name| folder.join(name).is_file()))
        .expect("the store's tests need a PostgreSQL server, and none is installed: run ./test, which installs it")
}
