//! What comes while packets are being forwarded: sound goes first, and nothing is forgotten.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::net::SocketAddr;
use std::time::Duration;

use net::Net;
use weir_core::api::*;
use weir_core::shard::{Input, Output};

/// Bytes from which on a datagram is one of a picture here; sound has 80 and headers.
const PICTURE: usize = 900;
const RECEIVERS: usize = 8;

/// A speaker, and so many who see and hear.
fn room() -> (Net, usize, Vec<usize>) {
    let mut net = Net::new();
    let speaker = net.add("room", Role::Member, true, (0, 0));
    let receivers: Vec<usize> = (0..RECEIVERS).map(|_| net.add("room", Role::Member, false, (1, 1))).collect();
    net.connect_all();
    for n in 0..50 {
        net.write_video(speaker, n, n == 0);
        net.write_audio(speaker, n);
        net.run(Duration::from_millis(20));
    }
    (net, speaker, receivers)
}

fn stats(net: &mut Net) -> weir_core::stats::Stats {
    let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
    *stats
}

/// The first picture of a batch is on its way to two of the receivers.
fn begin(net: &mut Net, speaker: usize, seq: u64) -> Vec<(SocketAddr, usize)> {
    net.write_video(speaker, seq, false);
    net.arrive(speaker);
    let sent = net.give_out(2);
    assert_eq!(sent.iter().filter(|(_, length)| *length >= PICTURE).count(), 2, "{sent:?}");
    assert!(net.shards[0].is_forwarding());
    sent
}

fn pictures(net: &Net, receiver: usize) -> Vec<u8> {
    net.clients[receiver]
        .received
        .iter()
        .filter(|p| p.payload.len() > 800)
        .filter_map(|p| p.payload.last().copied())
        .collect()
}

#[test]
fn sound_does_not_wait_until_all_have_their_pictures() {
    let (mut net, speaker, receivers) = room();
    let first = begin(&mut net, speaker, 50);
    net.write_video(speaker, 51, false);
    net.write_audio(speaker, 50);
    net.arrive(speaker);
    let sent = net.give_out(usize::MAX);
    let lengths: Vec<usize> = sent.iter().map(|(_, length)| *length).filter(|length| *length > 80).collect();
    let is_picture: Vec<bool> = lengths.iter().map(|length| *length >= PICTURE).collect();
    let expected = [vec![false; RECEIVERS], vec![true; RECEIVERS - 2 + RECEIVERS]].concat();
    assert_eq!(is_picture, expected, "{first:?} {sent:?}");
    assert!(!net.shards[0].is_forwarding());
    net.run(Duration::from_millis(100));
    for receiver in receivers {
        assert_eq!(pictures(&net, receiver), (0..52).collect::<Vec<u8>>(), "in order, each once");
        assert_eq!(net.audio_of(receiver).len(), 51);
    }
}

#[test]
fn of_one_batch_those_come_first_who_get_sound_of_it() {
    let (mut net, speaker, _) = room();
    let other = net.add("other", Role::Member, true, (0, 0));
    net.add("other", Role::Member, false, (1, 1));
    net.connect_all();
    net.write_video(other, 0, true);
    // Not a second: sender reports would be due, which come along with packets.
    net.run(Duration::from_millis(1500));
    net.write_video(speaker, 50, false);
    net.arrive(speaker);
    net.write_video(other, 1, false);
    net.write_audio(other, 0);
    let sent = net.batch(other, 80);
    let to: Vec<SocketAddr> =
        sent.into_iter().map(|(to, _)| to).filter(|to| *to != net.clients[speaker].addr).collect();
    assert_eq!(to.len(), 2 + RECEIVERS, "{to:?}");
    assert_eq!(to[..2], [net.clients[other + 1].addr; 2], "who joined last, with its picture: {to:?}");
}

#[test]
fn a_picture_that_has_waited_too_long_is_given_up_and_sound_is_not() {
    let (mut net, speaker, receivers) = room();
    begin(&mut net, speaker, 50);
    net.write_video(speaker, 51, false);
    net.write_audio(speaker, 50);
    net.arrive(speaker);
    net.now += Duration::from_millis(400);
    // Time passes with the next input.
    net.write_audio(speaker, 51);
    net.arrive(speaker);
    net.give_out(usize::MAX);
    assert_eq!(stats(&mut net).dropped_late, 1);
    net.write_video(speaker, 52, false);
    net.run(Duration::from_millis(100));
    net.write_video(speaker, 53, true);
    net.run(Duration::from_millis(100));
    let expected: Vec<u8> = (0..51).chain([53]).collect();
    for receiver in receivers {
        assert_eq!(pictures(&net, receiver), expected, "they go on with a keyframe");
        assert_eq!(net.audio_of(receiver).len(), 52);
        assert_eq!(net.clients[receiver].nacks_sent, 0, "without a gap");
    }
}

#[test]
fn what_is_asked_for_meanwhile_does_not_wait_for_the_end_of_what_has_none() {
    let (mut net, speaker, receivers) = room();
    let mid = net.subscriptions("room", receivers[0])[0].mid.as_str().into();
    begin(&mut net, speaker, 50);
    net.ask_keyframe(receivers[0], mid);
    net.arrive(receivers[0]);
    let sent = net.give_out(usize::MAX);
    assert_eq!(sent.first().map(|(to, _)| *to), Some(net.clients[speaker].addr), "the request first: {sent:?}");
    assert_eq!(sent.iter().filter(|(_, length)| *length >= PICTURE).count(), RECEIVERS - 2);
}

#[test]
fn a_command_amid_it_takes_nothing_from_anybody() {
    let (mut net, speaker, receivers) = room();
    begin(&mut net, speaker, 50);
    net.write_audio(speaker, 50);
    net.arrive(speaker);
    let gone = net.clients[receivers[7]].id;
    let command = Command::Leave(gone, CloseReason::Left);
    net.shards[0].handle(net.now, Input::Command { request: u64::MAX, command });
    assert!(!net.shards[0].is_forwarding(), "nothing is on its way to whoever may come in the place of who has gone");
    net.run(Duration::from_millis(100));
    for receiver in &receivers[..7] {
        assert_eq!(pictures(&net, *receiver), (0..51).collect::<Vec<u8>>());
        assert_eq!(net.audio_of(*receiver).len(), 51);
    }
}

#[test]
fn pictures_are_given_up_where_there_is_no_room_for_them_and_sound_is_not() {
    let (mut net, speaker, receivers) = room();
    for n in 50..2150 {
        net.write_video(speaker, n, false);
        if n % 100 == 0 {
            net.write_audio(speaker, 100 + n / 100);
        }
    }
    net.write_audio(speaker, 1000);
    net.arrive(speaker);
    net.give_out(usize::MAX);
    let stats = stats(&mut net);
    assert!((1..200).contains(&stats.dropped_late), "{} dropped", stats.dropped_late);
    net.run(Duration::from_millis(100));
    assert_eq!(net.audio_of(receivers[0]).len(), 50 + 21 + 1);
}

/// What is given out: its length, and for how long it had been here, if it was forwarded.
fn given_out(net: &mut Net) -> Vec<(usize, Option<Duration>)> {
    let mut all = Vec::new();
    while let Some(output) = net.shards[0].poll_output() {
        if let Output::Transmit(transmit) = output {
            let since = net.shards[0].forwarded_since();
            all.push((transmit.contents.len(), since.map(|since| net.now - since)));
        }
    }
    all
}

#[test]
fn of_what_is_forwarded_it_is_told_since_when_it_has_been_here() {
    let (mut net, speaker, _) = room();
    net.write_video(speaker, 50, false);
    net.waited = Duration::from_millis(3);
    net.arrive(speaker);
    net.now += Duration::from_millis(4);
    net.write_audio(speaker, 50);
    net.waited = Duration::from_millis(1);
    net.arrive(speaker);
    let out = given_out(&mut net);
    let waited = |is_wanted: fn(usize) -> bool| -> Vec<_> {
        out.iter().filter(|(length, _)| is_wanted(*length)).map(|(_, waited)| *waited).collect()
    };
    assert_eq!(waited(|length| length >= PICTURE), [Some(Duration::from_millis(7)); RECEIVERS], "{out:?}");
    let sound = |length| (81..PICTURE).contains(&length);
    assert_eq!(waited(sound), [Some(Duration::from_millis(1)); RECEIVERS], "{out:?}");
    net.now += Duration::from_secs(2);
    net.shards[0].handle(net.now, Input::Timeout);
    let out = given_out(&mut net);
    assert!(!out.is_empty() && out.iter().all(|(_, waited)| waited.is_none()), "reports and checks: {out:?}");
}
