//! scratch
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use bytes::Bytes;
use convizit_keys::KeyRing;
use convizit_store::journal::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn text(seed: u64, n: usize) -> Bytes {
    // json-ish with entropy
    let mut x = seed.wrapping_mul(0x9E3779B97F4A7C15) | 1;
    let mut s = String::with_capacity(n + 200);
    while s.len() < n {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        s.push_str(&format!("{{\"type\":\"click\",\"id\":\"0193a1f0-{:016x}\",\"time\":{},\"descriptor\":{{\"role\":\"button\",\"label\":\"Add to cart {}\",\"context\":[{{\"kind\":\"section\",\"name\":\"Recommended\"}}],\"visitor\":\"{:x}\"}}}},", x, x % 100000, x % 997, x >> 20));
    }
    s.truncate(n);
    Bytes::from(s)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let secs: u64 = args.get(1).map_or(4, |s| s.parse().unwrap());
    let dir = tempfile::tempdir_in(args.get(2).map_or("/work", |s| s)).unwrap();
    // raw fdatasync
    {
        use std::io::Write;
        let mut f = std::fs::File::create(dir.path().join("raw")).unwrap();
        for size in [1024usize, 16384, 131072] {
            let buf = vec![7u8; size];
            let t = Instant::now();
            let mut n = 0;
            let mut lat = vec![];
            while t.elapsed() < Duration::from_secs(1) {
                let a = Instant::now();
                f.write_all(&buf).unwrap();
                f.sync_data().unwrap();
                lat.push(a.elapsed());
                n += 1;
            }
            lat.sort();
            println!("raw {size}: {n}/s p50 {:?} p99 {:?}", lat[lat.len() / 2], lat[lat.len() * 99 / 100]);
        }
        std::fs::remove_file(dir.path().join("raw")).unwrap();
    }
    for (name, size, conc) in [
        ("16K one per commit", 16384usize, 1usize),
        ("128K one per commit", 131072, 1),
        ("128K x2", 131072, 2),
        ("3K x64", 3000, 64),
        ("3K x256", 3000, 256),
    ] {
        let sub = dir.path().join(name.replace(' ', "_"));
        std::fs::create_dir(&sub).unwrap();
        let j = Arc::new(
            SqliteJournal::open(&sub, Arc::new(KeyRing::ephemeral().unwrap()), Bounds::default(), 0).await.unwrap(),
        );
        let recs: Vec<Bytes> = (0..64).map(|i| text(i + 1, size)).collect();
        let t = Instant::now();
        // reader/forgetter
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let reader = {
            let j = Arc::clone(&j);
            let stop = Arc::clone(&stop);
            let forget = args.get(3).is_none();
            tokio::spawn(async move {
                let mut after = 0;
                let mut n = 0usize;
                while forget && !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let b = j.read(after, 1 << 20).await.unwrap();
                    if let Some(l) = b.last() {
                        after = l.offset;
                        n += b.iter().map(|b| b.records.len()).sum::<usize>();
                        j.forget_through(after);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    } else {
                        tokio::time::sleep(Duration::from_millis(5)).await
                    }
                }
                (after, n)
            })
        };
        let tasks: Vec<_> = (0..conc)
            .map(|c| {
                let j = Arc::clone(&j);
                let recs = recs.clone();
                tokio::spawn(async move {
                    let mut lat = vec![];
                    let mut i = c;
                    while t.elapsed() < Duration::from_secs(secs) {
                        let a = Instant::now();
                        j.append(recs[i % 64].clone()).await.unwrap();
                        lat.push(a.elapsed());
                        i += 1;
                    }
                    lat
                })
            })
            .collect();
        let mut lat = vec![];
        for x in tasks {
            lat.extend(x.await.unwrap());
        }
        let el = t.elapsed().as_secs_f64();
        lat.sort();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (after, n) = reader.await.unwrap();
        let h = j.health();
        println!(
            "{name}: {:.0} appends/s, {:.0} commits/s, {:.0} MB/s, p50 {:?} p99 {:?} p999 {:?} max {:?}; read to {after} ({n} recs), used {} MB wal {} MB db {} MB",
            lat.len() as f64 / el,
            h.offset as f64 / el,
            (lat.len() * size) as f64 / el / 1e6,
            lat[lat.len() / 2],
            lat[lat.len() * 99 / 100],
            lat[lat.len() * 999 / 1000],
            lat[lat.len() - 1],
            h.journal_bytes >> 20,
            std::fs::metadata(sub.join("journal.db-wal")).unwrap().len() >> 20,
            std::fs::metadata(sub.join("journal.db")).unwrap().len() >> 20
        );
        j.close().await;
    }
}
