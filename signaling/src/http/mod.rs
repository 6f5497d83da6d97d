//! HTTP: routes, and what all of them have in common.

mod fragment;
mod health;
mod rooms;
mod routes;
pub(crate) mod session;
mod web;
mod whep;
mod whip;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use self::routes::Routes;
use crate::app::App;
use crate::error::{self, Problem};
use crate::limits::REQUEST_TIMEOUT;
use crate::ws;

/// The document that `/openapi.json` is, kept by hand; a test holds it against the routes.
const OPENAPI: &str = include_str!("openapi.json");

/// Every route.
fn routes() -> Routes {
    Routes::default()
        .route("/v1/rooms", get(rooms::list).post(rooms::create))
        .route("/v1/rooms/{room}", get(rooms::show).delete(rooms::close))
        .route("/v1/rooms/{room}/participants", get(rooms::participants))
        .route("/v1/rooms/{room}/participants/{id}", delete(rooms::remove))
        .route("/v1/rooms/{room}/participants/{id}/subscriptions", get(rooms::subscriptions))
        .route("/v1/rooms/{room}/participants/{id}/tracks/{track}/mute", post(rooms::mute))
        .merge(whip::routes())
        .merge(whep::routes())
        .merge(web::routes())
        .route("/v1/rooms/{room}/ws", get(ws::upgrade))
        .route("/v1/config", get(health::config))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
}

/// Every route, with what all of them have in common.
pub(crate) fn router(app: Arc<App>) -> Router {
    routes()
        .into_router()
        .fallback(|| async { Problem::not_found() })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(finish))
        .with_state(app)
}

/// Where a request comes from.
pub(crate) struct Source(pub(crate) SocketAddr);

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(source)| *source);
        // Unknown is not loopback: nothing is open to it.
        Ok(Self(known.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))))
    }
}

/// Counts answers by route, never by path: rooms and session secrets must not become labels.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => String::from("other"),
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let labels = [&*method, route.as_deref().unwrap_or("none"), status.as_str()];
    app.metrics.requests.with_label_values(&labels).inc();
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(method, route, status = status.as_u16(), "a request failed");
    }
    response
}

const CORS_EXPOSED: HeaderValue = HeaderValue::from_static("Location, ETag, Link, Retry-After, WWW-Authenticate");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const REFERRER_POLICY: HeaderName = header::REFERRER_POLICY;

/// What every answer gets, errors of the framework included.
async fn finish(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // WHIP and WHEP are for pages of any origin. That is safe with `*`: browsers then add no credentials of their own.
    let cors = path.starts_with("/whip/") || path.starts_with("/whep/");
    let mut response = error::normalize(next.run(request).await).await;
    let headers = response.headers_mut();
    if cors {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    // Room names, and with WHIP session secrets, are in paths.
    headers.entry(REFERRER_POLICY).or_insert(NO_REFERRER);
    response
}

/// An answer or a problem.
pub(crate) type Answered = Result<Response, Problem>;

/// JSON that nobody shall keep.
pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_string(value) {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            Problem::new(error::Code::Internal, "the answer could not be written").into_response()
        }
    }
}

#[cfg(test)]
mod tests;
