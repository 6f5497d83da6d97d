//! A published track: its layers, their rates and sizes, and who receives it.

use std::time::{Duration, Instant};

use str0m::media::{Mid, Rid};

use crate::allocator::LayerState;
use crate::api::{Codec, MediaKind, Source, TrackId, TrackInfo};
use crate::doctor::pulse::Pulse;
use crate::dominant::Activity;
use crate::forward::dependency::{Descriptor, RawDescriptor};
use crate::forward::layer::Layer as Cut;
use crate::forward::rates::LayerMeter;
use crate::forward::sequence::HISTORY;
use crate::forward::svc::{FrameInfo, FrameReader, FrameSource};
use crate::forward::{self, SenderReport};
use crate::ingress::Arrival;
use crate::keyframes::KeyframeGate;
use crate::participant::Format;
use crate::relay::{self, Downstream, LayerRate, LinkId, MAX_LEVELS, TrackRates, TrackState};
use crate::speaker::Loudness;

/// A layer without packets for this long is not live. Longer than the longest frame gap of a screen share at 1 fps.
const LIVE: Duration = Duration::from_millis(2500);
/// A layer that is silent for this long while another one of its track sends was stopped by the publisher, most often for
/// want of bandwidth. Well above the frame gap of the slowest layer that a camera sends (7 fps).
const LEFT_BEHIND: Duration = Duration::from_millis(500);
/// How long a publisher that was asked for a layer again has to send it: a round trip of a bad link, and what an encoder
/// takes to begin. Until then the layer counts as live, or a slot would go down again and wait for it to settle.
const RESUME: Duration = Duration::from_secs(1);
/// How far behind the newest one a packet may be in its stream. After its network was away for some seconds, a publisher
/// resends what it sent meanwhile: no receiver waits for that, but receivers take it for a link that delays by as much, and
/// hold all later pictures back (measured in Chromium: two seconds, although a keyframe was there).
const STALE: Duration = Duration::from_secs(1);

/// One simulcast layer, or the only layer.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub rid: Option<Rid>,
    pub height: u16,
    pub bitrate: u64,
    pub keyframes: KeyframeGate,
    pub pulse: Pulse,
    pub report: Option<SenderReport>,
    last_packet: Option<Instant>,
    /// When the publisher was asked for it again, after having been told that nobody wants it.
    pub asked_again: Option<Instant>,
    /// Since when packets have come without a break.
    live_since: Option<Instant>,
    bytes: u64,
    /// The SSRC read last and the one before it, of which packets may still come.
    sources: [Numbering; 2],
    meter: LayerMeter,
}

/// What was read of one SSRC.
#[derive(Debug, Default)]
struct Numbering {
    ssrc: Option<u32>,
    /// The highest sequence number so far.
    newest: Option<u64>,
    /// Its RTP timestamp.
    newest_time: u32,
    reader: FrameReader,
}

impl Numbering {
    /// Takes note of a packet. None: it comes in order. Else it comes after one that follows it, or for the second time: how
    /// far it is behind the newest one, in units of its timestamps.
    fn lag(&mut self, seq: u64, time: u32) -> Option<u32> {
        let late = self.newest.is_some_and(|newest| seq <= newest && newest - seq < HISTORY);
        if !late {
            // So far back, the numbers have begun anew.
            (self.newest, self.newest_time) = (Some(seq), time);
            return None;
        }
        let behind = self.newest_time.wrapping_sub(time);
        Some(if behind < 1 << 31 { behind } else { 0 })
    }
}

/// What a receiver can be given of a track: one encoding, cut down to one of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cutting {
    /// Index in [`Track::layers`].
    pub encoding: usize,
    pub cut: Cut,
    /// Nothing is cut away, nor what the publisher may add.
    pub whole: bool,
}

impl Layer {
    pub(crate) fn new(rid: Option<Rid>) -> Self {
        Self { rid, ..Self::default() }
    }

    /// Packets have come lately.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        self.last_packet.is_some_and(|at| now.saturating_duration_since(at) < LIVE)
    }

    /// Packets have come, but none lately.
    pub(crate) fn was_away(&self, now: Instant) -> bool {
        self.last_packet.is_some() && !self.is_live(now)
    }

    /// It was stopped because nobody wanted it, and shall come again at any moment.
    fn is_resuming(&self, now: Instant) -> bool {
        self.asked_again.is_some_and(|at| now.saturating_duration_since(at) < RESUME)
    }

    /// Turns the bytes since the last call into rates.
    pub(crate) fn tick(&mut self, elapsed: Duration) {
        self.bitrate = rate(&mut self.bytes, elapsed);
        self.meter.tick(elapsed);
    }

    /// Makes the packet's SSRC the one read last. Some: the packet is late, see [`Numbering::lag`].
    fn enter_source(&mut self, packet: &Arrival<'_>) -> Option<u32> {
        let known = self.sources.iter().position(|source| source.ssrc == Some(packet.source));
        if known != Some(0) {
            self.sources.swap(0, 1);
        }
        if known.is_none() {
            self.sources[0] = Numbering { ssrc: Some(packet.source), ..Numbering::default() };
            self.meter = LayerMeter::default();
        }
        self.sources[0].lag(packet.seq, packet.time)
    }

    /// What the packet says of its frame. An error where that cannot be read, with the frame's id.
    fn read_frame(&mut self, packet: &Arrival<'_>) -> Result<Option<(FrameInfo, Option<Descriptor>)>, u64> {
        let raw = packet.ext.user_values.get::<RawDescriptor>();
        let from = match (raw, packet.codec()) {
            (Some(raw), _) => FrameSource::Dependency(raw.as_bytes()),
            (None, Codec::Vp8) => FrameSource::Vp8(packet.payload),
            (None, Codec::Vp9) => FrameSource::Vp9(packet.payload),
            (None, _) => return Ok(None),
        };
        let reader = &mut self.sources[0].reader;
        let read = reader.read(from, packet.time, packet.marker);
        match (&read, raw) {
            (Some((frame, _)), _) => self.meter.count(frame, packet.payload.len()),
            (None, Some(raw)) => return Err(reader.id_of(raw)),
            (None, None) => {}
        }
        Ok(read)
    }

    /// The height of one of its spatial layers; 0 while not known.
    fn height_of(&self, spatial: u8) -> u16 {
        let top = self.meter.top().spatial;
        let told = self.sources[0].reader.resolution(spatial).map(|(_, height)| height);
        // Each spatial layer doubles the one below it, in all modes that browsers have.
        told.unwrap_or(self.height >> top.saturating_sub(spatial).min(4))
    }
}

/// Bits per second of the bytes counted, which are set back to zero.
pub(crate) fn rate(bytes: &mut u64, elapsed: Duration) -> u64 {
    let bits = std::mem::take(bytes) * 8;
    (bits as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

/// What a packet told about its track.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// A receiver can begin here. Every audio packet, unless it is late.
    pub keyframe_start: bool,
    /// It comes after one of its SSRC that follows it, or for the second time.
    pub late: bool,
    /// It is so late that nobody waits for it.
    pub stale: bool,
    /// The picture has another size than before.
    pub resized: bool,
    /// The frame that it is a part of, where the stream tells, and its dependency descriptor.
    pub frame: Option<(FrameInfo, Option<Descriptor>)>,
    /// The id of its frame, where the rest of what it tells of that cannot be read: of no use to anybody.
    pub unreadable: Option<u64>,
}

/// One who receives a track: the participant's key and the index of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub key: usize,
    pub slot: usize,
}

/// Where a track comes from whose publisher lives on another shard.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub link: LinkId,
    /// What that shard was told to be wanted here.
    pub demand: relay::Demand,
    /// What can be had, as that shard says.
    pub cuttings: Vec<(Cutting, LayerState)>,
}

/// A published track.
#[derive(Debug)]
pub(crate) struct Track {
    pub id: TrackId,
    /// The publisher's key in the shard.
    pub publisher: usize,
    /// Where its packets come from, if its publisher lives on another shard.
    pub upstream: Option<Upstream>,
    /// The other shards that get packets of it.
    pub downstream: Vec<Downstream>,
    /// The audio levels since the last tick, for the shard that decides who is heard; none: this one does.
    pub levels: Option<Vec<Option<i8>>>,
    pub mid: Mid,
    pub kind: MediaKind,
    pub source: Source,
    pub label: String,
    pub muted: bool,
    /// An administrator muted it: nothing of it is passed on.
    pub silenced: bool,
    /// The format of the packets seen last.
    pub format: Option<Format>,
    pub layers: Vec<Layer>,
    pub loudness: Loudness,
    pub activity: Activity,
    /// When it last held the floor.
    pub held_floor: Option<Instant>,
    pub subscribers: Vec<Subscriber>,
    /// Names it in this shard for good: numbers are not used again.
    pub number: u64,
    /// The order in which tracks were published, the same on all shards.
    pub order: (Option<Instant>, u64),
    /// Its codec or its picture's size changed since the last tick.
    pub changed: bool,
    /// Its codec changed since the last tick: the members are to be told.
    pub announce: bool,
    /// Which layers were live at the last tick, a bit each.
    pub live_layers: u32,
    /// How far apart its keyframes are, where they are far and none comes when asked for.
    pub keyframe_interval: Option<Duration>,
    /// The set of layers wanted that the publisher was told last.
    pub told_active: Option<Vec<String>>,
}

impl Track {
    /// A track as it begins. `number` and `order`: see there.
    pub(crate) fn new(publisher: usize, number: u64, state: TrackState) -> Self {
        Self {
            id: state.id,
            publisher,
            upstream: None,
            downstream: Vec::new(),
            levels: None,
            mid: state.mid,
            kind: state.kind,
            source: state.source,
            label: state.label,
            muted: state.muted,
            silenced: state.silenced,
            format: state.format,
            layers: state.rids.into_iter().map(Layer::new).collect(),
            loudness: Loudness::default(),
            activity: Activity::default(),
            held_floor: state.held_floor,
            subscribers: Vec::new(),
            number,
            order: state.order,
            changed: false,
            announce: false,
            live_layers: 0,
            keyframe_interval: None,
            told_active: None,
        }
    }

    /// The track as other shards are told of it.
    pub(crate) fn state(&self, now: Instant) -> TrackState {
        TrackState {
            id: self.id,
            mid: self.mid,
            kind: self.kind,
            source: self.source,
            label: self.label.clone(),
            muted: self.muted,
            silenced: self.silenced,
            format: self.format,
            rids: self.layers.iter().map(|layer| layer.rid).collect(),
            order: self.order,
            held_floor: self.held_floor,
            rates: self.rates(now),
        }
    }

    /// What can be had of it, for other shards.
    pub(crate) fn rates(&self, now: Instant) -> TrackRates {
        let rate = |layer: &Layer| LayerRate { height: layer.height, bitrate: layer.bitrate, live: layer.is_live(now) };
        TrackRates {
            layers: self.layers.iter().map(rate).collect(),
            cuttings: self.cuttings(now),
            keyframe_interval: self.keyframe_interval,
        }
    }

    /// Takes what another shard says can be had of it. Returns true if that is another choice than before.
    pub(crate) fn set_rates(&mut self, now: Instant, rates: TrackRates) -> bool {
        let Some(upstream) = &mut self.upstream else { return false };
        let choice = |all: &[(Cutting, LayerState)]| -> Vec<(Cutting, bool, u16)> {
            all.iter().map(|(cutting, state)| (*cutting, state.live, state.height)).collect()
        };
        let changed = choice(&upstream.cuttings) != choice(&rates.cuttings);
        upstream.cuttings = rates.cuttings;
        for (layer, rate) in self.layers.iter_mut().zip(rates.layers) {
            (layer.height, layer.bitrate) = (rate.height, rate.bitrate);
            layer.last_packet = rate.live.then_some(now);
        }
        let interval = std::mem::replace(&mut self.keyframe_interval, rates.keyframe_interval);
        changed || interval != rates.keyframe_interval
    }

    /// The levels of audio packets, as the shard says where they came in.
    pub(crate) fn hear(&mut self, now: Instant, levels: impl IntoIterator<Item = Option<i8>>) {
        for level in levels {
            self.loudness.update(now, level);
            level.into_iter().for_each(|level| self.activity.update(level));
        }
    }

    /// Takes note of a packet of this track: rate, keyframe, size, loudness.
    pub(crate) fn on_packet(&mut self, packet: &Arrival<'_>) -> Seen {
        let now = packet.now;
        let layer = &mut self.layers[packet.layer];
        // A break that was asked for says nothing of how steadily the publisher sends.
        if !layer.is_live(now) && (!layer.is_resuming(now) || layer.live_since.is_none()) {
            layer.live_since = Some(now);
        }
        layer.last_packet = Some(now);
        layer.bytes += packet.payload.len() as u64;
        layer.report = packet.report;
        let lag = layer.enter_source(packet);
        let late = lag.is_some();
        let limit = STALE.as_secs_f64() * f64::from(packet.codec().clock_rate());
        let stale = lag.is_some_and(|lag| f64::from(lag) > limit);
        if self.kind == MediaKind::Audio {
            let level = packet.ext.audio_level;
            if self.upstream.is_none() {
                self.loudness.update(now, level);
                level.into_iter().for_each(|level| self.activity.update(level));
                let levels = self.levels.as_mut().filter(|levels| levels.len() < MAX_LEVELS);
                levels.into_iter().for_each(|levels| levels.push(level));
            }
            layer.pulse.beat(&packet.beat(false, None));
            return Seen { keyframe_start: !late, late, stale, resized: false, frame: None, unreadable: None };
        }
        let read = layer.read_frame(packet);
        let unreadable = read.as_ref().err().copied();
        let frame = read.unwrap_or_default();
        let info = forward::inspect(packet.codec(), packet.payload);
        // As the filter takes it, which must let pass what a receiver begins with.
        let keyframe_start = match &frame {
            Some((frame, _)) => frame.keyframe && frame.start,
            None => info.keyframe_start && unreadable.is_none(),
        };
        // Nobody can begin with a keyframe whose rest has come and was not forwarded: another one is needed.
        let keyframe_start = keyframe_start && !late;
        layer.pulse.beat(&packet.beat(keyframe_start, info.profile));
        if keyframe_start {
            layer.keyframes.satisfied();
        }
        let top = layer.meter.top().spatial;
        let height = layer.sources[0].reader.resolution(top).or(info.resolution).map(|(_, height)| height);
        let resized = height.is_some_and(|height| std::mem::replace(&mut layer.height, height) != height);
        Seen { keyframe_start, late, stale, resized, frame, unreadable }
    }

    /// The index of the layer with this RID. A RID that was not negotiated has none.
    pub(crate) fn layer_index(&self, rid: Option<Rid>) -> Option<usize> {
        self.layers.iter().position(|layer| layer.rid == rid)
    }

    /// The text of a layer's RID; empty for the only layer.
    pub(crate) fn layer_name(&self, index: usize) -> String {
        self.layers.get(index).and_then(|l| l.rid).map(|rid| rid.to_string()).unwrap_or_default()
    }

    /// Takes note of which layers the publisher is told to be wanted.
    pub(crate) fn tell_active(&mut self, now: Instant, active: Vec<String>) {
        let before = self.told_active.replace(active);
        let (Some(before), Some(active)) = (before, &self.told_active) else { return };
        for layer in &mut self.layers {
            let name = layer.rid.map(|rid| rid.to_string()).unwrap_or_default();
            if active.contains(&name) && !before.contains(&name) {
                layer.asked_again = Some(now);
            }
        }
    }

    /// What the track can be cut down to, with what the allocator needs to know of it. An encoding that the publisher
    /// switched off because it was told that nobody wants it can be had again, so it counts as live.
    pub(crate) fn cuttings(&self, now: Instant) -> Vec<(Cutting, LayerState)> {
        if let Some(upstream) = self.upstream.as_ref().filter(|upstream| !upstream.cuttings.is_empty()) {
            return upstream.cuttings.clone();
        }
        let told_off = |index: usize| self.told_active.as_ref().is_some_and(|on| !on.contains(&self.layer_name(index)));
        let mut all = Vec::new();
        for (encoding, layer) in self.layers.iter().enumerate() {
            let top = layer.meter.top();
            let cuts = (0..=top.spatial).flat_map(|s| (0..=top.temporal).map(move |t| Cut::new(s, t)));
            for cut in cuts {
                let state = LayerState {
                    spatial: cut.spatial,
                    temporal: cut.temporal,
                    height: layer.height_of(cut.spatial),
                    bitrate: if cut == top { layer.bitrate } else { layer.meter.rate(cut) },
                    live: self.is_layer_live(now, layer)
                        || (layer.height > 0 && (told_off(encoding) || layer.is_resuming(now))),
                    live_since: layer.live_since,
                    has_report: layer.report.is_some(),
                };
                all.push((Cutting { encoding, cut, whole: cut == top }, state));
            }
        }
        all
    }

    /// The name of a cutting, as clients are told: the RID, and the spatial and temporal layer where there are several.
    pub(crate) fn cutting_name(&self, cutting: Cutting) -> String {
        let rid = self.layer_name(cutting.encoding);
        if cutting.whole {
            return rid;
        }
        let separator = if rid.is_empty() { "" } else { "/" };
        format!("{rid}{separator}S{}T{}", cutting.cut.spatial, cutting.cut.temporal)
    }

    /// The layer sends, and did not fall silent while others of the track go on.
    fn is_layer_live(&self, now: Instant, layer: &Layer) -> bool {
        let newest = self.layers.iter().filter_map(|l| l.last_packet).max();
        let left = newest.zip(layer.last_packet).is_some_and(|(n, own)| n.saturating_duration_since(own) > LEFT_BEHIND);
        layer.is_live(now) && !left
    }

    /// Takes note of which layers are live. True if that has changed since the last time.
    pub(crate) fn look_at_layers(&mut self, now: Instant) -> bool {
        let bit = |(index, layer): (usize, &Layer)| u32::from(self.is_layer_live(now, layer)) << index.min(31);
        let live = self.layers.iter().enumerate().map(bit).fold(0, |all, bit| all | bit);
        std::mem::replace(&mut self.live_layers, live) != live
    }

    /// A layer and all that cost less: those that a receiver of it may come down to. While nobody knows its size, as of
    /// one that was never sent, that is all of them.
    pub(crate) fn up_to(&self, best: usize) -> Vec<usize> {
        let size = |index: usize| (self.layers[index].height, self.layers[index].bitrate);
        let limit = self.layers.get(best).map(|_| size(best));
        let unknown = limit.is_some_and(|(height, _)| height == 0);
        (0..self.layers.len()).filter(|i| *i == best || unknown || limit.is_some_and(|l| size(*i) < l)).collect()
    }

    /// The track as members see it.
    pub(crate) fn info(&self) -> TrackInfo {
        TrackInfo {
            id: self.id,
            kind: self.kind,
            source: self.source,
            label: self.label.clone(),
            muted: self.muted,
            codec: self.format.map(|f| f.codec),
            layers: self.layers.iter().filter_map(|l| l.rid).map(|rid| rid.to_string()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulcast() -> Track {
        let rids = ["q", "h", "f"].map(|rid| Some(Rid::from(rid)));
        let mut track = Track::new(0, 0, TrackState::new(TrackId(1), Mid::from("0"), MediaKind::Video, rids.into()));
        for (layer, height) in track.layers.iter_mut().zip([180, 360, 720]) {
            layer.height = height;
        }
        track
    }

    fn names(layers: &[&str]) -> Vec<String> {
        layers.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_layer_of_unknown_size_brings_all_others_along() {
        let mut track = simulcast();
        assert_eq!(track.up_to(1), [0, 1]);
        // An encoder that never sends it, as Chromium where the picture is too small for three layers.
        track.layers[2].height = 0;
        assert_eq!(track.up_to(2), [0, 1, 2], "one that never comes must not keep those that do from being asked for");
        assert_eq!(track.up_to(0), [0, 2]);
    }

    #[test]
    fn a_layer_asked_for_again_counts_as_live_until_it_had_time_to_come() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let mut track = simulcast();
        let live = |track: &Track, now: Instant| -> Vec<bool> {
            let layers =
                (0..3).map(|encoding| track.cuttings(now).iter().any(|(c, s)| c.encoding == encoding && s.live));
            layers.collect()
        };
        let later = start + Duration::from_secs(20);
        for layer in &mut track.layers {
            (layer.last_packet, layer.live_since) = (Some(start), Some(start));
        }
        track.layers[0].last_packet = Some(later);
        track.tell_active(start, names(&["q"]));
        assert_eq!(live(&track, later), [true, true, true], "what was told off can be had");
        track.tell_active(later, names(&["q", "h", "f"]));
        assert_eq!(live(&track, later), [true, true, true], "and still while it is on its way");
        assert_eq!(live(&track, later + RESUME), [true, false, false], "but not for ever");
    }
}
