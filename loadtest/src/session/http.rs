//! WHIP (RFC 9725) and WHEP: one request, one answer.

use std::time::Duration;

use reqwest::{StatusCode, Url, header};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::member::Member;
use super::offer;
use super::{ANSWER, Context, Failure, Stay};
use crate::engine::{Event, Slot};

/// How long a viewer waits for its stream to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits between two questions, where the server says nothing of it.
const RETRY: Duration = Duration::from_secs(1);
/// The longest refusal that is read.
const MAX_TEXT: usize = 300;

/// A publisher's or viewer's stay.
pub(super) struct Session {
    pub(super) client: usize,
    pub(super) video: bool,
    pub(super) expects: bool,
    events: Receiver<Event>,
    resource: Option<Url>,
    token: Option<String>,
}

/// Posts an offer; the media connection is under way then.
pub(super) async fn join(context: &Context, member: &Member, leave: &CancellationToken) -> Result<Session, Failure> {
    let url = context.target.endpoint(member);
    let token = context.target.token(member);
    let scenario = &context.scenario;
    let watches = member.role.watches();
    let slots = (u32::from(scenario.audio.enabled), u32::from(scenario.video.enabled));
    let give_up = Instant::now() + PATIENCE;
    loop {
        let offered = offer::offer(context, member, slots)?;
        match post(context, &url, token.as_deref(), &offered.sdp).await {
            Ok(Answer { sdp, resource }) => {
                // A WHEP viewer tells no size: the best layer is what it wants.
                let best = scenario.video.layers.len() - 1;
                let shows = Some(scenario.video.layers.len());
                let slot = |mid: &_| Slot { mid: *mid, shows, wanted: best };
                let known = offered.video_slots.iter().map(slot).collect();
                let (client, events) = offered.answered(context, member, &sdp, known)?;
                let video = watches && scenario.video.enabled;
                return Ok(Session { client, video, expects: watches, events, resource, token });
            }
            Err((_, Some(wait))) if watches && Instant::now() + wait < give_up && !leave.is_cancelled() => {
                tokio::time::sleep(wait).await;
            }
            Err((failure, _)) => return Err(failure),
        }
    }
}

struct Answer {
    sdp: String,
    resource: Option<Url>,
}

/// One request; a failure says whether, and after which time, another try makes sense.
async fn post(
    context: &Context,
    url: &str,
    token: Option<&str>,
    sdp: &str,
) -> Result<Answer, (Failure, Option<Duration>)> {
    let mut request = context.target.http.post(url).header(header::CONTENT_TYPE, "application/sdp").timeout(ANSWER);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.body(sdp.to_owned()).send().await.map_err(|error| (request_failure(url, &error), None))?;
    let status = response.status();
    let after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let location = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let base = response.url().clone();
    let body = response.text().await.map_err(|error| (request_failure(url, &error), None))?;
    if status == StatusCode::CREATED || status == StatusCode::OK {
        return Ok(Answer { sdp: body, resource: location.and_then(|location| base.join(&location).ok()) });
    }
    let not_yet = matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE);
    let wait = not_yet.then(|| after.map_or(RETRY, |s| Duration::from_secs(s.clamp(1, 10))));
    Err((refusal(url, status.as_u16(), &body), wait))
}

/// What an answer other than success means.
pub(super) fn refusal(url: &str, status: u16, body: &str) -> Failure {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |key: &str| problem[key].as_str().map(str::to_owned);
    let kind = match status {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not-found",
        429 => "rate-limited",
        503 => "overloaded",
        _ => "refused",
    };
    let kind = text("code").unwrap_or_else(|| kind.to_owned());
    let said = text("detail").or_else(|| text("title")).unwrap_or_else(|| body.chars().take(MAX_TEXT).collect());
    let hint = match status {
        401 => "; give a token with WEIR_LOADTEST_TOKEN, or a key with WEIR_LOADTEST_KEY",
        403 => "; the token lacks the grant",
        429 => "; raise the server's limit of requests for this address, or the ramp",
        _ => "",
    };
    Failure::new(&kind, format!("{url} answered {status}: {}{hint}", said.trim()))
}

/// What a broken connection means.
pub(super) fn io_failure(url: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Failure::new(
            "connect-refused",
            format!("nothing listens at {url}: is the server up, and the address right?"),
        ),
        _ => Failure::new("connect-failed", format!("no connection to {url}: {error}{}", hint(&error.to_string()))),
    }
}

fn hint(error: &str) -> &'static str {
    if error.contains("certificate") { "; --insecure takes any certificate" } else { "" }
}

fn request_failure(url: &str, error: &reqwest::Error) -> Failure {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return io_failure(url, io);
        }
        source = inner.source();
    }
    let kind = if error.is_timeout() { "no-answer" } else { "connect-failed" };
    let mut words = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        words.push(inner.to_string());
        source = inner.source();
    }
    let words = words.join(": ");
    Failure::new(kind, format!("no answer from {url}: {words}{}", hint(&words)))
}

impl Session {
    /// Waits for the next thing that happens; an end of the stay comes out.
    pub(super) async fn next(&mut self, context: &Context, stay: &mut Stay) -> Option<Failure> {
        match self.events.recv().await {
            Some(event) => stay.on_event(context, event).await,
            None => Some(Failure::new("internal", "the media thread gave the client up")),
        }
    }

    /// Ends the session.
    pub(super) async fn leave(self, context: &Context) {
        let Some(resource) = self.resource else { return };
        let mut request = context.target.http.delete(resource);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        // A server that is gone needs no goodbye.
        _ = request.send().await;
    }
}
