//! The settings of a participant's stack.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use str0m::bwe::Bitrate;
use str0m::config::DtlsCert;
use str0m::net::{Protocol, TcpType};
use str0m::rtp::{Extension, ExtensionMap, vla};
use str0m::{Candidate, CandidateKind, IceCreds, Rtc, RtcConfig};

use crate::forward::dependency::{self, DependencySerializer};

/// How often the stack tells what it has measured. Its event for a new estimate gives the mean of three seconds, so a
/// link that fell from 2.5 Mbps to 150 kbps is told in small steps; its statistics give the value of the moment.
const STATS_INTERVAL: Duration = Duration::from_millis(100);

/// What a connection is taken to carry before anything was measured; libwebrtc starts there too.
pub(super) const FIRST_ESTIMATE: Bitrate = Bitrate::kbps(300);

/// What the shard shares with all participants.
#[derive(Debug, Clone)]
pub(crate) struct PeerConfig {
    pub cert: DtlsCert,
    pub candidates: Vec<SocketAddr>,
    pub tcp_candidates: Vec<SocketAddr>,
    /// Goes into the ICE user fragment, so that any worker knows the owner.
    pub shard: u8,
}

/// ICE credentials of 8 and 24 characters (RFC 8445 section 5.3 asks for 4 and 22), the shard in the first two.
pub(super) fn credentials(shard: u8, rng: &mut StdRng) -> IceCreds {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345679";
    let mut text = |n: usize| (0..n).map(|_| char::from(ALPHABET[rng.random_range(0..32)])).collect::<String>();
    IceCreds { ufrag: format!("{shard:02x}{}", text(10)), pass: text(26) }
}

/// A stack that has the server's candidates. `estimates`: of the bandwidth towards the client.
pub(super) fn build(now: Instant, config: &PeerConfig, creds: IceCreds, estimates: bool) -> Rtc {
    let mut extensions = ExtensionMap::standard();
    extensions.set(5, Extension::PlayoutDelay);
    extensions.set(6, Extension::VideoContentType);
    extensions.set(9, Extension::with_serializer(vla::URI, vla::Serializer));
    extensions.set(7, Extension::AbsoluteCaptureTime);
    extensions.set(12, Extension::with_serializer(dependency::URI, DependencySerializer));
    let mut rtc = RtcConfig::new()
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_dtls_cert(config.cert.clone())
        .set_local_ice_credentials(creds)
        .set_stats_interval(estimates.then_some(STATS_INTERVAL))
        .set_media_stats(false)
        .enable_bwe(estimates.then_some(FIRST_ESTIMATE))
        .set_extension_map(extensions)
        .clear_codecs()
        .enable_opus(true, true)
        .enable_vp8(true)
        .enable_h264(true)
        .enable_vp9(true)
        .enable_av1(true)
        .build(now);
    for address in &config.candidates {
        if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
            rtc.add_local_candidate(candidate);
        }
        // What comes through the own relay comes to this one. The stack sends over the nominated pair of the highest
        // priority, and takes the client's side of it from a check (RFC 8445 section 7.1.1), which says 110 through a relay
        // and 80 over TCP: the own side must say that a relay is the last resort. Clients are not told of it.
        let (kind, foundation) = (CandidateKind::Host, String::from("relay"));
        rtc.add_local_candidate(Candidate::from_parts(
            foundation,
            1,
            Protocol::Tls,
            1,
            *address,
            kind,
            None,
            None,
            None,
        ));
    }
    for address in &config.tcp_candidates {
        // The stack gives them a lower priority than UDP: 90 for 126 (RFC 6544 section 4.2).
        if let Ok(candidate) = Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build() {
            rtc.add_local_candidate(candidate);
        }
    }
    rtc
}
