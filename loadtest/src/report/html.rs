//! The report as one page that needs nothing else: no script, no font, no picture from anywhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::findings::{self, Grade, Group, Line, More};
use super::plot::{self, Series};
use super::style::STYLE;
use super::units::{bps, count, ms, percent, seconds};
use crate::results::{Results, Row};

/// The figures that stand at the top, by their labels in the table.
const TILES: [&str; 6] =
    ["Time to join", "Time to first picture", "Video delay", "Video lost", "Freezes", "Pictures a second"];
/// Where nobody sends video.
const AUDIO_TILES: [&str; 3] = ["Time to join", "Audio delay", "Audio lost"];

/// The page. All text of the run is escaped, and the page forbids the browser to load or run anything.
#[must_use]
pub fn page(results: &Results) -> String {
    let groups = findings::groups(results);
    let title = format!("{} · weir-loadtest", results.scenario.name);
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (top(results))
                    (tiles(&groups))
                    (plots(results))
                    h2 { "All figures" }
                    (figures(&groups))
                    (requirements(results))
                    (scenario(results))
                    footer {
                        "Typical: half of the values are at most this. 90 %, 99 %, 99.9 %: so many of them are at most this. \
                         Made by weir-loadtest " (results.version) "."
                    }
                }
            }
        }
    }
    .into_string()
}

fn top(results: &Results) -> Markup {
    let problems = findings::problems(results);
    html! {
        header {
            h1 { (results.scenario.name) }
            span.muted { (seconds(results.ran_s)) " from " (date(results.started_unix_ms)) }
        }
        p.headline { (findings::headline(results)) }
        @if !problems.is_empty() {
            ul.problems {
                @for problem in &problems { li.serious[problem.serious] { (problem.what) } }
            }
        }
    }
}

/// Seconds since the epoch as `2026-09-21 14:13 UTC`, by the proleptic Gregorian calendar.
fn date(unix_ms: u64) -> String {
    let (days, second) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    // Years begin in March here, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let dom = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{}-{month:02}-{dom:02} {:02}:{:02} UTC", era * 400 + year + next, second / 3_600, second / 60 % 60)
}

fn word(grade: Option<Grade>) -> Markup {
    html! { @if let Some(grade) = grade { span class={ "word " (grade.word()) } { (grade.word()) } } }
}

fn tiles(groups: &[Group]) -> Markup {
    let find = |label: &&str| groups.iter().flat_map(|group| &group.lines).find(|line| line.label == *label);
    let mut lines: Vec<&Line> = TILES.iter().filter_map(find).collect();
    if lines.len() < AUDIO_TILES.len() {
        lines = AUDIO_TILES.iter().filter_map(find).collect();
    }
    html! {
        section.tiles {
            @for line in lines {
                div.tile title=(line.help) {
                    div.label { (line.label) }
                    div.value { (line.value) }
                    div.foot {
                        span { @if let More::Spread([_, p99, _, _]) = &line.more { "99 %: " (p99) } }
                        (word(line.grade))
                    }
                }
            }
        }
    }
}

fn series(label: &'static str, colour: &'static str, rows: &[Row], of: impl Fn(&Row) -> Option<f64>) -> Series {
    Series { label, colour, points: rows.iter().map(|row| (row.at_s, of(row))).collect() }
}

/// A sum of a row as a rate.
fn rate(row: &Row, sum: u64) -> Option<f64> {
    (row.span_s > 0.0).then(|| sum as f64 / row.span_s)
}

fn plots(results: &Results) -> Markup {
    let (summary, rows) = (&results.summary, &results.rows[..]);
    let latency = |of: fn(&Row) -> f64| move |row: &Row| Some(of(row)).filter(|value| *value > 0.0);
    let delay = match summary.video_latency_ms.count {
        0 => ("Audio delay", &summary.audio_latency_ms),
        _ => ("Video delay", &summary.video_latency_ms),
    };
    let mut cpu = vec![series("tester", "b", rows, |row| Some(row.tester_cores))];
    if results.server.is_some() {
        cpu.insert(0, series("server", "a", rows, |row| row.server_cores));
    }
    let felt = html! {
        (plot::histogram(delay.0, "share of packets", delay.1, ms))
        (plot::histogram("Time to first picture", "share of participants", &summary.first_frame_ms, ms))
        (plot::lines("Delay over time", "video, second by second", &[
            series("half", "a", rows, latency(|row| row.latency_p50_ms)),
            series("99 %", "b", rows, latency(|row| row.latency_p99_ms)),
        ], ms))
        (plot::bars("Freezes over time", "streams that stood still", series("freezes", "c", rows, |row| Some(row.freezes as f64)), whole))
    };
    let took = html! {
        (plot::lines("Rates over time", "media, all participants", &[
            series("to receivers", "a", rows, |row| rate(row, row.bytes_received * 8)),
            series("from publishers", "b", rows, |row| rate(row, row.bytes_sent * 8)),
        ], bps))
        (plot::lines("Processor over time", "cores", &cpu, findings::plain))
        (plot::lines("Participants", "who is in", &[series("in", "a", rows, |row| Some(row.participants as f64))], whole))
        (plot::lines("Missing packets", "share of a second's packets, before repair", &[
            series("missing", "c", rows, |row| {
                let expected = row.rtp_received + row.missing;
                (expected > 0).then(|| row.missing as f64 * 100.0 / expected as f64)
            }),
        ], percent))
    };
    html! { (section("How it felt", felt)) (section("What it took", took)) }
}

/// Plots under a title; nothing where nothing was measured.
fn section(title: &str, plots: Markup) -> Markup {
    html! { @if !plots.0.is_empty() { h2 { (title) } section.plots { (plots) } } }
}

/// A tick of an axis of things that are counted: nothing between whole numbers.
fn whole(value: f64) -> String {
    if value.fract() == 0.0 { count(value as u64) } else { String::new() }
}

fn figures(groups: &[Group]) -> Markup {
    html! {
        div.card {
            table {
                @for group in groups {
                    tr.group {
                        th { (group.title) }
                        @if group.lines.iter().any(|line| matches!(line.more, More::Spread(_))) {
                            th { "typical" } th { "90 %" } th { "99 %" } th { "99.9 %" } th { "most" } th {}
                        } @else {
                            th colspan="6" {}
                        }
                    }
                    @for line in &group.lines {
                        tr {
                            td { (line.label) div.help { (line.help) } }
                            td.value { (line.value) }
                            @match &line.more {
                                More::Spread(values) => { @for value in values { td.spread { (value) } } }
                                More::Words(words) => { td colspan="4" { (words) } }
                            }
                            td { (word(line.grade)) }
                        }
                    }
                }
            }
        }
    }
}

fn requirements(results: &Results) -> Markup {
    html! {
        @if !results.verdicts.is_empty() {
            h2 { "Required" }
            div.card {
                table {
                    tr { th { "what" } th { "measured" } th {} }
                    @for verdict in &results.verdicts {
                        tr {
                            td { code { (verdict.requirement) } }
                            td.value { (verdict.measured.map_or("nothing".to_owned(), findings::plain)) }
                            td {
                                @let (word, class) = if verdict.holds { ("kept", "good") } else { ("missed", "poor") };
                                span class={ "word " (class) } { (word) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn scenario(results: &Results) -> Markup {
    let text = toml::to_string_pretty(&results.scenario).unwrap_or_else(|error| format!("# cannot be shown: {error}"));
    html! {
        h2 { "What was asked for" }
        div.card {
            details { summary { "The scenario, to be run again with --scenario FILE" } pre { (text) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn needs_nothing_from_anywhere() {
        let page = page(&sample::results());
        for forbidden in ["http://", "https://", "<script", "<link", "<img", "url(", "@import", "javascript:"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn text_of_the_run_is_escaped() {
        let mut results = sample::results();
        let evil = "</style><script>alert(1)</script>\"'&";
        results.scenario.name = evil.to_owned();
        results.errors[0].example = evil.to_owned();
        results.outcome.message = evil.to_owned();
        results.health.reasons = vec![evil.to_owned()];
        results.verdicts[1].requirement = evil.to_owned();
        results.server.as_mut().unwrap().name = evil.to_owned();
        results.scenario.video.layers[0].rid = evil.to_owned();
        let page = page(&results);
        assert!(!page.contains("<script") && page.matches("</style>").count() == 1);
        assert!(page.matches("&lt;script&gt;").count() >= 6);
    }

    #[test]
    fn every_figure_and_plot_is_there_and_an_empty_run_makes_a_page_too() {
        let results = sample::results();
        let full = page(&results);
        for line in findings::groups(&results).iter().flat_map(|group| &group.lines) {
            assert!(full.contains(line.label), "{}", line.label);
        }
        assert_eq!(full.matches("<svg").count(), 8);
        let empty = page(&sample::empty());
        assert!(!empty.contains("<svg") && !empty.contains("How it felt") && !empty.contains("NaN"));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_790_000_000_000), "2026-09-21 14:13 UTC");
        assert_eq!(date(1_798_761_599_000), "2026-12-31 23:59 UTC");
    }
}
