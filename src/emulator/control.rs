//! The handles of the emulator itself, under `/__emulator`; they cost no credits.

use super::state::AppState;
use axum::Router;

/// The routes under `/__emulator`.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
}
