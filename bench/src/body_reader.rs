//! What the collector is compared with: an axum handler that reads the body and answers 204, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use clap::Args;

use crate::table::say;
use crate::tls::Certificate;

/// Reads bodies and answers 204; prints its address.
#[derive(Debug, Args)]
pub(crate) struct BodyReader {
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    #[arg(long)]
    key: Option<PathBuf>,
}

impl BodyReader {
    pub(crate) async fn run(self) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        say(&listener.local_addr()?.to_string());
        let app = Router::new()
            .route(
                "/v1/collect",
                post(|body: Bytes| async move {
                    if body.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::NO_CONTENT }
                }),
            )
            .into_make_service();
        match self.certificate.zip(self.key) {
            Some((certificate, key)) => {
                let tls = RustlsConfig::from_pem_file(certificate, key).await?;
                axum_server::from_tcp_rustls(listener, tls)?.serve(app).await?;
            }
            None => axum_server::from_tcp(listener)?.serve(app).await?,
        }
        Ok(())
    }
}

/// The reader as a child process.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) address: SocketAddr,
}

impl Child {
    pub(crate) fn start(tls: Option<&Certificate>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("body-reader").stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(tls) = tls {
            command.arg("--certificate").arg(&tls.certificate).arg("--key").arg(&tls.key);
        }
        let mut process = command.spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok(Self { process, address: line.trim().parse()? })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
