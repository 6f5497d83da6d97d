//! TLS: where the certificate is from, and who speaks what on the one port.

mod acceptor;
mod acme;
mod files;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

pub(crate) use self::acceptor::Acceptor;
pub(crate) use self::files::read_pair;
use crate::config::Http;
use crate::server::ServeError;

/// What is spoken within TLS. TURN clients name themselves (RFC 7443), or say nothing and are known by their first byte.
const PROTOCOLS: [&[u8]; 4] = [b"h2", b"http/1.1", b"stun.turn", b"stun.nat-discovery"];

/// What an [`Acceptor`] needs, where TLS is on. What keeps the certificate fresh runs until `stop`.
pub(crate) async fn configuration(http: &Http, stop: &CancellationToken) -> Result<Option<Configs>, ServeError> {
    if !http.tls() {
        return Ok(None);
    }
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (resolver, challenge): (Arc<dyn ResolvesServerCert>, _) = match (&http.tls_cert, &http.tls_key) {
        (Some(cert), Some(key)) => {
            (files::watch(cert.clone(), key.clone(), stop.clone()).map_err(ServeError::Tls)?, None)
        }
        _ if http.acme.on() => {
            let (resolver, challenge) = acme::start(&http.acme, stop.clone()).map_err(ServeError::Tls)?;
            (resolver, Some(challenge))
        }
        _ => (Arc::new(files::Fixed(self_signed(http).map_err(ServeError::Tls)?)), None),
    };
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(Some(Configs { usual: Arc::new(config), challenge }))
}

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub(crate) struct Configs {
    /// With everyone,
    usual: Arc<ServerConfig>,
    /// but with a certificate authority that looks whether the name is ours (RFC 8737).
    challenge: Option<Arc<ServerConfig>>,
}

fn self_signed(http: &Http) -> Result<Arc<CertifiedKey>, String> {
    let mut names = vec![String::from("localhost"), String::from("127.0.0.1"), String::from("::1")];
    let own = http.addr.ip().to_string();
    if !http.addr.ip().is_unspecified() && !names.contains(&own) {
        names.push(own);
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let key = made.signing_key.serialize_der().try_into().map_err(|error: &str| error.to_owned())?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let pair = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider);
    pair.map(Arc::new).map_err(|error| error.to_string())
}
