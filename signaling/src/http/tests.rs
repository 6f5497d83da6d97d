//! Requests through the whole router, without a network and without media.

use axum::body::Body;
use axum::http::{Method, Request};
use tower::ServiceExt;
use weir_sfu::{Sfu, SfuConfig};

use super::*;
use crate::auth::{Claims, sign, unix_now};
use crate::config::{Config, Key, Secret};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";

fn key() -> Key {
    Key { id: String::from("main"), secret: Secret::new("a secret that is long enough, and then some") }
}

pub(super) struct Fixture {
    pub(super) app: Arc<App>,
    source: SocketAddr,
}

impl Fixture {
    pub(super) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let sfu = Sfu::start(SfuConfig {
            addr,
            tcp: Default::default(),
            turn: None,
            announce: Vec::new(),
            workers: 1,
            spread_at: 100,
            coalesce: Default::default(),
            loudest: 3,
            max_bitrate: 8_000_000,
        })
        .expect("workers");
        Self { app: Arc::new(App::new(config, sfu)), source: SocketAddr::from(([127, 0, 0, 1], 5000)) }
    }

    pub(super) fn development() -> Self {
        Self::new(|_| {})
    }

    pub(super) fn with_keys() -> Self {
        Self::new(|config| config.keys.push(key()))
    }

    pub(super) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(ConnectInfo(self.source)).body(Body::from(body.to_owned()));
        let Ok(response) = router(Arc::clone(&self.app)).oneshot(request.expect("a request")).await;
        response
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], "").await
    }
}

pub(super) fn bearer(claims: Claims) -> String {
    let token = sign(&key(), &Claims { exp: unix_now() + 60, ..claims }).expect("signed");
    format!("Bearer {token}")
}

fn publisher(room: &str) -> String {
    bearer(Claims { room: room.to_owned(), publish: true, ..Claims::default() })
}

pub(super) async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    String::from_utf8(bytes.into()).expect("text")
}

/// The status and the code of a problem.
pub(super) async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let body: serde_json::Value = serde_json::from_str(&text(response).await).expect("JSON");
    assert_eq!(body["status"], status);
    (status, body["code"].as_str().expect("a code").to_owned())
}

pub(super) fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn unknown_routes_are_problems() {
    let fixture = Fixture::development();
    for path in ["/nope", "/v1", "/assets/nope.js", "/assets/../src/lib.rs", "/assets/%2e%2e/Cargo.toml", "/whip"] {
        assert_eq!(problem(fixture.get(path).await).await, is(404, "not-found"), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_told_which_are_allowed() {
    let fixture = Fixture::development();
    for path in ["/v1/rooms", "/whip/demo", "/livez"] {
        let response = fixture.send(Method::PUT, path, &[], "").await;
        assert!(response.headers().contains_key(header::ALLOW), "{path}");
        assert_eq!(problem(response).await, is(405, "method-not-allowed"), "{path}");
    }
}

#[tokio::test]
async fn pages_come_with_security_headers() {
    let fixture = Fixture::development();
    for path in ["/", "/r/demo", "/watch/demo", "/doctor"] {
        let response = fixture.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("connect-src 'self' ws: wss:"));
    }
}

#[tokio::test]
async fn a_page_that_the_browser_has_is_not_sent_again() {
    let fixture = Fixture::development();
    let etag = fixture.get("/").await.headers()[header::ETAG].to_str().expect("text").to_owned();
    let response = fixture.send(Method::GET, "/", &[("if-none-match", &etag)], "").await;
    assert_eq!(response.status(), 304);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn what_a_page_names_is_kept_for_ever_and_other_names_are_asked_for_again() {
    let fixture = Fixture::development();
    let page = text(fixture.get("/r/demo").await).await;
    let named = page.split('"').filter(|part| part.starts_with("/assets/")).collect::<Vec<_>>();
    assert!(named.len() >= 4, "icon, style, library and script: {page}");
    for path in &named {
        let response = fixture.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable", "{path}");
    }
    let app = named.iter().find(|path| path.ends_with("/app.js")).expect("the script");
    let (_, versioned) = app.split_once('@').expect("a version");
    let (version, _) = versioned.split_once('/').expect("and a path");
    let others = ["/assets/app.js".to_owned(), app.replace(version, "0123"), "/weir.js".to_owned()];
    for path in others {
        let response = fixture.get(&path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache", "{path}");
    }
    let missing = fixture.get(&app.replace("app.js", "nope.js")).await;
    assert_eq!(problem(missing).await, is(404, "not-found"));
}

#[tokio::test]
async fn scripts_name_each_other_relative_to_themselves() {
    let fixture = Fixture::development();
    let mut left = vec!["/assets/app.js".to_owned(), "/assets/watch.js".to_owned(), "/assets/doctor.js".to_owned()];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(path) = left.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let response = fixture.get(&path).await;
        assert_eq!(response.status(), 200, "{path}");
        let script = text(response).await;
        for line in script.lines().filter(|line| line.starts_with("import ") || line.starts_with("export ")) {
            let Some((_, from)) = line.split_once(" from '") else { continue };
            let name = from.trim_end_matches(['\'', ';']);
            assert!(name.starts_with('.'), "{path}: {line}: a name with its version forgotten");
            left.push(resolved(&path, name));
        }
    }
    assert!(seen.len() > 30, "{seen:?}");
}

/// `../client/http.js`, seen from `/assets/ui/grid.js`.
fn resolved(from: &str, name: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => _ = parts.pop(),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[tokio::test]
async fn health_says_live_and_ready_until_draining() {
    let fixture = Fixture::development();
    assert_eq!(fixture.get("/livez").await.status(), 200);
    assert_eq!(fixture.get("/readyz").await.status(), 200);
    fixture.app.draining.cancel();
    assert_eq!(fixture.get("/livez").await.status(), 200);
    assert_eq!(problem(fixture.get("/readyz").await).await, is(503, "overloaded"));
    let headers = [("content-type", "application/sdp")];
    let response = fixture.send(Method::POST, "/whip/demo", &headers, OFFER).await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(problem(response).await, is(503, "overloaded"));
}

#[tokio::test]
async fn metrics_count_routes_and_never_paths() {
    let fixture = Fixture::development();
    fixture.get("/whip/secret-room/secret-session").await;
    let response = fixture.get("/metrics").await;
    assert!(response.headers()[header::CONTENT_TYPE].to_str().expect("text").starts_with("text/plain"));
    let metrics = text(response).await;
    assert!(metrics.contains("route=\"/whip/{room}/{secret}\",status=\"404\"} 1"), "{metrics}");
    assert!(!metrics.contains("secret-"), "{metrics}");
}

#[tokio::test]
async fn the_public_configuration_says_whether_tokens_are_needed() {
    let body = text(Fixture::with_keys().get("/v1/config").await).await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body, serde_json::json!({"version": crate::VERSION, "authRequired": true}));
}

#[tokio::test]
async fn whip_and_whep_endpoints_answer_get_head_and_options() {
    let fixture = Fixture::with_keys();
    for path in ["/whip/demo", "/whep/demo"] {
        for method in [Method::GET, Method::HEAD] {
            let response = fixture.send(method, path, &[], "").await;
            assert_eq!(response.status(), 200);
            assert_eq!(text(response).await, "");
        }
        let preflight = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
        let response = fixture.send(Method::OPTIONS, path, &preflight, "").await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["accept-post"], "application/sdp");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().expect("text").contains("Authorization"));
        assert!(headers[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().expect("text").contains("POST"));
        assert!(!headers.contains_key(header::LINK), "not on a preflight");
    }
    let response = fixture.send(Method::OPTIONS, "/whip/demo/some-session", &[], "").await;
    assert!(response.headers()[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().expect("text").contains("PATCH, DELETE"));
}

#[tokio::test]
async fn problems_of_whip_can_be_read_by_pages_of_any_origin() {
    let response = Fixture::development().send(Method::POST, "/whip/demo", &[], "").await;
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let exposed = response.headers()[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().expect("text").to_owned();
    for name in ["Location", "ETag", "Link"] {
        assert!(exposed.contains(name), "{name}");
    }
}

#[tokio::test]
async fn offers_are_checked_before_anybody_joins() {
    let fixture = Fixture::development();
    let sdp = ("content-type", "application/sdp");
    let huge = format!("{OFFER}{}", "a=x\r\n".repeat(14_000));
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let cases: [Case<'_>; 7] = [
        ("/whip/demo", &[], OFFER, 415, "unsupported-media-type"),
        ("/whip/demo", &[("content-type", "application/json")], OFFER, 415, "unsupported-media-type"),
        ("/whip/demo", &[sdp], "hello", 400, "bad-offer"),
        ("/whip/demo", &[sdp], "", 400, "bad-offer"),
        ("/whip/demo", &[sdp], &huge, 413, "offer-too-large"),
        ("/whip/-demo", &[sdp], OFFER, 400, "bad-room-name"),
        ("/whep/demo?participant=nobody", &[sdp], OFFER, 400, "bad-request"),
    ];
    for (path, headers, body, status, code) in cases {
        let response = fixture.send(Method::POST, path, headers, body).await;
        assert_eq!(problem(response).await, is(status, code), "{path} {headers:?}");
    }
    let with_parameter = [("content-type", "Application/SDP; charset=utf-8")];
    assert_eq!(problem(fixture.send(Method::POST, "/whip/demo", &with_parameter, "x").await).await.1, "bad-offer");
}

#[tokio::test]
async fn whip_and_whep_need_a_token_of_the_room_with_the_grant() {
    let fixture = Fixture::with_keys();
    let send = async |path: &str, token: &str| {
        let headers = [("content-type", "application/sdp"), ("authorization", token)];
        fixture.send(Method::POST, path, &headers, "hello").await
    };
    let response = fixture.send(Method::POST, "/whip/demo", &[("content-type", "application/sdp")], OFFER).await;
    assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    assert_eq!(problem(response).await, is(401, "unauthorized"));
    assert_eq!(problem(send("/whip/demo", "Bearer nonsense").await).await, is(401, "unauthorized"));
    assert_eq!(problem(send("/whip/demo", &publisher("other")).await).await, is(403, "forbidden"));
    assert_eq!(problem(send("/whep/demo", &publisher("demo")).await).await, is(403, "forbidden"));
    // Far enough to look at the offer: the token was taken.
    assert_eq!(problem(send("/whip/demo", &publisher("demo")).await).await, is(400, "bad-offer"));
}

#[tokio::test]
async fn sessions_that_are_not_there_are_not_found() {
    let fixture = Fixture::development();
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let response = fixture.send(method.clone(), "/whep/demo/0123456789", &[], "").await;
        assert_eq!(problem(response).await, is(404, "not-found"), "{method}");
    }
    let response = Fixture::with_keys().send(Method::DELETE, "/whip/demo/0123456789", &[], "").await;
    assert_eq!(problem(response).await, is(401, "unauthorized"));
}

#[tokio::test]
async fn too_many_requests_of_one_source_are_told_to_wait() {
    let fixture = Fixture::new(|config| {
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 2;
    });
    for _ in 0..2 {
        fixture.send(Method::POST, "/whip/demo", &[], "").await;
    }
    for (method, path) in [(Method::POST, "/whip/demo"), (Method::DELETE, "/whep/demo/x"), (Method::PATCH, "/whip/a/b")]
    {
        let response = fixture.send(method, path, &[], "").await;
        assert!(response.headers().contains_key(header::RETRY_AFTER), "{path}");
        assert_eq!(problem(response).await, is(429, "rate-limited"), "{path}");
    }
}

#[tokio::test]
async fn the_admin_api_needs_the_grant_and_hides_rooms_without_it() {
    let fixture = Fixture::with_keys();
    let get = async |path: &str, token: &str| {
        problem(fixture.send(Method::GET, path, &[("authorization", token)], "").await).await
    };
    let admin = bearer(Claims { room: String::from("mine"), admin: true, ..Claims::default() });
    assert_eq!(problem(fixture.get("/v1/rooms").await).await, is(401, "unauthorized"));
    assert_eq!(get("/v1/rooms", &publisher("demo")).await, is(403, "forbidden"));
    fixture.app.created.insert("demo".into(), fixture.app.default_limits());
    let hidden = fixture.send(Method::GET, "/v1/rooms/demo", &[("authorization", &admin)], "").await;
    let missing = fixture.send(Method::GET, "/v1/rooms/none", &[("authorization", &admin)], "").await;
    assert_eq!(hidden.status(), missing.status());
    assert_eq!(text(hidden).await, text(missing).await, "word for word the same");
    for path in ["/v1/rooms/demo/participants", "/v1/rooms/demo/participants/p0000000000000001/subscriptions"] {
        assert_eq!(get(path, &publisher("demo")).await, is(404, "not-found"), "{path}");
    }
    let delete = fixture.send(Method::DELETE, "/v1/rooms/demo", &[("authorization", &publisher("demo"))], "").await;
    assert_eq!(problem(delete).await, is(404, "not-found"));
    assert!(fixture.app.created.contains_key("demo"), "it is still there");
}

#[tokio::test]
async fn without_keys_the_admin_api_is_for_this_machine() {
    let body = "{}";
    let mut fixture = Fixture::development();
    let here = fixture.send(Method::POST, "/v1/rooms", &[("host", "localhost:8080")], body).await;
    assert_eq!(problem(here).await, is(400, "bad-message"), "open: only the body is wrong");
    let rebound = fixture.send(Method::POST, "/v1/rooms", &[("host", "evil.example")], body).await;
    assert_eq!(problem(rebound).await, is(403, "forbidden"));
    let foreign = [("host", "localhost:8080"), ("origin", "https://evil.example")];
    assert_eq!(problem(fixture.send(Method::POST, "/v1/rooms", &foreign, body).await).await, is(403, "forbidden"));
    fixture.source = SocketAddr::from(([192, 0, 2, 1], 5000));
    assert_eq!(problem(fixture.send(Method::POST, "/v1/rooms", &[], body).await).await, is(403, "forbidden"));
}

#[tokio::test]
async fn a_websocket_is_refused_to_foreign_pages_and_other_protocols() {
    let fixture = Fixture::development();
    let upgrade = |extra: (&'static str, &'static str)| {
        vec![
            ("host", "127.0.0.1:8080"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            extra,
        ]
    };
    let path = "/v1/rooms/demo/ws";
    let foreign = upgrade(("origin", "https://evil.example"));
    assert_eq!(problem(fixture.send(Method::GET, path, &foreign, "").await).await, is(403, "forbidden"));
    assert_eq!(problem(fixture.get("/v1/rooms/-/ws").await).await, is(400, "bad-room-name"));
    assert!(fixture.get(path).await.status().is_client_error(), "no upgrade asked for");
}

/// What a path is in the document: `{path}` for axum's `{*path}`.
fn documented(path: &str) -> String {
    path.replace("{*", "{")
}

#[tokio::test]
async fn the_openapi_document_holds_every_route_and_method_and_no_other() {
    let fixture = Fixture::development();
    let response = fixture.get("/openapi.json").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let document: serde_json::Value = serde_json::from_str(&text(response).await).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let all = routes();
    let mut ours: Vec<_> = all.paths().iter().map(|path| documented(path)).collect();
    let mut theirs: Vec<_> = paths.keys().cloned().collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
    for path in all.paths() {
        let response = fixture.send(Method::TRACE, &path.replace(['{', '}', '*'], ""), &[], "").await;
        assert_eq!(response.status(), 405, "{path}");
        let allowed = response.headers()[header::ALLOW].to_str().expect("text");
        let mut allowed: Vec<_> = allowed.split(',').map(|m| m.trim().to_lowercase()).filter(|m| m != "head").collect();
        let mut listed: Vec<_> = paths[&documented(path)].as_object().expect("methods").keys().cloned().collect();
        allowed.sort();
        listed.sort();
        assert_eq!(allowed, listed, "{path}");
    }
}
