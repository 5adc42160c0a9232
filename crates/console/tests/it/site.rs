//! A console with two projects and a person for each role.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use convizit_console::{Admitted, ConsoleConfig, Row, routes};
use convizit_delivery::DeliveryConfig;
use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::{Clock, Project, ProjectSettings, Role, Timestamp};
use convizit_store::{Account, SessionPlace, Store, StoreConfig, SystemClock, TotpSecret};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

pub(crate) const PASSWORD: &str = "copper lantern walks uphill";
pub(crate) const HOST: &str = "127.0.0.1:8091";

/// The system's time, and what a test has added to it.
#[derive(Default)]
pub(crate) struct ShiftedClock(AtomicI64);

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::Acquire))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anonymous,
    /// The Owner of the other project.
    Stranger,
    In(Role),
}

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    clock: Arc<ShiftedClock>,
    pub(crate) store: Store,
    pub(crate) app: Router,
    pub(crate) rows: Vec<Row>,
    pub(crate) shop: Project,
    pub(crate) people: Vec<(Who, Account, TotpSecret)>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) admitted: bool,
}

impl Answer {
    pub(crate) fn location(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether it asks once more who the person is, before it takes a form.
    pub(crate) fn asks_who_it_is(&self) -> bool {
        self.status == StatusCode::UNPROCESSABLE_ENTITY && self.text.contains("<h1>Is it you?</h1>")
    }

    /// The names and values of the hidden fields of its first form, as a browser sends them.
    pub(crate) fn hidden(&self) -> Vec<(String, String)> {
        let main = self.text.split_once("<main").expect("a page").1;
        let form = main.split_once("<form").expect("a form").1.split_once("</form>").expect("its end").0;
        let inputs = form.split("<input type=\"hidden\" ").skip(1);
        let value = |input: &str, name: &str| {
            let text = input.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
            text.map_or("", |(value, _)| value).replace("&#10;", "\n").replace("&#38;", "&")
        };
        inputs.map(|input| (value(input, "name"), value(input, "value"))).collect()
    }

    /// The secret of the cookie that it sets.
    pub(crate) fn cookie(&self) -> Option<String> {
        let text = self.headers.get(header::SET_COOKIE)?.to_str().unwrap();
        assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{text}");
        Some(text.split(['=', ';']).nth(1).unwrap().to_owned())
    }
}

/// A request as a browser sends it from a page of ours.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) cookie: Option<&'a str>,
    pub(crate) fields: Vec<(&'a str, String)>,
    pub(crate) origin: Option<&'a str>,
    pub(crate) site: Option<&'a str>,
    pub(crate) kind: &'a str,
    /// The visitor's address, where a proxy says it.
    pub(crate) from: Option<&'a str>,
    /// The page that the form was on.
    pub(crate) page: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(path: &'a str, cookie: Option<&'a str>) -> Self {
        Self {
            method: Method::GET,
            path,
            cookie,
            fields: Vec::new(),
            origin: None,
            site: Some("none"),
            kind: "",
            from: None,
            page: None,
        }
    }

    pub(crate) fn post(path: &'a str, cookie: Option<&'a str>, fields: Vec<(&'a str, String)>) -> Self {
        Self {
            method: Method::POST,
            origin: Some("http://127.0.0.1:8091"),
            site: Some("same-origin"),
            kind: "application/x-www-form-urlencoded",
            fields,
            ..Self::get(path, cookie)
        }
    }
}

impl Site {
    pub(crate) async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = open_provider(&ProviderConfig::File { path: folder.path().join("keys") }).unwrap();
        let config = StoreConfig::in_folder(folder.path());
        let clock = Arc::<ShiftedClock>::default();
        let store = Store::open(config, provider, clock.clone()).await.unwrap();
        let project = async |id: &str| {
            let settings =
                ProjectSettings { origins: vec!["https://shop.example".to_owned()], ..ProjectSettings::default() };
            store.create_project(&id.parse().unwrap(), settings).await.unwrap()
        };
        let (shop, blog) = (project("shop").await, project("blog").await);
        let mut people = Vec::new();
        let first = store.first_link().await.unwrap();
        let master = store.accept(&first, "master@shop.example", "Mia Master", PASSWORD).await.unwrap();
        people.push((Who::In(Role::MasterAdmin), master));
        for (who, project, role, email) in [
            (Who::In(Role::Viewer), &shop, Role::Viewer, "viewer@shop.example"),
            (Who::In(Role::Editor), &shop, Role::Editor, "editor@shop.example"),
            (Who::In(Role::Admin), &shop, Role::Admin, "admin@shop.example"),
            (Who::In(Role::Owner), &shop, Role::Admin, "owner@shop.example"),
            (Who::Stranger, &blog, Role::Admin, "stranger@blog.example"),
        ] {
            let secret = store.invite_member(project, email, role).await.unwrap();
            let account = store.accept(&secret, "", &format!("Person {email}"), PASSWORD).await.unwrap();
            if who == Who::In(Role::Owner) || who == Who::Stranger {
                store.make_owner(project, account.number).await.unwrap();
            }
            people.push((who, account));
        }
        let mut known = Vec::new();
        for (who, account) in people {
            let secret = TotpSecret::random().unwrap();
            let code = secret.code(store.clock().now());
            store.set_second_factor(&account, &secret, &code, 0).await.unwrap();
            known.push((who, store.account(account.number).await.unwrap(), secret));
        }
        let delivery = DeliveryConfig { allow_networks: vec!["127.0.0.0/8".to_owned()], ..DeliveryConfig::default() };
        let collector = "http://127.0.0.1:8090".to_owned();
        let config = ConsoleConfig { collector, delivery, ..ConsoleConfig::default() };
        let (app, rows) = routes(store.clone(), config);
        Self { folder, clock, store, app, rows, shop, people: known }
    }

    /// The same people behind a console that is set up in another way.
    pub(crate) fn set_up(&mut self, config: ConsoleConfig) {
        (self.app, self.rows) = routes(self.store.clone(), config);
    }

    /// Lets some time pass.
    pub(crate) fn wait(&self, millis: i64) {
        self.clock.0.fetch_add(millis, Ordering::AcqRel);
    }

    /// Lets six minutes pass.
    pub(crate) fn age_proof(&self) {
        self.pass(6);
    }

    /// Lets minutes pass.
    pub(crate) fn pass(&self, minutes: i64) {
        self.clock.0.fetch_add(minutes * 60_000, Ordering::AcqRel);
    }

    pub(crate) fn account(&self, who: Who) -> &Account {
        &self.people.iter().find(|(known, ..)| *known == who).unwrap().1
    }

    /// A whole session of somebody; of nobody a secret that is none.
    pub(crate) async fn session(&self, who: Who) -> String {
        match who {
            Who::Anonymous => self.store.new_secret().unwrap(),
            who => self.store.begin_session(self.account(who), true, &SessionPlace::default(), None).await.unwrap(),
        }
    }

    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Answer {
        let mut request = Request::builder().method(ask.method).uri(ask.path).header(header::HOST, HOST);
        if let Some(cookie) = ask.cookie {
            request = request.header(header::COOKIE, format!("convizit_console={cookie}"));
        }
        if let Some(origin) = ask.origin {
            request = request.header(header::ORIGIN, origin);
        }
        if let Some(site) = ask.site {
            request = request.header("sec-fetch-site", site);
        }
        if let Some(from) = ask.from {
            request = request.header("x-forwarded-for", from);
        }
        if let Some(page) = ask.page {
            request = request.header(header::REFERER, page);
        }
        if !ask.kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, ask.kind);
        }
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(&ask.fields);
        let request = request.body(Body::from(body.finish())).unwrap();
        let answer = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            admitted: parts.extensions.get::<Admitted>().is_some(),
        }
    }

    pub(crate) async fn get(&self, path: &str, cookie: &str) -> Answer {
        self.ask(Ask::get(path, Some(cookie))).await
    }

    /// A form of ours, sent by whoever has this cookie.
    pub(crate) async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("token", self.store.form_token(cookie))];
        all.extend(fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.ask(Ask::post(path, Some(cookie), all)).await
    }
}
