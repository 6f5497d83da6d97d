//! The browser protocol as far as it goes without media: over a real socket, up to the door.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
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
    Key { id: String::from("main"), secret: Secret::new("a secret that is long enough, and then some") }
}

/// With keys, so that the doors are shut.
async fn start() -> (Server, oneshot::Sender<()>) {
    start_with(vec![key()]).await
}

async fn start_with(keys: Vec<Key>) -> (Server, oneshot::Sender<()>) {
    let mut config = Config { keys, ..Config::default() };
    config.media.workers = 1;
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
        request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().expect("a value"));
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

fn join(claims: Claims) -> String {
    let token = sign(&key(), &Claims { exp: unix_now() + 60, ..claims }).expect("signed");
    json!({"type": "join", "name": "Ann", "token": token}).to_string()
}

/// What the server answers to a first message: an error's code, and then it closes.
async fn turned_away(server: &Server, first: Message) -> (String, Option<u16>) {
    let mut socket = connect(server, Some("weir.v1")).await.expect("a socket");
    socket.send(first).await.expect("sent");
    let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no answer") };
    let error: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(error["type"], "error");
    assert!(error["message"].is_string());
    let Some(Ok(Message::Close(frame))) = socket.next().await else { panic!("not closed") };
    (error["code"].as_str().expect("a code").to_owned(), frame.map(|frame| frame.code.into()))
}

#[tokio::test]
async fn who_has_no_good_token_is_turned_away() {
    let (server, _stop) = start().await;
    let member = Claims { room: String::from("demo"), publish: true, subscribe: true, ..Claims::default() };
    let other_room = join(Claims { room: String::from("other"), ..member.clone() });
    let nothing_granted = join(Claims { publish: false, subscribe: false, ..member });
    let cases = [
        (r#"{"type":"join","name":"Ann"}"#.to_owned(), "unauthorized"),
        (r#"{"type":"join","name":"Ann","token":"x.y.z"}"#.to_owned(), "unauthorized"),
        (other_room, "unauthorized"),
        (nothing_granted, "forbidden"),
        (r#"{"type":"ping"}"#.to_owned(), "not-joined"),
        (r#"{"type":"join"}"#.to_owned(), "bad-message"),
        ("hello".to_owned(), "bad-message"),
    ];
    for (text, code) in cases {
        assert_eq!(turned_away(&server, Message::text(text)).await, (code.to_owned(), Some(1008)));
    }
    let binary = turned_away(&server, Message::binary(vec![1])).await;
    assert_eq!(binary, (String::from("bad-message"), Some(1008)));
}

#[tokio::test]
async fn an_unknown_resume_word_means_to_join_anew() {
    let (server, _stop) = start().await;
    let join = Message::text(r#"{"type":"join","resume":"unknown"}"#);
    assert_eq!(turned_away(&server, join).await, (String::from("resume-failed"), Some(1000)));
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
    let Some(Ok(Message::Text(text))) = waiting.next().await else { panic!("not told") };
    assert_eq!(text.as_str(), r#"{"type":"closed","reason":"server-shutdown"}"#);
    let Some(Ok(Message::Close(Some(frame)))) = waiting.next().await else { panic!("not closed") };
    assert_eq!(u16::from(frame.code), 1001);
    server.stopped().await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// The next message of that type; others are skipped.
async fn expect(socket: &mut Socket, kind: &str) -> serde_json::Value {
    let find = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                    if message["type"] == kind {
                        return message;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?} and not {kind}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), find).await.unwrap_or_else(|_| panic!("no {kind}"))
}

async fn say(socket: &mut Socket, message: serde_json::Value) {
    socket.send(Message::text(message.to_string())).await.expect("sent");
}

async fn join_as(server: &Server, name: &str) -> (Socket, serde_json::Value) {
    let mut socket = connect(server, Some("weir.v1")).await.expect("a socket");
    say(&mut socket, json!({"type": "join", "name": name})).await;
    let joined = expect(&mut socket, "joined").await;
    (socket, joined)
}

#[tokio::test]
async fn members_hear_of_each_other() {
    let (server, _stop) = start_with(Vec::new()).await;
    let (mut ann, joined) = join_as(&server, "Ann").await;
    assert_eq!(joined["room"], "demo");
    assert_eq!(joined["participants"], json!([]));
    assert_eq!(joined["limits"], json!({"slots": {"audio": 3, "video": 49}, "participants": 100}));
    let (mut bob, bob_joined) = join_as(&server, "Bob").await;
    assert_eq!(bob_joined["participants"][0]["name"], "Ann");
    let news = expect(&mut ann, "participant-joined").await;
    assert_eq!(news["participant"]["id"], bob_joined["participant"]);

    say(&mut bob, json!({"type": "metadata", "metadata": "hand raised"})).await;
    assert_eq!(expect(&mut ann, "participant-updated").await["participant"]["metadata"], "hand raised");
    say(&mut bob, json!({"type": "leave"})).await;
    assert_eq!(expect(&mut bob, "closed").await["reason"], "left");
    let Some(Ok(Message::Close(Some(frame)))) = bob.next().await else { panic!("not closed") };
    assert_eq!(u16::from(frame.code), 1000);
    let left = expect(&mut ann, "participant-left").await;
    assert_eq!((&left["participant"], &left["reason"]), (&bob_joined["participant"], &json!("left")));
}

#[tokio::test]
async fn what_cannot_be_understood_is_answered_and_nothing_else_happens() {
    let (server, _stop) = start_with(Vec::new()).await;
    let (mut ann, _) = join_as(&server, "Ann").await;
    for message in [json!({"type": "nonsense"}), json!({"type": "join", "name": "Ann"}), json!([1])] {
        say(&mut ann, message).await;
        assert_eq!(expect(&mut ann, "error").await["code"], "bad-message");
    }
    say(&mut ann, json!({"type": "offer", "id": 5, "sdp": "nonsense", "tracks": []})).await;
    let error = expect(&mut ann, "error").await;
    assert_eq!((&error["id"], &error["code"]), (&json!(5), &json!("bad-offer")));
    say(&mut ann, json!({"type": "ping", "id": 7})).await;
    assert_eq!(expect(&mut ann, "pong").await, json!({"type": "pong", "id": 7}));
}

#[tokio::test]
async fn a_close_frame_is_a_goodbye() {
    let (server, _stop) = start_with(Vec::new()).await;
    let (mut ann, _) = join_as(&server, "Ann").await;
    let (mut bob, _) = join_as(&server, "Bob").await;
    bob.close(None).await.expect("closed");
    assert_eq!(expect(&mut ann, "participant-left").await["reason"], "left");
    assert!(matches!(bob.next().await, None | Some(Ok(Message::Close(_)))), "the server answers the close frame");
}

#[tokio::test]
async fn a_dropped_websocket_resumes_as_the_same_participant() {
    let (server, _stop) = start_with(Vec::new()).await;
    let (mut ann, _) = join_as(&server, "Ann").await;
    let (bob, joined) = join_as(&server, "Bob").await;
    // Without a close frame: the connection breaks.
    drop(bob);
    let mut bob = connect(&server, Some("weir.v1")).await.expect("a socket");
    say(&mut bob, json!({"type": "join", "name": "Bob", "resume": joined["resume"]})).await;
    let again = expect(&mut bob, "joined").await;
    assert_eq!(again["participant"], joined["participant"]);
    assert_eq!(again["participants"][0]["name"], "Ann");
    assert_eq!(again["participants"].as_array().map(Vec::len), Some(1), "nobody is in twice");
    expect(&mut bob, "slots").await;
    say(&mut bob, json!({"type": "metadata", "metadata": "back"})).await;
    // Had Bob left in between, that would have come first.
    let Some(Ok(Message::Text(_joined))) = ann.next().await else { panic!("no news") };
    let Some(Ok(Message::Text(text))) = ann.next().await else { panic!("no news") };
    assert!(text.contains("participant-updated") && text.contains("back"), "{text}");
}

#[tokio::test]
async fn a_websocket_that_takes_over_ends_the_old_one() {
    let (server, _stop) = start_with(Vec::new()).await;
    let (mut old, joined) = join_as(&server, "Ann").await;
    let mut new = connect(&server, Some("weir.v1")).await.expect("a socket");
    say(&mut new, json!({"type": "join", "resume": joined["resume"]})).await;
    expect(&mut new, "joined").await;
    assert!(!matches!(old.next().await, Some(Ok(Message::Text(_)))), "nothing more is said to the old one");
    say(&mut new, json!({"type": "ping"})).await;
    expect(&mut new, "pong").await;
}

#[tokio::test]
async fn a_resume_word_is_good_for_its_room_only() {
    let (server, _stop) = start_with(Vec::new()).await;
    let (_ann, joined) = join_as(&server, "Ann").await;
    let url = format!("ws://{}/v1/rooms/other/ws", server.http_addr());
    let mut request = url.into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().expect("a value"));
    let (mut socket, _) = connect_async(request).await.expect("a socket");
    say(&mut socket, json!({"type": "join", "resume": joined["resume"]})).await;
    assert_eq!(expect(&mut socket, "error").await["code"], "resume-failed");
}

#[tokio::test]
async fn members_are_told_that_the_server_stops() {
    let (server, stop) = start_with(Vec::new()).await;
    let (mut ann, _) = join_as(&server, "Ann").await;
    stop.send(()).expect("still there");
    assert_eq!(expect(&mut ann, "closed").await["reason"], "server-shutdown");
    let Some(Ok(Message::Close(Some(frame)))) = ann.next().await else { panic!("not closed") };
    assert_eq!(u16::from(frame.code), 1001);
    server.stopped().await;
}
