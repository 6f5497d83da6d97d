//! Are the ports bound, or could they be?

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use weir_sfu::TcpPort;

use super::super::report::Finding;
use crate::config::Config;

/// How long the server here may take to say that it lives.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let running = running(config).await;
    let http = TcpListener::bind(config.http.addr).map(drop);
    let media = weir_sfu::try_bind(config.media.addr);
    let mut findings = vec![
        judge("http port", "TCP", config.http.addr, http, running),
        judge("media port", "UDP", config.media.addr, media, running),
    ];
    let tcp = match config.media.tcp.0 {
        TcpPort::Off => return findings,
        TcpPort::Same => config.media.addr,
        TcpPort::At(address) => address,
    };
    findings.push(judge("media port", "TCP", tcp, TcpListener::bind(tcp).map(drop), running));
    findings
}

/// True if a Weir answers at the HTTP port, on this machine.
async fn running(config: &Config) -> bool {
    let mut address = config.http.addr;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if config.http.tls() { "https" } else { "http" };
    // Its certificate names the outside's host, not this address: it is only asked whether it is there.
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).timeout(PATIENCE).build();
    let Ok(client) = client else { return false };
    let Ok(answer) = client.get(format!("{scheme}://{address}/v1/config")).send().await else { return false };
    let Ok(value) = answer.json::<serde_json::Value>().await else { return false };
    value["version"].is_string() && value["authRequired"].is_boolean()
}

fn judge(path: &str, transport: &str, address: SocketAddr, bound: std::io::Result<()>, running: bool) -> Finding {
    let Err(error) = bound else {
        let saw = format!("{transport} {address} is free: no server runs here now, and one could");
        return Finding::ok(path, saw);
    };
    let fails = |saw: String| Finding::fails(path, saw).means("the server would not start");
    match error.kind() {
        ErrorKind::AddrInUse if running => Finding::ok(path, format!("{transport} {address}: Weir runs here")),
        ErrorKind::AddrInUse => {
            let listing = if transport == "UDP" { "ss -lunp" } else { "ss -ltnp" };
            fails(format!("{transport} {address} is taken by another program"))
                .mend(format!("see which: {listing} 'sport = :{}'; stop it, or choose another port", address.port()))
        }
        ErrorKind::PermissionDenied => fails(format!("{transport} {address} must not be bound by this user"))
            .mend("AmbientCapabilities=CAP_NET_BIND_SERVICE in the service's unit, or a port from 1024 on"),
        ErrorKind::AddrNotAvailable => fails(format!("no interface of this machine has the address {}", address.ip()))
            .mend("bind 0.0.0.0 or [::], and say in media.announce what clients reach"),
        _ => fails(format!("{transport} {address} cannot be bound: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::*;

    #[tokio::test]
    async fn free_taken_and_foreign_addresses_are_told_apart() {
        let mut config = Config::default();
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0"), std::net::UdpSocket::bind("127.0.0.1:0"));
        let (tcp, udp) = (tcp.expect("a port"), udp.expect("a port"));
        config.http.addr = tcp.local_addr().expect("bound");
        config.media.addr = udp.local_addr().expect("bound");
        // Nobody accepts: as with a program that hangs, Weir is not taken to run.
        for finding in &examine(&config).await[..2] {
            assert_eq!(finding.verdict, Verdict::Fails, "{finding:?}");
            assert!(finding.saw.contains("another program"), "{finding:?}");
        }
        drop((tcp, udp));
        for finding in examine(&config).await {
            assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        }
        config.media.addr = "192.0.2.1:3478".parse().expect("an address");
        let findings = examine(&config).await;
        assert!(findings[1].saw.contains("no interface"), "{findings:?}");
    }
}
