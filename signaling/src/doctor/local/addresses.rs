//! Are the addresses announced those that clients reach?

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::super::report::Finding;
use crate::addresses::choose::{Seen, choose, private, warning};
use crate::addresses::look;
use crate::config::{Announce, Config};

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let bound = config.media.addr.ip();
    let seen = if bound.is_loopback() { Seen::default() } else { look(&config.ice_servers).await };
    let announced = match &config.media.announce {
        Announce::Auto => return vec![chosen(bound, &seen)],
        Announce::Addresses(none) if none.is_empty() => vec![config.media.addr],
        Announce::Addresses(addresses) => addresses.clone(),
    };
    let mut findings: Vec<_> = announced.iter().map(|address| judge(bound, *address, &seen, is_own)).collect();
    if let Some(text) = warning(bound, &announced) {
        findings.push(Finding::warning("announced", text));
    }
    findings
}

/// What `auto` finds.
fn chosen(bound: IpAddr, seen: &Seen) -> Finding {
    let chosen = choose(bound, seen);
    if chosen.is_empty() {
        return Finding::fails(
            "announced",
            "auto: neither cloud metadata, nor STUN, nor an interface gives an address",
        )
        .means("the server would not start")
        .mend("write the address that clients reach this server at into media.announce");
    }
    let words: Vec<_> = chosen.iter().map(|chosen| format!("{}: {}", chosen.address, chosen.why)).collect();
    let saw = format!("auto: {}", words.join("; "));
    let addresses: Vec<_> = chosen.iter().map(|chosen| SocketAddr::new(chosen.address, 0)).collect();
    match warning(bound, &addresses) {
        Some(warning) => Finding::warning("announced", saw).means(warning),
        None => Finding::ok("announced", saw),
    }
}

/// True if this machine has the address: only then can it be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// One address announced by a server bound to `bound`.
fn judge(bound: IpAddr, announced: SocketAddr, seen: &Seen, is_own: impl Fn(IpAddr) -> bool) -> Finding {
    let ip = announced.ip().to_canonical();
    let path = "announced";
    let mend = |address: &dyn std::fmt::Display| format!("media.announce = [\"{address}\"]");
    if ip.is_loopback() && !bound.is_loopback() {
        return Finding::fails(path, format!("{ip} is announced, which is every client's own machine"))
            .means("no client on another machine can send media")
            .mend("media.announce = \"auto\", or the address that clients reach this server at");
    }
    if ip.is_ipv6() && bound.is_ipv4() || ip.is_ipv4() && bound.is_ipv6() && !bound.is_unspecified() {
        return Finding::fails(path, format!("{ip} is announced, and media is received on {bound} alone"))
            .means("nothing that is sent to the one family arrives at the other")
            .mend("media.addr = \"[::]:3478\" receives both families");
    }
    if is_own(ip) {
        return Finding::ok(path, format!("{ip} is announced, and this machine has it"));
    }
    let outside = outside(ip.is_ipv4(), seen);
    match outside.iter().find(|(address, _)| *address == ip) {
        Some((_, source)) => Finding::ok(path, format!("{ip} is announced, and {source} knows this machine by it")),
        None => match outside.first() {
            Some((other, source)) => {
                Finding::fails(path, format!("{ip} is announced, and {source} knows this machine by {other}"))
                    .means("clients send media to a wrong address, and no call has picture or sound")
                    .mend(mend(other))
            }
            None => Finding::unknown(path, format!("{ip} is announced, and this machine does not have it"))
                .means("right where a router or load balancer passes it on; from here it cannot be told")
                .mend("run weir doctor URL from elsewhere; a stun: server in ice_servers lets this machine compare"),
        },
    }
}

/// The addresses of the internet that others know this machine by, with who.
fn outside(v4: bool, seen: &Seen) -> Vec<(IpAddr, String)> {
    let cloud =
        seen.cloud.iter().flat_map(|(name, all)| all.iter().map(move |a| (*a, format!("the metadata of {name}"))));
    let stun = seen.stun.iter().map(|(server, address)| (*address, server.clone()));
    cloud.chain(stun).filter(|(address, _)| address.is_ipv4() == v4 && private(*address).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn announced_addresses_by_table() {
        let known = Seen { stun: vec![(String::from("stun:s"), ip("198.51.100.2"))], ..Seen::default() };
        let unknown = Seen::default();
        let rows = [
            ("0.0.0.0", "10.0.0.5", &unknown, Verdict::Ok, "has it"),
            ("0.0.0.0", "198.51.100.2", &known, Verdict::Ok, "stun:s knows"),
            ("0.0.0.0", "198.51.100.9", &known, Verdict::Fails, "knows this machine by 198.51.100.2"),
            ("0.0.0.0", "198.51.100.9", &unknown, Verdict::Unknown, "does not have it"),
            ("0.0.0.0", "127.0.0.1", &known, Verdict::Fails, "every client's own"),
            ("127.0.0.1", "127.0.0.1", &unknown, Verdict::Unknown, "does not have it"),
            ("0.0.0.0", "2001:db8::1", &known, Verdict::Fails, "0.0.0.0 alone"),
            ("2001:db8::1", "198.51.100.2", &known, Verdict::Fails, "2001:db8::1 alone"),
            ("::", "198.51.100.2", &known, Verdict::Ok, "stun:s knows"),
            ("::", "2001:db8::7", &known, Verdict::Unknown, "does not have it"),
        ];
        for (bound, announced, seen, verdict, word) in rows {
            let own = |address| address == ip("10.0.0.5");
            let finding = judge(ip(bound), SocketAddr::new(ip(announced), 3478), seen, own);
            assert_eq!(finding.verdict, verdict, "{bound} {announced}: {finding:?}");
            assert!(finding.saw.contains(word), "{finding:?}");
        }
    }

    #[test]
    fn what_auto_chooses_is_said_with_its_reason() {
        let stun = vec![(String::from("stun:s"), ip("198.51.100.2"))];
        let finding = chosen(ip("0.0.0.0"), &Seen { stun, ..Seen::default() });
        assert_eq!((finding.verdict, &*finding.saw), (Verdict::Ok, "auto: 198.51.100.2: stun:s sees it"));
        let alone = chosen(ip("0.0.0.0"), &Seen { interfaces: vec![ip("10.0.0.5")], ..Seen::default() });
        assert_eq!(alone.verdict, Verdict::Warning, "{alone:?}");
        assert_eq!(chosen(ip("0.0.0.0"), &Seen::default()).verdict, Verdict::Fails);
    }
}
