use stun_types::attribute::{ErrorCode, UnknownAttributes, XorMappedAddress};
use stun_types::message::{BINDING, IntegrityAlgorithm, Message, MessageWrite, MessageWriteVec};
use turn_types::AddressFamily;
use turn_types::attribute::{EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport};
use turn_types::message::ALLOCATE;

use super::test_client::{MEDIA, MEDIA_V6, Peer, World, attribute, channel, parse, relayed, send};
use super::*;

fn udp() -> RequestedTransport {
    RequestedTransport::new(RequestedTransport::UDP)
}

fn world() -> World {
    World::new(&[MEDIA])
}

#[test]
fn a_client_allocates_and_talks_both_ways() {
    for mut client in [Peer::over_udp(5000), Peer::over_tcp(5000)] {
        let (mut world, media) = (world(), parse(MEDIA));
        let relayed = client.allocate(&mut world).expect("an allocation");
        assert_eq!(Relayed::of(relayed).map(|r| (r.path, r.worker)), Some((client.at.path(), 3)));
        let (clock, mut out) = (world.clock(), Vec::new());
        assert_eq!(world.turn.handle(clock, client.at, &send(media, b"early")), Outcome::Nothing, "not permitted yet");
        assert_eq!(world.turn.wrap(clock.now, media, relayed, b"early", &mut out), None);

        client.permit(&mut world, media).expect("permitted");
        let sent = send(media, b"first");
        assert_eq!(
            world.turn.handle(clock, client.at, &sent),
            Outcome::Relayed { from: relayed, to: media, data: b"first" }
        );
        assert_eq!(world.turn.wrap(clock.now, media, relayed, b"back", &mut out), Some(client.at));
        let message = Message::from_bytes(&out).expect("a message");
        assert!(message.has_method(turn_types::message::DATA));
        let peer = message.attribute::<turn_types::attribute::XorPeerAddress>().expect("a peer");
        assert_eq!(peer.addr(message.transaction_id()), media);
        assert_eq!(message.attribute::<turn_types::attribute::Data<'_>>().expect("data").data(), b"back");

        client.bind(&mut world, 0x4001, media).expect("bound");
        let sent = channel(0x4001, b"second");
        assert_eq!(
            world.turn.handle(clock, client.at, &sent),
            Outcome::Relayed { from: relayed, to: media, data: b"second" }
        );
        assert_eq!(world.turn.wrap(clock.now, media, relayed, b"back", &mut out), Some(client.at));
        assert_eq!(out, channel(0x4001, b"back"));
        assert_eq!(world.turn.stats().relayed, 4);
    }
}

#[test]
fn a_client_may_ask_for_sha_256() {
    let (mut world, mut client) = (world(), Peer::over_tcp(1));
    client.algorithm = IntegrityAlgorithm::Sha256;
    client.allocate(&mut world).expect("an allocation");
}

#[test]
fn without_the_right_proof_there_is_nothing() {
    let mut world = world();
    let mut wrong = Peer::over_tcp(1);
    wrong.credential.password.push('x');
    assert_eq!(wrong.allocate(&mut world), Err(ErrorCode::UNAUTHORIZED));
    let mut expired = Peer::over_tcp(2);
    world.wait(300);
    assert_eq!(expired.allocate(&mut world), Err(ErrorCode::UNAUTHORIZED), "credentials live for five minutes");
    let mut made_up = Peer::over_tcp(3);
    made_up.credential.username = "bob".into();
    assert_eq!(made_up.allocate(&mut world), Err(ErrorCode::UNAUTHORIZED));
    assert_eq!(world.turn.stats().allocations, 0);
}

#[test]
fn an_allocation_outlives_its_credential_for_as_long_as_it_is_refreshed() {
    let (mut world, mut client) = (world(), Peer::over_tcp(1));
    client.allocate(&mut world).expect("an allocation");
    for _ in 0..20 {
        world.wait(550);
        assert_eq!(client.refresh(&mut world, 600), Ok(600), "after {:?}", world.passed);
    }
    assert_eq!(client.refresh(&mut world, 9999), Ok(600), "ten minutes at most");
    world.wait(606);
    assert_eq!(client.refresh(&mut world, 600), Err(ErrorCode::ALLOCATION_MISMATCH));
    assert_eq!((world.turn.stats().allocations, world.turn.poll_timeout()), (0, None), "nothing is left");
}

#[test]
fn a_nonce_is_of_one_address_and_grows_stale() {
    let (mut world, mut first) = (world(), Peer::over_tcp(1));
    first.allocate(&mut world).expect("an allocation");
    let mut other = Peer::over_tcp(2);
    other.nonce = first.nonce.clone();
    assert_eq!(other.ask(&mut world, ALLOCATE, &[&udp()]), Some(Err(ErrorCode::STALE_NONCE)));
    other.credential = credential(&test_client::secret(), test_client::UNIX + 9999, "p2");
    other.allocate(&mut world).expect("with its own");
    world.wait(3700);
    assert_eq!(other.ask(&mut world, ALLOCATE, &[&udp()]), Some(Err(ErrorCode::STALE_NONCE)));
}

#[test]
fn what_is_asked_wrongly_is_refused_with_its_code() {
    let (mut world, mut client) = (World::new(&[MEDIA, MEDIA_V6]), Peer::over_tcp(1));
    let media = parse(MEDIA);
    assert_eq!(client.refresh(&mut world, 600), Err(ErrorCode::ALLOCATION_MISMATCH));
    assert_eq!(client.insist(&mut world, ALLOCATE, &[]), Some(Err(ErrorCode::BAD_REQUEST)));
    let tcp = RequestedTransport::new(6);
    assert_eq!(client.ask(&mut world, ALLOCATE, &[&tcp]), Some(Err(ErrorCode::UNSUPPORTED_TRANSPORT_PROTOCOL)));
    let pair = EvenPort::new(true);
    assert_eq!(client.ask(&mut world, ALLOCATE, &[&udp(), &pair]), Some(Err(ErrorCode::INSUFFICIENT_CAPACITY)));
    client.allocate(&mut world).expect("an allocation");
    assert_eq!(client.ask(&mut world, ALLOCATE, &[&udp()]), Some(Err(ErrorCode::ALLOCATION_MISMATCH)));
    assert_eq!(client.permit(&mut world, parse(MEDIA_V6)), Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH));
    for number in [0, 0x3fff, 0x5000, 0x7fff, 0xffff] {
        assert_eq!(client.bind(&mut world, number, media), Err(ErrorCode::BAD_REQUEST), "{number:#x}");
    }
    client.bind(&mut world, 0x4000, media).expect("bound");
    client.bind(&mut world, 0x4000, media).expect("bound again");
    assert_eq!(client.bind(&mut world, 0x4001, media), Err(ErrorCode::BAD_REQUEST), "a peer has one channel");
    let mut other = Peer::over_tcp(1);
    other.nonce = client.nonce.clone();
    other.credential = credential(&test_client::secret(), test_client::UNIX + 300, "p2");
    assert_eq!(other.refresh(&mut world, 600), Err(ErrorCode::WRONG_CREDENTIALS));
    assert_eq!(other.permit(&mut world, media), Err(ErrorCode::WRONG_CREDENTIALS));
}

#[test]
fn what_must_be_understood_and_is_not_is_named() {
    let (mut world, mut client) = (world(), Peer::over_tcp(1));
    client.allocate(&mut world).expect("an allocation");
    let unknown = stun_types::attribute::RawAttribute::new(0x7f00.into(), &[1, 2, 3, 4]);
    let request = client.request(ALLOCATE, &[&udp(), &unknown]);
    let reply = world.reply(client.at, &request).expect("an answer");
    assert_eq!(attribute::<ErrorCode>(&reply).code(), ErrorCode::UNKNOWN_ATTRIBUTE);
    assert!(attribute::<UnknownAttributes>(&reply).has_attribute(0x7f00.into()));
}

#[test]
fn the_same_request_again_is_answered_the_same_again() {
    let (mut world, mut client) = (world(), Peer::over_tcp(1));
    assert_eq!(client.ask(&mut world, ALLOCATE, &[&udp()]), Some(Err(ErrorCode::UNAUTHORIZED)));
    let request = client.request(ALLOCATE, &[&udp()]);
    let first = world.reply(client.at, &request).expect("an answer");
    let again = world.reply(client.at, &request).expect("an answer");
    assert_eq!(relayed(&first), relayed(&again));
    assert_eq!(world.turn.stats().allocations, 1);
}

#[test]
fn users_have_quotas_and_places_rest() {
    let mut world = world();
    let mut clients: Vec<_> = (1..=MAX_PER_USER as u16 + 1).map(Peer::over_tcp).collect();
    let mut addresses: Vec<_> = clients.iter_mut().map(|client| client.allocate(&mut world)).collect();
    assert_eq!(addresses.pop(), Some(Err(ErrorCode::ALLOCATION_QUOTA_REACHED)));
    assert!(addresses.iter().all(Result::is_ok));
    assert_eq!(clients[0].refresh(&mut world, 0), Ok(0));
    world.wait(6);
    let later = clients[MAX_PER_USER].allocate(&mut world).expect("there is room now");
    assert!(!addresses.contains(&Ok(later)), "no address means somebody else a moment later");
    assert_eq!(clients[1].refresh(&mut world, 0), Ok(0));
    world.wait(70);
    let reused = clients[1].allocate(&mut world).expect("an allocation");
    assert!(addresses.contains(&Ok(reused)), "and none is lost");
}

#[test]
fn all_allocations_are_bounded() {
    let mut world = world();
    for n in 0..MAX_ALLOCATIONS as u32 + 1 {
        let mut client = Peer::over_tcp(1);
        client.at = Client::Stream { id: n.into(), remote: parse("192.0.2.1:1"), tls: true };
        client.credential = credential(&test_client::secret(), test_client::UNIX + 300, &n.to_string());
        let allocated = client.allocate(&mut world);
        assert_eq!(allocated.is_err(), n == MAX_ALLOCATIONS as u32, "{n}: {allocated:?}");
        assert!(allocated.is_ok() || allocated == Err(ErrorCode::INSUFFICIENT_CAPACITY));
    }
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_allocation() {
    let (mut world, mut client) = (world(), Peer::over_tcp(1));
    client.allocate(&mut world).expect("an allocation");
    let now = world.clock().now;
    world.turn.on_closed(now, client.at);
    assert_eq!(world.turn.stats().allocations, 0);
}

#[test]
fn permissions_and_channels_expire() {
    let (mut world, mut client, media) = (world(), Peer::over_tcp(1), parse(MEDIA));
    let relayed = client.allocate(&mut world).expect("an allocation");
    client.bind(&mut world, 0x4000, media).expect("bound");
    world.wait(301);
    let sent = send(media, b"x");
    let clock = world.clock();
    assert_eq!(world.turn.handle(clock, client.at, &sent), Outcome::Nothing, "the permission is over");
    let sent = channel(0x4000, b"x");
    assert!(matches!(world.turn.handle(clock, client.at, &sent), Outcome::Relayed { .. }), "the channel is not");
    client.refresh(&mut world, 600).expect("refreshed");
    world.wait(300);
    let clock = world.clock();
    assert_eq!(world.turn.handle(clock, client.at, &sent), Outcome::Nothing);
    assert_eq!(world.turn.wrap(clock.now, media, relayed, b"x", &mut Vec::new()), None);
}

#[test]
fn the_family_is_the_one_asked_for_if_it_is_announced() {
    let family = |v4: bool| RequestedAddressFamily::new(if v4 { AddressFamily::IPV4 } else { AddressFamily::IPV6 });
    let cases = [
        (&[MEDIA] as &[&str], None, Ok(true)),
        (&[MEDIA, MEDIA_V6], None, Ok(true)),
        (&[MEDIA_V6], None, Ok(false)),
        (&[MEDIA, MEDIA_V6], Some(false), Ok(false)),
        (&[MEDIA, MEDIA_V6], Some(true), Ok(true)),
        (&[MEDIA], Some(false), Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED)),
        (&[MEDIA_V6], Some(true), Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED)),
    ];
    for (peers, wanted, expected) in cases {
        let (mut world, mut client) = (World::new(peers), Peer::over_tcp(1));
        let answered = match wanted {
            Some(v4) => client.insist(&mut world, ALLOCATE, &[&udp(), &family(v4)]),
            None => client.insist(&mut world, ALLOCATE, &[&udp()]),
        };
        let got = answered.expect("an answer").map(|reply| relayed(&reply).is_ipv4());
        assert_eq!(got, expected, "{peers:?} {wanted:?}");
    }
}

#[test]
fn a_stun_client_learns_its_address() {
    let (mut world, client) = (world(), Peer::over_tcp(77));
    let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    assert!(concerns(&request));
    let reply = world.reply(client.at, &request).expect("an answer");
    let message = Message::from_bytes(&reply).expect("a message");
    let mapped = message.attribute::<XorMappedAddress>().expect("an address").addr(message.transaction_id());
    assert_eq!(mapped, client.at.remote());
    assert_eq!(reply.len(), 32, "and nothing else");
}

#[test]
fn checks_of_ice_are_not_for_the_relay() {
    let username = stun_types::attribute::Username::new("03abcdefgh:peer").expect("short");
    let check = Peer::over_tcp(1).request(BINDING, &[&username]);
    assert!(!concerns(&check));
    let success = [&[0x01, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x42], [7; 12].as_slice()].concat();
    assert!(!concerns(&success), "an answer to a check that nobody sent");
    assert!(concerns(&Peer::over_tcp(1).request(ALLOCATE, &[&udp()])));
    assert!(concerns(&send(parse(MEDIA), b"x")));
    assert!(concerns(&channel(0x4fff, b"x")) && !concerns(&channel(0x5000, b"x")));
    assert!(!concerns(&[22, 254, 253]) && !concerns(&[0x80; 20]) && !concerns(&[]) && !concerns(&[0, 3]));
}

#[test]
fn a_lifetime_of_nothing_asked_at_first_is_no_allocation_for_ever() {
    let (mut world, mut client) = (world(), Peer::over_tcp(1));
    let reply = client.insist(&mut world, ALLOCATE, &[&udp(), &Lifetime::new(0)]).expect("an answer").expect("taken");
    assert_eq!(attribute::<Lifetime>(&reply).seconds(), 1);
    world.wait(6);
    assert_eq!(world.turn.stats().allocations, 0);
}
