//! Whole rooms on a virtual clock, from one seed: the real core, str0m clients, and a model of every link.
//!
//! Nothing here reads a clock or opens a socket. A run with the same seed gives the same events: the event loop takes
//! them by time and, at the same time, in the order in which they were made; every random number comes from the seed
//! (str0m's too, see [`run_seeded`]).

pub mod client;
pub mod link;
pub mod measure;
pub mod media;
pub mod receive;
pub mod scenario;
pub mod trace;

use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_core::api::{Command, Event, Join, Notice, Offer, ParticipantId, Reply, SubscriptionInfo, Watch};
use weir_core::relay::{LinkId, RelayMessage};
use weir_core::shard::{DtlsCert, Input, Output, Shard, ShardConfig, new_certificate};

use client::{Action, Client, ClientSpec};
use link::{Link, LinkSpec, Offered, Packet};
use trace::Trace;

/// Virtual time since the start of the run.
pub type Time = Duration;

/// How often what the server thinks is looked at.
const SAMPLE: Duration = Duration::from_millis(200);
/// How often receivers look after what does not come.
const LOOK: Duration = Duration::from_millis(100);

/// Something that is due.
#[derive(Debug)]
enum Due {
    /// A packet arrives.
    Arrival(Packet),
    /// A link has sent the packet at its head.
    Departure(usize),
    /// A client's stack wants to run.
    Wake(usize),
    /// A client's camera has a picture; the number counts them.
    Frame(usize, u64),
    /// A client's microphone has 20 ms of sound.
    Sound(usize),
    /// A client looks after what does not come.
    Look(usize),
    /// Time to look at what the server thinks.
    Sample,
    /// What one shard says to another arrives: from which, to which.
    Relay(usize, usize, RelayMessage),
}

struct Entry {
    at: Time,
    number: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    // The heap gives the greatest first: the earliest shall be that.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What the server said of one receiver at one time.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// The estimate towards it, in bits per second.
    pub estimate: Option<u64>,
    /// What it receives, and why.
    pub slots: Vec<SubscriptionInfo>,
}

/// A server, its clients and their links.
pub struct World {
    /// The virtual time.
    pub now: Time,
    /// The clients, in the order of joining.
    pub clients: Vec<Client>,
    /// The links.
    pub links: Vec<Link>,
    /// Per client, what the server said of it every 200 ms, if [`Self::watch`] was called.
    pub samples: BTreeMap<usize, Vec<Sample>>,
    /// What happened.
    pub trace: Trace,
    /// Random numbers for the scenario.
    pub rng: SmallRng,
    seed: u64,
    origin: Instant,
    shards: Vec<Shard>,
    /// The shard of each client. All rooms have their home on the first.
    places: Vec<usize>,
    /// How long it takes from one shard to another.
    relay_delay: Time,
    server: SocketAddr,
    heap: BinaryHeap<Entry>,
    number: u64,
    request: u64,
    replies: BTreeMap<u64, Reply>,
    scheduled: Vec<Time>,
}

impl World {
    /// An empty server. Call within [`run_seeded`], with the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_shards(seed, 1, Time::ZERO)
    }

    /// A server of several shards, over which clients are spread in turn; so long takes it from one to another.
    #[must_use]
    pub fn with_shards(seed: u64, shards: u8, relay_delay: Time) -> Self {
        let server = SocketAddr::from(([10, 0, 0, 1], 3478));
        let config = |number| ShardConfig {
            number,
            cert: certificate(),
            candidates: vec![server],
            tcp_candidates: Vec::new(),
            loudest: 3,
            max_bitrate: 8_000_000,
        };
        let shard = |number| Shard::new(config(number), seed.wrapping_add(u64::from(number)), origin());
        let mut world = Self {
            now: Time::ZERO,
            clients: Vec::new(),
            links: Vec::new(),
            samples: BTreeMap::new(),
            trace: Trace::default(),
            rng: SmallRng::seed_from_u64(seed),
            seed,
            origin: origin(),
            shards: (0..shards).map(shard).collect(),
            places: Vec::new(),
            relay_delay,
            server,
            heap: BinaryHeap::new(),
            number: 0,
            request: 0,
            replies: BTreeMap::new(),
            scheduled: Vec::new(),
        };
        world.schedule(SAMPLE, Due::Sample);
        world
    }

    /// A new link. Returns its index.
    pub fn link(&mut self, spec: LinkSpec) -> usize {
        let seed = self.rng.random();
        self.links.push(Link::new(spec, seed));
        self.links.len() - 1
    }

    /// Samples what the server says of this client.
    pub fn watch(&mut self, client: usize) {
        self.samples.insert(client, Vec::new());
    }

    /// A client joins the room. Returns its index.
    ///
    /// # Panics
    /// If the server does not let it in.
    pub fn join(&mut self, room: &str, spec: ClientSpec) -> usize {
        let index = self.clients.len();
        let id = ParticipantId(index as u64 + 1);
        let join = Join {
            participant: id,
            room: Arc::from(room),
            create: true,
            name: format!("c{index}"),
            identity: String::new(),
            role: spec.role,
            watch: Watch::default(),
            can_publish: true,
            can_subscribe: true,
            metadata: String::new(),
            max_participants: 1000,
            max_publishers: usize::MAX,
        };
        self.places.push(index % self.shards.len());
        let join = Box::new(join);
        let command = if self.places[index] == 0 { Command::Join(join) } else { Command::JoinFrom(join, LinkId(0)) };
        let reply = self.command_at(self.places[index], command);
        assert!(matches!(reply, Some(Reply::Join(Ok(_)))), "{reply:?}");
        let seed = self.seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (client, pending, sdp) = Client::new(index, (id, Arc::from(room)), spec, self.origin, self.now, seed);
        let offer = Offer { sdp, tracks: Vec::new() };
        // It is there before the answer: notices come with that.
        self.clients.push(client);
        self.scheduled.push(Time::MAX);
        let answer = match self.command(Command::Offer(id, Box::new(offer))) {
            Some(Reply::Offer(Ok(answer))) => answer,
            other => panic!("no answer: {other:?}"),
        };
        let client = &mut self.clients[index];
        client.accept(pending, &answer.sdp);
        let (view, publishes) = (client.view(), client.publishes());
        self.command(Command::View(id, view));
        let phase = Duration::from_micros(self.rng.random_range(0..33_000));
        if publishes {
            self.schedule(self.now + phase, Due::Frame(index, 0));
            self.schedule(self.now + phase / 2, Due::Sound(index));
        }
        self.schedule(self.now + LOOK, Due::Look(index));
        self.wake(index);
        index
    }

    /// Gives a command to the shard of the participant that it is about, or to the room's home.
    pub fn command(&mut self, command: Command) -> Option<Reply> {
        let of = match &command {
            Command::Offer(id, _)
            | Command::View(id, _)
            | Command::Mute(id, ..)
            | Command::Metadata(id, _)
            | Command::Leave(id, _)
            | Command::Resume(id)
            | Command::Subscriptions(_, id) => self.place_of(*id),
            _ => 0,
        };
        self.command_at(of, command)
    }

    fn place_of(&self, id: ParticipantId) -> usize {
        self.places.get((id.0 as usize).wrapping_sub(1)).copied().unwrap_or(0)
    }

    /// Waits for the reply if that needs another shard.
    fn command_at(&mut self, shard: usize, command: Command) -> Option<Reply> {
        self.request += 1;
        let request = self.request;
        self.shards[shard].handle(self.origin + self.now, Input::Command { request, command });
        self.carry_out();
        while self.shards[shard].is_pending(request) {
            self.run_to(self.now + self.relay_delay.max(Duration::from_micros(1)));
        }
        self.replies.remove(&request)
    }

    /// Changes the rate of a link, in kilobits per second.
    pub fn set_rate(&mut self, link: usize, kbps: u64) {
        self.links[link].set_rate(self.now, kbps * 1000);
    }

    /// A client shows all its video slots in another size, in pixels.
    pub fn resize(&mut self, client: usize, tile: (u16, u16)) {
        self.clients[client].spec.tile = tile;
        let view = self.clients[client].view();
        let id = self.clients[client].id;
        self.command(Command::View(id, view));
    }

    /// A client hides all its video slots, or shows them again.
    pub fn hide(&mut self, client: usize, hidden: bool) {
        let mut view = self.clients[client].view();
        for slot in view.slots.iter_mut().filter(|_| hidden) {
            (slot.width, slot.height) = (0, 0);
        }
        let id = self.clients[client].id;
        self.command(Command::View(id, view));
    }

    /// Runs until this time.
    pub fn run_to(&mut self, end: Time) {
        loop {
            let shards = self.shards.iter().filter_map(Shard::poll_timeout).map(|(at, _)| at).min();
            let shard = shards.map(|at| at.saturating_duration_since(self.origin));
            let heap = self.heap.peek().map(|entry| entry.at);
            let Some(next) = [shard, heap].into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            while self.heap.peek().is_some_and(|entry| entry.at <= self.now) {
                let Some(entry) = self.heap.pop() else { break };
                self.perform(entry.due);
            }
            let now = self.origin + self.now;
            for shard in &mut self.shards {
                if shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
                    shard.handle(now, Input::Timeout);
                }
            }
            self.carry_out();
        }
        self.now = end;
    }

    fn perform(&mut self, due: Due) {
        let (origin, now) = (self.origin, self.now);
        let mut actions = Vec::new();
        let client = match due {
            Due::Arrival(packet) => return self.arrive(packet),
            Due::Departure(link) => return self.depart(link),
            Due::Sample => return self.sample(),
            Due::Relay(from, to, message) => {
                let from = LinkId(from as u8);
                return self.shards[to].handle(origin + now, Input::Relay { from, message });
            }
            Due::Wake(client) => {
                if self.scheduled[client] == now || self.clients[client].deadline <= now {
                    self.scheduled[client] = Time::MAX;
                    self.clients[client].run(origin, now, &mut actions);
                }
                client
            }
            Due::Frame(client, n) => {
                self.clients[client].on_frame(origin, now, &mut actions);
                // 1/30 s is no whole number of microseconds: two steps of 33,333 and one of 33,334.
                let step = Duration::from_micros(33_333 + u64::from(n % 3 == 2));
                self.schedule(now + step, Due::Frame(client, n + 1));
                client
            }
            Due::Sound(client) => {
                self.clients[client].on_sound(origin, now, &mut actions);
                self.schedule(now + media::AUDIO_STEP, Due::Sound(client));
                client
            }
            Due::Look(client) => {
                self.clients[client].on_look(origin, now, &mut actions);
                self.schedule(now + LOOK, Due::Look(client));
                client
            }
        };
        self.act(client, actions);
    }

    fn arrive(&mut self, packet: Packet) {
        let (index, now) = (packet.client, self.now);
        self.trace.packet(now, index, packet.up, packet.wire_len());
        if packet.up {
            let remote = self.clients[index].addr;
            let shard = &mut self.shards[self.places[index]];
            let now = self.origin + now;
            shard.handle(now, Input::Datagram { remote, data: &packet.data, arrived: now });
            return;
        }
        let mut actions = Vec::new();
        self.clients[index].on_datagram(self.origin, now, self.server, &packet.data, &mut actions);
        self.act(index, actions);
    }

    fn depart(&mut self, link: usize) {
        let (arrival, next) = self.links[link].depart(self.now);
        if let Some((at, packet)) = arrival {
            self.schedule(at, Due::Arrival(packet));
        }
        if let Some(at) = next {
            self.schedule(at, Due::Departure(link));
        }
    }

    fn act(&mut self, client: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(data) => self.send(client, true, data),
                Action::View(view) => {
                    let id = self.clients[client].id;
                    self.command(Command::View(id, view));
                }
            }
        }
        self.wake(client);
    }

    fn wake(&mut self, client: usize) {
        let at = self.clients[client].deadline;
        if at < self.scheduled[client] {
            self.scheduled[client] = at;
            self.schedule(at, Due::Wake(client));
        }
    }

    fn send(&mut self, client: usize, up: bool, data: Vec<u8>) {
        let spec = &self.clients[client].spec;
        let link = if up { spec.up } else { spec.down };
        let packet = Packet { client, up, data, extra: spec.extra };
        match self.links[link].offer(self.now, packet) {
            Offered::Nothing => {}
            Offered::Arrives(at, packet) => self.schedule(at, Due::Arrival(packet)),
            Offered::Departs(at) => self.schedule(at, Due::Departure(link)),
        }
    }

    fn schedule(&mut self, at: Time, due: Due) {
        self.number += 1;
        self.heap.push(Entry { at, number: self.number, due });
    }

    fn carry_out(&mut self) {
        let mut views = Vec::new();
        for number in 0..self.shards.len() {
            self.carry_out_of(number, &mut views);
        }
        for (client, actions) in views {
            self.act(client, actions);
        }
    }

    fn carry_out_of(&mut self, number: usize, views: &mut Vec<(usize, Vec<Action>)>) {
        while let Some(output) = self.shards[number].poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let clients = self.clients.len();
                    if let Some(client) = client::number_of(transmit.destination).filter(|n| *n < clients) {
                        self.send(client, false, transmit.contents.to_vec());
                    }
                }
                Output::Event(Event::Reply { request, reply }) => _ = self.replies.insert(request, reply),
                Output::Event(Event::Notice { to, notice }) => self.on_notice(to, &notice, views),
                Output::Event(_) => {}
                Output::Relay { to, message } => {
                    self.schedule(self.now + self.relay_delay, Due::Relay(number, usize::from(to.0), message));
                }
            }
        }
    }

    fn on_notice(&mut self, to: ParticipantId, notice: &Notice, views: &mut Vec<(usize, Vec<Action>)>) {
        let index = (to.0 - 1) as usize;
        let now = self.now;
        let text = format!("{notice:?}");
        self.trace.event(now, index, &text);
        let Some(client) = self.clients.get_mut(index) else { return };
        let mut actions = Vec::new();
        client.on_notice(now, notice, &mut actions);
        client.notices.push((now, text));
        if !actions.is_empty() {
            views.push((index, actions));
        }
    }

    fn sample(&mut self) {
        let watched: Vec<usize> = self.samples.keys().copied().collect();
        for client in watched {
            let (id, room) = (self.clients[client].id, Arc::clone(&self.clients[client].room));
            let estimate = self.shards[self.places[client]].estimate(id);
            let slots = match self.command(Command::Subscriptions(room, id)) {
                Some(Reply::Subscriptions(Some(slots))) => slots,
                _ => Vec::new(),
            };
            self.trace.event(self.now, client, &format!("estimate {estimate:?}"));
            let sample = Sample { at: self.now, estimate, slots };
            self.samples.entry(client).or_default().push(sample);
        }
        self.schedule(self.now + SAMPLE, Due::Sample);
    }
}

/// One certificate serves all runs of the process: making one takes longer than a short run.
fn certificate() -> DtlsCert {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    CERTIFICATE.get_or_init(new_certificate).clone()
}

/// The instant at which all virtual clocks begin. Only differences to it are ever used.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Runs a simulation on a thread of its own, whose random numbers all come from the seed: those that str0m draws for
/// SSRCs, sequence numbers and ICE come from `fastrand`'s generator of the thread.
///
/// # Panics
/// If the simulation does.
pub fn run_seeded<T: Send + 'static>(seed: u64, simulation: impl FnOnce(u64) -> T + Send + 'static) -> T {
    // Made before, so that no run differs for having been the first.
    _ = (certificate(), origin());
    let body = move || {
        fastrand::seed(seed);
        simulation(seed)
    };
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(8 << 20).spawn(body);
    match thread.expect("a thread").join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
