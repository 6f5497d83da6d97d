//! One direction of a network path: a rate with a queue before it, then delay, jitter, loss and reordering.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Time;

/// IPv4 and UDP headers, which the wire carries too.
const HEADERS: usize = 28;
/// A handshake datagram takes this much, whatever its length: a DTLS signature is one or two bytes shorter or longer
/// from run to run, and no run shall depend on it.
const HANDSHAKE: usize = 600;

/// Losses that come in bursts: the model of Gilbert and Elliott, a good and a bad state.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// Probability, per packet, of going from good to bad.
    pub enter: f64,
    /// Probability, per packet, of going back.
    pub leave: f64,
    /// Share of packets lost in the bad state, 0 to 1.
    pub loss: f64,
}

/// What a link does to packets.
#[derive(Debug, Clone, Copy)]
pub struct LinkSpec {
    /// Bits per second, IP headers counted; none: no bound.
    pub rate: Option<u64>,
    /// The longest wait in the queue; what would wait longer is dropped at the tail.
    pub queue: Duration,
    /// One way.
    pub delay: Duration,
    /// The most that a packet takes longer than `delay`. Keeps the order.
    pub jitter: Duration,
    /// Share of packets lost at random, 0 to 1.
    pub loss: f64,
    /// Losses in bursts, beside the random ones.
    pub burst: Option<Burst>,
    /// Share of packets, 0 to 1, that arrive 5 to 20 ms late and so out of order.
    pub reorder: f64,
}

impl Default for LinkSpec {
    fn default() -> Self {
        Self {
            rate: None,
            queue: Duration::from_millis(300),
            delay: Duration::from_millis(25),
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            reorder: 0.0,
        }
    }
}

impl LinkSpec {
    /// A link of this many kilobits per second, 25 ms long.
    #[must_use]
    pub fn kbps(rate: u64) -> Self {
        Self { rate: Some(rate * 1000), ..Self::default() }
    }

    /// The same with another one-way delay.
    #[must_use]
    pub fn delay_ms(self, delay: u64) -> Self {
        Self { delay: Duration::from_millis(delay), ..self }
    }

    /// The same with random loss, 0 to 1.
    #[must_use]
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

/// A datagram under way between a client and the server.
#[derive(Debug)]
pub struct Packet {
    /// Whose.
    pub client: usize,
    /// From the client to the server.
    pub up: bool,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Delay of the client's own, beside the link's: receivers at different distances share a bottleneck.
    pub extra: Duration,
}

impl Packet {
    /// The bytes it takes on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        let is_dtls = self.data.first().is_some_and(|first| (20..64).contains(first));
        if is_dtls { HANDSHAKE } else { self.data.len() + HEADERS }
    }
}

/// A packet that left the queue.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// When.
    pub at: Time,
    /// How long it waited for those before it.
    pub wait: Duration,
    /// Its bytes on the wire.
    pub bytes: usize,
    /// To or from whom.
    pub client: usize,
}

/// One direction of a path, in use.
#[derive(Debug)]
pub struct Link {
    /// What it does. Changes hold for packets not yet begun.
    pub spec: LinkSpec,
    /// What passed a bounded link. Empty for one without a rate.
    pub passed: Vec<Passed>,
    /// Packets dropped at the tail of the queue.
    pub overflowed: u64,
    /// The rates in force, each from when.
    pub rates: Vec<(Time, u64)>,
    queue: VecDeque<(Time, Packet)>,
    queued: usize,
    /// When the packet at the head was begun.
    begun: Time,
    in_bad_state: bool,
    last_arrival: Time,
    rng: SmallRng,
}

impl Link {
    /// An empty link.
    #[must_use]
    pub fn new(spec: LinkSpec, seed: u64) -> Self {
        Self {
            spec,
            passed: Vec::new(),
            overflowed: 0,
            rates: spec.rate.map(|rate| (Time::ZERO, rate)).into_iter().collect(),
            queue: VecDeque::new(),
            queued: 0,
            begun: Time::ZERO,
            in_bad_state: false,
            last_arrival: Time::ZERO,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Changes the rate, in bits per second.
    pub fn set_rate(&mut self, now: Time, rate: u64) {
        self.spec.rate = Some(rate);
        self.rates.push((now, rate));
    }

    /// Takes a packet. Without a rate it comes back at once with its time of arrival; with one it is queued or
    /// dropped, and if the link was idle, [`Self::depart`] is due at the time given.
    pub fn offer(&mut self, now: Time, packet: Packet) -> Offered {
        let Some(rate) = self.spec.rate else {
            return self.arrival(now, &packet).map_or(Offered::Nothing, |at| Offered::Arrives(at, packet));
        };
        let waiting = serialization(self.queued, rate);
        if waiting > self.spec.queue {
            self.overflowed += 1;
            return Offered::Nothing;
        }
        let idle = self.queue.is_empty();
        let bytes = packet.wire_len();
        self.queued += bytes;
        self.queue.push_back((now, packet));
        if idle {
            self.begun = now;
        }
        if idle { Offered::Departs(now + serialization(bytes, rate)) } else { Offered::Nothing }
    }

    /// The packet at the head has been sent. Gives its arrival, unless it is lost, and the time of the next departure.
    pub fn depart(&mut self, now: Time) -> (Option<(Time, Packet)>, Option<Time>) {
        let Some((came, packet)) = self.queue.pop_front() else { return (None, None) };
        let bytes = packet.wire_len();
        self.queued -= bytes;
        let wait = self.begun.saturating_sub(came);
        self.passed.push(Passed { at: now, wait, bytes, client: packet.client });
        self.begun = now;
        let rate = self.spec.rate.unwrap_or(u64::MAX);
        let next = self.queue.front().map(|(_, p)| now + serialization(p.wire_len(), rate));
        (self.arrival(now, &packet).map(|at| (at, packet)), next)
    }

    /// When a packet that leaves now arrives; none if it is lost.
    fn arrival(&mut self, now: Time, packet: &Packet) -> Option<Time> {
        // All numbers are drawn for every packet, so that what one packet meets does not hang on what others did.
        let [loss, state, bad, jitter, late] = std::array::from_fn(|_| self.rng.random::<f64>());
        if let Some(burst) = self.spec.burst {
            let turn = if self.in_bad_state { burst.leave } else { burst.enter };
            self.in_bad_state ^= state < turn;
            if self.in_bad_state && bad < burst.loss {
                return None;
            }
        }
        if loss < self.spec.loss {
            return None;
        }
        let at = now + self.spec.delay + self.spec.jitter.mul_f64(jitter);
        if late < self.spec.reorder {
            return Some(at + packet.extra + Duration::from_micros(5_000 + (late / self.spec.reorder * 15e3) as u64));
        }
        self.last_arrival = self.last_arrival.max(at);
        Some(self.last_arrival + packet.extra)
    }
}

/// What became of a packet offered to a link.
#[derive(Debug)]
pub enum Offered {
    /// It is queued behind others, or lost.
    Nothing,
    /// It arrives at this time.
    Arrives(Time, Packet),
    /// The link begins to send it; [`Link::depart`] is due then.
    Departs(Time),
}

fn serialization(bytes: usize, rate: u64) -> Duration {
    Duration::from_nanos((bytes as u64 * 8).saturating_mul(1_000_000_000) / rate.max(1))
}
