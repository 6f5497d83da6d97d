//! What each layer of a scalable stream costs.

use std::time::Duration;

use super::layer::Layer;
use super::svc::FrameInfo;

/// The most spatial and the most temporal layers that are counted. Browsers send three of each.
pub const LAYERS_COUNTED: usize = 4;

/// Bits per second that a receiver of each target gets: by spatial layer, then by temporal layer.
pub type LayerRates = [[u64; LAYERS_COUNTED]; LAYERS_COUNTED];

/// Counts the bytes of one stream by the targets that need them.
///
/// A target's rate is all that its receiver gets: with the layers below where the target needs them, and in the KEY
/// modes without.
#[derive(Debug, Clone, Default)]
pub struct LayerMeter {
    bytes: LayerRates,
    rates: LayerRates,
    top: Layer,
}

impl LayerMeter {
    /// Counts a packet of `len` bytes.
    pub fn count(&mut self, frame: &FrameInfo, len: usize) {
        for (spatial, row) in self.bytes.iter_mut().enumerate() {
            for (temporal, bytes) in row.iter_mut().enumerate() {
                if frame.needed.has(Layer::new(spatial as u8, temporal as u8)) {
                    *bytes += len as u64;
                }
            }
        }
        self.top.spatial = frame.active.top_spatial().unwrap_or(0).max(frame.layer.spatial);
        self.top.temporal = self.top.temporal.max(frame.layer.temporal);
    }

    /// Turns the bytes since the last call into rates.
    pub fn tick(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        for (rate, bytes) in self.rates.iter_mut().flatten().zip(self.bytes.iter_mut().flatten()) {
            *rate = ((std::mem::take(bytes) * 8) as f64 / seconds) as u64;
        }
    }

    /// Bits per second of a target between the last two ticks; of one that there is not, of the highest below it.
    pub fn rate(&self, target: Layer) -> u64 {
        let at = |id: u8| usize::from(id).min(LAYERS_COUNTED - 1);
        self.rates[at(target.spatial)][at(target.temporal)]
    }

    /// The highest spatial layer that is sent, and the highest temporal layer that has been.
    pub const fn top(&self) -> Layer {
        self.top
    }
}

#[cfg(test)]
mod tests {
    use super::super::svc::{FrameReader, FrameSource};
    use super::*;

    /// The bits of a recording by target, in a second.
    fn meter(text: &str) -> LayerMeter {
        let mut reader = FrameReader::new();
        let mut meter = LayerMeter::default();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let fields: Vec<_> = line.split(' ').collect();
            let raw: Vec<_> = (0..fields[3].len() / 2)
                .map(|at| u8::from_str_radix(&fields[3][2 * at..2 * at + 2], 16).expect("hex"))
                .collect();
            let source = FrameSource::Dependency(&raw);
            let (frame, _) = reader.read(source, fields[1].parse().expect("a number"), false).expect("a frame");
            meter.count(&frame, fields[4].parse().expect("a number"));
        }
        meter.tick(Duration::from_secs(1));
        meter
    }

    fn sum(text: &str) -> u64 {
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        lines.map(|l| l.split(' ').nth(4).expect("a length").parse::<u64>().expect("a number")).sum()
    }

    const FULL: &str = include_str!("testdata/chromium-av1-l3t3.txt");
    const KEY: &str = include_str!("testdata/chromium-av1-l3t3-key.txt");

    #[test]
    fn rates_add_up_to_the_whole_stream() {
        let meter = meter(FULL);
        assert_eq!(meter.rate(Layer::new(2, 2)), sum(FULL) * 8);
        assert_eq!(meter.rate(Layer::new(7, 7)), sum(FULL) * 8, "more than there is");
        assert_eq!(meter.top(), Layer::new(2, 2));
        for spatial in 0..3 {
            for temporal in 0..3 {
                let rate = meter.rate(Layer::new(spatial, temporal));
                assert!(rate > 0);
                assert!(spatial == 0 || rate > meter.rate(Layer::new(spatial - 1, temporal)));
                assert!(temporal == 0 || rate > meter.rate(Layer::new(spatial, temporal - 1)));
            }
        }
    }

    #[test]
    fn in_the_key_modes_lower_layers_cost_a_higher_one_nothing_but_the_keyframe() {
        let meter = meter(KEY);
        let of_each: u64 = (0..3).map(|spatial| meter.rate(Layer::new(spatial, 2))).sum();
        let keyframe = sum(&KEY.lines().take(5).collect::<Vec<_>>().join("\n")) * 8;
        assert!(of_each > sum(KEY) * 8 && of_each < sum(KEY) * 8 + 2 * keyframe);
    }

    #[test]
    fn a_tick_begins_anew() {
        let mut meter = meter(KEY);
        meter.tick(Duration::from_secs(1));
        assert_eq!(meter.rate(Layer::new(2, 2)), 0);
    }
}
