//! The addresses that clients are told: as configured, or found (`media.announce = "auto"`).

pub(crate) mod choose;
pub(crate) mod cloud;
pub(crate) mod stun;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use futures_util::future::join_all;

use self::choose::{Chosen, Seen};
use crate::config::{Announce, Config, IceServer};

/// The addresses to announce, empty where the one bound is; what was found, and why, goes to the log.
///
/// # Errors
/// `auto` has found nothing; in words to show.
pub(crate) async fn announced(config: &Config) -> Result<Vec<SocketAddr>, String> {
    let bound = config.media.addr.ip();
    let announced = match &config.media.announce {
        Announce::Addresses(addresses) => addresses.clone(),
        Announce::Auto => found(bound, &config.ice_servers).await?,
    };
    if let Some(warning) = choose::warning(bound, &announced) {
        tracing::warn!("{warning}");
    }
    Ok(announced)
}

async fn found(bound: IpAddr, servers: &[IceServer]) -> Result<Vec<SocketAddr>, String> {
    let chosen = chosen(bound, servers).await;
    if chosen.is_empty() {
        return Err(String::from(
            "media.announce is \"auto\", and neither cloud metadata nor a STUN server of ice_servers nor an interface \
             gives an address: write the address that clients reach this server at into media.announce",
        ));
    }
    for Chosen { address, why } in &chosen {
        tracing::info!(%address, reason = %why, "media is announced at");
    }
    Ok(chosen.iter().map(|chosen| SocketAddr::new(chosen.address, 0)).collect())
}

/// What `auto` chooses here and now, with reasons.
pub(crate) async fn chosen(bound: IpAddr, servers: &[IceServer]) -> Vec<Chosen> {
    let seen = if choose::has_to_look(bound) { look(servers).await } else { Seen::default() };
    choose::choose(bound, &seen)
}

/// Asks clouds, STUN servers and the routing table.
pub(crate) async fn look(servers: &[IceServer]) -> Seen {
    let (cloud, stun) = tokio::join!(cloud::ask(cloud::METADATA), ask_servers(servers));
    Seen { cloud, stun, interfaces: interfaces() }
}

/// What the STUN servers see, in the order of the configuration; each is asked over every family that it has.
async fn ask_servers(servers: &[IceServer]) -> Vec<(String, IpAddr)> {
    let asked = servers.iter().filter_map(|server| Some((&server.url, stun::host_of(&server.url)?)));
    let answers = asked.map(async |(url, (host, port))| {
        let Ok(addresses) = tokio::net::lookup_host((host, port)).await else { return Vec::new() };
        let addresses: Vec<_> = addresses.collect();
        let one = |v4: bool| addresses.iter().copied().find(|address| address.is_ipv4() == v4);
        let seen = [one(true), one(false)].into_iter().flatten().map(stun::ask);
        join_all(seen).await.into_iter().flatten().map(|address| (url.clone(), address.ip())).collect()
    });
    join_all(answers).await.concat()
}

/// The addresses that packets to the internet would leave from: connecting a UDP socket asks the routing table, and
/// sends nothing.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    let from = |any: &str, to: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    // Any address of the internet does. The addresses for documentation are not routed in some networks.
    [from("0.0.0.0", "1.1.1.1"), from("::", "2606:4700:4700::1111")].into_iter().flatten().collect()
}
