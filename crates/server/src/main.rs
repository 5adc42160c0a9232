//! The binary convizit: reads the command line, wires the rooms, runs the roles.

mod cli;
mod config;
mod daily;
mod demo;
mod observe;
mod os_user;
mod run;

use std::io::Write;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Open files beyond this are connections that nobody needs: it bounds what a crowd of idle ones may cost.
const OPEN_FILES: u64 = 65_536;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A message may quote the text that was being read: only the place of a panic is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        writeln!(std::io::stderr(), "a panic at {place}; its message may hold captured text and is not shown").ok();
    }));
    // The process of a destination's transform: before all else, since it gives up what the others need.
    #[cfg(feature = "vrl")]
    if std::env::args_os().nth(1).is_some_and(|word| word == convizit_delivery::TRANSFORM_WORKER) {
        return if convizit_delivery::transform_worker().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let command = cli::parse();
    raise_open_files();
    // The one provider of TLS; a second installation can only be our own.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&anyhow::anyhow!("no threads can be started: {error}")),
    };
    let result = runtime.block_on(cli::execute(command));
    // A thread that waits for a terminal must not keep the program.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output, `head` say, has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => cli::fail(&error),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        cause.downcast_ref::<std::io::Error>().is_some_and(broken)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|error| error.io_error_kind() == Some(std::io::ErrorKind::BrokenPipe))
    })
}

/// Each connection is an open file, and the usual 1 024 are soon taken: as many as this user may have.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    if limit.current.is_some_and(|current| current < allowed) {
        limit.current = Some(allowed);
        // What is refused leaves the limit as it was, and all works up to it.
        setrlimit(Resource::Nofile, limit).ok();
    }
}
