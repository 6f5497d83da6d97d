use std::time::Duration;

use super::*;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
    Instant::now()
}

fn layer(height: u16, bitrate: u64) -> LayerState {
    LayerState { height, bitrate, live: true, live_since: None, has_report: true, ..LayerState::default() }
}

/// 150 kbps, 500 kbps, 1.5 Mbps.
fn three() -> [LayerState; 3] {
    [layer(180, 150_000), layer(360, 500_000), layer(720, 1_500_000)]
}

fn video(slot: usize, layers: &[LayerState]) -> SlotRequest<'_> {
    SlotRequest {
        slot,
        track: slot as u64,
        kind: MediaKind::Video,
        class: Class::Other,
        priority: 0,
        layers,
        wanted: Some(720),
        hidden: false,
        muted: false,
        codec_supported: true,
        current: None,
        resends: 0,
    }
}

fn one(layers: &[LayerState], wanted: Option<u16>) -> Target {
    Allocator::default().allocate(start(), None, &[SlotRequest { wanted, ..video(0, layers) }]).targets[0]
}

#[test]
fn the_nearest_size_wins_and_says_so() {
    assert_eq!(one(&three(), Some(200)).layer, Some(0));
    assert_eq!(one(&three(), Some(340)).layer, Some(1));
    assert_eq!(one(&three(), Some(540)).layer, Some(2), "of two as near, the larger");
    let target = one(&three(), Some(1080));
    let reason = Reason::NearestSize { wanted: 1080, chosen: 720 };
    assert_eq!(target, Target { slot: 0, layer: Some(2), wanted: Some(2), reason });
    assert_eq!(one(&three(), None).layer, Some(2));
}
