//! What the outcome of a round trip means, and what to do. Pure.

use super::super::report::Finding;
use super::ways::{Broken, Over, Trip, Way};
use super::wire::Shut;

/// The name of a way in a report.
pub(super) fn name(way: &Way) -> String {
    let family = |address: &std::net::SocketAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    match way {
        Way::Udp(address) => format!("UDP, {}", family(address)),
        Way::Tcp(address) => format!("TCP, {}", family(address)),
        Way::Turn(server, _) => match server.over {
            Over::Udp => String::from("TURN, UDP"),
            Over::Tcp => String::from("TURN, TCP"),
            Over::Tls => format!("TURN, TLS {}", server.port),
        },
    }
}

/// Where a way leads first: address or host, the transport to open, and the port.
fn leads_to(way: &Way) -> (String, &'static str, u16) {
    match way {
        Way::Udp(address) => (address.ip().to_string(), "UDP", address.port()),
        Way::Tcp(address) => (address.ip().to_string(), "TCP", address.port()),
        Way::Turn(server, _) => {
            let transport = if server.over == Over::Udp { "UDP" } else { "TCP" };
            (server.host.clone(), transport, server.port)
        }
    }
}

/// What a way's failure costs.
fn cost(way: &Way) -> &'static str {
    match way {
        Way::Udp(_) => "no media over UDP: calls take TCP or TURN where those get through, with more delay",
        Way::Tcp(_) => "clients whose network lets no UDP through have one way less",
        Way::Turn(..) => "clients who depend on this relay have no picture and no sound",
    }
}

/// What is to be said of a way. `elsewhere` is where the server did answer, when it did not at the address of the way.
pub(super) fn finding(way: &Way, outcome: &Result<Trip, Broken>, elsewhere: Option<&Way>) -> Finding {
    let path = name(way);
    let (host, transport, port) = leads_to(way);
    let broken = match outcome {
        Ok(trip) => {
            let echo = trip.echo.as_secs_f64() * 1000.0;
            let saw = format!("{host} {transport} {port}: sound there and back in {echo:.1} ms; connected");
            return Finding::ok(path, saw).took(trip.connected);
        }
        Err(broken) => broken,
    };
    if let Some(elsewhere) = elsewhere {
        let (other, ..) = leads_to(elsewhere);
        return Finding::fails(
            path,
            format!("{host} is announced, and does not answer; {other} does, at the same port"),
        )
        .means("clients are told a wrong address: calls have neither picture nor sound")
        .mend(format!("media.announce = [\"{other}\"] on the server, or what weir doctor says there"));
    }
    match broken {
        Broken::Shut(shut) => of_shut(way, shut),
        Broken::Session(words) => Finding::unknown(path, format!("not tried: {words}")),
        Broken::Dtls => {
            Finding::fails(path, format!("{host} {transport} {port}: small packets get through, DTLS does not"))
                .means("a firewall looks into packets and drops DTLS, or drops large ones (MTU)")
                .mend("let DTLS (RFC 9147) and packets of 1200 bytes through; or use TURN over TLS on 443")
        }
        Broken::Media => Finding::fails(path, format!("{host} {transport} {port}: connected, and no sound comes back"))
            .means("packets are lost on the way, or the server is overloaded")
            .mend("try again; then look at weir_… in the server's /metrics for what it drops"),
    }
}

fn of_shut(way: &Way, shut: &Shut) -> Finding {
    let path = name(way);
    let (host, transport, port) = leads_to(way);
    match shut {
        Shut::NoAnswer => Finding::fails(path, format!("{host} {transport} {port}: no answer"))
            .means(format!("a firewall drops it; {}", cost(way)))
            .mend(format!(
                "open {transport} {port} to {host}: in the cloud's rules, on the server ({}), in the network here",
                rule(transport, port)
            )),
        Shut::Refused => Finding::fails(path, format!("{host} {transport} {port}: the port is shut"))
            .means(format!("the machine answers, and nothing listens there, or its firewall rejects it; {}", cost(way)))
            .mend(format!(
                "on the server: weir doctor; then open {transport} {port} ({}), and forward it where there is NAT",
                rule(transport, port)
            )),
        Shut::NoRoute if host.contains(':') => {
            Finding::unknown(path, format!("{host}: this machine has no IPv6")).means("it works for those who have")
        }
        Shut::NoRoute => Finding::fails(path, format!("{host} {transport} {port}: this machine has no route there"))
            .means("the address is not of the internet, or this network is cut off from it")
            .mend("media.announce has to name an address that clients reach"),
        Shut::Turn(code @ (401 | 441), _) => Finding::fails(
            path,
            format!("{host} {transport} {port}: the TURN server refuses the password ({code})"),
        )
        .means(
            "server and TURN server do not share the secret, or one of their clocks is wrong; relays are shut to all",
        )
        .mend("one turn secret for all who sign and check; then the clocks, with weir doctor on both"),
        Shut::Turn(403, words) => Finding::fails(
            path,
            format!("{host} {transport} {port}: the TURN server may not relay to the media address: {words}"),
        )
        .means("relayed calls have neither picture nor sound")
        .mend("Weir's own TURN relays to the addresses announced alone: see media.announce; another has to allow them"),
        Shut::Turn(code, words) => {
            Finding::fails(path, format!("{host} {transport} {port}: the TURN server answers {code} {words}"))
                .means(cost(way))
        }
        Shut::Other(words) => Finding::fails(path, format!("{host} {transport} {port}: {words}")).means(cost(way)),
    }
}

fn rule(transport: &str, port: u16) -> String {
    format!("nft add rule inet filter input {} dport {port} accept", transport.to_lowercase())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::report::Verdict;
    use super::super::IceServer;
    use super::super::ways::TurnServer;
    use super::*;

    fn udp() -> Way {
        Way::Udp("203.0.113.7:3478".parse().expect("an address"))
    }

    fn turn() -> Way {
        let url = String::from("turn:turn.test?transport=tcp");
        let entry = IceServer { url, username: String::from("canary"), credential: String::from("canary") };
        Way::Turn(TurnServer::of(&entry).expect("a server"), "203.0.113.7:3478".parse().expect("an address"))
    }

    #[test]
    fn each_failure_has_its_own_words_and_no_password() {
        let rows = [
            (udp(), Broken::Shut(Shut::NoAnswer), "no answer", "open UDP 3478 to 203.0.113.7"),
            (udp(), Broken::Shut(Shut::Refused), "the port is shut", "weir doctor"),
            (udp(), Broken::Dtls, "DTLS does not", "1200 bytes"),
            (udp(), Broken::Media, "no sound comes back", "try again"),
            (turn(), Broken::Shut(Shut::NoAnswer), "turn.test TCP 3478: no answer", "open TCP 3478 to turn.test"),
            (turn(), Broken::Shut(Shut::Turn(401, "Unauthorized".into())), "refuses the password", "turn secret"),
            (turn(), Broken::Shut(Shut::Turn(403, "Forbidden".into())), "may not relay", "media.announce"),
        ];
        for (way, broken, saw, mend) in rows {
            let finding = finding(&way, &Err(broken), None);
            assert_eq!(finding.verdict, Verdict::Fails, "{finding:?}");
            assert!(finding.saw.contains(saw), "{finding:?}");
            assert!(finding.mend.as_ref().is_some_and(|text| text.contains(mend)), "{finding:?}");
            assert!(finding.means.is_some() && !format!("{finding:?}").contains("canary"), "{finding:?}");
        }
    }

    #[test]
    fn a_wrong_address_is_told_from_a_shut_port() {
        let right = Way::Udp("198.51.100.9:3478".parse().expect("an address"));
        let finding = finding(&udp(), &Err(Broken::Shut(Shut::NoAnswer)), Some(&right));
        assert_eq!(finding.saw, "203.0.113.7 is announced, and does not answer; 198.51.100.9 does, at the same port");
    }

    #[test]
    fn a_way_that_works_says_its_times() {
        let trip = Trip { connected: Duration::from_millis(85), echo: Duration::from_micros(12_340) };
        let finding = finding(&udp(), &Ok(trip), None);
        assert_eq!((finding.verdict, finding.ms), (Verdict::Ok, Some(85)));
        assert!(finding.saw.contains("there and back in 12.3 ms"), "{finding:?}");
    }

    #[test]
    fn ipv6_that_this_machine_has_not_says_nothing_of_the_server() {
        let way = Way::Udp("[2001:db8::7]:3478".parse().expect("an address"));
        assert_eq!(finding(&way, &Err(Broken::Shut(Shut::NoRoute)), None).verdict, Verdict::Unknown);
        assert_eq!(finding(&udp(), &Err(Broken::Shut(Shut::NoRoute)), None).verdict, Verdict::Fails);
    }
}
