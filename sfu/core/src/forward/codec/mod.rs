//! Readers of the RTP payload formats: one module a codec, every access checked against the payload's end.

pub mod av1;
pub mod h264;
pub mod vp8;
pub mod vp9;

/// A picture id of a VP8 or VP9 payload descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// The number, 7 or 15 bits.
    pub value: u16,
    /// True: 15 bits in two bytes. False: 7 bits in one.
    pub long: bool,
    /// Where in the payload its first byte lies.
    pub offset: usize,
}

/// A one-byte field of a payload descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteField {
    /// What it holds.
    pub value: u8,
    /// Where in the payload it lies.
    pub offset: usize,
}

/// Takes bytes off the front of a payload, and knows where it is.
struct Bytes<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    const fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.payload.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn field(&mut self) -> Option<ByteField> {
        let offset = self.at;
        Some(ByteField { value: self.byte()?, offset })
    }

    fn be16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// One byte, or two if the first one's upper bit is set: the same in VP8 and VP9.
    fn picture_id(&mut self) -> Option<PictureId> {
        let offset = self.at;
        let first = self.byte()?;
        let long = first & 0x80 != 0;
        let mut value = u16::from(first & 0x7f);
        if long {
            value = value << 8 | u16::from(self.byte()?);
        }
        Some(PictureId { value, long, offset })
    }
}
