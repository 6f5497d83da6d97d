//! A reader of single bits, most significant first.

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

#[cfg(test)]
mod tests {
    use super::*;

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
