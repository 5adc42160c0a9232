//! Standard output: the demo's live stream, for people or as JSON Lines.

use std::io::{IsTerminal, Write};

use convizit_model::Event;
use convizit_model::destination::StdoutFormat;
use convizit_store::StoredEvent;

use crate::destinations::{SendError, line};

pub(crate) struct Stdout {
    format: StdoutFormat,
    colour: bool,
}

impl Stdout {
    pub(crate) fn open(format: StdoutFormat, allowed: bool) -> Result<Self, SendError> {
        if !allowed {
            return Err(SendError::Pause("only `convizit demo` writes events to standard output".to_owned()));
        }
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Ok(Self { format, colour })
    }

    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<(), SendError> {
        let mut out = Vec::new();
        for event in events {
            match self.format {
                StdoutFormat::Json => out.extend_from_slice(&event.json),
                StdoutFormat::Pretty => match serde_json::from_slice::<Event>(&event.json) {
                    Ok(event) => out.extend_from_slice(line::of(&event, self.colour).as_bytes()),
                    Err(_) => continue,
                },
            }
            out.push(b'\n');
        }
        // A terminal that is stopped blocks: not on a thread that others need.
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&out).and_then(|()| stdout.flush())
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(SendError::Ended),
            _ => Err(SendError::later("standard output cannot be written")),
        }
    }
}
