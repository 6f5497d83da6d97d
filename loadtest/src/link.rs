//! One direction of an emulated link: a rate with a bounded queue before it, then delay, jitter, loss, reordering.
//!
//! Pure: time is an argument, in microseconds, and randomness a seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::scenario::Link;

/// IPv4 and UDP headers, which the wire carries too.
const HEADERS: usize = 28;
/// The most datagrams under way: at 10 Mbit/s, six seconds. More are dropped, and counted.
const MOST: usize = 8192;

/// A link in use.
#[derive(Debug)]
pub struct Path {
    spec: Link,
    random: SmallRng,
    /// Departure times of what waits for the rate, oldest first.
    queue: VecDeque<u64>,
    free_at: u64,
    in_burst: bool,
    last_arrival: u64,
    begun: Option<u64>,
    flight: BinaryHeap<Reverse<Flying>>,
    order: u64,
    /// Datagrams dropped: lost, frozen, or no room in the queue.
    pub dropped: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Flying {
    at: u64,
    order: u64,
    data: Vec<u8>,
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Path {
    /// An empty link.
    #[must_use]
    pub fn new(spec: Link, seed: u64) -> Self {
        Self {
            spec,
            random: SmallRng::seed_from_u64(seed),
            queue: VecDeque::new(),
            free_at: 0,
            in_burst: false,
            last_arrival: 0,
            begun: None,
            flight: BinaryHeap::new(),
            order: 0,
            dropped: 0,
        }
    }

    /// Takes a datagram that enters the link now.
    pub fn offer(&mut self, now: u64, data: &[u8]) {
        let begun = *self.begun.get_or_insert(now);
        if self.flight.len() >= MOST || self.frozen(now - begun) || self.is_lost() {
            self.dropped += 1;
            return;
        }
        let Some(departs) = self.departure(now, data.len() + HEADERS) else {
            self.dropped += 1;
            return;
        };
        let at = self.arrival(departs);
        self.order += 1;
        self.flight.push(Reverse(Flying { at, order: self.order, data: data.to_vec() }));
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        self.flight.peek().map(|Reverse(flying)| flying.at)
    }

    /// The next datagram that has arrived by now, and when it did.
    pub fn take(&mut self, now: u64) -> Option<(u64, Vec<u8>)> {
        if self.next_at()? > now {
            return None;
        }
        self.flight.pop().map(|Reverse(flying)| (flying.at, flying.data))
    }

    fn frozen(&self, since: u64) -> bool {
        let every = (self.spec.freeze_every_s * 1e6) as u64;
        let length = u64::from(self.spec.freeze_ms) * 1000;
        // The freeze is at the end of each period, so that a run begins well.
        every > 0 && since % every >= every.saturating_sub(length)
    }

    fn is_lost(&mut self) -> bool {
        // All numbers are drawn for every packet, so that what one packet meets does not hang on what others did.
        let [loss, turn] = std::array::from_fn(|_| self.random.random::<f64>() * 100.0);
        if self.in_burst {
            self.in_burst = turn >= 100.0 / self.spec.burst_packets.max(1.0);
        } else {
            self.in_burst = turn < self.spec.burst_percent;
        }
        self.in_burst || loss < self.spec.loss_percent
    }

    /// When it has passed the rate; none if it would wait too long.
    fn departure(&mut self, now: u64, bytes: usize) -> Option<u64> {
        if self.spec.kbps == 0 {
            return Some(now);
        }
        while self.queue.front().is_some_and(|departs| *departs <= now) {
            self.queue.pop_front();
        }
        let begins = self.free_at.max(now);
        if begins - now > u64::from(self.spec.queue_ms) * 1000 {
            return None;
        }
        let takes = bytes as u64 * 8 * 1000 / u64::from(self.spec.kbps);
        self.free_at = begins + takes;
        self.queue.push_back(self.free_at);
        Some(self.free_at)
    }

    fn arrival(&mut self, departs: u64) -> u64 {
        let [jitter, late] = std::array::from_fn(|_| self.random.random::<f64>());
        let at = departs + ((self.spec.delay_ms + self.spec.jitter_ms * jitter).max(0.0) * 1000.0) as u64;
        if late * 100.0 < self.spec.reorder_percent {
            return at + 5_000 + (late * 100.0 / self.spec.reorder_percent * 15_000.0) as u64;
        }
        self.last_arrival = self.last_arrival.max(at);
        self.last_arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers `count` datagrams of 1,222 bytes (1,250 on the wire), one each `gap` microseconds; gives arrivals as
    /// (number, time).
    fn run(spec: Link, count: u32, gap: u64) -> (Vec<(u32, u64)>, u64) {
        let mut path = Path::new(spec, 7);
        let start = 1_000_000;
        for n in 0..count {
            let mut data = vec![0; 1222];
            data[..4].copy_from_slice(&n.to_be_bytes());
            path.offer(start + u64::from(n) * gap, &data);
        }
        let mut arrived = Vec::new();
        while let Some((at, data)) = path.take(u64::MAX) {
            arrived.push((u32::from_be_bytes(data[..4].try_into().unwrap()), at - start));
        }
        (arrived, path.dropped)
    }

    #[test]
    fn a_rate_spaces_packets_and_its_queue_is_bounded() {
        // 1,250 bytes at 1 Mbit/s take 10 ms; ten times as many are offered.
        let (arrived, dropped) = run(Link { kbps: 1000, queue_ms: 100, ..Link::default() }, 1000, 1000);
        assert!(arrived.windows(2).all(|pair| pair[1].1 - pair[0].1 == 10_000));
        let waits = arrived.iter().map(|(n, at)| at - u64::from(*n) * 1000).max().unwrap();
        assert!((100_000..=111_000).contains(&waits), "{waits}");
        assert_eq!(arrived.len() as u64 + dropped, 1000);
        assert!((105..=112).contains(&arrived.len()), "{}", arrived.len());
    }

    #[test]
    fn delay_and_jitter_keep_the_order_and_their_bounds() {
        let (arrived, dropped) = run(Link { delay_ms: 40.0, jitter_ms: 20.0, ..Link::default() }, 1000, 100);
        assert_eq!((arrived.len(), dropped), (1000, 0));
        assert!(arrived.is_sorted());
        assert!(arrived.iter().all(|(n, at)| (40_000..=60_000).contains(&(at - u64::from(*n) * 100))));
    }

    #[test]
    fn random_and_burst_losses_are_as_many_as_asked_for() {
        let (arrived, _) = run(Link { loss_percent: 5.0, ..Link::default() }, 8000, 10);
        assert!((7500..7700).contains(&arrived.len()), "{}", arrived.len());
        // Bursts of 10 on average after 1 % of packets: 1 / (1 + 10) of the packets, roughly 9 %, in runs.
        let (arrived, _) = run(Link { burst_percent: 1.0, burst_packets: 10.0, ..Link::default() }, 8000, 10);
        let lost = 8000 - arrived.len();
        assert!((400..1100).contains(&lost), "{lost}");
        let gaps = arrived.windows(2).filter(|pair| pair[1].0 != pair[0].0 + 1).count();
        assert!((5.0..16.0).contains(&(lost as f64 / gaps as f64)), "{lost} in {gaps}");
    }

    #[test]
    fn reordered_packets_come_late_and_all_others_in_order() {
        let (arrived, _) = run(Link { reorder_percent: 10.0, ..Link::default() }, 5000, 1000);
        let late = arrived.iter().filter(|(n, at)| at - u64::from(*n) * 1000 >= 5_000).count();
        assert!((400..600).contains(&late), "{late}");
        assert!(arrived.windows(2).any(|pair| pair[1].0 < pair[0].0));
    }

    #[test]
    fn a_freeze_loses_what_comes_in_its_time() {
        let (arrived, dropped) = run(Link { freeze_every_s: 2.0, freeze_ms: 500, ..Link::default() }, 4000, 1000);
        assert_eq!(dropped, 1000);
        assert!(arrived.iter().all(|(n, _)| n % 2000 < 1500));
    }
}
