//! What a publisher's connection goes through, and what receivers may ask for, through one shard on a virtual clock.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::time::Duration;

use net::Net;
use str0m::media::Direction;
use weir_core::api::*;

const FRAME: Duration = Duration::from_millis(33);
const RIDS: [&str; 3] = ["q", "h", "f"];

/// Sends a frame of every layer; the sizes double from one to the next.
fn write_layers(net: &mut Net, publisher: usize, number: u64, keyframe: bool) {
    for (index, rid) in RIDS.into_iter().enumerate() {
        net.write_layer(publisher, rid, 180 << index, number, keyframe, true);
    }
}

#[test]
fn a_publishers_ice_restart_does_not_interrupt_the_stream() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    for n in 0..60 {
        if n == 20 {
            let before = net.clients[publisher].answer.clone();
            net.restart_ice(publisher);
            let ufrag = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=ice-ufrag:")).map(str::to_owned);
            assert_ne!(ufrag(&before), ufrag(&net.clients[publisher].answer), "new credentials");
        }
        net.write_video(publisher, n, n == 0);
        net.run(FRAME);
    }
    let video = net.video_of(viewer);
    assert_eq!(video.len(), 60, "every packet, without another keyframe");
    assert!(video.windows(2).all(|w| *w[1].seq_no == *w[0].seq_no + 1), "contiguous");
}

#[test]
fn what_a_publisher_resends_of_a_break_that_nobody_waits_for_goes_to_nobody() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    for n in 0..10 {
        net.write_video(publisher, n, n == 0);
        net.run(FRAME);
    }
    // Its network was away for two seconds, and the stream goes on with a keyframe.
    net.run(60 * FRAME);
    let times = |net: &Net| net.video_of(viewer).iter().map(|packet| packet.header.timestamp).collect::<Vec<_>>();
    let before = times(&net);
    let after_break = [70, 71, 72];
    for n in after_break {
        net.write_video(publisher, n, n == 70);
        net.run(FRAME);
    }
    // What was sent meanwhile comes in after all: of two seconds ago, and of just now.
    let (stale, late) = (12, 65);
    for n in [stale, late] {
        net.write_video(publisher, n, false);
        net.run(FRAME);
    }
    let step = before[1].wrapping_sub(before[0]);
    let frame_of = |time: u32| u64::from(time.wrapping_sub(before[0]) / step);
    let got: Vec<u64> = times(&net)[before.len()..].iter().map(|time| frame_of(*time)).collect();
    assert_eq!(got, [70, 71, 72, late], "nothing of two seconds ago");
    let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no statistics") };
    assert_eq!(stats.dropped_stale, 1);
}

#[test]
fn a_mid_that_is_used_again_is_another_track() {
    let mut net = Net::new();
    let a = net.add("room", Role::Member, true, (1, 1));
    let b = net.add("room", Role::Member, false, (1, 1));
    net.connect_all();
    let mid = net.clients[a].video.expect("it sends video");
    let mut count = 0;
    let mut send = |net: &mut Net, frames: u64| {
        for n in 0..frames {
            net.write_video(a, count, n == 0);
            count += 1;
            net.run(FRAME);
        }
    };
    send(&mut net, 10);
    let before = net.shown(b);
    net.renegotiate(a, |api| api.set_direction(mid, Direction::Inactive));
    net.run(FRAME);
    assert_eq!(net.shown(b).len(), 1, "the sound is left: {:?}", net.shown(b));
    net.renegotiate(a, |api| api.set_direction(mid, Direction::SendOnly));
    net.run(FRAME);
    let after = net.shown(b);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "in the same slots");
    assert_ne!(after, before, "another track");
    send(&mut net, 10);
    let video = net.video_of(b);
    assert_eq!(video.len(), 20);
    assert!(video.windows(2).all(|w| *w[1].seq_no == *w[0].seq_no + 1), "one stream");
    assert!(video.windows(2).all(|w| w[1].header.timestamp.wrapping_sub(w[0].header.timestamp) as i32 > 0));
}

#[test]
fn rids_offered_in_any_order_give_a_thumbnail_the_smallest_layer() {
    for order in [["q", "h", "f"], ["f", "h", "q"], ["h", "f", "q"]] {
        let mut net = Net::new();
        let publisher = net.add_simulcast("room", &order);
        let member = net.add("room", Role::Member, false, (1, 1));
        net.connect_all();
        net.view(member, 180);
        let mut keyframes = 0;
        for n in 0..150 {
            let asked = net.clients[publisher].keyframe_requests;
            write_layers(&mut net, publisher, n, asked != keyframes || n == 0);
            keyframes = asked;
            net.run(FRAME);
        }
        let heights: Vec<u8> = net.clients[member].received.iter().rev().take(30).map(|p| p.payload[7]).collect();
        assert_eq!(heights, vec![(180 / 4) as u8; 30], "of {order:?}");
    }
}

#[test]
fn nobody_asks_for_what_was_left_out_on_purpose() {
    let mut net = Net::new();
    let publisher = net.add_simulcast("room", &RIDS);
    let member = net.add("room", Role::Member, false, (1, 1));
    net.connect_all();
    let mut keyframes = 0;
    for n in 0..400 {
        // From one layer to another and back, with a pause between.
        match n {
            100 => net.view(member, 180),
            200 => net.view(member, 0),
            250 => net.view(member, 720),
            _ => {}
        }
        let asked = net.clients[publisher].keyframe_requests;
        write_layers(&mut net, publisher, n, asked != keyframes || n == 0);
        keyframes = asked;
        net.run(FRAME);
    }
    assert!(net.clients[member].received.len() > 200, "{} packets", net.clients[member].received.len());
    assert_eq!(net.clients[member].nacks_sent, 0, "the receiver misses nothing");
    assert_eq!(net.clients[publisher].nacks_received, 0, "and nothing is asked of the publisher");
}

#[test]
fn a_layer_that_is_switched_on_with_a_keyframe_is_asked_for_no_other() {
    let mut net = Net::new();
    let publisher = net.add_simulcast("room", &RIDS);
    let member = net.add("room", Role::Member, false, (1, 1));
    net.connect_all();
    net.view(member, 180);
    let mut before = 0;
    for n in 0..300 {
        if n == 200 {
            net.view(member, 720);
            before = net.clients[publisher].keyframe_requests;
        }
        // The upper layers rest while nobody wants them, and begin with a keyframe.
        net.write_layer(publisher, "q", 180, n, n % 30 == 0, true);
        if !(50..203).contains(&n) {
            net.write_layer(publisher, "h", 360, n, n == 0 || n == 203, true);
            net.write_layer(publisher, "f", 720, n, n == 0 || n == 203, true);
        }
        net.run(FRAME);
    }
    let last = net.clients[member].received.last().expect("a packet").payload[7];
    assert_eq!(last, (720 / 4) as u8, "the upper layer is shown");
    assert_eq!(net.clients[publisher].keyframe_requests, before);
}

#[test]
fn who_hears_alone_is_sent_little_but_sound() {
    let mut net = Net::new();
    let speaker = net.add("room", Role::Member, true, (0, 0));
    let listeners: Vec<usize> = (0..4).map(|_| net.add("room", Role::Member, false, (1, 1))).collect();
    net.connect_all();
    let counts = |net: &mut Net| {
        let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
        (stats.rtp_forwarded, stats.datagrams_out)
    };
    let mut before = (0, 0);
    for n in 0..750 {
        if n == 500 {
            before = counts(&mut net);
        }
        net.write_audio(speaker, n);
        net.run(Duration::from_millis(20));
    }
    let after = counts(&mut net);
    assert_eq!(after.0 - before.0, 250 * listeners.len() as u64, "all of the sound, of 5 s");
    // Reports, and now and then a probe.
    let others = (after.1 - before.1) - (after.0 - before.0);
    assert!(others < 100 * listeners.len() as u64, "{others} others");
}

#[test]
fn who_comes_to_a_layer_just_after_its_keyframe_was_forwarded_has_another_asked_for() {
    let mut net = Net::new();
    let publisher = net.add_simulcast("room", &RIDS);
    let watching = net.add("room", Role::Member, false, (1, 1));
    let member = net.add("room", Role::Member, false, (1, 1));
    net.connect_all();
    net.view(watching, 720);
    net.view(member, 180);
    for n in 0..120 {
        RIDS.iter().zip([180, 360, 720]).for_each(|(rid, height)| {
            net.write_layer(publisher, rid, height, n, n == 0 || n == 119, true);
        });
        if n < 119 {
            net.run(FRAME);
        }
    }
    let before = net.clients[publisher].keyframe_requests;
    // They are forwarded, and the member wants another layer before time goes on.
    assert!(!net.batch(publisher, 100).is_empty());
    net.view(member, 720);
    net.run(Duration::from_millis(20));
    assert!(net.clients[publisher].keyframe_requests > before);
}

#[test]
fn a_nack_for_what_was_never_sent_is_ignored() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    for n in 0..100 {
        // Numbers that the publisher never used: the receiver asks for them, and so does the server.
        net.write_video(publisher, if n < 30 { n } else { n + 5 }, n == 0);
        net.run(FRAME);
    }
    net.run(Duration::from_secs(2));
    assert!(net.clients[viewer].nacks_sent > 0, "it asked");
    assert_eq!(net.video_of(viewer).len(), 100, "and got what there is");
    let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
    assert_eq!(stats.panics, 0);
}

#[test]
fn what_is_resent_is_at_most_three_times_what_was_sent() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    net.write_video(publisher, 0, true);
    net.run(FRAME);
    let (sent, counted) = (std::rc::Rc::new(std::cell::Cell::new(0_usize)), 300);
    let count = std::rc::Rc::clone(&sent);
    let mut turn = 0;
    // The receiver gets every tenth of what is sent to it, and asks five times for each of the rest.
    net.loss_by_size.insert(
        viewer,
        Box::new(move |up, len| {
            if up || len < 500 {
                return false;
            }
            count.set(count.get() + 1);
            turn += 1;
            turn % 10 != 0
        }),
    );
    for n in 1..=counted {
        net.write_video(publisher, n, false);
        net.run(FRAME);
    }
    net.run(Duration::from_secs(2));
    let resent = sent.get() - counted as usize;
    assert!(resent > counted as usize, "it does resend: {resent}");
    assert!(resent <= 3 * counted as usize, "{resent} of {counted}");
}

#[test]
fn what_an_administrator_muted_stays_so_whatever_its_publisher_says() {
    let mut net = Net::new();
    let a = net.add("room", Role::Member, true, (1, 1));
    let b = net.add("room", Role::Member, false, (1, 1));
    net.connect_all();
    let mut count = 0;
    let mut send = |net: &mut Net, frames: u64, keyframe_at: u64| {
        for n in 0..frames {
            net.write_video(a, count, n == keyframe_at);
            count += 1;
            net.run(FRAME);
        }
        net.video_of(b).len()
    };
    assert_eq!(send(&mut net, 10, 0), 10);
    let slots = net.subscriptions("room", b);
    let video = slots.iter().find(|s| s.kind == MediaKind::Video).expect("a slot shows it").track;
    let publisher = net.clients[a].id;
    let mute_for = |muted| Command::MuteFor("room".into(), publisher, video, muted);
    assert!(matches!(net.command(mute_for(true)), Some(Reply::Done(true))));
    assert_eq!(send(&mut net, 10, 0), 10, "nothing is passed on");
    net.command(Command::Mute(publisher, video, false));
    assert_eq!(send(&mut net, 10, 0), 10, "not by the publisher's own word");
    let told = net.notices_of(publisher).filter(|n| matches!(n, Notice::TrackMuted(_, id, true) if *id == video));
    assert_eq!(told.count(), 2, "who is told why");
    net.command(mute_for(false));
    assert_eq!(send(&mut net, 10, 5), 15, "from the next keyframe on");
    let seqs: Vec<u64> = net.video_of(b).iter().map(|p| *p.seq_no).collect();
    assert!(seqs.windows(2).all(|w| w[1] == w[0] + 1), "what was left out leaves no gap: {seqs:?}");
}

/// libwebrtc's rule: feedback takes a twentieth of what it is about, four to twenty times a second.
#[test]
fn a_publisher_of_sound_alone_gets_feedback_four_times_a_second_and_one_of_pictures_twenty_times() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    net.connect_all();
    net.run(Duration::from_secs(1));
    let datagrams_out = |net: &mut Net| {
        let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no statistics") };
        stats.datagrams_out
    };
    let mut sent_in_ten_seconds = |write: &dyn Fn(&mut Net, u64)| {
        let before = datagrams_out(&mut net);
        for n in 0..500 {
            write(&mut net, n);
            net.run(Duration::from_millis(20));
        }
        datagrams_out(&mut net) - before
    };
    let of_sound = sent_in_ten_seconds(&|net, n| net.write_audio(publisher, n));
    let of_pictures = sent_in_ten_seconds(&|net, n| net.write_parts(publisher, n * 2, &[900, 700]));
    // Of reports, checks and requests for keyframes there are some more.
    assert!((35..100).contains(&of_sound), "{of_sound}");
    assert!((180..280).contains(&of_pictures), "{of_pictures}");
}
