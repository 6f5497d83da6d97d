//! VP9 payload descriptors of one subscription (RFC 9628, section 4.2): picture id and TL0PICIDX count on over
//! switches. References (P_DIFF) are distances and stay right.

pub use super::codec::vp9::Vp9Descriptor;
use super::counter::Counter;
use super::epoch::Epoch;
use super::sequence::Mapped;

const LONG_PICTURE_ID: u32 = 15;
const SHORT_PICTURE_ID: u32 = 7;
const TL0_PIC_IDX: u32 = 8;

/// What a packet's descriptor shall say: of each field that it has, the value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vp9Fields {
    /// Picture id, in the width that the descriptor has.
    pub picture_id: Option<u16>,
    /// TL0PICIDX.
    pub tl0_pic_idx: Option<u8>,
}

impl Vp9Fields {
    /// What a descriptor says already.
    pub fn of(descriptor: &Vp9Descriptor) -> Self {
        Self {
            picture_id: descriptor.picture_id.map(|id| id.value),
            tl0_pic_idx: descriptor.tl0_pic_idx.map(|field| field.value),
        }
    }

    /// Writes the fields into `payload`, whose descriptor is `descriptor`. The length stays.
    pub fn apply(&self, descriptor: &Vp9Descriptor, payload: &mut [u8]) {
        if let (Some(id), Some(value)) = (descriptor.picture_id, self.picture_id) {
            let [high, low] = value.to_be_bytes();
            let bytes: &[u8] = if id.long { &[high | 0x80, low] } else { &[low & 0x7f] };
            if let Some(place) = payload.get_mut(id.offset..id.offset + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        if let (Some(field), Some(value)) = (descriptor.tl0_pic_idx, self.tl0_pic_idx)
            && let Some(place) = payload.get_mut(field.offset)
        {
            *place = value;
        }
    }

    /// A copy of `payload` with these fields; none if it says the same already. Allocates the copy.
    pub fn rewrite_payload(&self, descriptor: &Vp9Descriptor, payload: &[u8]) -> Option<Vec<u8>> {
        if *self == Self::of(descriptor) {
            return None;
        }
        let mut copy = payload.to_vec();
        self.apply(descriptor, &mut copy);
        Some(copy)
    }
}

/// Rewrites the counters of one subscription's VP9 packets.
///
/// The first epoch passes through as it is. A source may have either field, or none.
#[derive(Debug, Clone)]
pub struct Vp9Rewriter {
    picture_id: Counter,
    tl0_pic_idx: Counter,
}

impl Default for Vp9Rewriter {
    fn default() -> Self {
        Self::new()
    }
}

impl Vp9Rewriter {
    /// A rewriter that has sent nothing.
    pub const fn new() -> Self {
        Self { picture_id: Counter::new(), tl0_pic_idx: Counter::new() }
    }

    /// Opens `epoch`, whose first packet, the start of a keyframe, has the descriptor `first`.
    pub fn switch(&mut self, epoch: Epoch, first: &Vp9Descriptor) {
        let first = Vp9Fields::of(first);
        self.picture_id.switch(epoch, first.picture_id);
        self.tl0_pic_idx.switch(epoch, first.tl0_pic_idx.map(u16::from));
    }

    /// What the descriptor of `packet` shall say. None: its epoch is unknown or forgotten, and it is not to be sent.
    pub fn rewrite(&mut self, packet: Mapped, descriptor: &Vp9Descriptor) -> Option<Vp9Fields> {
        let mut out = Vp9Fields::default();
        if let Some(id) = descriptor.picture_id {
            let bits = if id.long { LONG_PICTURE_ID } else { SHORT_PICTURE_ID };
            out.picture_id = Some(self.picture_id.rewrite(packet, id.value, bits)?);
        }
        if let Some(field) = descriptor.tl0_pic_idx {
            let value = self.tl0_pic_idx.rewrite(packet, field.value.into(), TL0_PIC_IDX)?;
            out.tl0_pic_idx = Some(value as u8);
        }
        Some(out)
    }
}

#[cfg(test)]
#[path = "vp9_tests.rs"]
mod tests;
