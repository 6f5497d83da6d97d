//! Made streams: what the recorded ones do not show, and a model that any stream is held to.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{FrameReader, FrameSource, References};
use super::*;

/// Makes the frames of a stream with three temporal layers, in the order 0 2 1 2.
struct Encoder {
    spatial_layers: u8,
    /// Between keyframes a spatial layer refers to itself only.
    key_mode: bool,
    picture: u64,
    phase: u64,
    /// For each spatial and temporal layer the picture that is referred to.
    last: [[u64; 3]; 3],
}

impl Encoder {
    const fn new(spatial_layers: u8, key_mode: bool) -> Self {
        Self { spatial_layers, key_mode, picture: 1000, phase: 0, last: [[0; 3]; 3] }
    }

    /// The frames of the next picture.
    fn picture(&mut self, keyframe: bool) -> Vec<FrameInfo> {
        self.phase = if keyframe { 0 } else { self.phase + 1 };
        self.picture += 1;
        (0..self.spatial_layers).map(|spatial| self.frame(spatial, keyframe)).collect()
    }

    fn frame(&mut self, spatial: u8, keyframe: bool) -> FrameInfo {
        let temporal = [0, 2, 1, 2][(self.phase % 4) as usize];
        let id = self.picture * 8 + u64::from(spatial);
        let mut references = References::default();
        if spatial > 0 && (keyframe || !self.key_mode) {
            references.push(1);
        }
        if !keyframe {
            // The second frame of temporal layer 2 follows that of layer 1.
            let earlier = if self.phase % 4 == 3 { 1 } else { 0 };
            references.push(((self.picture - self.last[usize::from(spatial)][earlier]) * 8) as u16);
        }
        if temporal == 0 {
            self.last[usize::from(spatial)] = [self.picture; 3];
        }
        self.last[usize::from(spatial)][usize::from(temporal)] = self.picture;
        let upper = if self.key_mode && !keyframe { spatial } else { MAX_LAYERS };
        FrameInfo {
            id,
            picture: self.picture,
            layer: Layer::new(spatial, temporal),
            start: true,
            end: true,
            keyframe: keyframe && spatial == 0,
            references,
            needed: LayerSet::block(spatial, upper, temporal),
            switches: if keyframe { LayerSet::block(spatial, spatial, 0) } else { LayerSet::EMPTY },
            active: LayerSet::block(0, self.spatial_layers - 1, 0),
            sync: TemporalSync::Told,
        }
    }
}

fn passed(filter: &mut LayerFilter, frames: &[FrameInfo]) -> Vec<u8> {
    frames.iter().filter(|f| filter.on_packet(f).pass).map(|f| f.layer.spatial).collect()
}

#[test]
fn nothing_passes_before_the_first_packet_of_a_keyframe() {
    let mut encoder = Encoder::new(1, false);
    let mut filter = LayerFilter::new();
    let key = encoder.picture(true)[0];
    let delta = encoder.picture(false);
    assert_eq!(filter.on_packet(&FrameInfo { start: false, ..key }), FilterVerdict::DROP);
    assert_eq!(passed(&mut filter, &delta), [0u8; 0]);
    assert!(filter.needs_keyframe() && filter.current().is_none());
    let key = encoder.picture(true);
    assert_eq!(filter.on_packet(&key[0]), FilterVerdict { pass: true, marker: Some(true), switched: true });
    assert_eq!(passed(&mut filter, &delta), [0u8; 0], "what was before it stays out");
    filter.restart();
    assert_eq!(passed(&mut filter, &encoder.picture(false)), [0u8; 0]);
}

#[test]
fn a_keyframe_brings_the_stream_up_to_the_target() {
    let mut encoder = Encoder::new(3, true);
    let mut filter = LayerFilter::new();
    filter.set_target(0, 2);
    assert_eq!(passed(&mut filter, &encoder.picture(true)), [0]);
    filter.set_target(1, 2);
    assert_eq!(passed(&mut filter, &encoder.picture(false)), [0]);
    assert!(filter.needs_keyframe());
    let key = encoder.picture(true);
    let verdicts: Vec<_> = key.iter().map(|f| filter.on_packet(f)).collect();
    assert_eq!(verdicts.iter().map(|v| v.pass).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(verdicts.iter().map(|v| v.marker).collect::<Vec<_>>(), [None, Some(true), None]);
    assert_eq!(verdicts.iter().map(|v| v.switched).collect::<Vec<_>>(), [false, true, false]);
    assert!(!filter.needs_keyframe());
    (0..4).for_each(|_| assert_eq!(passed(&mut filter, &encoder.picture(false)), [1]));
    filter.set_target(0, 2);
    assert_eq!(passed(&mut filter, &encoder.picture(false)), [1]);
    assert_eq!(passed(&mut filter, &encoder.picture(true)), [0]);
    assert_eq!(filter.current().map(|l| l.spatial), Some(0));
}

#[test]
fn a_spatial_layer_that_begins_within_the_stream_is_taken_up_without_a_keyframe() {
    let mut encoder = Encoder::new(2, false);
    let mut filter = LayerFilter::new();
    passed(&mut filter, &encoder.picture(true));
    passed(&mut filter, &encoder.picture(false));
    assert!(!filter.needs_keyframe(), "there is no third layer");
    // It begins from the one below it, and the publisher's marker moves up.
    encoder.spatial_layers = 3;
    encoder.phase = 3;
    let mut picture = encoder.picture(false);
    picture[2].references = References::default();
    picture[2].references.push(1);
    picture[2].switches = LayerSet::block(2, 2, 0);
    let verdicts: Vec<_> = picture.iter().map(|f| filter.on_packet(f)).collect();
    assert!(verdicts.iter().all(|v| v.pass));
    assert_eq!(verdicts.iter().map(|v| v.marker).collect::<Vec<_>>(), [None, None, Some(true)]);
    assert_eq!(passed(&mut filter, &encoder.picture(false)), [0, 1, 2]);
}

#[test]
fn a_picture_that_was_marked_as_complete_does_not_go_on() {
    let mut encoder = Encoder::new(2, false);
    let mut filter = LayerFilter::new();
    filter.set_target(0, 2);
    passed(&mut filter, &encoder.picture(true));
    passed(&mut filter, &encoder.picture(false));
    filter.set_target(1, 2);
    let mut picture = encoder.picture(false);
    assert_eq!(filter.on_packet(&picture[0]).marker, Some(true));
    picture[1].references = References::default();
    picture[1].references.push(1);
    picture[1].switches = LayerSet::block(1, 1, 0);
    assert!(!filter.on_packet(&picture[1]).pass);
    assert!(filter.needs_keyframe());
}

#[test]
fn a_frame_of_several_packets_is_decided_once() {
    let mut encoder = Encoder::new(2, false);
    let mut filter = LayerFilter::new();
    passed(&mut filter, &encoder.picture(true));
    let picture = encoder.picture(false);
    let middle = FrameInfo { start: false, end: false, ..picture[1] };
    assert!(filter.on_packet(&picture[0]).pass && filter.on_packet(&middle).pass);
    filter.set_target(0, 2);
    let last = filter.on_packet(&FrameInfo { start: false, ..picture[1] });
    assert_eq!((last.pass, last.marker), (true, Some(true)), "a change waits for the next picture");
    assert_eq!(passed(&mut filter, &encoder.picture(false)), [0]);
    assert!(filter.on_packet(&middle).pass, "resent");
}

#[test]
fn a_late_packet_is_decided_by_the_layer_of_its_time() {
    let mut encoder = Encoder::new(2, false);
    let mut filter = LayerFilter::new();
    passed(&mut filter, &encoder.picture(true));
    let upper_lost = encoder.picture(false);
    filter.on_packet(&upper_lost[0]);
    filter.set_target(0, 2);
    passed(&mut filter, &encoder.picture(false));
    let lower_lost = encoder.picture(false);
    passed(&mut filter, &encoder.picture(false));
    assert!(filter.on_packet(&upper_lost[1]).pass);
    assert!(filter.on_packet(&lower_lost[0]).pass && !filter.on_packet(&lower_lost[1]).pass);
}

#[test]
fn a_publisher_that_ends_its_top_layer_is_asked_for_a_keyframe_in_the_key_modes() {
    for key_mode in [true, false] {
        let mut encoder = Encoder::new(3, key_mode);
        let mut filter = LayerFilter::new();
        passed(&mut filter, &encoder.picture(true));
        passed(&mut filter, &encoder.picture(false));
        (0..4).for_each(|_| drop(passed(&mut filter, &encoder.picture(false))));
        encoder.spatial_layers = 2;
        passed(&mut filter, &encoder.picture(false));
        assert_eq!(filter.needs_keyframe(), key_mode);
        assert_eq!(passed(&mut filter, &encoder.picture(key_mode)), [0, 1]);
        assert!(!filter.needs_keyframe());
    }
}

/// A VP8 frame without references told.
fn vp8(picture: u64, temporal: u8, sync: bool) -> FrameInfo {
    let payload =
        [0x90, 0xe0, 0x80 | (picture >> 8) as u8, picture as u8, 0, temporal << 6 | u8::from(sync) << 5, 1, 0];
    FrameReader::new().read(FrameSource::Vp8(&payload), 0, false).expect("a frame").0
}

#[test]
fn vp8_adds_temporal_layers_where_they_sync_and_one_after_the_other() {
    let mut filter = LayerFilter::new();
    filter.set_target(0, 0);
    let key = FrameReader::new().read(FrameSource::Vp8(&[0x90, 0xe0, 0x80, 1, 0, 0, 0, 0]), 0, false);
    assert!(filter.on_packet(&key.expect("a frame").0).pass);
    let sent = |filter: &mut LayerFilter, frames: &[(u64, u8, bool)]| {
        frames.iter().map(|(p, t, y)| filter.on_packet(&vp8(*p, *t, *y)).pass).collect::<Vec<_>>()
    };
    assert_eq!(
        sent(&mut filter, &[(2, 2, true), (3, 1, true), (4, 2, false), (5, 0, false)]),
        [false, false, false, true]
    );
    filter.set_target(0, 2);
    assert!(!filter.needs_keyframe());
    assert_eq!(
        sent(&mut filter, &[(6, 2, true), (7, 1, false), (8, 1, true), (9, 2, false)]),
        [false, false, true, false]
    );
    assert_eq!(sent(&mut filter, &[(10, 0, false), (11, 2, true), (12, 1, false), (13, 2, false)]), [true; 4]);
    filter.set_target(0, 1);
    assert_eq!(sent(&mut filter, &[(14, 0, false), (15, 2, true), (16, 1, false)]), [true, false, true]);
}

/// A VP9 payload of one packet in non-flexible mode, spatial layer 0.
fn vp9(picture: u8, inter: bool, temporal: u8, up: bool, structure: &[u8]) -> Vec<u8> {
    let head = 0xac | u8::from(inter) << 6 | u8::from(!structure.is_empty()) << 1;
    let mut payload = vec![head, 0x80, picture, temporal << 5 | u8::from(up) << 4, 0];
    payload.extend_from_slice(structure);
    payload.push(0xab);
    payload
}

fn vp9_stream(structure: &[u8], ups: [bool; 4]) -> Vec<FrameInfo> {
    let mut reader = FrameReader::new();
    let mut frame = |n: u8| {
        let payload = vp9(
            n,
            n > 0,
            [0, 2, 1, 2][usize::from(n % 4)],
            ups[usize::from(n % 4)],
            if n == 0 { structure } else { &[] },
        );
        reader.read(FrameSource::Vp9(&payload), 0, true).expect("a frame").0
    };
    (0..24).map(&mut frame).collect()
}

fn temporal_layers(filter: &mut LayerFilter, frames: &[FrameInfo]) -> String {
    frames.iter().map(|f| if filter.on_packet(f).pass { char::from(b'0' + f.layer.temporal) } else { '-' }).collect()
}

#[test]
fn vp9_in_non_flexible_mode_follows_its_picture_group() {
    // One layer; four pictures: 0 refers 4 back, 2 one, 1 two, 2 one.
    let group = [0x08, 4, 0x04, 4, 0x54, 1, 0x34, 2, 0x44, 1];
    let frames = vp9_stream(&group, [false; 4]);
    let mut filter = LayerFilter::new();
    filter.set_target(0, 0);
    assert_eq!(temporal_layers(&mut filter, &frames[..6]), "0---0-");
    filter.set_target(0, 2);
    assert_eq!(temporal_layers(&mut filter, &frames[6..14]), "1202120212"[..8].to_owned());
    filter.set_target(0, 1);
    assert_eq!(temporal_layers(&mut filter, &frames[14..20]), "1-0-1-");
}

#[test]
fn vp9_without_a_picture_group_adds_temporal_layers_after_a_switching_up_point() {
    let frames = vp9_stream(&[], [true, false, false, false]);
    let mut filter = LayerFilter::new();
    filter.set_target(0, 0);
    assert_eq!(temporal_layers(&mut filter, &frames[..5]), "0---0");
    filter.set_target(0, 2);
    // The layer above does not begin in the middle of the pattern.
    assert_eq!(temporal_layers(&mut filter, &frames[5..13]), "2120212021"[..8].to_owned());
    let frames = vp9_stream(&[], [false; 4]);
    let mut filter = LayerFilter::new();
    filter.set_target(0, 0);
    temporal_layers(&mut filter, &frames[..5]);
    filter.set_target(0, 2);
    assert_eq!(temporal_layers(&mut filter, &frames[5..13]), "---0---0");
}

#[test]
fn the_end_of_a_vp9_spatial_layer_shows_in_the_markers() {
    let mut reader = FrameReader::new();
    // Flexible mode: I L F B E, spatial layers 0 and 1 of one picture, then 0 alone.
    let mut read = |picture: u8, spatial: u8, inter: bool, marker: bool| {
        let head = 0xbc | u8::from(inter) << 6;
        let mut payload = vec![head, 0x80, picture, spatial << 1 | u8::from(spatial > 0)];
        payload.extend_from_slice(if inter { &[0x02, 0xab] } else { &[0xab] });
        reader.read(FrameSource::Vp9(&payload), 0, marker).expect("a frame").0.active.top_spatial()
    };
    assert_eq!((read(1, 0, false, false), read(1, 1, false, true)), (Some(0), Some(1)));
    assert_eq!((read(2, 0, true, true), read(3, 0, true, true)), (Some(1), Some(1)));
    assert_eq!((read(4, 0, true, true), read(5, 0, true, true)), (Some(0), Some(0)));
}

/// What happens to one picture.
#[derive(Debug, Clone)]
struct Step {
    keyframe: bool,
    target: Option<(u8, u8)>,
    /// For each spatial layer: lost, or so many pictures late.
    fate: [(bool, usize); 3],
}

fn step() -> impl Strategy<Value = Step> {
    let fate = || (proptest::bool::weighted(0.08), prop_oneof![9 => Just(0_usize), 1 => 1..5_usize]);
    let target = proptest::option::weighted(0.15, (0..4_u8, 0..4_u8));
    (proptest::bool::weighted(0.04), target, [fate(), fate(), fate()]).prop_map(|(keyframe, target, fate)| Step {
        keyframe,
        target,
        fate,
    })
}

proptest! {
    #[test]
    fn a_frame_whose_reference_was_dropped_is_never_forwarded(
        spatial_layers in 1..4_u8,
        key_mode: bool,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut encoder = Encoder::new(spatial_layers, key_mode);
        let mut filter = LayerFilter::new();
        let mut fates: HashMap<u64, bool> = HashMap::new();
        let mut forwarded: Vec<FrameInfo> = Vec::new();
        let mut under_way: Vec<Vec<FrameInfo>> = vec![Vec::new(); steps.len() + 8];
        for (at, step) in steps.iter().enumerate() {
            if let Some((spatial, temporal)) = step.target {
                filter.set_target(spatial, temporal);
            }
            for (frame, (lost, late)) in encoder.picture(step.keyframe || at == 0).into_iter().zip(step.fate) {
                if !lost {
                    under_way[at + late].push(frame);
                }
            }
            for frame in std::mem::take(&mut under_way[at]) {
                let verdict = filter.on_packet(&frame);
                prop_assert_eq!(verdict.pass, filter.on_packet(&frame).pass, "the same answer twice");
                fates.insert(frame.id, verdict.pass);
                if verdict.pass {
                    forwarded.push(frame);
                }
            }
        }
        // Also of what came after it.
        for frame in &forwarded {
            for distance in frame.references.told() {
                let dropped = fates.get(&(frame.id - u64::from(*distance))) == Some(&false);
                prop_assert!(!dropped, "{frame:?}");
            }
        }
    }

    #[test]
    fn without_loss_each_picture_is_marked_once_and_the_target_is_reached(
        spatial_layers in 1..4_u8,
        key_mode: bool,
        steps in proptest::collection::vec(step(), 1..100),
        last in (0..3_u8, 0..3_u8),
    ) {
        let mut encoder = Encoder::new(spatial_layers, key_mode);
        let mut filter = LayerFilter::new();
        for step in &steps {
            if let Some((spatial, temporal)) = step.target {
                filter.set_target(spatial, temporal);
            }
            let keyframe = step.keyframe || filter.needs_keyframe();
            let picture = encoder.picture(keyframe);
            let verdicts: Vec<_> = picture.iter().map(|f| filter.on_packet(f)).collect();
            let passed: Vec<_> = verdicts.iter().filter(|v| v.pass).collect();
            let marks = passed.iter().filter(|v| v.marker == Some(true)).count();
            prop_assert_eq!(marks, usize::from(!passed.is_empty()), "{:?}", verdicts);
            prop_assert!(passed.last().is_none_or(|v| v.marker == Some(true)));
        }
        filter.set_target(last.0, last.1);
        for _ in 0..8 {
            let keyframe = filter.needs_keyframe();
            encoder.picture(keyframe).iter().for_each(|f| assert!(filter.on_packet(f).marker != Some(false)));
        }
        prop_assert!(!filter.needs_keyframe());
        prop_assert_eq!(filter.current(), Some(Layer::new(last.0.min(spatial_layers - 1), last.1)));
        prop_assert_eq!(filter.allowed(), filter.current());
    }

    #[test]
    fn nothing_that_comes_breaks_the_reader_or_the_filter(
        packets in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..24)), 1..100),
        target in (any::<u8>(), any::<u8>()),
    ) {
        let mut reader = FrameReader::new();
        let mut filter = LayerFilter::new();
        filter.set_target(target.0, target.1);
        for (vp9, payload) in packets {
            let source = if vp9 { FrameSource::Vp9(&payload) } else { FrameSource::Vp8(&payload) };
            if let Some((frame, _)) = reader.read(source, payload.len() as u32, vp9) {
                filter.on_packet(&frame);
            }
        }
    }
}
