//! Why a picture stands still, and the estimate of clients that know REMB alone; on a virtual clock.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::time::Duration;

use net::Net;
use weir_core::allocator::Reason;
use weir_core::api::*;

const FRAME: Duration = Duration::from_millis(33);

fn reason(net: &mut Net, viewer: usize) -> Reason {
    let all = net.subscriptions("room", viewer);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].reason
}

/// Frames for that long, the first of them a keyframe or not.
fn send(net: &mut Net, publisher: usize, from: u64, time: Duration, keyframe: bool) -> u64 {
    let frames = (time.as_millis() / FRAME.as_millis()) as u64;
    for n in 0..frames {
        net.write_video(publisher, from + n, keyframe && n == 0);
        net.run(FRAME);
    }
    from + frames
}

#[test]
fn a_slot_that_waits_for_a_keyframe_says_so_after_a_second() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Member, true, (0, 0));
    let viewer = net.add("room", Role::Member, false, (0, 1));
    net.connect_all();
    let next = send(&mut net, publisher, 0, Duration::from_millis(500), false);
    assert_ne!(reason(&mut net, viewer), Reason::NoKeyframe, "it may well come still");
    let next = send(&mut net, publisher, next, Duration::from_millis(2500), false);
    assert_eq!(reason(&mut net, viewer), Reason::NoKeyframe);
    let told = net.notices_of(net.clients[viewer].id).filter(|n| matches!(n, Notice::Quality { .. })).last();
    let Some(Notice::Quality { reason: last, .. }) = told else { panic!("nothing was told") };
    assert_eq!(*last, Reason::NoKeyframe, "the viewer was told too");
    assert!(net.video_of(viewer).is_empty());
    send(&mut net, publisher, next, Duration::from_millis(1500), true);
    assert_ne!(reason(&mut net, viewer), Reason::NoKeyframe, "a keyframe has come");
    assert!(!net.video_of(viewer).is_empty());
}

#[test]
fn a_publisher_that_falls_silent_is_named_as_the_cause() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Member, true, (0, 0));
    let viewer = net.add("room", Role::Member, false, (0, 1));
    net.connect_all();
    let next = send(&mut net, publisher, 0, Duration::from_secs(2), true);
    assert_eq!(reason(&mut net, viewer), Reason::OnlyLayer);
    net.run(Duration::from_secs(5));
    assert_eq!(reason(&mut net, viewer), Reason::NoPackets);
    send(&mut net, publisher, next, Duration::from_secs(2), true);
    assert_eq!(reason(&mut net, viewer), Reason::OnlyLayer, "it goes on");
}

#[test]
fn without_transport_feedback_remb_is_the_estimate() {
    let mut net = Net::new();
    let publishers = [0, 1].map(|_| net.add("room", Role::Member, true, (0, 0)));
    let viewer = net.add_offering("room", Role::Member, false, (0, 2), |offer| {
        let kept = offer.lines().filter(|l| !l.contains("transport-cc") && !l.contains("transport-wide-cc"));
        kept.map(|line| format!("{line}\r\n")).collect()
    });
    assert!(!net.clients[viewer].answer.contains("transport-cc"), "{}", net.clients[viewer].answer);
    assert!(net.clients[viewer].answer.contains("goog-remb"), "{}", net.clients[viewer].answer);
    net.connect_all();
    let mut next = 0;
    let mut flow = |net: &mut Net, seconds: u64| {
        for _ in 0..seconds * 30 {
            for publisher in publishers {
                net.write_video(publisher, next, next % 30 == 0);
            }
            next += 1;
            net.run(FRAME);
        }
    };
    flow(&mut net, 4);
    let id = net.clients[viewer].id;
    assert_eq!(net.shard.estimate(id), None, "nothing has been said yet");
    assert!(net.subscriptions("room", viewer).iter().all(|s| s.target.is_some()));
    let mid = net.clients[viewer].received[0].header.ext_vals.mid.expect("a mid");
    // Each picture takes about 220 kbps.
    net.say_remb(viewer, mid, 300_000);
    flow(&mut net, 2);
    let estimate = net.shard.estimate(id).expect("an estimate");
    assert!((299_000..=301_000).contains(&estimate), "{estimate}");
    let starved = net.subscriptions("room", viewer);
    assert_eq!(starved.iter().filter(|s| s.target.is_none()).count(), 1, "one of two fits: {starved:?}");
    let paused = starved.iter().find(|s| s.target.is_none()).expect("one");
    assert!(matches!(paused.reason, Reason::PausedNoBandwidth { .. }), "{paused:?}");
    net.say_remb(viewer, mid, 3_000_000);
    flow(&mut net, 15);
    let fed = net.subscriptions("room", viewer);
    assert!(fed.iter().all(|s| s.target.is_some()), "{fed:?}");
}
