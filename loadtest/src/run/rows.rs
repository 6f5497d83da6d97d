//! The rows of a run: a bounded number, however long it takes.

use crate::results::Row;

/// The most rows kept: two hours of seconds. Longer runs have longer rows.
const MOST: usize = 7200;

/// Rows of equal length; twice as long whenever there are too many.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<Row>,
    pending: Option<Row>,
    /// How many rows of a second make one that is kept.
    step: u32,
    gathered: u32,
}

impl Default for Rows {
    fn default() -> Self {
        Self { rows: Vec::new(), pending: None, step: 1, gathered: 0 }
    }
}

impl Rows {
    pub(super) fn push(&mut self, row: Row) {
        self.pending = Some(match self.pending.take() {
            Some(before) => merged(&before, &row),
            None => row,
        });
        self.gathered += 1;
        if self.gathered < self.step {
            return;
        }
        self.gathered = 0;
        self.rows.extend(self.pending.take());
        if self.rows.len() >= MOST {
            self.rows =
                self.rows.chunks(2).map(|pair| pair.iter().skip(1).fold(pair[0], |a, b| merged(&a, b))).collect();
            self.step *= 2;
        }
    }

    pub(super) fn into_rows(mut self) -> Vec<Row> {
        self.rows.extend(self.pending.take());
        self.rows
    }
}

/// Two rows that follow each other as one: counts add up, states are the last, worst cases the worse.
fn merged(a: &Row, b: &Row) -> Row {
    let span = a.span_s + b.span_s;
    let mean = |x: f64, y: f64| if span > 0.0 { (x * a.span_s + y * b.span_s) / span } else { y };
    Row {
        at_s: b.at_s,
        span_s: span,
        participants: b.participants,
        joined: a.joined + b.joined,
        failed: a.failed + b.failed,
        rtp_sent: a.rtp_sent + b.rtp_sent,
        rtp_received: a.rtp_received + b.rtp_received,
        bytes_sent: a.bytes_sent + b.bytes_sent,
        bytes_received: a.bytes_received + b.bytes_received,
        missing: a.missing + b.missing,
        frames: a.frames + b.frames,
        streams: b.streams,
        freezes: a.freezes + b.freezes,
        frozen_s: a.frozen_s + b.frozen_s,
        plis: a.plis + b.plis,
        nacks: a.nacks + b.nacks,
        switches: a.switches + b.switches,
        latency_p50_ms: mean(a.latency_p50_ms, b.latency_p50_ms),
        latency_p99_ms: a.latency_p99_ms.max(b.latency_p99_ms),
        tester_cores: mean(a.tester_cores, b.tester_cores),
        tester_lag_ms: a.tester_lag_ms.max(b.tester_lag_ms),
        server_cores: a.server_cores.zip(b.server_cores).map(|(a, b)| mean(a, b)).or(b.server_cores),
        server_memory: a.server_memory.max(b.server_memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_thirty_hours_keeps_all_counts_in_few_rows() {
        let mut rows = Rows::default();
        let seconds = 30 * 3600;
        for n in 1..=seconds {
            rows.push(Row { at_s: f64::from(n), span_s: 1.0, frames: 30, latency_p99_ms: 5.0, ..Row::default() });
        }
        let rows = rows.into_rows();
        assert!((MOST / 2..=MOST).contains(&rows.len()), "{}", rows.len());
        assert_eq!(rows.iter().map(|row| row.frames).sum::<u64>(), 30 * seconds as u64);
        assert_eq!(rows.iter().map(|row| row.span_s).sum::<f64>(), f64::from(seconds));
        assert_eq!(rows.last().unwrap().at_s, f64::from(seconds));
        let spans: Vec<f64> = rows.iter().map(|row| row.span_s).collect();
        assert!(spans[..spans.len() - 1].iter().all(|span| *span == spans[0]));
    }
}
