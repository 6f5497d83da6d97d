//! Is it alive, is it ready, what does it count; and what a page needs to know before it joins.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;

use super::{Answered, json};
use crate::app::App;
use crate::error::{Code, Problem};
use crate::metrics;

/// How long the workers may take to say their counters.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /livez`: the event loop turns. Says nothing of the media workers: a restart would end every call.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: new sessions may come here.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Answered {
    app.refuse_while_draining()?;
    if !app.sfu.is_running() {
        return Err(Problem::new(Code::Overloaded, "the media workers do not answer"));
    }
    Ok("ready\n".into_response())
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let stats = timeout(STATS_TIMEOUT, app.sfu.stats()).await;
    let shards = match stats {
        Ok(Ok(shards)) => shards,
        // What signaling counts is worth having all the same; `weir_workers_up` tells.
        _ => Vec::new(),
    };
    let body = app.metrics.render(&shards, app.draining.is_cancelled());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], body).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicConfig {
    version: &'static str,
    auth_required: bool,
}

/// `GET /v1/config`: no secrets, for everyone.
pub(super) async fn config(State(app): State<Arc<App>>) -> Response {
    json(StatusCode::OK, &PublicConfig { version: crate::VERSION, auth_required: app.auth.required() })
}
