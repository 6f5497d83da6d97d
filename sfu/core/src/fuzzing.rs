//! One track and one slot that receives it, without a connection: the way of a packet as the shard goes it. For the
//! fuzz targets in `tests/fuzz`, for tests and for benches; not a part of the API.

#![allow(missing_docs, reason = "a test bench: the names say it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::ExtensionValues;

use crate::api::{Codec, MediaKind, ParticipantId, TrackId};
use crate::demux::Demux;
use crate::egress::Egress;
use crate::forward::SenderReport;
use crate::forward::dependency::RawDescriptor;
use crate::forward::layer::Layer as Cut;
use crate::forward::vp8::Vp8Descriptor;
use crate::ingress::{Arrival, Reading};
use crate::lipsync::PublisherClock;
use crate::participant::{Format, OutPacket, ReceiveFormat, SendFormat};
use crate::relay::{self, RelayMessage, TrackState};
use crate::track::{Cutting, Track};

/// A packet as a publisher sends it.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Index of the simulcast layer.
    pub layer: usize,
    pub ssrc: u32,
    /// Extended.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub codec: Codec,
    /// The payload is RED, its blocks of this payload type by what was negotiated.
    pub red: Option<u8>,
    pub payload: Arc<[u8]>,
    /// The dependency descriptor.
    pub descriptor: Option<Vec<u8>>,
    pub report: Option<SenderReport>,
    /// RFC 6464, in dBov.
    pub audio_level: Option<i8>,
    /// Contributing sources, at most 15.
    pub csrc: Vec<u32>,
}

/// A packet as the receiver gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub payload_type: u8,
    /// Extended.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
    pub descriptor: Option<Vec<u8>>,
    pub audio_level: Option<i8>,
    pub csrc: Vec<u32>,
    pub captured: Instant,
}

/// What a receiver takes: a payload type of a codec, and that of RED around it.
#[derive(Debug, Clone, Copy)]
pub struct Accepts {
    pub codec: Codec,
    pub payload_type: u8,
    pub red: Option<u8>,
}

/// A track on its way to one slot.
#[derive(Debug)]
pub struct Forwarding {
    track: Track,
    egress: Egress,
    formats: Vec<SendFormat>,
    clock: PublisherClock,
    publisher: ParticipantId,
}

impl Forwarding {
    /// A track of so many simulcast layers.
    pub fn new(kind: MediaKind, layers: usize, accepts: &[Accepts], seed: u64) -> Self {
        let formats = accepts.iter().map(|a| SendFormat {
            pt: Pt::from(a.payload_type),
            format: format(a.codec),
            rtx: true,
            red: a.red.map(Pt::from),
            dependency: true,
        });
        Self {
            track: track(kind, layers),
            egress: Egress::new(kind, &mut StdRng::seed_from_u64(seed)),
            formats: formats.collect(),
            clock: PublisherClock::default(),
            publisher: ParticipantId(1),
        }
    }

    /// The slot shows the track of another publisher, with so many simulcast layers.
    pub fn show_another(&mut self, layers: usize) {
        self.publisher = ParticipantId(self.publisher.0 + 1);
        self.track = track(self.track.kind, layers);
        self.clock = PublisherClock::default();
        self.egress.detach();
    }

    /// Give this layer, cut down to a spatial and a temporal one; none pauses.
    pub fn set_target(&mut self, now: Instant, target: Option<(usize, u8, u8)>) {
        let top = (u8::MAX, u8::MAX);
        let cutting = target.map(|(encoding, spatial, temporal)| Cutting {
            encoding,
            cut: Cut::new(spatial, temporal),
            whole: (spatial, temporal) == top,
        });
        self.egress.set_target(now, cutting);
    }

    /// The link of the receiver does not keep up.
    pub fn on_late(&mut self) {
        self.egress.on_late();
    }

    /// The layer whose keyframe is awaited.
    pub fn awaited(&self) -> Option<usize> {
        self.egress.awaited()
    }

    /// A packet comes; gives what goes to the receiver.
    pub fn receive(&mut self, now: Instant, packet: &Packet) -> Option<Sent> {
        let out = self.forward(now, packet)?;
        let mut payload = out.payload.to_vec();
        if let Some(fields) = out.vp8 {
            let descriptor = Vp8Descriptor::parse(&payload).expect("it was read before");
            fields.patch(&payload).expect("the stack takes the patch");
            fields.apply(&descriptor, &mut payload);
        }
        Some(Sent {
            payload_type: *out.pt,
            sequence: out.seq,
            timestamp: out.time,
            marker: out.marker,
            payload,
            descriptor: out
                .ext
                .as_ref()
                .and_then(|ext| ext.user_values.get::<RawDescriptor>())
                .map(|raw| raw.as_bytes().to_vec()),
            audio_level: out.ext.as_ref().and_then(|ext| ext.audio_level),
            csrc: out.csrc.to_vec(),
            captured: out.wallclock,
        })
    }

    /// A packet comes, and what goes to the receiver is left out. True if it gets it.
    pub fn pass(&mut self, now: Instant, packet: &Packet) -> bool {
        self.forward(now, packet).is_some()
    }

    fn forward(&mut self, now: Instant, packet: &Packet) -> Option<OutPacket> {
        let mut ext = ExtensionValues { audio_level: packet.audio_level, ..ExtensionValues::default() };
        if let Some(raw) = packet.descriptor.as_deref().and_then(RawDescriptor::new) {
            ext.user_values.set(raw);
        }
        let arrival = Arrival {
            now,
            arrived: now,
            layer: packet.layer,
            source: packet.ssrc,
            seq: packet.sequence,
            time: packet.timestamp,
            marker: packet.marker,
            format: ReceiveFormat { format: format(packet.codec), red: packet.red },
            payload: &packet.payload,
            ext: &ext,
            csrc: &packet.csrc,
            report: packet.report,
        };
        packet.report.into_iter().for_each(|report| self.clock.on_report(now, report));
        let reading = Reading::new(&mut self.track, &arrival);
        let captured = self.clock.captured(now, packet.report, packet.timestamp, packet.codec.clock_rate());
        let incoming = reading.incoming(&arrival, self.publisher, captured);
        self.egress.forward(&self.formats, &incoming)
    }
}

/// Addresses bound to participants.
#[derive(Debug, Default)]
pub struct Addresses(Demux);

impl Addresses {
    pub fn bind(&mut self, remote: SocketAddr, key: usize) {
        self.0.bind(remote, key);
    }

    pub fn owner(&self, remote: SocketAddr) -> Option<usize> {
        self.0.by_address(remote)
    }
}

/// What one shard says to another of so many packets.
#[must_use]
pub fn relayed(now: Instant, codec: Codec, packets: usize) -> RelayMessage {
    let packet = relay::Packet {
        track: TrackId(1),
        layer: 0,
        source: 1,
        seq: 1,
        time: 1,
        marker: false,
        format: ReceiveFormat { format: format(codec), red: None },
        payload: Arc::from([0; 4]),
        ext: ExtensionValues::default(),
        csrc: Box::default(),
        report: None,
        captured: now,
        silenced: false,
        late: false,
    };
    RelayMessage(relay::Message::Media { packets: vec![packet; packets], shed: Vec::new() })
}

fn format(codec: Codec) -> Format {
    Format { codec, profile: 0, packetization: 0 }
}

fn track(kind: MediaKind, layers: usize) -> Track {
    let rid = |index: usize| (layers > 1).then(|| Rid::from(["q", "h", "f"][index.min(2)]));
    Track::new(0, 0, TrackState::new(TrackId(1), Mid::from("0"), kind, (0..layers).map(rid).collect()))
}
