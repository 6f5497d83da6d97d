use std::str::FromStr;

use proptest::prelude::*;
use str0m::rtp::{ExtensionSerializer, ExtensionValues};

use super::*;

/// A bit string of the specification's syntax elements; spaces are for the reader.
fn bits(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).map(|b| b - b'0').collect();
    digits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at))).collect()
}

/// Two temporal layers, made by hand after section A.8: decode targets T0 and T0 + T1, one chain, 320x180.
fn l1t2() -> Vec<u8> {
    bits(
        "1 1 000101 0000000000000111  1 0 0 0 0
         000101 00001  00 01 11
         10 10  10 10  00 01
         0  1 0001 0  1 0000 0
         10  0000 0010 0001
         1 0000000100111111 0000000010110011",
    )
}

fn read_all(text: &str) -> Vec<(Vec<u8>, Descriptor)> {
    let mut reader = DescriptorReader::default();
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let field = |line: &str| line.split(' ').nth(3).map(hex).expect("a descriptor");
    lines.map(field).map(|raw| (raw.clone(), reader.read(&raw).expect("a good descriptor"))).collect()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

const RECORDED: [&str; 8] = [
    include_str!("../testdata/chromium-av1-l1t3.txt"),
    include_str!("../testdata/chromium-av1-l2t2.txt"),
    include_str!("../testdata/chromium-av1-l3t3.txt"),
    include_str!("../testdata/chromium-av1-l3t3-key.txt"),
    include_str!("../testdata/chromium-vp9-l1t3.txt"),
    include_str!("../testdata/chromium-vp9-l3t3.txt"),
    include_str!("../testdata/chromium-vp9-l3t3-key.txt"),
    include_str!("../testdata/chromium-vp8-l1t3.txt"),
];

fn indications(descriptor: &Descriptor) -> String {
    let symbol = |target| match descriptor.dependencies.indications.get(target) {
        Indication::NotPresent => '-',
        Indication::Discardable => 'D',
        Indication::Switch => 'S',
        Indication::Required => 'R',
    };
    (0..descriptor.structure.decode_targets()).map(symbol).collect()
}

#[test]
fn a_structure_reads_as_in_the_specification() {
    let mut reader = DescriptorReader::default();
    let first = reader.read(&l1t2()).expect("a good descriptor");
    assert!(first.start_of_frame && first.end_of_frame && first.attached && !first.tells_active);
    assert_eq!((first.frame_number, first.active_targets), (7, 0b11));
    assert_eq!(first.dependencies.layer, Layer::new(0, 0));
    assert_eq!((first.dependencies.diffs.as_slice(), indications(&first).as_str()), (&[][..], "SS"));
    let structure = &first.structure;
    assert_eq!((structure.decode_targets(), structure.chains(), structure.spatial_layers()), (2, 1, 1));
    assert_eq!(
        (structure.target_layer(0), structure.target_layer(1)),
        (Some(Layer::new(0, 0)), Some(Layer::new(0, 1)))
    );
    assert_eq!((structure.chain_of(1), structure.chain_of(2)), (Some(0), None));
    assert_eq!((structure.resolution(0), structure.resolution(1)), (Some((320, 180)), None));

    // Template 7 - 5 = 2: the discardable frame of T1, one frame after what it refers to.
    let next = reader.read(&[0xc7, 0, 8]).expect("three bytes are enough");
    assert_eq!((next.dependencies.layer, next.dependencies.diffs.as_slice()), (Layer::new(0, 1), &[1][..]));
    assert_eq!((indications(&next).as_str(), next.dependencies.chain_diffs[0]), ("-D", 1));
    assert!(Arc::ptr_eq(&next.structure, structure));
}

#[test]
fn what_a_packet_spells_out_replaces_its_template() {
    let mut reader = DescriptorReader::default();
    reader.read(&l1t2()).expect("a structure");
    let raw =
        bits("1 0 000110 0000000000001001  0 1 1 1 1  01  10 01  01 0001 10 00010000 11 100000000000 00  00000101");
    let custom = reader.read(&raw).expect("a good descriptor");
    assert!(custom.tells_active && !custom.attached);
    assert_eq!((custom.active_targets, indications(&custom).as_str()), (0b01, "SD"));
    assert_eq!((custom.dependencies.diffs.as_slice(), custom.dependencies.chain_diffs[0]), (&[2, 17, 2049][..], 5));
    assert_eq!(custom.active_layers(), LayerSet::EMPTY.with(Layer::new(0, 0)));
    // It holds on.
    assert_eq!(reader.read(&[0xc6, 0, 10]).map(|d| d.active_targets), Some(0b01));
}

#[test]
fn without_its_structure_a_packet_tells_nothing() {
    let mut reader = DescriptorReader::default();
    assert_eq!(reader.read(&[0xc6, 0, 8]), None);
    reader.read(&l1t2()).expect("a structure");
    assert_eq!(reader.read(&[0xc4, 0, 8]), None, "a template of another structure");
    assert_eq!(reader.read(&[0xc8, 0, 8]), None, "a template past the last");
    assert_eq!(reader.read(&[0xc6, 0]), None, "cut");
}

#[test]
fn a_structure_that_comes_late_does_not_replace_a_newer_one() {
    let mut reader = DescriptorReader::default();
    let mut newer = l1t2();
    newer[2] = 50;
    reader.read(&newer).expect("a structure");
    let mut older = l1t2();
    // Another id offset: 9 in place of 5.
    (older[0], older[3]) = (0xc9, 0b1000_0001);
    older[4] = 0b0010_0001 | older[4] & 0b0001_1111;
    let late = reader.read(&older).expect("readable by itself");
    assert!(!Arc::ptr_eq(&late.structure, reader.structure().expect("one")));
    assert!(reader.read(&[0xc6, 0, 51]).is_some(), "the newer one is in force");
}

#[test]
fn chromium_structures_read_as_the_modes_are_defined() {
    let first = |index: usize| read_all(RECORDED[index]).swap_remove(0).1;
    let av1 = first(3);
    let layers: Vec<_> = (0..9).filter_map(|t| av1.structure.target_layer(t)).collect();
    let expected: Vec<_> = (0..3).flat_map(|s| (0..3).map(move |t| Layer::new(s, t))).collect();
    assert_eq!(layers, expected);
    assert_eq!(
        (0..3).map(|s| av1.structure.resolution(s)).collect::<Vec<_>>(),
        [Some((320, 180)), Some((640, 360)), Some((1280, 720))]
    );
    // In the KEY mode a receiver of the middle layer uses neither the lower nor the upper; else it does.
    assert_eq!(av1.structure.targets_up_to(Layer::new(1, 1)), 0b000_011_000);
    assert_eq!(first(2).structure.targets_up_to(Layer::new(1, 1)), 0b000_011_011);
    assert_eq!(first(0).structure.targets_up_to(Layer::new(7, 1)), 0b011);
}

#[test]
fn chromium_descriptors_are_written_back_bit_for_bit() {
    for (raw, descriptor) in RECORDED.iter().flat_map(|text| read_all(text)) {
        let mut out = [0; MAX_LEN];
        let len = descriptor.write(Rewrite::of(&descriptor), &mut out).expect("room");
        assert_eq!(&out[..len], &raw, "frame {}", descriptor.frame_number);
    }
}

#[test]
fn a_subscriber_gets_its_own_frame_numbers_and_decode_targets() {
    let mut packets = read_all(RECORDED[3]);
    let (_, key) = packets.swap_remove(0);
    let (_, plain) = packets.into_iter().find(|(raw, _)| raw.len() == 3).expect("a plain packet");
    let mut out = [0; MAX_LEN];
    let mut reader = DescriptorReader::default();
    for (descriptor, attach) in [(&key, true), (&plain, false), (&plain, true)] {
        let rewrite = Rewrite { frame_number: 60_000, active_targets: Some(0b11), attach };
        let len = descriptor.write(rewrite, &mut out).expect("room");
        let read = reader.read(&out[..len]).expect("a good descriptor");
        assert_eq!(Rewrite::of(&read), rewrite);
        assert_eq!((read.dependencies, &read.structure), (descriptor.dependencies, &key.structure));
    }
    assert_eq!(key.write(Rewrite::of(&key), &mut out[..20]), None, "no room");
}

#[test]
fn the_extension_is_carried_unread_and_long_ones_in_the_two_byte_form() {
    for (raw, long) in [(vec![0x80, 0, 1], false), (vec![7; 16], false), (l1t2(), false), (vec![7; 17], true)] {
        let mut values = ExtensionValues::default();
        assert_eq!(DependencySerializer.write_to(&mut [0; 300], &values), 0, "none");
        assert!(DependencySerializer.parse_value(&raw, &mut values));
        assert_eq!(DependencySerializer.requires_two_byte_form(&values), long);
        let mut out = [0; 300];
        assert_eq!(DependencySerializer.write_to(&mut out, &values), raw.len());
        assert_eq!(&out[..raw.len()], &raw);
        assert_eq!(DependencySerializer.write_to(&mut out[..2], &values), 0, "no room");
    }
    assert!(!DependencySerializer.parse_value(&[1, 2], &mut ExtensionValues::default()), "too short");
}

#[test]
fn the_uri_is_the_one_that_browsers_offer() {
    let extension = str0m::rtp::Extension::with_serializer(URI, DependencySerializer);
    assert_eq!(extension.as_uri(), String::from_str(URI).expect("text"));
}

proptest! {
    #[test]
    fn nothing_breaks_the_reader_and_what_it_reads_is_written_back(
        packets in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80)), 1..20),
        flips in proptest::collection::vec(0..400_usize, 0..4),
    ) {
        let mut reader = DescriptorReader::default();
        let mut recorded = hex(RECORDED[3].lines().nth(2).and_then(|l| l.split(' ').nth(3)).expect("a descriptor"));
        flips.iter().for_each(|bit| recorded[bit / 8 % 92] ^= 1 << (bit % 8));
        reader.read(&recorded);
        for (attached, mut packet) in packets {
            if let Some(flags) = packet.get_mut(3).filter(|_| !attached) {
                *flags &= 0x7f;
            }
            let Some(read) = reader.read(&packet) else { continue };
            let mut out = [0; MAX_LEN];
            let len = read.write(Rewrite::of(&read), &mut out).expect("room");
            let mut again = reader.clone();
            let back = again.read(&out[..len]).expect("what was written can be read");
            prop_assert_eq!(&back, &read);
        }
    }
}
