//! Nobody can make this server send more to somebody than was sent in that one's name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use stun_types::attribute::{AttributeWrite, ErrorCode, Nonce, Realm, Software, Username};
use stun_types::message::{BINDING, Message, MessageWrite, MessageWriteExt, MessageWriteVec, Method};
use turn_types::attribute::{Lifetime, RequestedTransport};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};

use super::test_client::{MEDIA, MEDIA_V6, Peer, World, attribute, channel, parse, send};
use super::*;

const DATAGRAMS: u32 = 1_000_000;
const SEED: u64 = 7;
/// Few enough that each asks often, which is when answers are given.
const SOURCES: u32 = 2000;

fn request(rng: &mut StdRng) -> Vec<u8> {
    let methods = [BINDING, BINDING, ALLOCATE, ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND, Method::new(0x0ff)];
    let mut message = Message::builder_request(methods[rng.random_range(0..methods.len())], MessageWriteVec::new());
    let mut add = |attribute: &dyn AttributeWrite| message.add_attribute(attribute).expect("room");
    if rng.random() {
        add(&RequestedTransport::new(RequestedTransport::UDP));
    }
    if rng.random_ratio(1, 4) {
        add(&Lifetime::new(rng.random()));
    }
    if rng.random_ratio(1, 4) {
        add(&Software::new(&"s".repeat(rng.random_range(0..100))).expect("short"));
    }
    // Proofs of all kinds, none of them valid.
    if rng.random_ratio(1, 3) {
        add(&Username::new("9999999999:eve").expect("short"));
        if rng.random() {
            add(&Realm::new("weir").expect("short"));
            add(&Nonce::new("AAAAAAAAAAAA").expect("short"));
        }
        let credentials = stun_types::message::ShortTermCredentials::new("guess".into()).into();
        message.add_message_integrity(&credentials, stun_types::message::IntegrityAlgorithm::Sha1).expect("room");
    }
    message.finish()
}

fn datagram(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = match rng.random_range(0..10) {
        0..6 => request(rng),
        6 => send(parse(MEDIA), &[0; 100]),
        7 => channel(0x4000 + rng.random_range(0..0x1000), &[0; 50]),
        _ => {
            let mut bytes = vec![0; rng.random_range(0..200)];
            rng.fill_bytes(&mut bytes);
            bytes
        }
    };
    if rng.random_ratio(1, 5) && !bytes.is_empty() {
        let at = rng.random_range(0..bytes.len());
        bytes[at] = rng.random();
    }
    bytes
}

#[test]
fn of_a_million_datagrams_no_source_gets_more_than_it_sent() {
    let mut world = World::new(&[MEDIA, MEDIA_V6]);
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut sums: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();
    let mut answers = 0;
    for n in 0..DATAGRAMS {
        let source = rng.random_range(0..SOURCES);
        let ip = match source % 4 {
            0 => IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(source)).to_be_bytes()),
            _ => IpAddr::from((0xc633_6400 | source).to_be_bytes()),
        };
        let bytes = datagram(&mut rng);
        // About a minute and a half in all.
        world.passed = Duration::from_micros(u64::from(n) * 90);
        let (asked, answered) = sums.entry(ip).or_default();
        *asked += bytes.len() as u64;
        let client = Client::Udp(SocketAddr::new(ip, rng.random_range(1024..1034)));
        match world.turn.handle(world.clock(), client, &bytes) {
            Outcome::Nothing => {}
            Outcome::Reply(reply) => {
                *answered += reply.len() as u64;
                answers += 1;
            }
            relayed @ Outcome::Relayed { .. } => panic!("{relayed:?} without an allocation"),
        }
        assert!(answered <= asked, "datagram {n}: {ip} sent {asked} bytes and got {answered}");
    }
    let (asked, answered) = sums.values().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    println!("{DATAGRAMS} datagrams: {asked} bytes asked, {answered} bytes answered in {answers} answers");
    assert!(answers > DATAGRAMS / 10, "it does answer: {answers}");
}

/// What real clients send first over UDP, by size, and how often they must ask until they are answered. Sizes as seen on
/// the wire; the contents that make them up do not matter.
#[test]
fn real_clients_are_answered_after_a_retransmission_at_the_latest() {
    let transport = RequestedTransport::new(RequestedTransport::UDP);
    let lifetime = Lifetime::new(600);
    let allocates: [(&str, &[&dyn AttributeWrite], usize, u32); 2] =
        [("Chromium", &[&transport], 28, 2), ("Firefox, aioice", &[&lifetime, &transport], 36, 2)];
    for (name, attributes, size, asks) in allocates {
        let (mut world, client) = (World::new(&[MEDIA]), Peer::over_udp(1));
        let request = client.request(ALLOCATE, attributes);
        assert_eq!(request.len(), size, "{name}");
        let (count, reply) =
            (1..9).find_map(|n| Some((n, world.reply(client.at, &request)?))).expect("an answer at some time");
        assert_eq!((count, reply.len()), (asks, 52), "{name}");
        assert_eq!(attribute::<ErrorCode>(&reply).code(), ErrorCode::UNAUTHORIZED);
    }
    let (mut world, client) = (World::new(&[MEDIA]), Peer::over_udp(1));
    let bare = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    assert_eq!(bare.len(), 20);
    assert_eq!(world.reply(client.at, &bare), None);
    assert_eq!(world.reply(client.at, &bare).map(|reply| reply.len()), Some(32));
}

#[test]
fn who_has_proved_an_address_is_answered_at_once() {
    let (mut world, mut client) = (World::new(&[MEDIA]), Peer::over_udp(1));
    client.allocate(&mut world).expect("an allocation");
    for _ in 0..1000 {
        assert_eq!(client.refresh(&mut world, 600), Ok(600));
    }
}
