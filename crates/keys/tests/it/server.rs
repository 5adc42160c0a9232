//! A small HTTP server on a free loopback port, for stand-ins; it ends with the test's process.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Answers requests one after the other; returns its address.
pub(crate) fn serve(answer: impl Fn(Request) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = || {
                let mut text = String::new();
                stream.read_line(&mut text).unwrap();
                text.trim_end().to_owned()
            };
            let first = line();
            let mut words = first.split(' ').map(str::to_owned);
            let (Some(method), Some(path)) = (words.next(), words.next()) else { continue };
            let headers: HashMap<String, String> = std::iter::from_fn(|| Some(line()).filter(|text| !text.is_empty()))
                .filter_map(|text| {
                    text.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                })
                .collect();
            let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).unwrap();
            let (status, text) = answer(Request { method, path, headers, body });
            let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
            // The asker may have gone.
            stream.get_mut().write_all([head, text].concat().as_bytes()).ok();
        }
    });
    address
}
