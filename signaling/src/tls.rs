//! TLS for HTTP: a certificate from files, or one made at start.

use axum_server::tls_rustls::RustlsConfig;

use crate::config::Http;
use crate::server::ServeError;

/// The TLS configuration, if TLS is on.
pub(crate) async fn config(http: &Http) -> Result<Option<RustlsConfig>, ServeError> {
    if !http.tls() {
        return Ok(None);
    }
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fail = |error: &dyn std::fmt::Display| ServeError::Tls(error.to_string());
    let config = match (&http.tls_cert, &http.tls_key) {
        (Some(cert), Some(key)) => RustlsConfig::from_pem_file(cert, key).await.map_err(|error| {
            ServeError::Tls(format!("cannot use {} with {}: {error}", cert.display(), key.display()))
        })?,
        _ => {
            let names = self_signed_names(http);
            let made = rcgen::generate_simple_self_signed(names).map_err(|error| fail(&error))?;
            let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
            RustlsConfig::from_pem(cert.into_bytes(), key.into_bytes()).await.map_err(|error| fail(&error))?
        }
    };
    Ok(Some(config))
}

fn self_signed_names(http: &Http) -> Vec<String> {
    let mut names = vec![String::from("localhost"), String::from("127.0.0.1"), String::from("::1")];
    let own = http.addr.ip().to_string();
    if !http.addr.ip().is_unspecified() && !names.contains(&own) {
        names.push(own);
    }
    names
}
