//! Losses of one stream, by its sequence numbers.

/// How far back a packet may come late and still be told from one that came before.
const WINDOW: u64 = 2048;

/// What a packet is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It had not come before.
    New,
    /// It came before, or is too old to tell.
    Duplicate,
}

/// Which of the last packets have come.
#[derive(Debug, Clone)]
pub struct LossMeter {
    highest: Option<u64>,
    first: u64,
    /// A bit for each of the last [`WINDOW`] numbers, at its place modulo the window.
    came: [u64; (WINDOW / 64) as usize],
    /// Packets that the sequence numbers promise.
    pub expected: u64,
    /// Those that did not come by themselves.
    pub missing: u64,
    /// Of those: resent.
    pub repaired: u64,
}

impl Default for LossMeter {
    fn default() -> Self {
        Self { highest: None, first: 0, came: [0; (WINDOW / 64) as usize], expected: 0, missing: 0, repaired: 0 }
    }
}

impl LossMeter {
    /// Takes the number of a packet, without wrap-around; `resent`: it came because it was asked for again.
    pub fn packet(&mut self, sequence: u64, resent: bool) -> Arrival {
        let Some(highest) = self.highest else {
            if !resent {
                self.highest = Some(sequence);
                self.first = sequence;
                self.expected = 1;
                self.set(sequence, true);
            }
            return Arrival::New;
        };
        if sequence > highest {
            // A resent packet is older than what is known to be missing; one that is newer brought the news itself.
            let gap = sequence - highest;
            for number in (highest + 1..sequence).rev().take(WINDOW as usize) {
                self.set(number, false);
            }
            self.set(sequence, true);
            self.highest = Some(sequence);
            self.expected += gap;
            self.missing += gap - 1 + u64::from(resent);
            self.repaired += u64::from(resent);
            return Arrival::New;
        }
        if sequence < self.first || highest - sequence >= WINDOW || self.has(sequence) {
            return Arrival::Duplicate;
        }
        self.set(sequence, true);
        if resent {
            self.repaired += 1;
        } else {
            self.missing = self.missing.saturating_sub(1);
        }
        Arrival::New
    }

    fn set(&mut self, sequence: u64, came: bool) {
        let (word, bit) = Self::place(sequence);
        self.came[word] = self.came[word] & !bit | if came { bit } else { 0 };
    }

    fn has(&self, sequence: u64) -> bool {
        let (word, bit) = Self::place(sequence);
        self.came[word] & bit != 0
    }

    fn place(sequence: u64) -> (usize, u64) {
        let at = sequence % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(meter: &LossMeter) -> (u64, u64, u64) {
        (meter.expected, meter.missing, meter.repaired)
    }

    #[test]
    fn losses_repairs_late_packets_and_duplicates_are_told_apart() {
        let mut meter = LossMeter::default();
        for sequence in [70_000, 70_001, 70_005] {
            assert_eq!(meter.packet(sequence, false), Arrival::New);
        }
        assert_eq!(counts(&meter), (6, 3, 0));
        assert_eq!(meter.packet(70_002, true), Arrival::New);
        assert_eq!(meter.packet(70_003, false), Arrival::New);
        assert_eq!(counts(&meter), (6, 2, 1));
        for again in [70_002, 70_003, 70_005] {
            assert_eq!(meter.packet(again, true), Arrival::Duplicate);
        }
        assert_eq!(meter.packet(69_999, false), Arrival::Duplicate);
        assert_eq!(counts(&meter), (6, 2, 1));
    }

    #[test]
    fn every_fiftieth_packet_lost_is_two_percent() {
        let mut meter = LossMeter::default();
        (0..100_001).filter(|n| n % 50 != 7).for_each(|n| _ = meter.packet(n, false));
        assert_eq!(counts(&meter), (100_001, 2000, 0));
    }

    #[test]
    fn a_gap_larger_than_the_window_is_counted_whole() {
        let mut meter = LossMeter::default();
        meter.packet(10, false);
        meter.packet(10_010, false);
        assert_eq!(counts(&meter), (10_001, 9_999, 0));
        assert_eq!(meter.packet(20, false), Arrival::Duplicate);
        assert_eq!(meter.packet(10_000, false), Arrival::New);
    }
}
