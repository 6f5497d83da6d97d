//! A network on a virtual clock: shards, and clients that are str0m peers.

#![allow(unreachable_pub, dead_code, reason = "shared by several test programs")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::change::{SdpAnswer, SdpApi, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event as RtcEvent, Input as RtcInput, Output as RtcOutput, Rtc, RtcConfig};
use weir_core::api::*;
use weir_core::relay::{LinkId, RelayMessage};
use weir_core::shard::{Input, Output, Shard, ShardConfig, new_certificate};

/// How long a datagram takes.
pub const DELAY: Duration = Duration::from_millis(5);

pub struct Client {
    pub id: ParticipantId,
    pub rtc: Rtc,
    pub addr: SocketAddr,
    pub received: Vec<RtpPacket>,
    pub keyframe_requests: usize,
    /// How often its receiving streams asked for lost packets, and its sending ones were asked, by its own statistics.
    pub nacks_sent: u64,
    pub nacks_received: u64,
    pub audio: Option<Mid>,
    pub video: Option<Mid>,
    pub answer: String,
    /// The shard it lives on.
    pub shard: usize,
    deadline: Instant,
}

/// Chooses what a link loses: true drops.
pub type Loss = Box<dyn FnMut(Instant, bool) -> bool>;

pub struct Net {
    pub now: Instant,
    /// All rooms have their home on the first.
    pub shards: Vec<Shard>,
    /// The shard of those who join from now on.
    pub place: usize,
    /// How long messages between shards take: media, and all else.
    pub relay_delay: (Duration, Duration),
    /// Media packets that went from one shard to another.
    pub relayed: BTreeMap<(u8, u8), usize>,
    /// Loses the next messages with media, so many. The first that is not lost tells of it.
    pub lose_media: usize,
    /// For how long what [`Self::arrive`] brings has waited already.
    pub waited: Duration,
    lost_media: Option<RelayMessage>,
    /// Leaves the video out of the next messages, so many.
    pub shed_media: usize,
    /// How often a shard was woken for a deadline.
    pub timeouts: usize,
    pub clients: Vec<Client>,
    pub notices: HashMap<ParticipantId, Vec<Arc<Notice>>>,
    /// Per client: called for each datagram, with true for those towards the server.
    pub loss: HashMap<usize, Loss>,
    /// Likewise, by direction and length.
    pub loss_by_size: HashMap<usize, Box<dyn FnMut(bool, usize) -> bool>>,
    pub bound: Vec<SocketAddr>,
    replies: HashMap<u64, Reply>,
    wire: BTreeMap<(Instant, u64), (bool, usize, Vec<u8>)>,
    relays: BTreeMap<(Instant, u64), (usize, usize, RelayMessage)>,
    places: HashMap<ParticipantId, usize>,
    sequence: u64,
    level: Option<i8>,
    server: SocketAddr,
}

impl Net {
    pub fn new() -> Self {
        Self::with_numbers(&[3])
    }

    /// Several shards, with the numbers from 0 on.
    pub fn with_shards(count: u8) -> Self {
        Self::with_numbers(&(0..count).collect::<Vec<_>>())
    }

    fn with_numbers(numbers: &[u8]) -> Self {
        let start = Instant::now();
        let server = SocketAddr::from(([10, 0, 0, 1], 3478));
        let cert = new_certificate();
        let shard = |number: &u8| {
            let config = ShardConfig {
                number: *number,
                cert: cert.clone(),
                candidates: vec![server],
                tcp_candidates: Vec::new(),
                loudest: 3,
                max_bitrate: 8_000_000,
            };
            Shard::new(config, 7 + u64::from(*number), start)
        };
        Self {
            now: start,
            shards: numbers.iter().map(shard).collect(),
            place: 0,
            relay_delay: (Duration::from_micros(100), Duration::from_micros(100)),
            relayed: BTreeMap::new(),
            lose_media: 0,
            waited: Duration::ZERO,
            lost_media: None,
            shed_media: 0,
            timeouts: 0,
            clients: Vec::new(),
            notices: HashMap::new(),
            loss: HashMap::new(),
            loss_by_size: HashMap::new(),
            bound: Vec::new(),
            replies: HashMap::new(),
            wire: BTreeMap::new(),
            relays: BTreeMap::new(),
            places: HashMap::new(),
            sequence: 0,
            level: None,
            server,
        }
    }

    /// A command for the shard of whom it is about, or of the room's home.
    pub fn command(&mut self, command: Command) -> Option<Reply> {
        let shard = match &command {
            Command::JoinFrom(..) => self.place,
            Command::Offer(id, _)
            | Command::View(id, _)
            | Command::Mute(id, ..)
            | Command::Metadata(id, _)
            | Command::Leave(id, _)
            | Command::Resume(id)
            | Command::Subscriptions(_, id)
            | Command::Watched(id)
            | Command::Choose(id, ..) => self.places.get(id).copied().unwrap_or(0),
            _ => 0,
        };
        self.command_at(shard, command)
    }

    /// A command for this shard. Waits for the reply if that needs another shard.
    pub fn command_at(&mut self, shard: usize, command: Command) -> Option<Reply> {
        self.sequence += 1;
        let request = self.sequence;
        self.shards[shard].handle(self.now, Input::Command { request, command });
        self.carry_out();
        if self.shards[shard].is_pending(request) {
            self.run_until(Duration::from_secs(5), "a reply", |net| net.replies.contains_key(&request));
        }
        self.replies.remove(&request)
    }

    /// A command for this shard, whose reply is not waited for: see [`Self::reply`].
    pub fn post(&mut self, shard: usize, command: Command) -> u64 {
        self.sequence += 1;
        let request = self.sequence;
        self.shards[shard].handle(self.now, Input::Command { request, command });
        self.carry_out();
        request
    }

    /// The reply to a command, once.
    pub fn reply(&mut self, request: u64) -> Option<Reply> {
        self.replies.remove(&request)
    }

    pub fn join(&mut self, room: &str, role: Role, name: &str) -> Result<(ParticipantId, Joined), JoinError> {
        self.join_as(room, role, name, "")
    }

    /// Likewise, of this identity.
    pub fn join_as(
        &mut self,
        room: &str,
        role: Role,
        name: &str,
        identity: &str,
    ) -> Result<(ParticipantId, Joined), JoinError> {
        let join = Join { identity: identity.into(), name: name.into(), ..self.wish(room, role) };
        self.enter(join)
    }

    /// A request of somebody new to enter a room.
    pub fn wish(&mut self, room: &str, role: Role) -> Join {
        self.sequence += 1;
        Join {
            participant: ParticipantId(self.sequence),
            room: Arc::from(room),
            create: role != Role::Viewer,
            name: String::new(),
            identity: String::new(),
            role,
            watch: Watch::default(),
            can_publish: true,
            can_subscribe: true,
            metadata: String::new(),
            max_participants: 200,
            max_publishers: usize::MAX,
        }
    }

    /// Somebody enters, on the shard of the place.
    pub fn enter(&mut self, join: Join) -> Result<(ParticipantId, Joined), JoinError> {
        let id = join.participant;
        self.places.insert(id, self.place);
        let join = Box::new(join);
        let command = if self.place == 0 { Command::Join(join) } else { Command::JoinFrom(join, LinkId(0)) };
        match self.command(command) {
            Some(Reply::Join(result)) => result.map(|joined| (id, joined)),
            other => panic!("{other:?}"),
        }
    }

    pub fn offer(&mut self, id: ParticipantId, sdp: String) -> Result<Answer, OfferError> {
        match self.command(Command::Offer(id, Box::new(Offer { sdp, tracks: Vec::new() }))) {
            Some(Reply::Offer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// A client that joins and connects. `sends` publishes audio and video; `slots` are (audio, video).
    pub fn add(&mut self, room: &str, role: Role, sends: bool, slots: (usize, usize)) -> usize {
        self.add_offering(room, role, sends, slots, |offer| offer)
    }

    /// Likewise, with an offer that is changed on its way to the server.
    pub fn add_offering(
        &mut self,
        room: &str,
        role: Role,
        sends: bool,
        slots: (usize, usize),
        change: impl FnOnce(String) -> String,
    ) -> usize {
        let lines = |api: &mut SdpApi<'_>| {
            let (mut audio, mut video) = (None, None);
            if sends {
                audio = Some(api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None));
                video = Some(api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
            }
            for _ in 0..slots.0 {
                api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
            }
            for _ in 0..slots.1 {
                api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
            }
            (audio, video)
        };
        self.add_with(room, role, lines, change)
    }

    fn add_with(
        &mut self,
        room: &str,
        role: Role,
        lines: impl FnOnce(&mut SdpApi<'_>) -> (Option<Mid>, Option<Mid>),
        change: impl FnOnce(String) -> String,
    ) -> usize {
        let (id, _) = self.join(room, role, &format!("client {}", self.clients.len())).expect("joins");
        let addr = SocketAddr::from(([10, 0, 1, 1], 4000 + self.clients.len() as u16));
        let second = Some(Duration::from_secs(1));
        let mut rtc = RtcConfig::new().set_rtp_mode(true).set_stats_interval(second).build(self.now);
        rtc.add_local_candidate(Candidate::host(addr, Protocol::Udp).expect("candidate"));
        let mut api = rtc.sdp_api();
        let (audio, video) = lines(&mut api);
        let (offer, pending) = api.apply().expect("an offer");
        let answer = self.offer(id, change(offer.to_sdp_string())).expect("an answer");
        accept(&mut rtc, pending, &answer.sdp);
        self.clients.push(Client {
            id,
            rtc,
            addr,
            received: Vec::new(),
            keyframe_requests: 0,
            nacks_sent: 0,
            nacks_received: 0,
            audio,
            video,
            answer: answer.sdp,
            shard: self.place,
            deadline: self.now,
        });
        self.clients.len() - 1
    }

    /// A publisher of one video track with these RIDs.
    pub fn add_simulcast(&mut self, room: &str, rids: &[&str]) -> usize {
        self.add_simulcast_as(room, Role::Publisher, rids)
    }

    pub fn add_simulcast_as(&mut self, room: &str, role: Role, rids: &[&str]) -> usize {
        let mut simulcast = Simulcast::new();
        rids.iter().for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
        let lines = |api: &mut SdpApi<'_>| {
            (None, Some(api.add_media(MediaKind::Video, Direction::SendOnly, None, None, Some(simulcast))))
        };
        self.add_with(room, role, lines, |offer| offer)
    }

    /// A new offer of a client that is connected already.
    pub fn renegotiate(&mut self, index: usize, change: impl FnOnce(&mut SdpApi<'_>)) {
        let id = self.clients[index].id;
        let mut api = self.clients[index].rtc.sdp_api();
        change(&mut api);
        let (offer, pending) = api.apply().expect("a change");
        let answer = self.offer(id, offer.to_sdp_string()).expect("an answer");
        let client = &mut self.clients[index];
        accept(&mut client.rtc, pending, &answer.sdp);
        client.answer = answer.sdp;
        self.drive(index);
    }

    pub fn restart_ice(&mut self, index: usize) {
        self.renegotiate(index, |api| _ = api.ice_restart(true));
    }

    /// All video slots of a member are of this height; 0 hides them.
    pub fn view(&mut self, index: usize, height: u16) {
        let slots = self.shown(index).into_keys().map(|mid| SlotView {
            mid,
            track: None,
            width: height * 2,
            height,
            priority: 0,
        });
        let view = View { auto: true, slots: slots.collect() };
        self.command(Command::View(self.clients[index].id, view));
    }

    /// Runs until the time has passed.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something holds; panics after `limit`.
    pub fn run_until(&mut self, limit: Duration, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Duration {
        let (begin, end) = (self.now, self.now + limit);
        while !holds(self) {
            assert!(self.step(end), "not within {limit:?}: {what}");
        }
        self.now - begin
    }

    fn step(&mut self, end: Instant) -> bool {
        let shards = self.shards.iter().filter_map(|shard| shard.poll_timeout().map(|(at, _)| at)).min();
        let client = self.clients.iter().map(|c| c.deadline).min();
        let wire = self.wire.first_key_value().map(|((at, _), _)| *at);
        let relay = self.relays.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = [shards, client, wire, relay].into_iter().flatten().min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (up, client, data) = entry.remove();
            self.deliver(up, client, &data);
        }
        while let Some(entry) = self.relays.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, message) = entry.remove();
            self.shards[to].handle(self.now, Input::Relay { from: LinkId(from as u8), message });
        }
        for shard in &mut self.shards {
            if shard.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                shard.handle(self.now, Input::Timeout);
                self.timeouts += 1;
            }
        }
        self.carry_out();
        for index in 0..self.clients.len() {
            if self.clients[index].deadline <= self.now {
                self.drive(index);
            }
        }
        true
    }

    fn deliver(&mut self, up: bool, client: usize, data: &[u8]) {
        if up {
            let Client { addr, shard, .. } = &self.clients[client];
            self.shards[*shard].handle(self.now, Input::Datagram { remote: *addr, data, arrived: self.now });
            return;
        }
        let Client { rtc, addr, .. } = &mut self.clients[client];
        let Ok(receive) = Receive::new(Protocol::Udp, self.server, *addr, data) else { return };
        rtc.handle_input(RtcInput::Receive(self.now, receive)).expect("client input");
        self.drain_client(client);
    }

    /// What is on its way from a client arrives in one batch, without a turn of the shard's timers. Returns to whom it
    /// gives datagrams of `length` bytes and more, in order, and how long they are.
    pub fn batch(&mut self, index: usize, length: usize) -> Vec<(SocketAddr, usize)> {
        self.arrive(index);
        let sent = self.give_out(usize::MAX);
        sent.into_iter().filter(|(_, sent)| *sent >= length).collect()
    }

    /// What is on its way from a client arrives, and nothing goes out: see [`Self::give_out`].
    pub fn arrive(&mut self, index: usize) {
        let (batch, rest) =
            std::mem::take(&mut self.wire).into_iter().partition(|(_, (up, from, _))| *up && *from == index);
        self.wire = rest;
        let remote = self.clients[index].addr;
        for (.., data) in batch.values() {
            let arrived = self.now - self.waited;
            self.shards[0].handle(self.now, Input::Datagram { remote, data, arrived });
        }
    }

    /// So many outputs of the shard, if there are. Returns to whom they send datagrams, and how long these are.
    pub fn give_out(&mut self, most: usize) -> Vec<(SocketAddr, usize)> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.shards[0].poll_output()).take(most).collect();
        let sent = |output: &Output| match output {
            Output::Transmit(t) => Some((t.destination, t.contents.len())),
            _ => None,
        };
        let sent = outputs.iter().filter_map(sent).collect();
        outputs.into_iter().for_each(|output| self.carry(0, output));
        sent
    }

    /// A datagram from anywhere, at once.
    pub fn inject(&mut self, remote: SocketAddr, data: &[u8]) {
        self.shards[0].handle(self.now, Input::Datagram { remote, data, arrived: self.now });
        self.carry_out();
    }

    pub fn drive(&mut self, index: usize) {
        // Errors of the client's stack show in the drain.
        _ = self.clients[index].rtc.handle_input(RtcInput::Timeout(self.now));
        self.drain_client(index);
    }

    fn drain_client(&mut self, index: usize) {
        loop {
            let Ok(output) = self.clients[index].rtc.poll_output() else {
                // The client's own stack gave up, as it may when nothing answers.
                self.clients[index].deadline = self.now + Duration::from_secs(3600);
                return;
            };
            match output {
                RtcOutput::Timeout(at) => {
                    self.clients[index].deadline = at.max(self.now + Duration::from_micros(1));
                    return;
                }
                RtcOutput::Transmit(t) => self.send(true, index, t.contents.to_vec()),
                RtcOutput::Event(RtcEvent::RtpPacket(packet)) => self.clients[index].received.push(packet),
                RtcOutput::Event(RtcEvent::KeyframeRequest(_)) => self.clients[index].keyframe_requests += 1,
                RtcOutput::Event(RtcEvent::MediaIngressStats(stats)) => self.clients[index].nacks_sent = stats.nacks,
                RtcOutput::Event(RtcEvent::MediaEgressStats(stats)) => self.clients[index].nacks_received = stats.nacks,
                RtcOutput::Event(_) => {}
            }
        }
    }

    fn send(&mut self, up: bool, client: usize, data: Vec<u8>) {
        let now = self.now;
        if self.loss_by_size.get_mut(&client).is_some_and(|loss| loss(up, data.len())) {
            return;
        }
        if self.loss.get_mut(&client).is_some_and(|loss| loss(now, up)) {
            return;
        }
        self.sequence += 1;
        self.wire.insert((self.now + DELAY, self.sequence), (up, client, data));
    }

    fn carry_out(&mut self) {
        let mut outputs = VecDeque::new();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            while let Some(output) = shard.poll_output() {
                outputs.push_back((number, output));
            }
        }
        outputs.into_iter().for_each(|(number, output)| self.carry(number, output));
    }

    /// Takes what a shard gave out to whom it is for.
    fn carry(&mut self, number: usize, output: Output) {
        match output {
            Output::Transmit(t) => {
                let client = self.clients.iter().position(|c| c.addr == t.destination);
                if let Some(client) = client {
                    self.send(false, client, t.contents.to_vec());
                }
            }
            Output::Event(Event::Reply { request, reply }) => _ = self.replies.insert(request, reply),
            Output::Event(Event::Notice { to, notice }) => self.notices.entry(to).or_default().push(notice),
            Output::Event(Event::AddressBound(address)) => self.bound.push(address),
            Output::Event(Event::AddressReleased(address)) => self.bound.retain(|a| *a != address),
            Output::Relay { to, message } => self.relay(number, usize::from(to.0), message),
        }
    }

    fn relay(&mut self, from: usize, to: usize, mut message: RelayMessage) {
        let (media, control) = self.relay_delay;
        let packets = message.packets();
        *self.relayed.entry((from as u8, to as u8)).or_default() += packets;
        if packets > 0 {
            self.lost_media.take().iter().for_each(|lost| message.follow(lost));
        }
        if packets > 0 && self.lose_media > 0 {
            self.lose_media -= 1;
            message.shed_video();
            self.lost_media = Some(message);
            return;
        }
        if packets > 0 && self.shed_media > 0 {
            self.shed_media -= 1;
            message.shed_video();
        }
        self.sequence += 1;
        let delay = if packets > 0 { media } else { control };
        self.relays.insert((self.now + delay, self.sequence), (from, to, message));
    }

    /// A shard learns that another one is gone.
    pub fn lose_link(&mut self, shard: usize, gone: u8) {
        self.shards[shard].handle(self.now, Input::LinkLost(LinkId(gone)));
        self.carry_out();
    }

    pub fn connect_all(&mut self) {
        self.run_until(Duration::from_secs(5), "everyone connects", |net| {
            net.clients.iter().all(|c| c.rtc.is_connected() && net.reached(c.id, Milestone::DtlsConnected))
        });
    }

    /// All but one who has left.
    pub fn connect_all_but(&mut self, gone: usize) {
        self.run_until(Duration::from_secs(5), "everyone else connects", |net| {
            let rest = net.clients.iter().enumerate().filter(|(index, _)| *index != gone);
            rest.map(|(_, c)| c).all(|c| c.rtc.is_connected() && net.reached(c.id, Milestone::DtlsConnected))
        });
    }

    pub fn reached(&self, id: ParticipantId, milestone: Milestone) -> bool {
        self.notices_of(id).any(|n| *n == Notice::Milestone(milestone))
    }

    pub fn notices_of(&self, id: ParticipantId) -> impl Iterator<Item = &Notice> {
        self.notices.get(&id).into_iter().flatten().map(|n| &**n)
    }

    /// The track shown in each slot of a client, by the notices it got.
    pub fn shown(&self, index: usize) -> BTreeMap<String, TrackId> {
        let mut shown = BTreeMap::new();
        for notice in self.notices_of(self.clients[index].id) {
            if let Notice::Slots(assignments) = notice {
                for a in assignments {
                    match a.track {
                        Some(track) => _ = shown.insert(a.mid.clone(), track),
                        None => _ = shown.remove(&a.mid),
                    }
                }
            }
        }
        shown
    }

    /// One VP8 packet of a client: a whole frame.
    pub fn write_video(&mut self, index: usize, seq: u64, keyframe: bool) {
        // Descriptor: S, then X with I and a 15-bit picture id; VP8 frame tag, P bit clear in a keyframe.
        let picture = 0x8000 | (seq as u16 & 0x7fff);
        let [high, low] = picture.to_be_bytes();
        let mut payload = vec![0x90, 0x80, high, low, u8::from(!keyframe), 0, 0];
        if keyframe {
            payload.extend([0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
        }
        payload.extend([seq as u8; 900]);
        let mid = self.clients[index].video.expect("it sends video");
        self.write((index, mid, None), "vp8", (seq, true), (seq as u32).wrapping_mul(3000), payload);
    }

    /// A VP8 keyframe of parts of these sizes, 10 bytes and more, the first of them numbered `seq`.
    pub fn write_parts(&mut self, index: usize, seq: u64, sizes: &[usize]) {
        let mid = self.clients[index].video.expect("it sends video");
        for (part, size) in sizes.iter().enumerate() {
            let mut payload = vec![0x10, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68];
            payload[0] = if part == 0 { 0x10 } else { 0 };
            payload.resize(*size, part as u8);
            let number = (seq + part as u64, part + 1 == sizes.len());
            self.write((index, mid, None), "vp8", number, (seq as u32).wrapping_mul(3000), payload);
        }
    }

    /// One VP8 packet of a simulcast layer; its eighth byte is a quarter of its height.
    pub fn write_layer(&mut self, index: usize, rid: &str, height: u16, seq: u64, keyframe: bool, marker: bool) {
        let [high, low] = (0x8000 | (seq as u16 & 0x7fff)).to_be_bytes();
        let mut payload = vec![0x90, 0x80, high, low, u8::from(!keyframe), 0, 0];
        if keyframe {
            payload.extend([0x9d, 0x01, 0x2a]);
            payload.extend((height * 2).to_le_bytes());
            payload.extend(height.to_le_bytes());
        }
        payload.extend(vec![(height / 4) as u8; usize::from(height)]);
        let mid = self.clients[index].video.expect("it sends video");
        self.write((index, mid, Some(Rid::from(rid))), "vp8", (seq, marker), (seq as u32).wrapping_mul(3000), payload);
    }

    pub fn write_audio(&mut self, index: usize, seq: u64) {
        self.write_voice(index, seq, None);
    }

    /// One audio packet, with its level in dBov.
    pub fn write_voice(&mut self, index: usize, seq: u64, level: Option<i8>) {
        let mid = self.clients[index].audio.expect("it sends audio");
        self.level = level;
        self.write((index, mid, None), "opus", (seq, true), (seq as u32).wrapping_mul(960), vec![seq as u8; 80]);
        self.level = None;
    }

    /// The audio packets that a client received.
    pub fn audio_of(&self, index: usize) -> Vec<&RtpPacket> {
        self.clients[index].received.iter().filter(|p| p.payload.len() == 80).collect()
    }

    fn write(
        &mut self,
        (index, mid, rid): (usize, Mid, Option<Rid>),
        codec: &str,
        (seq, marker): (u64, bool),
        time: u32,
        payload: Vec<u8>,
    ) {
        let now = self.now;
        let rtc = &mut self.clients[index].rtc;
        let known = rtc.media(mid).expect("media").remote_pts().to_vec();
        let params = rtc.codec_config().params();
        let named = |pt: &str0m::media::Pt| {
            params.iter().any(|p| p.pt() == *pt && format!("{:?}", p.spec().codec).eq_ignore_ascii_case(codec))
        };
        let pt = known.into_iter().find(named).expect("the codec is negotiated");
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, rid).expect("stream");
        let ext = ExtensionValues {
            mid: Some(mid),
            rid,
            audio_level: self.level,
            voice_activity: self.level.map(|l| l > -50),
            ..ExtensionValues::default()
        };
        let write = RtpWrite::new(pt, seq.into(), time, now, payload).marker(marker).ext_vals(ext);
        stream.write_rtp(write.nackable(codec != "opus"));
        self.drive(index);
    }

    /// A receiver says how many bits per second it can take on this line, by REMB.
    pub fn say_remb(&mut self, index: usize, mid: Mid, bitrate: u64) {
        let mut api = self.clients[index].rtc.direct_api();
        let stream = api.stream_rx_by_mid(mid, None).expect("something came on this line");
        stream.request_remb(Bitrate::bps(bitrate));
        self.drive(index);
    }

    /// What a client is given in its video slots that show something, and why.
    pub fn subscriptions(&mut self, room: &str, index: usize) -> Vec<SubscriptionInfo> {
        let id = self.clients[index].id;
        match self.command(Command::Subscriptions(Arc::from(room), id)) {
            Some(Reply::Subscriptions(Some(all))) => {
                all.into_iter().filter(|s| s.kind == weir_core::api::MediaKind::Video).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// A receiver asks for a keyframe on every video line.
    pub fn ask_keyframe(&mut self, index: usize, mid: Mid) {
        let mut api = self.clients[index].rtc.direct_api();
        if let Some(stream) = api.stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.drive(index);
    }

    /// The video packets that a client received.
    pub fn video_of(&self, index: usize) -> Vec<&RtpPacket> {
        self.clients[index].received.iter().filter(|p| p.payload.len() > 500).collect()
    }
}

fn accept(rtc: &mut Rtc, pending: SdpPendingOffer, sdp: &str) {
    let answer = SdpAnswer::from_sdp_string(sdp).expect("a readable answer");
    rtc.sdp_api().accept_answer(pending, answer).expect("an acceptable answer");
}
