//! A webhook receiver on loopback that verifies signatures, keeps what it got and answers as the test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::Response;
use convizit_model::DestinationKind;

use crate::stand::SECRET;

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) names: Vec<String>,
    pub(crate) status: u16,
}

type Judge = Box<dyn Fn(&[String]) -> u16 + Send>;

struct Shared {
    requests: Vec<Request>,
    answers: VecDeque<(u16, Vec<(&'static str, String)>)>,
    judge: Judge,
    /// How long each answer takes.
    wait: Duration,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    shared: Arc<Mutex<Shared>>,
    pub(crate) url: String,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared =
            Shared { requests: Vec::new(), answers: VecDeque::new(), judge: Box::new(|_| 204), wait: Duration::ZERO };
        let receiver = Self { shared: Arc::new(Mutex::new(shared)), url };
        let app = receiver.clone();
        let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let app = app.clone();
            async move {
                let answer = app.answer(&headers, &body);
                let wait = app.shared.lock().unwrap().wait;
                tokio::time::sleep(wait).await;
                answer
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
        let right = convizit_keys::verify_webhook(SECRET, &id, timestamp, body, &header("webhook-signature")).unwrap();
        assert!(right, "the signature is wrong");
        assert_eq!(header("content-type"), "application/json");
        let parsed: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(parsed["type"], "events");
        let events = parsed["events"].as_array().unwrap();
        let names: Vec<String> = events.iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect();
        let mut shared = self.shared.lock().unwrap();
        let (status, answered) = match shared.answers.pop_front() {
            Some(answer) => answer,
            None => ((shared.judge)(&names), Vec::new()),
        };
        shared.requests.push(Request { id, names, status });
        let mut response = Response::builder().status(status);
        for (name, value) in answered {
            response = response.header(name, value);
        }
        response.body("the receiver's own words".into()).unwrap()
    }

    /// The next answer; after those the judge decides.
    pub(crate) fn then(&self, status: u16, headers: &[(&'static str, &str)]) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.shared.lock().unwrap().answers.push_back((status, headers));
    }

    pub(crate) fn judge(&self, judge: impl Fn(&[String]) -> u16 + Send + 'static) {
        self.shared.lock().unwrap().judge = Box::new(judge);
    }

    pub(crate) fn takes(&self, wait: Duration) {
        self.shared.lock().unwrap().wait = wait;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.lock().unwrap().requests.clone()
    }

    /// Names of the events that were taken, in the order of their coming.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.requests().into_iter().filter(|request| request.status < 300).flat_map(|request| request.names).collect()
    }

    pub(crate) fn kind(&self) -> DestinationKind {
        DestinationKind::Webhook { url: self.url.clone() }
    }
}
