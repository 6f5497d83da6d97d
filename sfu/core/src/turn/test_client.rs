//! A client of the relay, for tests: it does what browsers do.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun_types::attribute::{AttributeWrite, ErrorCode, Nonce, Realm, Username};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageIntegrityCredentials, MessageWrite,
    MessageWriteExt, MessageWriteVec, Method,
};
use turn_types::attribute::{ChannelNumber, Data, Lifetime, RequestedTransport, XorPeerAddress, XorRelayedAddress};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};

use super::*;

pub(super) const UNIX: u64 = 1_800_000_000;
pub(super) const MEDIA: &str = "203.0.113.7:3478";
pub(super) const MEDIA_V6: &str = "[2606:4700::7]:3478";

pub(super) fn parse(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(super) fn secret() -> Secret {
    Secret::new(b"a secret of the tests")
}

pub(super) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
    Instant::now()
}

/// A relay with a time of its own.
pub(super) struct World {
    pub(super) turn: Turn,
    pub(super) start: Instant,
    pub(super) passed: Duration,
}

impl World {
    pub(super) fn new(peers: &[&str]) -> Self {
        let start = start();
        let peers = peers.iter().map(|peer| parse(peer)).collect();
        let config = TurnConfig { worker: 3, realm: "weir".into(), secret: secret(), peers };
        Self { turn: Turn::new(config, [7; 32], start), start, passed: Duration::ZERO }
    }

    pub(super) fn clock(&self) -> Clock {
        Clock { now: self.start + self.passed, unix: UNIX + self.passed.as_secs() }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.passed += Duration::from_secs(seconds);
        self.turn.on_timeout(self.clock().now);
    }

    pub(super) fn reply(&mut self, client: Client, data: &[u8]) -> Option<Vec<u8>> {
        match self.turn.handle(self.clock(), client, data) {
            Outcome::Reply(reply) => Some(reply),
            _ => None,
        }
    }
}

/// One client: where it is, and what it has been told.
pub(super) struct Peer {
    pub(super) at: Client,
    pub(super) credential: Credential,
    pub(super) nonce: String,
    pub(super) algorithm: IntegrityAlgorithm,
}

/// Success, or an error code; none: no answer.
pub(super) type Answered = Option<Result<Vec<u8>, u16>>;

impl Peer {
    /// A client over TCP: there nothing stands in the way of the first answer.
    pub(super) fn over_tcp(n: u16) -> Self {
        Self::at(Client::Stream { id: n.into(), remote: SocketAddr::from(([192, 0, 2, 1], n)), tls: false })
    }

    pub(super) fn over_udp(n: u16) -> Self {
        Self::at(Client::Udp(SocketAddr::from(([192, 0, 2, 1], n))))
    }

    fn at(at: Client) -> Self {
        let credential = credential(&secret(), UNIX + 300, "p1");
        Self { at, credential, nonce: String::new(), algorithm: IntegrityAlgorithm::Sha1 }
    }

    /// A request with the proof, once there is a nonce.
    pub(super) fn request(&self, method: Method, attributes: &[&dyn AttributeWrite]) -> Vec<u8> {
        let mut message = Message::builder_request(method, MessageWriteVec::new());
        attributes.iter().for_each(|attribute| message.add_attribute(*attribute).expect("room"));
        if !self.nonce.is_empty() {
            let Credential { username, password } = self.credential.clone();
            message.add_attribute(&Username::new(&username).expect("short")).expect("room");
            message.add_attribute(&Realm::new("weir").expect("short")).expect("room");
            message.add_attribute(&Nonce::new(&self.nonce).expect("short")).expect("room");
            message.add_message_integrity(&self.key(username, password), self.algorithm).expect("room");
        }
        message.finish()
    }

    fn key(&self, username: String, password: String) -> MessageIntegrityCredentials {
        LongTermKeyCredentials::new(username, password, "weir".into()).into()
    }

    /// Asks, and learns the nonce from a refusal. A success must carry a valid proof.
    pub(super) fn ask(&mut self, world: &mut World, method: Method, attributes: &[&dyn AttributeWrite]) -> Answered {
        let request = self.request(method, attributes);
        let reply = world.reply(self.at, &request)?;
        let message = Message::from_bytes(&reply).expect("a message");
        let asked = Message::from_bytes(&request).expect("a message");
        assert_eq!(message.transaction_id(), asked.transaction_id());
        assert_eq!(message.method(), method);
        if let Ok(nonce) = message.attribute::<Nonce>() {
            self.nonce = nonce.nonce().to_owned();
        }
        if message.has_class(MessageClass::Error) {
            return Some(Err(message.attribute::<ErrorCode>().expect("a code").code()));
        }
        let Credential { username, password } = self.credential.clone();
        let algorithm = message.validate_integrity(&self.key(username, password)).expect("signed");
        assert_eq!(algorithm, self.algorithm);
        Some(Ok(reply))
    }

    /// Asks again when nothing comes, and with the nonce that it was told.
    pub(super) fn insist(&mut self, world: &mut World, method: Method, attributes: &[&dyn AttributeWrite]) -> Answered {
        for _ in 0..3 {
            match self.ask(world, method, attributes) {
                Some(Err(ErrorCode::UNAUTHORIZED | ErrorCode::STALE_NONCE)) | None => {}
                answered => return answered,
            }
        }
        self.ask(world, method, attributes)
    }

    pub(super) fn allocate(&mut self, world: &mut World) -> Result<SocketAddr, u16> {
        let answered = self.insist(world, ALLOCATE, &[&RequestedTransport::new(RequestedTransport::UDP)]);
        answered.expect("an answer").map(|reply| relayed(&reply))
    }

    pub(super) fn refresh(&mut self, world: &mut World, seconds: u32) -> Result<u32, u16> {
        let answered = self.insist(world, REFRESH, &[&Lifetime::new(seconds)]).expect("an answer");
        answered.map(|reply| attribute::<Lifetime>(&reply).seconds())
    }

    pub(super) fn permit(&mut self, world: &mut World, peer: SocketAddr) -> Result<(), u16> {
        let request = self.with_peer(CREATE_PERMISSION, peer, None);
        self.outcome(world, &request)
    }

    pub(super) fn bind(&mut self, world: &mut World, number: u16, peer: SocketAddr) -> Result<(), u16> {
        let request = self.with_peer(CHANNEL_BIND, peer, Some(number));
        self.outcome(world, &request)
    }

    fn outcome(&self, world: &mut World, request: &[u8]) -> Result<(), u16> {
        let reply = world.reply(self.at, request).expect("an answer");
        let message = Message::from_bytes(&reply).expect("a message");
        match message.attribute::<ErrorCode>() {
            Ok(code) => Err(code.code()),
            Err(_) => Ok(()),
        }
    }

    /// Addresses of peers are scrambled with the transaction's id.
    fn with_peer(&self, method: Method, peer: SocketAddr, number: Option<u16>) -> Vec<u8> {
        let mut message = Message::builder_request(method, MessageWriteVec::new());
        let id = message.transaction_id();
        if let Some(number) = number {
            message.add_attribute(&ChannelNumber::new(number)).expect("room");
        }
        message.add_attribute(&XorPeerAddress::new(peer, id)).expect("room");
        let Credential { username, password } = self.credential.clone();
        message.add_attribute(&Username::new(&username).expect("short")).expect("room");
        message.add_attribute(&Realm::new("weir").expect("short")).expect("room");
        message.add_attribute(&Nonce::new(&self.nonce).expect("short")).expect("room");
        message.add_message_integrity(&self.key(username, password), self.algorithm).expect("room");
        message.finish()
    }
}

/// A Send indication.
pub(super) fn send(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut message = Message::builder_indication(SEND, MessageWriteVec::new());
    let id = message.transaction_id();
    message.add_attribute(&XorPeerAddress::new(peer, id)).expect("room");
    message.add_attribute(&Data::new(data)).expect("room");
    message.finish()
}

pub(super) fn channel(number: u16, data: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), (data.len() as u16).to_be_bytes().as_slice(), data].concat()
}

pub(super) fn relayed(reply: &[u8]) -> SocketAddr {
    let message = Message::from_bytes(reply).expect("a message");
    message.attribute::<XorRelayedAddress>().expect("an address").addr(message.transaction_id())
}

pub(super) fn attribute<A>(reply: &[u8]) -> A
where
    A: for<'a> stun_types::attribute::AttributeFromRaw<'a> + stun_types::attribute::AttributeStaticType,
{
    let message = Message::from_bytes(reply).expect("a message");
    message.attribute::<A>().expect("the attribute")
}
