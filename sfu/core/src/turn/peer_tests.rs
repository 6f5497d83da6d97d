//! Nobody but this server can be reached through the relay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stun_types::attribute::ErrorCode;

use super::test_client::{MEDIA, MEDIA_V6, Peer, World, parse, send};
use super::*;

/// Every block of the IANA registry of special-purpose IPv4 addresses, by its first, one inner and its last address; the
/// metadata services of clouds; and others that are public.
const V4: &[&str] = &[
    "0.0.0.0",
    "0.0.1.3",
    "0.255.255.255", // this network
    "10.0.0.0",
    "10.1.2.3",
    "10.255.255.255", // private
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255", // CGNAT, and Alibaba's metadata
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255", // loopback
    "169.254.0.0",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.255.255", // link-local, and metadata
    "172.16.0.0",
    "172.17.0.1",
    "172.31.255.255", // private
    "192.0.0.0",
    "192.0.0.8",
    "192.0.0.9",
    "192.0.0.10",
    "192.0.0.170",
    "192.0.0.192",
    "192.0.0.255", // protocols
    "192.0.2.0",
    "192.0.2.1",
    "192.0.2.255", // documentation
    "192.31.196.0",
    "192.31.196.255", // AS112
    "192.52.193.0",
    "192.52.193.255", // AMT
    "192.88.99.0",
    "192.88.99.1",
    "192.88.99.255", // 6to4 relays
    "192.168.0.0",
    "192.168.1.1",
    "192.168.255.255", // private
    "192.175.48.0",
    "192.175.48.255", // AS112
    "198.18.0.0",
    "198.19.255.255", // benchmarks
    "198.51.100.0",
    "198.51.100.255", // documentation
    "203.0.113.0",
    "203.0.113.6",
    "203.0.113.8",
    "203.0.113.255", // documentation: beside the media address
    "224.0.0.0",
    "224.0.0.251",
    "239.255.255.255", // multicast
    "240.0.0.0",
    "255.255.255.254",
    "255.255.255.255", // reserved, broadcast
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "168.63.129.16", // public; Azure's host
];

/// Likewise of IPv6. Those that carry an IPv4 address inside carry the media address, loopback and metadata.
const V6: &[&str] = &[
    "::",
    "::1", // unspecified, loopback
    "::ffff:203.0.113.7",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1", // mapped
    "::203.0.113.7",
    "::127.0.0.1", // compatible
    "::ffff:0:203.0.113.7",
    "::ffff:0:127.0.0.1", // translated
    "64:ff9b::203.0.113.7",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254", // NAT64
    "64:ff9b:1::203.0.113.7",
    "64:ff9b:1::127.0.0.1", // local NAT64
    "100::",
    "100::1:3",
    "100::ffff:ffff:ffff:ffff",
    "100:0:0:1::1", // discard, dummy
    "2001::",
    "2001:0:cb00:7107::1",
    "2001:1::1",
    "2001:1::2",
    "2001:1::3",
    "2001:2::1",
    "2001:3::1", // protocols, Teredo
    "2001:4:112::1",
    "2001:10::1",
    "2001:20::1",
    "2001:30::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2001:db8:ffff::1",
    "3fff::1", // documentation
    "2002::",
    "2002:cb00:7107::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1", // 6to4
    "2620:4f:8000::1",   // AS112
    "5f00::1",           // segment routing
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff::1", // unique local, and Amazon's metadata
    "fe80::1",
    "fe80::a9fe:a9fe",
    "febf::1",
    "fec0::1", // link-local, site-local
    "ff00::1",
    "ff02::1",
    "ff02::fb",
    "ff0e::1", // multicast
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2606:4700::6",
    "2606:4700::8", // public
];

const PORTS: [u16; 7] = [0, 1, 53, 80, 443, 3478, 65535];

fn client(world: &mut World) -> Peer {
    let mut client = Peer::over_tcp(1);
    client.allocate(world).expect("an allocation");
    client
}

/// Tries to reach a peer by all ways there are. 403 for each, and nothing goes out.
fn assert_forbidden(world: &mut World, client: &mut Peer, peer: SocketAddr) {
    assert_eq!(client.permit(world, peer), Err(ErrorCode::FORBIDDEN), "CreatePermission for {peer}");
    assert_unreachable(world, client, peer);
}

fn assert_unreachable(world: &mut World, client: &mut Peer, peer: SocketAddr) {
    assert_eq!(client.bind(world, 0x4123, peer), Err(ErrorCode::FORBIDDEN), "ChannelBind to {peer}");
    let clock = world.clock();
    assert_eq!(world.turn.handle(clock, client.at, &send(peer, b"x")), Outcome::Nothing, "Send to {peer}");
}

#[test]
fn special_purpose_and_public_peers_are_forbidden_whatever_the_family_announced() {
    let ips: Vec<IpAddr> = V4.iter().chain(V6).map(|text| text.parse().expect("an address")).collect();
    for announced in [&[MEDIA] as &[_], &[MEDIA_V6], &[MEDIA, MEDIA_V6]] {
        let mut world = World::new(announced);
        let mut client = client(&mut world);
        for ip in &ips {
            for port in PORTS {
                assert_forbidden(&mut world, &mut client, SocketAddr::new(*ip, port));
            }
        }
        assert_eq!(world.turn.stats().relayed, 0);
    }
}

#[test]
fn addresses_drawn_at_random_are_forbidden() {
    let mut world = World::new(&[MEDIA]);
    let mut client = client(&mut world);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..5000 {
        let bits = u128::from(next()) << 64 | u128::from(next());
        let port = next() as u16;
        for ip in [IpAddr::V4(Ipv4Addr::from_bits(bits as u32)), IpAddr::V6(Ipv6Addr::from_bits(bits))] {
            if ip != parse(MEDIA).ip() {
                assert_forbidden(&mut world, &mut client, SocketAddr::new(ip, port));
            }
        }
    }
}

#[test]
fn only_the_media_port_of_the_media_address_is_reachable() {
    let (mut world, media) = (World::new(&[MEDIA]), parse(MEDIA));
    let mut client = client(&mut world);
    // A permission is of an address, without a port (RFC 8656 section 9): it opens nothing but the media port all the same.
    client.permit(&mut world, SocketAddr::new(media.ip(), 80)).expect("the address is announced");
    for port in (0..=u16::MAX).filter(|port| *port != media.port()) {
        let clock = world.clock();
        let sent = send(SocketAddr::new(media.ip(), port), b"x");
        assert_eq!(world.turn.handle(clock, client.at, &sent), Outcome::Nothing, "port {port}");
    }
    for port in PORTS.into_iter().filter(|port| *port != media.port()) {
        assert_unreachable(&mut world, &mut client, SocketAddr::new(media.ip(), port));
    }
    let clock = world.clock();
    let sent = send(media, b"x");
    assert!(matches!(world.turn.handle(clock, client.at, &sent), Outcome::Relayed { to, .. } if to == media));
    client.bind(&mut world, 0x4000, media).expect("bound");
}

#[test]
fn loopback_is_reachable_only_where_it_is_what_is_announced() {
    let mut world = World::new(&["127.0.0.1:3478"]);
    let mut client = client(&mut world);
    for peer in ["127.0.0.2:3478", "127.0.0.1:22", "[::1]:3478", "[::ffff:127.0.0.1]:3478"] {
        let peer = parse(peer);
        assert_eq!(client.bind(&mut world, 0x4123, peer), Err(ErrorCode::FORBIDDEN), "{peer}");
    }
    client.bind(&mut world, 0x4000, parse("127.0.0.1:3478")).expect("bound");
}
