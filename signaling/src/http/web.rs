//! The web app, embedded in the binary.
//!
//! Pages name their scripts and styles with the version of all of them (`/assets/@{version}/app.js`), and these name others
//! relative to themselves: what a browser has of that version it need not ask for again. Names without a version, as
//! `/weir.js` has them for other pages, are asked for each time, and so is what another version was asked for.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

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

/// The browser asks every time, and mostly hears that nothing has changed.
const ASK_AGAIN: &str = "no-cache";
/// What has this name will never be anything else.
const KEEP: &str = "public, max-age=31536000, immutable";

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
    let Some(file) = Files::get(path) else {
        return Problem::not_found().into_response();
    };
    let version = format!("{:016x}", version_for_page());
    let text = String::from_utf8_lossy(&file.data).replace("\"/assets/", &format!("\"/assets/@{version}/"));
    let kind = content_type(file.metadata.mimetype());
    secured(answer(text.into_bytes(), kind, &format!("\"{version}\""), ASK_AGAIN, request))
}

fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert("permissions-policy", PERMISSIONS_POLICY);
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

/// A file that pages of other origins may load too: the client library is made for them.
fn shared(path: &str, request: &HeaderMap) -> Response {
    let (path, caching) = match path.strip_prefix('@').and_then(|versioned| versioned.split_once('/')) {
        Some((wanted, path)) => (path, if is_current(wanted) { KEEP } else { ASK_AGAIN }),
        None => (path, ASK_AGAIN),
    };
    let Some(file) = Files::get(path) else {
        return Problem::not_found().into_response();
    };
    let (etag, kind) = (etag(&file), content_type(file.metadata.mimetype()));
    let mut response = secured(answer(file.data.into_owned(), kind, &etag, caching, request));
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn answer(data: Vec<u8>, kind: String, etag: &str, caching: &'static str, request: &HeaderMap) -> Response {
    let caching = [(header::ETAG, etag.to_owned()), (header::CACHE_CONTROL, caching.to_owned())];
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged = known.flat_map(|value| value.split(',')).any(|tag| tag.trim() == etag || tag.trim() == "*");
    if unchanged {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, kind)], data).into_response()
}

/// The version that pages have been given last; 0 before the first.
static VERSION: AtomicU64 = AtomicU64::new(0);

/// Of all files together: found anew with each page where the files are read from disk.
fn version_for_page() -> u64 {
    match VERSION.load(Relaxed) {
        known if known != 0 && !cfg!(debug_assertions) => known,
        _ => {
            let found = of_all_files();
            VERSION.store(found, Relaxed);
            found
        }
    }
}

fn is_current(version: &str) -> bool {
    u64::from_str_radix(version, 16).is_ok_and(|version| version == VERSION.load(Relaxed))
}

fn of_all_files() -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut paths: Vec<_> = Files::iter().collect();
    paths.sort();
    let mut hasher = DefaultHasher::new();
    for path in paths {
        if let Some(file) = Files::get(&path) {
            (&path, file.metadata.sha256_hash()).hash(&mut hasher);
        }
    }
    hasher.finish()
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
