//! What the figures mean: problems first, then each figure with a word of judgement. The table and the page show this.

use super::units::{bps, bytes, cores, count, ms, percent, plural, seconds};
use crate::media::Judgement;
use crate::results::{Distribution, Freezes, Layers, Loss, OutcomeKind, Results};

/// A word of judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    /// Nobody would notice.
    Good,
    /// Somebody would.
    Fair,
    /// Everybody would.
    Poor,
}

impl Grade {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
        }
    }

    /// Of a value that is better the smaller it is.
    fn at_most(value: f64, good: f64, fair: f64) -> Self {
        match value {
            v if v <= good => Self::Good,
            v if v <= fair => Self::Fair,
            _ => Self::Poor,
        }
    }
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) label: &'static str,
    /// The one value to look at.
    pub(super) value: String,
    /// More values: 90 %, 99 %, 99.9 % and the largest; or words.
    pub(super) more: More,
    pub(super) grade: Option<Grade>,
    /// What it is and what is good, in a sentence.
    pub(super) help: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum More {
    Spread([String; 4]),
    Words(String),
}

/// Figures that belong together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    /// It makes the figures worthless or the run a failure; else it is worth knowing.
    pub(super) serious: bool,
}

/// The run in one sentence.
pub(super) fn headline(results: &Results) -> String {
    let problems = problems(results);
    match results.outcome.kind {
        OutcomeKind::Failed => "The run failed.".to_owned(),
        OutcomeKind::Partial => "The run went to its end, but not for everybody.".to_owned(),
        OutcomeKind::Interrupted => "The run was stopped; these are the figures until then.".to_owned(),
        OutcomeKind::Completed if results.verdicts.iter().any(|verdict| !verdict.holds) => {
            "The run went to its end, and does not keep what was required.".to_owned()
        }
        OutcomeKind::Completed if problems.iter().any(|problem| problem.serious) => {
            "The run went to its end, with problems.".to_owned()
        }
        OutcomeKind::Completed => match worst(results) {
            Some(Grade::Poor) => "The run went to its end; some of it was poor.".to_owned(),
            Some(Grade::Fair) => "The run went to its end; most of it was good.".to_owned(),
            _ => "The run went to its end, and all of it was good.".to_owned(),
        },
    }
}

fn worst(results: &Results) -> Option<Grade> {
    groups(results).iter().flat_map(|group| &group.lines).filter_map(|line| line.grade).max_by_key(|grade| *grade as u8)
}

/// What went wrong, the worst first.
pub(super) fn problems(results: &Results) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut serious = |what: String| found.push(Problem { what, serious: true });
    if results.outcome.kind != OutcomeKind::Completed {
        serious(results.outcome.message.clone());
    }
    for verdict in results.verdicts.iter().filter(|verdict| !verdict.holds) {
        let measured = verdict
            .measured
            .map_or("nothing to measure it by".to_owned(), |value| format!("measured {}", plain(value)));
        serious(format!("Required {}: {measured}.", verdict.requirement));
    }
    if !results.health.reasons.is_empty() {
        let reasons = results.health.reasons.join("; ");
        serious(format!("The tester did not keep up, so these figures are not the server's alone: {reasons}."));
    }
    if results.summary.media.faults > 0 {
        serious(format!(
            "{} in what the server forwarded: half frames, or ids and references that jump, although no packet is missing.",
            plural(results.summary.media.faults, "fault", "faults")
        ));
    }
    for error in &results.errors {
        found.push(Problem {
            what: format!(
                "{} ({}, first after {}): {}",
                error.kind,
                plural(error.count, "time", "times"),
                seconds(error.first_s),
                error.example
            ),
            serious: false,
        });
    }
    if let Some(server) = results.server.as_ref().filter(|server| server.receive_drops > 0) {
        found.push(Problem {
            what: format!(
                "The server's machine dropped {} unread: its receive buffer was full.",
                plural(server.receive_drops, "datagram", "datagrams")
            ),
            serious: false,
        });
    }
    found
}

/// A number as it would be typed.
pub(super) fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// All figures of which something was measured.
pub(super) fn groups(results: &Results) -> Vec<Group> {
    let groups = [
        Group { title: "Getting in", lines: getting_in(results) },
        Group { title: "How it felt", lines: how_it_felt(results) },
        Group { title: "What came", lines: what_came(results) },
        Group { title: "The server", lines: server(results) },
        Group { title: "The tester", lines: tester(results) },
    ];
    groups.into_iter().filter(|group| !group.lines.is_empty()).collect()
}

/// A line of a distribution; none where there are no values. `grade` gets the distribution.
fn spread(
    label: &'static str,
    values: &Distribution,
    show: fn(f64) -> String,
    grade: impl Fn(&Distribution) -> Option<Grade>,
    help: String,
) -> Option<Line> {
    (values.count > 0).then(|| Line {
        label,
        value: show(values.p50),
        more: More::Spread([show(values.p90), show(values.p99), show(values.p999), show(values.max)]),
        grade: grade(values),
        help,
    })
}

fn words(label: &'static str, value: String, more: String, grade: Option<Grade>, help: &str) -> Line {
    Line { label, value, more: More::Words(more), grade, help: help.to_owned() }
}

fn getting_in(results: &Results) -> Vec<Line> {
    let summary = &results.summary;
    let people = &summary.participants;
    let bad = people.failed + people.lost + people.without_media;
    let mut lines = vec![words(
        "Participants",
        format!("{} of {}", count(people.joined), count(people.attempted)),
        format!(
            "{} at one time, {} failed, {} cut off, {} without media",
            count(people.most),
            count(people.failed),
            count(people.lost),
            count(people.without_media)
        ),
        (people.attempted > 0).then_some(if bad == 0 { Grade::Good } else { Grade::Poor }),
        "Joins that came through, of those begun. Good: all, and nobody was cut off or left without media.",
    )];
    lines.extend(spread(
        "Time to join",
        &summary.join_ms,
        ms,
        |values| Some(Grade::at_most(values.p90, 1_000.0, 3_000.0)),
        "From asking to join until the connection stands. Good: below 1 s for 9 in 10; fair: below 3 s.".to_owned(),
    ));
    lines.extend(spread(
        "Time to first picture",
        &summary.first_frame_ms,
        ms,
        |values| Some(Grade::at_most(values.p90, 1_500.0, 4_000.0)),
        "From asking to join until a picture could be shown. Good: below 1.5 s for 9 in 10; fair: below 4 s."
            .to_owned(),
    ));
    lines
}

fn how_it_felt(results: &Results) -> Vec<Line> {
    let summary = &results.summary;
    let links = link_delay_ms(results);
    let (good, fair) = (50.0 + links, 150.0 + links);
    let beside = if links > 0.0 { format!(", {} of it by the emulated links", ms(links)) } else { String::new() };
    let help = format!(
        "From publisher to receiver. Good: below {good:.0} ms for 99 in 100{beside}; fair: below {fair:.0} ms."
    );
    let grade = |values: &Distribution| Some(Grade::at_most(values.p99, good, fair));
    let mut lines = Vec::new();
    lines.extend(spread("Video delay", &summary.video_latency_ms, ms, grade, help.clone()));
    lines.extend(spread("Audio delay", &summary.audio_latency_ms, ms, grade, help));
    lines.extend(loss("Video lost", &summary.video_loss, 0.1, 1.0));
    lines.extend(loss("Audio lost", &summary.audio_loss, 1.0, 3.0));
    lines.extend(freezes(&summary.freezes));
    let wanted = f64::from(results.scenario.video.fps);
    let rates = &summary.frame_rate;
    if rates.count > 0 {
        lines.push(words(
            "Pictures a second",
            format!("{:.1}", rates.p50),
            format!("{:.1} at worst, {:.1} on average; published: {wanted}", rates.min, rates.mean),
            Some(Grade::at_most(wanted - rates.p50, wanted * 0.05, wanted * 0.2)),
            "The median of all streams. Good: 95 % of what is published; fair: 80 %.",
        ));
    }
    lines
}

/// The longest that the emulated links hold back a packet on its way, queues aside.
fn link_delay_ms(results: &Results) -> f64 {
    let longest =
        |delay: fn(&crate::scenario::LinkPair) -> f64| results.scenario.links.iter().map(delay).fold(0.0, f64::max);
    longest(|link| link.up.delay_ms + link.up.jitter_ms) + longest(|link| link.down.delay_ms + link.down.jitter_ms)
}

fn loss(label: &'static str, loss: &Loss, good: f64, fair: f64) -> Option<Line> {
    (loss.expected > 0).then(|| {
        let lost = loss.final_percent();
        let more = format!(
            "{} of {} packets missing at first ({}), {} repaired",
            count(loss.missing),
            count(loss.expected),
            percent(loss.path_percent()),
            count(loss.repaired)
        );
        let help =
            format!("Packets that never came, resends counted as come. Good: up to {good} %; fair: up to {fair} %.");
        words(label, percent(lost), more, Some(Grade::at_most(lost, good, fair)), &help)
    })
}

fn freezes(freezes: &Freezes) -> Option<Line> {
    (freezes.watched_s > 0.0).then(|| {
        let share = freezes.total_s * 100.0 / freezes.watched_s;
        let more = if freezes.count == 0 {
            format!("of {} and {} watched", plural(freezes.streams, "stream", "streams"), seconds(freezes.watched_s))
        } else {
            format!(
                "{} of {}, longest {}, {} of the time",
                count(freezes.streams_frozen),
                plural(freezes.streams, "stream", "streams"),
                seconds(freezes.longest_s),
                percent(share)
            )
        };
        words(
            "Freezes",
            plural(freezes.count, "time", "times"),
            more,
            Some(Grade::at_most(share, 0.1, 2.0)),
            "Pictures that stood still, as browsers count them. Good: up to 0.1 % of the time; fair: up to 2 %.",
        )
    })
}

fn what_came(results: &Results) -> Vec<Line> {
    let summary = &results.summary;
    let mut lines = Vec::new();
    lines.extend(spread(
        "Received by each",
        &summary.bitrate.received_bps,
        bps,
        |_| None,
        "Video and audio that each receiver got.".to_owned(),
    ));
    lines.extend(spread(
        "Sent by each",
        &summary.bitrate.sent_bps,
        bps,
        |_| None,
        "What each publisher sent, all layers.".to_owned(),
    ));
    lines.extend(spread(
        "Uplink estimate",
        &summary.bitrate.publisher_estimate_bps,
        bps,
        |_| None,
        "What publishers' bandwidth estimators took the way to the server to carry.".to_owned(),
    ));
    lines.extend(layers(&summary.layers));
    lines.extend(frames(&summary.media));
    lines.extend(decoder(results));
    let feedback = &summary.feedback;
    lines.push(words(
        "Requests",
        plural(feedback.plis_sent, "keyframe", "keyframes"),
        format!(
            "{} reached publishers; {} sent, {} reached publishers",
            count(feedback.plis_received),
            plural(feedback.nacks_sent, "NACK", "NACKs"),
            count(feedback.nacks_received)
        ),
        None,
        "What receivers asked for (PLI, NACK), and what of it came through to publishers.",
    ));
    lines
}

fn layers(layers: &Layers) -> Option<Line> {
    (!layers.by_layer.is_empty()).then(|| {
        let share = layers.as_wanted * 100.0;
        let times: Vec<_> =
            layers.by_layer.iter().map(|(layer, time)| format!("{layer} {}", seconds(time.received_s))).collect();
        words(
            "Layer as wanted",
            percent(share),
            format!("{}, {}", times.join(", "), plural(layers.switches, "switch", "switches")),
            Some(Grade::at_most(100.0 - share, 5.0, 20.0)),
            "Share of the time in which the layer received was the one wanted. Good: 95 %; fair: 80 %.",
        )
    })
}

fn frames(media: &Judgement) -> Option<Line> {
    let frames = media.decodable + media.undecodable + media.incomplete;
    (frames > 0).then(|| {
        let bad = (frames - media.decodable) as f64 * 100.0 / frames as f64;
        words(
            "Frames decodable",
            percent(100.0 - bad),
            format!("{} of {}, {}", count(media.decodable), count(frames), plural(media.faults, "fault", "faults")),
            Some(if media.faults > 0 { Grade::Poor } else { Grade::at_most(bad, 0.5, 3.0) }),
            "Frames that came whole, with all that they build on. Good: 99.5 % and no fault of the server; fair: 97 %.",
        )
    })
}

fn decoder(results: &Results) -> Option<Line> {
    let sample = results.summary.decoder.as_ref()?;
    if let Some(missing) = &sample.missing {
        let help = "A sample of streams is given to ffmpeg, where it is installed.";
        return Some(words("Real decoder", "not asked".to_owned(), missing.clone(), None, help));
    }
    let (frames, identical) = (sample.decoded.frames, sample.decoded.identical);
    let all = identical == frames && sample.decoded.complaints == 0;
    Some(words(
        "Real decoder",
        format!("{} of {}", count(identical), count(frames)),
        format!(
            "pictures bit by bit as published; {}, {}",
            plural(sample.streams, "stream", "streams"),
            plural(sample.decoded.complaints, "complaint", "complaints")
        ),
        (frames > 0).then_some(if all { Grade::Good } else { Grade::Poor }),
        "What ffmpeg made of a sample of streams. Good: all pictures, equal to those published, without complaint.",
    ))
}

fn server(results: &Results) -> Vec<Line> {
    let mut lines = Vec::new();
    let traffic = &results.summary.traffic;
    if results.ran_s > 0.0 {
        lines.push(words(
            "Forwarded",
            format!("{} packets/s", count((traffic.rtp_received as f64 / results.ran_s).round() as u64)),
            format!(
                "{} packets, {}",
                count(traffic.rtp_received),
                bps(traffic.bytes_received as f64 * 8.0 / results.ran_s)
            ),
            None,
            "RTP packets that receivers got, and all bytes that came with them.",
        ));
    }
    let Some(server) = &results.server else { return lines };
    lines.push(words(
        "Processor",
        cores(server.mean_cores),
        format!(
            "{} at most; {}, process {}, found by {}",
            cores(server.most_cores),
            server.name,
            server.pid,
            server.found_by
        ),
        None,
        "Processor time of the server's process.",
    ));
    if let Some(cost) = server.cpu_s_per_million_packets {
        let more = format!("that is {cost:.1} µs for each packet; {} in all", seconds(server.cpu_s));
        lines.push(words(
            "CPU per million packets",
            format!("{cost:.1} s"),
            more,
            None,
            "CPU time of the server over RTP packets that receivers got.",
        ));
    }
    let each =
        server.memory_per_participant.map_or(String::new(), |each| format!(", {} for each participant", bytes(each)));
    let more = format!("{} before{each}", bytes(server.memory_before));
    lines.push(words("Memory", bytes(server.memory_most), more, None, "Resident memory of the server at its most."));
    lines
}

fn tester(results: &Results) -> Vec<Line> {
    let health = &results.health;
    let more = format!(
        "{} at most; {} threads, {} processors; busiest thread {}; {} late (99 %)",
        cores(health.most_cores),
        count(health.workers),
        count(health.processors),
        percent(health.busiest_worker * 100.0),
        ms(health.lag_ms.p99)
    );
    let grade = if health.spoiled { Grade::Poor } else { Grade::Good };
    vec![words(
        "Kept up",
        if health.spoiled { "no" } else { "yes" }.to_owned(),
        more,
        Some(grade),
        "Whether the tester had time and room for its own work. Where not, the figures tell of the tester too.",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::results::{Outcome, Verdict};

    fn grade(results: &Results, label: &str) -> Option<Grade> {
        groups(results).into_iter().flat_map(|group| group.lines).find(|line| line.label == label).unwrap().grade
    }

    #[test]
    fn grades_follow_their_limits() {
        let mut results = sample::results();
        for (p99, expected) in [(50.0, Grade::Good), (150.0, Grade::Fair), (151.0, Grade::Poor)] {
            results.summary.video_latency_ms.p99 = p99;
            assert_eq!(grade(&results, "Video delay"), Some(expected));
        }
        results.scenario.links = vec![Default::default()];
        results.scenario.links[0].down.delay_ms = 20.0;
        assert_eq!(grade(&results, "Video delay"), Some(Grade::Fair), "an emulated link's delay is not the server's");
        results.summary.frame_rate.p50 = 24.0;
        assert_eq!(grade(&results, "Pictures a second"), Some(Grade::Fair));
        results.summary.media.faults = 1;
        assert_eq!(grade(&results, "Frames decodable"), Some(Grade::Poor));
    }

    #[test]
    fn a_good_run_says_so_and_has_no_problem() {
        let results = sample::good();
        assert_eq!(problems(&results), []);
        assert!(headline(&results).ends_with("all of it was good."), "{}", headline(&results));
    }

    #[test]
    fn the_worst_problem_comes_first() {
        let mut results = sample::results();
        results.outcome = Outcome { kind: OutcomeKind::Failed, message: "The server went away.".to_owned() };
        results.verdicts = vec![Verdict { requirement: "faults==0".to_owned(), measured: Some(2.0), holds: false }];
        results.health.reasons = vec!["the processor was full".to_owned(), "and so on".to_owned()];
        let found = problems(&results);
        assert_eq!(found[0].what, "The server went away.");
        assert_eq!(found[1].what, "Required faults==0: measured 2.");
        assert!(found[2].what.ends_with("the processor was full; and so on."), "{}", found[2].what);
        assert!(found.iter().take_while(|problem| problem.serious).count() < found.len());
        assert!(found.iter().skip_while(|problem| problem.serious).all(|problem| !problem.serious));
    }

    #[test]
    fn an_empty_run_has_figures_without_nonsense() {
        let results = sample::empty();
        for line in groups(&results).iter().flat_map(|group| &group.lines) {
            assert!(!line.value.contains("NaN") && !line.value.contains("inf"), "{line:?}");
        }
    }
}
