//! A publisher's clock, as its sender reports tell it (RFC 3550 section 6.4.1), mapped to ours.
//!
//! Audio and video of one publisher are in step when both are mapped by the same offset; what the offset is matters
//! little. So there is one clock per publisher, not one per track.

use std::time::{Duration, Instant, SystemTime};

use crate::forward::SenderReport;

/// A capture time further back than this is not believed: the report is wrong, or the stream stood still.
const MAX_AGE: Duration = Duration::from_secs(5);

/// A report that comes this much later than the least delayed one did not travel that long: the publisher's clock was
/// set back, or has run slow for hours.
const MAX_LAG: Duration = Duration::from_secs(1);

/// Maps a publisher's wall clock to this shard's.
#[derive(Debug, Default)]
pub(crate) struct PublisherClock {
    /// A report's wall clock, and the instant that is taken for it: the earliest that any report came, so that
    /// the least delayed one decides, as long as the publisher's clock runs on.
    base: Option<(SystemTime, Instant)>,
}

impl PublisherClock {
    /// A report has arrived.
    pub(crate) fn on_report(&mut self, now: Instant, report: SenderReport) {
        let anew = self.base.is_none_or(|(wall, at)| {
            let expected = add(at, since(report.wall, wall));
            expected > now || now.saturating_duration_since(expected) > MAX_LAG
        });
        if anew {
            self.base = Some((report.wall, now));
        }
    }

    /// When a packet was captured, by this shard's clock: never after `now`. `now` itself while no report has come.
    pub(crate) fn captured(
        &self,
        now: Instant,
        report: Option<SenderReport>,
        rtp_time: u32,
        clock_rate: u32,
    ) -> Instant {
        let (Some((wall, at)), Some(report)) = (self.base, report) else {
            return now;
        };
        let since_report = i64::from(rtp_time.wrapping_sub(report.rtp) as i32) * 1_000_000_000 / i64::from(clock_rate);
        let captured = add(at, since(report.wall, wall) + since_report);
        let believable = captured <= now && now.saturating_duration_since(captured) <= MAX_AGE;
        if believable { captured } else { now }
    }
}

/// Nanoseconds from one wall clock time to another.
fn since(later: SystemTime, earlier: SystemTime) -> i64 {
    let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    later.duration_since(earlier).map_or_else(|e| -nanos(e.duration()), nanos)
}

fn add(at: Instant, nanos: i64) -> Instant {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    let moved = if nanos < 0 { at.checked_sub(distance) } else { at.checked_add(distance) };
    moved.unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ms: u64, rtp: u32) -> SenderReport {
        SenderReport { wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + ms), rtp }
    }

    fn close(a: Instant, b: Instant) -> bool {
        a.max(b) - a.min(b) < Duration::from_micros(10)
    }

    #[test]
    fn audio_and_video_captured_together_are_mapped_to_one_instant() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = PublisherClock::default();
        let (audio, video) = (report(0, 1000), report(300, 90_000));
        clock.on_report(at(50), audio);
        clock.on_report(at(350), video);
        // 500 ms after the audio report, 200 ms after the video report: the same moment.
        let heard = clock.captured(at(560), Some(audio), 1000 + 24_000, 48_000);
        let seen = clock.captured(at(580), Some(video), 90_000 + 18_000, 90_000);
        assert!(close(heard, seen), "{:?}", seen.max(heard) - heard.min(seen));
    }

    #[test]
    fn a_clock_that_is_set_back_or_forth_is_followed() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now() + Duration::from_secs(3600);
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = PublisherClock::default();
        clock.on_report(at(0), report(600_000, 0));
        // Ten minutes back, then an hour forth.
        for (now, wall) in [(10_000, 10_000), (20_000, 3_620_000)] {
            let audio = report(wall, 1000);
            clock.on_report(at(now), audio);
            let heard = clock.captured(at(now + 60), Some(audio), 1000 + 960, 48_000);
            assert!(close(heard, at(now + 20)), "{:?} before it came", at(now + 60) - heard);
            // Video whose report is of before: better no capture time than a wrong one.
            let seen = clock.captured(at(now + 60), Some(report(600_000, 0)), 900_000, 90_000);
            assert!(at(now + 60) - seen <= MAX_AGE);
            let video = report(wall + 300, 90_000);
            clock.on_report(at(now + 300), video);
            let (heard, seen) = (
                clock.captured(at(now + 560), Some(audio), 1000 + 24_000, 48_000),
                clock.captured(at(now + 580), Some(video), 90_000 + 18_000, 90_000),
            );
            assert!(close(heard, seen), "in step again");
        }
    }

    #[test]
    fn a_report_that_was_held_up_moves_nothing() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let mut clock = PublisherClock::default();
        clock.on_report(start, report(0, 0));
        let late = report(1000, 90_000);
        clock.on_report(start + Duration::from_millis(1900), late);
        let seen = clock.captured(start + Duration::from_secs(2), Some(late), 90_000, 90_000);
        assert!(close(seen, start + Duration::from_secs(1)));
    }

    #[test]
    fn a_capture_time_is_never_in_the_future_nor_long_past() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let now = Instant::now() + Duration::from_secs(60);
        let mut clock = PublisherClock::default();
        let first = report(0, 0);
        assert_eq!(clock.captured(now, Some(first), 0, 90_000), now, "no report yet");
        clock.on_report(now, first);
        assert_eq!(clock.captured(now, Some(first), 90_000, 90_000), now, "from the future");
        assert_eq!(clock.captured(now, Some(first), 0u32.wrapping_sub(900_000), 90_000), now, "10 s back");
    }
}
