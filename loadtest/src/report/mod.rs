//! What people and programs see of a run. Reads [`crate::results`] and nothing else.

use crate::results::{Progress, Results};

/// Shows how far the run is: on standard error, as standard output is for results.
#[derive(Debug, Default)]
pub struct Live {}

impl Live {
    /// On the terminal if there is one, else in plain lines.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Called once a second.
    pub fn show(&mut self, progress: &Progress) {
        let people = &progress.participants;
        if progress.at_s as u64 % 5 == 0 {
            eprintln!(
                "{:>5.0} s of {:.0}  {}: {} in, {} failed, {:.1} Mbit/s received, p99 {:.1} ms",
                progress.at_s,
                progress.of_s,
                progress.phase,
                progress.row.participants,
                people.failed,
                progress.row.bytes_received as f64 * 8e-6 / progress.row.span_s.max(0.1),
                progress.row.latency_p99_ms,
            );
        }
    }

    /// The run is over: leaves the terminal as it was.
    pub fn end(&mut self) {}
}

/// The summary for a terminal.
#[must_use]
pub fn table(results: &Results) -> String {
    format!("{:#?}\n{:#?}\n{:#?}", results.outcome, results.summary, results.health)
}
