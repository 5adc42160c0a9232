//! A PostgreSQL of the measurement's own, on a free port, gone at the end.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A running cluster with the server's own defaults.
pub(crate) struct Cluster {
    process: Child,
    data: PathBuf,
    bin: PathBuf,
    pub(crate) url: String,
    /// Before `process` ends it would be gone under its feet: dropped last.
    _folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start() -> Result<Self> {
        let bin = binaries()?;
        let folder = crate::server::folder()?;
        let data = folder.path().join("postgres");
        // initdb refuses to run as root, so root lends the folder to the user `postgres`.
        let root = text(Command::new("id").arg("-u"))? == "0";
        if root {
            let status = Command::new("chown").arg("postgres").arg(folder.path()).status()?;
            ensure!(status.success(), "the folder cannot be given to the user postgres");
        }
        let command = |name: &str| {
            let mut command = if root {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(bin.join(name));
                command
            } else {
                Command::new(bin.join(name))
            };
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made =
            command("initdb").arg("-D").arg(&data).args(["-U", "convizit", "--auth=trust", "-E", "UTF8"]).status()?;
        ensure!(made.success(), "initdb made no cluster");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(folder.path())
            .spawn()?;
        let url = format!("postgres://convizit@127.0.0.1:{port}/postgres");
        let cluster = Self { process, data, bin, url, _folder: folder };
        let start = Instant::now();
        while cluster.query("select 1").is_err() {
            if start.elapsed() > Duration::from_secs(30) {
                bail!("PostgreSQL did not start");
            }
            crate::machine::pause(Duration::from_millis(50));
        }
        Ok(cluster)
    }

    /// One value.
    pub(crate) fn query(&self, sql: &str) -> Result<String> {
        text(Command::new(self.bin.join("psql")).arg(&self.url).args(["-XAt", "-c", sql]))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The process that was started may be `runuser`; the server's own id stands in its file.
        let id = std::fs::read_to_string(self.data.join("postmaster.pid"));
        if let Some(id) = id.ok().as_deref().and_then(|text| text.lines().next()) {
            Command::new("kill").args(["-INT", id]).status().ok();
        }
        self.process.wait().ok();
    }
}

fn text(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::null()).output()?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn binaries() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(Path::new("/usr/lib/postgresql"))
        .context("no PostgreSQL server is installed: ./test installs it on Debian")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().context("no PostgreSQL server is installed: ./test installs it on Debian")
}
