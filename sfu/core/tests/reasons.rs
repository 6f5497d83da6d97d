//! Why a picture stands still, and the estimate of clients that know REMB alone; on a virtual clock.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::time::Duration;

use net::Net;
use weir_core::allocator::Reason;
use weir_core::api::*;
use weir_core::overload::Pressure;
use weir_core::shard::Input;

const FRAME: Duration = Duration::from_millis(33);

fn reason(net: &mut Net, viewer: usize) -> Reason {
    let mut all = net.subscriptions("room", viewer);
    all.retain(|subscription| subscription.kind == MediaKind::Video);
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
    assert_eq!(net.shards[0].estimate(id), None, "nothing has been said yet");
    assert!(net.subscriptions("room", viewer).iter().all(|s| s.target.is_some()));
    let mid = net.clients[viewer].received[0].header.ext_vals.mid.expect("a mid");
    // Each picture takes about 220 kbps.
    net.say_remb(viewer, mid, 300_000);
    flow(&mut net, 2);
    let estimate = net.shards[0].estimate(id).expect("an estimate");
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

#[test]
fn an_overloaded_worker_leaves_pictures_out_says_so_and_passes_all_sound_on() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewers: Vec<usize> = (0..8).map(|_| net.add("room", Role::Viewer, false, (1, 1))).collect();
    net.connect_all();
    let next = send(&mut net, publisher, 0, Duration::from_secs(2), true);
    let shed =
        |net: &mut Net| -> usize { viewers.iter().filter(|v| reason(net, **v) == Reason::ServerOverloaded).count() };
    assert_eq!(shed(&mut net), 0);
    let tell = |net: &mut Net, busy: f64, times: usize| {
        for _ in 0..times {
            net.shards[0].handle(net.now, Input::Pressure(Pressure { busy: Some(busy), late: false }));
            net.run(Duration::from_millis(100));
        }
    };
    let mut before = 0;
    tell(&mut net, 1.0, 2);
    for look in 0..5 {
        tell(&mut net, 1.0, 1);
        let now = shed(&mut net);
        assert!(now > before || now == viewers.len(), "look {look}: {now} of {}", viewers.len());
        before = now;
    }
    net.clients.iter_mut().for_each(|client| client.received.clear());
    for n in 0..50 {
        net.write_audio(publisher, n);
        net.run(Duration::from_millis(20));
    }
    assert!(viewers.iter().all(|v| net.clients[*v].received.len() == 50), "sound is whole");
    tell(&mut net, 0.3, 250);
    send(&mut net, publisher, next, Duration::from_secs(2), true);
    assert_eq!(shed(&mut net), 0, "all is back");
}

#[test]
fn a_worker_without_time_for_pictures_neither_pads_nor_probes() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    (0..8).for_each(|_| _ = net.add("room", Role::Viewer, false, (1, 1)));
    net.connect_all();
    // Before any picture has shown what the links carry: the estimates are too low for it.
    for _ in 0..15 {
        net.shards[0].handle(net.now, Input::Pressure(Pressure { busy: Some(1.0), late: false }));
    }
    let mut sent = [0; 2];
    for (second, sent) in sent.iter_mut().enumerate() {
        for n in 0..90 {
            net.write_parts(publisher, (second as u64 * 90 + n) * 9, &[1200; 9]);
            net.run(FRAME);
        }
        let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
        assert_eq!(stats.rtp_forwarded, 0, "all are left out");
        *sent = stats.datagrams_out;
    }
    assert!(sent[1] - sent[0] < 250, "in 3 s, to 8 viewers and a publisher who is told what came: {sent:?}");
}

#[test]
fn pictures_that_waited_too_long_are_given_up_until_a_keyframe_and_nobody_asks_for_them_again() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    let frames = |net: &mut Net, numbers: std::ops::Range<u64>, keyframe: bool| {
        for n in numbers.clone() {
            net.write_video(publisher, n, keyframe && n == numbers.start);
            net.run(Duration::from_millis(33));
        }
    };
    let late =
        |net: &mut Net, late: bool| net.shards[0].handle(net.now, Input::Pressure(Pressure { busy: None, late }));
    frames(&mut net, 0..20, true);
    late(&mut net, true);
    frames(&mut net, 20..30, false);
    late(&mut net, false);
    let asked = net.clients[publisher].keyframe_requests;
    frames(&mut net, 30..60, false);
    assert_eq!(net.video_of(viewer).len(), 20, "nothing can be decoded without what was given up");
    assert!(net.clients[publisher].keyframe_requests > asked, "a keyframe is asked for");
    frames(&mut net, 60..80, true);
    let video = net.video_of(viewer);
    assert_eq!(video.len(), 40);
    assert!(video.windows(2).all(|w| *w[1].seq_no == *w[0].seq_no + 1), "without a gap");
    let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
    assert_eq!(stats.dropped_late, 10);
}
