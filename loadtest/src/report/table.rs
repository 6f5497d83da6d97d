//! The summary on a terminal.

use std::fmt::Write as _;

use super::findings::{self, Grade, Group, More};
use super::units::seconds;
use crate::results::Results;

/// Columns of text; terminals that are narrower wrap.
const LABEL: usize = 25;
const GRADE: usize = 6;
const VALUE: usize = 17;
const SPREAD: usize = 13;

/// How text is set off; empty strings where colours are not wanted.
struct Style {
    bold: &'static str,
    dim: &'static str,
    good: &'static str,
    fair: &'static str,
    poor: &'static str,
    end: &'static str,
}

const COLOURS: Style =
    Style { bold: "\x1b[1m", dim: "\x1b[2m", good: "\x1b[32m", fair: "\x1b[33m", poor: "\x1b[31m", end: "\x1b[0m" };
const PLAIN: Style = Style { bold: "", dim: "", good: "", fair: "", poor: "", end: "" };

impl Style {
    const fn of(&self, grade: Grade) -> &'static str {
        match grade {
            Grade::Good => self.good,
            Grade::Fair => self.fair,
            Grade::Poor => self.poor,
        }
    }
}

/// The summary of a run: what it was, what went wrong, then the figures. `colours` where a terminal shows them. Text
/// that comes from a server is stripped of control characters.
#[must_use]
pub fn table(results: &Results, colours: bool) -> String {
    let style = if colours { COLOURS } else { PLAIN };
    let mut out = String::new();
    let Style { bold, end, dim, .. } = style;
    let _ = writeln!(
        out,
        "\n{bold}{}{end} {dim}· {} · weir-loadtest {}{end}",
        visible(&results.scenario.name),
        seconds(results.ran_s),
        visible(&results.version)
    );
    let _ = writeln!(out, "{}", findings::headline(results));
    problems(&mut out, results, &style);
    for group in findings::groups(results) {
        section(&mut out, &group, &style);
    }
    requirements(&mut out, results, &style);
    let _ = writeln!(
        out,
        "\n{dim}typical: half of the values are at most this. 90 %, 99 %, 99.9 %: so many of them are at most this.{end}"
    );
    out
}

fn problems(out: &mut String, results: &Results, style: &Style) {
    let problems = findings::problems(results);
    if problems.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}PROBLEMS{}", style.bold, style.end);
    for problem in problems {
        let (sign, colour) = if problem.serious { ("x", style.poor) } else { ("!", style.fair) };
        let _ = writeln!(out, "  {colour}{sign}{} {}", style.end, visible(&problem.what));
    }
}

fn section(out: &mut String, group: &Group, style: &Style) {
    let Style { bold, dim, end, .. } = style;
    let _ = write!(out, "\n{bold}{:<width$}{end}", group.title.to_uppercase(), width = LABEL + GRADE + 2);
    if group.lines.iter().any(|line| matches!(line.more, More::Spread(_))) {
        let _ = write!(out, "{dim}{:<VALUE$}", "typical");
        for head in ["90 %", "99 %", "99.9 %", "most"] {
            let _ = write!(out, "{head:<SPREAD$}");
        }
        let _ = write!(out, "{end}");
    }
    let _ = writeln!(out);
    for line in &group.lines {
        let (word, colour) = line.grade.map_or(("", ""), |grade| (grade.word(), style.of(grade)));
        let _ = write!(out, "  {:<LABEL$}{colour}{word:<GRADE$}{end}{:<VALUE$}", line.label, line.value);
        let more = match &line.more {
            More::Spread(values) => {
                values.iter().fold(String::new(), |text, value| text + &format!("{value:<SPREAD$}"))
            }
            More::Words(words) => visible(words),
        };
        let _ = writeln!(out, "{}", more.trim_end());
    }
}

fn requirements(out: &mut String, results: &Results, style: &Style) {
    if results.verdicts.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}REQUIRED{}", style.bold, style.end);
    for verdict in &results.verdicts {
        let (word, colour) = if verdict.holds { ("kept", style.good) } else { ("missed", style.poor) };
        let measured = verdict.measured.map_or("nothing measured".to_owned(), findings::plain);
        let _ = writeln!(out, "  {colour}{word:<8}{}{:<36}{measured}", style.end, visible(&verdict.requirement));
    }
}

/// Without what would move the cursor or recolour the terminal.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn says_first_what_went_wrong() {
        let text = table(&sample::results(), false);
        let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} is not in\n{text}"));
        assert!(at("meeting-10") < at("PROBLEMS") && at("PROBLEMS") < at("Required join_failures==0: measured 1."));
        assert!(at("unauthorized (1 time, first after 0.40 s)") < at("GETTING IN"));
        assert!(at("GETTING IN") < at("HOW IT FELT") && at("HOW IT FELT") < at("REQUIRED"));
    }

    #[test]
    fn a_line_has_its_values_and_its_word() {
        let text = table(&sample::results(), false);
        let line = text.lines().find(|line| line.contains("Time to join")).unwrap();
        let fields: Vec<_> = line.split("  ").map(str::trim).filter(|field| !field.is_empty()).collect();
        assert_eq!((fields[0], fields[1], fields.len()), ("Time to join", "good", 7), "{line}");
    }

    #[test]
    fn is_plain_where_colours_are_not_wanted_and_from_a_server_never() {
        let mut results = sample::results();
        results.errors[0].example = "\x1b[2Jgone\r\n".to_owned();
        assert!(!table(&results, false).contains('\x1b'));
        assert!(!table(&results, true).contains("\x1b[2J") && table(&results, true).contains("\x1b[32m"));
    }
}
