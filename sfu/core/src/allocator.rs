//! Chooses a layer for every video slot of one participant, and says why.
//!
//! Pure arithmetic on plain types: no clock, no sockets, no WebRTC. This is the seam for bandwidth: today the rule
//! is fixed (the layer nearest the wanted size); the estimate is an input that the rule does not use yet.

use serde::Serialize;

/// Why a slot gets the layer that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Reason {
    /// The track has only one layer.
    OnlyLayer,
    /// The layer nearest the size on screen, in device pixels.
    NearestSize {
        /// The height wanted.
        wanted: u16,
        /// The height of the layer chosen; 0 where not known yet.
        chosen: u16,
    },
    /// The slot is hidden: nothing is sent.
    Hidden,
    /// Audio is always sent whole.
    Audio,
    /// The receiver did not negotiate the codec of this track.
    CodecNotSupported,
    /// The publisher muted the track.
    Muted,
}

/// One layer that a slot could get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerState {
    /// Height of its picture in pixels; 0 until a keyframe has told.
    pub height: u16,
    /// Measured bits per second.
    pub bitrate: u64,
    /// Packets have come in the last seconds.
    pub live: bool,
}

/// What is known of one video slot.
#[derive(Debug, Clone)]
pub struct SlotRequest<'a> {
    /// The layers of its track, in the publisher's order.
    pub layers: &'a [LayerState],
    /// The height on screen in device pixels; none while the client has not said.
    pub wanted: Option<u16>,
    /// The client says that the slot is not on screen.
    pub hidden: bool,
    /// The publisher muted the track.
    pub muted: bool,
    /// The receiver can take the track's codec.
    pub codec_supported: bool,
}

/// What a slot shall get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Index of the layer; none pauses the slot.
    pub layer: Option<usize>,
    /// Why.
    pub reason: Reason,
}

/// Chooses a layer for every slot of one participant, in the order given.
///
/// `estimate` is the bandwidth towards the participant in bits per second, none while unknown; the rule of today does
/// not use it.
#[must_use]
pub fn allocate(_estimate: Option<u64>, slots: &[SlotRequest<'_>]) -> Vec<Target> {
    slots.iter().map(target).collect()
}

fn target(slot: &SlotRequest<'_>) -> Target {
    let pause = |reason| Target { layer: None, reason };
    if !slot.codec_supported {
        return pause(Reason::CodecNotSupported);
    }
    if slot.hidden {
        return pause(Reason::Hidden);
    }
    if slot.layers.len() < 2 {
        // A muted track may still send black frames; it costs little and comes back at once.
        let reason = if slot.muted { Reason::Muted } else { Reason::OnlyLayer };
        return Target { layer: Some(0), reason };
    }
    let wanted = slot.wanted.unwrap_or(u16::MAX);
    let layer = nearest(slot.layers, wanted);
    let chosen = slot.layers[layer].height;
    let reason =
        if slot.muted { Reason::Muted } else { Reason::NearestSize { wanted: slot.wanted.unwrap_or(0), chosen } };
    Target { layer: Some(layer), reason }
}

/// The live layer whose height is nearest to the one wanted, the larger of two as near. Where no height is known yet,
/// the layer of the highest bitrate; where nothing is live yet, the last one, which browsers make the largest.
fn nearest(layers: &[LayerState], wanted: u16) -> usize {
    let any_live = layers.iter().any(|l| l.live);
    let candidates = layers.iter().enumerate().filter(|(_, l)| l.live || !any_live);
    let sized = layers.iter().any(|l| l.height > 0 && (l.live || !any_live));
    let best = if sized {
        candidates
            .filter(|(_, l)| l.height > 0)
            .min_by_key(|(_, l)| (l.height.abs_diff(wanted), std::cmp::Reverse(l.height)))
    } else {
        candidates.max_by_key(|(_, l)| l.bitrate)
    };
    best.map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn layer(height: u16, live: bool) -> LayerState {
        LayerState { height, bitrate: height as u64 * 1000, live }
    }

    fn one(layers: &[LayerState], wanted: Option<u16>) -> Target {
        let slot = SlotRequest { layers, wanted, hidden: false, muted: false, codec_supported: true };
        allocate(None, &[slot])[0]
    }

    const THREE: [LayerState; 3] = [layer(180, true), layer(360, true), layer(720, true)];

    #[test]
    fn the_nearest_size_wins_and_says_so() {
        assert_eq!(one(&THREE, Some(200)).layer, Some(0));
        assert_eq!(one(&THREE, Some(340)).layer, Some(1));
        assert_eq!(one(&THREE, Some(540)).layer, Some(2), "of two as near, the larger");
        let target = one(&THREE, Some(1080));
        assert_eq!(target, Target { layer: Some(2), reason: Reason::NearestSize { wanted: 1080, chosen: 720 } });
        assert_eq!(one(&THREE, None).layer, Some(2));
    }

    #[test]
    fn a_layer_that_stopped_is_not_chosen() {
        let layers = [layer(180, true), layer(360, true), layer(720, false)];
        assert_eq!(one(&layers, Some(720)).layer, Some(1));
    }

    #[test]
    fn without_sizes_the_highest_bitrate_is_taken() {
        let unknown = |bitrate| LayerState { height: 0, bitrate, live: true };
        assert_eq!(one(&[unknown(900), unknown(300), unknown(100)], Some(720)).layer, Some(0));
    }

    #[test]
    fn hidden_and_foreign_codecs_are_paused() {
        let slot = SlotRequest { layers: &THREE, wanted: Some(720), hidden: true, muted: false, codec_supported: true };
        assert_eq!(allocate(None, std::slice::from_ref(&slot))[0], Target { layer: None, reason: Reason::Hidden });
        let foreign = SlotRequest { codec_supported: false, hidden: false, ..slot };
        assert_eq!(allocate(None, &[foreign])[0].reason, Reason::CodecNotSupported);
    }
}
