//! A certificate from an authority, by ACME (RFC 8555): the authority looks for a proof on port 443 of the name
//! (TLS-ALPN-01, RFC 8737).

use std::sync::Arc;

use futures_util::StreamExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ResolvesServerCert;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_acme::AcmeConfig;
use rustls_acme::caches::DirCache;
use tokio_util::sync::CancellationToken;

use crate::config::Acme;

/// Asks for certificates, and again before they run out, until `stop`. What comes back resolves to the certificate
/// there is, and is the configuration to prove oneself with.
pub(super) fn start(
    acme: &Acme,
    stop: CancellationToken,
) -> Result<(Arc<dyn ResolvesServerCert>, Arc<ServerConfig>), String> {
    private_directory(&acme.cache)
        .map_err(|error| format!("http.acme.cache {} cannot be made: {error}", acme.cache.display()))?;
    let config = match &acme.root {
        None => AcmeConfig::new(&acme.domains),
        Some(path) => AcmeConfig::new_with_client_config(&acme.domains, trusting(path)?),
    };
    let contact = format!("mailto:{}", acme.email);
    let mut state =
        config.contact([contact]).cache(DirCache::new(acme.cache.clone())).directory(&acme.directory).state();
    let (resolver, challenge) = (state.resolver(), state.challenge_rustls_config());
    let events = async move {
        while let Some(event) = state.next().await {
            match event {
                Ok(event) => tracing::info!(?event, "certificate by ACME"),
                // It is tried again by itself, ever more slowly.
                Err(error) => tracing::error!(
                    %error,
                    "no certificate by ACME: the authority must reach this server on port 443 of each of http.acme.domains"
                ),
            }
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(events));
    Ok((resolver, challenge))
}

/// A directory for keys: nobody else may look into it.
fn private_directory(path: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// A client that trusts one authority alone, for an ACME server of one's own.
fn trusting(path: &std::path::Path) -> Result<Arc<ClientConfig>, String> {
    let fail = |error: &dyn std::fmt::Display| format!("http.acme.root {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(|error| fail(&error))? {
        roots.add(cert.map_err(|error| fail(&error))?).map_err(|error| fail(&error))?;
    }
    if roots.is_empty() {
        return Err(fail(&"holds no certificate"));
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
