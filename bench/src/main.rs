//! Measures the product from outside: each subcommand one measurement, each measurement a table with ratios of one run.

mod agents;
mod backlog;
mod backup;
mod body_reader;
mod cluster;
mod collect;
mod console;
mod corpus;
mod deliver;
mod erase;
mod isolation;
mod keys;
mod lexicon;
mod load;
mod machine;
mod opened;
mod pipeline;
mod replay;
mod scrub;
mod server;
mod start;
mod stored;
mod table;
mod tls;
mod words;

use anyhow::Result;
use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "bench/run", about = "Measurements of the product; bench/README.md explains each")]
enum Measurement {
    /// Requests and events a second of the collector, and how long answers take.
    Collect(collect::Collect),
    /// Events a second from decode to seal, and from the journal to frames.
    Pipeline(pipeline::Pipeline),
    /// From stored events to destinations of each kind, and the plain clients beside them.
    Deliver(deliver::Deliver),
    /// What healthy destinations get while others of the same process hang and fail.
    Isolation(isolation::Isolation),
    /// Memory and lag over what waits in the journal.
    Backlog(backlog::Backlog),
    /// Seconds of a backup and of a restore, and events a second beside a backup.
    Backup(backup::Backup),
    /// Bytes on the disk per event.
    Stored(stored::Stored),
    /// Seconds from start to ready.
    Start(start::Start),
    /// Minutes of a clean release build.
    Build(start::Build),
    /// What the text gate withholds, what it lets pass, and how fast it reads.
    Scrub(scrub::Scrub),
    /// Persons erased from millions of events while more arrive.
    Erase(erase::Erase),
    /// Keys wrapped anew under load, and the audit log verified.
    Keys(keys::Keys),
    /// How long each page of the console takes, and what it weighs.
    Console(console::Console),
    /// Packs the list of words that data/words.py makes.
    #[command(hide = true)]
    Lexicon(lexicon::Lexicon),
    /// Prints everything that a data folder holds.
    #[command(hide = true)]
    Opened(opened::Opened),
    /// What the collector is compared with; started by `collect`.
    #[command(hide = true)]
    BodyReader(body_reader::BodyReader),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    // The one provider of TLS; a second installation can only be our own.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let measurement = Measurement::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match measurement {
            Measurement::Collect(collect) => collect.run().await,
            Measurement::Pipeline(pipeline) => pipeline.run().await,
            Measurement::Deliver(deliver) => deliver.run().await,
            Measurement::Isolation(isolation) => isolation.run().await,
            Measurement::Lexicon(_) => lexicon::Lexicon::run(),
            Measurement::Backlog(backlog) => backlog.run().await,
            Measurement::Backup(backup) => backup.run().await,
            Measurement::Stored(stored) => stored.run().await,
            Measurement::Start(start) => start.run().await,
            Measurement::Build(build) => build.run(),
            Measurement::Scrub(scrub) => scrub.run(),
            Measurement::Erase(erase) => erase.run().await,
            Measurement::Keys(keys) => keys.run().await,
            Measurement::Console(console) => console.run().await,
            Measurement::Opened(opened) => opened.run().await,
            Measurement::BodyReader(reader) => reader.run().await,
        }
    })
}
