//! The server as a whole, over real sockets, with clients in this process.

mod bad_input;
mod doctor;
mod forwarding;
mod lifecycle;
mod recorded_offers;
mod sessions;
mod spread;
mod tls;
mod tokens;
mod whep;

use std::time::Duration;

use weir_tests::server::Server;
use weir_tests::signaling::{HttpSession, publish, watch};
use weir_tests::{eventually, poll_until};

/// A publisher and its viewer: the call that must not notice what a test does to the server.
struct Call {
    publisher: HttpSession,
    viewer: HttpSession,
}

impl Call {
    /// Starts the call and waits until the viewer has pictures and sound.
    async fn start(server: &Server, room: &str) -> Self {
        let publisher = publish(server, room).await;
        eventually("the publisher is connected", || publisher.peer.report().connected).await;
        let viewer = poll_watch(server, room).await;
        let flows = || {
            let report = viewer.peer.report();
            (report.pictures() > 5 && report.audio_packets() > 5).then_some(())
        };
        eventually("the viewer sees and hears", flows).await;
        Self { publisher, viewer }
    }

    /// One second of the call as it should be: pictures and sound flow, none is broken or skipped.
    async fn assert_well(&self, after: &str) {
        let before = self.viewer.peer.report();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = self.viewer.peer.report();
        let (pictures, audio) = (now.pictures() - before.pictures(), now.audio_packets() - before.audio_packets());
        assert!(pictures >= 20, "{pictures} pictures in a second after {after}");
        assert!(audio >= 30, "{audio} audio packets in a second after {after}");
        let jumps: u64 = now.received.values().map(|r| r.picture_id_jumps).sum();
        assert_eq!(jumps, 0, "pictures were skipped after {after}");
        assert!(!now.closed && !self.publisher.peer.report().closed, "closed after {after}");
    }
}

/// A viewer of a room whose publisher has just come: the first packets decide when there is something to watch.
async fn poll_watch(server: &Server, room: &str) -> HttpSession {
    let url = server.url(&format!("/whep/{room}"));
    let ready = || async {
        let probe = weir_tests::peer::PeerBuilder::viewer().offer();
        let answer = weir_tests::signaling::post_sdp(&url, None, weir_tests::signaling::SDP, probe.sdp).await;
        if answer.status() == 201 {
            let session = url.parse::<reqwest::Url>().ok()?.join(answer.headers()["location"].to_str().ok()?).ok()?;
            reqwest::Client::new().delete(session).send().await.ok()?;
            return Some(());
        }
        assert!([404, 409].contains(&answer.status().as_u16()), "{answer:?}");
        None
    };
    poll_until("there is something to watch", weir_tests::PATIENCE, ready).await;
    watch(server, room).await
}
