//! What a client meets on its way to a server: HTTP, WebSocket, and each way that media can take, with a real round trip.

mod peer;
mod relay;
mod site;
mod socket;
mod tls;
mod ways;
mod wire;
mod words;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;

use self::site::Site;
use self::ways::{Broken, Over, TurnServer, Way};
use self::wire::Shut;
use super::Request;
use super::report::{Finding, Report, Verdict};
use crate::auth::{self, Claims, random_text};
use crate::config::load;

/// How long a token holds that the doctor signs for itself.
const TOKEN_TTL: Duration = Duration::from_secs(300);

/// A STUN or TURN server that the server names.
#[derive(Clone, PartialEq, Eq)]
struct IceServer {
    url: String,
    username: String,
    credential: String,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What opens a room: its name, and a token where one is asked for.
struct Pass {
    room: String,
    token: Option<String>,
}

/// Looks at the server at `url`.
pub(super) async fn examine(request: &Request, url: &str) -> Report {
    let mut report = Report { target: url.to_owned(), findings: Vec::new() };
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(mut url) = parsed else {
        let finding = Finding::fails("URL", format!("\"{url}\" is no web address"));
        report.findings.push(finding.mend("write it as a browser shows it: https://meet.example.org"));
        return report;
    };
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    let (findings, site) = site::examine(&url, &request.clock).await;
    report.findings = findings;
    let Some(site) = site else { return report };
    let pass = pass(request, &site);
    let (finding, servers) = socket::examine(&site, pass.as_ref().ok()).await;
    let joined = finding.verdict == Verdict::Ok;
    report.findings.push(finding);
    match pass {
        Err(why) => report.findings.push(why),
        Ok(pass) if joined => report.findings.extend(media(&site, &pass, &servers).await),
        Ok(_) => {}
    }
    report.findings.extend(port_443(&site, &servers));
    report
}

/// What to enter with, or the finding that there is nothing.
fn pass(request: &Request, site: &Site) -> Result<Pass, Finding> {
    let unknown = |saw: &str| Finding::unknown("media", saw);
    let own_room = || format!("doctor-{}", random_text::<6>());
    if !site.needs_token {
        return Ok(Pass { room: own_room(), token: None });
    }
    if let Some(token) = &request.token {
        if !site.trusted {
            return Err(unknown("not tried: the token must not be told to a server whose certificate is not trusted"));
        }
        let room = room_of(token).ok_or_else(|| unknown("not tried: the token names no room"))?;
        return Ok(Pass { room, token: Some(token.clone()) });
    }
    let key = load(&request.sources).ok().and_then(|config| config.keys.into_iter().next());
    let Some(key) = key else {
        return Err(unknown("not tried: the server asks for a token").mend(
            "--token, with what `weir token --room doctor --identity doctor --publish --subscribe` prints on the \
             server; or --config with the server's file",
        ));
    };
    let claims = Claims {
        room: own_room(),
        sub: String::from("doctor"),
        name: None,
        publish: true,
        subscribe: true,
        admin: false,
        exp: auth::unix_now().saturating_add(TOKEN_TTL.as_secs()),
        nbf: None,
    };
    let token = auth::sign(&key, &claims).map_err(|error| unknown(&format!("not tried: no token: {error}")))?;
    Ok(Pass { room: claims.room, token: Some(token) })
}

/// The room that a token is for. Not verified: that is the server's part.
fn room_of(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["room"].as_str().filter(|room| auth::is_room_name(room)).map(str::to_owned)
}

/// Each way in its turn: a room has one stream of the doctor's at a time.
async fn media(site: &Site, pass: &Pass, servers: &[IceServer]) -> Vec<Finding> {
    let candidates = match announced(site, pass).await {
        Ok(candidates) => candidates,
        Err(error) => {
            return vec![Finding::fails("media", error).means("nobody can publish with this token into this room")];
        }
    };
    let mut findings = Vec::new();
    for &(tcp, address) in &candidates {
        let way = |address| if tcp { Way::Tcp(address) } else { Way::Udp(address) };
        findings.push(direct(site, pass, way, address).await);
    }
    let media = candidates.iter().find(|(tcp, _)| !tcp).map(|(_, address)| *address);
    let turn: Vec<_> = servers.iter().filter_map(TurnServer::of).collect();
    for server in turn {
        let Some(media) = media else { break };
        let way = Way::Turn(server, media);
        let outcome = ways::round_trip(site, pass, &way).await;
        findings.push(words::finding(&way, &outcome, None));
    }
    findings
}

/// The addresses that the server tells its clients, over TCP where true.
async fn announced(site: &Site, pass: &Pass) -> Result<Vec<(bool, SocketAddr)>, String> {
    let wire = wire::Wire::udp(([127, 0, 0, 1], 9).into()).await.map_err(|_| String::from("no UDP socket here"))?;
    let offered = peer::offer(wire, peer::Part::Sender)?;
    let created = site.post(&format!("/whip/{}", pass.room), pass.token.as_deref(), offered.sdp).await?;
    site.delete(created.session, pass.token.as_deref()).await;
    let candidates = peer::candidates(&created.answer);
    if candidates.is_empty() {
        return Err(String::from("the server's answer names no address for media"));
    }
    Ok(candidates)
}

/// A way without a relay. Where its address does not answer, the one that HTTP was reached at is tried.
async fn direct(site: &Site, pass: &Pass, way: impl Fn(SocketAddr) -> Way, address: SocketAddr) -> Finding {
    let outcome = ways::round_trip(site, pass, &way(address)).await;
    let mut elsewhere = None;
    if let Err(Broken::Shut(Shut::NoAnswer | Shut::Refused | Shut::NoRoute)) = outcome {
        let host = site.url.host_str().unwrap_or_default();
        let other = ways::resolve(host, address.port(), address.ip()).await.ok();
        if let Some(other) = other.filter(|other| other.ip() != address.ip() && other.is_ipv4() == address.is_ipv4())
            && ways::round_trip(site, pass, &way(other)).await.is_ok()
        {
            elsewhere = Some(way(other));
        }
    }
    words::finding(&way(address), &outcome, elsewhere.as_ref())
}

/// Some networks let nothing out but HTTPS on its own port.
fn port_443(site: &Site, servers: &[IceServer]) -> Option<Finding> {
    let host = site.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let relay = |server: &TurnServer| server.over == Over::Tls && server.port == 443;
    if here || servers.iter().filter_map(TurnServer::of).any(|server| relay(&server)) {
        return None;
    }
    let finding = Finding::warning("port 443", "no TURN over TLS on port 443 is named to clients");
    Some(
        finding
            .means("from networks that let out HTTPS alone there is no way for media")
            .mend("serve HTTPS on 443 (http.addr, http.tls_cert or http.acme): the same port takes TURN"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_its_room() {
        let token = |claims: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(room_of(&token(r#"{"room":"demo"}"#)).as_deref(), Some("demo"));
        assert_eq!(room_of(&token(r#"{"room":"*"}"#)), None);
        assert_eq!(room_of(&token(r#"{"room":"a/b"}"#)), None);
        assert_eq!(room_of("nonsense"), None);
    }
}
