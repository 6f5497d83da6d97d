//! What a link is believed to carry, from what the stack measures of it.
//!
//! The stack's delay-based estimate (draft-ietf-rmcat-gcc-02) errs in two ways that hurt an SFU. While little is sent, one
//! burst can bring it down to less than what arrives all the time, without a loss and without a queue. And when a link
//! falls steeply it follows for two seconds. So a fall is believed at once where the link shows it, by losses or by packets
//! that take longer than they used to, and otherwise only if it lasts. And what goes through without either, the link carries,
//! whatever the stack says: after a steep fall its loss-based controller may stay low for half a minute. Of a queue that grows
//! slowly the rate of the link can be told: what was sent in a second, less what is waiting of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long an estimate must stay low before it is believed, where nothing else says so.
const DOUBT: Duration = Duration::from_secs(5);
/// The share of lost packets, 0 to 1, from which on a link is taken to lose them by overload; random loss on radio links
/// stays below it mostly.
const LOSSY: f32 = 0.02;
/// The share of lost packets from which on the link is overloaded for certain, and what arrives is what it carries.
/// libwebrtc's first loss-based controller cut its rate there too (draft-ietf-rmcat-gcc-02 section 6).
const OVERLOADED: f32 = 0.1;
/// The round trip that long above the shortest one is a queue.
const QUEUE: Duration = Duration::from_millis(30);
/// Bits of a full packet.
const PACKET: f64 = 1200.0 * 8.0;
/// Over how many measurements: a single burst of our own, a keyframe or a probe, queues for a moment.
const SAMPLES: usize = 4;
/// The most that a queue may grow in a second to be one of a link that is only just too full. One that has become slower
/// shows losses or grows faster, and its rate is then best told by the stack.
const OVERFLOW: Duration = Duration::from_millis(150);
/// Of the rate of a link with a queue, so much is taken, that the queue may go.
const DRAINING: f64 = 0.95;
/// The stack counts losses among packets sent within the last second. With a longer round trip too few of them are reported
/// (measured: at 750 ms none, of 97 % lost), and that nothing is lost says nothing.
const LOSSES_SEEN: Duration = Duration::from_millis(500);
/// How long a link counts as narrow after it has last shown a queue or losses.
const NARROW: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
/// The most that is remembered of what was sent: twice ten measurements a second.
const MOST_SENT: usize = 20;
/// The shortest round trip is that of the last one to two of these.
const ROUND_TRIPS: Duration = Duration::from_secs(10);

/// One measurement of the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Its estimate in bits per second.
    pub estimate: u64,
    /// Share of the packets of the last second that were lost, 0 to 1.
    pub loss: f32,
    /// Of the packet acknowledged last.
    pub round_trip: Option<Duration>,
    /// Bytes of media sent so far.
    pub sent: u64,
}

/// What is believed of one link.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    believed: Option<(u64, Instant)>,
    recent: [Option<Duration>; SAMPLES],
    shortest: Option<Shortest>,
    /// When there was last a queue, or losses.
    strained: Option<Instant>,
    /// What had been sent when, over the last second: the oldest first.
    sent: VecDeque<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    bytes: u64,
    round_trip: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Shortest {
    since: Instant,
    before: Duration,
    now: Duration,
}

impl Link {
    /// Takes a measurement, of which there should be about ten a second. Returns what the link is believed to carry, in
    /// bits per second.
    pub(crate) fn on_measured(&mut self, now: Instant, measured: Measured) -> u64 {
        if let Some(round_trip) = measured.round_trip {
            self.on_round_trip(now, round_trip);
        }
        let calm = measured.loss < LOSSY && !self.is_queueing();
        if !calm {
            self.strained = Some(now);
        }
        let (sent, growth) = self.on_sent(Sent { at: now, bytes: measured.sent, round_trip: measured.round_trip });
        let estimate = arriving(measured.estimate, measured.loss);
        let estimate = if measured.round_trip.is_none_or(|round_trip| round_trip >= LOSSES_SEEN) {
            estimate
        } else if calm {
            estimate.max(sent + sent / 10)
        } else if let Some(growth) = growth.filter(|growth| *growth < OVERFLOW && measured.loss < LOSSY) {
            // C of `sent = C * (1 s + growth)`.
            estimate.max((sent as f64 / (1.0 + growth.as_secs_f64()) * DRAINING) as u64)
        } else {
            estimate
        };
        let kept = self
            .believed
            .filter(|(believed, since)| calm && estimate < *believed && now.saturating_duration_since(*since) < DOUBT);
        self.believed = Some(kept.unwrap_or((estimate, now)));
        kept.map_or(estimate, |(believed, _)| believed)
    }

    /// Whether it has shown a queue or losses within the last half minute. An estimate alone says little of how near its limit
    /// a link is: without more being sent, no estimator finds out about more than half as much again.
    pub(crate) fn is_narrow(&self, now: Instant) -> bool {
        self.strained.is_some_and(|at| now.saturating_duration_since(at) < NARROW)
    }

    /// The shortest round trip of the last ten to twenty seconds: that of the path, without a queue.
    pub(crate) fn shortest_round_trip(&self) -> Option<Duration> {
        self.shortest.map(|Shortest { before, now, .. }| before.min(now))
    }

    fn on_round_trip(&mut self, now: Instant, round_trip: Duration) {
        self.recent.rotate_left(1);
        self.recent[SAMPLES - 1] = Some(round_trip);
        let shortest = self.shortest.get_or_insert(Shortest { since: now, before: round_trip, now: round_trip });
        if now.saturating_duration_since(shortest.since) >= ROUND_TRIPS {
            *shortest = Shortest { since: now, before: shortest.now, now: round_trip };
        }
        shortest.now = shortest.now.min(round_trip);
    }

    /// Bits per second sent over the last second; 0 until one has passed. And by how much the round trip grew meanwhile.
    fn on_sent(&mut self, last: Sent) -> (u64, Option<Duration>) {
        self.sent.push_back(last);
        let age = |sent: &Sent| last.at.saturating_duration_since(sent.at);
        while self.sent.get(1).is_some_and(|second| age(second) >= SECOND) || self.sent.len() > MOST_SENT {
            self.sent.pop_front();
        }
        let Some(first) = self.sent.front().filter(|first| age(first) >= SECOND) else { return (0, None) };
        let rate = last.bytes.saturating_sub(first.bytes) as f64 * 8.0 / age(first).as_secs_f64();
        let growth = last.round_trip.zip(first.round_trip).map(|(last, first)| last.saturating_sub(first));
        (rate as u64, growth)
    }

    /// All of the last round trips were longer than the shortest one.
    fn is_queueing(&self) -> bool {
        let Some(Shortest { before, now, .. }) = self.shortest else { return false };
        // One packet before another is no queue: on a slow link it takes as long as several elsewhere.
        let packet = self.believed.map_or(0.0, |(rate, _)| PACKET / rate.max(1) as f64);
        let least = before.min(now) + QUEUE + Duration::from_secs_f64(packet.min(1.0));
        let queued = |round_trip: &Option<Duration>| round_trip.is_some_and(|r| r >= least);
        self.recent.iter().all(queued)
    }
}

/// What arrives, where so much is lost that the link must be full.
fn arriving(estimate: u64, loss: f32) -> u64 {
    if loss < OVERLOADED { estimate } else { (estimate as f64 * f64::from(1.0 - loss.min(1.0))) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        Instant::now()
    }

    const CALM: Measured =
        Measured { estimate: 500_000, loss: 0.0, round_trip: Some(Duration::from_millis(50)), sent: 0 };

    /// What is believed after each of these measurements, ten a second, on a link that was calm before.
    fn believed(measured: &[Measured]) -> Vec<u64> {
        let (mut link, start) = (Link::default(), start());
        (0..10).for_each(|n| _ = link.on_measured(start + Duration::from_millis(n * 100), CALM));
        let at = |n: usize| start + Duration::from_millis(1000 + n as u64 * 100);
        measured.iter().enumerate().map(|(n, m)| link.on_measured(at(n), *m)).collect()
    }

    #[test]
    fn a_fall_that_the_link_does_not_show_is_believed_after_five_seconds() {
        let low = believed(&[Measured { estimate: 90_000, ..CALM }; 60]);
        let first = low.iter().position(|b| *b == 90_000).unwrap();
        assert!((48..=50).contains(&first), "{first}");
        assert!(low[..first].iter().all(|b| *b == 500_000));
    }

    #[test]
    fn what_goes_through_without_loss_or_queue_is_believed_whatever_the_stack_says() {
        // 100 ms of 800 kbps: 10,000 bytes.
        let sent = |n: u64| Measured { estimate: 90_000, sent: n * 10_000, ..CALM };
        let through = believed(&(0..70).map(sent).collect::<Vec<_>>());
        assert_eq!(through.last(), Some(&880_000));
        let lossy = Measured { loss: 0.05, ..sent(70) };
        let full: Vec<_> = (0..70).map(sent).chain([lossy]).collect();
        let far = |n: u64| Measured { round_trip: Some(Duration::from_millis(500)), ..sent(n) };
        assert_eq!(believed(&(0..70).map(far).collect::<Vec<_>>()).last(), Some(&90_000), "losses would not be seen");
        assert_eq!(believed(&full).last(), Some(&90_000));
    }

    #[test]
    fn a_fall_with_losses_or_a_queue_is_believed_at_once() {
        let lost = believed(&[Measured { estimate: 90_000, loss: 0.05, ..CALM }]);
        assert_eq!(lost, [90_000]);
        let queue = Measured { estimate: 90_000, round_trip: Some(Duration::from_millis(120)), ..CALM };
        assert_eq!(believed(&[queue; 4]), [500_000, 500_000, 500_000, 90_000], "a queue of 0.4 s is no burst of ours");
    }

    #[test]
    fn a_link_is_narrow_for_half_a_minute_after_a_queue_or_losses() {
        let (mut link, start) = (Link::default(), start());
        let mut after = |tenths: std::ops::Range<u64>, measured: Measured| {
            let at = |tenth: u64| start + Duration::from_millis(tenth * 100);
            tenths.clone().for_each(|tenth| _ = link.on_measured(at(tenth), measured));
            link.is_narrow(at(tenths.end - 1))
        };
        let queue = Measured { round_trip: Some(Duration::from_millis(120)), ..CALM };
        assert!(!after(0..10, CALM));
        assert!(!after(10..13, queue), "a burst of our own");
        assert!(after(13..14, queue));
        // Its last measurement with a queue is that of 1.3 s.
        assert!(after(14..313, CALM));
        assert!(!after(313..314, CALM));
        assert!(after(314..315, Measured { loss: 0.03, ..CALM }));
    }

    #[test]
    fn of_a_queue_that_grows_slowly_the_rate_of_the_link_is_told() {
        // 1 Mbps sent, of which each second 100 ms more wait: 909 kbps arrive.
        let sent = |n: u64| {
            let round_trip = Some(Duration::from_millis(50 + n * 10));
            Measured { estimate: 600_000, sent: n * 12_500, round_trip, ..CALM }
        };
        let slow = believed(&(0..30).map(sent).collect::<Vec<_>>());
        assert!((860_000..866_000).contains(&slow[29]), "95 % of it: {}", slow[29]);
        let steep: Vec<_> =
            (0..30).map(|n| Measured { round_trip: Some(Duration::from_millis(50 + n * 20)), ..sent(n) }).collect();
        assert_eq!(believed(&steep).last(), Some(&600_000));
        let lossy: Vec<_> = (0..30).map(|n| Measured { loss: 0.02, ..sent(n) }).collect();
        assert_eq!(believed(&lossy).last(), Some(&600_000));
    }

    #[test]
    fn of_an_overloaded_link_what_arrives_is_believed() {
        assert_eq!(believed(&[Measured { loss: 0.5, ..CALM }]), [250_000]);
        assert_eq!(believed(&[Measured { loss: 0.09, ..CALM }]), [500_000]);
    }

    #[test]
    fn a_rise_is_believed_at_once() {
        assert_eq!(believed(&[Measured { estimate: 900_000, ..CALM }]), [900_000]);
    }

    #[test]
    fn a_path_that_became_longer_is_no_queue_for_ever() {
        let long = Measured { round_trip: Some(Duration::from_millis(120)), ..CALM };
        let mut all = vec![long; 210];
        all.push(Measured { estimate: 90_000, ..long });
        assert_eq!(believed(&all).last(), Some(&500_000));
    }
}
