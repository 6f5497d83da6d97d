//! Which packets pass for a target layer: keyframe-gated switching between simulcast layers.
//!
//! Plain arithmetic: a layer is its index in the track's list. A decoder can begin, or change layers, only at a
//! keyframe, so the old layer is forwarded until the new one's keyframe begins.

use std::time::{Duration, Instant};

/// How long a receiver without a picture waits for the wanted layer before it takes the first keyframe of any.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to the layer that is forwarded.
    Forward,
    /// Its keyframe begins the layer that is forwarded from now on.
    Switch,
    /// It is of another layer, or no keyframe has come yet.
    Drop,
}

/// The layer that one receiver gets of one track, and the one it shall get.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerSelector {
    current: Option<usize>,
    target: Option<usize>,
    waiting_since: Option<Instant>,
}

impl LayerSelector {
    /// Sets the layer to get; none pauses. Returns true if that is a change.
    pub(crate) fn set_target(&mut self, now: Instant, target: Option<usize>) -> bool {
        if self.target == target {
            return false;
        }
        self.target = target;
        self.waiting_since = target.map(|_| now);
        if target.is_none() {
            self.current = None;
        }
        true
    }

    /// Gives up the layer that is forwarded: nothing more until the next keyframe.
    pub(crate) fn abandon(&mut self, now: Instant) {
        self.current = None;
        self.waiting_since = self.target.map(|_| now);
    }

    /// The layer to get.
    pub(crate) fn target(&self) -> Option<usize> {
        self.target
    }

    /// The layer that is forwarded now.
    pub(crate) fn current(&self) -> Option<usize> {
        self.current
    }

    /// The layer whose keyframe is awaited.
    pub(crate) fn awaited(&self) -> Option<usize> {
        self.target.filter(|target| self.current != Some(*target))
    }

    /// Decides about a packet of `layer`.
    pub(crate) fn on_packet(&mut self, now: Instant, layer: usize, keyframe_start: bool) -> Verdict {
        let Some(target) = self.target else {
            return Verdict::Drop;
        };
        if self.current == Some(layer) {
            return Verdict::Forward;
        }
        let impatient = self.current.is_none()
            && self.waiting_since.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
        if keyframe_start && (layer == target || impatient) {
            self.current = Some(layer);
            if layer == target {
                self.waiting_since = None;
            }
            return Verdict::Switch;
        }
        Verdict::Drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        Instant::now()
    }

    #[test]
    fn a_receiver_begins_with_a_keyframe() {
        let mut layers = LayerSelector::default();
        assert_eq!(layers.on_packet(start(), 0, true), Verdict::Drop);
        assert!(layers.set_target(start(), Some(0)));
        assert_eq!(layers.awaited(), Some(0));
        assert_eq!(layers.on_packet(start(), 0, false), Verdict::Drop);
        assert_eq!(layers.on_packet(start(), 0, true), Verdict::Switch);
        assert_eq!(layers.on_packet(start(), 0, false), Verdict::Forward);
        assert_eq!(layers.awaited(), None);
    }

    #[test]
    fn the_old_layer_flows_until_the_new_ones_keyframe_begins() {
        let mut layers = LayerSelector::default();
        layers.set_target(start(), Some(0));
        layers.on_packet(start(), 0, true);
        layers.set_target(start(), Some(2));
        assert_eq!(layers.on_packet(start(), 2, false), Verdict::Drop);
        assert_eq!(layers.on_packet(start(), 0, false), Verdict::Forward);
        assert_eq!(layers.on_packet(start(), 1, true), Verdict::Drop);
        assert_eq!(layers.on_packet(start(), 2, true), Verdict::Switch);
        assert_eq!(layers.on_packet(start(), 0, false), Verdict::Drop);
    }

    #[test]
    fn without_a_picture_any_keyframe_will_do_after_a_second() {
        let mut layers = LayerSelector::default();
        layers.set_target(start(), Some(2));
        assert_eq!(layers.on_packet(start(), 0, true), Verdict::Drop);
        let later = start() + PATIENCE + Duration::from_millis(1);
        assert_eq!(layers.on_packet(later, 0, true), Verdict::Switch);
        assert_eq!(layers.awaited(), Some(2));
        assert_eq!(layers.on_packet(later, 2, true), Verdict::Switch);
    }

    #[test]
    fn a_pause_needs_a_keyframe_to_end() {
        let mut layers = LayerSelector::default();
        layers.set_target(start(), Some(0));
        layers.on_packet(start(), 0, true);
        layers.set_target(start(), None);
        assert_eq!(layers.on_packet(start(), 0, false), Verdict::Drop);
        layers.set_target(start(), Some(0));
        assert_eq!(layers.on_packet(start(), 0, false), Verdict::Drop);
        assert_eq!(layers.on_packet(start(), 0, true), Verdict::Switch);
    }
}
