//! A certificate from files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the files are read. Read and compared, rather than watched: a Kubernetes secret changes by a symbolic link
/// above it, and network file systems tell of nothing.
const EVERY: Duration = Duration::from_secs(5);

/// One certificate for as long as the server runs.
#[derive(Debug)]
pub(super) struct Fixed(pub(super) Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The certificate of two files.
#[derive(Debug)]
pub(super) struct Watched {
    cert: PathBuf,
    key: PathBuf,
    now: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Watched {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

/// Bytes of both files.
type Contents = (Vec<u8>, Vec<u8>);

/// Reads the files, and again when they change, until `stop`. Connections that stand keep the certificate they have.
pub(super) fn watch(cert: PathBuf, key: PathBuf, stop: CancellationToken) -> Result<Arc<Watched>, String> {
    let contents = read(&cert, &key)?;
    let now = RwLock::new(Arc::new(pair(&contents).map_err(|error| naming(&cert, &key, &error))?));
    let watched = Arc::new(Watched { cert, key, now });
    let kept = Arc::clone(&watched);
    tokio::spawn(stop.run_until_cancelled_owned(async move { kept.follow(contents).await }));
    Ok(watched)
}

impl Watched {
    async fn follow(&self, mut last: Contents) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (cert, key) = (self.cert.clone(), self.key.clone());
            // Of what cannot be read now the doctor tells; the certificate at hand stays good.
            let Ok(Ok(contents)) = tokio::task::spawn_blocking(move || read(&cert, &key)).await else { continue };
            if contents != last {
                self.take(&contents);
                last = contents;
            }
        }
    }

    /// Takes new contents, if they hold. While one file is written and the other is still old, they do not.
    fn take(&self, contents: &Contents) {
        match pair(contents) {
            Ok(pair) => {
                *self.now.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(pair);
                tracing::info!(file = %self.cert.display(), "the certificate has changed");
            }
            Err(error) => {
                let error = naming(&self.cert, &self.key, &error);
                tracing::warn!(error, "the new certificate cannot be used; the old one stays");
            }
        }
    }
}

fn naming(cert: &Path, key: &Path, error: &str) -> String {
    format!("cannot use {} with {}: {error}", cert.display(), key.display())
}

/// Certificate and key of two PEM files, if they belong together.
///
/// # Errors
/// What is wrong, with the file's name.
pub(crate) fn read_pair(cert: &Path, key: &Path) -> Result<CertifiedKey, String> {
    pair(&read(cert, key)?).map_err(|error| naming(cert, key, &error))
}

fn read(cert: &Path, key: &Path) -> Result<Contents, String> {
    let bytes = |path: &Path| std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    Ok((bytes(cert)?, bytes(key)?))
}

fn pair((cert, key): &Contents) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(|error| format!("the certificate is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err(String::from("the certificate file holds no certificate"));
    }
    // The error of a broken key may quote it.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| String::from("the key file holds no key in PEM"))?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => String::from("the key is not the certificate's"),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_taken_with_its_own_key_only() {
        let ((cert, key), (_, other)) = (made("a.test"), made("b.test"));
        let error = |cert: &str, key: &str| pair(&(cert.into(), key.into())).err();
        assert_eq!(error(&cert, &key), None);
        assert_eq!(error(&cert, &other).as_deref(), Some("the key is not the certificate's"));
        assert!(error("", &key).is_some_and(|error| error.contains("no certificate")));
        assert_eq!(error(&cert, "canary").as_deref(), Some("the key file holds no key in PEM"));
        assert!(error(&cert[..cert.len() / 2], &key).is_some());
    }

    #[test]
    fn contents_that_do_not_hold_leave_the_old_certificate() {
        let ((cert, key), (new_cert, new_key)) = (made("a.test"), made("b.test"));
        let first = Arc::new(pair(&(cert.into(), key.clone().into())).expect("a pair"));
        let watched = Watched { cert: "c".into(), key: "k".into(), now: RwLock::new(Arc::clone(&first)) };
        watched.take(&(new_cert.clone().into(), key.into()));
        assert!(Arc::ptr_eq(&watched.now.read().expect("whole"), &first), "half written");
        watched.take(&(new_cert.into(), new_key.into()));
        assert_ne!(watched.now.read().expect("whole").cert, first.cert);
    }
}
