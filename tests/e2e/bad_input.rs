//! What clients get wrong is answered clearly, and nobody else's call notices.

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use reqwest::Client;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use weir_tests::peer::PeerBuilder;
use weir_tests::poll_until;
use weir_tests::server::Server;
use weir_tests::signaling::{Messages, SDP, join, open, post_sdp};

use crate::Call;

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_cannot_be_read_is_a_clear_error() {
    let server = Server::start().await;
    let call = Call::start(&server, "healthy").await;
    let good = PeerBuilder::publisher().offer().sdp;
    let bomb = format!("{good}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:x\r\n".repeat(1000));
    let cases = [
        ("nothing", SDP, String::new(), 400, "bad-offer"),
        ("no SDP", SDP, "hello".into(), 400, "bad-offer"),
        ("the beginning of an SDP", SDP, good[..20].to_owned(), 400, "bad-offer"),
        ("JSON", "application/json", format!("{{\"sdp\": {good:?}}}"), 415, "unsupported-media-type"),
        ("plain text", "text/plain", good.clone(), 415, "unsupported-media-type"),
        ("100 kB", SDP, format!("{good}{}", "a=x:y\r\n".repeat(15_000)), 413, "offer-too-large"),
        ("2 MB", SDP, "a".repeat(2_000_000), 413, "offer-too-large"),
        ("a thousand lines of media", SDP, bomb, 413, "offer-too-large"),
        ("no media", SDP, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".into(), 400, "bad-offer"),
    ];
    let mut wrong = Vec::new();
    for path in ["/whip/r", "/whep/healthy"] {
        for (what, kind, body, status, code) in &cases {
            let response = post_sdp(&server.url(path), None, kind, body.clone()).await;
            let got = response.status().as_u16();
            let problem: Value = response.json().await.expect("problem+json");
            if (got, problem["code"].as_str()) != (*status, Some(*code)) {
                wrong.push(format!("{what} at {path}: not {status} {code}: {problem}"));
            }
            assert!(problem["detail"].as_str().is_some_and(|d| d.len() > 10), "{problem}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    call.assert_well("bad offers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_of_an_unknown_or_silent_room_is_told_which() {
    let server = Server::start().await;
    let offer = || PeerBuilder::viewer().offer().sdp;
    let response = post_sdp(&server.url("/whep/nowhere"), None, SDP, offer()).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "not-found");
    let mut messages = Messages::connect(&server, "silent").await;
    messages.send(json!({"type": "join", "name": "Ada"})).await;
    messages.expect("joined").await;
    let response = post_sdp(&server.url("/whep/silent"), None, SDP, offer()).await;
    assert_eq!(response.status(), 409);
    assert!(response.headers().contains_key("retry-after"));
    let response = post_sdp(&server.url("/whep/bad%20name"), None, SDP, offer()).await;
    assert_eq!(response.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_any_form_are_never_a_server_error() {
    let server = Server::start().await;
    let call = Call::start(&server, "healthy").await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
    let long = format!("/whip/{}", "x".repeat(5000));
    let paths = [
        "/whip",
        "/whip/",
        "/whip/r",
        "/whip/r/s",
        "/whip/%00",
        "/whip/..%2f..%2fetc",
        "/whep/healthy/nothing",
        "/v1/rooms/r/ws",
        "/v1/rooms/%ff",
        "/v1/nothing",
        "/r/",
        "//",
        &long,
    ];
    for path in paths {
        for method in methods {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let response = Client::new().request(method.clone(), server.url(path)).body("x").send().await.unwrap();
            let status = response.status();
            assert!(!status.is_server_error(), "{method} {path}: {status}");
        }
    }
    call.assert_well("odd requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_speaks_nonsense_is_told_so_and_touches_nobody() {
    let server = Server::start().await;
    let ada = join(&server, "r", "Ada").await;
    let bo = join(&server, "r", "Bo").await;
    for peer in [&ada.peer, &bo.peer] {
        weir_tests::eventually("media flows", || (peer.report().pictures() > 5).then_some(())).await;
    }
    let nonsense = [
        Message::text("hello"),
        Message::text("{"),
        Message::text("[]"),
        Message::text("null"),
        Message::text("{}"),
        Message::text(r#"{"type": 7}"#),
        Message::text(r#"{"type": "dance"}"#),
        Message::text(r#"{"type": "join"}"#),
        Message::text(r#"{"type": "join", "name": 5}"#),
        Message::text("[".repeat(10_000)),
        Message::binary(vec![0; 1000]),
    ];
    // Before joining, and after: as a member that has lost its mind.
    for frame in &nonsense {
        let mut messages = Messages::connect(&server, "r").await;
        messages.send_raw(frame.clone()).await;
        let answer = messages.next().await;
        let code = answer.as_ref().and_then(|m| m["code"].as_str());
        assert!(matches!(code, Some("bad-message" | "not-joined") | None), "{frame:?}: {answer:?}");
    }
    let mut member = Messages::connect(&server, "r").await;
    member.send(json!({"type": "join", "name": "Cy"})).await;
    member.expect("joined").await;
    let after_joining = [
        json!({"type": "dance"}),
        json!({"type": "offer", "id": 1}),
        json!({"type": "offer", "id": 1, "sdp": "hello", "tracks": []}),
        json!({"type": "view", "slots": 5}),
        json!({"type": "mute", "track": "t0000000000000000"}),
        json!({"type": "mute", "track": "x", "muted": true}),
    ];
    for message in after_joining {
        member.send(message.clone()).await;
        let error = member.expect("error").await;
        let code = error["code"].as_str().unwrap();
        assert!(["bad-message", "bad-offer"].contains(&code), "{message}: {error}");
    }
    // Valid words about things that are not there do no harm.
    for message in [
        json!({"type": "view", "slots": [{"mid": "no such", "width": 1, "height": 1}]}),
        json!({"type": "mute", "track": "t0123456789abcdef", "muted": true}),
    ] {
        member.send(message).await;
    }
    member.send(json!({"type": "ping", "id": 5})).await;
    assert_eq!(member.expect("pong").await["id"], 5);
    // A frame over the limit ends this connection, and only this one.
    member.send_raw(Message::text("x".repeat(300 * 1024))).await;
    poll_member_end(&mut member).await;
    for (name, peer) in [("Ada", &ada.peer), ("Bo", &bo.peer)] {
        let before = peer.report().pictures();
        weir_tests::eventually("pictures go on", || (peer.report().pictures() > before + 20).then_some(())).await;
        let jumps: u64 = peer.report().received.values().map(|r| r.picture_id_jumps).sum();
        assert_eq!(jumps, 0, "{name} missed pictures");
    }
}

async fn poll_member_end(messages: &mut Messages) {
    while messages.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_datagrams_are_counted_and_touch_nobody() {
    let server = Server::start().await;
    let call = Call::start(&server, "healthy").await;
    let dropped = || async {
        let metrics = server.metrics().await;
        let kinds = [
            "weir_dropped_unbound_total",
            "weir_dropped_stun_total",
            "weir_dropped_unknown_total",
            "weir_turn_ignored_total",
            "weir_turn_refused_total",
            "weir_turn_withheld_total",
        ];
        kinds.iter().map(|kind| metrics.sum(kind)).sum::<f64>()
    };
    let before = dropped().await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = SmallRng::seed_from_u64(3478);
    let mut buffer = [0; 1500];
    let mut requests = 0;
    for index in 0..10_000_u32 {
        let len = (random.next_u32() % 1500) as usize;
        random.fill_bytes(&mut buffer[..len]);
        // Every kind of first byte that RFC 7983 knows gets its share: STUN, DTLS, TURN channels, RTP.
        if len > 0 {
            buffer[0] = [buffer[0], 0, 1, 20, 22, 64, 128, 144][index as usize % 8];
        }
        // A STUN header whose length and cookie are right, with attributes that are not.
        if index % 8 == 1 && len >= 20 {
            let body = ((len - 20) & !3) as u16;
            buffer[..2].copy_from_slice(&[0, 1]);
            buffer[2..4].copy_from_slice(&body.to_be_bytes());
            buffer[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
            // Without any attribute it is a request that a STUN server answers.
            requests += usize::from(body == 0);
        }
        socket.send_to(&buffer[..len], server.media_addr()).unwrap();
        // Loopback has no other brake: let the server's socket buffer drain.
        if index % 100 == 99 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    call.assert_well("10,000 random datagrams").await;
    let counted = || async { (dropped().await >= before + 9_000.0).then_some(()) };
    poll_until("the datagrams are counted as dropped", weir_tests::PATIENCE, counted).await;
    assert_eq!(server.metrics().await.sum("weir_panics_total"), 0.0);
    socket.set_nonblocking(true).unwrap();
    let answered = std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count();
    assert!(answered <= requests, "{answered} random datagrams were answered, of {requests} that are STUN requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_forged_in_a_publishers_name_change_nothing() {
    let server = Server::start().await;
    let call = Call::start(&server, "healthy").await;
    let ufrag = call.publisher.answer.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).unwrap().to_owned();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for index in 0..1000_u16 {
        // A binding request for the right user fragment, with an integrity that is not.
        let username = format!("{ufrag}:forged");
        let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        stun.extend([7; 10]);
        stun.extend(index.to_be_bytes());
        let padded = username.len().next_multiple_of(4);
        stun.extend([0, 6]);
        stun.extend((username.len() as u16).to_be_bytes());
        stun.extend(username.as_bytes());
        stun.resize(20 + 4 + padded, 0);
        stun.extend([0, 8, 0, 20]);
        stun.extend([index as u8; 20]);
        let len = (stun.len() - 20) as u16;
        stun[2..4].copy_from_slice(&len.to_be_bytes());
        socket.send_to(&stun, server.media_addr()).unwrap();
        // RTP that names the publisher's line, from an address that no check has bound.
        let mut rtp = vec![0x90, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0x40, b'0', 0, 0];
        rtp[2..4].copy_from_slice(&index.to_be_bytes());
        rtp.extend([0x5a; 200]);
        socket.send_to(&rtp, server.media_addr()).unwrap();
    }
    call.assert_well("forged datagrams").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_there_is_404() {
    let server = Server::start().await;
    let session = open(&server.url("/whip/r"), None, PeerBuilder::publisher()).await;
    session.delete().await;
    let again = Client::new().delete(&session.url).send().await.unwrap();
    assert_eq!(again.status(), 404);
    let patch = Client::new().patch(&session.url).header("content-type", "application/trickle-ice-sdpfrag");
    let patch = patch.header("if-match", session.etag).body("a=end-of-candidates\r\n").send().await.unwrap();
    assert_eq!(patch.status(), 404);
}
