//! A server of the test's own, on a free port of loopback, in a folder of its own, ended by its process id.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Makes the command of a server, of its port and its folder.
type Make = Box<dyn Fn(u16, &Path) -> Command + Send + Sync>;

pub(crate) struct Server {
    child: Option<Child>,
    make: Make,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    /// Where the server's own id stands, when the program that was started is a script around it.
    pid: Option<PathBuf>,
}

impl Server {
    pub(crate) async fn start(make: impl Fn(u16, &Path) -> Command + Send + Sync + 'static) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), None, make).await
    }

    /// In a folder that something stands in; `pid` is a file that the server writes there.
    pub(crate) async fn start_in(
        folder: tempfile::TempDir,
        pid: Option<&str>,
        make: impl Fn(u16, &Path) -> Command + Send + Sync + 'static,
    ) -> Self {
        let pid = pid.map(|name| folder.path().join(name));
        let mut server = Self { child: None, make: Box::new(make), port: free_port(), folder, pid };
        server.again().await;
        server
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it on the same port, with what its folder holds.
    pub(crate) async fn again(&mut self) {
        let mut command = (self.make)(self.port, self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = command.get_program().to_owned();
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run ./test, which installs it", program.display()));
        self.child = Some(child);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(90), "{} does not start", program.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        if let Some((file, pid)) = self.pid.as_ref().and_then(|file| Some((file, std::fs::read_to_string(file).ok()?)))
        {
            Command::new("kill").args(["-KILL", pid.trim()]).status().ok();
            // The number may be another's by the time that this is asked again.
            std::fs::remove_file(file).ok();
        }
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program that Debian's packages put where not every path leads.
pub(crate) fn program(name: &str) -> PathBuf {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let found = places.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: run ./test, which installs it"))
}

/// What a program says, which must succeed.
pub(crate) fn said(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}
