//! What a frame or packet says of its own origin.

/// Where to find a mark in a payload: eight bytes that do not occur by chance.
pub const MAGIC: [u8; 8] = *b"\xd7weirmk\x01";

/// The bytes of a mark, magic included.
pub const LEN: usize = 36;

/// Written by the sender, read by the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When it was sent, in microseconds since the epoch by the sender's clock.
    pub sent_us: u64,
    /// Which tester sent it: drawn at its start. Marks of another tester are compared by clocks that may differ.
    pub tester: u32,
    /// Which published track, numbered by the tester.
    pub source: u32,
    /// The number of the frame within its layer; goes on through clips that repeat.
    pub frame: u32,
    /// The layer, counted from the smallest.
    pub layer: u8,
    /// Of a keyframe.
    pub key: bool,
    /// Number of the packet within the frame.
    pub index: u16,
    /// How many packets the frame has.
    pub count: u16,
}

impl Mark {
    /// The bytes: magic, then the fields, big-endian.
    #[must_use]
    pub fn write(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.sent_us.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.tester.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.source.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.frame.to_be_bytes());
        bytes[28] = self.layer;
        bytes[29] = u8::from(self.key);
        bytes[30..32].copy_from_slice(&self.index.to_be_bytes());
        bytes[32..34].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::write`] wrote at the start of `bytes`; none where it is something else or cut short.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LEN)?;
        if bytes[..8] != MAGIC {
            return None;
        }
        let u32_at = |at: usize| bytes[at..at + 4].try_into().map(u32::from_be_bytes).ok();
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            sent_us: bytes[8..16].try_into().map(u64::from_be_bytes).ok()?,
            tester: u32_at(16)?,
            source: u32_at(20)?,
            frame: u32_at(24)?,
            layer: bytes[28],
            key: bytes[29] != 0,
            index: u16_at(30),
            count: u16_at(32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_it_was_written_and_nothing_else_does() {
        let mark = Mark {
            sent_us: 1_790_000_000_123_456,
            tester: 0xdead_beef,
            source: 70_000,
            frame: u32::MAX,
            layer: 2,
            key: true,
            index: 3,
            count: 400,
        };
        let bytes = mark.write();
        assert_eq!(Mark::read(&bytes), Some(mark));
        for cut in 0..LEN {
            assert_eq!(Mark::read(&bytes[..cut]), None);
        }
        let mut foreign = bytes;
        foreign[3] ^= 1;
        assert_eq!(Mark::read(&foreign), None);
    }
}
