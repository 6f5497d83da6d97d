//! A relay and its clients, driven by bytes of a fuzzer. For `tests/fuzz` and benches; not a part of the API.

#![allow(missing_docs, reason = "a test bench: the names say it")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun_types::attribute::{Nonce, RawAttribute, Realm, Username};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageType, MessageWrite, MessageWriteExt,
    MessageWriteVec, Method,
};
use turn_types::attribute::XorPeerAddress;

use super::allocation::Allocation;
use super::{
    Client, Clock, Credential, LIFETIME, MAX_ALLOCATIONS, Outcome, Secret, Turn, TurnConfig, concerns, credential,
};
use crate::path::{Path, Relayed};

const UNIX: u64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of the fuzzer";
/// Attributes that requests of the relay have, and some that they have not.
const KINDS: [u16; 16] = [
    0x000c, 0x000d, 0x0012, 0x0013, 0x0017, 0x0018, 0x0019, 0x001a, 0x0020, 0x0022, 0x8000, 0x8022, 0x0006, 0x0009,
    0x7f00, 0x0001,
];
const METHODS: [u16; 8] = [1, 3, 4, 6, 7, 8, 9, 0x0ff];

struct Driver<'a> {
    bytes: &'a [u8],
    turn: Turn,
    start: Instant,
    passed: Duration,
    peers: Vec<SocketAddr>,
    clients: [Client; 4],
    asked: u128,
}

/// Takes bytes for what clients send, what a shard sends back, and how time passes. Panics where an invariant is broken.
pub fn drive(bytes: &[u8], start: Instant) {
    let peers =
        vec![SocketAddr::from(([203, 0, 113, 7], 3478)), SocketAddr::from(([0x2606, 0, 0, 0, 0, 0, 0, 7], 3478))];
    let config = TurnConfig { worker: 0, realm: "weir".into(), secret: Secret::new(SECRET), peers: peers.clone() };
    let remote = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let clients = [
        Client::Udp(remote(1)),
        Client::Udp(remote(2)),
        Client::Stream { id: 1, remote: remote(1), tls: false },
        Client::Stream { id: 2, remote: remote(1), tls: true },
    ];
    let turn = Turn::new(config, [7; 32], start);
    let mut driver = Driver { bytes, turn, start, passed: Duration::ZERO, peers, clients, asked: 0 };
    while !driver.bytes.is_empty() {
        driver.step();
    }
    driver.wait(Duration::from_secs(601));
    driver.wait(Duration::from_secs(6));
    assert_eq!(driver.turn.stats().allocations, 0, "everything expires");
}

/// A relay with one client that has bound a channel to the media address. For benches.
#[derive(Debug)]
pub struct Bound {
    pub turn: Turn,
    pub client: Client,
    /// What stands for the client.
    pub relayed: SocketAddr,
    pub peer: SocketAddr,
}

impl Bound {
    /// The number of the channel.
    pub const CHANNEL: u16 = 0x4000;

    pub fn new(start: Instant) -> Self {
        let peer = SocketAddr::from(([203, 0, 113, 7], 3478));
        let client = Client::Stream { id: 1, remote: SocketAddr::from(([192, 0, 2, 1], 1)), tls: false };
        let config = TurnConfig { worker: 0, realm: "weir".into(), secret: Secret::new(SECRET), peers: vec![peer] };
        let mut turn = Turn::new(config, [7; 32], start);
        let allocation = Allocation::new(client, String::from("bench"), 1.into(), true, start + LIFETIME);
        let relayed = turn.allocations.add(allocation, start).expect("room");
        let (_, allocation) = turn.allocations.of(client, start).expect("added above");
        assert!(allocation.bind(Self::CHANNEL, 0, start, start + LIFETIME));
        Self { turn, client, relayed, peer }
    }
}

impl Driver<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn some(&mut self, most: usize) -> Vec<u8> {
        let length = usize::from(self.byte()).min(most).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken.to_vec()
    }

    fn clock(&self) -> Clock {
        Clock { now: self.start + self.passed, unix: UNIX + self.passed.as_secs() }
    }

    fn wait(&mut self, time: Duration) {
        self.passed += time;
        let now = self.clock().now;
        self.turn.on_timeout(now);
    }

    fn step(&mut self) {
        let op = self.byte();
        let client = self.clients[usize::from(op & 3)];
        match op >> 2 & 7 {
            0 => {
                let bytes = self.some(255);
                self.give(client, &bytes);
            }
            1 | 2 => {
                let request = self.request(client);
                self.give(client, &request);
            }
            3 => {
                let mut request = self.request(client);
                let at = usize::from(self.byte()) % request.len();
                request[at] = self.byte();
                self.give(client, &request);
            }
            4 => {
                let data =
                    [&[0x40 | self.byte() & 0x1f, self.byte(), 0, self.byte()], self.some(40).as_slice()].concat();
                self.give(client, &data);
            }
            5 => self.wrap(),
            6 => {
                let time = Duration::from_secs(u64::from(self.byte()) * 4);
                self.wait(time);
            }
            _ => {
                let now = self.clock().now;
                self.turn.on_closed(now, client);
            }
        }
    }

    /// A message whose proof is valid, whatever else it says.
    fn request(&mut self, client: Client) -> Vec<u8> {
        let head = self.byte();
        let method = Method::new(METHODS[usize::from(head & 7)]);
        let class = if head >> 3 & 3 == 3 { MessageClass::Indication } else { MessageClass::Request };
        self.asked += 1;
        let id = self.asked.into();
        let kind = MessageType::from_class_method(class, method);
        let mut message = Message::builder(kind, id, MessageWriteVec::new());
        let peer = self.byte();
        if peer & 3 != 0 {
            let peer = self.peers[usize::from(peer >> 2) % self.peers.len()];
            _ = message.add_attribute(&XorPeerAddress::new(peer, id));
        }
        for _ in 0..head >> 5 & 3 {
            let kind = KINDS[usize::from(self.byte() & 15)];
            let value = self.some(40);
            _ = message.add_attribute(&RawAttribute::new(kind.into(), &value));
        }
        let now = self.clock().unix;
        let Credential { username, password } =
            credential(&Secret::new(SECRET), now + 10, ["a", "b"][usize::from(head >> 7)]);
        let nonce = self.turn.nonces.make(now, client.remote());
        _ = message.add_attribute(&Username::new(&username).expect("short"));
        _ = message.add_attribute(&Realm::new("weir").expect("short"));
        _ = message.add_attribute(&Nonce::new(&nonce).expect("short"));
        let credentials = LongTermKeyCredentials::new(username, password, "weir".into()).into();
        _ = message.add_message_integrity(&credentials, IntegrityAlgorithm::Sha1);
        message.finish()
    }

    fn give(&mut self, client: Client, data: &[u8]) {
        _ = concerns(data);
        // Past the guard, which would hide a panic.
        match self.turn.on_message(self.clock(), client, data) {
            Outcome::Nothing => {}
            Outcome::Reply(reply) => {
                assert!(reply.len() <= 1024 && reply.len().is_multiple_of(4), "{} bytes", reply.len())
            }
            Outcome::Relayed { from, to, data: relayed } => {
                assert!(self.peers.contains(&to), "relayed to {to}");
                assert!(Relayed::of(from).is_some_and(|r| r.path == client.path()) && relayed.len() <= data.len());
            }
        }
        assert!(self.turn.allocations.len() <= self.clients.len().min(MAX_ALLOCATIONS));
    }

    fn wrap(&mut self) {
        let path = [Path::TurnUdp, Path::TurnTcp, Path::TurnTls][usize::from(self.byte()) % 3];
        let place = u16::from(self.byte());
        let peer = usize::from(self.byte()) % self.peers.len();
        let peer = self.peers[peer];
        let to = Relayed { path, worker: 0, place }.address(peer.is_ipv4());
        let (data, now, mut out) = (self.some(60), self.clock().now, Vec::new());
        if let Some(client) = self.turn.wrap(now, peer, to, &data, &mut out) {
            assert!(self.clients.contains(&client) && client.path() == path);
            assert!(out.len() >= data.len() + 4 && out.len() <= data.len() + 56);
        }
    }
}
