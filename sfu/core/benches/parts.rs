//! What the parts of the media path and of a join cost: `cargo bench -p weir-core --bench parts`.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a benchmark starts its virtual clock from the real one")]

#[path = "path/payload.rs"]
mod payload;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use str0m::RtcConfig;
use str0m::media::{Direction, MediaKind as RtcKind};
use weir_core::api::*;
use weir_core::fuzzing::{Accepts, Addresses, Forwarding, Packet};
use weir_core::shard::{Input, Output, Shard, ShardConfig, new_certificate};
use weir_core::turn::fuzzing::Bound;
use weir_core::turn::{Clock, Outcome, concerns};

/// What Chromium 156 offers to send: three encodings, every codec that it has.
const SENDS: &str = include_str!("../../../tests/data/sdp/chromium-156.0.8078.79-sendonly-simulcast-all-codecs.sdp");
/// And to watch.
const WATCHES: &str = include_str!("../../../tests/data/sdp/chromium-156.0.8078.79-whep-recvonly.sdp");

/// What the web app offers to join with: it sends sound and three encodings, and has 3 slots for sound and 9 for pictures.
const CHROMIUM_MEMBER: &str =
    include_str!("../../../tests/data/sdp/members/chromium-156.0.8078.114-3-audio-9-video.sdp");
const FIREFOX_MEMBER: &str = include_str!("../../../tests/data/sdp/members/firefox-esr-153.8.0-3-audio-9-video.sdp");

fn main() {
    divan::main();
}

fn address(n: u32) -> SocketAddr {
    SocketAddr::from((n.wrapping_mul(2_654_435_761).to_be_bytes(), 1024 + (n % 60_000) as u16))
}

/// Whose datagram is it, among so many participants.
#[divan::bench(args = [10, 1000, 10_000])]
fn demux(bencher: Bencher<'_, '_>, participants: u32) {
    let mut table = Addresses::default();
    (0..participants).for_each(|n| table.bind(address(n), n as usize));
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7919) % participants;
        table.owner(divan::black_box(address(n)))
    });
}

/// A packet of 1,200 bytes out of a client's channel data: what the relay adds to a packet on its way in.
#[divan::bench]
fn relay_in(bencher: Bencher<'_, '_>) {
    let now = Instant::now();
    let mut bound = Bound::new(now);
    let channel = Bound::CHANNEL.to_be_bytes();
    let data = [&channel, 1200u16.to_be_bytes().as_slice(), &[0x80; 1200]].concat();
    bencher.bench_local(|| {
        let data = divan::black_box(&data);
        assert!(concerns(data));
        let out = bound.turn.handle(Clock { now, unix: 0 }, bound.client, data);
        matches!(out, Outcome::Relayed { .. })
    });
}

/// And into it: what the relay adds on the way out, the copy included.
#[divan::bench]
fn relay_out(bencher: Bencher<'_, '_>) {
    let now = Instant::now();
    let mut bound = Bound::new(now);
    let (data, mut out) = (vec![0x80; 1200], Vec::new());
    bencher.bench_local(|| {
        let sent = bound.turn.wrap(now, bound.peer, bound.relayed, divan::black_box(&data), &mut out);
        assert_eq!(sent, Some(bound.client));
        out.len()
    });
}

/// A packet read and rewritten for one receiver: frames of eight packets, after a switch, so that the counters of the
/// descriptors are written anew.
fn rewrite(bencher: Bencher<'_, '_>, codec: Codec, rtc_codec: str0m::format::Codec, temporal: u8) {
    let kind = if codec == Codec::Opus { MediaKind::Audio } else { MediaKind::Video };
    let accepts = [Accepts { codec, payload_type: 96, red: None }];
    let mut forwarding = Forwarding::new(kind, 1, &accepts, 7);
    let (start, per_frame) = (Instant::now(), if codec == Codec::Opus { 1 } else { 8 });
    forwarding.set_target(start, Some((0, u8::MAX, u8::MAX)));
    let packet = |n: u64, ssrc: u32| {
        let (frame, part) = (n / per_frame, n % per_frame);
        let mut bytes = payload::payload(rtc_codec, frame, part as usize, per_frame as usize, frame == 0);
        bytes.resize(if codec == Codec::Opus { 80 } else { 1200 }, 0x55);
        Packet {
            layer: 0,
            ssrc,
            sequence: 1000 + n,
            timestamp: frame as u32 * 3000,
            marker: part + 1 == per_frame,
            codec,
            red: None,
            payload: Arc::from(bytes),
            descriptor: (codec == Codec::Av1).then(|| descriptor(frame, part == 0, part + 1 == per_frame)),
            report: None,
            audio_level: (codec == Codec::Opus).then_some(-30),
            csrc: Vec::new(),
        }
    };
    // Another publisher was shown before.
    (0..100).for_each(|n| _ = forwarding.pass(start, &packet(n, 1)));
    forwarding.show_another(1);
    forwarding.set_target(start, Some((0, u8::MAX, temporal)));
    let (forwarding, mut n) = (RefCell::new(forwarding), 0);
    let mut passed = 0_u64;
    bencher
        .with_inputs(|| {
            n += 1;
            (start + Duration::from_millis(n * 33 / per_frame), packet(n - 1, 2))
        })
        .bench_local_refs(|(now, packet)| passed += u64::from(forwarding.borrow_mut().pass(*now, packet)));
    assert!(passed > 0, "nothing passes");
}

/// The dependency descriptor of L1T3 as Chromium 156 sends it; the structure comes with the first frame.
fn descriptor(frame: u64, begins: bool, ends: bool) -> Vec<u8> {
    let [high, low] = (frame as u16 + 1).to_be_bytes();
    let template = if frame == 0 { 0 } else { [1, 3, 2, 4][(frame % 4) as usize] };
    let mut bytes = vec![u8::from(begins) << 7 | u8::from(ends) << 6 | template, high, low];
    if frame == 0 && begins {
        bytes.extend(STRUCTURE);
    }
    bytes
}

/// Recorded, as `src/forward/testdata/chromium-av1-l1t3.txt`.
const STRUCTURE: [u8; 17] =
    [0x80, 0x02, 0x14, 0xea, 0xa8, 0x60, 0x41, 0x4d, 0x14, 0x10, 0x20, 0x84, 0x27, 0x04, 0xff, 0x02, 0xcf];

#[divan::bench]
fn rewrite_opus(bencher: Bencher<'_, '_>) {
    rewrite(bencher, Codec::Opus, str0m::format::Codec::Opus, u8::MAX);
}

#[divan::bench]
fn rewrite_vp8(bencher: Bencher<'_, '_>) {
    rewrite(bencher, Codec::Vp8, str0m::format::Codec::Vp8, u8::MAX);
}

#[divan::bench]
fn rewrite_vp8_half_the_frames(bencher: Bencher<'_, '_>) {
    rewrite(bencher, Codec::Vp8, str0m::format::Codec::Vp8, 1);
}

#[divan::bench]
fn rewrite_h264(bencher: Bencher<'_, '_>) {
    rewrite(bencher, Codec::H264, str0m::format::Codec::H264, u8::MAX);
}

#[divan::bench]
fn rewrite_vp9(bencher: Bencher<'_, '_>) {
    rewrite(bencher, Codec::Vp9, str0m::format::Codec::Vp9, u8::MAX);
}

#[divan::bench]
fn rewrite_av1(bencher: Bencher<'_, '_>) {
    rewrite(bencher, Codec::Av1, str0m::format::Codec::Av1, u8::MAX);
}

/// A shard and the members of one room.
struct Desk {
    shard: Shard,
    now: Instant,
    request: u64,
}

impl Desk {
    fn new() -> Self {
        let now = Instant::now();
        let candidates = vec![SocketAddr::from(([192, 0, 2, 1], 3478))];
        let config = ShardConfig {
            number: 0,
            cert: new_certificate(),
            candidates,
            tcp_candidates: Vec::new(),
            loudest: 3,
            max_bitrate: 8_000_000,
        };
        Self { shard: Shard::new(config, 7, now), now, request: 0 }
    }

    fn command(&mut self, command: Command) -> Option<Reply> {
        self.request += 1;
        self.shard.handle(self.now, Input::Command { request: self.request, command });
        let mut replied = None;
        while let Some(output) = self.shard.poll_output() {
            if let Output::Event(Event::Reply { reply, .. }) = output {
                replied = Some(reply);
            }
        }
        replied
    }

    fn join(&mut self, id: u64, role: Role) {
        let reply = self.command(Command::Join(Box::new(Join {
            participant: ParticipantId(id),
            room: Arc::from("room"),
            create: true,
            name: String::new(),
            identity: String::new(),
            role,
            watch: Watch::default(),
            can_publish: true,
            can_subscribe: true,
            metadata: String::new(),
            max_participants: usize::MAX,
            max_publishers: usize::MAX,
        })));
        assert!(matches!(reply, Some(Reply::Join(Ok(_)))), "{reply:?}");
    }

    fn offer(&mut self, id: u64, sdp: String) {
        let reply = self.command(Command::Offer(ParticipantId(id), Box::new(Offer { sdp, tracks: Vec::new() })));
        assert!(matches!(reply, Some(Reply::Offer(Ok(_)))), "{reply:?}");
    }

    fn leave(&mut self, id: u64) {
        self.command(Command::Leave(ParticipantId(id), CloseReason::Left));
    }
}

/// An offer read and answered, the connection made, in an empty room.
fn answer(bencher: Bencher<'_, '_>, role: Role, sdp: &str) {
    let desk = RefCell::new(Desk::new());
    desk.borrow_mut().join(1, Role::Publisher);
    bencher
        .with_inputs(|| {
            let mut desk = desk.borrow_mut();
            desk.leave(2);
            desk.join(2, role);
            sdp.to_owned()
        })
        .bench_local_values(|sdp| desk.borrow_mut().offer(2, sdp));
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn answer_chromium_simulcast(bencher: Bencher<'_, '_>) {
    answer(bencher, Role::Publisher, SENDS);
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn answer_chromium_viewer(bencher: Bencher<'_, '_>) {
    answer(bencher, Role::Viewer, WATCHES);
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn answer_chromium_member_of_twelve_slots(bencher: Bencher<'_, '_>) {
    answer(bencher, Role::Member, CHROMIUM_MEMBER);
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn answer_firefox_member_of_twelve_slots(bencher: Bencher<'_, '_>) {
    answer(bencher, Role::Member, FIREFOX_MEMBER);
}

/// Every codec that the stack knows, and not those alone that the web app asks for.
#[divan::bench(sample_size = 1, sample_count = 200)]
fn answer_own_member_of_twelve_slots(bencher: Bencher<'_, '_>) {
    answer(bencher, Role::Member, &member(false));
}

/// The offer of a member with 3 slots for sound and 9 for pictures, as the stack itself makes it.
fn member(sends: bool) -> String {
    let mut rtc = RtcConfig::new().build(Instant::now());
    let mut api = rtc.sdp_api();
    if sends {
        api.add_media(RtcKind::Audio, Direction::SendOnly, None, None, None);
        api.add_media(RtcKind::Video, Direction::SendOnly, None, None, None);
    }
    (0..3).for_each(|_| _ = api.add_media(RtcKind::Audio, Direction::RecvOnly, None, None, None));
    (0..9).for_each(|_| _ = api.add_media(RtcKind::Video, Direction::RecvOnly, None, None, None));
    let (offer, _) = api.apply().expect("lines were added");
    offer.to_sdp_string()
}

/// Joining and negotiating where so many are already, ten of them sending.
#[divan::bench(args = [10, 100, 1000], sample_size = 1, sample_count = 100)]
fn join(bencher: Bencher<'_, '_>, present: u64) {
    let desk = RefCell::new(Desk::new());
    let (sends, receives) = (member(true), member(false));
    for id in 1..=present {
        desk.borrow_mut().join(id, Role::Member);
        desk.borrow_mut().offer(id, if id <= 10 { sends.clone() } else { receives.clone() });
    }
    let new = present + 1;
    bencher
        .with_inputs(|| {
            desk.borrow_mut().leave(new);
            receives.clone()
        })
        .bench_local_values(|sdp| {
            let mut desk = desk.borrow_mut();
            desk.join(new, Role::Member);
            desk.offer(new, sdp);
        });
}
