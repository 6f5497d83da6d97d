//! One track on its way to one receiver, through everything that can happen to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use weir_core::api::{Codec, MediaKind};
use weir_core::fuzzing::{Accepts, Forwarding};

use super::bytes::Bytes;
use super::publisher::{Known, Stream};
use super::receiver::Receiver;

/// How many packets may be under way at once.
const UNDER_WAY: usize = 48;
/// How many packets can come a second time.
const RECENT: usize = 64;

/// Packets of simulcast and scalable streams of all codecs, in any order, through the rewriting of one slot.
pub fn rewrite(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut world = World::new(&mut bytes);
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
}

struct World {
    /// Print every packet, to find out what a failing input does.
    trace: bool,
    audio: bool,
    streams: Vec<Stream>,
    /// The SSRCs that a layer had before, with where their sequence numbers and timestamps were.
    left: Vec<(usize, u32, u64, u32)>,
    next_ssrc: u32,
    now: Instant,
    wall: Duration,
    forwarding: Forwarding,
    receiver: Receiver,
    under_way: VecDeque<Known>,
    recent: VecDeque<Known>,
    /// How many packets of a frame are still to come.
    missing: HashMap<(u32, u64), usize>,
    /// Frames of which a packet came after a later frame.
    late: HashSet<(u32, u64)>,
}

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let head = bytes.byte();
        let audio = head & 0x1f == 0x1f;
        let layers = if audio { 1 } else { 1 + usize::from(head % 3) };
        let red = (head & 0x20 == 0x20).then_some(63);
        let accepts = |codec, payload_type, red| Accepts { codec, payload_type, red };
        let all = [
            accepts(Codec::Opus, if head & 0x40 == 0x40 { 109 } else { 111 }, red),
            accepts(Codec::Vp8, 96, None),
            accepts(Codec::Vp9, 98, None),
            accepts(Codec::H264, 100, None),
            accepts(Codec::Av1, 45, None),
        ];
        // Some receivers lack AV1.
        let known = if head & 0x80 == 0x80 { &all[..4] } else { &all[..] };
        let kind = if audio { MediaKind::Audio } else { MediaKind::Video };
        #[allow(clippy::disallowed_methods, reason = "any instant will do: only differences count")]
        let now = Instant::now() + Duration::from_secs(60);
        let mut forwarding = Forwarding::new(kind, layers, known, u64::from(bytes.byte()));
        forwarding.set_target(now, Some((0, u8::MAX, u8::MAX)));
        Self {
            trace: std::env::var_os("WEIR_FUZZ_TRACE").is_some(),
            audio,
            streams: (0..layers).map(|layer| Stream::new(bytes, layer, 1 + layer as u32, audio)).collect(),
            left: Vec::new(),
            next_ssrc: 100,
            now,
            wall: Duration::ZERO,
            forwarding,
            receiver: Receiver::new(),
            under_way: VecDeque::new(),
            recent: VecDeque::new(),
            missing: HashMap::new(),
            late: HashSet::new(),
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.byte();
        let at = usize::from(choice >> 6) % self.streams.len();
        match choice & 0x3f {
            0..24 => self.send_frame(bytes, at),
            24..32 => self.deliver_late(bytes.byte()),
            32..35 => self.deliver_again(bytes.byte()),
            35..39 => self.retarget(bytes),
            39..42 => self.pass(Duration::from_millis(u64::from(bytes.byte()) * 20)),
            42..44 => self.report(bytes, at),
            44 => self.streams[at].lose(u64::from(bytes.byte() % 4)),
            45 => {
                // Of before so long a silence nothing comes: 16 bits could not name it.
                self.streams[at].lose(u64::from(bytes.u16()));
                self.forget(|known| known.packet.layer == at);
            }
            46 => self.change_source(at),
            47 => self.return_to_source(at),
            48 => self.streams[at].change_codec(bytes),
            49 => self.show_another(bytes),
            50 => {
                let known = self.streams[at].noise(bytes);
                self.expect(std::slice::from_ref(&known));
                self.receiver.expect_noise();
                self.deliver(known);
            }
            51 => {
                self.forwarding.on_late();
            }
            _ => self.send_frame(bytes, at),
        }
    }

    /// The next frame of a stream; each packet comes at once, or is held up.
    fn send_frame(&mut self, bytes: &mut Bytes<'_>, at: usize) {
        let (choice, fate) = (bytes.byte(), bytes.byte());
        let ticks = match bytes.byte() {
            // Five minutes: as many as can be under way are less than half of all timestamps.
            255 => 90_000 * 300,
            many => u32::from(many) * 90,
        };
        let keyframe = choice & 0xc0 == 0xc0;
        self.pass(Duration::from_millis(u64::from(choice & 31)));
        let packets = self.streams[at].next(keyframe, choice, ticks);
        self.expect(&packets);
        for (number, packet) in packets.into_iter().enumerate() {
            // Most frames come whole.
            if fate < 128 || fate >> (number % 7) & 1 == 1 {
                self.deliver(packet);
            } else {
                self.under_way.push_back(packet);
            }
        }
        while self.under_way.len() > UNDER_WAY {
            self.deliver_late(0);
        }
    }

    fn expect(&mut self, packets: &[Known]) {
        for known in packets {
            *self.missing.entry((known.packet.ssrc, known.frame)).or_default() += 1;
        }
    }

    fn deliver_late(&mut self, which: u8) {
        if self.under_way.is_empty() {
            return;
        }
        let at = usize::from(which) % self.under_way.len();
        if let Some(known) = self.under_way.remove(at) {
            self.late.insert((known.packet.ssrc, known.frame));
            self.deliver(known);
        }
    }

    fn deliver_again(&mut self, which: u8) {
        if let Some(known) = self.recent.get(usize::from(which) % RECENT).cloned() {
            self.receive(&known);
        }
    }

    fn deliver(&mut self, known: Known) {
        self.receive(&known);
        if let Some(missing) = self.missing.get_mut(&(known.packet.ssrc, known.frame)) {
            *missing -= 1;
        }
        self.recent.push_front(known);
        self.recent.truncate(RECENT);
    }

    fn receive(&mut self, known: &Known) {
        let sent = self.forwarding.receive(self.now, &known.packet);
        if self.trace {
            println!("{known:?}\n  -> {sent:?}");
        }
        if let Some(sent) = sent {
            let (missing, late) = (&self.missing, &self.late);
            let ssrc = known.packet.ssrc;
            let complete = |frame: u64| missing.get(&(ssrc, frame)) == Some(&0) && !late.contains(&(ssrc, frame));
            self.receiver.take(known, &sent, complete);
        }
        let layers = self.streams.len();
        assert!(self.forwarding.awaited().is_none_or(|layer| layer < layers), "a layer that there is");
    }

    fn retarget(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.byte();
        let whole = choice & 0x80 == 0x80;
        let (spatial, temporal) = if whole { (u8::MAX, u8::MAX) } else { (choice >> 2 & 3, choice >> 4 & 3) };
        if choice & 0x83 == 3 {
            self.forwarding.set_target(self.now, None);
            self.receiver.pause();
        } else {
            let layer = usize::from(choice & 3) % self.streams.len();
            self.forwarding.set_target(self.now, Some((layer, spatial, temporal)));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall += time;
    }

    fn report(&mut self, bytes: &mut Bytes<'_>, at: usize) {
        // A clock that is set is seconds off.
        let error = i32::from(bytes.byte() as i8) * if bytes.rare(8) { 90_000 } else { 10 };
        let wall = self.wall;
        self.streams[at].reports(wall, error);
    }

    fn change_source(&mut self, at: usize) {
        self.next_ssrc += 1;
        let new = self.next_ssrc;
        let (ssrc, sequence, timestamp) =
            self.streams[at].restart(new, u64::from(new) * 977, new.wrapping_mul(0x3_0001));
        self.left.push((at, ssrc, sequence, timestamp));
        self.forget_all_but(at, new, ssrc);
    }

    /// No network holds packets back over two changes of SSRC.
    fn forget_all_but(&mut self, at: usize, ssrc: u32, before: u32) {
        self.forget(|known| known.packet.layer == at && ![ssrc, before].contains(&known.packet.ssrc));
    }

    /// These packets do not come any more.
    fn forget(&mut self, which: impl Fn(&Known) -> bool) {
        self.under_way.retain(|known| !which(known));
        self.recent.retain(|known| !which(known));
    }

    /// From SSRC A to B and back to A, whose numbers go on.
    fn return_to_source(&mut self, at: usize) {
        let Some(place) = self.left.iter().rposition(|(layer, ..)| *layer == at) else { return };
        let (_, ssrc, sequence, timestamp) = self.left.swap_remove(place);
        let again = ssrc;
        let (ssrc, sequence, timestamp) = self.streams[at].restart(again, sequence + 5, timestamp.wrapping_add(9000));
        self.left.push((at, ssrc, sequence, timestamp));
        self.forget_all_but(at, again, ssrc);
    }

    fn show_another(&mut self, bytes: &mut Bytes<'_>) {
        let layers = if self.audio { 1 } else { 1 + bytes.below(3) };
        self.forwarding.show_another(layers);
        self.forwarding.set_target(self.now, Some((0, u8::MAX, u8::MAX)));
        self.receiver.pause();
        self.under_way.clear();
        self.recent.clear();
        self.left.clear();
        self.streams = (0..layers)
            .map(|layer| {
                self.next_ssrc += 1;
                Stream::new(bytes, layer, self.next_ssrc, self.audio)
            })
            .collect();
    }
}
