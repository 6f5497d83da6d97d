//! The browser protocol as far as it goes without media: over a real socket, up to the door.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::auth::{Claims, sign, unix_now};
use crate::config::{Config, Key, Secret};
use crate::{Server, serve};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn key() -> Key {
    Key {
        id: String::from("main"),
        secret: Secret::new("a secret that is long enough, and then some"),
    }
}

async fn start() -> (Server, oneshot::Sender<()>) {
    let mut config = Config {
        keys: vec![key()],
        ..Config::default()
    };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.http.addr, config.media.addr) = (loopback, loopback);
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    (serve(config, shutdown).await.expect("a server"), stop)
}

async fn connect(server: &Server, subprotocol: Option<&str>) -> Result<Socket, Error> {
    let url = format!("ws://{}/v1/rooms/demo/ws", server.http_addr());
    let mut request = url.into_client_request().expect("a request");
    if let Some(subprotocol) = subprotocol {
        request
            .headers_mut()
            .insert("sec-websocket-protocol", subprotocol.parse().expect("a value"));
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

fn join(claims: Claims) -> String {
    let token = sign(
        &key(),
        &Claims {
            exp: unix_now() + 60,
            ..claims
        },
    )
    .expect("signed");
    serde_json::json!({"type": "join", "name": "Ann", "token": token}).to_string()
}

/// What the server answers to a first message: an error's code, and then it closes.
async fn turned_away(server: &Server, first: Message) -> (String, Option<u16>) {
    let mut socket = connect(server, Some("weir.v1")).await.expect("a socket");
    socket.send(first).await.expect("sent");
    let Some(Ok(Message::Text(text))) = socket.next().await else {
        panic!("no answer")
    };
    let error: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(error["type"], "error");
    assert!(error["message"].is_string());
    let Some(Ok(Message::Close(frame))) = socket.next().await else {
        panic!("not closed")
    };
    (
        error["code"].as_str().expect("a code").to_owned(),
        frame.map(|frame| frame.code.into()),
    )
}

#[tokio::test]
async fn who_has_no_good_token_is_turned_away() {
    let (server, _stop) = start().await;
    let member = Claims {
        room: String::from("demo"),
        publish: true,
        subscribe: true,
        ..Claims::default()
    };
    let other_room = join(Claims {
        room: String::from("other"),
        ..member.clone()
    });
    let nothing_granted = join(Claims {
        publish: false,
        subscribe: false,
        ..member
    });
    let cases = [
        (r#"{"type":"join","name":"Ann"}"#.to_owned(), "unauthorized"),
        (
            r#"{"type":"join","name":"Ann","token":"x.y.z"}"#.to_owned(),
            "unauthorized",
        ),
        (other_room, "unauthorized"),
        (nothing_granted, "forbidden"),
        (r#"{"type":"ping"}"#.to_owned(), "not-joined"),
        (r#"{"type":"join"}"#.to_owned(), "bad-message"),
        ("hello".to_owned(), "bad-message"),
    ];
    for (text, code) in cases {
        assert_eq!(
            turned_away(&server, Message::text(text)).await,
            (code.to_owned(), Some(1008))
        );
    }
    let binary = turned_away(&server, Message::binary(vec![1])).await;
    assert_eq!(binary, (String::from("bad-message"), Some(1008)));
}

#[tokio::test]
async fn an_unknown_resume_word_means_to_join_anew() {
    let (server, _stop) = start().await;
    let join = Message::text(r#"{"type":"join","resume":"unknown"}"#);
    assert_eq!(
        turned_away(&server, join).await,
        (String::from("resume-failed"), Some(1000))
    );
}

#[tokio::test]
async fn other_subprotocols_are_refused() {
    let (server, _stop) = start().await;
    for subprotocol in [None, Some("weir.v2")] {
        match connect(&server, subprotocol).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("{other:?}"),
        }
    }
    assert!(connect(&server, Some("other, weir.v1")).await.is_ok());
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_the_connection() {
    let (server, _stop) = start().await;
    let mut socket = connect(&server, Some("weir.v1")).await.expect("a socket");
    // The server may be gone before all is written.
    let _ = socket.send(Message::text("x".repeat(300 * 1024))).await;
    match socket.next().await {
        None | Some(Err(_) | Ok(Message::Close(_))) => {}
        Some(Ok(other)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_server_stops_in_time_though_clients_hang() {
    let (server, stop) = start().await;
    let mut waiting = connect(&server, Some("weir.v1")).await.expect("a socket");
    // One that never reads, and one that never finishes its request.
    let _hanging = connect(&server, Some("weir.v1")).await.expect("a socket");
    let _slow = TcpStream::connect(server.http_addr()).await.expect("a connection");
    let begin = Instant::now();
    stop.send(()).expect("still there");
    let Some(Ok(Message::Text(text))) = waiting.next().await else {
        panic!("not told")
    };
    assert_eq!(text.as_str(), r#"{"type":"closed","reason":"server-shutdown"}"#);
    let Some(Ok(Message::Close(Some(frame)))) = waiting.next().await else {
        panic!("not closed")
    };
    assert_eq!(u16::from(frame.code), 1001);
    server.stopped().await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
