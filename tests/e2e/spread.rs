//! Rooms over several media workers: what members see and hear is what it is on one.

use serde_json::{Value, json};
use weir_tests::eventually;
use weir_tests::peer::PeerBuilder;
use weir_tests::server::Server;
use weir_tests::signaling::{join, join_with, publish, watch};

use crate::forwarding::sees_and_hears;
use crate::poll_watch;

async fn get(server: &Server, path: &str) -> Value {
    let response = reqwest::get(server.url(path)).await.expect("an HTTP answer");
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn members_on_different_workers_see_and_hear_each_other() {
    let server = Server::start_spread(2).await;
    let (mut a, mut b, mut c) =
        (join(&server, "r", "Ada").await, join(&server, "r", "Bo").await, join(&server, "r", "Cy").await);
    for (name, member) in [("Ada", &a), ("Bo", &b), ("Cy", &c)] {
        sees_and_hears(name, &member.peer, 2).await;
    }
    let metrics = server.metrics().await;
    let participants = metrics.samples("weir_participants");
    assert!(participants.iter().all(|n| *n >= 1.0), "spread: {participants:?}");
    assert_eq!(
        (metrics.sum("weir_participants"), metrics.sum("weir_rooms"), metrics.sum("weir_tracks")),
        (3.0, 1.0, 6.0)
    );
    assert!(metrics.sum("weir_relay_sent_total") > 100.0);
    assert_eq!(metrics.sum("weir_dropped_relay_total"), 0.0);
    // The admin API knows all of them, wherever they live.
    let room = &get(&server, "/v1/rooms").await["rooms"][0];
    let names: Vec<_> = room["participants"].as_array().expect("a list").iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["Ada", "Bo", "Cy"]);
    let paths: Vec<_> = room["participants"].as_array().expect("a list").iter().map(|p| p["path"].clone()).collect();
    assert_eq!(paths, ["udp", "udp", "udp"]);
    for member in [&a, &b, &c] {
        let path = format!("/v1/rooms/r/participants/{}/subscriptions", member.id);
        let subscriptions = get(&server, &path).await;
        let list = subscriptions["subscriptions"].as_array().or(subscriptions.as_array()).expect("a list");
        assert_eq!(list.len(), 4, "{subscriptions}");
    }
    c.messages.close().await;
    let left = a.messages.expect("participant-left").await;
    assert_eq!(left["reason"], "left");
    a.messages.close().await;
    b.messages.close().await;
    let empty = || async { (server.metrics().await.sum("weir_participants") == 0.0).then_some(()) };
    weir_tests::poll_until("all are gone", weir_tests::PATIENCE, empty).await;
    let metrics = server.metrics().await;
    assert_eq!((metrics.sum("weir_rooms"), metrics.sum("weir_panics_total")), (0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_seen_by_viewers_on_all_workers_and_counted_once_for_each() {
    let server = Server::start_spread(2).await;
    let publisher = publish(&server, "stage").await;
    let mut viewers = vec![poll_watch(&server, "stage").await];
    for _ in 0..3 {
        viewers.push(watch(&server, "stage").await);
    }
    for viewer in &viewers {
        let flows = || {
            let report = viewer.peer.report();
            (report.pictures() > 20 && report.audio_packets() > 20).then_some(())
        };
        eventually("every viewer sees and hears", flows).await;
    }
    let room = get(&server, "/v1/rooms").await["rooms"][0].clone();
    assert_eq!((&room["viewers"], room["participants"].as_array().map(Vec::len)), (&json!(4), Some(1)), "{room}");
    publisher.delete().await;
    for viewer in &viewers {
        viewer.delete().await;
    }
    let empty = || async { (server.metrics().await.sum("weir_rooms") == 0.0).then_some(()) };
    weir_tests::poll_until("the room has ended", weir_tests::PATIENCE, empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_websocket_resumes_on_any_worker() {
    let server = Server::start_spread(2).await;
    let mut members = [join(&server, "r", "Ada").await, join(&server, "r", "Bo").await];
    for member in &mut members {
        let mut back = weir_tests::signaling::Messages::connect(&server, "r").await;
        back.send(json!({"type": "join", "resume": member.resume})).await;
        let joined = back.expect("joined").await;
        assert_eq!(joined["participant"], json!(member.id));
        assert_eq!(joined["participants"].as_array().map(Vec::len), Some(1), "{joined}");
        sees_and_hears("who came back", &member.peer, 1).await;
        member.messages = back;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_across_workers_gets_the_layer_that_fits() {
    let server = Server::start_spread(2).await;
    let sender = PeerBuilder::new().send_audio().send_video(&["q", "h", "f"]);
    let publisher = weir_tests::signaling::open(&server.url("/whip/cast"), None, sender).await;
    eventually("connected", || publisher.peer.report().connected).await;
    let mut member = Box::pin(join_with(&server, "cast", json!({"name": "Ada"}), PeerBuilder::viewer())).await;
    let video = member.peer.lines().iter().find(|l| l.video).expect("a video line").mid.clone();
    for (height, expected) in [(90, 0), (1080, 2), (90, 0)] {
        let slot = json!({"mid": video, "width": height * 16 / 9, "height": height});
        member.messages.send(json!({"type": "view", "slots": [slot]})).await;
        let layer = || member.peer.report().received.get(&video)?.last_mark.map(|(_, layer)| layer);
        eventually("the layer that fits", || (layer()? == expected).then_some(())).await;
    }
    assert!(server.metrics().await.sum("weir_relay_sent_total") > 0.0);
}
