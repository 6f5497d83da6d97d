//! What must hold of a configuration beyond its types.

use std::collections::BTreeSet;

use weir_sfu::TcpPort;

use super::{Config, Http};

/// The least a signing secret may hold, in bytes: as long as the hash (RFC 7518, section 3.2).
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// Something wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which setting: `http.addr`.
    pub path: &'static str,
    /// What is wrong and what to do. Several lines where lines to paste are given.
    pub message: String,
}

/// Everything that is wrong, or nothing.
pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |path, message: String| findings.push(Finding { path, message });
    check_keys(config, &mut say);
    check_addresses(config, &mut say);
    check_turn(config, &mut say);
    check_http(config, &mut say);
    check_acme(&config.http, &mut say);
    check_overflow(config, &mut say);
    check_numbers(config, &mut say);
    check_telemetry(config, &mut say);
    findings
}

fn check_keys(config: &Config, say: &mut impl FnMut(&'static str, String)) {
    let mut seen = BTreeSet::new();
    for key in &config.keys {
        if key.id.is_empty() {
            say("keys", String::from("a key needs an id"));
        } else if !seen.insert(&key.id) {
            say("keys", format!("two keys have the id \"{}\"", key.id));
        }
        let length = key.secret.expose().len();
        if length < MIN_SECRET_BYTES {
            let id = &key.id;
            let message =
                format!("the secret of key \"{id}\" has {length} bytes, at least {MIN_SECRET_BYTES} are needed");
            say("keys", format!("{message}; a fresh one: {}", fresh_secret()));
        }
    }
}

fn check_addresses(config: &Config, say: &mut impl FnMut(&'static str, String)) {
    let addresses = [("http.addr", config.http.addr, 8080), ("media.addr", config.media.addr, 3478)];
    for (path, addr, default_port) in addresses {
        if config.development() && !addr.ip().to_canonical().is_loopback() {
            let port = if addr.port() == 0 { default_port } else { addr.port() };
            say(path, mend_public_bind(path, &addr.to_string(), port));
        }
    }
    if let TcpPort::At(addr) = config.media.tcp.0
        && config.development()
        && !addr.ip().to_canonical().is_loopback()
    {
        say("media.tcp", mend_public_bind("media.tcp", &addr.to_string(), addr.port()));
    }
    if config.media.addr.ip().is_unspecified() && config.media.announce.is_empty() {
        let port = config.media.addr.port();
        let message = format!(
            "{} names no address that clients could reach. Say which they can, under [media]:\n  announce = [\"203.0.113.7:{port}\"]\n\
             or have it found, by cloud metadata, STUN and interface:\n  announce = \"auto\"",
            config.media.addr
        );
        say("media.announce", message);
    }
}

/// The refusal of a public address without keys, with the lines that mend it.
pub fn mend_public_bind(path: &str, addr: &str, port: u16) -> String {
    let (section, field) = path.split_once('.').unwrap_or(("http", "addr"));
    format!(
        "{addr} can be reached from other machines, and no key is configured: anyone could enter any room.\n\
         Either add a key, in weir.toml:\n  \
         [[keys]]\n  id = \"main\"\n  secret = \"{}\"\n\
         or stay on this machine, in weir.toml under [{section}]:\n  {field} = \"127.0.0.1:{port}\"",
        fresh_secret()
    )
}

/// 256 random bits, as text to paste.
pub(crate) fn fresh_secret() -> String {
    crate::auth::random_text::<32>()
}

/// Longer, and the first answer to a client is longer than what it asks twice.
const MAX_REALM_BYTES: usize = 32;
const MIN_TURN_SECRET_BYTES: usize = 16;

fn check_turn(config: &Config, say: &mut impl FnMut(&'static str, String)) {
    let realm = &config.turn.realm;
    if realm.is_empty() || realm.len() > MAX_REALM_BYTES || !realm.bytes().all(|byte| byte.is_ascii_graphic()) {
        say("turn.realm", format!("must be 1 to {MAX_REALM_BYTES} ASCII letters, such as a domain"));
    }
    if let Some(secret) = &config.turn.secret
        && secret.expose().len() < MIN_TURN_SECRET_BYTES
    {
        let length = secret.expose().len();
        let message = format!("has {length} bytes, at least {MIN_TURN_SECRET_BYTES} are needed");
        say("turn.secret", format!("{message}; a fresh one: {}", fresh_secret()));
    }
}

fn check_http(config: &Config, say: &mut impl FnMut(&'static str, String)) {
    let http = &config.http;
    match (&http.tls_cert, &http.tls_key) {
        (Some(_), None) => say("http.tls_cert", String::from("a certificate needs its key: set http.tls_key too")),
        (None, Some(_)) => say("http.tls_key", String::from("a key needs its certificate: set http.tls_cert too")),
        (Some(_), Some(_)) if http.tls_self_signed => {
            say("http.tls_self_signed", String::from("there is a certificate in http.tls_cert: choose one of the two"));
        }
        _ => {}
    }
    for origin in &http.allowed_origins {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if origin != "*" && host.is_none_or(|host| host.is_empty() || host.contains('/')) {
            let message =
                format!("\"{origin}\" is not an origin: write scheme and host only, \"https://app.example.org\"");
            say("http.allowed_origins", message);
        }
    }
    for server in &config.ice_servers {
        if !["stun:", "turn:", "turns:"].iter().any(|scheme| server.url.starts_with(scheme)) {
            say("ice_servers", format!("\"{}\" does not begin with stun:, turn: or turns:", server.url));
        }
    }
}

fn check_acme(http: &Http, say: &mut impl FnMut(&'static str, String)) {
    let acme = &http.acme;
    if !acme.on() {
        if !acme.email.is_empty() {
            say(
                "http.acme.domains",
                String::from("an e-mail address is there, and no name: which domains are certified?"),
            );
        }
        return;
    }
    if http.tls_cert.is_some() || http.tls_self_signed {
        let other = if http.tls_self_signed { "http.tls_self_signed" } else { "http.tls_cert" };
        say("http.acme", format!("there is {other} too: choose one certificate"));
    }
    if !acme.email.contains('@') {
        let message =
            "the authority wants an e-mail address: email = \"you@example.org\"; to set it agrees to its terms";
        say("http.acme.email", String::from(message));
    }
    for domain in &acme.domains {
        let label = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if domain.parse::<std::net::IpAddr>().is_ok() || !domain.split('.').all(label) {
            let message =
                format!("\"{domain}\" is no name that can be certified: write a host name, no address, no *, no port");
            say("http.acme.domains", message);
        }
    }
    if !acme.directory.starts_with("https://") {
        say("http.acme.directory", format!("\"{}\" does not begin with https://", acme.directory));
    }
}

fn check_overflow(config: &Config, say: &mut impl FnMut(&'static str, String)) {
    let Some(overflow) = &config.limits.overflow else { return };
    let host = overflow.strip_prefix("https://").or_else(|| overflow.strip_prefix("http://"));
    let plain = |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@".contains(&b));
    if !host.is_some_and(plain) {
        let message = format!("\"{overflow}\" is no server: write scheme and host only, \"https://weir2.example.org\"");
        say("limits.overflow", message);
    }
}

fn check_numbers(config: &Config, say: &mut impl FnMut(&'static str, String)) {
    let at_least_one: [(&'static str, usize); 9] = [
        ("media.spread_at", config.media.spread_at),
        ("rooms.max_participants", config.rooms.max_participants),
        ("rooms.max_publishers", config.rooms.max_publishers),
        ("rooms.loudest", config.rooms.loudest),
        ("rooms.publisher_kbps", config.rooms.publisher_kbps as usize),
        ("limits.max_sessions", config.limits.max_sessions),
        ("limits.max_created_rooms", config.limits.max_created_rooms),
        ("limits.requests_per_second", config.limits.requests_per_second as usize),
        ("limits.request_burst", config.limits.request_burst as usize),
    ];
    for (path, value) in at_least_one {
        if value == 0 {
            say(path, String::from("must be at least 1"));
        }
    }
    if config.media.coalesce_us > 1000 {
        say("media.coalesce_us", String::from("must be at most 1000, a millisecond"));
    }
    // The bound of tokio's semaphore, which counts the sessions.
    if config.limits.max_sessions > 1 << 24 {
        say("limits.max_sessions", String::from("must be at most 16777216"));
    }
}

fn check_telemetry(config: &Config, say: &mut impl FnMut(&'static str, String)) {
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.telemetry.log) {
        say("telemetry.log", format!("not a log filter: {error}"));
    }
    if let Some(endpoint) = &config.telemetry.otlp_endpoint
        && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
    {
        say("telemetry.otlp_endpoint", format!("\"{endpoint}\" does not begin with http:// or https://"));
    }
}
