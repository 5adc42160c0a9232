//! What the machine itself does: how long a sync takes, and how fast bytes can be made durable without a product around.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::table::percentile;

/// Blocks this thread.
#[expect(clippy::disallowed_methods, reason = "measurements wait on threads that have nothing else to do")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The median of write + fdatasync of 4 KiB, in milliseconds, and the load average.
pub(crate) fn describe(folder: &Path) -> Result<String> {
    let mut file = File::create(folder.join("sync"))?;
    let block = [7; 4096];
    let mut micros = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        micros.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    micros.sort_unstable();
    std::fs::remove_file(folder.join("sync"))?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(format!(
        "fdatasync of 4 KiB: p50 {:.2} ms, p99 {:.2} ms; {} cores; load average {}",
        percentile(&micros, 0.5) / 1000.0,
        percentile(&micros, 0.99) / 1000.0,
        std::thread::available_parallelism().map_or(0, usize::from),
        load.split(' ').next().unwrap_or_default()
    ))
}

/// Writes these bodies in groups of 128 KiB, each followed by fdatasync, for so long; bodies a second.
pub(crate) fn raw(folder: &Path, bodies: &[Vec<u8>], time: Duration) -> Result<f64> {
    const GROUP: usize = 128 * 1024;
    let mut file = File::create(folder.join("raw"))?;
    let (mut group, mut bytes, mut count) = (Vec::with_capacity(2 * GROUP), 0_u64, 0_u64);
    let start = Instant::now();
    for body in bodies.iter().cycle() {
        group.extend_from_slice(body);
        count += 1;
        if group.len() >= GROUP {
            file.write_all(&group)?;
            file.sync_data()?;
            bytes += group.len() as u64;
            group.clear();
            if start.elapsed() >= time {
                break;
            }
            if bytes > 4 << 30 {
                file.set_len(0)?;
                bytes = 0;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(folder.join("raw"))?;
    Ok(count as f64 / seconds)
}

/// Compiles the library that makes each sync 5 ms slower.
pub(crate) fn slow_sync(folder: &Path) -> Result<PathBuf> {
    let library = folder.join("slow_sync.so");
    let source = folder.join("slow_sync.c");
    std::fs::write(&source, include_str!("../slow_sync.c"))?;
    let status =
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status()?;
    ensure!(status.success(), "cc made no library");
    Ok(library)
}
