//! A slot's whole way of a packet: selection, rewriting and numbering together.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::api::{Codec, MediaKind};
use crate::forward::{SenderReport, Vp8Descriptor};
use crate::fuzzing::{Accepts, Forwarding, Packet, Sent};

const WHOLE: (u8, u8) = (u8::MAX, u8::MAX);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
    Instant::now()
}

fn accepts(codec: Codec, payload_type: u8) -> Accepts {
    Accepts { codec, payload_type, red: None }
}

fn all() -> [Accepts; 4] {
    [accepts(Codec::Vp8, 96), accepts(Codec::Vp9, 98), accepts(Codec::H264, 100), accepts(Codec::Av1, 45)]
}

/// Forwards layer 0 of a video track of so many layers.
fn video(layers: usize) -> Forwarding {
    let mut forwarding = Forwarding::new(MediaKind::Video, layers, &all(), 1);
    give(&mut forwarding, 0);
    forwarding
}

fn give(forwarding: &mut Forwarding, layer: usize) {
    forwarding.set_target(start(), Some((layer, WHOLE.0, WHOLE.1)));
}

/// A whole frame of VP8 in one packet.
fn vp8(layer: usize, ssrc: u32, sequence: u64, keyframe: bool) -> Packet {
    let [high, low] = (sequence as u16).to_be_bytes();
    Packet {
        layer,
        ssrc,
        sequence,
        timestamp: sequence as u32 * 3000,
        marker: true,
        codec: Codec::Vp8,
        red: None,
        payload: Arc::from([0x90, 0x80, 0x80 | high, low, u8::from(!keyframe), 0, 0, sequence as u8]),
        descriptor: None,
        report: None,
        audio_level: None,
        csrc: Vec::new(),
    }
}

/// A whole frame of VP9 in one packet of SSRC 1.
fn vp9(number: u64, keyframe: bool) -> Packet {
    let [high, low] = (number as u16).to_be_bytes();
    // I, P unless a keyframe, B, E; a 15-bit picture id.
    let head = 0x8c | if keyframe { 0 } else { 0x40 };
    let payload = Arc::from([head, 0x80 | high, low, 0x82, 0x49]);
    Packet { codec: Codec::Vp9, payload, ..vp8(0, 1, number, false) }
}

/// What the receiver gets of a packet.
fn get(forwarding: &mut Forwarding, packet: &Packet) -> Option<Sent> {
    forwarding.receive(start(), packet)
}

fn sequence(forwarding: &mut Forwarding, packet: &Packet) -> Option<u64> {
    get(forwarding, packet).map(|sent| sent.sequence)
}

#[test]
fn a_frame_cut_by_a_switch_leaves_exactly_one_gap() {
    let mut forwarding = video(2);
    let first = sequence(&mut forwarding, &vp8(0, 1, 10, true)).expect("a keyframe");
    let half = Packet { marker: false, ..vp8(0, 1, 11, false) };
    assert_eq!(sequence(&mut forwarding, &half), Some(first + 1));
    give(&mut forwarding, 1);
    assert_eq!(sequence(&mut forwarding, &vp8(1, 2, 500, true)), Some(first + 3), "the frame of 11 is not whole");
    assert_eq!(sequence(&mut forwarding, &vp8(1, 2, 501, false)), Some(first + 4));
    assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 12, false)), None, "its rest comes too late");
    give(&mut forwarding, 0);
    assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 20, true)), Some(first + 5), "the frame of 501 was whole");
}

#[test]
fn a_frame_cut_by_a_pause_or_another_track_leaves_exactly_one_gap() {
    let mut forwarding = video(1);
    let first = sequence(&mut forwarding, &Packet { marker: false, ..vp8(0, 1, 10, true) }).expect("a keyframe");
    forwarding.set_target(start(), None);
    assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 11, false)), None);
    give(&mut forwarding, 0);
    let resumed = Packet { marker: false, ..vp8(0, 1, 15, true) };
    assert_eq!(sequence(&mut forwarding, &resumed), Some(first + 2));
    forwarding.show_another(1);
    give(&mut forwarding, 0);
    assert_eq!(sequence(&mut forwarding, &vp8(0, 9, 70, true)), Some(first + 4));
}

#[test]
fn a_late_joiners_first_packet_starts_a_keyframe() {
    for layers in [1, 2] {
        let mut forwarding = video(layers);
        for number in 10..40 {
            assert_eq!(get(&mut forwarding, &vp8(0, 1, number, false)), None, "the middle of the stream");
        }
        assert_eq!(forwarding.awaited(), Some(0), "and it is asked for");
        let first = get(&mut forwarding, &vp8(0, 1, 40, true)).expect("the keyframe");
        assert_eq!(first.payload[4] & 1, 0, "P=0: a keyframe");
        assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 41, false)), Some(first.sequence + 1));
    }
}

#[test]
fn a_keyframe_whose_start_comes_after_its_rest_is_not_begun_with() {
    let mut forwarding = video(1);
    assert_eq!(get(&mut forwarding, &vp8(0, 1, 11, false)), None, "the rest, while nothing is forwarded");
    assert_eq!(get(&mut forwarding, &vp8(0, 1, 10, true)), None, "what has come of it is gone");
    assert_eq!(forwarding.awaited(), Some(0), "another one is asked for");
    assert!(get(&mut forwarding, &vp8(0, 1, 12, true)).is_some());
    assert_eq!(forwarding.awaited(), None);
}

#[test]
fn a_keyframe_that_comes_again_is_not_begun_with() {
    let mut forwarding = video(1);
    assert!(get(&mut forwarding, &vp8(0, 1, 10, true)).is_some());
    forwarding.set_target(start(), None);
    give(&mut forwarding, 0);
    assert_eq!(get(&mut forwarding, &vp8(0, 1, 10, true)), None, "it would go out under two numbers");
    assert!(get(&mut forwarding, &vp8(0, 1, 11, true)).is_some());
}

#[test]
fn a_keyframe_that_was_overtaken_begins_nothing() {
    let mut forwarding = video(1);
    get(&mut forwarding, &vp8(0, 1, 10, true)).expect("a keyframe");
    let keyframe = Packet { marker: false, ..vp8(0, 1, 12, true) };
    let first = get(&mut forwarding, &keyframe).expect("the first half of the next");
    forwarding.on_late();
    let late = get(&mut forwarding, &vp8(0, 1, 11, true)).map(|sent| sent.sequence);
    assert_eq!(late, Some(first.sequence - 1), "it fills its place, and no more");
    let rest = Packet { timestamp: keyframe.timestamp, payload: keyframe.payload.clone(), ..vp8(0, 1, 13, false) };
    let rest = Packet { payload: Arc::from([&[0x80], &rest.payload[1..]].concat()), ..rest };
    let second = get(&mut forwarding, &rest).expect("its second half");
    assert_eq!((second.timestamp, second.sequence), (first.timestamp, first.sequence + 1));
}

#[test]
fn a_h264_keyframe_begins_with_its_parameter_sets() {
    let packet = |number: u64, payload: &[u8], marker| Packet {
        codec: Codec::H264,
        payload: Arc::from(payload),
        marker,
        timestamp: 3000,
        ..vp8(0, 1, number, false)
    };
    let mut forwarding = video(1);
    assert_eq!(get(&mut forwarding, &packet(9, &[0x41, 0x88, 0], true)), None, "a slice");
    let sps = get(&mut forwarding, &packet(10, &[0x67, 0x42, 0, 0x1f], false)).expect("SPS");
    let pps = get(&mut forwarding, &packet(11, &[0x68, 0xce, 0x38], false)).expect("PPS");
    let idr = get(&mut forwarding, &packet(12, &[0x65, 0x88, 0x84], true)).expect("IDR");
    assert_eq!((pps.sequence, idr.sequence), (sps.sequence + 1, sps.sequence + 2));
    assert_eq!((sps.timestamp, idr.marker), (idr.timestamp, true));
}

#[test]
fn ssrc_a_to_b_to_a_begins_each_time_with_a_keyframe_and_leaves_no_gap() {
    let mut forwarding = video(1);
    let first = sequence(&mut forwarding, &vp8(0, 1, 10, true)).expect("a keyframe");
    assert_eq!(sequence(&mut forwarding, &vp8(0, 2, 700, false)), None, "of B, before its keyframe");
    assert_eq!(forwarding.awaited(), Some(0), "B is asked for one");
    assert_eq!(sequence(&mut forwarding, &vp8(0, 2, 701, true)), Some(first + 1));
    assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 11, false)), None, "what still comes of A is late");
    assert_eq!(sequence(&mut forwarding, &vp8(0, 2, 702, false)), Some(first + 2), "and does not disturb B");
    forwarding.show_another(1);
    give(&mut forwarding, 0);
    assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 900, false)), None);
    let back = get(&mut forwarding, &vp8(0, 1, 901, true)).expect("A again");
    assert_eq!(back.sequence, first + 3);
    assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 902, false)), Some(first + 4));
}

/// AV1 L1T3 of Chromium: only the keyframe brings the structure that all others are read with.
fn av1_l1t3() -> Vec<Packet> {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
    };
    let packet = |row: Vec<&str>| Packet {
        codec: Codec::Av1,
        timestamp: row[1].parse().expect("a number"),
        marker: row[2] == "1",
        payload: Arc::from(hex(row[5])),
        descriptor: Some(hex(row[3])),
        ..vp8(0, 0, 0, false)
    };
    let rows = include_str!("forward/testdata/chromium-av1-l1t3.txt").lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| packet(line.split(' ').collect())).collect()
}

fn av1(recorded: &Packet, ssrc: u32, sequence: u64) -> Packet {
    Packet { ssrc, sequence, ..recorded.clone() }
}

/// The same with other template ids, as an encoder sends it that was set up anew, and so many frames on.
fn set_up_anew(packet: &Packet, frames: u8) -> Packet {
    let mut raw = packet.descriptor.clone().expect("a descriptor");
    raw[0] += 16;
    raw[2] += frames;
    if raw.len() > 4 {
        assert_eq!((raw[3] & 7, raw[4] >> 5), (0, 0), "template_id_offset");
        raw[3] |= 16 >> 3;
    }
    Packet { descriptor: Some(raw), ..packet.clone() }
}

#[test]
fn without_the_keyframe_that_brought_a_new_structure_nothing_goes_on() {
    let rows = av1_l1t3();
    let mut forwarding = video(1);
    let before = (0..6).filter_map(|at| sequence(&mut forwarding, &av1(&rows[at], 1, 1000 + at as u64))).last();
    // After a silence the encoder is set up anew, and its keyframe comes later than the frame after it.
    let packet = |at: usize| av1(&set_up_anew(&rows[at], 40), 1, 5000 + at as u64);
    assert_eq!(get(&mut forwarding, &packet(1)), None, "nobody could read it");
    assert_eq!(get(&mut forwarding, &packet(0)), None, "its place is taken");
    (2..10).for_each(|at| assert_eq!(get(&mut forwarding, &packet(at)), None, "nothing there for {at} to refer to"));
    assert_eq!(forwarding.awaited(), Some(0));
    let again = |at: usize| av1(&set_up_anew(&rows[at], 60), 1, 5010 + at as u64);
    // One number is left open: the silence.
    assert_eq!(sequence(&mut forwarding, &again(0)), before.map(|number| number + 2));
    assert_eq!(sequence(&mut forwarding, &again(1)), before.map(|number| number + 3));
    assert_eq!(forwarding.awaited(), None);
}

#[test]
fn what_refers_to_a_frame_that_could_not_be_read_is_not_sent() {
    let rows = av1_l1t3();
    let mut forwarding = video(1);
    (0..6).for_each(|at| assert!(get(&mut forwarding, &av1(&rows[at], 1, 1000 + at as u64)).is_some()));
    // The keyframe of an encoder that was set up anew is late, and the first packet of the next frame of T0 too early.
    let packet = |at: usize| av1(&set_up_anew(&rows[at], 40), 1, 1006 + at as u64);
    assert_eq!(get(&mut forwarding, &packet(8)), None, "nobody could read it");
    (0..2).for_each(|at| assert!(get(&mut forwarding, &packet(at)).is_some(), "the keyframe itself is whole"));
    let rest = 9..rows.len();
    rest.for_each(|at| assert_eq!(get(&mut forwarding, &packet(at)), None, "{at} needs the packet that was dropped"));
    assert_eq!(forwarding.awaited(), Some(0));
}

#[test]
fn late_packets_of_the_ssrc_before_do_not_make_the_new_one_unreadable() {
    let rows = av1_l1t3();
    let packet = |ssrc, at: usize| av1(&rows[at], ssrc, 1000 + at as u64);
    let mut forwarding = video(1);
    (0..6).for_each(|at| assert!(get(&mut forwarding, &packet(1, at)).is_some()));
    assert!(get(&mut forwarding, &packet(2, 0)).is_some(), "B begins");
    assert_eq!(get(&mut forwarding, &packet(1, 7)), None, "of A, late");
    assert!(get(&mut forwarding, &packet(2, 1)).is_some(), "B goes on");
}

#[test]
fn a_codec_change_on_one_ssrc_waits_for_a_keyframe_of_the_new_codec() {
    let mut forwarding = video(1);
    let before = get(&mut forwarding, &vp8(0, 1, 10, true)).expect("a keyframe");
    assert_eq!(get(&mut forwarding, &vp9(11, false)), None, "of the new codec, before its keyframe");
    assert_eq!(forwarding.awaited(), Some(0));
    let after = get(&mut forwarding, &vp9(12, true)).expect("a keyframe of VP9");
    assert_eq!((before.payload_type, after.payload_type), (96, 98));
    assert_eq!(after.sequence, before.sequence + 1);
    assert!(after.timestamp.wrapping_sub(before.timestamp) as i32 > 0);
    assert_eq!(get(&mut forwarding, &vp8(0, 1, 11, false)), None, "of the codec before, late");
    assert_eq!(get(&mut forwarding, &vp9(13, false)).map(|sent| sent.sequence), Some(after.sequence + 1));
    assert_eq!(forwarding.awaited(), None, "nothing more is asked for");
}

#[test]
fn an_ssrc_does_not_begin_with_a_frame_that_the_filter_would_drop() {
    let mut forwarding = video(1);
    assert!(get(&mut forwarding, &vp9(10, true)).is_some());
    // I, L, B, E: it refers to nothing, but is of temporal layer 1.
    let payload = Arc::from([0xac, 0x80, 11, 0x20, 0, 0x82, 0x49]);
    assert_eq!(get(&mut forwarding, &Packet { payload, ssrc: 2, ..vp9(700, true) }), None);
    assert!(get(&mut forwarding, &vp9(11, false)).is_some(), "so what there is goes on");
}

#[test]
fn a_codec_change_after_the_way_back_to_an_ssrc_waits_for_a_keyframe_too() {
    let mut forwarding = video(1);
    assert!(get(&mut forwarding, &vp8(0, 1, 10, true)).is_some());
    assert!(get(&mut forwarding, &vp8(0, 2, 700, true)).is_some(), "from A to B");
    forwarding.set_target(start(), None);
    give(&mut forwarding, 0);
    assert!(get(&mut forwarding, &vp8(0, 1, 20, true)).is_some(), "and back to A, after a pause");
    assert_eq!(get(&mut forwarding, &vp9(21, false)), None, "of the new codec, before its keyframe");
    assert_eq!(forwarding.awaited(), Some(0));
    assert!(get(&mut forwarding, &vp9(22, true)).is_some());
}

#[test]
fn subscribers_with_different_payload_types_get_each_their_own() {
    let packet = vp8(0, 1, 10, true);
    for payload_type in [96, 120] {
        let mut forwarding = Forwarding::new(MediaKind::Video, 1, &[accepts(Codec::Vp8, payload_type)], 1);
        give(&mut forwarding, 0);
        assert_eq!(get(&mut forwarding, &packet).map(|sent| sent.payload_type), Some(payload_type));
    }
    let mut without = Forwarding::new(MediaKind::Video, 1, &[accepts(Codec::Av1, 45)], 1);
    give(&mut without, 0);
    assert_eq!(get(&mut without, &packet), None, "a receiver without the codec");
}

#[test]
fn a_storm_of_new_publishers_leaves_one_stream() {
    let mut forwarding = video(1);
    let mut before: Option<Sent> = None;
    let mut now = start();
    for publisher in 0..200_u32 {
        now += Duration::from_millis(10);
        forwarding.show_another(1);
        give(&mut forwarding, 0);
        let ssrc = 1000 + publisher * 7919;
        let at = u64::from(publisher * 40_503 % 65_536);
        assert_eq!(forwarding.receive(now, &vp8(0, ssrc, at, false)), None, "not before a keyframe");
        let sent = forwarding.receive(now, &vp8(0, ssrc, at + 1, true)).expect("a keyframe");
        let id = |sent: &Sent| Vp8Descriptor::parse(&sent.payload).and_then(|d| d.picture_id).map(|id| id.value);
        if let Some(before) = before {
            assert_eq!(sent.sequence, before.sequence + 1);
            assert!(sent.timestamp.wrapping_sub(before.timestamp) as i32 > 0);
            assert_eq!(id(&sent), id(&before).map(|id| (id + 1) & 0x7fff));
        }
        before = Some(sent);
    }
}

#[test]
fn rids_in_another_order_are_still_the_layers_they_name() {
    // Packets come with the index of the RID that they name; which one is first in the offer means nothing.
    let mut forwarding = video(3);
    give(&mut forwarding, 2);
    assert_eq!(get(&mut forwarding, &vp8(0, 1, 10, true)), None);
    let first = sequence(&mut forwarding, &vp8(2, 3, 30, true)).expect("the layer asked for");
    give(&mut forwarding, 0);
    assert_eq!(sequence(&mut forwarding, &vp8(2, 3, 31, false)), Some(first + 1), "until the other's keyframe");
    assert_eq!(sequence(&mut forwarding, &vp8(0, 1, 11, true)), Some(first + 2));
}

#[test]
fn sender_reports_are_translated_and_never_turn_the_time_back() {
    let report = |ms: u64, rtp: u32| {
        Some(SenderReport { wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + ms), rtp })
    };
    let mut forwarding = video(2);
    let now = start();
    let low = |number, report| Packet {
        timestamp: 500_000 + number as u32 * 3000,
        report,
        ..vp8(0, 1, number, number == 10)
    };
    let at_low = forwarding.receive(now, &low(10, report(0, 530_000))).expect("a keyframe");
    // The other layer counts from elsewhere; its frame was captured 100 ms after the one above.
    let high = Packet { timestamp: 7_009_000, report: report(0, 7_000_000), ..vp8(1, 2, 50, true) };
    give(&mut forwarding, 1);
    let at_high = forwarding.receive(now + Duration::from_millis(95), &high).expect("a keyframe");
    assert_eq!(at_high.timestamp.wrapping_sub(at_low.timestamp), 9000, "by the reports, not by the arrival");
    // Back to the lower one, whose reports now contradict all: an hour back.
    give(&mut forwarding, 0);
    let odd = Packet { timestamp: 900, report: report(0, 324_000_900), ..vp8(0, 1, 99, true) };
    let at_odd = forwarding.receive(now + Duration::from_millis(130), &odd).expect("a keyframe");
    assert_eq!(at_odd.timestamp.wrapping_sub(at_high.timestamp), 35 * 90, "by the time that passed");
}

/// Opus, as RED around one block of payload type `inner`.
fn red(number: u64, inner: u8) -> Packet {
    Packet {
        codec: Codec::Opus,
        red: Some(111),
        payload: Arc::from([inner, 1, 2, number as u8]),
        timestamp: number as u32 * 960,
        marker: false,
        audio_level: Some(-30),
        ..vp8(0, 1, number, true)
    }
}

fn audio(payload_type: u8, red: Option<u8>) -> Forwarding {
    let accepts = Accepts { codec: Codec::Opus, payload_type, red };
    let mut forwarding = Forwarding::new(MediaKind::Audio, 1, &[accepts], 1);
    give(&mut forwarding, 0);
    forwarding
}

#[test]
fn red_falls_back_to_plain_for_receivers_without_it() {
    let sent = get(&mut audio(111, Some(63)), &red(1, 111)).expect("whole");
    assert_eq!((sent.payload_type, sent.payload.as_slice()), (63, &[111, 1, 2, 1][..]));
    let sent = get(&mut audio(111, None), &red(1, 111)).expect("the primary block");
    assert_eq!((sent.payload_type, sent.payload.as_slice()), (111, &[1, 2, 1][..]));
}

#[test]
fn red_of_other_payload_types_inside_is_not_passed_on_as_it_is() {
    // The receiver calls Opus by another number than the publisher: inside RED it would not know it.
    let sent = get(&mut audio(109, Some(63)), &red(1, 111)).expect("the primary block");
    assert_eq!((sent.payload_type, sent.payload.as_slice()), (109, &[1, 2, 1][..]));
    // Inside is something that was not negotiated: it is left out, and leaves no gap.
    for mut forwarding in [audio(111, Some(63)), audio(111, None)] {
        let first = sequence(&mut forwarding, &red(1, 111)).expect("Opus");
        assert_eq!(get(&mut forwarding, &red(2, 13)), None, "comfort noise");
        assert_eq!(sequence(&mut forwarding, &red(3, 111)), Some(first + 1));
    }
}

#[test]
fn the_audio_level_survives() {
    let sent = get(&mut audio(111, None), &Packet { red: None, ..red(1, 111) }).expect("a packet");
    assert_eq!(sent.audio_level, Some(-30));
}

#[test]
fn audio_does_not_begin_again_with_a_packet_that_was_sent() {
    let mut forwarding = audio(111, None);
    assert!(get(&mut forwarding, &red(1, 111)).is_some());
    forwarding.set_target(start(), None);
    give(&mut forwarding, 0);
    assert_eq!(get(&mut forwarding, &red(1, 111)), None, "it would go out under two numbers");
    assert!(get(&mut forwarding, &red(2, 111)).is_some());
}

#[test]
fn a_packet_of_padding_alone_is_left_out_without_a_gap() {
    for start in [vp8(0, 1, 10, true), vp9(10, true)] {
        let mut forwarding = video(1);
        let first = sequence(&mut forwarding, &start).expect("a keyframe");
        // What is left of it when the stack has taken the padding off.
        let padding = Packet { payload: Arc::from([]), sequence: 11, ..start.clone() };
        assert_eq!(get(&mut forwarding, &padding), None);
        let next = if start.codec == Codec::Vp8 { vp8(0, 1, 12, false) } else { vp9(12, false) };
        assert_eq!(sequence(&mut forwarding, &next), Some(first + 1), "{:?}", start.codec);
    }
}

#[test]
fn contributing_sources_survive() {
    let mixed = Packet { red: None, csrc: vec![7, 8, 9], ..red(1, 111) };
    assert_eq!(get(&mut audio(111, None), &mixed).map(|sent| sent.csrc), Some(vec![7, 8, 9]));
}

#[test]
fn a_dtx_gap_is_no_loss() {
    let mut forwarding = audio(111, None);
    let plain = |number: u64, timestamp| Packet { red: None, timestamp, ..red(number, 111) };
    let before = get(&mut forwarding, &plain(1, 960)).expect("speech");
    let after = get(&mut forwarding, &plain(2, 960 * 21)).expect("400 ms later");
    assert_eq!(after.sequence, before.sequence + 1, "nothing is missing");
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 960 * 20, "and the silence is as long as it was");
}
