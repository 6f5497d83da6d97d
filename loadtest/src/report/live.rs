//! The screen while a run goes on: a bar, members, rates and problems on a terminal; a line now and then elsewhere.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::visible;
use super::units::{bps, cores, count, ms, plural, seconds};
use crate::results::Progress;

/// Where there is no terminal: seconds between lines.
const EVERY_S: f64 = 5.0;
/// Problems shown at once.
const PROBLEMS: usize = 4;

/// Shows the progress of a run on standard error; standard output stays free for the results.
pub struct Live(Screen);

enum Screen {
    Terminal(ProgressBar),
    Lines { out: Box<dyn Write + Send>, next_s: f64, phase: &'static str, problems: usize },
    Quiet,
}

impl Live {
    /// A bar where standard error is a terminal, lines where not.
    #[must_use]
    pub fn new() -> Self {
        if std::io::stderr().is_terminal() { Self::terminal() } else { Self::lines(Box::new(std::io::stderr())) }
    }

    /// Shows nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self(Screen::Quiet)
    }

    fn terminal() -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(4));
        if let Ok(style) = ProgressStyle::with_template("{prefix:>10} [{bar:40.cyan/blue}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(Screen::Terminal(bar))
    }

    fn lines(out: Box<dyn Write + Send>) -> Self {
        Self(Screen::Lines { out, next_s: 0.0, phase: "", problems: 0 })
    }

    /// Shows how far the run is. To be called once a second.
    pub fn update(&mut self, progress: &Progress) {
        match &mut self.0 {
            Screen::Terminal(bar) => {
                bar.set_length((progress.of_s * 1_000.0) as u64);
                bar.set_position((progress.at_s.clamp(0.0, progress.of_s) * 1_000.0) as u64);
                bar.set_prefix(progress.phase);
                bar.set_message(screen(progress));
                bar.tick();
            }
            Screen::Lines { out, next_s, phase, problems } => {
                let known = progress.problems.len() + progress.errors.len();
                if progress.at_s < *next_s && *phase == progress.phase && *problems == known {
                    return;
                }
                *next_s = progress.at_s + EVERY_S;
                (*phase, *problems) = (progress.phase, known);
                // Nobody may be reading; the run goes on.
                let _ = writeln!(out, "{}", line(progress));
            }
            Screen::Quiet => {}
        }
    }

    /// Leaves the screen to the summary.
    pub fn finish(self) {
        if let Screen::Terminal(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

fn time(progress: &Progress) -> String {
    format!("{} of {}", seconds(progress.at_s.max(0.0)), seconds(progress.of_s))
}

fn members(progress: &Progress) -> String {
    let people = &progress.participants;
    let mut text = format!("{} of {} in", count(progress.row.participants), count(people.planned));
    for (number, what) in [(people.failed, "failed"), (people.lost, "lost"), (people.without_media, "without media")] {
        if number > 0 {
            text += &format!(", {} {what}", count(number));
        }
    }
    text
}

fn rates(progress: &Progress) -> String {
    let row = &progress.row;
    let span = if row.span_s > 0.0 { row.span_s } else { 1.0 };
    let rate = |value: u64| value as f64 / span;
    let delay = if row.latency_p99_ms > 0.0 {
        format!("delay {} (99 %: {})", ms(row.latency_p50_ms), ms(row.latency_p99_ms))
    } else {
        "no video yet".to_owned()
    };
    let mut text = format!(
        "{} packets/s out, {}, {delay}",
        count(rate(row.rtp_received).round() as u64),
        bps(rate(row.bytes_received) * 8.0)
    );
    if row.freezes > 0 {
        text += &format!(", {}", plural(row.freezes, "freeze", "freezes"));
    }
    if row.missing > 0 {
        text += &format!(", {} missing", count(row.missing));
    }
    text
}

fn processors(progress: &Progress) -> String {
    let tester = format!("tester {}", cores(progress.row.tester_cores));
    match progress.row.server_cores {
        Some(server) => format!("{tester}, server {}", cores(server)),
        None => tester,
    }
}

fn problems(progress: &Progress) -> Vec<String> {
    let errors = progress
        .errors
        .iter()
        .map(|error| format!("{} ({}): {}", error.kind, plural(error.count, "time", "times"), error.example));
    progress.problems.iter().cloned().chain(errors).map(|problem| visible(&problem)).collect()
}

/// What stands beside and below the bar.
fn screen(progress: &Progress) -> String {
    let mut text = time(progress);
    for (label, value) in
        [("members", members(progress)), ("media", rates(progress)), ("processors", processors(progress))]
    {
        text += &format!("\n{label:>10}  {value}");
    }
    let problems = problems(progress);
    for problem in problems.iter().take(PROBLEMS) {
        text += &format!("\n{:>10}  {problem}", "problem");
    }
    if problems.len() > PROBLEMS {
        text += &format!("\n{:>10}  and {} more", "", problems.len() - PROBLEMS);
    }
    text
}

fn line(progress: &Progress) -> String {
    let mut text = format!(
        "{:<14} {}: {}; {}; {}",
        time(progress),
        progress.phase,
        members(progress),
        rates(progress),
        processors(progress)
    );
    for problem in problems(progress).iter().take(PROBLEMS) {
        text += &format!("; problem: {problem}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::sample;
    use super::*;
    use crate::results::Row;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn progress(at_s: f64) -> Progress {
        let results = sample::good();
        Progress {
            at_s,
            of_s: 30.0,
            phase: "running",
            participants: results.summary.participants,
            row: Row { span_s: 1.0, ..results.rows[10] },
            errors: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn written(updates: &[Progress]) -> Vec<String> {
        let out = Shared::default();
        let mut live = Live::lines(Box::new(out.clone()));
        updates.iter().for_each(|progress| live.update(progress));
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_come_now_and_then() {
        let updates: Vec<_> = (0..12).map(|second| progress(f64::from(second))).collect();
        let lines = written(&updates);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[0].contains("running: 10 of 10 in") && lines[0].contains("packets/s out"), "{}", lines[0]);
    }

    #[test]
    fn a_new_problem_and_a_new_phase_come_at_once() {
        let mut updates = vec![progress(0.0), progress(1.0), progress(2.0), progress(3.0)];
        updates[1].errors = sample::results().errors;
        updates[2].errors = updates[1].errors.clone();
        updates[3].errors = updates[1].errors.clone();
        updates[3].phase = "leaving";
        let lines = written(&updates);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[1].contains("problem: unauthorized (1 time)") && lines[2].contains("leaving"));
    }

    #[test]
    fn the_screen_tells_the_worst_and_is_never_endless() {
        let mut many = progress(2.0);
        many.participants.failed = 3;
        many.problems = (0..10).map(|i| format!("\x1b[2Jproblem {i}")).collect();
        let text = screen(&many);
        assert_eq!(text.lines().filter(|line| line.contains("problem ")).count(), PROBLEMS, "{text}");
        assert!(text.contains("10 of 10 in, 3 failed") && text.contains("and 6 more") && !text.contains('\x1b'));
    }
}
