//! Recorded streams of Chromium, read and cut.

use super::*;

/// A packet of a recording.
#[derive(Debug, Clone)]
struct Packet {
    timestamp: u32,
    marker: bool,
    descriptor: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Dependency,
    Vp9,
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn recorded(text: &str) -> Vec<Packet> {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let packet = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        Packet {
            timestamp: fields[1].parse().expect("a number"),
            marker: fields[2] == "1",
            descriptor: hex(fields[3]),
            payload: hex(fields[5]),
        }
    };
    lines.map(packet).collect()
}

const AV1_L1T3: &str = include_str!("../testdata/chromium-av1-l1t3.txt");
const AV1_L2T2: &str = include_str!("../testdata/chromium-av1-l2t2.txt");
const AV1_L3T3: &str = include_str!("../testdata/chromium-av1-l3t3.txt");
const AV1_L3T3_KEY: &str = include_str!("../testdata/chromium-av1-l3t3-key.txt");
const VP9_L1T3: &str = include_str!("../testdata/chromium-vp9-l1t3.txt");
const VP9_L3T3: &str = include_str!("../testdata/chromium-vp9-l3t3.txt");
const VP9_L3T3_KEY: &str = include_str!("../testdata/chromium-vp9-l3t3-key.txt");
const VP8_L1T3: &str = include_str!("../testdata/chromium-vp8-l1t3.txt");

fn read(by: By, packets: &[Packet]) -> Vec<FrameInfo> {
    let mut reader = FrameReader::new();
    let mut one = |packet: &Packet| {
        let source = match by {
            By::Dependency => FrameSource::Dependency(&packet.descriptor),
            By::Vp9 => FrameSource::Vp9(&packet.payload),
        };
        reader.read(source, packet.timestamp, packet.marker).expect("a frame").0
    };
    packets.iter().map(&mut one).collect()
}

/// One packet as it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decided {
    layer: Layer,
    picture: u64,
    keyframe_picture: bool,
    pass: bool,
    marker: bool,
}

/// The recording with a target that changes at the given packets.
fn cut(by: By, text: &str, targets: &[(usize, u8, u8)]) -> Vec<Decided> {
    let packets = recorded(text);
    let frames = read(by, &packets);
    let mut filter = LayerFilter::new();
    let first = frames[0].picture;
    let mut decide = |(at, (packet, frame)): (usize, (&Packet, &FrameInfo))| {
        for (_, spatial, temporal) in targets.iter().filter(|(from, ..)| *from == at) {
            filter.set_target(*spatial, *temporal);
        }
        let verdict = filter.on_packet(frame);
        Decided {
            layer: frame.layer,
            picture: frame.picture,
            keyframe_picture: frame.picture == first,
            pass: verdict.pass,
            marker: verdict.marker.unwrap_or(packet.marker),
        }
    };
    packets.iter().zip(&frames).enumerate().map(&mut decide).collect()
}

/// Every picture of which anything is forwarded ends with the one packet that is marked.
fn assert_one_marker_a_picture(decided: &[Decided]) {
    let passed: Vec<_> = decided.iter().filter(|d| d.pass).collect();
    for pair in passed.windows(2) {
        assert_eq!(pair[0].marker, pair[0].picture != pair[1].picture, "{pair:?}");
    }
}

#[test]
fn the_whole_stream_passes_as_it_is() {
    for text in [AV1_L1T3, AV1_L2T2, AV1_L3T3, VP9_L1T3, VP9_L3T3, VP8_L1T3] {
        let packets = recorded(text);
        let decided = cut(By::Dependency, text, &[]);
        assert!(decided.iter().all(|d| d.pass));
        assert!(decided.iter().zip(&packets).all(|(d, p)| d.marker == p.marker));
    }
}

#[test]
fn l1t3_is_thinned_to_its_lower_temporal_layers() {
    for (by, text) in
        [(By::Dependency, AV1_L1T3), (By::Dependency, VP8_L1T3), (By::Dependency, VP9_L1T3), (By::Vp9, VP9_L1T3)]
    {
        for most in 0..3 {
            let decided = cut(by, text, &[(0, 0, most)]);
            assert!(decided.iter().all(|d| d.pass == (d.layer.temporal <= most)), "{by:?} T{most}");
            assert!(decided.iter().any(|d| d.layer.temporal == most));
            assert_one_marker_a_picture(&decided);
        }
    }
}

#[test]
fn l3t3_forwards_the_spatial_layers_up_to_the_target() {
    for (by, text) in [(By::Dependency, AV1_L3T3), (By::Dependency, VP9_L3T3), (By::Vp9, VP9_L3T3)] {
        for (spatial, temporal) in [(0, 2), (1, 2), (1, 1), (2, 0)] {
            let decided = cut(by, text, &[(0, spatial, temporal)]);
            let wanted = |d: &Decided| d.layer.spatial <= spatial && d.layer.temporal <= temporal;
            assert!(decided.iter().all(|d| d.pass == wanted(d)), "{by:?} S{spatial}T{temporal}");
            assert_one_marker_a_picture(&decided);
        }
    }
}

#[test]
fn l2t2_forwards_the_spatial_layers_up_to_the_target() {
    let decided = cut(By::Dependency, AV1_L2T2, &[(0, 0, 1)]);
    assert!(decided.iter().all(|d| d.pass == (d.layer.spatial == 0)));
    assert_one_marker_a_picture(&decided);
}

#[test]
fn in_the_key_modes_lower_layers_pass_at_the_keyframe_only() {
    for (by, text) in [(By::Dependency, AV1_L3T3_KEY), (By::Dependency, VP9_L3T3_KEY), (By::Vp9, VP9_L3T3_KEY)] {
        for spatial in 0..3 {
            let decided = cut(by, text, &[(0, spatial, 1)]);
            let wanted = |d: &Decided| {
                let at = d.layer.spatial;
                d.layer.temporal <= 1 && (at == spatial || d.keyframe_picture && at < spatial)
            };
            assert!(decided.iter().all(|d| d.pass == wanted(d)), "{by:?} S{spatial}");
            assert_one_marker_a_picture(&decided);
        }
    }
}

#[test]
fn the_payload_descriptor_and_the_dependency_descriptor_of_vp9_agree() {
    let mut pairs = Vec::new();
    for text in [VP9_L1T3, VP9_L3T3, VP9_L3T3_KEY] {
        for target in 0..9 {
            let targets = [(0, 2, 2), (20, target / 3, target % 3), (60, 2 - target / 3, 2 - target % 3)];
            pairs.push((cut(By::Dependency, text, &targets), cut(By::Vp9, text, &targets)));
        }
    }
    for (by_dependency, by_payload) in pairs {
        let brief = |decided: &[Decided]| decided.iter().map(|d| (d.layer, d.pass, d.marker)).collect::<Vec<_>>();
        assert_eq!(brief(&by_dependency), brief(&by_payload));
    }
}

#[test]
fn a_lower_spatial_layer_is_reached_with_the_next_picture_and_without_a_keyframe() {
    for (by, text) in [(By::Dependency, AV1_L3T3), (By::Vp9, VP9_L3T3)] {
        // The change is asked for within a picture, which is finished first.
        let decided = cut(by, text, &[(5, 0, 2)]);
        let now = decided[5].picture;
        assert!(decided.iter().all(|d| d.pass == (d.picture <= now || d.layer.spatial == 0)), "{by:?}");
        assert_one_marker_a_picture(&decided);
    }
}

#[test]
fn in_the_key_modes_the_way_down_needs_a_keyframe() {
    for (by, text) in [(By::Dependency, AV1_L3T3_KEY), (By::Vp9, VP9_L3T3_KEY)] {
        let frames = read(by, &recorded(text));
        let mut filter = LayerFilter::new();
        frames[..40].iter().for_each(|frame| assert!(filter.on_packet(frame).marker != Some(false)));
        assert!(!filter.needs_keyframe());
        filter.set_target(0, 2);
        assert!(filter.needs_keyframe(), "{by:?}");
        // Until it comes, the layer above goes on.
        let passed = frames[40..].iter().filter(|f| filter.on_packet(f).pass);
        assert!(passed.map(|f| f.layer.spatial).all(|spatial| spatial == 2));
        assert_eq!(filter.current().map(|l| l.spatial), Some(2));
    }
}

#[test]
fn the_way_up_needs_a_keyframe() {
    for (by, text) in [(By::Dependency, AV1_L3T3), (By::Vp9, VP9_L3T3_KEY)] {
        let frames = read(by, &recorded(text));
        let mut filter = LayerFilter::new();
        filter.set_target(1, 2);
        assert!(filter.needs_keyframe(), "to begin");
        frames[..40].iter().for_each(|frame| assert!(filter.on_packet(frame).marker != Some(false)));
        assert!(!filter.needs_keyframe());
        filter.set_target(7, 2);
        assert!(filter.needs_keyframe());
        assert!(frames[40..].iter().all(|f| !(filter.on_packet(f).pass && f.layer.spatial == 2)));
        assert_eq!(filter.current().map(|l| l.spatial), Some(1));
    }
}

#[test]
fn temporal_layers_come_and_go_without_a_keyframe() {
    for (by, text) in [(By::Dependency, AV1_L1T3), (By::Dependency, AV1_L3T3_KEY), (By::Vp9, VP9_L3T3_KEY)] {
        let decided = cut(by, text, &[(0, 7, 0), (20, 7, 2), (50, 7, 0)]);
        let top = decided.iter().map(|d| d.layer.spatial).max();
        let of_top = |range: std::ops::Range<usize>| {
            let top = decided[range].iter().filter(move |d| Some(d.layer.spatial) == top);
            top.map(|d| (d.layer.temporal, d.pass)).collect::<Vec<_>>()
        };
        assert!(of_top(0..20).iter().all(|(temporal, pass)| *pass == (*temporal == 0)));
        assert!(of_top(20..50).iter().any(|(temporal, pass)| *pass && *temporal == 2), "{by:?}");
        assert!(of_top(58..60).iter().all(|(temporal, pass)| *pass == (*temporal == 0)));
        assert_one_marker_a_picture(&decided);
    }
}

#[test]
fn resolutions_come_from_the_structures() {
    let sizes = [Some((320, 180)), Some((640, 360)), Some((1280, 720)), None];
    for (by, text) in [(By::Dependency, AV1_L3T3_KEY), (By::Vp9, VP9_L3T3_KEY)] {
        let packet = &recorded(text)[0];
        let mut reader = FrameReader::new();
        assert_eq!(reader.resolution(0), None);
        let source = match by {
            By::Dependency => FrameSource::Dependency(&packet.descriptor),
            By::Vp9 => FrameSource::Vp9(&packet.payload),
        };
        reader.read(source, 0, false).expect("a frame");
        assert_eq!([0, 1, 2, 3].map(|spatial| reader.resolution(spatial)), sizes);
    }
}

#[test]
fn a_stream_without_layers_gives_a_filter_nothing_to_do() {
    let mut reader = FrameReader::new();
    for payload in [&[0x10, 0x00, 0xab][..], &[0x90, 0x80, 0x05, 0x00, 0xab], &[0x90, 0x20, 0x20, 0x00, 0xab], &[]] {
        assert_eq!(reader.read(FrameSource::Vp8(payload), 0, false), None);
        assert_eq!(reader.read(FrameSource::Vp9(payload), 0, false), None);
    }
}
