//! How stays begin, go on and end.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::eventually;
use weir_tests::peer::PeerBuilder;
use weir_tests::server::Server;
use weir_tests::signaling::{Messages, join, open, publish};

async fn members(server: &Server, room: &str) -> Vec<String> {
    let mut messages = Messages::connect(server, room).await;
    messages.send(json!({"type": "join", "name": "a look around"})).await;
    let joined = messages.expect("joined").await;
    let names = |p: &Value| p["name"].as_str().unwrap().to_owned();
    let names = joined["participants"].as_array().unwrap().iter().map(names).collect();
    messages.send(json!({"type": "leave"})).await;
    messages.expect("closed").await;
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_the_websocket_is_gone_at_once() {
    let server = Server::start().await;
    let mut ada = join(&server, "r", "Ada").await;
    let mut bo = join(&server, "r", "Bo").await;
    let joined = ada.messages.expect("participant-joined").await;
    assert_eq!((&joined["participant"]["id"], &joined["participant"]["name"]), (&json!(bo.id), &json!("Bo")));
    bo.messages.close().await;
    let left = tokio::time::timeout(Duration::from_secs(2), ada.messages.expect("participant-left")).await;
    let left = left.expect("within two seconds");
    assert_eq!((&left["participant"], &left["reason"]), (&json!(bo.id), &json!("left")));
    assert_eq!(members(&server, "r").await, ["Ada"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_is_told_who_is_there_and_what_they_publish() {
    let server = Server::start().await;
    let ada = join(&server, "r", "Ada").await;
    eventually("media is sent", || (ada.peer.report().sent > 50).then_some(())).await;
    let bo = join(&server, "r", "Bo").await;
    assert_eq!(bo.others.len(), 1);
    let seen = &bo.others[0];
    assert_eq!((&seen["id"], &seen["name"], &seen["role"]), (&json!(ada.id), &json!("Ada"), &json!("member")));
    let tracks = seen["tracks"].as_array().unwrap();
    let mut what: Vec<_> =
        tracks.iter().map(|t| (t["kind"].as_str().unwrap(), t["source"].as_str().unwrap())).collect();
    what.sort_unstable();
    assert_eq!(what, [("audio", "microphone"), ("video", "camera")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_websocket_resumes_and_media_never_stops() {
    let server = Server::start().await;
    let ada = join(&server, "r", "Ada").await;
    let mut bo = join(&server, "r", "Bo").await;
    eventually("Bo sees Ada", || (bo.peer.report().pictures() > 10).then_some(())).await;
    let resume = ada.resume.clone();
    // Dropped without a close frame: a network that went away.
    drop(ada.messages);
    let before = bo.peer.report().pictures();
    eventually("pictures go on", || (bo.peer.report().pictures() > before + 60).then_some(())).await;
    let mut again = Messages::connect(&server, "r").await;
    again.send(json!({"type": "join", "name": "Ada", "resume": resume})).await;
    let joined = again.expect("joined").await;
    assert_eq!(joined["participant"], ada.id);
    again.expect("slots").await;
    let jumps: u64 = bo.peer.report().received.values().map(|r| r.picture_id_jumps).sum();
    assert_eq!(jumps, 0, "Bo missed pictures");
    let heard = bo.messages.during(Duration::from_millis(300)).await;
    let left = heard.iter().find(|m| m["type"] == "participant-left");
    assert_eq!(left, None, "Ada never left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_empties_when_its_publisher_leaves() {
    let server = Server::start().await;
    let publisher = publish(&server, "r").await;
    let mut ada = join(&server, "r", "Ada").await;
    eventually("Ada sees it", || (ada.peer.report().pictures() > 5).then_some(())).await;
    publisher.delete().await;
    let emptied = loop {
        let slots = ada.messages.expect("slots").await;
        let assignments = slots["assignments"].as_array().unwrap().clone();
        if assignments.iter().any(|a| a["kind"] == "video" && a["participant"].is_null()) {
            break assignments;
        }
    };
    assert!(emptied.iter().all(|a| a["participant"].is_null() && a["track"].is_null()), "{emptied:?}");
    eventually("the publisher is told", || publisher.peer.report().closed.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mute_is_told_to_everyone_else() {
    let server = Server::start().await;
    let mut ada = join(&server, "r", "Ada").await;
    let mut bo = join(&server, "r", "Bo").await;
    let published = ada.messages.expect("track-published").await;
    let track = published["track"]["id"].clone();
    bo.messages.send(json!({"type": "mute", "track": track, "muted": true})).await;
    let muted = ada.messages.expect("track-muted").await;
    assert_eq!((&muted["track"], &muted["muted"]), (&track, &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whip_follows_its_rfc_in_small_things() {
    let server = Server::start().await;
    let session = open(&server.url("/whip/r"), None, PeerBuilder::publisher()).await;
    let client = reqwest::Client::new();
    let endpoint = server.url("/whip/r");
    let options = client.request(reqwest::Method::OPTIONS, &endpoint).send().await.unwrap();
    assert!(options.status().is_success());
    assert_eq!(options.headers()["accept-post"], "application/sdp");
    for url in [&endpoint, &session.url] {
        let response = client.get(url).send().await.unwrap();
        assert!(response.status().is_success(), "GET {url}: {}", response.status());
        assert_eq!(response.text().await.unwrap(), "");
    }
    let etag = session.etag.clone();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 4, "{etag}");
    let patch = |kind: &str, matches: Option<String>| {
        let request = client.patch(&session.url).header("content-type", kind).body("a=end-of-candidates\r\n");
        let request = if let Some(tag) = matches { request.header("if-match", tag) } else { request };
        async { request.send().await.unwrap().status().as_u16() }
    };
    let fragment = "application/trickle-ice-sdpfrag";
    assert_eq!(patch(fragment, Some(etag.clone())).await, 204);
    assert_eq!(patch(fragment, None).await, 428);
    assert_eq!(patch(fragment, Some("\"stale\"".into())).await, 412);
    assert_eq!(patch("application/sdp", Some(etag)).await, 415);
}
