//! What happened in a run, as two hashes: a replay of the same seed must give the same.

use super::Time;

/// The events of a run so far.
#[derive(Debug, Default)]
pub struct Trace {
    /// Hash over every datagram that arrived: when, whose, which way, how long.
    pub packets: Hash,
    /// Hash over every notice and estimate: when, whose, what.
    pub events: Hash,
    /// The events in words, if they are kept.
    pub lines: Option<Vec<String>>,
}

impl Trace {
    /// A datagram arrived.
    pub fn packet(&mut self, at: Time, client: usize, up: bool, bytes: usize) {
        self.packets.add(&(at.as_nanos() as u64).to_be_bytes());
        self.packets.add(&[u8::from(up), client as u8, bytes as u8, (bytes >> 8) as u8]);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at:?} {client} {} {bytes}", if up { "up" } else { "down" }));
        }
    }

    /// The server said something.
    pub fn event(&mut self, at: Time, client: usize, text: &str) {
        self.events.add(&(at.as_micros() as u64).to_be_bytes());
        self.events.add(&[client as u8]);
        self.events.add(text.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at:?} {client} {text}"));
        }
    }
}

/// FNV-1a with 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
