//! A server with keys: who is let in, and what the others are told.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use weir_tests::peer::PeerBuilder;
use weir_tests::server::{KEY_ID, SECRET, Server};
use weir_tests::signaling::{Messages, SDP, open, post_sdp};

const OTHER_SECRET: &str = "not the key of this server, but just as long as it is";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sign(secret: &str, algorithm: Algorithm, claims: &Value) -> String {
    let header = Header { kid: Some(KEY_ID.into()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn claims(room: &str) -> Value {
    json!({"room": room, "sub": "ada", "publish": true, "subscribe": true, "exp": now() + 600})
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn good(room: &str) -> String {
    sign(SECRET, Algorithm::HS256, &claims(room))
}

/// `{"alg":"none"}`, the claims, and no signature.
fn unsigned() -> String {
    let parts: Vec<_> = good("r").split('.').map(str::to_owned).collect();
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", parts[1])
}

/// Tokens that say nothing here: expired, foreign, forged, none.
fn worthless() -> Vec<(&'static str, Option<String>)> {
    let hs256 = |claims: &Value| Some(sign(SECRET, Algorithm::HS256, claims));
    let tampered = good("r").replacen('.', ".e", 1);
    vec![
        ("no token", None),
        ("not a token", Some("ada".into())),
        ("expired", hs256(&with(claims("r"), "exp", json!(now() - 60)))),
        ("not yet good", hs256(&with(claims("r"), "nbf", json!(now() + 600)))),
        ("no expiry", hs256(&json!({"room": "r", "publish": true, "subscribe": true}))),
        ("another server's", Some(sign(OTHER_SECRET, Algorithm::HS256, &claims("r")))),
        ("another algorithm", Some(sign(SECRET, Algorithm::HS512, &claims("r")))),
        ("no algorithm", Some(unsigned())),
        ("tampered with", Some(tampered)),
        ("10 kB", Some("x".repeat(10_000))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worthless_token_is_401_and_says_how_to_do_better() {
    let server = Server::start_with_key().await;
    for path in ["/whip/r", "/whep/r"] {
        for (what, token) in worthless() {
            let offer = PeerBuilder::publisher().offer().sdp;
            let response = post_sdp(&server.url(path), token.as_deref(), SDP, offer).await;
            assert_eq!(response.status(), 401, "{what} at {path}");
            let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["code"], "unauthorized", "{what} at {path}");
            if let Some(token) = token.filter(|t| t.len() > 10) {
                assert!(!problem.to_string().contains(&token), "the token is in the answer");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_room_or_without_the_grant_is_403() {
    let server = Server::start_with_key().await;
    let hs256 = |claims: &Value| sign(SECRET, Algorithm::HS256, claims);
    let _publisher = open(&server.url("/whip/r"), Some(&good("r")), PeerBuilder::publisher()).await;
    let cases = [
        ("/whip/r", good("elsewhere")),
        ("/whep/r", good("elsewhere")),
        ("/whip/r", hs256(&with(claims("r"), "publish", json!(false)))),
        ("/whep/r", hs256(&with(claims("r"), "subscribe", json!(false)))),
    ];
    for (path, token) in cases {
        let client = if path == "/whip/r" { PeerBuilder::publisher() } else { PeerBuilder::viewer() };
        let response = post_sdp(&server.url(path), Some(&token), SDP, client.offer().sdp).await;
        assert_eq!(response.status(), 403, "{path}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "forbidden", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_with_a_worthless_token_is_told_so_and_closed() {
    let server = Server::start_with_key().await;
    let foreign = ("another room's", Some(good("elsewhere")));
    for (what, token) in worthless().into_iter().chain([foreign]) {
        let mut messages = Messages::connect(&server, "r").await;
        messages.send(json!({"type": "join", "name": "Ada", "token": token})).await;
        let answer = messages.next().await.expect("an error before the end");
        assert_eq!(answer["type"], "error", "{what}: {answer}");
        assert_eq!(answer["code"], "unauthorized", "{what}: {answer}");
        assert_eq!(messages.next().await, None, "{what}: the connection stays open");
    }
    let mut messages = Messages::connect(&server, "r").await;
    messages.send(json!({"type": "join", "name": "Ada", "token": good("r")})).await;
    assert_eq!(messages.expect("joined").await["room"], "r");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_the_publish_grant_cannot_publish() {
    let server = Server::start_with_key().await;
    let token = sign(SECRET, Algorithm::HS256, &with(claims("r"), "publish", json!(false)));
    let mut messages = Messages::connect(&server, "r").await;
    messages.send(json!({"type": "join", "name": "Ada", "token": token})).await;
    messages.expect("joined").await;
    let offered = PeerBuilder::publisher().receive(1, 1).offer();
    messages.send(json!({"type": "offer", "id": 7, "sdp": offered.sdp, "tracks": []})).await;
    let error = messages.expect("error").await;
    assert_eq!((&error["id"], &error["code"]), (&json!(7), &json!("forbidden")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_starts_again_replaces_itself() {
    let server = Server::start_with_key().await;
    let url = server.url("/whip/r");
    let first = open(&url, Some(&good("r")), PeerBuilder::publisher()).await;
    weir_tests::eventually("connected", || first.peer.report().connected).await;
    let _second = open(&url, Some(&good("r")), PeerBuilder::publisher()).await;
    weir_tests::eventually("the first is closed", || first.peer.report().closed.then_some(())).await;
    let mut messages = Messages::connect(&server, "r").await;
    let viewer = with(claims("r"), "sub", json!("bo"));
    let token = sign(SECRET, Algorithm::HS256, &viewer);
    messages.send(json!({"type": "join", "name": "Bo", "token": token})).await;
    let joined = messages.expect("joined").await;
    let publishers = joined["participants"].as_array().unwrap();
    assert_eq!(publishers.len(), 1, "a ghost: {publishers:?}");
}
