//! Calls through one shard, on a virtual clock, with str0m peers.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::net::SocketAddr;
use std::time::Duration;

use net::Net;
use weir_core::api::*;

const FRAME: Duration = Duration::from_millis(33);

#[test]
fn two_members_receive_each_other_from_a_keyframe_on() {
    let mut net = Net::new();
    let a = net.add("room", Role::Member, true, (1, 2));
    let b = net.add("room", Role::Member, true, (1, 2));
    net.connect_all();
    for n in 0..30 {
        // Frames before the first keyframe must not reach anybody.
        net.write_video(a, 100 + n, n == 10);
        net.write_audio(a, 500 + n);
        net.run(FRAME);
    }
    let video = net.video_of(b);
    assert_eq!(video.len(), 20, "the keyframe and what follows");
    assert_eq!(video[0].payload[4], 0, "it begins with the keyframe");
    assert!(video.windows(2).all(|w| *w[1].seq_no == *w[0].seq_no + 1), "contiguous");
    assert!(net.clients[b].received.len() > 40, "audio too");
    assert!(net.clients[a].keyframe_requests > 0, "the newcomer's wish reached the publisher");
    assert!(net.video_of(a).is_empty(), "nobody gets his own");
}

#[test]
fn a_viewer_gets_audio_and_video_of_one_stream() {
    let mut net = Net::new();
    assert_eq!(net.join("stage", Role::Viewer, "v").unwrap_err(), JoinError::UnknownRoom);
    let publisher = net.add("stage", Role::Publisher, true, (0, 0));
    let viewer = net.add("stage", Role::Viewer, false, (1, 1));
    let answer = &net.clients[viewer].answer;
    assert_eq!(answer.matches("a=msid:weir ").count(), 2, "{answer}");
    assert!(net.clients[publisher].answer.contains("a=recvonly"));
    net.connect_all();
    for n in 0..10 {
        net.write_video(publisher, n, n % 5 == 0);
        net.write_audio(publisher, n);
        net.run(FRAME);
    }
    assert_eq!(net.video_of(viewer).len(), 10);
    assert_eq!(net.clients[viewer].received.len(), 20);
}

#[test]
fn a_batch_leaves_with_its_drain_one_receiver_after_another() {
    let mut net = Net::new();
    let publisher = net.add("stage", Role::Publisher, true, (0, 0));
    let viewers: Vec<usize> = (0..3).map(|_| net.add("stage", Role::Viewer, false, (1, 1))).collect();
    net.connect_all();
    for n in 0..10 {
        net.write_video(publisher, n, n == 0);
        net.run(FRAME);
    }
    (10..14).for_each(|n| net.write_video(publisher, n, false));
    let to = net.batch(publisher, 900);
    assert_eq!(to.len(), 4 * viewers.len(), "all of it, without another turn");
    let runs: Vec<_> = to.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    assert!(runs.iter().all(|(_, length)| *length == 4), "{runs:?}");
    assert_eq!(runs.len(), viewers.len(), "{runs:?}");
}

#[test]
fn parts_of_a_frame_that_differ_by_a_few_bytes_leave_in_one_size_and_arrive_as_they_were() {
    let mut net = Net::new();
    let publisher = net.add("stage", Role::Publisher, true, (0, 0));
    let viewer = net.add("stage", Role::Viewer, false, (1, 1));
    net.connect_all();
    net.write_video(publisher, 0, true);
    net.run(FRAME);
    // As Chromium cuts a frame, as others do, and one that is not cut in equal parts.
    let frames: [(&[usize], &[usize]); 3] = [
        (&[900, 900, 901, 901], &[0, 0, 0, 0]),
        (&[905, 905, 899, 897], &[0, 0, 0, 8]),
        (&[900, 600, 900], &[0, 300, 0]),
    ];
    let mut seq = 1;
    for (sizes, shorter) in frames {
        net.write_parts(publisher, seq, sizes);
        seq += sizes.len() as u64;
        let lengths: Vec<usize> = net.batch(publisher, 500).iter().map(|(_, length)| *length).collect();
        let differences: Vec<usize> = lengths.iter().map(|length| lengths[0] - length).collect();
        assert_eq!(differences, shorter, "{sizes:?} left as {lengths:?}");
        net.run(FRAME);
        let video = net.video_of(viewer);
        let received: Vec<usize> = video[video.len() - sizes.len()..].iter().map(|p| p.payload.len()).collect();
        assert_eq!(received, sizes);
    }
}

#[test]
fn loss_towards_the_receiver_is_repaired_by_resends() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    net.write_video(publisher, 0, true);
    net.run(FRAME);
    let mut count = 0;
    net.loss.insert(
        viewer,
        Box::new(move |_, up| {
            count += 1;
            !up && count % 4 == 0
        }),
    );
    for n in 1..200 {
        net.write_video(publisher, n, false);
        net.run(FRAME);
    }
    net.loss.clear();
    net.run(Duration::from_secs(1));
    let mut seqs: Vec<u64> = net.video_of(viewer).iter().map(|p| *p.seq_no).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let expected = seqs.last().unwrap() - seqs.first().unwrap() + 1;
    assert!(seqs.len() as u64 >= expected - 1, "{} of {expected}", seqs.len());
}

#[test]
fn loss_from_the_publisher_is_asked_for_and_passed_on_in_place() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    net.write_video(publisher, 0, true);
    net.run(FRAME);
    let mut state = 1u64;
    net.loss.insert(
        publisher,
        Box::new(move |_, up| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            up && (state >> 33) % 100 < 5
        }),
    );
    for n in 1..200 {
        net.write_video(publisher, n, false);
        net.run(FRAME);
    }
    net.loss.clear();
    for n in 200..210 {
        // What follows a lost packet tells of it.
        net.write_video(publisher, n, false);
        net.run(FRAME);
    }
    net.run(Duration::from_secs(1));
    let base = *net.video_of(viewer)[0].seq_no;
    for packet in net.video_of(viewer) {
        let number = (*packet.seq_no - base) as u8;
        assert_eq!(*packet.payload.last().unwrap(), number, "every packet has the number that was kept for it");
    }
    assert!(net.video_of(viewer).len() >= 208, "{}", net.video_of(viewer).len());
}

#[test]
fn a_hundred_receivers_asking_make_two_requests_a_second() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewers: Vec<usize> = (0..100).map(|_| net.add("room", Role::Viewer, false, (1, 1))).collect();
    net.connect_all();
    net.write_video(publisher, 0, true);
    net.run(Duration::from_millis(600));
    net.clients[publisher].keyframe_requests = 0;
    let mids: Vec<_> = viewers.iter().map(|v| net.clients[*v].received[0].header.ext_vals.mid.unwrap()).collect();
    for _ in 0..19 {
        for (viewer, mid) in viewers.iter().zip(&mids) {
            net.ask_keyframe(*viewer, *mid);
        }
        net.run(Duration::from_millis(50));
    }
    let asked = net.clients[publisher].keyframe_requests;
    assert!((1..=2).contains(&asked), "{asked} within a second");
}

#[test]
fn one_who_comes_and_goes_changes_only_the_slots_of_the_others() {
    let mut net = Net::new();
    let a = net.add("room", Role::Member, true, (3, 4));
    let b = net.add("room", Role::Member, true, (3, 4));
    net.connect_all();
    let before = net.shown(a);
    assert_eq!(before.len(), 2, "audio and video of b: {before:?}");
    let c = net.add("room", Role::Member, true, (3, 4));
    net.connect_all();
    assert_eq!(net.shown(a).len(), 4);
    assert!(before.iter().all(|(mid, track)| net.shown(a).get(mid) == Some(track)), "b stays where it was");
    let id = net.clients[c].id;
    net.command(Command::Leave(id, CloseReason::Left));
    net.run(FRAME);
    assert_eq!(net.shown(a), before);
    assert_eq!(net.notices_of(id).last(), Some(&Notice::Closed(CloseReason::Left)));
    let b_id = net.clients[b].id;
    assert!(net.notices_of(b_id).any(|n| *n == Notice::ParticipantLeft(id, CloseReason::Left)));
}

#[test]
fn a_silent_connection_is_closed_after_half_a_minute_and_leaves_no_ghost() {
    let mut net = Net::new();
    let a = net.add("room", Role::Member, true, (1, 1));
    let b = net.add("room", Role::Member, true, (1, 1));
    net.connect_all();
    net.loss.insert(b, Box::new(|_, _| true));
    let id = net.clients[b].id;
    let took = net.run_until(Duration::from_secs(40), "b is closed", |net| {
        net.notices_of(id).any(|n| *n == Notice::Closed(CloseReason::Timeout))
    });
    assert!(took >= Duration::from_secs(25), "{took:?}");
    assert!(net.shown(a).is_empty());
    assert!(!net.bound.contains(&net.clients[b].addr), "its address is free again");
}

#[test]
fn a_member_that_never_connects_is_closed_after_half_a_minute() {
    let mut net = Net::new();
    let a = net.add("room", Role::Publisher, true, (0, 0));
    net.loss.insert(a, Box::new(|_, _| true));
    let id = net.clients[a].id;
    net.run_until(Duration::from_secs(31), "it is closed", |net| {
        net.notices_of(id).any(|n| *n == Notice::Closed(CloseReason::Timeout))
    });
    assert!(matches!(net.command(Command::Rooms(None)), Some(Reply::Rooms(rooms)) if rooms.is_empty()));
}

#[test]
fn foreign_datagrams_are_counted_and_touch_nobody() {
    let mut net = Net::new();
    let a = net.add("room", Role::Member, true, (1, 1));
    net.add("room", Role::Member, true, (1, 1));
    net.connect_all();
    let stranger = SocketAddr::from(([203, 0, 113, 9], 9));
    let mut state = 1u64;
    for n in 0..10_000usize {
        let data: Vec<u8> = (0..n % 300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        // Half from nowhere, half with a member's own address forged.
        let from = if n % 2 == 0 { stranger } else { net.clients[a].addr };
        net.inject(from, &data);
    }
    let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
    assert_eq!(stats.panics, 0);
    assert!(stats.dropped_unbound + stats.dropped_stun + stats.dropped_unknown > 4_900, "{stats:?}");
    assert_eq!(stats.participants, 2);
    for n in 0..5 {
        net.write_video(a, n, n == 0);
        net.run(FRAME);
    }
    assert_eq!(net.video_of(1).len(), 5, "the call goes on");
}

#[test]
fn a_full_room_and_a_replaced_identity_are_told_so() {
    let mut net = Net::new();
    let mut join = |identity: &str, limit| {
        let (id, name) = (ParticipantId(1_000 + net.notices.len() as u64 * 7 + limit as u64), "n".to_owned());
        let join = Join {
            participant: id,
            room: "r".into(),
            create: true,
            name,
            identity: identity.into(),
            role: Role::Member,
            watch: Watch::default(),
            can_publish: true,
            can_subscribe: true,
            metadata: String::new(),
            max_participants: limit,
            max_publishers: usize::MAX,
        };
        let Some(Reply::Join(result)) = net.command(Command::Join(Box::new(join))) else { panic!("no reply") };
        (id, result.map(|j| j.participants.len()))
    };
    let (first, result) = join("ann", 1);
    assert_eq!(result, Ok(0));
    assert_eq!(join("bob", 1).1, Err(JoinError::RoomFull { limit: 1 }));
    assert_eq!(join("ann", 2).1, Ok(0), "the new session takes the place of the old one");
    assert_eq!(net.notices_of(first).last(), Some(&Notice::Closed(CloseReason::Replaced)));
}

#[test]
fn the_only_layer_of_an_encoder_is_not_paused_by_the_first_guess_of_the_link() {
    let mut net = Net::new();
    let publisher = net.add("stage", Role::Publisher, true, (0, 0));
    let viewer = net.add("stage", Role::Viewer, false, (1, 1));
    net.connect_all();
    let (frames, packets) = (300, 10);
    for n in 0..frames * packets {
        // About 2.2 Mbps; the estimate begins at 300 kbps.
        net.write_video(publisher, n, n == 0);
        if n % packets == packets - 1 {
            net.run(FRAME);
        }
    }
    assert_eq!(net.video_of(viewer).len() as u64, frames * packets, "every packet since the keyframe");
}

#[test]
fn a_publisher_is_seen_from_its_first_offer_on_and_never_beside_the_one_it_replaces() {
    let mut net = Net::new();
    let watcher = net.add("stage", Role::Member, false, (0, 1));
    let watcher = net.clients[watcher].id;
    let mut sdp = String::new();
    net.add_offering("elsewhere", Role::Publisher, true, (0, 0), |offer| {
        sdp.clone_from(&offer);
        offer
    });
    let publishers = |net: &mut Net| -> Vec<ParticipantId> {
        let Some(Reply::Rooms(rooms)) = net.command(Command::Rooms(Some("stage".into()))) else { panic!("no rooms") };
        let shown = rooms[0].participants.iter().filter(|p| p.role == Role::Publisher);
        shown.map(|p| p.id).collect()
    };
    let old = net.join_as("stage", Role::Publisher, "encoder", "ann").expect("joins").0;
    assert_eq!(publishers(&mut net), [], "nothing is published yet");
    net.offer(old, sdp.clone()).expect("an answer");
    let new = net.join_as("stage", Role::Publisher, "encoder", "ann").expect("joins").0;
    assert_eq!(publishers(&mut net), [old], "the new one has not offered");
    net.offer(new, "v=0".into()).expect_err("no offer");
    assert_eq!(publishers(&mut net), [old], "a broken offer ends no stream");
    net.offer(new, sdp).expect("an answer");
    assert_eq!(publishers(&mut net), [new]);
    let third = net.join_as("stage", Role::Publisher, "encoder", "bob").expect("joins").0;
    net.command(Command::Leave(third, CloseReason::Left));
    let told: Vec<String> = net
        .notices_of(watcher)
        .filter_map(|notice| match notice {
            Notice::ParticipantJoined(who) => Some(format!("+{}", who.id)),
            Notice::ParticipantLeft(who, _) => Some(format!("-{who}")),
            _ => None,
        })
        .collect();
    assert_eq!(told, [format!("+{old}"), format!("-{old}"), format!("+{new}")]);
}

#[test]
fn each_packet_of_a_frame_has_numbers_of_its_own() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    const SIZES: [usize; 6] = [900, 900, 898, 900, 900, 700];
    for frame in 0..20 {
        net.write_parts(publisher, frame * SIZES.len() as u64, &SIZES);
        net.run(FRAME);
    }
    let video = net.video_of(viewer);
    assert_eq!(video.len(), 20 * SIZES.len());
    assert!(video.windows(2).all(|w| *w[1].seq_no == *w[0].seq_no + 1), "sequence numbers");
    let transport: Vec<u16> = video.iter().filter_map(|packet| packet.header.ext_vals.transport_cc).collect();
    assert_eq!(transport.len(), video.len(), "all have transport-wide sequence numbers");
    assert!(transport.windows(2).all(|w| (1..50).contains(&w[1].wrapping_sub(w[0]))), "which go up: {transport:?}");
    assert!(transport.windows(2).filter(|w| w[1] == w[0] + 1).count() > video.len() / 2, "mostly by one");
    assert!(video.iter().all(|packet| packet.header.ext_vals.abs_send_time.is_some()), "and send times");
    for frame in video.chunks(SIZES.len()) {
        assert!(frame.iter().all(|packet| packet.header.timestamp == frame[0].header.timestamp));
        let last: Vec<bool> = frame.iter().map(|packet| packet.header.marker).collect();
        assert_eq!(last, [false, false, false, false, false, true]);
        let sizes: Vec<usize> = frame.iter().map(|packet| packet.payload.len()).collect();
        assert_eq!(sizes, SIZES);
        assert!((1..6).all(|part| frame[part].payload.ends_with(&[part as u8; 100])), "each with its own payload");
    }
}
