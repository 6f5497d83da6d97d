//! The web app, embedded in the binary.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::routes::Routes;
use crate::error::Problem;

/// The files below `signaling/web`. A debug build reads them from disk on every request.
#[derive(RustEmbed)]
#[folder = "web/"]
struct Files;

/// Scripts and styles from here only; connections to wherever the user points the client; never in a frame.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src 'self' blob: mediastream:; connect-src 'self' ws: wss:; worker-src 'self' blob:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
const PERMISSIONS_POLICY: HeaderValue =
    HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self), geolocation=()");

/// Pages, assets and the client library.
pub(super) fn routes() -> Routes {
    Routes::default()
        .route("/", get(|headers: HeaderMap| async move { page("index.html", &headers) }))
        .route("/r/{room}", get(|headers: HeaderMap| async move { page("index.html", &headers) }))
        .route("/watch/{room}", get(|headers: HeaderMap| async move { page("watch.html", &headers) }))
        .route("/doctor", get(|headers: HeaderMap| async move { page("doctor.html", &headers) }))
        .route("/weir.js", get(|headers: HeaderMap| async move { shared("weir.js", &headers) }))
        .route(
            "/assets/{*path}",
            get(|Path(path): Path<String>, headers: HeaderMap| async move { shared(&path, &headers) }),
        )
}

fn page(path: &str, request: &HeaderMap) -> Response {
    let mut response = file(path, request);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert("permissions-policy", PERMISSIONS_POLICY);
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

/// A file that pages of other origins may load too: the client library is made for them.
fn shared(path: &str, request: &HeaderMap) -> Response {
    let mut response = page(path, request);
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn file(path: &str, request: &HeaderMap) -> Response {
    let Some(file) = Files::get(path) else {
        return Problem::not_found().into_response();
    };
    let etag = etag(&file);
    // The names carry no hash of the content: browsers ask every time, and mostly hear that nothing changed.
    let caching = [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, String::from("no-cache"))];
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged = known.flat_map(|value| value.split(',')).any(|tag| tag.trim() == etag || tag.trim() == "*");
    if unchanged {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = content_type(file.metadata.mimetype());
    (caching, [(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
}

fn etag(file: &EmbeddedFile) -> String {
    use base64::Engine;
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash());
    format!("\"{hash}\"")
}

fn content_type(mime: &str) -> String {
    match mime.starts_with("text/") || mime == "application/json" {
        true => format!("{mime}; charset=utf-8"),
        false => mime.to_owned(),
    }
}
