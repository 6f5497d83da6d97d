//! `GET /metrics`: the counters of the workers and of HTTP in Prometheus' text format.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, TextEncoder};
use weir_sfu::stats::{self, Stats};

/// The content type of Prometheus' text format.
pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The counters that signaling keeps itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Answered HTTP requests by method, route and status.
    pub(crate) requests: IntCounterVec,
    /// Sessions by protocol: `weir.v1`, `whip`, `whep`.
    pub(crate) sessions: IntGaugeVec,
    /// Problems answered by code, over HTTP and WebSocket.
    pub(crate) problems: IntCounterVec,
}

impl Metrics {
    #[expect(clippy::expect_used, reason = "names and labels are constants, and a test renders them")]
    pub(crate) fn new() -> Self {
        let counter = |name, help, labels| IntCounterVec::new(Opts::new(name, help), labels).expect("valid");
        let gauge = |name, help, labels| IntGaugeVec::new(Opts::new(name, help), labels).expect("valid");
        Self {
            requests: counter(
                "weir_http_requests_total",
                "HTTP requests answered, by method, route and status.",
                &["method", "route", "status"],
            ),
            sessions: gauge("weir_sessions", "Sessions held, by protocol.", &["protocol"]),
            problems: counter("weir_problems_total", "Errors told to clients, by code.", &["code"]),
        }
    }

    /// Writes everything. `shards` are the workers' counters in order; empty if they do not answer.
    pub(crate) fn render(&self, shards: &[Stats], draining: bool) -> Vec<u8> {
        let mut families = vec![build_info(), single("weir_draining", "1 while the server stops.", draining)];
        families.push(single("weir_workers_up", "1 if the media workers answer.", !shards.is_empty()));
        for (name, help, read) in GAUGES {
            let value = |stats: &Stats| gauge(read(stats) as f64);
            families.push(per_shard(name, help, MetricType::GAUGE, shards, value));
        }
        for (name, help, read) in COUNTERS {
            let value = |stats: &Stats| counter(read(stats) as f64);
            families.push(per_shard(name, help, MetricType::COUNTER, shards, value));
        }
        for (name, help, bounds, unit, read) in HISTOGRAMS {
            let value = |stats: &Stats| histogram(read(stats), bounds, *unit);
            families.push(per_shard(name, help, MetricType::HISTOGRAM, shards, value));
        }
        let busy = |stats: &Stats| counter(stats.busy.as_secs_f64());
        let help = "Seconds that a media worker has worked, not waited.";
        families.push(per_shard("weir_worker_busy_seconds_total", help, MetricType::COUNTER, shards, busy));
        families.extend(load(shards));
        families.push(closed(shards));
        families.push(findings(shards));
        families.extend(self.requests.collect());
        families.extend(self.sessions.collect());
        families.extend(self.problems.collect());
        // Families without samples are an error to the encoder and of no use to readers.
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

type Read = fn(&Stats) -> u64;

/// Name, help, bounds of the buckets, how many of what was counted make one of the unit, and where it is found.
type ReadHistogram = (&'static str, &'static str, &'static [u64; 7], f64, fn(&Stats) -> &stats::Histogram);

const HISTOGRAMS: &[ReadHistogram] = &[
    ("weir_batch_datagrams", "Datagrams taken in per turn of a media worker.", &stats::SIZES, 1.0, |s| &s.batches),
    ("weir_send_run_datagrams", "Datagrams per call into the kernel to send (GSO).", &stats::SIZES, 1.0, |s| &s.runs),
    ("weir_timer_lag_seconds", "From a deadline to when a media worker looked at it.", &stats::LAGS, 1e6, |s| {
        &s.timer_lag
    }),
    (
        "weir_forward_seconds",
        "From a media packet's coming to its being sent on, for each receiver.",
        &stats::DELAYS,
        1e6,
        |s| &s.forward,
    ),
];

const GAUGES: &[(&str, &str, Read)] = &[
    ("weir_rooms", "Rooms.", |s| s.rooms),
    ("weir_participants", "Participants, all roles.", |s| s.participants),
    ("weir_tracks", "Published tracks.", |s| s.tracks),
    ("weir_subscriptions", "Tracks mapped to slots.", |s| s.subscriptions),
    ("weir_shed_slots", "Slots whose picture is left out: the media worker has no time for it.", |s| s.shed),
    ("weir_streams", "Connections of the media TCP port, and those handed over to it.", |s| s.streams),
    ("weir_turn_allocations", "Allocations of the relay.", |s| s.turn.allocations),
];

const COUNTERS: &[(&str, &str, Read)] = &[
    ("weir_datagrams_received_total", "Datagrams taken in.", |s| s.datagrams_in),
    ("weir_received_bytes_total", "Bytes of datagrams taken in.", |s| s.bytes_in),
    ("weir_datagrams_sent_total", "Datagrams given out.", |s| s.datagrams_out),
    ("weir_sent_bytes_total", "Bytes of datagrams given out.", |s| s.bytes_out),
    ("weir_rtp_received_total", "RTP packets received from publishers, repairs included.", |s| s.rtp_in),
    ("weir_rtp_forwarded_total", "RTP packets written to receivers.", |s| s.rtp_forwarded),
    ("weir_relay_sent_total", "RTP packets given to other media workers, once for each.", |s| s.relay_out),
    ("weir_relay_received_total", "RTP packets taken from other media workers.", |s| s.relay_in),
    ("weir_late_pictures_total", "Pictures given up until a keyframe: the link did not keep up.", |s| s.late_pictures),
    ("weir_dropped_late_total", "Video packets dropped: they waited for too long for a media worker.", |s| {
        s.dropped_late
    }),
    ("weir_dropped_stale_total", "Packets dropped: resent by a publisher when nobody waited for them any more.", |s| {
        s.dropped_stale
    }),
    ("weir_keyframe_requests_received_total", "Keyframe requests of receivers, before merging.", |s| {
        s.keyframe_requests_in
    }),
    ("weir_keyframe_requests_sent_total", "Keyframe requests sent to publishers.", |s| s.keyframe_requests_out),
    ("weir_dropped_unbound_total", "Datagrams dropped: from an address that no check has bound.", |s| {
        s.dropped_unbound
    }),
    ("weir_dropped_stun_total", "Datagrams dropped: STUN of an unknown user or with a wrong integrity.", |s| {
        s.dropped_stun
    }),
    ("weir_dropped_unknown_total", "Datagrams dropped: not of a kind known here.", |s| s.dropped_unknown),
    ("weir_dropped_codec_total", "Packets dropped: no receiver of that codec.", |s| s.dropped_codec),
    ("weir_dropped_ring_total", "Datagrams dropped on their way from another worker's socket.", |s| s.dropped_ring),
    ("weir_dropped_relay_total", "RTP packets dropped on their way to another media worker.", |s| s.dropped_relay),
    ("weir_dropped_send_total", "Datagrams dropped: the kernel's send buffer was full.", |s| s.dropped_send),
    ("weir_dropped_stream_total", "Packets given up that connections did not take in time, old video first.", |s| {
        s.dropped_stream
    }),
    ("weir_refused_streams_total", "Media connections turned away: there were too many.", |s| s.refused_streams),
    ("weir_turn_relayed_total", "Datagrams relayed, both ways.", |s| s.turn.relayed),
    ("weir_turn_refused_total", "Requests that the relay has refused.", |s| s.turn.refused),
    ("weir_turn_ignored_total", "Messages to the relay that were not whole, or of no allocation.", |s| s.turn.ignored),
    ("weir_turn_withheld_total", "Answers to strangers not given: they were longer than what had been asked.", |s| {
        s.turn.withheld
    }),
    ("weir_panics_total", "Participants closed because their code panicked.", |s| s.panics),
];

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn gauge(value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    Metric::from_gauge(gauge)
}

fn counter(value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

fn histogram(values: &stats::Histogram, bounds: &[u64; 7], unit: f64) -> Metric {
    let mut histogram = Histogram::default();
    let mut count = 0;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, values) in bounds.iter().zip(values.counts) {
        count += values;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / unit);
        bucket.set_cumulative_count(count);
        buckets.push(bucket);
    }
    histogram.set_bucket(buckets);
    histogram.set_sample_count(values.counts.iter().sum());
    histogram.set_sample_sum(values.sum as f64 / unit);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

/// How much of what the server can do is used: that of its busiest worker, as a room lives on one until that is loaded.
fn load(shards: &[Stats]) -> Option<MetricFamily> {
    let busiest = shards.iter().map(|stats| stats.load).reduce(f64::max)?;
    let help = "Share of the last second that the busiest media worker worked, 0 to 1.";
    Some(family("weir_load_ratio", help, MetricType::GAUGE, vec![gauge(busiest)]))
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn per_shard(
    name: &str,
    help: &str,
    kind: MetricType,
    shards: &[Stats],
    value: impl Fn(&Stats) -> Metric,
) -> MetricFamily {
    let labelled = |(shard, stats): (usize, &Stats)| {
        let mut metric = value(stats);
        metric.set_label(vec![label("shard", &shard.to_string())]);
        metric
    };
    family(name, help, kind, shards.iter().enumerate().map(labelled).collect())
}

fn single(name: &str, help: &str, on: bool) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![gauge(f64::from(u8::from(on)))])
}

fn build_info() -> MetricFamily {
    let mut metric = gauge(1.0);
    metric.set_label(vec![label("version", crate::VERSION)]);
    family("weir_build_info", "Always 1; says which version runs.", MetricType::GAUGE, vec![metric])
}

fn closed(shards: &[Stats]) -> MetricFamily {
    let metrics = by_name("reason", shards, |stats| &stats.closed);
    family("weir_participants_closed_total", "Participants closed, by reason.", MetricType::COUNTER, metrics)
}

fn findings(shards: &[Stats]) -> MetricFamily {
    let metrics = by_name("code", shards, |stats| &stats.findings);
    let help = "What was found wrong with publishers over WHIP, by code.";
    family("weir_publisher_findings_total", help, MetricType::COUNTER, metrics)
}

/// Counters that are kept by name, with the name as this label.
fn by_name(name: &str, shards: &[Stats], read: fn(&Stats) -> &BTreeMap<&'static str, u64>) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for (shard, stats) in shards.iter().enumerate() {
        for (value, count) in read(stats) {
            let mut metric = counter(*count as f64);
            metric.set_label(vec![label(name, value), label("shard", &shard.to_string())]);
            metrics.push(metric);
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_help_type_and_shards() {
        let metrics = Metrics::new();
        metrics.sessions.with_label_values(&["whip"]).inc();
        let mut busy = Stats { rooms: 2, rtp_forwarded: 7, ..Stats::default() };
        busy.closed.insert("left", 3);
        busy.findings.insert("b-frames", 2);
        (busy.load, busy.busy) = (0.25, std::time::Duration::from_millis(1500));
        [1, 8, 8, 100].into_iter().for_each(|size| busy.runs.count(&stats::SIZES, size));
        [50, 2000].into_iter().for_each(|lag| busy.timer_lag.count(&stats::LAGS, lag));
        busy.forward.count_all(&stats::DELAYS, 400, 8);
        let text = String::from_utf8(metrics.render(&[Stats::default(), busy], false)).expect("text");
        for line in [
            "# HELP weir_rooms Rooms.",
            "# TYPE weir_rooms gauge",
            "weir_rooms{shard=\"0\"} 0",
            "weir_rooms{shard=\"1\"} 2",
            "# TYPE weir_rtp_forwarded_total counter",
            "weir_rtp_forwarded_total{shard=\"1\"} 7",
            "weir_participants_closed_total{reason=\"left\",shard=\"1\"} 3",
            "weir_publisher_findings_total{code=\"b-frames\",shard=\"1\"} 2",
            "weir_sessions{protocol=\"whip\"} 1",
            "weir_load_ratio 0.25",
            "weir_worker_busy_seconds_total{shard=\"1\"} 1.5",
            "# TYPE weir_send_run_datagrams histogram",
            "weir_send_run_datagrams_bucket{shard=\"1\",le=\"4\"} 1",
            "weir_send_run_datagrams_bucket{shard=\"1\",le=\"8\"} 3",
            "weir_send_run_datagrams_bucket{shard=\"1\",le=\"+Inf\"} 4",
            "weir_send_run_datagrams_sum{shard=\"1\"} 117",
            "weir_timer_lag_seconds_bucket{shard=\"1\",le=\"0.0001\"} 1",
            "weir_timer_lag_seconds_bucket{shard=\"1\",le=\"0.003\"} 2",
            "weir_forward_seconds_bucket{shard=\"1\",le=\"0.00025\"} 0",
            "weir_forward_seconds_bucket{shard=\"1\",le=\"0.0005\"} 8",
            "weir_forward_seconds_sum{shard=\"1\"} 0.0032",
            "weir_draining 0",
            "weir_workers_up 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn without_workers_there_is_still_something_to_read() {
        let text = String::from_utf8(Metrics::new().render(&[], true)).expect("text");
        assert!(text.contains("weir_workers_up 0") && text.contains("weir_draining 1"), "{text}");
    }
}
