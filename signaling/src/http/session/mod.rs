//! What WHIP and WHEP have in common: an offer becomes a session with a URL of its own.

mod create;
mod events;
mod layer;
mod resource;
mod task;

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use super::routes::Routes;
use crate::app::App;
use crate::auth::Claims;
use crate::error::{Code, Problem};

pub(super) use create::create;
pub(crate) use task::SdpSessions;

/// The content type of offers and answers.
const SDP: &str = "application/sdp";

/// Publishing or watching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Whip,
    Whep,
}

impl Protocol {
    /// The first part of its paths, and its label in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }

    /// Refuses a token without the grant.
    fn granted(self, claims: &Claims) -> Result<(), Problem> {
        let (granted, name) = match self {
            Self::Whip => (claims.publish, "publish"),
            Self::Whep => (claims.subscribe, "subscribe"),
        };
        if granted {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, format!("the token does not grant {name}")))
    }
}

/// The endpoint and the resource of each session.
pub(super) fn routes(protocol: Protocol, endpoint: MethodRouter<Arc<App>>) -> Routes {
    let path = format!("/{}/{{room}}", protocol.name());
    let resource = format!("{path}/{{secret}}");
    let methods = axum::routing::get(resource::exists).patch(resource::patch).delete(resource::delete);
    let extensions = match protocol {
        Protocol::Whip => Routes::default(),
        Protocol::Whep => events::routes(&resource).merge(layer::routes(&resource)),
    };
    extensions
        .route(&path, endpoint.get(|| async { StatusCode::OK }).options(endpoint_options))
        .route(&resource, methods.options(resource_options))
        .extended(protocol)
}

const ALLOWED_HEADERS: &str = "Authorization, Content-Type, If-Match";
const PREFLIGHT_SECONDS: &str = "86400";

async fn endpoint_options() -> Response {
    let methods = "GET, HEAD, OPTIONS, POST";
    (options(methods), [("accept-post", SDP)]).into_response()
}

async fn resource_options() -> Response {
    let methods = "GET, HEAD, OPTIONS, PATCH, DELETE";
    (options(methods), [("accept-patch", super::fragment::CONTENT_TYPE)]).into_response()
}

/// The answer to `OPTIONS` on what an extension adds.
fn preflight(methods: &'static str) -> Response {
    (options(methods), ()).into_response()
}

/// Needs no token: browsers send none with a preflight.
fn options(methods: &'static str) -> impl axum::response::IntoResponseParts {
    [
        (header::ALLOW, methods),
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ]
}

/// Refuses a body of another type; parameters such as `charset` do not matter.
fn content_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, format!("the body must be {wanted}")))
}

#[cfg(test)]
mod tests;
