//! Watching over WHEP: before the publisher comes, over its restarts, in chosen layers.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::eventually;
use weir_tests::peer::{Peer, PeerBuilder};
use weir_tests::server::Server;
use weir_tests::signaling::{open, publish, watch};

/// The time until a viewer has more pictures than it had.
async fn next_picture(viewer: &Peer, what: &str) -> Duration {
    let (seen, from) = (viewer.report().pictures(), Instant::now());
    eventually(what, || (viewer.report().pictures() > seen).then_some(())).await;
    from.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_came_first_sees_the_publisher_and_its_restart_in_one_session() {
    let server = Server::start().await;
    let viewer = open(&server.url("/whep/r?wait=true"), None, PeerBuilder::viewer()).await;
    eventually("the viewer is connected", || viewer.peer.report().connected).await;
    assert_eq!(viewer.peer.report().pictures(), 0);

    let first = publish(&server, "r").await;
    eventually("the publisher is connected", || first.peer.report().connected).await;
    let waited = next_picture(&viewer.peer, "the first picture").await;
    println!("first picture {waited:?} after the publisher connected");
    eventually("it plays", || (viewer.peer.report().pictures() > 30).then_some(())).await;

    // It stops with DELETE, and comes back: other SSRCs, other timestamps, the same codec.
    first.delete().await;
    let again = publish(&server, "r").await;
    eventually("the publisher is back", || again.peer.report().connected).await;
    let waited = next_picture(&viewer.peer, "a picture after the restart").await;
    println!("picture {waited:?} after the restarted publisher connected");
    assert!(waited < Duration::from_secs(2), "one keyframe, asked for at once: {waited:?}");
    eventually("it plays on", || (viewer.peer.report().pictures() > 90).then_some(())).await;
    assert!(!viewer.peer.report().closed);
    let jumps: u64 = viewer.peer.report().received.values().map(|r| r.picture_id_jumps).sum();
    assert_eq!(jumps, 0, "the picture numbers go on over the restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_encoding_is_the_best_that_a_viewer_gets() {
    let server = Server::start().await;
    let client = PeerBuilder::new().send_audio().send_video(&["q", "h", "f"]);
    let _publisher = open(&server.url("/whip/r"), None, client).await;
    let viewer = watch(&server, "r").await;
    let layer = |viewer: &Peer| {
        viewer.report().received.values().find(|r| r.video).and_then(|r| r.last_mark).map(|(_, layer)| layer)
    };
    eventually("the largest layer", || (layer(&viewer.peer) == Some(2)).then_some(())).await;
    let video = viewer.peer.lines().iter().find(|line| line.video).expect("a video line").mid.clone();
    let choose = async |choice: serde_json::Value| {
        let request = reqwest::Client::new().post(format!("{}/layer", viewer.url)).json(&choice);
        assert_eq!(request.send().await.expect("an HTTP answer").status(), 200, "{choice}");
    };
    choose(json!({"mediaId": video, "encodingId": "q"})).await;
    eventually("the smallest layer", || (layer(&viewer.peer) == Some(0)).then_some(())).await;
    choose(json!({"encodingId": "h"})).await;
    eventually("the middle layer", || (layer(&viewer.peer) == Some(1)).then_some(())).await;
    choose(json!({})).await;
    eventually("the largest layer again", || (layer(&viewer.peer) == Some(2)).then_some(())).await;
}
