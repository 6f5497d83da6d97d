//! What the doctor has found, for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

/// How it stands with one thing that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It works.
    Ok,
    /// It could not be told, or was not tried.
    Unknown,
    /// It works, and will bite.
    Warning,
    /// It does not work.
    Fails,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Fails => "FAILS",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at: `udp`, `certificate`.
    pub(crate) path: String,
    /// How it stands.
    pub(crate) verdict: Verdict,
    /// What was seen, with its figures.
    pub(crate) saw: String,
    /// What follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) means: Option<String>,
    /// What to do: what to open, or to set.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
    /// How long it took, in milliseconds, where that says something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ms: Option<u64>,
}

impl Finding {
    fn new(path: impl Into<String>, verdict: Verdict, saw: impl Into<String>) -> Self {
        Self { path: path.into(), verdict, saw: saw.into(), means: None, mend: None, ms: None }
    }

    /// It works.
    pub(crate) fn ok(path: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::new(path, Verdict::Ok, saw)
    }

    /// It cannot be told from here.
    pub(crate) fn unknown(path: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::new(path, Verdict::Unknown, saw)
    }

    /// It works, and will bite.
    pub(crate) fn warning(path: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::new(path, Verdict::Warning, saw)
    }

    /// It does not work.
    pub(crate) fn fails(path: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::new(path, Verdict::Fails, saw)
    }

    /// What follows.
    #[must_use]
    pub(crate) fn means(mut self, text: impl Into<String>) -> Self {
        self.means = Some(text.into());
        self
    }

    /// What to do.
    #[must_use]
    pub(crate) fn mend(mut self, text: impl Into<String>) -> Self {
        self.mend = Some(text.into());
        self
    }

    /// How long it took.
    #[must_use]
    pub(crate) fn took(mut self, time: Duration) -> Self {
        self.ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What was looked at: a URL, or `this machine`.
    pub(crate) target: String,
    /// In the order in which it was looked at.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// The worst verdict.
    pub(crate) fn worst(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown)
    }

    /// For people: a line for each finding, and below it what it means and what to do.
    pub(crate) fn text(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.path.chars().count()).max().unwrap_or(0);
        let mut out = format!("Weir doctor: {}\n\n", self.target);
        for finding in &self.findings {
            let time = finding.ms.map(|ms| format!(" ({ms} ms)")).unwrap_or_default();
            let (word, path) = (finding.verdict.word(), &finding.path);
            indented(&mut out, &format!("{word:<8} {path:<width$}  "), &format!("{}{time}", finding.saw));
            let margin = " ".repeat(9 + width + 2);
            for (label, text) in [("", &finding.means), ("-> ", &finding.mend)] {
                if let Some(text) = text {
                    indented(&mut out, &format!("{margin}{label}"), text);
                }
            }
        }
        _ = write!(out, "\n{}", self.summary());
        out
    }

    fn summary(&self) -> String {
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (ok, fails) = (count(Verdict::Ok), count(Verdict::Fails));
        let (warnings, unknown) = (count(Verdict::Warning), count(Verdict::Unknown));
        format!("{ok} ok, {fails} failing, {warnings} warnings, {unknown} not known\n")
    }
}

/// A text of several lines behind a margin; the lines after the first stand below it.
fn indented(out: &mut String, margin: &str, text: &str) {
    let below = " ".repeat(margin.chars().count());
    for (number, line) in text.lines().enumerate() {
        _ = writeln!(out, "{}{line}", if number == 0 { margin } else { &below });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_from_top_to_bottom() {
        let shut = Finding::fails("udp", "no answer\nfrom anywhere").means("it is shut").mend("open UDP 3478");
        let findings = vec![Finding::ok("http", "200").took(Duration::from_millis(12)), shut];
        let report = Report { target: String::from("https://host"), findings };
        let expected = "Weir doctor: https://host\n\n\
                        ok       http  200 (12 ms)\n\
                        FAILS    udp   no answer\n               from anywhere\n               it is shut\n               \
                        -> open UDP 3478\n\n\
                        1 ok, 1 failing, 0 warnings, 0 not known\n";
        assert_eq!(report.text(), expected);
        assert_eq!(report.worst(), Verdict::Fails);
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["findings"][1]["verdict"], "fails");
        assert_eq!(json["findings"][1]["do"], "open UDP 3478");
        assert_eq!(json["findings"][0]["ms"], 12);
    }
}
