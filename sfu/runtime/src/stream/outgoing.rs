//! What waits to be written to one connection. A peer that takes less than it is sent loses old video first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// From here on video goes, the oldest first. At 2 Mbps this is a second.
const ENOUGH: usize = 256 << 10;
/// From here on the connection does. Sound and control never come to so much while the peer takes anything.
const TOO_MUCH: usize = 2 * ENOUGH;
/// Video that has waited this long is shown by nobody in time.
const PATIENCE: Duration = Duration::from_millis(800);

/// One packet on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// It may be lost when there is too much; all else may not.
    pub(crate) video: bool,
    pub(crate) data: Vec<u8>,
}

/// The peer takes nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stuck;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    packets: VecDeque<(Instant, Packet)>,
    bytes: usize,
    dropped: u64,
}

impl Outgoing {
    /// Puts a packet at the end, and takes old video out if there is too much.
    pub(crate) fn push(&mut self, now: Instant, packet: Packet) -> Result<(), Stuck> {
        self.bytes += packet.data.len();
        self.packets.push_back((now, packet));
        while self.bytes > ENOUGH {
            let Some(oldest) = self.packets.iter().position(|(_, packet)| packet.video) else { break };
            self.drop_at(oldest);
        }
        if self.bytes > TOO_MUCH { Err(Stuck) } else { Ok(()) }
    }

    fn drop_at(&mut self, index: usize) {
        if let Some((_, packet)) = self.packets.remove(index) {
            self.bytes -= packet.data.len();
            self.dropped += 1;
        }
    }

    /// The next packet worth sending.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Packet> {
        loop {
            let (since, packet) = self.packets.pop_front()?;
            self.bytes -= packet.data.len();
            if !packet.video || now.saturating_duration_since(since) < PATIENCE {
                return Some(packet);
            }
            self.dropped += 1;
        }
    }

    /// How many packets were given up since this was asked last.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(video: bool, tag: u8, size: usize) -> Packet {
        Packet { video, data: vec![tag; size] }
    }

    #[test]
    fn old_video_goes_before_anything_else() {
        let (mut out, now) = (Outgoing::default(), Instant::now());
        out.push(now, packet(false, 1, 1000)).expect("room");
        out.push(now, packet(true, 2, ENOUGH - 2000)).expect("room");
        out.push(now, packet(true, 3, 1000)).expect("room");
        out.push(now, packet(false, 4, 1000)).expect("room");
        out.push(now, packet(true, 5, 1000)).expect("room");
        let left: Vec<_> = std::iter::from_fn(|| out.pop(now)).map(|packet| packet.data[0]).collect();
        assert_eq!(left, [1, 3, 4, 5]);
        assert_eq!((out.take_dropped(), out.take_dropped()), (1, 0));
        assert_eq!(out.bytes, 0);
    }

    #[test]
    fn video_that_waited_too_long_is_not_sent() {
        let (mut out, now) = (Outgoing::default(), Instant::now());
        [packet(true, 1, 10), packet(false, 2, 10)].into_iter().for_each(|p| out.push(now, p).expect("room"));
        out.push(now + PATIENCE, packet(true, 3, 10)).expect("room");
        let left: Vec<_> = std::iter::from_fn(|| out.pop(now + PATIENCE)).map(|packet| packet.data[0]).collect();
        assert_eq!(left, [2, 3]);
        assert_eq!(out.take_dropped(), 1);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut out, now) = (Outgoing::default(), Instant::now());
        for _ in 0..10_000 {
            out.push(now, packet(true, 1, 1200)).expect("video alone never fills it");
            assert!(out.bytes <= ENOUGH);
        }
        let stuck = (0..10_000).find(|_| out.push(now, packet(false, 1, 1200)).is_err()).expect("a bound");
        assert!(stuck * 1200 >= TOO_MUCH - ENOUGH && out.bytes < TOO_MUCH + 1201, "{stuck}");
    }
}
