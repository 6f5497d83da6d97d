//! Weir's browser protocol, `weir.v1` (docs/PROTOCOL.md), as a client speaks it.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use str0m::media::{Mid, Rid};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::member::Member;
use super::offer::{self, Offered};
use super::{ANSWER, Context, Failure, Report, Stay};
use crate::engine::{Event, Slot};
use crate::scenario::Scenario;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A member's stay.
pub(super) struct Session {
    pub(super) client: usize,
    pub(super) video: bool,
    socket: Socket,
    events: Receiver<Event>,
    /// By track id: how many layers it has, where it is video.
    tracks: HashMap<String, usize>,
    /// By `a=mid`: the track that the slot shows.
    shown: HashMap<String, String>,
    slots: Vec<Mid>,
    view: View,
}

/// What the member looks at.
struct View {
    sizes: Vec<(u32, u32)>,
    now: usize,
    next_change: Option<Instant>,
    every: Duration,
    heights: Vec<u16>,
}

impl View {
    fn new(scenario: &Scenario) -> Self {
        let view = &scenario.view;
        let changes = view.sizes.len() > 1 && !view.change_every.is_zero();
        Self {
            sizes: view.sizes.clone(),
            now: 0,
            next_change: changes.then(|| Instant::now() + view.change_every),
            every: view.change_every,
            heights: scenario.video.layers.iter().map(|layer| layer.height).collect(),
        }
    }

    fn size(&self) -> Option<(u32, u32)> {
        self.sizes.get(self.now % self.sizes.len().max(1)).copied()
    }

    /// The layer to be wanted: the smallest that is at least nearly as high as the picture on screen. Scaling up by a
    /// sixth is hardly seen.
    fn layer(&self) -> usize {
        let last = self.heights.len().saturating_sub(1);
        let Some((_, height)) = self.size() else { return last };
        self.heights.iter().position(|layer| u32::from(*layer) * 100 >= height * 85).unwrap_or(last)
    }
}

/// Joins; the media connection is under way then.
pub(super) async fn join(context: &Context, member: &Member) -> Result<Session, Failure> {
    let mut socket = connect(context, member).await?;
    let mut join = json!({"type": "join", "name": format!("tester {}", member.number)});
    if let Some(token) = context.target.token(member) {
        join["token"] = token.into();
    }
    let joined = ask(&mut socket, join, "joined").await?;
    let view = &context.scenario.view;
    let video = context.scenario.video.enabled;
    let offered = offer::offer(context, member, (view.audio_slots, if video { view.slots } else { 0 }))?;
    let answer = negotiate(&mut socket, &offered).await?;
    let slots = offered.video_slots.clone();
    let watches = member.role.watches();
    let (client, events) = offered.answered(context, member, &answer, Vec::new())?;
    let mut session = Session {
        client,
        video: video && watches,
        socket,
        events,
        tracks: HashMap::new(),
        shown: HashMap::new(),
        slots: if watches { slots } else { Vec::new() },
        view: View::new(&context.scenario),
    };
    for participant in joined["participants"].as_array().into_iter().flatten() {
        session.learn_tracks(participant);
    }
    session.show().await?;
    Ok(session)
}

async fn connect(context: &Context, member: &Member) -> Result<Socket, Failure> {
    let url = context.target.websocket(member);
    let bad = |error: String| Failure::new("bad-url", format!("{url}: {error}"));
    let mut request = url.as_str().into_client_request().map_err(|e| bad(e.to_string()))?;
    let protocol = tungstenite::http::HeaderValue::from_static("weir.v1");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let connecting = connect_async_tls_with_config(request, None, true, context.target.connector());
    let connected = timeout(ANSWER, connecting).await.map_err(|_| no_answer(&url))?;
    connected.map(|(socket, _)| socket).map_err(|error| refused(&url, &error))
}

fn no_answer(url: &str) -> Failure {
    Failure::new("no-answer", format!("{url} did not answer within {} s", ANSWER.as_secs()))
}

fn refused(url: &str, error: &tungstenite::Error) -> Failure {
    match error {
        tungstenite::Error::Io(io) => super::http::io_failure(url, io),
        tungstenite::Error::Http(response) => {
            let status = response.status().as_u16();
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            super::http::refusal(url, status, &body)
        }
        other => Failure::new("websocket", format!("{url}: {other}")),
    }
}

/// Says something and waits for the answer of that type.
async fn ask(socket: &mut Socket, message: Value, answer: &str) -> Result<Value, Failure> {
    send(socket, &message).await?;
    let waiting = async {
        loop {
            let message = read(socket).await?;
            match message["type"].as_str() {
                Some(kind) if kind == answer => return Ok(message),
                Some("error") => return Err(told(&message)),
                Some("closed") => return Err(closed(&message)),
                _ => {}
            }
        }
    };
    let late = |_| Failure::new("no-answer", format!("the server sent no `{answer}` within {} s", ANSWER.as_secs()));
    timeout(ANSWER, waiting).await.map_err(late)?
}

async fn negotiate(socket: &mut Socket, offered: &Offered) -> Result<String, Failure> {
    let tracks: Vec<Value> =
        offered.sending.iter().map(|(mid, what)| json!({"mid": mid.to_string(), "source": what.name()})).collect();
    let offer = json!({"type": "offer", "id": 1, "sdp": offered.sdp, "tracks": tracks});
    let answer = ask(socket, offer, "answer").await?;
    answer["sdp"].as_str().map(str::to_owned).ok_or_else(|| Failure::new("bad-answer", "the answer holds no SDP"))
}

/// What an `error` message tells.
fn told(message: &Value) -> Failure {
    let text = |key: &str| message[key].as_str().unwrap_or("unknown");
    Failure::new(text("code"), text("message"))
}

fn closed(message: &Value) -> Failure {
    let reason = message["reason"].as_str().unwrap_or("unknown");
    Failure::new("closed-by-server", format!("the server closed the session: {reason}"))
}

async fn send(socket: &mut Socket, message: &Value) -> Result<(), Failure> {
    socket.send(Message::text(message.to_string())).await.map_err(|error| broken(&error.to_string()))
}

async fn read(socket: &mut Socket) -> Result<Value, Failure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text)
                    .map_err(|error| Failure::new("bad-message", format!("the server sent no JSON: {error}")));
            }
            Some(Ok(Message::Close(_))) | None => return Err(broken("the server closed it")),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(broken(&error.to_string())),
        }
    }
}

fn broken(why: &str) -> Failure {
    Failure::new("websocket-lost", format!("the WebSocket broke: {why}"))
}

impl Session {
    /// There is something to get already.
    pub(super) fn expects(&self) -> bool {
        self.video && self.slots.len().min(self.tracks.len()) > 0
    }

    /// Waits for the next thing that happens; an end of the stay comes out.
    pub(super) async fn next(&mut self, context: &Context, stay: &mut Stay) -> Option<Failure> {
        let change = self.view.next_change;
        let step = tokio::select! {
            message = read(&mut self.socket) => match message {
                Ok(message) => self.on_message(context, stay, &message).await,
                Err(failure) => Err(failure),
            },
            event = self.events.recv() => match event {
                Some(event) => stay.on_event(context, event).await.map_or(Ok(()), Err),
                None => Err(Failure::new("internal", "the media thread gave the client up")),
            },
            () = async { tokio::time::sleep_until(change.unwrap_or_else(Instant::now)).await }, if change.is_some() => {
                self.change_view(context).await
            }
        };
        step.err()
    }

    async fn on_message(&mut self, context: &Context, stay: &mut Stay, message: &Value) -> Result<(), Failure> {
        match message["type"].as_str().unwrap_or_default() {
            "participant-joined" | "participant-updated" => self.learn_tracks(&message["participant"]),
            "track-published" => self.learn_track(&message["track"]),
            "slots" => self.on_slots(context, message),
            "layers" => self.on_layers(context, message),
            "quality" => {
                let code = message["reason"]["code"].as_str().unwrap_or("none given");
                context.report(Report::Reason(code.to_owned())).await;
            }
            "error" => context.report(Report::Trouble(told(message))).await,
            "closed" => return Err(closed(message)),
            _ => {}
        }
        if stay.expects_since.is_none() && self.expects() {
            stay.expects_since = Some(context.clock.now_us());
        }
        Ok(())
    }

    fn learn_tracks(&mut self, participant: &Value) {
        participant["tracks"].as_array().into_iter().flatten().for_each(|track| self.learn_track(track));
    }

    fn learn_track(&mut self, track: &Value) {
        if track["kind"] == "video"
            && let Some(id) = track["id"].as_str()
        {
            let layers = track["layers"].as_array().map_or(0, Vec::len).max(1);
            self.tracks.insert(id.to_owned(), layers);
        }
    }

    fn on_slots(&mut self, context: &Context, message: &Value) {
        let mut changed = Vec::new();
        for assignment in message["assignments"].as_array().into_iter().flatten() {
            let Some(name) = assignment["mid"].as_str() else { continue };
            let mid = Mid::from(name);
            if !self.slots.contains(&mid) {
                continue;
            }
            let track = assignment["track"].as_str().map(str::to_owned);
            let before = match &track {
                Some(track) => self.shown.insert(name.to_owned(), track.clone()),
                None => self.shown.remove(name),
            };
            let shows = track.as_ref().map(|id| self.tracks.get(id).copied().unwrap_or(1));
            changed.push((Slot { mid, shows, wanted: self.view.layer() }, before != track));
        }
        if !changed.is_empty() {
            context.engine.slots(self.client, changed);
        }
    }

    fn on_layers(&self, context: &Context, message: &Value) {
        let rids = message["active"].as_array().into_iter().flatten().filter_map(Value::as_str).map(Rid::from);
        if let Some(mid) = message["mid"].as_str() {
            context.engine.layers(self.client, Mid::from(mid), rids.collect());
        }
    }

    async fn change_view(&mut self, context: &Context) -> Result<(), Failure> {
        self.view.now += 1;
        self.view.next_change = Some(Instant::now() + self.view.every);
        let slot = |mid: &Mid| {
            let shows = self.shown.get(&mid.to_string()).map(|id| self.tracks.get(id).copied().unwrap_or(1));
            (Slot { mid: *mid, shows, wanted: self.view.layer() }, false)
        };
        context.engine.slots(self.client, self.slots.iter().map(slot).collect());
        self.show().await
    }

    /// Tells the server how large the pictures are.
    async fn show(&mut self) -> Result<(), Failure> {
        let Some((width, height)) = self.view.size().filter(|_| !self.slots.is_empty()) else { return Ok(()) };
        let slots: Vec<Value> =
            self.slots.iter().map(|mid| json!({"mid": mid.to_string(), "width": width, "height": height})).collect();
        send(&mut self.socket, &json!({"type": "view", "auto": true, "slots": slots})).await
    }

    /// Says goodbye.
    pub(super) async fn leave(mut self) {
        // A server that is gone needs no goodbye.
        _ = send(&mut self.socket, &json!({"type": "leave"})).await;
        _ = self.socket.close(None).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_wanted_is_the_smallest_that_is_nearly_large_enough() {
        let mut view = View::new(&Scenario::default());
        for (height, layer) in [(90, 0), (180, 0), (211, 0), (212, 1), (360, 1), (720, 2), (2000, 2)] {
            view.sizes = vec![(0, height)];
            assert_eq!(view.layer(), layer, "{height}");
        }
        view.sizes.clear();
        assert_eq!(view.layer(), 2);
    }
}
