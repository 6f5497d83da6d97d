//! Media goes through, whole, to whom it should.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::eventually;
use weir_tests::peer::{Peer, PeerBuilder};
use weir_tests::server::Server;
use weir_tests::signaling::{join, join_with, open, publish, watch};

use crate::{Call, poll_watch};

#[tokio::test(flavor = "multi_thread")]
async fn a_whip_publisher_is_seen_and_heard_by_a_viewer_and_a_member() {
    let server = Server::start().await;
    let call = Call::start(&server, "stage").await;
    let mut member = Box::pin(join_with(&server, "stage", json!({"name": "Ada"}), PeerBuilder::viewer())).await;
    let slots = member.messages.expect("slots").await;
    assert!(!slots["assignments"].as_array().unwrap().is_empty());
    sees_and_hears("the member", &member.peer, 1).await;
    call.assert_well("a member joined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_see_and_hear_each_other() {
    let server = Server::start().await;
    let (a, b, c) = (join(&server, "r", "Ada").await, join(&server, "r", "Bo").await, join(&server, "r", "Cy").await);
    for (name, member) in [("Ada", &a), ("Bo", &b), ("Cy", &c)] {
        sees_and_hears(name, &member.peer, 2).await;
    }
    let names: Vec<_> = c.others.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Ada", "Bo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_sees_nothing_of_itself_and_nothing_of_another_room() {
    let server = Server::start().await;
    let here = join(&server, "here", "Ada").await;
    let there = join(&server, "there", "Bo").await;
    for member in [&here, &there] {
        eventually("connected", || member.peer.report().connected).await;
    }
    eventually("media was sent", || (here.peer.report().sent > 150 && there.peer.report().sent > 150).then_some(()))
        .await;
    for member in [&here, &there] {
        assert_eq!(member.peer.report().packets(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_viewer_has_a_picture_within_half_a_second_of_ice() {
    let server = Server::start().await;
    let _publisher = publish(&server, "late").await;
    drop(poll_watch(&server, "late").await);
    let mut waits = Vec::new();
    for _ in 0..20 {
        let viewer = watch(&server, "late").await;
        let first = || {
            let report = viewer.peer.report();
            let first = report.received.values().filter_map(|r| r.first_picture).min()?;
            Some(first.saturating_duration_since(report.ice_connected?))
        };
        waits.push(eventually("a first picture", first).await);
        viewer.delete().await;
    }
    waits.sort();
    let median = waits[waits.len() / 2];
    assert!(median < Duration::from_millis(500), "median {median:?} of {waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_whole_a_second_after_half_the_packets_were_lost() {
    let server = Server::start().await;
    let call = Call::start(&server, "lossy").await;
    call.publisher.peer.drop_outgoing(0.5);
    tokio::time::sleep(Duration::from_secs(2)).await;
    call.publisher.peer.drop_outgoing(0.0);
    let healed = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // From here on the pictures flow again, none missing: in the second after, and with the newest shown by now.
    let shown = call.viewer.peer.report().received.into_values().filter_map(|r| r.last_picture).max().unwrap();
    assert!(shown > healed, "the last picture was shown {:?} before the loss ended", healed - shown);
    let before = call.viewer.peer.report().pictures();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pictures = call.viewer.peer.report().pictures() - before;
    assert!(pictures >= 25, "{pictures} whole pictures in the second after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_of_simulcast_gets_one_layer_and_the_one_that_fits_its_window() {
    let server = Server::start().await;
    let client = PeerBuilder::new().send_audio().send_video(&["q", "h", "f"]);
    let publisher = open(&server.url("/whip/cast"), None, client).await;
    eventually("connected", || publisher.peer.report().connected).await;
    let mut member = Box::pin(join_with(&server, "cast", json!({"name": "Ada"}), PeerBuilder::viewer())).await;
    let video = member.peer.lines().iter().find(|l| l.video).unwrap().mid.clone();
    let layer = |member: &Peer| member.report().received.get(&video)?.last_mark.map(|(_, layer)| layer);
    for (height, expected) in [(90, 0), (1080, 2), (90, 0)] {
        let slot = json!({"mid": video, "width": height * 16 / 9, "height": height});
        member.messages.send(json!({"type": "view", "slots": [slot]})).await;
        let arrived = || (layer(&member.peer)? == expected).then_some(());
        eventually(&format!("layer {expected} for height {height}"), arrived).await;
    }
    let hidden = json!({"mid": video, "width": 0, "height": 0});
    member.messages.send(json!({"type": "view", "slots": [hidden]})).await;
    let deadline = Instant::now() + weir_tests::PATIENCE;
    loop {
        let before = member.peer.report().received[&video].packets;
        tokio::time::sleep(Duration::from_millis(300)).await;
        if member.peer.report().received[&video].packets == before {
            return;
        }
        assert!(Instant::now() < deadline, "a hidden slot still gets pictures");
    }
}

/// Waits until as many video lines carry pictures, and as many audio lines sound, as there are others.
pub(crate) async fn sees_and_hears(who: &str, peer: &Peer, others: usize) {
    let flows = || {
        let report = peer.report();
        let video = report.received.values().filter(|r| r.pictures > 20).count();
        let audio = report.received.values().filter(|r| !r.video && r.packets > 20).count();
        (video == others && audio == others).then_some(())
    };
    eventually(&format!("{who} sees and hears {others}"), flows).await;
    let jumps: u64 = peer.report().received.values().map(|r| r.picture_id_jumps).sum();
    assert_eq!(jumps, 0, "{who} missed pictures");
}
