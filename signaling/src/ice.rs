//! What clients are told to find a way through their networks: the configured servers, and the relay of this one.

use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use serde::Serialize;

use crate::app::App;
use crate::origins;

/// One entry of `iceServers`, as `RTCPeerConnection` takes it. Serialising it shows the password, to whom it is for.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct IceServer {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Where a client has reached this server over TLS. TURN is there as well, on the very port: see [`crate::tls`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached(Option<Arc<str>>);

impl Reached {
    /// Of a request. The client's own word for the host is the best there is: by it the certificate holds, and through
    /// whatever forwards ports it has got here. Nobody else is told.
    pub(crate) fn of(app: &App, headers: &HeaderMap, uri: &Uri) -> Self {
        let host = app.config.http.tls().then(|| origins::host(headers, uri)).flatten();
        Self(host.and_then(turns_url).map(Into::into))
    }
}

/// The URL of TURN over TLS at the host and port of an `https:` URL.
fn turns_url(authority: &str) -> Option<String> {
    let parsed: Authority = authority.parse().ok()?;
    // No user name, and nothing that would end the URL in a header's quotes.
    let host = Some(parsed.host()).filter(|host| !host.is_empty() && !authority.contains('@'))?;
    let port: u16 = match authority.strip_prefix(host)? {
        "" => 443,
        rest => rest.strip_prefix(':')?.parse().ok()?,
    };
    Some(format!("turns:{host}:{port}?transport=tcp"))
}

/// What one client is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IceServers {
    /// For `iceServers`.
    pub(crate) ice_servers: Vec<IceServer>,
    /// For `iceServers` of a client that uses relays only; see [`weir_sfu::Relay::urls`].
    pub(crate) relay_servers: Vec<IceServer>,
}

/// What a client is told. Its credential for the relay allocates for [`weir_sfu::CREDENTIAL_TTL`]; `who` is for quotas.
pub(crate) fn servers(app: &App, who: &str, reached: &Reached) -> IceServers {
    let configured = app.config.ice_servers.iter().map(|server| IceServer {
        urls: vec![server.url.clone()],
        username: server.username.clone(),
        credential: server.credential.as_ref().map(|secret| secret.expose().to_owned()),
    });
    let mut ice_servers: Vec<_> = configured.collect();
    let mut relay_servers = ice_servers.clone();
    if let Some(relay) = app.sfu.relay() {
        let credential = relay.credential(who);
        let with = |urls| IceServer {
            urls,
            username: Some(credential.username.clone()),
            credential: Some(credential.password.clone()),
        };
        let and_tls = |urls: Vec<String>| urls.into_iter().chain(reached.0.as_deref().map(str::to_owned)).collect();
        ice_servers.extend(Some(with(and_tls(relay.urls()))).filter(|server| !server.urls.is_empty()));
        relay_servers.push(with(and_tls(relay.all_urls())));
    }
    IceServers { ice_servers, relay_servers }
}

/// Adds them as `Link` headers (RFC 9725 section 4.6).
pub(crate) fn add_links(headers: &mut HeaderMap, servers: &[IceServer]) {
    for server in servers {
        for url in &server.urls {
            if let Ok(value) = HeaderValue::from_str(&link(server, url)) {
                headers.append(header::LINK, value);
            }
        }
    }
}

fn link(server: &IceServer, url: &str) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut link = format!("<{url}>; rel=\"ice-server\"");
    if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
        let (username, credential) = (quoted(username), quoted(credential));
        link += &format!("; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\"");
    }
    link
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn turn() -> IceServer {
        IceServer {
            urls: vec!["turn:h:3478?transport=udp".into(), "turn:h:3478?transport=tcp".into()],
            username: Some("u\"v".into()),
            credential: Some("canary".into()),
        }
    }

    #[test]
    fn turn_over_tls_is_where_the_page_is() {
        let rows = [
            ("meet.example.org", Some("turns:meet.example.org:443?transport=tcp")),
            ("meet.example.org:8443", Some("turns:meet.example.org:8443?transport=tcp")),
            ("[2001:db8::1]:8443", Some("turns:[2001:db8::1]:8443?transport=tcp")),
            ("[2001:db8::1]", Some("turns:[2001:db8::1]:443?transport=tcp")),
            ("", None),
            (":443", None),
            ("ann@host", None),
            ("host:99999", None),
            ("a\"b", None),
            ("a/b", None),
        ];
        for (authority, url) in rows {
            assert_eq!(turns_url(authority).as_deref(), url, "{authority}");
        }
    }

    #[test]
    fn servers_become_links() {
        let mut headers = HeaderMap::new();
        add_links(&mut headers, &[IceServer { urls: vec!["stun:h".into()], ..IceServer::default() }, turn()]);
        let links: Vec<_> = headers.get_all(header::LINK).iter().map(|link| link.to_str().expect("a text")).collect();
        let rest = "; username=\"u\\\"v\"; credential=\"canary\"; credential-type=\"password\"";
        let want = [
            String::from("<stun:h>; rel=\"ice-server\""),
            format!("<turn:h:3478?transport=udp>; rel=\"ice-server\"{rest}"),
            format!("<turn:h:3478?transport=tcp>; rel=\"ice-server\"{rest}"),
        ];
        assert_eq!(links, want);
    }

    #[test]
    fn browsers_take_them_as_they_are_and_logs_show_no_password() {
        let stun = IceServer { urls: vec!["stun:h".into()], ..IceServer::default() };
        assert_eq!(serde_json::to_value(&stun).expect("JSON"), json!({"urls": ["stun:h"]}));
        let shown = serde_json::to_value(turn()).expect("JSON");
        assert_eq!((&shown["username"], &shown["credential"]), (&json!("u\"v"), &json!("canary")));
        assert!(!format!("{:?}", turn()).contains("canary"));
    }
}
