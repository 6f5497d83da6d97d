use super::*;
use crate::media::clips::VIDEO;
use crate::media::{ClipSource, OpusSource, Payload, Source};

/// One packet on its way.
#[derive(Clone)]
struct Sent {
    at_us: u64,
    sequence: u64,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

const FRAME_US: u64 = 33_333;

/// The packets of `frames` frames of a camera's one layer, its keyframe asked for before each of `asked`.
fn camera(codec: Codec, width: u16, frames: u64, asked: &[u64]) -> Vec<Sent> {
    let mut source = ClipSource::new(codec, &[width], 1, 2, 0x7ff0).unwrap();
    let (mut packets, mut payloads) = (Vec::new(), Vec::<Payload>::new());
    for i in 0..frames {
        if asked.contains(&i) {
            source.request_keyframe(0);
        }
        source.frame(0, i * FRAME_US, &mut payloads);
        packets.extend(payloads.drain(..).map(|payload| Sent {
            at_us: i * FRAME_US,
            sequence: 0,
            timestamp: (i as u32).wrapping_mul(source.timestamp_step()).wrapping_sub(9_000),
            marker: payload.marker,
            payload: payload.bytes.to_vec(),
        }));
    }
    number(packets)
}

fn number(mut packets: Vec<Sent>) -> Vec<Sent> {
    for (i, packet) in packets.iter_mut().enumerate() {
        packet.sequence = 1_000 + i as u64;
    }
    packets
}

/// The index of the `n`th frame's first packet.
fn first_of(packets: &[Sent], n: u64) -> usize {
    packets.iter().position(|packet| packet.at_us == n * FRAME_US).unwrap()
}

fn receive(codec: Codec, packets: &[Sent]) -> (ClipChecker, Vec<Frame>) {
    let (mut checker, mut frames) = (ClipChecker::with_sample(codec), Vec::new());
    for Sent { at_us, sequence, timestamp, marker, payload } in packets.iter().cloned() {
        let arrived = Arrived { now_us: at_us, sequence, timestamp, marker, payload: &payload, descriptor: None };
        if payload.is_empty() {
            checker.padding(at_us, sequence);
        } else {
            checker.packet(&arrived, &mut frames);
        }
    }
    (checker, frames)
}

fn judge(codec: Codec, packets: &[Sent]) -> Judgement {
    receive(codec, packets).0.judgement()
}

#[test]
fn a_clean_stream_is_decodable_to_the_last_frame_and_carries_its_marks() {
    for codec in VIDEO {
        let (checker, frames) = receive(codec, &camera(codec, 1280, 200, &[40]));
        assert_eq!(checker.judgement(), Judgement { decodable: 200, ..Judgement::default() }, "{codec:?}");
        assert!(!checker.needs_keyframe());
        let keys: Vec<_> = frames.iter().enumerate().filter(|(_, frame)| frame.key).map(|(i, _)| i).collect();
        assert_eq!(keys, [0, 40, 130], "{codec:?}");
        for (i, frame) in frames.iter().enumerate() {
            let mark = frame.mark.expect("every frame of a clip carries one");
            assert_eq!((mark.frame, mark.sent_us, frame.at_us), (i as u32, frame.at_us, i as u64 * FRAME_US));
        }
    }
}

#[test]
fn a_lost_packet_spoils_all_until_the_next_keyframe_and_is_no_fault() {
    for codec in VIDEO {
        let mut packets = camera(codec, 640, 200, &[]);
        packets.remove(first_of(&packets, 30));
        let found = judge(codec, &packets);
        // Frame 30 came in part, or not at all where it was one packet; 31 to 89 build on it. What H264 loses is the
        // packet with the mark: whether a slice came before the one that is there, nobody can know.
        assert_eq!((found.decodable, found.faults), (30 + 110, 0), "{codec:?}: {found:?}");
        assert!((59..=60).contains(&(found.undecodable + found.incomplete)), "{codec:?}: {found:?}");
    }
}

#[test]
fn a_packet_of_a_frame_lost_in_its_middle_or_end_makes_it_incomplete_once() {
    for codec in VIDEO {
        for last in [false, true] {
            let mut packets = camera(codec, 1280, 60, &[]);
            let keyframe = packets.iter().position(|packet| packet.marker).unwrap();
            packets.remove(if last { keyframe } else { keyframe / 2 });
            let (checker, _) = receive(codec, &packets);
            let found = checker.judgement();
            assert_eq!((found.decodable, found.incomplete, found.faults), (0, 1, 0), "{codec:?} {last} {found:?}");
            assert!(checker.needs_keyframe());
        }
    }
}

#[test]
fn a_repair_in_time_saves_the_frame() {
    for codec in VIDEO {
        let mut packets = camera(codec, 640, 60, &[]);
        let at = first_of(&packets, 30);
        let packet = packets.remove(at);
        let later = first_of(&packets, 36);
        packets.insert(later, Sent { at_us: 36 * FRAME_US, ..packet });
        let (checker, frames) = receive(codec, &packets);
        assert_eq!(checker.judgement(), Judgement { decodable: 60, ..Judgement::default() }, "{codec:?}");
        assert_eq!(frames[30].at_us, 36 * FRAME_US, "{codec:?}: told when it could be decoded");
    }
}

#[test]
fn a_keyframe_behind_a_hole_is_shown_at_once() {
    for codec in VIDEO {
        let mut packets = camera(codec, 640, 60, &[33]);
        packets.remove(first_of(&packets, 30));
        let (checker, frames) = receive(codec, &packets);
        assert_eq!(checker.judgement().decodable, 30 + 27, "{codec:?}");
        assert_eq!((frames[30].at_us, frames[30].key), (33 * FRAME_US, true), "{codec:?}");
    }
}

#[test]
fn a_frame_left_out_without_a_hole_is_a_fault() {
    for codec in VIDEO {
        let mut packets = camera(codec, 640, 60, &[]);
        packets.retain(|packet| packet.at_us != 30 * FRAME_US);
        let found = judge(codec, &number(packets));
        assert_eq!((found.decodable, found.undecodable, found.faults), (30, 29, 1), "{codec:?}: {found:?}");
    }
}

#[test]
fn a_switch_of_layer_is_right_at_a_keyframe_and_a_fault_elsewhere() {
    for codec in VIDEO {
        for (from, faults) in [(40, 0), (41, 1)] {
            let keep = |packets: Vec<Sent>, low: bool| {
                packets.into_iter().filter(move |packet| (packet.at_us < from * FRAME_US) == low)
            };
            let mut other = ClipSource::new(codec, &[320, 1280], 1, 2, 0x7ff0).unwrap();
            let mut high = Vec::new();
            for i in 0..60 {
                if i == 40 {
                    other.request_keyframe(1);
                }
                let mut payloads = Vec::new();
                other.frame(1, i * FRAME_US, &mut payloads);
                high.extend(payloads.into_iter().map(|payload| Sent {
                    at_us: i * FRAME_US,
                    sequence: 0,
                    timestamp: (i as u32 * 3_000).wrapping_sub(9_000),
                    marker: payload.marker,
                    payload: payload.bytes.to_vec(),
                }));
            }
            let packets = keep(camera(codec, 320, 60, &[]), true).chain(keep(high, false)).collect();
            let found = judge(codec, &number(packets));
            assert_eq!(found.faults, faults, "{codec:?} from {from}: {found:?}");
            assert_eq!(found.decodable, if faults == 0 { 60 } else { from }, "{codec:?} from {from}: {found:?}");
        }
    }
}

#[test]
fn a_stream_that_begins_without_a_keyframe_waits_for_one() {
    for codec in VIDEO {
        let packets = camera(codec, 320, 120, &[]);
        let (checker, frames) = receive(codec, &packets[first_of(&packets, 20)..first_of(&packets, 60)]);
        assert!(frames.is_empty() && checker.needs_keyframe(), "{codec:?}");
        assert_eq!(judge(codec, &packets[first_of(&packets, 20)..]).decodable, 30, "{codec:?}");
    }
}

#[test]
fn times_that_stand_still_and_markers_that_are_missing_are_faults() {
    for codec in VIDEO {
        let mut back = camera(codec, 320, 20, &[]);
        let ten = first_of(&back, 10);
        back.iter_mut().filter(|packet| packet.at_us == 10 * FRAME_US).for_each(|packet| packet.timestamp -= 6_000);
        assert!(judge(codec, &back).faults >= 1, "{codec:?} time");
        let mut unmarked = camera(codec, 320, 20, &[]);
        unmarked[ten - 1].marker = false;
        assert_eq!(judge(codec, &unmarked).faults, 1, "{codec:?} marker");
    }
}

#[test]
fn ids_that_jump_are_faults() {
    for codec in [Codec::Vp8, Codec::Vp9] {
        let picture_id = if codec == Codec::Vp8 { 3 } else { 2 };
        let tl0 = 4;
        for byte in [picture_id, tl0] {
            let mut packets = camera(codec, 320, 15, &[]);
            let ten = first_of(&packets, 10);
            packets[ten..].iter_mut().for_each(|packet| packet.payload[byte] ^= 0x40);
            assert_eq!(judge(codec, &packets).faults, 1, "{codec:?} byte {byte}");
        }
    }
}

#[test]
fn padding_fills_its_place() {
    for codec in VIDEO {
        let mut packets = camera(codec, 320, 20, &[]);
        let at = first_of(&packets, 10);
        packets.insert(at, Sent { payload: Vec::new(), marker: false, ..packets[at - 1].clone() });
        assert_eq!(judge(codec, &number(packets)), Judgement { decodable: 20, ..Judgement::default() });
    }
}

#[test]
fn opus_is_decodable_packet_by_packet_and_carries_marks() {
    let (mut source, mut payloads) = (OpusSource::new(1, 2), Vec::new());
    (0..10).for_each(|i| source.frame(0, i * 20_000, &mut payloads));
    let mut checker = ClipChecker::new(Codec::Opus);
    let mut frames = Vec::new();
    for (i, payload) in payloads.iter().enumerate() {
        let arrived = Arrived {
            now_us: i as u64 * 20_000,
            sequence: i as u64,
            timestamp: i as u32 * 960,
            marker: false,
            payload: &payload.bytes,
            descriptor: None,
        };
        assert_eq!(checker.packet(&arrived, &mut frames).mark.unwrap().frame, i as u32);
    }
    assert_eq!((frames.len(), checker.judgement().faults), (10, 0));
}

proptest::proptest! {
    #[test]
    fn foreign_packets_never_panic(packets: Vec<(u64, u8, u32, bool, Vec<u8>)>) {
        for codec in VIDEO.into_iter().chain([Codec::Opus]) {
            let sent: Vec<_> = packets.iter().cloned().map(|(at_us, sequence, timestamp, marker, payload)| {
                Sent { at_us, sequence: u64::from(sequence), timestamp, marker, payload }
            }).collect();
            let _ = judge(codec, &sent);
        }
    }
}
