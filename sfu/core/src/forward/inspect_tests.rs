use proptest::prelude::*;

use super::*;

/// The size of the frames in `tests/data`.
const SIZE: Option<(u16, u16)> = Some((322, 182));

/// A file of `tests/data`: the frame number and the payload of each packet.
fn recorded(file: &str) -> Vec<(u32, Vec<u8>)> {
    file.lines()
        .map(|line| {
            let (frame, payload) = line.split_once(' ').expect("frame and payload");
            (frame.parse().expect("a number"), hex(payload))
        })
        .collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

/// Frame number, keyframe start, frame start and resolution.
type Facts = (u32, bool, bool, Option<(u16, u16)>);

/// What each recorded packet tells.
fn read(codec: Codec, file: &str) -> Vec<Facts> {
    let packets = recorded(file).into_iter();
    packets
        .map(|(frame, payload)| {
            let info = inspect(codec, &payload);
            (frame, info.keyframe_start, info.frame_start, info.resolution)
        })
        .collect()
}

fn starts_keyframe(codec: Codec, payload: &str) -> bool {
    inspect(codec, &hex(payload)).keyframe_start
}

#[test]
fn recorded_vp8_tells_keyframe_and_size() {
    let read = read(Codec::Vp8, include_str!("../../tests/data/vp8.hex"));
    assert_eq!(read, [(0, true, true, SIZE), (1, false, true, None)]);
}

#[test]
fn recorded_vp9_tells_keyframe_and_size_of_the_uncompressed_header() {
    let read = read(Codec::Vp9, include_str!("../../tests/data/vp9.hex"));
    assert_eq!(read, [(0, true, true, SIZE), (1, false, true, None)]);
}

#[test]
fn recorded_h264_tells_keyframe_and_cropped_size() {
    let read = read(Codec::H264, include_str!("../../tests/data/h264.hex"));
    let expected = [
        (0, true, true, SIZE),   // STAP-A: SPS, PPS, SEI
        (0, true, true, None),   // FU-A: the first slice begins
        (0, false, false, None), // and ends
        (0, false, false, None), // FU-A: the second slice begins
        (0, false, false, None), // and ends
        (1, false, true, None),  // STAP-A: both slices of the next picture
    ];
    assert_eq!(read, expected);
}

#[test]
fn recorded_av1_tells_keyframe_and_size() {
    let read = read(Codec::Av1, include_str!("../../tests/data/av1.hex"));
    assert_eq!(read, [(0, true, true, SIZE), (1, false, true, None)]);
}

#[test]
fn vp8_keyframe_starts_only_at_the_first_packet_of_the_first_partition() {
    assert!(starts_keyframe(Codec::Vp8, "10 00"), "S=1 PID=0 P=0");
    assert!(!starts_keyframe(Codec::Vp8, "10 01"), "P=1");
    assert!(!starts_keyframe(Codec::Vp8, "00 00"), "S=0");
    assert!(!starts_keyframe(Codec::Vp8, "11 00"), "PID=1");
    assert!(!starts_keyframe(Codec::Vp8, "90 80 81 00"), "nothing after the descriptor");
}

#[test]
fn vp8_tells_the_temporal_layer_and_where_it_can_be_added() {
    let info = inspect(Codec::Vp8, &hex("90 e0 81 23 07 a0 01"));
    assert_eq!((info.tid, info.temporal_switch, info.sid), (Some(2), true, None));
    let info = inspect(Codec::Vp8, &hex("90 e0 81 23 07 40 01"));
    assert_eq!((info.tid, info.temporal_switch), (Some(1), false));
    assert_eq!(inspect(Codec::Vp8, &hex("90 10 3f 01")).tid, None, "KEYIDX without TID");
}

#[test]
fn vp8_size_leaves_out_the_scaling_bits() {
    let info = inspect(Codec::Vp8, &hex("10 50 01 00 9d012a 8042 e081"));
    assert_eq!(info.resolution, Some((640, 480)));
    let info = inspect(Codec::Vp8, &hex("10 50 01 00 9d012b 8042 e081"));
    assert_eq!((info.keyframe_start, info.resolution), (true, None), "no start code");
}

#[test]
fn vp9_keyframe_starts_at_the_lowest_spatial_layer() {
    assert!(starts_keyframe(Codec::Vp9, "88 01 00"), "I B");
    assert!(!starts_keyframe(Codec::Vp9, "c8 01 00"), "P: refers to earlier pictures");
    assert!(!starts_keyframe(Codec::Vp9, "80 01 00"), "not the first packet");
    assert!(starts_keyframe(Codec::Vp9, "a8 01 00 00 00"), "spatial layer 0");
    assert!(!starts_keyframe(Codec::Vp9, "a8 01 03 00 00"), "spatial layer 1 of the same picture");
}

#[test]
fn vp9_tells_layers_and_ends() {
    // I L F B E; TID 2, U, SID 1, D.
    let info = inspect(Codec::Vp9, &hex("bc 01 53 00"));
    assert_eq!((info.tid, info.sid, info.temporal_switch), (Some(2), Some(1), true));
    assert_eq!((info.frame_start, info.layer_frame_end), (true, true));
    // Flexible mode with P: references follow, two of them.
    let info = inspect(Codec::Vp9, &hex("f4 01 40 03 04 00"));
    assert_eq!((info.tid, info.frame_start, info.layer_frame_end), (Some(2), false, true));
}

#[test]
fn vp9_size_is_that_of_the_highest_layer_of_the_scalability_structure() {
    // N_S=2 (three layers), Y, G; one picture in the group with two references.
    let info = inspect(Codec::Vp9, &hex("8a 01 58 0140 00b4 0280 0168 0500 02d0 01 08 01 02 00"));
    assert_eq!(info.resolution, Some((1280, 720)));
    assert_eq!(inspect(Codec::Vp9, &hex("8a 01 58 0140 00b4 0280")), PacketInfo::default());
}

#[test]
fn h264_keyframe_starts_at_an_idr_alone_in_its_packet() {
    assert!(starts_keyframe(Codec::H264, "65 88 84"));
    assert!(!starts_keyframe(Codec::H264, "41 9a 00"), "not IDR");
    assert!(!starts_keyframe(Codec::H264, "65 03 f8"), "second slice of the picture");
}

#[test]
fn h264_keyframe_starts_at_an_idr_within_a_stap_a() {
    assert!(starts_keyframe(Codec::H264, "78 0002 0605 0003 658884"), "SEI, then IDR");
    assert!(!starts_keyframe(Codec::H264, "78 0002 0605 0003 419a00"));
    assert!(!starts_keyframe(Codec::H264, "78 0002 0605 0009 658884"), "length past the end");
}

#[test]
fn h264_keyframe_starts_at_the_first_packet_of_an_fu_a() {
    assert!(starts_keyframe(Codec::H264, "7c 85 88 84"), "S, IDR");
    assert!(!starts_keyframe(Codec::H264, "7c 05 88 84"), "middle");
    assert!(!starts_keyframe(Codec::H264, "7c 45 88 84"), "end");
    assert!(!starts_keyframe(Codec::H264, "7c 81 9a 00"), "not IDR");
}

#[test]
fn h264_keyframe_starts_at_the_parameter_set_so_that_it_comes_along() {
    assert!(starts_keyframe(Codec::H264, "67 42 c0 0d"));
    assert!(starts_keyframe(Codec::H264, "78 0002 0910 0004 6742c00d"), "delimiter, then SPS");
    assert!(!starts_keyframe(Codec::H264, "68 ce 3c 80"), "PPS alone");
}

#[test]
fn h264_size_of_a_high_profile_1080p_set_is_cropped_from_1088() {
    let info = inspect(Codec::H264, &hex("67640028acd940780227e5c044000003000400000300f03c60c658"));
    assert_eq!(info.resolution, Some((1920, 1080)));
}

#[test]
fn h264_size_is_read_past_emulation_prevention_bytes() {
    // Baseline, level 0, so that the set's id follows two zero bytes; 20 by 15 macroblocks.
    let info = inspect(Codec::H264, &hex("67 420000 03 0205c141f9"));
    assert_eq!(info.resolution, Some((320, 240)));
}

#[test]
fn av1_keyframe_starts_where_the_new_sequence_bit_is_set() {
    assert!(starts_keyframe(Codec::Av1, "18 32 00"), "N, W=1");
    assert!(!starts_keyframe(Codec::Av1, "98 32 00"), "a continued OBU is no start");
    assert!(!starts_keyframe(Codec::Av1, "10 30 10"), "W=1, an inter frame");
}

#[test]
fn av1_keyframe_starts_at_a_sequence_header_unless_an_inter_frame_follows() {
    let (_, packet) = recorded(include_str!("../../tests/data/av1.hex")).swap_remove(0);
    let with_head = |head: u8, frame: &[u8]| {
        let header_len = usize::from(packet[1]);
        let mut payload = vec![head];
        payload.extend(&packet[1..2 + header_len]);
        payload.extend(frame);
        inspect(Codec::Av1, &payload).keyframe_start
    };
    assert!(with_head(0x00, &[]), "alone");
    assert!(with_head(0x20, &[0x30, 0x10]), "KEY_FRAME");
    assert!(!with_head(0x20, &[0x30, 0x30]), "INTER_FRAME");
    assert!(!with_head(0x20, &[0x18, 0x80]), "show_existing_frame");
    assert!(!with_head(0x80, &[]), "the first element continues an OBU");
}

#[test]
fn av1_tells_the_layers_of_the_obu_extension() {
    let info = inspect(Codec::Av1, &hex("10 34 48 30"));
    assert_eq!((info.tid, info.sid, info.keyframe_start), (Some(2), Some(1), false));
}

#[test]
fn every_opus_packet_is_a_start() {
    let info = inspect(Codec::Opus, &[0xf8, 0xff, 0xfe]);
    assert!(info.keyframe_start && info.frame_start);
}

const VIDEO: [(Codec, &str); 4] = [
    (Codec::Vp8, include_str!("../../tests/data/vp8.hex")),
    (Codec::Vp9, include_str!("../../tests/data/vp9.hex")),
    (Codec::H264, include_str!("../../tests/data/h264.hex")),
    (Codec::Av1, include_str!("../../tests/data/av1.hex")),
];

#[test]
fn a_payload_cut_anywhere_is_read_without_a_fault() {
    for (codec, file) in VIDEO {
        for (_, payload) in recorded(file) {
            for len in 0..payload.len() {
                inspect(codec, &payload[..len]);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_fault(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (codec, _) in VIDEO {
            inspect(codec, &payload);
        }
    }

    #[test]
    fn damaged_real_payloads_are_read_without_a_fault(
        which in 0..4_usize,
        damage in proptest::collection::vec((0..96_usize, any::<u8>()), 1..8),
    ) {
        let (codec, file) = VIDEO[which];
        for (_, mut payload) in recorded(file) {
            for (at, byte) in &damage {
                if let Some(hit) = payload.get_mut(*at) {
                    *hit = *byte;
                }
            }
            inspect(codec, &payload);
        }
    }
}
