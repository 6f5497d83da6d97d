//! The figures of a run by name: what `--require` can hold against a limit.

use crate::results::{Distribution, Results};

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric(Kind);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Single(&'static Single),
    Of(&'static Many, Statistic),
}

#[derive(Debug)]
struct Single {
    name: &'static str,
    about: &'static str,
    of: fn(&Results) -> Option<f64>,
}

/// Many values of one kind; each [`Statistic`] of them is a metric.
#[derive(Debug)]
struct Many {
    name: &'static str,
    about: &'static str,
    of: fn(&Results) -> &Distribution,
    /// What one unit of the name is in the distribution.
    unit: f64,
}

impl PartialEq for Single {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl PartialEq for Many {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Statistic {
    Min,
    Mean,
    P50,
    P90,
    P99,
    P999,
    Max,
}

const STATISTICS: [(&str, &str, Statistic); 7] = [
    ("p50", "the median", Statistic::P50),
    ("p90", "at most this in 90 %", Statistic::P90),
    ("p99", "at most this in 99 %", Statistic::P99),
    ("p999", "at most this in 99.9 %", Statistic::P999),
    ("max", "the largest", Statistic::Max),
    ("mean", "the mean", Statistic::Mean),
    ("min", "the smallest", Statistic::Min),
];

static MANY: [Many; 7] = [
    Many {
        name: "latency_ms",
        about: "video delay, publisher to receiver",
        of: |r| &r.summary.video_latency_ms,
        unit: 1.0,
    },
    Many { name: "audio_latency_ms", about: "audio delay, likewise", of: |r| &r.summary.audio_latency_ms, unit: 1.0 },
    Many { name: "join_ms", about: "time to join", of: |r| &r.summary.join_ms, unit: 1.0 },
    Many {
        name: "first_frame_ms",
        about: "time from joining to the first picture",
        of: |r| &r.summary.first_frame_ms,
        unit: 1.0,
    },
    Many { name: "frame_rate", about: "pictures a second of each stream", of: |r| &r.summary.frame_rate, unit: 1.0 },
    Many {
        name: "received_kbps",
        about: "what each receiver got, in kbit/s",
        of: |r| &r.summary.bitrate.received_bps,
        unit: 1e3,
    },
    Many {
        name: "sent_kbps",
        about: "what each publisher sent, in kbit/s",
        of: |r| &r.summary.bitrate.sent_bps,
        unit: 1e3,
    },
];

static SINGLE: [Single; 23] = [
    Single {
        name: "loss_percent",
        about: "video packets that never came, repairs counted as come",
        of: |r| (r.summary.video_loss.expected > 0).then(|| r.summary.video_loss.final_percent()),
    },
    Single {
        name: "path_loss_percent",
        about: "video packets that did not come by themselves",
        of: |r| (r.summary.video_loss.expected > 0).then(|| r.summary.video_loss.path_percent()),
    },
    Single {
        name: "audio_loss_percent",
        about: "audio packets that never came",
        of: |r| (r.summary.audio_loss.expected > 0).then(|| r.summary.audio_loss.final_percent()),
    },
    Single {
        name: "freezes",
        about: "how often a picture stood still",
        of: |r| watched(r).map(|_| r.summary.freezes.count as f64),
    },
    Single {
        name: "freezes_per_minute",
        about: "the same, for each minute of a watched stream",
        of: |r| watched(r).map(|s| r.summary.freezes.count as f64 * 60.0 / s),
    },
    Single {
        name: "frozen_percent",
        about: "share of the watched time in which a picture stood still",
        of: |r| watched(r).map(|s| r.summary.freezes.total_s * 100.0 / s),
    },
    Single {
        name: "longest_freeze_s",
        about: "the longest of them, in seconds",
        of: |r| watched(r).map(|_| r.summary.freezes.longest_s),
    },
    Single {
        name: "as_wanted_percent",
        about: "share of the time in which the layer received was the one wanted",
        of: |r| (!r.summary.layers.by_layer.is_empty()).then_some(r.summary.layers.as_wanted * 100.0),
    },
    Single {
        name: "switches_per_minute",
        about: "changes of layer, for each minute of a watched stream",
        of: |r| watched(r).map(|s| r.summary.layers.switches as f64 * 60.0 / s),
    },
    Single {
        name: "undecodable_percent",
        about: "share of the frames that came and could not be decoded",
        of: |r| {
            let media = &r.summary.media;
            let bad = media.undecodable + media.incomplete;
            (media.decodable + bad > 0).then(|| bad as f64 * 100.0 / (media.decodable + bad) as f64)
        },
    },
    Single {
        name: "faults",
        about: "jumps in what was forwarded that no loss explains",
        of: |r| Some(r.summary.media.faults as f64),
    },
    Single { name: "join_failures", about: "joins that failed", of: |r| Some(r.summary.participants.failed as f64) },
    Single {
        name: "without_media",
        about: "participants who joined and got nothing",
        of: |r| Some(r.summary.participants.without_media as f64),
    },
    Single {
        name: "lost_participants",
        about: "participants who were thrown out or cut off",
        of: |r| Some(r.summary.participants.lost as f64),
    },
    Single { name: "joined", about: "joins that came through", of: |r| Some(r.summary.participants.joined as f64) },
    Single {
        name: "errors",
        about: "errors of any kind",
        of: |r| Some(r.errors.iter().map(|e| e.count).sum::<u64>() as f64),
    },
    Single {
        name: "forwarded_packets_per_second",
        about: "RTP packets that receivers got",
        of: |r| (r.ran_s > 0.0).then(|| r.summary.traffic.rtp_received as f64 / r.ran_s),
    },
    Single {
        name: "server_cores",
        about: "processor cores that the server used, mean",
        of: |r| Some(r.server.as_ref()?.mean_cores),
    },
    Single {
        name: "cpu_s_per_million_packets",
        about: "CPU seconds of the server for a million packets forwarded",
        of: |r| r.server.as_ref()?.cpu_s_per_million_packets,
    },
    Single {
        name: "server_memory_mb",
        about: "the server's memory at its most",
        of: |r| Some(r.server.as_ref()?.memory_most as f64 / 1e6),
    },
    Single {
        name: "memory_per_participant_mb",
        about: "growth of the server's memory for each participant",
        of: |r| Some(r.server.as_ref()?.memory_per_participant? as f64 / 1e6),
    },
    Single {
        name: "server_receive_drops",
        about: "datagrams that the server's machine dropped unread",
        of: |r| Some(r.server.as_ref()?.receive_drops as f64),
    },
    Single {
        name: "tester_spoiled",
        about: "1 where the tester itself did not keep up, else 0",
        of: |r| Some(f64::from(r.health.spoiled)),
    },
];

fn watched(results: &Results) -> Option<f64> {
    Some(results.summary.freezes.watched_s).filter(|&seconds| seconds > 0.0)
}

/// All metrics.
pub fn all() -> impl Iterator<Item = Metric> {
    let many = MANY.iter().flat_map(|many| STATISTICS.map(|(_, _, statistic)| Metric(Kind::Of(many, statistic))));
    many.chain(SINGLE.iter().map(|single| Metric(Kind::Single(single))))
}

/// The metric of this name.
#[must_use]
pub fn find(name: &str) -> Option<Metric> {
    all().find(|metric| metric.name() == name)
}

impl Metric {
    /// What `--require` calls it.
    #[must_use]
    pub fn name(&self) -> String {
        match self.0 {
            Kind::Single(single) => single.name.to_owned(),
            Kind::Of(many, statistic) => format!("{}_{}", statistic.words().0, many.name),
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn about(&self) -> String {
        match self.0 {
            Kind::Single(single) => single.about.to_owned(),
            Kind::Of(many, statistic) => format!("{}: {}", many.about, statistic.words().1),
        }
    }

    /// Its value in a run; none where nothing of the kind was measured.
    #[must_use]
    pub fn of(&self, results: &Results) -> Option<f64> {
        match self.0 {
            Kind::Single(single) => (single.of)(results),
            Kind::Of(many, statistic) => {
                let values = (many.of)(results);
                (values.count > 0).then(|| statistic.of(values) / many.unit)
            }
        }
    }
}

impl Statistic {
    fn words(self) -> (&'static str, &'static str) {
        STATISTICS.into_iter().find(|(_, _, of)| *of == self).map_or(("", ""), |(name, about, _)| (name, about))
    }

    fn of(self, values: &Distribution) -> f64 {
        match self {
            Self::Min => values.min,
            Self::Mean => values.mean,
            Self::P50 => values.p50,
            Self::P90 => values.p90,
            Self::P99 => values.p99,
            Self::P999 => values.p999,
            Self::Max => values.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: std::collections::BTreeSet<_> = all().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.iter().all(|name| find(name).is_some_and(|metric| metric.name() == *name)));
    }

    #[test]
    fn every_metric_has_a_value_in_a_full_run_and_none_in_an_empty_one_divides_by_nothing() {
        let (full, empty) = (sample::results(), sample::empty());
        for metric in all() {
            let value = metric.of(&full).unwrap_or_else(|| panic!("{} has no value", metric.name()));
            assert!(value.is_finite(), "{} is {value}", metric.name());
            assert!(metric.of(&empty).is_none_or(f64::is_finite), "{}", metric.name());
        }
    }

    #[test]
    fn units_are_those_of_the_names() {
        let results = sample::results();
        let value = |name: &str| find(name).unwrap().of(&results).unwrap();
        assert_eq!(value("p50_received_kbps"), results.summary.bitrate.received_bps.p50 / 1e3);
        assert_eq!(value("loss_percent"), results.summary.video_loss.final_percent());
        assert_eq!(value("as_wanted_percent"), results.summary.layers.as_wanted * 100.0);
    }
}
