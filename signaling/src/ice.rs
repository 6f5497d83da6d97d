//! What clients are told to find a way through their networks: the configured servers, and the relay of this one.

use axum::http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

use crate::app::App;

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
pub(crate) fn servers(app: &App, who: &str) -> IceServers {
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
        ice_servers.extend(Some(with(relay.urls())).filter(|server| !server.urls.is_empty()));
        relay_servers.push(with(relay.all_urls()));
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
