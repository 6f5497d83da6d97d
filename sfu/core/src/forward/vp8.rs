//! VP8 payload descriptors of one subscription (RFC 7741, section 4.2): picture id, TL0PICIDX and KEYIDX count on over
//! switches, each in its own width.
//!
//! The picture ids of a dropped temporal layer are closed up: a receiver holds a frame of a higher temporal layer back
//! while it takes a picture id before it for missing. A picture that was lost keeps its number.

pub use super::codec::vp8::Vp8Descriptor;
use super::counter::Counter;
use super::epoch::Epoch;
use super::sequence::Mapped;

const LONG_PICTURE_ID: u32 = 15;
const SHORT_PICTURE_ID: u32 = 7;
const TL0_PIC_IDX: u32 = 8;
const KEY_IDX: u32 = 5;

/// What a packet's descriptor shall say: of each field that it has, the value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vp8Fields {
    /// Picture id, in the width that the descriptor has.
    pub picture_id: Option<u16>,
    /// TL0PICIDX.
    pub tl0_pic_idx: Option<u8>,
    /// KEYIDX, 5 bits.
    pub key_idx: Option<u8>,
}

impl Vp8Fields {
    /// What a descriptor says already.
    pub fn of(descriptor: &Vp8Descriptor) -> Self {
        Self {
            picture_id: descriptor.picture_id.map(|id| id.value),
            tl0_pic_idx: descriptor.tl0_pic_idx.map(|field| field.value),
            key_idx: descriptor.key_idx.map(|field| field.value),
        }
    }

    /// Writes these fields into `payload`, whose descriptor is `descriptor`. The length stays.
    pub fn apply(&self, descriptor: &Vp8Descriptor, payload: &mut [u8]) {
        let mut put = |offset: usize, byte: u8| payload.get_mut(offset).into_iter().for_each(|place| *place = byte);
        if let (Some(id), Some(value)) = (descriptor.picture_id, self.picture_id) {
            let [high, low] = value.to_be_bytes();
            if id.long {
                put(id.offset, high | 0x80);
                put(id.offset + 1, low);
            } else {
                put(id.offset, low & 0x7f);
            }
        }
        if let (Some(field), Some(value)) = (descriptor.tl0_pic_idx, self.tl0_pic_idx) {
            put(field.offset, value);
        }
        if let (Some(field), Some(value)) = (descriptor.key_idx, self.key_idx) {
            // The upper bits are TID and Y.
            let kept = payload.get(field.offset).copied().unwrap_or(0) & 0xe0;
            payload.get_mut(field.offset).into_iter().for_each(|place| *place = kept | value & 0x1f);
        }
    }

    /// The same as str0m's patch of `payload`, written while the packet is serialised. None if the payload does not
    /// have these fields in these widths.
    pub fn patch(&self, payload: &[u8]) -> Option<str0m::rtp::Vp8Patch> {
        let mut patch = str0m::rtp::Vp8Descriptor::parse(payload).ok()?.patch();
        if let Some(picture_id) = self.picture_id {
            patch = patch.picture_id(picture_id);
        }
        if let Some(tl0_pic_idx) = self.tl0_pic_idx {
            patch = patch.tl0_pic_idx(tl0_pic_idx);
        }
        if let Some(key_idx) = self.key_idx {
            patch = patch.key_idx(key_idx);
        }
        patch.build().ok()
    }
}

/// Rewrites the counters of one subscription's VP8 packets.
///
/// The first epoch passes through as it is. A source may have any of the fields, or none.
#[derive(Debug, Clone)]
pub struct Vp8Rewriter {
    picture_id: Counter,
    tl0_pic_idx: Counter,
    key_idx: Counter,
}

impl Default for Vp8Rewriter {
    fn default() -> Self {
        Self::new()
    }
}

impl Vp8Rewriter {
    /// A rewriter that has sent nothing.
    pub const fn new() -> Self {
        Self { picture_id: Counter::new(), tl0_pic_idx: Counter::new(), key_idx: Counter::new() }
    }

    /// Opens `epoch`, whose first packet, the start of a keyframe, has the descriptor `first`.
    pub fn switch(&mut self, epoch: Epoch, first: &Vp8Descriptor) {
        let first = Vp8Fields::of(first);
        self.picture_id.switch(epoch, first.picture_id);
        self.tl0_pic_idx.switch(epoch, first.tl0_pic_idx.map(u16::from));
        self.key_idx.switch(epoch, first.key_idx.map(u16::from));
    }

    /// The picture of a packet with `descriptor` is dropped; say so for every packet of it.
    pub fn drop(&mut self, epoch: Epoch, descriptor: &Vp8Descriptor) {
        if let Some(id) = descriptor.picture_id {
            self.picture_id.leave_out(epoch, id.value, if id.long { LONG_PICTURE_ID } else { SHORT_PICTURE_ID });
        }
    }

    /// What the descriptor of `packet` shall say. None: its epoch is unknown or forgotten, and it is not to be sent.
    pub fn rewrite(&mut self, packet: Mapped, descriptor: &Vp8Descriptor) -> Option<Vp8Fields> {
        let byte =
            |counter: &mut Counter, value: u8, bits| counter.rewrite(packet, value.into(), bits).map(|v| v as u8);
        let mut out = Vp8Fields::default();
        if let Some(id) = descriptor.picture_id {
            let bits = if id.long { LONG_PICTURE_ID } else { SHORT_PICTURE_ID };
            out.picture_id = Some(self.picture_id.rewrite(packet, id.value, bits)?);
        }
        if let Some(field) = descriptor.tl0_pic_idx {
            out.tl0_pic_idx = Some(byte(&mut self.tl0_pic_idx, field.value, TL0_PIC_IDX)?);
        }
        if let Some(field) = descriptor.key_idx {
            out.key_idx = Some(byte(&mut self.key_idx, field.value, KEY_IDX)?);
        }
        Some(out)
    }
}

#[cfg(test)]
#[path = "vp8_tests.rs"]
mod tests;
