//! A reader and a writer of single bits, most significant first.

/// Reads bits from a slice; every read is checked against its end.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// Position in bits.
    at: usize,
    /// Leave out H264's emulation prevention bytes.
    escaped: bool,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, escaped: false }
    }

    /// Of a NAL unit: the third byte of 00 00 03 is left out (ITU-T H.264, section 7.4.1.1).
    pub(super) const fn of_nal_unit(data: &'a [u8]) -> Self {
        Self { data, at: 0, escaped: true }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.at / 8;
        if self.escaped && self.at.is_multiple_of(8) && byte >= 2 && self.data.get(byte - 2..=byte) == Some(&[0, 0, 3])
        {
            self.at += 8;
        }
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `count` bits, at most 32, as a number.
    pub(super) fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count {
            self.flag()?;
        }
        Some(())
    }

    /// A number below `count`, in as few bits as that allows: ns(n) of AV1 (specification, section 4.10.7).
    pub(super) fn non_symmetric(&mut self, count: u32) -> Option<u32> {
        let (width, short) = non_symmetric_width(count);
        let value = self.number(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + u32::from(self.flag()?))
    }

    /// An unsigned Exp-Golomb code: ue(v) of H264, uvlc() of AV1.
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.number(zeros)?)
    }

    /// A signed Exp-Golomb code, se(v) of H264.
    pub(super) fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

/// Writes bits into a slice; every write is checked against its end.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    pub(super) fn flag(&mut self, bit: bool) -> Option<()> {
        let byte = self.out.get_mut(self.at / 8)?;
        if self.at.is_multiple_of(8) {
            *byte = 0;
        }
        *byte |= u8::from(bit) << (7 - self.at % 8);
        self.at += 1;
        Some(())
    }

    /// The lowest `count` bits of `value`, at most 32.
    pub(super) fn number(&mut self, value: u32, count: u32) -> Option<()> {
        for bit in (0..count).rev() {
            self.flag(value >> bit & 1 == 1)?;
        }
        Some(())
    }

    /// `value`, which is below `count`, as ns(n) of AV1.
    pub(super) fn non_symmetric(&mut self, value: u32, count: u32) -> Option<()> {
        let (width, short) = non_symmetric_width(count);
        if value < short {
            return self.number(value, width - 1);
        }
        self.number(value + short, width)
    }

    /// How many bytes have been begun.
    pub(super) const fn len(&self) -> usize {
        self.at.div_ceil(8)
    }
}

/// Of ns(count): the bits of the longer codes, and how many codes are one shorter. `count` is at least 1.
const fn non_symmetric_width(count: u32) -> (u32, u32) {
    let width = u32::BITS - count.leading_zeros();
    (width, (1 << width) - count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_symmetric_codes_read_as_in_the_specification() {
        // ns(5): 00, 01, 10, 110, 111.
        let mut bits = Bits::new(&[0b0001_1011, 0b0111_0000]);
        let read: Vec<_> = (0..5).filter_map(|_| bits.non_symmetric(5)).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        assert_eq!(Bits::new(&[]).non_symmetric(1), Some(0), "no choice, no bits");

        let mut out = [0xff; 2];
        let mut writer = BitWriter::new(&mut out);
        (0..5).for_each(|value| writer.non_symmetric(value, 5).expect("room"));
        assert_eq!((writer.len(), out), (2, [0b0001_1011, 0b0111_0000]));
    }

    #[test]
    fn a_writer_ends_with_its_slice() {
        let mut out = [0xff; 1];
        let mut writer = BitWriter::new(&mut out);
        assert_eq!(writer.number(0x15, 5), Some(()));
        assert_eq!(writer.number(0x15, 5), None);
    }

    #[test]
    fn exp_golomb_codes_read_as_in_the_standard() {
        // 1, 010, 011, 00100, 00101 and padding.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<_> = (0..5).filter_map(|_| bits.exp_golomb()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);

        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<_> = (0..5).filter_map(|_| bits.signed_exp_golomb()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn emulation_prevention_bytes_are_left_out_of_nal_units() {
        let data = [0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 2];
        let mut bits = Bits::of_nal_unit(&data);
        let read: Vec<_> = (0..8).filter_map(|_| bits.number(8)).collect();
        assert_eq!(read, [0, 0, 1, 0, 0, 0, 0, 2]);
        assert_eq!(bits.number(1), None);
    }

    #[test]
    fn an_endless_exp_golomb_code_is_refused() {
        assert_eq!(Bits::new(&[0; 16]).exp_golomb(), None, "no end");
        assert_eq!(Bits::new(&[0, 0, 0, 0, 0x80, 0, 0, 0, 0]).exp_golomb(), None, "33 bits");
        assert_eq!(Bits::new(&[0, 0, 0, 1, 0, 0, 0, 0]).exp_golomb(), Some(0x7fff_ffff));
    }
}
