//! Which web pages may talk to this server.

use axum::http::{HeaderMap, Uri, header};

use crate::config::Config;

/// Which web pages may use what a browser would let them use in a user's name.
///
/// Pages of other origins could otherwise open a WebSocket to a server that only the user's machine can reach.
#[derive(Debug)]
pub(crate) struct Origins {
    allowed: Vec<String>,
    development: bool,
}

impl Origins {
    /// Takes the allow-list of the configuration.
    pub(crate) fn new(config: &Config) -> Self {
        Self { allowed: config.http.allowed_origins.clone(), development: config.development() }
    }

    /// True if a request with these headers may pass. Clients that are not browsers send no `Origin` and pass.
    pub(crate) fn allow(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else { return false };
        if self.allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        if self.development {
            // Not same-origin: a name that an attacker points at 127.0.0.1 (DNS rebinding) would be of its own origin.
            return origin_authority(origin).is_some_and(is_loopback_authority);
        }
        let host = host(headers, uri);
        origin_authority(origin).zip(host).is_some_and(|(origin, host)| same_authority(origin, host))
    }

    /// True if the request names this very machine as the host. For what development mode leaves open.
    pub(crate) fn names_loopback(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        host(headers, uri).is_none_or(is_loopback_authority)
    }
}

/// Host and port that a request was made to.
pub(crate) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    // HTTP/2 has the host in the URI.
    let header = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| uri.authority().map(|authority| authority.as_str()))
}

fn origin_authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority)
}

/// Compares authorities without the default ports: a proxy that ends TLS leaves the port away or not, as it likes.
fn same_authority(left: &str, right: &str) -> bool {
    let bare = |text: &str| {
        let text = text.strip_suffix(":443").or_else(|| text.strip_suffix(":80")).unwrap_or(text);
        text.to_ascii_lowercase()
    };
    bare(left) == bare(right)
}

fn is_loopback_authority(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let by_address = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    by_address || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::{Http, Key, Secret};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn with_keys_pages_of_the_same_origin_and_listed_ones_pass() {
        let config = Config {
            keys: vec![Key { id: String::from("main"), secret: Secret::new("x".repeat(32)) }],
            http: Http { allowed_origins: vec![String::from("https://app.example.org")], ..Default::default() },
            ..Config::default()
        };
        let origins = Origins::new(&config);
        let passes = |pairs| origins.allow(&headers(pairs), &Uri::from_static("/"));
        assert!(passes(&[("host", "weir.example.org")]));
        assert!(passes(&[("host", "weir.example.org"), ("origin", "https://weir.example.org")]));
        assert!(passes(&[("host", "weir.example.org:443"), ("origin", "https://weir.example.org")]));
        assert!(passes(&[("host", "weir.example.org"), ("origin", "https://app.example.org")]));
        assert!(!passes(&[("host", "weir.example.org"), ("origin", "https://evil.example")]));
        assert!(!passes(&[("host", "weir.example.org"), ("origin", "null")]));
        assert!(!passes(&[("host", "weir.example.org"), ("origin", "http://localhost:3000")]));
    }

    #[test]
    fn in_development_only_loopback_pages_pass() {
        let origins = Origins::new(&Config::default());
        let passes = |pairs| origins.allow(&headers(pairs), &Uri::from_static("/"));
        for origin in ["http://localhost:3000", "http://127.0.0.1:8080", "https://[::1]:1", "http://app.localhost"] {
            let mut headers = headers(&[("host", "127.0.0.1:8080")]);
            headers.insert(header::ORIGIN, origin.parse().expect("a value"));
            assert!(origins.allow(&headers, &Uri::from_static("/")), "{origin}");
        }
        // A rebound name is its own origin, and still not this machine.
        assert!(!passes(&[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")]));
        assert!(!passes(&[("host", "127.0.0.1:8080"), ("origin", "http://localhost.evil.example")]));
    }
}
