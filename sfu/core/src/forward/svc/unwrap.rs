//! Counters that wrap, as counters that do not.

/// Where counting begins: far enough up that late values before the first stay positive.
const BASE: u64 = 1 << 40;

/// Counts on where a counter wraps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unwrap {
    newest: Option<u64>,
}

impl Unwrap {
    /// The number that `value`, of `bits` bits, stands for: up to `late` behind the newest, else ahead of it. So a
    /// source that starts anew anywhere goes forward, as what comes after does.
    pub(super) fn take(&mut self, value: u32, bits: u32, late: u64) -> u64 {
        let period = 1_u64 << bits;
        let Some(newest) = self.newest else {
            let first = BASE | u64::from(value);
            self.newest = Some(first);
            return first;
        };
        let ahead = u64::from(value).wrapping_sub(newest) & (period - 1);
        let behind = (period - ahead) & (period - 1);
        if behind <= late.min(period / 2) {
            return newest - behind;
        }
        self.newest = Some(newest + ahead);
        newest + ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_goes_on_over_its_wrap_and_late_values_find_their_place() {
        let mut unwrap = Unwrap::default();
        let first = unwrap.take(0x7fff, 15, 1024);
        assert_eq!(unwrap.take(1, 15, 1024), first + 2);
        assert_eq!(unwrap.take(0, 15, 1024), first + 1);
        assert_eq!(unwrap.take(0x7ffe, 15, 1024), first - 1);
        assert_eq!(unwrap.take(2, 15, 1024), first + 3);
    }

    #[test]
    fn a_counter_that_starts_anew_goes_forward() {
        let mut unwrap = Unwrap::default();
        let first = unwrap.take(5000, 15, 1024);
        assert!(unwrap.take(100, 15, 1024) > first);
    }
}
