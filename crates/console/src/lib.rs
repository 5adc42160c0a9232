//! Pages for people: accounts, projects and what belongs to them; the same for programs, and the interface of the site's privacy desk.
//!
//! `access.rs` decides who comes in, for every route alike; `pages/` has a file for each page; `templates/` has their text;
//! `api/` has the interface for programs.

mod access;
mod api;
mod chart;
mod compress;
mod letter;
mod live;
mod page;
mod pages;
mod privacy;
mod session;
mod snippet;
mod throttle;

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use convizit_delivery::DeliveryConfig;
use convizit_pipeline::Countries;
use convizit_store::Store;

pub use access::{Access, Admitted, Row};
pub use snippet::{snippet, unreachable_snippet};

use access::Routes;
use api::problem::Problem;
use page::Refusal;
use throttle::Throttle;

/// What the operator says of the console.
#[derive(Debug, Clone, Default)]
pub struct ConsoleConfig {
    /// The address that browsers use, such as `https://console.shop.example`, where it is not the one that is listened on.
    pub public: Option<String>,
    /// Whether a proxy stands before it, whose `X-Forwarded-For` is believed (its last entry).
    pub behind_proxy: bool,
    /// Where the tracker loads from, for snippets.
    pub collector: String,
    /// Whom to tell of a weakness: a `mailto:`, `tel:` or `https:` address, for `/.well-known/security.txt`.
    pub security_contact: Option<String>,
    /// Whether health and metrics have an address of their own, and are not beside the pages.
    pub operator_apart: bool,
    /// Where destinations and channels may be, asked before one is saved or tried, and the mail server.
    pub delivery: DeliveryConfig,
    /// The countries of addresses; without them no sign-in has one.
    pub countries: Option<Countries>,
}

impl ConsoleConfig {
    /// Whether browsers reach it by HTTPS alone.
    fn secure(&self) -> bool {
        self.public.as_deref().is_some_and(|public| public.starts_with("https://"))
    }
}

/// What the pages share; cheap to clone.
#[derive(Clone)]
pub(crate) struct Console(Arc<Inner>);

struct Inner {
    store: Store,
    config: ConsoleConfig,
    throttle: Throttle,
    catalogues: pages::known::Catalogues,
}

impl Console {
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn config(&self) -> &ConsoleConfig {
        &self.0.config
    }

    pub(crate) fn throttle(&self) -> &Throttle {
        &self.0.throttle
    }

    pub(crate) fn catalogues(&self) -> &pages::known::Catalogues {
        &self.0.catalogues
    }
}

/// The console's pages and the privacy desk's interface.
pub fn router(store: Store, config: ConsoleConfig) -> Router {
    routes(store, config).0
}

/// What is at no route: a page for people, a problem for programs.
async fn nothing(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return Problem::not_found().into_response();
    }
    Refusal::NotFound.into_response()
}

/// The same with the row of rights of each route, which a test holds against what is expected.
pub fn routes(store: Store, config: ConsoleConfig) -> (Router, Vec<Row>) {
    let console = Console(Arc::new(Inner {
        store,
        config,
        throttle: Throttle::default(),
        catalogues: pages::known::Catalogues::default(),
    }));
    let routes = api::routes(privacy::routes(pages::routes(Routes::new(console.clone()))));
    let (router, rows) = routes.parts();
    let router =
        router.fallback(nothing).layer(from_fn(compress::compress)).layer(from_fn_with_state(console, page::headers));
    (router, rows)
}
