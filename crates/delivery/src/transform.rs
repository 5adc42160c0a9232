//! A person's own program of a destination, in VRL (<https://vrl.dev>): it makes another event of each, before the mapping.
//!
//! The language has no loops without an end, but its texts can grow without one and nothing measures them. So each program runs in a process
//! of its own (`worker`), which is bounded in memory and time, has no files, no network and no environment, and ends with this one. `program`
//! says which functions there are: such as reach nothing and always say the same, since a batch that is sent again must be the same.

#[cfg(feature = "vrl")]
mod program;
#[cfg(feature = "vrl")]
mod worker;

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use convizit_store::StoredEvent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
#[cfg(feature = "vrl")]
pub use worker::work;

use crate::destinations::SendError;

/// The subcommand by which the program starts itself as such a process.
pub const SUBCOMMAND: &str = "transform-worker";
/// Bytes of a program at most, and how deep its brackets may stand in each other.
const BYTES: usize = 8 << 10;
const DEPTH: usize = 32;
/// Events that go to it at once.
const EVENTS: usize = 100;
/// How long a process may take to start, and to answer: what computes for long stops itself before, so this ends what cannot.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer's part at most.
const ANSWER: usize = 1 << 20;

/// What became of an event; the numbers by which a process says so.
const EVENT: u8 = 0;
const LEFT_OUT: u8 = 1;
const FAILED: u8 = 2;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// Another one, as JSON.
    Event(Bytes),
    /// Nothing: the program aborts for it.
    LeftOut,
    /// The program cannot, and why.
    Failed(String),
}

/// Checks a program before it is saved.
///
/// # Errors
/// What is wrong, where, and what to do.
pub(crate) fn check(source: &str) -> Result<(), String> {
    if source.len() > BYTES {
        return Err(format!("a transform has at most {BYTES} bytes, and this has {}", source.len()));
    }
    let mut depth = 0_usize;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Err(format!(
                "brackets stand more than {DEPTH} deep in each other: take a variable for what is inside"
            ));
        }
    }
    compiles(source)
}

#[cfg(feature = "vrl")]
fn compiles(source: &str) -> Result<(), String> {
    program::Program::compile(source).map(|_| ())
}

#[cfg(not(feature = "vrl"))]
fn compiles(_: &str) -> Result<(), String> {
    Err("this convizit has no transforms: take one that was built with --features vrl, or do without".to_owned())
}

/// A program of a destination, and the process in which it runs.
pub(crate) struct Transform {
    source: String,
    /// What is started.
    command: PathBuf,
    running: Option<Running>,
}

struct Running {
    /// Ends with this.
    _child: Child,
    into: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Transform {
    /// # Errors
    /// `Pause` where it does not compile here.
    pub(crate) fn open(source: &str, command: Option<&std::path::Path>) -> Result<Self, SendError> {
        check(source).map_err(SendError::Pause)?;
        let command = command.ok_or_else(|| SendError::Pause("no transforms run here".to_owned()))?;
        Ok(Self { source: source.to_owned(), command: command.to_owned(), running: None })
    }

    /// What becomes of each event, in their order.
    ///
    /// # Errors
    /// `Later` where no process can be started.
    pub(crate) async fn run(&mut self, events: &[StoredEvent]) -> Result<Vec<Made>, SendError> {
        let mut all = Vec::with_capacity(events.len());
        for events in events.chunks(EVENTS) {
            match self.asked(events).await? {
                Some(made) => all.extend(made),
                // One of them is at fault: the others must not wait for it.
                None => {
                    for event in events {
                        all.push(self.alone(event).await?);
                    }
                }
            }
        }
        Ok(all)
    }

    /// Tried twice, since a process may end for another reason than its event.
    async fn alone(&mut self, event: &StoredEvent) -> Result<Made, SendError> {
        for _ in 0..2 {
            if let Some(made) = self.asked(std::slice::from_ref(event)).await?.and_then(|mut made| made.pop()) {
                return Ok(made);
            }
        }
        let most = PATIENCE.as_secs();
        Ok(Made::Failed(format!("the transform broke off: it wanted too much memory, or more than {most} s")))
    }

    /// `None` where the process ended, or had to be ended.
    async fn asked(&mut self, events: &[StoredEvent]) -> Result<Option<Vec<Made>>, SendError> {
        if self.running.is_none() {
            self.running = Some(self.start().await?);
        }
        let Some(running) = &mut self.running else { return Ok(None) };
        match timeout(PATIENCE, running.ask(events)).await {
            Ok(Ok(made)) => Ok(Some(made)),
            Ok(Err(_)) | Err(_) => {
                self.running = None;
                Ok(None)
            }
        }
    }

    async fn start(&self) -> Result<Running, SendError> {
        let cannot =
            |error: io::Error| SendError::later(format!("the process of the transform does not start: {error}"));
        let mut command = Command::new(&self.command);
        // Whatever this process was told, keys among it, is not for a person's program.
        command.arg(SUBCOMMAND).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().map_err(cannot)?;
        let (Some(into), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(cannot(io::Error::other("it has no pipes")));
        };
        let mut running = Running { _child: child, into, from: BufReader::new(from) };
        let begun = async {
            write_part(&mut running.into, self.source.as_bytes()).await?;
            running.into.flush().await?;
            running.answer().await
        };
        match timeout(PATIENCE, begun).await {
            Ok(Ok(Made::Failed(reason))) => Err(SendError::Pause(reason)),
            Ok(Ok(_)) => Ok(running),
            Ok(Err(error)) => Err(cannot(error)),
            Err(_) => Err(cannot(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl Running {
    async fn ask(&mut self, events: &[StoredEvent]) -> io::Result<Vec<Made>> {
        let many = u32::try_from(events.len()).map_err(io::Error::other)?;
        let mut asked = many.to_be_bytes().to_vec();
        for event in events {
            asked.extend(u32::try_from(event.json.len()).map_err(io::Error::other)?.to_be_bytes());
            asked.extend(&event.json);
        }
        // It reads all of it before it answers.
        self.into.write_all(&asked).await?;
        self.into.flush().await?;
        let mut made = Vec::with_capacity(events.len());
        for _ in events {
            made.push(self.answer().await?);
        }
        Ok(made)
    }

    async fn answer(&mut self) -> io::Result<Made> {
        let kind = self.from.read_u8().await?;
        let length = usize::try_from(self.from.read_u32().await?).map_err(io::Error::other)?;
        if length > ANSWER {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).await?;
        Ok(match kind {
            EVENT => Made::Event(bytes.into()),
            LEFT_OUT => Made::LeftOut,
            FAILED => Made::Failed(String::from_utf8_lossy(&bytes).into_owned()),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

async fn write_part(into: &mut ChildStdin, bytes: &[u8]) -> io::Result<()> {
    into.write_u32(u32::try_from(bytes.len()).map_err(io::Error::other)?).await?;
    into.write_all(bytes).await
}

#[cfg(all(test, not(feature = "vrl")))]
mod tests {
    use super::*;

    #[test]
    fn without_the_feature_no_program_is_taken() {
        assert!(check(".properties = {}").unwrap_err().contains("--features vrl"));
        assert!(matches!(Transform::open("", None), Err(SendError::Pause(_))));
    }
}
