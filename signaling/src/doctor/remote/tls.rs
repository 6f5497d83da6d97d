//! TLS as the doctor speaks it: with whatever certificate there is, which is looked at.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::local::certificate::Facts;

/// How long a TLS connection may take to stand.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes every certificate, and keeps it to be judged. What it belongs to is the doctor's own probe: nothing is said over
/// such a connection that a stranger must not hear: of tokens only those that the doctor has signed itself, for five
/// minutes and a room of its own.
#[derive(Debug)]
struct Noting {
    provider: Arc<CryptoProvider>,
    leaf: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A configuration that takes every certificate, offering that protocol, and where the certificate will be.
fn noting(protocol: Option<&[u8]>) -> Result<(ClientConfig, Arc<Noting>), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let noting = Arc::new(Noting { provider: Arc::clone(&provider), leaf: Mutex::new(None) });
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Noting>::clone(&noting);
    let mut config = versions
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = protocol.iter().map(|name| name.to_vec()).collect();
    Ok((config, noting))
}

/// A configuration that takes every certificate, for a WebSocket.
pub(super) fn any_certificate() -> Result<Arc<ClientConfig>, String> {
    noting(None).map(|(config, _)| Arc::new(config))
}

/// Speaks TLS on a connection; what comes back is the stream and what its certificate says.
pub(super) async fn over(
    tcp: TcpStream,
    host: &str,
    protocol: Option<&[u8]>,
) -> Result<(TlsStream<TcpStream>, Facts), String> {
    let (config, noting) = noting(protocol)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("\"{host}\" is no host name"))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let stream = timeout(PATIENCE, connecting).await.map_err(|_| String::from("no TLS answer"))?;
    let stream = stream.map_err(|error| error.to_string())?;
    let leaf = noting.leaf.lock().unwrap_or_else(PoisonError::into_inner).take();
    let facts = leaf.and_then(|der| Facts::of(&der)).ok_or_else(|| String::from("the certificate cannot be read"))?;
    Ok((stream, facts))
}
