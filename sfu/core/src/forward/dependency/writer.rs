//! Descriptors as one subscriber gets them.

use super::super::bits::BitWriter;
use super::{Custom, Descriptor};

/// The longest extension: its length is one byte (RFC 8285, section 4.3).
pub const MAX_LEN: usize = 255;

/// What a packet's descriptor shall say instead of what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite {
    /// The frame number.
    pub frame_number: u16,
    /// The decode targets that the subscriber gets, to be told with this packet. None: nothing is told, or, where the
    /// packet brings a structure, all are.
    pub active_targets: Option<u32>,
    /// The structure is told too.
    pub attach: bool,
}

impl Rewrite {
    /// What a descriptor says already.
    pub fn of(descriptor: &Descriptor) -> Self {
        Self {
            frame_number: descriptor.frame_number,
            active_targets: descriptor.tells_active.then_some(descriptor.active_targets),
            attach: descriptor.attached,
        }
    }
}

impl Descriptor {
    /// Writes the descriptor with `rewrite`; gives its length. None if it does not fit into `out`.
    pub fn write(&self, rewrite: Rewrite, out: &mut [u8]) -> Option<usize> {
        let Rewrite { frame_number, active_targets, attach } = rewrite;
        let mut bits = BitWriter::new(out);
        bits.flag(self.start_of_frame)?;
        bits.flag(self.end_of_frame)?;
        bits.number(self.template_id.into(), 6)?;
        bits.number(frame_number.into(), 16)?;
        let Custom { indications, diffs, chains } = self.custom;
        if !attach && active_targets.is_none() && self.custom == Custom::default() {
            return Some(bits.len());
        }
        for flag in [attach, active_targets.is_some(), indications, diffs, chains] {
            bits.flag(flag)?;
        }
        if attach {
            self.structure.write(&mut bits)?;
        }
        if let Some(targets) = active_targets {
            bits.number(targets, self.structure.decode_targets() as u32)?;
        }
        self.structure.write_frame(&self.dependencies, self.custom, &mut bits)?;
        Some(bits.len())
    }
}
