//! The figures, from what receivers saw and links carried.

use std::time::Duration;

use super::Time;
use super::client::Client;
use super::link::Link;
use super::receive::{AudioReceiver, Shown, VideoReceiver};
use super::{Sample, World};

/// Frames over which the mean gap is taken, as browsers' statistics do.
const MEAN_OVER: usize = 30;

/// A span of a run.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Its begin.
    pub from: Time,
    /// Its end.
    pub to: Time,
}

impl Span {
    /// From and to, in seconds of the run.
    #[must_use]
    pub fn secs(from: u64, to: u64) -> Self {
        Self { from: Time::from_secs(from), to: Time::from_secs(to) }
    }

    /// How long it is, in minutes.
    #[must_use]
    pub fn minutes(self) -> f64 {
        (self.to - self.from).as_secs_f64() / 60.0
    }

    fn holds(self, at: Time) -> bool {
        self.from <= at && at < self.to
    }
}

/// Pictures that stood still.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Freezes {
    /// How many.
    pub count: u32,
    /// For how long in all.
    pub time: Duration,
}

/// The freezes in a span: gaps between two frames of one publisher of at least max(3 d, d + 150 ms), d the mean gap of
/// the last 30 frames (the statistics of browsers count so). No frame at all is one freeze as long as the span.
#[must_use]
pub fn freezes(shown: &[Shown], span: Span) -> Freezes {
    let mut found = Freezes::default();
    let mut gaps: Vec<Duration> = Vec::new();
    let mut last: Option<Shown> = None;
    for frame in shown.iter().filter(|s| s.at < span.to) {
        if let Some(before) = last.filter(|l| l.source == frame.source) {
            note_gap(&mut found, &mut gaps, before.at, frame.at, span);
        } else {
            gaps.clear();
        }
        last = Some(*frame);
    }
    match last {
        Some(last) => note_gap(&mut found, &mut gaps, last.at, span.to, span),
        None => found = Freezes { count: 1, time: span.to - span.from },
    }
    found
}

fn note_gap(found: &mut Freezes, gaps: &mut Vec<Duration>, from: Time, to: Time, span: Span) {
    let gap = to - from;
    let window = &gaps[gaps.len().saturating_sub(MEAN_OVER)..];
    if !window.is_empty() && to > span.from {
        let mean = window.iter().sum::<Duration>() / window.len() as u32;
        if gap >= (mean * 3).max(mean + Duration::from_millis(150)) {
            found.count += 1;
            found.time += to - from.max(span.from);
        }
    }
    gaps.push(gap);
}

/// The longest time between two frames, in milliseconds.
#[must_use]
pub fn longest_gap(shown: &[Shown], span: Span) -> f64 {
    let inside = shown.windows(2).filter(|w| span.holds(w[1].at));
    inside.map(|w| (w[1].at - w[0].at).as_secs_f64() * 1e3).fold(0.0, f64::max)
}

/// How often the height of the picture changed, the publisher staying the same.
#[must_use]
pub fn layer_changes(shown: &[Shown], span: Span) -> u32 {
    let inside: Vec<&Shown> = shown.iter().filter(|s| span.holds(s.at)).collect();
    inside.windows(2).filter(|w| w[0].source == w[1].source && w[0].height != w[1].height).count() as u32
}

/// Share of the span, 0 to 1, in which a frame of `source` was shown within the last second.
#[must_use]
pub fn visible(client: &Client, source: u16, span: Span) -> f64 {
    let step = Duration::from_millis(100);
    let mut times: Vec<Time> =
        client.video.values().flat_map(|v| &v.shown).filter(|s| s.source == source).map(|s| s.at).collect();
    times.sort_unstable();
    let (mut seen, mut steps, mut at) = (0u32, 0u32, span.from);
    while at < span.to {
        let before = times.partition_point(|t| *t <= at);
        seen += u32::from(before > 0 && at - times[before - 1] <= Duration::from_secs(1));
        steps += 1;
        at += step;
    }
    f64::from(seen) / f64::from(steps.max(1))
}

/// Share of audio packets that never came, in percent; of all slots together.
#[must_use]
pub fn audio_loss<'a>(slots: impl Iterator<Item = &'a AudioReceiver>, span: Span) -> f64 {
    let (mut expected, mut got) = (0u64, 0u64);
    for slot in slots {
        let inside = || slot.packets.iter().filter(|(at, _)| span.holds(*at)).map(|(_, seq)| *seq);
        let (Some(first), Some(last)) = (inside().min(), inside().max()) else { continue };
        expected += last - first + 1;
        got += inside().count() as u64;
    }
    // Nothing at all is no sound.
    if expected == 0 { 100.0 } else { 100.0 * (expected - got.min(expected)) as f64 / expected as f64 }
}

/// Bits sent over the bits that the link could carry in the span.
#[must_use]
pub fn sent_over_capacity(link: &Link, span: Span) -> f64 {
    let bits: usize = link.passed.iter().filter(|p| span.holds(p.at)).map(|p| p.bytes * 8).sum();
    let mut capacity = 0.0;
    for (index, (from, rate)) in link.rates.iter().enumerate() {
        let end = link.rates.get(index + 1).map_or(span.to, |(at, _)| (*at).min(span.to));
        let begin = (*from).max(span.from);
        capacity += end.saturating_sub(begin).as_secs_f64() * *rate as f64;
    }
    // A packet begun before the span counts whole: never more than all.
    (bits as f64 / capacity).min(1.0)
}

/// The wait in the queue that 95 of 100 packets did not exceed, in milliseconds.
#[must_use]
pub fn queue_p95(link: &Link, span: Span) -> f64 {
    let waits = link.passed.iter().filter(|p| span.holds(p.at)).map(|p| p.wait.as_secs_f64() * 1e3);
    percentile(&mut waits.collect::<Vec<_>>(), 0.95)
}

/// Bits per second that one client got over a shared link.
#[must_use]
pub fn share(link: &Link, client: usize, span: Span) -> f64 {
    let mine = link.passed.iter().filter(|p| p.client == client && span.holds(p.at));
    mine.map(|p| p.bytes as f64 * 8.0).sum::<f64>() / (span.to - span.from).as_secs_f64()
}

/// The value below which this share of the values lies; 0 of none.
#[must_use]
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(0.0)
}

/// The last estimate told at or before this time, in kilobits per second; 0 where there was none.
#[must_use]
pub fn estimate_at(samples: &[Sample], at: Time) -> f64 {
    let last = samples.iter().take_while(|s| s.at <= at).last();
    last.and_then(|s| s.estimate).unwrap_or(0) as f64 / 1000.0
}

/// The mean of the estimates of the span, in kilobits per second; 0 where there was none.
#[must_use]
pub fn mean_estimate(samples: &[Sample], span: Span) -> f64 {
    let inside: Vec<u64> = samples.iter().filter(|s| span.holds(s.at)).filter_map(|s| s.estimate).collect();
    inside.iter().sum::<u64>() as f64 / inside.len().max(1) as f64 / 1000.0
}

/// The highest estimate of the span, in kilobits per second.
#[must_use]
pub fn estimate_max(samples: &[Sample], span: Span) -> f64 {
    samples.iter().filter(|s| span.holds(s.at)).filter_map(|s| s.estimate).max().unwrap_or(0) as f64 / 1000.0
}

/// The height shown last before this time.
#[must_use]
pub fn height_at(video: &VideoReceiver, at: Time) -> u16 {
    video.shown.iter().take_while(|s| s.at <= at).last().map_or(0, |s| s.height)
}

/// For how long a picture must stay as it is to count as steady.
const STEADY: Duration = Duration::from_secs(10);

/// How long after `since` the picture is at least `height` lines high and stays so for ten seconds without a freeze, or to the
/// end of the run. In seconds; none if it never does.
#[must_use]
pub fn steady_after(video: &VideoReceiver, since: Time, end: Time, height: u16) -> Option<f64> {
    let after = video.shown.iter().filter(|s| s.at >= since);
    let mut steady: Option<Time> = None;
    let mut last = since;
    for frame in after {
        if steady.is_some_and(|at| last - at >= STEADY) {
            break;
        }
        if frame.height < height || frame.at - last > Duration::from_millis(500) {
            steady = None;
        }
        if frame.height >= height {
            steady.get_or_insert(frame.at);
        }
        last = frame.at;
    }
    let held = |at: Time| last - at >= STEADY || end - last < Duration::from_millis(500);
    steady.filter(|at| held(*at)).map(|at| (at - since).as_secs_f64())
}

/// The time from ICE to the first picture, in milliseconds; none while there is none.
#[must_use]
pub fn first_frame(client: &Client) -> Option<f64> {
    let first = client.video.values().filter_map(|v| v.shown.first()).map(|s| s.at).min()?;
    Some(first.saturating_sub(client.ice_connected?).as_secs_f64() * 1e3)
}

/// The worst of the slots of a client that show something: freezes a minute, percent of the time frozen.
#[must_use]
pub fn worst_freezes(client: &Client, span: Span) -> (f64, f64) {
    let all = client.video.values().filter(|v| !v.shown.is_empty()).map(|v| freezes(&v.shown, span));
    let length = (span.to - span.from).as_secs_f64();
    all.fold((0.0, 0.0), |(count, share): (f64, f64), f| {
        (count.max(f64::from(f.count) / span.minutes()), share.max(100.0 * f.time.as_secs_f64() / length))
    })
}

/// The most layer changes of a slot of a client, a minute.
#[must_use]
pub fn worst_changes(client: &Client, span: Span) -> f64 {
    let all = client.video.values().map(|v| f64::from(layer_changes(&v.shown, span)) / span.minutes());
    all.fold(0.0, f64::max)
}

/// Audio lost at one client, in percent.
#[must_use]
pub fn audio_loss_of(world: &World, client: usize, span: Span) -> f64 {
    audio_loss(world.clients[client].audio.values().filter(|a| !a.packets.is_empty()), span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(times_ms: impl Iterator<Item = u64>) -> Vec<Shown> {
        times_ms.map(|ms| Shown { at: Time::from_millis(ms), source: 1, height: 180 }).collect()
    }

    #[test]
    fn a_gap_of_three_frames_is_no_freeze_at_30_fps_but_one_of_200_ms_is() {
        let span = Span::secs(0, 3);
        let steady = (0..90).map(|n| n * 33);
        assert_eq!(freezes(&frames(steady.clone()), span).count, 0);
        let hole = steady.filter(|ms| !(1000..1200).contains(ms));
        let found = freezes(&frames(hole), span);
        assert_eq!(found.count, 1);
        assert!(found.time >= Duration::from_millis(200), "{found:?}");
    }

    #[test]
    fn a_picture_that_never_came_was_frozen_all_the_time() {
        assert_eq!(freezes(&[], Span::secs(2, 5)), Freezes { count: 1, time: Duration::from_secs(3) });
    }

    #[test]
    fn the_95th_percentile_of_a_hundred_is_the_95th() {
        let mut values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.95), 95.0);
        assert_eq!(percentile(&mut [], 0.95), 0.0);
    }
}
