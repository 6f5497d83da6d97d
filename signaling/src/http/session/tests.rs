//! Sessions of WHIP and WHEP from POST to DELETE, with real workers and no media.

use axum::http::{Method, header};
use axum::response::Response;
use weir_sfu::api::Role;

use super::super::tests::{Fixture, bearer, is, problem, text};
use crate::auth::Claims;

const FINGERPRINT: &str =
    "38:10:6C:E0:ED:6D:5D:76:64:24:00:A9:3A:65:4D:23:D7:10:AD:2C:2F:C3:85:A2:E7:52:23:7F:A2:68:53:A3";
const TRICKLE: &str = "application/trickle-ice-sdpfrag";

fn offer(direction: &str) -> String {
    let media = |kind: &str, mid: u8, payload: u8, codec: &str| {
        format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {payload}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:SIly\r\n\
             a=ice-pwd:fTBc5tOQklkY8+CCI5MxqleA\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\n\
             a=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:{payload} {codec}\r\n"
        )
    };
    let (audio, video) = (media("audio", 0, 111, "opus/48000/2"), media("video", 1, 96, "VP8/90000"));
    format!("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n{audio}{video}")
}

async fn post(fixture: &Fixture, path: &str, token: Option<&str>, direction: &str) -> Response {
    let mut headers = vec![("content-type", "application/sdp")];
    headers.extend(token.map(|token| ("authorization", token)));
    fixture.send(Method::POST, path, &headers, &offer(direction)).await
}

fn value(response: &Response, name: header::HeaderName) -> String {
    response.headers()[name].to_str().expect("text").to_owned()
}

async fn publish(fixture: &Fixture) -> Response {
    let response = post(fixture, "/whip/demo", None, "sendonly").await;
    assert_eq!(response.status(), 201);
    response
}

async fn members(fixture: &Fixture) -> Vec<weir_sfu::api::ParticipantInfo> {
    let rooms = fixture.app.sfu.rooms(Some("demo".into())).await.expect("rooms");
    rooms.into_iter().flat_map(|room| room.participants).collect()
}

#[tokio::test]
async fn an_offer_is_answered_with_a_session_of_its_own() {
    let fixture = Fixture::development();
    let response = publish(&fixture).await;
    assert_eq!(value(&response, header::CONTENT_TYPE), "application/sdp");
    let location = value(&response, header::LOCATION);
    let secret = location.strip_prefix("/whip/demo/").expect("below the endpoint");
    assert!(secret.len() >= 22, "at least 128 bits in base64");
    let etag = value(&response, header::ETAG);
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 6, "{etag}");
    let answer = text(response).await;
    assert!(answer.contains("a=recvonly") && answer.contains(&format!("a=ice-ufrag:{}", etag.trim_matches('"'))));

    let members = members(&fixture).await;
    assert_eq!((members.len(), members[0].role, &*members[0].name), (1, Role::Publisher, "WHIP"));
    assert_eq!(fixture.get(&location).await.status(), 200);
    assert_eq!(problem(fixture.get(&location.replace("whip", "whep")).await).await, is(404, "not-found"));
    assert_eq!(problem(fixture.get(&location.replace("demo", "other")).await).await, is(404, "not-found"));
}

#[tokio::test]
async fn a_deleted_session_is_gone_at_once() {
    let fixture = Fixture::development();
    let location = value(&publish(&fixture).await, header::LOCATION);
    let response = fixture.send(Method::DELETE, &location, &[("if-match", "\"stale\"")], "").await;
    assert_eq!(response.status(), 200);
    assert!(members(&fixture).await.is_empty());
    for method in [Method::DELETE, Method::GET, Method::PATCH] {
        assert_eq!(problem(fixture.send(method, &location, &[], "").await).await, is(404, "not-found"));
    }
}

#[tokio::test]
async fn candidates_are_taken_for_the_current_ice_session_only() {
    let fixture = Fixture::development();
    let response = publish(&fixture).await;
    let (location, etag) = (value(&response, header::LOCATION), value(&response, header::ETAG));
    let fragment = "a=ice-ufrag:SIly\r\na=ice-pwd:fTBc5tOQklkY8+CCI5MxqleA\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
                    a=candidate:1 1 udp 1 host.local 9 typ host\r\na=end-of-candidates\r\n";
    let patch =
        async |headers: &[(&str, &str)], body: &str| fixture.send(Method::PATCH, &location, headers, body).await;
    let kind = ("content-type", TRICKLE);

    let taken = patch(&[kind, ("if-match", &etag)], fragment).await;
    assert_eq!(taken.status(), 204);
    assert!(!taken.headers().contains_key(header::ETAG));
    assert_eq!(text(taken).await, "");
    assert_eq!(problem(patch(&[kind], fragment).await).await, is(428, "precondition-required"));
    assert_eq!(problem(patch(&[kind, ("if-match", "\"old\"")], fragment).await).await, is(412, "precondition-failed"));
    let sdp = [("content-type", "application/sdp"), ("if-match", &*etag)];
    assert_eq!(problem(patch(&sdp, fragment).await).await, is(415, "unsupported-media-type"));
    assert_eq!(problem(patch(&[kind, ("if-match", &etag)], "hello").await).await, is(400, "bad-request"));
    let half = "a=ice-ufrag:Other\r\n";
    assert_eq!(problem(patch(&[kind, ("if-match", &etag)], half).await).await, is(422, "unacceptable-offer"));
    let huge = "a=candidate:1\r\n".repeat(2000);
    assert_eq!(problem(patch(&[kind, ("if-match", &etag)], &huge).await).await, is(413, "too-large"));
}

#[tokio::test]
async fn ice_restarts_with_new_credentials_and_a_new_entity_tag() {
    let fixture = Fixture::development();
    for any in ["*", "\"*\""] {
        let response = publish(&fixture).await;
        let (location, etag) = (value(&response, header::LOCATION), value(&response, header::ETAG));
        let headers = [("content-type", TRICKLE), ("if-match", any)];
        let nothing_new = fixture.send(Method::PATCH, &location, &headers, "").await;
        assert_eq!(problem(nothing_new).await, is(422, "unacceptable-offer"));
        let fresh = "a=ice-ufrag:Fresh\r\na=ice-pwd:0123456789012345678901\r\n";
        let response = fixture.send(Method::PATCH, &location, &headers, fresh).await;
        assert_eq!(response.status(), 200);
        assert_eq!(value(&response, header::CONTENT_TYPE), TRICKLE);
        let new_etag = value(&response, header::ETAG);
        assert_ne!(new_etag, etag);
        let fragment = text(response).await;
        assert!(fragment.contains(&format!("a=ice-ufrag:{}\r\n", new_etag.trim_matches('"'))), "{fragment}");
        assert!(fragment.contains("a=ice-pwd:") && fragment.contains("a=candidate:"), "{fragment}");
        // The old ICE session is over, and the new one takes candidates.
        let stale = [("content-type", TRICKLE), ("if-match", &*etag)];
        let stale = fixture.send(Method::PATCH, &location, &stale, fresh).await;
        assert_eq!(problem(stale).await, is(412, "precondition-failed"));
        let current = [("content-type", TRICKLE), ("if-match", &*new_etag)];
        assert_eq!(fixture.send(Method::PATCH, &location, &current, fresh).await.status(), 204);
    }
}

#[tokio::test]
async fn new_credentials_with_the_current_entity_tag_restart_ice_too() {
    let fixture = Fixture::development();
    let response = publish(&fixture).await;
    let (location, etag) = (value(&response, header::LOCATION), value(&response, header::ETAG));
    let fresh = "a=ice-ufrag:Fresh\r\na=ice-pwd:0123456789012345678901\r\n";
    let headers = [("content-type", TRICKLE), ("if-match", &*etag)];
    let response = fixture.send(Method::PATCH, &location, &headers, fresh).await;
    assert_eq!(response.status(), 200);
    assert_ne!(value(&response, header::ETAG), etag);
    let again = fixture.send(Method::PATCH, &location, &headers, fresh).await;
    assert_eq!(problem(again).await, is(412, "precondition-failed"));
}

#[tokio::test]
async fn a_viewer_needs_a_room_and_something_in_it() {
    let fixture = Fixture::development();
    let watch = async |path: &str| post(&fixture, path, None, "recvonly").await;
    assert_eq!(problem(watch("/whep/demo").await).await, is(404, "not-found"));
    fixture.app.created.insert("demo".into(), fixture.app.default_limits());
    let response = watch("/whep/demo").await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(problem(response).await, is(409, "nothing-published"));
    publish(&fixture).await;
    let response = watch("/whep/demo").await;
    assert_eq!(response.status(), 201);
    assert!(value(&response, header::LOCATION).starts_with("/whep/demo/"));
    let answer = text(response).await;
    assert!(answer.contains("a=sendonly"), "{answer}");
    assert_eq!(problem(watch("/whep/demo?participant=p0000000000000001").await).await, is(404, "not-found"));
    let named = format!("/whep/demo?participant={}", members(&fixture).await[0].id);
    assert_eq!(watch(&named).await.status(), 201);
    assert_eq!(members(&fixture).await.len(), 1, "viewers are not shown");
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_and_leaves_nobody_behind() {
    let fixture = Fixture::development();
    let response = post(&fixture, "/whip/demo", None, "recvonly").await;
    assert_eq!(problem(response).await, is(422, "unacceptable-offer"));
    let headers = [("content-type", "application/sdp")];
    let response = fixture.send(Method::POST, "/whip/demo", &headers, "v=0\r\nnonsense\r\nm=audio\r\n").await;
    assert_eq!(problem(response).await, is(400, "bad-offer"));
    assert!(members(&fixture).await.is_empty());
    assert_eq!(fixture.app.tasks.len(), 0);
}

#[tokio::test]
async fn a_full_server_says_when_to_come_back() {
    let fixture = Fixture::new(|config| config.limits.max_sessions = 1);
    let location = value(&publish(&fixture).await, header::LOCATION);
    let response = post(&fixture, "/whip/demo", None, "sendonly").await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(problem(response).await, is(503, "overloaded"));
    fixture.send(Method::DELETE, &location, &[], "").await;
    assert_eq!(post(&fixture, "/whip/demo", None, "sendonly").await.status(), 201, "the place is free again");
}

#[tokio::test]
async fn a_full_server_with_another_beside_it_sends_clients_there() {
    let fixture = Fixture::new(|config| {
        config.limits.max_sessions = 1;
        config.limits.overflow = Some(String::from("https://weir2.example.org"));
    });
    publish(&fixture).await;
    let response = post(&fixture, "/whep/demo?participant=p0000000000000001", None, "recvonly").await;
    assert_eq!(response.status(), 307);
    let there = "https://weir2.example.org/whep/demo?participant=p0000000000000001";
    assert_eq!(value(&response, header::LOCATION), there);
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    fixture.app.draining.cancel();
    assert_eq!(post(&fixture, "/whip/demo", None, "sendonly").await.status(), 307);
}

#[tokio::test]
async fn a_room_created_with_a_limit_keeps_to_it() {
    let fixture = Fixture::development();
    let create = async || fixture.send(Method::POST, "/v1/rooms", &[], r#"{"name":"demo","maxParticipants":1}"#).await;
    let created = create().await;
    assert_eq!((created.status().as_u16(), value(&created, header::LOCATION)), (201, String::from("/v1/rooms/demo")));
    assert_eq!(problem(create().await).await, is(409, "room-exists"));
    publish(&fixture).await;
    assert_eq!(problem(post(&fixture, "/whip/demo", None, "sendonly").await).await, is(503, "room-full"));
    let room: serde_json::Value = serde_json::from_str(&text(fixture.get("/v1/rooms/demo").await).await).expect("JSON");
    assert_eq!((&room["maxParticipants"], room["participants"].as_array().map(Vec::len)), (&1.into(), Some(1)));
}

#[tokio::test]
async fn admins_remove_participants_and_close_rooms() {
    let fixture = Fixture::development();
    publish(&fixture).await;
    let id = members(&fixture).await[0].id;
    let path = format!("/v1/rooms/demo/participants/{id}");
    assert_eq!(fixture.get(&format!("{path}/subscriptions")).await.status(), 200);
    assert_eq!(fixture.send(Method::DELETE, &path, &[], "").await.status(), 204);
    assert_eq!(problem(fixture.send(Method::DELETE, &path, &[], "").await).await, is(404, "not-found"));
    let location = value(&publish(&fixture).await, header::LOCATION);
    assert_eq!(fixture.send(Method::DELETE, "/v1/rooms/demo", &[], "").await.status(), 204);
    assert_eq!(problem(fixture.send(Method::DELETE, "/v1/rooms/demo", &[], "").await).await, is(404, "not-found"));
    // The session's URL goes with it, as soon as its task has heard.
    for _ in 0..50 {
        if fixture.get(&location).await.status() == 404 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the session outlived its room");
}

#[tokio::test]
async fn an_admin_of_one_room_cannot_reach_into_another() {
    let fixture = Fixture::with_keys();
    let ann = bearer(Claims { room: "demo".into(), sub: "ann".into(), publish: true, ..Claims::default() });
    assert_eq!(post(&fixture, "/whip/demo", Some(&ann), "sendonly").await.status(), 201);
    let id = members(&fixture).await[0].id;
    let admin = bearer(Claims { room: "other".into(), admin: true, ..Claims::default() });
    let headers = [("authorization", &*admin)];
    let response = fixture.send(Method::DELETE, &format!("/v1/rooms/other/participants/{id}"), &headers, "").await;
    assert_eq!(problem(response).await, is(404, "not-found"));
    assert_eq!(members(&fixture).await.len(), 1);
}

#[tokio::test]
async fn a_new_session_of_an_identity_replaces_the_old() {
    let fixture = Fixture::with_keys();
    let token = |sub: &str| bearer(Claims { room: "demo".into(), sub: sub.into(), publish: true, ..Claims::default() });
    let ann = token("ann");
    let first = value(&post(&fixture, "/whip/demo", Some(&ann), "sendonly").await, header::LOCATION);
    let second = value(&post(&fixture, "/whip/demo", Some(&ann), "sendonly").await, header::LOCATION);
    let members = members(&fixture).await;
    assert_eq!((members.len(), &*members[0].identity, &*members[0].name), (1, "ann", "ann"));
    assert_ne!(first, second);
    let delete = async |token: &str| fixture.send(Method::DELETE, &second, &[("authorization", token)], "").await;
    assert_eq!(problem(fixture.send(Method::DELETE, &second, &[], "").await).await, is(401, "unauthorized"));
    assert_eq!(problem(delete(&token("bob")).await).await, is(403, "forbidden"));
    assert_eq!(delete(&ann).await.status(), 200);
}

#[tokio::test]
async fn a_viewer_may_come_before_the_room() {
    let fixture = Fixture::development();
    let response = post(&fixture, "/whep/demo?wait=true", None, "recvonly").await;
    assert_eq!(response.status(), 201);
    let without = post(&fixture, "/whep/demo", None, "recvonly").await;
    assert_eq!(problem(without).await, is(409, "nothing-published"), "only who says so waits");
    let bad = post(&fixture, "/whep/demo?wait=perhaps", None, "recvonly").await;
    assert_eq!(problem(bad).await, is(400, "bad-request"));
}

#[tokio::test]
async fn a_room_for_one_publisher_refuses_a_second_and_takes_the_same_one_again() {
    let fixture = Fixture::with_keys();
    let admin = bearer(Claims { room: "demo".into(), admin: true, ..Claims::default() });
    let limits = r#"{"name":"demo","maxPublishers":1}"#;
    let created = fixture.send(Method::POST, "/v1/rooms", &[("authorization", &admin)], limits).await;
    assert_eq!(created.status(), 201);
    let token = |sub: &str| bearer(Claims { room: "demo".into(), sub: sub.into(), publish: true, ..Claims::default() });
    let publish = async |sub: &str| post(&fixture, "/whip/demo", Some(&token(sub)), "sendonly").await;
    let first = publish("ann").await;
    assert_eq!(first.status(), 201);
    assert_eq!(problem(publish("bob").await).await, is(409, "publishers-full"));
    assert_eq!(publish("ann").await.status(), 201, "an encoder that starts again");
    assert_eq!(members(&fixture).await.len(), 1);
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// The next piece of a stream of events.
async fn event(body: &mut axum::body::BodyDataStream) -> Option<String> {
    use futures_util::StreamExt;
    let next = tokio::time::timeout(std::time::Duration::from_secs(5), body.next()).await;
    let bytes = next.expect("an event in time")?.expect("bytes");
    Some(String::from_utf8(bytes.into()).expect("text").trim().to_owned())
}

#[tokio::test]
async fn a_viewer_is_told_what_goes_on_until_its_session_ends() {
    let fixture = Fixture::development();
    let publisher = value(&publish(&fixture).await, header::LOCATION);
    let response = post(&fixture, "/whep/demo", None, "recvonly").await;
    let links: Vec<_> = response.headers().get_all(header::LINK).iter().map(|l| l.to_str().expect("text")).collect();
    assert!(links.iter().any(|link| link.contains("server-sent-events") && link.contains("layers,viewercount")));
    let session = value(&response, header::LOCATION);
    let sse = format!("{session}/sse");
    let wanted = r#"["active","inactive","viewercount","reconnect"]"#;
    let created = fixture.send(Method::POST, &sse, &[JSON], wanted).await;
    assert_eq!(created.status(), 201);
    let stream = fixture.get(&value(&created, header::LOCATION)).await;
    assert_eq!(value(&stream, header::CONTENT_TYPE), "text/event-stream");
    let mut events = stream.into_body().into_data_stream();
    assert_eq!(event(&mut events).await.as_deref(), Some("event: active\ndata: {}"));
    assert_eq!(event(&mut events).await.as_deref(), Some("event: viewercount\ndata: {\"viewercount\":1}"));
    fixture.send(Method::DELETE, &publisher, &[], "").await;
    assert_eq!(event(&mut events).await.as_deref(), Some("event: inactive\ndata: {}"));
    publish(&fixture).await;
    assert_eq!(event(&mut events).await.as_deref(), Some("event: active\ndata: {}"));
    fixture.app.draining.cancel();
    assert_eq!(event(&mut events).await.as_deref(), Some("event: reconnect\ndata: {}"));
    assert_eq!(fixture.send(Method::DELETE, &session, &[], "").await.status(), 200);
    assert_eq!(event(&mut events).await, None, "the stream ends with its session");
}

#[tokio::test]
async fn streams_and_choices_that_make_no_sense_are_refused() {
    let fixture = Fixture::development();
    publish(&fixture).await;
    let session = value(&post(&fixture, "/whep/demo", None, "recvonly").await, header::LOCATION);
    let cases = [
        ("sse", JSON, r#"["weather"]"#, 400, "bad-message"),
        ("sse", JSON, "{}", 400, "bad-message"),
        ("sse", ("content-type", "text/plain"), "[]", 415, "unsupported-media-type"),
        ("layer", JSON, r#"{"encodingId":"f"}"#, 409, "layer-unavailable"),
        ("layer", JSON, r#"{"mediaId":"7"}"#, 409, "layer-unavailable"),
        ("layer", JSON, r#"{"mediaId":"0"}"#, 409, "layer-unavailable"),
        ("layer", JSON, r#"{"spatialLayerId":-1}"#, 400, "bad-message"),
        ("layer", ("content-type", "text/plain"), "{}", 415, "unsupported-media-type"),
    ];
    for (extension, kind, body, status, code) in cases {
        let response = fixture.send(Method::POST, &format!("{session}/{extension}"), &[kind], body).await;
        assert_eq!(problem(response).await, is(status, code), "{extension} {body}");
    }
    let bound = r#"{"mediaId":"1","temporalLayerId":0}"#;
    assert_eq!(fixture.send(Method::POST, &format!("{session}/layer"), &[JSON], bound).await.status(), 200);
    let publisher = value(&publish(&fixture).await, header::LOCATION);
    let response = fixture.send(Method::POST, &format!("{publisher}/sse"), &[JSON], "[]").await;
    assert_eq!(problem(response).await, is(404, "not-found"), "WHIP has no such extension");
    let response = fixture.get(&format!("{session}/sse/nothing")).await;
    assert_eq!(problem(response).await, is(404, "not-found"));
}
