//! Numbers for people.

/// Milliseconds, with the digits that matter: `0.042 ms`, `0.42 ms`, `4.8 ms`, `180 ms`, `1.24 s`.
pub(super) fn ms(value: f64) -> String {
    match value {
        v if v < 0.095 => format!("{v:.3} ms"),
        v if v < 1.0 => format!("{v:.2} ms"),
        v if v < 100.0 => format!("{v:.1} ms"),
        v if v < 1_000.0 => format!("{v:.0} ms"),
        v => seconds(v / 1_000.0),
    }
}

/// Seconds: `1.24 s`, `42 s`, `3 min 05 s`, `2 h 07 min`.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2} s"),
        v if v < 99.5 => format!("{v:.0} s"),
        v if v < 5_999.5 => format!("{} min {:02} s", v.round() as u64 / 60, v.round() as u64 % 60),
        v => format!("{} h {:02} min", v as u64 / 3_600, v as u64 % 3_600 / 60),
    }
}

/// Bits a second: `32 kbit/s`, `1.7 Mbit/s`.
pub(super) fn bps(value: f64) -> String {
    match value {
        v if v < 999_500.0 => format!("{:.0} kbit/s", v / 1e3),
        v if v < 99.95e6 => format!("{:.1} Mbit/s", v / 1e6),
        v if v < 999.5e6 => format!("{:.0} Mbit/s", v / 1e6),
        v => format!("{:.2} Gbit/s", v / 1e9),
    }
}

/// Bytes, by powers of ten: `840 kB`, `1.2 MB`, `3.1 GB`.
pub(super) fn bytes(value: u64) -> String {
    match value as f64 {
        v if v < 999_500.0 => format!("{:.0} kB", v / 1e3),
        v if v < 99.95e6 => format!("{:.1} MB", v / 1e6),
        v if v < 999.5e6 => format!("{:.0} MB", v / 1e6),
        v => format!("{:.2} GB", v / 1e9),
    }
}

/// Percent: `0 %`, `0.02 %`, `3.4 %`, `98 %`. What is not quite nothing, or not quite all, does not look so.
pub(super) fn percent(value: f64) -> String {
    match value {
        0.0 => "0 %".to_owned(),
        v if v < 0.01 => "<0.01 %".to_owned(),
        v if v < 1.0 => format!("{v:.2} %"),
        v if v < 99.95 => format!("{v:.1} %"),
        v if v < 100.0 => ">99.9 %".to_owned(),
        v => format!("{v:.0} %"),
    }
}

/// A whole number with its thousands apart: `53,920`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 stream`, `2 streams`.
pub(super) fn plural(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// Processor cores: `0.82 cores`.
pub(super) fn cores(value: f64) -> String {
    format!("{value:.2} {}", if value == 1.0 { "core" } else { "cores" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_fit_the_size() {
        assert_eq!([ms(0.0421), ms(0.0)], ["0.042 ms", "0.000 ms"]);
        assert_eq!([ms(0.421), ms(4.84), ms(180.4), ms(1_240.0)], ["0.42 ms", "4.8 ms", "180 ms", "1.24 s"]);
        assert_eq!([seconds(42.4), seconds(185.0), seconds(7_640.0)], ["42 s", "3 min 05 s", "2 h 07 min"]);
        assert_eq!([bps(32_000.0), bps(1.7e6), bps(2.5e9)], ["32 kbit/s", "1.7 Mbit/s", "2.50 Gbit/s"]);
        assert_eq!([bytes(840_000), bytes(1_200_000), bytes(3_100_000_000)], ["840 kB", "1.2 MB", "3.10 GB"]);
        assert_eq!([count(0), count(999), count(53_920), count(1_000_000)], ["0", "999", "53,920", "1,000,000"]);
    }

    #[test]
    fn almost_nothing_and_almost_all_do_not_look_like_it() {
        assert_eq!(
            [percent(0.0), percent(0.001), percent(99.99), percent(100.0)],
            ["0 %", "<0.01 %", ">99.9 %", "100 %"]
        );
    }
}
