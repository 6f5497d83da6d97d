//! The browser protocol over its WebSocket: does it get through, and which ICE servers does it name.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::super::report::Finding;
use super::site::Site;
use super::{IceServer, Pass, tls};

/// How long the WebSocket may take to open, and each answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Messages that may come before the one that is waited for.
const MAX_OTHERS: usize = 100;

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Opens the WebSocket, and joins where there is something to join with: only those who join are told the ICE servers.
pub(super) async fn examine(site: &Site, pass: Option<&Pass>) -> (Finding, Vec<IceServer>) {
    let began = Instant::now();
    let room = pass.map_or("doctor", |pass| &pass.room);
    let mut socket = match open(site, room).await {
        Ok(socket) => socket,
        Err(error) => return (shut(site, &error), Vec::new()),
    };
    let took = began.elapsed();
    let Some(pass) = pass else {
        _ = socket.close(None).await;
        return (Finding::ok("websocket", "it opens").took(took), Vec::new());
    };
    let joined = join(&mut socket, pass).await;
    _ = socket.close(None).await;
    match joined {
        Ok(servers) => (Finding::ok("websocket", "it opens, and a room can be joined").took(took), servers),
        Err(error) => {
            let finding = Finding::fails("websocket", format!("it opens, and the room cannot be joined: {error}"))
                .means("no browser with this token gets into this room");
            (finding, Vec::new())
        }
    }
}

async fn open(site: &Site, room: &str) -> Result<Socket, String> {
    let mut url = site.url.join(&format!("/v1/rooms/{room}/ws")).map_err(|error| error.to_string())?;
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme).map_err(|()| String::from("no WebSocket URL"))?;
    let mut request = url.as_str().into_client_request().map_err(|error| error.to_string())?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("weir.v1"));
    let connector = match site.trusted {
        true => None,
        false => Some(Connector::Rustls(tls::any_certificate()?)),
    };
    let opening = connect_async_tls_with_config(request, None, true, connector);
    match timeout(PATIENCE, opening).await {
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(Error::Http(answer))) => Err(format!("the answer is {}", answer.status())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok((socket, _))) => Ok(socket),
    }
}

fn shut(site: &Site, error: &str) -> Finding {
    Finding::fails("websocket", format!("it does not open: {error}"))
        .means("browsers cannot join, though pages load")
        .mend(format!(
            "a proxy before {} has to pass on upgrades: Connection, Upgrade and Sec-WebSocket-Protocol of /v1/rooms/…/ws",
            site.url.host_str().unwrap_or_default()
        ))
}

async fn join(socket: &mut Socket, pass: &Pass) -> Result<Vec<IceServer>, String> {
    let mut join = json!({"type": "join", "name": "doctor"});
    if let Some(token) = &pass.token {
        join["token"] = token.as_str().into();
    }
    socket.send(Message::text(join.to_string())).await.map_err(|error| error.to_string())?;
    for _ in 0..MAX_OTHERS {
        let message = timeout(PATIENCE, socket.next()).await.map_err(|_| String::from("no answer"))?;
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_))) | None => return Err(String::from("the server closed it")),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(error.to_string()),
        };
        let value: Value = serde_json::from_str(&text).map_err(|_| String::from("the answer is no JSON"))?;
        match value["type"].as_str() {
            Some("joined") => return Ok(servers(&[&value["iceServers"], &value["relayServers"]])),
            Some("error" | "closed") => {
                let why = value["message"].as_str().or_else(|| value["reason"].as_str());
                return Err(why.unwrap_or("without a word why").to_owned());
            }
            _ => {}
        }
    }
    Err(String::from("the server talks of other things"))
}

/// The entries of lists as `RTCPeerConnection` takes them, each URL once; an entry may name several.
fn servers(lists: &[&Value]) -> Vec<IceServer> {
    let mut all: Vec<IceServer> = Vec::new();
    for entry in lists.iter().filter_map(|list| list.as_array()).flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let urls = entry["urls"].as_array().cloned().unwrap_or_else(|| vec![entry["urls"].clone()]);
        for url in urls.iter().filter_map(Value::as_str) {
            if all.iter().any(|known| known.url == url) {
                continue;
            }
            all.push(IceServer { url: url.to_owned(), username: text("username"), credential: text("credential") });
        }
    }
    all
}
