//! Pages for people: accounts, projects and what belongs to them; the same for programs, and the interface of the site's privacy desk.
//!
//! `access.rs` decides who comes in, for every route alike; `pages/` has a file for each page; `templates/` has their text;
//! `api/` has the interface for programs.

mod access;
mod acts;
mod api;
mod chart;
mod compress;
pub mod findings;
mod known;
mod letter;
mod live;
mod page;
mod pages;
mod privacy;
mod session;
mod snippet;
mod throttle;
mod tried;

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use convizit_delivery::DeliveryConfig;
use convizit_pipeline::Countries;
use convizit_store::Store;

pub use access::{Access, Admitted, Row};
pub use acts::processors::{Line as ProcessorLine, lines as processors, table as processors_table};
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
    /// Whether the operator has an address of their own, for health, metrics and what is of the whole installation.
    pub operator_apart: bool,
    /// The address by which browsers find that one, where it is not the one that is listened on; then a proxy stands before it, too.
    pub admin_public: Option<String>,
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
    shared: Arc<Shared>,
    config: ConsoleConfig,
    face: Face,
}

/// What both addresses have together.
struct Shared {
    store: Store,
    throttle: Throttle,
    catalogues: known::Catalogues,
    tried: tried::Tried,
}

/// Which routes an address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// All of them.
    Whole,
    /// All but those of the whole installation, where the operator has an address of their own.
    Public,
    /// The operator's: all but those of programs.
    Operator,
}

impl Face {
    fn has(self, access: Access) -> bool {
        match self {
            Self::Whole => true,
            Self::Public => !matches!(access, Access::Installation(_)),
            Self::Operator => !matches!(access, Access::Token | Access::Public | Access::Scope(_)),
        }
    }
}

impl Console {
    pub(crate) fn store(&self) -> &Store {
        &self.0.shared.store
    }

    pub(crate) fn config(&self) -> &ConsoleConfig {
        &self.0.config
    }

    pub(crate) fn throttle(&self) -> &Throttle {
        &self.0.shared.throttle
    }

    pub(crate) fn catalogues(&self) -> &known::Catalogues {
        &self.0.shared.catalogues
    }

    pub(crate) fn tried(&self) -> &tried::Tried {
        &self.0.shared.tried
    }

    pub(crate) fn face(&self) -> Face {
        self.0.face
    }
}

/// What the console serves.
pub struct Served {
    /// Its pages and the interfaces of programs.
    pub pages: Router,
    /// The operator's pages, where they have an address of their own: those of the whole installation are there alone.
    pub admin: Option<Router>,
    /// The row of rights of each route.
    pub rows: Vec<Row>,
}

/// What is at no route: a page for people, a problem for programs.
async fn nothing(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return Problem::not_found().into_response();
    }
    Refusal::NotFound.into_response()
}

/// The console's pages and the interfaces of programs, on one address or two.
pub fn serve(store: Store, config: ConsoleConfig) -> Served {
    let catalogues = known::Catalogues::default();
    let shared = Arc::new(Shared { store, throttle: Throttle::default(), catalogues, tried: tried::Tried::default() });
    let face = |config, face| face_of(Console(Arc::new(Inner { shared: shared.clone(), config, face })));
    if !config.operator_apart {
        let (pages, rows) = face(config, Face::Whole);
        return Served { pages, admin: None, rows };
    }
    // Whoever asks this address itself could say any address in a header.
    let behind_proxy = config.behind_proxy && config.admin_public.is_some();
    let own = ConsoleConfig { public: config.admin_public.clone(), behind_proxy, ..config.clone() };
    let (pages, rows) = face(config, Face::Public);
    Served { pages, admin: Some(face(own, Face::Operator).0), rows }
}

/// The pages on the address that everybody has, with the row of rights of each route, which a test holds against what is expected.
pub fn routes(store: Store, config: ConsoleConfig) -> (Router, Vec<Row>) {
    let Served { pages, rows, .. } = serve(store, config);
    (pages, rows)
}

fn face_of(console: Console) -> (Router, Vec<Row>) {
    let routes = api::routes(privacy::routes(pages::routes(Routes::new(console.clone()))));
    let (router, rows) = routes.parts();
    let router =
        router.fallback(nothing).layer(from_fn(compress::compress)).layer(from_fn_with_state(console, page::headers));
    (router, rows)
}
