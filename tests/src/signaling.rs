//! The three ways in: WHIP, WHEP and the browser protocol.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response as Upgraded;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::PATIENCE;
use crate::peer::{Peer, PeerBuilder};
use crate::server::Server;

/// The content type of offers and answers.
pub const SDP: &str = "application/sdp";

/// A WHIP or WHEP session.
pub struct HttpSession {
    /// Its URL.
    pub url: String,
    /// The entity tag of its ICE session.
    pub etag: String,
    /// The answer.
    pub answer: String,
    /// The client.
    pub peer: Peer,
}

/// Posts an offer.
///
/// # Panics
/// When there is no HTTP answer at all.
pub async fn post_sdp(url: &str, token: Option<&str>, content_type: &str, sdp: impl Into<String>) -> Response {
    let mut request = Client::new().post(url).header("content-type", content_type).body(sdp.into());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("an HTTP answer")
}

/// A WHIP publisher with one Opus and one VP8 track, without a token.
pub async fn publish(server: &Server, room: &str) -> HttpSession {
    open(&server.url(&format!("/whip/{room}")), None, PeerBuilder::publisher()).await
}

/// A WHEP viewer, without a token.
pub async fn watch(server: &Server, room: &str) -> HttpSession {
    open(&server.url(&format!("/whep/{room}")), None, PeerBuilder::viewer()).await
}

/// Opens a WHIP or WHEP session.
///
/// # Panics
/// When the server does not answer 201 with all that belongs to it.
pub async fn open(url: &str, token: Option<&str>, client: PeerBuilder) -> HttpSession {
    let offered = client.offer();
    let response = post_sdp(url, token, SDP, offered.sdp.clone()).await;
    let status = response.status();
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (location, etag) = (header("location"), header("etag"));
    let answer = response.text().await.expect("a body");
    assert_eq!(status, 201, "{url}: {answer}");
    let location = location.expect("201 without Location");
    let base = reqwest::Url::parse(url).expect("a URL");
    HttpSession {
        url: base.join(&location).expect("Location is a URL reference").into(),
        etag: etag.expect("201 without ETag"),
        peer: offered.answered(&answer),
        answer,
    }
}

impl HttpSession {
    /// Ends the session.
    ///
    /// # Panics
    /// When the server does not say 200.
    pub async fn delete(&self) {
        let response = Client::new().delete(&self.url).send().await.expect("an HTTP answer");
        assert_eq!(response.status(), 200);
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A WebSocket of the browser protocol.
pub struct Messages {
    socket: Socket,
}

impl Messages {
    /// Connects without joining.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connect(server: &Server, room: &str) -> Self {
        let (socket, _) = Self::try_connect(server, room).await.expect("a WebSocket");
        Self { socket }
    }

    /// Connects without joining, or gives the refusal.
    ///
    /// # Errors
    /// What the server said instead.
    ///
    /// # Panics
    /// When `room` does not fit into a URL.
    pub async fn try_connect(
        server: &Server,
        room: &str,
    ) -> Result<(Socket, Upgraded), Box<tokio_tungstenite::tungstenite::Error>> {
        let url = server.url(&format!("/v1/rooms/{room}/ws")).replacen("http", "ws", 1);
        let mut request = url.into_client_request().expect("a URL");
        request.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().expect("a header value"));
        connect_async(request).await.map_err(Box::new)
    }

    /// Sends one message.
    ///
    /// # Panics
    /// When the WebSocket is closed.
    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    /// Sends one frame as it is.
    ///
    /// # Panics
    /// When the WebSocket is closed.
    pub async fn send_raw(&mut self, frame: Message) {
        self.socket.send(frame).await.expect("an open WebSocket");
    }

    /// The next message; none when the server has closed.
    ///
    /// # Panics
    /// When nothing comes in time, or it is not JSON.
    pub async fn next(&mut self) -> Option<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let frame = tokio::time::timeout_at(deadline, self.socket.next()).await.expect("no message in time");
            match frame? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next message of a type; the others are let go.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let mut others = Vec::new();
        loop {
            let Some(message) = self.next().await else { panic!("closed while waiting for {kind}: {others:?}") };
            if message["type"] == kind {
                return message;
            }
            others.push(message);
        }
    }

    /// Everything that comes within `time`.
    ///
    /// # Panics
    /// When something is not JSON.
    pub async fn during(&mut self, time: Duration) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + time;
        let mut messages = Vec::new();
        while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(deadline, self.socket.next()).await {
            if let Message::Text(text) = frame {
                messages.push(serde_json::from_str(&text).expect("JSON"));
            }
        }
        messages
    }

    /// Closes properly, as a page that is left does.
    ///
    /// # Panics
    /// When the WebSocket is broken.
    pub async fn close(&mut self) {
        self.socket.close(None).await.expect("an open WebSocket");
    }
}

/// A member of a room over the browser protocol.
pub struct Member {
    /// Its WebSocket.
    pub messages: Messages,
    /// Its media.
    pub peer: Peer,
    /// Its id.
    pub id: String,
    /// The token that resumes its stay.
    pub resume: String,
    /// Who was there before it.
    pub others: Vec<Value>,
}

/// Joins with a camera, a microphone and slots for three others.
pub async fn join(server: &Server, room: &str, name: &str) -> Member {
    let client = PeerBuilder::publisher().receive(3, 3);
    Box::pin(join_with(server, room, json!({"name": name}), client)).await
}

/// Joins with what `client` sends and receives; `join` holds the fields of the `join` message.
///
/// # Panics
/// When the server refuses.
pub async fn join_with(server: &Server, room: &str, mut join: Value, client: PeerBuilder) -> Member {
    let mut messages = Messages::connect(server, room).await;
    join["type"] = "join".into();
    messages.send(join).await;
    let joined = messages.expect("joined").await;
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let offered = client.offer();
    let sending = offered.lines.iter().filter(|l| l.sending);
    let source = |video| if video { "camera" } else { "microphone" };
    let tracks: Vec<_> = sending.map(|l| json!({"mid": l.mid, "source": source(l.video)})).collect();
    messages.send(json!({"type": "offer", "id": 1, "sdp": offered.sdp, "tracks": tracks})).await;
    let answer = messages.expect("answer").await;
    assert_eq!(answer["id"], 1);
    Member {
        messages,
        peer: offered.answered(answer["sdp"].as_str().expect("sdp")),
        id: text(&joined["participant"]),
        resume: text(&joined["resume"]),
        others: joined["participants"].as_array().expect("participants").clone(),
    }
}
