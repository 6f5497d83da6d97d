//! What a worker is woken for, when nothing comes in: each time costs it some twenty microseconds.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::ops::Range;
use std::time::{Duration, Instant};

use net::{DELAY, Net};
use weir_core::api::{Command, Reply, Role};

const FRAME: Duration = Duration::from_millis(33);

/// Each of these sends pictures of so many packets, numbered so, one each so often.
fn send(net: &mut Net, from: &[usize], packets: usize, every: Duration, pictures: Range<u64>) {
    for n in pictures {
        from.iter().for_each(|sender| net.write_parts(*sender, n * packets as u64, &vec![1100; packets]));
        net.run(every);
    }
}

#[test]
fn whose_link_carries_all_that_is_wanted_is_not_probed() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    let others = |net: &mut Net| {
        let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
        stats.datagrams_out - stats.rtp_forwarded
    };
    send(&mut net, &[publisher], 9, FRAME, 0..900);
    let before = others(&mut net);
    send(&mut net, &[publisher], 9, FRAME, 900..1800);
    let others = others(&mut net) - before;
    // The publisher is told 20 times a second what came, and both get a report each second or so.
    assert!(others < 30 * 23, "{others} packets in 30 s besides what is forwarded");
}

#[test]
fn who_sends_and_misses_nothing_is_left_alone_between_pictures() {
    let mut net = Net::new();
    let member = net.add("room", Role::Member, true, (0, 0));
    net.connect_all();
    let every = Duration::from_millis(100);
    send(&mut net, &[member], 9, every, 0..40);
    let before = net.timeouts;
    send(&mut net, &[member], 9, every, 40..80);
    let timeouts = net.timeouts - before;
    // Of each picture the sender is told that it came; speakers are looked at each 200 ms; and reports.
    assert!(timeouts < 4 * (10 + 5 + 3), "{timeouts} deadlines in 4 s");
}

#[test]
fn what_is_missed_is_asked_for_at_once() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    send(&mut net, &[publisher], 9, FRAME, 0..60);
    let before = net.video_of(viewer).len();
    let mut packet = 0;
    let third_up = move |_: Instant, up: bool| {
        packet += usize::from(up);
        up && packet == 3
    };
    net.loss.insert(publisher, Box::new(third_up));
    net.write_parts(publisher, 60 * 9, &[1100; 9]);
    let whole = |net: &Net| net.video_of(viewer).len() == before + 9;
    let time = net.run_until(Duration::from_secs(1), "the packet that was lost", whole);
    // There, the request back, the packet there again, and to the viewer.
    assert!(time < 4 * DELAY + Duration::from_millis(5), "{time:?}");
}

#[test]
fn what_can_wait_of_a_member_waits_for_the_next_picture() {
    let mut net = Net::new();
    let members: Vec<usize> = (0..2).map(|_| net.add("room", Role::Member, true, (1, 1))).collect();
    net.connect_all();
    send(&mut net, &members, 3, FRAME, 0..600);
    let before = net.timeouts;
    send(&mut net, &members, 3, FRAME, 600..720);
    let timeouts = net.timeouts - before;
    // Both members are told 20 times a second what came of them.
    assert!(timeouts < 4 * 30, "{timeouts} deadlines in 4 s");
}

#[test]
fn what_is_missed_of_a_member_is_asked_for_again_though_other_deadlines_wait() {
    let mut net = Net::new();
    let member = net.add("room", Role::Member, true, (1, 1));
    let viewer = net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    send(&mut net, &[member], 9, FRAME, 0..600);
    let before = net.video_of(viewer).len();
    // Both times that it is sent.
    let mut lost = 0;
    let large = move |up: bool, length: usize| {
        let media = up && length > 1000;
        lost += usize::from(media);
        media && (lost == 3 || lost == 10)
    };
    net.loss_by_size.insert(member, Box::new(large));
    net.write_parts(member, 600 * 9, &[1100; 9]);
    let whole = |net: &Net| net.video_of(viewer).len() == before + 9;
    let time = net.run_until(Duration::from_secs(1), "the packet that was lost", whole);
    // As above, and 33 ms from the first request to the second.
    assert!(time < 4 * DELAY + FRAME + Duration::from_millis(5), "{time:?}");
}
