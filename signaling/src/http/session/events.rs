//! What a viewer is told of its source: the WHEP extension `urn:ietf:params:whep:ext:core:server-sent-events`.
//!
//! A stream is made by `POST …/sse` with the names of the events wanted, and read at its own URL, which holds a secret
//! and needs no token: a browser's `EventSource` can send none.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_sfu::allocator::Reason;
use weir_sfu::api::MediaKind;
use weir_sfu::watching::{Watched, WatchedLayer, WatchedLine};

use super::super::routes::Routes;
use super::super::{Answered, Source};
use super::resource::authorize;
use super::{Protocol, content_type, preflight};
use crate::app::App;
use crate::auth::random_text;
use crate::error::{Code, Problem};
use crate::limits::{MAX_JSON_BYTES, read_text};

/// The most streams of one session: a page has one, and one more while it reloads.
const MAX_STREAMS: usize = 4;
/// Bitrates change with every look; so many looks pass between two `layers` events that differ in nothing else.
const LOOKS_BETWEEN_LAYERS: u32 = 5;
/// Proxies end connections that are silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Active,
    Inactive,
    Layers,
    ViewerCount,
    Reconnect,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Active, Self::Inactive, Self::Layers, Self::ViewerCount, Self::Reconnect];

    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::ViewerCount => "viewercount",
            Self::Reconnect => "reconnect",
        }
    }
}

/// The streams of a session by the secret in their URL.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_secret: Mutex<HashMap<String, Stream>>,
}

#[derive(Debug)]
struct Stream {
    wanted: BTreeSet<Kind>,
    /// Cancelled when somebody else reads the stream, or it is deleted.
    reader: CancellationToken,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Stream>> {
        self.by_secret.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn add(&self, wanted: BTreeSet<Kind>) -> Result<String, Problem> {
        let mut streams = self.lock();
        if streams.len() >= MAX_STREAMS {
            let detail = format!("a session has at most {MAX_STREAMS} event streams: delete one");
            return Err(Problem::new(Code::RateLimited, detail));
        }
        let secret = random_text::<18>();
        streams.insert(secret.clone(), Stream { wanted, reader: CancellationToken::new() });
        Ok(secret)
    }

    /// Begins to read; whoever read before is cut off.
    fn read(&self, secret: &str) -> Option<(BTreeSet<Kind>, CancellationToken)> {
        let mut streams = self.lock();
        let stream = streams.get_mut(secret)?;
        std::mem::take(&mut stream.reader).cancel();
        Some((stream.wanted.clone(), stream.reader.clone()))
    }

    fn remove(&self, secret: &str) -> bool {
        self.lock().remove(secret).map(|stream| stream.reader.cancel()).is_some()
    }
}

pub(super) fn routes(resource: &str) -> Routes {
    let streams = format!("{resource}/sse");
    Routes::default().route(&streams, post(create).options(|| async { preflight("OPTIONS, POST") })).route(
        &format!("{streams}/{{stream}}"),
        get(read).delete(delete).options(|| async { preflight("DELETE, GET, HEAD, OPTIONS") }),
    )
}

/// The `Link` of a new session.
pub(super) fn link(location: &str) -> String {
    let names = Kind::ALL.map(Kind::name).join(",");
    format!("<{location}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"{names}\"")
}

/// `POST …/sse`: a JSON array of names, or nothing for all of them.
async fn create(
    State(app): State<Arc<App>>,
    Extension(protocol): Extension<Protocol>,
    Source(source): Source,
    Path((room, secret)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    app.limits.request(source)?;
    let resource = authorize(&app, protocol, &room, &secret, &headers)?;
    let text = read_text(body, MAX_JSON_BYTES, Code::TooLarge).await?;
    let wanted = if text.is_empty() {
        Kind::ALL.into()
    } else {
        content_type(&headers, "application/json")?;
        serde_json::from_str(&text).map_err(|error| Problem::new(Code::BadMessage, error.to_string()))?
    };
    let stream = resource.streams.add(wanted)?;
    // The stream begins with how things are.
    resource.look().await?;
    let location = format!("/{}/{room}/{secret}/sse/{stream}", protocol.name());
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// `DELETE` on a stream.
async fn delete(
    State(app): State<Arc<App>>,
    Extension(protocol): Extension<Protocol>,
    Source(source): Source,
    Path((room, secret, stream)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answered {
    app.limits.request(source)?;
    let resource = authorize(&app, protocol, &room, &secret, &headers)?;
    if !resource.streams.remove(&stream) {
        return Err(Problem::not_found());
    }
    Ok(StatusCode::OK.into_response())
}

/// `GET` on a stream: the events, until the session ends.
async fn read(
    State(app): State<Arc<App>>,
    Extension(protocol): Extension<Protocol>,
    Path((room, secret, stream)): Path<(String, String, String)>,
) -> Answered {
    let resource = app.sdp_sessions.find(protocol, &room, &secret).ok_or_else(Problem::not_found)?;
    let (wanted, cut_off) = resource.streams.read(&stream).ok_or_else(Problem::not_found)?;
    let server = app.config.limits.overflow.as_ref();
    let teller = Teller {
        wanted,
        watched: resource.watched.clone(),
        cut_off,
        draining: app.draining.clone(),
        elsewhere: server.map(|server| format!("{server}/{}/{room}", protocol.name())),
        told: Told::default(),
        queue: Vec::new(),
        begun: false,
    };
    let events = stream::unfold(teller, |mut teller| async move { Some((teller.next().await?, teller)) });
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = events.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What one reader of a stream is owed.
struct Teller {
    wanted: BTreeSet<Kind>,
    watched: watch::Receiver<Arc<Watched>>,
    cut_off: CancellationToken,
    draining: CancellationToken,
    /// Where to reconnect, if not here.
    elsewhere: Option<String>,
    told: Told,
    queue: Vec<(Kind, Value)>,
    begun: bool,
}

impl Teller {
    /// The next event; none when the session, or this reading of it, has ended.
    async fn next(&mut self) -> Option<Result<Event, Infallible>> {
        loop {
            if !self.queue.is_empty() {
                let (kind, data) = self.queue.remove(0);
                return Some(Ok(Event::default().event(kind.name()).data(data.to_string())));
            }
            if !std::mem::replace(&mut self.begun, true) {
                self.look();
                continue;
            }
            tokio::select! {
                () = self.cut_off.cancelled() => return None,
                () = self.draining.cancelled(), if !self.told.reconnect => {
                    self.told.reconnect = true;
                    let data = self.elsewhere.as_ref().map_or_else(|| json!({}), |url| json!({ "url": url }));
                    self.push(Kind::Reconnect, data);
                }
                changed = self.watched.changed() => match changed {
                    Ok(()) => self.look(),
                    Err(_) => return None,
                },
            }
        }
    }

    fn look(&mut self) {
        let watched = Arc::clone(&self.watched.borrow_and_update());
        let news = self.told.news(&watched);
        news.into_iter().for_each(|(kind, data)| self.push(kind, data));
    }

    fn push(&mut self, kind: Kind, data: Value) {
        if self.wanted.contains(&kind) {
            self.queue.push((kind, data));
        }
    }
}

/// What a reader knows already.
#[derive(Debug, Default)]
struct Told {
    active: bool,
    viewers: Option<usize>,
    layers: Vec<WatchedLine>,
    looks: u32,
    reconnect: bool,
}

impl Told {
    /// What has changed. There is no `inactive` at the beginning.
    fn news(&mut self, watched: &Watched) -> Vec<(Kind, Value)> {
        let mut news = Vec::new();
        let active = watched.is_active();
        if std::mem::replace(&mut self.active, active) != active {
            news.push((if active { Kind::Active } else { Kind::Inactive }, json!({})));
        }
        if self.viewers.replace(watched.viewers) != Some(watched.viewers) {
            news.push((Kind::ViewerCount, json!({ "viewercount": watched.viewers })));
        }
        let video = watched.lines.iter().filter(|line| line.kind == MediaKind::Video && line.active);
        let layers: Vec<_> = video.cloned().collect();
        self.looks += 1;
        let due = self.looks >= LOOKS_BETWEEN_LAYERS && layers != self.layers;
        if due || without_rates(&layers) != without_rates(&self.layers) {
            self.looks = 0;
            let data = layers.iter().map(|line| (line.mid.clone(), describe(line))).collect();
            news.push((Kind::Layers, Value::Object(data)));
            self.layers = layers;
        }
        news
    }
}

fn without_rates(lines: &[WatchedLine]) -> Vec<WatchedLine> {
    let mut lines = lines.to_vec();
    for line in &mut lines {
        line.layers.iter_mut().for_each(|layer| layer.bitrate = 0);
        // Its numbers grow while it lasts.
        line.waiting = line.waiting.map(|reason| match reason {
            Reason::KeyframeInterval { .. } => Reason::KeyframeInterval { ms: 0 },
            reason => reason,
        });
    }
    lines
}

/// The layers of one line: as encodings that are sent and that are not, and one by one; and why there is no picture.
fn describe(line: &WatchedLine) -> Value {
    let layers = &line.layers;
    let encoding = |layer: &WatchedLayer| {
        let mut value = json!({ "simulcastIdx": layer.index });
        if !layer.encoding.is_empty() {
            value["id"] = layer.encoding.clone().into();
        }
        if layer.active {
            value["bitrate"] = layer.bitrate.into();
            value["height"] = layer.height.into();
        }
        value
    };
    // The last of an encoding is its best, with all that it holds.
    let is_best = |at: usize| layers.get(at + 1).is_none_or(|next| next.index != layers[at].index);
    let best = || layers.iter().enumerate().filter(|(at, _)| is_best(*at)).map(|(_, layer)| layer);
    let single = layers.iter().map(|layer| {
        let mut value = json!({
            "simulcastIdx": layer.index,
            "spatialLayerId": layer.spatial,
            "temporalLayerId": layer.temporal,
            "bitrate": layer.bitrate,
        });
        if !layer.encoding.is_empty() {
            value["encodingId"] = layer.encoding.clone().into();
        }
        if layer.height > 0 {
            value["height"] = layer.height.into();
        }
        value
    });
    let mut value = json!({
        "active": best().filter(|layer| layer.active).map(encoding).collect::<Vec<_>>(),
        "inactive": best().filter(|layer| !layer.active).map(encoding).collect::<Vec<_>>(),
        "layers": single.collect::<Vec<_>>(),
    });
    if let Some(reason) = line.waiting {
        value["waiting"] = json!(reason);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(viewers: usize, bitrate: Option<u64>) -> Watched {
        let layer = |bitrate| WatchedLayer {
            encoding: "q".into(),
            index: 0,
            spatial: 0,
            temporal: 0,
            bitrate,
            height: 180,
            active: true,
        };
        let layers = bitrate.map(layer).into_iter().collect();
        let (mid, kind) = ("1".into(), MediaKind::Video);
        let line = WatchedLine { mid, kind, active: bitrate.is_some(), waiting: None, layers };
        Watched { viewers, lines: vec![line] }
    }

    fn kinds(told: &mut Told, watched: &Watched) -> Vec<Kind> {
        told.news(watched).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn only_news_are_told() {
        let mut told = Told::default();
        assert_eq!(kinds(&mut told, &watched(1, None)), [Kind::ViewerCount], "no inactive at the beginning");
        assert_eq!(kinds(&mut told, &watched(1, Some(5))), [Kind::Active, Kind::Layers]);
        assert_eq!(kinds(&mut told, &watched(1, Some(5))), []);
        assert_eq!(kinds(&mut told, &watched(2, Some(5))), [Kind::ViewerCount]);
        assert_eq!(kinds(&mut told, &watched(2, None)), [Kind::Inactive, Kind::Layers]);
    }

    #[test]
    fn bitrates_alone_are_told_now_and_then() {
        let mut told = Told::default();
        kinds(&mut told, &watched(1, Some(0)));
        let looks: Vec<bool> = (1..=10).map(|rate| !kinds(&mut told, &watched(1, Some(rate))).is_empty()).collect();
        assert_eq!(looks.iter().filter(|told| **told).count(), 2, "{looks:?}");
    }

    #[test]
    fn why_there_is_no_picture_is_told_once() {
        let mut told = Told::default();
        let waiting = |ms| {
            let mut watched = watched(1, Some(5));
            watched.lines[0].waiting = Some(Reason::KeyframeInterval { ms });
            watched
        };
        let news = told.news(&waiting(8000));
        let (_, layers) = news.iter().find(|(kind, _)| *kind == Kind::Layers).expect("layers");
        assert_eq!(layers["1"]["waiting"], json!({ "code": "keyframe-interval", "ms": 8000 }));
        assert_eq!(kinds(&mut told, &waiting(9000)), []);
        assert_eq!(kinds(&mut told, &watched(1, Some(5))), [Kind::Layers], "it has come");
    }

    #[test]
    fn a_stream_has_one_reader_and_a_session_few_streams() {
        let streams = Streams::default();
        let secret = streams.add(Kind::ALL.into()).expect("the first");
        let (_, first) = streams.read(&secret).expect("it is there");
        let (_, second) = streams.read(&secret).expect("it is there");
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert!(streams.remove(&secret) && second.is_cancelled() && streams.read(&secret).is_none());
        for _ in 0..MAX_STREAMS {
            streams.add(BTreeSet::new()).expect("room for it");
        }
        assert_eq!(streams.add(BTreeSet::new()).map_err(|p| p.code), Err(Code::RateLimited));
    }
}
