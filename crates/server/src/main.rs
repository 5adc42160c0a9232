//! The binary convizit: reads the command line, wires the rooms, runs the roles.

mod cli;
mod config;
mod demo;
mod observe;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    let command = cli::parse();
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
        Err(error) => cli::fail(&error),
    }
}
