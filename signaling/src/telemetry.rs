//! Logs and traces.
//!
//! Logs go to stderr: for humans on a terminal, JSON elsewhere. One line per event in the life of a session; never a
//! token, never SDP. Traces go out over OTLP where an endpoint is configured: one span per join, one below it for
//! each step until media flows.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Span, Subscriber, info, info_span, warn};
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};
use weir_sfu::api::{Answer, CloseReason, Milestone, Notice, ParticipantId, Role, TrackId};
use weir_sfu::doctor::{Finding, Remedy};

use crate::config::{LogFormat, Telemetry};
use crate::error::Code;

/// The target of the spans that are exported.
const JOURNEY: &str = "weir::journey";

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_millis(500);

/// Crates that log what they read, write and are given once they log more than this: tokens, SDP, ICE passwords.
const CAPPED: [&str; 9] =
    ["tungstenite", "tokio_tungstenite", "hyper", "hyper_util", "h2", "rustls", "reqwest", "is", "str0m"];
const CAP: LevelFilter = LevelFilter::INFO;

/// True for what may be logged, whatever the configured filter says.
fn harmless(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= CAP || !CAPPED.contains(&root)
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// The log filter is not one.
    #[error("telemetry.log: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter could not be made.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Something else in this process logs already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the exporter; flushes it when dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            // Nobody is left to read a log line about traces that could not be delivered.
            let _ = provider.shutdown_with_timeout(FLUSH);
        }
    }
}

/// Sets up logs, and traces where an endpoint is configured.
///
/// Call it outside of a tokio runtime: the exporter brings a blocking HTTP client.
pub(crate) fn init(config: &Telemetry) -> Result<Guard, InitError> {
    let (subscriber, guard) = subscriber(config)?;
    subscriber.try_init()?;
    Ok(guard)
}

fn subscriber(config: &Telemetry) -> Result<(impl Subscriber + Send + Sync + 'static, Guard), InitError> {
    // It warns of every broken message, and anybody can send those.
    let quiet = "stun_types=off".parse()?;
    // Without a hint, what no filter lets through would be looked at each time: the stack traces every packet.
    let harmless = FilterFn::new(harmless).with_max_level_hint(LevelFilter::TRACE);
    let filter = EnvFilter::try_new(&config.log)?.add_directive(quiet).and(harmless);
    let human = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match human {
        true => format.with_ansi(std::io::stderr().is_terminal()).with_target(false).with_filter(filter).boxed(),
        false => format.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let provider = config.otlp_endpoint.as_deref().map(exporter).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("weir"));
        // Where in the code a span began, and on which thread, says nothing about a session.
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        let journeys = FilterFn::new(|metadata: &Metadata<'_>| metadata.target() == JOURNEY);
        layer.with_filter(journeys.with_max_level_hint(LevelFilter::INFO))
    });
    Ok((tracing_subscriber::registry().with(logs).with(traces), Guard { provider }))
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    const PATH: &str = "/v1/traces";
    let base = endpoint.trim_end_matches('/');
    let url = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url).build()?;
    let resource = Resource::builder().with_service_name("weir").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The life of one session, told to the log and to traces.
#[derive(Debug)]
pub(crate) struct Journey {
    room: Arc<str>,
    participant: ParticipantId,
    role: Role,
    /// From the request to join until all steps are done. Dropped when they are.
    join: Option<Span>,
    /// The steps begun and not done: each ends with its milestone.
    steps: Vec<(Milestone, Span)>,
    published: HashSet<TrackId>,
    /// What is wrong with what it sends, by code.
    findings: Vec<&'static str>,
}

impl Journey {
    /// Somebody wants in.
    pub(crate) fn begin(room: &Arc<str>, participant: ParticipantId, role: Role) -> Self {
        let join = info_span!(target: JOURNEY, parent: None, "join", %room, %participant, ?role);
        Self {
            room: Arc::clone(room),
            participant,
            role,
            join: Some(join),
            steps: Vec::new(),
            published: HashSet::new(),
            findings: Vec::new(),
        }
    }

    fn log(&self, event: &str) {
        info!(room = %self.room, participant = %self.participant, "{event}");
    }

    /// It is in.
    pub(crate) fn joined(&self) {
        info!(room = %self.room, participant = %self.participant, role = ?self.role, "joined");
    }

    /// The span to negotiate in.
    pub(crate) fn offer(&self) -> Span {
        info_span!(target: JOURNEY, parent: self.join.as_ref().and_then(Span::id), "offer")
    }

    /// An offer was answered.
    pub(crate) fn answered(&mut self, answer: &Answer) {
        for track in &answer.tracks {
            if self.published.insert(track.id) {
                info!(room = %self.room, participant = %self.participant, track = %track.id, mid = track.mid, "published");
            }
        }
        if self.steps.is_empty() {
            self.step(Milestone::IceConnected);
        }
    }

    /// Its offer was not taken.
    pub(crate) fn refused(&mut self, code: Code) {
        info!(room = %self.room, participant = %self.participant, code = code.text(), "offer refused");
        self.left(CloseReason::Left);
    }

    /// A notice came; milestones, unpublished tracks and what is wrong with what it sends are of interest.
    pub(crate) fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Milestone(milestone) => self.milestone(*milestone),
            Notice::TrackUnpublished(participant, track) if *participant == self.participant => {
                self.published.remove(track);
            }
            Notice::ParticipantUpdated(info) if info.id == self.participant => self.diagnosed(&info.findings),
            _ => {}
        }
    }

    /// Says what is new, and what is over. The core bounds how often: a finding stays for ten seconds at least.
    fn diagnosed(&mut self, findings: &[Finding]) {
        let before = std::mem::take(&mut self.findings);
        self.findings = findings.iter().map(|finding| finding.symptom.code()).collect();
        for Finding { symptom, .. } in findings.iter().filter(|finding| !before.contains(&finding.symptom.code())) {
            let (room, participant, code, remedy) = (&self.room, self.participant, symptom.code(), symptom.remedy());
            let Remedy { ffmpeg, obs, gstreamer } = remedy;
            warn!(%room, %participant, code, ffmpeg, obs, gstreamer, "{symptom}");
        }
        for code in before.iter().filter(|code| !self.findings.contains(code)) {
            info!(room = %self.room, participant = %self.participant, code, "mended");
        }
    }

    fn milestone(&mut self, milestone: Milestone) {
        self.log(name(milestone));
        self.steps.retain(|(step, _)| *step != milestone);
        match milestone {
            Milestone::IceConnected => self.step(Milestone::DtlsConnected),
            Milestone::DtlsConnected => {
                if self.role != Role::Viewer {
                    self.step(Milestone::FirstPacket);
                }
                if self.role != Role::Publisher {
                    self.step(Milestone::FirstKeyframe);
                }
            }
            Milestone::FirstPacket | Milestone::FirstKeyframe => {}
        }
        if self.steps.is_empty() {
            self.join = None;
        }
    }

    fn step(&mut self, milestone: Milestone) {
        let Some(join) = &self.join else { return };
        let span = match milestone {
            Milestone::IceConnected => info_span!(target: JOURNEY, parent: join, "ice-connected"),
            Milestone::DtlsConnected => info_span!(target: JOURNEY, parent: join, "dtls-connected"),
            Milestone::FirstPacket => info_span!(target: JOURNEY, parent: join, "first-packet"),
            Milestone::FirstKeyframe => info_span!(target: JOURNEY, parent: join, "first-keyframe"),
        };
        self.steps.push((milestone, span));
    }

    /// It is out.
    pub(crate) fn left(&mut self, reason: CloseReason) {
        self.steps.clear();
        self.join = None;
        info!(room = %self.room, participant = %self.participant, reason = reason_text(reason), "left");
    }
}

fn name(milestone: Milestone) -> &'static str {
    match milestone {
        Milestone::IceConnected => "ice-connected",
        Milestone::DtlsConnected => "dtls-connected",
        Milestone::FirstPacket => "first-packet",
        Milestone::FirstKeyframe => "first-keyframe",
    }
}

/// The reason as the protocol writes it.
pub(crate) fn reason_text(reason: CloseReason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_logged_is_not_even_looked_at() {
        for (log, level) in [("info", LevelFilter::INFO), ("warn,weir=debug", LevelFilter::DEBUG)] {
            for otlp_endpoint in [None, Some(String::from("http://127.0.0.1:9"))] {
                let config = Telemetry { log: log.into(), otlp_endpoint, ..Telemetry::default() };
                let (subscriber, _guard) = subscriber(&config).expect("a subscriber");
                assert_eq!(subscriber.max_level_hint(), Some(level), "{config:?}");
            }
        }
    }
}
