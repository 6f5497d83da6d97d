//! What happened in a run, as two hashes: a replay of the same seed must give the same.

use std::cell::RefCell;

use super::Time;

thread_local! {
    /// The trace of the run that ended last on this thread.
    static FINISHED: RefCell<Option<Finished>> = const { RefCell::new(None) };
    static KEEPS_LINES: RefCell<bool> = const { RefCell::new(false) };
}

/// What is left of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// See [`Trace::packets`].
    pub packets: Hash,
    /// See [`Trace::events`].
    pub events: Hash,
    /// The events in words, if they were kept.
    pub lines: Vec<String>,
}

/// Keeps the events of the runs of this thread in words.
pub fn keep_lines() {
    KEEPS_LINES.set(true);
}

/// The trace of the run that ended last on this thread.
#[must_use]
pub fn finished() -> Finished {
    FINISHED.take().unwrap_or_default()
}

/// The events of a run so far.
#[derive(Debug)]
pub struct Trace {
    /// Hash over every datagram that arrived: when, whose, which way, how long.
    pub packets: Hash,
    /// Hash over every notice and estimate: when, whose, what.
    pub events: Hash,
    /// The events in words, if they are kept.
    pub lines: Option<Vec<String>>,
}

impl Default for Trace {
    fn default() -> Self {
        let lines = KEEPS_LINES.with_borrow(|keeps| keeps.then(Vec::new));
        Self { packets: Hash::default(), events: Hash::default(), lines }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let lines = self.lines.take().unwrap_or_default();
        FINISHED.set(Some(Finished { packets: self.packets, events: self.events, lines }));
    }
}

impl Trace {
    /// A datagram arrived.
    pub fn packet(&mut self, at: Time, client: usize, up: bool, bytes: usize) {
        self.packets.add(&(at.as_nanos() as u64).to_be_bytes());
        self.packets.add(&[u8::from(up), client as u8, bytes as u8, (bytes >> 8) as u8]);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:.6} {client} {} {bytes}", at.as_secs_f64(), if up { "up" } else { "down" }));
        }
    }

    /// The server said something.
    pub fn event(&mut self, at: Time, client: usize, text: &str) {
        self.events.add(&(at.as_micros() as u64).to_be_bytes());
        self.events.add(&[client as u8]);
        self.events.add(text.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:.6} {client} {text}", at.as_secs_f64()));
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
