//! What is wrong with a publisher's stream is told in the API and counted. Every fault, with real encoders:
//! `tests/browser/doctor.test.mjs`.

use std::time::Duration;

use serde_json::Value;
use weir_tests::peer::PeerBuilder;
use weir_tests::poll_until;
use weir_tests::server::Server;
use weir_tests::signaling::{open, publish};

async fn findings(server: &Server, room: &str) -> Vec<Value> {
    let answer = reqwest::get(server.url(&format!("/v1/rooms/{room}"))).await.expect("an HTTP answer");
    assert_eq!(answer.status(), 200);
    let room: Value = answer.json().await.expect("JSON");
    room["participants"][0]["findings"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_sound_is_told_and_a_good_one_is_left_in_peace() {
    let server = Server::start().await;
    let _good = publish(&server, "good").await;
    let _silent = open(&server.url("/whip/silent"), None, PeerBuilder::new().send_video(&[])).await;
    let found = poll_until("the finding", Duration::from_secs(15), async || {
        findings(&server, "silent").await.into_iter().find(|finding| finding["code"] == "no-audio")
    })
    .await;
    assert_eq!(found["message"], "no sound: the offer has no line for it");
    assert_eq!((&found["offered"], &found["track"]), (&Value::Bool(false), &Value::Null));
    for program in ["ffmpeg", "obs", "gstreamer"] {
        assert!(found["remedy"][program].as_str().is_some_and(|words| words.len() > 10), "{found}");
    }
    assert_eq!(findings(&server, "good").await, Vec::<Value>::new());
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("weir_publisher_findings_total"), 1.0);
}
