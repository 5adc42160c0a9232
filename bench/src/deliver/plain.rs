//! The plain clients: what somebody writes who only wants these rows there, with the library at hand.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::Speed;
use super::receivers::{Hook, Objects, hex, opened};

/// Rows of one statement: as many as the product has.
const ROWS: usize = 500;
/// Requests at once: as many as the product has.
const LANES: usize = 4;

/// Reads the product's rows a statement's worth at a time, and writes each with tokio-postgres: `INSERT` of many rows, repeats ignored.
/// Only the writing is on the clock.
pub(super) async fn postgres(url: &str) -> Result<Speed> {
    let (reader, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let (writer, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    writer.batch_execute("CREATE SCHEMA plain; CREATE TABLE plain.events (LIKE convizit.events INCLUDING ALL)").await?;
    let columns: Vec<(String, String)> = writer
        .query(
            "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute \
             WHERE attrelid = 'plain.events'::regclass AND attnum > 0 ORDER BY attnum",
            &[],
        )
        .await?
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()?;
    let whole = insert(&writer, &columns, ROWS).await?;
    reader.batch_execute("BEGIN; DECLARE those CURSOR FOR SELECT * FROM convizit.events ORDER BY number").await?;
    let (mut events, mut time) = (0, Duration::ZERO);
    loop {
        let said = reader.simple_query(&format!("FETCH {ROWS} FROM those")).await?;
        let mut rows: Vec<Vec<Option<String>>> = Vec::with_capacity(ROWS);
        for message in said {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..columns.len()).map(|at| row.get(at).map(str::to_owned)).collect());
            }
        }
        if rows.is_empty() {
            break;
        }
        let rest = if rows.len() < ROWS { Some(insert(&writer, &columns, rows.len()).await?) } else { None };
        let start = Instant::now();
        let values: Vec<&(dyn ToSql + Sync)> =
            rows.iter().flatten().map(|value| value as &(dyn ToSql + Sync)).collect();
        writer.execute(rest.as_ref().unwrap_or(&whole), &values).await?;
        time += start.elapsed();
        events += rows.len() as u64;
    }
    Ok(Speed { who: format!("tokio-postgres, INSERT of {ROWS}"), events, seconds: time.as_secs_f64() })
}

async fn insert(
    client: &Client,
    columns: &[(String, String)],
    rows: usize,
) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
    let mut sql = String::from("INSERT INTO plain.events VALUES ");
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for (at, (_, kind)) in columns.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(sql, "{comma}${}::text::{kind}", row * columns.len() + at + 1).ok();
        }
        sql.push(')');
    }
    sql.push_str(" ON CONFLICT (id) DO NOTHING");
    client.prepare(&sql).await
}

/// Posts the same rows, so many a request, one request after the other.
pub(super) async fn hook(hook: &Hook, path: &str, rows: &[Bytes], batch: usize) -> Result<Speed> {
    let (url, client) = (format!("http://{}/{path}", hook.address), reqwest::Client::builder().no_proxy().build()?);
    let (before, _) = hook.arrived();
    let start = Instant::now();
    for (number, rows) in rows.chunks(batch).enumerate() {
        let list = rows.join(&b","[..]);
        let (id, at) = (format!("msg_plain_{number}"), crate::load::now() / 1_000);
        let mut request = client.post(&url).header("content-type", "application/json");
        let body = if path == "hook" {
            let body = [&b"{\"type\":\"events\",\"events\":["[..], &list, b"]}"].concat();
            let signature = convizit_keys::sign_webhook(&hook.secret, &id, at, &body)?;
            request =
                request.header("webhook-id", id).header("webhook-timestamp", at).header("webhook-signature", signature);
            body
        } else {
            [&b"["[..], &list, b"]"].concat()
        };
        let answer = request.body(body).send().await?;
        ensure!(answer.status().is_success(), "the receiver answered {}", answer.status());
    }
    let seconds = start.elapsed().as_secs_f64();
    let events = rows.len() as u64;
    ensure!(hook.arrived().0 - before == events, "events of the plain client are missing");
    Ok(Speed { who: format!("reqwest, {batch} a request"), events, seconds })
}

/// The product's own objects: their lines compressed, digested and PUT, four at once; then the same objects merely PUT.
pub(super) async fn objects(objects: &Objects) -> Result<Vec<Speed>> {
    let (events, _) = objects.arrived()?;
    let made = objects.take();
    let lines: Vec<Bytes> = made.iter().map(|object| Ok(opened(object)?.into())).collect::<Result<_>>()?;
    let many = made.len();
    let mut speeds = Vec::new();
    for (who, bodies, compressed) in
        [("reqwest, lines compressed and PUT", lines, false), ("reqwest, the same objects PUT", made, true)]
    {
        let bodies = Arc::new(bodies);
        let (base, client) =
            (format!("http://{}/events/plain", objects.address), reqwest::Client::builder().no_proxy().build()?);
        let start = Instant::now();
        let mut lanes = tokio::task::JoinSet::new();
        for lane in 0..LANES {
            let (base, client, bodies) = (base.clone(), client.clone(), bodies.clone());
            lanes.spawn(async move {
                for (number, body) in bodies.iter().enumerate().skip(lane).step_by(LANES) {
                    let body = if compressed { body.clone() } else { gzip(body)?.into() };
                    let request = client
                        .put(format!("{base}/{number}"))
                        .header("if-none-match", "*")
                        .header("x-amz-content-sha256", hex(&convizit_keys::sha256(&body)));
                    let answer = request.body(body).send().await?;
                    ensure!(answer.status().is_success(), "the receiver answered {}", answer.status());
                }
                Ok(())
            });
        }
        while let Some(done) = lanes.join_next().await {
            done.context("a lane")??;
        }
        let seconds = start.elapsed().as_secs_f64();
        ensure!(objects.take().len() == many, "objects of the plain client are missing");
        speeds.push(Speed { who: format!("{who} ({many})"), events, seconds });
    }
    Ok(speeds)
}

fn gzip(lines: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(lines)?;
    Ok(encoder.finish()?)
}
