//! How a run is shown: while it goes on, and when it is over. Reads [`crate::results`] and nothing else.

use crate::results::{OutcomeKind, Results};

mod findings;
mod html;
mod live;
pub mod metrics;
mod plot;
mod require;
#[cfg(test)]
mod sample;
mod style;
mod table;
mod units;

pub use html::page;
pub use live::Live;
pub use require::{Requirement, RequirementError};
pub use table::table;

/// The run as JSON, indented, ending in a newline.
///
/// # Errors
/// None that is known: all fields have a JSON form.
pub fn json(results: &Results) -> serde_json::Result<String> {
    serde_json::to_string_pretty(results).map(|text| text + "\n")
}

/// What the process tells its caller: 0, the run went to its end and kept what was required; 1, something required was
/// not kept; 3, the run failed or went on without somebody; 130, it was stopped. (2 is for wrong arguments.)
#[must_use]
pub fn exit_code(results: &Results) -> u8 {
    match results.outcome.kind {
        OutcomeKind::Failed | OutcomeKind::Partial => 3,
        OutcomeKind::Interrupted => 130,
        OutcomeKind::Completed => u8::from(results.verdicts.iter().any(|verdict| !verdict.holds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_of_failure_before_requirements() {
        let mut results = sample::good();
        assert_eq!(exit_code(&results), 0);
        results.verdicts[0].holds = false;
        assert_eq!(exit_code(&results), 1);
        for (kind, code) in [(OutcomeKind::Partial, 3), (OutcomeKind::Failed, 3), (OutcomeKind::Interrupted, 130)] {
            results.outcome.kind = kind;
            assert_eq!(exit_code(&results), code);
        }
    }

    #[test]
    fn json_reads_back_the_same() {
        let results = sample::results();
        let back: Results = serde_json::from_str(&json(&results).unwrap()).unwrap();
        // Not the numbers: reading one may be off by its last bit.
        assert_eq!(
            (&back.scenario, &back.outcome, &back.errors),
            (&results.scenario, &results.outcome, &results.errors)
        );
        assert_eq!((back.summary.media, back.summary.decoder), (results.summary.media, results.summary.decoder));
        assert_eq!((back.rows.len(), back.verdicts), (results.rows.len(), results.verdicts));
    }
}
