//! Layer selection: the WHEP extension `urn:ietf:params:whep:ext:core:layer`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde::Deserialize;
use weir_sfu::watching::LayerChoice;

use super::super::routes::Routes;
use super::super::{Answered, Source};
use super::resource::authorize;
use super::{Protocol, content_type, preflight};
use crate::app::App;
use crate::error::{Code, Problem};
use crate::limits::{MAX_JSON_BYTES, read_text};

pub(super) fn routes(resource: &str) -> Routes {
    Routes::default().route(&format!("{resource}/layer"), post(choose).options(|| async { preflight("OPTIONS, POST") }))
}

/// The `Link` of a new session.
pub(super) fn link(location: &str) -> String {
    format!("<{location}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\"")
}

/// The drafts name the encoding `encodingId`, later `rid`, and the bounds with and without `max`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Choice {
    media_id: Option<String>,
    encoding_id: Option<String>,
    rid: Option<String>,
    spatial_layer_id: Option<u8>,
    temporal_layer_id: Option<u8>,
    max_spatial_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
}

/// `POST …/layer`: the best that a video line shall get; without any bound, what fits.
async fn choose(
    State(app): State<Arc<App>>,
    Extension(protocol): Extension<Protocol>,
    Source(source): Source,
    Path((room, secret)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    app.limits.request(source)?;
    let resource = authorize(&app, protocol, &room, &secret, &headers)?;
    content_type(&headers, "application/json")?;
    let text = read_text(body, MAX_JSON_BYTES, Code::TooLarge).await?;
    let choice: Choice =
        serde_json::from_str(&text).map_err(|error| Problem::new(Code::BadMessage, error.to_string()))?;
    let lower = |one: Option<u8>, other: Option<u8>| one.into_iter().chain(other).min();
    let bound = LayerChoice {
        encoding: choice.encoding_id.or(choice.rid),
        spatial: lower(choice.spatial_layer_id, choice.max_spatial_layer_id),
        temporal: lower(choice.temporal_layer_id, choice.max_temporal_layer_id),
    };
    resource.choose(choice.media_id, bound).await?;
    Ok(StatusCode::OK.into_response())
}
