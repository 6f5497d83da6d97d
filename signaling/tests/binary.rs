//! The binary as its users meet it: started, used, stopped; and nothing secret in what it prints.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SECRET: &str = "canary-secret-canary-secret-canary";

fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    // Away from any weir.toml, and from the variables of whoever runs the tests. (The folder for temporary files is
    // everybody's, and where people try things out: one may well lie there.)
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).env_clear().env("WEIR_KEYS", format!("main:{SECRET}"));
    command
}

fn token() -> String {
    let output = weir().args(["token", "--room", "demo", "--identity", "ann", "--publish", "--subscribe"]).output();
    let output = output.expect("run");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

struct Running {
    child: Child,
    lines: BufReader<ChildStderr>,
    address: String,
    log: String,
}

impl Running {
    fn start(log: &str) -> Self {
        let mut command = weir();
        command.args(["--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--log", log]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("its log"));
        let mut log = String::new();
        let address = loop {
            let start = log.len();
            assert_ne!(lines.read_line(&mut log).expect("a line"), 0, "it ended: {log}");
            if let Ok(line) = serde_json::from_str::<serde_json::Value>(&log[start..])
                && line["message"] == "weir is up"
            {
                break line["http"].as_str().expect("an address").to_owned();
            }
        };
        Self { child, lines, address, log }
    }

    /// Sends SIGTERM; returns how long it took to end, whether well, and all that was logged.
    fn stop(mut self) -> (Duration, bool, String) {
        let begin = Instant::now();
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill").success());
        self.lines.read_to_string(&mut self.log).expect("the rest of the log");
        let status = self.child.wait().expect("its status");
        (begin.elapsed(), status.success(), self.log)
    }
}

fn post_offer(address: &str, token: &str) -> String {
    let body = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=canary-sdp\r\n";
    let length = body.len();
    let mut stream = TcpStream::connect(address).expect("a connection");
    write!(
        stream,
        "POST /whip/demo HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/sdp\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_logged_even_when_everything_is() {
    let running = Running::start("trace");
    let token = token();
    let mut request = format!("ws://{}/v1/rooms/demo/ws", running.address).into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().expect("a value"));
    let (mut socket, _) = connect_async(request).await.expect("a socket");
    let join = serde_json::json!({"type": "join", "name": "Ann", "token": token});
    socket.send(Message::text(join.to_string())).await.expect("sent");
    let Some(Ok(Message::Text(joined))) = socket.next().await else { panic!("no answer") };
    let joined: serde_json::Value = serde_json::from_str(&joined).expect("JSON");
    assert_eq!(joined["type"], "joined");
    let answer = post_offer(&running.address, &token);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");

    let (_, well, log) = running.stop();
    assert!(well && log.contains("\"message\":\"joined\"") && log.contains("\"message\":\"left\""), "{log}");
    let word = joined["resume"].as_str().expect("a word");
    let signature = token.rsplit('.').next().expect("a signature");
    for secret in [SECRET, &token, signature, word, "canary-sdp"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn it_stops_in_time_with_a_client_that_hangs() {
    let running = Running::start("info");
    let mut hanging = TcpStream::connect(&running.address).expect("a connection");
    hanging.write_all(b"POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-le").expect("written");
    let (took, well, log) = running.stop();
    assert!(well && took < Duration::from_secs(5), "{took:?}: {log}");
}

/// What it says when it fails without keys; one that starts instead has failed the test, and is killed.
async fn fails(args: &[&str]) -> String {
    let mut command = weir();
    command.env_remove("WEIR_KEYS").args(args);
    let mut command = tokio::process::Command::from(command);
    let ended = tokio::time::timeout(Duration::from_secs(30), command.kill_on_drop(true).output()).await;
    let Output { status, stderr, .. } = ended.expect("it should have failed, and goes on").expect("run");
    assert!(!status.success());
    String::from_utf8(stderr).expect("text")
}

#[tokio::test]
async fn without_a_key_it_says_how_to_get_one() {
    let args = ["token", "--room", "demo", "--identity", "ann", "--publish"];
    let message = fails(&args).await;
    assert!(message.contains("[[keys]]") && message.contains("secret = "), "{message}");
}

#[tokio::test]
async fn a_public_address_without_keys_is_refused_at_start() {
    let message = fails(&["--http", "0.0.0.0:0"]).await;
    assert!(message.contains("http.addr") && message.contains("[[keys]]"), "{message}");
}
