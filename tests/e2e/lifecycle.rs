//! Start and end of the server.

use std::time::{Duration, Instant};

use weir_tests::eventually;
use weir_tests::server::Server;
use weir_tests::signaling::{join, publish};

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_server_is_alive_ready_and_measurable() {
    let server = Server::start().await;
    for path in ["/livez", "/readyz", "/metrics", "/", "/r/room"] {
        let response = reqwest::get(server.url(path)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_goodbye_to_everyone() {
    let server = Server::start().await;
    let mut member = join(&server, "r", "Ada").await;
    let publisher = publish(&server, "r").await;
    for peer in [&member.peer, &publisher.peer] {
        eventually("connected", || peer.report().connected).await;
    }
    let started = Instant::now();
    let stopping = tokio::spawn(async move { server.shutdown().await });
    let closed = member.messages.expect("closed").await;
    assert_eq!(closed["reason"], "server-shutdown");
    assert_eq!(member.messages.next().await, None);
    for (who, peer) in [("the member", &member.peer), ("the publisher", &publisher.peer)] {
        eventually(&format!("{who} is told over DTLS"), || peer.report().closed.then_some(())).await;
    }
    stopping.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
}
