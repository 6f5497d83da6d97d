use super::*;

fn source() -> VideoSource {
    VideoSource::new(&Video::default(), 9, 4)
}

/// A stream of packets of one layer: frames as they are sent, numbered on.
struct Stream {
    source: VideoSource,
    sequence: u64,
    now: u64,
    timestamp: u32,
}

impl Stream {
    fn new(timestamp: u32) -> Self {
        Self { source: source(), sequence: 100, now: 1_000_000, timestamp }
    }

    fn frame(&mut self, layer: usize) -> Vec<(u64, u32, Payload)> {
        let mut payloads = Vec::new();
        self.source.frame(layer, self.now, &mut payloads);
        self.now += 33_333;
        self.timestamp = self.timestamp.wrapping_add(self.source.timestamp_step());
        payloads
            .into_iter()
            .map(|payload| {
                self.sequence += 1;
                (self.sequence, self.timestamp, payload)
            })
            .collect()
    }
}

fn feed(checker: &mut VideoChecker, packets: &[(u64, u32, Payload)]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (sequence, timestamp, payload) in packets {
        let (now_us, marker) = (5, payload.marker);
        let packet = Arrived {
            now_us,
            sequence: *sequence,
            timestamp: *timestamp,
            marker,
            payload: &payload.bytes,
            descriptor: None,
        };
        checker.packet(&packet, &mut frames);
    }
    frames
}

#[test]
fn a_layer_has_its_bitrate_and_starts_with_a_keyframe() {
    let mut source = source();
    let (mut bytes, mut keys, mut packets) = (0, Vec::new(), Vec::new());
    for n in 0..300_u64 {
        source.frame(2, n * 33_333, &mut packets);
        keys.extend(packets.iter().filter_map(|p| Mark::read(&p.bytes[14..])).filter(|m| m.key && m.index == 0));
        bytes += packets.iter().map(|p| p.bytes.len()).sum::<usize>();
        assert!(packets.iter().all(|p| p.bytes.len() <= PACKET));
        assert_eq!(packets.iter().filter(|p| p.marker).count(), 1);
        packets.clear();
    }
    assert_eq!(keys.len(), 1);
    let kbps = bytes as f64 * 8.0 / 10.0 / 1000.0;
    assert!((1650.0..1750.0).contains(&kbps), "{kbps}");
}

#[test]
fn what_is_sent_in_order_is_shown_and_has_no_faults_across_a_wrap() {
    let mut stream = Stream::new(u32::MAX - 9000);
    let mut checker = VideoChecker::default();
    for n in 0..100 {
        let frames = feed(&mut checker, &stream.frame(2));
        assert_eq!(frames.len(), 1, "frame {n}");
        assert_eq!(frames[0].mark.map(|m| (m.frame, m.source, m.layer)), Some((n, 4, 2)));
    }
    assert_eq!(checker.judgement(), Judgement { decodable: 100, ..Judgement::default() });
    assert!(!checker.needs_keyframe());
}

#[test]
fn a_lost_packet_stops_the_picture_until_it_is_repaired_or_a_keyframe_comes() {
    let mut stream = Stream::new(0);
    let mut checker = VideoChecker::default();
    feed(&mut checker, &stream.frame(2));
    let mut broken = stream.frame(2);
    let lost = broken.remove(1);
    assert_eq!(feed(&mut checker, &broken), []);
    assert_eq!(feed(&mut checker, &stream.frame(2)), []);
    assert!(!checker.needs_keyframe());
    assert_eq!(feed(&mut checker, &[lost]).len(), 2);
    let _never = stream.frame(2);
    for _ in 0..8 {
        assert_eq!(feed(&mut checker, &stream.frame(2)), []);
    }
    assert!(checker.needs_keyframe());
    stream.now += 1_000_000;
    stream.source.request_keyframe(2);
    assert_eq!(feed(&mut checker, &stream.frame(2)).len(), 1);
    assert!(!checker.needs_keyframe());
    assert_eq!(checker.judgement(), Judgement { decodable: 4, undecodable: 8, ..Judgement::default() });
}

#[test]
fn a_layer_change_without_a_keyframe_is_not_shown() {
    let mut stream = Stream::new(0);
    let mut checker = VideoChecker::default();
    feed(&mut checker, &stream.frame(0));
    stream.frame(1);
    assert_eq!(feed(&mut checker, &stream.frame(1)), []);
    stream.source.request_keyframe(1);
    stream.now += 1_000_000;
    assert_eq!(feed(&mut checker, &stream.frame(1)).len(), 1);
}

#[test]
fn faults_of_a_server_are_told() {
    let mut stream = Stream::new(0);
    let mut checker = VideoChecker::default();
    feed(&mut checker, &stream.frame(0));
    let mut jumping = stream.frame(0);
    let mut bytes = jumping[0].2.bytes.to_vec();
    bytes[3] ^= 0x40;
    jumping[0].2.bytes = bytes.into();
    feed(&mut checker, &jumping);
    assert_eq!(checker.judgement().faults, 1);
    let mut back = stream.frame(0);
    back[0].1 = 0;
    feed(&mut checker, &back);
    assert!(checker.judgement().faults >= 2);
    let before = checker.judgement().faults;
    feed(&mut checker, &[(999, 0, Payload { bytes: vec![0x90, 0x80].into(), marker: true, descriptor: None })]);
    assert_eq!(checker.judgement().faults, before + 1);
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut stream = Stream::new(0);
    let mut checker = VideoChecker::default();
    for _ in 0..500 {
        let mut frame = stream.frame(2);
        frame.pop();
        feed(&mut checker, &frame);
    }
    assert!(checker.waiting.len() <= WAITING);
    assert!(checker.needs_keyframe());
}
