//! Pages for people.

use axum::Router;
use convizit_store::Store;

/// The console's pages. For now one status page; accounts and more come with their issue.
pub fn router(store: Store) -> Router {
    let _ = store;
    Router::new()
}
