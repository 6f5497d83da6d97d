//! Outgoing RTP timestamps of one subscription (RFC 3550, section 5.1).
//!
//! Every source counts from a random start. At a switch the new source's first frame is set on the old one's timeline:
//! by sender reports where both sources have one, else by the time that passed between the arrivals. All arithmetic is
//! modulo 2^32.

use std::time::{Duration, Instant, SystemTime};

use super::epoch::{Epoch, Epochs};

/// How far the new source may lie behind what was sent and still count as on the same timeline.
pub const BEHIND_LIMIT: Duration = Duration::from_millis(50);

/// How far sender reports may disagree with the time that passed and still be believed.
pub const ALIGNMENT_TRUST: Duration = Duration::from_secs(5);

/// What a switch went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Nothing was sent before: the start value.
    Start,
    /// The sender reports.
    Aligned,
    /// The sender reports, but the frame lies up to [`BEHIND_LIMIT`] behind what was sent: the least step forward.
    Nudged,
    /// The time that passed since the newest frame's arrival, at least the least step: there are no sender reports,
    /// or they put the frame more than [`BEHIND_LIMIT`] behind, or they are not believable.
    Elapsed,
}

/// Maps a source's RTP timestamps to those of one subscription.
#[derive(Debug, Clone)]
pub struct TimestampMapper {
    start: u32,
    min_step: Duration,
    /// What is added in each epoch.
    offsets: Epochs<u32>,
    newest: Option<Newest>,
}

/// The newest frame that was sent.
#[derive(Debug, Clone, Copy)]
struct Newest {
    out: u32,
    /// When its first packet came.
    arrived: Instant,
}

impl TimestampMapper {
    /// A mapper whose first frame gets the timestamp `start`, best random. The least step at a switch is 1 ms.
    pub const fn new(start: u32) -> Self {
        Self { start, min_step: Duration::from_millis(1), offsets: Epochs::new(), newest: None }
    }

    /// Likewise with another least step: for audio the length of a packet (20 ms), so that the last packet before a
    /// switch and the first one after it do not overlap.
    #[must_use]
    pub const fn with_min_step(mut self, min_step: Duration) -> Self {
        self.min_step = min_step;
        self
    }

    /// Opens `epoch`, whose first frame has the timestamp `in_ts` and arrives `now`. That frame's outgoing timestamp
    /// is above all that were sent, by the least step or more.
    ///
    /// - `clock_rate`: ticks per second of the new source.
    /// - `aligned`: `in_ts` on the timeline of the source of the newest epoch, by both sources' sender reports
    ///   ([`SenderReport::on_timeline_of`]); none if one is missing or the sources do not share a publisher.
    ///
    /// Also for a source that comes back after a pause or a mute: `aligned` is none then, since nobody knows if its
    /// timestamps went on meanwhile.
    pub fn switch(&mut self, epoch: Epoch, now: Instant, in_ts: u32, clock_rate: u32, aligned: Option<u32>) -> Basis {
        let (out, basis) = match self.newest {
            None => (self.start, Basis::Start),
            Some(newest) => {
                let old = self.offsets.newest().and_then(|e| self.offsets.get(e));
                let target = aligned.zip(old).map(|(ts, offset)| ts.wrapping_add(offset));
                self.place(newest, now, clock_rate, target)
            }
        };
        self.offsets.open(epoch, out.wrapping_sub(in_ts));
        basis
    }

    fn place(&self, newest: Newest, now: Instant, clock_rate: u32, target: Option<u32>) -> (u32, Basis) {
        let floor = ticks(self.min_step, clock_rate).max(1);
        let elapsed = ticks(now.saturating_duration_since(newest.arrived), clock_rate);
        // The timestamp's own half range is the longest step that reads as forward.
        let by_elapsed = elapsed.clamp(floor, i64::from(i32::MAX));
        let on = |step: i64| newest.out.wrapping_add(step as u32);

        let Some(target) = target else {
            return (on(by_elapsed), Basis::Elapsed);
        };
        let step = i64::from(target.wrapping_sub(newest.out) as i32);
        if (step - elapsed).abs() > ticks(ALIGNMENT_TRUST, clock_rate) || step < -ticks(BEHIND_LIMIT, clock_rate) {
            (on(by_elapsed), Basis::Elapsed)
        } else if step < floor {
            (on(floor), Basis::Nudged)
        } else {
            (target, Basis::Aligned)
        }
    }

    /// The outgoing timestamp of a packet that arrives `now` with `in_ts` and belongs to `epoch`.
    ///
    /// None: the epoch is unknown or forgotten, and the packet is not to be sent.
    pub fn map(&mut self, epoch: Epoch, now: Instant, in_ts: u32) -> Option<u32> {
        let out = in_ts.wrapping_add(self.offsets.get(epoch)?);
        if self.newest.is_none_or(|n| out.wrapping_sub(n.out) as i32 > 0) {
            self.newest = Some(Newest { out, arrived: now });
        }
        Some(out)
    }

    /// The highest timestamp sent; none before the first.
    pub fn highest(&self) -> Option<u32> {
        self.newest.map(|n| n.out)
    }
}

/// What a sender report says of a source's clock (RFC 3550, section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// An instant by the sender's wall clock, from the report's NTP timestamp.
    pub wall: SystemTime,
    /// The same instant in the source's RTP timestamps.
    pub rtp: u32,
}

impl SenderReport {
    /// `in_ts` of the source of this report, on the timeline of the source of `other`. Both reports come from one
    /// sender and both sources tick at `clock_rate` per second.
    pub fn on_timeline_of(&self, other: &Self, in_ts: u32, clock_rate: u32) -> u32 {
        let since_report = in_ts.wrapping_sub(self.rtp);
        let between = match self.wall.duration_since(other.wall) {
            Ok(later) => nearest_ticks(later, clock_rate),
            Err(earlier) => nearest_ticks(earlier.duration(), clock_rate).wrapping_neg(),
        };
        other.rtp.wrapping_add(since_report).wrapping_add(between)
    }
}

/// Rounded to the nearest tick, so that the layers of one frame meet; modulo 2^32.
const fn nearest_ticks(time: Duration, clock_rate: u32) -> u32 {
    ((time.as_nanos() * clock_rate as u128 + 500_000_000) / 1_000_000_000) as u32
}

fn ticks(time: Duration, clock_rate: u32) -> i64 {
    let ticks = time.as_nanos() * u128::from(clock_rate) / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "timestamp_tests.rs"]
mod tests;
