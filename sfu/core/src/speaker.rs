//! Who speaks, and whose audio is forwarded: the loudest N.
//!
//! Levels are those of the audio level extension (RFC 6464), in dBov: -127 (silence) to 0.

use std::time::{Duration, Instant};

/// How quickly the smoothed level follows: about 200 ms of 20 ms packets. Shorter, and a cough takes a slot; longer,
/// and the first word of an answer is lost.
const SMOOTHING: f32 = 0.1;
/// How much louder, in dB, a track must be to take the place of one that is forwarded now.
const HYSTERESIS_DB: f32 = 6.0;
/// A smoothed level above this counts as speech.
const SPEECH_DBOV: f32 = -55.0;
/// What is assumed of a track whose packets carry no level (OBS, FFmpeg, GStreamer send none): it plays.
const UNKNOWN_DBOV: f32 = -40.0;
/// A track without packets for this long is silent.
const STALE: Duration = Duration::from_millis(1500);

/// The loudness of one audio track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loudness {
    smoothed: f32,
    last: Option<Instant>,
    spoke: Option<Instant>,
}

impl Default for Loudness {
    fn default() -> Self {
        Self { smoothed: -127.0, last: None, spoke: None }
    }
}

impl Loudness {
    /// A packet with this level, or without one.
    pub(crate) fn update(&mut self, now: Instant, level: Option<i8>) {
        let target = level.map_or(UNKNOWN_DBOV, f32::from).clamp(-127.0, 0.0);
        self.smoothed += (target - self.smoothed) * SMOOTHING;
        self.last = Some(now);
        if level.is_some() && self.smoothed > SPEECH_DBOV {
            self.spoke = Some(now);
        }
    }

    /// The smoothed level in dBov; -127 once packets have stopped.
    pub(crate) fn level(&self, now: Instant) -> f32 {
        match self.last {
            Some(at) if now.saturating_duration_since(at) < STALE => self.smoothed,
            _ => -127.0,
        }
    }

    /// No packet for so long.
    pub(crate) fn is_quiet(&self, now: Instant, time: Duration) -> bool {
        self.last.is_none_or(|at| now.saturating_duration_since(at) > time)
    }

    /// Speaking in the last half second.
    pub(crate) fn is_speaking(&self, now: Instant) -> bool {
        self.spoke.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_millis(500))
    }
}

/// Chooses the `n` tracks to forward. `tracks` are `(track, level in dBov)` in a stable order; `selected` is the choice
/// before. A track keeps its place until another is louder by more than the hysteresis.
pub(crate) fn loudest<T: Copy + PartialEq>(tracks: &[(T, f32)], selected: &[T], n: usize) -> Vec<T> {
    let boosted = |(track, level): &(T, f32)| level + if selected.contains(track) { HYSTERESIS_DB } else { 0.0 };
    let mut order: Vec<(T, f32)> = tracks.iter().map(|t| (t.0, boosted(t))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.into_iter().take(n).map(|(track, _)| track).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slightly_louder_track_does_not_take_a_place_a_much_louder_one_does() {
        let before = loudest(&[('a', -30.0), ('b', -40.0), ('c', -50.0)], &[], 2);
        assert_eq!(before, ['a', 'b']);
        let slightly = loudest(&[('a', -30.0), ('b', -40.0), ('c', -36.0)], &before, 2);
        assert_eq!(slightly, ['a', 'b']);
        let much = loudest(&[('a', -30.0), ('b', -40.0), ('c', -30.0)], &before, 2);
        assert_eq!(much, ['a', 'c']);
    }

    #[test]
    fn speech_is_seen_within_a_few_packets_and_ends() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut loudness = Loudness::default();
        for n in 0..20 {
            loudness.update(at(n * 20), Some(-20));
        }
        assert!(loudness.is_speaking(at(400)), "{loudness:?}");
        for n in 20..60 {
            loudness.update(at(n * 20), Some(-127));
        }
        assert!(!loudness.is_speaking(at(1200)), "{loudness:?}");
        assert_eq!(loudness.level(at(9000)), -127.0);
    }
}
